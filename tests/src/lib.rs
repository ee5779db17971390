//! What the tests of the whole share: the golden cases' folder, and the command-line tool they run.
//!
//! Both can be given from outside, for a machine that has the test executables but neither cargo nor the sources:
//! `CONVT_BN_GAP_GOLDEN` names the folder, `CONVT_BN_GAP_BIN` the tool.

pub mod agreement;

use std::env;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use convt_bn_gap::{Device, Error};

/// The folder of the golden cases (`golden/README.md` says what is in them).
pub fn golden_dir() -> PathBuf {
    match env::var_os("CONVT_BN_GAP_GOLDEN") {
        Some(folder) => folder.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("golden"),
    }
}

/// The command-line tool: given from outside, or built once in the release profile.
///
/// # Panics
/// If it cannot be built.
pub fn cli() -> &'static Path {
    static TOOL: OnceLock<PathBuf> = OnceLock::new();
    TOOL.get_or_init(|| match env::var_os("CONVT_BN_GAP_BIN") {
        Some(tool) => tool.into(),
        None => build(&["--package", "convt-bn-gap"], "convt-bn-gap"),
    })
}

/// The simulated CUDA driver as a library for the tool, built once. Where the tool is given from outside there is no cargo:
/// the test is over, and says so.
///
/// # Panics
/// If it cannot be built.
pub fn simulated_driver() -> Option<&'static Path> {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    if env::var_os("CONVT_BN_GAP_BIN").is_some() {
        let _ = std::io::stderr().write_all(b"skipped: no simulated driver beside the tool\n");
        return None;
    }
    let example = ["--package", "simulated_driver", "--example", "simulated_cuda"];
    Some(LIBRARY.get_or_init(|| build(&example, "libsimulated_cuda")))
}

/// Builds what cargo's arguments name, and finds the file of that stem in what it says it made.
fn build(what: &[&str], stem: &str) -> PathBuf {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let this = env::current_exe().expect("a test knows its own executable");
    // target/<profile>/deps/<test>: the product goes where this test was built, wherever that is.
    let target = this.ancestors().nth(3).expect("cargo puts tests three folders deep");
    let output = Command::new(cargo)
        .args(["build", "--release", "--quiet"])
        .args(what)
        .args(["--message-format", "json", "--target-dir"])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "{stem} does not build");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .flat_map(|message| message["filenames"].as_array().cloned().unwrap_or_default())
        .filter_map(|path| path.as_str().map(PathBuf::from))
        .find(|path| path.file_stem().is_some_and(|found| found == stem))
        .expect("cargo says where it put it")
}

/// The first GPU; where there is none the test is over, and says so where CI's summary counts it.
///
/// # Panics
/// If there is a GPU that does not suit: that is a failure, not a skip.
pub fn gpu() -> Option<Device> {
    match Device::cuda(0) {
        Ok(device) => Some(device),
        Err(Error::Unavailable(_)) => {
            // Not `eprintln!`, which the test harness would keep to itself; and one write, which no other test splits.
            let _ = std::io::stderr().write_all(b"skipped: no CUDA device\n");
            None
        }
        Err(error) => panic!("{error}"),
    }
}
