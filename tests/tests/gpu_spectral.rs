//! The spectral way on a GPU, held against the definition in f64. Without a GPU each test says that it was skipped.

use convt_bn_gap::check;
use convt_bn_gap::draw::Draws;
use convt_bn_gap::plan::{AlgorithmChoice, Reuse, Transform};
use convt_bn_gap::{Algorithm, Device, Mode, Outputs, Plan, PlanOptions, Precision, Problem, Tensors};
use convt_bn_gap_tests::agreement::{
    Shape, agrees, agrees_within, narrow, problem, run, train, what_is_not_finite_agrees, without_padding,
};
use convt_bn_gap_tests::gpu;

fn spectral(precision: Precision) -> PlanOptions {
    PlanOptions { algorithm: AlgorithmChoice::Force(Algorithm::Spectral), precision, ..PlanOptions::default() }
}

fn both_precisions(device: &Device, shape: Shape, mode: Mode, seed: u64) {
    let problem = problem(shape, mode);
    let tensors = Draws::usual(&problem, seed).tensors::<f32>(&problem).unwrap();
    agrees(device, &problem, spectral(Precision::Default), &tensors, 1e-5);
    // Tensor cores cut sums off, so energies of many channels come out low: by 1.3e-6 with 96.
    agrees_within(device, &problem, spectral(Precision::Strict), &tensors, (1e-6, 2e-6));
    narrow(device, &problem, spectral(Precision::Default), seed, 1e-5);
}

#[test]
fn shapes_of_all_kinds_in_both_modes() {
    let Some(device) = gpu() else { return };
    let shapes: [Shape; 12] = [
        (2, 1, 1, [1, 1, 1], [1, 1, 1]),
        (1, 3, 4, [4, 4, 4], [3, 3, 3]),
        (2, 2, 3, [2, 3, 2], [5, 4, 6]),
        (70, 2, 3, [2, 2, 2], [2, 2, 2]),
        (2, 96, 80, [4, 4, 4], [3, 3, 3]),
        (2, 2, 3, [6, 6, 6], [9, 1, 11]),
        (3, 2, 5, [1, 1, 700], [1, 1, 30]),
        (3, 2, 5, [9, 1, 300], [2, 1, 3]),
        (17, 33, 17, [7, 11, 13], [3, 2, 5]),
        (2, 5, 6, [3, 40, 50], [1, 7, 3]),
        (3, 4, 130, [20, 30, 31], [5, 3, 4]),
        (9, 2, 3, [16, 40, 40], [3, 3, 3]),
    ];
    for (seed, shape) in shapes.into_iter().enumerate() {
        both_precisions(&device, shape, train(), seed as u64);
        both_precisions(&device, shape, Mode::Eval, seed as u64);
    }
}

/// Most of its lines are plain.
fn with_plain_lines() -> (Problem, Tensors<f32>) {
    let problem = problem((64, 64, 70, [14, 30, 30], [3, 3, 3]), train());
    let tensors = Draws::usual(&problem, 8).tensors(&problem).unwrap();
    (problem, tensors)
}

#[test]
fn a_batch_in_pieces_is_the_whole() {
    let Some(device) = gpu() else { return };
    let (problem, tensors) = with_plain_lines();
    let options = spectral(Precision::Default);
    let needed = Plan::<f32>::new(&problem, &device, options).unwrap().workspace_bytes();
    let expected = run(&device, &problem, options, &tensors);
    let mut cuts = Vec::new();
    for budget in [needed, needed * 3 / 4, needed / 2] {
        let options = PlanOptions { workspace_budget: Some(budget), ..options };
        let plan = Plan::<f32>::new(&problem, &device, options).unwrap();
        let design = *plan.recipe().cuda.unwrap().spectral().unwrap();
        assert!(design.spectrum.plain_lines() > 0 && plan.workspace_bytes() <= budget);
        cuts.push(design.cuts());
        drop(plan);
        is_the_same(&run(&device, &problem, options, &tensors), &expected, &tensors, &format!("{cuts:?}"));
    }
    assert!(cuts[0] == 1 && cuts[1] > 1 && cuts[2] > cuts[1], "{cuts:?}");
}

/// Panics unless two ways of the same sums agree.
fn is_the_same(found: &Outputs<f32>, expected: &Outputs<f32>, tensors: &Tensors<f32>, what: &str) {
    let (of, beta) = (expected.output.mapv(f64::from), tensors.bn_bias.as_ref().unwrap());
    let error = check::output_error(found.output.view(), of.view(), Some(beta.view())).unwrap();
    assert!(error.value <= 1e-7, "{what}: {error:?}");
    let (found, expected) = (found.batch_var.as_ref().unwrap(), expected.batch_var.as_ref().unwrap());
    // Sums of f32 in another order: four roundings.
    let difference = found.iter().zip(expected).map(|(a, b)| (a / b - 1.0).abs()).fold(0.0, f64::max);
    assert!(difference <= 4.8e-7, "{what}: {difference:e}");
}

