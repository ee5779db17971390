//! `cargo xtask bundle-gpu`: everything that shows the GPU side, in one folder for a machine with neither cargo nor sources.
//!
//! ```text
//! gpu-bundle/run              the runner: `./run [test|bench|sanitize|pytorch|differential|large …]`
//! gpu-bundle/bin.tar.gz        bin/: the command-line tool, the C library, the stripped executables of the tests that use a GPU
//! gpu-bundle/CHECKSUM          of that
//! gpu-bundle/golden/          the golden cases
//! gpu-bundle/conformance.sm_90a.ptx  every operation of cuda_std, for the test `conformance`; only where a compiler is
//! gpu-bundle/bench/           the comparison with PyTorch
//! gpu-bundle/MANIFEST         the commit, and the hash of the PTX manifest
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{conformance, project};

/// What the bundle may weigh.
const LIMIT: u64 = 64 << 20;
/// Tests that a GPU changes nothing about.
const LEFT_OUT: [&str; 2] = ["test-simulated", "test-ptx"];

/// Pack test and bench executables, their data and a runner into gpu-bundle/
#[derive(clap::Args)]
pub(crate) struct Arguments {}

pub(crate) fn run(_: &Arguments) -> Result<ExitCode> {
    let root = project::root()?;
    let bundle = root.join("gpu-bundle");
    if bundle.exists() {
        fs::remove_dir_all(&bundle).with_context(|| format!("cannot clear {}", bundle.display()))?;
    }
    let bin = bundle.join("bin");
    fs::create_dir_all(&bin).with_context(|| format!("cannot make {}", bin.display()))?;

    let mut count = 0;
    for built in build(&root)? {
        let name = built.file_name().context("an executable has a name")?;
        // target/release/deps/gpu-0123456789abcdef is the test `gpu`.
        let name = name.to_string_lossy();
        let name = if is_test(&built) {
            format!("test-{}", name.rsplit_once('-').map_or(&*name, |(n, _)| n))
        } else {
            name.into()
        };
        if LEFT_OUT.contains(&name.as_str()) {
            continue;
        }
        let to = bin.join(name);
        fs::copy(&built, &to).with_context(|| format!("cannot copy {}", built.display()))?;
        strip(&to)?;
        count += 1;
    }
    pack(&bundle, "bin")?;
    copy_folder(&root.join("tests/golden"), &bundle.join("golden"))?;
    copy_folder(&root.join("bench"), &bundle.join("bench"))?;
    if let Some(ptx) = conformance::build()? {
        fs::copy(&ptx, bundle.join(conformance::PTX)).with_context(|| format!("cannot copy {}", ptx.display()))?;
    }
    let runner = bundle.join("run");
    fs::copy(root.join("xtask/gpu-bundle-run.sh"), &runner)?;
    fs::write(bundle.join("MANIFEST"), manifest(&root)?)?;

    let size = size_of(&bundle)?;
    println!("gpu-bundle: {count} executables, {:.1} MiB", size as f64 / f64::from(1 << 20));
    if size > LIMIT {
        bail!("gpu-bundle holds {size} bytes; its limit is {LIMIT}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds the tool, the C library and the tests that reach the GPU; the paths of what was built.
fn build(root: &Path) -> Result<Vec<PathBuf>> {
    let wanted: [&[&str]; 2] = [
        &["build", "--release", "--package", "convt-bn-gap"],
        &["test", "--release", "--no-run", "--package", "convt-bn-gap-tests"],
    ];
    let mut built = Vec::new();
    for arguments in wanted {
        let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(arguments)
            .args(["--message-format", "json-render-diagnostics"])
            .current_dir(root)
            .stderr(Stdio::inherit())
            .output()
            .context("cannot run cargo")?;
        if !output.status.success() {
            bail!("cargo {} failed", arguments.join(" "));
        }
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let Ok(message) = serde_json::from_str::<Value>(line) else { continue };
            if message["reason"] == "compiler-artifact" {
                built.extend(products(&message));
            }
        }
    }
    built.sort();
    built.dedup();
    Ok(built)
}

/// The executable of a binary or integration test of ours, or the C library.
fn products(message: &Value) -> Vec<PathBuf> {
    let ours = message["target"]["name"].as_str().is_some_and(|name| name.starts_with("convt"));
    let integration_test = message["profile"]["test"] == true && message["target"]["kind"][0] == "test";
    let unit_test = message["profile"]["test"] == true && !integration_test;
    if unit_test || !(ours || integration_test) {
        return Vec::new();
    }
    let executable = message["executable"].as_str().map(PathBuf::from);
    let library = message["filenames"].as_array().into_iter().flatten().filter_map(Value::as_str).map(PathBuf::from);
    executable.into_iter().chain(library.filter(|path| path.extension().is_some_and(|e| e == "so"))).collect()
}

fn is_test(built: &Path) -> bool {
    built.parent().is_some_and(|folder| folder.ends_with("deps")) && built.extension().is_none()
}

fn strip(path: &Path) -> Result<()> {
    let status = Command::new("strip").arg(path).status().context("cannot run strip (package binutils)")?;
    if status.success() { Ok(()) } else { bail!("strip refuses {}", path.display()) }
}

/// Replaces a folder of the bundle by an archive of it: executables that each hold the same library pack well.
fn pack(bundle: &Path, folder: &str) -> Result<()> {
    let archive = format!("{folder}.tar.gz");
    let status = Command::new("tar").args(["-czf", &archive, folder]).current_dir(bundle).status();
    if !status.context("cannot run tar")?.success() {
        bail!("tar cannot pack {}", bundle.join(folder).display());
    }
    // By which the runner knows what it has unpacked.
    let packed = fs::read(bundle.join(&archive)).with_context(|| format!("cannot read {archive}"))?;
    let checksum: String = Sha256::digest(&packed).iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(bundle.join("CHECKSUM"), checksum)?;
    fs::remove_dir_all(bundle.join(folder)).with_context(|| format!("cannot remove {}", bundle.join(folder).display()))
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

fn manifest(root: &Path) -> Result<String> {
    let output = Command::new("git").args(["describe", "--always", "--dirty"]).current_dir(root).output();
    let commit = output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default();
    let ptx = cuda_builder::Manifest::read(&project::ptx_folder()?)?;
    Ok(format!("commit {commit}\nptx manifest {}\n", ptx.hash()?))
}

fn size_of(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        bytes += if meta.is_dir() { size_of(&entry.path())? } else { meta.len() };
    }
    Ok(bytes)
}
