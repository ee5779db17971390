//! The CPU backend against the definition, on every kind of shape.

mod nonfinite;
mod workspace;

use super::*;
use crate::check::{output_error, statistic_error};
use crate::draw::{Draw, Draws};
use crate::problem::{KernelShape, Mode, Momentum, ProblemBuilder, Shape5};
use crate::reference;
use crate::tensors::Tensors;
use ndarray::{Array1, Array5};
use proptest::prelude::*;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Both ways that the backend has.
const WAYS: [Way; 2] = [
    Way { algorithm: Algorithm::Spectral, precision: Precision::Default, workspace_budget: WORKSPACE_BUDGET },
    Way { algorithm: Algorithm::Direct, precision: Precision::Default, workspace_budget: 0 },
];

fn run<T: Element>(problem: &Problem, inputs: &Inputs<'_, T>, way: Way) -> Result<Outputs<T>, Error> {
    super::run(problem, inputs, way, Watch::default()).map(|(outputs, _)| outputs.rounded())
}

/// B, Cin, Cout, D, H, W, Kd, Kh, Kw.
type Sizes = [usize; 9];

fn builder([batch, ci, co, depth, height, width, kd, kh, kw]: Sizes) -> ProblemBuilder {
    let input = Shape5 { batch, channels: ci, depth, height, width };
    let kernel = KernelShape { in_channels: ci, out_channels: co, depth: kd, height: kh, width: kw };
    Problem::builder(input, kernel).scale_factor(-1.5).running_statistics(true)
}

fn draw<T: Element>(problem: &Problem) -> Tensors<T> {
    Draws::usual(problem, 11).tensors(problem).unwrap()
}

fn definition<T: Element>(problem: &Problem, tensors: &Tensors<T>) -> Outputs<f64> {
    let wide = tensors.as_inputs().to_f64().unwrap();
    reference::run(problem, &wide.as_inputs(), None, None).unwrap()
}

fn assert_agree(problem: &Problem, tensors: &Tensors<f64>) {
    let expected = definition(problem, tensors);
    for way in WAYS {
        assert_agrees(problem, tensors, &expected, way);
    }
}

/// Whether an error of 1e-10 can be told: the definition's own rounding, some 1e-15 of an output, is well below that of what samples differ
/// by. Samples that are all the same are judged by their absolute error.
fn tells(tensors: &Tensors<f64>, expected: &Outputs<f64>) -> bool {
    let beta = |c: usize| tensors.bn_bias.as_ref().map_or(0.0, |beta| beta[c]);
    let effect = expected.output.indexed_iter().fold(0f64, |most, ((_, c, ..), out)| most.max((out - beta(c)).abs()));
    !(1e-12..1e-4).contains(&effect)
}

fn assert_agrees(problem: &Problem, tensors: &Tensors<f64>, expected: &Outputs<f64>, way: Way) {
    let found = run(problem, &tensors.as_inputs(), way).unwrap();
    let error = output_error(found.output.view(), expected.output.view(), tensors.as_inputs().bn_bias).unwrap();
    assert!(error.passes(1e-10), "{problem:?} {way:?} {error:?}");
    let pairs = [
        ("batch_mean", &found.batch_mean, &expected.batch_mean),
        ("batch_var", &found.batch_var, &expected.batch_var),
        ("running_mean", &found.running_mean, &expected.running_mean),
        ("running_var", &found.running_var, &expected.running_var),
    ];
    for (name, found, expected) in pairs {
        assert_eq!(found.is_some(), expected.is_some(), "{name}");
        if let (Some(found), Some(expected)) = (found, expected) {
            let error = statistic_error(name, found.view(), expected.view()).unwrap();
            assert!(error < 1e-12, "{problem:?} {way:?} {name} {error}");
        }
    }
}

