//! Means of the convolution, without the convolution.
//!
//! ```text
//! m[b,c] = (1/P) Σ_ci Sx[b,ci]·Sw[ci,c]        Sx = Σ x over space, Sw = Σ w over taps; ci in c's group; no bias here
//! ```
//! Without padding every input element meets every tap exactly once, whatever stride, dilation and output padding are. Where
//! padding cuts some of them off, a row is a channel and one of the [`Boxes`] in place of a channel.
//! What outputs need is m − μ, which may be 1e-4 of m: Sx is centred over the batch first, so that the
//! common mean cancels exactly instead of numerically, and equal samples deviate by exactly 0.

use ndarray::{Array1, Array2, ArrayView2, Axis, Zip};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::boxes::Boxes;
use super::{Operands, matrix, nonfinite};
use crate::Error;
use crate::element::Element;
use crate::memory;
use crate::problem::Problem;

/// Below this many values a sum is taken in one go.
const RUN: usize = 1024;

/// Sx and Sw.
pub(super) struct Sums {
    /// (B, rows), over the boxes of space.
    pub x: Array2<f64>,
    /// max |x| of each input channel; NaN and infinity count as nothing.
    pub largest: Vec<f64>,
    /// Σ x² of each input channel.
    pub squares: Array1<f64>,
    /// (rows, Cout / groups), over the taps of a class.
    pub w: Array2<f64>,
    /// Σ w² over taps, (Cin, Cout / groups).
    pub w_squares: Array2<f64>,
    /// max |w| over taps, (Cin, Cout / groups); NaN and infinity count as nothing.
    pub w_largest: Array2<f64>,
}

impl Sums {
    pub fn of<T: Element>(operands: &Operands<'_, T>) -> Result<Sums, Error> {
        let problem = operands.problem;
        let (batch, ci, co) = (problem.batch(), problem.in_channels(), problem.group_out_channels());
        let boxes = Boxes::of(problem)?;
        let x = Rows::summed(&operands.x, problem.input_volume())?;
        let w = Rows::summed(&operands.w, problem.taps())?;
        let matrix = |rows: usize, columns: usize, values| memory::in_shape(ndarray::Dim([rows, columns]), values);
        Ok(Sums {
            largest: (0..ci).map(|i| x.largest[i..].iter().step_by(ci).copied().fold(0.0, f64::max)).collect(),
            squares: (0..ci).map(|i| x.squares[i..].iter().step_by(ci).sum()).collect(),
            x: match boxes.is_whole(problem) {
                true => matrix(batch, ci, x.sums),
                false => boxes.sums_of_input(operands)?,
            },
            w: match boxes.is_whole(problem) {
                true => matrix(ci, co, w.sums),
                false => boxes.sums_of_kernel(operands)?,
            },
            w_squares: matrix(ci, co, w.squares),
            w_largest: matrix(ci, co, w.largest),
        })
    }