/// All lines at once; in chunks, whose sums overwrite spectra; and joined chunk by chunk. The last cut has fewer images.
#[test]
fn sums_in_the_place_of_spectra_are_the_same() {
    let Some(device) = gpu() else { return };
    let problem = problem((48, 64, 24, [16, 32, 32], [5, 5, 5]), train());
    let tensors = Draws::usual(&problem, 9).tensors(&problem).unwrap();
    let expected = run(&device, &problem, spectral(Precision::Default), &tensors);
    let mut seen = Vec::new();
    for mib in [300, 255, 220, 190, 100] {
        let options = PlanOptions { workspace_budget: Some(mib << 20), ..spectral(Precision::Default) };
        let plan = Plan::<f32>::new(&problem, &device, options).unwrap();
        let design = *plan.recipe().cuda.unwrap().spectral().unwrap();
        drop(plan);
        seen.push((design.cuts(), design.gram.chunks(&design.cut(0)).count(), design.gram.reuse));
        is_the_same(&run(&device, &problem, options, &tensors), &expected, &tensors, &format!("{mib} MiB"));
    }
    let sums = |cuts, chunks| (cuts, chunks, Reuse::Sums);
    assert_eq!(seen, [sums(1, 1), sums(1, 2), sums(2, 1), sums(2, 2), (4, 2, Reuse::Joined)]);
}

#[test]
fn the_same_bits_run_after_run() {
    let Some(device) = gpu() else { return };
    let (problem, tensors) = with_plain_lines();
    for precision in [Precision::Default, Precision::Strict] {
        let mut plan = Plan::new(&problem, &device, spectral(precision)).unwrap();
        let first = plan.run(&tensors.as_inputs()).unwrap();
        for _ in 0..100 {
            assert_eq!(plan.run(&tensors.as_inputs()).unwrap(), first);
        }
        assert_eq!(run(&device, &problem, spectral(precision), &tensors), first, "another plan");
    }
}

/// Strides as phases, dilations as lags, groups in bundles; and all of them.
#[test]
fn options_without_padding() {
    let Some(device) = gpu() else { return };
    for mode in [train(), Mode::Eval] {
        for (seed, problem) in without_padding(mode).into_iter().enumerate() {
            let tensors = Draws::usual(&problem, seed as u64).tensors::<f32>(&problem).unwrap();
            agrees(&device, &problem, spectral(Precision::Default), &tensors, 1e-5);
            agrees_within(&device, &problem, spectral(Precision::Strict), &tensors, (1e-6, 2e-6));
            narrow(&device, &problem, spectral(Precision::Default), seed as u64, 1e-5);
        }
    }
}

#[test]
fn what_is_not_finite_comes_out_as_by_the_definition() {
    let Some(device) = gpu() else { return };
    for mode in [train(), Mode::Eval] {
        for shape in [(3, 2, 5, [3, 3, 3], [2, 2, 2]), (3, 2, 5, [3, 3, 100], [2, 2, 2])] {
            what_is_not_finite_agrees::<f32>(&device, &problem(shape, mode), spectral(Precision::Default));
        }
        for problem in without_padding(mode) {
            what_is_not_finite_agrees::<f32>(&device, &problem, spectral(Precision::Default));
        }
    }
}

/// Captured in a graph and timed stage by stage, volumes in shared memory and axis by axis.
#[test]
fn it_is_timed_and_replayed() {
    let Some(device) = gpu() else { return };
    for (shape, in_shared) in [((4, 3, 5, [5, 6, 7], [3, 3, 3]), true), ((4, 3, 5, [2, 3, 300], [1, 3, 3]), false)] {
        let problem = problem(shape, train());
        let tensors = Draws::usual(&problem, 1).tensors::<f32>(&problem).unwrap();
        let mut plan = Plan::new(&problem, &device, spectral(Precision::Default)).unwrap();
        let design = *plan.recipe().cuda.unwrap().spectral().unwrap();
        assert_eq!(matches!(design.transform, Transform::Volume(_)), in_shared);
        let measured = plan.measure_on_device(&tensors.as_inputs(), 5).unwrap().unwrap();
        assert_eq!((measured.runs_ms.len(), measured.graph_ms.len()), (5, 5));
        assert!(measured.stages.iter().all(|stage| stage.runs_ms.iter().all(|&ms| ms > 0.0)), "{measured:?}");
    }
}
