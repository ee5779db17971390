//! Launching [`kernel_gpu::grid_resample`].

use kernel_gpu::grid_resample::GridResample;

use super::device::Bound;
use super::error::CudaError;
use super::module::Kernel;
use super::stream::RawStream;

/// The stage's name in measurements.
pub(super) const STAGE: &str = "grid_resample";

/// Puts the kernel on `stream`.
///
/// # Safety
/// Each pointer of `parameters` holds what its field says; nothing else uses the outputs until the stream has passed this
/// point.
pub(super) unsafe fn launch(
    kernel: &Kernel<GridResample>,
    parameters: &GridResample,
    stream: RawStream,
    bound: &Bound<'_>,
) -> Result<(), CudaError> {
    // A block an item: 32 numbers of an output in memory are one at least.
    let blocks = parameters.items().clamp(1, i32::MAX as u32);
    // SAFETY: the caller's promise.
    unsafe { kernel.launch("launching grid_resample", blocks, parameters, stream, bound) }
}
