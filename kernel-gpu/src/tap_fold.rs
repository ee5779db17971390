//! The taps transformed along the outer and the half axis, for some lines, in the order that the products take them.
//!
//! ```text
//! V[ci,c,kp] = Σ_ko Σ_kr w[ci,c,ko,kr,kp]·e^(−iπ(fo·x(ko)/N0 + fr·x(kr)/N1)),   x = twice_centered
//! basis 0, 1 = re, im Σ_kp V;   2+4q … 5+4q = re, im of V₊+V₋, re, im of V₊−V₋ for pair q of taps ± from the middle
//! stored: basis·2^(8 − t[ci] − g[c]),   g[c] the least with max_ci Σ|w|·2^−t[ci] ≤ 2^g
//! ```
//!
//! [`tap_sums`](crate::tap_sums) made sums and differences of the taps along every axis, so real coefficients are enough:
//! with E, O the sums and differences along outer, then half,
//!
//! ```text
//! re V = Σ_j cos·(Σ_i cos·EE_ij) − Σ_j sin·(Σ_i sin·OO_ij)      im V = −Σ_j cos·(Σ_i sin·OE_ij) − Σ_j sin·(Σ_i cos·EO_ij)
//! ```
//!
//! **Data flow.** Lines that differ in one frequency alone are a **row**: those of one fo, and, of the strict ones, those
//! with fr = 0, whose outer frequency changes instead: the equations are the same with the axes exchanged. A block takes a
//! row, at most [`RUN`] of its lines, a tile of 16 channels by 16 input channels and a part along the pair axis: one warp
//! the real, one the imaginary part. The block finds its channels' exponents and writes down the twiddles of its lines in
//! shared memory. A lane holds the 8 (ci, c) of its operand's four registers: it reads them as two pieces of 16 bytes a part,
//! and keeps the sums over the row's fixed axis in registers where the other has at most 5 taps; of longer ones two parts
//! at a time are made, anew for each line.
//!
//! **Layout.** Plain: words of two f16 `[line][ct][kt][basis][lane][q]`, c = 16ct + lane/4 + 8(q%2),
//! ci = 16kt + 2(lane%4) + 8(q/2) + {0, 1}: the A operand of `mma.m16n8k16`. `folded_low`: `[line][ct][kt][2][lane][q]`.
//! Strict: f32 `[line][ct][kt][basis][h][lane][4]`, the values of q = 2h, then of q = 2h + 1.
//!
//! **Cost.** About 7 instructions a stored value of a 5-tap kernel, and what a block does once, which is why rows are cut as
//! seldom as [`RUN`] allows; the stores are 16 bytes a lane.

use cuda_std::global::{Global, GlobalMut};
use cuda_std::launch::KernelSpec;

use crate::spectrum::{Spectrum, div};

/// The parameters.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TapFold {
    /// The taps as [`TapSums::parts`](crate::tap_sums::TapSums::parts).
    pub parts: Global<f32>,
    /// As [`DftVolume::twiddles`](crate::dft_volume::DftVolume::twiddles).
    pub twiddles: Global<f32>,
    /// Σ_k |w|, (ci, c).
    pub norm: Global<f32>,
    /// t of each ci.
    pub tap_exponent: Global<i32>,
    /// Out: g of each c, channel_tiles·16 of them.
    pub channel_exponent: GlobalMut<i32>,
    /// Out: plain lines: words of two f16; strict lines: f32. See the module.
    pub folded: GlobalMut<u32>,
    /// Out, plain lines only: what rounding left of basis 0 and 1.
    pub folded_low: GlobalMut<u32>,
    /// The extents.
    pub spectrum: Spectrum,
    /// The first line, counted among the plain or among the strict ones.
    pub first_line: u32,
    /// How many.
    pub lines: u32,
    /// Tiles of 16 output channels; those past Cout are 0.
    pub channel_tiles: u32,
}

/// Lines that a block takes at most.
pub const RUN: u32 = 18;
/// Warps of a block: the real and the imaginary part.
const WARPS: u32 = 2;
/// Words a line in the table of twiddles: three cosines and two sines.
const ENTRY: u32 = 8;
/// Threads that share the input channels of one channel.
const GROUPS: u32 = 32 * WARPS / 16;