#[test]
fn shapes_that_cross_every_block_boundary() {
    let cases: [Sizes; 19] = [
        [1, 1, 1, 1, 1, 2, 1, 1, 1],
        [2, 1, 1, 1, 1, 1, 1, 1, 1],
        [2, 3, 4, 3, 4, 5, 1, 1, 1],
        [2, 3, 4, 3, 4, 5, 2, 3, 4],
        [1, 2, 3, 2, 2, 2, 5, 6, 7],   // kernel larger than the input
        [3, 2, 2, 1, 1, 1, 3, 4, 5],   // one input element, all kernel
        [2, 2, 300, 1, 2, 3, 1, 2, 2], // two blocks of channels
        [3, 2, 3, 1, 2, 337, 1, 2, 8], // columns in unequal blocks
        [2, 40, 3, 2, 3, 2, 2, 3, 3],  // several blocks of rows for each kd
        [2, 41, 3, 2, 1, 4, 2, 1, 7],  // of which one begins amid the taps of a line
        [1, 2, 2, 40, 40, 3, 2, 3, 3], // several blocks in a group
        [1, 1, 1, 1, 1, 5000, 1, 1, 9],
        [1, 1, 2, 1, 5000, 1, 1, 9, 1],
        [1, 1, 2, 5000, 1, 1, 9, 1, 1],
        [600, 1, 1, 1, 1, 1, 1, 1, 2],
        [128, 1, 1, 1, 1, 14, 1, 1, 5], // a block ends amid a line's last taps
        [128, 2, 2, 1, 4, 28, 1, 1, 7],
        [1, 1, 1, 1, 1, 4, 1, 1, 2000],
        [2, 600, 1, 1, 1, 1, 1, 1, 1],
    ];
    for sizes in cases {
        let problem = builder(sizes).build().unwrap();
        assert_agree(&problem, &draw(&problem));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_problem(
        sizes in [1usize..4, 1..5, 1..6, 1..5, 1..5, 1..7, 1..5, 1..5, 1..5],
        scale in prop_oneof![Just(0.0), -3.0..3.0f64],
        momentum in prop_oneof![(0.0..=1.0f64).prop_map(Momentum::Factor), (0u64..9).prop_map(|num_batches_tracked| Momentum::Cumulative { num_batches_tracked })],
        eval in any::<bool>(),
        given in any::<[bool; 4]>(),
        seed in any::<u64>(),
    ) {
        let mode = if eval { Mode::Eval } else { Mode::Train { momentum } };
        let built = builder(sizes).scale_factor(scale).mode(mode).running_statistics(given[0]).build();
        prop_assume!(built.is_ok());
        let problem = built.unwrap();
        let mut draws = Draws::usual(&problem, seed);
        draws.conv_bias = draws.conv_bias.filter(|_| given[1]);
        draws.bn_weight = draws.bn_weight.filter(|_| given[2]);
        draws.bn_bias = draws.bn_bias.filter(|_| given[3]);
        let tensors = draws.tensors(&problem).unwrap();
        let expected = definition(&problem, &tensors);
        prop_assume!(tells(&tensors, &expected));
        WAYS.into_iter().for_each(|way| assert_agrees(&problem, &tensors, &expected, way));
    }

    /// Every option in every combination, by convolution.
    #[test]
    fn any_options(
        sizes in [1usize..4, 1..4, 1..4, 1..5, 1..5, 1..7, 1..5, 1..5, 1..5],
        stride in [1i64..4, 1..4, 1..6], padding in prop_oneof![Just([0; 3]), [0i64..4, 0..4, 0..4]], dilation in [1i64..4, 1..4, 1..6],
        output_padding in [0i64..3, 0..3, 0..5], groups in 1usize..4,
        eval in any::<bool>(), seed in any::<u64>(),
    ) {
        let [b, ci, co, d, h, w, kd, kh, kw] = sizes;
        let most = |axis: usize| stride[axis].max(dilation[axis]) - 1;
        let output_padding = [0, 1, 2].map(|axis| output_padding[axis].min(most(axis)));
        let builder = builder([b, ci * groups, co, d, h, w, kd, kh, kw]).groups(groups as i64);
        let builder = builder.stride(stride).padding(padding).output_padding(output_padding).dilation(dilation);
        let built = builder.mode(if eval { Mode::Eval } else { Mode::default() }).build();
        prop_assume!(built.is_ok());
        let problem = built.unwrap();
        let tensors = Draws::usual(&problem, seed).tensors(&problem).unwrap();
        let expected = definition(&problem, &tensors);
        prop_assume!(tells(&tensors, &expected));
        assert_agrees(&problem, &tensors, &expected, WAYS[1]);
        if spectral_eligible(&problem).is_ok() {
            assert_agrees(&problem, &tensors, &expected, WAYS[0]);
        }
    }

    /// Lines cut anywhere by the blocks of columns.
    #[test]
    fn any_cut_of_the_columns(batch in 1usize..140, width in 1usize..40, kernel_w in 1usize..12, seed in any::<u64>()) {
        let problem = builder([batch, 1, 2, 1, 1, width, 1, 1, kernel_w]).build();
        prop_assume!(problem.is_ok());
        let problem = problem.unwrap();
        let tensors = Draws::usual(&problem, seed).tensors(&problem).unwrap();
        let expected = definition(&problem, &tensors);
        prop_assume!(tells(&tensors, &expected));
        WAYS.into_iter().for_each(|way| assert_agrees(&problem, &tensors, &expected, way));
    }
}

#[test]
fn one_sample_gives_exactly_beta() {
    fn assert_beta<T: Element + PartialEq>() {
        let problem = builder([1, 3, 4, 3, 5, 4, 3, 2, 3]).build().unwrap();
        let tensors: Tensors<T> = draw(&problem);
        for way in WAYS {
            let out = run(&problem, &tensors.as_inputs(), way).unwrap().output;
            assert!(out.iter().eq(tensors.bn_bias.as_ref().unwrap()), "{way:?} {out}");
        }
    }
    assert_beta::<f32>();
    assert_beta::<f64>();
}

#[test]
fn constant_channels_without_eps_give_beta() {
    let problem = builder([3, 2, 2, 2, 2, 2, 1, 1, 1]).eps(0.0).build().unwrap();
    let mut tensors: Tensors<f64> = draw(&problem);
    for (input, scale) in [(0.1, -1.5), (0.0, -1.5), (0.1, 0.0)] {
        tensors.input.fill(input);
        let problem = builder([3, 2, 2, 2, 2, 2, 1, 1, 1]).eps(0.0).scale_factor(scale).build().unwrap();
        for way in WAYS {
            let out = run(&problem, &tensors.as_inputs(), way).unwrap();
            for ((_, c, ..), value) in out.output.indexed_iter() {
                assert_eq!(*value, tensors.bn_bias.as_ref().unwrap()[c], "{way:?} {input} {scale}");
            }
        }
    }
}

#[test]
fn a_large_mean_cancels_before_it_can_harm() {
    let problem = builder([3, 4, 2, 3, 4, 5, 3, 3, 3]).build().unwrap();
    let mut draws = Draws::usual(&problem, 5);
    draws.input = Draw { seed: 1, lo: 1e6, hi: 1e6 + 1.0 };
    let tensors: Tensors<f64> = draws.tensors(&problem).unwrap();
    let expected = definition(&problem, &tensors);
    for way in WAYS {
        let out = run(&problem, &tensors.as_inputs(), way).unwrap();
        let error = output_error(out.output.view(), expected.output.view(), tensors.as_inputs().bn_bias).unwrap();
        assert!(!error.absolute && error.value < 1e-7, "{way:?} {error:?}");
    }
}

#[test]
fn strict_is_double_precision_rounded_once() {
    let problem = builder([3, 4, 5, 4, 6, 5, 3, 2, 3]).build().unwrap();
    let tensors: Tensors<f32> = draw(&problem);
    let wide = tensors.as_inputs().to_f64().unwrap();
    for way in WAYS {
        let strict = Way { precision: Precision::Strict, ..way };
        let single = run(&problem, &tensors.as_inputs(), strict).unwrap();
        let double = run(&problem, &wide.as_inputs(), way).unwrap();
        assert_eq!(single, double.rounded(), "{way:?}");
    }
}

/// Outputs and variances of `f32` tensors against the definition, on shapes that take either order of the spectral way.
#[test]
fn single_precision_is_within_a_millionth() {
    let cases: [Sizes; 6] = [
        [3, 20, 5, 4, 6, 5, 3, 2, 3],
        [2, 70, 40, 2, 3, 4, 2, 3, 3],
        [2, 3, 4, 9, 10, 33, 3, 3, 3],
        [2, 17, 33, 5, 6, 7, 1, 1, 1],
        [2, 5, 6, 1, 40, 1, 1, 7, 1],
        [5, 9, 2, 6, 1, 29, 2, 1, 9],
    ];
    for sizes in cases {
        let problem = builder(sizes).build().unwrap();
        let tensors: Tensors<f32> = draw(&problem);
        let expected = definition(&problem, &tensors);
        for way in WAYS {
            let found = run(&problem, &tensors.as_inputs(), way).unwrap();
            let error = output_error(found.output.view(), expected.output.view(), tensors.as_inputs().bn_bias).unwrap();
            assert!(error.passes(1e-6), "{sizes:?} {way:?} {error:?}");
            let (found, expected) = (found.batch_var.unwrap(), expected.batch_var.as_ref().unwrap());
            let error = statistic_error("batch_var", found.view(), expected.view()).unwrap();
            assert!(error < 2e-6, "{sizes:?} {way:?} {error}");
        }
    }
}

/// Taps that sum to 0 along each axis over an input that hardly changes: nearly all of the energy cancels.
#[test]
fn what_cancels_is_done_again_in_double_precision() {
    let problem = builder([2, 3, 2, 1, 1, 400, 1, 1, 5]).build().unwrap();
    let mut tensors: Tensors<f32> = draw(&problem);
    let taps = [1.0, -4.0, 6.0, -4.0, 1.0];
    for ((.., k), tap) in tensors.kernel.indexed_iter_mut() {
        *tap = taps[k];
    }
    for ((b, i, .., p), x) in tensors.input.indexed_iter_mut() {
        let p = p as f32 / 400.0;
        *x = (p * (1.0 - p)).powi(6) * (1 + b + i) as f32;
    }
    let expected = definition(&problem, &tensors).batch_var.unwrap();
    for way in WAYS {
        let found = run(&problem, &tensors.as_inputs(), way).unwrap().batch_var.unwrap();
        let error = statistic_error("batch_var", found.view(), expected.view()).unwrap();
        assert!(error < 1e-5, "{way:?} {error}");
    }
}

/// Powers of two in the tensors change nothing but the scale of what comes out: no square leaves the range of `f32`.
#[test]
fn values_at_the_ends_of_the_range() {
    let problem = builder([2, 3, 4, 3, 4, 5, 2, 3, 2]).eps(0.0).build().unwrap();
    let plain: Tensors<f32> = draw(&problem);
    let way = WAYS[0];
    let expected = run(&problem, &plain.as_inputs(), way).unwrap();
    for (of_input, of_kernel) in
        [(2f32.powi(-100), 2f32.powi(100)), (2f32.powi(90), 2f32.powi(-20)), (2f32.powi(-60), 2f32.powi(-60))]
    {
        let mut tensors: Tensors<f32> = draw(&problem);
        tensors.input.mapv_inplace(|x| x * of_input);
        tensors.kernel.mapv_inplace(|w| w * of_kernel);
        tensors.conv_bias = None;
        let found = run(&problem, &tensors.as_inputs(), way).unwrap();
        assert_eq!(found.output, expected.output, "{of_input} {of_kernel}");
    }
}

/// Blocks of channels and columns, groups of more than one block, phases of unequal lengths.
#[test]
fn options_that_cross_every_block_boundary() {
    type Triple = [i64; 3];
    let cases: [(Sizes, Triple, Triple, Triple, Triple, i64); 10] = [
        ([3, 20, 6, 5, 4, 6, 3, 3, 3], [2, 1, 3], [0; 3], [1, 1, 2], [1, 2, 2], 2),
        ([2, 17, 3, 6, 7, 8, 3, 2, 5], [2, 2, 2], [0; 3], [0; 3], [4, 1, 6], 1),
        ([2, 4, 300, 1, 2, 3, 1, 2, 2], [1, 2, 1], [0, 1, 1], [0, 1, 0], [1; 3], 2),
        ([3, 2, 3, 1, 2, 337, 1, 2, 8], [1, 1, 3], [0, 1, 9], [0, 0, 2], [1, 2, 1], 1),
        ([2, 40, 3, 2, 3, 2, 2, 3, 3], [2, 1, 3], [1, 1, 0], [1, 0, 2], [1, 2, 2], 1),
        ([1, 64, 1, 3, 4, 5, 3, 3, 3], [2; 3], [1; 3], [1; 3], [1; 3], 64),
        ([1, 6, 2, 4, 4, 600, 1, 3, 5], [1, 1, 4], [0, 1, 3], [0, 0, 1], [1, 1, 6], 3),
        ([4, 2, 2, 1, 1, 3, 1, 1, 3], [1, 1, 1000], [0; 3], [0, 0, 999], [1; 3], 1),
        ([2, 2, 2, 1, 1, 2, 1, 1, 2], [1; 3], [0; 3], [0; 3], [1, 1, 3000], 1),
        ([2, 1, 1, 1, 1, 2, 1, 1, 2], [1, 1, i64::MAX / 4], [0, 0, i64::MAX / 4], [0, 0, 7], [1, 1, i64::MAX / 4], 1),
    ];
    for (sizes, stride, padding, output_padding, dilation, groups) in cases {
        let builder = builder(sizes).stride(stride).padding(padding).output_padding(output_padding).dilation(dilation);
        let problem = builder.groups(groups).build().unwrap();
        let tensors = draw(&problem);
        let expected = definition(&problem, &tensors);
        assert_agrees(&problem, &tensors, &expected, WAYS[1]);
        match spectral_eligible(&problem) {
            Ok(()) => assert_agrees(&problem, &tensors, &expected, WAYS[0]),
            Err(refused) => assert!(refused.to_string().contains("it does not take padding = "), "{refused}"),
        }
    }
}

/// Before there are tensors any sizes may be asked about: the answer comes at once, and is a refusal with its numbers.
#[test]
fn absurd_options_are_judged_at_once() {
    let facts = crate::Device::cpu().facts();
    let refusal = |builder: ProblemBuilder| {
        let problem = builder.build().unwrap();
        crate::plan::design(&problem, &facts, DType::F32, crate::PlanOptions::default()).unwrap_err().to_string()
    };
    let huge = || builder([2, 1, 1, 1, 1, 1, 1, 1, 1 << 40]);
    assert!(refusal(huge()).contains("needs"), "{}", refusal(huge()));
    assert!(refusal(huge().padding([0, 0, 1 << 38])).contains("needs"));
    let found = refusal(huge().stride([1, 1, 1 << 30]));
    assert_eq!(
        found,
        "stride = 1073741824 over 1099511627776 taps is not supported on the cpu device; the lesser of the two may be at most 2^20"
    );
    // Many phases of all axes: not taken apart, but convolved.
    let many = builder([2, 1, 1, 1, 1, 1, 30, 30, 30]).stride([30; 3]).build().unwrap();
    assert_eq!(spectral_eligible(&many).unwrap_err().to_string(), "it does not take stride = 30,30,30");
    assert!(workspace_bytes(&many, DType::F32, WAYS[1], 2).unwrap() > 0);
}

#[test]
fn cancelled_runs_end_with_an_error() {
    let problem = builder([3, 4, 5, 4, 6, 5, 3, 2, 3]).build().unwrap();
    let tensors: Tensors<f32> = draw(&problem);
    let cancelled = AtomicBool::new(true);
    for way in WAYS {
        let watch = Watch { progress: None, cancelled: Some(&cancelled) };
        assert_eq!(super::run(&problem, &tensors.as_inputs(), way, watch).unwrap_err(), Error::Cancelled);
    }
}

#[test]
fn the_same_bits_with_any_number_of_threads() {
    for sizes in [[3, 5, 7, 6, 9, 200, 3, 3, 3], [3, 40, 70, 3, 4, 5, 3, 3, 3]] {
        let problem = builder(sizes).build().unwrap();
        let tensors: Tensors<f32> = draw(&problem);
        for way in WAYS {
            let with = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| run(&problem, &tensors.as_inputs(), way)).unwrap()
            };
            let once = with(1);
            for threads in [1, 2, 3, 8] {
                assert_eq!(with(threads), once, "{way:?}, {threads} threads");
            }
        }
    }
}

