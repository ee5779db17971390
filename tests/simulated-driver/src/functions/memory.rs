//! Device memory: allocating, copying, filling, asking.

use super::put;
use crate::state::{CAPTURE_UNSUPPORTED, Code, INVALID_VALUE, OUT_OF_MEMORY, State, call, give_back};
use crate::work::{End, Work};

/// Free and total bytes.
pub unsafe extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> u32 {
    call("cuMemGetInfo_v2", |state| {
        let (_, memory) = state.current()?;
        let used = memory.in_use().1 as usize;
        // SAFETY: the module's contract.
        unsafe { put(free, state.machine.memory.saturating_sub(used)).and_then(|()| put(total, state.machine.memory)) }
    })
}

/// Allocates; what the memory holds is NaN in every type.
pub unsafe extern "C" fn cuMemAlloc_v2(address: *mut u64, bytes: usize) -> u32 {
    call("cuMemAlloc_v2", |state| {
        let limit = state.machine.memory;
        let (context, memory) = state.current()?;
        if bytes == 0 {
            return Err(INVALID_VALUE);
        }
        if context.captures() {
            return Err(CAPTURE_UNSUPPORTED);
        }
        if bytes > limit.saturating_sub(memory.in_use().1 as usize) {
            return Err(OUT_OF_MEMORY);
        }
        let name = format!("allocation {} of {bytes} bytes", context.allocations.len());
        let given = memory.allocate(&name, bytes as u64);
        context.allocations.insert(given);
        // SAFETY: `bytes` bytes were just allocated there.
        unsafe { state.enqueue(DEFAULT, Work::Fill { address: given, byte: 0xFF, bytes })? };
        // SAFETY: the module's contract.
        unsafe { put(address, given) }
    })
}

/// Frees.
pub unsafe extern "C" fn cuMemFree_v2(address: u64) -> u32 {
    give_back("cuMemFree_v2", |state| {
        // SAFETY: addresses of the host are valid until they are waited for: the callers' promise.
        unsafe { state.catch_up_all() };
        let (context, memory) = state.held()?;
        if context.captures() {
            return Err(CAPTURE_UNSUPPORTED);
        }
        let known = context.allocations.remove(&address) && memory.free(address);
        if known { Ok(()) } else { Err(INVALID_VALUE) }
    })
}

/// A copy whose ends on the device lie in allocations.
///
/// # Safety
/// The end on the host, if there is one, is valid for `bytes` bytes until the stream has passed the copy.
unsafe fn copy(state: &mut State, to: End, from: End, bytes: usize, stream: usize) -> Result<(), Code> {
    let memory = state.current()?.1;
    to.address(bytes, memory)?;
    from.address(bytes, memory)?;
    let work = Work::Copy { to, from, bytes };
    // SAFETY: the caller's promise.
    unsafe { state.enqueue(stream, work) }
}

fn host<T>(pointer: *const T) -> End {
    End::Host(pointer.expose_provenance() as u64)
}

/// The legacy default stream, which the calls without a stream use.
const DEFAULT: usize = 0;

macro_rules! copies {
    ($($blocking:ident $asynchronous:ident ($to:ident: $to_type:ty = $to_end:expr, $from:ident: $from_type:ty = $from_end:expr);)*) => { $(
        /// Copies.
        pub unsafe extern "C" fn $blocking($to: $to_type, $from: $from_type, bytes: usize) -> u32 {
            // SAFETY: the module's contract.
            call(stringify!($blocking), |state| unsafe { copy(state, $to_end, $from_end, bytes, DEFAULT) })
        }

        /// Copies in the order of a stream.
        pub unsafe extern "C" fn $asynchronous($to: $to_type, $from: $from_type, bytes: usize, stream: usize) -> u32 {
            // SAFETY: the module's contract.
            call(stringify!($asynchronous), |state| unsafe { copy(state, $to_end, $from_end, bytes, stream) })
        }
    )* };
}
copies! {
    cuMemcpyHtoD_v2 cuMemcpyHtoDAsync_v2 (to: u64 = End::Device(to), from: *const u8 = host(from));
    cuMemcpyDtoH_v2 cuMemcpyDtoHAsync_v2 (to: *mut u8 = host(to), from: u64 = End::Device(from));
    cuMemcpyDtoD_v2 cuMemcpyDtoDAsync_v2 (to: u64 = End::Device(to), from: u64 = End::Device(from));
}

/// Sets bytes.
pub unsafe extern "C" fn cuMemsetD8_v2(address: u64, byte: u8, bytes: usize) -> u32 {
    // SAFETY: no address of the host.
    call("cuMemsetD8_v2", |state| unsafe { state.enqueue(DEFAULT, Work::Fill { address, byte, bytes }) })
}

/// Sets bytes in the order of a stream.
pub unsafe extern "C" fn cuMemsetD8Async(address: u64, byte: u8, bytes: usize, stream: usize) -> u32 {
    // SAFETY: no address of the host.
    call("cuMemsetD8Async", |state| unsafe { state.enqueue(stream, Work::Fill { address, byte, bytes }) })
}

/// Attribute "memory type" and its value for the device's.
const MEMORY_TYPE: u32 = 2;
const DEVICE: u32 = 2;

/// Whether an address is the device's: the one thing that can be asked here.
pub unsafe extern "C" fn cuPointerGetAttribute(value: *mut u32, attribute: u32, address: u64) -> u32 {
    call("cuPointerGetAttribute", |state| {
        let (_, memory) = state.current()?;
        if attribute != MEMORY_TYPE || !memory.contains(address, 1) {
            return Err(INVALID_VALUE);
        }
        // SAFETY: the module's contract.
        unsafe { put(value, DEVICE) }
    })
}
