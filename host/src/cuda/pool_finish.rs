//! Launching [`kernel_gpu::pool_finish`].

use cuda_std::global::{Global, GlobalMut};
use cuda_std::launch::KernelSpec;
use kernel_gpu::conv_shape::{ConvOptions, ConvShape};
use kernel_gpu::element::TensorMut;
use kernel_gpu::infinities::Operands;
use kernel_gpu::pool_finish::{PoolFinish, SPEC_F32, SPEC_F64};

use super::device::Bound;
use super::error::CudaError;
use super::module::Kernel;
use super::plan::Target;
use super::stream::RawStream;
use crate::element::{DType, Element};
use crate::problem::Mode;

/// The stage's name in measurements.
pub(super) const STAGE: &str = "pool_finish";

/// The parameters for the moments of each (b, c) of a convolution, and where the batch's statistics are written if the caller has no
/// place for them.
pub(super) fn parameters<T: Element>(
    target: &Target<'_>,
    (shape, options): (ConvShape, ConvOptions),
    (mean, m2): (GlobalMut<f64>, Global<f64>),
    (batch_mean, batch_var): (GlobalMut<f64>, GlobalMut<f64>),
) -> PoolFinish<T> {
    let (problem, tensors) = (target.problem, target.tensors);
    let place = |asked: u64, own| match asked != 0 && problem.uses_batch_statistics() {
        true => GlobalMut::from_address(asked),
        false => own,
    };
    let (factor, training) = match problem.mode() {
        Mode::Train { momentum } => (momentum.factor(), true),
        Mode::Eval => (0.0, false),
    };
    PoolFinish::<T> {
        mean,
        m2,
        operands: Operands { input: target.input(), kernel: target.kernel(), shape, options },
        conv_bias: target.tensor(tensors.conv_bias),
        bn_weight: Global::from_address(tensors.bn_weight),
        bn_bias: Global::from_address(tensors.bn_bias),
        running_mean: GlobalMut::from_address(tensors.running_mean),
        running_var: GlobalMut::from_address(tensors.running_var),
        output: TensorMut::new(tensors.output, tensors.output_dtype.unwrap_or(target.dtype).into()),
        batch_mean: place(tensors.batch_mean, batch_mean),
        batch_var: place(tensors.batch_var, batch_var),
        positions: problem.positions() as u64,
        scale: problem.scale_factor(),
        eps: problem.eps(),
        factor,
        // The design has refused extents past 32 bits.
        batch: problem.batch() as u32,
        channels: problem.out_channels() as u32,
        normalize_by_running: u32::from(!problem.uses_batch_statistics()),
        update_running: u32::from(training && problem.has_running_statistics()),
    }
}

/// The kernel that computes in `T`.
pub(super) fn spec<T: Element>() -> KernelSpec {
    if T::DTYPE == DType::F64 { SPEC_F64 } else { SPEC_F32 }
}

/// Puts the kernel on `stream`.
///
/// # Safety
/// Each pointer of `parameters` holds what its field says, or is null where that is allowed; nothing else uses the outputs
/// until the stream has passed this point.
pub(super) unsafe fn launch<T: Element>(
    kernel: &Kernel<PoolFinish<T>>,
    parameters: &PoolFinish<T>,
    stream: RawStream,
    bound: &Bound<'_>,
) -> Result<(), CudaError> {
    let blocks = parameters.channels.clamp(1, 1 << 16);
    // SAFETY: the caller's promise.
    unsafe { kernel.launch("launching pool_finish", blocks, parameters, stream, bound) }
}
