//! Count, mean and M2 = Σ(z − mean)² of a set of values, and their merge.
//!
//! ```text
//! n = nₐ + n_b    δ = mean_b − meanₐ    mean = meanₐ + δ·n_b/n    M2 = M2ₐ + M2_b + δ²·nₐ·n_b/n
//! ```
//!
//! Chan, Golub, LeVeque: *Updating Formulae and a Pairwise Algorithm for Computing Sample Variances* (1979). Nothing
//! cancels: M2 is a sum of non-negative terms. All f64. Where a mean is infinite, δ may be ∞ − ∞: the means add up then, and M2 is not finite.
//!
//! The formulae hold for a negative count as well, which takes values away again that were counted too many. That may cancel.

/// The moments of a set of values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moments {
    /// How many values, a whole number; negative for values to be taken away.
    pub count: f64,
    /// Their mean.
    pub mean: f64,
    /// Σ(z − mean)².
    pub m2: f64,
}

impl Moments {
    /// Of no values.
    pub const EMPTY: Self = Self { count: 0.0, mean: 0.0, m2: 0.0 };

    /// The moments of both sets together.
    #[inline(always)]
    pub fn merge(self, other: Self) -> Self {
        if other.count == 0.0 {
            return self;
        }
        if self.count == 0.0 {
            return other;
        }
        let count = self.count + other.count;
        let delta = other.mean - self.mean;
        let share = other.count / count;
        let mean = self.mean + delta * share;
        // ∞ − ∞, perhaps.
        let mean = if mean.is_nan() { self.mean + other.mean } else { mean };
        Self { count, mean, m2: self.m2 + other.m2 + delta * delta * self.count * share }
    }

    /// The merge of all 32 lanes' moments, in lane 0; the others hold partial merges.
    #[inline(always)]
    pub fn merge_warp(mut self) -> Self {
        use cuda_std::warp::shuffle_down;
        let mut distance = 16;
        while distance > 0 {
            self = self.merge(Self {
                count: shuffle_down(self.count, distance),
                mean: shuffle_down(self.mean, distance),
                m2: shuffle_down(self.m2, distance),
            });
            distance /= 2;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn of(values: &[f64]) -> Moments {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        Moments { count, mean, m2: values.iter().map(|v| (v - mean).powi(2)).sum() }
    }

    proptest! {
        #[test]
        fn merging_parts_gives_the_whole(values in prop::collection::vec(-9.0..9.0f64, 2..60), cut in 0.0..1.0f64) {
            let cut = 1 + (cut * (values.len() - 1) as f64) as usize;
            let (a, b): (Vec<f64>, Vec<f64>) = (values[..cut].to_vec(), values[cut..].to_vec());
            let merged = if b.is_empty() { of(&a) } else { of(&a).merge(of(&b)) };
            let whole = of(&values);
            prop_assert_eq!(merged.count, whole.count);
            prop_assert!((merged.mean - whole.mean).abs() < 1e-13 * 9.0);
            prop_assert!((merged.m2 - whole.m2).abs() < 1e-12 * (1.0 + whole.m2));
        }
    }

    #[test]
    fn infinite_means_add_up() {
        let infinite = |mean| Moments { count: 2.0, mean, m2: 1.0 };
        let (up, down, finite) = (infinite(f64::INFINITY), infinite(f64::NEG_INFINITY), of(&[1.0, 4.0]));
        for (a, b, mean) in [(up, up, up.mean), (up, finite, up.mean), (finite, down, down.mean)] {
            let merged = a.merge(b);
            assert!(merged.mean == mean && !merged.m2.is_finite() && merged.count == 4.0, "{merged:?}");
        }
        assert!(up.merge(down).mean.is_nan() && infinite(f64::NAN).merge(up).mean.is_nan());
        // Not those whose difference overflows.
        let [far, opposite] = [1e308, -1e308].map(infinite);
        assert_eq!(far.merge(opposite).count, 4.0);
        assert!(far.merge(opposite).m2 == f64::INFINITY);
    }

    #[test]
    fn nothing_is_neutral_and_a_large_mean_costs_no_digits() {
        let m = of(&[1.0, 4.0]);
        assert_eq!(m.merge(Moments::EMPTY), m);
        assert_eq!(Moments::EMPTY.merge(m), m);
        let far = of(&[1e9, 1e9 + 3.0]).merge(of(&[1e9 + 1.0, 1e9 + 2.0]));
        assert_eq!(far.m2, 5.0);
    }
}
