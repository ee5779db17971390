//! Host arrays on their way to the device and back.

use ndarray::{Array1, ArrayBase, ArrayView1, Data, Dimension};

use super::device::{Bound, CudaDevice};
use super::memory::{DeviceArray, address_of};
use super::stream::RawStream;
use crate::Error;
use crate::addresses::DeviceTensors;
use crate::element::{DType, Storage};
use crate::memory;
use crate::problem::Problem;
use crate::tensors::{Inputs, Outputs};

const STAGING: &str = "the copy of the tensors on the device";

/// Device memory for one call's tensors, at most as many as the problem can have.
pub(super) struct Staging<T: Storage> {
    input: DeviceArray<T>,
    kernel: DeviceArray<T>,
    conv_bias: DeviceArray<T>,
    /// bn_weight, bn_bias, running_mean, running_var.
    vectors: [DeviceArray<T::Wide>; 4],
    /// Not rounded: the host rounds once, to what the caller asks for.
    output: DeviceArray<f64>,
}

impl<T: Storage> Staging<T> {
    /// What [`Self::new`] allocates.
    pub(super) fn bytes(problem: &Problem) -> u64 {
        let (own, wide) = (T::DTYPE.bytes() as u64, T::Wide::DTYPE.bytes() as u64);
        let arrays = [
            (problem.input_elements(), own),
            (problem.kernel_elements(), own),
            (problem.out_channels(), own + 4 * wide),
            (problem.output_elements(), 8),
        ];
        arrays.iter().fold(0, |sum: u64, &(len, bytes)| sum.saturating_add((len as u64).saturating_mul(bytes)))
    }

    pub(super) fn new(problem: &Problem, device: &CudaDevice, bound: &Bound<'_>) -> Result<Self, Error> {
        memory::check_among(STAGING, Self::bytes(problem), Some(device.free_memory(bound)?))?;
        let array = |len| DeviceArray::<T>::new(STAGING, len, device, bound);
        let vector = || DeviceArray::<T::Wide>::new(STAGING, problem.out_channels(), device, bound);
        Ok(Self {
            input: array(problem.input_elements())?,
            kernel: array(problem.kernel_elements())?,
            conv_bias: array(problem.out_channels())?,
            vectors: [vector()?, vector()?, vector()?, vector()?],
            output: DeviceArray::new(STAGING, problem.output_elements(), device, bound)?,
        })
    }

    /// Copies the tensors, which fit the problem, to the device.
    pub(super) fn upload(
        &mut self,
        inputs: &Inputs<'_, T>,
        stream: RawStream,
        bound: &Bound<'_>,
    ) -> Result<DeviceTensors, Error> {
        send(&mut self.input, &inputs.input, stream, bound)?;
        send(&mut self.kernel, &inputs.kernel, stream, bound)?;
        if let Some(conv_bias) = inputs.conv_bias {
            send(&mut self.conv_bias, &conv_bias, stream, bound)?;
        }
        let given = [inputs.bn_weight, inputs.bn_bias, inputs.running_mean, inputs.running_var];
        for (array, values) in self.vectors.iter_mut().zip(given) {
            if let Some(values) = values {
                send(array, &values, stream, bound)?;
            }
        }
        let [bn_weight, bn_bias, running_mean, running_var] =
            std::array::from_fn(|i| address_of(given[i].and(Some(&self.vectors[i]))));
        Ok(DeviceTensors {
            input: self.input.address(),
            kernel: self.kernel.address(),
            conv_bias: address_of(inputs.conv_bias.and(Some(&self.conv_bias))),
            bn_weight,
            bn_bias,
            running_mean,
            running_var,
            output: self.output.address(),
            output_dtype: Some(DType::F64),
            ..DeviceTensors::default()
        })
    }

    /// Waits for `stream` and copies the results from the device; `batch` where the batch's statistics were used.
    pub(super) fn download(
        &self,
        problem: &Problem,
        inputs: &Inputs<'_, T>,
        batch: Option<(&DeviceArray<f64>, &DeviceArray<f64>)>,
        stream: RawStream,
        bound: &Bound<'_>,
    ) -> Result<Outputs<f64>, Error> {
        let output = receive(&self.output, stream, bound)?;
        let statistic = |array: Option<&DeviceArray<f64>>| -> Result<Option<Array1<f64>>, Error> {
            array.map(|array| Ok(Array1::from(receive(array, stream, bound)?))).transpose()
        };
        let running = |given: Option<ArrayView1<'_, T::Wide>>, array| -> Result<Option<Array1<f64>>, Error> {
            given.map(|_| Ok(Array1::from(receive(array, stream, bound)?).mapv(Storage::to_f64))).transpose()
        };
        Ok(Outputs {
            output: memory::in_shape(ndarray::IntoDimension::into_dimension(shape(problem)), output),
            batch_mean: statistic(batch.map(|(mean, _)| mean))?,
            batch_var: statistic(batch.map(|(_, var)| var))?,
            running_mean: running(inputs.running_mean, &self.vectors[2])?,
            running_var: running(inputs.running_var, &self.vectors[3])?,
        })
    }
}

fn shape(problem: &Problem) -> (usize, usize, usize, usize, usize) {
    (problem.batch(), problem.out_channels(), 1, 1, 1)
}

/// Copies an array of any strides to the device in C order.
fn send<T: Storage, S: Data<Elem = T>, D: Dimension>(
    array: &mut DeviceArray<T>,
    values: &ArrayBase<S, D>,
    stream: RawStream,
    bound: &Bound<'_>,
) -> Result<(), Error> {
    if let Some(values) = values.as_slice() {
        return Ok(array.upload(values, stream, bound)?);
    }
    let mut ordered = memory::try_with_capacity("a copy of a tensor in C order", values.len())?;
    ordered.extend(values.iter().copied());
    Ok(array.upload(&ordered, stream, bound)?)
}

fn receive<T: Storage>(array: &DeviceArray<T>, stream: RawStream, bound: &Bound<'_>) -> Result<Vec<T>, Error> {
    let mut values = memory::try_filled("the copy of the results", array.len(), T::default())?;
    array.download(&mut values, stream, bound)?;
    Ok(values)
}
