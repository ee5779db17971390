//! `cargo xtask ptx-report [--deny-spills]`: what ptxas makes of each committed kernel.

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result};
use comfy_table::{CellAlignment, Table, presets};
use cuda_builder::Manifest;

use crate::project;
use crate::ptxas::{self, Usage};

/// Show registers, shared memory, stack and spills of each committed kernel
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Exit 1 if a kernel spills registers or has a stack frame
    #[arg(long)]
    deny_spills: bool,
}

/// The exit code where ptxas is missing.
const MISSING: u8 = 3;

/// Says that ptxas is missing, and how to get it.
pub(crate) fn missing() -> ExitCode {
    eprintln!(
        "ptxas was not found: not on the PATH, in CUDA_HOME or among Python's packages. \
         Get it with `{}`, or name it in PTXAS.",
        ptxas::INSTALL
    );
    ExitCode::from(MISSING)
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let Some(ptxas) = ptxas::find()? else {
        return Ok(missing());
    };
    let folder = project::ptx_folder()?;
    let manifest = Manifest::read(&folder).context("host/ptx has no usable manifest: run `cargo xtask build-ptx`")?;
    let scratch = project::root()?.join("target/ptx-report");
    fs::create_dir_all(&scratch).with_context(|| scratch.display().to_string())?;

    let mut table = table();
    let mut spilling = Vec::new();
    for target in &manifest.targets {
        let arch = target.arch.to_string();
        let cubin = scratch.join(&target.file).with_extension("cubin");
        let all = ptxas::assemble(&ptxas, &folder.join(&target.file), &arch, &cubin)?;
        for usage in &all {
            table.add_row(row(&arch, usage));
        }
        let spills = all.into_iter().filter(Usage::spills);
        spilling.extend(spills.map(|usage| format!("{} ({arch})", usage.name)));
    }
    println!("{table}");
    if arguments.deny_spills && !spilling.is_empty() {
        eprintln!("spills or a stack frame in {}", spilling.join(", "));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        "target",
        "kernel",
        "registers",
        "shared bytes",
        "stack bytes",
        "spill stores",
        "spill loads",
    ]);
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

pub(crate) fn row(arch: &str, usage: &Usage) -> [String; 7] {
    [
        arch.to_owned(),
        usage.name.clone(),
        // A function that was not inlined uses its caller's.
        usage.registers.map_or("(function)".to_owned(), |count| count.to_string()),
        usage.shared_bytes.to_string(),
        usage.stack_bytes.to_string(),
        usage.spill_store_bytes.to_string(),
        usage.spill_load_bytes.to_string(),
    ]
}
