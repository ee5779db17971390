//! The taps' spectrum on the points of the grid, in the order of the tensor cores' registers.
//!
//! ```text
//! W_g[i,c] = 2^−g[c] · Σ_k w[i,c,k]·e^(−iπ Σ_a g_a·x(k_a)/M_a),   x = twice_centered
//! ```
//!
//! with g2 between −K2 and K2. Taps are counted from the kernel's middle: that changes a phase which all i share, and the energies do not see it.
//! `g[c]` is [`tap_moments`](crate::tap_moments)': `Σ_i |W_g[i,c]|` ≤ 1 or so, so that f32 is enough.
//!
//! **Separable.** Lines of one g0 are a **row**. A block takes a row, 16 output channels and 8 input channels. It sums the taps over the outer axis,
//! all (half, pair) of its 128 (i, c), those at ± from the middle of the pair axis as a sum E and a difference O, into shared memory. Then a warp
//! takes a line, or a share of its points, and a lane [4 (i, c)](crate::tap_spectrum_quads): the sum over the half axis, in registers, and of that
//! with real coefficients both points ±g2:
//!
//! ```text
//! T = Σ_k0 w·e^(−iπ g0·x/M0)      V = Σ_k1 T·e^(−iπ g1·x/M1)      W_±g2 = V + Σ_q cos θ_q·E_q ∓ i Σ_q sin θ_q·O_q
//! ```
//!
//! At most [`ROWS`] taps along half and [`PAIRS`] pairs along the pair axis are held at a time. A longer kernel is as many
//! kernels one beside the other: what they make is added up in W.
//!
//! **Layout.** f32 `[line][g2][ct][group of 8 i][re, im][lane][4]`, c = 16ct + lane/4 + 8(q/2), i = 8·group + 2(lane%4) + q%2
//! for q of 4: an accumulator of `mma.m16n8k8`, and, its middle two exchanged, the first operand, if both operands take i in
//! the order 0, 2, 4, 6, 1, 3, 5, 7. Channels past the last are zeros.
//!
//! **Cost.** Of a 5×5×5 kernel some 1500 instructions a line and 128 (i, c), and 8500 a row for the sums over the outer axis.
//! Stores are 512 contiguous bytes a warp; all of them, 8·points·Cin·Cout bytes, are the floor.

use cuda_std::global::{Global, GlobalMut};
use cuda_std::launch::KernelSpec;

use crate::element::Tensor;
use crate::gram_grid::Grid;

/// The parameters.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TapSpectrum {
    /// w (Cin, Cout, outer, half, pair).
    pub kernel: Tensor<f32>,
    /// g of each c.
    pub channel_exponent: Global<i32>,
    /// (cos, sin)(π·m/M_a), m < 2·M_a, of each axis, at [`Grid::twiddle_offset`].
    pub twiddles: Global<f32>,
    /// Out: W of these lines, `lines·M2·`[`point_words`] words.
    pub spectrum: GlobalMut<f32>,
    /// The extents.
    pub grid: Grid,
    /// The first line.
    pub first_line: u32,
    /// How many.
    pub lines: u32,
}

/// Words of a group of 8 input by 16 output channels, real and imaginary.
pub const GROUP_WORDS: u32 = 256;
/// Pairs of taps ± from the middle of the pair axis at a time.
pub const PAIRS: u32 = 2;
/// Taps along the half axis at a time.
pub const ROWS: u32 = 9;

const WARPS: u32 = 5;
const THREADS: u32 = 32 * WARPS;
/// The (i, c) of a block.
const SEQUENCES: u32 = 128;
/// Words from a row of sequences in shared memory to the next: rows start on different banks, at 16 bytes.
const STRIDE: u32 = SEQUENCES + 4;
/// Sums over the outer axis of one tap along half: the middle tap, and of each pair the sum and the difference.
const COLUMNS: u32 = 1 + 2 * PAIRS;

/// The launch: [`TapSpectrum::items`] blocks, or fewer, with [`TapSpectrum::shared_bytes`] of shared memory.
pub const SPEC: KernelSpec =
    KernelSpec { name: "tap_spectrum", threads: THREADS, min_blocks: 3, shared_bytes: 8 * COLUMNS * STRIDE };

/// Words of W of one point.
#[inline(always)]
pub const fn point_words(grid: &Grid) -> u64 {
    grid.out_tiles() as u64 * (2 * grid.in_tiles()) as u64 * GROUP_WORDS as u64
}

/// Lines of one g0, in order of g1.
#[derive(Clone, Copy)]
struct Row {
    g0: u32,
    /// The number of the line g1 = 0.
    line: u32,
    /// How many the grid has.
    lines: u32,
}

