//! A kernel crate → one PTX file for each GPU architecture, and a manifest of what was built from what.
//!
//! ```no_run
//! use cuda_builder::{Arch, CudaBuilder};
//!
//! let builder = CudaBuilder::new("kernel-gpu")
//!     .arch(Arch::Sm80)
//!     .arch(Arch::Sm90a)
//!     .out_dir("host/ptx");
//! let manifest = builder.build()?;
//! println!("built with {}", manifest.compiler);
//! assert!(builder.check()?.is_current());
//! # Ok::<(), cuda_builder::BuildError>(())
//! ```
//!
//! The kernels are compiled by rustc's own back end for `nvptx64-nvidia-cuda`. That needs another compiler than
//! the host's stable one; [`compiler::search`] finds it, or says how to install it. The PTX depends on the
//! sources, the compiler and nothing else: not on the caller's flags, profiles or configuration, nor on where
//! the checkout lies. So it can be committed, and [`CudaBuilder::check`] proves that it belongs to the sources.

mod arch;
mod builder;
mod check;
pub mod compiler;
mod environment;
mod error;
mod files;
mod manifest;
mod module;
mod postprocess;
pub mod ptx;
mod recipe;
mod sources;
mod symbols;

pub use arch::{Arch, ParseArchError};
pub use builder::CudaBuilder;
pub use check::{Check, Rebuild, Stale};
pub use compiler::{Compiler, CompilerId};
pub use error::BuildError;
pub use manifest::{MANIFEST_FILE, Manifest, Target};
pub use postprocess::Refusal;
