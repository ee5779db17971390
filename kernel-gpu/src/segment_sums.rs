//! Sums over segments of the input for each range along the last axis, and their largest magnitudes.
//!
//! ```text
//! sum[segment, r] = Σ x over the segment's elements in range r       largest[segment] = max |x| of the finite ones
//! ```
//!
//! Segments and ranges: [`input_boxes`](crate::input_boxes). A group of lanes, one for every eight elements of a line, 32 at most, takes a
//! segment: lane l sums elements l, l + lanes, … in order, then the lanes add up as a tree; f64. Reads x once, and once more for each
//! further range, mostly from L1.
//!
//! **Launch.** One dimension, any number of blocks.

use cuda_std::global::GlobalMut;
use cuda_std::launch::KernelSpec;

use crate::element::Tensor;
use crate::input_boxes::InputBoxes;

/// The parameters.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SegmentSums {
    /// x (B, Cin, D, H, W).
    pub input: Tensor<f32>,
    /// Out: (b, ci, d, h, segment of the line, range).
    pub sum: GlobalMut<f64>,
    /// Out: (b, ci, d, h, segment of the line).
    pub largest: GlobalMut<f32>,
    /// The convolution's boxes.
    pub boxes: InputBoxes,
}

/// The launch.
pub const SPEC: KernelSpec = KernelSpec { name: "segment_sums", threads: 256, min_blocks: 3, shared_bytes: 0 };

impl SegmentSums {
    /// log2 of the lanes of a segment.
    #[inline(always)]
    const fn lane_bits(&self) -> u32 {
        let groups = self.boxes.shape.input[2].div_ceil(8);
        if groups > 16 { 5 } else { groups.next_power_of_two().trailing_zeros() }
    }

    /// Blocks that have work.
    pub const fn blocks(&self) -> u64 {
        self.boxes.segments().div_ceil((SPEC.threads >> self.lane_bits()) as u64)
    }
}

pub mod device {
    //! The device code.
    use cuda_std::thread::{block_idx_x, grid_dim_x, thread_idx_x};
    use cuda_std::warp::shuffle_xor;
    use cuda_std::{kernel, unroll};

    use super::*;
    use crate::conv_shape::div_rem;
    use crate::input_boxes::SEGMENT;

    /// Loads of a lane in flight.
    const FLIGHT: usize = 8;

    /// See the module.
    ///
    /// # Safety
    /// The arrays hold what the fields say and nobody else accesses the outputs; the launch is as [`SPEC`] says.
    #[kernel(max_threads = 256, min_blocks = 3)]
    pub unsafe fn segment_sums(p: SegmentSums) {
        let (boxes, bits) = (&p.boxes, p.lane_bits());
        let (segments, width) = (boxes.segments(), boxes.shape.input[2]);
        let (lane, each) = (thread_idx_x() & ((1 << bits) - 1), SPEC.threads >> bits);
        let mut first = block_idx_x() as u64 * each as u64;
        while first < segments {
            let segment = first + (thread_idx_x() >> bits) as u64;
            let exists = segment < segments;
            let parts = boxes.line_segments() as u64;
            let (line, part) = if parts == 1 { (segment, 0) } else { div_rem(segment, parts) };
            let start = part as u32 * SEGMENT;
            let end = if width - start < SEGMENT { width } else { start + SEGMENT };
            let x = p.input.offset(line * width as u64);
            // The largest of the whole segment, if a range was that.
            let mut known = None;
            let mut range = 0;
            while range < boxes.ranges[2] {
                let (from, to) = boxes.range(2, range);
                let (from, to) = (if from > start { from } else { start }, if to < end { to } else { end });
                // SAFETY: elements of a line that exists, or none.
                let (mut sum, largest) = unsafe { scan(x, from, if exists { to } else { 0 }, lane, 1 << bits) };
                if from == start && to == end {
                    known = Some(largest);
                }
                let mut step = (1 << bits) / 2;
                while step > 0 {
                    sum += shuffle_xor(sum, step);
                    step /= 2;
                }
                if lane == 0 && exists {
                    // SAFETY: the segment exists, and has one writer.
                    unsafe { p.sum.store(segment * boxes.ranges[2] as u64 + range as u64, sum) };
                }
                range += 1;
            }
            let mut largest = match known {
                Some(largest) => largest,
                // SAFETY: as above.
                None => unsafe { scan(x, start, if exists { end } else { 0 }, lane, 1 << bits) }.1,
            };
            let mut step = (1 << bits) / 2;
            while step > 0 {
                let other = shuffle_xor(largest, step);
                largest = if other > largest { other } else { largest };
                step /= 2;
            }
            if lane == 0 && exists {
                // SAFETY: as above.
                unsafe { p.largest.store(segment, largest) };
            }
            first += grid_dim_x() as u64 * each as u64;
        }
    }

    /// The sum of elements from + lane, from + lane + lanes, … below `to`, and the largest finite magnitude.
    ///
    /// # Safety
    /// They exist.
    #[inline(always)]
    unsafe fn scan(x: Tensor<f32>, from: u32, to: u32, lane: u32, lanes: u32) -> (f64, f32) {
        // SAFETY: the caller's promise.
        unsafe {
            match x.is_narrow() {
                true => scan_in::<true>(x, from, to, lane, lanes),
                false => scan_in::<false>(x, from, to, lane, lanes),
            }
        }
    }

    /// See [`scan`].
    ///
    /// # Safety
    /// As there; `NARROW` is whether elements are.
    #[inline(always)]
    unsafe fn scan_in<const NARROW: bool>(x: Tensor<f32>, from: u32, to: u32, lane: u32, lanes: u32) -> (f64, f32) {
        let (mut sum, mut largest) = (0f64, 0f32);
        let mut at = from + lane;
        while at < to {
            let mut bits = [0u32; FLIGHT];
            unroll!(i < FLIGHT, at most 8, {
                // Past the end the last once more: a load under a condition is waited for before the next is asked for.
                let at = at + i as u32 * lanes;
                // SAFETY: the caller's promise.
                bits[i] = unsafe { x.bits::<NARROW>((if at < to { at } else { to - 1 }) as u64) };
            });
            let mut values = [0f32; FLIGHT];
            unroll!(i < FLIGHT, at most 8, {
                let exists = at + (i as u32 * lanes) < to;
                values[i] = if exists { x.widen::<NARROW>(bits[i]) } else { 0.0 };
            });
            // One by one from the last asked for: what could be looked at sooner would be waited for before the next is asked for.
            unroll!(i < FLIGHT, at most 8, {
                largest = largest.max(values[FLIGHT - 1 - i].abs());
            });
            unroll!(i < FLIGHT, at most 8, {
                sum += values[i] as f64;
            });
            at += FLIGHT as u32 * lanes;
        }
        if largest == f32::INFINITY {
            // Rare enough to look once more.
            (largest, at) = (0.0, from + lane);
            while at < to {
                // SAFETY: the caller's promise.
                let magnitude = unsafe { x.load(at as u64) }.abs();
                largest = if magnitude < f32::INFINITY { largest.max(magnitude) } else { largest };
                at += lanes;
            }
        }
        (sum, largest)
    }
}
