//! A GPU's outputs held against the definition in f64: what the tests on a GPU and on the simulated driver share.

use convt_bn_gap::draw::Draws;
use convt_bn_gap::{
    Device, KernelShape, Mode, Momentum, Outputs, Plan, PlanOptions, Precision, Problem, Shape5, Storage, Tensors,
    bf16, check, f16, reference,
};

/// B, Cin, Cout, [D, H, W], [Kd, Kh, Kw].
pub type Shape = (usize, usize, usize, [usize; 3], [usize; 3]);

/// The problem of that shape, with every option away from its default.
///
/// # Panics
/// Where there is no such problem.
pub fn problem((batch, channels, out_channels, [depth, height, width], [kd, kh, kw]): Shape, mode: Mode) -> Problem {
    let input = Shape5 { batch, channels, depth, height, width };
    let kernel = KernelShape { in_channels: channels, out_channels, depth: kd, height: kh, width: kw };
    let builder = Problem::builder(input, kernel).scale_factor(-1.5).eps(1e-4).mode(mode).running_statistics(true);
    builder.build().expect("a valid problem")
}

/// Problems with options of the convolution, one by one and together.
///
/// # Panics
/// Where one is not valid.
pub fn with_options(mode: Mode) -> Vec<Problem> {
    let problem = |groups: usize, stride, padding, output_padding, dilation| {
        let input = Shape5 { batch: 2, channels: 2 * groups, depth: 3, height: 4, width: 5 };
        let kernel = KernelShape { in_channels: 2 * groups, out_channels: 3, depth: 2, height: 3, width: 3 };
        let builder = Problem::builder(input, kernel).scale_factor(-1.5).eps(1e-4).mode(mode).running_statistics(true);
        let builder = builder.stride(stride).padding(padding).output_padding(output_padding).dilation(dilation);
        builder.groups(groups as i64).build().expect("a valid problem")
    };
    vec![
        problem(1, [2, 1, 3], [0; 3], [0; 3], [1; 3]),
        problem(1, [1; 3], [1, 0, 2], [0; 3], [1; 3]),
        problem(1, [1; 3], [0; 3], [0; 3], [1, 2, 3]),
        problem(3, [1; 3], [0; 3], [0; 3], [1; 3]),
        problem(1, [3, 2, 4], [0; 3], [2, 1, 3], [1; 3]),
        problem(50, [2, 3, 1], [1, 0, 2], [1, 2, 1], [3, 1, 2]),
    ]
}

/// Problems with options of the convolution, but for padding, which cuts off what the spectral way cannot.
///
/// # Panics
/// Where one is not valid.
pub fn without_padding(mode: Mode) -> Vec<Problem> {
    // Channels of a group, groups; input; kernel; options.
    let problem =
        |[of_group, groups]: [usize; 2], input: [usize; 3], [kd, kh, kw]: [usize; 3], options: [[i64; 3]; 3]| {
            let ([depth, height, width], channels) = (input, of_group * groups);
            let input = Shape5 { batch: 3, channels, depth, height, width };
            let kernel = KernelShape { in_channels: channels, out_channels: 2, depth: kd, height: kh, width: kw };
            let builder =
                Problem::builder(input, kernel).scale_factor(-1.5).eps(1e-4).mode(mode).running_statistics(true);
            let [stride, dilation, output_padding] = options;
            let builder = builder.stride(stride).dilation(dilation).output_padding(output_padding);
            builder.groups(groups as i64).build().expect("a valid problem")
        };
    vec![
        // More channels a group than a tile of products has.
        problem([17, 2], [2, 2, 3], [2, 2, 2], [[1, 2, 1], [1; 3], [0; 3]]),
        // As many taps a phase in every phase, and not; positions that no tap meets.
        problem([3, 1], [3, 4, 5], [4, 2, 2], [[2, 2, 1], [1; 3], [0; 3]]),
        problem([3, 2], [3, 2, 4], [3, 1, 5], [[2, 3, 4], [1; 3], [1, 2, 0]]),
        problem([3, 1], [4, 3, 6], [2, 3, 3], [[1; 3], [3, 1, 2], [0; 3]]),
        problem([3, 3], [2, 3, 4], [2, 3, 2], [[1; 3], [1; 3], [0; 3]]),
        // Two bundles of three groups, of two phases.
        problem([16, 6], [1, 2, 3], [1, 2, 2], [[1, 1, 2], [1; 3], [0; 3]]),
        // Strides and dilations with and without a common divisor.
        problem([3, 1], [3, 3, 3], [3, 3, 5], [[2, 4, 3], [4, 6, 2], [3, 0, 2]]),
        problem([3, 2], [1, 1, 7], [1, 2, 4], [[1, 2, 2], [1, 1, 3], [0, 1, 0]]),
        problem([3, 5], [1, 4, 90], [1, 2, 3], [[1, 1, 2], [1, 5, 1], [0, 3, 0]]),
    ]
}

