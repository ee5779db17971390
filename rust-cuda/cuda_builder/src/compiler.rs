//! Finding a rustc that can compile for `nvptx64-nvidia-cuda`.
//!
//! Looked at, in this order: the compiler named by the environment variable `CUDA_BUILDER_RUSTC` (then no
//! other); the rustup toolchains, nightlies first; the distribution's `rustc`. A capable one knows the target,
//! has an LLVM with the NVPTX back end, takes the flags used here, and has `core` for the device: its sources
//! or a build of it. The language features are unstable, so `RUSTC_BOOTSTRAP=1` goes along with every call.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::arch::Arch;
use crate::environment;

/// The target triple of every kernel.
pub const TARGET: &str = "nvptx64-nvidia-cuda";
/// Names the one compiler to use.
pub const RUSTC_VARIABLE: &str = "CUDA_BUILDER_RUSTC";

/// Where the device's `core` comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CoreLibrary {
    /// Compiled along with the kernels from the toolchain's sources (`rust-src`).
    Sources,
    /// The toolchain's own build for the target.
    Prebuilt,
}

/// What decides, beside the sources, which PTX comes out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompilerId {
    /// The first line of `rustc --version --verbose`.
    pub rustc: String,
    /// Its LLVM's version.
    pub llvm: String,
    /// Where `core` comes from.
    pub core: CoreLibrary,
}

impl fmt::Display for CompilerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let core = match self.core {
            CoreLibrary::Sources => "from its sources",
            CoreLibrary::Prebuilt => "prebuilt",
        };
        write!(f, "{}, LLVM {}, core {core}", self.rustc, self.llvm)
    }
}

/// A compiler that can build kernels.
#[derive(Clone, Debug)]
pub struct Compiler {
    /// The compiler's executable.
    pub rustc: PathBuf,
    /// The toolchain's own cargo where it has one, or else the one this process runs under.
    pub cargo: PathBuf,
    /// The folder it is installed in.
    pub sysroot: PathBuf,
    /// Version, LLVM and `core`.
    pub id: CompilerId,
    architectures: Vec<Arch>,
}

impl Compiler {
    /// Whether it compiles for `arch`.
    pub fn supports(&self, arch: Arch) -> bool {
        self.architectures.contains(&arch)
    }
}

/// Why a compiler cannot build kernels.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Rejection {
    /// It could not be run, or failed on a plain question.
    #[error("does not run: {0}")]
    DoesNotRun(String),
    /// The target is not in its list.
    #[error("does not know the target {TARGET}")]
    NoTarget,
    /// Its LLVM was built without the NVPTX back end.
    #[error("its LLVM has no NVPTX back end")]
    NoBackEnd,
    /// No `core` for the device.
    #[error("has no core for {TARGET}: neither its sources (rust-src) nor a build of it")]
    NoCore,
    /// It refuses a flag that is used here, usually because it is too old.
    #[error("refuses the flags used here: {0}")]
    Flags(String),
}

/// A compiler that was looked at and cannot build kernels.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// The compiler's executable.
    pub rustc: PathBuf,
    /// Why not.
    pub reason: Rejection,
}

/// Every compiler that was looked at. Its `Display` says how to get a capable one.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// Those that can build kernels, the preferred one first.
    pub capable: Vec<Compiler>,
    /// Those that cannot.
    pub rejected: Vec<Rejected>,
}

impl fmt::Display for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no Rust compiler here can build for {TARGET}; install one of these:\n  \
             rustup:                       {RUSTUP_COMMAND}\n  \
             Debian 12, security archive:  apt-get install {}\n\
             or name one in {RUSTC_VARIABLE}. Looked at:",
            APT_PACKAGES.join(" ")
        )?;
        if self.rejected.is_empty() {
            write!(f, "\n  no rustc at all was found")?;
        }
        for Rejected { rustc, reason } in &self.rejected {
            write!(f, "\n  {}: {reason}", rustc.display())?;
        }
        Ok(())
    }
}

/// Installs a capable compiler where rustup is.
pub const RUSTUP_COMMAND: &str = "rustup toolchain install nightly --component rust-src";
/// The packages that hold a capable compiler and the sources of its `core`, on a system that has them.
pub const APT_PACKAGES: [&str; 2] = ["rustc-web", "rust-web-src"];

