//! Launching [`kernel_gpu::pool_finish`].

use cuda_std::global::{Global, GlobalMut};
use kernel_gpu::pool_finish::PoolFinish;

use super::device::{Bound, CudaDevice};
use super::error::CudaError;
use super::plan::DeviceTensors;
use super::stream::RawStream;
use crate::element::Element;
use crate::problem::{Mode, Problem};

/// The stage's name in measurements.
pub(super) const STAGE: &str = "pool_finish";

/// The parameters for the moments of each (b, c), and the batch's statistics to write.
pub(super) fn parameters<T: Element>(
    problem: &Problem,
    tensors: &DeviceTensors,
    (mean, m2): (Global<f64>, Global<f64>),
    (batch_mean, batch_var): (GlobalMut<f64>, GlobalMut<f64>),
) -> PoolFinish<T> {
    let (factor, training) = match problem.mode() {
        Mode::Train { momentum } => (momentum.factor(), true),
        Mode::Eval => (0.0, false),
    };
    PoolFinish::<T> {
        mean,
        m2,
        conv_bias: Global::from_address(tensors.conv_bias),
        bn_weight: Global::from_address(tensors.bn_weight),
        bn_bias: Global::from_address(tensors.bn_bias),
        running_mean: GlobalMut::from_address(tensors.running_mean),
        running_var: GlobalMut::from_address(tensors.running_var),
        output: GlobalMut::from_address(tensors.output),
        batch_mean,
        batch_var,
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

/// Puts the kernel on `stream`.
///
/// # Safety
/// Each pointer of `parameters` holds what its field says, or is null where that is allowed; nothing else uses the outputs
/// until the stream has passed this point.
pub(super) unsafe fn launch<T: Element>(
    device: &CudaDevice,
    parameters: &PoolFinish<T>,
    stream: RawStream,
    bound: &Bound<'_>,
) -> Result<(), CudaError> {
    let blocks = parameters.channels.clamp(1, 1 << 16);
    let kernel = device.kernels().pool_finish::<T>();
    // SAFETY: the caller's promise.
    unsafe { kernel.launch("launching pool_finish", blocks, parameters, stream, bound) }
}
