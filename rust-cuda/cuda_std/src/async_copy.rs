//! Copies from global to shared memory that go on while the thread does: `cp.async` (PTX ISA, "Data Movement and Conversion
//! Instructions: Asynchronous copy"). Targets: `sm_80` and up.
//!
//! A thread starts copies, closes them into groups, and waits until at most the N last groups are on their way. What it
//! waited for has arrived *for this thread*; others need a barrier after the wait. Nobody may touch a destination, nor write
//! a source, before that.
//!
//! ```
//! use cuda_std::global::{Global, GlobalMut};
//! use cuda_std::shared::Shared;
//! use cuda_std::{async_copy, thread};
//!
//! /// y[i] = x[n - 1 - i] of one block of n threads, 4 elements each.
//! unsafe fn reverse(x: Global<f32>, y: GlobalMut<f32>) {
//!     let (i, n) = (thread::thread_idx_x(), thread::block_dim_x());
//!     let tile = Shared::<f32>::dynamic(0);
//!     // SAFETY: x and y hold 4n elements and the launch has room for as many; each thread fills its own 4.
//!     unsafe { async_copy::copy::<16, _>(tile.offset(4 * i), x.offset(4 * u64::from(i))) };
//!     async_copy::commit_group();
//!     async_copy::wait_group::<0>();
//!     thread::sync_threads();
//!     for j in 0..4 {
//!         // SAFETY: as above; every copy arrived before the barrier.
//!         unsafe { y.store(u64::from(4 * i + j), tile.load(4 * n - 1 - 4 * i - j)) };
//!     }
//! }
//!
//! # use cuda_std::simt::{Grid, Memory};
//! # let mut memory = Memory::new();
//! # let values: Vec<f32> = (0..32).map(|i| i as f32).collect();
//! # let (x, y) = (memory.buffer("x", &values), memory.buffer("y", &[0.0f32; 32]));
//! # let grid = Grid::new("reverse", 1, 8).shared_bytes(128);
//! # grid.run(&memory, || unsafe { reverse(x.global(), y.global_mut()) }).expect_clean();
//! # assert_eq!(memory.read(&y), values.iter().rev().copied().collect::<Vec<_>>());
//! ```
//!
//! The source is read as plain loads read, not by `.nc`: memory that the kernel wrote, and a barrier ordered, will do, as
//! `Global::from_address(y.address())`.

use crate::Scalar;
use crate::global::Global;
use crate::shared::Shared;
#[cfg(not(target_arch = "nvptx64"))]
use crate::simt::async_copy as host;

/// Starts copying `BYTES` bytes, 4, 8 or 16, through all caches (`cp.async.ca`).
///
/// # Safety
/// Both sides exist and lie at multiples of `BYTES`. Until this thread has waited for the copy nobody accesses the
/// destination and nobody writes the source; other threads also need a barrier after that wait.
#[inline(always)]
#[track_caller]
pub unsafe fn copy<const BYTES: u32, T: Scalar>(destination: Shared<T>, source: Global<T>) {
    const { assert!(BYTES == 4 || BYTES == 8 || BYTES == 16, "cp.async.ca copies 4, 8 or 16 bytes") };
    #[cfg(target_arch = "nvptx64")]
    // SAFETY: the caller's promise.
    unsafe {
        core::arch::asm!("cp.async.ca.shared.global [{0}], [{1}], {2};",
            in(reg32) destination.address(), in(reg64) source.address(), const BYTES, options(nostack))
    }
    #[cfg(not(target_arch = "nvptx64"))]
    host::copy(destination.address(), source.address(), BYTES, BYTES, core::panic::Location::caller());
}

/// [`copy`] of the first `taken` bytes of the source, and zeros for the rest of `BYTES`: tails without a branch.
///
/// # Safety
/// As [`copy`], for the `taken` bytes of the source, at most `BYTES`; of 0 bytes the address is not read.
#[inline(always)]
#[track_caller]
pub unsafe fn copy_padded<const BYTES: u32, T: Scalar>(destination: Shared<T>, source: Global<T>, taken: u32) {
    const { assert!(BYTES == 4 || BYTES == 8 || BYTES == 16, "cp.async.ca copies 4, 8 or 16 bytes") };
    #[cfg(target_arch = "nvptx64")]
    // SAFETY: the caller's promise.
    unsafe {
        core::arch::asm!("cp.async.ca.shared.global [{0}], [{1}], {2}, {3};",
            in(reg32) destination.address(), in(reg64) source.address(), const BYTES, in(reg32) taken, options(nostack))
    }
    #[cfg(not(target_arch = "nvptx64"))]
    host::copy(destination.address(), source.address(), BYTES, taken, core::panic::Location::caller());
}

/// Starts copying 16 bytes through the L2 cache alone (`cp.async.cg`): for what no other warp of the SM reads again.
///
/// # Safety
/// As [`copy`] of 16 bytes.
#[inline(always)]
#[track_caller]
pub unsafe fn copy_through_l2<T: Scalar>(destination: Shared<T>, source: Global<T>) {
    #[cfg(target_arch = "nvptx64")]
    // SAFETY: the caller's promise.
    unsafe {
        core::arch::asm!("cp.async.cg.shared.global [{0}], [{1}], 16;",
            in(reg32) destination.address(), in(reg64) source.address(), options(nostack))
    }
    #[cfg(not(target_arch = "nvptx64"))]
    host::copy(destination.address(), source.address(), 16, 16, core::panic::Location::caller());
}

/// [`copy_padded`] of 16 bytes through the L2 cache alone.
///
/// # Safety
/// As [`copy_padded`] of 16 bytes.
#[inline(always)]
#[track_caller]
pub unsafe fn copy_padded_through_l2<T: Scalar>(destination: Shared<T>, source: Global<T>, taken: u32) {
    #[cfg(target_arch = "nvptx64")]
    // SAFETY: the caller's promise.
    unsafe {
        core::arch::asm!("cp.async.cg.shared.global [{0}], [{1}], 16, {2};",
            in(reg32) destination.address(), in(reg64) source.address(), in(reg32) taken, options(nostack))
    }
    #[cfg(not(target_arch = "nvptx64"))]
    host::copy(destination.address(), source.address(), 16, taken, core::panic::Location::caller());
}

/// Closes a group: the copies that this thread started since the last one, possibly none.
#[inline(always)]
#[track_caller]
pub fn commit_group() {
    #[cfg(target_arch = "nvptx64")]
    // SAFETY: touches no memory of its own.
    unsafe {
        core::arch::asm!("cp.async.commit_group;", options(nostack))
    }
    #[cfg(not(target_arch = "nvptx64"))]
    host::commit_group();
}

/// Waits until all groups of this thread but the `PENDING` last have arrived. Copies in no group yet are not waited for.
#[inline(always)]
#[track_caller]
pub fn wait_group<const PENDING: u32>() {
    #[cfg(target_arch = "nvptx64")]
    // SAFETY: waits; without `nomem` the compiler moves no memory access across it.
    unsafe {
        core::arch::asm!("cp.async.wait_group {0};", const PENDING, options(nostack))
    }
    #[cfg(not(target_arch = "nvptx64"))]
    host::wait_group(PENDING);
}

/// Waits until all copies of this thread have arrived, in a group or not.
#[inline(always)]
#[track_caller]
pub fn wait_all() {
    #[cfg(target_arch = "nvptx64")]
    // SAFETY: waits; without `nomem` the compiler moves no memory access across it.
    unsafe {
        core::arch::asm!("cp.async.wait_all;", options(nostack))
    }
    #[cfg(not(target_arch = "nvptx64"))]
    host::wait_all();
}
