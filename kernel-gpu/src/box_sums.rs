//! The sums of the input's boxes, and the scale of each input channel.
//!
//! ```text
//! S[ci,b,box] = Σ sum[segment, r2] over the box's segments          e[ci] of max |x| over the channel, see [`factors`](crate::factors)
//! ```
//!
//! Blocks 0 to Cin − 1 make the scales: thread t looks at segments t, t + 256, … of all images. Those behind them sum, a warp up to
//! eight boxes that differ in their range along the last axis alone: of R a lane takes one, and every ⌊32/R⌋-th segment in order, eight at
//! a time; then the lanes of a box as a tree; f64.
//!
//! **Launch.** One dimension, any number of blocks.

use cuda_std::global::{Global, GlobalMut};
use cuda_std::launch::KernelSpec;

use crate::input_boxes::InputBoxes;

/// The parameters; segments as [`segment_sums`](crate::segment_sums) wrote them.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct BoxSums {
    /// (b, ci, d, h, segment of the line, range).
    pub segment_sum: Global<f64>,
    /// (b, ci, d, h, segment of the line).
    pub largest: Global<f32>,
    /// Out: (ci, b, box).
    pub sum: GlobalMut<f64>,
    /// Out: e of each ci.
    pub exponent: GlobalMut<i32>,
    /// The convolution's boxes: fewer than 2³² of all images together, and fewer than 2³¹ segments of a volume, as
    /// [`PhasedConv`](crate::phased_conv::PhasedConv) has no more positions.
    pub boxes: InputBoxes,
}

/// Warps of a block.
const WARPS: u32 = 8;
/// Lanes of a warp.
const LANES: u32 = 32;
/// Boxes of a warp.
const SIDE: u32 = 8;

/// The launch.
pub const SPEC: KernelSpec =
    KernelSpec { name: "box_sums", threads: 32 * WARPS, min_blocks: 4, shared_bytes: 4 * WARPS };

impl BoxSums {
    /// Warps' shares of a channel's sums: (b, ranges along the first two axes, eight ranges along the last).
    #[inline(always)]
    const fn of_channel(&self) -> u32 {
        let [r0, r1, r2] = self.boxes.ranges;
        self.boxes.shape.batch * r0 * r1 * r2.div_ceil(SIDE)
    }

    /// Warps' shares of all sums.
    #[inline(always)]
    const fn items(&self) -> u64 {
        self.boxes.shape.in_channels as u64 * self.of_channel() as u64
    }

    /// Blocks that have work.
    pub const fn blocks(&self) -> u64 {
        self.boxes.shape.in_channels as u64 + self.items().div_ceil(WARPS as u64)
    }
}

pub mod device {
    //! The device code.
    use cuda_std::shared::Shared;
    use cuda_std::thread::{block_idx_x, grid_dim_x, lane_index, sync_threads, thread_idx_x, warp_index};
    use cuda_std::warp::{shuffle_down, shuffle_xor};
    use cuda_std::{kernel, unroll};

    use super::*;
    use crate::conv_shape::div_rem;
    use crate::factors::exponent;
    use crate::phased_conv::split;

    /// Loads of a lane in flight.
    const FLIGHT: usize = 8;

    /// See the module.
    ///
    /// # Safety
    /// The arrays hold what the fields say and nobody else accesses the outputs; the launch is as [`SPEC`] says.
    #[kernel(max_threads = 256, min_blocks = 4)]
    pub unsafe fn box_sums(p: BoxSums) {
        let channels = p.boxes.shape.in_channels as u64;
        let mut unit = block_idx_x() as u64;
        while unit < p.blocks() {
            if unit < channels {
                // SAFETY: the channel exists and is this block's; all threads come together.
                unsafe { scale(&p, unit) };
            } else {
                let item = (unit - channels) * WARPS as u64 + warp_index() as u64;
                if item < p.items() {
                    // SAFETY: the item exists and is this warp's.
                    unsafe { sum(&p, item) };
                }
            }
            unit += grid_dim_x() as u64;
        }
    }

