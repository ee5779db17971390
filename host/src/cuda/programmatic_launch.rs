//! Launches whose blocks may be sent before the grid ahead of them in the stream has ended: every kernel waits for it by itself, see
//! [`cuda_std::programmatic_launch`].
//!
//! The function is newer than cust's bindings: its types are those of the CUDA driver API, "Execution Control: cuLaunchKernelEx".

use std::ffi::{CString, c_int, c_uint, c_void};
use std::{mem, ptr};

use cust::sys;

use super::error::{CudaError, check};

/// The driver's function.
const NAME: &str = "cuLaunchKernelEx";
/// A CUDA version that has it, in this form.
const SINCE: c_int = 11_080;
/// The first CUDA version whose graphs keep such launches as they are.
const NEEDED: (u32, u32) = (12, 3);
/// The PTX whose kernels wait.
const TARGET: &str = "sm_90a";
/// `CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION`.
const STREAM_SERIALIZATION: c_int = 6;

/// `CUlaunchAttribute`, whose value is a union of 64 bytes, with pointers among it; this attribute's is one number.
#[repr(C, align(8))]
struct Attribute {
    id: c_int,
    padding: u32,
    value: c_int,
    unused: [u32; 15],
}

/// `CUlaunchConfig`.
#[repr(C)]
struct Config {
    grid: [c_uint; 3],
    block: [c_uint; 3],
    shared_bytes: c_uint,
    stream: sys::CUstream,
    attributes: *const Attribute,
    attribute_count: c_uint,
}

/// Its code comes as a number: the driver's may be one that cust's `CUresult` does not know.
type LaunchKernelEx = unsafe extern "C" fn(*const Config, sys::CUfunction, *mut *mut c_void, *mut *mut c_void) -> u32;

/// The driver's function, where kernels may be launched so.
#[derive(Clone, Copy)]
pub(super) struct ProgrammaticLaunch(LaunchKernelEx);

impl ProgrammaticLaunch {
    /// None where the kernels do not wait, or the driver's graphs could not hold the launches. A driver that fails to say is told like any
    /// other failure.
    ///
    /// # Errors
    /// [`CudaError::Call`].
    pub(super) fn find(target: &str, driver: (u32, u32)) -> Result<Option<Self>, CudaError> {
        if target != TARGET || driver < NEEDED {
            return Ok(None);
        }
        let (name, mut function) = (CString::new(NAME).unwrap_or_default(), ptr::null_mut());
        // SAFETY: a C string; writes one pointer.
        let result = unsafe { sys::cuGetProcAddress(name.as_ptr(), &mut function, SINCE, 0) };
        if result == sys::CUresult::CUDA_ERROR_NOT_FOUND {
            return Ok(None);
        }
        check("looking up cuLaunchKernelEx", result)?;
        if function.is_null() {
            return Ok(None);
        }
        // SAFETY: not null, and by the driver the function of that name, whose signature since that version this is.
        Ok(Some(Self(unsafe { mem::transmute::<*mut c_void, LaunchKernelEx>(function) })))
    }

    /// `cuLaunchKernel` in one dimension, let in early.
    ///
    /// # Errors
    /// [`CudaError::Call`], with the driver's own code.
    ///
    /// # Safety
    /// As that function's; the kernel waits for the grids ahead of it before anything else.
    pub(super) unsafe fn launch(
        self,
        what: &'static str,
        function: sys::CUfunction,
        [blocks, threads, shared_bytes]: [u32; 3],
        stream: sys::CUstream,
        arguments: *mut *mut c_void,
    ) -> Result<(), CudaError> {
        let attribute = Attribute { id: STREAM_SERIALIZATION, padding: 0, value: 1, unused: [0; 15] };
        let config = Config {
            grid: [blocks, 1, 1],
            block: [threads, 1, 1],
            shared_bytes,
            stream,
            attributes: &attribute,
            attribute_count: 1,
        };
        // SAFETY: the caller's promise; the driver reads the configuration and its attribute before it returns.
        match unsafe { (self.0)(&config, function, arguments, ptr::null_mut()) } {
            0 => Ok(()),
            code => Err(CudaError::Call { what, entry: NAME, code, name: cuda_loader::error_name(code) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layouts_are_those_of_the_header() {
        assert_eq!((size_of::<Attribute>(), align_of::<Attribute>(), mem::offset_of!(Attribute, value)), (72, 8, 8));
        let offsets = [
            mem::offset_of!(Config, shared_bytes),
            mem::offset_of!(Config, stream),
            mem::offset_of!(Config, attributes),
            mem::offset_of!(Config, attribute_count),
        ];
        assert_eq!((offsets, size_of::<Config>()), ([24, 32, 40, 48], 56));
    }

    #[test]
    fn only_kernels_that_wait_on_drivers_that_know_it() {
        assert!(ProgrammaticLaunch::find("sm_80", (13, 0)).is_ok_and(|found| found.is_none()));
        assert!(ProgrammaticLaunch::find("sm_90a", (12, 2)).is_ok_and(|found| found.is_none()));
    }
}
