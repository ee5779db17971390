//! The kernels on a GPU, held against the definition in f64. Without a GPU each test says that it was skipped.

use std::thread;

use convt_bn_gap::draw::Draws;
use convt_bn_gap::plan::AlgorithmChoice;
use convt_bn_gap::{
    Algorithm, Device, Error, KernelShape, Mode, Plan, PlanOptions, Precision, Problem, Shape5, Tensors, f16,
};
use convt_bn_gap_tests::agreement::{
    Shape, agrees, every_precision, narrow, on_tensor_cores, problem, run, strict, train, what_is_not_finite_agrees,
    with_options,
};
use convt_bn_gap_tests::gpu;
use proptest::prelude::*;

/// Every form of the kernel with channels and positions one below, at and above its tile.
#[test]
fn tiles_and_their_tails() {
    let Some(device) = gpu() else { return };
    for out_channels in [1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 257] {
        every_precision(&device, (2, 3, out_channels, [3, 4, 5], [2, 3, 2]), train(), out_channels as u64);
    }
    for width in [125, 126, 127, 128, 254, 255] {
        every_precision(&device, (3, 2, 5, [1, 1, width], [1, 1, 3]), train(), width as u64);
    }
    for in_channels in [1, 7, 8, 9, 16, 17] {
        every_precision(&device, (2, in_channels, 6, [2, 3, 4], [1, 1, 1]), train(), in_channels as u64);
    }
}

#[test]
fn options_of_all_kinds() {
    let Some(device) = gpu() else { return };
    for (seed, problem) in with_options(train()).into_iter().chain(with_options(Mode::Eval)).enumerate() {
        let draws = Draws::usual(&problem, seed as u64);
        let tensors = draws.tensors::<f32>(&problem).unwrap();
        agrees(&device, &problem, PlanOptions::default(), &tensors, 1e-5);
        agrees(&device, &problem, strict(), &tensors, 1e-6);
        narrow(&device, &problem, PlanOptions::default(), seed as u64, 1e-5);
        agrees(&device, &problem, PlanOptions::default(), &draws.tensors::<f64>(&problem).unwrap(), 1e-11);
    }
}

#[test]
fn shapes_of_all_kinds_in_both_modes() {
    let Some(device) = gpu() else { return };
    let shapes: [Shape; 6] = [
        (2, 1, 1, [1, 1, 1], [1, 1, 1]),
        (1, 3, 4, [4, 4, 4], [3, 3, 3]),
        (2, 2, 3, [2, 3, 2], [5, 4, 6]),
        (70, 2, 3, [2, 2, 2], [2, 2, 2]),
        (2, 96, 80, [4, 4, 4], [3, 3, 3]),
        (2, 2, 3, [6, 6, 6], [9, 1, 11]),
    ];
    for (seed, shape) in shapes.into_iter().enumerate() {
        every_precision(&device, shape, train(), seed as u64);
        every_precision(&device, shape, Mode::Eval, seed as u64);
    }
}

/// More position tiles than work items: slices of several tiles, merged within a block.
#[test]
fn long_slices() {
    let Some(device) = gpu() else { return };
    let problem = problem((1, 1, 2, [129, 130, 131], [2, 1, 2]), train());
    let tensors = Draws::usual(&problem, 5).tensors::<f32>(&problem).unwrap();
    let plan = Plan::<f32>::new(&problem, &device, PlanOptions::default()).unwrap();
    assert!(plan.recipe().cuda.unwrap().direct().unwrap().work.tiles_per_slice > 1);
    agrees(&device, &problem, PlanOptions::default(), &tensors, 1e-5);
}

#[test]
fn the_same_bits_run_after_run() {
    let Some(device) = gpu() else { return };
    let problem = problem((5, 9, 140, [5, 6, 7], [3, 3, 3]), train());
    let tensors = Draws::usual(&problem, 8).tensors::<f32>(&problem).unwrap();
    let mut plan = Plan::new(&problem, &device, PlanOptions::default()).unwrap();
    let first = plan.run(&tensors.as_inputs()).unwrap();
    for _ in 0..20 {
        assert_eq!(plan.run(&tensors.as_inputs()).unwrap(), first);
    }
    assert_eq!(run(&device, &problem, PlanOptions::default(), &tensors), first, "another plan");
}

#[test]
fn one_sample_gives_beta() {
    let Some(device) = gpu() else { return };
    let problem = problem((1, 4, 6, [6, 6, 6], [3, 3, 3]), train());
    let tensors = Draws::usual(&problem, 2).tensors::<f32>(&problem).unwrap();
    let out = run(&device, &problem, PlanOptions::default(), &tensors);
    assert_eq!(out.output.into_raw_vec_and_offset().0, tensors.bn_bias.unwrap().to_vec());
}

fn direct() -> PlanOptions {
    PlanOptions { algorithm: AlgorithmChoice::Force(Algorithm::Direct), ..PlanOptions::default() }
}

#[test]
fn what_is_not_finite_comes_out_as_by_the_definition() {
    let Some(device) = gpu() else { return };
    for mode in [train(), Mode::Eval] {
        let others = [problem((3, 2, 5, [1, 3, 150], [1, 2, 2]), mode), on_tensor_cores(3, mode)];
        for problem in with_options(mode).into_iter().take(5).chain(others) {
            for options in [direct(), PlanOptions { precision: Precision::Strict, ..direct() }] {
                what_is_not_finite_agrees::<f32>(&device, &problem, options);
            }
            what_is_not_finite_agrees::<f64>(&device, &problem, direct());
            what_is_not_finite_agrees::<f16>(&device, &problem, direct());
        }
    }
}

