//! `cargo xtask ci`: what every change must pass, in order, with a summary at the end.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::project;

/// The README's test command.
const TEST: &[&str] = &["cargo", "test", "--release", "--workspace"];

/// A workspace of its own, with criterion.
const BENCHES: &str = "bench/criterion/Cargo.toml";

/// What a test prints that needs a GPU and finds none.
const SKIPPED: &str = "skipped: no CUDA device";

/// Name, command, further environment.
type Step = (&'static str, &'static [&'static str], &'static [(&'static str, &'static str)]);

const STEPS: [Step; 12] = [
    ("format", &["cargo", "fmt", "--all", "--check"], &[]),
    ("format of the benches", &["cargo", "fmt", "--manifest-path", BENCHES, "--check"], &[]),
    ("clippy", &["cargo", "clippy", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"], &[]),
    (
        "clippy without features",
        &["cargo", "clippy", "--release", "--package", "convt-bn-gap", "--no-default-features", "--", "-D", "warnings"],
        &[],
    ),
    (
        "clippy without CUDA",
        &[
            "cargo",
            "clippy",
            "--release",
            "--package",
            "convt-bn-gap",
            "--no-default-features",
            "--features",
            "cli",
            "--",
            "-D",
            "warnings",
        ],
        &[],
    ),
    (
        "clippy of the benches",
        &[
            "cargo",
            "clippy",
            "--release",
            "--all-targets",
            "--manifest-path",
            BENCHES,
            "--target-dir",
            "target/bench",
            "--",
            "-D",
            "warnings",
        ],
        &[],
    ),
    ("tests", TEST, &[]),
    ("documentation", &["cargo", "doc", "--workspace", "--no-deps"], &[("RUSTDOCFLAGS", "-D warnings")]),
    ("header", &["cargo", "xtask", "header", "--check"], &[]),
    ("PTX", &["cargo", "xtask", "build-ptx", "--check"], &[]),
    ("ptxas", &["cargo", "xtask", "ptx-report", "--deny-spills"], &[]),
    ("conformance", &["cargo", "xtask", "conformance"], &[]),
];

/// Run everything that a change must pass
#[derive(clap::Args)]
pub(crate) struct Arguments {}

pub(crate) fn run(_: &Arguments) -> Result<ExitCode> {
    let mut rows = Vec::new();
    let mut skipped = 0;
    for (name, command, environment) in STEPS {
        println!("== {name}: {}", command.join(" "));
        let began = Instant::now();
        let (passed, skips) = execute(command, environment)?;
        skipped += skips;
        rows.push((name, passed, began.elapsed().as_secs()));
    }
    println!("== summary");
    for (name, passed, seconds) in &rows {
        println!("{} {name} ({seconds} s)", if *passed { "passed " } else { "FAILED " });
    }
    println!("{skipped} tests skipped: no CUDA device");
    let failed = rows.iter().filter(|(_, passed, _)| !passed).count();
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs a step with its output passed on; whether it succeeded, and how many tests said that they had no GPU.
fn execute(command: &[&str], environment: &[(&str, &str)]) -> Result<(bool, usize)> {
    let mut child = Command::new(command[0])
        .args(&command[1..])
        .envs(environment.iter().copied())
        .current_dir(project::root()?)
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", command[0]))?;
    let mut skipped = 0;
    let stderr = child.stderr.take().context("stderr was piped")?;
    for line in BufReader::new(stderr).split(b'\n') {
        let line = line?;
        skipped += usize::from(String::from_utf8_lossy(&line).contains(SKIPPED));
        let mut out = std::io::stderr().lock();
        out.write_all(&line)?;
        out.write_all(b"\n")?;
    }
    Ok((child.wait()?.success(), skipped))
}
