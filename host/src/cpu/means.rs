//! Means of the convolution, without the convolution.
//!
//! ```text
//! m[b,c] = (1/P) Σ_ci Sx[b,ci]·Sw[ci,c]        Sx = Σ x over space, Sw = Σ w over taps; no bias here
//! ```
//! With stride 1 and no padding every input element meets every tap exactly once.
//! What outputs need is m − μ, which may be 1e-4 of m: Sx is centred over the batch first, so that the
//! common mean cancels exactly instead of numerically, and equal samples deviate by exactly 0.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, Array2, Axis, Zip};
use rayon::prelude::*;

use super::{Operands, matrix, nonfinite};
use crate::Error;
use crate::element::Element;
use crate::memory;
use crate::problem::Problem;

/// Below this many values a sum is taken in one go.
const RUN: usize = 1024;

/// Sx and Sw.
pub(super) struct Sums {
    /// (B, Cin), over space.
    pub x: Array2<f64>,
    /// (Cin, Cout), over taps.
    pub w: Array2<f64>,
}

impl Sums {
    pub fn of<T: Element>(operands: &Operands<'_, T>) -> Result<Sums, Error> {
        let problem = operands.problem;
        let (batch, ci, co) = (problem.batch(), problem.in_channels(), problem.out_channels());
        Ok(Sums {
            x: rows_summed(&operands.x, problem.input_volume(), [batch, ci])?,
            w: rows_summed(&operands.w, problem.taps(), [ci, co])?,
        })
    }

    /// Whether every sum is finite; then every element is.
    pub fn all_finite(&self) -> bool {
        self.x.iter().chain(&self.w).all(|sum| sum.is_finite())
    }
}

/// Means of the batch: the common one, and how each sample differs from it.
pub(super) struct CentredMeans {
    /// μ[c].
    pub mean: Array1<f64>,
    /// m[b,c] − μ[c], (B, Cout).
    pub deviation: Array2<f64>,
}

impl CentredMeans {
    /// Where a non-finite value reaches a channel, its mean is what the definition gives, and its
    /// deviations are not finite either: they are sums over what is infinite or NaN.
    pub fn of<T: Element>(operands: &Operands<'_, T>, sums: &Sums) -> Result<CentredMeans, Error> {
        let mut centred = matrix("centred sums", sums.x.nrows(), sums.x.ncols(), 0.0)?;
        let mean_x = centre(&sums.x, &mut centred);
        let p = operands.problem.positions() as f64;
        let mut mean = mean_x.dot(&sums.w) / p;
        let deviation = product(operands.problem, &centred, &sums.w)?;
        if !sums.all_finite() {
            let samples = sample_means(operands, sums)?;
            for (mean, samples) in mean.iter_mut().zip(samples.axis_iter(Axis(1))) {
                if samples.iter().any(|m| !m.is_finite()) {
                    *mean = samples.sum() / samples.len() as f64;
                }
            }
        }
        Ok(CentredMeans { mean, deviation })
    }
}

/// m[b,c] as it stands, (B, Cout), non-finite where the definition is.
pub(super) fn sample_means<T: Element>(operands: &Operands<'_, T>, sums: &Sums) -> Result<Array2<f64>, Error> {
    let mut means = product(operands.problem, &sums.x, &sums.w)?;
    if !sums.all_finite() {
        nonfinite::correct(operands, &mut means)?;
    }
    Ok(means)
}

/// Bytes: sums, centred sums, deviations, and the outputs they lead to.
pub(super) fn workspace_bytes(problem: &Problem) -> u64 {
    let (batch, ci, co) = (problem.batch(), problem.in_channels(), problem.out_channels());
    (2 * (batch * ci) as u64 + (ci * co) as u64 + (batch * co) as u64).saturating_mul(8)
}

/// (1/P)·x·w.
fn product(problem: &Problem, x: &Array2<f64>, w: &Array2<f64>) -> Result<Array2<f64>, Error> {
    let mut means = matrix("means", x.nrows(), w.ncols(), 0.0)?;
    general_mat_mul(1.0 / problem.positions() as f64, x, w, 0.0, &mut means);
    Ok(means)
}

/// Writes `x` less its mean row into `centred`, and returns that mean. The first row is taken off before
/// the mean is: equal rows become exactly 0.
fn centre(x: &Array2<f64>, centred: &mut Array2<f64>) -> Array1<f64> {
    let first = x.row(0);
    let mut mean = Array1::zeros(x.ncols());
    for (row, mut shifted) in x.outer_iter().zip(centred.outer_iter_mut()) {
        Zip::from(&mut shifted).and(&row).and(&first).for_each(|s, &x, &first| *s = x - first);
        mean += &shifted;
    }
    mean /= x.nrows() as f64;
    *centred -= &mean;
    mean + first
}

/// The sum of each run of `len` values.
fn rows_summed<T: Element>(values: &[T], len: usize, shape: [usize; 2]) -> Result<Array2<f64>, Error> {
    let mut sums = memory::try_with_capacity("sums", shape[0] * shape[1])?;
    values.par_chunks_exact(len).map(sum).collect_into_vec(&mut sums);
    Ok(memory::in_shape(ndarray::Dim(shape), sums))
}

/// Pairwise over runs, eight accumulators in a run: the error grows with the logarithm of the length.
fn sum<T: Element>(values: &[T]) -> f64 {
    if values.len() > RUN {
        let (a, b) = values.split_at(values.len() / 2);
        return sum(a) + sum(b);
    }
    let (eights, rest) = values.as_chunks::<8>();
    let mut lanes = [0.0; 8];
    for eight in eights {
        for (lane, value) in lanes.iter_mut().zip(eight) {
            *lane += value.to_f64();
        }
    }
    let tail: f64 = rest.iter().map(|value| value.to_f64()).sum();
    lanes.iter().sum::<f64>() + tail
}

/// m[b,c] of a block, for the variance.
pub(super) fn mean_of(means: &CentredMeans, b: usize, c: usize) -> f64 {
    means.mean[c] + means.deviation[[b, c]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn sums_are_those_of_integers() {
        for len in [0, 1, 7, 8, 9, 1023, 1024, 1025, 5000] {
            let values: Vec<f32> = (0..len).map(|i| i as f32).collect();
            assert_eq!(sum(&values), (0..len).sum::<usize>() as f64, "{len}");
        }
    }

    #[test]
    fn equal_rows_are_centred_to_nothing() {
        let x = array![[0.1, 7e8], [0.1, 7e8], [0.1, 7e8]];
        let mut centred = Array2::from_elem((3, 2), f64::NAN);
        assert_eq!(centre(&x, &mut centred), array![0.1, 7e8]);
        assert_eq!(centred, Array2::<f64>::zeros((3, 2)));
    }

    #[test]
    fn rows_are_centred_about_their_mean() {
        let x = array![[1.0, 1e9], [2.0, 1e9 + 3.0], [6.0, 1e9 + 6.0]];
        let mut centred = Array2::zeros((3, 2));
        assert_eq!(centre(&x, &mut centred), array![3.0, 1e9 + 3.0]);
        assert_eq!(centred, array![[-2.0, -3.0], [-1.0, 0.0], [3.0, 3.0]]);
    }
}
