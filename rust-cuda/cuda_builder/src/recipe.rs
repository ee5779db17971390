//! One cargo call: kernel crate, compiler, architecture → the module's PTX as rustc writes it.
//!
//! With `lto = "fat"`, one codegen unit and `--emit=asm`, rustc writes everything the kernels reach, `core`
//! included, as one assembly file, `deps/LIBRARY.s`; for this target that is PTX. The crate's own type stays
//! `rlib`, so that it compiles on the host like any other; `--crate-type cdylib` holds for this call alone.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::arch::Arch;
use crate::compiler::{Compiler, CoreLibrary, TARGET, flags};
use crate::environment;
use crate::error::{BuildError, io_error};
use crate::postprocess::postprocess;
use crate::sources::Sources;

/// Every field, so that neither the workspace's profile nor a user's configuration decides one.
const PROFILE: [&str; 9] = [
    "profile.release.opt-level=3",
    "profile.release.debug=0",
    "profile.release.debug-assertions=false",
    "profile.release.overflow-checks=false",
    "profile.release.lto=\"fat\"",
    "profile.release.panic=\"abort\"",
    "profile.release.codegen-units=1",
    "profile.release.rpath=false",
    "profile.release.strip=\"none\"",
];

/// Flags and profile, which are the same for every crate and architecture.
pub(crate) fn settings(core: CoreLibrary) -> Vec<String> {
    flags(core).into_iter().chain(PROFILE).map(str::to_owned).collect()
}

/// The folder everything is built in: apart from the host's, and one for each architecture, since the output
/// file's name does not tell them apart.
fn target_folder(sources: &Sources) -> PathBuf {
    sources.target_directory.join("cuda_builder")
}

/// Compiles for each of `archs`; returns the text of each PTX.
pub(crate) fn compile_all(sources: &Sources, compiler: &Compiler, archs: &[Arch]) -> Result<Vec<String>, BuildError> {
    let folder = target_folder(sources);
    fs::create_dir_all(&folder).map_err(io_error(&folder))?;
    // cargo has a lock of its own, but the output is read after cargo has ended. Released when dropped.
    let lock_path = folder.join("lock");
    let lock = File::create(&lock_path).map_err(io_error(&lock_path))?;
    lock.lock().map_err(io_error(&lock_path))?;
    archs.iter().map(|&arch| compile(sources, compiler, arch)).collect()
}

fn compile(sources: &Sources, compiler: &Compiler, arch: Arch) -> Result<String, BuildError> {
    let folder = target_folder(sources).join(arch.to_string());
    let output = folder.join(TARGET).join("release/deps").join(format!("{}.s", sources.library));
    // What an earlier build left must not pass for this one's.
    if output.exists() {
        fs::remove_file(&output).map_err(io_error(&output))?;
    }
    let mut command = command(sources, compiler, arch, &folder);
    let done = command.output().map_err(|source| BuildError::Start { program: compiler.cargo.clone(), source })?;
    if !done.status.success() {
        return Err(BuildError::Compile {
            package: sources.package.clone(),
            arch,
            rustc: compiler.id.rustc.clone(),
            messages: String::from_utf8_lossy(&done.stderr).trim().to_owned(),
        });
    }
    let raw = fs::read_to_string(&output).map_err(io_error(&output))?;
    let title = format!("{} for {arch}, written by cuda_builder: not to be edited", sources.package);
    postprocess(&raw, &title).map_err(|reason| BuildError::Refused { package: sources.package.clone(), arch, reason })
}

fn command(sources: &Sources, compiler: &Compiler, arch: Arch, folder: &Path) -> Command {
    let mut command = Command::new(&compiler.cargo);
    environment::isolate(&mut command);
    command
        .env("RUSTC", &compiler.rustc)
        // Empty means none, against what a user's configuration may name.
        .env("RUSTC_WRAPPER", "")
        .env("RUSTC_WORKSPACE_WRAPPER", "")
        // A configuration's `build.incremental` stands above the profile's.
        .env("CARGO_INCREMENTAL", "0")
        // Stands above every `rustflags` of every configuration file; with `--target` it leaves build scripts
        // and proc macros alone.
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(sources, compiler, arch).join("\x1f"))
        .args(["rustc", "--release", "--lib", "--crate-type", "cdylib"])
        .args(["--target", TARGET, "--color", "never", "--quiet"])
        .arg("--manifest-path")
        .arg(&sources.manifest)
        .arg("--target-dir")
        .arg(folder);
    for setting in PROFILE {
        command.args(["--config", setting]);
    }
    if sources.workspace_root.join("Cargo.lock").is_file() {
        command.arg("--locked");
    }
    if compiler.id.core == CoreLibrary::Sources {
        command.arg("-Zbuild-std=core");
    }
    command.args(["--", "--emit=asm"]);
    if let Some(folder) = sources.manifest.parent() {
        command.current_dir(folder);
    }
    command
}

fn rustflags(sources: &Sources, compiler: &Compiler, arch: Arch) -> Vec<String> {
    let mut all = vec![format!("-Ctarget-cpu={arch}")];
    all.extend(flags(compiler.id.core).into_iter().map(str::to_owned));
    let cargo_home =
        env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    let library = compiler.sysroot.join("lib/rustlib/src/rust");
    let elsewhere = [(Some(library), "rust"), (cargo_home, "cargo")];
    let elsewhere = elsewhere.iter().filter_map(|(path, name)| Some((path.as_deref()?, *name)));
    for (path, name) in elsewhere.chain(sources.folders()) {
        all.push(format!("--remap-path-prefix={}={name}", path.display()));
    }
    all
}
