//! Whole rows of memory copied by one instruction of one thread: `cp.async.bulk` (PTX ISA, "Data Movement and Conversion
//! Instructions: Bulk copy"). Targets: `sm_90` and up, PTX 8.0; ptxas refuses them in code built for less. (rustc writes
//! 8.0 for `sm_90a`, but 7.8 for `sm_90` unless told `-Ctarget-feature=+ptx80`.)
//!
//! | | from, to | complete when |
//! |---|---|---|
//! | [`load`] | global → shared | the phase of its mbarrier is, which counts its bytes |
//! | [`store`] | shared → global | the thread that started it has waited for its group |
//! | [`prefetch`] | global → L2 | nobody knows |
//!
//! Sizes and addresses are multiples of 16 bytes. Bulk copies run in the *async proxy*, another way to the same memory:
//! a barrier alone does not show it plain stores. Each thread that stored executes [`fence_proxy_async`] after its
//! stores and before the barrier; so does the thread that initialised the mbarrier of a load. What a load brought needs no
//! fence after the wait, and a buffer that was only read needs none before it is filled again.
//!
//! ```
//! use cuda_std::bulk_copy;
//! use cuda_std::global::{Global, GlobalMut};
//! use cuda_std::mbarrier::Mbarrier;
//! use cuda_std::shared::Shared;
//! use cuda_std::thread;
//!
//! /// y[i] = 2·x[i] of one block of n threads, n a multiple of 4.
//! unsafe fn double(x: Global<f32>, y: GlobalMut<f32>) {
//!     let (i, n) = (thread::thread_idx_x(), thread::block_dim_x());
//!     let (full, tile) = (Mbarrier::dynamic(0), Shared::<f32>::dynamic(128));
//!     // SAFETY: x and y hold n elements, the launch has 128 + 4n shared bytes; each thread has its own element.
//!     unsafe {
//!         if i == 0 {
//!             full.init(1);
//!             bulk_copy::fence_proxy_async();
//!             full.arrive_expect_tx(4 * n);
//!             bulk_copy::load(tile, x, 4 * n, full);
//!         }
//!         thread::sync_threads();
//!         full.wait(0);
//!         tile.store(i, 2.0 * tile.load(i));
//!         bulk_copy::fence_proxy_async();
//!         thread::sync_threads();
//!         if i == 0 {
//!             bulk_copy::store(y, tile, 4 * n);
//!             bulk_copy::commit_group();
//!             bulk_copy::wait_group_read::<0>();
//!         }
//!     }
//! }
//!
//! # use cuda_std::simt::{Grid, Memory};
//! # let mut memory = Memory::new();
//! # let values: Vec<f32> = (0..32).map(|i| i as f32).collect();
//! # let (x, y) = (memory.buffer("x", &values), memory.buffer("y", &[0.0f32; 32]));
//! # let grid = Grid::new("double", 1, 32).shared_bytes(256);
//! # grid.run(&memory, || unsafe { double(x.global(), y.global_mut()) }).expect_clean();
//! # assert_eq!(memory.read(&y), values.iter().map(|x| 2.0 * x).collect::<Vec<_>>());
//! ```
//!
//! The executor does not check that global memory which the same launch wrote by plain stores passes a proxy fence before a
//! load of it; there is no such fence here.

#[cfg(not(target_arch = "nvptx64"))]
use core::panic::Location;

use crate::Scalar;
use crate::global::{Global, GlobalMut};
use crate::mbarrier::Mbarrier;
use crate::shared::Shared;
#[cfg(not(target_arch = "nvptx64"))]
use crate::simt::bulk_copy as host;

/// Starts copying `bytes` bytes to shared memory, and counts them off what the phase of `barrier` waits for.
///
/// # Safety
/// Both sides exist; `bytes` and both addresses are multiples of 16. `barrier` lives, its phase expects these bytes and is
/// ordered after the one before. Until a wait for that phase nobody accesses the destination or writes the source; plain
/// stores to the destination before were followed by a proxy fence.
#[inline(always)]
#[track_caller]
pub unsafe fn load<T: Scalar>(destination: Shared<T>, source: Global<T>, bytes: u32, barrier: Mbarrier) {
    #[cfg(target_arch = "nvptx64")]
    // SAFETY: the caller's promise.
    unsafe {
        core::arch::asm!(
            "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [{0}], [{1}], {2}, [{3}];",
            in(reg32) destination.address(), in(reg64) source.address(), in(reg32) bytes, in(reg32) barrier.address(),
            options(nostack))
    }
    #[cfg(not(target_arch = "nvptx64"))]
    host::load(destination.address(), source.address(), bytes, barrier.address(), Location::caller());
}

