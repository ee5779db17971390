//! The project's own commands: `cargo xtask build-ptx`, `ptx-report`, `conformance`, `header`, `bundle-gpu`, `setup`, `ci`.
//!
//! One file a command. Exit codes: 0 done, 1 a check failed or an error, 3 a tool is missing.

mod build_ptx;
mod bundle_gpu;
mod ci;
mod conformance;
mod header;
mod project;
mod ptx_report;
mod ptxas;
mod setup;

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "The project's own commands")]
enum Command {
    BuildPtx(build_ptx::Arguments),
    PtxReport(ptx_report::Arguments),
    Conformance(conformance::Arguments),
    Header(header::Arguments),
    BundleGpu(bundle_gpu::Arguments),
    /// Install a compiler for the kernels, where the system has a package of it
    Setup,
    Ci(ci::Arguments),
}

fn main() -> ExitCode {
    let done = match Command::parse() {
        Command::BuildPtx(arguments) => build_ptx::run(&arguments),
        Command::PtxReport(arguments) => ptx_report::run(&arguments),
        Command::Conformance(arguments) => conformance::run(&arguments),
        Command::Header(arguments) => header::run(&arguments),
        Command::BundleGpu(arguments) => bundle_gpu::run(&arguments),
        Command::Setup => setup::run(),
        Command::Ci(arguments) => ci::run(&arguments),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
