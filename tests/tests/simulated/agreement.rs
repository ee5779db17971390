//! The kernels through the whole host, against the definition, within the bounds of a GPU. Small shapes: the executor does
//! some ten million multiplications a second.

use convt_bn_gap::draw::Draws;
use convt_bn_gap::{Device, Mode, PlanOptions};
use convt_bn_gap_tests::agreement::{Shape, every_precision, problem, run, train};
use cuda_std::simt::Schedule;
use simulated_driver::{Machine, with};

use crate::alone::alone;

fn gpu() -> Device {
    Device::cuda(0).expect("the simulated device")
}

#[test]
fn tiles_and_their_tails() {
    alone(Machine::default(), || {
        let device = gpu();
        for out_channels in [1, 15, 16, 17, 32, 33, 65, 129] {
            every_precision(&device, (2, 3, out_channels, [3, 1, 2], [1, 3, 2]), train(), out_channels as u64);
        }
        for width in [125, 126, 127, 254] {
            every_precision(&device, (2, 2, 5, [1, 1, width], [1, 1, 3]), train(), width as u64);
        }
        for in_channels in [1, 7, 8, 9, 17] {
            every_precision(&device, (2, in_channels, 6, [2, 3, 1], [1, 1, 1]), train(), in_channels as u64);
        }
    });
}

#[test]
fn shapes_of_all_kinds_in_both_modes() {
    alone(Machine::default(), || {
        let device = gpu();
        let shapes: [Shape; 5] = [
            (2, 1, 1, [1, 1, 1], [1, 1, 1]),
            (1, 3, 4, [3, 4, 2], [3, 3, 3]),
            (2, 2, 3, [2, 3, 2], [5, 4, 6]),
            (40, 2, 3, [2, 1, 2], [1, 2, 2]),
            (2, 2, 3, [3, 3, 3], [4, 1, 6]),
        ];
        for (seed, shape) in shapes.into_iter().enumerate() {
            every_precision(&device, shape, train(), seed as u64);
            every_precision(&device, shape, Mode::Eval, seed as u64);
        }
    });
}

#[test]
fn the_same_bits_under_every_schedule() {
    alone(Machine::default(), || {
        let device = gpu();
        let problem = problem((3, 5, 40, [2, 3, 7], [2, 3, 2]), train());
        let tensors = Draws::usual(&problem, 8).tensors::<f32>(&problem).unwrap();
        let first = run(&device, &problem, PlanOptions::default(), &tensors);
        for schedule in [Schedule::Reversed, Schedule::Random(1), Schedule::Random(2)] {
            with(|state| state.schedule = schedule);
            assert_eq!(run(&device, &problem, PlanOptions::default(), &tensors), first, "{schedule:?}");
        }
    });
}

#[test]
fn one_sample_gives_beta() {
    alone(Machine::default(), || {
        let device = gpu();
        let single = problem((1, 4, 6, [3, 3, 3], [2, 2, 2]), train());
        let tensors = Draws::usual(&single, 2).tensors::<f32>(&single).unwrap();
        let out = run(&device, &single, PlanOptions::default(), &tensors);
        assert_eq!(out.output.into_raw_vec_and_offset().0, tensors.bn_bias.unwrap().to_vec());
    });
}
