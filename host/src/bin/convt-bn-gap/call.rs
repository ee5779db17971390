//! One call of the operation: tensors and options, checked together, run on a device.
//!
//! `input` and `kernel` must agree, and decide in what the library computes; narrower per-channel vectors are widened, which is
//! exact; wider ones are refused. `conv_bias` belongs to the convolution: beside 16-bit tensors it must be of their type.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use convt_bn_gap::check::{self, OutputError};
use convt_bn_gap::{
    DType, Error, InputError, KernelShape, Outputs, Plan, PlanOptions, Problem, Recipe, Shape5, Tensors, Watch, bf16,
    f16,
};
use ndarray::{Array1, Array5, ArrayView5};

use crate::arguments::{OutputDtype, Place};
use crate::failure::Failure;
use crate::io::{FromValues, Tensor, Values};
use crate::options::Options;
use crate::progress::Bar;

const NO_INPUT: &str = "there is no tensor named input";
const NO_KERNEL: &str = "there is no tensor named kernel";

/// Checked tensors and options, ready to run.
pub struct Call {
    /// The shapes and options.
    pub problem: Problem,
    /// The input's type.
    dtype: DType,
    /// What the output is rounded to.
    output_dtype: DType,
    tensors: BTreeMap<String, Tensor>,
    running_dtype: DType,
}

impl Call {
    /// Checks ranks and types, and the problem; lengths and values are checked by [`execute`](Self::execute).
    pub fn new(tensors: BTreeMap<String, Tensor>, options: &Options, output: OutputDtype) -> Result<Self, Failure> {
        let input = tensors.get("input").context(NO_INPUT)?;
        let kernel = tensors.get("kernel").context(NO_KERNEL)?;
        let input_shape = Shape5::try_from(&input.shape[..]).map_err(Error::from)?;
        let kernel_shape = KernelShape::try_from(&kernel.shape[..]).map_err(Error::from)?;
        let dtype = common_dtype(input.values.dtype(), kernel.values.dtype())?;
        let running = tensors.get("running_mean").or(tensors.get("running_var"));
        let running_dtype = running.map_or(dtype, |tensor| tensor.values.dtype());
        let problem = options.problem(input_shape, kernel_shape, running.is_some()).map_err(Error::from)?;
        let output_dtype = if output == OutputDtype::F32 { DType::F32 } else { dtype };
        Ok(Self { problem, dtype, output_dtype, tensors, running_dtype })
    }

    /// bn_bias, which the error of an output is measured without.
    pub fn beta(&self) -> Result<Option<Array1<f64>>, Failure> {
        let Some(tensor) = self.tensors.get("bn_bias") else { return Ok(None) };
        Ok(Some(Array1::from_vec(f64::from_values("bn_bias", tensor.values.clone())?)))
    }

    /// Checks what is left to check, opens the device and runs there.
    pub fn execute(self, place: &Place, options: PlanOptions) -> Result<Outcome, Failure> {
        match self.dtype {
            DType::F16 => self.execute_in::<f16>(place, options),
            DType::BF16 => self.execute_in::<bf16>(place, options),
            DType::F32 => self.execute_in::<f32>(place, options),
            DType::F64 => self.execute_in::<f64>(place, options),
        }
    }

    fn execute_in<T: FromValues<Wide: FromValues>>(
        mut self,
        place: &Place,
        options: PlanOptions,
    ) -> Result<Outcome, Failure> {
        let operands = operands::<T>(&mut self.tensors)?;
        operands.as_inputs().check(&self.problem)?;
        let device = place.device()?;
        let mut plan = Plan::<T>::new(&self.problem, device, options)?;
        let bar = Bar::of("convolving");
        let began = Instant::now();
        let report = |done, total| bar.set(done, total);
        let watch = Watch { progress: Some(&report), cancelled: None };
        let outputs = match self.output_dtype == self.dtype {
            true => plan.run_watched(&operands.as_inputs(), watch)?.to_f64(),
            false => plan.run_wide_watched(&operands.as_inputs(), watch)?.to_f64(),
        };
        let ms = began.elapsed().as_secs_f64() * 1e3;
        // The one case left is f64 with an output in f32; all others are of that type already.
        let output = match self.output_dtype {
            DType::F32 => outputs.output.mapv(|value| f64::from(value as f32)),
            _ => outputs.output,
        };
        let outputs = Outputs { output, ..outputs };
        Ok(Outcome::of(&self, outputs, plan.recipe().clone(), device.name(), ms))
    }
}

