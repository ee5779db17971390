//! The definition, in `f64`, written plainly: what everything else is compared with.
//!
//! ```text
//! z[b,c,p] = Σ_ci Σ_k w[ci,c,k] · x[b,ci,i]              every tap adds a shifted, weighted copy of x:
//!                                                        p = i·stride + k·dilation − padding, ci in c's group
//! y        = s·(z + conv_bias[c])
//! μ, σ²    = mean and biased variance of y over (b, p), or the running statistics
//! out[b,c] = γ[c]·mean_p(y − μ)/√(σ² + ε) + β[c]          shape (B, Cout, 1, 1, 1)
//! ```
//! Cost: 2·B·Cin·(Cout / groups)·(D·H·W)·taps flops in scalar code, B·P values of `f64` for each thread.
//! Channels are independent, so any subset can be computed by itself.

use std::sync::atomic::{AtomicU64, Ordering};

use ndarray::parallel::prelude::*;
use ndarray::{Array1, Array2, Array4, ArrayViewMut1, Axis, Slice, s};

use crate::Error;
use crate::batch_norm::{Channel, Moments, inverse_std};
use crate::memory;
use crate::problem::{self, Problem};
use crate::tensors::{Inputs, Outputs, Progress};

/// Computes all output channels, or those in `channels`, in that order: every output then has
/// `channels.len()` channels.
///
/// Progress counts samples of channels.
///
/// # Errors
/// [`Error::Input`], [`Error::Channel`], and [`Error::Memory`] where one channel's convolution
/// does not fit for each thread.
pub fn run(
    problem: &Problem,
    inputs: &Inputs<'_, f64>,
    channels: Option<&[usize]>,
    progress: Option<Progress<'_>>,
) -> Result<Outputs<f64>, Error> {
    inputs.check(problem)?;
    let out_channels = problem.out_channels();
    let channels = channels.map_or_else(|| (0..out_channels).collect(), <[usize]>::to_vec);
    if let Some(&found) = channels.iter().find(|&&c| c >= out_channels) {
        return Err(Error::Channel { found, out_channels });
    }
    let count = channels.len();
    memory::check("the reference's convolution", workspace_bytes(problem, rayon::current_num_threads().min(count)))?;

    let samples = problem.batch();
    let steps = AtomicU64::new(0);
    let step = || {
        let done = steps.fetch_add(1, Ordering::Relaxed) + 1;
        progress.inspect(|report| report(done, (samples * count) as u64));
    };
    let values = memory::try_filled("the output", samples * count, 0.0)?;
    let mut output: Array2<f64> = memory::in_shape(ndarray::Dim([samples, count]), values);
    let statistics = output
        .axis_iter_mut(Axis(1))
        .into_par_iter()
        .zip(channels.par_iter())
        .map(|(column, &c)| one_channel(problem, inputs, c, column, &step))
        .collect::<Result<Vec<_>, Error>>()?;

    let pick = |get: fn(&Statistics) -> Option<f64>| statistics.iter().map(get).collect::<Option<Array1<f64>>>();
    Ok(Outputs {
        output: output.insert_axis(Axis(2)).insert_axis(Axis(3)).insert_axis(Axis(4)),
        batch_mean: pick(|s| s.batch.map(|m| m.mean)).filter(|_| problem.uses_batch_statistics()),
        batch_var: pick(|s| s.batch.map(|m| m.var)).filter(|_| problem.uses_batch_statistics()),
        running_mean: pick(|s| s.running.map(|m| m.mean)).filter(|_| problem.has_running_statistics()),
        running_var: pick(|s| s.running.map(|m| m.var)).filter(|_| problem.has_running_statistics()),
    })
}

/// Bytes of scratch: one channel's convolution for each thread.
pub(crate) fn workspace_bytes(problem: &Problem, threads: usize) -> u64 {
    (problem.values_per_channel() as u64 * 8).saturating_mul(threads as u64)
}

struct Statistics {
    batch: Option<Moments>,
    running: Option<Moments>,
}

