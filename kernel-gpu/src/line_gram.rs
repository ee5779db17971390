//! The Gram matrices of the input's spectrum, summed along each line as far as lags along the pair axis need them.
//!
//! ```text
//! G_f[i,j] = Σ_b X_f[b,i]·conj X_f[b,j]
//! C_l[i,j] = Σ_fp cos(2πl·fp/N2)·G_f[i,j]   (0 ≤ l < K2)      S_l[i,j] = Σ_fp sin(2πl·fp/N2)·G_f[i,j]   (0 < l < K2)
//! ```
//!
//! A block of eight warps takes four [blocks](crate::gram_grid) of 16 × 16 channel pairs, of one line or of several
//! ([`line_gram_list`](crate::line_gram_list)), and up to two or four lags; a warp half of a block, 16 × 8 pairs, whose sums it keeps
//! in registers. [`line_gram_stage`](crate::line_gram_stage) brings the rows through shared memory, eight slots (strict lines: four) of
//! 16 images at a time.
//!
//! **Products** of the tensor cores, G of each slot: [`line_gram_product`](crate::line_gram_product).
//!
//! **Sums.** C_l takes cos times G₊ + G₋, the G of ±fp, and S_l sin times G₊ − G₋. Where N2 is even, f' = N2/2 − fp has the
//! same cosines and sines but for signs, and the [slots](crate::spectrum) hold both side by side: four additions serve both,
//!
//! ```text
//! even l    C_l += cos·((G₊ + G₋) + (G'₊ + G'₋))        S_l += sin·((G₊ − G₋) − (G'₊ − G'₋))
//! odd l     C_l += cos·((G₊ + G₋) − (G'₊ + G'₋))        S_l += sin·((G₊ − G₋) + (G'₊ − G'₋))
//! ```
//!
//! **Accumulation.** f32: products of at most 16 images of a slot in the tensor cores, from there additions and multiply-adds that
//! round to nearest. The order follows from the shape.
//!
//! **Cost.** 8·B flop and half of 2·(2·K2 − 1) multiply-adds a frequency and pair (odd N2: all of them), half of all pairs. Reads the
//! rows of at most five tiles of channels for every four blocks, mostly from L2; writes 8·(2·K2 − 1) bytes a line and pair.
//!
//! **Launch.** One dimension, [`LineGram::items`] blocks or more, [`SHARED_BYTES`] of shared memory.

use cuda_std::global::{Global, GlobalMut};
use cuda_std::launch::KernelSpec;

use crate::line_gram_stage::SHARED_BYTES;
use crate::spectrum::{Spectrum, div, rem};

/// The parameters.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct LineGram {
    /// The spectra, (line, row, slot).
    pub high: Global<u32>,
    /// What rounding left of the strict lines', (strict line, row, slot).
    pub low: Global<u32>,
    /// e of each row, (ci, b).
    pub row_exponent: Global<i32>,
    /// E of each ci, see [`input_scales`](crate::input_scales).
    pub channel_exponent: Global<i32>,
    /// As [`input_scales`](crate::input_scales) wrote it: the second number says that no row needs scaling.
    pub scale_exponent: Global<i32>,
    /// cos, then sin, of the lags of a pass: see [`coefficient`].
    pub coefficients: Global<f32>,
    /// Out: `[line − first_line][component][block − first_block][16][16][re, im]`; component 0 is C_0, 2l − 1 is C_l, 2l is S_l.
    pub sums: GlobalMut<f32>,
    /// The extents; the batch is this cut's.
    pub spectrum: Spectrum,
    /// The first line.
    pub first_line: u32,
    /// How many.
    pub lines: u32,
    /// The first block of channel pairs.
    pub first_block: u32,
    /// How many.
    pub blocks: u32,
}

impl LineGram {
    /// Components of a line: 2·K2 − 1.
    #[inline(always)]
    pub const fn components(&self) -> u32 {
        self.spectrum.grid().m()[2]
    }

    /// Passes of `lags` lags; one, if there is but C_0.
    #[inline(always)]
    pub const fn passes(&self, lags: u32) -> u32 {
        passes(self.spectrum.shape.kernel[2], lags)
    }
}

