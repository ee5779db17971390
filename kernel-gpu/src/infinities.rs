//! Which of the means that sums make infinite are NaN by the definition.
//!
//! ```text
//! m[b,c] = 1/P · Σ_ci Σ_k Σ_i w[ci,c,k]·x[b,ci,i]          over the elements i that tap k carries inside the output
//! ```
//!
//! The kernels sum x, or x and w, before they multiply. Of finite numbers that is the same. An infinite w times a sum of x is
//! infinite where the definition adds ∞ and −∞, for x of both signs, or has ∞·0. So an infinite tap leaves a mean infinite only if
//! all x that it carries are above 0, or all below; an infinite x likewise, where all taps of a channel are summed first. What else can
//! happen (a NaN, infinite products of both signs) is NaN by the sums too.
//!
//! **Cost.** None where means are finite. Else w once a channel that has such a mean, and what its infinite taps carry, until it is seen that they
//! cancel: once for all taps of an input channel that carry the same elements.

use crate::conv_shape::{ConvOptions, ConvShape};
use crate::element::Tensor;

/// What a mean is made of. `#[repr(C)]`, part of parameter blocks.
#[repr(C)]
pub struct Operands<T> {
    /// x (B, Cin, D, H, W).
    pub input: Tensor<T>,
    /// w (Cin, Cout/groups, Kd, Kh, Kw).
    pub kernel: Tensor<T>,
    /// The extents.
    pub shape: ConvShape,
    /// What the convolution has beside.
    pub options: ConvOptions,
}

impl<T> Clone for Operands<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Operands<T> {}

/// Signs of numbers that have been seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Signs(u32);

impl Signs {
    const POSITIVE: u32 = 1;
    const NEGATIVE: u32 = 2;
    /// 0, or NaN: times an infinity it is NaN.
    const NEITHER: u32 = 4;

    /// Of no numbers.
    pub(crate) const NONE: Self = Self(0);

    /// With one more number.
    #[inline(always)]
    pub(crate) fn and(self, value: f64) -> Self {
        let sign = if value > 0.0 {
            Self::POSITIVE
        } else if value < 0.0 {
            Self::NEGATIVE
        } else {
            Self::NEITHER
        };
        Self(self.0 | sign)
    }

    /// Whether the sum of an infinity's products with these numbers is NaN.
    #[inline(always)]
    pub(crate) const fn cancel_infinity(self) -> bool {
        self.0 >= Self::POSITIVE + Self::NEGATIVE
    }
}

pub mod device {
    //! The device code.
    use cuda_std::global::GlobalMut;
    use cuda_std::thread::lane_index;
    use cuda_std::warp::{any, ballot, broadcast};

    use super::*;
    use crate::element::Value;
    use crate::phased_conv::split;

    /// Makes those means of channel `c`, (b, c), NaN whose image has not one sign alone in what an infinite tap carries.
    ///
    /// # Safety
    /// The operands hold what they say, and c < Cout; all lanes of a warp come together. Lane b mod 32 alone accesses the mean of image b,
    /// and no other warp any of this channel. `WHOLE` is whether every tap carries all of its input channel.
    pub(crate) unsafe fn settle_infinite_taps<T: Value, const WHOLE: bool>(
        p: &Operands<T>,
        c: u32,
        mean: GlobalMut<f64>,
    ) {
        let (shape, groups) = (&p.shape, p.options.groups);
        let (ins, outs, taps) = (split(shape.in_channels, groups).0, split(shape.out_channels, groups).0, shape.taps());
        let (group, column) = split(c, outs);
        // Each lane takes every 32nd tap. It counts on instead of dividing: this is not to be in the way of what is always done.
        let mut of_lane = Steps { at: [0, 0, lane_index()], extents: [1, ins, taps] };
        of_lane.carry();
        let mut seen = None;
        while any(of_lane.is_inside()) {
            let [_, ci, k] = of_lane.at;
            let mut infinite = false;
            if of_lane.is_inside() {
                let row = (group * ins + ci) as u64 * outs as u64 + column as u64;
                // SAFETY: a tap of the channel.
                infinite = unsafe { p.kernel.load(row * taps as u64 + k as u64) }.to_f64().abs() == f64::INFINITY;
            }
            let mut left = ballot(infinite);
            while left != 0 {
                let lane = left.trailing_zeros();
                let carried = Carried::by::<T, WHOLE>(p, group * ins + broadcast(ci, lane), broadcast(k, lane));
                if seen != Some(carried) {
                    // SAFETY: the caller's promise; a channel and a tap that exist.
                    unsafe { settle_carried(p, carried, c, mean) };
                    seen = Some(carried);
                }
                left &= left - 1;
            }
            of_lane.step();
        }
    }

    /// A lane's place among elements in C order, of which it takes every 32nd.
    #[derive(Clone, Copy)]
    struct Steps {
        at: [u32; 3],
        extents: [u32; 3],
    }

    impl Steps {
        #[inline(always)]
        fn is_inside(&self) -> bool {
            self.at[0] < self.extents[0]
        }

        #[inline(always)]
        fn step(&mut self) {
            self.at[2] += 32;
            self.carry();
        }

