//! Negative controls: results that are wrong in the ways results are wrong must exceed the bounds, on real cases.
//!
//! All is computed by the library in f64 and rounded to the case's type, so that nothing but the named mistake is
//! wrong; without a mistake the same path passes.

use convt_bn_gap::check::{self, OutputError};
use convt_bn_gap::{Algorithm, DType, Mode, Outputs, Precision, Problem, Tensors, Watch, cpu};
use ndarray::{Array1, Array5, Axis, concatenate, s};

use crate::case::Case;

/// Cases of many kinds, in the type that their outputs are judged in.
const CASES: [(&str, DType); 19] = [
    ("bf16", DType::F32),
    ("dilation", DType::F32),
    ("everything", DType::F32),
    ("f16", DType::F32),
    ("f64", DType::F64),
    ("groups", DType::F32),
    ("kernel1", DType::F32),
    ("kernel7", DType::F32),
    ("kernelbench_77_v0", DType::F32),
    ("line", DType::F32),
    ("many_channels", DType::F32),
    ("momentum_eps", DType::F32),
    ("negative_scale", DType::F32),
    ("no_affine", DType::F32),
    ("padding", DType::F32),
    ("primes", DType::F32),
    ("relu_input", DType::F32),
    ("stride2", DType::F32),
    ("stride_mixed_output_padding", DType::F32),
];

/// Mistakes that a case cannot show, and why.
const BLIND_OUTPUTS: [(&str, &str, &str); 3] = [
    ("kernel1", "flipped taps", "there is one tap"),
    ("kernelbench_77_v0", "the unbiased variance", "of 332928 values it differs by 3e-6, the output by half of that"),
    ("no_affine", "permuted β", "there is none"),
];
/// The same for statistics, of which the definition's bound shows every mistake.
const BLIND_STATISTICS: [(&str, &str, &str); 13] = [
    ("bf16", "biased running_var", OLD),
    ("dilation", "biased running_var", OLD),
    ("everything", "biased running_var", OLD),
    ("f16", "biased running_var", OLD),
    ("groups", "biased running_var", OLD),
    ("kernel7", "biased running_var", OLD),
    ("kernelbench_77_v0", "unbiased batch_var", "of 332928 values it differs by 3e-6"),
    ("kernelbench_77_v0", "biased running_var", OLD),
    ("negative_scale", "biased running_var", OLD),
    ("primes", "biased running_var", OLD),
    ("relu_input", "biased running_var", OLD),
    ("stride2", "biased running_var", OLD),
    ("stride_mixed_output_padding", "biased running_var", OLD),
];
const OLD: &str = "almost all of it is the old one; the small share of the batch differs by 1/n";

fn compute(problem: &Problem, tensors: &Tensors<f64>) -> Outputs<f64> {
    let way = cpu::Way { algorithm: Algorithm::Direct, precision: Precision::Default, workspace_budget: 0 };
    cpu::run(problem, &tensors.as_inputs(), way, Watch::default()).expect("a case that fits").0
}

impl Case {
    /// The output normalised by other statistics than the batch's.
    fn normalized_by(&self, mean: &Array1<f64>, var: &Array1<f64>) -> Array5<f64> {
        let problem = self.builder().mode(Mode::Eval);
        let mut tensors = self.tensors.clone();
        (tensors.running_mean, tensors.running_var) = (Some(mean.clone()), Some(var.clone()));
        compute(&problem.build().expect("the same shapes"), &tensors).output
    }

    /// The output for another kernel.
    fn with_kernel(&self, kernel: Array5<f64>) -> Array5<f64> {
        compute(&self.problem, &Tensors { kernel, ..self.tensors.clone() }).output
    }

    /// The error of an output as one of `dtype` is judged.
    fn error(&self, output: &Array5<f64>, dtype: DType) -> OutputError {
        let (expected, beta) = (self.expected.output.view(), self.tensors.bn_bias.as_ref());
        // As it is stored.
        let output = output.mapv(|v| if dtype == DType::F32 { f64::from(v as f32) } else { v });
        let error = check::error_of_rounded(output.view(), dtype, expected, beta.map(|beta| beta.view()));
        error.expect("an output of the case's shape")
    }

    fn unbiased(&self, var: &Array1<f64>) -> Array1<f64> {
        let n = self.problem.values_per_channel() as f64;
        var * (n / (n - 1.0))
    }
}

/// The first along `axis` becomes the last.
fn rotated(of: &Array5<f64>, axis: usize) -> Array5<f64> {
    let (first, rest) = of.view().split_at(Axis(axis), 1);
    concatenate(Axis(axis), &[rest, first]).expect("parts of one array")
}

