//! Files written all or none: first each under a temporary name, then all renamed.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{BuildError, io_error};

/// Writes each `(name, contents)` into `folder`, in order; makes the folder where it is missing.
///
/// A file that already has its contents is left alone, so that what depends on its date is not rebuilt. When
/// writing fails (a full disk, say), nothing has changed and no temporary file is left. Only a failing rename
/// can leave some files replaced and others not: put last the file that tells whether the others belong to it.
pub(crate) fn write_all(folder: &Path, files: &[(String, String)]) -> Result<(), BuildError> {
    fs::create_dir_all(folder).map_err(io_error(folder))?;
    let mut written = Temporaries::default();
    for (name, contents) in files {
        let path = folder.join(name);
        if fs::read(&path).is_ok_and(|old| old == contents.as_bytes()) {
            continue;
        }
        let temporary = folder.join(format!(".{name}.{}", std::process::id()));
        written.0.push((temporary.clone(), path));
        fs::write(&temporary, contents).map_err(io_error(&temporary))?;
    }
    for (temporary, path) in &written.0 {
        fs::rename(temporary, path).map_err(io_error(path))?;
    }
    Ok(())
}

/// Temporary file and final name of each file under way; removes on drop what was not renamed.
#[derive(Default)]
struct Temporaries(Vec<(PathBuf, PathBuf)>);

impl Drop for Temporaries {
    fn drop(&mut self) {
        for (temporary, _) in &self.0 {
            // Already renamed, as a rule: then there is nothing to remove.
            let _ = fs::remove_file(temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, contents: &str) -> (String, String) {
        (name.to_owned(), contents.to_owned())
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn all_are_written_and_none_else() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("made/on/the/way");
        write_all(&folder, &[file("a", "1"), file("b", "2")]).unwrap();
        write_all(&folder, &[file("b", "3")]).unwrap();
        assert_eq!(names(&folder), ["a", "b"]);
        assert_eq!(fs::read_to_string(folder.join("b")).unwrap(), "3");
    }

    #[test]
    fn a_failure_leaves_the_old_files() {
        let root = tempfile::tempdir().unwrap();
        write_all(root.path(), &[file("a", "old")]).unwrap();
        let impossible = file("no/such/folder", "");
        assert!(write_all(root.path(), &[file("a", "1"), impossible]).is_err());
        assert_eq!(names(root.path()), ["a"]);
        assert_eq!(fs::read_to_string(root.path().join("a")).unwrap(), "old");
    }

    #[test]
    fn an_unchanged_file_keeps_its_date() {
        let root = tempfile::tempdir().unwrap();
        write_all(root.path(), &[file("a", "1")]).unwrap();
        let path = root.path().join("a");
        let date = std::time::SystemTime::UNIX_EPOCH;
        let open = fs::File::options().write(true).open(&path).unwrap();
        open.set_modified(date).unwrap();
        write_all(root.path(), &[file("a", "1")]).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), date);
    }
}
