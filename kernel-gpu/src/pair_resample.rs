//! The Gram matrices on the points of the grid, from the lags' components on its lines.
//!
//! ```text
//! out[r, g2, e] = Σ_m matrix[m, g2]·in[r, m, e]        C_0 + 2 Σ_l (cos(2πl·g2/M2)·C_l + sin(2πl·g2/M2)·S_l)
//! ```
//!
//! with the components m of [`line_gram`](crate::line_gram), as many as points. f32, m ascending.
//!
//! **Threads.** A block makes a tile of up to nine points g2 of [`ELEMENTS`] neighbouring e of one line r; a thread those of four. All
//! multiply by the same factors, which a warp reads four at a time from shared memory. The input is read once for every tile, the next
//! four components while four are multiplied; a tile is as narrow as the points allow.
//!
//! **Launch.** One dimension, any number of blocks.

use cuda_std::global::{Global, GlobalMut};
use cuda_std::launch::KernelSpec;

use crate::spectrum::div_rem;

/// The parameters.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PairResample {
    /// (r, m, e).
    pub input: Global<f32>,
    /// (tile of g2, m, 12): see [`matrix_index`].
    pub matrix: Global<f32>,
    /// (r, g2, e).
    pub output: GlobalMut<f32>,
    /// e, a multiple of [`ELEMENTS`].
    pub inner: u64,
    /// r.
    pub lines: u32,
    /// M2: m, and g2.
    pub points: u32,
}

/// Threads of a block.
const THREADS: u32 = 64;
/// e of a block.
pub const ELEMENTS: u32 = 4 * THREADS;
/// Points of a thread, at most.
const WIDEST: u32 = 9;
/// Numbers from one row of factors to the next: three vectors of 16 bytes.
const PITCH: u32 = 12;
/// Rows that a block holds.
const ROWS: u32 = 128;

/// Tiles of so many points.
#[inline(always)]
pub const fn tiles(points: u32) -> u32 {
    points.div_ceil(WIDEST)
}

/// Points of a tile: those that are there, divided evenly, and up to the next width that the kernel has.
#[inline(always)]
pub const fn width(points: u32) -> u32 {
    let tiles = tiles(points);
    if points <= 5 * tiles {
        5
    } else if points <= 7 * tiles {
        7
    } else {
        WIDEST
    }
}

/// Where the matrix holds (m, g2).
#[inline(always)]
pub const fn matrix_index(points: u32, component: u32, point: u32) -> u32 {
    let (tile, place) = div_rem(point, width(points));
    (tile * points + component) * PITCH + place
}

/// Numbers of a matrix.
#[inline(always)]
pub const fn matrix_len(points: u32) -> u32 {
    points * tiles(points) * PITCH
}

impl PairResample {
    /// Pieces of e, each a block's.
    #[inline(always)]
    const fn pieces(&self) -> u32 {
        (self.inner / ELEMENTS as u64) as u32
    }

    /// Shares of the work, each a block's; they fit 32 bits, for an output's memory does.
    #[inline(always)]
    pub const fn items(&self) -> u32 {
        self.lines * tiles(self.points) * self.pieces()
    }
}

/// The launch.
pub const SPEC: KernelSpec =
    KernelSpec { name: "pair_resample", threads: THREADS, min_blocks: 8, shared_bytes: 4 * PITCH * ROWS };

pub mod device {
    //! The device code.
    use cuda_std::float::Float;
    use cuda_std::shared::Shared;
    use cuda_std::thread::{block_idx_x, grid_dim_x, sync_threads, thread_idx_x};
    use cuda_std::{async_copy, kernel, unroll};

    use super::*;

    /// See the module.
    ///
    /// # Safety
    /// Each pointer holds what its field says; nobody else accesses `output`; the launch is as [`SPEC`] says.
    #[kernel(max_threads = 64, min_blocks = 8)]
    pub unsafe fn pair_resample(p: PairResample) {
        // SAFETY: the caller's promise; the width is the tiles'.
        unsafe {
            match width(p.points) {
                5 => tiles_of::<5>(&p),
                7 => tiles_of::<7>(&p),
                _ => tiles_of::<9>(&p),
            }
        }
    }

    /// # Safety
    /// As the kernel, for tiles of `W` points.
    #[inline(always)]
    unsafe fn tiles_of<const W: usize>(p: &PairResample) {
        let (items, tiles, pieces) = (p.items(), tiles(p.points), p.pieces());
        let mut item = block_idx_x();
        while item < items {
            // Tiles of the same e follow each other.
            let (rest, tile) = if tiles == 1 { (item, 0) } else { div_rem(item, tiles) };
            let (line, piece) = div_rem(rest, pieces);
            let e = piece as u64 * ELEMENTS as u64 + 4 * thread_idx_x() as u64;
            let (line, first) = (line as u64 * p.points as u64, tile * W as u32);
            let mut sums = [[0f32; 4]; W];
            let mut input = p.input.offset(line * p.inner + e);
            let mut matrix = p.matrix.offset((tile * p.points * PITCH) as u64);
            let mut left = p.points;
            while left > 0 {
                let rows = if left < ROWS { left } else { ROWS };
                // SAFETY: each component of the line is read once, and its row of the tile's matrix with it.
                unsafe { add_rows(&mut sums, (&mut input, p.inner), matrix, rows) };
                matrix = matrix.offset((rows * PITCH) as u64);
                left -= rows;
            }
            unroll!(a < W, {
                let point = first + a as u32;
                if point < p.points {
                    // SAFETY: a point of the line; four e, one thread each, at a 16-byte boundary.
                    unsafe { p.output.store_array((line + point as u64) * p.inner + e, sums[a]) };
                }
            });
            item += grid_dim_x();
        }
    }

