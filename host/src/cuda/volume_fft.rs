//! Launching [`kernel_gpu::volume_fft`].

use kernel_gpu::volume_fft::VolumeFft;

use super::device::Bound;
use super::error::CudaError;
use super::module::Kernel;
use super::stream::RawStream;

/// The stage's name in measurements.
pub(super) const STAGE: &str = "volume_fft";

/// Puts the kernel on `stream`, with so many blocks.
///
/// # Safety
/// Each pointer of `parameters` holds what its field says; nothing else uses the outputs until the stream has passed this
/// point; the layout is that of these extents, and the kernel's launch of it.
pub(super) unsafe fn launch(
    kernel: &Kernel<VolumeFft>,
    parameters: &VolumeFft,
    blocks: u32,
    stream: RawStream,
    bound: &Bound<'_>,
) -> Result<(), CudaError> {
    // SAFETY: the caller's promise.
    unsafe { kernel.launch("launching volume_fft", blocks, parameters, stream, bound) }
}
