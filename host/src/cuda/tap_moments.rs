//! Launching [`kernel_gpu::tap_moments`].

use kernel_gpu::tap_moments::TapMoments;

use super::device::Bound;
use super::error::CudaError;
use super::module::Kernel;
use super::stream::RawStream;

/// The stage's name in measurements.
pub(super) const STAGE: &str = "tap_moments";

/// Puts the kernel on `stream`.
///
/// # Safety
/// Each pointer of `parameters` holds what its field says; nothing else uses the outputs until the stream has passed this
/// point.
pub(super) unsafe fn launch(
    kernel: &Kernel<TapMoments>,
    parameters: &TapMoments,
    stream: RawStream,
    bound: &Bound<'_>,
) -> Result<(), CudaError> {
    let blocks = parameters.blocks().clamp(1, 1 << 16);
    // SAFETY: the caller's promise.
    unsafe { kernel.launch("launching tap_moments", blocks, parameters, stream, bound) }
}
