//! NaN and infinities come out where the definition has them, and finite values stay finite.

use super::*;

/// Two samples of one channel, three positions each: an infinity in the first reaches two of its positions, as PyTorch has it.
#[test]
fn pytorchs_rules_by_hand() {
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    let of = |mode, taps: [f64; 2], bias: f64| {
        let problem = Problem::builder_1d([2, 1, 2], [1, 1, 2]).scale_factor(2.0).running_statistics(true).mode(mode);
        let problem = problem.build().unwrap();
        let tensors = Tensors {
            input: Array5::from_shape_vec((2, 1, 1, 1, 2), vec![inf, 1.0, 3.0, 5.0]).unwrap(),
            kernel: Array5::from_shape_vec((1, 1, 1, 1, 2), taps.to_vec()).unwrap(),
            conv_bias: Some(ndarray::array![bias]),
            bn_weight: None,
            bn_bias: None,
            running_mean: Some(ndarray::array![0.5]),
            running_var: Some(ndarray::array![4.0]),
        };
        let found = WAYS.map(|way| run(&problem, &tensors.as_inputs(), way).unwrap());
        [&found[0], &found[1], &definition(&problem, &tensors)].map(|out| {
            let first = |values: &Option<Array1<f64>>| values.as_ref().map_or(0.0, |values| values[0]);
            let statistics = [&out.batch_mean, &out.batch_var, &out.running_mean, &out.running_var].map(first);
            (out.output.iter().copied().collect::<Vec<_>>(), statistics)
        })
    };
    let is = |found: f64, expected: f64| found == expected || (found.is_nan() && expected.is_nan());
    let train = |factor| Mode::Train { momentum: Momentum::Factor(factor) };
    for (mode, taps, bias, mean, running) in [
        // Every z that it reaches is +∞, and so is the mean.
        (train(0.5), [1.0, 2.0], 0.0, inf, inf),
        (train(0.5), [-1.0, -2.0], 0.0, -inf, -inf),
        // +∞ and −∞, or ∞·0, among them.
        (train(0.5), [1.0, -2.0], 0.0, nan, nan),
        (train(0.5), [1.0, 0.0], 0.0, nan, nan),
        (train(0.5), [1.0, 2.0], -inf, nan, nan),
        // Not moved at all is 0·∞.
        (train(0.0), [1.0, 2.0], 0.0, inf, nan),
    ] {
        for (output, [batch_mean, batch_var, running_mean, running_var]) in of(mode, taps, bias) {
            assert!(
                is(batch_mean, mean) && is(running_mean, running),
                "{mode:?} {taps:?}: {batch_mean} {running_mean}"
            );
            assert!(batch_var.is_nan() && running_var.is_nan(), "{mode:?} {taps:?}: {batch_var} {running_var}");
            assert!(output.iter().all(|out| out.is_nan()), "{mode:?} {taps:?}: {output:?}");
        }
    }
    // In eval mode a sample's own mean counts: the other one is finite.
    for (taps, first) in [([1.0, 2.0], inf), ([-1.0, -2.0], -inf), ([1.0, -2.0], nan), ([1.0, 0.0], nan)] {
        for (output, statistics) in of(Mode::Eval, taps, 0.0) {
            assert!(is(output[0], first) && output[1].is_finite(), "{taps:?}: {output:?}");
            assert_eq!(statistics, [0.0, 0.0, 0.5, 4.0]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Where the definition gives NaN or an infinity, so does the CPU, and nowhere else.
    #[test]
    fn non_finite_values_reach_what_they_reach(
        sizes in [2usize..4, 1..4, 1..4, 1..3, 1..4, 1..4, 1..3, 1..3, 1..4],
        eval in any::<bool>(),
        into in 0usize..4,
        places in prop::collection::vec((any::<prop::sample::Index>(), 0usize..3), 1..3),
        zeros in any::<bool>(),
    ) {
        let mode = if eval { Mode::Eval } else { Mode::default() };
        let problem = builder(sizes).mode(mode).build().unwrap();
        let mut tensors: Tensors<f64> = draw(&problem);
        if zeros {
            tensors.kernel.fill(0.0);
        }
        let target = match into {
            0 => tensors.input.as_slice_mut(),
            1 => tensors.kernel.as_slice_mut(),
            2 => tensors.conv_bias.as_mut().unwrap().as_slice_mut(),
            _ => tensors.running_mean.as_mut().unwrap().as_slice_mut(),
        }.unwrap();
        for (place, value) in places {
            target[place.index(target.len())] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY][value];
        }
        let expected = definition(&problem, &tensors);
        let alike = |a: f64, b: f64| if a.is_finite() { b.is_finite() } else { a == b || (a.is_nan() && b.is_nan()) };
        let statistics = |out: &Outputs<f64>| -> Vec<f64> {
            [&out.batch_mean, &out.batch_var, &out.running_mean, &out.running_var]
                .into_iter().flatten().flat_map(|v| v.to_vec()).collect()
        };
        for way in WAYS {
            let found = run(&problem, &tensors.as_inputs(), way).unwrap();
            for (found, expected) in found.output.iter().zip(&expected.output) {
                prop_assert!(alike(*found, *expected), "{way:?} output {found} {expected}");
            }
            for (found, expected) in statistics(&found).into_iter().zip(statistics(&expected)) {
                prop_assert!(alike(found, expected), "{way:?} statistic {found} {expected}");
            }
        }
    }
}

/// An infinite tap over samples of one sign, which differ: about their mean they are infinite with either sign, whose squares
/// are one infinity; the variance is NaN all the same.
#[test]
fn an_infinite_mean_has_no_variance() {
    let problem = builder([2, 1, 1, 1, 1, 2, 1, 1, 1]).build().unwrap();
    let mut tensors: Tensors<f64> = draw(&problem);
    tensors.input.assign(&Array5::from_shape_vec((2, 1, 1, 1, 2), vec![0.25, 0.5, 0.75, 1.5]).unwrap());
    tensors.kernel.fill(f64::INFINITY);
    for way in WAYS {
        let out = run(&problem, &tensors.as_inputs(), way).unwrap();
        let [mean, var] = [out.batch_mean, out.batch_var].map(|statistic| statistic.unwrap()[0]);
        // The scale is negative.
        assert!(mean == f64::NEG_INFINITY && var.is_nan(), "{way:?}: {mean} {var}");
        assert!(out.output.iter().all(|out| out.is_nan()), "{way:?}: {}", out.output);
    }
}

/// A NaN weight must stay in its channel, also where blocks of different widths share their scratch.
#[test]
fn a_nan_does_not_leak_into_other_channels() {
    let problem = builder([5, 1, 3, 1, 1, 200, 1, 1, 7]).build().unwrap();
    let mut tensors: Tensors<f64> = draw(&problem);
    tensors.kernel[[0, 1, 0, 0, 3]] = f64::NAN;
    for way in WAYS {
        let out = run(&problem, &tensors.as_inputs(), way).unwrap().output;
        for ((_, c, ..), value) in out.indexed_iter() {
            assert_eq!(value.is_nan(), c == 1, "{way:?} channel {c}: {value}");
        }
    }
}

/// NaN and infinity come out in the channels of their group alone, and not at all where padding cuts them off.
#[test]
fn what_is_not_finite_stays_in_its_group_and_may_be_cut_off() {
    let problem = builder([2, 4, 2, 1, 1, 5, 1, 1, 1]).groups(2).padding([0, 0, 1]).build().unwrap();
    for (element, value) in [([0, 1, 0, 0, 2], f64::NAN), ([1, 0, 0, 0, 1], f64::INFINITY)] {
        for kernel in [1.0, f64::INFINITY] {
            let mut tensors: Tensors<f64> = draw(&problem);
            tensors.input[element] = value;
            // The ends are cut off: nothing meets them.
            tensors.input[[1, 2, 0, 0, 0]] = f64::NAN;
            tensors.input[[0, 3, 0, 0, 4]] = f64::NEG_INFINITY;
            tensors.kernel[[1, 1, 0, 0, 0]] *= kernel;
            let expected = definition(&problem, &tensors);
            let found = run(&problem, &tensors.as_inputs(), WAYS[1]).unwrap();
            for ((b, c, ..), value) in found.output.indexed_iter() {
                assert_eq!(value.is_nan(), c < 2, "{b} {c}");
                assert_eq!(value.is_nan(), expected.output[[b, c, 0, 0, 0]].is_nan(), "{b} {c}");
            }
            let eval =
                builder([2, 4, 2, 1, 1, 5, 1, 1, 1]).groups(2).padding([0, 0, 1]).mode(Mode::Eval).build().unwrap();
            let (expected, found) = (definition(&eval, &tensors), run(&eval, &tensors.as_inputs(), WAYS[1]).unwrap());
            for (found, expected) in found.output.iter().zip(&expected.output) {
                let same = found == expected || (found.is_nan() && expected.is_nan());
                assert!(same || (found - expected).abs() < 1e-12, "{found} {expected}");
            }
        }
    }
}

/// Where z leaves the range of `f32` the sums are taken again in `f64`: no variance is infinite, or NaN, that is finite by the
/// definition. Operands of one sign make every z infinite there, which no NaN gives away.
#[test]
fn what_is_past_single_precision_on_the_way_is_finite() {
    let problem = builder([2, 3, 9, 3, 4, 5, 2, 3, 2]).build().unwrap();
    let scales = [(1e18, 1.0), (1e25, 1e-3), (1e25, 1e20), (1e38, 1e38), (1e30, -1e12)];
    for ((of_input, of_kernel), one_sign) in scales.into_iter().flat_map(|scales| [(scales, false), (scales, true)]) {
        let mut tensors: Tensors<f32> = draw(&problem);
        tensors.input.mapv_inplace(|x| of_input * if one_sign { x.abs() } else { x });
        tensors.kernel.mapv_inplace(|w| of_kernel * if one_sign { w.abs() } else { w });
        let expected = definition(&problem, &tensors);
        for way in WAYS {
            let case = format!("{way:?} {of_input} {of_kernel} {one_sign}");
            // Not rounded to the tensors' type, in which the statistics are not either.
            let (found, _) = super::super::run(&problem, &tensors.as_inputs(), way, Watch::default()).unwrap();
            let beta = tensors.bn_bias.as_ref().unwrap().mapv(f64::from);
            let error = output_error(found.output.view(), expected.output.view(), Some(beta.view())).unwrap();
            assert!(error.passes(1e-5), "{case}: {error:?}");
            for (name, found, expected) in [
                ("batch_mean", &found.batch_mean, &expected.batch_mean),
                ("batch_var", &found.batch_var, &expected.batch_var),
            ] {
                let (found, expected) = (found.as_ref().unwrap(), expected.as_ref().unwrap());
                assert!(expected.iter().all(|value| value.is_finite()), "{case}");
                let error = statistic_error(name, found.view(), expected.view()).unwrap();
                assert!(error < 1e-5, "{case}: {name} {error}");
            }
        }
    }
}