/// A launch's lines in parts: those of fr = 0, as many as the first number; of each further fr the first, from the second number on, as many as
/// the third; and the rest, from the fourth on.
#[inline(always)]
const fn parts(spectrum: &Spectrum, first_line: u32, lines: u32) -> [u32; 4] {
    let (column, end) = (spectrum.n()[0], first_line + lines);
    let start = if first_line > column { first_line } else { column };
    let edge = if end < column { lines } else { start - first_line };
    let next = start.div_ceil(column) * column;
    let planes = if end > next { (end - next).div_ceil(column) } else { 0 };
    [edge, next, planes, start]
}

/// How many of a launch's lines are strict.
#[inline(always)]
pub const fn strict_turns(spectrum: &Spectrum, first_line: u32, lines: u32) -> u32 {
    let [edge, _, planes, _] = parts(spectrum, first_line, lines);
    if spectrum.all_strict != 0 { lines } else { edge + planes }
}

/// The `turn`-th line to take of a launch's, in the order of (fr, fo): first those of the planes fo = 0 and fr = 0, which are strict and
/// take longer, so that the last to end are short.
#[inline(always)]
pub const fn line_in_turn(spectrum: &Spectrum, first_line: u32, lines: u32, turn: u32) -> u32 {
    let column = spectrum.n()[0];
    if spectrum.all_strict != 0 {
        return first_line + turn;
    }
    let [edge, next, planes, start] = parts(spectrum, first_line, lines);
    if turn < edge {
        first_line + turn
    } else if turn < edge + planes {
        next + (turn - edge) * column
    } else {
        let (before, place) = (div(start, column), rem(start, column));
        let rest = before * (column - 1) + (if place > 0 { place - 1 } else { 0 }) + (turn - edge - planes);
        div(rest, column - 1) * column + 1 + rem(rest, column - 1)
    }
}

/// Passes of `lags` lags for a kernel of that extent.
#[inline(always)]
pub const fn passes(kernel: u32, lags: u32) -> u32 {
    let all = kernel - 1;
    if all <= lags { 1 } else { div(all + lags - 1, lags) }
}

/// What the table of a kernel for `lags` lags holds at `index`, `[pass][pair of slots][cos, sin][lag]`, as (l, fp): cos or sin of
/// 2πl·fp/N2. None is 0: a lag past the last, and the sine of pairs that are not ±fp.
#[inline(always)]
pub const fn coefficient(spectrum: &Spectrum, lags: u32, index: u32) -> Option<(u32, u32)> {
    let (lag, pair) = (index % lags, index / (2 * lags) % (spectrum.slots() / 2));
    let (sine, pass) = (index / lags % 2 == 1, index / (lags * spectrum.slots()));
    let l = pass * lags + lag + 1;
    if l >= spectrum.shape.kernel[2] || (sine && pair < 2) {
        return None;
    }
    match spectrum.frequency(2 * pair) {
        Some(fp) => Some((l, fp)),
        None => None,
    }
}

/// Numbers in that table.
#[inline(always)]
pub const fn coefficients(spectrum: &Spectrum, lags: u32) -> u32 {
    passes(spectrum.shape.kernel[2], lags) * spectrum.slots() * lags
}

/// The launch for kernels of up to three taps along the pair axis: two lags.
pub const SPEC_2: KernelSpec =
    KernelSpec { name: "line_gram_2", threads: 256, min_blocks: 2, shared_bytes: SHARED_BYTES };
/// The launch for others: four lags at a time.
pub const SPEC_4: KernelSpec =
    KernelSpec { name: "line_gram_4", threads: 256, min_blocks: 2, shared_bytes: SHARED_BYTES };

/// Lags at a time for a kernel of that extent along the pair axis.
#[inline(always)]
pub const fn lags(kernel: u32) -> u32 {
    if kernel <= 3 { 2 } else { 4 }
}

pub mod device {
    //! The device code.
    use cuda_std::float::Float;
    use cuda_std::thread::{block_idx_x, lane_index, sync_threads, warp_index};
    use cuda_std::{kernel, unroll};

    use super::*;
    use crate::gram_grid::BLOCK_WORDS;
    use crate::line_gram_list::device::{List, Member};
    use crate::line_gram_product::device::{Gram, Pairs};
    use crate::line_gram_stage::STAGE;
    use crate::line_gram_stage::device::{PackedRows, Stages};
    use crate::opaque::opaque;
    use crate::spectrum::TILE;

