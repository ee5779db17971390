//! Strides, dilations and groups without padding, as plain convolutions whose energies add up.
//!
//! ```text
//! Σ_p (z − m)² = Σ_parts { Σ_p (z' − m')² + P'·(m' − m)² } + (P − Σ P')·m²          for each b and c
//! ```
//! A part is a group and a phase of each axis (`problem::Axis`): the taps that meet the same output positions, over the
//! group's input, are a convolution of stride 1; where its lag is above 1, the kernel has zeros between its taps. Each has all
//! of its output inside, P' positions with mean m'; on the others z is 0. Every term is positive: nothing cancels.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};

use ndarray::Array1;

use super::Operands;
use super::means::{self, CentredMeans, Sums, mean_of};
use super::simd::Real;
use super::spectral::{self, Energies};
use super::stages::Stages;
use super::watch::Watch;
use crate::Error;
use crate::element::Element;
use crate::memory;
use crate::problem::{KernelShape, Mode, Phase, Problem, Shape5};

/// Parts of a group at most: a transform for each of more would take longer than the convolution.
const MOST_PARTS: usize = 4096;
/// What a progress report counts for each part.
const PER_PART: u64 = 1000;

/// One group's share of some phases, as a convolution by itself.
struct Part {
    problem: Problem,
    phases: [Phase; 3],
}

/// The parts of a group, which are the same for all; `None` where there is padding, where they are too many, or where a kernel with
/// its zeros cannot be counted.
fn parts(problem: &Problem) -> Option<Vec<Part>> {
    let most = problem.axes().map(|axis| axis.most_phases()).into_iter().fold(1, usize::saturating_mul);
    if problem.convolution().padding != [0; 3] || most > MOST_PARTS {
        return None;
    }
    let [d, h, w] = problem.axes().map(|axis| axis.phases());
    let planes = d.flat_map(|d| h.clone().map(move |h| (d, h)));
    planes.flat_map(|(d, h)| w.clone().map(move |w| [d, h, w])).map(|phases| Part::of(problem, phases)).collect()
}

/// Whether there are such parts.
pub(super) fn is_possible(problem: &Problem) -> bool {
    is_plain(problem) || parts(problem).is_some()
}

fn is_plain(problem: &Problem) -> bool {
    problem.convolution().first_set().is_none()
}

/// Bytes beside the tensors that a run with so many threads takes, of `budget` at most.
///
/// # Errors
/// The bytes that would do, where those are more.
pub(super) fn workspace_bytes<R: Real>(problem: &Problem, budget: u64, threads: usize) -> Result<u64, u64> {
    if is_plain(problem) {
        return spectral::workspace_bytes::<R>(problem, budget, threads);
    }
    let (mut most, mut needed) = (0, None);
    for part in parts(problem).into_iter().flatten() {
        let copies = part.copies(problem);
        match spectral::workspace_bytes::<R>(&part.problem, budget.saturating_sub(copies), threads) {
            Ok(bytes) => most = most.max(copies.saturating_add(bytes)),
            Err(bytes) => needed = needed.max(Some(copies.saturating_add(bytes))),
        }
    }
    needed.map_or(Ok(most), Err)
}

/// Launches of spectral sums, and the vectors that they multiply and add.
pub(super) fn operations<R: Real>(problem: &Problem, budget: u64) -> (f64, f64) {
    if is_plain(problem) {
        return (1.0, spectral::operations::<R>(problem, budget));
    }
    let Some(parts) = parts(problem) else { return (1.0, f64::INFINITY) };
    let of_part = |part: &Part| spectral::operations::<R>(&part.problem, budget.saturating_sub(part.copies(problem)));
    let groups = problem.groups() as f64;
    (groups * parts.len() as f64, groups * parts.iter().map(of_part).sum::<f64>())
}