    /// Adds the products of some components, `inner` numbers apart, by the factors that begin at `matrix`.
    ///
    /// # Safety
    /// They are there, at most [`ROWS`]; all threads of the block call this.
    #[inline(always)]
    unsafe fn add_rows<const W: usize>(
        sums: &mut [[f32; 4]; W],
        (input, inner): (&mut Global<f32>, u64),
        matrix: Global<f32>,
        rows: u32,
    ) {
        // What does not fill four rows comes first. All that can be asked for is asked for before the first sum.
        let (rest, mut row) = (rows % 4, 0);
        let (mut head, mut next) = ([[0f32; 4]; 3], [[0f32; 4]; 4]);
        // SAFETY: the caller's promise: each row is read once, and its factors are copied.
        unsafe {
            unroll!(k < 3, {
                if k < rest as usize {
                    head[k] = input.load_array(0);
                    *input = input.offset(inner);
                }
            });
            if rows >= 4 {
                next = four(input, inner);
            }
            copy_factors(matrix, rows);
            unroll!(k < 3, {
                if k < rest as usize {
                    add(sums, row, head[k]);
                    row += 1;
                }
            });
            while row + 4 < rows {
                let values = next;
                next = four(input, inner);
                unroll!(k < 4, { add(sums, row + k as u32, values[k]) });
                row += 4;
            }
            if row < rows {
                unroll!(k < 4, { add(sums, row + k as u32, next[k]) });
            }
        }
    }

    /// The next four rows.
    ///
    /// # Safety
    /// They are there.
    #[inline(always)]
    unsafe fn four(input: &mut Global<f32>, inner: u64) -> [[f32; 4]; 4] {
        let mut values = [[0f32; 4]; 4];
        unroll!(k < 4, {
            // SAFETY: the caller's promise.
            values[k] = unsafe { input.load_array(0) };
            *input = input.offset(inner);
        });
        values
    }

    /// Copies `rows` rows of factors, which follow each other from `matrix` on, to shared memory.
    ///
    /// # Safety
    /// As [`add_rows`].
    #[inline(always)]
    unsafe fn copy_factors(matrix: Global<f32>, rows: u32) {
        // Behind the last reads of what was there.
        sync_threads();
        let mut vector = thread_idx_x();
        while vector < rows * (PITCH / 4) {
            // SAFETY: 16 bytes of a row, for which there is room; a thread each, and nobody reads them before the barrier below.
            unsafe {
                async_copy::copy::<16, _>(Shared::<f32>::dynamic(16 * vector), matrix.offset(4 * vector as u64));
            }
            vector += THREADS;
        }
        async_copy::wait_all();
        sync_threads();
    }

    /// Adds the products of one row.
    ///
    /// # Safety
    /// Its factors are there.
    #[inline(always)]
    unsafe fn add<const W: usize>(sums: &mut [[f32; 4]; W], row: u32, value: [f32; 4]) {
        let (tile, mut factors) = (Shared::<f32>::dynamic(0), [0f32; PITCH as usize]);
        // SAFETY: the caller's promise; rows and vectors lie on 16-byte boundaries.
        unsafe {
            unroll!(v < 3, {
                if W > 4 * v + 1 {
                    tile.load_16(row * PITCH + 4 * v as u32, &mut factors[4 * v..4 * v + 4]);
                } else if W == 4 * v + 1 {
                    factors[4 * v] = tile.load(row * PITCH + 4 * v as u32);
                }
            });
        }
        unroll!(a < W, {
            unroll!(j < 4, { sums[a][j] = factors[a].fma(value[j], sums[a][j]) });
        });
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::collections::HashSet;
    use std::vec::Vec;

    use super::*;

    #[test]
    fn tiles_are_as_narrow_as_the_points_allow() {
        let found: Vec<_> = [1, 3, 5, 7, 9, 11, 13, 15, 17, 19].map(|m| (width(m), tiles(m))).into();
        let expected = [(5, 1), (5, 1), (5, 1), (7, 1), (9, 1), (7, 2), (7, 2), (9, 2), (9, 2), (7, 3)];
        assert_eq!(found, expected);
    }

    #[test]
    fn each_number_of_a_matrix_has_a_place() {
        for points in 1..60 {
            let places: HashSet<_> =
                (0..points).flat_map(|m| (0..points).map(move |g| matrix_index(points, m, g))).collect();
            assert_eq!(places.len() as u32, points * points);
            assert!(places.iter().all(|&place| place < matrix_len(points)));
        }
    }
}
