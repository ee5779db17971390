//! What [`volume_outer`](crate::volume_outer) does with a quad: four neighbours along pair.
//!
//! ```text
//! totals    Σx, Σ|x| in f64, least and most x
//! level     x·2^−e − mean·2^−e, 0 where there is no element
//! sums      += cos, sin(2πf·j/N0)·(level[c+j] ± level[c−j]), in f32
//! ```
//!
//! **Boost.** Where little is left without the mean, sums are so small that the smallest steps of two f16 would show: [`boost`] says how far to
//! raise them.

/// What a volume of that range, scaled, is multiplied with besides: a power of two, so that the smallest steps of two f16, 2^−24, are
/// nothing beside what varies. No sum along outer and pair is then past 2^15. 1 where the range is large enough as it is.
#[inline(always)]
pub fn boost(range: f32, input: [u32; 3]) -> f32 {
    // Not `>=`: what is not finite is left as it is.
    let small = range > 0.0 && range < 1.0 / 256.0;
    if !small {
        return 1.0;
    }
    // Below 2^(biased − 126).
    let biased = (range * (input[0] * input[2]) as f32).to_bits() >> 23;
    if biased >= 141 {
        return 1.0;
    }
    let power = 127 + 141 - biased;
    f32::from_bits((if power < 254 { power } else { 254 }) << 23)
}

pub mod device {
    //! The device code.
    use cuda_std::float::Float;
    use cuda_std::shared::Shared;
    use cuda_std::unroll;

    use crate::volume_layout::FOLD;

    /// Four neighbours along pair.
    pub type Quad = [f32; 4];

    /// Sums of two f: over even and odd j, with cosines and sines.
    pub type Sums = [[[Quad; 2]; 2]; FOLD as usize];

    /// What a volume is multiplied with.
    #[derive(Clone, Copy)]
    pub struct Level {
        /// 2^−e.
        pub scale: f32,
        /// The mean times that.
        pub mean: f32,
        /// Where little is left without the mean: what the sums are multiplied with besides, so that two f16 hold it. Else 1.
        pub boost: f32,
    }

    /// Σx, Σ|x| and the range of some elements.
    #[derive(Clone, Copy)]
    pub struct Totals {
        /// Σx.
        pub sum: f64,
        /// Σ|x|.
        pub absolute: f64,
        /// The smallest.
        pub least: f32,
        /// The largest.
        pub most: f32,
    }

    impl Totals {
        /// Of none.
        pub const NONE: Self = Self { sum: 0.0, absolute: 0.0, least: f32::INFINITY, most: f32::NEG_INFINITY };

        /// Takes in those of these elements that exist.
        #[inline(always)]
        pub fn add<const N: usize>(&mut self, values: &[f32; N], exists: impl Fn(usize) -> bool) {
            let mut near = 0f32;
            unroll!(i < N, {
                if exists(i) {
                    self.sum += values[i] as f64;
                    near += values[i].abs();
                    self.range(values[i], values[i]);
                }
            });
            self.absolute += near as f64;
        }

        /// Takes in what others found.
        #[inline(always)]
        pub fn range(&mut self, least: f32, most: f32) {
            self.least = if least < self.least { least } else { self.least };
            self.most = if most > self.most { most } else { self.most };
        }
    }

    impl Level {
        /// A quad scaled, without the mean; zeros past its row's `count`, and where there is none.
        #[inline(always)]
        pub fn of(self, quad: Quad, there: bool, count: u32) -> Quad {
            let mut values = [0f32; 4];
            unroll!(i < 4, {
                let value = quad[i].fma(self.scale, -self.mean);
                values[i] = if there && (i as u32) < count { value } else { 0.0 };
            });
            values
        }
    }

    /// Adds a j of one f, by its factor (cos, sin).
    ///
    /// # Safety
    /// The factors were written before the last barrier.
    #[inline(always)]
    pub unsafe fn add_one([cosine, sine]: &mut [Quad; 2], factors: Shared<f32>, sum: &Quad, difference: &Quad) {
        // SAFETY: the caller's promise: a pair, on an 8-byte boundary.
        let pair = unsafe { factors.cast::<u64>().load(0) };
        let factor = [f32::from_bits(pair as u32), f32::from_bits((pair >> 32) as u32)];
        unroll!(i < 4, {
            cosine[i] = factor[0].fma(sum[i], cosine[i]);
            sine[i] = factor[1].fma(difference[i], sine[i]);
        });
    }

    /// Adds a j of that parity, by its factors (cos, sin) of two f.
    ///
    /// # Safety
    /// The factors were written before the last barrier.
    #[inline(always)]
    pub unsafe fn add(sums: &mut Sums, parity: usize, factors: Shared<f32>, sum: &Quad, difference: &Quad) {
        let mut factor = [0f32; 4];
        // SAFETY: the caller's promise.
        unsafe { factors.load_16(0, &mut factor) };
        unroll!(f < 2, {
            let [cosine, sine] = &mut sums[f][parity];
            unroll!(i < 4, {
                cosine[i] = factor[2 * f].fma(sum[i], cosine[i]);
                sine[i] = factor[2 * f + 1].fma(difference[i], sine[i]);
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_ranges_are_raised_to_where_their_sums_still_fit() {
        for (range, expected) in
            [(0.0, false), (1.0, false), (f32::NAN, false), (f32::INFINITY, false), (1e-7, true), (1e-30, true)]
        {
            let factor = boost(range, [16, 32, 32]);
            assert_eq!(factor > 1.0, expected, "{range:e}");
            assert!(!expected || factor.log2().fract() == 0.0);
            if expected {
                let bound = range * factor * 512.0;
                assert!(bound <= 32768.0 && (bound > 16000.0 || factor > 1e38), "{range:e} {factor:e}");
            }
        }
        assert_eq!(boost(1e-3, [4096, 1, 4096]), 1.0);
    }
}
