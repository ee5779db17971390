//! `cargo xtask conformance`: the kernels that apply every operation of cuda_std once, built and assembled.
//!
//! What ptxas accepts is no proof: on a GPU the test `conformance` runs them, and compares with the executor.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use cuda_builder::{Arch, BuildError, CudaBuilder};

use crate::{project, ptx_report, ptxas};

/// The PTX's file name.
pub(crate) const PTX: &str = "conformance.sm_90a.ptx";

/// Build the kernels of rust-cuda/conformance into target/conformance and show what ptxas makes of them
#[derive(clap::Args)]
pub(crate) struct Arguments {}

pub(crate) fn run(_: &Arguments) -> Result<ExitCode> {
    let Some(ptx) = build()? else {
        return Ok(ExitCode::SUCCESS);
    };
    let Some(ptxas) = ptxas::find()? else {
        return Ok(ptx_report::missing());
    };
    let arch = Arch::Sm90a.to_string();
    let mut table = ptx_report::table();
    for usage in ptxas::assemble(&ptxas, &ptx, &arch, &ptx.with_extension("cubin"))? {
        table.add_row(ptx_report::row(&arch, &usage));
    }
    println!("{table}");
    println!("for the test on a GPU: CONVT_BN_GAP_CONFORMANCE_PTX={}", ptx.display());
    Ok(ExitCode::SUCCESS)
}

/// Builds the PTX; its path, or nothing, and why, where no compiler can.
pub(crate) fn build() -> Result<Option<PathBuf>> {
    let root = project::root()?;
    let folder = root.join("target/conformance");
    let builder = CudaBuilder::new(root.join("rust-cuda/conformance")).arch(Arch::Sm90a).out_dir(&folder);
    match builder.build() {
        Ok(manifest) => {
            let target = &manifest.targets[0];
            println!("{}: PTX {}, {} kernels", target.file, target.ptx_version, target.entries.len());
            Ok(Some(folder.join(PTX)))
        }
        Err(BuildError::NoCompiler(search)) => {
            eprintln!("skipped: conformance is not built: {search}");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}
