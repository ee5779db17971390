//! One call of the operation: tensors and options, checked together, run on a device.
//!
//! The library computes in one type `T`, and the operands of a file may differ: `input` and `kernel` must agree and
//! decide; narrower per-channel vectors are widened, which is exact; wider ones are refused.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use convt_bn_gap::check::{self, OutputError};
use convt_bn_gap::{
    DType, Device, Error, InputError, KernelShape, Outputs, Plan, PlanOptions, Problem, Recipe, Shape5, Tensors,
};
use ndarray::{Array1, Array5, ArrayView5};

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
    // The input's type, which the output takes too.
    dtype: DType,
    tensors: BTreeMap<String, Tensor>,
    running_dtype: DType,
}

impl Call {
    /// Checks ranks and types, and the problem; lengths and values are checked by the library when it runs.
    pub fn new(tensors: BTreeMap<String, Tensor>, options: &Options) -> Result<Self, Failure> {
        let input = tensors.get("input").context(NO_INPUT)?;
        let kernel = tensors.get("kernel").context(NO_KERNEL)?;
        let input_shape = Shape5::try_from(&input.shape[..]).map_err(Error::from)?;
        let kernel_shape = KernelShape::try_from(&kernel.shape[..]).map_err(Error::from)?;
        let dtype = common_dtype(input.values.dtype(), kernel.values.dtype())?;
        let running = tensors.get("running_mean").or(tensors.get("running_var"));
        let running_dtype = running.map_or(dtype, |tensor| tensor.values.dtype());
        let problem = options.problem(input_shape, kernel_shape, running.is_some()).map_err(Error::from)?;
        Ok(Self { problem, dtype, tensors, running_dtype })
    }

    /// bn_bias, which the error of an output is measured without.
    pub fn beta(&self) -> Result<Option<Array1<f64>>, Failure> {
        let Some(tensor) = self.tensors.get("bn_bias") else { return Ok(None) };
        Ok(Some(Array1::from_vec(f64::from_values("bn_bias", tensor.values.clone())?)))
    }

    /// Runs on `device` in the input's type (the reference device widens and rounds by itself).
    pub fn execute(self, device: &Device, options: PlanOptions) -> Result<Outcome, Failure> {
        match self.dtype {
            DType::F64 => self.execute_in::<f64>(device, options),
            _ => self.execute_in::<f32>(device, options),
        }
    }

    fn execute_in<T: FromValues>(mut self, device: &Device, options: PlanOptions) -> Result<Outcome, Failure> {
        let operands = operands::<T>(&mut self.tensors)?;
        let mut plan = Plan::<T>::new(&self.problem, device, options)?;
        let bar = Bar::of("convolving");
        let began = Instant::now();
        let outputs = plan.run_with_progress(&operands.as_inputs(), &|done, total| bar.set(done, total))?;
        let ms = began.elapsed().as_secs_f64() * 1e3;
        Ok(Outcome::of(&self, outputs, plan.recipe().clone(), device.name(), ms))
    }
}

/// What a call gave. Every value is held in f64, which holds every type's values exactly.
pub struct Outcome {
    /// (B, Cout, 1, 1, 1), values of the input's type.
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
    running_dtype: DType,
}

impl Outcome {
    fn of<T: FromValues>(call: &Call, outputs: Outputs<T>, recipe: Recipe, device: String, ms: f64) -> Self {
        Self {
            output: outputs.output.mapv(T::to_f64),
            batch_mean: outputs.batch_mean,
            batch_var: outputs.batch_var,
            running_mean: outputs.running_mean,
            running_var: outputs.running_var,
            recipe,
            device,
            ms,
            dtype: call.dtype,
            running_dtype: call.running_dtype,
        }
    }

    /// The error of the output by the library's rule, which knows the type that the output was rounded to.
    pub fn output_error(
        &self,
        expected: ArrayView5<'_, f64>,
        beta: Option<&Array1<f64>>,
    ) -> Result<OutputError, InputError> {
        match self.dtype {
            DType::F64 => check::output_error(self.output.view(), expected, beta.map(|beta| beta.view())),
            _ => {
                // Both were f32 before they were held in f64.
                let output = self.output.mapv(|value| value as f32);
                let beta = beta.map(|beta| beta.mapv(|value| value as f32));
                check::output_error(output.view(), expected, beta.as_ref().map(|beta| beta.view()))
            }
        }
    }

    /// The relative bound for this device, algorithm and type.
    pub fn bound(&self) -> f64 {
        check::bound(self.recipe.algorithm, self.dtype)
    }

    /// The tensors of an output file: `output` in the input's type, the batch's statistics in f64, the running ones
    /// in the type they came in, so that they can be fed to the next step.
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        let mut tensors = BTreeMap::new();
        let output = Tensor {
            shape: self.output.shape().to_vec(),
            values: Values::rounded(self.dtype, self.output.iter().copied()),
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

/// A tensor's shape and values, where there is one.
type Taken<T> = Option<(Vec<usize>, Vec<T>)>;

/// Takes the operands out of `tensors`.
fn operands<T: FromValues>(tensors: &mut BTreeMap<String, Tensor>) -> Result<Tensors<T>, Failure> {
    let mut take = |name: &'static str| -> Result<Taken<T>, Failure> {
        let Some(tensor) = tensors.remove(name) else { return Ok(None) };
        Ok(Some((tensor.shape, T::from_values(name, tensor.values)?)))
    };
    let (shape, values) = take("input")?.context(NO_INPUT)?;
    let shape = Shape5::try_from(&shape[..]).map_err(Error::from)?;
    let input = Array5::from_shape_vec(shape.extents(), values).context("input")?;
    let (shape, values) = take("kernel")?.context(NO_KERNEL)?;
    let shape = KernelShape::try_from(&shape[..]).map_err(Error::from)?;
    let kernel = Array5::from_shape_vec(shape.extents(), values).context("kernel")?;
    let mut vector = |name| -> Result<Option<Array1<T>>, Failure> {
        let Some((shape, values)) = take(name)? else { return Ok(None) };
        match shape[..] {
            [_] => Ok(Some(Array1::from_vec(values))),
            _ => Err(anyhow!("{name} has shape {shape:?}; it must have one axis, the output channels").into()),
        }
    };
    Ok(Tensors {
        input,
        kernel,
        conv_bias: vector("conv_bias")?,
        bn_weight: vector("bn_weight")?,
        bn_bias: vector("bn_bias")?,
        running_mean: vector("running_mean")?,
        running_var: vector("running_var")?,
    })
}

fn common_dtype(input: DType, kernel: DType) -> Result<DType> {
    if input != kernel {
        bail!("the input is {input} and the kernel {kernel}; both must have the same type");
    }
    match input {
        DType::F32 | DType::F64 => Ok(input),
        _ => bail!("the input is {input}, which is not supported yet; f32 and f64 are"),
    }
}
