//! ptxas, NVIDIA's assembler: where it is, and what `ptxas -v` says of each kernel.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// How to get it without a GPU or a CUDA installation.
pub(crate) const INSTALL: &str = "pip install nvidia-cuda-nvcc";

/// What one kernel, or one function that was not inlined, uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) name: String,
    /// None for a function: it uses its caller's.
    pub(crate) registers: Option<u32>,
    pub(crate) shared_bytes: u32,
    pub(crate) stack_bytes: u32,
    pub(crate) spill_store_bytes: u32,
    pub(crate) spill_load_bytes: u32,
}

impl Usage {
    /// Whether it uses local memory, which is memory far away.
    pub(crate) fn spills(&self) -> bool {
        self.stack_bytes + self.spill_store_bytes + self.spill_load_bytes > 0
    }
}

/// ptxas as `PTXAS` names it, else on the `PATH`, in a CUDA installation, or among Python's packages.
pub(crate) fn find() -> Result<Option<PathBuf>> {
    if let Some(path) = env::var_os("PTXAS").map(PathBuf::from) {
        if !path.is_file() {
            bail!("PTXAS names {}, which is no file", path.display());
        }
        return Ok(Some(path));
    }
    let on_the_path = env::var_os("PATH").unwrap_or_default();
    let cuda = ["CUDA_HOME", "CUDA_PATH"]
        .into_iter()
        .filter_map(env::var_os)
        .map(PathBuf::from)
        .chain([PathBuf::from("/usr/local/cuda")])
        .map(|folder| folder.join("bin"));
    let found =
        env::split_paths(&on_the_path).chain(cuda).map(|folder| folder.join("ptxas")).find(|path| path.is_file());
    Ok(found.or_else(|| {
        let packages = python_packages();
        packages.iter().find_map(|folder| below(&folder.join("nvidia"), 3))
    }))
}

/// The folders Python installs packages in.
fn python_packages() -> Vec<PathBuf> {
    let question = "import site, sysconfig; \
                    print(sysconfig.get_paths()['purelib']); print(site.getusersitepackages())";
    ["python3", "python"]
        .into_iter()
        .filter_map(|python| Command::new(python).args(["-c", question]).output().ok())
        .flat_map(|output| {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.lines().map(PathBuf::from).collect::<Vec<_>>()
        })
        .collect()
}

/// `bin/ptxas` in `folder` or at most `depth` levels below it.
fn below(folder: &Path, depth: usize) -> Option<PathBuf> {
    let here = folder.join("bin/ptxas");
    if here.is_file() {
        return Some(here);
    }
    let deeper = depth.checked_sub(1)?;
    let mut folders: Vec<_> =
        fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders.iter().find_map(|folder| below(folder, deeper))
}

/// Assembles `ptx` for `arch` and returns what each function uses; warnings go to stderr.
pub(crate) fn assemble(ptxas: &Path, ptx: &Path, arch: &str, cubin: &Path) -> Result<Vec<Usage>> {
    let output = Command::new(ptxas)
        .arg(format!("-arch={arch}"))
        .arg("-v")
        .arg(ptx)
        .arg("-o")
        .arg(cubin)
        .output()
        .with_context(|| format!("cannot run {}", ptxas.display()))?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("ptxas refuses {}:\n{}", ptx.display(), text.trim());
    }
    for line in text.lines().filter(|line| line.contains("warning")) {
        eprintln!("{line}");
    }
    Ok(read(&text))
}

/// Reads the output of `ptxas -v`.
fn read(text: &str) -> Vec<Usage> {
    let mut all: Vec<Usage> = Vec::new();
    for line in text.lines() {
        if let Some((_, name)) = line.split_once("Function properties for ") {
            all.push(Usage { name: name.trim().to_owned(), ..Usage::default() });
        }
        let Some(last) = all.last_mut() else { continue };
        for part in line.split(',') {
            if part.contains("registers") && part.contains("Used") {
                last.registers = number(part);
            } else if part.contains("bytes smem") {
                last.shared_bytes = number(part).unwrap_or(0);
            } else if part.contains("bytes stack frame") {
                last.stack_bytes = number(part).unwrap_or(0);
            } else if part.contains("bytes spill stores") {
                last.spill_store_bytes = number(part).unwrap_or(0);
            } else if part.contains("bytes spill loads") {
                last.spill_load_bytes = number(part).unwrap_or(0);
            }
        }
    }
    all
}

/// The first number after the line's head: `ptxas info    : Used 12 registers` → 12.
fn number(part: &str) -> Option<u32> {
    let tail = part.rsplit_once(':').map_or(part, |(_, tail)| tail);
    tail.split_whitespace().find_map(|word| word.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_and_functions_with_what_they_use() {
        let text = "\
ptxas info    : 45 bytes gmem, 8 bytes cmem[4]
ptxas info    : Compiling entry function 'axpy' for 'sm_90a'
ptxas info    : Function properties for axpy
    8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 24 registers, used 1 barriers, 4096 bytes smem, 376 bytes cmem[0]
ptxas info    : Compile time = 5.123 ms
ptxas info    : Compiling entry function 'place' for 'sm_90a'
ptxas info    : Function properties for place
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 10 registers, used 0 barriers
ptxas info    : Function properties for inner
    16 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
";
        let [axpy, place, inner] = &read(text)[..] else {
            panic!("three functions: {:?}", read(text));
        };
        let expected = Usage {
            name: "axpy".to_owned(),
            registers: Some(24),
            shared_bytes: 4096,
            stack_bytes: 8,
            spill_store_bytes: 4,
            spill_load_bytes: 12,
        };
        assert_eq!(*axpy, expected);
        assert!(axpy.spills());
        assert_eq!((place.registers, place.shared_bytes), (Some(10), 0));
        assert!(!place.spills());
        assert_eq!((inner.registers, inner.spills()), (None, true));
    }

    #[test]
    fn other_output_holds_nothing() {
        assert_eq!(read("ptxas info    : 0 bytes gmem\n"), []);
        assert_eq!(read(""), []);
    }
}
