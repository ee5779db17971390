//! Whole files in, whole files out: a file is read into memory that was reserved fallibly, and an output appears
//! under its name only when every byte of it is on the disk.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use convt_bn_gap::memory;
use tempfile::NamedTempFile;

/// The bytes of a regular file.
pub fn read_whole(path: &Path) -> Result<Vec<u8>> {
    let name = path.display();
    // Asked before opening: opening a named pipe would wait for its writer.
    let facts = fs::metadata(path).with_context(|| format!("cannot read {name}"))?;
    if facts.is_dir() {
        bail!("cannot read {name}: it is a folder");
    }
    if !facts.is_file() {
        bail!("cannot read {name}: it is not a regular file");
    }
    let Ok(length) = usize::try_from(facts.len()) else {
        bail!("cannot read {name}: its {} bytes do not fit in memory", facts.len());
    };
    let mut bytes = memory::try_with_capacity("the file", length).with_context(|| format!("cannot read {name}"))?;
    File::open(path)
        .and_then(|file| file.take(facts.len()).read_to_end(&mut bytes))
        .with_context(|| format!("cannot read {name}"))?;
    Ok(bytes)
}

/// A place where a file can be written: checked before the long work, filled after it.
pub struct PendingFile {
    path: PathBuf,
    folder: PathBuf,
}

impl PendingFile {
    /// Checks that `path` may become a file: its folder takes files, and nothing but a regular file has the name.
    pub fn at(path: &Path) -> Result<Self> {
        let name = path.display();
        let last = path.as_os_str().as_encoded_bytes().last();
        if path.file_name().is_none() || last.is_some_and(|&byte| std::path::is_separator(byte.into())) {
            bail!("cannot write {name}: it names no file");
        }
        if let Ok(facts) = fs::metadata(path)
            && !facts.is_file()
        {
            bail!("cannot write {name}: something that is not a regular file has this name");
        }
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let pending = Self { path: path.to_owned(), folder };
        pending.temporary()?;
        Ok(pending)
    }

    /// Writes all of `bytes` beside the final name, syncs, and renames; on any failure nothing is left behind.
    pub fn write(&self, bytes: &[u8]) -> Result<()> {
        let file = self.temporary()?;
        // Written through the plain file, whose errors do not name the temporary one.
        let mut plain = file.as_file();
        plain
            .write_all(bytes)
            .and_then(|()| plain.flush())
            .and_then(|()| plain.sync_all())
            .with_context(|| format!("cannot write {}", self.path.display()))?;
        file.persist(&self.path)
            .map_err(|failed| failed.error)
            .with_context(|| format!("cannot write {}", self.path.display()))?;
        Ok(())
    }

    /// The name the file will have.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A temporary file in the final folder, so that renaming it stays within one file system; dropped, it is deleted.
    fn temporary(&self) -> Result<NamedTempFile> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(".convt-bn-gap-");
        #[cfg(unix)]
        {
            // The permissions of an ordinary file (less the umask) rather than of a secret one.
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        builder.tempfile_in(&self.folder).map_err(|error| {
            // tempfile's message would name the temporary file; the kind says what is wrong with the folder.
            let reason = error.kind();
            anyhow::anyhow!("cannot write {}: its folder takes no file ({reason})", self.path.display())
        })
    }
}
