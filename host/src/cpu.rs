//! The CPU backend: means without a convolution, the variance by energies of spectra or by matrix products.
//!
//! ```text
//! m[b,c]   = conv_bias[c] + (1/P) Σ_ci Sx[b,ci]·Sw[ci,c]                (means)
//! σ²[c]    = (1/(B·P)) { Σ_{b,p} (z − m[b,c])² + P Σ_b (m[b,c] − μ[c])² }   (spectral or direct)
//! out[b,c] = γ[c]·s·(m[b,c] − μ[c])/√(s²·σ²[c] + ε) + β[c]
//! ```
//! Means are in `f64` always. The sum of squares is in the tensors' own type with `f64` sums at the end, in strict
//! precision in `f64` throughout. With stride, dilation and groups the spectral way takes the convolution apart (plain); with
//! padding, which cuts positions off, only the direct way is left. In eval mode with running statistics only m is needed and the rest is left out.
//!
//! Results have the same bits on every run and with any number of threads: work is cut by the problem's shape and the
//! width of the processor's vectors, and partial sums are merged in a fixed order.
//! NaN and infinity come out in the channels they reach, as from the definition.

mod boxes;
mod direct;
mod means;
mod nonfinite;
mod plain;
mod simd;
mod spectral;
mod stages;
mod tasks;
mod watch;

use std::borrow::Cow;

use ndarray::{Array1, Array2, Array5, ArrayView1, ArrayView5, Axis};

use crate::Error;
use crate::batch_norm::{Channel, Moments, inverse_std};
use crate::element::{DType, Element};
use crate::memory;
use crate::plan::{Algorithm, Ineligible, Precision};
use crate::problem::Problem;
use crate::tensors::{Inputs, Outputs, widen1};
use means::{CentredMeans, Sums};
use simd::Real;
pub use stages::Stage;
use stages::{Stages, Work};
pub use watch::Watch;

/// Spectral sums in `f32` that lose more than this factor to cancellation are done again in `f64`. Rounding errors are some
/// 1e-7 of a variance that does not cancel at all, and 1e-5 is allowed.
const WORST_CONDITION: f64 = 30.0;

/// How to compute what needs a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// [`Algorithm::Spectral`] or [`Algorithm::Direct`].
    pub algorithm: Algorithm,
    /// In the tensors' type, or in `f64`.
    pub precision: Precision,
    /// Bytes that the spectral way may take beside the tensors: it cuts its work to stay within them.
    pub workspace_budget: u64,
}

/// Bytes of workspace that the spectral way takes at most, unless the caller says otherwise: KernelBench 77 takes a fortieth,
/// and most of it is scratch of threads where volumes are large.
pub const WORKSPACE_BUDGET: u64 = 4 << 30;

/// Computes all outputs; they are not rounded to the tensors' type yet.
///
/// Progress counts blocks of the sums of squares; where they are not needed there is none.
///
/// # Errors
/// [`Error::Input`], [`Error::Memory`], [`Error::Cancelled`], [`Error::Unsupported`] for a stride past what can be listed, and
/// [`Error::Ineligible`] for a way that is none for the problem, or whose budget is too small.
pub fn run<T: Element>(
    problem: &Problem,
    inputs: &Inputs<'_, T>,
    way: Way,
    watch: Watch<'_>,
) -> Result<(Outputs<f64>, Vec<Stage>), Error> {
    inputs.check(problem)?;
    check_phases(problem)?;
    if way.algorithm == Algorithm::Spectral {
        spectral_eligible(problem).map_err(Error::Ineligible)?;
    }
    let operands = Operands {
        problem,
        x: in_standard_layout("input in C order", inputs.input)?,
        w: in_standard_layout("kernel in C order", inputs.kernel)?,
    };
    let elements = (operands.x.len() + operands.w.len()) as u64;
    let bytes = elements.saturating_mul(T::DTYPE.bytes() as u64);
    let mut stages = Stages::default();
    let sums = stages.time("sums", Work { bytes, flops: elements.saturating_mul(3) }, || Sums::of(&operands))?;
    let outputs = match problem.uses_batch_statistics() {
        true => by_batch_statistics(&operands, inputs, &sums, way, watch, &mut stages)?,
        false => by_running_statistics(&operands, inputs, &sums)?,
    };
    Ok((outputs, stages.into()))
}