fn one_channel(
    problem: &Problem,
    inputs: &Inputs<'_, f64>,
    c: usize,
    mut output: ArrayViewMut1<'_, f64>,
    step: &(dyn Fn() + Sync),
) -> Result<Statistics, Error> {
    let channel = Channel::of(inputs, c);
    let y = scaled_convolution(problem, inputs, c, channel.conv_bias, step)?;

    let n = problem.values_per_channel() as f64;
    let batch = problem.uses_batch_statistics().then(|| {
        let mean = y.sum() / n;
        Moments { mean, var: y.fold(0.0, |sum, y| sum + (y - mean) * (y - mean)) / n }
    });
    // `Inputs::check` saw to it: a problem that does not use the batch's statistics has running ones.
    let used = batch.or(channel.running).expect("statistics of the batch, or running ones");

    let factor = channel.gamma * inverse_std(used.var, problem.eps());
    for (out, sample) in output.iter_mut().zip(y.outer_iter()) {
        // Pooling is linear: the mean of the normalised values is the normalised mean.
        let deviation = sample.fold(0.0, |sum, y| sum + (y - used.mean)) / problem.positions() as f64;
        *out = factor * deviation + channel.beta;
    }
    Ok(Statistics { batch, running: channel.running_after(problem, batch) })
}

/// y = s·(z + conv_bias) of channel `c`, (B, Nd, Nh, Nw).
fn scaled_convolution(
    problem: &Problem,
    inputs: &Inputs<'_, f64>,
    c: usize,
    conv_bias: f64,
    step: &(dyn Fn() + Sync),
) -> Result<Array4<f64>, Error> {
    let [nd, nh, nw] = problem.output_extents();
    let axes = problem.axes();
    let (group, c) = (c / problem.group_out_channels(), c % problem.group_out_channels());
    let channels = group * problem.group_in_channels()..(group + 1) * problem.group_in_channels();
    let values = memory::try_filled("the reference's convolution", problem.values_per_channel(), 0.0)?;
    let mut y: Array4<f64> = memory::in_shape(ndarray::Dim([problem.batch(), nd, nh, nw]), values);
    for (mut z, sample) in y.outer_iter_mut().zip(inputs.input.outer_iter()) {
        for ci in channels.clone() {
            let (x, kernel) = (sample.index_axis(Axis(0), ci), inputs.kernel.index_axis(Axis(0), ci));
            for (k, &weight) in kernel.index_axis(Axis(0), c).indexed_iter() {
                let Some([(from_d, to_d), (from_h, to_h), (from_w, to_w)]) = carried(&axes, k.into()) else { continue };
                z.slice_mut(s![to_d, to_h, to_w]).scaled_add(weight, &x.slice(s![from_d, from_h, from_w]));
            }
        }
        z.mapv_inplace(|z| problem.scale_factor() * (z + conv_bias));
        step();
    }
    Ok(y)
}

