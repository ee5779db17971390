//! The sums of the taps, for the mean; their magnitudes, for the scales; and their sums and differences about the kernel's
//! middle, for the transform.
//!
//! ```text
//! sum[ci,c] = Σ_k w[ci,c,k] (f64)     norm[ci,c] = Σ_k |w[ci,c,k]|     t[ci]: 2^t ≥ max_c norm, a multiple of 8
//! parts[ci,c] = w with the taps ±j from the middle of each axis as a sum, for the cosines, and a difference, for the sines
//! ```
//!
//! An axis of K taps makes K parts: first the ⌈K/2⌉ sums, of an odd K the centre tap alone at first, then the ⌊K/2⌋
//! differences (the tap behind the middle less the one before). The pair axis is as [`tap_fold`](crate::tap_fold) stores it:
//! the sum over all taps, then the sum and the difference of each pair. Only additions: nothing under- or overflows that
//! Σ|w| would not.
//!
//! **Data flow.** A block takes an input channel. A warp sums rows of taps (c, k), contiguous, four rows at a time, lane l
//! taps l, l + 32, … in order, the lanes as a tree, and puts them into shared memory on the way, for as many channels as fit;
//! where not even 16 do, the taps are read again from global memory. Then a thread makes the parts of one (c, place from the
//! middle along outer, along half): of four taps, two by two mirrored, four parts.
//!
//! **Cost.** Reads w once, writes it once; the instructions, some 60 a tap of 5×5×5, are the limit.

use cuda_std::global::{Global, GlobalMut};
use cuda_std::launch::KernelSpec;

use crate::spectrum::{Spectrum, TILE};

/// The parameters.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TapSums {
    /// w (Cin, Cout, outer, half, pair).
    pub kernel: Global<f32>,
    /// Out: Σ_k w, (ci, c).
    pub sum: GlobalMut<f64>,
    /// Out: Σ_k |w|, (ci, c), rounded to nearest.
    pub norm: GlobalMut<f32>,
    /// Out: t of each ci.
    pub exponent: GlobalMut<i32>,
    /// Out: the parts, [`part_words`] of them, 0 for channels past the last; see [`part_offset`].
    pub parts: GlobalMut<f32>,
    /// The extents.
    pub spectrum: Spectrum,
}

/// Threads of a block: as many as leave each 96 registers.
pub const THREADS: u32 = 640;
const WARPS: u32 = THREADS / 32;
/// Words of shared memory for taps, before one word a warp.
const STAGE: u32 = 16_512;

/// The launch: one block an input channel of all tiles, Cin rounded up to 16, or any number of blocks.
pub const SPEC: KernelSpec =
    KernelSpec { name: "tap_sums", threads: THREADS, min_blocks: 1, shared_bytes: 4 * (STAGE + THREADS / 32) };

/// Parts along the pair axis.
#[inline(always)]
pub const fn pair_parts(spectrum: &Spectrum) -> u32 {
    1 + 2 * spectrum.tap_pairs()
}

/// Words of `parts`.
#[inline(always)]
pub const fn part_words(spectrum: &Spectrum) -> u64 {
    let [outer, half, _] = spectrum.shape.kernel;
    let tiles = spectrum.shape.out_channels.div_ceil(TILE) as u64 * spectrum.in_tiles() as u64;
    tiles * (pair_parts(spectrum) as u64 * outer as u64 * half as u64) * 256
}

/// Where the 256 values of a part start: (ct, kt, pair, outer, half), tiles of 16 output and 16 input channels. In them,
/// (ci, c) is at [`place`].
#[inline(always)]
pub const fn part_offset(spectrum: &Spectrum, (ct, kt): (u32, u32), pair: u32, outer: u32, half: u32) -> u64 {
    let [outers, halves, _] = spectrum.shape.kernel;
    let tile = ct as u64 * spectrum.in_tiles() as u64 + kt as u64;
    let row = (tile * pair_parts(spectrum) as u64 + pair as u64) * outers as u64 + outer as u64;
    (row * halves as u64 + half as u64) * 256
}

