//! NaN and infinities through the whole host: each comes out where, and as what, the definition has it.

use convt_bn_gap::plan::AlgorithmChoice;
use convt_bn_gap::{Algorithm, Device, Mode, PlanOptions, Precision, bf16};
use convt_bn_gap_tests::agreement::{problem, train, what_is_not_finite_agrees, with_options, without_padding};
use simulated_driver::Machine;

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
            let tiles = problem((2, 2, 3, [1, 1, 130], [1, 1, 140]), mode);
            what_is_not_finite_agrees::<f64>(&device, &tiles, forced(Algorithm::Direct, Precision::Default));
        }
    });
}

#[test]
fn by_the_spectra() {
    alone(Machine::default(), || {
        let device = Device::cuda(0).unwrap();
        for mode in [train(), Mode::Eval] {
            for problem in without_padding(mode).iter().take(2) {
                what_is_not_finite_agrees::<f32>(&device, problem, forced(Algorithm::Spectral, Precision::Default));
            }
            for shape in [(3, 2, 3, [2, 3, 3], [1, 2, 2]), (2, 2, 3, [1, 3, 70], [1, 2, 1])] {
                what_is_not_finite_agrees::<f32>(
                    &device,
                    &problem(shape, mode),
                    forced(Algorithm::Spectral, Precision::Default),
                );
            }
        }
    });
}
