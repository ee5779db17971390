//! The environment the kernel compiler runs in: the caller's, less everything that would change the build.
//!
//! Removed: every variable of cargo and rustc (flags, profiles, wrappers, target folders, toolchains, and what
//! an outer `cargo run` sets), so that the same sources give the same PTX whoever builds. Kept: where cargo and
//! rustup live, and how to reach a registry.

use std::env;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

const REMOVED_PREFIXES: [&str; 5] = ["CARGO", "RUST", "__CARGO", "DEP_", "MAKEFLAGS"];
const REMOVED: [&str; 5] = ["OUT_DIR", "TARGET", "HOST", "PROFILE", "OPT_LEVEL"];
const KEPT_PREFIXES: [&str; 5] = ["CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTRIES_", "CARGO_REGISTRY_", "CARGO_SOURCE_"];
const KEPT: [&str; 2] = ["CARGO_HOME", "RUSTUP_HOME"];

/// Removes what would change the build, and allows the compiler's unstable features.
pub(crate) fn isolate(command: &mut Command) {
    for (name, _) in env::vars_os() {
        if changes_the_build(&name) {
            command.env_remove(name);
        }
    }
    command.env("RUSTC_BOOTSTRAP", "1");
}

/// The cargo this process runs under, or else the one on the `PATH`.
pub(crate) fn cargo() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

fn changes_the_build(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let starts = |prefix: &&str| name.starts_with(*prefix);
    let kept = KEPT.contains(&&*name) || KEPT_PREFIXES.iter().any(starts);
    !kept && (REMOVED.contains(&&*name) || REMOVED_PREFIXES.iter().any(starts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_profiles_go() {
        for name in [
            "RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_BUILD_RUSTFLAGS",
            "CARGO_BUILD_TARGET_DIR",
            "CARGO_TARGET_DIR",
            "CARGO_TARGET_NVPTX64_NVIDIA_CUDA_RUSTFLAGS",
            "CARGO_PROFILE_RELEASE_DEBUG",
            "CARGO_INCREMENTAL",
            "CARGO_MANIFEST_DIR",
            "CARGO_UNSTABLE_BUILD_STD",
            "RUSTC",
            "RUSTC_WRAPPER",
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTUP_TOOLCHAIN",
            "TARGET",
        ] {
            assert!(changes_the_build(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn homes_and_registries_stay() {
        for name in [
            "PATH",
            "HOME",
            "CARGO_HOME",
            "RUSTUP_HOME",
            "CARGO_NET_OFFLINE",
            "CARGO_HTTP_PROXY",
            "CARGO_REGISTRIES_MINE_TOKEN",
            "LD_LIBRARY_PATH",
        ] {
            assert!(!changes_the_build(OsStr::new(name)), "{name}");
        }
    }
}
