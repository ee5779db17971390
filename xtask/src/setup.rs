//! `cargo xtask setup`: installs a compiler for the kernels where the system has a package of it.
//!
//! Everything but `build-ptx` works without: the PTX is committed.

use std::env;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use cuda_builder::compiler::{self, APT_PACKAGES, RUSTC_VARIABLE, RUSTUP_COMMAND};

pub(crate) fn run() -> Result<ExitCode> {
    let search = compiler::search();
    if let Some(compiler) = search.capable.first() {
        println!("the kernels' compiler is there: {}", compiler.id);
        return Ok(ExitCode::SUCCESS);
    }
    if env::var_os(RUSTC_VARIABLE).is_some() {
        bail!("{search}");
    }
    if !runs("apt-get", &["--version"]) {
        return Ok(by_hand("this system has no apt-get"));
    }
    let root = Command::new("id").arg("-u").output();
    let is_root = root.is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    if !is_root && !runs("sudo", &["-V"]) {
        return Ok(by_hand("apt-get needs root, and there is no sudo"));
    }
    apt_get(is_root, &["update"])?;
    if !runs("apt-cache", &["show", APT_PACKAGES[0]]) {
        return Ok(by_hand("this system's archives have no such package"));
    }
    let install = ["install", "--yes", "--no-install-recommends"];
    apt_get(is_root, &[&install[..], &APT_PACKAGES].concat())?;

    match compiler::search() {
        search if search.capable.is_empty() => bail!("installed, and still: {search}"),
        search => {
            println!("installed: {}", search.capable[0].id);
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Whether the program runs and reports success.
fn runs(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn apt_get(is_root: bool, arguments: &[&str]) -> Result<()> {
    let words: Vec<&str> = if is_root { vec![] } else { vec!["sudo"] };
    let words = [&words[..], &["apt-get"], arguments].concat();
    println!("running: {}", words.join(" "));
    let status = Command::new(words[0])
        .args(&words[1..])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status()
        .with_context(|| format!("cannot run {}", words[0]))?;
    if !status.success() {
        bail!("`{}` failed: {status}", words.join(" "));
    }
    Ok(())
}

fn by_hand(why: &str) -> ExitCode {
    eprintln!("{why}; install the compiler by hand, for example:\n  {RUSTUP_COMMAND}");
    ExitCode::FAILURE
}
