//! How far a result is from the truth, and how far it may be.
//!
//! ```text
//! error of an output = max(0, ‖out − expected‖ − u·‖expected‖) / ‖expected − β‖
//! error of a statistic = max|found − expected| / max|expected|
//! ```
//! Norms are over all (b, c); u is the unit roundoff of the output's own type. β is taken off because it
//! hides everything else: |out − β| is often 1e-3 of β, and an output of plain β passes an ordinary
//! tolerance. The rounding u·‖expected‖ is taken off because no stored output can be without it.
//! Where ‖expected − β‖ < 1e-12 (one sample, equal samples, scale 0) there is nothing to be relative
//! to: the error is then absolute and its bound [`ABSOLUTE_BOUND`].
//! NaN anywhere is an error of NaN, which passes no bound.

use ndarray::{ArrayView1, ArrayView5, Axis};

use crate::Error;
use crate::element::{DType, Storage};
use crate::plan::Algorithm;
use crate::problem::Problem;
use crate::reference;
use crate::tensors::{InputError, Inputs, Outputs, Progress};

/// Bound of an absolute error.
pub const ABSOLUTE_BOUND: f64 = 1e-6;

/// Below this ‖expected − β‖ counts as nothing.
const NOTHING: f64 = 1e-12;

/// The error of an output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OutputError {
    /// The error; NaN where a value is.
    pub value: f64,
    /// Whether it is absolute rather than relative to ‖expected − β‖.
    pub absolute: bool,
}

impl OutputError {
    /// The bound that applies: `relative`, or [`ABSOLUTE_BOUND`].
    pub fn bound(&self, relative: f64) -> f64 {
        if self.absolute { ABSOLUTE_BOUND } else { relative }
    }

    /// Whether the error is within its bound; NaN is not.
    pub fn passes(&self, relative: f64) -> bool {
        self.value <= self.bound(relative)
    }
}

/// The relative bound of outputs and statistics that `algorithm` computes from tensors of `dtype`.
pub fn bound(algorithm: Algorithm, dtype: DType) -> f64 {
    match (algorithm, dtype) {
        (Algorithm::Reference, _) => 1e-9,
        (_, DType::F64) => 1e-11,
        _ => 1e-5,
    }
}

/// The error of `output` by the rule above; `bn_bias` is β, 0 where not given.
///
/// # Errors
/// Arrays of different shapes.
pub fn output_error<T: Storage>(
    output: ArrayView5<'_, T>,
    expected: ArrayView5<'_, f64>,
    bn_bias: Option<ArrayView1<'_, T::Wide>>,
) -> Result<OutputError, InputError> {
    let beta = bn_bias.map(|beta| beta.mapv(Storage::to_f64));
    error_of_rounded(output.mapv(T::to_f64).view(), T::DTYPE, expected, beta.as_ref().map(|beta| beta.view()))
}

/// The same of an output that was rounded to `dtype` and is held in `f64`.
///
/// # Errors
/// Arrays of different shapes.
pub fn error_of_rounded(
    output: ArrayView5<'_, f64>,
    dtype: DType,
    expected: ArrayView5<'_, f64>,
    bn_bias: Option<ArrayView1<'_, f64>>,
) -> Result<OutputError, InputError> {
    let shape = |(b, c, d, h, w)| [b, c, d, h, w];
    let (found, wanted) = (shape(output.dim()), shape(expected.dim()));
    if found != wanted {
        return Err(InputError::Shape { tensor: "output", found, expected: wanted });
    }
    if let Some(beta) = bn_bias
        && beta.len() != wanted[1]
    {
        return Err(InputError::Length { tensor: "bn_bias", found: beta.len(), expected: wanted[1] });
    }
    let (mut difference, mut magnitude, mut effect) = (0.0, 0.0, 0.0);
    for (c, (out, expected)) in output.axis_iter(Axis(1)).zip(expected.axis_iter(Axis(1))).enumerate() {
        let beta = bn_bias.map_or(0.0, |beta| beta[c]);
        for (&out, &expected) in out.iter().zip(expected) {
            difference += (out - expected).powi(2);
            magnitude += expected.powi(2);
            effect += (expected - beta).powi(2);
        }
    }
    // Not `f64::max`, which would turn NaN into 0.
    let excess = difference.sqrt() - dtype.unit_roundoff() * magnitude.sqrt();
    let excess = if excess < 0.0 { 0.0 } else { excess };
    let absolute = effect.sqrt() < NOTHING;
    Ok(OutputError { value: if absolute { excess } else { excess / effect.sqrt() }, absolute })
}