/// Where (ci, c) of a tile of 16 by 16 is: as (ci/8, ci/2 mod 4, c mod 8, c/8, ci mod 2), so that one ci fills half of some
/// lines of 128 bytes and a lane of a product's operand finds its values in two pieces of 16 bytes.
#[inline(always)]
pub const fn place(ci: u32, c: u32) -> u32 {
    ci / 8 * 128 + ci / 2 % 4 * 32 + c % 8 * 4 + c / 8 * 2 + ci % 2
}

/// The least t, a multiple of 8 and at most 120 in magnitude, with 2^t ≥ `norm`; 0 for 0.
#[inline(always)]
pub fn tap_exponent(norm: f32) -> i32 {
    if norm == 0.0 {
        return 0;
    }
    let t = (ceil_log2(norm) + 7) & !7;
    t.clamp(-120, 120)
}

/// The least e with 2^e ≥ `value`, for finite positive ones; subnormal numbers count as the least normal one.
#[inline(always)]
pub fn ceil_log2(value: f32) -> i32 {
    let bits = value.to_bits();
    let floor = (bits >> 23) as i32 - 127;
    if bits >> 23 == 0 { -126 } else { floor + (bits & 0x7f_ffff != 0) as i32 }
}

pub mod device {
    //! The device code.
    use cuda_std::kernel;
    use cuda_std::shared::Shared;
    use cuda_std::thread::{block_idx_x, grid_dim_x, lane_index, sync_threads, thread_idx_x, warp_index};
    use cuda_std::unroll;
    use cuda_std::warp::shuffle_xor;

    use super::*;
    use crate::spectrum::{div, rem};

    /// See the module.
    ///
    /// # Safety
    /// Each pointer holds what its field says, of the extents in `spectrum`; nobody else accesses the outputs; the launch is
    /// as [`SPEC`] says.
    #[kernel(max_threads = 640, min_blocks = 1)]
    pub unsafe fn tap_sums(p: TapSums) {
        let mut ci = block_idx_x();
        while ci < p.spectrum.in_tiles() * TILE {
            let channel = Channel::new(&p, ci);
            // SAFETY: the block owns this ci; all its threads come here.
            unsafe {
                if ci < p.spectrum.shape.in_channels {
                    channel.run();
                } else {
                    channel.clear();
                }
            }
            ci += grid_dim_x();
        }
    }

