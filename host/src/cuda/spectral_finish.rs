//! Launching [`kernel_gpu::spectral_finish`].

use kernel_gpu::spectral_finish::SpectralFinish;

use super::device::Bound;
use super::error::CudaError;
use super::module::Kernel;
use super::stream::RawStream;

/// The stage's name in measurements.
pub(super) const STAGE: &str = "spectral_finish";

/// Puts the kernel on `stream`.
///
/// # Safety
/// Each pointer of `parameters` holds what its field says, or is null where that is allowed; nothing else uses the outputs
/// until the stream has passed this point.
pub(super) unsafe fn launch(
    kernel: &Kernel<SpectralFinish>,
    parameters: &SpectralFinish,
    stream: RawStream,
    bound: &Bound<'_>,
) -> Result<(), CudaError> {
    let blocks = parameters.finish.channels.clamp(1, 1 << 16);
    // SAFETY: the caller's promise.
    unsafe { kernel.launch("launching spectral_finish", blocks, parameters, stream, bound) }
}
