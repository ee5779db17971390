//! Random shapes, and data that is the same in f32 and f64.

use convt_bn_gap::draw::Draw;
use convt_bn_gap::{KernelShape, Problem, ProblemBuilder, Shape5, Tensors};
use ndarray::{Array1, Array5};
use proptest::prelude::*;

/// A problem's shapes, and the seed of its data.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub batch: usize,
    pub in_channels: usize,
    pub out_channels: usize,
    pub extents: [usize; 3],
    pub taps: [usize; 3],
    pub seed: u64,
}

/// At least 16 values a channel, so that no variance is nearly 0 by chance.
pub fn cases() -> impl Strategy<Value = Case> {
    let extents = prop::array::uniform3(2usize..7);
    let taps = prop::array::uniform3(1usize..5);
    (2usize..6, 1usize..7, 1usize..40, extents, taps, any::<u64>()).prop_map(
        |(batch, in_channels, out_channels, extents, taps, seed)| Case {
            batch,
            in_channels,
            out_channels,
            extents,
            taps,
            seed,
        },
    )
}

/// −1.25: a negative scale that is exact.
pub const SCALE: f64 = -1.25;
/// Of the order of the variances.
pub const EPS: f64 = 0.125;

impl Case {
    /// The problem in training mode, without what depends on the tensors.
    pub fn problem(&self) -> ProblemBuilder {
        let [depth, height, width] = self.extents;
        let input = Shape5 { batch: self.batch, channels: self.in_channels, depth, height, width };
        let [depth, height, width] = self.taps;
        let (in_channels, out_channels) = (self.in_channels, self.out_channels);
        let kernel = KernelShape { in_channels, out_channels, depth, height, width };
        Problem::builder(input, kernel).scale_factor(SCALE).eps(EPS)
    }

    /// Draw `n` of the case: multiples of 2⁻⁸ in [−1, 1].
    fn values(&self, n: u64, len: usize) -> Vec<f64> {
        let draw = Draw { seed: self.seed.wrapping_add(n << 32), lo: -256.0, hi: 256.0 };
        (0..len).map(|i| f64::from(draw.value(i as u64)).round() / 256.0).collect()
    }

    pub fn input(&self, n: u64) -> Array5<f64> {
        let [depth, height, width] = self.extents;
        let shape = (self.batch, self.in_channels, depth, height, width);
        let len = self.batch * self.in_channels * depth * height * width;
        Array5::from_shape_vec(shape, self.values(n, len)).expect("values of the shape")
    }

    /// None is 0: a channel of one weight would be constant, and its normalisation the rounding of its mean.
    pub fn kernel(&self, n: u64) -> Array5<f64> {
        let [depth, height, width] = self.taps;
        let shape = (self.in_channels, self.out_channels, depth, height, width);
        let len = self.in_channels * self.out_channels * depth * height * width;
        let values = self.values(n, len).into_iter().map(|v| if v == 0.0 { 1.0 / 256.0 } else { v }).collect();
        Array5::from_shape_vec(shape, values).expect("values of the shape")
    }

    fn vector(&self, n: u64) -> Array1<f64> {
        self.values(n, self.out_channels).into()
    }

    /// All tensors; γ in ±[0.5, 1], so that every channel shows; the running variance in [0.5, 1.5].
    pub fn tensors(&self) -> Tensors<f64> {
        Tensors {
            input: self.input(1),
            kernel: self.kernel(2),
            conv_bias: Some(self.vector(3)),
            bn_weight: Some(self.vector(4).mapv(|v| v / 2.0 + 0.5f64.copysign(v))),
            bn_bias: Some(self.vector(5)),
            running_mean: Some(self.vector(6)),
            running_var: Some(self.vector(7).mapv(|v| 1.0 + v / 2.0)),
        }
    }

    /// A random order of `n` things.
    pub fn order(&self, n: usize) -> Vec<usize> {
        let keys = self.values(8, n);
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|&a, &b| keys[a].total_cmp(&keys[b]));
        order
    }
}
