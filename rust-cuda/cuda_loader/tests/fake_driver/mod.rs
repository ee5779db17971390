//! Compiles `driver.c`: a library that stands in for `libcuda.so.1`.

use std::io::{Write, stderr};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles the library with these definitions (`"VERSION=13000"`) as `folder/libcuda.so.1`.
///
/// None, and a line that says so, where there is no C compiler or no source beside the test.
pub fn compile(folder: &Path, definitions: &[&str]) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake_driver/driver.c");
    let library = folder.join("libcuda.so.1");
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .args(definitions.iter().map(|definition| format!("-D{definition}")))
        .arg(&source)
        .status();
    match compiled {
        Ok(status) if source.exists() => {
            assert!(status.success(), "cc failed on {}", source.display());
            Some(library)
        }
        _ => {
            // Past the capture of a passing test's output.
            let _ = writeln!(stderr(), "skipped: no C compiler or no {}", source.display());
            None
        }
    }
}
