//! Modules: PTX as far as a driver looks at it before it compiles.

use kernel_gpu::entries::{self, Entry};

use crate::machine::Machine;
use crate::state::{Code, INVALID_PTX, NO_BINARY_FOR_GPU, NOT_FOUND, UNSUPPORTED_PTX_VERSION};

/// Loaded PTX: its entries by name, and the bytes of their parameters.
pub(crate) struct Module {
    entries: Vec<(String, usize)>,
    /// Whether its kernels may multiply by warpgroups.
    pub(crate) warpgroups: bool,
}

/// A refusal: the code, and what the compiler says.
pub(crate) type Refusal = (Code, String);

impl Module {
    /// Reads PTX for a machine.
    pub(crate) fn load(ptx: &str, machine: &Machine) -> Result<Self, Refusal> {
        let directive = |name: &str| {
            let found = ptx.lines().find_map(|line| line.trim().strip_prefix(name));
            let missing = || (INVALID_PTX, format!("ptxas fatal   : Missing {name}directive at start of file"));
            found.map(str::trim).ok_or_else(missing)
        };
        let (version, target) = (directive(".version ")?, directive(".target ")?);
        let (major, minor) = numbers(version);
        // PTX 7.x came with CUDA 11.x, 8.x with 12.x, and so on.
        if (major + 4, minor) > machine.driver {
            let (by, of) = machine.driver;
            let log = format!("ptxas fatal   : Unsupported .version {version}; current driver is for CUDA {by}.{of}");
            return Err((UNSUPPORTED_PTX_VERSION, log));
        }
        let (digits, exact) = match target.trim_start_matches("sm_").strip_suffix('a') {
            Some(digits) => (digits, true),
            None => (target.trim_start_matches("sm_"), false),
        };
        let made_for = digits.parse::<i32>().map_or((99, 0), |number| (number / 10, number % 10));
        let runs = if exact { machine.capability == made_for } else { machine.capability >= made_for };
        if !runs {
            return Err((NO_BINARY_FOR_GPU, format!("ptxas fatal   : {target} is not for this device")));
        }
        Ok(Self { entries: entries_of(ptx), warpgroups: target == "sm_90a" })
    }

    /// The kernel of that name: it must be an entry of the PTX, of the same parameters as the host's. What is wrong beside is
    /// a defect of the build, in words.
    pub(crate) fn function(&self, name: &str) -> Result<&'static Entry, (Code, Option<String>)> {
        let Some((_, bytes)) = self.entries.iter().find(|(entry, _)| entry == name) else {
            return Err((NOT_FOUND, None));
        };
        let Some(entry) = entries::find(name) else {
            return Err((NOT_FOUND, Some(format!("{name} is in the PTX and not in kernel_gpu::entries"))));
        };
        if entry.parameter_bytes != *bytes {
            let words = format!("{name} takes {bytes} bytes in the PTX and {} here", entry.parameter_bytes);
            return Err((NOT_FOUND, Some(words)));
        }
        Ok(entry)
    }
}

fn numbers(version: &str) -> (i32, i32) {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

/// `.visible .entry name(`, and on the next line `.param .align 8 .b8 name_param_0[88]`.
fn entries_of(ptx: &str) -> Vec<(String, usize)> {
    let mut lines = ptx.lines();
    let mut entries = Vec::new();
    while let Some(line) = lines.next() {
        let Some((_, name)) = line.split_once(".entry ") else { continue };
        let parameter = lines.next().unwrap_or("");
        let bytes =
            parameter.rsplit_once('[').and_then(|(_, rest)| rest.trim_end_matches([']', ',', ')']).parse().ok());
        entries.push((name.trim_end_matches('(').to_owned(), bytes.unwrap_or(0)));
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ptx(version: &str, target: &str, bytes: usize) -> String {
        let parameter = format!("\t.param .align 8 .b8 batch_norm_reduce_param_0[{bytes}]");
        format!(".version {version}\n.target {target}\n.visible .entry batch_norm_reduce(\n{parameter}\n)\n{{\n}}\n")
    }

    #[test]
    fn ptx_is_refused_as_a_driver_refuses_it() {
        let load = |text: &str, driver, capability| {
            let machine = Machine { driver, capability, ..Machine::default() };
            Module::load(text, &machine).map_err(|(code, _)| code).err()
        };
        assert_eq!(load(&ptx("8.0", "sm_80", 88), (12, 0), (9, 0)), None);
        assert_eq!(load(&ptx("8.1", "sm_80", 88), (12, 0), (9, 0)), Some(UNSUPPORTED_PTX_VERSION));
        assert_eq!(load(&ptx("8.0", "sm_90a", 88), (12, 0), (9, 0)), None);
        assert_eq!(load(&ptx("8.0", "sm_90a", 88), (12, 0), (10, 0)), Some(NO_BINARY_FOR_GPU));
        assert_eq!(load(&ptx("8.0", "sm_90", 88), (12, 0), (8, 9)), Some(NO_BINARY_FOR_GPU));
        assert_eq!(load("", (12, 0), (9, 0)), Some(INVALID_PTX));
    }

    #[test]
    fn entries_are_those_of_the_ptx_and_of_the_host() {
        let right = entries::find("batch_norm_reduce").unwrap().parameter_bytes;
        let module = Module::load(&ptx("8.0", "sm_80", right), &Machine::default()).unwrap();
        assert_eq!(module.function("batch_norm_reduce").unwrap().spec.name, "batch_norm_reduce");
        assert_eq!(module.function("pool_finish_f32").err(), Some((NOT_FOUND, None)));
        let other = Module::load(&ptx("8.0", "sm_80", right + 8), &Machine::default()).unwrap();
        assert!(matches!(other.function("batch_norm_reduce"), Err((NOT_FOUND, Some(_)))));
    }
}
