//! The moments of each (b, c) from those of its slices.
//!
//! ```text
//! (count, mean, M2)[b,c] = merge over slices i of (countᵢ, mean[b,c,i], M2[b,c,i])      Chan's formulae, see [`moments`](crate::moments)
//! ```
//!
//! One warp a (b, c): lane l merges slices l, l + 32, … in order, then the lanes merge as a tree. The order depends on the
//! shape alone. Slices that all have their row's mean, and M2 about it, add up whatever their counts. All f64. Reads 16 bytes a slice. In place it would race; `mean` and `m2` are other memory than the slices'.

use cuda_std::global::{Global, GlobalMut};
use cuda_std::launch::KernelSpec;

use crate::work::Work;

/// The parameters; the slices as [`conv_transpose_moments`](crate::conv_transpose_moments) wrote them.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct BatchNormReduce {
    /// The mean a (b, c, slice).
    pub slice_mean: Global<f64>,
    /// M2 a (b, c, slice).
    pub slice_m2: Global<f64>,
    /// Out: the mean a (b, c).
    pub mean: GlobalMut<f64>,
    /// Out: M2 a (b, c).
    pub m2: GlobalMut<f64>,
    /// B·Cout.
    pub rows: u64,
    /// P.
    pub positions: u64,
    /// Positions of a tile.
    pub tile_positions: u64,
    /// The slices' division.
    pub work: Work,
}

/// The launch: four warps a block, any number of blocks.
pub const SPEC: KernelSpec = KernelSpec { name: "batch_norm_reduce", threads: 128, min_blocks: 4, shared_bytes: 0 };

/// Rows (b, c) that a block reduces at once.
pub const ROWS_A_BLOCK: u64 = 4;

pub mod device {
    //! The device code.
    use cuda_std::kernel;
    use cuda_std::thread::{block_idx_x, grid_dim_x, lane_index, warp_index};

    use super::*;
    use crate::moments::Moments;

    /// See the module.
    ///
    /// # Safety
    /// The slices' arrays hold rows·slices elements, `mean` and `m2` hold `rows` that nobody else accesses; the launch is
    /// as [`SPEC`] says.
    #[kernel(max_threads = 128, min_blocks = 4)]
    pub unsafe fn batch_norm_reduce(p: BatchNormReduce) {
        let mut row = block_idx_x() as u64 * ROWS_A_BLOCK + warp_index() as u64;
        while row < p.rows {
            let mut moments = Moments::EMPTY;
            let mut slice = lane_index() as u64;
            while slice < p.work.slices {
                let at = row * p.work.slices + slice;
                let count = p.work.positions_of(slice, p.positions, p.tile_positions) as f64;
                // SAFETY: at < rows·slices.
                let (mean, m2) = unsafe { (p.slice_mean.load(at), p.slice_m2.load(at)) };
                moments = moments.merge(Moments { count, mean, m2 });
                slice += 32;
            }
            let moments = moments.merge_warp();
            if lane_index() == 0 {
                // SAFETY: row < rows, and one warp owns it.
                unsafe {
                    p.mean.store(row, moments.mean);
                    p.m2.store(row, moments.m2);
                }
            }
            row += grid_dim_x() as u64 * ROWS_A_BLOCK;
        }
    }
}
