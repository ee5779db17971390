//! Plans from C, on the CPU: the same as from Rust in every format, buffers that move once, every refusal with its numbers.

use std::collections::BTreeMap;
use std::process::Command;

use convt_bn_gap::{
    DType, Device, Inputs, KernelShape, Mode, Momentum, Plan, PlanOptions, Problem, RunningStatistics, Shape5,
};
use ndarray::{Array1, Array5};

use super::{BAD_INPUT, DEVICE_FAILED, compile, has, library, sources};

const PROGRAM: &str = include_str!("plans.c");

/// What each call must give, and words of its sentence.
const REFUSED: [(&str, &str); 48] = [
    ("version", "the options' version is 2; it must be 1"),
    ("dtype", "dtype is 4; it must be 0 (f32), 1 (f16), 2 (bf16) or 3 (f64)"),
    ("output_dtype", "output_dtype is 2; it must be 0 (the input's) or 1 (f32)"),
    ("device", "device is 3; it must be 0 (CUDA), 1 (CPU) or 2 (reference)"),
    ("algorithm", "algorithm is 4; it must be"),
    ("device_ordinal", "device_ordinal is -2; it must be -1 for the current device, or a device's number"),
    ("spectral", "algorithm = spectral is not possible for this problem: it does not take padding = 1,0,1"),
    ("little workspace", " bytes of workspace; at most 100 are allowed"),
    ("direct", "algorithm = direct is not supported on the reference device; reference is"),
    ("strict", "strict is 2; it must be 0 or 1"),
    ("eval", "eval is 2; it must be 0 or 1"),
    ("running_statistics", "running_statistics is 2; it must be 0 or 1"),
    ("cumulative_momentum", "cumulative_momentum is 2; it must be 0 or 1"),
    ("no batch", "input's batch size is 0; it must be at least 1"),
    ("no width", "input's width is 0; it must be at least 1"),
    ("no taps", "kernel's depth is 0; it must be at least 1"),
    ("no channels", "kernel's output channels is 0; it must be at least 1"),
    ("stride", "stride is 0; it must be at least 1"),
    ("dilation", "dilation is -1; it must be at least 1"),
    ("padding", "padding is -2; it must be at least 0"),
    ("output_padding", "output_padding is -3; it must be at least 0"),
    (
        "large output_padding",
        "output_padding is 2 in depth; it must be smaller than the stride (2) or the dilation (1)",
    ),
    ("groups", "groups is 0; it must be at least 1"),
    ("input groups", "groups is 3; it must divide the 4 input channels"),
    ("output groups", "groups is 4; it must divide the 6 output channels"),
    ("empty output", "the convolution's output would have height -1; it must be at least 1"),
    ("eps", "eps is -0.00001; it must be finite and at least 0"),
    ("infinite eps", "eps is inf; it must be finite and at least 0"),
    ("momentum", "momentum is 1.5; it must be from 0 to 1"),
    ("scale", "scale_factor is NaN; it must be finite"),
    ("too large", "input (288230376151711743x4x2x3x4) is too large"),
    ("no memory", " are available"),
    ("one value", "train mode normalises by the batch's statistics here and needs more than 1 value per channel"),
    (
        "one value in eval",
        "eval mode normalises by the batch's statistics here and needs more than 1 value per channel",
    ),
    ("null shape", "shape is a null pointer; it must be given"),
    ("null options", "options is a null pointer; it must be given"),
    ("null plan", "plan is a null pointer; it must be given"),
    ("init null", "options is a null pointer; it must be a struct"),
    ("run null", "plan is a null pointer; it must be given"),
    ("no input", "input is a null pointer; it must be given"),
    ("no kernel", "kernel is a null pointer; it must be given"),
    ("no bytes", "bytes is a null pointer; it must be given"),
    ("no running_var", "running_var is a null pointer; it must be given"),
    ("tensors' version", "the tensors' version is 0; it must be 1"),
    ("misaligned", "; it must be at a multiple of 4"),
    ("negative", "running_var[3] is -0.25; a variance must be at least 0"),
    ("unexpected", "running statistics are given, and the problem was built without them"),
    ("unpaired", "running_var is given without running_mean; running statistics come as a pair"),
];

/// The program's values: (i·step + step) mod 13 − 6, in eighths.
fn drawn(len: usize, step: usize) -> Vec<f64> {
    (0..len).map(|i| ((i * step + step) % 13) as f64 / 8.0 - 0.75).collect()
}

