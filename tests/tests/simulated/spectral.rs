//! The spectral way through the whole host: against the definition, cut in pieces, captured, timed, and failing.

use convt_bn_gap::draw::Draws;
use convt_bn_gap::plan::{AlgorithmChoice, Transform};
use convt_bn_gap::{
    Algorithm, Device, Error, KernelShape, Mode, Plan, PlanOptions, Precision, Problem, Shape5, Tensors,
};
use convt_bn_gap_tests::agreement::{Shape, agrees, narrow, problem, run, train, without_padding};
use cuda_std::simt::Schedule;
use simulated_driver::{Machine, Usage, with};

use crate::alone::alone;

const MACHINE_BYTES: usize = 64 << 20;

fn machine() -> Machine {
    Machine { memory: MACHINE_BYTES, ..Machine::default() }
}

fn spectral(precision: Precision) -> PlanOptions {
    PlanOptions { algorithm: AlgorithmChoice::Force(Algorithm::Spectral), precision, ..PlanOptions::default() }
}

fn both_precisions(device: &Device, shape: Shape, mode: Mode, seed: u64) {
    let problem = problem(shape, mode);
    let tensors = Draws::usual(&problem, seed).tensors::<f32>(&problem).unwrap();
    agrees(device, &problem, spectral(Precision::Default), &tensors, 1e-5);
    agrees(device, &problem, spectral(Precision::Strict), &tensors, 1e-6);
    narrow(device, &problem, spectral(Precision::Default), seed, 1e-5);
}

#[test]
fn shapes_of_all_kinds_in_both_modes() {
    alone(machine(), || {
        let device = Device::cuda(0).unwrap();
        let shapes: [Shape; 9] = [
            (2, 1, 1, [1, 1, 1], [1, 1, 1]),
            (3, 3, 4, [3, 4, 2], [3, 3, 3]),
            (2, 2, 3, [2, 3, 2], [5, 4, 6]),
            (17, 2, 3, [2, 1, 2], [1, 2, 2]),
            (2, 17, 33, [2, 3, 4], [2, 1, 3]),
            (2, 2, 3, [1, 1, 30], [1, 1, 23]),
            (2, 2, 3, [5, 1, 7], [3, 1, 2]),
            // Axis by axis: an axis past what a thread holds in registers.
            (3, 2, 3, [2, 3, 150], [1, 2, 2]),
            (2, 2, 3, [1, 200, 2], [1, 3, 1]),
        ];
        for (seed, shape) in shapes.into_iter().enumerate() {
            both_precisions(&device, shape, train(), seed as u64);
        }
        for shape in [shapes[1], shapes[7]] {
            both_precisions(&device, shape, Mode::Eval, 7);
        }
    });
}

/// Strides as phases, dilations as lags, groups in bundles; and all of them.
#[test]
fn options_without_padding() {
    alone(machine(), || {
        let device = Device::cuda(0).unwrap();
        for (mode, count) in [(train(), usize::MAX), (Mode::Eval, 2)] {
            for (seed, problem) in without_padding(mode).into_iter().take(count).enumerate() {
                let tensors = Draws::usual(&problem, seed as u64).tensors::<f32>(&problem).unwrap();
                agrees(&device, &problem, spectral(Precision::Default), &tensors, 1e-5);
                agrees(&device, &problem, spectral(Precision::Strict), &tensors, 1e-6);
                narrow(&device, &problem, spectral(Precision::Default), seed as u64, 1e-5);
            }
        }
    });
}

