//! A library made with this crate exports none of the driver's symbols, and opens where there is
//! no driver: as the `cdylib` that rustc links, and as a `staticlib` that a C compiler makes part
//! of a shared library. (rustc's own list of exports protects the first, only the symbols' hidden
//! visibility the second.)
#![cfg(target_os = "linux")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use libloading::Library;

/// A file of the example `embedded_library`, which `cargo test` builds beside this test.
fn built(name: &str) -> Option<PathBuf> {
    let test = std::env::current_exe().ok()?;
    let file = test.parent()?.parent()?.join("examples").join(name);
    if !file.exists() {
        skipped(&format!("no {} here, which a plain `cargo test` builds", file.display()));
        return None;
    }
    Some(file)
}

/// Past the capture of a passing test's output.
fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

fn check(path: &Path) {
    // SAFETY: the library's constructors are those of Rust's standard library.
    let library = unsafe { Library::new(path) }.unwrap();
    // dlsym looks through the library and its dependencies: a driver linked in would be found too.
    for name in ["cuInit", "cuMemAlloc_v2", "cuLaunchKernel", "cuGetErrorString"] {
        // SAFETY: the symbol is not used.
        let symbol = unsafe { library.get::<unsafe extern "C" fn()>(name) };
        assert!(symbol.is_err(), "{} exports {name}", path.display());
    }
    let name = "embedded_library_count_devices";
    // SAFETY: the signature is the example's.
    let count_devices = unsafe { library.get::<unsafe extern "C" fn() -> u32>(name) }.unwrap();
    // SAFETY: takes nothing and is safe in the example.
    let count = unsafe { count_devices() };
    // This test's own copy of the crate sees the same machine.
    let here = cuda_loader::load().map_or(0, |driver| driver.device_count());
    assert_eq!(count, here);
}

#[test]
fn as_a_rust_cdylib() {
    if let Some(library) = built("libembedded_library.so") {
        check(&library);
    }
}

#[test]
fn as_part_of_a_c_shared_library() {
    let Some(archive) = built("libembedded_library.a") else { return };
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libembedder.so");
    let linked = Command::new("cc")
        .args(["-shared", "-Wl,--undefined=embedded_library_count_devices", "-o"])
        .arg(&library)
        .arg(archive)
        .status();
    match linked {
        Ok(status) => assert!(status.success(), "cc could not link the library"),
        Err(error) => return skipped(&format!("no C compiler: {error}")),
    }
    check(&library);
}