/// Looks at every compiler of this machine.
pub fn search() -> Search {
    let mut search = Search::default();
    let mut sysroots = Vec::new();
    for rustc in candidates() {
        let sysroot = match ask(&rustc, &["--print", "sysroot"]) {
            Ok(sysroot) => PathBuf::from(sysroot.trim()),
            Err(message) => {
                let reason = Rejection::DoesNotRun(message);
                search.rejected.push(Rejected { rustc, reason });
                continue;
            }
        };
        // A rustup proxy, or the same file by another name.
        if sysroots.contains(&sysroot) {
            continue;
        }
        sysroots.push(sysroot.clone());
        match examine(rustc.clone(), sysroot) {
            Ok(compiler) => search.capable.push(compiler),
            Err(reason) => search.rejected.push(Rejected { rustc, reason }),
        }
    }
    search
}

fn candidates() -> Vec<PathBuf> {
    if let Some(rustc) = env::var_os(RUSTC_VARIABLE) {
        return vec![rustc.into()];
    }
    let on_the_path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&on_the_path).chain([PathBuf::from("/usr/bin")]);
    let distribution = folders.map(|folder| folder.join("rustc")).filter(|rustc| rustc.is_file());
    rustup_toolchains().into_iter().chain(distribution).collect()
}

/// The compilers of the rustup toolchains, nightlies first.
fn rustup_toolchains() -> Vec<PathBuf> {
    let home =
        env::var_os("RUSTUP_HOME").map(PathBuf::from).or_else(|| env::home_dir().map(|home| home.join(".rustup")));
    let mut names: Vec<OsString> = home
        .iter()
        .filter_map(|home| fs::read_dir(home.join("toolchains")).ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.file_name()))
        .collect();
    names.sort_by_key(|name| (!name.to_string_lossy().starts_with("nightly"), name.clone()));
    let rustc = |name| Some(home.as_ref()?.join("toolchains").join(name).join("bin/rustc"));
    names.into_iter().filter_map(rustc).filter(|rustc| rustc.is_file()).collect()
}

fn examine(rustc: PathBuf, sysroot: PathBuf) -> Result<Compiler, Rejection> {
    let question = |arguments: &[&str]| ask(&rustc, arguments).map_err(Rejection::DoesNotRun);

    let version = question(&["--version", "--verbose"])?;
    let line = |prefix: &str| version.lines().find_map(|line| line.strip_prefix(prefix));
    let (Some(first), Some(llvm)) = (version.lines().next(), line("LLVM version: ")) else {
        return Err(Rejection::DoesNotRun("it does not tell its version".to_owned()));
    };
    if !question(&["--print", "target-list"])?.lines().any(|name| name == TARGET) {
        return Err(Rejection::NoTarget);
    }
    let architectures: Vec<Arch> = ask(&rustc, &["--print", "target-cpus", "--target", TARGET])
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    if architectures.is_empty() {
        return Err(Rejection::NoBackEnd);
    }
    let core = core_library(&sysroot).ok_or(Rejection::NoCore)?;
    let mut probe = vec!["--print", "cfg", "--target", TARGET];
    probe.extend(flags(core));
    ask(&rustc, &probe).map_err(Rejection::Flags)?;

    Ok(Compiler {
        cargo: matching_cargo(&sysroot, first).unwrap_or_else(environment::cargo),
        id: CompilerId { rustc: first.to_owned(), llvm: llvm.to_owned(), core },
        rustc,
        sysroot,
        architectures,
    })
}

/// The cargo beside the compiler, unless it is of another release: Debian's `rustc-web` may sit beside a much
/// older `cargo`.
fn matching_cargo(sysroot: &Path, rustc_version: &str) -> Option<PathBuf> {
    let release = |version: &str| version.split_whitespace().nth(1).map(str::to_owned);
    let cargo = sysroot.join("bin/cargo");
    let version = ask(&cargo, &["--version"]).ok()?;
    (release(&version) == release(rustc_version)).then_some(cargo)
}

