//! The whole way with a real shared library: environment, dlopen, dlsym, trampolines, cust.
//!
//! One test, because binding is once a process.
#![cfg(target_os = "linux")]

mod fake_driver;

use cust::CudaFlags;
use cust::error::CudaError;

#[test]
fn a_library_named_by_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let answers = ["INIT_RESULT=0", "VERSION=12080", "DEVICES=2"];
    let Some(library) = fake_driver::compile(folder.path(), &answers) else {
        return;
    };
    // SAFETY: this process's only test, and no thread of its own has started yet.
    unsafe { std::env::set_var("CUDA_LOADER_LIBRARY", library) };

    let driver = cuda_loader::load().unwrap();
    assert_eq!((driver.version(), driver.device_count()), ((12, 8), 2));
    assert!(driver.missing_symbols().contains(&"cuMemGetInfo_v2"));
    assert!(!driver.missing_symbols().contains(&"cuLaunchKernel"));

    assert_eq!(cust::init(CudaFlags::empty()), Ok(()));
    assert_eq!(cust::device::Device::num_devices(), Ok(2));
    assert_eq!(cust::memory::mem_get_info().unwrap_err(), CudaError::NotFound);
}
