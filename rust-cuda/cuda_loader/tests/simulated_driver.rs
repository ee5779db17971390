//! An in-process driver under cust: arguments arrive, results come back clamped.
//!
//! One test function, because binding is once a process and the order of its parts matters.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_uint, c_void};
use std::mem::transmute;
use std::ptr::{null, null_mut, without_provenance_mut};

use cuda_loader::{last_raw_code, load};
use cust::CudaFlags;
use cust::error::CudaError;
use cust::sys;

/// The eleven arguments of `cuLaunchKernel`, as words.
type Launch = [u64; 11];

thread_local! {
    static LAUNCHED: Cell<Launch> = const { Cell::new([0; 11]) };
    static ALLOCATION: Cell<u32> = const { Cell::new(0) };
    static FILLED: Cell<(u64, u8, usize)> = const { Cell::new((0, 0, 0)) };
}

extern "C" fn succeed() -> u32 {
    0
}

unsafe extern "C" fn driver_get_version(version: *mut i32) -> u32 {
    // SAFETY: the caller's contract; so for every `out` pointer below.
    unsafe { *version = 13_000 };
    0
}

unsafe extern "C" fn device_get_count(count: *mut i32) -> u32 {
    // SAFETY: as above.
    unsafe { *count = 3 };
    0
}

/// Fails with the code that the test asks for, or gives an address with all its upper bits set.
unsafe extern "C" fn mem_alloc(address: *mut u64, _bytes: usize) -> u32 {
    // SAFETY: as above.
    unsafe { *address = 0xfedc_ba98_7654_3200 };
    ALLOCATION.get()
}

extern "C" fn memset_d8(address: u64, byte: u8, count: usize) -> u32 {
    FILLED.set((address, byte, count));
    0
}

extern "C" fn launch_kernel(
    function: *mut c_void,
    grid_x: c_uint,
    grid_y: c_uint,
    grid_z: c_uint,
    block_x: c_uint,
    block_y: c_uint,
    block_z: c_uint,
    shared_bytes: c_uint,
    stream: *mut c_void,
    parameters: *mut *mut c_void,
    extra: *mut *mut c_void,
) -> u32 {
    LAUNCHED.set([
        function as u64,
        grid_x.into(),
        grid_y.into(),
        grid_z.into(),
        block_x.into(),
        block_y.into(),
        block_z.into(),
        shared_bytes.into(),
        stream as u64,
        parameters as u64,
        extra as u64,
    ]);
    719
}

/// Knows code 100 and, as the driver does for what it does not know, gives null else.
unsafe extern "C" fn get_error_string(code: u32, string: *mut *const c_char) -> u32 {
    let (text, result) = match code {
        100 => (c"no CUDA-capable device is detected".as_ptr(), 0),
        _ => (null(), 1),
    };
    // SAFETY: as above.
    unsafe { *string = text };
    result
}

fn lookup(name: &str) -> Option<*const ()> {
    Some(match name {
        "cuDriverGetVersion" => driver_get_version as *const (),
        "cuDeviceGetCount" => device_get_count as *const (),
        "cuMemAlloc_v2" => mem_alloc as *const (),
        "cuMemsetD8_v2" => memset_d8 as *const (),
        "cuLaunchKernel" => launch_kernel as *const (),
        "cuGetErrorString" => get_error_string as *const (),
        "cuGetErrorName" | "cuGraphLaunch" => return None,
        _ => succeed as *const (),
    })
}

#[test]
fn a_simulated_driver() {
    // SAFETY: the functions that write through their arguments have cust_raw's signatures; those
    // that this test reaches through `succeed` ignore theirs.
    let driver = unsafe { cuda_loader::simulate(lookup) }.unwrap();
    assert_eq!((driver.version(), driver.device_count()), ((13, 0), 3));
    assert_eq!(driver.missing_symbols(), ["cuGetErrorName", "cuGraphLaunch"]);
    assert!(std::ptr::eq(load().unwrap(), driver), "bound once");

    assert_eq!(cust::init(CudaFlags::empty()), Ok(()));
    assert_eq!(cust::device::Device::num_devices(), Ok(3));
    assert_eq!(last_raw_code(), None, "nothing has failed");

    results_are_clamped_and_kept();
    a_missing_function_is_not_found();
    eleven_arguments_arrive();
    narrow_and_wide_arguments_arrive();
    messages();
}

