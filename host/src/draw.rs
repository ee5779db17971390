//! Uniform draws that any language can repeat.
//!
//! splitmix64, one output a value: for i = 0, 1, … (C order), all modulo 2⁶⁴,
//! ```text
//! z = seed + (i + 1)·0x9E3779B97F4A7C15
//! z = (z ^ z>>30)·0xBF58476D1CE4E5B9;  z = (z ^ z>>27)·0x94D049BB133111EB;  z = z ^ z>>31
//! u = (z >> 40)·2⁻²⁴                       value = f32(lo + (hi − lo)·u), in f64
//! ```
//! Value i depends on the seed and i alone, so tensors are drawn in parallel.
//! Source: Steele, Lea, Flood, *Fast splittable pseudorandom number generators*, OOPSLA 2014.

use ndarray::{Array1, Array5};
use rayon::prelude::*;

use crate::Error;
use crate::element::Storage;
use crate::memory;
use crate::problem::Problem;
use crate::tensors::Tensors;

/// A uniform distribution and the seed to draw it with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Draw {
    /// The seed.
    pub seed: u64,
    /// Values are at least this.
    pub lo: f64,
    /// Values are below this (or round to it).
    pub hi: f64,
}

impl Draw {
    /// Value `i` of the sequence.
    pub fn value(&self, i: u64) -> f32 {
        let mut z = self.seed.wrapping_add(i.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        let u = (z >> 40) as f64 / (1u64 << 24) as f64;
        (self.lo + (self.hi - self.lo) * u) as f32
    }

    /// The first `len` values as elements of type `T`.
    ///
    /// # Errors
    /// [`Error::Memory`] where they do not fit.
    pub fn vector<T: Storage>(&self, what: &'static str, len: usize) -> Result<Vec<T>, Error> {
        let mut values = memory::try_with_capacity(what, len)?;
        (0..len).into_par_iter().map(|i| T::from_f64(f64::from(self.value(i as u64)))).collect_into_vec(&mut values);
        Ok(values)
    }
}

/// The draw of every tensor of a problem.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Draws {
    /// x.
    pub input: Draw,
    /// w.
    pub kernel: Draw,
    /// Where given.
    pub conv_bias: Option<Draw>,
    /// γ, where given.
    pub bn_weight: Option<Draw>,
    /// β, where given.
    pub bn_bias: Option<Draw>,
    /// Where given; drawn only for problems with running statistics.
    pub running_mean: Option<Draw>,
    /// Likewise.
    pub running_var: Option<Draw>,
}

impl Draws {
    /// Data as PyTorch's initialisation makes it: x in [0, 1), w and its bias within ±1/√(Cout·taps)
    /// (its fan-in takes the weight's second extent), γ in [0.5, 1.5), β within ±0.5; tensor n has
    /// the seed `seed + n`.
    pub fn usual(problem: &Problem, seed: u64) -> Draws {
        let bound = 1.0 / ((problem.out_channels() * problem.taps()) as f64).sqrt();
        let draw = |n: u64, lo, hi| Draw { seed: seed.wrapping_add(n), lo, hi };
        Draws {
            input: draw(1, 0.0, 1.0),
            kernel: draw(2, -bound, bound),
            conv_bias: Some(draw(3, -bound, bound)),
            bn_weight: Some(draw(4, 0.5, 1.5)),
            bn_bias: Some(draw(5, -0.5, 0.5)),
            running_mean: Some(draw(6, -0.2, 0.2)),
            running_var: Some(draw(7, 0.5, 1.5)),
        }
    }

    /// Every tensor in [0, 1); tensor n has the seed `seed + n`.
    pub fn unit(seed: u64) -> Draws {
        let draw = |n: u64| Draw { seed: seed.wrapping_add(n), lo: 0.0, hi: 1.0 };
        Draws {
            input: draw(1),
            kernel: draw(2),
            conv_bias: Some(draw(3)),
            bn_weight: Some(draw(4)),
            bn_bias: Some(draw(5)),
            running_mean: Some(draw(6)),
            running_var: Some(draw(7)),
        }
    }

    /// Draws the tensors of `problem`.
    ///
    /// # Errors
    /// [`Error::Memory`] where they do not fit together.
    pub fn tensors<T: Storage>(&self, problem: &Problem) -> Result<Tensors<T>, Error> {
        let elements = problem.input_elements() as u64 + problem.kernel_elements() as u64;
        memory::check("the data to draw", elements.saturating_mul(size_of::<T>() as u64))?;
        let volume = |what, draw: &Draw, shape: [usize; 5]| -> Result<Array5<T>, Error> {
            let values = draw.vector(what, shape.iter().product())?;
            Ok(memory::in_shape(ndarray::Dim(shape), values))
        };
        let count = problem.out_channels();
        let channels = |what, draw: &Option<Draw>| -> Result<Option<Array1<T::Wide>>, Error> {
            draw.map(|draw| draw.vector(what, count).map(Array1::from_vec)).transpose()
        };
        let (mean, var) = match problem.has_running_statistics() {
            true => (self.running_mean, self.running_var),
            false => (None, None),
        };
        Ok(Tensors {
            input: volume("input", &self.input, problem.input().extents())?,
            kernel: volume("kernel", &self.kernel, problem.kernel().extents())?,
            conv_bias: self.conv_bias.map(|draw| draw.vector("conv_bias", count).map(Array1::from_vec)).transpose()?,
            bn_weight: channels("bn_weight", &self.bn_weight)?,
            bn_bias: channels("bn_bias", &self.bn_bias)?,
            running_mean: channels("running_mean", &mean)?,
            running_var: channels("running_var", &var)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steele et al.'s generator with seed 1234567, as its published test vector begins.
    #[test]
    fn the_generator_is_splitmix64() {
        let published: [u64; 3] = [6457827717110365317, 3203168211198807973, 9817491932198370423];
        let draw = Draw { seed: 1234567, lo: 0.0, hi: 1.0 };
        for (i, z) in published.into_iter().enumerate() {
            assert_eq!(draw.value(i as u64), (z >> 40) as f32 / (1u32 << 24) as f32);
        }
    }

    #[test]
    fn values_lie_in_their_range_and_differ() {
        let draw = Draw { seed: 5, lo: -0.25, hi: 0.5 };
        let values: Vec<f32> = draw.vector("test", 10_000).unwrap();
        assert!(values.iter().all(|v| (-0.25..=0.5).contains(v)));
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / 1e4;
        assert!((mean - 0.125).abs() < 0.01, "{mean}");
        assert_ne!(values[0], values[1]);
        assert_eq!(values[9_999], draw.value(9_999));
    }

    #[test]
    fn tensors_too_large_are_refused() {
        use crate::problem::{KernelShape, Shape5};
        let input = Shape5 { batch: 1 << 20, channels: 1 << 10, depth: 1 << 10, height: 1 << 10, width: 1 };
        let kernel = KernelShape { in_channels: 1 << 10, out_channels: 1, depth: 1, height: 1, width: 1 };
        let problem = Problem::builder(input, kernel).build().unwrap();
        let refused = Draws::usual(&problem, 0).tensors::<f32>(&problem).unwrap_err();
        assert!(matches!(refused, Error::Memory { needed, .. } if needed >= 1 << 52), "{refused}");
    }
}
