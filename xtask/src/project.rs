//! Where the project's parts lie.

use std::path::PathBuf;

use anyhow::{Context, Result};
use cuda_builder::{Arch, CudaBuilder};

/// The project's folder: cargo says where this package is, one level below it.
pub(crate) fn root() -> Result<PathBuf> {
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map(PathBuf::from)
        .context("run it through cargo: `cargo xtask COMMAND`")?;
    let root = package.parent().context("xtask lies in the project's folder")?;
    Ok(root.to_owned())
}

/// Where the built PTX is committed.
pub(crate) fn ptx_folder() -> Result<PathBuf> {
    Ok(root()?.join("host/ptx"))
}

/// What builds the project's kernels: a baseline, and Hopper with what only Hopper has.
pub(crate) fn kernels() -> Result<CudaBuilder> {
    Ok(CudaBuilder::new(root()?.join("kernel-gpu")).arch(Arch::Sm80).arch(Arch::Sm90a).out_dir(ptx_folder()?))
}
