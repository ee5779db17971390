//! Result codes: their names, which of them cust_raw's enum has, and the last one that failed.
//!
//! cust_raw 0.11.3 declares `CUresult` as a Rust enum with the values of CUDA 11.4. A value outside
//! an enum is undefined behaviour the moment it is returned, and later drivers have later codes. So
//! an entry turns every code the enum lacks into `CUDA_ERROR_UNKNOWN` (999). cust in turn folds 29
//! of the codes that it does get into `UnknownError`, among them 222 (PTX newer than the driver)
//! and 209 (no image for this GPU). [`last_raw_code`] keeps what the driver said before both.

use std::cell::Cell;
use std::fmt;

use crate::entries::Entry;

macro_rules! codes {
    (
        cust_raw { $($old:ident = $old_code:literal,)* }
        later { $($new:ident = $new_code:literal,)* }
    ) => {
        /// The name of a code with a final NUL, as `cuGetErrorName` hands it out.
        pub(crate) const fn name_with_nul(raw: u32) -> &'static str {
            match raw {
                $($old_code => concat!(stringify!($old), "\0"),)*
                $($new_code => concat!(stringify!($new), "\0"),)*
                _ => "unrecognized CUDA error\0",
            }
        }

        /// Whether cust_raw's `CUresult` has the value.
        const fn is_in_cust_raw(raw: u32) -> bool {
            matches!(raw, $($old_code)|*)
        }

        $(#[allow(dead_code)] pub(crate) const $old: u32 = $old_code;)*

        #[cfg(test)]
        const OLD: &[(u32, u32)] = &[$(($old_code, cust::sys::CUresult::$old as u32),)*];
        #[cfg(test)]
        const NEW: &[u32] = &[$($new_code,)*];
    };
}

