//! `cargo xtask build-ptx [--check]`: kernel-gpu → host/ptx.

use std::process::ExitCode;

use anyhow::Result;

use crate::project;

/// Compile the kernels to the PTX in host/ptx
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Write nothing: exit 1 if host/ptx does not belong to the kernels' sources
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    if arguments.check { check() } else { build() }
}

fn build() -> Result<ExitCode> {
    eprintln!("compiling kernel-gpu (the first time core too, which takes a minute)");
    let manifest = project::kernels()?.build()?;
    for target in &manifest.targets {
        println!("host/ptx/{}: PTX {}, {} kernels", target.file, target.ptx_version, target.entries.len());
    }
    println!("with {}", manifest.compiler);
    println!("manifest {}", manifest.hash()?);
    Ok(ExitCode::SUCCESS)
}

fn check() -> Result<ExitCode> {
    let check = project::kernels()?.check()?;
    for stale in &check.stale {
        eprintln!("host/ptx: {stale}");
    }
    if !check.is_current() {
        eprintln!("run `cargo xtask build-ptx`, then commit host/ptx");
        return Ok(ExitCode::FAILURE);
    }
    println!("host/ptx belongs to the kernels' sources");
    println!("{}", check.rebuild);
    Ok(ExitCode::SUCCESS)
}
