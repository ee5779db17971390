//! The mean of the convolution over its positions, without the convolution, and the scale of each output channel.
//!
//! ```text
//! mean[b,c] = 1/P · Σ_ci Σ_k w[ci,c,k] · S[ci, b, box of k]            all in f64; taps that carry nothing are left out
//! g[c] of the largest |w[ci,c,k]|·2^e[ci]        of the finite ones, see [`factors`](crate::factors)
//! ```
//!
//! S: [`input_boxes`](crate::input_boxes). What the output needs is m − μ, perhaps 1e-4 of m: so it is not taken from rounded z.
//!
//! A block makes eight images of one output channel: many blocks of little code, for the time is latency, that of instructions included. Where boxes
//! are several, or taps very many, its threads are groups of as many as there are taps: a thread keeps its tap (and the next, where taps are more than threads) and takes the
//! input channels of its group, a group's distance apart, in order; then the lanes add up as a tree, then the warps in order.
//!
//! Where every tap carries all of its input channel there is one box, and Σ_k w is made first: some input channels' taps, as many as shared memory holds, are copied
//! there, neighbours neighbouring taps, and a thread adds up those of one (f32 by `cp.async`: all of them are on their way at once).
//!
//! **Cost.** Reads w once for eight images; 8 f64 FMA a tap, or with one box an f64 addition a tap and 8 FMA an input channel, unless its sum
//! is infinite.
//!
//! **Launch.** One dimension, any number of blocks.

use cuda_std::global::{Global, GlobalMut};
use cuda_std::launch::KernelSpec;

use crate::element::Tensor;
use crate::input_boxes::InputBoxes;
use crate::phased_conv::split;

/// The parameters.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ConvMeans {
    /// w (Cin, Cout/groups, Kd, Kh, Kw).
    pub kernel: Tensor<f32>,
    /// S, (ci, b, box): boxes of neighbouring taps are neighbours.
    pub sum: Global<f64>,
    /// e of each ci.
    pub exponent: Global<i32>,
    /// Out: the mean of z a (b, c), unscaled.
    pub mean: GlobalMut<f64>,
    /// Out: g of each c.
    pub channel_exponent: GlobalMut<i32>,
    /// The convolution's boxes.
    pub boxes: InputBoxes,
}

/// Images of a block.
const IMAGES: u32 = 8;
/// Warps of a block.
const WARPS: u32 = 12;
/// What a warp hands on: a sum an image, and behind them the largest tap.
const OF_WARP: u32 = IMAGES + 1;

/// Bytes of what the warps hand on.
const HANDED_BYTES: u32 = 8 * WARPS * OF_WARP;
/// Words of taps in shared memory at once.
const HELD_WORDS: u32 = 14 << 10;
/// Input channels that these should be enough for: with fewer, threads are idle.
const LEAST_HELD: u32 = 64;

/// The launch.
pub const SPEC: KernelSpec =
    KernelSpec { name: "conv_means", threads: 32 * WARPS, min_blocks: 2, shared_bytes: HANDED_BYTES + 4 * HELD_WORDS };

impl ConvMeans {
    /// Runs of eight images.
    #[inline(always)]
    const fn runs(&self) -> u32 {
        self.boxes.shape.batch.div_ceil(IMAGES)
    }

    /// Output channels of a group.
    #[inline(always)]
    const fn out_channels(&self) -> u32 {
        split(self.boxes.shape.out_channels, self.boxes.options.groups).0
    }

    /// Words from the taps of an input channel to the next in shared memory: an odd number, for threads read them side by side.
    #[inline(always)]
    const fn held_row(&self) -> u32 {
        held_row(&self.boxes)
    }

    /// Input channels of a group.
    #[inline(always)]
    const fn in_channels(&self) -> u32 {
        in_channels(&self.boxes)
    }

    /// Input channels whose taps are in shared memory at once.
    #[inline(always)]
    const fn held(&self) -> u32 {
        held(&self.boxes)
    }

    /// Blocks that have work.
    pub const fn blocks(&self) -> u64 {
        self.boxes.shape.out_channels as u64 * self.runs() as u64
    }
}

#[inline(always)]
const fn held_row(boxes: &InputBoxes) -> u32 {
    boxes.shape.taps() | 1
}

