//! The CUDA driver bound at run time, under [cust](https://docs.rs/cust) as it is on crates.io.
//!
//! cust asks the linker for `-lcuda`. A program linked so builds only where CUDA is installed and
//! does not start where there is no driver. This crate *defines* the driver's functions that cust
//! refers to, as trampolines into a table, and fills the table from `libcuda.so.1` when [`load`] is
//! called. One binary then builds without CUDA and starts with and without a driver; without one,
//! [`Unavailable`] says why.
//!
//! ```
//! match cuda_loader::load() {
//!     Ok(driver) => println!("CUDA {:?}, {} GPUs", driver.version(), driver.device_count()),
//!     Err(reason) => println!("no GPU: {reason}"),
//! }
//! ```
//!
//! # What an entry returns
//!
//! | when | result |
//! |---|---|
//! | before [`load`] | `CUDA_ERROR_NOT_INITIALIZED` (3) |
//! | after [`load`] failed | `CUDA_ERROR_NO_DEVICE` (100) |
//! | the driver lacks the function | `CUDA_ERROR_NOT_FOUND` (500) |
//! | the driver returns a code that cust_raw's `CUresult` lacks | `CUDA_ERROR_UNKNOWN` (999) |
//! | else | what the driver returns |
//!
//! So no call goes through a null pointer and cust never sees an invalid enum value.
//! [`last_raw_code`] tells the code before it was clamped and [`error_name`] names it.
//! `cuGetErrorString` and `cuGetErrorName` always succeed with a valid string, since cust's
//! `Display` relies on it: the driver's words where there are any, else the code's name.
//!
//! # Which library
//!
//! `libcuda.so.1`, then `libcuda.so`, wherever the dynamic linker finds them. The environment
//! variable `CUDA_LOADER_LIBRARY`, if set and not empty, names the one library to open instead.
//!
//! # Linking
//!
//! Whatever uses cust must also call [`load`]: the reference to it pulls in the object that holds
//! the trampolines, whichever order the linker reads the archives in. See the README for the line
//! that a project adds to its `.cargo/config.toml`.

// Elsewhere nothing binds a driver, but what would do it still compiles.
#![cfg_attr(
    not(all(target_os = "linux", target_pointer_width = "64", any(target_arch = "x86_64", target_arch = "aarch64"))),
    allow(dead_code)
)]

mod codes;
mod driver;
mod entries;
mod messages;
#[cfg(all(target_os = "linux", target_pointer_width = "64", any(target_arch = "x86_64", target_arch = "aarch64")))]
#[path = "linux/mod.rs"]
mod platform;
#[cfg(not(all(
    target_os = "linux",
    target_pointer_width = "64",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
#[path = "elsewhere.rs"]
mod platform;
mod unavailable;

use std::sync::OnceLock;

use codes::{CUDA_ERROR_NO_DEVICE, CUDA_ERROR_NOT_FOUND, CUDA_ERROR_NOT_INITIALIZED};
use driver::Symbol;
use entries::Entry;

pub use codes::{RawCode, error_name, last_raw_code};
pub use driver::{Driver, NEEDED_VERSION};
pub use unavailable::Unavailable;

/// The process's driver, or why there is none; empty until the first [`load`].
static BINDING: OnceLock<Result<Driver, Unavailable>> = OnceLock::new();

/// Binds the CUDA driver: opens its library, fills the table, calls `cuInit`, and asks for the
/// version and the number of GPUs.
///
/// The first call does this, any other returns what the first one found, success or not, at the
/// price of an atomic load. Threads that call it meanwhile wait. The library is never closed.
///
/// # Errors
/// [`Unavailable`] with the reason. No entry reaches a driver then.
pub fn load() -> Result<&'static Driver, Unavailable> {
    bind_once(platform::open)
}

/// Binds an in-process driver in place of the library, for tests. Whichever of this and [`load`]
/// is called first decides.
///
/// # Safety
/// What `lookup` returns for a name is a function of the signature that cust_raw declares under
/// that name, and may be called from any thread for the rest of the process.
///
/// # Errors
/// As [`load`].
#[cfg(feature = "simulated")]
#[doc(hidden)]
pub unsafe fn simulate(lookup: impl Fn(&str) -> Option<*const ()>) -> Result<&'static Driver, Unavailable> {
    bind_once(|| {
        // SAFETY: this function's own contract.
        unsafe { Driver::bind(&lookup, "the simulated driver".as_ref()) }
    })
}

fn bind_once(bind: impl FnOnce() -> Result<Driver, Unavailable>) -> Result<&'static Driver, Unavailable> {
    platform::keep_linked();
    BINDING.get_or_init(bind).as_ref().map_err(Unavailable::clone)
}

/// The driver's function behind an entry, or the code that the entry returns in its place.
fn symbol(entry: Entry) -> Result<Symbol, u32> {
    match BINDING.get() {
        None => Err(CUDA_ERROR_NOT_INITIALIZED),
        Some(Err(_)) => Err(CUDA_ERROR_NO_DEVICE),
        Some(Ok(driver)) => driver.symbol(entry).ok_or(CUDA_ERROR_NOT_FOUND),
    }
}
