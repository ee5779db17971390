//! Why a build or a check could not be made.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::arch::Arch;
use crate::compiler::Search;
use crate::postprocess::Refusal;

/// Why a build or a check could not be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// No architecture was asked for.
    #[error("no architecture to build for: add one with `arch`")]
    NoArch,
    /// The message holds the commands that install one.
    #[error("{0}")]
    NoCompiler(Box<Search>),
    /// The compiler is too old for this GPU.
    #[error("{rustc} does not know the architecture {arch}")]
    UnknownArch {
        /// What was asked for.
        arch: Arch,
        /// The compiler's version.
        rustc: String,
    },
    /// cargo could not say what the crate is.
    #[error("cargo metadata of {manifest} failed: {message}")]
    Metadata {
        /// The crate's Cargo.toml.
        manifest: PathBuf,
        /// cargo's own words.
        message: String,
    },
    /// The folder holds no package with a library.
    #[error("{manifest} is not the manifest of a library crate")]
    NoPackage {
        /// The Cargo.toml.
        manifest: PathBuf,
    },
    /// A program could not be started.
    #[error("cannot start {program}: {source}")]
    Start {
        /// The program.
        program: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The kernels do not compile.
    #[error("{package} does not compile for {arch} with {rustc}:\n{messages}")]
    Compile {
        /// The kernel crate.
        package: String,
        /// The architecture.
        arch: Arch,
        /// The compiler's version.
        rustc: String,
        /// What cargo and rustc said.
        messages: String,
    },
    /// What came out cannot be used.
    #[error("the PTX of {package} for {arch} is refused: {reason}")]
    Refused {
        /// The kernel crate.
        package: String,
        /// The architecture.
        arch: Arch,
        /// Why.
        #[source]
        reason: Refusal,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A manifest could not be read or written as JSON.
    #[error("the manifest is malformed: {0}")]
    Json(#[source] serde_json::Error),
}

/// Adds the path to an I/O error.
pub(crate) fn io_error(path: &Path) -> impl FnOnce(io::Error) -> BuildError {
    let path = path.to_owned();
    move |source| BuildError::Io { path, source }
}
