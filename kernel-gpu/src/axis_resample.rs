//! An array multiplied along one axis by a small real matrix.
//!
//! ```text
//! out[o, a, e] = Σ_i matrix[i, a]·in[o, i, e]
//! ```
//!
//! A launch takes a range of the rows (o, i), in that order. Of an o whose rows begin in an earlier launch the sum goes on from what
//! is there: launches of ranges that follow each other give the whole, to the bit. f32, i ascending.
//!
//! **Threads.** A block makes a tile of up to nine outputs a of [`ELEMENTS`] neighbouring e, a thread those of four, by factors in
//! shared memory (`resample_factors`). The input is read once for every tile, the next four rows while
//! four are multiplied; a tile is as narrow as the outputs allow.
//!
//! **Launch.** One dimension, any number of blocks.

use cuda_std::global::{Global, GlobalMut};
use cuda_std::launch::KernelSpec;

use crate::resample_factors::{self, PITCH, SHARED_BYTES, THREADS};
use crate::spectrum::div_rem;

/// The parameters.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct AxisResample {
    /// The rows of this launch, (row, inner).
    pub input: Global<f32>,
    /// (tile of outputs, inputs, 12): see [`matrix_index`].
    pub matrix: Global<f32>,
    /// (o, outputs, inner), from o = 0 on.
    pub output: GlobalMut<f32>,
    /// e, a multiple of [`ELEMENTS`].
    pub inner: u64,
    /// o of the first row.
    pub outer: u32,
    /// i of the first row.
    pub skipped: u32,
    /// How many rows.
    pub rows: u32,
    /// i.
    pub inputs: u32,
    /// a.
    pub outputs: u32,
}

/// e of a block.
pub const ELEMENTS: u32 = 4 * THREADS;
/// Outputs of a thread, at most.
const WIDEST: u32 = 9;

/// Tiles of so many outputs.
#[inline(always)]
pub const fn tiles(outputs: u32) -> u32 {
    outputs.div_ceil(WIDEST)
}

/// Outputs of a tile: those that are there, divided evenly, and up to the next width that the kernel has.
#[inline(always)]
pub const fn width(outputs: u32) -> u32 {
    let tiles = tiles(outputs);
    if outputs <= 5 * tiles {
        5
    } else if outputs <= 7 * tiles {
        7
    } else {
        WIDEST
    }
}

/// Where the matrix holds (i, a).
#[inline(always)]
pub const fn matrix_index((inputs, outputs): (u32, u32), i: u32, a: u32) -> u32 {
    let (tile, place) = div_rem(a, width(outputs));
    resample_factors::index(inputs, tile, i, place)
}

/// Numbers of a matrix.
#[inline(always)]
pub const fn matrix_len(inputs: u32, outputs: u32) -> u32 {
    inputs * tiles(outputs) * PITCH
}

impl AxisResample {
    /// Pieces of e, each a block's.
    #[inline(always)]
    const fn pieces(&self) -> u32 {
        (self.inner / ELEMENTS as u64) as u32
    }

    /// Shares of the work, each a block's; they fit 32 bits, for an output's memory does.
    #[inline(always)]
    pub const fn items(&self) -> u32 {
        (self.skipped + self.rows).div_ceil(self.inputs) * tiles(self.outputs) * self.pieces()
    }
}

/// The launch.
pub const SPEC: KernelSpec =
    KernelSpec { name: "axis_resample", threads: THREADS, min_blocks: 8, shared_bytes: SHARED_BYTES };

pub mod device {
    //! The device code.
    use cuda_std::float::Float;
    use cuda_std::thread::{block_idx_x, grid_dim_x, thread_idx_x};
    use cuda_std::{kernel, unroll};

    use super::*;
    use crate::resample_factors::ROWS;

    /// See the module.
    ///
    /// # Safety
    /// Each pointer holds what its field says; nobody else accesses `output`; the launch is as [`SPEC`] says.
    #[kernel(max_threads = 64, min_blocks = 8)]
    pub unsafe fn axis_resample(p: AxisResample) {
        // SAFETY: the caller's promise; the width is the tiles'.
        unsafe {
            match width(p.outputs) {
                5 => tiles_of::<5>(&p),
                7 => tiles_of::<7>(&p),
                _ => tiles_of::<9>(&p),
            }
        }
    }

    /// One (o, tile) of a thread's four e.
    struct Share {
        /// Its first row in this launch, four e of it.
        input: Global<f32>,
        /// The same row of the matrix' tile.
        matrix: Global<f32>,
        /// Its first output, four e of it.
        output: GlobalMut<f32>,
        /// Rows in this launch.
        rows: u32,
        /// Outputs that are there.
        outputs: u32,
        /// Whether an earlier launch had rows of this o.
        goes_on: bool,
    }

