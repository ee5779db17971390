//! The rule itself, and controls: results that are wrong in the ways results are wrong must fail it.

use super::*;
use crate::cpu;
use crate::draw::Draws;
use crate::problem::{KernelShape, Shape5};
use crate::tensors::Tensors;
use ndarray::{Array1, Array5, array, s};

/// Small, and on it |out − β| is far below |β|, as on real data.
fn problem() -> Problem {
    let input = Shape5 { batch: 3, channels: 4, depth: 5, height: 6, width: 7 };
    let kernel = KernelShape { in_channels: 4, out_channels: 5, depth: 2, height: 3, width: 4 };
    Problem::builder(input, kernel).scale_factor(2.0).build().unwrap()
}

fn case() -> (Problem, Tensors<f64>, Outputs<f64>) {
    let problem = problem();
    let tensors = Draws::usual(&problem, 9).tensors::<f64>(&problem).unwrap();
    let expected = reference::run(&problem, &tensors.as_inputs(), None, None).unwrap();
    (problem, tensors, expected)
}

fn error_of(output: &Array5<f64>) -> OutputError {
    let (_, tensors, expected) = case();
    let beta = tensors.bn_bias.as_ref().map(|beta| beta.view());
    let rounded = output.mapv(|v| v as f32);
    let beta = beta.map(|beta| beta.mapv(|v| v as f32));
    output_error(rounded.view(), expected.output.view(), beta.as_ref().map(|beta| beta.view())).unwrap()
}

fn passes(output: &Array5<f64>) -> bool {
    error_of(output).passes(bound(Algorithm::Direct, DType::F32))
}

#[test]
fn the_truth_passes_once_rounded() {
    let (.., expected) = case();
    let error = error_of(&expected.output);
    assert!(!error.absolute);
    assert!(passes(&expected.output), "{error:?}");
}

#[test]
fn plain_beta_fails() {
    let (problem, tensors, expected) = case();
    let beta = tensors.bn_bias.unwrap();
    let output = Array5::from_shape_fn(problem.output_shape(), |(_, c, ..)| beta[c]);
    // An ordinary tolerance does not see it: that is what the rule is for.
    let distance = (&output - &expected.output).mapv(f64::abs).fold(0.0f64, |a, &b| a.max(b));
    assert!(distance < 0.2, "{distance}");
    let error = error_of(&output);
    assert!((error.value - 1.0).abs() < 1e-3, "{error:?}");
    assert!(!passes(&output));
}

#[test]
fn zeros_and_nan_fail() {
    assert!(!passes(&Array5::zeros(problem().output_shape())));
    let (.., mut expected) = case();
    expected.output[[1, 2, 0, 0, 0]] = f64::NAN;
    assert!(error_of(&expected.output).value.is_nan());
    assert!(!passes(&expected.output));
}

#[test]
fn permuted_channels_and_samples_fail() {
    let (.., expected) = case();
    assert!(!passes(&expected.output.select(Axis(1), &[1, 0, 2, 3, 4])));
    assert!(!passes(&expected.output.select(Axis(0), &[1, 0, 2])));
}

/// Mirrored taps leave every mean alone, and move the variance.
#[test]
fn flipped_taps_fail() {
    let (problem, mut tensors, _) = case();
    tensors.kernel = tensors.kernel.slice(s![.., .., ..;-1, ..;-1, ..;-1]).to_owned();
    let precision = crate::Precision::Default;
    let way = cpu::Way { algorithm: Algorithm::Direct, precision, workspace_budget: 0 };
    let flipped = cpu::run(&problem, &tensors.as_inputs(), way, cpu::Watch::default()).unwrap().0;
    assert!(!passes(&flipped.output));
}

#[test]
fn the_unbiased_variance_fails() {
    let (problem, tensors, expected) = case();
    let n = problem.values_per_channel() as f64;
    let (beta, var) = (tensors.bn_bias.unwrap(), expected.batch_var.unwrap());
    let eps = problem.eps();
    let output = Array5::from_shape_fn(problem.output_shape(), |(b, c, ..)| {
        let ratio = ((var[c] + eps) / (var[c] * n / (n - 1.0) + eps)).sqrt();
        (expected.output[[b, c, 0, 0, 0]] - beta[c]) * ratio + beta[c]
    });
    assert!(!passes(&output), "{:?}", error_of(&output));
}

