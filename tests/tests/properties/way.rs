//! The ways to compute, and what it means that two results agree.

use std::sync::OnceLock;

use convt_bn_gap::{DType, Device, Element, Outputs, Plan, PlanOptions, Precision, Problem, ProblemBuilder, Tensors};
use convt_bn_gap_tests::gpu;
use ndarray::{Array1, Array5, Axis};
use proptest::prelude::*;

/// A way to compute, and how far its results may be off.
#[derive(Debug)]
pub struct Way {
    pub name: &'static str,
    pub device: Device,
    precision: Precision,
    pub double: bool,
    /// Of differences that cancel in the law itself, relative to what they are differences of.
    pub bound: f64,
}

impl Way {
    pub fn run(&self, builder: ProblemBuilder, tensors: &Tensors<f64>) -> Outputs<f64> {
        let problem = builder.running_statistics(tensors.running_var.is_some()).build().expect("a valid problem");
        if self.double { self.run_in::<f64>(&problem, tensors) } else { self.run_in::<f32>(&problem, tensors) }
    }

    fn run_in<T: Element>(&self, problem: &Problem, tensors: &Tensors<f64>) -> Outputs<f64> {
        let narrow = |v: &Array1<f64>| v.mapv(T::from_f64);
        let tensors = Tensors {
            input: tensors.input.mapv(T::from_f64),
            kernel: tensors.kernel.mapv(T::from_f64),
            conv_bias: tensors.conv_bias.as_ref().map(narrow),
            bn_weight: tensors.bn_weight.as_ref().map(narrow),
            bn_bias: tensors.bn_bias.as_ref().map(narrow),
            running_mean: tensors.running_mean.as_ref().map(narrow),
            running_var: tensors.running_var.as_ref().map(narrow),
        };
        let options = PlanOptions { precision: self.precision, ..PlanOptions::default() };
        let run = |mut plan: Plan<T>| plan.run(&tensors.as_inputs());
        let out = Plan::new(problem, &self.device, options).and_then(run).expect("a small problem");
        Outputs {
            output: out.output.mapv(T::to_f64),
            batch_mean: out.batch_mean,
            batch_var: out.batch_var,
            running_mean: out.running_mean,
            running_var: out.running_var,
        }
    }

    pub fn roundoff(&self) -> f64 {
        if self.double { DType::F64.unit_roundoff() } else { DType::F32.unit_roundoff() }
    }

    /// Outputs agree: their difference is within the bound of what stands beside β, and within two roundings.
    pub fn same_output(
        &self,
        found: &Array5<f64>,
        expected: &Array5<f64>,
        beta: &Array1<f64>,
    ) -> Result<(), TestCaseError> {
        prop_assert_eq!(found.dim(), expected.dim());
        let norm = |values: Array5<f64>| values.mapv(|v| v * v).sum().sqrt();
        let allowed = self.bound * norm(moved(expected, &-beta)) + 3.0 * self.roundoff() * norm(expected.clone());
        let error = norm(found - expected);
        // Not `>`, which would let NaN pass.
        prop_assert!(error <= allowed, "{}: outputs differ by {error:e} > {allowed:e}", self.name);
        Ok(())
    }

    /// Statistics agree within `allowed`.
    pub fn same(
        &self,
        what: &str,
        found: &Array1<f64>,
        expected: &Array1<f64>,
        allowed: f64,
    ) -> Result<(), TestCaseError> {
        prop_assert_eq!(found.len(), expected.len());
        for (c, (found, expected)) in found.iter().zip(expected).enumerate() {
            let (error, name) = ((found - expected).abs(), self.name);
            // Not `>`, which would let NaN pass.
            prop_assert!(error <= allowed, "{name}: {what}[{c}] is {found}, not {expected} within {allowed:e}");
        }
        Ok(())
    }

    /// Everything agrees.
    pub fn same_outputs(
        &self,
        found: &Outputs<f64>,
        expected: &Outputs<f64>,
        beta: &Array1<f64>,
    ) -> Result<(), TestCaseError> {
        self.same_output(&found.output, &expected.output, beta)?;
        let size = size_of_values(expected);
        let statistics = [
            ("batch_mean", &found.batch_mean, &expected.batch_mean, size),
            ("batch_var", &found.batch_var, &expected.batch_var, size * size),
            ("running_mean", &found.running_mean, &expected.running_mean, size + 1.0),
            ("running_var", &found.running_var, &expected.running_var, size * size + 1.0),
        ];
        for (what, found, expected, size) in statistics {
            prop_assert_eq!(found.is_some(), expected.is_some(), "{}", what);
            if let Some((found, expected)) = found.as_ref().zip(expected.as_ref()) {
                self.same(what, found, expected, self.bound * size)?;
            }
        }
        Ok(())
    }
}

/// Every way there is here; the device of each is opened once.
pub fn ways() -> &'static [Way] {
    static WAYS: OnceLock<Vec<Way>> = OnceLock::new();
    WAYS.get_or_init(|| {
        let way = |name, device: &Device, double, bound| Way {
            name,
            device: device.clone(),
            precision: Precision::Default,
            double,
            bound,
        };
        // f64 sums leave 1e-13 or so of small problems; the running statistics of f32 ways are rounded to f32.
        let mut ways = vec![
            way("reference in f64", &Device::reference(), true, 1e-11),
            way("cpu in f64", &Device::cpu(), true, 1e-11),
            way("cpu in f32", &Device::cpu(), false, 2e-7),
        ];
        if let Some(gpu) = gpu() {
            ways.push(way("cuda in f64", &gpu, true, 1e-10));
            ways.push(way("cuda in f32", &gpu, false, 1e-5));
            ways.push(Way { precision: Precision::Strict, ..way("cuda in f32, strict", &gpu, false, 2e-7) });
        }
        ways
    })
}

/// An output with a number added to each channel.
pub fn moved(output: &Array5<f64>, by: &Array1<f64>) -> Array5<f64> {
    let mut output = output.clone();
    for (mut channel, by) in output.axis_iter_mut(Axis(1)).zip(by) {
        channel += *by;
    }
    output
}

/// The largest |mean| + standard deviation of a channel: the size of the values that were summed.
pub fn size_of_values(out: &Outputs<f64>) -> f64 {
    let (Some(mean), Some(var)) = (&out.batch_mean, &out.batch_var) else { return 0.0 };
    mean.iter().zip(var).fold(0.0, |max, (mean, var)| max.max(mean.abs() + var.sqrt()))
}
