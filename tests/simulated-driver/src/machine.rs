//! What the driver says of itself and of its device.

use crate::fault::{Fault, Point};

/// A machine to pretend to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// How many devices: 0 or 1.
    pub devices: i32,
    /// The CUDA version of the driver.
    pub driver: (i32, i32),
    /// The compute capability of the device.
    pub capability: (i32, i32),
    /// Bytes of device memory.
    pub memory: usize,
    /// Functions that the driver lacks. (Of the library, beside [`crate::lookup`], they are there.)
    pub missing: Vec<&'static str>,
    /// What fails from the start.
    pub faults: Vec<Fault>,
}

impl Default for Machine {
    /// One device of compute capability 9.0 with 16 MiB, a driver for CUDA 13.0, nothing wrong.
    fn default() -> Self {
        let (driver, capability) = ((13, 0), (9, 0));
        Self { devices: 1, driver, capability, memory: 16 << 20, missing: Vec::new(), faults: Vec::new() }
    }
}

impl Machine {
    /// From the variable `SIMULATED_CUDA`: words like `devices=0 driver=11.3 capability=7.5 memory=65536
    /// fault=cuLaunchKernel:2:719:sticky`, each of which may be left out.
    pub(crate) fn of_environment() -> Self {
        let words = std::env::var("SIMULATED_CUDA").unwrap_or_default();
        words.split_whitespace().fold(Self::default(), |mut machine, word| {
            machine.set(word).unwrap_or_else(|| panic!("SIMULATED_CUDA has the word {word:?}, which means nothing"));
            machine
        })
    }

    fn set(&mut self, word: &str) -> Option<()> {
        let pair = |value: &str| -> Option<(i32, i32)> {
            let (major, minor) = value.split_once('.')?;
            Some((major.parse().ok()?, minor.parse().ok()?))
        };
        match word.split_once('=')? {
            ("devices", count) => self.devices = count.parse().ok()?,
            ("driver", version) => self.driver = pair(version)?,
            ("capability", version) => self.capability = pair(version)?,
            ("memory", bytes) => self.memory = bytes.parse().ok()?,
            ("fault", fault) => {
                let parts: Vec<&str> = fault.split(':').collect();
                let (function, n, code) = (parts.first()?, parts.get(1)?.parse().ok()?, parts.get(2)?.parse().ok()?);
                let point = Point::Of(String::leak((*function).to_owned()), n);
                self.faults.push(Fault { point, code, sticky: parts.get(3) == Some(&"sticky") });
            }
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_environment() {
        let mut machine = Machine::default();
        for word in ["devices=0", "driver=11.3", "capability=7.5", "memory=100", "fault=cuMemAlloc_v2:3:2"] {
            machine.set(word).unwrap();
        }
        assert_eq!((machine.devices, machine.driver, machine.capability, machine.memory), (0, (11, 3), (7, 5), 100));
        assert_eq!(machine.faults, [Fault::of("cuMemAlloc_v2", 3, 2)]);
        assert_eq!(machine.set("fault=cuLaunchKernel:1:719:sticky"), Some(()));
        assert!(machine.faults[1].sticky);
        for word in ["", "devices", "devices=x", "driver=12", "colour=red", "fault=cuInit"] {
            assert_eq!(machine.set(word), None, "{word}");
        }
    }
}
