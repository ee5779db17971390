//! Where a plan runs.

use std::fmt;

use super::DeviceFacts;
use crate::Error;
#[cfg(feature = "cuda")]
use crate::cuda::CudaDevice;
use crate::error::Unavailable;
use crate::memory;

/// What kind of device computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Backend {
    /// This machine's processor.
    Cpu,
    /// A CUDA device.
    Cuda,
    /// The definition, on this machine's processor.
    Reference,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Backend::Cpu => "cpu",
            Backend::Cuda => "cuda",
            Backend::Reference => "reference",
        })
    }
}

/// A device to plan for.
#[derive(Debug, Clone)]
pub struct Device {
    kind: Kind,
    fallback: Option<Unavailable>,
}

#[derive(Debug, Clone)]
enum Kind {
    Cpu,
    Reference,
    #[cfg(feature = "cuda")]
    Cuda(CudaDevice),
}

impl Device {
    /// The first CUDA device where there is one that suits, else the CPU; [`fallback`](Device::fallback) then says why.
    ///
    /// # Errors
    /// A CUDA device that is there and fails.
    pub fn auto() -> Result<Device, Error> {
        match Device::cuda(0) {
            Err(Error::Unavailable(reason)) => Ok(Device { kind: Kind::Cpu, fallback: Some(reason) }),
            #[cfg(feature = "cuda")]
            Err(Error::Cuda(reason)) if reason.is_unsuitable() => {
                Ok(Device { kind: Kind::Cpu, fallback: Some(Unavailable::Unsuitable(Box::new(reason))) })
            }
            device => device,
        }
    }

    /// This machine's processor. Never touches a CUDA driver.
    pub fn cpu() -> Device {
        Device { kind: Kind::Cpu, fallback: None }
    }

    /// The definition in `f64`, on this machine's processor. Never touches a CUDA driver.
    pub fn reference() -> Device {
        Device { kind: Kind::Reference, fallback: None }
    }

    /// CUDA device number `ordinal`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where there is no driver or no GPU; [`Error::Cuda`] where there are too few, or it does not
    /// suit.
    #[cfg(feature = "cuda")]
    pub fn cuda(ordinal: usize) -> Result<Device, Error> {
        let ordinal = u32::try_from(ordinal).unwrap_or(u32::MAX);
        Ok(Device { kind: Kind::Cuda(CudaDevice::open(ordinal)?), fallback: None })
    }

    /// CUDA device number `ordinal`: refused, this build is without CUDA.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    #[cfg(not(feature = "cuda"))]
    pub fn cuda(_ordinal: usize) -> Result<Device, Error> {
        Err(Error::Unavailable(Unavailable::NotBuilt))
    }

    /// The GPU, where this is one.
    #[cfg(feature = "cuda")]
    pub fn gpu(&self) -> Option<&CudaDevice> {
        match &self.kind {
            Kind::Cuda(gpu) => Some(gpu),
            _ => None,
        }
    }

    /// What it is called: for CPUs, with how many threads.
    pub fn name(&self) -> String {
        match &self.kind {
            #[cfg(feature = "cuda")]
            Kind::Cuda(gpu) => gpu.name().to_owned(),
            Kind::Cpu => format!("cpu ({})", threads(rayon::current_num_threads())),
            Kind::Reference => format!("reference ({})", threads(rayon::current_num_threads())),
        }
    }

    /// What computes.
    pub fn backend(&self) -> Backend {
        match self.kind {
            Kind::Cpu => Backend::Cpu,
            Kind::Reference => Backend::Reference,
            #[cfg(feature = "cuda")]
            Kind::Cuda(_) => Backend::Cuda,
        }
    }

    /// Why [`auto`](Device::auto) did not choose a CUDA device.
    pub fn fallback(&self) -> Option<&Unavailable> {
        self.fallback.as_ref()
    }

    /// Bytes free there, where known.
    fn available_memory(&self) -> Option<u64> {
        match &self.kind {
            #[cfg(feature = "cuda")]
            Kind::Cuda(gpu) => gpu.available_memory(),
            _ => memory::available(),
        }
    }

    /// What a recipe depends on, as it is now.
    pub fn facts(&self) -> DeviceFacts {
        let (multiprocessors, shared_memory, warpgroups) = match &self.kind {
            #[cfg(feature = "cuda")]
            Kind::Cuda(gpu) => (gpu.facts().multiprocessors, gpu.facts().shared_memory, gpu.has_warpgroups()),
            _ => (0, 0, false),
        };
        DeviceFacts {
            backend: self.backend(),
            threads: rayon::current_num_threads(),
            available_memory: self.available_memory(),
            multiprocessors,
            shared_memory,
            warpgroups,
        }
    }
}

fn threads(count: usize) -> String {
    format!("{count} thread{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_always_there() {
        assert_eq!(Device::cpu().backend(), Backend::Cpu);
        assert_eq!(Device::reference().backend(), Backend::Reference);
        assert!(Device::cpu().name().starts_with("cpu ("));
        assert!(Device::cpu().fallback().is_none());
        assert_eq!(threads(1), "1 thread");
        assert_eq!(threads(2), "2 threads");
    }

    #[test]
    fn auto_says_why_it_fell_back() {
        let auto = Device::auto().unwrap();
        assert_eq!(auto.fallback().is_some(), auto.backend() == Backend::Cpu);
    }
}