    /// By how much a channel's energy is below what its taps and the input have apart: the largest
    /// Σ_i ‖w[i,c]‖²·‖x[i]‖² / E[c], with ‖x[i]‖² given. Rounding errors of amplitudes grow by the square root of it. A channel
    /// whose taps are 0 is exact.
    ///
    /// # Errors
    /// [`Error::Memory`] where a value for each channel does not fit.
    pub fn cancelled(&self, of_inputs: &Array1<f64>, energies: &[f64]) -> Result<f64, Error> {
        let of_channel = |(&energy, &apart): (&f64, &f64)| if apart > 0.0 { apart / energy.max(0.0) } else { 0.0 };
        let apart = by_groups(1.0, of_inputs.view().insert_axis(Axis(0)), &self.w_squares, energies.len())?;
        Ok(energies.iter().zip(&apart).map(of_channel).fold(0.0, f64::max))
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
    /// Where a non-finite value reaches a channel, its mean is what the definition gives, and all its deviations are NaN: some z
    /// is what μ is, and ∞ − ∞ is NaN. The sums of centred x do not say so: (x − x̄)·∞ is an infinity of either sign.
    pub fn of<T: Element>(operands: &Operands<'_, T>, sums: &Sums) -> Result<CentredMeans, Error> {
        let mut centred = matrix("centred sums", sums.x.nrows(), sums.x.ncols(), 0.0)?;
        let mean_x = centre(&sums.x, &mut centred);
        let p = operands.problem.positions() as f64;
        let channels = operands.problem.out_channels();
        let mean = by_groups(1.0 / p, mean_x.view().insert_axis(Axis(0)), &sums.w, channels)?;
        let mut mean = mean.remove_axis(Axis(0));
        let mut deviation = by_groups(1.0 / p, centred.view(), &sums.w, channels)?;
        if !sums.all_finite() {
            let samples = sample_means(operands, sums)?;
            for (c, samples) in samples.axis_iter(Axis(1)).enumerate() {
                if samples.iter().any(|m| !m.is_finite()) {
                    mean[c] = samples.sum() / samples.len() as f64;
                    deviation.column_mut(c).fill(f64::NAN);
                }
            }
        }
        Ok(CentredMeans { mean, deviation })
    }
}

/// m[b,c] as it stands, (B, Cout), non-finite where the definition is.
pub(super) fn sample_means<T: Element>(operands: &Operands<'_, T>, sums: &Sums) -> Result<Array2<f64>, Error> {
    let problem = operands.problem;
    let mut means = by_groups(1.0 / problem.positions() as f64, sums.x.view(), &sums.w, problem.out_channels())?;
    if !sums.all_finite() {
        nonfinite::correct(operands, &mut means)?;
    }
    Ok(means)
}

/// Bytes: what is known of each row, sums, centred sums, deviations, and the outputs they lead to.
pub(super) fn workspace_bytes(problem: &Problem) -> u64 {
    let [batch, ci, co] = [problem.batch(), problem.in_channels(), problem.group_out_channels()].map(|n| n as u64);
    let boxes = ci.saturating_mul(Boxes::most(problem) as u64).saturating_mul(2 * batch + co);
    let rows = ci.saturating_mul(batch + co).saturating_mul((size_of::<RowSums>() + size_of::<f64>()) as u64);
    let outputs = batch.saturating_mul(problem.out_channels() as u64);
    boxes.saturating_add(outputs).saturating_mul(size_of::<f64>() as u64).saturating_add(rows)
}

/// factor·x·w, group by group: (.., Cout) of x (.., Cin·boxes) and w (Cin·boxes, Cout / groups). So few rows of x are not worth
/// copying w into a library's blocks.
fn by_groups(factor: f64, x: ArrayView2<'_, f64>, w: &Array2<f64>, channels: usize) -> Result<Array2<f64>, Error> {
    let mut products = matrix("means", x.nrows(), channels, 0.0)?;
    let (of_group, rows) = (w.ncols(), w.nrows() * w.ncols() / channels.max(1));
    let (Some(w), Some(places)) = (w.as_slice(), products.as_slice_mut()) else { unreachable!("in C order") };
    pulp::Arch::new().dispatch(|| {
        for (row, w) in w.chunks_exact(of_group.max(1)).enumerate() {
            let first = row / rows * of_group;
            for (x, places) in x.column(row).iter().zip(places.chunks_exact_mut(channels)) {
                places[first..][..of_group].iter_mut().zip(w).for_each(|(place, w)| *place += x * w);
            }
        }
        places.iter_mut().for_each(|place| *place *= factor);
    });
    Ok(products)
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

/// What is known of a row of values.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct RowSums {
    pub sum: f64,
    squares: f64,
    largest: f64,
}

/// What is known of many rows, one array for each: kernels have rows by the hundred thousand, which nobody should copy
/// again.
struct Rows {
    sums: Vec<f64>,
    squares: Vec<f64>,
    largest: Vec<f64>,
}

impl Rows {
    /// Of each run of `len` values.
    fn summed<T: Element>(values: &[T], len: usize) -> Result<Rows, Error> {
        // Zeros that no thread has touched yet: those that sum do.
        let zeros = || memory::try_zeroed("sums", values.len() / len);
        let mut rows = Rows { sums: zeros()?, squares: zeros()?, largest: zeros()? };
        let arch = pulp::Arch::new();
        let at_once = (RUN / len).max(1);
        let Rows { sums, squares, largest } = &mut rows;
        let pieces = sums.par_chunks_mut(at_once).zip(squares.par_chunks_mut(at_once));
        pieces.zip(largest.par_chunks_mut(at_once)).zip(values.par_chunks(at_once * len)).for_each(
            |(((sums, squares), largest), values)| {
                arch.dispatch(SomeRows { sums, squares, largest, values, len });
            },
        );
        Ok(rows)
    }
}

/// Rows to be summed with the processor's own vectors.
struct SomeRows<'a, T> {
    sums: &'a mut [f64],
    squares: &'a mut [f64],
    largest: &'a mut [f64],
    values: &'a [T],
    len: usize,
}