#[test]
fn any_strides() {
    let problem = builder([2, 3, 4, 3, 4, 5, 2, 3, 2]).build().unwrap();
    let tensors: Tensors<f64> = draw(&problem);
    let reversed = |a: &Array5<f64>| a.view().reversed_axes().as_standard_layout().into_owned();
    let (input, kernel) = (reversed(&tensors.input), reversed(&tensors.kernel));
    let strided =
        Inputs { input: input.view().reversed_axes(), kernel: kernel.view().reversed_axes(), ..tensors.as_inputs() };
    assert!(strided.input.to_slice().is_none());
    for way in WAYS {
        assert_eq!(run(&problem, &strided, way).unwrap(), run(&problem, &tensors.as_inputs(), way).unwrap());
    }
}

#[test]
fn eval_with_running_statistics_convolves_nothing() {
    let problem = builder([2, 3, 4, 3, 4, 5, 2, 3, 2]).mode(Mode::Eval).build().unwrap();
    let tensors: Tensors<f64> = draw(&problem);
    let reports = AtomicU64::new(0);
    let count = |_, _| {
        reports.fetch_add(1, Ordering::Relaxed);
    };
    let watch = Watch { progress: Some(&count), cancelled: None };
    let (out, _) = super::run(&problem, &tensors.as_inputs(), WAYS[0], watch).unwrap();
    assert_eq!(reports.into_inner(), 0);
    assert_eq!(out.batch_mean, None);
    assert_eq!(out.running_mean, tensors.running_mean);
    assert!(workspace_bytes(&problem, DType::F64, WAYS[0], 2).unwrap() < 1024);
}

#[test]
fn what_does_not_fit_is_an_error() {
    // A terabyte of input, seen through one element.
    let problem = builder([1 << 20, 1, 1, 1, 1, 1 << 20, 1, 1, 1]).build().unwrap();
    let (one, w) = (Array5::<f32>::zeros((1, 1, 1, 1, 1)), Array5::<f32>::zeros((1, 1, 1, 1, 1)));
    let (mean, var) = (Array1::zeros(1), Array1::zeros(1));
    let inputs = Inputs {
        running_mean: Some(mean.view()),
        running_var: Some(var.view()),
        ..Inputs::new(one.broadcast((1 << 20, 1, 1, 1, 1 << 20)).unwrap(), w.view())
    };
    let refused = run(&problem, &inputs, WAYS[0]).unwrap_err();
    assert!(
        matches!(refused, Error::Memory { what: "input in C order", needed, .. } if needed == 1 << 42),
        "{refused}"
    );
}
