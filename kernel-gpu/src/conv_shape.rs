//! The extents of one transposed convolution (stride 1, no padding), and where its output positions lie.
//!
//! ```text
//! x (B, Cin, D, H, W)   w (Cin, Cout, Kd, Kh, Kw)   z (B, Cout, Nd, Nh, Nw),   N = (D+Kd−1, H+Kh−1, W+Kw−1)
//! z[b,c,p] = Σ_ci Σ_k w[ci,c,k] · x[b,ci,p−k],      x = 0 outside
//! ```

/// The largest extent of one axis (of input and of kernel): differences of coordinates then fit 32 bits.
pub const MAX_EXTENT: u32 = 1 << 30;

/// a / b and a mod b; (0, 0) for b = 0, which the host refuses, so that device code has no path that panics.
#[inline(always)]
pub const fn div_rem(a: u64, b: u64) -> (u64, u64) {
    match a.checked_div(b) {
        Some(quotient) => (quotient, a % b),
        None => (0, 0),
    }
}

/// The extents that the kernels need. `#[repr(C)]`, part of their parameter blocks.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// B.
    pub batch: u32,
    /// Cin.
    pub in_channels: u32,
    /// Cout.
    pub out_channels: u32,
    /// D, H, W; each at most [`MAX_EXTENT`].
    pub input: [u32; 3],
    /// Kd, Kh, Kw; each at most [`MAX_EXTENT`], and their product fits 32 bits.
    pub kernel: [u32; 3],
}

impl ConvShape {
    /// Nd, Nh, Nw.
    #[inline(always)]
    pub const fn output(&self) -> [u32; 3] {
        [self.input[0] + self.kernel[0] - 1, self.input[1] + self.kernel[1] - 1, self.input[2] + self.kernel[2] - 1]
    }

    /// P = Nd·Nh·Nw, the output positions of one (b, c).
    #[inline(always)]
    pub const fn positions(&self) -> u64 {
        let n = self.output();
        n[0] as u64 * n[1] as u64 * n[2] as u64
    }

    /// Kd·Kh·Kw.
    #[inline(always)]
    pub const fn taps(&self) -> u32 {
        self.kernel[0] * self.kernel[1] * self.kernel[2]
    }

    /// D·H·W, the elements of one (b, ci) of the input.
    #[inline(always)]
    pub const fn volume(&self) -> u64 {
        self.input[0] as u64 * self.input[1] as u64 * self.input[2] as u64
    }

    /// Cin·Kd·Kh·Kw: the products summed into one z.
    #[inline(always)]
    pub const fn depth(&self) -> u64 {
        self.in_channels as u64 * self.taps() as u64
    }
}

/// What a convolution has beside its extents. `#[repr(C)]`, part of the parameter blocks.
///
/// ```text
/// tap k carries input element i to position p = i·stride + k·dilation − padding, 0 ≤ p < N
/// ```
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvOptions {
    /// From one input element to the next, in positions; at least 1.
    pub stride: [u32; 3],
    /// Positions that are cut off in front.
    pub padding: [u32; 3],
    /// From one tap to the next, in positions; at least 1.
    pub dilation: [u32; 3],
    /// Nd, Nh, Nw: at most [`MAX_EXTENT`] each, and so is every i·stride + k·dilation.
    pub output: [u32; 3],
    /// Groups, which divide Cin and Cout; an output channel sees the input channels of its own.
    pub groups: u32,
}

impl ConvOptions {
    /// None: stride and dilation 1, no padding, one group.
    pub const fn none(shape: &ConvShape) -> Self {
        Self { stride: [1; 3], padding: [0; 3], dilation: [1; 3], output: shape.output(), groups: 1 }
    }

    /// P = Nd·Nh·Nw.
    #[inline(always)]
    pub const fn positions(&self) -> u64 {
        self.output[0] as u64 * self.output[1] as u64 * self.output[2] as u64
    }

    /// Position `p` in C order, padding added; `None` when `p` ≥ P.
    #[inline(always)]
    pub const fn position(&self, p: u64) -> Option<[u32; 3]> {
        if p >= self.positions() {
            return None;
        }
        let (line, w) = div_rem(p, self.output[2] as u64);
        let (d, h) = div_rem(line, self.output[1] as u64);
        Some([d as u32 + self.padding[0], h as u32 + self.padding[1], w as u32 + self.padding[2]])
    }

