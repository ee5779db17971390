//! The factors of a tile of outputs of a resampling matrix, in shared memory.
//!
//! ```text
//! matrix (tile, input, 12)      ▶      shared (input, 12) of one tile, ROWS inputs at a time
//! ```
//!
//! All threads of a block multiply by the same factors, a row of up to twelve for each input: from shared memory a warp reads four of
//! them at once, after one wait for the whole tile.

use cuda_std::async_copy;
use cuda_std::global::Global;
use cuda_std::shared::Shared;
use cuda_std::thread::{sync_threads, thread_idx_x};
use cuda_std::unroll;

/// Numbers from one row of a tile to the next: three vectors of 16 bytes.
pub(crate) const PITCH: u32 = 12;
/// Rows that a block holds.
pub(crate) const ROWS: u32 = 128;
/// Bytes of shared memory for them.
pub(crate) const SHARED_BYTES: u32 = 4 * PITCH * ROWS;
/// Threads of a block.
pub(crate) const THREADS: u32 = 64;

/// Where a matrix holds number `place` of row `input` of a tile.
#[inline(always)]
pub(crate) const fn index(inputs: u32, tile: u32, input: u32, place: u32) -> u32 {
    (tile * inputs + input) * PITCH + place
}

/// Copies `rows` rows, which follow each other from `matrix` on.
///
/// # Safety
/// All threads of the block call this; at most [`ROWS`] rows, all there.
#[inline(always)]
pub(crate) unsafe fn copy(matrix: Global<f32>, rows: u32) {
    // Behind the last reads of what was there.
    sync_threads();
    let mut vector = thread_idx_x();
    while vector < rows * (PITCH / 4) {
        // SAFETY: 16 bytes of a row, for which there is room; a thread each, and nobody reads them before the barrier below.
        unsafe { async_copy::copy::<16, _>(Shared::<f32>::dynamic(16 * vector), matrix.offset(4 * vector as u64)) };
        vector += THREADS;
    }
    async_copy::wait_all();
    sync_threads();
}

/// The first `COUNT` factors of a row.
///
/// # Safety
/// The row was copied.
#[inline(always)]
pub(crate) unsafe fn row<const COUNT: usize>(row: u32) -> [f32; PITCH as usize] {
    let tile = Shared::<f32>::dynamic(0);
    let mut factors = [0f32; PITCH as usize];
    // SAFETY: the caller's promise; rows and vectors lie on 16-byte boundaries.
    unsafe {
        unroll!(v < 3, {
            if COUNT > 4 * v + 1 {
                tile.load_16(row * PITCH + 4 * v as u32, &mut factors[4 * v..4 * v + 4]);
            } else if COUNT == 4 * v + 1 {
                factors[4 * v] = tile.load(row * PITCH + 4 * v as u32);
            }
        });
    }
    factors
}
