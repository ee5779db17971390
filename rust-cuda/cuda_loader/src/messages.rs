//! `cuGetErrorString` and `cuGetErrorName`: always a valid string, driver or not.
//!
//! cust's `Display` for its errors calls `cuGetErrorString`, and fails (so that `to_string` panics)
//! where this returns an error. Without a driver, and for a code that the driver does not know, the
//! string is the code's name.

use std::ffi::c_char;
use std::mem::transmute;

use crate::codes::{CUDA_ERROR_INVALID_VALUE, CUDA_SUCCESS, clamp, name_with_nul};
use crate::driver::Symbol;
use crate::entries::Entry;

/// Writes to `out` the string that `entry`, one of the two, has for `code`.
///
/// # Safety
/// `out` is null or valid for a write. `entry` is `cuGetErrorString` or `cuGetErrorName`.
pub(crate) unsafe fn message(entry: Entry, code: u32, out: *mut *const c_char) -> u32 {
    type Function = unsafe extern "C" fn(u32, *mut *const c_char) -> u32;

    if out.is_null() {
        return clamp(entry, CUDA_ERROR_INVALID_VALUE);
    }
    if let Ok(symbol) = crate::symbol(entry) {
        // SAFETY: both entries have the signature of `Function`, and `out` is valid, both by this
        // function's contract; the driver sets it to a string of its own or to null.
        let from_driver = unsafe {
            let code = transmute::<Symbol, Function>(symbol)(code, out);
            code == CUDA_SUCCESS && !(*out).is_null()
        };
        if from_driver {
            return CUDA_SUCCESS;
        }
    }
    // SAFETY: `out` is valid by the contract; the name ends in NUL and is static.
    unsafe { *out = name_with_nul(code).as_ptr().cast() };
    CUDA_SUCCESS
}
