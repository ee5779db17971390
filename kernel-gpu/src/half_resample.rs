//! The Gram matrices of all frequencies along the half axis, from those of half of them, on the coarse grid.
//!
//! ```text
//! H[g0, g1, m] = Σ_fr D[fr, g1]·in[fr, g0, m]                           fr ≤ N1/2, each counted half as often as it stands for
//! out[r, m] = (H[g0, g1, m] ± conj H[−g0, −g1, m])·2^(E_i + E_j − 2m)     r = (g0, g1): see [`gram_grid`](crate::gram_grid)
//! ```
//!
//! since G_{−f} = conj G_f entry by entry. m are the components of [`line_gram`](crate::line_gram): + for sums with cosines, − for
//! sums with sines. Then all channels get one scale ([`input_scales`](crate::input_scales)). f32, fr ascending.
//!
//! **Folded.** With a and b the input at g0 and −g0, its parts p = a ± conj b and q = a ∓ conj b, and the even and odd part of D
//! in g1, half of the products are left, for g1 = h and −h at once:
//!
//! ```text
//! S = Σ_fr even[fr, h]·p,   T = Σ_fr odd[fr, h]·q,   out at h: S + T, at −h: S − T          h < K1
//! ```
//!
//! **Threads.** A block makes the outputs of up to five h and their −h, for one g0, one m and 128 channel pairs; a thread those of
//! two, by factors in shared memory (`resample_factors`). The next two fr are read while two are multiplied.
//!
//! **Launch.** One dimension, any number of blocks.

use cuda_std::global::{Global, GlobalMut};
use cuda_std::launch::KernelSpec;

use crate::gram_grid::Grid;
use crate::resample_factors::{self, PITCH, SHARED_BYTES, THREADS};
use crate::spectrum::div_rem;

/// The parameters.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct HalfResample {
    /// (fr, g0, m, block of this launch, 16, 16, [re, im]).
    pub input: Global<f32>,
    /// (tile of h, fr, 12): the factors even, then odd; see [`matrix_index`].
    pub matrix: Global<f32>,
    /// E of each ci.
    pub channel_exponent: Global<i32>,
    /// The m of the scale.
    pub scale_exponent: Global<i32>,
    /// Out: (r, m, block of this launch, 16, 16, [re, im]).
    pub output: GlobalMut<f32>,
    /// The grid.
    pub grid: Grid,
    /// fr.
    pub inputs: u32,
    /// The first block of channel pairs.
    pub first_block: u32,
    /// How many.
    pub blocks: u32,
}

/// h of a thread, at most.
const WIDEST: u32 = 5;
/// Blocks of threads for one block of channel pairs.
const PARTS: u32 = 2;

/// Tiles of so many h.
#[inline(always)]
pub const fn tiles(halves: u32) -> u32 {
    halves.div_ceil(WIDEST)
}

/// h of a tile: those that are there, divided evenly, and up to the next width that the kernel has.
#[inline(always)]
pub const fn width(halves: u32) -> u32 {
    let tiles = tiles(halves);
    if halves <= 3 * tiles {
        3
    } else if halves <= 4 * tiles {
        4
    } else {
        WIDEST
    }
}

/// Where the matrix holds the even and the odd factor of (fr, h), of `halves` h.
#[inline(always)]
pub const fn matrix_index((inputs, halves): (u32, u32), fr: u32, h: u32) -> (u32, u32) {
    let (tile, place) = div_rem(h, width(halves));
    let even = resample_factors::index(inputs, tile, fr, place);
    (even, even + width(halves))
}

/// Numbers of a matrix.
#[inline(always)]
pub const fn matrix_len(inputs: u32, halves: u32) -> u32 {
    inputs * tiles(halves) * PITCH
}

impl HalfResample {
    /// Shares of the work, each a block's; they fit 32 bits, for an output's memory does.
    #[inline(always)]
    pub const fn items(&self) -> u32 {
        let [k0, k1, _] = self.grid.kernel;
        k0 * tiles(k1) * self.grid.m()[2] * PARTS * self.blocks
    }
}

/// The launch.
pub const SPEC: KernelSpec =
    KernelSpec { name: "half_resample", threads: THREADS, min_blocks: 8, shared_bytes: SHARED_BYTES };

pub mod device {
    //! The device code.
    use cuda_std::float::Float;
    use cuda_std::thread::{block_idx_x, grid_dim_x, thread_idx_x};
    use cuda_std::{kernel, unroll};

    use super::*;
    use crate::gram_grid::BLOCK_WORDS;
    use crate::resample_factors::ROWS;
    use crate::spectrum::{EMPTY, TILE};

