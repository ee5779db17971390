//! Launching [`kernel_gpu::tap_sums`].

use kernel_gpu::spectrum::TILE;
use kernel_gpu::tap_sums::TapSums;

use super::device::Bound;
use super::error::CudaError;
use super::module::Kernel;
use super::stream::RawStream;

/// The stage's name in measurements.
pub(super) const STAGE: &str = "tap_sums";

/// Puts the kernel on `stream`.
///
/// # Safety
/// Each pointer of `parameters` holds what its field says; nothing else uses the outputs until the stream has passed this
/// point.
pub(super) unsafe fn launch(
    kernel: &Kernel<TapSums>,
    parameters: &TapSums,
    stream: RawStream,
    bound: &Bound<'_>,
) -> Result<(), CudaError> {
    let blocks = (parameters.spectrum.in_tiles() * TILE).min(1 << 16);
    // SAFETY: the caller's promise.
    unsafe { kernel.launch("launching tap_sums", blocks, parameters, stream, bound) }
}
