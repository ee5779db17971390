//! A process without a driver: cust returns errors, the reason is typed, nothing crashes.
//!
//! One test, because binding is once a process.

use std::ffi::{CStr, c_char};
use std::ptr::null;
use std::thread;

use cuda_loader::{Unavailable, last_raw_code, load};
use cust::CudaFlags;
use cust::error::CudaError;
use cust::sys::{CUresult, cuGetErrorName, cuGetErrorString};

#[test]
fn without_a_driver() {
    // SAFETY: this process's only test, and no thread of its own has started yet.
    unsafe { std::env::set_var("CUDA_LOADER_LIBRARY", "/nonexistent/libcuda.so.1") };

    // Before load.
    assert_eq!(cust::init(CudaFlags::empty()), Err(CudaError::NotInitialized));
    let raw = last_raw_code().unwrap();
    assert_eq!((raw.entry, raw.code), ("cuInit", 3));
    every_code_has_a_message();

    // From several threads at once: one answer.
    let threads: Vec<_> = (0..8).map(|_| thread::spawn(|| load().unwrap_err())).collect();
    let reason = load().unwrap_err();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), reason);
    }
    let Unavailable::NoLibrary { ref tried, reason: ref cause, .. } = reason else { panic!("{reason:?}") };
    assert_eq!(tried, &["/nonexistent/libcuda.so.1"]);
    assert!(cause.contains("/nonexistent/libcuda.so.1: "), "{cause}");
    let sentence = reason.to_string();
    let start = "no CUDA driver library could be opened (tried /nonexistent/libcuda.so.1): ";
    assert!(sentence.starts_with(start), "{sentence}");

    // After load failed.
    let error = cust::init(CudaFlags::empty()).unwrap_err();
    assert_eq!(error, CudaError::NoDevice);
    assert_eq!(error.to_string(), "\"CUDA_ERROR_NO_DEVICE\"");
    assert!(cust::device::Device::num_devices().is_err());
    assert!(cust::memory::DeviceBuffer::from_slice(&[1.0f32; 4]).is_err());
    assert!(cust::module::Module::from_ptx("", &[]).is_err());
    assert_eq!(last_raw_code().unwrap().code, 100);
    every_code_has_a_message();

    no_driver_is_mapped();
}

fn every_code_has_a_message() {
    for code in [0, 1, 3, 34, 100, 222, 500, 719, 911, 999] {
        // SAFETY: each of these is a value of cust_raw's enum, which is `repr(u32)`.
        let code = unsafe { std::mem::transmute::<u32, CUresult>(code) };
        for message in [cuGetErrorString, cuGetErrorName] {
            let mut string: *const c_char = null();
            // SAFETY: `string` is valid for a write.
            let result = unsafe { message(code, &mut string) };
            assert_eq!(result, CUresult::CUDA_SUCCESS);
            assert!(!string.is_null());
            // SAFETY: not null, and on success a string that lives as long as the process.
            let string = unsafe { CStr::from_ptr(string) };
            assert_eq!(string.to_str().unwrap(), format!("{code:?}"));
        }
    }
    // SAFETY: null is refused, not written to.
    let code = unsafe { cuGetErrorString(CUresult::CUDA_SUCCESS, std::ptr::null_mut()) };
    assert_eq!(code, CUresult::CUDA_ERROR_INVALID_VALUE);
    assert_eq!(last_raw_code().unwrap().entry, "cuGetErrorString");
}

/// The dynamic linker would have mapped a libcuda that the program depends on.
fn no_driver_is_mapped() {
    if cfg!(target_os = "linux") {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        assert!(maps.contains("libc.so"), "the C library is a dependency:\n{maps}");
        assert!(!maps.contains("libcuda.so"), "{maps}");
    }
}