/// Groups and phases with the batch in pieces.
#[test]
fn groups_in_pieces_are_the_whole() {
    alone(machine(), || {
        let device = Device::cuda(0).unwrap();
        let input = Shape5 { batch: 34, channels: 4, depth: 2, height: 6, width: 5 };
        let kernel = KernelShape { in_channels: 4, out_channels: 3, depth: 2, height: 3, width: 2 };
        let builder = Problem::builder(input, kernel).stride([1, 2, 1]).dilation([2, 1, 1]).groups(2);
        let problem = builder.build().unwrap();
        let tensors = Draws::usual(&problem, 3).tensors::<f32>(&problem).unwrap();
        let whole = spectral(Precision::Default);
        let bytes = Plan::<f32>::new(&problem, &device, whole).unwrap().recipe().workspace_bytes;
        let pieces = PlanOptions { workspace_budget: Some(bytes - bytes / 4), ..whole };
        let plan = Plan::<f32>::new(&problem, &device, pieces).unwrap();
        let design = *plan.recipe().cuda.unwrap().spectral().unwrap();
        assert!(design.cuts() > 1 && design.parts.phases() == 2 && design.parts.groups() == 2, "{design:?}");
        drop(plan);
        agrees(&device, &problem, whole, &tensors, 1e-5);
        agrees(&device, &problem, pieces, &tensors, 1e-5);
    });
}

/// Along an axis of one element with a stride every tap is a position of its own. All alike, they leave z flat: rounding must
/// not leave a variance below 0, whose root is NaN.
#[test]
fn a_flat_convolution_gives_beta() {
    alone(machine(), || {
        let device = Device::cuda(0).unwrap();
        for eps in [0.0, 1e-5] {
            let input = Shape5 { batch: 1, channels: 2, depth: 1, height: 1, width: 1 };
            let kernel = KernelShape { in_channels: 2, out_channels: 40, depth: 3, height: 3, width: 3 };
            let problem = Problem::builder(input, kernel).stride([2; 3]).eps(eps).build().unwrap();
            let mut tensors = Draws::usual(&problem, 3).tensors::<f32>(&problem).unwrap();
            tensors.input.fill(100.0);
            for ((_, c, ..), tap) in tensors.kernel.indexed_iter_mut() {
                *tap = 1.0 + 0.1 * c as f32;
            }
            for precision in [Precision::Default, Precision::Strict] {
                let out = run(&device, &problem, spectral(precision), &tensors);
                assert!(out.batch_var.unwrap().iter().all(|&var| var >= 0.0));
                assert_eq!(out.output.into_raw_vec_and_offset().0, tensors.bn_bias.clone().unwrap().to_vec());
            }
        }
    });
}

/// Large enough that most lines are plain.
#[test]
fn plain_lines_agree() {
    alone(machine(), || {
        let device = Device::cuda(0).unwrap();
        let problem = problem((2, 64, 5, [15, 30, 30], [2, 3, 3]), train());
        let tensors = Draws::usual(&problem, 8).tensors::<f32>(&problem).unwrap();
        let options = spectral(Precision::Default);
        let plan = Plan::<f32>::new(&problem, &device, options).unwrap();
        assert!(plan.recipe().cuda.unwrap().spectral().unwrap().spectrum.plain_lines() > 0);
        drop(plan);
        agrees(&device, &problem, options, &tensors, 1e-5);
    });
}

/// A problem whose batch may be cut.
fn of_many_images() -> (Problem, Tensors<f32>) {
    let problem = problem((32, 3, 5, [3, 6, 7], [2, 3, 1]), train());
    let tensors = Draws::usual(&problem, 8).tensors(&problem).unwrap();
    (problem, tensors)
}