codes! {
    cust_raw {
        CUDA_SUCCESS = 0,
        CUDA_ERROR_INVALID_VALUE = 1,
        CUDA_ERROR_OUT_OF_MEMORY = 2,
        CUDA_ERROR_NOT_INITIALIZED = 3,
        CUDA_ERROR_DEINITIALIZED = 4,
        CUDA_ERROR_PROFILER_DISABLED = 5,
        CUDA_ERROR_PROFILER_NOT_INITIALIZED = 6,
        CUDA_ERROR_PROFILER_ALREADY_STARTED = 7,
        CUDA_ERROR_PROFILER_ALREADY_STOPPED = 8,
        CUDA_ERROR_STUB_LIBRARY = 34,
        CUDA_ERROR_NO_DEVICE = 100,
        CUDA_ERROR_INVALID_DEVICE = 101,
        CUDA_ERROR_DEVICE_NOT_LICENSED = 102,
        CUDA_ERROR_INVALID_IMAGE = 200,
        CUDA_ERROR_INVALID_CONTEXT = 201,
        CUDA_ERROR_CONTEXT_ALREADY_CURRENT = 202,
        CUDA_ERROR_MAP_FAILED = 205,
        CUDA_ERROR_UNMAP_FAILED = 206,
        CUDA_ERROR_ARRAY_IS_MAPPED = 207,
        CUDA_ERROR_ALREADY_MAPPED = 208,
        CUDA_ERROR_NO_BINARY_FOR_GPU = 209,
        CUDA_ERROR_ALREADY_ACQUIRED = 210,
        CUDA_ERROR_NOT_MAPPED = 211,
        CUDA_ERROR_NOT_MAPPED_AS_ARRAY = 212,
        CUDA_ERROR_NOT_MAPPED_AS_POINTER = 213,
        CUDA_ERROR_ECC_UNCORRECTABLE = 214,
        CUDA_ERROR_UNSUPPORTED_LIMIT = 215,
        CUDA_ERROR_CONTEXT_ALREADY_IN_USE = 216,
        CUDA_ERROR_PEER_ACCESS_UNSUPPORTED = 217,
        CUDA_ERROR_INVALID_PTX = 218,
        CUDA_ERROR_INVALID_GRAPHICS_CONTEXT = 219,
        CUDA_ERROR_NVLINK_UNCORRECTABLE = 220,
        CUDA_ERROR_JIT_COMPILER_NOT_FOUND = 221,
        CUDA_ERROR_UNSUPPORTED_PTX_VERSION = 222,
        CUDA_ERROR_JIT_COMPILATION_DISABLED = 223,
        CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY = 224,
        CUDA_ERROR_INVALID_SOURCE = 300,
        CUDA_ERROR_FILE_NOT_FOUND = 301,
        CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND = 302,
        CUDA_ERROR_SHARED_OBJECT_INIT_FAILED = 303,
        CUDA_ERROR_OPERATING_SYSTEM = 304,
        CUDA_ERROR_INVALID_HANDLE = 400,
        CUDA_ERROR_ILLEGAL_STATE = 401,
        CUDA_ERROR_NOT_FOUND = 500,
        CUDA_ERROR_NOT_READY = 600,
        CUDA_ERROR_ILLEGAL_ADDRESS = 700,
        CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES = 701,
        CUDA_ERROR_LAUNCH_TIMEOUT = 702,
        CUDA_ERROR_LAUNCH_INCOMPATIBLE_TEXTURING = 703,
        CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED = 704,
        CUDA_ERROR_PEER_ACCESS_NOT_ENABLED = 705,
        CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE = 708,
        CUDA_ERROR_CONTEXT_IS_DESTROYED = 709,
        CUDA_ERROR_ASSERT = 710,
        CUDA_ERROR_TOO_MANY_PEERS = 711,
        CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED = 712,
        CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED = 713,
        CUDA_ERROR_HARDWARE_STACK_ERROR = 714,
        CUDA_ERROR_ILLEGAL_INSTRUCTION = 715,
        CUDA_ERROR_MISALIGNED_ADDRESS = 716,
        CUDA_ERROR_INVALID_ADDRESS_SPACE = 717,
        CUDA_ERROR_INVALID_PC = 718,
        CUDA_ERROR_LAUNCH_FAILED = 719,
        CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE = 720,
        CUDA_ERROR_NOT_PERMITTED = 800,
        CUDA_ERROR_NOT_SUPPORTED = 801,
        CUDA_ERROR_SYSTEM_NOT_READY = 802,
        CUDA_ERROR_SYSTEM_DRIVER_MISMATCH = 803,
        CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE = 804,
        CUDA_ERROR_MPS_CONNECTION_FAILED = 805,
        CUDA_ERROR_MPS_RPC_FAILURE = 806,
        CUDA_ERROR_MPS_SERVER_NOT_READY = 807,
        CUDA_ERROR_MPS_MAX_CLIENTS_REACHED = 808,
        CUDA_ERROR_MPS_MAX_CONNECTIONS_REACHED = 809,
        CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED = 900,
        CUDA_ERROR_STREAM_CAPTURE_INVALIDATED = 901,
        CUDA_ERROR_STREAM_CAPTURE_MERGE = 902,
        CUDA_ERROR_STREAM_CAPTURE_UNMATCHED = 903,
        CUDA_ERROR_STREAM_CAPTURE_UNJOINED = 904,
        CUDA_ERROR_STREAM_CAPTURE_ISOLATION = 905,
        CUDA_ERROR_STREAM_CAPTURE_IMPLICIT = 906,
        CUDA_ERROR_CAPTURED_EVENT = 907,
        CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD = 908,
        CUDA_ERROR_TIMEOUT = 909,
        CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE = 910,
        CUDA_ERROR_EXTERNAL_DEVICE = 911,
        CUDA_ERROR_UNKNOWN = 999,
    }
    later {
        CUDA_ERROR_CALL_REQUIRES_NEWER_DRIVER = 36,
        CUDA_ERROR_DEVICE_UNAVAILABLE = 46,
        CUDA_ERROR_MULTICAST_RESOURCE_FULL = 47,
        CUDA_ERROR_UNSUPPORTED_DEVSIDE_SYNC = 225,
        CUDA_ERROR_CONTAINED = 226,
        CUDA_ERROR_INSUFFICIENT_LOADER_VERSION = 227,
        CUDA_ERROR_LOSSY_QUERY = 402,
        CUDA_ERROR_TENSOR_MEMORY_LEAK = 721,
        CUDA_ERROR_MPS_CLIENT_TERMINATED = 810,
        CUDA_ERROR_CDP_NOT_SUPPORTED = 811,
        CUDA_ERROR_CDP_VERSION_MISMATCH = 812,
        CUDA_ERROR_INVALID_CLUSTER_SIZE = 912,
        CUDA_ERROR_FUNCTION_NOT_LOADED = 913,
        CUDA_ERROR_INVALID_RESOURCE_TYPE = 914,
        CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION = 915,
        CUDA_ERROR_KEY_ROTATION = 916,
        CUDA_ERROR_STREAM_DETACHED = 917,
        CUDA_ERROR_GRAPH_RECAPTURE_FAILURE = 918,
        CUDA_ERROR_FABRIC_NOT_READY = 919,
    }
}

