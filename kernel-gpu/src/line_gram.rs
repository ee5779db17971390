//! The Gram matrices of the input's spectrum, summed along each line as far as lags along the pair axis need them.
//!
//! ```text
//! G_f[i,j] = Σ_b X_f[b,i]·conj X_f[b,j]
//! C_l[i,j] = Σ_fp cos(2πl·fp/N2)·G_f[i,j]   (0 ≤ l < K2)      S_l[i,j] = Σ_fp sin(2πl·fp/N2)·G_f[i,j]   (0 < l < K2)
//! ```
//!
//! (of taps with gaps between them, l times the gap; i and j are of one bundle of groups).
//!
//! A block of four warps takes one line, two [blocks](crate::gram_grid) of 16 × 16 channel pairs, and up to two or four lags; a
//! warp half of a block, 16 × 8 pairs, whose sums it keeps in registers. [`line_gram_stage`](crate::line_gram_stage) brings the
//! rows of both through shared memory, eight slots (strict lines: four) of 16 images at a time.
//!
//! [`line_gram_products`](crate::line_gram_products) makes G₊ + G₋ and G₊ − G₋ of the slots of ±fp, and
//! [`line_gram_sums`](crate::line_gram_sums) adds them to the lags' sums.
//!
//! **Mirror images.** Where the line at −f is stored too, the sums of one are those of the other: G_{−f} = conj G_f, and sines change their
//! sign. The later of two such lines of a launch is not multiplied out.
//!
//! **Accumulation.** f32: products of at most 16 images in the tensor cores, from there multiply-adds that round to nearest. The
//! order follows from the shape and from [`LineGram::ways`].
//!
//! **Cost.** 8·B flop and 2·(2·K2 − 1) of the multiply-adds a frequency and pair, half of all pairs. Reads the rows of three tiles of
//! channels for every two blocks, mostly from L2; writes 8·(2·K2 − 1) bytes a line and pair.
//!
//! Of few lines, whose blocks of threads would not fill a device, two pairs of warps share a block of channel pairs: each multiplies half of
//! the slots, and one adds the other's sums to its own.
//!
//! **Launch.** One dimension, [`LineGram::items`] blocks or more, [`SHARED_BYTES`] of shared memory.

use cuda_std::global::{Global, GlobalMut};
use cuda_std::launch::KernelSpec;

use crate::gram_grid::Grid;
use crate::line_gram_stage::SHARED_BYTES;
use crate::spectrum::{Spectrum, div, rem};

/// The parameters.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct LineGram {
    /// The spectra, (line, row, slot), from the bundle's first row on.
    pub high: Global<u32>,
    /// What rounding left of the strict lines', (strict line, row, slot), likewise.
    pub low: Global<u32>,
    /// e of each row of the bundle, (ci, b).
    pub row_exponent: Global<i32>,
    /// E of each ci of the bundle, see [`input_scales`](crate::input_scales).
    pub channel_exponent: Global<i32>,
    /// As [`input_scales`](crate::input_scales) wrote it: the first number says that no row needs scaling.
    pub scale_exponent: Global<i32>,
    /// cos, then sin, of the lags of a pass: see [`coefficient`].
    pub coefficients: Global<f32>,
    /// Out: `[line − first_line][component][block − first_block][16][16][re, im]`; component 0 is C_0, 2l − 1 is C_l, 2l is S_l.
    pub sums: GlobalMut<f32>,
    /// The extents of a bundle and this cut of the batch, of taps without gaps: of the input's no more counts than the frequencies.
    pub spectrum: Spectrum,
    /// Rows from one eight slots to the next: those of all bundles. What is above begins with the bundle's first.
    pub rows: u32,
    /// The first line.
    pub first_line: u32,
    /// How many.
    pub lines: u32,
    /// The first block of channel pairs.
    pub first_block: u32,
    /// How many.
    pub blocks: u32,
    /// 2: both halves of a block of threads share one block of channel pairs, each every second two of four pairs of slots, in strict lines one of
    /// two. 1: they take two.
    pub ways: u32,
}