        #[inline(always)]
        fn carry(&mut self) {
            while self.at[2] >= self.extents[2] && self.is_inside() {
                self.at[2] -= self.extents[2];
                self.at[1] += 1;
                if self.at[1] == self.extents[1] {
                    self.at = [self.at[0] + 1, 0, self.at[2]];
                }
            }
        }
    }

    /// The elements of an input channel that a tap carries inside the output: [from, to) along each axis.
    #[derive(Clone, Copy, PartialEq)]
    struct Carried {
        ci: u32,
        ranges: [(u32, u32); 3],
    }

    impl Carried {
        #[inline(always)]
        fn by<T, const WHOLE: bool>(p: &Operands<T>, ci: u32, k: u32) -> Self {
            let (shape, options) = (&p.shape, &p.options);
            let [d, h, w] = shape.input;
            if WHOLE {
                return Self { ci, ranges: [(0, d), (0, h), (0, w)] };
            }
            let (line, k2) = split(k, shape.kernel[2]);
            let (k0, k1) = split(line, shape.kernel[1]);
            Self { ci, ranges: [options.inside(0, k0, d), options.inside(1, k1, h), options.inside(2, k2, w)] }
        }
    }

    /// As [`settle_infinite_taps`], for one of them that carries these.
    ///
    /// # Safety
    /// As there; ci < Cin, and a tap carries them.
    #[inline(always)]
    unsafe fn settle_carried<T: Value>(p: &Operands<T>, carried: Carried, c: u32, mean: GlobalMut<f64>) {
        let (shape, Carried { ci, ranges: [d, h, w] }) = (&p.shape, carried);
        let extents = [d.1 - d.0, h.1 - h.0, w.1 - w.0];
        if extents[1] == 0 || extents[2] == 0 {
            return;
        }
        let mut b = 0;
        while b < shape.batch {
            let (at, owner) = (b as u64 * shape.out_channels as u64 + c as u64, b % 32);
            let mut settled = false;
            if lane_index() == owner {
                // SAFETY: (b, c), this lane's.
                settled = unsafe { mean.load(at) }.is_nan();
            }
            let x = p.input.offset((b as u64 * shape.in_channels as u64 + ci as u64) * shape.volume());
            let (mut signs, mut of_lane) = (Signs::NONE, Steps { at: [0, 0, lane_index()], extents });
            of_lane.carry();
            let mut cancels = broadcast(settled as u32, owner) != 0;
            while !cancels && any(of_lane.is_inside()) {
                if of_lane.is_inside() {
                    let [i0, i1, i2] = of_lane.at;
                    let line = (d.0 + i0) as u64 * shape.input[1] as u64 + (h.0 + i1) as u64;
                    // SAFETY: an element of the box, and so of the volume.
                    let value = unsafe { x.load(line * shape.input[2] as u64 + (w.0 + i2) as u64) };
                    signs = signs.and(value.to_f64());
                }
                of_lane.step();
                signs = signs.of_warp();
                cancels = signs.cancel_infinity();
            }
            if lane_index() == owner && cancels {
                // SAFETY: as above.
                unsafe { mean.store(at, f64::NAN) };
            }
            b += 1;
        }
    }

    impl Signs {
        /// Those that any lane has seen.
        #[inline(always)]
        fn of_warp(self) -> Self {
            let seen = |sign: u32| if any(self.0 & sign != 0) { sign } else { 0 };
            Self(seen(Self::POSITIVE) | seen(Self::NEGATIVE) | seen(Self::NEITHER))
        }
    }

    /// Whether an infinite x of channel `ci` makes NaN of output channel `c`: whether the taps between them have not one sign alone.
    ///
    /// # Safety
    /// The kernel holds what it says; both exist, in one group; every tap carries every element.
    pub(crate) unsafe fn taps_cancel_infinity<T: Value>(p: &Operands<T>, ci: u32, c: u32) -> bool {
        let outs = split(p.shape.out_channels, p.options.groups).0;
        let taps = p.shape.taps();
        let row = p.kernel.offset((ci as u64 * outs as u64 + split(c, outs).1 as u64) * taps as u64);
        let (mut signs, mut k) = (Signs::NONE, 0);
        while k < taps && !signs.cancel_infinity() {
            // SAFETY: a tap.
            signs = signs.and(unsafe { row.load(k as u64) }.to_f64());
            k += 1;
        }
        signs.cancel_infinity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sign_alone_keeps_an_infinity() {
        let signs = |values: &[f64]| values.iter().fold(Signs::NONE, |signs, &value| signs.and(value));
        for values in [&[1.0, 2.0][..], &[-1.0, f64::NEG_INFINITY], &[f64::INFINITY], &[]] {
            assert!(!signs(values).cancel_infinity(), "{values:?}");
        }
        for values in [&[1.0, -2.0][..], &[0.0], &[-0.0, 1.0], &[f64::NAN], &[3.0, f64::NAN, 1.0], &[-1.0, 1e-300]] {
            assert!(signs(values).cancel_infinity(), "{values:?}");
        }
    }
}