    /// See the module.
    ///
    /// # Safety
    /// Each pointer holds what its field says, for the lines and blocks given; nobody else accesses `sums`; the launch is as
    /// [`SPEC_2`] says.
    #[kernel(max_threads = 256, min_blocks = 2)]
    pub unsafe fn line_gram_2(p: LineGram) {
        // SAFETY: the caller's promise.
        unsafe { run::<2>(&p) }
    }

    /// See the module.
    ///
    /// # Safety
    /// As [`line_gram_2`], with [`SPEC_4`].
    #[kernel(max_threads = 256, min_blocks = 2)]
    pub unsafe fn line_gram_4(p: LineGram) {
        // SAFETY: the caller's promise.
        unsafe { run::<4>(&p) }
    }

    #[inline(always)]
    unsafe fn run<const LAGS: usize>(p: &LineGram) {
        let number = block_idx_x() as u64;
        if number >= p.items(LAGS as u32) {
            return;
        }
        let (item, list) = (p.item(LAGS as u32, number), List::at(2 * STAGE));
        if warp_index() == 0 {
            // SAFETY: one warp; the barrier is below.
            unsafe { list.write(p, &item) };
        }
        sync_threads();
        // SAFETY: the caller's promise; the list is complete, and the item's sums are this block's. Two copies, each without a branch in
        // its products.
        unsafe {
            if item.strict {
                work::<LAGS, true>(p, list);
            } else {
                work::<LAGS, false>(p, list);
            }
        }
    }

    /// One item.
    ///
    /// # Safety
    /// As the kernels', the list is the item's and complete, `STRICT` is what the item says, and `FOLDS` that N2 is even.
    #[inline(always)]
    unsafe fn work<const LAGS: usize, const STRICT: bool>(p: &LineGram, list: List) {
        let stages = Stages::<LAGS, STRICT>::new(p, list);
        let (mut sums, mut stage) = (Sums::<LAGS>::ZERO, 0);
        // SAFETY: the first stage exists, and nobody has touched the buffers.
        unsafe { stages.bring(stage) };
        // SAFETY: the list is complete. Where there is no block, these are rows of another, whose sums are not stored.
        let rows = PackedRows::new(unsafe { list.member(warp_index() / 2) }.sides, warp_index() % 2);
        while stage < stages.count() {
            // SAFETY: this thread's own copies, complete after the wait.
            unsafe { stages.arrived(stage) };
            sync_threads(); // the stage is complete, and the other buffer no longer read
            if stage + 1 < stages.count() {
                // SAFETY: behind the barrier nobody reads the other buffer.
                unsafe { stages.bring(stage + 1) };
            }
            let mut quad = 0;
            while quad < Stages::<LAGS, STRICT>::QUADS {
                let (words, rows) = (stages.quad(stage, quad), rows.rows());
                // SAFETY: the stage is complete.
                unsafe {
                    let first = stages.is_first(stage) && quad == 0;
                    let gram =
                        if STRICT { Gram::strict(&words, &rows, first) } else { Gram::plain(&words, &rows, first) };
                    // Opaque: else they are asked for before the products, whose registers they would take.
                    let pair = opaque(2 * quad);
                    if p.spectrum.n()[2].is_multiple_of(2) {
                        sums.add_folded(&gram, stages.coefficients(stage, pair));
                    } else {
                        sums.add(gram.pair(0), stages.coefficients(stage, pair));
                        sums.add(gram.pair(1), stages.coefficients(stage, pair + 1));
                    }
                }
                quad += 1;
            }
            stage += 1;
        }
        // SAFETY: the list is complete; the block's sums are this item's, its half this warp's.
        unsafe { sums.store(p, &list.member(opaque(warp_index() / 2)), list.pass()) };
    }

    /// C_0, and C_l and S_l of the pass' lags.
    struct Sums<const LAGS: usize> {
        zero: Pairs,
        cos: [Pairs; LAGS],
        sin: [Pairs; LAGS],
    }

    impl<const LAGS: usize> Sums<LAGS> {
        const ZERO: Self = Self { zero: [0.0; 8], cos: [[0.0; 8]; LAGS], sin: [[0.0; 8]; LAGS] };

