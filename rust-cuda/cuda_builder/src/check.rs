//! What `CudaBuilder::check` found: whether committed PTX belongs to its sources.

use std::fmt;

use thiserror::Error;

use crate::arch::Arch;
use crate::compiler::{CompilerId, Search};

/// The result of a check.
#[derive(Debug)]
#[non_exhaustive]
pub struct Check {
    /// Everything that does not belong to the sources; empty when all is well.
    pub stale: Vec<Stale>,
    /// Whether the kernels were also compiled again, and what came of it.
    pub rebuild: Rebuild,
}

impl Check {
    /// Whether the committed PTX belongs to the sources.
    pub fn is_current(&self) -> bool {
        self.stale.is_empty()
    }
}

/// Something committed that does not belong to the sources.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Stale {
    /// There is no manifest, or it cannot be read.
    #[error("no usable manifest: {0}")]
    Manifest(String),
    /// Made by another version of cuda_builder.
    #[error("the manifest has format {actual}, expected {expected}")]
    Format {
        /// This version's.
        expected: u32,
        /// The manifest's.
        actual: u32,
    },
    /// Another crate, or other architectures.
    #[error("the manifest is of {actual}, expected {expected}")]
    Targets {
        /// What the builder is asked for.
        expected: String,
        /// What the manifest lists.
        actual: String,
    },
    /// Sources or settings changed since.
    #[error("the kernels' sources changed: their hash is {actual}, the manifest has {expected}")]
    Sources {
        /// The manifest's hash.
        expected: String,
        /// The hash now.
        actual: String,
    },
    /// A PTX file cannot be read.
    #[error("{file} cannot be read: {message}")]
    Missing {
        /// The PTX file.
        file: String,
        /// The system's reason.
        message: String,
    },
    /// A PTX file was edited, or the manifest was.
    #[error("{file} is not what the manifest says: its SHA-256 is {actual}, the manifest has {expected}")]
    Changed {
        /// The PTX file.
        file: String,
        /// The manifest's hash.
        expected: String,
        /// The file's hash.
        actual: String,
    },
    /// The manifest's description does not fit the file, whose hash is right.
    #[error("the manifest describes {file} wrongly: version or kernels differ")]
    Described {
        /// The PTX file.
        file: String,
    },
    /// The same sources and compiler give another PTX.
    #[error("{file} is not what these sources and this compiler give")]
    Rebuilt {
        /// The PTX file.
        file: String,
    },
}

/// What compiling again showed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Rebuild {
    /// Every file came out the same, byte for byte.
    Identical(CompilerId),
    /// Some file came out different: see [`Check::stale`].
    Different(CompilerId),
    /// Not tried: something is stale already.
    NotTried,
    /// No compiler here is the one the PTX was built with.
    OtherCompiler {
        /// The one it was built with.
        expected: CompilerId,
        /// Those that are here.
        found: Vec<CompilerId>,
    },
    /// No compiler here can build kernels.
    NoCompiler(Box<Search>),
}

impl fmt::Display for Rebuild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identical(compiler) => {
                write!(f, "compiled again with {compiler}: the same bytes")
            }
            Self::Different(compiler) => {
                write!(f, "compiled again with {compiler}: not the same")
            }
            Self::NotTried => write!(f, "not compiled again"),
            Self::OtherCompiler { expected, found } => {
                let found: Vec<_> = found.iter().map(CompilerId::to_string).collect();
                write!(f, "compared by hash only: built with {expected}, here is {}", found.join(" and "))
            }
            Self::NoCompiler(_) => {
                write!(f, "compared by hash only: no compiler here can build kernels")
            }
        }
    }
}

/// `PACKAGE for sm_80, sm_90a`
pub(crate) fn targets(package: &str, archs: impl Iterator<Item = Arch>) -> String {
    let archs: Vec<_> = archs.map(|arch| arch.to_string()).collect();
    format!("{package} for {}", archs.join(", "))
}