/// Phases of an axis at most.
const MOST_PHASES: usize = 1 << 20;

/// Whether the phases of every axis can be listed: before tensors are there, any sizes may be asked about.
///
/// # Errors
/// [`Error::Unsupported`] with the stride.
pub(crate) fn check_phases(problem: &Problem) -> Result<(), Error> {
    let axes = problem.axes();
    match axes.into_iter().zip(problem.convolution().stride).find(|(axis, _)| axis.most_phases() > MOST_PHASES) {
        Some((axis, stride)) => Err(Error::Unsupported {
            option: "stride",
            found: format!("{stride} over {} taps", axis.taps),
            device: "cpu".to_owned(),
            supported: "the lesser of the two may be at most 2^20",
        }),
        None => Ok(()),
    }
}

/// Whether the energies of spectra are those of the convolution: where nothing is cut off, or where they are not needed.
///
/// # Errors
/// The padding, or the dilation or stride that make too large kernels or too many of them.
pub(crate) fn spectral_eligible(problem: &Problem) -> Result<(), Ineligible> {
    if plain::is_possible(problem) || !problem.uses_batch_statistics() {
        return Ok(());
    }
    Ineligible::first_option(problem).map_or(Ok(()), Err)
}

/// Bytes a run takes beside its tensors at most, with so many threads. What is done again in `f64` is counted.
///
/// # Errors
/// The bytes that the spectral way's budget would have to hold, where that is more than it does.
pub(crate) fn workspace_bytes(problem: &Problem, dtype: DType, way: Way, threads: usize) -> Result<u64, u64> {
    let means = means::workspace_bytes(problem);
    let narrow = dtype != DType::F64 && way.precision == Precision::Default;
    let squares = match (problem.uses_batch_statistics(), way.algorithm) {
        (false, _) => 0,
        (true, Algorithm::Spectral) => {
            let budget = way.workspace_budget.saturating_sub(means);
            let wide = plain::workspace_bytes::<f64>(problem, budget, threads);
            let narrow = if narrow { plain::workspace_bytes::<f32>(problem, budget, threads) } else { Ok(0) };
            match (wide, narrow) {
                (Ok(wide), Ok(narrow)) => wide.max(narrow),
                (wide, narrow) => return Err(means.saturating_add(wide.err().max(narrow.err()).unwrap_or(0))),
            }
        }
        (true, _) => direct::workspace_bytes::<f64>(problem, threads),
    };
    Ok(means.saturating_add(squares))
}

/// The refusal of a budget.
fn too_little(needed: u64, budget: u64) -> Error {
    Error::Ineligible(Ineligible::Workspace { needed, budget })
}

/// A problem and its two large tensors, in C order.
struct Operands<'a, T: Element> {
    problem: &'a Problem,
    /// (B, Cin, D, H, W).
    x: Cow<'a, [T]>,
    /// (Cin, Cout / groups, Kd, Kh, Kw).
    w: Cow<'a, [T]>,
}