impl TapSpectrum {
    #[inline(always)]
    const fn row(&self, g0: u32) -> Row {
        let m1 = self.grid.m()[1];
        let first = m1.div_ceil(2);
        if g0 == 0 { Row { g0, line: 0, lines: first } } else { Row { g0, line: first + (g0 - 1) * m1, lines: m1 } }
    }

    /// The first row of the launch, and how many.
    #[inline(always)]
    const fn rows(&self) -> (u32, u32) {
        let last = if self.lines == 0 { self.first_line } else { self.first_line + self.lines - 1 };
        let first = self.grid.line(self.first_line).0;
        (first, self.grid.line(last).0 - first + 1)
    }

    /// Groups of 8 by 16 channels, those of zeros included.
    #[inline(always)]
    const fn groups(&self) -> u32 {
        self.grid.out_tiles() * (2 * self.grid.in_tiles())
    }

    /// What there is for blocks to do: a (row, group) each.
    #[inline(always)]
    pub const fn items(&self) -> u64 {
        self.rows().1 as u64 * self.groups() as u64
    }

    /// Taps along the half axis that are held at once.
    #[inline(always)]
    const fn held(&self) -> u32 {
        if self.grid.kernel[1] < ROWS { self.grid.kernel[1] } else { ROWS }
    }

    /// Bytes of shared memory of a block.
    pub const fn shared_bytes(&self) -> u32 {
        8 * COLUMNS * STRIDE * self.held()
    }
}

pub mod device {
    //! The device code.
    use cuda_std::float::Float;
    use cuda_std::shared::Shared;
    use cuda_std::thread::{block_idx_x, grid_dim_x, lane_index, sync_threads, thread_idx_x, warp_index};
    use cuda_std::{kernel, unroll};

    use super::*;
    use crate::conv_shape::div_rem;
    use crate::spectrum::{TILE, div, rem};
    use crate::tap_spectrum_quads::device::{Angle, Complex, load, modulo, power, store};

    /// See the module.
    ///
    /// # Safety
    /// Each pointer holds what its field says, of the extents in `grid`; nobody else accesses the output; the launch is as
    /// [`SPEC`] says.
    #[kernel(max_threads = 160, min_blocks = 3)]
    pub unsafe fn tap_spectrum(p: TapSpectrum) {
        let mut item = block_idx_x() as u64;
        while item < p.items() {
            let item_of = Item::new(&p, item);
            // SAFETY: the item exists; the whole block comes here.
            unsafe { item_of.run() };
            item += grid_dim_x() as u64;
        }
    }

