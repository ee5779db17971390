//! The direct way on a GPU: three kernels one after the other.
//!
//! | stage | reads | writes |
//! |---|---|---|
//! | `conv_transpose_moments` | input, kernel | mean, M2 a (b, c, slice) |
//! | `batch_norm_reduce` | these | mean, M2 a (b, c) |
//! | `pool_finish` | these, the per-channel vectors | output, batch statistics, running statistics |

use kernel_gpu::batch_norm_reduce::{self as reduce, BatchNormReduce};
use kernel_gpu::conv_transpose_moments::{ConvTransposeMoments, FORMS};
use kernel_gpu::pool_finish::PoolFinish;
use kernel_gpu::tile::POSITIONS;

use super::device::{Bound, CudaDevice};
use super::error::CudaError;
use super::memory::DeviceArray;
use super::module::Kernel;
use super::plan::{After, Target, WORKSPACE};
use super::{batch_norm_reduce, conv_transpose_moments, pool_finish};
use crate::Error;
use crate::element::{DType, Element};
use crate::plan::{Cost, CudaDirect};
use crate::problem::Problem;

/// The kernels, and what they hand to each other.
pub(super) struct Direct<T: Element> {
    design: CudaDirect,
    conv_transpose_moments: Kernel<ConvTransposeMoments<T>>,
    batch_norm_reduce: Kernel<BatchNormReduce>,
    pool_finish: Kernel<PoolFinish<T>>,
    slice_mean: DeviceArray<f64>,
    slice_m2: DeviceArray<f64>,
    mean: DeviceArray<f64>,
    m2: DeviceArray<f64>,
    batch_mean: DeviceArray<f64>,
    batch_var: DeviceArray<f64>,
}

impl<T: Element> Direct<T> {
    /// Looks up the kernels and allocates.
    pub(super) fn new(design: &CudaDirect, device: &CudaDevice, bound: &Bound<'_>) -> Result<Self, Error> {
        let array = |len: u64| DeviceArray::new(WORKSPACE, len as usize, device, bound);
        let (kernels, rows, channels) = (device.kernels(), design.rows(), u64::from(design.shape.out_channels));
        Ok(Self {
            design: *design,
            conv_transpose_moments: kernels.get(FORMS[design.form].spec, bound)?,
            batch_norm_reduce: kernels.get(reduce::SPEC, bound)?,
            pool_finish: kernels.get(pool_finish::spec::<T>(), bound)?,
            slice_mean: array(rows * design.work.slices)?,
            slice_m2: array(rows * design.work.slices)?,
            mean: array(rows)?,
            m2: array(rows)?,
            batch_mean: array(channels)?,
            batch_var: array(channels)?,
        })
    }

    /// The batch's mean and variance.
    pub(super) fn statistics(&self) -> (&DeviceArray<f64>, &DeviceArray<f64>) {
        (&self.batch_mean, &self.batch_var)
    }

    /// The stages and their costs.
    pub(super) fn stages(&self, problem: &Problem, dtype: DType) -> Vec<(&'static str, Cost)> {
        let element = dtype.bytes() as u64;
        let tensors = (problem.input_elements() as u64).saturating_add(problem.kernel_elements() as u64);
        let rows = self.design.rows();
        let slices = rows.saturating_mul(self.design.work.slices);
        let cost = |bytes, flops| Cost { bytes, flops };
        vec![
            (
                conv_transpose_moments::STAGE,
                cost(tensors.saturating_mul(element).saturating_add(slices.saturating_mul(16)), self.design.flops()),
            ),
            (batch_norm_reduce::STAGE, cost(slices.saturating_add(rows).saturating_mul(16), slices.saturating_mul(12))),
            (pool_finish::STAGE, cost(rows.saturating_mul(24 + element), rows.saturating_mul(15))),
        ]
    }

    /// The three kernels.
    ///
    /// # Safety
    /// The tensors hold what the problem says, in the type for which this way was designed and which is computed in `T`; nothing else uses
    /// them or this until the stream has passed this point.
    pub(super) unsafe fn launch(&mut self, target: &Target<'_>, after: After<'_>) -> Result<(), CudaError> {
        let Target { problem, stream, bound, .. } = *target;
        let positions = self.design.options.positions();
        let parameters = ConvTransposeMoments::<T> {
            input: target.input(),
            kernel: target.kernel(),
            mean: self.slice_mean.global_mut(),
            m2: self.slice_m2.global_mut(),
            scale: problem.scale_factor(),
            shape: self.design.shape,
            work: self.design.work,
            options: self.design.options,
        };
        // SAFETY: input and kernel are the caller's promise; the slices have rows·slices elements (`new`).
        unsafe {
            conv_transpose_moments::launch(
                (&self.conv_transpose_moments, self.design.form),
                &parameters,
                stream,
                bound,
            )?
        };
        after(conv_transpose_moments::STAGE)?;
        let parameters = BatchNormReduce {
            slice_mean: self.slice_mean.global(),
            slice_m2: self.slice_m2.global(),
            mean: self.mean.global_mut(),
            m2: self.m2.global_mut(),
            rows: self.design.rows(),
            positions,
            tile_positions: u64::from(POSITIONS),
            work: self.design.work,
        };
        // SAFETY: lengths as in `new`; the stream orders this after the slices are written.
        unsafe { batch_norm_reduce::launch(&self.batch_norm_reduce, &parameters, stream, bound)? };
        after(batch_norm_reduce::STAGE)?;
        let moments = (self.mean.global_mut(), self.m2.global());
        let statistics = (self.batch_mean.global_mut(), self.batch_var.global_mut());
        let parameters =
            pool_finish::parameters::<T>(target, (self.design.shape, self.design.options), moments, statistics);
        // SAFETY: per-channel vectors, the output and what the flags ask for are the caller's promise; the rest has the lengths
        // of `new`.
        unsafe { pool_finish::launch(&self.pool_finish, &parameters, stream, bound)? };
        after(pool_finish::STAGE)
    }
}
