//! What the operation's definition implies, on random shapes and data, for every way to compute it.
//!
//! Values are drawn as multiples of 2⁻⁸ in [−1, 1], so that their sums, negatives and `f32` forms are exact, and a law
//! about them can be held against each way by that way's own error alone. Without a GPU its ways are left out, and a
//! line says so. A failure prints the shape and the seed.

mod case;
mod way;

use std::ops::Mul;

use case::{Case, EPS, SCALE, cases};
use convt_bn_gap::{Backend, Mode, Momentum, Outputs, Tensors, reference};
use ndarray::{Array1, Array5, Axis, Zip, concatenate, s};
use proptest::prelude::*;
use way::{moved, size_of_values, ways};

fn beta(tensors: &Tensors<f64>) -> &Array1<f64> {
    tensors.bn_bias.as_ref().expect("every case has β")
}

fn reordered(of: &Option<Array1<f64>>, order: &[usize]) -> Option<Array1<f64>> {
    of.as_ref().map(|of| of.select(Axis(0), order))
}

fn sum(a: &Option<Array1<f64>>, b: &Option<Array1<f64>>, factor: f64) -> Array1<f64> {
    a.as_ref().expect("a statistic") + &b.as_ref().expect("a statistic").mul(factor)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// f32 and f64, CPU and GPU: all are the definition.
    #[test]
    fn every_way_agrees_with_the_definition(case in cases(), eval: bool, factor in 0.0..=1.0) {
        let mode = if eval { Mode::Eval } else { Mode::Train { momentum: Momentum::Factor(factor) } };
        let tensors = case.tensors();
        let problem = case.problem().mode(mode);
        let whole = problem.clone().running_statistics(true).build().expect("a valid problem");
        let expected = reference::run(&whole, &tensors.as_inputs(), None, None).expect("a small problem");
        for way in ways() {
            way.same_outputs(&way.run(problem.clone(), &tensors), &expected, beta(&tensors))?;
        }
    }

    /// mean(x + y) = mean(x) + mean(y) and var(x + y) + var(x − y) = 2·var(x) + 2·var(y): a linear map and a quadratic
    /// form. The same holds for the kernel.
    #[test]
    fn statistics_are_linear_and_quadratic(case in cases(), in_the_kernel: bool) {
        let of = |factor_of_first: f64, factor_of_second: f64| {
            let mix = |a: Array5<f64>, b: Array5<f64>| a * factor_of_first + b * factor_of_second;
            let (input, kernel) = match in_the_kernel {
                false => (mix(case.input(1), case.input(9)), case.kernel(2)),
                true => (case.input(1), mix(case.kernel(2), case.kernel(9))),
            };
            Tensors { input, kernel, conv_bias: None, running_mean: None, running_var: None, ..case.tensors() }
        };
        for way in ways() {
            let run = |a, b| way.run(case.problem(), &of(a, b));
            let (first, second, plus, minus, twice) =
                (run(1.0, 0.0), run(0.0, 1.0), run(1.0, 1.0), run(1.0, -1.0), run(-2.0, 0.0));
            let size = size_of_values(&first) + size_of_values(&second);
            let (of_mean, of_var) = (way.bound * size, way.bound * size * size);
            let mean = |out: &Outputs<f64>| out.batch_mean.clone().expect("in training");
            let var = |out: &Outputs<f64>| out.batch_var.clone().expect("in training");
            let sum_of_means = sum(&first.batch_mean, &second.batch_mean, 1.0);
            way.same("mean(x + y)", &mean(&plus), &sum_of_means, of_mean)?;
            way.same("mean(x − y)", &mean(&minus), &sum(&first.batch_mean, &second.batch_mean, -1.0), of_mean)?;
            way.same("mean(−2x)", &mean(&twice), &(mean(&first) * -2.0), of_mean)?;
            way.same("var(−2x)", &var(&twice), &(var(&first) * 4.0), of_var)?;
            let parallelogram = sum(&plus.batch_var, &minus.batch_var, 1.0);
            let twice_each = sum(&first.batch_var, &second.batch_var, 1.0) * 2.0;
            way.same("var(x + y) + var(x − y)", &parallelogram, &twice_each, 4.0 * of_var)?;
        }
    }

    #[test]
    fn samples_in_another_order_are_outputs_in_that_order(case in cases()) {
        let tensors = case.tensors();
        let order = case.order(case.batch);
        let other = Tensors { input: tensors.input.select(Axis(0), &order), ..tensors.clone() };
        for way in ways() {
            let mut expected = way.run(case.problem(), &tensors);
            expected.output = expected.output.select(Axis(0), &order);
            way.same_outputs(&way.run(case.problem(), &other), &expected, beta(&tensors))?;
        }
    }

    /// Every sample twice: the same means and biased variances, hence the same outputs.
    #[test]
    fn a_batch_twice_over_changes_nothing(case in cases()) {
        let tensors = Tensors { running_mean: None, running_var: None, ..case.tensors() };
        let input = concatenate![Axis(0), tensors.input, tensors.input];
        let twice = Tensors { input, ..tensors.clone() };
        for way in ways() {
            let mut expected = way.run(case.problem(), &tensors);
            expected.output = concatenate![Axis(0), expected.output, expected.output];
            let found = way.run(Case { batch: 2 * case.batch, ..case }.problem(), &twice);
            way.same_outputs(&found, &expected, beta(&tensors))?;
        }
    }

    #[test]
    fn output_channels_in_another_order_are_everything_in_that_order(case in cases()) {
        let tensors = case.tensors();
        let order = case.order(case.out_channels);
        let other = Tensors {
            input: tensors.input.clone(),
            kernel: tensors.kernel.select(Axis(1), &order),
            conv_bias: reordered(&tensors.conv_bias, &order),
            bn_weight: reordered(&tensors.bn_weight, &order),
            bn_bias: reordered(&tensors.bn_bias, &order),
            running_mean: reordered(&tensors.running_mean, &order),
            running_var: reordered(&tensors.running_var, &order),
        };
        for way in ways() {
            let out = way.run(case.problem(), &tensors);
            let expected = Outputs {
                output: out.output.select(Axis(1), &order),
                batch_mean: reordered(&out.batch_mean, &order),
                batch_var: reordered(&out.batch_var, &order),
                running_mean: reordered(&out.running_mean, &order),
                running_var: reordered(&out.running_var, &order),
            };
            way.same_outputs(&way.run(case.problem(), &other), &expected, beta(&other))?;
        }
    }

    #[test]
    fn input_channels_in_another_order_change_nothing(case in cases()) {
        let tensors = case.tensors();
        let order = case.order(case.in_channels);
        let other = Tensors {
            input: tensors.input.select(Axis(1), &order),
            kernel: tensors.kernel.select(Axis(0), &order),
            ..tensors.clone()
        };
        for way in ways() {
            let expected = way.run(case.problem(), &tensors);
            way.same_outputs(&way.run(case.problem(), &other), &expected, beta(&tensors))?;
        }
    }

    /// Space has no direction and no first axis: mirrored, and with its axes in another order, all stays.
    #[test]
    fn space_mirrored_or_turned_changes_nothing(case in cases()) {
        let tensors = case.tensors();
        let mirror = |of: &Array5<f64>| of.slice(s![.., .., ..;-1, ..;-1, ..;-1]).to_owned();
        let turn = |of: &Array5<f64>| of.clone().permuted_axes([0, 1, 4, 2, 3]).as_standard_layout().into_owned();
        let mirrored = Tensors { input: mirror(&tensors.input), kernel: mirror(&tensors.kernel), ..tensors.clone() };
        let turned = Tensors { input: turn(&tensors.input), kernel: turn(&tensors.kernel), ..tensors.clone() };
        let turn = |[d, h, w]: [usize; 3]| [w, d, h];
        let turned_case = Case { extents: turn(case.extents), taps: turn(case.taps), ..case };
        for way in ways() {
            let expected = way.run(case.problem(), &tensors);
            way.same_outputs(&way.run(case.problem(), &mirrored), &expected, beta(&tensors))?;
            way.same_outputs(&way.run(turned_case.problem(), &turned), &expected, beta(&tensors))?;
        }
    }

    /// s → a·s with ε → a²·ε: the same output, with the sign of a. With ε = 0 the scale's size alone never matters.
    #[test]
    fn the_scale_matters_by_its_sign_and_beside_eps(case in cases(), a in 0.25f64..4.0, negative: bool, no_eps: bool) {
        let tensors = Tensors { running_mean: None, running_var: None, ..case.tensors() };
        let eps = if no_eps { 0.0 } else { EPS };
        let a = if negative { -a } else { a };
        for way in ways() {
            let out = way.run(case.problem().eps(eps), &tensors);
            let effect = moved(&out.output, &-beta(&tensors)) * a.signum();
            let expected = Outputs {
                output: moved(&effect, beta(&tensors)),
                batch_mean: out.batch_mean.map(|mean| mean * a),
                batch_var: out.batch_var.map(|var| var * a * a),
                ..out
            };
            let found = way.run(case.problem().scale_factor(a * SCALE).eps(a * a * eps), &tensors);
            way.same_outputs(&found, &expected, beta(&tensors))?;
            if !no_eps {
                // And ε is not ignored: were it, this would be the same too.
                let other = way.run(case.problem().scale_factor(a * SCALE).eps(a * a * (eps + 8.0)), &tensors);
                prop_assert!(way.same_output(&other.output, &expected.output, beta(&tensors)).is_err());
            }
        }
    }

    /// In training the bias only moves the mean, by s·bias.
    #[test]
    fn the_bias_moves_the_mean_alone(case in cases()) {
        let tensors = Tensors { running_mean: None, running_var: None, ..case.tensors() };
        let without = Tensors { conv_bias: None, ..tensors.clone() };
        for way in ways() {
            let mut expected = way.run(case.problem(), &without);
            let bias = tensors.conv_bias.as_ref().expect("every case has one");
            expected.batch_mean = expected.batch_mean.map(|mean| mean + bias * SCALE);
            way.same_outputs(&way.run(case.problem(), &tensors), &expected, beta(&tensors))?;
        }
    }

    /// With one sample the mean over positions is the mean that is taken off. The definition leaves its rounding.
    #[test]
    fn one_sample_gives_beta_exactly(case in cases()) {
        let case = Case { batch: 1, ..case };
        let tensors = case.tensors();
        for way in ways() {
            let out = way.run(case.problem(), &tensors).output;
            for (out, beta) in out.iter().zip(beta(&tensors)) {
                let off = if way.device.backend() == Backend::Reference { 1e-13 } else { 0.0 };
                prop_assert!((out - beta).abs() <= off, "{}: {out} is not β = {beta}", way.name);
            }
        }
    }

    /// running ← (1 − f)·running + f·batch, with the unbiased variance; f = 1/(n + 1) for the cumulative average.
    #[test]
    fn running_statistics_follow_pytorch(case in cases(), factor in 0.0..=1.0, tracked in 0u64..50, cumulative: bool) {
        let (momentum, f) = match cumulative {
            true => (Momentum::Cumulative { num_batches_tracked: tracked }, 1.0 / (tracked + 1) as f64),
            false => (Momentum::Factor(factor), factor),
        };
        let tensors = case.tensors();
        let positions: usize = case.extents.iter().zip(case.taps).map(|(n, k)| n + k - 1).product();
        let n = (case.batch * positions) as f64;
        for way in ways() {
            let out = way.run(case.problem().mode(Mode::Train { momentum }), &tensors);
            let mean = tensors.running_mean.as_ref().unwrap() * (1.0 - f) + out.batch_mean.as_ref().unwrap() * f;
            let unbiased = out.batch_var.as_ref().unwrap() * (n / (n - 1.0));
            let var = tensors.running_var.as_ref().unwrap() * (1.0 - f) + unbiased * f;
            let size = size_of_values(&out) + 1.0;
            // The batch's own statistics are given: what is left is one rounding, of the way's type.
            let allowed = 2.0 * way.roundoff();
            way.same("running_mean", out.running_mean.as_ref().unwrap(), &mean, allowed * size)?;
            way.same("running_var", out.running_var.as_ref().unwrap(), &var, allowed * size * size)?;
        }
    }

    /// γ·(m − running_mean)/√(running_var + ε) + β of m = s·(Σx·Σw/P + bias), and nothing of the batch.
    #[test]
    fn eval_is_an_affine_map_of_the_mean(case in cases()) {
        let tensors = case.tensors();
        let positions: usize = case.extents.iter().zip(case.taps).map(|(n, k)| n + k - 1).product();
        let sums = |of: &Array5<f64>| of.sum_axis(Axis(4)).sum_axis(Axis(3)).sum_axis(Axis(2));
        let mut m = sums(&tensors.input).dot(&sums(&tensors.kernel)) / positions as f64;
        m += tensors.conv_bias.as_ref().unwrap();
        m *= SCALE;
        let (mean, var) = (tensors.running_mean.as_ref().unwrap(), tensors.running_var.as_ref().unwrap());
        let factor = Zip::from(tensors.bn_weight.as_ref().unwrap()).and(var).map_collect(|g, v| g / (v + EPS).sqrt());
        let expected = Outputs {
            output: ((m - mean) * factor + beta(&tensors)).insert_axis(Axis(2)).insert_axis(Axis(3)).insert_axis(Axis(4)),
            batch_mean: None,
            batch_var: None,
            running_mean: tensors.running_mean.clone(),
            running_var: tensors.running_var.clone(),
        };
        for way in ways() {
            let found = way.run(case.problem().mode(Mode::Eval), &tensors);
            way.same_outputs(&found, &expected, beta(&tensors))?;
            prop_assert_eq!(&found.running_mean, &expected.running_mean);
            prop_assert_eq!(&found.running_var, &expected.running_var);
        }
    }

    /// Without running statistics eval is training, and with the batch's own as running ones it gives the same output.
    #[test]
    fn eval_by_the_batchs_statistics_is_training(case in cases()) {
        let tensors = Tensors { running_mean: None, running_var: None, ..case.tensors() };
        for way in ways() {
            let trained = way.run(case.problem(), &tensors);
            way.same_outputs(&way.run(case.problem().mode(Mode::Eval), &tensors), &trained, beta(&tensors))?;
            if way.double {
                // In f32 these statistics would be rounded, and the output with them.
                let (running_mean, running_var) = (trained.batch_mean.clone(), trained.batch_var.clone());
                let given = Tensors { running_mean, running_var, ..tensors.clone() };
                let found = way.run(case.problem().mode(Mode::Eval), &given);
                way.same_output(&found.output, &trained.output, beta(&tensors))?;
            }
        }
    }
}