#[inline(always)]
const fn in_channels(boxes: &InputBoxes) -> u32 {
    split(boxes.shape.in_channels, boxes.options.groups).0
}

#[inline(always)]
const fn held(boxes: &InputBoxes) -> u32 {
    split(HELD_WORDS, held_row(boxes)).0
}

/// Whether Σ_k w is made first.
#[inline(always)]
const fn sums_taps(boxes: &InputBoxes) -> bool {
    boxes.is_whole() && (held(boxes) >= LEAST_HELD || held(boxes) >= in_channels(boxes))
}

/// Multiplications and additions of all means.
pub fn flops(boxes: &InputBoxes) -> u64 {
    let pairs = u64::from(in_channels(boxes)) * u64::from(boxes.shape.out_channels);
    let (taps, images) = (u64::from(boxes.shape.taps()), u64::from(boxes.shape.batch));
    let each = if sums_taps(boxes) { taps + 2 * images } else { (2 * taps).saturating_mul(images) };
    pairs.saturating_mul(each)
}

pub mod device {
    //! The device code.
    use cuda_std::async_copy::{copy, wait_all};
    use cuda_std::float::Float;
    use cuda_std::global::Global;
    use cuda_std::shared::Shared;
    use cuda_std::thread::{block_idx_x, grid_dim_x, lane_index, sync_threads, thread_idx_x, warp_index};
    use cuda_std::warp::shuffle_xor;
    use cuda_std::{kernel, unroll};

    use super::*;
    use crate::conv_shape::div_rem;
    use crate::factors::{power, wide_exponent};

    /// Input channels of which a thread loads taps at once.
    const FLIGHT: usize = 4;

    /// What a block computes.
    #[derive(Clone, Copy)]
    struct Item {
        /// The output channel's group, and its number there.
        group: u32,
        column: u32,
        /// The first of its images.
        image: u32,
    }

    /// What a thread has found: sums of eight images, and of the largest tap the upper word, which has its exponent.
    struct Found {
        sums: [f64; IMAGES as usize],
        largest: u32,
    }

    /// See the module.
    ///
    /// # Safety
    /// The arrays hold what the fields say and nobody else accesses the outputs; the launch is as [`SPEC`] says.
    #[kernel(max_threads = 384, min_blocks = 2)]
    pub unsafe fn conv_means(p: ConvMeans) {
        let mut unit = block_idx_x() as u64;
        while unit < p.blocks() {
            let (rest, run) = div_rem(unit, p.runs() as u64);
            let (group, column) = split(rest as u32, p.out_channels());
            let item = Item { group, column, image: run as u32 * IMAGES };
            // SAFETY: the item exists and is this block's; all threads come together.
            unsafe {
                let found = match (p.kernel.is_narrow(), sums_taps(&p.boxes)) {
                    (true, false) => find::<true>(&p, item),
                    (false, false) => find::<false>(&p, item),
                    (true, true) => find_by_channels::<true>(&p, item),
                    (false, true) => find_by_channels::<false>(&p, item),
                };
                finish(&p, item, found);
            }
            unit += grid_dim_x() as u64;
        }
    }