/// Strides that the CUDA cores would multiply zeros for: of the direct way less work on tensor cores.
///
/// # Panics
/// Where there is no such problem.
pub fn on_tensor_cores(groups: i64, mode: Mode) -> Problem {
    let input = Shape5 { batch: 3, channels: 18, depth: 4, height: 5, width: 6 };
    let kernel = KernelShape { in_channels: 18, out_channels: 33, depth: 5, height: 3, width: 4 };
    let builder = Problem::builder(input, kernel).scale_factor(-1.5).mode(mode).running_statistics(true);
    let builder = builder.stride([4, 3, 5]).padding([1, 0, 2]).dilation([2, 1, 1]).output_padding([1, 2, 0]);
    builder.groups(groups).build().expect("a valid problem")
}

/// One tap of three reaches the output: padding cuts the others off wholly.
///
/// # Panics
/// Where there is no such problem.
pub fn with_taps_cut_off(mode: Mode) -> Problem {
    let input = Shape5 { batch: 3, channels: 2, depth: 1, height: 1, width: 1 };
    let kernel = KernelShape { in_channels: 2, out_channels: 3, depth: 1, height: 1, width: 3 };
    let builder = Problem::builder(input, kernel).mode(mode).running_statistics(true).padding([0, 0, 1]);
    builder.build().expect("a valid problem")
}

/// Training mode.
pub fn train() -> Mode {
    Mode::Train { momentum: Momentum::Factor(0.25) }
}

/// Strict precision.
pub fn strict() -> PlanOptions {
    PlanOptions { precision: Precision::Strict, ..PlanOptions::default() }
}

/// What a plan of its own computes.
///
/// # Panics
/// Where it fails.
pub fn run<T: Storage>(device: &Device, problem: &Problem, options: PlanOptions, tensors: &Tensors<T>) -> Outputs<T> {
    Plan::new(problem, device, options).and_then(|mut plan| plan.run(&tensors.as_inputs())).expect("the GPU runs it")
}

/// The same in the format that it was computed in.
///
/// # Panics
/// Where it fails.
pub fn run_wide<T: Storage>(
    device: &Device,
    problem: &Problem,
    options: PlanOptions,
    tensors: &Tensors<T>,
) -> Outputs<T::Wide> {
    let plan = Plan::new(problem, device, options);
    plan.and_then(|mut plan| plan.run_wide(&tensors.as_inputs())).expect("the GPU runs it")
}

/// Runs on a GPU; output, not rounded to 16 bits, and statistics must be within `bound` of the definition's.
///
/// # Panics
/// Where they are not.
pub fn agrees<T: Storage>(device: &Device, problem: &Problem, options: PlanOptions, tensors: &Tensors<T>, bound: f64) {
    agrees_within(device, problem, options, tensors, (bound, bound));
}

/// [`agrees`] with a bound for the output and one for the statistics. An output errs by half of what its variance does.
///
/// # Panics
/// Where they do not.
pub fn agrees_within<T: Storage>(
    device: &Device,
    problem: &Problem,
    options: PlanOptions,
    tensors: &Tensors<T>,
    (bound, of_statistics): (f64, f64),
) {
    let wide = tensors.as_inputs().to_f64().unwrap();
    let expected = reference::run(problem, &wide.as_inputs(), None, None).unwrap();
    let found = run_wide(device, problem, options, tensors);
    let error = check::output_error(found.output.view(), expected.output.view(), tensors.as_inputs().bn_bias).unwrap();
    assert!(error.passes(bound), "output of {problem:?} {options:?}: {error:?}");
    let statistics = [
        ("batch_mean", &found.batch_mean, &expected.batch_mean),
        ("batch_var", &found.batch_var, &expected.batch_var),
        ("running_mean", &found.running_mean, &expected.running_mean),
        ("running_var", &found.running_var, &expected.running_var),
    ];
    for (name, found, expected) in statistics {
        assert_eq!(found.is_some(), expected.is_some(), "{name}");
        if let (Some(found), Some(expected)) = (found, expected) {
            let error = check::statistic_error(name, found.view(), expected.view()).unwrap();
            assert!(error <= of_statistics, "{name} of {problem:?} {options:?}: {error}");
        }
    }
}

/// [`agrees`] for f32, strict f32 and f64, with the bound of each, and for f16 or bf16 with that of f32.
///
/// # Panics
/// Where one does not.
pub fn every_precision(device: &Device, shape: Shape, mode: Mode, seed: u64) {
    let problem = problem(shape, mode);
    let draws = Draws::usual(&problem, seed);
    let tensors = draws.tensors::<f32>(&problem).unwrap();
    agrees(device, &problem, PlanOptions::default(), &tensors, 1e-5);
    // Only the running statistics are rounded to f32; the output's rounding is not counted.
    agrees(device, &problem, strict(), &tensors, 2e-7);
    agrees(device, &problem, PlanOptions::default(), &draws.tensors::<f64>(&problem).unwrap(), 1e-9);
    narrow(device, &problem, PlanOptions::default(), seed, 1e-5);
}