/// What the program computes in two steps, from Rust in f64.
fn expected(momentum: Momentum) -> BTreeMap<&'static str, Vec<f64>> {
    let input = Shape5 { batch: 2, channels: 4, depth: 2, height: 3, width: 4 };
    let kernel = KernelShape { in_channels: 4, out_channels: 3, depth: 2, height: 1, width: 3 };
    let builder = Problem::builder(input, kernel).stride([2, 1, 3]).padding([1, 0, 1]).output_padding([1, 0, 2]);
    let builder = builder.dilation([1, 2, 2]).groups(2).scale_factor(-1.5).mode(Mode::Train { momentum });
    let problem = builder.running_statistics(true).build().expect("a valid problem");
    let vector = |step| Array1::from_vec(drawn(6, step));
    let x = Array5::from_shape_vec(input.extents(), drawn(192, 5)).expect("the input's elements");
    let w = Array5::from_shape_vec(kernel.extents(), drawn(72, 3)).expect("the kernel's elements");
    let (bias, weight, beta) = (vector(7), vector(4), vector(11));
    let inputs = Inputs {
        conv_bias: Some(bias.view()),
        bn_weight: Some(weight.view()),
        bn_bias: Some(beta.view()),
        ..Inputs::new(x.view(), w.view())
    };
    let var = (0..6).map(|i| 0.5 + f64::from(i) / 8.0).collect();
    let mut running = RunningStatistics { mean: vector(2), var, num_batches_tracked: 0 };
    let mut plan = Plan::new(&problem, &Device::reference(), PlanOptions::default()).expect("a small problem");
    plan.run_updating(&inputs, &mut running).expect("a small problem");
    let outputs = plan.run_updating(&inputs, &mut running).expect("a small problem");
    [
        ("output", outputs.output.into_iter().collect()),
        ("batch_mean", outputs.batch_mean.expect("in training").to_vec()),
        ("batch_var", outputs.batch_var.expect("in training").to_vec()),
        ("running_mean", running.mean.to_vec()),
        ("running_var", running.var.to_vec()),
    ]
    .into()
}

#[test]
fn plans_on_the_cpu_from_c() {
    if !has("cc") {
        return;
    }
    let folder = sources(PROGRAM);
    let libraries = library().parent().expect("a folder");
    compile(
        Command::new("cc")
            .args(["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "program.c", "-o", "program"])
            .arg("-L")
            .arg(libraries)
            .arg(format!("-Wl,-rpath,{}", libraries.display()))
            .args(["-lconvt_bn_gap", "-lm"])
            .current_dir(folder.path()),
    );
    let ended = Command::new(folder.path().join("program")).output().expect("the program starts");
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "", "the library says nothing by itself");
    assert!(ended.status.success(), "{}", ended.status);
    let text = String::from_utf8(ended.stdout).expect("UTF-8");
    let mut lines = text.lines().map(|line| match line.split('\t').collect::<Vec<_>>()[..] {
        [name, code, said] => (name, code.parse::<i32>().expect("a code"), said),
        _ => panic!("not one line a call: {line:?}"),
    });

    let (usual, cumulative) = (Momentum::default(), Momentum::Cumulative { num_batches_tracked: 0 });
    // The output's own rounding: half the distance of two neighbours.
    for (name, momentum, output) in [
        ("f32", usual, DType::F32),
        ("reference", usual, DType::F32),
        ("cumulative", cumulative, DType::F32),
        ("f16", usual, DType::F32),
        ("f16 as input", usual, DType::F16),
        ("bf16", usual, DType::F32),
        ("bf16 as input", usual, DType::BF16),
        ("f64", usual, DType::F32),
        ("f64 as input", usual, DType::F64),
    ] {
        for call in ["create", "bytes", "run", "run"] {
            assert_eq!(lines.next(), Some((name, 0, "")), "{call}");
        }
        let expected = expected(momentum);
        for tensor in ["output", "batch_mean", "batch_var", "running_mean", "running_var"] {
            let (line, _, numbers) = lines.next().expect("a line a tensor");
            assert_eq!(line, format!("{name} {tensor}"));
            let numbers: Vec<f64> = numbers.split_whitespace().map(|n| n.parse().expect("a number")).collect();
            assert_eq!(numbers.len(), expected[tensor].len());
            let rounding = if tensor == "output" { output.unit_roundoff() } else { 0.0 };
            for (found, expected) in numbers.iter().zip(&expected[tensor]) {
                let bound = 2e-6 * expected.abs().max(0.1) + rounding * expected.abs();
                assert!((found - expected).abs() <= bound, "{line}: {found} {expected}");
            }
        }
        assert_eq!(lines.next(), Some((name, BAD_INPUT, "output is a null pointer; it must be given")));
        // Two steps and no third; some workspace.
        assert_eq!(lines.next(), Some((format!("{name} tracked").as_str(), 0, "2 1")));
    }
    for (name, words) in REFUSED {
        let (found, code, sentence) = lines.next().expect("a line a call");
        assert_eq!((found, code), (name, BAD_INPUT), "{sentence}");
        assert!(sentence.contains(words), "{name}: {sentence:?} does not say {words:?}");
    }
    for name in ["f16, no batch", "bf16, no batch", "f64, no batch"] {
        let (found, code, sentence) = lines.next().expect("a line a format");
        assert_eq!(found, name);
        assert!(code == BAD_INPUT && sentence.contains("batch size is 0") || code == DEVICE_FAILED, "{sentence}");
    }
    assert_eq!(lines.next(), None);
}