    /// # Safety
    /// As the kernel, for tiles of `W` outputs.
    #[inline(always)]
    unsafe fn tiles_of<const W: usize>(p: &AxisResample) {
        let (tiles, pieces, end) = (tiles(p.outputs), p.pieces(), p.skipped + p.rows);
        let mut item = block_idx_x();
        loop {
            // Tiles of the same e follow each other.
            let (rest, tile) = if tiles == 1 { (item, 0) } else { div_rem(item, tiles) };
            let (o, piece) = div_rem(rest, pieces);
            // Its rows, [begin, end) of the i of this launch's o one after another, as if none were skipped.
            let base = o as u64 * p.inputs as u64;
            if base >= end as u64 {
                break;
            }
            let base = base as u32;
            let begin = if base < p.skipped { p.skipped } else { base };
            let end = if end - base < p.inputs { end } else { base + p.inputs };
            let e = piece as u64 * ELEMENTS as u64 + 4 * thread_idx_x() as u64;
            let first = tile * W as u32;
            let row = (p.outer + o) as u64 * p.outputs as u64 + first as u64;
            let share = Share {
                input: p.input.offset((begin - p.skipped) as u64 * p.inner + e),
                matrix: p.matrix.offset(resample_factors::index(p.inputs, tile, begin - base, 0) as u64),
                output: p.output.offset(row * p.inner + e),
                rows: end - begin,
                outputs: p.outputs - first,
                goes_on: begin > base,
            };
            // SAFETY: the block's share, whose rows and outputs are there; four e a thread.
            unsafe { resample::<W>(p.inner, share) };
            item += grid_dim_x();
        }
    }

    /// # Safety
    /// The share is this thread's, and of its block with other e.
    #[inline(always)]
    unsafe fn resample<const W: usize>(inner: u64, share: Share) {
        let Share { mut input, mut matrix, mut output, rows: mut left, outputs, goes_on } = share;
        let mut sums = [[0f32; 4]; W];
        // SAFETY: each row of the share is read once, and the matrix' row with it; of outputs that are there, four e, one thread
        // each, an earlier launch wrote those that go on.
        unsafe {
            if goes_on {
                let mut place = output;
                unroll!(a < W, {
                    if (a as u32) < outputs {
                        sums[a] = stored(&mut place, inner);
                    }
                });
            }
            while left > 0 {
                let rows = if left < ROWS { left } else { ROWS };
                add_rows(&mut sums, (&mut input, inner), matrix, rows);
                matrix = matrix.offset((rows * PITCH) as u64);
                left -= rows;
            }
            unroll!(a < W, {
                if (a as u32) < outputs {
                    store(&mut output, inner, sums[a]);
                }
            });
        }
    }

    /// Adds the products of some rows, `inner` numbers apart, by the factors that begin at `matrix`.
    ///
    /// # Safety
    /// They are there; all threads of the block call this.
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
            resample_factors::copy(matrix, rows);
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

    /// Four numbers of this thread's output; the place goes to the next a.
    ///
    /// # Safety
    /// They were written before this launch, and lie on a 16-byte boundary.
    #[inline(always)]
    unsafe fn stored(place: &mut GlobalMut<f32>, inner: u64) -> [f32; 4] {
        // Memory that the kernel writes is not for `.nc` loads; of the others 8 bytes are the widest.
        let words = GlobalMut::<u64>::from_address(place.address());
        let mut values = [0f32; 4];
        unroll!(j < 2, {
            // SAFETY: the caller's promise.
            let word = unsafe { words.load(j as u64) };
            values[2 * j] = f32::from_bits(word as u32);
            values[2 * j + 1] = f32::from_bits((word >> 32) as u32);
        });
        *place = place.offset(inner);
        values
    }

    /// The same the other way.
    ///
    /// # Safety
    /// The output is this thread's alone, and lies on a 16-byte boundary.
    #[inline(always)]
    unsafe fn store(place: &mut GlobalMut<f32>, inner: u64, values: [f32; 4]) {
        // SAFETY: the caller's promise.
        unsafe { place.store_array(0, values) };
        *place = place.offset(inner);
    }

    /// Adds the products of one row.
    ///
    /// # Safety
    /// Its factors are there.
    #[inline(always)]
    unsafe fn add<const W: usize>(sums: &mut [[f32; 4]; W], row: u32, value: [f32; 4]) {
        // SAFETY: the caller's promise.
        let factors = unsafe { resample_factors::row::<W>(row) };
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
    fn tiles_are_as_narrow_as_the_outputs_allow() {
        let found: Vec<_> = [1, 3, 5, 6, 7, 9, 10, 11, 13, 15, 17, 19].map(|m| (width(m), tiles(m))).into();
        let expected = [(5, 1), (5, 1), (5, 1), (7, 1), (7, 1), (9, 1), (5, 2), (7, 2), (7, 2), (9, 2), (9, 2), (7, 3)];
        assert_eq!(found, expected);
    }

    #[test]
    fn each_number_of_a_matrix_has_a_place() {
        for outputs in 1..60 {
            let places: HashSet<_> =
                (0..7).flat_map(|i| (0..outputs).map(move |a| matrix_index((7, outputs), i, a))).collect();
            assert_eq!(places.len() as u32, 7 * outputs);
            assert!(places.iter().all(|&place| place < matrix_len(7, outputs)));
        }
    }
}