#[test]
fn wrong_outputs_exceed_their_bound() {
    let mut blind = Vec::new();
    for (name, dtype) in CASES {
        let case = Case::read(name);
        let right = compute(&case.problem, &case.tensors);
        let (mean, var) = (right.batch_mean.as_ref().unwrap(), right.batch_var.as_ref().unwrap());
        let bound = check::bound(Algorithm::Direct, dtype);
        let error = |output: &Array5<f64>| case.error(output, dtype);

        for (way, output) in [("computed", &right.output), ("by its statistics", &case.normalized_by(mean, var))] {
            assert!(error(output).passes(bound), "{name} {way}: {:?}", error(output));
            assert!(!error(output).absolute, "{name} has no effect beside β");
        }

        let zero = Array1::zeros(case.problem.out_channels());
        let beta = case.tensors.bn_bias.as_ref().unwrap_or(&zero);
        let shape = case.problem.output_shape();
        let channels = case.problem.out_channels();
        let wrong = [
            ("plain β", Array5::from_shape_fn(shape, |(_, c, ..)| beta[c])),
            ("zeros", Array5::zeros(shape)),
            ("permuted output channels", rotated(&right.output, 1)),
            ("permuted β", {
                let difference = Array5::from_shape_fn(shape, |(_, c, ..)| beta[(c + 1) % channels] - beta[c]);
                &right.output + &difference
            }),
            ("permuted samples", rotated(&right.output, 0)),
            ("permuted input channels of the kernel", case.with_kernel(rotated(&case.tensors.kernel, 0))),
            ("flipped taps", case.with_kernel(case.tensors.kernel.slice(s![.., .., ..;-1, ..;-1, ..;-1]).to_owned())),
            ("the unbiased variance", case.normalized_by(mean, &case.unbiased(var))),
            ("the mean without the bias", {
                let bias = case.tensors.conv_bias.as_ref().expect("every case has one");
                case.normalized_by(&(mean - bias * case.problem.scale_factor()), var)
            }),
        ];
        for (mistake, output) in wrong {
            if error(&output).passes(bound) {
                blind.push((name, mistake));
            }
        }
    }
    // Exactly these: a case that begins to show a mistake leaves the list.
    assert_eq!(blind, BLIND_OUTPUTS.map(|(case, mistake, _)| (case, mistake)));
}

/// Each option of a convolution left at its default: the output's shape is the same, its values are not.
#[test]
fn options_that_are_ignored_exceed_their_bound() {
    let mut shown = 0;
    for (name, dtype) in CASES {
        let case = Case::read(name);
        let conv = *case.problem.convolution();
        let without = [
            ("stride", conv.stride != [1; 3], case.builder().stride([1; 3]).output_padding([0; 3])),
            ("padding", conv.padding != [0; 3], case.builder().padding([0; 3])),
            ("output_padding", conv.output_padding != [0; 3], case.builder().output_padding([0; 3])),
            ("dilation", conv.dilation != [1; 3], case.builder().dilation([1; 3]).output_padding([0; 3])),
        ];
        for (option, _, builder) in without.into_iter().filter(|&(_, is_set, _)| is_set) {
            let output = compute(&builder.build().expect("a smaller problem"), &case.tensors).output;
            let error = case.error(&output, dtype);
            assert!(!error.passes(check::bound(Algorithm::Direct, dtype)), "{name} without its {option}: {error:?}");
            shown += 1;
        }
    }
    assert_eq!(shown, 9);
}

#[test]
fn wrong_statistics_exceed_their_bound() {
    let mut blind = Vec::new();
    for (name, dtype) in CASES {
        let case = Case::read(name);
        let Some((old_mean, old_var)) = case.tensors.running_mean.as_ref().zip(case.tensors.running_var.as_ref())
        else {
            panic!("{name} has no running statistics");
        };
        let Mode::Train { momentum } = case.problem.mode() else { panic!("{name} is in eval mode") };
        let (f, s) = (momentum.factor(), case.problem.scale_factor());
        let Outputs { batch_mean, batch_var, running_mean, running_var, .. } = &case.expected;
        let (mean, var) = (batch_mean.as_ref().unwrap(), batch_var.as_ref().unwrap());
        let bias = case.tensors.conv_bias.as_ref().expect("every case has one");
        let step = |f: f64, old: &Array1<f64>, batch: &Array1<f64>| old * (1.0 - f) + batch * f;

        let right = [
            ("running_mean", step(f, old_mean, mean), running_mean),
            ("running_var", step(f, old_var, &case.unbiased(var)), running_var),
        ];
        let bound = check::bound(Algorithm::Direct, dtype);
        let error = |tensor, found: &Array1<f64>, expected: &Option<Array1<f64>>| {
            check::statistic_error(tensor, found.view(), expected.as_ref().unwrap().view()).expect("Cout values")
        };
        for (tensor, found, expected) in right {
            assert!(error(tensor, &found, expected) <= 1e-12, "{name}: {tensor}");
        }
        let unbiased = case.unbiased(var);
        let wrong = [
            ("batch_mean without the bias", mean - bias * s, batch_mean),
            ("batch_mean without the scale", mean / s, batch_mean),
            ("batch_var without the scale", var / (s * s), batch_var),
            ("unbiased batch_var", unbiased.clone(), batch_var),
            ("batch_var's square root", var.sqrt(), batch_var),
            ("running_mean as it was", old_mean.clone(), running_mean),
            ("running_mean with 1 − momentum", step(1.0 - f, old_mean, mean), running_mean),
            ("running_var as it was", old_var.clone(), running_var),
            ("running_var with 1 − momentum", step(1.0 - f, old_var, &unbiased), running_var),
            ("biased running_var", step(f, old_var, var), running_var),
        ];
        for (mistake, found, expected) in wrong {
            let error = error("a statistic", &found, expected);
            assert!(error > check::bound(Algorithm::Reference, dtype), "{name}: {mistake} passes everywhere");
            if error <= bound {
                blind.push((name, mistake));
            }
        }
    }
    assert_eq!(blind, BLIND_STATISTICS.map(|(case, mistake, _)| (case, mistake)));
}