    /// See the module.
    ///
    /// # Safety
    /// Each pointer holds what its field says; nobody else accesses `output`; the launch is as [`SPEC`] says.
    #[kernel(max_threads = 64, min_blocks = 8)]
    pub unsafe fn half_resample(p: HalfResample) {
        // SAFETY: the caller's promise; the width is the tiles'.
        unsafe {
            match width(p.grid.kernel[1]) {
                3 => tiles_of::<3>(&p),
                4 => tiles_of::<4>(&p),
                _ => tiles_of::<5>(&p),
            }
        }
    }

    /// Where a thread reads: the same two channel pairs at both g0 of one fr.
    struct Cursor {
        here: Global<f32>,
        there: Global<f32>,
        /// Words from one fr to the next.
        step: u64,
    }

    /// Two channel pairs, [re, im, re, im], at g0 and at −g0.
    type Values = [[f32; 4]; 2];

    /// S and T of two channel pairs.
    struct Sums<const W: usize> {
        even: [[f32; 4]; W],
        odd: [[f32; 4]; W],
    }

    /// # Safety
    /// As the kernel, for tiles of `W` h.
    #[inline(always)]
    unsafe fn tiles_of<const W: usize>(p: &HalfResample) {
        let ([m0, m1, m2], halves) = (p.grid.m(), p.grid.kernel[1]);
        let (items, tiles, parts) = (p.items(), tiles(halves), PARTS * p.blocks);
        let mut item = block_idx_x();
        while item < items {
            let (rest, part) = div_rem(item, parts);
            let (rest, component) = div_rem(rest, m2);
            let (g0, tile) = if tiles == 1 { (rest, 0) } else { div_rem(rest, tiles) };
            let (mirror, block) = (if g0 == 0 { 0 } else { m0 - g0 }, part / PARTS);
            // The first of the thread's two channel pairs; they are neighbours.
            let entry = part % PARTS * (2 * THREADS) + 2 * thread_idx_x();
            // Words from one g0 to the next.
            let pitch = m2 as u64 * p.blocks as u64 * BLOCK_WORDS as u64;
            let place = (component as u64 * p.blocks as u64 + block as u64) * BLOCK_WORDS as u64 + 2 * entry as u64;
            let cursor = Cursor {
                here: p.input.offset(g0 as u64 * pitch + place),
                there: p.input.offset(mirror as u64 * pitch + place),
                step: m0 as u64 * pitch,
            };
            // Component 0 and odd ones are sums with cosines.
            let sign = if component == 0 || component % 2 == 1 { 1.0 } else { -1.0 };
            // SAFETY: the block's channels, and m; all fr, of g0 and its mirror image.
            let ([row, first, second], largest, Sums { even, odd }) = unsafe {
                let exponents = exponents(p, p.first_block + block, entry);
                (exponents, p.scale_exponent.load(0), sums::<W>(p, tile, cursor, sign))
            };
            let (row, columns) = (scale(row, largest), [scale(first, largest), scale(second, largest)]);
            unroll!(n < W, {
                let h = tile * W as u32 + n as u32;
                // Of g0 = 0 the half of the lines has h alone.
                if h < halves {
                    let line = if g0 == 0 { h } else { halves + (g0 - 1) * m1 + h };
                    let (mut at_h, mut at_mirror) = ([0f32; 4], [0f32; 4]);
                    unroll!(j < 4, {
                        at_h[j] = (even[n][j] + odd[n][j]) * row * columns[j / 2];
                        at_mirror[j] = (even[n][j] - odd[n][j]) * row * columns[j / 2];
                    });
                    // SAFETY: lines of the grid; one thread an entry.
                    unsafe {
                        p.output.store_array(line as u64 * pitch + place, at_h);
                        if g0 > 0 && h > 0 {
                            p.output.store_array((line + m1 - 2 * h) as u64 * pitch + place, at_mirror);
                        }
                    }
                }
            });
            item += grid_dim_x();
        }
    }

    /// Over all fr.
    ///
    /// # Safety
    /// The cursor is at the first fr; all threads of the block call this, for the same tile.
    #[inline(always)]
    unsafe fn sums<const W: usize>(p: &HalfResample, tile: u32, mut cursor: Cursor, sign: f32) -> Sums<W> {
        let mut sums = Sums { even: [[0f32; 4]; W], odd: [[0f32; 4]; W] };
        let mut left = p.inputs;
        let mut matrix = p.matrix.offset(resample_factors::index(p.inputs, tile, 0, 0) as u64);
        while left > 0 {
            let rows = if left < ROWS { left } else { ROWS };
            // SAFETY: the caller's promise: each fr is read once, and its row of the matrix with it.
            unsafe {
                add_rows(&mut sums, &mut cursor, matrix, rows, sign);
            }
            matrix = matrix.offset((rows * PITCH) as u64);
            left -= rows;
        }
        sums
    }

