//! The CPU backend: means without a convolution, the variance by matrix products, all in `f64`.
//!
//! ```text
//! m[b,c]   = conv_bias[c] + (1/P) Σ_ci Sx[b,ci]·Sw[ci,c]                (means)
//! σ²[c]    = (1/(B·P)) { Σ_{b,p} (z − m[b,c])² + P Σ_b (m[b,c] − μ[c])² }   (variance)
//! out[b,c] = γ[c]·s·(m[b,c] − μ[c])/√(s²·σ²[c] + ε) + β[c]
//! ```
//! In eval mode with running statistics only m is needed and nothing is convolved.
//!
//! Results have the same bits on every run and with any number of threads: work is cut by the problem's
//! shape alone, and partial sums are merged in a fixed order.
//! NaN and infinity come out in the channels they reach, as from the definition.

mod means;
mod nonfinite;
mod variance;

use std::borrow::Cow;

use ndarray::{Array2, Array5, ArrayView1, ArrayView5, Axis};

use crate::Error;
use crate::batch_norm::{Channel, Moments, inverse_std};
use crate::element::Element;
use crate::memory;
use crate::problem::Problem;
use crate::tensors::{Inputs, Outputs, Progress, widen1};
use means::{CentredMeans, Sums};

/// Computes all outputs.
///
/// Cost: where the batch's statistics are used about 2·B·Cin·Cout·Nw·D·H·taps flops, else the reading of
/// the tensors. Progress counts blocks of the convolution; without one there is none.
///
/// # Errors
/// [`Error::Input`] and [`Error::Memory`].
pub fn run<T: Element>(
    problem: &Problem,
    inputs: &Inputs<'_, T>,
    progress: Option<Progress<'_>>,
) -> Result<Outputs<T>, Error> {
    inputs.check(problem)?;
    let operands = Operands {
        problem,
        x: in_standard_layout("input in C order", inputs.input)?,
        w: in_standard_layout("kernel in C order", inputs.kernel)?,
    };
    let sums = Sums::of(&operands)?;
    match problem.uses_batch_statistics() {
        true => by_batch_statistics(&operands, inputs, &sums, progress),
        false => by_running_statistics(&operands, inputs, &sums),
    }
}

/// Bytes a run takes beside its tensors.
pub(crate) fn workspace_bytes(problem: &Problem, threads: usize) -> u64 {
    let means = means::workspace_bytes(problem);
    let variance = if problem.uses_batch_statistics() { variance::workspace_bytes(problem, threads) } else { 0 };
    means.saturating_add(variance)
}

/// A problem and its two large tensors, in C order.
struct Operands<'a, T: Element> {
    problem: &'a Problem,
    /// (B, Cin, D, H, W).
    x: Cow<'a, [T]>,
    /// (Cin, Cout, Kd, Kh, Kw).
    w: Cow<'a, [T]>,
}

fn by_batch_statistics<T: Element>(
    operands: &Operands<'_, T>,
    inputs: &Inputs<'_, T>,
    sums: &Sums,
    progress: Option<Progress<'_>>,
) -> Result<Outputs<T>, Error> {
    let problem = operands.problem;
    let means = CentredMeans::of(operands, sums)?;
    let squares = variance::sum_of_squares(operands, &means, progress)?;

    let (s, p, n) = (problem.scale_factor(), problem.positions() as f64, problem.values_per_channel() as f64);
    let mut output = output_array::<T>(problem)?;
    let mut statistics = Vec::with_capacity(problem.out_channels());
    for (c, mut column) in output.axis_iter_mut(Axis(1)).enumerate() {
        let channel = Channel::of(inputs, c);
        // The bias cancels in every deviation; one that is not finite does not.
        let bias_left = if channel.conv_bias.is_finite() { 0.0 } else { f64::NAN };
        let deviations = means.deviation.column(c);
        let between = deviations.fold(0.0, |sum, d| sum + d * d);
        let var = s * s * ((squares[c] + p * between) / n + bias_left);
        let batch = Moments { mean: s * (means.mean[c] + channel.conv_bias), var };
        let factor = channel.gamma * inverse_std(var, problem.eps());
        for (out, deviation) in column.iter_mut().zip(deviations) {
            *out = T::from_f64(factor * (s * (deviation + bias_left)) + channel.beta);
        }
        statistics.push((batch, channel.running_after(problem, Some(batch))));
    }
    let running = |get: fn(Moments) -> f64| statistics.iter().map(|&(_, r)| r.map(get)).collect::<Option<_>>();
    Ok(Outputs {
        batch_mean: Some(statistics.iter().map(|(batch, _)| batch.mean).collect()),
        batch_var: Some(statistics.iter().map(|(batch, _)| batch.var).collect()),
        running_mean: running(|r| r.mean),
        running_var: running(|r| r.var),
        output: pooled_shape(output),
    })
}

fn by_running_statistics<T: Element>(
    operands: &Operands<'_, T>,
    inputs: &Inputs<'_, T>,
    sums: &Sums,
) -> Result<Outputs<T>, Error> {
    let problem = operands.problem;
    let means = means::sample_means(operands, sums)?;
    let mut output = output_array::<T>(problem)?;
    for (c, mut column) in output.axis_iter_mut(Axis(1)).enumerate() {
        let channel = Channel::of(inputs, c);
        // `Inputs::check` saw to it that they are there.
        let running = channel.running.expect("running statistics");
        let factor = channel.gamma * inverse_std(running.var, problem.eps());
        for (out, mean) in column.iter_mut().zip(means.column(c)) {
            let mean = problem.scale_factor() * (mean + channel.conv_bias);
            *out = T::from_f64(factor * (mean - running.mean) + channel.beta);
        }
    }
    let as_given = |values: Option<ArrayView1<'_, T>>| values.map(widen1);
    Ok(Outputs {
        output: pooled_shape(output),
        batch_mean: None,
        batch_var: None,
        running_mean: as_given(inputs.running_mean),
        running_var: as_given(inputs.running_var),
    })
}

fn output_array<T: Element>(problem: &Problem) -> Result<Array2<T>, Error> {
    matrix("the output", problem.batch(), problem.out_channels(), T::from_f64(0.0))
}

fn pooled_shape<T>(output: Array2<T>) -> Array5<T> {
    output.insert_axis(Axis(2)).insert_axis(Axis(3)).insert_axis(Axis(4))
}

fn matrix<T: Clone>(what: &'static str, rows: usize, columns: usize, value: T) -> Result<Array2<T>, Error> {
    let values = memory::try_filled(what, rows * columns, value)?;
    Ok(memory::in_shape(ndarray::Dim([rows, columns]), values))
}

fn in_standard_layout<'a, T: Element>(what: &'static str, view: ArrayView5<'a, T>) -> Result<Cow<'a, [T]>, Error> {
    if let Some(slice) = view.to_slice() {
        return Ok(Cow::Borrowed(slice));
    }
    let mut copy = memory::try_with_capacity(what, view.len())?;
    copy.extend(view.iter().copied());
    Ok(Cow::Owned(copy))
}

#[cfg(test)]
mod tests;
