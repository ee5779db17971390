//! What was built from what: sources' hash, compiler, flags, and each PTX with its kernels.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::arch::Arch;
use crate::compiler::CompilerId;
use crate::error::{BuildError, io_error};
use crate::ptx::{self, Entry};

/// The manifest's file name, beside the PTX files.
pub const MANIFEST_FILE: &str = "manifest.json";

/// Counts up when the recipe changes in a way that the sources and flags do not show.
pub(crate) const FORMAT: u32 = 1;

/// The record of one build, committed beside its PTX files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of this format and of the recipe.
    pub format: u32,
    /// The kernel crate.
    pub package: String,
    /// SHA-256 over its sources, those of its path dependencies, and the settings of the build.
    pub sources: String,
    /// The compiler it was built with.
    pub compiler: CompilerId,
    /// The compiler's flags, less those that hold paths.
    pub flags: Vec<String>,
    /// One PTX for each architecture.
    pub targets: Vec<Target>,
}

/// One PTX file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The architecture it is for.
    pub arch: Arch,
    /// Its name beside the manifest.
    pub file: String,
    /// SHA-256 of the file.
    pub sha256: String,
    /// The PTX version, which decides how new the driver must be.
    pub ptx_version: String,
    /// Its kernels.
    pub entries: Vec<Entry>,
}

impl Target {
    /// The record of the PTX `text`.
    pub(crate) fn of(arch: Arch, file: String, text: &str) -> Self {
        Self {
            arch,
            file,
            sha256: sha256(text.as_bytes()),
            ptx_version: ptx::version(text).unwrap_or_default().to_owned(),
            entries: ptx::entries(text),
        }
    }
}

impl Manifest {
    /// Reads `manifest.json` in `folder`.
    pub fn read(folder: &Path) -> Result<Self, BuildError> {
        let path = folder.join(MANIFEST_FILE);
        let text = fs::read_to_string(&path).map_err(io_error(&path))?;
        serde_json::from_str(&text).map_err(BuildError::Json)
    }

    /// SHA-256 of the manifest's file: names this build in notes and results.
    pub fn hash(&self) -> Result<String, BuildError> {
        Ok(sha256(self.to_json()?.as_bytes()))
    }

    /// The text of the manifest's file.
    pub fn to_json(&self) -> Result<String, BuildError> {
        serde_json::to_string_pretty(self).map(|text| text + "\n").map_err(BuildError::Json)
    }
}

fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compiler::CoreLibrary;

    fn manifest() -> Manifest {
        let text =
            ".version 8.0\n.target sm_90a\n.visible .entry axpy(.param .u64 axpy_param_0) .maxntid 64, 1, 1 { ret; }";
        Manifest {
            format: FORMAT,
            package: "trial".to_owned(),
            sources: "00".to_owned(),
            compiler: CompilerId {
                rustc: "rustc 1.96.0".to_owned(),
                llvm: "22.1.8".to_owned(),
                core: CoreLibrary::Sources,
            },
            flags: vec!["-Clinker=true".to_owned()],
            targets: vec![Target::of(Arch::Sm90a, "trial.sm_90a.ptx".to_owned(), text)],
        }
    }

    #[test]
    fn reads_back_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let written = manifest();
        fs::write(folder.path().join(MANIFEST_FILE), written.to_json().unwrap()).unwrap();
        assert_eq!(Manifest::read(folder.path()).unwrap(), written);
        assert_eq!(written.targets[0].ptx_version, "8.0");
        assert_eq!(written.targets[0].entries[0].max_threads, Some(64));
    }

    #[test]
    fn the_hash_is_the_files() {
        let json = manifest().to_json().unwrap();
        assert_eq!(manifest().hash().unwrap(), sha256(json.as_bytes()));
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let other = Manifest { package: "other".to_owned(), ..manifest() };
        assert_ne!(other.hash().unwrap(), manifest().hash().unwrap());
    }

    #[test]
    fn a_malformed_manifest_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(Manifest::read(folder.path()), Err(BuildError::Io { .. })));
        for text in ["", "{}", "{\"format\": 1}"] {
            fs::write(folder.path().join(MANIFEST_FILE), text).unwrap();
            assert!(matches!(Manifest::read(folder.path()), Err(BuildError::Json(_))));
        }
    }
}
