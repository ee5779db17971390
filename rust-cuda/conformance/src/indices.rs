//! Who a thread is, in three dimensions and in one.

use cuda_std::kernel;
use cuda_std::thread::*;

use crate::Conformance;
#[cfg(not(target_arch = "nvptx64"))]
use crate::entries::Entry;

/// All twelve of x, y and z.
///
/// # Safety
/// 12 words of output a thread.
#[kernel(max_threads = 64, min_blocks = 1)]
pub unsafe fn indices(p: Conformance) {
    let in_block = (thread_idx_z() * block_dim_y() + thread_idx_y()) * block_dim_x() + thread_idx_x();
    let block = (block_idx_z() * grid_dim_y() + block_idx_y()) * grid_dim_x() + block_idx_x();
    let mut out = p.results(block * block_dim_x() * block_dim_y() * block_dim_z() + in_block, 12);
    // SAFETY: 12 words.
    unsafe {
        out.put(thread_idx_x());
        out.put(thread_idx_y());
        out.put(thread_idx_z());
        out.put(block_idx_x());
        out.put(block_idx_y());
        out.put(block_idx_z());
        out.put(block_dim_x());
        out.put(block_dim_y());
        out.put(block_dim_z());
        out.put(grid_dim_x());
        out.put(grid_dim_y());
        out.put(grid_dim_z());
    }
}

/// Lane, warp and the index in a one-dimensional grid.
///
/// # Safety
/// 3 words of output a thread.
#[kernel(max_threads = 96, min_blocks = 1)]
pub unsafe fn indices_1d(p: Conformance) {
    let mut out = p.results(index_1d() as u32, 3);
    // SAFETY: 3 words.
    unsafe {
        out.put(lane_index());
        out.put(warp_index());
        out.put(index_1d() as u32);
    }
}

#[cfg(not(target_arch = "nvptx64"))]
pub(crate) fn entries() -> Vec<Entry> {
    let (grid, block) = ([3, 2, 2], [8, 4, 2]);
    let places = |[x, y, z]: [u32; 3]| {
        (0..z).flat_map(move |k| (0..y).flat_map(move |j| (0..x).map(move |i| [i, j, k]))).collect::<Vec<_>>()
    };
    let thread = |b: [u32; 3]| places(block).into_iter().flat_map(move |t| [t, b, block, grid].concat());
    let solid = places(grid).into_iter().flat_map(thread).collect();
    let linear = (0..2 * 96).flat_map(|i| [i % 32, i % 96 / 32, i]).collect();
    vec![
        Entry { block, ..Entry::new("indices", 64, 12, indices) }.blocks(grid).expected(solid),
        Entry::new("indices_1d", 96, 3, indices_1d).blocks([2, 1, 1]).expected(linear),
    ]
}
