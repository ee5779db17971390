//! Launching [`kernel_gpu::dft_axis`].

use kernel_gpu::dft_axis::DftAxis;

use super::device::Bound;
use super::error::CudaError;
use super::module::Kernel;
use super::stream::RawStream;

/// The stage's name in measurements.
pub(super) const STAGE: &str = "dft_axis";

/// Puts the kernel on `stream`.
///
/// # Safety
/// Each pointer of `parameters` holds what its field says; nothing else uses the outputs until the stream has passed this
/// point.
pub(super) unsafe fn launch(
    kernel: &Kernel<DftAxis>,
    parameters: &DftAxis,
    stream: RawStream,
    bound: &Bound<'_>,
) -> Result<(), CudaError> {
    let blocks = parameters.extents.tiles().clamp(1, i32::MAX as u64) as u32;
    // SAFETY: the caller's promise.
    unsafe { kernel.launch("launching dft_axis", blocks, parameters, stream, bound) }
}