impl LineGram {
    /// The grid of the bundle.
    #[inline(always)]
    pub const fn grid(&self) -> Grid {
        Grid::of(&self.spectrum.shape)
    }

    /// Words of a line, of all bundles.
    #[inline(always)]
    pub const fn line_words(&self) -> u64 {
        self.rows as u64 * self.spectrum.slots() as u64
    }

    /// Where a line keeps a slot of a row.
    #[inline(always)]
    pub const fn place(&self, row: u32, slot: u32) -> u64 {
        (slot / 8 * 8) as u64 * self.rows as u64 + (8 * row + slot % 8) as u64
    }

    /// Components of a line: 2·K2 − 1.
    #[inline(always)]
    pub const fn components(&self) -> u32 {
        self.grid().m()[2]
    }

    /// Passes of `lags` lags; one, if there is but C_0.
    #[inline(always)]
    pub const fn passes(&self, lags: u32) -> u32 {
        passes(self.spectrum.shape.kernel[2], lags)
    }

    /// Pairs of blocks, or blocks that are shared.
    #[inline(always)]
    pub const fn units(&self) -> u32 {
        if self.ways == 2 { self.blocks } else { self.blocks.div_ceil(2) }
    }

    /// Shares of the work, each a block's.
    #[inline(always)]
    pub const fn items(&self, lags: u32) -> u64 {
        self.lines as u64 * self.passes(lags) as u64 * self.units() as u64
    }
}

