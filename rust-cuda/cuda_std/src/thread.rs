//! Who a thread is, and the barriers of its block.

use core::arch::nvptx;

macro_rules! index {
    ($($(#[$doc:meta])* $name:ident = $intrinsic:ident;)*) => { $(
        $(#[$doc])*
        #[inline(always)]
        pub fn $name() -> u32 {
            // SAFETY: reads a special register.
            unsafe { nvptx::$intrinsic() as u32 }
        }
    )* };
}
index! {
    /// `threadIdx.x`.
    thread_idx_x = _thread_idx_x;
    /// `threadIdx.y`.
    thread_idx_y = _thread_idx_y;
    /// `threadIdx.z`.
    thread_idx_z = _thread_idx_z;
    /// `blockIdx.x`.
    block_idx_x = _block_idx_x;
    /// `blockIdx.y`.
    block_idx_y = _block_idx_y;
    /// `blockIdx.z`.
    block_idx_z = _block_idx_z;
    /// `blockDim.x`: threads of a block.
    block_dim_x = _block_dim_x;
    /// `blockDim.y`.
    block_dim_y = _block_dim_y;
    /// `blockDim.z`.
    block_dim_z = _block_dim_z;
    /// `gridDim.x`: blocks of the grid.
    grid_dim_x = _grid_dim_x;
    /// `gridDim.y`.
    grid_dim_y = _grid_dim_y;
    /// `gridDim.z`.
    grid_dim_z = _grid_dim_z;
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
/// do not split a warp.
#[inline(always)]
pub fn warp_index() -> u32 {
    crate::warp::broadcast(thread_idx_x() / 32, 0)
}

/// The block's barrier (`__syncthreads`): every thread arrives before any goes on, and sees what all wrote before it.
#[inline(always)]
pub fn sync_threads() {
    // SAFETY: a barrier; without `nomem` the compiler moves no memory access across it.
    unsafe { core::arch::asm!("bar.sync 0;", options(nostack)) }
}

/// Ends the grid with an error.
#[inline(always)]
pub fn trap() -> ! {
    // SAFETY: `trap` does not return.
    unsafe { nvptx::trap() }
}
