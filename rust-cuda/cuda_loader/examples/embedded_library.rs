//! A library that uses cust, as one loaded into another program's process does.
//!
//! The tests look for what it must not have: the driver's symbols among its exports, and the
//! driver among its dependencies.

/// Returns the number of GPUs that cust counts; 0 where there is no driver.
#[unsafe(no_mangle)]
pub extern "C" fn embedded_library_count_devices() -> u32 {
    match cuda_loader::load() {
        Ok(_) => cust::device::Device::num_devices().unwrap_or(0),
        Err(_) => 0,
    }
}