fn results_are_clamped_and_kept() {
    let allocate = || {
        let mut address = 0;
        // SAFETY: `address` is valid for a write.
        (unsafe { sys::cuMemAlloc_v2(&mut address, 16) }, address)
    };
    ALLOCATION.set(0);
    assert_eq!(allocate(), (sys::CUresult::CUDA_SUCCESS, 0xfedc_ba98_7654_3200));
    // In cust_raw's enum; cust folds 222 into UnknownError but not 2.
    for (code, seen, folded) in [
        (2, sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY, CudaError::OutOfMemory),
        (222, sys::CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION, CudaError::UnknownError),
        // Later than the enum, and of no version.
        (226, sys::CUresult::CUDA_ERROR_UNKNOWN, CudaError::UnknownError),
        (917, sys::CUresult::CUDA_ERROR_UNKNOWN, CudaError::UnknownError),
        (99_999, sys::CUresult::CUDA_ERROR_UNKNOWN, CudaError::UnknownError),
    ] {
        ALLOCATION.set(code);
        assert_eq!(allocate().0, seen);
        // SAFETY: memory is not touched, the simulated driver's allocation fails.
        let result = unsafe { cust::memory::cuda_malloc::<f32>(4) };
        assert_eq!(result.unwrap_err(), folded);
        let raw = last_raw_code().unwrap();
        assert_eq!((raw.entry, raw.code), ("cuMemAlloc_v2", code));
    }
}

fn a_missing_function_is_not_found() {
    // SAFETY: no driver function is reached.
    let result = unsafe { sys::cuGraphLaunch(null_mut(), null_mut()) };
    assert_eq!(result, sys::CUresult::CUDA_ERROR_NOT_FOUND);
    assert_eq!(last_raw_code().unwrap().to_string(), "cuGraphLaunch returned CUDA_ERROR_NOT_FOUND (500)");
}

/// Six or eight travel in registers, the others on the stack; each has a value of its own that
/// fills its type.
fn eleven_arguments_arrive() {
    let sent: Launch = [
        0xf111_1111_1111_1111,
        0xf222_2222,
        0xf333_3333,
        0xf444_4444,
        0xf555_5555,
        0xf666_6666,
        0xf777_7777,
        0xf888_8888,
        0xf999_9999_9999_9999,
        0xfaaa_aaaa_aaaa_aaaa,
        0xfbbb_bbbb_bbbb_bbbb,
    ];
    let address = |word: u64| word as usize;
    // SAFETY: the simulated function only notes its arguments.
    let result = unsafe {
        sys::cuLaunchKernel(
            without_provenance_mut(address(sent[0])),
            sent[1] as u32,
            sent[2] as u32,
            sent[3] as u32,
            sent[4] as u32,
            sent[5] as u32,
            sent[6] as u32,
            sent[7] as u32,
            without_provenance_mut(address(sent[8])),
            without_provenance_mut(address(sent[9])),
            without_provenance_mut(address(sent[10])),
        )
    };
    assert_eq!(result, sys::CUresult::CUDA_ERROR_LAUNCH_FAILED);
    assert_eq!(LAUNCHED.get(), sent);
}

fn narrow_and_wide_arguments_arrive() {
    // SAFETY: the simulated function only notes its arguments.
    let result = unsafe { sys::cuMemsetD8_v2(u64::MAX - 1, 0xa5, usize::MAX) };
    assert_eq!(result, sys::CUresult::CUDA_SUCCESS);
    assert_eq!(FILLED.get(), (u64::MAX - 1, 0xa5, usize::MAX));
}

/// The driver's words where it has some, else the code's name, through cust's `Display` as well.
fn messages() {
    let message = |ask: unsafe extern "C" fn(sys::CUresult, *mut *const c_char) -> sys::CUresult, code: u32| {
        let mut string = null();
        // SAFETY: `code` is one of cust_raw's values below; `string` is valid for a write and, on
        // success, holds a string that lives as long as the process.
        unsafe {
            let result = ask(transmute::<u32, sys::CUresult>(code), &mut string);
            assert_eq!(result, sys::CUresult::CUDA_SUCCESS);
            CStr::from_ptr(string).to_str().unwrap()
        }
    };
    assert_eq!(message(sys::cuGetErrorString, 100), "no CUDA-capable device is detected");
    assert_eq!(message(sys::cuGetErrorString, 222), "CUDA_ERROR_UNSUPPORTED_PTX_VERSION");
    assert_eq!(message(sys::cuGetErrorName, 100), "CUDA_ERROR_NO_DEVICE");
    assert_eq!(CudaError::NoDevice.to_string(), "\"no CUDA-capable device is detected\"");
    assert_eq!(CudaError::LaunchFailed.to_string(), "\"CUDA_ERROR_LAUNCH_FAILED\"");
}
