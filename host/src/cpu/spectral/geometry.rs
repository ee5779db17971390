//! Which axes are transformed, in what order, and how frequencies are weighed.
//!
//! ```text
//! N = D + K − 1 along an axis whose K > 1; an axis with K = 1 stays in space, its positions like samples of the batch
//! M = 2K − 1: points of the grid that holds all that the taps can ask of an axis
//! ```
//! Axes are ordered outer, middle, inner. Along the inner one, which is transformed if any is, the spectrum of what is
//! real is stored for 0 ≤ f ≤ N/2. Where no axis is transformed, two neighbours of the inner axis make one complex value:
//! |a + ib|² is a² + b².

use std::f64::consts::PI;

use crate::Error;
use crate::cpu::simd::Real;
use crate::memory;
use crate::problem::Problem;

/// The product, or as much as can be counted: more than any memory has.
pub fn saturating(factors: &[usize]) -> usize {
    factors.iter().fold(1, |product: usize, &factor| product.saturating_mul(factor))
}

/// One axis of the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axis {
    /// D: extent of the input.
    pub extent: usize,
    /// K: extent of the kernel.
    pub taps: usize,
    /// N: extent of the output, and length of the transform.
    pub n: usize,
    /// Elements from one position of the input to the next.
    pub stride: usize,
    /// Elements from one tap to the next.
    pub tap_stride: usize,
}

impl Axis {
    /// Whether it is transformed: else positions along it stay apart.
    pub fn is_transformed(&self) -> bool {
        self.taps > 1
    }

    /// M: points of the grid.
    pub fn grid(&self) -> usize {
        2 * self.taps - 1
    }

    /// Frequencies (or positions) at which the mean over the volume is found.
    pub fn means(&self) -> usize {
        if self.is_transformed() { 1 } else { self.n }
    }

    /// The Dirichlet kernel of lags |l| < K, (f, g), times `weight(f)`: 1 + 2 Σ cos(l·a) = sin(M·a/2) / sin(a/2) at
    /// a = 2πf/N − 2πg/M.
    fn kernel<R: Real>(&self, frequencies: usize, weight: impl Fn(usize) -> f64) -> Result<Vec<R>, Error> {
        let value = |f: usize, g: usize| {
            // a/2 is π·step/(N·M); steps are reduced as integers, so that nothing is lost.
            let (n, m) = (self.n as i128, self.grid() as i128);
            let step = f as i128 * m - g as i128 * n;
            let sine = |step: i128, of: i128| (PI * step.rem_euclid(2 * of) as f64 / of as f64).sin();
            let kernel = if step.rem_euclid(n * m) == 0 { m as f64 } else { sine(step, n) / sine(step, n * m) };
            weight(f) * kernel
        };
        let pairs = (0..frequencies).flat_map(|f| (0..self.grid()).map(move |g| (f, g)));
        let mut values = memory::try_with_capacity("a table of the grid", saturating(&[frequencies, self.grid()]))?;
        values.extend(pairs.map(|(f, g)| R::from_f64(value(f, g))));
        Ok(values)
    }

    /// The kernel over all N frequencies; 1 for each position of an axis that is not transformed.
    pub fn whole_kernel<R: Real>(&self) -> Result<Vec<R>, Error> {
        self.kernel(self.n, |_| 1.0)
    }
}

/// The axes of a problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Geometry {
    pub outer: Axis,
    pub middle: Axis,
    pub inner: Axis,
}

impl Geometry {
    pub fn of(problem: &Problem) -> Geometry {
        let ([d, h, w], [kd, kh, kw]) = (problem.input().spatial(), problem.kernel().spatial());
        let n = problem.output_extents();
        let axis = |i: usize, stride, tap_stride| Axis {
            extent: [d, h, w][i],
            taps: [kd, kh, kw][i],
            n: n[i],
            stride,
            tap_stride,
        };
        let axes = [axis(0, h * w, kh * kw), axis(1, w, kw), axis(2, 1, 1)];
        let inner = axes.iter().rposition(Axis::is_transformed).unwrap_or(2);
        let mut others = (0..3).filter(|&i| i != inner).map(|i| axes[i]);
        let (Some(a), Some(b)) = (others.next(), others.next()) else { unreachable!("two of three axes") };
        // Planes of the outer axis are dealt to threads: a single one would leave them idle.
        let (outer, middle) = if a.n > 1 { (a, b) } else { (b, a) };
        Geometry { outer, middle, inner: axes[inner] }
    }