impl<T: Element> WithSimd for SomeRows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let places = self.sums.iter_mut().zip(self.squares).zip(self.largest);
        for (((row, squares), largest), values) in places.zip(self.values.chunks_exact(self.len)) {
            let found = sum(values);
            (*row, *squares, *largest) = (found.sum, found.squares, found.largest);
        }
    }
}

/// Pairwise over runs, 16 accumulators in a run: the error grows with the logarithm of the length. Squares and the largest
/// magnitude beside it.
#[inline(always)]
pub(super) fn sum<T: Element>(values: &[T]) -> RowSums {
    // Most rows are one run, such as the taps of a pair of channels: those need no counter.
    if values.len() <= RUN {
        return sum_of_run(values);
    }
    let (mut partial, mut total) = ([0.0; usize::BITS as usize], RowSums::default());
    // Runs are added like bits to a counter: a carry joins two sums over equally many.
    for (run, values) in values.chunks(RUN).enumerate() {
        let of_run = sum_of_run(values);
        total.largest = total.largest.max(of_run.largest);
        total.squares += of_run.squares;
        let carries = (run + 1).trailing_zeros() as usize;
        let mut joined = of_run.sum;
        for partial in &mut partial[..carries] {
            joined += *partial;
            *partial = 0.0;
        }
        partial[carries] = joined;
    }
    for partial in partial {
        total.sum += partial;
    }
    total
}

/// `largest`, or the magnitude of `value` if that is larger and finite; NaN is not.
#[inline(always)]
fn larger(largest: f64, value: f64) -> f64 {
    let magnitude = value.abs();
    let counts = (magnitude > largest) & (magnitude < f64::INFINITY);
    if counts { magnitude } else { largest }
}

/// 16 accumulators, added as a tree at the end.
#[inline(always)]
fn sum_of_run<T: Element>(values: &[T]) -> RowSums {
    const LANES: usize = 16;
    let (whole, rest) = values.as_chunks::<LANES>();
    let (mut sums, mut squares, mut largest) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
    let mut add = |values: [f64; LANES]| {
        for lane in 0..LANES {
            sums[lane] += values[lane];
            squares[lane] += values[lane] * values[lane];
            largest[lane] = larger(largest[lane], values[lane]);
        }
    };
    whole.iter().for_each(|values| add(values.map(|value| value.to_f64())));
    let mut alone = RowSums::default();
    match values.last_chunk::<LANES>() {
        // The rest with what is before it, which counts as 0 now: value by value, it would take most of the time of rows of a
        // few dozen.
        Some(last) => {
            let mut masked = [0.0; LANES];
            for lane in 0..LANES {
                let value = last[lane].to_f64();
                masked[lane] = if lane < LANES - rest.len() { 0.0 } else { value };
            }
            add(masked);
        }
        None => {
            for value in rest {
                let value = value.to_f64();
                alone.sum += value;
                alone.squares += value * value;
                alone.largest = larger(alone.largest, value);
            }
        }
    }
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            sums[lane] += sums[lane + half];
            squares[lane] += squares[lane + half];
            largest[lane] = larger(largest[lane], largest[lane + half]);
        }
        half /= 2;
    }
    RowSums {
        sum: sums[0] + alone.sum,
        squares: squares[0] + alone.squares,
        largest: larger(largest[0], alone.largest),
    }
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
        for len in [0usize, 1, 7, 8, 9, 31, 32, 33, 1023, 1024, 1025, 5000, 100_000] {
            let values: Vec<f32> = (0..len).map(|i| -(i as f32)).collect();
            let largest = len.saturating_sub(1) as f64;
            let found = sum(&values);
            assert_eq!((found.sum, found.largest), (-((0..len).sum::<usize>() as f64), largest), "{len}");
            let squares = (0..len).map(|i| (i * i) as f64).sum::<f64>();
            assert!((found.squares - squares).abs() <= 1e-12 * squares, "{len}");
        }
    }

    #[test]
    fn what_is_not_finite_is_not_the_largest() {
        let mut values = vec![0.5f32; 40];
        (values[3], values[33], values[34]) = (f32::INFINITY, f32::NAN, -2.0);
        assert_eq!(sum(&values).largest, 2.0);
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
