//! What [`tap_spectrum`](crate::tap_spectrum) does with four values of a lane: as taps, as sums, as numbers of W.
//!
//! ```text
//! sums += values·(cos θ − i·sin θ)      θ = π·m/M of an axis, m modulo 2M and from tap to tap, or from point to point, by the same step
//! ```
//!
//! in f32, (cos, sin) from a table. Taps are widened as they come, and scaled by a power of two; W is written, or added to.

pub mod device {
    //! The device code.
    use cuda_std::float::Float;
    use cuda_std::global::{Global, GlobalMut};
    use cuda_std::unroll;

    use crate::conv_shape::div_rem;
    use crate::element::Tensor;

    /// Four values of a lane, real and imaginary parts.
    #[derive(Clone, Copy)]
    pub struct Complex {
        /// Real parts.
        pub re: [f32; 4],
        /// Imaginary parts.
        pub im: [f32; 4],
    }

    impl Complex {
        /// Zeros.
        pub const ZERO: Self = Self { re: [0.0; 4], im: [0.0; 4] };

        /// Adds `values`·(cos − i·sin).
        #[inline(always)]
        pub fn add_turned(&mut self, values: &Self, cos: f32, sin: f32) {
            unroll!(n < 4, {
                self.re[n] = values.im[n].fma(sin, values.re[n].fma(cos, self.re[n]));
                self.im[n] = values.re[n].fma(-sin, values.im[n].fma(cos, self.im[n]));
            });
        }

        /// Adds `values`·factor.
        #[inline(always)]
        pub fn add_scaled(&mut self, values: &Self, factor: f32) {
            unroll!(n < 4, {
                self.re[n] = values.re[n].fma(factor, self.re[n]);
                self.im[n] = values.im[n].fma(factor, self.im[n]);
            });
        }
    }

    /// An angle in units of π/M, modulo 2M, and its step, which is below 2M too.
    #[derive(Clone, Copy)]
    pub struct Angle {
        /// The angle.
        pub at: u32,
        /// Its step.
        pub step: u32,
        /// 2M.
        pub period: u32,
    }

    impl Angle {
        /// The angle of the `first` of `kernel` taps at frequency g of this axis.
        #[inline(always)]
        pub fn of_taps(g: u32, first: u32, kernel: u32) -> Self {
            let period = 2 * (2 * kernel - 1);
            // Twice the place, plus a period: not negative, and below two periods.
            let place = 2 * first + period - (kernel - 1);
            Self { at: modulo(g, place, period), step: modulo(g, 2, period), period }
        }

        /// Goes a step further.
        #[inline(always)]
        pub fn advance(&mut self) {
            self.at += self.step;
            if self.at >= self.period {
                self.at -= self.period;
            }
        }

        /// (cos, sin) by a table of the axis' twiddles.
        ///
        /// # Safety
        /// The table is the axis'.
        #[inline(always)]
        pub unsafe fn turn(&self, table: Global<f32>) -> (f32, f32) {
            // SAFETY: the angle is below the period, which is the table's length.
            unsafe { (table.load(2 * self.at as u64), table.load(2 * self.at as u64 + 1)) }
        }
    }

    /// a·b mod m.
    #[inline(always)]
    pub fn modulo(a: u32, b: u32, m: u32) -> u32 {
        div_rem(a as u64 * b as u64, m as u64).1 as u32
    }

    /// The first element of each.
    ///
    /// # Safety
    /// They exist; `NARROW` is whether they are of 16 bits.
    #[inline(always)]
    pub unsafe fn load<const NARROW: bool>(taps: &[[Tensor<f32>; 2]; 4]) -> [[f32; 2]; 4] {
        let (mut bits, mut values) = ([[0u32; 2]; 4], [[0f32; 2]; 4]);
        unroll!(n < 4, {
            unroll!(side < 2, {
                // SAFETY: the caller's promise.
                bits[n][side] = unsafe { taps[n][side].bits::<NARROW>(0) };
            });
        });
        unroll!(n < 4, {
            unroll!(side < 2, {
                values[n][side] = taps[n][side].widen::<NARROW>(bits[n][side]);
            });
        });
        values
    }

    /// Writes a point, or, with `MORE`, adds to what this lane wrote there before.
    ///
    /// # Safety
    /// `to` is the lane's first word of a point of the launch and a group of the block's.
    #[inline(always)]
    pub unsafe fn store<const MORE: bool>(to: GlobalMut<f32>, mut values: Complex) {
        // SAFETY: the caller's promise; 16 bytes a lane.
        unsafe {
            if MORE {
                unroll!(n < 4, {
                    values.re[n] += to.load(n as u64);
                    values.im[n] += to.load(n as u64 + 128);
                });
            }
            to.store_array(0, values.re);
            to.store_array(128, values.im);
        }
    }

    /// 2^exponent, for normal numbers.
    #[inline(always)]
    pub fn power(exponent: i32) -> f32 {
        f32::from_bits(((exponent + 127) as u32) << 23)
    }
}
