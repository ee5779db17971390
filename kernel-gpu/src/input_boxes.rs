//! The boxes of the input that taps carry to the output, whose sums are what the means are made of.
//!
//! ```text
//! Σ_p z[b,c,p] = Σ_ci Σ_k w[ci,c,k] · S[ci,k,b],    S[ci,k,b] = Σ x[b,ci,i] over the i with 0 ≤ i·stride + k·dilation − padding < N
//! ```
//!
//! The box of k is a range along each axis. Where an axis loses nothing, all its taps have one range, and one **box** serves them all;
//! else it has as many as taps.
//!
//! Sums are made in two steps: over **segments**, lines of the input or parts of them, for every range along the last axis; then over
//! the segments of a box.

use crate::conv_shape::{ConvOptions, ConvShape};

/// Elements of a segment, at most.
pub const SEGMENT: u32 = 4096;

/// The boxes of a convolution. `#[repr(C)]`, part of parameter blocks.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputBoxes {
    /// The extents.
    pub shape: ConvShape,
    /// What the convolution has beside.
    pub options: ConvOptions,
    /// Ranges along each axis: 1, or as many as taps.
    pub ranges: [u32; 3],
}

impl InputBoxes {
    /// Of that convolution.
    pub fn new(shape: ConvShape, options: ConvOptions) -> Self {
        let ranges = [0, 1, 2].map(|axis| {
            let (extent, last) = (shape.input[axis], shape.kernel[axis] - 1);
            let whole =
                options.inside(axis, 0, extent) == (0, extent) && options.inside(axis, last, extent) == (0, extent);
            if whole { 1 } else { shape.kernel[axis] }
        });
        Self { shape, options, ranges }
    }

    /// Boxes of one (b, ci).
    #[inline(always)]
    pub const fn boxes(&self) -> u32 {
        self.ranges[0] * self.ranges[1] * self.ranges[2]
    }

    /// Whether all taps carry the whole input.
    #[inline(always)]
    pub const fn is_whole(&self) -> bool {
        self.ranges[0] == 1 && self.ranges[1] == 1 && self.ranges[2] == 1 && {
            let [d, h, w] = self.shape.input;
            let (a, b, c) = (self.options.inside(0, 0, d), self.options.inside(1, 0, h), self.options.inside(2, 0, w));
            a.0 == 0 && b.0 == 0 && c.0 == 0 && a.1 == d && b.1 == h && c.1 == w
        }
    }

    /// Segments of a line.
    #[inline(always)]
    pub const fn line_segments(&self) -> u32 {
        self.shape.input[2].div_ceil(SEGMENT)
    }

    /// Segments of a (b, ci).
    #[inline(always)]
    pub const fn volume_segments(&self) -> u64 {
        self.shape.input[0] as u64 * self.shape.input[1] as u64 * self.line_segments() as u64
    }

    /// Segments of the input.
    #[inline(always)]
    pub const fn segments(&self) -> u64 {
        self.shape.batch as u64 * self.shape.in_channels as u64 * self.volume_segments()
    }

    /// Number `index` of the ranges along an axis: from, to.
    #[inline(always)]
    pub const fn range(&self, axis: usize, index: u32) -> (u32, u32) {
        // One range for all is the first tap's.
        self.options.inside(axis, index, self.shape.input[axis])
    }

    /// The box of tap k.
    #[inline(always)]
    pub const fn box_of(&self, k: [u32; 3]) -> u32 {
        let r0 = if self.ranges[0] == 1 { 0 } else { k[0] };
        let r1 = if self.ranges[1] == 1 { 0 } else { k[1] };
        let r2 = if self.ranges[2] == 1 { 0 } else { k[2] };
        (r0 * self.ranges[1] + r1) * self.ranges[2] + r2
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;

    /// The ranges of box `index`, [number of the range] along each axis.
    fn ranges_of(boxes: &InputBoxes, index: u32) -> [u32; 3] {
        let [_, r1, r2] = boxes.ranges;
        [index / r2 / r1, index / r2 % r1, index % r2]
    }

    proptest! {
        #[test]
        fn ranges_are_the_definition(
            extent in 1u32..9, taps in 1u32..6, stride in 1u32..5, dilation in 1u32..5, padding in 0u32..9, output in 1u32..20,
        ) {
            let shape = ConvShape { batch: 1, in_channels: 1, out_channels: 1, input: [extent; 3], kernel: [taps; 3] };
            let options = ConvOptions {
                stride: [stride; 3], padding: [padding; 3], dilation: [dilation; 3], output: [output; 3], groups: 1,
            };
            let boxes = InputBoxes::new(shape, options);
            for k in 0..taps {
                let there = |i: &u32| (padding..padding + output).contains(&(i * stride + k * dilation));
                let expected: std::vec::Vec<_> = (0..extent).filter(there).collect();
                let [r0, _, _] = ranges_of(&boxes, boxes.box_of([k, 0, 0]));
                let (from, to) = boxes.range(0, r0);
                prop_assert_eq!((from..to).collect::<std::vec::Vec<_>>(), expected);
            }
            for index in 0..boxes.boxes() {
                prop_assert_eq!(boxes.box_of(ranges_of(&boxes, index)), index);
            }
            prop_assert_eq!(boxes.is_whole(), boxes.boxes() == 1 && boxes.range(0, 0) == (0, extent));
        }
    }
}
