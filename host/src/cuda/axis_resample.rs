//! Launching [`kernel_gpu::axis_resample`].

use kernel_gpu::axis_resample::AxisResample;

use super::device::Bound;
use super::error::CudaError;
use super::module::Kernel;
use super::stream::RawStream;

/// The stages' names in measurements: along the outer axis, and along the pair axis.
pub(super) const STAGES: [&str; 2] = ["axis_resample outer", "axis_resample pair"];

/// Puts the kernel on `stream`.
///
/// # Safety
/// Each pointer of `parameters` holds what its field says; nothing else uses the outputs until the stream has passed this
/// point.
pub(super) unsafe fn launch(
    kernel: &Kernel<AxisResample>,
    parameters: &AxisResample,
    stream: RawStream,
    bound: &Bound<'_>,
) -> Result<(), CudaError> {
    let blocks = parameters.items().clamp(1, 1 << 20);
    // SAFETY: the caller's promise.
    unsafe { kernel.launch("launching axis_resample", blocks, parameters, stream, bound) }
}