#[test]
fn a_batch_in_pieces_is_the_whole() {
    alone(machine(), || {
        let device = Device::cuda(0).unwrap();
        let (problem, tensors) = of_many_images();
        let options = spectral(Precision::Default);
        let plan = Plan::<f32>::new(&problem, &device, options).unwrap();
        let lengths = plan.recipe().cuda.unwrap().spectral().unwrap().lengths();
        let (needed, spectra) = (plan.workspace_bytes(), 4 * (lengths.high + lengths.low));
        drop(plan);
        let expected = run(&device, &problem, options, &tensors);
        let mut seen = Vec::new();
        // What the spectra of fewer images leave, and some room for the energies of more cuts.
        for budget in [needed, needed - spectra * 3 / 8, needed - spectra * 5 / 8] {
            let options = PlanOptions { workspace_budget: Some(budget), ..options };
            let plan = Plan::<f32>::new(&problem, &device, options).unwrap();
            let design = *plan.recipe().cuda.unwrap().spectral().unwrap();
            assert!(design.workspace_bytes() <= budget);
            seen.push(design.cuts());
            drop(plan);
            let found = run(&device, &problem, options, &tensors);
            let beta = tensors.bn_bias.as_ref().unwrap();
            let error = convt_bn_gap::check::output_error(
                found.output.view(),
                expected.output.mapv(f64::from).view(),
                Some(beta.view()),
            );
            assert!(error.unwrap().value <= 1e-7);
            let (found, expected) = (found.batch_var.unwrap(), expected.batch_var.as_ref().unwrap());
            // Sums of f32 in another order: four roundings.
            let difference = found.iter().zip(expected).map(|(a, b)| (a / b - 1.0).abs()).fold(0.0, f64::max);
            assert!(difference <= 4.8e-7, "{difference:e}");
        }
        assert!(seen[0] == 1 && seen[1] > 1 && seen[2] > seen[1], "{seen:?}");
    });
}

#[test]
fn the_same_bits_under_every_schedule() {
    alone(machine(), || {
        let device = Device::cuda(0).unwrap();
        let problem = problem((3, 5, 20, [2, 3, 7], [2, 3, 2]), train());
        let tensors = Draws::usual(&problem, 8).tensors::<f32>(&problem).unwrap();
        let first = run(&device, &problem, spectral(Precision::Default), &tensors);
        for schedule in [Schedule::Reversed, Schedule::Random(1)] {
            with(|state| state.schedule = schedule);
            assert_eq!(run(&device, &problem, spectral(Precision::Default), &tensors), first, "{schedule:?}");
        }
    });
}

#[test]
fn it_is_timed_stage_by_stage_and_gives_all_back() {
    alone(machine(), || {
        let device = Device::cuda(0).unwrap();
        let problem = problem((2, 2, 3, [3, 3, 3], [2, 2, 2]), train());
        let tensors = Draws::usual(&problem, 1).tensors::<f32>(&problem).unwrap();
        let mut plan = Plan::new(&problem, &device, spectral(Precision::Default)).unwrap();
        assert!(matches!(plan.recipe().cuda.unwrap().spectral().unwrap().transform, Transform::Fft(_)));
        let measured = plan.measure_on_device(&tensors.as_inputs(), 2).unwrap().unwrap();
        let names: Vec<_> = measured.stages.iter().map(|stage| stage.name).collect();
        let expected = [
            "volume_fft",
            "tap_moments",
            "tap_spectrum",
            "input_scales",
            "line_gram",
            "grid_resample",
            "pair_resample",
            "gram_energy",
            "spectral_finish",
        ];
        assert_eq!(names, expected);
        assert_eq!((measured.runs_ms.len(), measured.graph_ms.len()), (2, 2));
        drop((plan, device));
        assert_eq!(with(|state| state.usage()), Usage::NOTHING);
    });
}

#[test]
fn what_is_not_eligible_is_refused_in_one_sentence() {
    alone(machine(), || {
        let device = Device::cuda(0).unwrap();
        let (problem, _) = of_many_images();
        let refused = Plan::<f64>::new(&problem, &device, spectral(Precision::Default)).unwrap_err();
        assert!(matches!(refused, Error::Ineligible(_)) && !refused.is_device_failure(), "{refused}");
        let small = PlanOptions { workspace_budget: Some(1000), ..spectral(Precision::Default) };
        let refused = Plan::<f32>::new(&problem, &device, small).unwrap_err().to_string();
        assert!(refused.contains("bytes of workspace; at most 1000 are allowed"), "{refused}");
        let auto = PlanOptions { algorithm: AlgorithmChoice::Auto, ..small };
        let plan = Plan::<f32>::new(&problem, &device, auto).unwrap();
        assert_eq!(plan.recipe().reason, "direct: spectral takes more workspace than is allowed");
    });
}
