//! Everything that can go wrong, as the library reports it.

use crate::problem::ProblemError;
use crate::tensors::InputError;

/// A failure of the library.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The problem is refused.
    #[error(transparent)]
    Problem(#[from] ProblemError),
    /// The tensors do not fit the problem.
    #[error(transparent)]
    Input(#[from] InputError),
    /// Memory that is not there.
    #[error("{what} needs {}{}", bytes(*needed), available.map_or_else(
        || "; the system refused to give it".to_owned(),
        |available| format!("; {} are available", bytes(available)),
    ))]
    Memory {
        /// What it is for.
        what: &'static str,
        /// Bytes asked for.
        needed: u64,
        /// Bytes there are, where the system says so.
        available: Option<u64>,
    },
    /// An option that this device does not have.
    #[error("{option} = {found} is not supported on the {device} device; {supported}")]
    Unsupported {
        /// The option.
        option: &'static str,
        /// Its value.
        found: String,
        /// Where.
        device: String,
        /// What is supported there, as a clause.
        supported: &'static str,
    },
    /// A way that was asked for and is not one for the problem.
    #[error("algorithm = spectral is not possible for this problem: {0}")]
    Ineligible(crate::plan::Ineligible),
    /// Whoever watches the run asked it to stop.
    #[error("cancelled")]
    Cancelled,
    /// A channel asked for that the problem does not have.
    #[error("channel {found} was asked for; the problem has {out_channels} output channels")]
    Channel {
        /// The index.
        found: usize,
        /// Cout.
        out_channels: usize,
    },
    /// There is no such device here.
    #[error("no CUDA device can be used: {0}")]
    Unavailable(#[from] Unavailable),
    /// A GPU that is there, and fails or does not suit.
    #[cfg(feature = "cuda")]
    #[error(transparent)]
    Cuda(crate::cuda::CudaError),
}

#[cfg(feature = "cuda")]
impl From<crate::cuda::CudaError> for Error {
    fn from(error: crate::cuda::CudaError) -> Error {
        match error {
            crate::cuda::CudaError::Unavailable(reason) => Error::Unavailable(reason.into()),
            error => Error::Cuda(error),
        }
    }
}

/// Why there is no CUDA device.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// The cargo feature `cuda` is off.
    #[error("this build is without CUDA support (cargo feature `cuda`)")]
    NotBuilt,
    /// There is no driver, or no GPU.
    #[cfg(feature = "cuda")]
    #[error(transparent)]
    Driver(#[from] cuda_loader::Unavailable),
    /// There is a GPU, and it or its driver is too old.
    #[cfg(feature = "cuda")]
    #[error(transparent)]
    Unsuitable(Box<crate::cuda::CudaError>),
}

impl Error {
    /// Whether a device failed, or is not there; else what was asked for is at fault.
    pub fn is_device_failure(&self) -> bool {
        match self {
            Error::Unavailable(_) => true,
            #[cfg(feature = "cuda")]
            Error::Cuda(error) => !matches!(error, crate::cuda::CudaError::Argument { .. }),
            _ => false,
        }
    }
}

/// `needed` in the largest binary unit that keeps it at least 1.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} bytes");
    }
    let power = (count.ilog2() / 10) as usize;
    format!("{:.1} {}", count as f64 / (1u64 << (10 * power)) as f64, UNITS[power - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_readable() {
        assert_eq!(bytes(0), "0 bytes");
        assert_eq!(bytes(1023), "1023 bytes");
        assert_eq!(bytes(1024), "1.0 KiB");
        assert_eq!(bytes(3 << 29), "1.5 GiB");
        assert_eq!(bytes(u64::MAX), "16.0 EiB");
    }

    #[test]
    fn memory_says_both_numbers() {
        let error = Error::Memory { what: "the reference", needed: 2 << 40, available: Some(1 << 30) };
        assert_eq!(error.to_string(), "the reference needs 2.0 TiB; 1.0 GiB are available");
    }

    #[test]
    fn only_devices_fail_as_devices() {
        assert!(Error::Unavailable(Unavailable::NotBuilt).is_device_failure());
        assert!(!Error::Channel { found: 3, out_channels: 2 }.is_device_failure());
        assert!(!Error::Memory { what: "x", needed: 1, available: None }.is_device_failure());
    }
}
