//! What can go wrong on a GPU, typed, with the driver's own code.
//!
//! cust folds 29 of the driver's codes into one; [`cuda_loader`] keeps what the driver said, and so does
//! [`CudaError::Call`].

use cust::sys::CUresult;

/// A failure of the CUDA backend.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CudaError {
    /// No driver can be used here.
    #[error(transparent)]
    Unavailable(#[from] cuda_loader::Unavailable),
    /// There are fewer GPUs than that.
    #[error("cuda:{ordinal} was asked for; this machine has {count} CUDA device{}", if *count == 1 { "" } else { "s" })]
    NoSuchDevice {
        /// What was asked for.
        ordinal: u32,
        /// How many there are.
        count: u32,
    },
    /// The GPU is older than the kernels' baseline.
    #[error("{device} has compute capability {}.{}; the kernels need {}.{} or later", found.0, found.1, needed.0, needed.1)]
    DeviceTooOld {
        /// Its name.
        device: String,
        /// Its compute capability.
        found: (u32, u32),
        /// The baseline.
        needed: (u32, u32),
    },
    /// The driver cannot read the kernels' PTX.
    #[error("the CUDA driver supports CUDA {}.{}; PTX {ptx} of the kernels needs CUDA {}.{}: update the NVIDIA driver",
        found.0, found.1, needed.0, needed.1)]
    DriverTooOldForPtx {
        /// The PTX version of the kernels.
        ptx: String,
        /// The CUDA version of the driver.
        found: (u32, u32),
        /// The first that reads that PTX.
        needed: (u32, u32),
    },
    /// The driver refused the kernels.
    #[error("the driver could not load the kernels for {target}: {name} ({code}){}", if log.is_empty() { String::new() } else { format!(": {log}") })]
    Module {
        /// The PTX target.
        target: &'static str,
        /// The driver's code.
        code: u32,
        /// Its name.
        name: &'static str,
        /// What the driver's compiler said, on one line.
        log: String,
    },
    /// A call of the driver failed.
    ///
    /// Kernels run asynchronously: the code may belong to an earlier launch. One that left the context unusable
    /// comes back from every later call.
    #[error("{what} failed: {entry} returned {name} ({code})")]
    Call {
        /// What the call was for.
        what: &'static str,
        /// The driver's function.
        entry: &'static str,
        /// Its code.
        code: u32,
        /// The code's name.
        name: &'static str,
    },
    /// Results were asked for before any run.
    #[error("the plan has no results: it has not run")]
    NothingStaged,
    /// An argument that does not fit the plan.
    #[error("{what} does not fit the plan: {found} where {needed} is needed")]
    Argument {
        /// Which argument.
        what: &'static str,
        /// What it was.
        found: String,
        /// What it must be.
        needed: String,
    },
}

impl CudaError {
    /// Whether the device is there, and it or its driver is too old.
    pub(crate) fn is_unsuitable(&self) -> bool {
        matches!(self, Self::DeviceTooOld { .. } | Self::DriverTooOldForPtx { .. })
    }
}

/// The error of a call that did not return success.
pub(super) fn failed(what: &'static str, result: CUresult) -> CudaError {
    match cuda_loader::last_raw_code() {
        Some(raw) => {
            CudaError::Call { what, entry: raw.entry, code: raw.code, name: cuda_loader::error_name(raw.code) }
        }
        // Every failure passes through the loader, which keeps the code; this arm only spares a panic.
        None => CudaError::Call {
            what,
            entry: "the driver",
            code: result as u32,
            name: cuda_loader::error_name(result as u32),
        },
    }
}

/// Success, or the error of `what`.
pub(super) fn check(what: &'static str, result: CUresult) -> Result<(), CudaError> {
    if result == CUresult::CUDA_SUCCESS { Ok(()) } else { Err(failed(what, result)) }
}

/// The same for what cust's safe functions return.
pub(super) fn checked<T>(what: &'static str, result: cust::error::CudaResult<T>) -> Result<T, CudaError> {
    result.map_err(|_| failed(what, CUresult::CUDA_ERROR_UNKNOWN))
}