const fn spec(name: &'static str) -> KernelSpec {
    KernelSpec { name, threads: 32 * WARPS, min_blocks: 10, shared_bytes: 4 * (ENTRY * RUN + 16 * GROUPS) }
}
/// The launch for plain lines: exactly [`TapFold::blocks`] blocks.
pub const SPEC_PLAIN: KernelSpec = spec("tap_fold_plain");
/// The launch for strict lines, as many.
pub const SPEC_STRICT: KernelSpec = spec("tap_fold_strict");

/// Lines that differ in one frequency alone, in order.
#[derive(Clone, Copy)]
struct Row {
    /// The axis of that frequency, 1 or 0; the other one's is fixed.
    along: usize,
    /// The fixed frequency.
    fixed: u32,
    /// The changing frequency of the first line.
    start: u32,
    /// The first line's number, and how many there are.
    line: u32,
    lines: u32,
}

impl TapFold {
    /// Whether the rows are fr = 0 … of an fo each.
    #[inline(always)]
    const fn is_plane(&self, strict: bool) -> bool {
        !strict || self.spectrum.all_strict != 0
    }

    /// The number of the row that a line belongs to.
    #[inline(always)]
    const fn row_of(&self, strict: bool, line: u32) -> u32 {
        let half = self.spectrum.half();
        if self.is_plane(strict) { div(line, if strict { half } else { half - 1 }) } else { (line >= half) as u32 }
    }

    #[inline(always)]
    const fn row(&self, strict: bool, row: u32) -> Row {
        let (n0, half) = (self.spectrum.n()[0], self.spectrum.half());
        if !strict {
            Row { along: 1, fixed: row + 1, start: 1, line: row * (half - 1), lines: half - 1 }
        } else if self.spectrum.all_strict != 0 || row == 0 {
            Row { along: 1, fixed: row, start: 0, line: row * half, lines: half }
        } else {
            Row { along: 0, fixed: 0, start: 1, line: half, lines: n0 - 1 }
        }
    }

    /// The first row of the launch, and how many.
    #[inline(always)]
    const fn rows(&self, strict: bool) -> (u32, u32) {
        let last = if self.lines == 0 { self.first_line } else { self.first_line + self.lines - 1 };
        let first = self.row_of(strict, self.first_line);
        (first, self.row_of(strict, last) - first + 1)
    }

    /// Pieces that each row is cut into, and the lines of one.
    #[inline(always)]
    const fn runs(&self, strict: bool) -> (u32, u32) {
        let (n0, half) = (self.spectrum.n()[0], self.spectrum.half());
        let longest = if !strict {
            half - 1
        } else if self.spectrum.all_strict != 0 || half > n0 {
            half
        } else {
            n0
        };
        let runs = if longest == 0 { 1 } else { longest.div_ceil(RUN) };
        (runs, longest.div_ceil(runs))
    }

    /// Blocks of the launch.
    pub const fn blocks(&self, strict: bool) -> u32 {
        let tiles = self.channel_tiles * self.spectrum.in_tiles() * (self.spectrum.basis() / 2);
        tiles * self.runs(strict).0 * self.rows(strict).1
    }
}

pub mod device {
    //! The device code.
    use cuda_std::convert::F16x2;
    use cuda_std::float::Float;
    use cuda_std::kernel;
    use cuda_std::shared::Shared;
    use cuda_std::thread::{block_idx_x, lane_index, sync_threads, thread_idx_x, warp_index};
    use cuda_std::unroll;

    use super::*;
    use crate::spectrum::{TAP_BITS, TILE, rem};
    use crate::tap_sums::{ceil_log2, part_offset};

    /// See the module.
    ///
    /// # Safety
    /// Each pointer holds what its field says, of the extents in `spectrum`; nobody else accesses the outputs; the launch is
    /// as [`SPEC_PLAIN`] says.
    #[kernel(max_threads = 64, min_blocks = 10)]
    pub unsafe fn tap_fold_plain(parameters: TapFold) {
        // SAFETY: the caller's promise.
        unsafe { fold::<false>(&parameters) }
    }

    /// See the module.
    ///
    /// # Safety
    /// As [`tap_fold_plain`], with [`SPEC_STRICT`].
    #[kernel(max_threads = 64, min_blocks = 10)]
    pub unsafe fn tap_fold_strict(parameters: TapFold) {
        // SAFETY: the caller's promise.
        unsafe { fold::<true>(&parameters) }
    }

    #[inline(always)]
    unsafe fn fold<const STRICT: bool>(p: &TapFold) {
        let item = Item::<STRICT>::new(p, block_idx_x());
        // The same in every thread of the block.
        if item.lines > 0 || item.first {
            // SAFETY: the item exists; the whole block comes here.
            unsafe { item.run() };
        }
    }