/// The `turn`-th line to take of a launch's, in the order of (fr, fo): first those of the planes fo = 0 and fr = 0, which are strict and
/// take longer, so that the last to end are short.
#[inline(always)]
pub const fn line_in_turn(spectrum: &Spectrum, first_line: u32, lines: u32, turn: u32) -> u32 {
    let (column, end) = (spectrum.n()[0], first_line + lines);
    if spectrum.all_strict != 0 {
        return first_line + turn;
    }
    // The lines of fr = 0, then the first one of each further fr, then the rest.
    let start = if first_line > column { first_line } else { column };
    let edge = if end < column { lines } else { start - first_line };
    let next = start.div_ceil(column) * column;
    let planes = if end > next { (end - next).div_ceil(column) } else { 0 };
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
/// 2πl·fp/N2, l times the gap of the taps. None is 0: a lag past the last, and the sine of pairs that are not ±fp.
#[inline(always)]
pub const fn coefficient(spectrum: &Spectrum, kernel: u32, lags: u32, index: u32) -> Option<(u32, u32)> {
    let (lag, pair) = (index % lags, index / (2 * lags) % (spectrum.slots() / 2));
    let (sine, pass) = (index / lags % 2 == 1, index / (lags * spectrum.slots()));
    let l = pass * lags + lag + 1;
    if l >= kernel || (sine && pair < 2) {
        return None;
    }
    match spectrum.frequency(2 * pair) {
        Some(fp) => Some((l, fp)),
        None => None,
    }
}

/// Numbers in that table.
#[inline(always)]
pub const fn coefficients(spectrum: &Spectrum, kernel: u32, lags: u32) -> u32 {
    passes(kernel, lags) * spectrum.slots() * lags
}

/// The launch for kernels of up to three taps along the pair axis: two lags.
pub const SPEC_2: KernelSpec =
    KernelSpec { name: "line_gram_2", threads: 128, min_blocks: 4, shared_bytes: SHARED_BYTES };
/// The launch for others: four lags at a time.
pub const SPEC_4: KernelSpec =
    KernelSpec { name: "line_gram_4", threads: 128, min_blocks: 4, shared_bytes: SHARED_BYTES };

/// Lags at a time for a kernel of that extent along the pair axis.
#[inline(always)]
pub const fn lags(kernel: u32) -> u32 {
    if kernel <= 3 { 2 } else { 4 }
}

pub mod device {
    //! The device code.
    use cuda_std::kernel;
    use cuda_std::thread::{block_idx_x, sync_threads, thread_idx_x, warp_index};

    use super::*;
    use crate::line_gram_products::device::Gram;
    use crate::line_gram_stage::device::{Item, Place, Stages, Target};
    use crate::line_gram_sums::device::Sums;
    use crate::opaque::opaque;

    /// See the module.
    ///
    /// # Safety
    /// Each pointer holds what its field says, for the lines and blocks given; nobody else accesses `sums`; the launch is as
    /// [`SPEC_2`] says.
    #[kernel(max_threads = 128, min_blocks = 4)]
    pub unsafe fn line_gram_2(p: LineGram) {
        // SAFETY: the caller's promise.
        unsafe { run::<2, 4>(&p) }
    }

    /// See the module.
    ///
    /// # Safety
    /// As [`line_gram_2`], with [`SPEC_4`].
    #[kernel(max_threads = 128, min_blocks = 4)]
    pub unsafe fn line_gram_4(p: LineGram) {
        // SAFETY: the caller's promise.
        unsafe { run::<4, 8>(&p) }
    }

    #[inline(always)]
    unsafe fn run<const LAGS: usize, const BOTH: usize>(p: &LineGram) {
        // SAFETY: there is a first number.
        let uniform = unsafe { p.scale_exponent.load(0) } != 0;
        let number = block_idx_x();
        if (number as u64) < p.items(LAGS as u32) {
            let item = Item::new(p, LAGS as u32, number);
            // SAFETY: the caller's promise; the item's sums are this block's. Two copies, each without a branch in its products.
            unsafe {
                if item.left_out {
                } else if item.strict {
                    work::<LAGS, BOTH, true>(p, &item, uniform);
                } else {
                    work::<LAGS, BOTH, false>(p, &item, uniform);
                }
            }
        }
    }

    /// One item.
    ///
    /// # Safety
    /// As the kernels', the item is this block's, and `STRICT` what it says.
    #[inline(always)]
    unsafe fn work<const LAGS: usize, const BOTH: usize, const STRICT: bool>(p: &LineGram, item: &Item, uniform: bool) {
        let stages = Stages::<STRICT>::new(p, item);
        let rows = item.rows(warp_index() / 2, warp_index() % 2);
        let row_words = (p.spectrum.slots() * LAGS as u32) as u64;
        let table = p.coefficients.offset(item.target.pass as u64 * row_words);
        if thread_idx_x() == 0 {
            // SAFETY: it is asked for behind the stages' barriers.
            unsafe { item.target.keep() };
        }
        let (mut sums, mut buffer, mut place) = (Sums::<LAGS>::ZERO, 0, Place::FIRST);
        // SAFETY: the first stage exists, and nobody has touched the buffers.
        unsafe { stages.bring::<BOTH>(table, &place, buffer) };
        while stages.has(&place) {
            // SAFETY: this thread's own copies, complete after the wait.
            unsafe { stages.arrived(&place, buffer, uniform) };
            sync_threads(); // the stage is complete, and the other buffer no longer read
            let next = stages.next(place);
            if stages.has(&next) {
                // SAFETY: behind the barrier nobody reads the other buffer.
                unsafe { stages.bring::<BOTH>(table, &next, 1 - buffer) };
            }
            let (mut pair, end) = Stages::<STRICT>::pairs(p.ways);
            while pair < end {
                let (words, number) = (stages.words(buffer, pair), place.first_pair() + pair);
                // SAFETY: the stage is complete.
                unsafe {
                    // Asked for behind the products, whose registers they would take.
                    let row = || stages.row::<BOTH>(buffer, opaque(pair));
                    if STRICT {
                        sums.add(&Gram::strict(&words, &rows), row);
                    } else if number == 0 {
                        sums.add(&Gram::plane(&words, &rows), row);
                    } else {
                        sums.add(&Gram::plain(&words, &rows), row);
                    }
                }
                pair += 1;
            }
            (place, buffer) = (next, 1 - buffer);
        }
        // SAFETY: there was a stage, and so a barrier; the item's sums are this block's, the half block this warp's, or that of the warp
        // that it shares it with.
        unsafe {
            if p.ways == 2 && !sums.gather() {
                return;
            }
            sums.store(p, &Target::kept());
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
