//! The squares of tiles whose input channels [`implicit_gemm`](crate::implicit_gemm) has taken in parts.
//!
//! ```text
//! z = Σ over the parts, in order          mean[b,c,i], M2[b,c,i] of tile i as there
//! ```
//!
//! Its parameters are those of `implicit_gemm`, with the parts stored.
//!
//! **Cost.** Reads the parts once, mostly from L2, a thread what its place has stored.
//!
//! **Launch.** One dimension, a block an item.

use cuda_std::launch::KernelSpec;

use crate::implicit_gemm_epilogue::shared_bytes;
use crate::implicit_gemm_stage::THREADS;

/// The launch for tiles of that many output channels, 32 or 64.
pub const fn spec(columns: u32) -> KernelSpec {
    let name = if columns == 64 { "part_squares_wide" } else { "part_squares_narrow" };
    KernelSpec { name, threads: THREADS, min_blocks: 3, shared_bytes: shared_bytes(columns) }
}

pub mod device {
    //! The device code.
    use cuda_std::kernel;
    use cuda_std::thread::block_idx_x;

    use crate::implicit_gemm::ImplicitGemm;
    use crate::implicit_gemm_epilogue::device::{add_parts, squares};
    use crate::implicit_gemm_stage::device::Tile;

    /// See the module.
    ///
    /// # Safety
    /// `partial`, `conv_mean` and `channel_exponent` hold what their fields say; nobody else accesses `mean` and `m2`; the launch is as the
    /// spec says.
    #[kernel(max_threads = 128, min_blocks = 3)]
    pub unsafe fn part_squares_wide(p: ImplicitGemm) {
        // SAFETY: the caller's promise.
        unsafe { run::<64>(&p) }
    }

    /// See the module.
    ///
    /// # Safety
    /// As [`part_squares_wide`].
    #[kernel(max_threads = 128, min_blocks = 3)]
    pub unsafe fn part_squares_narrow(p: ImplicitGemm) {
        // SAFETY: the caller's promise.
        unsafe { run::<32>(&p) }
    }

    #[inline(always)]
    unsafe fn run<const COLUMNS: u32>(p: &ImplicitGemm) {
        let item = block_idx_x();
        // SAFETY: the item exists and is this block's; shared memory is new.
        unsafe { squares::<COLUMNS>(p, &Tile::new(p, item, COLUMNS), &add_parts::<COLUMNS>(p, item)) }
    }
}
