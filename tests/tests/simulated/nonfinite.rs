//! NaN and infinities through the whole host: each comes out where, and as what, the definition has it.

use convt_bn_gap::plan::AlgorithmChoice;
use convt_bn_gap::{Algorithm, Device, Mode, Plan, PlanOptions, Precision, bf16, f16};
use convt_bn_gap_tests::agreement::{
    problem, train, what_is_not_finite_agrees, with_options, with_taps_cut_off, without_padding,
};
use cuda_std::simt::Schedule;
use simulated_driver::{Machine, with};

use crate::alone::alone;

fn forced(algorithm: Algorithm, precision: Precision) -> PlanOptions {
    PlanOptions { algorithm: AlgorithmChoice::Force(algorithm), precision, ..PlanOptions::default() }
}

#[test]
fn on_the_tensor_cores() {
    alone(Machine::default(), || {
        let device = Device::cuda(0).unwrap();
        for mode in [train(), Mode::Eval] {
            for problem in with_options(mode).iter().take(4) {
                what_is_not_finite_agrees::<f32>(&device, problem, forced(Algorithm::Direct, Precision::Default));
            }
            with(|state| state.schedule = Schedule::Random(3));
            what_is_not_finite_agrees::<f32>(
                &device,
                &with_taps_cut_off(mode),
                forced(Algorithm::Direct, Precision::Default),
            );
            let plain = problem((3, 2, 5, [1, 3, 7], [1, 2, 2]), mode);
            what_is_not_finite_agrees::<bf16>(&device, &plain, forced(Algorithm::Direct, Precision::Default));
        }
    });
}

/// Several tiles of positions, in one of which an infinite tap meets nothing.
#[test]
fn on_the_cuda_cores() {
    alone(Machine::default(), || {
        let device = Device::cuda(0).unwrap();
        for mode in [train(), Mode::Eval] {
            for problem in with_options(mode).iter().take(4) {
                what_is_not_finite_agrees::<f32>(&device, problem, forced(Algorithm::Direct, Precision::Strict));
            }
            with(|state| state.schedule = Schedule::Random(4));
            what_is_not_finite_agrees::<f32>(
                &device,
                &with_taps_cut_off(mode),
                forced(Algorithm::Direct, Precision::Strict),
            );
            let tiles = problem((2, 2, 3, [1, 1, 130], [1, 1, 140]), mode);
            what_is_not_finite_agrees::<f64>(&device, &tiles, forced(Algorithm::Direct, Precision::Default));
        }
    });
}

/// Two bundles of three groups.
#[test]
fn by_the_spectra_in_bundles() {
    alone(Machine::default(), || {
        let device = Device::cuda(0).unwrap();
        let (options, problems) = (forced(Algorithm::Spectral, Precision::Default), without_padding(train()));
        for (problem, bundles) in [(&problems[7], 1), (&problems[5], 2)] {
            let plan = Plan::<f32>::new(problem, &device, options).unwrap();
            let parts = plan.recipe().cuda.unwrap().spectral().unwrap().parts;
            assert!(parts.bundle > 1 && parts.bundles() == bundles, "{problem:?}");
        }
        what_is_not_finite_agrees::<f32>(&device, &problems[5], options);
    });
}

#[test]
fn by_the_spectra() {
    alone(Machine::default(), || {
        let device = Device::cuda(0).unwrap();
        for mode in [train(), Mode::Eval] {
            let options = without_padding(mode);
            what_is_not_finite_agrees::<f32>(&device, &options[2], forced(Algorithm::Spectral, Precision::Default));
            with(|state| state.schedule = Schedule::Random(5));
            // Groups with options, one bundle of them.
            what_is_not_finite_agrees::<f16>(&device, &options[7], forced(Algorithm::Spectral, Precision::Default));
            let axes = problem((2, 2, 3, [1, 3, 70], [1, 2, 1]), mode);
            what_is_not_finite_agrees::<f32>(&device, &axes, forced(Algorithm::Spectral, Precision::Default));
        }
    });
}