/// [`agrees`] for f16, or for bf16 where the seed is odd; and the output in that format is the other one, rounded.
///
/// # Panics
/// Where it does not.
pub fn narrow(device: &Device, problem: &Problem, options: PlanOptions, seed: u64, bound: f64) {
    fn of<T: Storage<Wide = f32>>(device: &Device, problem: &Problem, options: PlanOptions, seed: u64, bound: f64) {
        let tensors = Draws::usual(problem, seed).tensors::<T>(problem).unwrap();
        agrees(device, problem, options, &tensors, bound);
        let (narrow, wide) = (run(device, problem, options, &tensors), run_wide(device, problem, options, &tensors));
        for (&narrow, &wide) in narrow.output.iter().zip(&wide.output) {
            let (narrow, wide) = (narrow.to_f64(), f64::from(wide));
            // Half of a unit, or of the least number of f16; and what the other one was rounded by.
            let within = T::DTYPE.unit_roundoff() * wide.abs() * 1.001 + 3e-8;
            assert!((narrow - wide).abs() <= within, "{narrow} of {wide}, {problem:?}");
        }
    }
    match seed % 2 {
        0 => of::<f16>(device, problem, options, seed, bound),
        _ => of::<bf16>(device, problem, options, seed, bound),
    }
}

/// Where the definition has NaN and infinities, so has a GPU, each of them, and elsewhere what it should: in every tensor, with operands of one sign
/// (which keep an infinity) and of both, zeros among them.
///
/// # Panics
/// Where they differ, or where there was no infinity to find.
pub fn what_is_not_finite_agrees<T: Storage>(device: &Device, problem: &Problem, options: PlanOptions) {
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    // Of input, kernel and bias; the second one is put into the last place, the first one near the middle.
    let values: [[&[f64]; 3]; 9] = [
        [&[inf], &[], &[]],
        [&[-inf, -inf], &[], &[]],
        [&[inf, -inf], &[], &[]],
        [&[nan], &[], &[]],
        [&[], &[inf], &[]],
        [&[], &[-inf, inf], &[]],
        [&[], &[nan], &[]],
        [&[-inf], &[inf], &[]],
        [&[], &[], &[inf]],
    ];
    let mut infinities = 0;
    for (case, [of_input, of_kernel, of_bias]) in values.into_iter().enumerate() {
        for signs in 0..8 {
            let mut tensors = Draws::usual(problem, case as u64).tensors::<T>(problem).expect("tensors");
            let positive = |value: &mut T| *value = T::from_f64(value.to_f64().abs() + 0.125);
            if signs & 1 == 0 {
                tensors.input.iter_mut().for_each(positive);
            }
            if signs & 2 == 0 {
                tensors.kernel.iter_mut().for_each(positive);
            }
            if signs & 4 != 0 {
                tensors.input.iter_mut().step_by(7).for_each(|value| *value = T::default());
                tensors.kernel.iter_mut().step_by(11).for_each(|value| *value = T::default());
            }
            let put = |tensor: Option<&mut [T]>, values: &[f64]| {
                let tensor = tensor.expect("a tensor in C order");
                for (place, &value) in [tensor.len() / 2, tensor.len() - 1].into_iter().zip(values) {
                    tensor[place] = T::from_f64(value);
                }
            };
            put(tensors.input.as_slice_mut(), of_input);
            put(tensors.kernel.as_slice_mut(), of_kernel);
            put(tensors.conv_bias.as_mut().and_then(|bias| bias.as_slice_mut()), of_bias);
            let wide = tensors.as_inputs().to_f64().expect("memory");
            let expected = reference::run(problem, &wide.as_inputs(), None, None).expect("the definition");
            let found = run_wide(device, problem, options, &tensors);
            let alike = |what: &str, found: f64, expected: f64| {
                let same = match expected.is_finite() {
                    true => (found - expected).abs() <= 1e-3 * (1.0 + expected.abs()),
                    false => found == expected || (found.is_nan() && expected.is_nan()),
                };
                let case = format!("{problem:?} {options:?} {:?}", [of_input, of_kernel, of_bias]);
                assert!(same, "{what} is {found} instead of {expected}: {case}, signs {signs}");
            };
            for (found, &expected) in found.output.iter().zip(&expected.output) {
                alike("an output", found.to_f64(), expected);
                infinities += usize::from(expected.is_infinite());
            }
            let of_channels = [
                ("batch_mean", &found.batch_mean, &expected.batch_mean),
                ("batch_var", &found.batch_var, &expected.batch_var),
                ("running_mean", &found.running_mean, &expected.running_mean),
                ("running_var", &found.running_var, &expected.running_var),
            ];
            for (what, found, expected) in of_channels {
                for (found, &expected) in found.iter().flatten().zip(expected.iter().flatten()) {
                    alike(what, found.to_f64(), expected);
                    infinities += usize::from(expected.is_infinite());
                }
            }
        }
    }
    assert!(infinities > 0, "an infinity is expected somewhere");
}