#[test]
fn a_wrong_eps_and_a_missing_scale_fail() {
    let (_, tensors, _) = case();
    let other = |scale: f64, eps: f64| {
        let problem = problem();
        let problem = Problem::builder(problem.input(), problem.kernel()).scale_factor(scale).eps(eps).build().unwrap();
        reference::run(&problem, &tensors.as_inputs(), None, None).unwrap().output
    };
    assert!(passes(&other(2.0, 1e-5)));
    assert!(!passes(&other(1.0, 1e-5)));
    assert!(!passes(&other(2.0, 1e-4)));
    assert!(!passes(&other(-2.0, 1e-5)));
}

#[test]
fn without_an_effect_the_error_is_absolute() {
    let beta = array![0.25f32, -4.0];
    let expected = Array5::from_shape_fn((1, 2, 1, 1, 1), |(_, c, ..)| f64::from(beta[c]));
    let exact = expected.mapv(|v| v as f32);
    let error = output_error(exact.view(), expected.view(), Some(beta.view())).unwrap();
    assert_eq!(error, OutputError { value: 0.0, absolute: true });
    assert_eq!(error.bound(1e-9), ABSOLUTE_BOUND);
    let off = exact.mapv(|v| v + 1e-5);
    assert!(!output_error(off.view(), expected.view(), Some(beta.view())).unwrap().passes(1.0));
}

/// 1 is stored in `f32` beside a β of 1: its rounding is no error, more than that is.
#[test]
fn only_the_rounding_is_taken_off() {
    let expected = Array5::from_elem((1, 1, 1, 1, 1), 1.0 + 1e-3);
    let beta = array![1.0f32];
    let error =
        |out: f32| output_error(Array5::from_elem((1, 1, 1, 1, 1), out).view(), expected.view(), Some(beta.view()));
    assert_eq!(error((1.0 + 1e-3) as f32).unwrap().value, 0.0);
    let off = error((1.0 + 1e-3) as f32 + 1e-6).unwrap().value;
    assert!((0.8e-3..1.2e-3).contains(&off), "{off}");
}

#[test]
fn statistics_are_relative_to_the_largest() {
    let error =
        |found: &Array1<f64>, expected: &Array1<f64>| statistic_error("batch_mean", found.view(), expected.view());
    assert_eq!(error(&array![1.0, -4.5], &array![1.0, -4.0]), Ok(0.125));
    assert_eq!(error(&array![0.5], &array![0.0]), Ok(0.5));
    assert!(error(&array![f64::NAN, 0.0], &array![1.0, 2.0]).unwrap().is_nan());
    assert!(error(&array![0.0, f64::NAN, 7.0], &array![1.0, 2.0, 2.0]).unwrap().is_nan());
    let refused = InputError::Length { tensor: "batch_mean", found: 1, expected: 2 };
    assert_eq!(error(&array![0.0], &array![0.0, 0.0]), Err(refused));
}

#[test]
fn sampled_channels_are_affordable_and_spread() {
    let problem = problem();
    let each = problem.direct_flops() / 5;
    let channels = |flops| SampledReference::new(&problem, flops).channels().to_vec();
    assert_eq!(channels(0), [0]);
    assert_eq!(channels(each), [0]);
    assert_eq!(channels(2 * each), [0, 4]);
    assert_eq!(channels(3 * each + 1), [0, 2, 4]);
    assert_eq!(channels(4 * each), [0, 1, 2, 4]);
    assert_eq!(channels(u128::MAX), [0, 1, 2, 3, 4]);
}

#[test]
fn sampled_errors_see_only_their_channels() {
    let (problem, tensors, expected) = case();
    let sampled = SampledReference::new(&problem, 2 * problem.direct_flops() / 5);
    let reference = sampled.run(&problem, &tensors.as_inputs(), None).unwrap();
    let beta = tensors.bn_bias.as_ref().map(|beta| beta.view());
    let mut output = expected.output;
    output[[0, 2, 0, 0, 0]] = 7.0;
    assert!(sampled.error(output.view(), &reference, beta).unwrap().passes(1e-12));
    output[[0, 4, 0, 0, 0]] += 1e-3;
    assert!(!sampled.error(output.view(), &reference, beta).unwrap().passes(1e-5));
    let short = output.slice(s![.., ..3, .., .., ..]);
    let refused = InputError::Length { tensor: "output", found: 3, expected: 5 };
    assert_eq!(sampled.error(short, &reference, beta), Err(refused));
}