    /// This thread's part of an item; what is of images past the last is 0.
    ///
    /// # Safety
    /// The item exists; `NARROW` is whether elements are.
    #[inline(always)]
    unsafe fn find<const NARROW: bool>(p: &ConvMeans, item: Item) -> Found {
        let (boxes, shape) = (&p.boxes, &p.boxes.shape);
        let (ins, outs, taps) = (p.in_channels(), p.out_channels(), shape.taps());
        let slots = if taps < SPEC.threads { taps } else { SPEC.threads };
        let groups = split(SPEC.threads, slots).0;
        let (of, mut tap) = split(thread_idx_x(), slots);
        // What is left of the threads has no group.
        let first = if of < groups { of } else { ins };
        let row = outs as u64 * taps as u64;
        let first_tap = item.column as u64 * taps as u64;
        let mut found = Found { sums: [0.0; 8], largest: 0 };
        while tap < taps {
            let number = box_of(boxes, tap);
            let mut ci = first;
            while ci < ins {
                let mut bits = [0u32; FLIGHT];
                unroll!(i < 4, {
                    let ci = ci + i as u32 * groups;
                    if ci < ins {
                        let at = (item.group * ins + ci) as u64 * row + first_tap + tap as u64;
                        // SAFETY: a tap of an input channel and an output channel of the group.
                        bits[i] = unsafe { p.kernel.bits::<NARROW>(at) };
                    }
                });
                unroll!(i < 4, {
                    let ci = ci + i as u32 * groups;
                    if ci < ins {
                        let channel = (item.group * ins + ci) as u64;
                        let mut of = [0f64; 8];
                        if let Some(number) = number {
                            let row = channel * shape.batch as u64 + item.image as u64;
                            let mut of_box = p.sum.offset(row * boxes.boxes() as u64 + number as u64);
                            unroll!(b < 8, {
                                if item.image + (b as u32) < shape.batch {
                                    // SAFETY: the sum of a box of an input channel and an image.
                                    of[b] = unsafe { of_box.load(0) };
                                }
                                of_box = of_box.offset(boxes.boxes() as u64);
                            });
                        }
                        // SAFETY: an input channel.
                        let scale = power(unsafe { p.exponent.load(channel) });
                        let tap = p.kernel.widen::<NARROW>(bits[i]) as f64;
                        let size = ((tap * scale).abs().to_bits() >> 32) as u32;
                        // An exponent of all ones is not finite.
                        let is_larger = size > found.largest && size < 0x7ff0_0000;
                        found.largest = if is_larger { size } else { found.largest };
                        if number.is_some() {
                            unroll!(b < 8, {
                                found.sums[b] = tap.fma(of[b], found.sums[b]);
                            });
                        }
                    }
                });
                ci += FLIGHT as u32 * groups;
            }
            tap += slots;
        }
        found
    }

    /// [`find`] where [`sums_taps`], a thread an input channel at a time.
    ///
    /// # Safety
    /// As there; all threads of the block come together.
    #[inline(always)]
    unsafe fn find_by_channels<const NARROW: bool>(p: &ConvMeans, item: Item) -> Found {
        let (shape, thread, held) = (&p.boxes.shape, thread_idx_x(), Shared::<f32>::dynamic(HANDED_BYTES));
        let (ins, taps, at_once) = (p.in_channels(), shape.taps(), p.held());
        let bits = if taps < 32 { taps.next_power_of_two().trailing_zeros() } else { 5 };
        let (lane, lanes, each) = (lane_index(), 1 << bits, 32 >> bits);
        let apart = WARPS * each;
        let first_channel = warp_index() * each + (lane >> bits);
        let row = p.out_channels() as u64 * taps as u64;
        let of_group = p.kernel.offset((item.group * ins) as u64 * row + item.column as u64 * taps as u64);
        let mut found = Found { sums: [0.0; 8], largest: 0 };
        let mut first = 0;
        while first < ins {
            let count = if ins - first < at_once { ins - first } else { at_once };
            // A warp's lanes are neighbouring taps, of as many input channels as they are enough for.
            let mut tap = lane & (lanes - 1);
            while tap < taps {
                let mut channel = first_channel;
                let mut from = of_group.offset((first + channel) as u64 * row + tap as u64);
                let mut to = held.offset(channel * p.held_row() + tap);
                while channel < count {
                    // SAFETY: a tap of an input channel and an output channel of the group; a place of this thread's, of the rows that fit; what was
                    // there has been read.
                    unsafe {
                        if NARROW {
                            let mut bits = [0u32; FLIGHT];
                            unroll!(i < 4, {
                                if channel + i as u32 * apart < count {
                                    bits[i] = from.bits::<NARROW>(i as u64 * apart as u64 * row);
                                }
                            });
                            unroll!(i < 4, {
                                if channel + i as u32 * apart < count {
                                    to.store(i as u32 * apart * p.held_row(), p.kernel.widen::<NARROW>(bits[i]));
                                }
                            });
                        } else {
                            copy::<4, f32>(to, Global::from_address(from.address()));
                        }
                    }
                    let turns = if NARROW { FLIGHT as u32 } else { 1 };
                    channel += turns * apart;
                    from = from.offset(turns as u64 * apart as u64 * row);
                    to = to.offset(turns * apart * p.held_row());
                }
                tap += lanes;
            }
            wait_all();
            sync_threads();
            let mut mine = thread;
            while mine < count {
                let (channel, taps_at) = ((item.group * ins + first + mine) as u64, held.offset(mine * p.held_row()));
                let of_images = p.sum.offset(channel * shape.batch as u64 + item.image as u64);
                let mut of = [0f64; 8];
                unroll!(b < 8, {
                    if item.image + (b as u32) < shape.batch {
                        // SAFETY: the sum of an input channel and an image.
                        of[b] = unsafe { of_images.load(b as u64) };
                    }
                });
                // SAFETY: an input channel; its taps are behind a barrier.
                unsafe {
                    let (mut sums, mut largest) = ([0f64; 2], 0f32);
                    let mut tap = 0;
                    while tap < taps {
                        unroll!(i < 2, {
                            if tap + (i as u32) < taps {
                                let value = taps_at.load(tap + i as u32);
                                sums[i] += value as f64;
                                // Not what is not finite.
                                let size = value.abs();
                                largest = if size > largest && size < f32::INFINITY { size } else { largest };
                            }
                        });
                        tap += 2;
                    }
                    let sum = sums[0] + sums[1];
                    let size = ((largest as f64 * power(p.exponent.load(channel))).to_bits() >> 32) as u32;
                    found.largest = if size > found.largest { size } else { found.largest };
                    let mut finite = true;
                    unroll!(b < 8, {
                        finite &= of[b].is_finite();
                    });
                    // An infinity meets each tap by itself: taps of both signs make NaN of it.
                    let mut tap = if finite { taps } else { 0 };
                    let mut factor = if finite { sum } else { 0.0 };
                    loop {
                        if !finite {
                            factor = taps_at.load(tap) as f64;
                            tap += 1;
                        }
                        unroll!(b < 8, {
                            found.sums[b] = factor.fma(of[b], found.sums[b]);
                        });
                        if tap == taps {
                            break;
                        }
                    }
                }
                mine += SPEC.threads;
            }
            sync_threads();
            first += at_once;
        }
        found
    }