    /// What a block does: the lines of a row that are the launch's, for a group of channels.
    struct Item<'a> {
        p: &'a TapSpectrum,
        /// The tile of 16 output channels, and the group of 8 input channels.
        ct: u32,
        input: u32,
        g0: u32,
        /// g1 of the first line, its number less the launch's first, and how many lines.
        g1: u32,
        line: u32,
        lines: u32,
    }

    /// The taps that are held: from `first` on `count` of the half axis, from pair `pair` on of the pair axis.
    #[derive(Clone, Copy)]
    struct Held {
        first: u32,
        count: u32,
        pair: u32,
    }

    impl<'a> Item<'a> {
        #[inline(always)]
        fn new(p: &'a TapSpectrum, item: u64) -> Self {
            let (row, group) = div_rem(item, p.groups() as u64);
            let (inputs, group) = (2 * p.grid.in_tiles(), group as u32);
            let row = p.row(p.rows().0 + row as u32);
            let from = row.line.max(p.first_line);
            let to = (row.line + row.lines).min(p.first_line + p.lines);
            Self {
                p,
                ct: div(group, inputs),
                input: rem(group, inputs),
                g0: row.g0,
                g1: from - row.line,
                line: from - p.first_line,
                lines: to.saturating_sub(from),
            }
        }

        #[inline(always)]
        unsafe fn run(&self) {
            let kernel = self.p.grid.kernel;
            let mut held = Held { first: 0, count: 0, pair: 0 };
            while held.pair == 0 || held.pair < kernel[2] / 2 {
                held.first = 0;
                while held.first < kernel[1] {
                    held.count = (kernel[1] - held.first).min(ROWS);
                    // SAFETY: taps that exist; the barriers separate the writes of shared memory from the reads.
                    unsafe {
                        match self.p.kernel.is_narrow() {
                            true => self.sum_outer::<true>(held),
                            false => self.sum_outer::<false>(held),
                        }
                        sync_threads();
                        if held.first == 0 && held.pair == 0 {
                            self.points::<false>(held);
                        } else {
                            self.points::<true>(held);
                        }
                        sync_threads();
                    }
                    held.first += ROWS;
                }
                held.pair += PAIRS;
            }
        }

        /// Where the sums over the outer axis lie: of a tap along half and a column, real or imaginary.
        #[inline(always)]
        fn place(&self, tap: u32, column: u32, imaginary: u32) -> Shared<f32> {
            let plane = imaginary * self.p.held() * COLUMNS;
            Shared::dynamic(0).offset((plane + tap * COLUMNS + column) * STRIDE)
        }

        /// The sums over the outer axis, a thread four (i, c), i, i + 2, i + 4 and i + 6, of a (tap along half,
        /// middle or pair).
        #[inline(always)]
        unsafe fn sum_outer<const NARROW: bool>(&self, held: Held) {
            let (p, kernel) = (self.p, self.p.grid.kernel);
            let start = Angle::of_taps(self.g0, 0, kernel[0]);
            let step = (kernel[1] * kernel[2]) as u64;
            // Words from i to i + 2.
            let apart = 2 * p.grid.out_channels as u64 * p.grid.taps() as u64;
            // Neighbouring threads: neighbouring taps.
            let entries = held.count * (1 + PAIRS);
            let mut at = thread_idx_x();
            while at < SEQUENCES / 4 * entries {
                let (sequence, entry) = (div(at, entries), rem(at, entries));
                let (tap, entry) = (entry / (1 + PAIRS), entry % (1 + PAIRS));
                let pair = (held.pair + entry).wrapping_sub(1);
                // The middle tap counts with the first pairs.
                let exists = if entry == 0 { kernel[2] % 2 == 1 && held.pair == 0 } else { pair < kernel[2] / 2 };
                let (above, below) = if entry == 0 {
                    (kernel[2] / 2, kernel[2] / 2)
                } else {
                    (kernel[2].div_ceil(2) + pair, (kernel[2] / 2).wrapping_sub(1 + pair))
                };
                let (i, c) = (8 * self.input + sequence / TILE, TILE * self.ct + sequence % TILE);
                let exists = exists && i < p.grid.in_channels && c < p.grid.out_channels;
                // (real, imaginary) of the tap above the middle and of the one below, of each i.
                let mut sums = [[[0f32; 2]; 2]; 4];
                if exists {
                    // SAFETY: c < Cout; (i, c) and the taps exist.
                    unsafe {
                        let scale = power(-p.channel_exponent.load(c as u64));
                        let row = (i as u64 * p.grid.out_channels as u64 + c as u64) * p.grid.taps() as u64;
                        let from = p.kernel.offset(row + ((held.first + tap) * kernel[2]) as u64);
                        // The taps (above, below) of each i; where i + 2n is none, i comes again.
                        let mut taps = [[from.offset(above as u64), from.offset(below as u64)]; 4];
                        unroll!(n < 4, {
                            let start = if i + 2 * (n as u32) < p.grid.in_channels { n as u64 * apart } else { 0 };
                            taps[n] = [taps[n][0].offset(start), taps[n][1].offset(start)];
                        });
                        let mut angle = start;
                        let mut k = 0;
                        while k < kernel[0] {
                            let (cos, sin) = angle.turn(p.twiddles);
                            let values = load::<NARROW>(&taps);
                            unroll!(n < 4, {
                                unroll!(side < 2, {
                                    let tap = values[n][side] * scale;
                                    taps[n][side] = taps[n][side].offset(step);
                                    let [re, im] = sums[n][side];
                                    sums[n][side] = [tap.fma(cos, re), tap.fma(-sin, im)];
                                });
                            });
                            angle.advance();
                            k += 1;
                        }
                    }
                }
                unroll!(n < 4, {
                    // Channels past the last are zeros, and the middle tap is alone.
                    let none = [i + 2 * (n as u32) >= p.grid.in_channels, entry == 0];
                    sums[n][0] = if none[0] { [0.0; 2] } else { sums[n][0] };
                    sums[n][1] = if none[0] || none[1] { [0.0; 2] } else { sums[n][1] };
                });
                // The place of (i, c) with the lane that will take it, four a lane.
                let to = (sequence % 8 * 4 + sequence / TILE / 2) * 4 + sequence % TILE / 8 * 2 + sequence / TILE % 2;
                let column = if entry == 0 { 0 } else { 2 * entry - 1 };
                let to = [self.place(tap, column, 0).offset(to), self.place(tap, column, 1).offset(to)];
                unroll!(n < 4, {
                    unroll!(part < 2, {
                        // SAFETY: a place of this thread's alone, in the rows held.
                        unsafe { to[part].store(4 * n as u32, sums[n][0][part] + sums[n][1][part]) };
                    });
                });
                if entry > 0 {
                    unroll!(n < 4, {
                        unroll!(part < 2, {
                            // SAFETY: as above, in the next row.
                            unsafe { to[part].store(STRIDE + 4 * n as u32, sums[n][0][part] - sums[n][1][part]) };
                        });
                    });
                }
                at += THREADS;
            }
        }

        /// The points of all lines, with `MORE` added to what is there, a warp a share of a line's: where there are fewer lines than warps, several share one.
        #[inline(always)]
        unsafe fn points<const MORE: bool>(&self, held: Held) {
            let count = self.p.grid.kernel[2];
            // g2 = 0 and the pairs ± are count; a share takes `length` of them.
            let shares = if self.lines < WARPS { WARPS.div_ceil(self.lines.max(1)) } else { 1 };
            let length = count.div_ceil(shares);
            let mut unit = warp_index();
            while unit < self.lines * shares {
                let (line, share) = (div(unit, shares), rem(unit, shares));
                let end = (share * length + length).min(count);
                if share * length < end {
                    // SAFETY: a line of the item, and points that no other warp takes.
                    unsafe { self.line::<MORE>(held, line, share * length, end) };
                }
                unit += WARPS;
            }
        }

        /// The points g2 = ±`from` … below ±`end` of a line.
        #[inline(always)]
        unsafe fn line<const MORE: bool>(&self, held: Held, line: u32, from: u32, end: u32) {
            let (p, kernel, lane) = (self.p, self.p.grid.kernel, lane_index());
            let mut columns = [Complex::ZERO; COLUMNS as usize];
            let mut angle = Angle::of_taps(self.g1 + line, held.first, kernel[1]);
            let table = p.twiddles.offset(2 * p.grid.twiddle_offset(1) as u64);
            let mut tap = 0;
            while tap < held.count {
                // SAFETY: the sums of the taps held were written before the barrier; 16 bytes a lane.
                unsafe {
                    let (cos, sin) = angle.turn(table);
                    unroll!(n < 5, {
                        let mut values = Complex::ZERO;
                        self.place(tap, n as u32, 0).load_16(4 * lane, &mut values.re);
                        self.place(tap, n as u32, 1).load_16(4 * lane, &mut values.im);
                        columns[n].add_turned(&values, cos, sin);
                    });
                }
                angle.advance();
                tap += 1;
            }
            // Twice the place of each pair: 2·pair + 1, and one more behind a middle tap.
            let first_place = 2 * held.pair + 1 + kernel[2] % 2;
            let m2 = p.grid.m()[2];
            let mut angles = [Angle { at: 0, step: 0, period: 2 * m2 }; PAIRS as usize];
            unroll!(q < 2, {
                let place = first_place + 2 * q as u32;
                angles[q].step = modulo(place, 1, 2 * m2);
                angles[q].at = modulo(place, from, 2 * m2);
            });
            let table = p.twiddles.offset(2 * p.grid.twiddle_offset(2) as u64);
            // Words of g2 and of −g2; of 0, any.
            let group = (self.ct * (2 * p.grid.in_tiles()) + self.input) * GROUP_WORDS;
            let (words, first) = (point_words(&p.grid), (self.line + line) as u64 * m2 as u64);
            let base = p.spectrum.offset(first * words + group as u64 + 4 * lane as u64);
            let (mut ahead, mut behind) = (from as u64 * words, (m2 - from) as u64 * words);
            let mut g2 = from;
            while g2 < end {
                let (mut even, mut odd) = (columns[0], Complex::ZERO);
                unroll!(q < 2, {
                    // SAFETY: a table of 2·M2 entries.
                    let (cos, sin) = unsafe { angles[q].turn(table) };
                    even.add_scaled(&columns[1 + 2 * q], cos);
                    odd.add_scaled(&columns[2 + 2 * q], sin);
                    angles[q].advance();
                });
                let (mut plus, mut minus) = (even, even);
                unroll!(n < 4, {
                    plus.re[n] += odd.im[n];
                    plus.im[n] -= odd.re[n];
                    minus.re[n] -= odd.im[n];
                    minus.im[n] += odd.re[n];
                });
                // SAFETY: points of the line.
                unsafe {
                    store::<MORE>(base.offset(ahead), plus);
                    if g2 > 0 {
                        store::<MORE>(base.offset(behind), minus);
                    }
                }
                (ahead, behind) = (ahead + words, behind - words);
                g2 += 1;
            }
        }
    }
}
