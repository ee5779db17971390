//! Launching [`kernel_gpu::tap_spectrum`].

use kernel_gpu::tap_spectrum::TapSpectrum;

use super::device::Bound;
use super::error::CudaError;
use super::module::Kernel;
use super::stream::RawStream;

/// The stage's name in measurements.
pub(super) const STAGE: &str = "tap_spectrum";

/// Puts the kernel on `stream`.
///
/// # Safety
/// Each pointer of `parameters` holds what its field says; nothing else uses the outputs until the stream has passed this
/// point.
pub(super) unsafe fn launch(
    kernel: &Kernel<TapSpectrum>,
    parameters: &TapSpectrum,
    stream: RawStream,
    bound: &Bound<'_>,
) -> Result<(), CudaError> {
    let blocks = parameters.items().clamp(1, 1 << 20) as u32;
    // SAFETY: the caller's promise.
    unsafe {
        kernel.launch_with("launching tap_spectrum", blocks, parameters.shared_bytes(), parameters, stream, bound)
    }
}
