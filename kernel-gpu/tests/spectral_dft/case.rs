//! The cases: extents, and the values of x.

use kernel_gpu::conv_shape::ConvShape;
use kernel_gpu::element::ElementType;
use kernel_gpu::spectrum::Spectrum;

use crate::tensors;

/// One launch.
#[derive(Clone, Debug)]
pub struct Case {
    pub spectrum: Spectrum,
    /// The range that x is drawn from.
    pub values: (f64, f64),
    /// Blocks of every launch, at most.
    pub blocks: u32,
    /// What x is stored in.
    pub element: ElementType,
}

impl Case {
    /// Two images of three channels (so that rows and volumes differ), values about a mean.
    pub fn new(input: [u32; 3], kernel: [u32; 3]) -> Self {
        let shape = ConvShape { batch: 2, in_channels: 3, out_channels: 1, input, kernel };
        Self { spectrum: Spectrum { shape, all_strict: 0 }, values: (-0.5, 1.0), blocks: 2, element: ElementType::F32 }
    }

    pub fn values(self, low: f64, high: f64) -> Self {
        Self { values: (low, high), ..self }
    }

    pub fn all_strict(mut self) -> Self {
        self.spectrum.all_strict = 1;
        self
    }

    /// One volume only: the large shapes.
    pub fn single(mut self) -> Self {
        (self.spectrum.shape.batch, self.spectrum.shape.in_channels) = (1, 1);
        self
    }

    /// x.
    pub fn input(&self) -> Vec<f32> {
        let shape = &self.spectrum.shape;
        let count = u64::from(self.spectrum.rows()) * shape.volume();
        let (low, high) = self.values;
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / f64::powi(2.0, 53)
        };
        (0..count).map(|_| tensors::rounded(low + (high - low) * uniform(), self.element)).collect()
    }

    /// (cos, sin)(π·m/N) of each axis, as the host makes them.
    pub fn twiddles(&self) -> Vec<f32> {
        let of = |n: u32| {
            (0..2 * n).flat_map(move |m| {
                let angle = std::f64::consts::PI * f64::from(m) / f64::from(n);
                [angle.cos() as f32, angle.sin() as f32]
            })
        };
        self.spectrum.n().into_iter().flat_map(of).collect()
    }
}