/// Which input elements a tap carries inside the output, and where to, along each axis; `None` where there are none.
fn carried(axes: &[problem::Axis; 3], taps: [usize; 3]) -> Option<[(Slice, Slice); 3]> {
    let along = |axis: &problem::Axis, k: usize| {
        let from = axis.inside(k);
        let (first, last) = (axis.position(from.start, k), axis.position(from.end.checked_sub(1)?, k));
        // A stride past the output is never taken.
        let step = axis.stride().min(axis.output) as isize;
        let to = Slice::new(first as isize, Some(last as isize + 1), step);
        (!from.is_empty()).then_some((Slice::from(from), to))
    };
    Some([along(&axes[0], taps[0])?, along(&axes[1], taps[1])?, along(&axes[2], taps[2])?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::{KernelShape, Mode, Momentum, ProblemBuilder, Shape5};
    use crate::tensors::{InputError, Tensors};
    use ndarray::{Array5, array};
    use std::sync::Mutex;

    /// x = [[1, 2]], [[3, 5]] (two samples on a line), w = [1, −1], bias 10, s = 2:
    /// z + bias = [11, 11, 8] and [13, 12, 5]; y = [22, 22, 16] and [26, 24, 10]; μ = 20,
    /// σ² = (4 + 4 + 16 + 36 + 16 + 100)/6 = 88/3; mean_p(y − μ) = 0 and 0.
    fn tiny() -> Tensors<f64> {
        Tensors {
            input: Array5::from_shape_vec((2, 1, 1, 1, 2), vec![1.0, 2.0, 3.0, 5.0]).unwrap(),
            kernel: Array5::from_shape_vec((1, 1, 1, 1, 2), vec![1.0, -1.0]).unwrap(),
            conv_bias: Some(array![10.0]),
            bn_weight: Some(array![3.0]),
            bn_bias: Some(array![0.5]),
            running_mean: Some(array![1.0]),
            running_var: Some(array![4.0]),
        }
    }

    fn problem(tensors: &Tensors<f64>, mode: Mode) -> Problem {
        let inputs = tensors.as_inputs();
        Problem::builder(inputs.input_shape(), inputs.kernel_shape())
            .scale_factor(2.0)
            .eps(0.0)
            .mode(mode)
            .running_statistics(tensors.running_var.is_some())
            .build()
            .unwrap()
    }

    #[test]
    fn by_hand_in_training() {
        let mut tensors = tiny();
        // Taps that do not sum to zero, so that the samples' means differ: w = [1, 1] gives
        // z + bias = [11, 13, 12], [13, 18, 15]; y = [22, 26, 24], [26, 36, 30]; means 24 and 92/3.
        tensors.kernel = Array5::from_shape_vec((1, 1, 1, 1, 2), vec![1.0, 1.0]).unwrap();
        let problem = problem(&tensors, Mode::Train { momentum: Momentum::Factor(0.5) });
        let out = run(&problem, &tensors.as_inputs(), None, None).unwrap();
        let (mean, n) = (164.0 / 6.0, 6.0);
        let var = [22.0, 26.0, 24.0, 26.0, 36.0, 30.0].map(|y: f64| (y - mean).powi(2)).iter().sum::<f64>() / n;
        let close = |found: f64, expected: f64| {
            assert!((found - expected).abs() < 1e-13 * expected.abs(), "{found} {expected}")
        };
        close(out.batch_mean.unwrap()[0], mean);
        close(out.batch_var.unwrap()[0], var);
        close(out.output[[0, 0, 0, 0, 0]], 3.0 * (24.0 - mean) / var.sqrt() + 0.5);
        close(out.output[[1, 0, 0, 0, 0]], 3.0 * (92.0 / 3.0 - mean) / var.sqrt() + 0.5);
        close(out.running_mean.unwrap()[0], 0.5 + 0.5 * mean);
        close(out.running_var.unwrap()[0], 2.0 + 0.5 * var * n / (n - 1.0));
    }

    #[test]
    fn by_hand_in_eval() {
        let tensors = tiny();
        let out = run(&problem(&tensors, Mode::Eval), &tensors.as_inputs(), None, None).unwrap();
        // Both samples have mean 20: 3·(20 − 1)/2 + 0.5.
        assert_eq!(out.output.into_raw_vec_and_offset().0, [29.0, 29.0]);
        assert_eq!((out.batch_mean, out.batch_var), (None, None));
        assert_eq!(out.running_mean, tensors.running_mean);
        assert_eq!(out.running_var, tensors.running_var);
    }

    #[test]
    fn taps_are_not_flipped() {
        // An impulse copies the kernel: only then is the third value of [1, 2, 3] last.
        let tensors = Tensors {
            input: Array5::from_shape_vec((1, 1, 1, 1, 2), vec![1.0, 0.0]).unwrap(),
            kernel: Array5::from_shape_vec((1, 1, 1, 1, 3), vec![1.0, 2.0, 3.0]).unwrap(),
            ..tiny()
        };
        let problem = problem(&tensors, Mode::Eval);
        let y = scaled_convolution(&problem, &tensors.as_inputs(), 0, 0.0, &|| {}).unwrap();
        assert_eq!(y.into_raw_vec_and_offset().0, [2.0, 4.0, 6.0, 0.0]);
    }

    /// Where the values of an impulse train come to, by each option alone and by all together.
    #[test]
    fn options_place_the_taps() {
        let line = |builder: ProblemBuilder<1>, kernel: Vec<f64>| {
            let problem = builder.running_statistics(true).mode(Mode::Eval).build().unwrap();
            let kernel = Array5::from_shape_vec(problem.kernel().extents(), kernel).unwrap();
            let input = Array5::from_shape_vec(problem.input().extents(), vec![1.0, 100.0]).unwrap();
            let tensors = Tensors { input, kernel, ..tiny() };
            scaled_convolution(&problem, &tensors.as_inputs(), 0, 0.0, &|| {}).unwrap().into_raw_vec_and_offset().0
        };
        let plain = || Problem::builder_1d([1, 1, 2], [1, 1, 3]);
        let taps = || vec![1.0, 2.0, 3.0];
        assert_eq!(line(plain(), taps()), [1.0, 102.0, 203.0, 300.0]);
        assert_eq!(line(plain().stride([3]), taps()), [1.0, 2.0, 3.0, 100.0, 200.0, 300.0]);
        assert_eq!(line(plain().stride([2]).output_padding([1]), taps()), [1.0, 2.0, 103.0, 200.0, 300.0, 0.0]);
        assert_eq!(line(plain().padding([1]), taps()), [102.0, 203.0]);
        assert_eq!(line(plain().dilation([2]), taps()), [1.0, 100.0, 2.0, 200.0, 3.0, 300.0]);
        let all = plain().stride([2]).padding([2]).output_padding([2]).dilation([3]);
        // Positions −2..: 1 at −2, 1, 4 and 100 at 0, 3, 6; seven are left from 0 on.
        assert_eq!(line(all, taps()), [100.0, 2.0, 0.0, 200.0, 3.0, 0.0, 300.0]);
        let groups = Problem::builder_1d([1, 2, 1], [2, 1, 1]).groups(2);
        assert_eq!(line(groups, vec![7.0, 9.0]), [7.0]);
    }

    #[test]
    fn channels_by_themselves_are_those_of_the_whole() {
        let input = Shape5 { batch: 2, channels: 2, depth: 2, height: 3, width: 2 };
        let kernel = KernelShape { in_channels: 2, out_channels: 4, depth: 2, height: 1, width: 3 };
        let problem = Problem::builder(input, kernel).running_statistics(true).build().unwrap();
        let tensors = crate::draw::Draws::usual(&problem, 1).tensors::<f64>(&problem).unwrap();
        let whole = run(&problem, &tensors.as_inputs(), None, None).unwrap();
        let steps = Mutex::new(Vec::new());
        let report = |done, total| steps.lock().unwrap().push((done, total));
        let some = run(&problem, &tensors.as_inputs(), Some(&[3, 1]), Some(&report)).unwrap();
        assert_eq!(some.output.dim(), (2, 2, 1, 1, 1));
        for (i, c) in [3, 1].into_iter().enumerate() {
            assert_eq!(some.output.index_axis(Axis(1), i), whole.output.index_axis(Axis(1), c));
            assert_eq!(some.batch_var.as_ref().unwrap()[i], whole.batch_var.as_ref().unwrap()[c]);
            assert_eq!(some.running_mean.as_ref().unwrap()[i], whole.running_mean.as_ref().unwrap()[c]);
        }
        let mut steps = steps.into_inner().unwrap();
        steps.sort_unstable();
        assert_eq!(steps, [(1, 4), (2, 4), (3, 4), (4, 4)]);
        let refused = run(&problem, &tensors.as_inputs(), Some(&[4]), None);
        assert_eq!(refused, Err(Error::Channel { found: 4, out_channels: 4 }));
    }

    #[test]
    fn tensors_of_another_problem_are_refused() {
        let tensors = tiny();
        let other = Tensors { input: Array5::zeros((2, 1, 1, 1, 3)), ..tiny() };
        let refused = run(&problem(&tensors, Mode::Eval), &other.as_inputs(), None, None);
        assert!(matches!(refused, Err(Error::Input(InputError::Shape { tensor: "input", .. }))));
    }
}