/// Σ_{b,p} (z[b,c,p] − m[b,c])² for each channel, in a workspace of at most `budget` bytes.
///
/// # Errors
/// [`Error::Ineligible`] where the budget is too small, [`Error::Memory`] where the workspace does not fit,
/// [`Error::Cancelled`].
pub(super) fn sum_of_squares<T: Element, R: Real>(
    operands: &Operands<'_, T>,
    means: &CentredMeans,
    sums: &Sums,
    budget: u64,
    watch: Watch<'_>,
) -> Result<Energies, Error> {
    let problem = operands.problem;
    if is_plain(problem) {
        return spectral::sum_of_squares::<T, R>(operands, sums, budget, watch);
    }
    let parts = parts(problem).unwrap_or_default();
    let outputs = problem.group_out_channels();
    let mut all = Energies { squares: vec![0.0; problem.out_channels()], condition: 0.0, stages: Stages::default() };
    let (total, begun) = ((problem.groups() * parts.len()) as u64 * PER_PART, AtomicU64::new(0));
    let progress = |done: u64, of: u64| {
        let done = begun.load(Ordering::Relaxed) + done * PER_PART / of.max(1);
        watch.progress.inspect(|report| report(done, total));
    };
    for group in 0..problem.groups() {
        let x = group_input(operands, group)?;
        let channels = group * outputs..(group + 1) * outputs;
        for part in &parts {
            let part_operands =
                Operands { problem: &part.problem, x: Cow::Borrowed(&x), w: part.kernel(operands, group)?.into() };
            let part_sums = Sums::of(&part_operands)?;
            let watch = Watch { progress: Some(&progress), ..watch };
            let energies = spectral::sum_of_squares::<T, R>(
                &part_operands,
                &part_sums,
                budget.saturating_sub(part.copies(problem)),
                watch,
            )?;
            let part_means = CentredMeans::of(&part_operands, &part_sums)?;
            for (c, square) in channels.clone().zip(energies.squares) {
                let apart = (0..problem.batch()).map(|b| {
                    let of_part = mean_of(&part_means, b, c - channels.start);
                    (of_part - mean_of(means, b, c)).powi(2)
                });
                all.squares[c] += square + part.problem.positions() as f64 * apart.sum::<f64>();
            }
            // NaN, of what is not finite, is the caller's to see by the sums.
            all.condition = all.condition.max(energies.condition);
            all.stages.extend(energies.stages);
            begun.fetch_add(PER_PART, Ordering::Relaxed);
        }
    }
    let met = parts.iter().map(|part| part.problem.positions()).sum::<usize>();
    for (c, square) in all.squares.iter_mut().enumerate().filter(|_| met < problem.positions()) {
        let of_samples: Array1<f64> = (0..problem.batch()).map(|b| mean_of(means, b, c).powi(2)).collect();
        *square += (problem.positions() - met) as f64 * of_samples.sum();
    }
    Ok(all)
}

/// The input of one group, (B, Cin / groups, D, H, W).
fn group_input<'a, T: Element>(operands: &'a Operands<'_, T>, group: usize) -> Result<Cow<'a, [T]>, Error> {
    let problem = operands.problem;
    if problem.groups() == 1 {
        return Ok(Cow::Borrowed(&operands.x));
    }
    let volume = problem.input_volume();
    let of_group = problem.group_in_channels() * volume;
    let mut input = memory::try_with_capacity("the input of a group", problem.batch() * of_group)?;
    for sample in operands.x.chunks_exact(problem.in_channels() * volume) {
        input.extend_from_slice(&sample[group * of_group..][..of_group]);
    }
    Ok(Cow::Owned(input))
}

impl Part {
    fn of(problem: &Problem, phases: [Phase; 3]) -> Option<Part> {
        let (x, w) = (problem.input(), problem.kernel());
        let input = Shape5 { channels: problem.group_in_channels(), ..x };
        let [depth, height, width] = phases.map(|phase| phase.taps_with_gaps());
        let kernel = KernelShape { in_channels: input.channels, depth: depth?, height: height?, width: width?, ..w };
        // In eval mode one value a channel is no error.
        let problem = Problem::builder(input, kernel).mode(Mode::Eval).running_statistics(true).build().ok()?;
        Some(Part { problem, phases })
    }

    /// Bytes of its own input and kernel, and of their sums and means.
    fn copies(&self, whole: &Problem) -> u64 {
        let of_input = if whole.groups() == 1 { 0 } else { self.problem.input_elements() };
        let copies = of_input.saturating_add(self.problem.kernel_elements()) as u64;
        // Of `f64` at most.
        copies.saturating_mul(8).saturating_add(means::workspace_bytes(&self.problem))
    }

    /// The kernel of one group's part, zeros between the taps.
    fn kernel<T: Element>(&self, operands: &Operands<'_, T>, group: usize) -> Result<Vec<T>, Error> {
        let [of_d, of_h, of_w] = &self.phases;
        let ([_, whole_h, whole_w], [_, h, w]) = (operands.problem.kernel().spatial(), self.problem.kernel().spatial());
        let slabs = operands.problem.group_in_channels() * operands.problem.group_out_channels();
        let mut kernel = memory::try_filled("the taps of a phase", self.problem.kernel_elements(), T::default())?;
        let whole = operands.w.chunks_exact(operands.problem.taps()).skip(group * slabs);
        for (slab, whole) in kernel.chunks_exact_mut(self.problem.taps()).zip(whole) {
            for (jd, jh) in (0..of_d.taps).flat_map(|jd| (0..of_h.taps).map(move |jh| (jd, jh))) {
                for jw in 0..of_w.taps {
                    let from = (of_d.tap(jd) * whole_h + of_h.tap(jh)) * whole_w + of_w.tap(jw);
                    slab[(jd * of_d.gap() * h + jh * of_h.gap()) * w + jw * of_w.gap()] = whole[from];
                }
            }
        }
        Ok(kernel)
    }
}
