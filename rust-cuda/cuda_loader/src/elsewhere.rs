//! Other platforms: the driver's symbols exist, so that a program using cust links, and there is
//! never a driver behind them.
//!
//! The functions take no arguments whatever their callers pass: under the C conventions of 64-bit
//! platforms the caller cleans up after itself.

#![allow(non_snake_case)]

use std::ffi::c_char;

use crate::codes::{CUDA_ERROR_NO_DEVICE, clamp};
use crate::driver::Driver;
use crate::entries::{Entry, for_each_entry};
use crate::messages::message;
use crate::unavailable::Unavailable;

macro_rules! define {
    ($($name:ident $arity:tt,)*) => { $(symbol!($name);)* };
}
macro_rules! symbol {
    (cuGetErrorString) => { symbol!(@message cuGetErrorString); };
    (cuGetErrorName) => { symbol!(@message cuGetErrorName); };
    ($name:ident) => {
        #[unsafe(no_mangle)]
        extern "C" fn $name() -> u32 {
            let code = crate::symbol(Entry::$name).err().unwrap_or(CUDA_ERROR_NO_DEVICE);
            clamp(Entry::$name, code)
        }
    };
    (@message $name:ident) => {
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(code: u32, out: *mut *const c_char) -> u32 {
            // SAFETY: cust_raw's contract for this function.
            unsafe { message(Entry::$name, code, out) }
        }
    };
}
for_each_entry!(define);

pub(crate) fn open() -> Result<Driver, Unavailable> {
    Err(Unavailable::UnsupportedPlatform { os: std::env::consts::OS, arch: std::env::consts::ARCH })
}

/// Nothing to do: a linker that resolves archives in any order needs no reference.
pub(crate) fn keep_linked() {}