/// max|found − expected| / max|expected|; absolute where all of `expected` is 0.
///
/// # Errors
/// Different lengths; `tensor` names the statistic.
pub fn statistic_error(
    tensor: &'static str,
    found: ArrayView1<'_, f64>,
    expected: ArrayView1<'_, f64>,
) -> Result<f64, InputError> {
    if found.len() != expected.len() {
        return Err(InputError::Length { tensor, found: found.len(), expected: expected.len() });
    }
    let largest = |values: &mut dyn Iterator<Item = f64>| {
        values.fold(0.0f64, |max, value| if value.abs() <= max || max.is_nan() { max } else { value.abs() })
    };
    let difference = largest(&mut found.iter().zip(expected).map(|(found, expected)| found - expected));
    let magnitude = largest(&mut expected.iter().copied());
    Ok(if magnitude == 0.0 { difference } else { difference / magnitude })
}

/// Output channels for which the definition is affordable: evenly spread, the first and the last among
/// them when there is more than one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampledReference {
    channels: Vec<usize>,
}

impl SampledReference {
    /// As many channels as cost at most `max_flops` by the definition, and at least one.
    pub fn new(problem: &Problem, max_flops: u128) -> SampledReference {
        let all = problem.out_channels();
        let each = problem.direct_flops() / all as u128;
        let count = usize::try_from(max_flops / each).unwrap_or(usize::MAX).clamp(1, all);
        let spread = |i: usize| (i as u128 * (all - 1) as u128 / (count - 1).max(1) as u128) as usize;
        SampledReference { channels: (0..count).map(spread).collect() }
    }

    /// The channels, ascending.
    pub fn channels(&self) -> &[usize] {
        &self.channels
    }

    /// Computes these channels by the definition.
    ///
    /// # Errors
    /// Those of [`reference::run`], and [`Error::Memory`] where the tensors do not fit in `f64`.
    pub fn run<T: Storage>(
        &self,
        problem: &Problem,
        inputs: &Inputs<'_, T>,
        progress: Option<Progress<'_>>,
    ) -> Result<Outputs<f64>, Error> {
        inputs.check(problem)?;
        let wide = inputs.to_f64()?;
        reference::run(problem, &wide.as_inputs(), Some(&self.channels), progress)
    }

    /// The error of a whole `output` over these channels, where `expected` is what [`run`](Self::run) gave.
    ///
    /// # Errors
    /// Shapes that do not belong together.
    pub fn error<T: Storage>(
        &self,
        output: ArrayView5<'_, T>,
        expected: &Outputs<f64>,
        bn_bias: Option<ArrayView1<'_, T::Wide>>,
    ) -> Result<OutputError, InputError> {
        let needed = self.channels.last().map_or(0, |last| last + 1);
        let short = |tensor, found| InputError::Length { tensor, found, expected: needed };
        if output.dim().1 < needed {
            return Err(short("output", output.dim().1));
        }
        if let Some(beta) = bn_bias.filter(|beta| beta.len() < needed) {
            return Err(short("bn_bias", beta.len()));
        }
        let output = output.select(Axis(1), &self.channels);
        let beta = bn_bias.map(|beta| beta.select(Axis(0), &self.channels));
        output_error(output.view(), expected.output.view(), beta.as_ref().map(|beta| beta.view()))
    }
}

#[cfg(test)]
mod tests;