    /// The input element, (i0·H + i1)·W + i2, that tap k carries to a position with its padding, if there is one.
    #[inline(always)]
    pub const fn source(&self, position: [u32; 3], tap: [u32; 3], input: [u32; 3]) -> Option<u64> {
        let (d, there_d) = along(position[0], tap[0] * self.dilation[0], self.stride[0], input[0]);
        let (h, there_h) = along(position[1], tap[1] * self.dilation[1], self.stride[1], input[1]);
        let (w, there_w) = along(position[2], tap[2] * self.dilation[2], self.stride[2], input[2]);
        if there_d && there_h && there_w {
            Some((d as u64 * input[1] as u64 + h as u64) * input[2] as u64 + w as u64)
        } else {
            None
        }
    }
}

impl ConvOptions {
    /// Whether tap k carries any element to a position. What is cut off wholly must not be multiplied: 0 · NaN is NaN.
    #[inline(always)]
    pub const fn carries(&self, tap: [u32; 3], input: [u32; 3]) -> bool {
        self.carries_along(0, tap[0], input[0])
            && self.carries_along(1, tap[1], input[1])
            && self.carries_along(2, tap[2], input[2])
    }

    /// The input elements [from, to) that tap k carries inside the output, along an axis.
    #[inline(always)]
    pub const fn inside(&self, axis: usize, tap: u32, extent: u32) -> (u32, u32) {
        let (stride, reach, padding) = (self.stride[axis], tap * self.dilation[axis], self.padding[axis]);
        let stride = if stride == 0 { 1 } else { stride };
        let end = padding as u64 + self.output[axis] as u64;
        let end = if end > reach as u64 { (end - reach as u64).div_ceil(stride as u64) } else { 0 };
        let end = if end < extent as u64 { end as u32 } else { extent };
        let start = padding.saturating_sub(reach).div_ceil(stride);
        (if start < end { start } else { end }, end)
    }

    #[inline(always)]
    const fn carries_along(&self, axis: usize, tap: u32, extent: u32) -> bool {
        let (stride, reach, padding) = (self.stride[axis], tap * self.dilation[axis], self.padding[axis]);
        let stride = if stride == 0 { 1 } else { stride };
        // The first element that padding does not cut off.
        let first = padding.saturating_sub(reach).div_ceil(stride);
        first < extent && first * stride + reach - padding < self.output[axis]
    }
}

/// (position − reach)/stride, and whether that is an element of the input.
#[inline(always)]
const fn along(position: u32, reach: u32, stride: u32, extent: u32) -> (u32, bool) {
    // A negative difference wraps past 2^31, which no difference that is there reaches.
    let difference = position.wrapping_sub(reach);
    // A stride of 0, which the host refuses, counts as 1.
    let element = difference / if stride == 0 { 1 } else { stride };
    (element, difference < 1 << 31 && element * stride == difference && element < extent)
}

/// An output position, ready to be paired with taps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputPosition {
    /// (od, oh, ow).
    pub coordinate: [u32; 3],
    /// (od·H + oh)·W + ow: the input element that tap 0 meets, were it inside.
    pub offset: i64,
}

impl OutputPosition {
    /// A position that no tap brings inside the input: its x is 0 throughout.
    pub const OUTSIDE: Self = Self { coordinate: [1 << 31; 3], offset: 0 };

    /// Position `p` in C order, or [`Self::OUTSIDE`] when `p` ≥ P.
    #[inline(always)]
    pub const fn new(p: u64, shape: &ConvShape) -> Self {
        if p >= shape.positions() {
            return Self::OUTSIDE;
        }
        let n = shape.output();
        let (line, w) = div_rem(p, n[2] as u64);
        let (d, h) = div_rem(line, n[1] as u64);
        let (d, h, w) = (d as u32, h as u32, w as u32);
        let offset = (d as i64 * shape.input[1] as i64 + h as i64) * shape.input[2] as i64 + w as i64;
        Self { coordinate: [d, h, w], offset }
    }

