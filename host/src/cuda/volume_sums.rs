//! Launching [`kernel_gpu::volume_sums`].

use kernel_gpu::volume_sums::VolumeSums;

use super::device::Bound;
use super::error::CudaError;
use super::module::Kernel;
use super::stream::RawStream;

/// The stage's name in measurements.
pub(super) const STAGE: &str = "volume_sums";

/// Puts the kernel on `stream`.
///
/// # Safety
/// Each pointer of `parameters` holds what its field says; nothing else uses the outputs until the stream has passed this
/// point.
pub(super) unsafe fn launch(
    kernel: &Kernel<VolumeSums>,
    parameters: &VolumeSums,
    stream: RawStream,
    bound: &Bound<'_>,
) -> Result<(), CudaError> {
    let blocks = parameters.spectrum.rows().clamp(1, i32::MAX as u32);
    // SAFETY: the caller's promise.
    unsafe { kernel.launch("launching volume_sums", blocks, parameters, stream, bound) }
}