    /// The box of a tap, `None` where it carries nothing.
    #[inline(always)]
    fn box_of(boxes: &InputBoxes, tap: u32) -> Option<u32> {
        let (line, k2) = split(tap, boxes.shape.kernel[2]);
        let (k0, k1) = split(line, boxes.shape.kernel[1]);
        let k = [k0, k1, k2];
        if boxes.options.carries(k, boxes.shape.input) { Some(boxes.box_of(k)) } else { None }
    }

    /// Adds up what the threads found, and stores it.
    ///
    /// # Safety
    /// The item exists and is this block's; all threads come together.
    #[inline(always)]
    unsafe fn finish(p: &ConvMeans, item: Item, mut found: Found) {
        let (shape, all) = (&p.boxes.shape, Shared::<f64>::dynamic(0));
        let of_warp = all.offset(warp_index() * OF_WARP);
        unroll!(level < 5, {
            let other = shuffle_xor(found.largest, 16 >> level);
            found.largest = if other > found.largest { other } else { found.largest };
            unroll!(b < 8, {
                found.sums[b] += shuffle_xor(found.sums[b], 16 >> level);
            });
        });
        if lane_index() == 0 {
            // SAFETY: elements of this warp; the last item's are read.
            unsafe {
                unroll!(b < 8, {
                    of_warp.store(b as u32, found.sums[b]);
                });
                of_warp.store(IMAGES, f64::from_bits((found.largest as u64) << 32));
            }
        }
        sync_threads();
        let thread = thread_idx_x();
        if thread < OF_WARP {
            let (mut sum, mut largest) = (0f64, 0f64);
            unroll!(i < 12, {
                // SAFETY: written before the barrier.
                let value = unsafe { all.load(i as u32 * OF_WARP + thread) };
                sum += value;
                largest = if value > largest { value } else { largest };
            });
            let (c, b) = ((item.group * p.out_channels() + item.column) as u64, (item.image + thread) as u64);
            // SAFETY: (b, c) exists and has one writer; of the runs of images, which all find the same g, the first writes it.
            unsafe {
                if thread == IMAGES {
                    if item.image == 0 {
                        p.channel_exponent.store(c, wide_exponent(largest));
                    }
                } else if b < shape.batch as u64 {
                    p.mean.store(b * shape.out_channels as u64 + c, sum / p.boxes.options.positions() as f64);
                }
            }
        }
        sync_threads();
    }
}