/// The name of a driver result code, of CUDA 13.5 and before: `error_name(222)` is
/// `"CUDA_ERROR_UNSUPPORTED_PTX_VERSION"`. Any other is `"unrecognized CUDA error"`.
///
/// A table, so it needs no driver.
pub fn error_name(raw: u32) -> &'static str {
    name_with_nul(raw).trim_end_matches('\0')
}

/// A result other than success, as the driver gave it: see [`last_raw_code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RawCode {
    /// The driver function that returned it.
    pub entry: &'static str,
    /// The code. [`error_name`] names it.
    pub code: u32,
}

impl fmt::Display for RawCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} returned {} ({})", self.entry, error_name(self.code), self.code)
    }
}

thread_local! {
    static LAST: Cell<Option<RawCode>> = const { Cell::new(None) };
}

/// The last result other than success that a driver function returned on this thread, before it
/// was clamped to cust_raw's enum.
///
/// Read it directly after a call of cust failed. Success does not clear it, and dropping cust's
/// values calls the driver too, so later it may belong to another call.
pub fn last_raw_code() -> Option<RawCode> {
    LAST.get()
}

/// Turns what the driver returned into what cust_raw may see, and keeps the raw code.
pub(crate) fn clamp(entry: Entry, raw: u32) -> u32 {
    if raw == CUDA_SUCCESS {
        return raw;
    }
    LAST.set(Some(RawCode { entry: entry.name(), code: raw }));
    if is_in_cust_raw(raw) { raw } else { CUDA_ERROR_UNKNOWN }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_codes_are_cust_raws() {
        for &(code, in_cust_raw) in OLD {
            assert_eq!(code, in_cust_raw);
            assert_eq!(clamp(Entry::cuInit, code), code);
        }
        assert_eq!(OLD.len(), 87);
    }

    #[test]
    fn later_and_unheard_of_codes_are_clamped_and_kept() {
        for &code in NEW.iter().chain(&[920, 12_345, u32::MAX]) {
            assert_eq!(clamp(Entry::cuMemAlloc_v2, code), CUDA_ERROR_UNKNOWN);
            assert_eq!(last_raw_code(), Some(RawCode { entry: "cuMemAlloc_v2", code }));
        }
    }

    #[test]
    fn success_leaves_the_last_failure_alone() {
        clamp(Entry::cuLaunchKernel, 222);
        clamp(Entry::cuMemFree_v2, 0);
        assert_eq!(
            last_raw_code().unwrap().to_string(),
            "cuLaunchKernel returned CUDA_ERROR_UNSUPPORTED_PTX_VERSION (222)"
        );
        let elsewhere = std::thread::spawn(last_raw_code).join().unwrap();
        assert_eq!(elsewhere, None, "kept per thread");
    }

    #[test]
    fn names() {
        assert_eq!(error_name(0), "CUDA_SUCCESS");
        assert_eq!(error_name(917), "CUDA_ERROR_STREAM_DETACHED");
        assert_eq!(error_name(12_345), "unrecognized CUDA error");
        for code in 0..2000 {
            assert_eq!(name_with_nul(code).find('\0'), Some(error_name(code).len()));
        }
    }
}