/// What a call gave. Every value is held in f64, which holds every type's values exactly.
pub struct Outcome {
    /// (B, Cout, 1, 1, 1), values of the output's type.
    pub output: Array5<f64>,
    /// (Cout), where the mode computes it; as the three below.
    pub batch_mean: Option<Array1<f64>>,
    /// Biased.
    pub batch_var: Option<Array1<f64>>,
    /// After the step.
    pub running_mean: Option<Array1<f64>>,
    /// After the step.
    pub running_var: Option<Array1<f64>>,
    /// What ran.
    pub recipe: Recipe,
    /// On what.
    pub device: String,
    /// Milliseconds that the run took, without planning and files.
    pub ms: f64,
    dtype: DType,
    output_dtype: DType,
    running_dtype: DType,
}

impl Outcome {
    fn of(call: &Call, outputs: Outputs<f64>, recipe: Recipe, device: String, ms: f64) -> Self {
        Self {
            output: outputs.output,
            batch_mean: outputs.batch_mean,
            batch_var: outputs.batch_var,
            running_mean: outputs.running_mean,
            running_var: outputs.running_var,
            recipe,
            device,
            ms,
            dtype: call.dtype,
            output_dtype: call.output_dtype,
            running_dtype: call.running_dtype,
        }
    }

    /// The error of the output by the library's rule, which knows the type that the output was rounded to.
    pub fn output_error(
        &self,
        expected: ArrayView5<'_, f64>,
        beta: Option<&Array1<f64>>,
    ) -> Result<OutputError, InputError> {
        check::error_of_rounded(self.output.view(), self.output_dtype, expected, beta.map(|beta| beta.view()))
    }

    /// The relative bound for this device, algorithm and type.
    pub fn bound(&self) -> f64 {
        check::bound(self.recipe.algorithm, self.dtype)
    }

    /// The tensors of an output file: `output` in the input's type or the one asked for, the batch's statistics in f64, the running ones
    /// in the type they came in, so that they can be fed to the next step.
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        let mut tensors = BTreeMap::new();
        let output = Tensor {
            shape: self.output.shape().to_vec(),
            values: Values::rounded(self.output_dtype, self.output.iter().copied()),
        };
        tensors.insert("output".to_owned(), output);
        for (name, values, dtype) in [
            ("batch_mean", &self.batch_mean, DType::F64),
            ("batch_var", &self.batch_var, DType::F64),
            ("running_mean", &self.running_mean, self.running_dtype),
            ("running_var", &self.running_var, self.running_dtype),
        ] {
            if let Some(values) = values {
                let values =
                    Tensor { shape: vec![values.len()], values: Values::rounded(dtype, values.iter().copied()) };
                tensors.insert(name.to_owned(), values);
            }
        }
        tensors
    }
}

/// Takes the operands out of `tensors`.
fn operands<T: FromValues<Wide: FromValues>>(tensors: &mut BTreeMap<String, Tensor>) -> Result<Tensors<T>, Failure> {
    let input = tensors.remove("input").context(NO_INPUT)?;
    let shape = Shape5::try_from(&input.shape[..]).map_err(Error::from)?;
    let input = Array5::from_shape_vec(shape.extents(), T::from_values("input", input.values)?).context("input")?;
    let kernel = tensors.remove("kernel").context(NO_KERNEL)?;
    let shape = KernelShape::try_from(&kernel.shape[..]).map_err(Error::from)?;
    let kernel = Array5::from_shape_vec(shape.extents(), T::from_values("kernel", kernel.values)?).context("kernel")?;
    Ok(Tensors {
        input,
        kernel,
        conv_bias: vector(tensors, "conv_bias")?,
        bn_weight: vector(tensors, "bn_weight")?,
        bn_bias: vector(tensors, "bn_bias")?,
        running_mean: vector(tensors, "running_mean")?,
        running_var: vector(tensors, "running_var")?,
    })
}

/// A tensor of one value an output channel, where there is one.
fn vector<T: FromValues>(
    tensors: &mut BTreeMap<String, Tensor>,
    name: &'static str,
) -> Result<Option<Array1<T>>, Failure> {
    let Some(Tensor { shape, values }) = tensors.remove(name) else { return Ok(None) };
    match shape[..] {
        [_] => Ok(Some(Array1::from_vec(T::from_values(name, values)?))),
        _ => Err(anyhow!("{name} has shape {shape:?}; it must have one axis, the output channels").into()),
    }
}

fn common_dtype(input: DType, kernel: DType) -> Result<DType> {
    if input != kernel {
        bail!("the input is {input} and the kernel {kernel}; both must have the same type");
    }
    Ok(input)
}