    /// Adds the products of some fr by the factors that begin at `matrix`.
    ///
    /// # Safety
    /// They are there; all threads of the block call this.
    #[inline(always)]
    unsafe fn add_rows<const W: usize>(
        sums: &mut Sums<W>,
        cursor: &mut Cursor,
        matrix: Global<f32>,
        rows: u32,
        sign: f32,
    ) {
        // One by itself where their number is odd. All that can be asked for is asked for before the first sum.
        let (alone, mut row) = (rows % 2 == 1, 0);
        let (mut head, mut next) = ([[0f32; 4]; 2], [[[0f32; 4]; 2]; 2]);
        // SAFETY: the caller's promise: each fr is read once, and its factors are copied.
        unsafe {
            if alone {
                head = values(cursor);
            }
            if rows >= 2 {
                unroll!(k < 2, { next[k] = values(cursor) });
            }
            resample_factors::copy(matrix, rows);
            if alone {
                add(sums, 0, head, sign);
                row = 1;
            }
            while row + 2 < rows {
                let now = next;
                unroll!(k < 2, { next[k] = values(cursor) });
                unroll!(k < 2, { add(sums, row + k as u32, now[k], sign) });
                row += 2;
            }
            if row < rows {
                unroll!(k < 2, { add(sums, row + k as u32, next[k], sign) });
            }
        }
    }

    /// The next fr's.
    ///
    /// # Safety
    /// There is one.
    #[inline(always)]
    unsafe fn values(cursor: &mut Cursor) -> Values {
        // SAFETY: the caller's promise; two channel pairs are 16 bytes.
        let values = unsafe { [cursor.here.load_array(0), cursor.there.load_array(0)] };
        cursor.here = cursor.here.offset(cursor.step);
        cursor.there = cursor.there.offset(cursor.step);
        values
    }

    /// Adds the products of one fr.
    ///
    /// # Safety
    /// Its factors are there.
    #[inline(always)]
    unsafe fn add<const W: usize>(sums: &mut Sums<W>, row: u32, [here, there]: Values, sign: f32) {
        // SAFETY: the caller's promise.
        let factors = unsafe {
            match W {
                3 => resample_factors::row::<6>(row),
                4 => resample_factors::row::<8>(row),
                _ => resample_factors::row::<10>(row),
            }
        };
        let (mut p, mut q) = ([0f32; 4], [0f32; 4]);
        unroll!(j < 4, {
            // The imaginary parts of a conjugate change their sign.
            let sign = if j.is_multiple_of(2) { sign } else { -sign };
            p[j] = sign.fma(there[j], here[j]);
            q[j] = (-sign).fma(there[j], here[j]);
        });
        unroll!(n < W, {
            unroll!(j < 4, {
                sums.even[n][j] = factors[n].fma(p[j], sums.even[n][j]);
                sums.odd[n][j] = factors[W + n].fma(q[j], sums.odd[n][j]);
            });
        });
    }

    /// E_i, and E_j of two neighbouring entries of a block; EMPTY for channels that are not there.
    ///
    /// # Safety
    /// The block is one of the grid's, the entry an even one of 256.
    #[inline(always)]
    unsafe fn exponents(p: &HalfResample, block: u32, entry: u32) -> [i32; 3] {
        let (i, j) = p.grid.block(block);
        let (row, column) = (i * TILE + entry / TILE, j * TILE + entry % TILE);
        let (channels, mut exponents) = ([row, column, column + 1], [EMPTY; 3]);
        unroll!(n < 3, {
            if channels[n] < p.grid.in_channels {
                // SAFETY: ci < Cin.
                exponents[n] = unsafe { p.channel_exponent.load(channels[n] as u64) };
            }
        });
        exponents
    }

    /// 2^(E − m), which is never above 1; what is 2^120 below the largest is nothing beside it, and channels may be empty: 0.
    #[inline(always)]
    fn scale(exponent: i32, largest: i32) -> f32 {
        let shift = exponent - largest;
        if shift < -120 { 0.0 } else { f32::from_bits(((127 + shift) as u32) << 23) }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::collections::HashSet;
    use std::vec::Vec;

    use super::*;

    #[test]
    fn tiles_are_as_narrow_as_their_h_allow() {
        let found: Vec<_> = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11].map(|k| (width(k), tiles(k))).into();
        let expected = [(3, 1), (3, 1), (3, 1), (4, 1), (5, 1), (3, 2), (4, 2), (4, 2), (5, 2), (5, 2), (4, 3)];
        assert_eq!(found, expected);
    }

    #[test]
    fn each_number_of_a_matrix_has_a_place() {
        for halves in 1..30 {
            let factors = (0..7).flat_map(|fr| (0..halves).map(move |h| matrix_index((7, halves), fr, h)));
            let places: HashSet<_> = factors.flat_map(|(even, odd)| [even, odd]).collect();
            assert_eq!(places.len() as u32, 2 * 7 * halves);
            assert!(places.iter().all(|&place| place < matrix_len(7, halves)));
        }
    }
}
