//! Launching [`kernel_gpu::dft_volume`].

use kernel_gpu::dft_volume::{DftVolume, shared_bytes};

use super::device::Bound;
use super::error::CudaError;
use super::module::Kernel;
use super::stream::RawStream;

/// The stage's name in measurements.
pub(super) const STAGE: &str = "dft_volume";

/// Puts the kernel on `stream`.
///
/// # Safety
/// Each pointer of `parameters` holds what its field says; nothing else uses the outputs until the stream has passed this
/// point; the kernel is the one for these extents.
pub(super) unsafe fn launch(
    kernel: &Kernel<DftVolume>,
    parameters: &DftVolume,
    stream: RawStream,
    bound: &Bound<'_>,
) -> Result<(), CudaError> {
    let (blocks, shared) = (parameters.spectrum.rows(), shared_bytes(&parameters.spectrum));
    // SAFETY: the caller's promise.
    unsafe { kernel.launch_with("launching dft_volume", blocks, shared, parameters, stream, bound) }
}