    /// What a block knows of its input channel.
    struct Channel<'a> {
        p: &'a TapSums,
        ci: u32,
        taps: u32,
        /// Words from one output channel's taps to the next's in shared memory: odd, so that 16 channels lie in as many banks.
        stride: u32,
        /// Output channels in shared memory at once, a multiple of 16; 0: not even 16 fit, taps are read from global memory.
        staged: u32,
        stage: Shared<f32>,
    }

    impl<'a> Channel<'a> {
        #[inline(always)]
        fn new(p: &'a TapSums, ci: u32) -> Self {
            let taps = p.spectrum.shape.taps();
            let stride = taps | 1;
            let staged = div(STAGE / TILE, stride) * TILE;
            Self { p, ci, taps, stride, staged, stage: Shared::dynamic(0) }
        }

        #[inline(always)]
        unsafe fn run(&self) {
            let cout = self.p.spectrum.shape.out_channels;
            let group = if self.staged == 0 { TILE } else { self.staged };
            let mut largest = 0f32;
            let mut first = 0;
            while first < cout {
                let count = if cout - first < group { cout - first } else { group };
                // SAFETY: channels first … first + count exist, and fit in shared memory where they are staged; the barriers
                // are between the writes and reads of the stage, and all threads reach them.
                unsafe {
                    largest = largest.max(self.sum(first, count));
                    sync_threads();
                    if self.staged != 0 {
                        self.write_parts::<true>(first, count);
                    } else {
                        self.write_parts::<false>(first, count);
                    }
                    sync_threads();
                }
                first += group;
            }
            // The largest of each warp, and of those: a maximum has no order.
            let (warps, warp) = (Shared::<f32>::dynamic(4 * STAGE), warp_index());
            // SAFETY: one word a warp behind the stage, read after the barrier; a ci has one block, so t one writer.
            unsafe {
                if lane_index() == 0 {
                    warps.store(warp, largest);
                }
                sync_threads();
                if warp == 0 {
                    largest = if lane_index() < WARPS { warps.load(lane_index()) } else { 0.0 };
                    unroll!(i < 5, {
                        largest = largest.max(shuffle_xor(largest, 16 >> i));
                    });
                    if lane_index() == 0 {
                        self.p.exponent.store(self.ci as u64, tap_exponent(largest));
                    }
                }
                sync_threads();
            }
        }

        /// Sums and norms of the group, four channels a warp, the taps into shared memory where they fit; the largest finite
        /// norm that this warp saw.
        #[inline(always)]
        unsafe fn sum(&self, first: u32, count: u32) -> f32 {
            let lane = lane_index();
            let mut largest = 0f32;
            let mut c = warp_index();
            let row = self.ci as u64 * self.p.spectrum.shape.out_channels as u64 + first as u64;
            while c < count {
                // (sum, norm) of each channel.
                let mut totals = [[0f64; 2]; 4];
                let mut k = lane;
                while k < self.taps {
                    // SAFETY: taps k + 32j < taps of channels c + WARPS·i < count; their places in shared memory lie below
                    // count·stride, each written once.
                    unsafe {
                        let mut taps = [[0f32; 4]; 4];
                        unroll!(i < 4, {
                            let c = c + WARPS * i as u32;
                            let from = self.p.kernel.offset((row + c as u64) * self.taps as u64 + k as u64);
                            unroll!(j < 4, {
                                if c < count && k + 32 * (j as u32) < self.taps {
                                    taps[i][j] = from.load(32 * j as u64);
                                }
                            });
                        });
                        unroll!(i < 4, {
                            let c = c + WARPS * i as u32;
                            let to = self.stage.offset(c * self.stride + k);
                            unroll!(j < 4, {
                                if self.staged != 0 && c < count && k + 32 * (j as u32) < self.taps {
                                    to.store(32 * j as u32, taps[i][j]);
                                }
                                let tap = taps[i][j] as f64;
                                totals[i][0] += tap;
                                totals[i][1] += tap.abs();
                            });
                        });
                    }
                    k += 128;
                }
                unroll!(j < 5, {
                    unroll!(i < 4, {
                        unroll!(n < 2, {
                            totals[i][n] += shuffle_xor(totals[i][n], 16 >> j);
                        });
                    });
                });
                unroll!(i < 4, {
                    let c = c + WARPS * i as u32;
                    let norm = totals[i][1] as f32;
                    if norm.is_finite() {
                        largest = largest.max(norm);
                    }
                    if lane == 0 && c < count {
                        // SAFETY: a row of the group, with one writer.
                        unsafe {
                            self.p.sum.store(row + c as u64, totals[i][0]);
                            self.p.norm.store(row + c as u64, norm);
                        }
                    }
                });
                c += 4 * WARPS;
            }
            largest
        }

        /// The parts of the group, a thread a (tile, place along outer, along half, c of 16), place 0 the middle or next to
        /// it; 0 for channels past the last. With `STAGED` of the taps in shared memory.
        #[inline(always)]
        unsafe fn write_parts<const STAGED: bool>(&self, first: u32, count: u32) {
            let spectrum = &self.p.spectrum;
            let [outers, halves, pairs] = spectrum.shape.kernel;
            let (outer_sums, half_sums) = (outers.div_ceil(2), halves.div_ceil(2));
            let columns = count.div_ceil(TILE) * outer_sums * half_sums;
            let (c_in_tile, kt) = (thread_idx_x() % TILE, self.ci / TILE);
            let row = self.ci as u64 * spectrum.shape.out_channels as u64 + first as u64;
            let step = outers as u64 * halves as u64 * 256;
            let mut column = thread_idx_x() / TILE;
            while column < columns {
                let (rest, half) = (div(column, half_sums), rem(column, half_sums));
                let (tile, outer) = (div(rest, outer_sums), rem(rest, outer_sums));
                // An odd kernel's centre is alone: it has no difference.
                let (outer_pair, half_pair) = (outer >= outers % 2, half >= halves % 2);
                let c = tile * TILE + c_in_tile;
                let exists = c < count;
                // The rows of taps at (outer ±, half ±), as places in the channel's taps.
                let at = |o: u32, h: u32| (o * halves + h) * pairs;
                let (plus, minus) = (outers / 2 + outer, outer_sums - 1 - outer);
                let (right, left) = (halves / 2 + half, half_sums - 1 - half);
                let rows = [at(plus, right), at(plus, left), at(minus, right), at(minus, left)];
                let used = [exists, exists && half_pair, exists && outer_pair, exists && outer_pair && half_pair];
                let staged = self.stage.offset(c * self.stride);
                let global = self.p.kernel.offset((row + c as u64) * self.taps as u64);
                // The taps at k along the pair axis as sums and differences along half, then outer.
                let folded = |k: u32| {
                    let mut taps = [0f32; 4];
                    unroll!(i < 4, {
                        if used[i] {
                            // SAFETY: c < count, and the rows and k lie in the kernel; the stage holds them where it is used.
                            taps[i] = unsafe {
                                if STAGED { staged.load(rows[i] + k) } else { global.load((rows[i] + k) as u64) }
                            };
                        }
                    });
                    let [a, b, c, d] = taps;
                    let (sums, differences) = ([a + b, c + d], [a - b, c - d]);
                    [
                        sums[0] + sums[1],
                        differences[0] + differences[1],
                        sums[0] - sums[1],
                        differences[0] - differences[1],
                    ]
                };
                // Parts (sum, sum), (sum, difference), (difference, sum), (difference, difference) of (outer, half).
                let base = part_offset(spectrum, (first / TILE + tile, kt), 0, outer, half)
                    + place(self.ci % TILE, c_in_tile) as u64;
                // A difference is as many parts on as there are differences and a lone centre before it.
                let (outer_step, half_step) = (outers / 2 * halves * 256, halves / 2 * 256);
                let written = [true, half_pair, outer_pair, outer_pair && half_pair];
                let to = self.p.parts.offset(base);
                let write = |part: u32, values: [f32; 4]| {
                    let to = to.offset(part as u64 * step);
                    unroll!(i < 4, {
                        if written[i] {
                            let place = (i as u32 / 2) * outer_step + (i as u32 % 2) * half_step;
                            // SAFETY: a part of this column, whose places have one writer.
                            unsafe { to.store(place as u64, values[i]) };
                        }
                    });
                };
                let mut all = [0f32; 4];
                if pairs % 2 == 1 {
                    all = folded(pairs / 2);
                }
                let mut q = 0;
                while q < spectrum.tap_pairs() {
                    let (plus, minus) = (folded(pairs.div_ceil(2) + q), folded(pairs / 2 - 1 - q));
                    let (mut sums, mut differences) = ([0f32; 4], [0f32; 4]);
                    unroll!(i < 4, {
                        sums[i] = plus[i] + minus[i];
                        differences[i] = plus[i] - minus[i];
                        all[i] += sums[i];
                    });
                    write(1 + 2 * q, sums);
                    write(2 + 2 * q, differences);
                    q += 1;
                }
                write(0, all);
                column += THREADS / TILE;
            }
        }

        /// Zeros for an input channel past the last.
        #[inline(always)]
        unsafe fn clear(&self) {
            let spectrum = &self.p.spectrum;
            let [outers, halves, _] = spectrum.shape.kernel;
            let (c, kt) = (thread_idx_x() % TILE, self.ci / TILE);
            let parts = pair_parts(spectrum) * outers * halves;
            let mut ct = 0;
            while ct < spectrum.shape.out_channels.div_ceil(TILE) {
                let base = part_offset(spectrum, (ct, kt), 0, 0, 0) + place(self.ci % TILE, c) as u64;
                let mut part = thread_idx_x() / TILE;
                while part < parts {
                    // SAFETY: a place of this ci in the part, with one writer.
                    unsafe { self.p.parts.store(base + part as u64 * 256, 0.0) };
                    part += THREADS / TILE;
                }
                ct += 1;
            }
        }
    }
}
