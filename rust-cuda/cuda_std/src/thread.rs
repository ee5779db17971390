//! Who a thread is, and the barriers of its block.

#[cfg(target_arch = "nvptx64")]
use core::arch::nvptx;

#[cfg(not(target_arch = "nvptx64"))]
use crate::simt::ops;

macro_rules! index {
    ($($(#[$doc:meta])* $name:ident = $intrinsic:ident, $field:ident[$axis:literal];)*) => { $(
        $(#[$doc])*
        #[inline(always)]
        pub fn $name() -> u32 {
            #[cfg(target_arch = "nvptx64")]
            // SAFETY: reads a special register.
            unsafe {
                nvptx::$intrinsic() as u32
            }
            #[cfg(not(target_arch = "nvptx64"))]
            ops::place().$field[$axis]
        }
    )* };
}
index! {
    /// `threadIdx.x`.
    thread_idx_x = _thread_idx_x, thread[0];
    /// `threadIdx.y`.
    thread_idx_y = _thread_idx_y, thread[1];
    /// `threadIdx.z`.
    thread_idx_z = _thread_idx_z, thread[2];
    /// `blockIdx.x`.
    block_idx_x = _block_idx_x, block[0];
    /// `blockIdx.y`.
    block_idx_y = _block_idx_y, block[1];
    /// `blockIdx.z`.
    block_idx_z = _block_idx_z, block[2];
    /// `blockDim.x`: threads of a block.
    block_dim_x = _block_dim_x, block_dim[0];
    /// `blockDim.y`.
    block_dim_y = _block_dim_y, block_dim[1];
    /// `blockDim.z`.
    block_dim_z = _block_dim_z, block_dim[2];
    /// `gridDim.x`: blocks of the grid.
    grid_dim_x = _grid_dim_x, grid_dim[0];
    /// `gridDim.y`.
    grid_dim_y = _grid_dim_y, grid_dim[1];
    /// `gridDim.z`.
    grid_dim_z = _grid_dim_z, grid_dim[2];
}

/// The thread's index in a one-dimensional grid.
#[inline(always)]
pub fn index_1d() -> u64 {
    block_idx_x() as u64 * block_dim_x() as u64 + thread_idx_x() as u64
}

/// The thread's lane in its warp, for one-dimensional blocks: 0 to 31.
#[inline(always)]
pub fn lane_index() -> u32 {
    thread_idx_x() % 32
}

/// The thread's warp in its one-dimensional block, the same register in every lane: ptxas then knows that branches on it
/// do not split a warp. All lanes of the warp must call it together.
#[inline(always)]
#[track_caller]
pub fn warp_index() -> u32 {
    crate::warp::broadcast(thread_idx_x() / 32, 0)
}

/// The block's barrier (`__syncthreads`): every thread arrives before any goes on, and sees what all wrote before it.
#[inline(always)]
#[track_caller]
pub fn sync_threads() {
    // The compiler's own barrier, not `asm!`: LLVM knows it for convergent and does not copy it into the branches of an `if`
    // around it, where lanes of one warp would wait at different copies. cuda_builder turns off the pass of rustc that would.
    #[cfg(target_arch = "nvptx64")]
    // SAFETY: a barrier.
    unsafe {
        nvptx::_syncthreads()
    }
    #[cfg(not(target_arch = "nvptx64"))]
    ops::barrier(0, None, core::panic::Location::caller());
}

/// One of the block's barriers 0 to 15, for `threads` threads: each waits until that many have come to `barrier`, those that
/// only [`arrive`] counted, and sees what all wrote before. Barrier 0 is [`sync_threads`]'s.
///
/// It counts whole warps: `threads` is a multiple of 32, the same for all who come, and all lanes of a warp come together.
#[inline(always)]
#[track_caller]
pub fn sync_threads_partial(barrier: u32, threads: u32) {
    // PTX ISA, section "barrier.sync": the form that lanes of a warp may reach one by one, for LLVM may copy `asm!` into
    // branches.
    #[cfg(target_arch = "nvptx64")]
    // SAFETY: a barrier; without `nomem` the compiler moves no memory access across it.
    unsafe {
        core::arch::asm!("barrier.sync {0}, {1};", in(reg32) barrier, in(reg32) threads, options(nostack))
    }
    #[cfg(not(target_arch = "nvptx64"))]
    ops::barrier(barrier, Some(threads), core::panic::Location::caller());
}

/// Counts this warp in at `barrier` without waiting: those in [`sync_threads_partial`] see what it wrote before.
///
/// As there; and a warp comes again only after it has learnt, by another barrier, that the last time is complete.
#[inline(always)]
#[track_caller]
pub fn arrive(barrier: u32, threads: u32) {
    // PTX ISA, section "barrier.arrive", for the same reason.
    #[cfg(target_arch = "nvptx64")]
    // SAFETY: as `sync_threads_partial`.
    unsafe {
        core::arch::asm!("barrier.arrive {0}, {1};", in(reg32) barrier, in(reg32) threads, options(nostack))
    }
    #[cfg(not(target_arch = "nvptx64"))]
    ops::arrive(barrier, threads, core::panic::Location::caller());
}

/// Ends the grid with an error.
#[inline(always)]
#[track_caller]
pub fn trap() -> ! {
    #[cfg(target_arch = "nvptx64")]
    // SAFETY: `trap` does not return.
    unsafe {
        nvptx::trap()
    }
    #[cfg(not(target_arch = "nvptx64"))]
    ops::trap(core::panic::Location::caller())
}
