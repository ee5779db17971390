//! Why there is no driver to use.

use std::path::PathBuf;

/// Why [`load`](crate::load) found no usable driver. Each displays as one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// The library could not be opened: no NVIDIA driver is installed, or not where the dynamic
    /// linker looks.
    #[error("no CUDA driver library could be opened (tried {}): {reason}", tried.join(", "))]
    #[non_exhaustive]
    NoLibrary {
        /// The names tried, in order.
        tried: Vec<String>,
        /// What the dynamic linker said of each.
        reason: String,
    },

    /// The library is the CUDA toolkit's stub, which exists to be linked against, not to be run.
    #[error(
        "{} is the CUDA toolkit's stub library, not a driver: \
         take its folder off the library search path or install the NVIDIA driver",
        path.display()
    )]
    #[non_exhaustive]
    StubLibrary {
        /// Where the library lies.
        path: PathBuf,
    },

    /// The library lacks functions without which no kernel can run.
    #[error("the CUDA driver library lacks {}, without which no kernel can run", names.join(", "))]
    #[non_exhaustive]
    MissingSymbol {
        /// The functions it lacks.
        names: Vec<&'static str>,
    },

    /// The driver is older than cust's bindings.
    #[error(
        "the CUDA driver supports CUDA {}.{} but at least {}.{} is needed: update the NVIDIA driver",
        found.0, found.1, needed.0, needed.1
    )]
    #[non_exhaustive]
    DriverTooOld {
        /// The CUDA version the driver supports, (major, minor).
        found: (u32, u32),
        /// [`NEEDED_VERSION`](crate::NEEDED_VERSION).
        needed: (u32, u32),
    },

    /// There is a driver but no GPU that this process may use.
    #[error("the CUDA driver finds no GPU that this process may use (CUDA_VISIBLE_DEVICES can hide one)")]
    NoDevice,

    /// The library and the kernel's driver do not fit: codes 803 and 804. An update without a
    /// restart, or a container's forward-compatibility library on a GPU that does not support it.
    #[error(
        "the CUDA driver library does not fit the driver in the kernel ({name}, {code}): \
         restart after a driver update, or remove the CUDA compatibility library"
    )]
    #[non_exhaustive]
    DriverMismatch {
        /// The driver's code.
        code: u32,
        /// Its [`error_name`](crate::error_name).
        name: &'static str,
    },

    /// The driver failed to start in another way.
    #[error("the CUDA driver failed to start: {entry} returned {name} ({code})")]
    #[non_exhaustive]
    InitFailed {
        /// The function that failed.
        entry: &'static str,
        /// The driver's code.
        code: u32,
        /// Its [`error_name`](crate::error_name).
        name: &'static str,
    },

    /// This build cannot bind a driver: it does on 64-bit Linux on x86-64 and Arm.
    #[error("the CUDA driver can be bound on Linux on x86_64 or aarch64, not on {os} on {arch}")]
    #[non_exhaustive]
    UnsupportedPlatform {
        /// The operating system of this build.
        os: &'static str,
        /// The processor of this build.
        arch: &'static str,
    },
}
