//! Three kernels that hold what PTX of this project holds: a parameter block, bounds, shared memory, a call, a
//! panic, barriers between branches. The markers are written out, as `#[kernel]` writes them.
#![no_std]
#![cfg(target_arch = "nvptx64")]
#![feature(abi_ptx, asm_experimental_arch, stdarch_nvptx)]

use core::arch::{asm, global_asm, nvptx};
use trial_shapes::Axpy;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: a trap ends the kernel.
    unsafe { nvptx::trap() }
}

global_asm!("// cuda_std.kernel axpy maxntid=256 minnctapersm=2");

/// `y[i] = a · weighted(x[i ^ 1])`, exchanged through shared memory; one block.
///
/// # Safety
/// `p.x` and `p.y` are valid for `p.n` elements; the block has an even number of threads, at most `p.n`.
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn axpy(p: Axpy) {
    // SAFETY: the caller's promise; the tile holds 1024 elements.
    unsafe {
        let i = nvptx::_thread_idx_x() as usize;
        let x = core::slice::from_raw_parts(p.x, p.n as usize);
        let tile = trial_shapes::tile();
        *tile.add(i) = x[i];
        nvptx::_syncthreads();
        *p.y.add(i) = p.a * trial_shapes::weighted(*tile.add(i ^ 1), i & 7);
    }
}

global_asm!("// cuda_std.kernel place");

/// Writes where its source is, which must not be a path of the machine.
///
/// # Safety
/// `out` is valid for `length` bytes; one thread.
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn place(out: *mut u8, length: u32) {
    let place = core::hint::black_box(concat!(file!(), ":", line!()));
    for (i, byte) in place.bytes().enumerate().take(length as usize) {
        // SAFETY: i < length.
        unsafe { *out.add(i) = byte };
    }
}

global_asm!("// cuda_std.kernel meet");

/// Two barriers between branches that one thread's way decides: a compiler that follows thread 0 copies the barriers.
///
/// # Safety
/// `out` is valid for 32 words; one block.
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn meet(out: *mut u32) {
    // SAFETY: i < 32 where it indexes.
    unsafe {
        let i = nvptx::_thread_idx_x() as u32;
        if i == 0 {
            asm!("// one", options(nostack));
        }
        nvptx::_syncthreads();
        if i < 32 {
            asm!("// two", options(nostack));
            *out.add(i as usize) = i;
        }
        nvptx::_syncthreads();
        if i == 0 {
            *out = 1;
        }
    }
}