        /// Adds a pair of slots ±fp, whose coefficients are LAGS cosines and LAGS sines.
        #[inline(always)]
        fn add(&mut self, [plus, minus]: [&Pairs; 2], coefficients: [f32; 8]) {
            unroll!(i < 8, {
                let (sum, difference) = (plus[i] + minus[i], plus[i] - minus[i]);
                self.zero[i] += sum;
                unroll!(lag < 4, {
                    if lag < LAGS {
                        self.cos[lag][i] = coefficients[lag].fma(sum, self.cos[lag][i]);
                        self.sin[lag][i] = coefficients[LAGS + lag].fma(difference, self.sin[lag][i]);
                    }
                });
            });
        }

        /// Adds ±fp and ±(N2/2 − fp), N2 even, with the coefficients of fp: those of the others are (−1)^l times the
        /// cosines, −(−1)^l times the sines. The passes' first lag is odd.
        #[inline(always)]
        fn add_folded(&mut self, gram: &Gram, coefficients: [f32; 8]) {
            let [plus, minus, other_plus, other_minus] = &gram.slots;
            unroll!(i < 8, {
                let (sum, difference) = (plus[i] + minus[i], plus[i] - minus[i]);
                let (other_sum, other_difference) = (other_plus[i] + other_minus[i], other_plus[i] - other_minus[i]);
                // Of odd lags, and of even ones.
                let sums = [sum - other_sum, sum + other_sum];
                let differences = [difference + other_difference, difference - other_difference];
                self.zero[i] += sums[1];
                unroll!(lag < 4, {
                    if lag < LAGS {
                        self.cos[lag][i] = coefficients[lag].fma(sums[lag % 2], self.cos[lag][i]);
                        self.sin[lag][i] = coefficients[LAGS + lag].fma(differences[lag % 2], self.sin[lag][i]);
                    }
                });
            });
        }

        /// Stores the warp's half of its block.
        ///
        /// # Safety
        /// The block's sums are this block of threads'.
        #[inline(always)]
        unsafe fn store(&self, p: &LineGram, member: &Member, pass: u32) {
            let Some(block) = member.block else { return };
            let block_words = BLOCK_WORDS as u64;
            let component_words = p.blocks as u64 * block_words;
            let line = member.line as u64 * p.components() as u64;
            let (row, column) = (lane_index() / 4, 8 * (warp_index() % 2) + 2 * (lane_index() % 4));
            let place = block as u64 * block_words + (2 * (row * TILE + column)) as u64;
            let put = |component: u32, pairs: &Pairs| {
                let at = (line + component as u64) * component_words + place;
                // SAFETY: component < 2·K2 − 1, block < blocks; rows `row` and `row` + 8 of it, two columns.
                unsafe {
                    p.sums.store_array(at, [pairs[0], pairs[4], pairs[1], pairs[5]]);
                    p.sums.store_array(at + (16 * TILE) as u64, [pairs[2], pairs[6], pairs[3], pairs[7]]);
                }
            };
            if pass == 0 {
                put(0, &self.zero);
            }
            unroll!(lag < 4, {
                if lag < LAGS {
                    let l = pass * LAGS as u32 + lag as u32 + 1;
                    if l < p.spectrum.shape.kernel[2] {
                        put(2 * l - 1, &self.cos[lag]);
                        put(2 * l, &self.sin[lag]);
                    }
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec;

    use super::*;
    use crate::conv_shape::ConvShape;

    #[test]
    fn every_line_has_its_turn_and_strict_ones_come_first() {
        for n in [[1, 5, 2], [4, 1, 2], [4, 7, 2], [5, 6, 2], [2, 2, 2]] {
            for all_strict in [0, 1] {
                let shape = ConvShape { batch: 1, in_channels: 1, out_channels: 1, input: n, kernel: [1; 3] };
                let s = Spectrum { shape, all_strict };
                for first in 0..s.lines() {
                    for lines in 1..=s.lines() - first {
                        let (mut seen, mut plain) = (vec![false; lines as usize], false);
                        for turn in 0..lines {
                            let line = line_in_turn(&s, first, lines, turn);
                            assert!(!std::mem::replace(&mut seen[(line - first) as usize], true));
                            let strict = s.strict_index(s.frequencies(line).0, s.frequencies(line).1).is_some();
                            assert!(!(strict && plain), "{n:?} {first} {lines} {turn}");
                            plain |= !strict;
                        }
                    }
                }
            }
        }
    }
}