    /// Stores e of a channel.
    ///
    /// # Safety
    /// The channel exists; all threads of one block come together.
    #[inline(always)]
    unsafe fn scale(p: &BoxSums, channel: u64) {
        let (volume, maxima, warp) = (p.boxes.volume_segments(), Shared::<f32>::dynamic(0), warp_index());
        let (all, between) = (p.boxes.shape.batch as u64 * volume, p.boxes.shape.in_channels as u64 * volume);
        let mut largest = 0f32;
        let mut at = thread_idx_x() as u64;
        while at < all {
            let mut values = [0f32; 4];
            unroll!(i < 4, {
                // Past the end the last once more: a load under a condition is waited for before the next is asked for.
                let at = at + (i as u32 * SPEC.threads) as u64;
                let (b, segment) = div_rem(if at < all { at } else { all - 1 }, volume);
                // SAFETY: a segment of a volume of the channel.
                values[i] = unsafe { p.largest.load(b * between + channel * volume + segment) };
            });
            unroll!(i < 4, {
                largest = if values[i] > largest { values[i] } else { largest };
            });
            at += 4 * SPEC.threads as u64;
        }
        unroll!(level < 5, {
            let other = shuffle_xor(largest, 16 >> level);
            largest = if other > largest { other } else { largest };
        });
        sync_threads(); // the previous channel's maxima are read
        // SAFETY: one word a warp, a barrier before the reads; one thread stores.
        unsafe {
            if lane_index() == 0 {
                maxima.store(warp, largest);
            }
            sync_threads();
            if thread_idx_x() == 0 {
                unroll!(i < 8, {
                    let other = maxima.load(i as u32);
                    largest = if other > largest { other } else { largest };
                });
                p.exponent.store(channel, exponent(largest));
            }
        }
    }

    /// Stores the sums of one share.
    ///
    /// # Safety
    /// The item exists; all lanes of one warp come together.
    #[inline(always)]
    unsafe fn sum(p: &BoxSums, item: u64) {
        let (boxes, shape) = (&p.boxes, &p.boxes.shape);
        let [_, ranges_1, ranges_2] = boxes.ranges;
        let tiles = ranges_2.div_ceil(SIDE);
        // Divisions of 32 bits: those of 64 would be most of a short sum's time.
        let (channel, rest) = div_rem(item, p.of_channel() as u64);
        let (rest, tile) = split(rest as u32, tiles);
        let (b, number) = split(rest, boxes.ranges[0] * ranges_1);
        let (r0, r1) = split(number, ranges_1);
        // Boxes side by side, and lanes that share one.
        let side = if tile + 1 < tiles { SIDE } else { ranges_2 - tile * SIDE };
        let (which, r2) = split(lane_index(), side);
        let (lanes, r2) = (split(LANES, side).0, tile * SIDE + r2);
        let ((d, d_end), (h, h_end)) = (boxes.range(0, r0), boxes.range(1, r1));
        let plane = shape.input[1] * boxes.line_segments();
        // Runs of neighbouring segments: the whole box where it has all lines of its planes, else one a plane.
        let whole = h == 0 && h_end == shape.input[1];
        let (runs, length) = match whole {
            true => (1, (d_end - d) * plane),
            false => (d_end - d, (h_end - h) * boxes.line_segments()),
        };
        // Of a box of nothing there are no segments, nor runs.
        let (runs, length) = if length == 0 { (0, 1) } else { (runs, length) };
        let volume = (b as u64 * shape.in_channels as u64 + channel) * boxes.volume_segments();
        let start = volume + (d * plane + h * boxes.line_segments()) as u64;
        let mut sum = 0f64;
        // The next segment of this lane: its run and its place in it; so many segments are some runs and some more.
        let (first_run, mut at) = split(which, length);
        let (runs_on, places_on) = split(lanes, length);
        // Of lanes that are over there is none.
        let mut run = if which < lanes { first_run } else { runs };
        while run < runs {
            let mut values = [0f64; FLIGHT];
            unroll!(i < FLIGHT, {
                // Past the end the box's first: a load under a condition is waited for before the next is asked for.
                let place = start + if run < runs { run * plane + at } else { 0 } as u64;
                // SAFETY: a segment of the box.
                let value = unsafe { p.segment_sum.load(place * ranges_2 as u64 + r2 as u64) };
                values[i] = if run < runs { value } else { 0.0 };
                (run, at) = (run + runs_on, at + places_on);
                if at >= length {
                    (run, at) = (run + 1, at - length);
                }
            });
            unroll!(i < FLIGHT, { sum += values[i] });
        }
        // The lanes of a box are `side` apart.
        let mut left = lanes;
        while left > 1 {
            let half = left.div_ceil(2);
            let other = shuffle_down(sum, half * side);
            sum += if which + half < left { other } else { 0.0 };
            left = half;
        }
        if which == 0 {
            let row = channel * shape.batch as u64 + b as u64;
            // SAFETY: the box is this lane's: (ci, b, box) in order.
            unsafe { p.sum.store(row * boxes.boxes() as u64 + (number * ranges_2 + r2) as u64, sum) };
        }
    }
}