    /// Values stored along the inner axis.
    pub fn stored(&self) -> usize {
        if self.inner.is_transformed() { self.inner.n / 2 + 1 } else { self.inner.n.div_ceil(2) }
    }

    /// Complex values stored of a plane of the outer axis.
    pub fn plane(&self) -> usize {
        saturating(&[self.middle.n, self.stored()])
    }

    /// Taps of a pair of channels.
    pub fn taps(&self) -> usize {
        saturating(&[self.outer.taps, self.middle.taps, self.inner.taps])
    }

    /// Values of all tables of the grid.
    pub fn tables(&self) -> usize {
        let inner = saturating(&[self.stored(), self.inner.grid()]);
        [self.outer, self.middle].iter().fold(inner, |sum, axis| sum.saturating_add(saturating(&[axis.n, axis.grid()])))
    }

    /// Product of the transforms' lengths: what Parseval divides by.
    pub fn transformed(&self) -> usize {
        [self.outer, self.middle, self.inner].iter().filter(|axis| axis.is_transformed()).map(|axis| axis.n).product()
    }

    /// Points of the grid.
    pub fn grid(&self) -> usize {
        saturating(&[self.outer.grid(), self.middle.grid(), self.inner.grid()])
    }

    /// Points of the half of the grid that is stored: inner coordinates 0 ≤ g < K.
    pub fn half_grid(&self) -> usize {
        saturating(&[self.outer.grid(), self.middle.grid(), self.inner.taps])
    }

    /// The inner axis's kernel, (f, g), with the weight of each stored value: half of how often it counts, since the grid adds
    /// to each of its points the conjugate of the opposite one.
    pub fn inner_kernel<R: Real>(&self) -> Result<Vec<R>, Error> {
        let n = self.inner.n;
        let weight = |f: usize| match self.inner.is_transformed() {
            true if f == 0 || 2 * f == n => 0.5,
            true => 1.0,
            false => 0.5,
        };
        self.inner.kernel(self.stored(), weight)
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;
    use crate::problem::{KernelShape, Shape5};

    fn geometry([depth, height, width]: [usize; 3], [kd, kh, kw]: [usize; 3]) -> Geometry {
        let input = Shape5 { batch: 2, channels: 1, depth, height, width };
        let kernel = KernelShape { in_channels: 1, out_channels: 1, depth: kd, height: kh, width: kw };
        Geometry::of(&Problem::builder(input, kernel).build().unwrap())
    }

    #[test]
    fn the_inner_axis_is_the_last_that_is_transformed() {
        let inner = |extents, taps| geometry(extents, taps).inner.stride;
        assert_eq!(inner([4, 5, 6], [3, 3, 3]), 1);
        assert_eq!(inner([4, 5, 6], [3, 3, 1]), 6);
        assert_eq!(inner([4, 5, 6], [3, 1, 1]), 30);
        assert_eq!(inner([4, 5, 6], [1, 1, 1]), 1);
        let images = geometry([1, 64, 64], [1, 5, 5]);
        assert_eq!((images.outer.n, images.middle.n, images.inner.n), (68, 1, 68));
        assert_eq!((images.stored(), images.transformed(), images.grid(), images.half_grid()), (35, 68 * 68, 81, 45));
        let points = geometry([3, 4, 5], [1, 1, 1]);
        assert_eq!((points.stored(), points.transformed(), points.grid()), (3, 1, 1));
    }

    /// Σ_f kernel(f, g)·e^{2πi·lf/N} is e^{2πi·lg/M}·N for |l| < K: what the lags see on either grid.
    #[test]
    fn kernels_carry_lags_from_one_grid_to_the_other() {
        let axis = geometry([1, 1, 7], [1, 1, 4]).inner;
        let kernel: Vec<f64> = axis.whole_kernel().unwrap();
        let m = axis.grid();
        for (lag, g) in (0..axis.taps).flat_map(|lag| (0..m).map(move |g| (lag, g))) {
            let cosine = |f: usize| (TAU * (lag * f) as f64 / axis.n as f64).cos();
            let sum: f64 = (0..axis.n).map(|f| kernel[f * m + g] * cosine(f)).sum();
            let expected = axis.n as f64 * (TAU * (lag * g) as f64 / m as f64).cos();
            assert!((sum - expected).abs() < 1e-11, "{lag} {g}: {sum} {expected}");
        }
    }
}