    /// Eight values of a lane: of registers q = 0, 1, 2, 3, the lower ci first.
    type Eight = [f32; 8];

    /// One of the two axes of a row.
    #[derive(Clone, Copy)]
    struct Axis {
        kernel: u32,
        /// 2N.
        period: u32,
        /// Words from a part to the next along this axis.
        step: u32,
        /// Where its twiddles start, in words.
        twiddles: u32,
    }

    /// What a block does: a tile, a part along the pair axis, and some lines of a row. Each warp has its own basis.
    struct Item<'a, const STRICT: bool> {
        p: &'a TapFold,
        ct: u32,
        kt: u32,
        pair: u32,
        /// Whether this is the imaginary part.
        imaginary: bool,
        /// The axis whose frequency is fixed, and the other.
        fixed: Axis,
        along: Axis,
        /// The fixed frequency, and the other's first.
        frequency: u32,
        start: u32,
        /// The first line, less the launch's first, and how many.
        line: u32,
        lines: u32,
        /// Whether this item writes the exponents of its channels.
        first: bool,
    }

    impl<'a, const STRICT: bool> Item<'a, STRICT> {
        #[inline(always)]
        fn new(p: &'a TapFold, item: u32) -> Self {
            let spectrum = &p.spectrum;
            let (pairs, in_tiles, (runs, length)) = (spectrum.basis() / 2, spectrum.in_tiles(), p.runs(STRICT));
            let (rest, pair) = (div(item, pairs), rem(item, pairs));
            let (rest, kt) = (div(rest, in_tiles), rem(rest, in_tiles));
            let (rest, ct) = (div(rest, p.channel_tiles), rem(rest, p.channel_tiles));
            let (row, run) = (div(rest, runs), rem(rest, runs));
            let first = row == 0 && run == 0 && kt == 0 && pair == 0;
            let row = p.row(STRICT, p.rows(STRICT).0 + row);
            // Lines from … to: of the run, of the row and of the launch.
            let from = (row.line + run * length).max(p.first_line);
            let to = (row.line + (run * length + length).min(row.lines)).min(p.first_line + p.lines);
            let lines = to.saturating_sub(from);
            let axis = |number: usize| Axis {
                kernel: spectrum.shape.kernel[number],
                period: 2 * spectrum.n()[number],
                step: if number == 0 { 256 * spectrum.shape.kernel[1] } else { 256 },
                twiddles: 2 * spectrum.twiddle_offset(number as u32),
            };
            let (fixed, along) = if row.along == 1 { (axis(0), axis(1)) } else { (axis(1), axis(0)) };
            let (start, line) = (row.start + (from - row.line), from - p.first_line);
            let imaginary = warp_index() != 0;
            Self { p, ct, kt, pair, imaginary, fixed, along, frequency: row.fixed, start, line, lines, first }
        }

        #[inline(always)]
        unsafe fn run(&self) {
            // SAFETY: the whole block is here: what decides is the same in every thread.
            unsafe {
                let table = self.along.kernel <= 5;
                if table {
                    self.write_table();
                }
                self.write_norms();
                sync_threads();
                let scales = self.scales();
                if table {
                    self.by_table(&scales);
                } else {
                    self.anew(&scales);
                }
            }
        }

        /// The lines of an axis of at most 5 taps.
        #[inline(always)]
        unsafe fn by_table(&self, scales: &Scales) {
            let table = Shared::<f32>::dynamic(0);
            // SAFETY: the table has an entry a line, written before the barrier.
            unsafe {
                let parts = self.parts::<3, 2>(0, scales);
                let mut to = self.destination();
                let mut line = 0;
                while line < self.lines {
                    let mut cosines = [0f32; 4];
                    table.load_16(line * ENTRY, &mut cosines);
                    let [c0, c1, c2, s0] = cosines;
                    let s1 = table.load(line * ENTRY + 4);
                    let mut values = [0.0; 8];
                    unroll!(n < 8, {
                        let value = parts.x[0][n] * c0;
                        let value = parts.x[2][n].fma(c2, parts.x[1][n].fma(c1, value));
                        values[n] = parts.y[1][n].fma(s1, parts.y[0][n].fma(s0, value));
                    });
                    self.store(&mut to, &values);
                    line += 1;
                }
            }
        }

        /// The lines of a longer axis.
        #[inline(always)]
        unsafe fn anew(&self, scales: &Scales) {
            let (cos, sin) = starts(self.along.kernel);
            let table = self.p.twiddles.offset(self.along.twiddles as u64);
            let mut to = self.destination();
            let mut frequency = self.start;
            while frequency < self.start + self.lines {
                // Frequencies are below N, so the angles lie below the period.
                let mut cosine = Angle::new(frequency * cos, 2 * frequency, self.along.period);
                let mut sine = Angle::new(frequency * sin, 2 * frequency, self.along.period);
                let (mut values, mut at) = ([0f32; 8], 0);
                // SAFETY: angles below the period; a line of this item.
                unsafe {
                    while at < self.along.kernel.div_ceil(2) {
                        let (cos, sin) = (table.load(2 * cosine.at as u64), table.load(2 * sine.at as u64 + 1));
                        // An odd kernel's last sum has no difference beside it.
                        let sin = if at < self.along.kernel / 2 { sin } else { 0.0 };
                        let parts = self.parts::<1, 1>(at, scales);
                        unroll!(n < 8, {
                            values[n] = parts.y[0][n].fma(sin, parts.x[0][n].fma(cos, values[n]));
                        });
                        cosine.step();
                        sine.step();
                        at += 1;
                    }
                    self.store(&mut to, &values);
                }
                frequency += 1;
            }
        }

        /// The twiddles of each line: three cosines, two sines; 0 for parts that the axis has not.
        #[inline(always)]
        unsafe fn write_table(&self) {
            let table = Shared::<f32>::dynamic(0);
            let (cos, sin) = starts(self.along.kernel);
            let period = self.along.period;
            let mut at = thread_idx_x();
            while at < self.lines * ENTRY {
                let (frequency, entry) = (self.start + at / ENTRY, at % ENTRY);
                let sines = entry >= 3;
                let number = if sines { entry - 3 } else { entry };
                let count = if sines { self.along.kernel / 2 } else { self.along.kernel.div_ceil(2) };
                // At most 5 times a frequency below N: below three periods.
                let mut angle = frequency * (if sines { sin } else { cos } + 2 * number);
                unroll!(_i < 2, {
                    angle = if angle >= period { angle - period } else { angle };
                });
                // SAFETY: an angle below the period where the part exists; the table has room for RUN lines, one writer a word.
                unsafe {
                    let twiddle = if number < count {
                        self.p.twiddles.load((self.along.twiddles + 2 * angle + sines as u32) as u64)
                    } else {
                        0.0
                    };
                    table.store(at, twiddle);
                }
                at += 32 * WARPS;
            }
        }

        /// The largest scaled, finite norm of each channel of the tile, over this thread's input channels.
        #[inline(always)]
        unsafe fn write_norms(&self) {
            let (p, thread) = (self.p, thread_idx_x());
            let shape = &p.spectrum.shape;
            let c = self.ct * TILE + thread % TILE;
            // Past an end the last one comes again: a maximum does not mind, and many loads are in flight without a branch.
            let last = (shape.in_channels - 1, shape.out_channels - 1);
            let row = c.min(last.1) as u64;
            let mut largest = 0f32;
            let mut first = thread / TILE;
            while first < shape.in_channels {
                let (mut t, mut norm) = ([0; 16], [0f32; 16]);
                unroll!(j < 16, {
                    let ci = (first + GROUPS * j as u32).min(last.0);
                    // SAFETY: ci < Cin, c < Cout.
                    unsafe {
                        t[j] = p.tap_exponent.load(ci as u64);
                        norm[j] = p.norm.load(ci as u64 * shape.out_channels as u64 + row);
                    }
                });
                unroll!(j < 16, {
                    let norm = norm[j] * power(-t[j]);
                    largest = if norm.is_finite() { largest.max(norm) } else { largest };
                });
                first += 16 * GROUPS;
            }
            // SAFETY: one word a thread.
            unsafe { Self::norms().store(thread, if c > last.1 { 0.0 } else { largest }) };
        }

        /// Behind the table: the norms of each group's 16 channels.
        #[inline(always)]
        fn norms() -> Shared<f32> {
            Shared::dynamic(4 * ENTRY * RUN)
        }

        /// The scales of this lane's values, the channel exponents written on the way.
        #[inline(always)]
        unsafe fn scales(&self) -> Scales {
            let (p, lane) = (self.p, lane_index());
            let mut scales = Scales { input: [0.0; 4], channel: [0.0; 2] };
            unroll!(i < 2, {
                let c = lane / 4 + 8 * i as u32;
                let mut largest = 0f32;
                unroll!(j < 4, {
                    // SAFETY: all threads wrote theirs before the barrier.
                    largest = largest.max(unsafe { Self::norms().load(j as u32 * TILE + c) });
                });
                let exponent = if largest == 0.0 { 0 } else { ceil_log2(largest).clamp(-100, 100) };
                scales.channel[i] = power(TAP_BITS - exponent);
                if self.first && !self.imaginary && lane.is_multiple_of(4) {
                    // SAFETY: c < channel_tiles·16; one warp of each tile is the first.
                    unsafe { p.channel_exponent.store((self.ct * TILE + c) as u64, exponent) };
                }
            });
            unroll!(i < 4, {
                let ci = self.kt * TILE + 2 * (lane % 4) + 8 * (i as u32 / 2) + i as u32 % 2;
                if ci < p.spectrum.shape.in_channels {
                    // SAFETY: ci < Cin.
                    scales.input[i] = power(unsafe { -p.tap_exponent.load(ci as u64) });
                }
            });
            scales
        }

        /// What the cosines (x) and the sines (y) of the changing frequency multiply, signed and scaled: `E` and `O` of them
        /// from number `first` on. Past the last: any.
        #[inline(always)]
        unsafe fn parts<const E: usize, const O: usize>(&self, first: u32, scales: &Scales) -> Parts<E, O> {
            let (sums, all) = (self.along.kernel.div_ceil(2), self.along.kernel);
            // Channels past the last have no parts.
            if self.ct >= self.p.spectrum.shape.out_channels.div_ceil(TILE) {
                return Parts { x: [[0.0; 8]; E], y: [[0.0; 8]; O] };
            }
            // SAFETY: the parts' numbers end with the sums and with all.
            unsafe {
                let mut x = self.fixed_sums::<E>(self.imaginary, first, sums);
                let mut y = self.fixed_sums::<O>(!self.imaginary, sums + first, all);
                let sign = if self.imaginary { -1.0 } else { 1.0 };
                scales.apply(&mut x, sign);
                scales.apply(&mut y, -1.0);
                Parts { x, y }
            }
        }

        /// Parts `from` … below `end` of the changing axis, past those the last again, summed over the fixed axis: its
        /// differences with sines or its sums with cosines.
        #[inline(always)]
        unsafe fn fixed_sums<const N: usize>(&self, sines: bool, from: u32, end: u32) -> [Eight; N] {
            let (p, lane) = (self.p, lane_index());
            let (cos, sin) = starts(self.fixed.kernel);
            let sums = self.fixed.kernel.div_ceil(2);
            let (mut at, last) = if sines { (sums, self.fixed.kernel) } else { (0, sums) };
            let start = if sines { sin } else { cos };
            let mut angle = Angle::new(self.frequency * start, 2 * self.frequency, self.fixed.period);
            let table = p.twiddles.offset((self.fixed.twiddles + sines as u32) as u64);
            let base = part_offset(&p.spectrum, (self.ct, self.kt), self.pair, 0, 0);
            let parts = p.parts.offset(base + (lane % 4 * 32 + lane / 4 * 4) as u64);
            let mut out = [[0.0; 8]; N];
            // Three at a time, without a branch: of a kernel of at most 5 taps, all.
            while at < last {
                unroll!(i < 3, {
                    // SAFETY: an angle below the period; parts that exist, 16 bytes a lane twice.
                    unsafe {
                        let exists = at + (i as u32) < last;
                        let place = (if exists { at + i as u32 } else { last - 1 }) * self.fixed.step;
                        let factor = table.load(2 * angle.at as u64);
                        let factor = if exists { factor } else { 0.0 };
                        unroll!(j < N, {
                            let place = place + (from + j as u32).min(end - 1) * self.along.step;
                            let low: [f32; 4] = parts.load_array(place as u64);
                            let high: [f32; 4] = parts.load_array(place as u64 + 128);
                            unroll!(n < 4, {
                                out[j][n] = low[n].fma(factor, out[j][n]);
                                out[j][n + 4] = high[n].fma(factor, out[j][n + 4]);
                            });
                        });
                    }
                    angle.step();
                });
                at += 3;
            }
            out
        }

        /// Where the first line goes.
        #[inline(always)]
        fn destination(&self) -> Destination {
            let (p, lane) = (self.p, lane_index() as u64);
            let tiles = (p.channel_tiles * p.spectrum.in_tiles()) as u64;
            let tile = (self.ct * p.spectrum.in_tiles() + self.kt) as u64;
            let (bases, basis) = (p.spectrum.basis() as u64, (2 * self.pair + self.imaginary as u32) as u64);
            let (line, words) = (self.line as u64, if STRICT { 256 } else { 128 });
            Destination {
                folded: p.folded.offset((line * tiles * bases + tile * bases + basis) * words + lane * 4),
                step: tiles * bases * words,
                low: p.folded_low.offset((line * tiles * 2 + tile * 2 + basis % 2) * 128 + lane * 4),
                low_step: tiles * 2 * 128,
            }
        }

        /// Writes this basis of a line, and moves on to the next.
        #[inline(always)]
        unsafe fn store(&self, to: &mut Destination, values: &Eight) {
            // SAFETY: the line is the launch's, and its pieces of this tile and basis have one writer; 16 bytes a lane.
            unsafe {
                if STRICT {
                    let [low, high] = words(values);
                    to.folded.store_array(0, low);
                    to.folded.store_array(128, high);
                } else {
                    let rounded = rounded(values);
                    to.folded.store_array(0, rounded);
                    if self.pair == 0 {
                        to.low.store_array(0, rest(values, rounded));
                        to.low = to.low.offset(to.low_step);
                    }
                }
            }
            to.folded = to.folded.offset(to.step);
        }
    }

    /// Where a lane's next line goes, and the words to the one after.
    struct Destination {
        folded: GlobalMut<u32>,
        step: u64,
        low: GlobalMut<u32>,
        low_step: u64,
    }

    /// Powers of two: of the four ci and the two c of a lane.
    struct Scales {
        input: [f32; 4],
        channel: [f32; 2],
    }

    impl Scales {
        /// Two factors one after the other: their product may be out of range.
        #[inline(always)]
        fn apply<const N: usize>(&self, values: &mut [Eight; N], sign: f32) {
            unroll!(n < 8, {
                let (input, channel) = (self.input[n / 4 * 2 + n % 2], sign * self.channel[n / 2 % 2]);
                unroll!(j < N, {
                    values[j][n] = values[j][n] * input * channel;
                });
            });
        }
    }

    /// Sums over the fixed axis: what goes with the cosines of the other, and with its sines.
    struct Parts<const E: usize, const O: usize> {
        x: [Eight; E],
        y: [Eight; O],
    }

    /// An angle in units of π/N, modulo 2N, and its step.
    struct Angle {
        at: u32,
        step: u32,
        period: u32,
    }

    impl Angle {
        /// `at` and `step` are below `period`.
        #[inline(always)]
        fn new(at: u32, step: u32, period: u32) -> Self {
            Self { at, step, period }
        }

        #[inline(always)]
        fn step(&mut self) {
            self.at += self.step;
            if self.at >= self.period {
                self.at -= self.period;
            }
        }
    }

    /// Twice the places of the first sum and of the first difference of an axis of `kernel` taps; the next is 2 further on.
    #[inline(always)]
    fn starts(kernel: u32) -> (u32, u32) {
        if kernel % 2 == 1 { (0, 2) } else { (1, 1) }
    }

    /// 2^exponent, for normal numbers.
    #[inline(always)]
    fn power(exponent: i32) -> f32 {
        f32::from_bits(((exponent + 127) as u32) << 23)
    }

    #[inline(always)]
    fn words(values: &Eight) -> [[u32; 4]; 2] {
        let [a, b, c, d, e, f, g, h] = values.map(f32::to_bits);
        [[a, b, c, d], [e, f, g, h]]
    }

    #[inline(always)]
    fn rounded(values: &Eight) -> [u32; 4] {
        let mut words = [0; 4];
        unroll!(q < 4, {
            words[q] = F16x2::from_f32(values[2 * q], values[2 * q + 1]).to_bits();
        });
        words
    }

    /// What rounding left, rounded.
    #[inline(always)]
    fn rest(values: &Eight, rounded: [u32; 4]) -> [u32; 4] {
        let mut words = [0; 4];
        unroll!(q < 4, {
            let (low, high) = F16x2::from_bits(rounded[q]).to_halves();
            words[q] = F16x2::from_f32(values[2 * q] - low.to_f32(), values[2 * q + 1] - high.to_f32()).to_bits();
        });
        words
    }
}
