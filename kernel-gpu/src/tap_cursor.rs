//! Walking the products of one z: k = (ci, kd, kh, kw) in C order, without a division a step.
//!
//! The gather of x[b, ci, p−k] needs the input index `b·Cin·V + offset(p) + delta(k)`, with `offset` of
//! [`OutputPosition`](crate::conv_shape::OutputPosition) and
//!
//! ```text
//! delta(k) = ci·V − ((kd·H + kh)·W + kw),   V = D·H·W
//! ```
//!
//! which changes by a constant at each carry. All threads of a warp walk the same k, so the carries do not split it.

use crate::conv_shape::ConvShape;

/// One k, and how far its input elements lie from their position's offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TapCursor {
    /// ci; Cin and more once past the end.
    pub channel: u32,
    /// (kd, kh, kw).
    pub tap: [u32; 3],
    /// delta(k), in elements.
    pub delta: i64,
}

impl TapCursor {
    /// k = 0.
    pub const START: Self = Self { channel: 0, tap: [0; 3], delta: 0 };

    /// Moves on by `steps`.
    #[inline(always)]
    pub const fn advance(&mut self, steps: u32, shape: &ConvShape) {
        let (plane, width) = (shape.input[1] as i64 * shape.input[2] as i64, shape.input[2] as i64);
        self.tap[2] += steps;
        self.delta -= steps as i64;
        while self.tap[2] >= shape.kernel[2] {
            self.tap[2] -= shape.kernel[2];
            self.tap[1] += 1;
            self.delta += shape.kernel[2] as i64 - width;
            if self.tap[1] == shape.kernel[1] {
                self.tap[1] = 0;
                self.tap[0] += 1;
                self.delta += shape.kernel[1] as i64 * width - plane;
                if self.tap[0] == shape.kernel[0] {
                    self.tap[0] = 0;
                    self.channel += 1;
                    self.delta += shape.kernel[0] as i64 * plane + shape.volume() as i64;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(k: u64, shape: &ConvShape) -> TapCursor {
        let taps = shape.taps() as u64;
        let (ci, t) = ((k / taps) as u32, (k % taps) as u32);
        let tap = [t / (shape.kernel[1] * shape.kernel[2]), t / shape.kernel[2] % shape.kernel[1], t % shape.kernel[2]];
        let inner = (tap[0] as i64 * shape.input[1] as i64 + tap[1] as i64) * shape.input[2] as i64 + tap[2] as i64;
        TapCursor { channel: ci, tap, delta: ci as i64 * shape.volume() as i64 - inner }
    }

    proptest! {
        #[test]
        fn any_stride_visits_what_division_gives(
            input in prop::array::uniform3(1u32..9), kernel in prop::array::uniform3(1u32..6),
            in_channels in 1u32..5, first in 0u32..9, stride in 1u32..12,
        ) {
            let shape = ConvShape { batch: 1, in_channels, out_channels: 1, input, kernel };
            let mut cursor = TapCursor::START;
            cursor.advance(first, &shape);
            let mut k = first as u64;
            while k < shape.depth() + 20 {
                prop_assert_eq!(cursor, at(k, &shape));
                cursor.advance(stride, &shape);
                k += stride as u64;
            }
        }
    }
}