fn by_batch_statistics<T: Element>(
    operands: &Operands<'_, T>,
    inputs: &Inputs<'_, T>,
    sums: &Sums,
    way: Way,
    watch: Watch<'_>,
    stages: &mut Stages,
) -> Result<Outputs<f64>, Error> {
    let problem = operands.problem;
    let means = CentredMeans::of(operands, sums)?;
    let squares = sums_of_squares(operands, &means, sums, way, watch, stages)?;

    let (s, p, n) = (problem.scale_factor(), problem.positions() as f64, problem.values_per_channel() as f64);
    let mut output = output_array(problem)?;
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
            *out = factor * (s * (deviation + bias_left)) + channel.beta;
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

/// Σ_{b,p} (z − m[b,c])², for each channel.
fn sums_of_squares<T: Element>(
    operands: &Operands<'_, T>,
    means: &CentredMeans,
    sums: &Sums,
    way: Way,
    watch: Watch<'_>,
    stages: &mut Stages,
) -> Result<Array1<f64>, Error> {
    if T::DTYPE == DType::F32 && way.precision == Precision::Default {
        let (squares, condition) = in_precision::<T, f32>(operands, means, sums, way, watch, stages)?;
        // What is past `f32` on the way is not past f64. NaN that was given stays NaN there.
        let lost = condition > WORST_CONDITION || squares.iter().any(|square| !square.is_finite());
        if !(lost && sums.all_finite()) {
            return Ok(squares);
        }
    }
    in_precision::<T, f64>(operands, means, sums, way, watch, stages).map(|(squares, _)| squares)
}

/// Sums of squares in the precision of `R`, and by how much they cancel.
fn in_precision<T: Element, R: Real>(
    operands: &Operands<'_, T>,
    means: &CentredMeans,
    sums: &Sums,
    way: Way,
    watch: Watch<'_>,
    stages: &mut Stages,
) -> Result<(Array1<f64>, f64), Error> {
    if way.algorithm == Algorithm::Spectral {
        let budget = way.workspace_budget.saturating_sub(means::workspace_bytes(operands.problem));
        let energies = plain::sum_of_squares::<T, R>(operands, means, sums, budget, watch)?;
        stages.extend(energies.stages);
        return Ok((energies.squares.into(), energies.condition));
    }
    let work = Work {
        bytes: (operands.x.len() + operands.w.len()) as u64 * T::DTYPE.bytes() as u64,
        flops: (2.0 * direct::operations(operands.problem)) as u64,
    };
    let squares = stages.time("convolution", work, || direct::sum_of_squares::<T, R>(operands, means, watch))?;
    // z is rounded relative to what it is summed from, means and all.
    let condition = sums.cancelled(&sums.squares, squares.as_slice().unwrap_or_default())?.sqrt();
    Ok((squares, condition))
}

/// Seconds that a way is expected to take on one thread, before it has run.
///
/// Rates were measured on a Xeon (Sapphire Rapids) with AVX-512; they are right to a factor of two or so, and the ways differ
/// by more wherever it matters.
pub(crate) fn seconds(problem: &Problem, dtype: DType, way: Way) -> f64 {
    // Vectors multiplied and added a second, and scalars by `direct`.
    const SPECTRAL: f64 = 1.0e9;
    const DIRECT: [f64; 2] = [30e9, 13e9];
    // Of each group's phases: tables, tasks and sums of their own.
    const LAUNCH: f64 = 50e-6;
    let wide = dtype == DType::F64 || way.precision == Precision::Strict;
    if way.algorithm != Algorithm::Spectral {
        return direct::operations(problem) / DIRECT[usize::from(wide)];
    }
    let budget = way.workspace_budget.saturating_sub(means::workspace_bytes(problem));
    let (launches, operations) = match wide {
        true => plain::operations::<f64>(problem, budget),
        false => plain::operations::<f32>(problem, budget),
    };
    launches * LAUNCH + operations / SPECTRAL
}

fn by_running_statistics<T: Element>(
    operands: &Operands<'_, T>,
    inputs: &Inputs<'_, T>,
    sums: &Sums,
) -> Result<Outputs<f64>, Error> {
    let problem = operands.problem;
    let means = means::sample_means(operands, sums)?;
    let mut output = output_array(problem)?;
    for (c, mut column) in output.axis_iter_mut(Axis(1)).enumerate() {
        let channel = Channel::of(inputs, c);
        // `Inputs::check` saw to it that they are there.
        let running = channel.running.expect("running statistics");
        let factor = channel.gamma * inverse_std(running.var, problem.eps());
        for (out, mean) in column.iter_mut().zip(means.column(c)) {
            let mean = problem.scale_factor() * (mean + channel.conv_bias);
            *out = factor * (mean - running.mean) + channel.beta;
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

fn output_array(problem: &Problem) -> Result<Array2<f64>, Error> {
    matrix("the output", problem.batch(), problem.out_channels(), 0.0)
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
