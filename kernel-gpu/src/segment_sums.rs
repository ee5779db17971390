//! Sums over segments of the input for each range along the last axis, and their largest magnitudes.
//!
//! ```text
//! sum[segment, r] = Σ x over the segment's elements in range r       largest[segment] = max |x| of the finite ones
//! ```
//!
//! Segments and ranges: [`input_boxes`](crate::input_boxes). A group of lanes, one for every eight elements of a line, 32 at most, takes a
//! segment: lane l sums quads of elements l, l + lanes, … in order, then the lanes add up as a tree; f64. A lane asks for up to
//! eight quads at once, each a load where all lie on their boundaries; where they do not, for two, in the same order. Reads x once, and once more
//! for each further range and after an infinity, mostly from L1.
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
pub const SPEC: KernelSpec = KernelSpec { name: "segment_sums", threads: 256, min_blocks: 2, shared_bytes: 0 };

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
    use cuda_std::global::Global;
    use cuda_std::thread::{block_idx_x, grid_dim_x, thread_idx_x};
    use cuda_std::warp::shuffle_xor;
    use cuda_std::{kernel, unroll};

    use super::*;
    use crate::conv_shape::div_rem;
    use crate::input_boxes::SEGMENT;

    /// Quads of a lane in flight: of short lines all that it has, and so of those that are loaded element by element.
    const FLIGHT: usize = 8;
    const SHORT: usize = 2;

    /// A group of lanes and its segment.
    struct Scan {
        /// The line.
        x: Tensor<f32>,
        /// The segment's elements: none where there is no segment.
        start: u32,
        end: u32,
        lane: u32,
        lanes: u32,
    }

    /// See the module.
    ///
    /// # Safety
    /// The arrays hold what the fields say and nobody else accesses the outputs; the launch is as [`SPEC`] says.
    #[kernel(max_threads = 256, min_blocks = 2)]
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
            let (x, lanes) = (p.input.offset(line * width as u64), 1 << bits);
            let scan = Scan { x, start, end: if exists { end } else { start }, lane, lanes };
            // The largest of the whole segment, if a range was that.
            let mut known = None;
            let mut range = 0;
            while range < boxes.ranges[2] {
                let (from, to) = boxes.range(2, range);
                let (from, to) = (if from > start { from } else { start }, if to < end { to } else { end });
                // SAFETY: elements of a line that exists, or none.
                let (mut sum, largest) = unsafe { scan.range(from, to) };
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
                None => unsafe { scan.range(start, end) }.1,
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

    impl Scan {
        /// The sum of this lane's elements from `from` to `to`, and the largest finite magnitude.
        ///
        /// # Safety
        /// The segment is one of the line, which exists.
        #[inline(always)]
        unsafe fn range(&self, from: u32, to: u32) -> (f64, f32) {
            let (narrow, quad) = (self.x.is_narrow(), if self.x.is_narrow() { 8 } else { 16 });
            let quads = self.end.is_multiple_of(4) && self.x.address().is_multiple_of(quad);
            let short = self.end - self.start <= 4 * SHORT as u32 * self.lanes;
            // SAFETY: the caller's promise; segments begin at multiples of four, so that quads lie on their boundaries if `quads`.
            unsafe {
                match (narrow, quads, short) {
                    (false, true, true) => self.range_in::<false, true, SHORT>(from, to),
                    (false, true, false) => self.range_in::<false, true, FLIGHT>(from, to),
                    (false, false, _) => self.range_in::<false, false, SHORT>(from, to),
                    (true, true, true) => self.range_in::<true, true, SHORT>(from, to),
                    (true, true, false) => self.range_in::<true, true, FLIGHT>(from, to),
                    (true, false, _) => self.range_in::<true, false, SHORT>(from, to),
                }
            }
        }

        /// See [`Self::range`].
        ///
        /// # Safety
        /// As there; `NARROW` is whether elements are, `QUADS` whether there are whole quads on their boundaries; `N` are in flight.
        #[inline(always)]
        unsafe fn range_in<const NARROW: bool, const QUADS: bool, const N: usize>(
            &self,
            from: u32,
            to: u32,
        ) -> (f64, f32) {
            let (mut sum, mut largest) = (0f64, 0f32);
            let mut at = self.start + 4 * self.lane;
            while at < self.end {
                let mut values = [[0f32; 4]; N];
                unroll!(i < N, at most 8, {
                    // SAFETY: the caller's promise: `at` < `end`, so that the segment has elements.
                    values[i] = unsafe { self.quad::<NARROW, QUADS>(at + 4 * i as u32 * self.lanes) };
                });
                // One by one from the last asked for: what could be looked at sooner would be waited for before the next is asked for.
                unroll!(i < N, at most 8, {
                    let late = N - 1 - i;
                    unroll!(k < 4, {
                        let place = at + (4 * late as u32 * self.lanes + k as u32);
                        values[late][k] = if place >= from && place < to { values[late][k] } else { 0.0 };
                        largest = largest.max(values[late][k].abs());
                    });
                });
                unroll!(i < N, at most 8, {
                    unroll!(k < 4, { sum += values[i][k] as f64 });
                });
                at += 4 * N as u32 * self.lanes;
            }
            if largest == f32::INFINITY {
                // Rare enough to look at its elements once more.
                (largest, at) = (0.0, self.start + 4 * self.lane);
                while at < self.end {
                    unroll!(k < 4, {
                        let place = at + k as u32;
                        if place >= from && place < to {
                            // SAFETY: an element of the segment, for ranges end with it.
                            let magnitude = unsafe { self.x.load(place as u64) }.abs();
                            largest = if magnitude < f32::INFINITY { largest.max(magnitude) } else { largest };
                        }
                    });
                    at += 4 * self.lanes;
                }
            }
            (sum, largest)
        }

        /// Four elements, past the segment's end others of it. Always loads: one under a condition is waited for before the next is asked for.
        ///
        /// # Safety
        /// As [`Self::range_in`]; the segment has elements.
        #[inline(always)]
        unsafe fn quad<const NARROW: bool, const QUADS: bool>(&self, at: u32) -> [f32; 4] {
            let mut values = [0f32; 4];
            // SAFETY: the caller's promise.
            unsafe {
                if QUADS {
                    let at = if at < self.end { at } else { self.end - 4 };
                    if NARROW {
                        let word: u64 = Global::from_address(self.x.address()).load((at / 4) as u64);
                        unroll!(k < 4, { values[k] = self.x.widen::<true>((word >> (16 * k)) as u32 & 0xffff) });
                    } else {
                        values = Global::from_address(self.x.address()).load_array(at as u64);
                    }
                } else {
                    unroll!(k < 4, {
                        let at = at + k as u32;
                        let bits = self.x.bits::<NARROW>((if at < self.end { at } else { self.end - 1 }) as u64);
                        values[k] = self.x.widen::<NARROW>(bits);
                    });
                }
            }
            values
        }
    }
}