/// Starts copying `bytes` bytes to global memory.
///
/// # Safety
/// Both sides exist; `bytes` and both addresses are multiples of 16. The source was written, each plain store followed by its
/// thread's proxy fence and a barrier. Nobody writes the source until this thread has waited for the group with
/// [`wait_group_read`], nor accesses the destination until it has with [`wait_group`], and the block does not end before the
/// first of them.
#[inline(always)]
#[track_caller]
pub unsafe fn store<T: Scalar>(destination: GlobalMut<T>, source: Shared<T>, bytes: u32) {
    #[cfg(target_arch = "nvptx64")]
    // SAFETY: the caller's promise.
    unsafe {
        core::arch::asm!("cp.async.bulk.global.shared::cta.bulk_group [{0}], [{1}], {2};",
            in(reg64) destination.address(), in(reg32) source.address(), in(reg32) bytes, options(nostack))
    }
    #[cfg(not(target_arch = "nvptx64"))]
    host::store(destination.address(), source.address(), bytes, Location::caller());
}

/// Whether [`prefetch`] is there: elsewhere it does nothing, and [`Global::prefetch`] a line at a time is the way.
pub const HAS_PREFETCH: bool = cfg!(all(target_arch = "nvptx64", target_feature = "sm_90"));

/// Asks for `bytes` bytes to be brought to L2: no more than a hint, which the executor passes over.
///
/// # Safety
/// They exist; `bytes` and the address are multiples of 16.
#[inline(always)]
pub unsafe fn prefetch<T: Scalar>(source: Global<T>, bytes: u32) {
    #[cfg(all(target_arch = "nvptx64", target_feature = "sm_90"))]
    // SAFETY: it changes no memory; what it reads is the caller's promise.
    unsafe {
        core::arch::asm!("cp.async.bulk.prefetch.L2.global [{0}], {1};", in(reg64) source.address(), in(reg32) bytes,
            options(nostack, readonly))
    }
    #[cfg(not(all(target_arch = "nvptx64", target_feature = "sm_90")))]
    let _ = (source, bytes);
}

/// Closes a group: the stores that this thread started since the last one, possibly none.
#[inline(always)]
#[track_caller]
pub fn commit_group() {
    #[cfg(target_arch = "nvptx64")]
    // SAFETY: touches no memory of its own.
    unsafe {
        core::arch::asm!("cp.async.bulk.commit_group;", options(nostack))
    }
    #[cfg(not(target_arch = "nvptx64"))]
    host::commit_group();
}

/// Waits until all groups of this thread but the `PENDING` last are complete.
#[inline(always)]
#[track_caller]
pub fn wait_group<const PENDING: u32>() {
    #[cfg(target_arch = "nvptx64")]
    // SAFETY: waits; without `nomem` the compiler moves no memory access across it.
    unsafe {
        core::arch::asm!("cp.async.bulk.wait_group {0};", const PENDING, options(nostack))
    }
    #[cfg(not(target_arch = "nvptx64"))]
    host::wait_group(PENDING, host::Completion::Written);
}

/// Waits until all groups of this thread but the `PENDING` last have read their sources.
#[inline(always)]
#[track_caller]
pub fn wait_group_read<const PENDING: u32>() {
    #[cfg(target_arch = "nvptx64")]
    // SAFETY: waits; without `nomem` the compiler moves no memory access across it.
    unsafe {
        core::arch::asm!("cp.async.bulk.wait_group.read {0};", const PENDING, options(nostack))
    }
    #[cfg(not(target_arch = "nvptx64"))]
    host::wait_group(PENDING, host::Completion::Read);
}

/// Shows this thread's stores to shared memory so far, and the mbarriers that it initialised, to the async proxy
/// (`fence.proxy.async.shared::cta`), for who is ordered after it.
///
/// By the ISA's memory model a fence anywhere on the way from store to copy will do. The executor asks for the storing
/// thread's own, before the barrier.
#[inline(always)]
#[track_caller]
pub fn fence_proxy_async() {
    #[cfg(target_arch = "nvptx64")]
    // SAFETY: orders memory accesses; without `nomem` the compiler moves none across it.
    unsafe {
        core::arch::asm!("fence.proxy.async.shared::cta;", options(nostack))
    }
    #[cfg(not(target_arch = "nvptx64"))]
    host::fence();
}