    /// Whether p − k lies inside the input: three unsigned comparisons, since a negative difference wraps past any extent.
    #[inline(always)]
    pub const fn meets(&self, tap: [u32; 3], shape: &ConvShape) -> bool {
        self.coordinate[0].wrapping_sub(tap[0]) < shape.input[0]
            && self.coordinate[1].wrapping_sub(tap[1]) < shape.input[1]
            && self.coordinate[2].wrapping_sub(tap[2]) < shape.input[2]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: ConvShape =
        ConvShape { batch: 1, in_channels: 1, out_channels: 1, input: [2, 3, 4], kernel: [3, 1, 2] };

    #[test]
    fn positions_run_in_c_order() {
        assert_eq!(SHAPE.output(), [4, 3, 5]);
        let mut p = 0;
        for d in 0..4 {
            for h in 0..3 {
                for w in 0..5 {
                    let q = OutputPosition::new(p, &SHAPE);
                    assert_eq!(q.coordinate, [d, h, w]);
                    assert_eq!(q.offset, ((d * 3 + h) * 4 + w) as i64);
                    p += 1;
                }
            }
        }
        assert_eq!(p, SHAPE.positions());
        assert_eq!(OutputPosition::new(p, &SHAPE), OutputPosition::OUTSIDE);
    }

    #[test]
    fn every_input_element_meets_every_tap_once() {
        let mut pairs = 0;
        for p in 0..SHAPE.positions() {
            for tap in 0..SHAPE.taps() {
                let k = [tap / 2, 0, tap % 2];
                pairs += u64::from(OutputPosition::new(p, &SHAPE).meets(k, &SHAPE));
            }
        }
        assert_eq!(pairs, SHAPE.volume() * SHAPE.taps() as u64);
    }

    /// By the definition: every (i, k) comes to one position, or is cut off.
    #[test]
    fn options_carry_every_element_to_its_positions() {
        for (stride, padding, dilation, output) in [
            ([1; 3], [0; 3], [1; 3], [4, 3, 5]),
            ([2, 3, 1], [1, 0, 2], [1, 2, 3], [4, 8, 5]),
            ([4, 1, 2], [0, 1, 0], [3, 1, 2], [12, 1, 9]),
            ([1, 2, 3], [1, 2, 9], [1, 1, 5], [2, 1, 3]),
            ([5, 1, 1], [3, 0, 4], [2, 1, 1], [1, 3, 1]),
        ] {
            let options = ConvOptions { stride, padding, dilation, output, groups: 1 };
            for tap in 0..SHAPE.taps() {
                let k = [tap / 2, 0, tap % 2];
                let meets = |p| options.source(options.position(p).unwrap(), k, SHAPE.input).is_some();
                assert_eq!(options.carries(k, SHAPE.input), (0..options.positions()).any(meets), "{options:?} {k:?}");
            }
            for p in 0..options.positions() {
                let at = [
                    p / u64::from(output[1] * output[2]),
                    p / u64::from(output[2]) % u64::from(output[1]),
                    p % u64::from(output[2]),
                ];
                for tap in 0..SHAPE.taps() {
                    let k = [tap / 2, 0, tap % 2];
                    let found = options.source(options.position(p).unwrap(), k, SHAPE.input);
                    let mut expected = None;
                    for i in 0..SHAPE.volume() {
                        let element = [i / 12, i / 4 % 3, i % 4];
                        let comes = |a: usize| element[a] * u64::from(stride[a]) + u64::from(k[a] * dilation[a]);
                        if (0..3).all(|a| comes(a) == at[a] + u64::from(padding[a])) {
                            expected = Some(i);
                        }
                    }
                    assert_eq!(found, expected, "{options:?} {at:?} {k:?}");
                }
            }
            assert_eq!(options.position(options.positions()), None);
        }
    }

    #[test]
    fn outside_meets_no_tap_even_at_the_largest_extents() {
        let shape = ConvShape { input: [MAX_EXTENT; 3], kernel: [MAX_EXTENT; 3], ..SHAPE };
        for k in [0, 1, MAX_EXTENT - 1] {
            assert!(!OutputPosition::OUTSIDE.meets([k; 3], &shape));
        }
    }
}