/// The compiler's flags that are the same for every kernel crate and architecture.
///
/// `-Clinker=true`: rustc writes the linked module as assembly, which for this target is PTX; there is nothing
/// left to link. With `core` from its sources a panic is a trap at the spot (`immediate-abort`) and no message
/// is built; a prebuilt `core` calls the kernel crate's panic handler. No `JumpThreading`: that pass over Rust's own
/// intermediate code copies what follows an `if` into its branches, barriers and warp collectives too, where the lanes of
/// a warp meet different copies; LLVM's passes heed convergence, this one knows of none. The other two keep paths and
/// the compiler's choice of mangling out of the PTX.
pub fn flags(core: CoreLibrary) -> Vec<&'static str> {
    let panic: &[_] = match core {
        CoreLibrary::Sources => &["-Zunstable-options", "-Cpanic=immediate-abort"],
        CoreLibrary::Prebuilt => &["-Cpanic=abort"],
    };
    let all = [
        "-Clinker=true",
        "-Zmir-enable-passes=-JumpThreading",
        "-Csymbol-mangling-version=v0",
        "-Zlocation-detail=none",
    ];
    all.iter().chain(panic).copied().collect()
}

/// Sources first: with them the kernels and `core` are compiled for the same architecture.
fn core_library(sysroot: &Path) -> Option<CoreLibrary> {
    let rustlib = sysroot.join("lib/rustlib");
    if rustlib.join("src/rust/library/core/src/lib.rs").is_file() {
        return Some(CoreLibrary::Sources);
    }
    let is_core = |entry: std::io::Result<fs::DirEntry>| {
        entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
    };
    fs::read_dir(rustlib.join(TARGET).join("lib")).ok()?.any(is_core).then_some(CoreLibrary::Prebuilt)
}

/// Standard output of `program arguments`, or what went wrong in one line.
fn ask(program: &Path, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program);
    environment::isolate(&mut command);
    let output = command.args(arguments).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let line = stderr.lines().find(|line| !line.trim().is_empty());
        Err(line.map_or_else(|| output.status.to_string(), str::to_owned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_is_found_by_its_files() {
        let sysroot = tempfile::tempdir().unwrap();
        assert_eq!(core_library(sysroot.path()), None);

        let prebuilt = sysroot.path().join("lib/rustlib").join(TARGET).join("lib");
        fs::create_dir_all(&prebuilt).unwrap();
        assert_eq!(core_library(sysroot.path()), None);
        fs::write(prebuilt.join("libcore-0123.rlib"), "").unwrap();
        assert_eq!(core_library(sysroot.path()), Some(CoreLibrary::Prebuilt));

        let sources = sysroot.path().join("lib/rustlib/src/rust/library/core/src");
        fs::create_dir_all(&sources).unwrap();
        fs::write(sources.join("lib.rs"), "").unwrap();
        assert_eq!(core_library(sysroot.path()), Some(CoreLibrary::Sources));
    }

    #[test]
    fn a_compiler_without_core_is_rejected_for_that() {
        // Every stable toolchain knows the target and has the back end; an empty sysroot has no core.
        let empty = tempfile::tempdir().unwrap();
        let rustc = PathBuf::from(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        let rejection = examine(rustc, empty.path().to_owned()).unwrap_err();
        assert_eq!(rejection, Rejection::NoCore);
    }

    #[test]
    fn a_program_that_is_no_compiler_is_rejected() {
        let missing = examine(PathBuf::from("/no/such/rustc"), PathBuf::new()).unwrap_err();
        assert!(matches!(missing, Rejection::DoesNotRun(_)), "{missing}");
        let silent = examine(PathBuf::from("true"), PathBuf::new()).unwrap_err();
        assert!(matches!(silent, Rejection::DoesNotRun(_)), "{silent}");
    }

    #[test]
    fn the_message_holds_the_commands_and_every_reason() {
        let search = Search {
            capable: Vec::new(),
            rejected: vec![Rejected { rustc: PathBuf::from("/opt/bin/rustc"), reason: Rejection::NoCore }],
        };
        let message = search.to_string();
        for part in [RUSTUP_COMMAND, "apt-get install rustc-web rust-web-src", "/opt/bin/rustc", "rust-src"] {
            assert!(message.contains(part), "{part} in {message}");
        }
    }
}