#[test]
fn tensors_of_any_strides_and_plans_of_many_threads() {
    let Some(device) = gpu() else { return };
    let problem = problem((4, 3, 7, [4, 5, 6], [3, 2, 2]), train());
    let tensors = Draws::usual(&problem, 6).tensors::<f32>(&problem).unwrap();
    let expected = run(&device, &problem, PlanOptions::default(), &tensors);
    let mut inputs = tensors.as_inputs();
    let turned = tensors.input.view().reversed_axes().as_standard_layout().into_owned();
    inputs.input = turned.view().reversed_axes();
    let mut plan = Plan::new(&problem, &device, PlanOptions::default()).unwrap();
    assert_eq!(plan.run(&inputs).unwrap(), expected);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut plan = Plan::new(&problem, &device, PlanOptions::default()).unwrap();
                for _ in 0..10 {
                    assert_eq!(plan.run(&tensors.as_inputs()).unwrap(), expected);
                }
            });
        }
    });
}

/// What is left out counts as PyTorch's default, in eval mode without running statistics the batch's are used, and scale 0
/// leaves β.
#[test]
fn what_is_left_out() {
    let Some(device) = gpu() else { return };
    let input = Shape5 { batch: 3, channels: 2, depth: 3, height: 4, width: 3 };
    let kernel = KernelShape { in_channels: 2, out_channels: 5, depth: 2, height: 1, width: 3 };
    for (mode, scale) in [(train(), 2.0), (Mode::Eval, 2.0), (train(), 0.0)] {
        let problem = Problem::builder(input, kernel).mode(mode).scale_factor(scale).build().unwrap();
        let all = Draws::usual(&problem, 3).tensors::<f32>(&problem).unwrap();
        let none = Tensors { conv_bias: None, bn_weight: None, bn_bias: None, ..all.clone() };
        for tensors in [all, none] {
            let tensors = Tensors { running_mean: None, running_var: None, ..tensors };
            agrees(&device, &problem, PlanOptions::default(), &tensors, 1e-5);
        }
    }
}

/// The plan stays usable after tensors that do not fit, and a problem past the memory is refused before it is tried.
#[test]
fn refusals_leave_the_device_usable() {
    let Some(device) = gpu() else { return };
    let small = problem((2, 2, 3, [3, 3, 3], [2, 2, 2]), train());
    let tensors = Draws::usual(&small, 1).tensors::<f32>(&small).unwrap();
    let mut plan = Plan::new(&small, &device, PlanOptions::default()).unwrap();
    let expected = plan.run(&tensors.as_inputs()).unwrap();
    let mut wrong = tensors.as_inputs();
    wrong.running_mean = None;
    assert!(matches!(plan.run(&wrong), Err(Error::Input(_))));
    let huge = problem((1 << 28, 1, 1 << 12, [1, 1, 1], [1, 1, 1]), train());
    let refused = Plan::<f32>::new(&huge, &device, PlanOptions::default()).unwrap_err();
    assert!(matches!(refused, Error::Memory { available: Some(_), .. }), "{refused}");
    assert_eq!(plan.run(&tensors.as_inputs()).unwrap(), expected);
}

/// A plan that is the last owner of its device frees everything in the device's context.
#[test]
fn a_plan_may_outlive_every_other_handle() {
    if gpu().is_none() {
        return;
    }
    let problem = problem((2, 2, 3, [3, 3, 3], [2, 2, 2]), train());
    let tensors = Draws::usual(&problem, 1).tensors::<f32>(&problem).unwrap();
    for runs in [0, 1] {
        let mut plan = Plan::new(&problem, &Device::cuda(0).unwrap(), PlanOptions::default()).unwrap();
        for _ in 0..runs {
            plan.run(&tensors.as_inputs()).unwrap();
        }
    }
}

#[test]
fn both_ptx_targets_load_and_agree() {
    let Some(device) = gpu() else { return };
    let gpu = device.gpu().unwrap();
    let problem = problem((3, 5, 40, [4, 5, 6], [3, 3, 2]), train());
    let tensors = Draws::usual(&problem, 9).tensors::<f32>(&problem).unwrap();
    let expected = run(&device, &problem, PlanOptions::default(), &tensors);
    for target in ["sm_80", "sm_90a"] {
        if target == "sm_90a" && gpu.facts().compute_capability != (9, 0) {
            continue;
        }
        let other = convt_bn_gap::cuda::CudaDevice::open_with(0, Some(target)).unwrap();
        assert_eq!(other.ptx_target(), target);
        let mut plan = convt_bn_gap::cuda::CudaPlan::new(&problem, PlanOptions::default(), &other).unwrap();
        assert_eq!(plan.run(&tensors.as_inputs()).unwrap(), expected, "{target}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_shape_agrees_with_the_definition(
        batch in 1usize..5, channels in 1usize..12, out_channels in 1usize..70,
        extents in prop::array::uniform3(1usize..9), kernel in prop::array::uniform3(1usize..6),
        eval: bool, seed: u64,
    ) {
        prop_assume!(batch * extents.iter().zip(kernel).map(|(n, k)| n + k - 1).product::<usize>() > 1);
        if let Some(device) = any_gpu() {
            let mode = if eval { Mode::Eval } else { train() };
            every_precision(device, (batch, channels, out_channels, extents, kernel), mode, seed);
        }
    }
}

/// One device for all cases, and one line where there is none.
fn any_gpu() -> Option<&'static Device> {
    static GPU: std::sync::OnceLock<Option<Device>> = std::sync::OnceLock::new();
    GPU.get_or_init(gpu).as_ref()
}
