//! Launching [`kernel_gpu::volume_transform`].

use kernel_gpu::volume_transform::VolumeTransform;

use super::device::Bound;
use super::error::CudaError;
use super::module::Kernel;
use super::stream::RawStream;

/// The stage's name in measurements.
pub(super) const STAGE: &str = "volume_transform";

/// Puts the kernel on `stream`, with so many blocks. An input that does not begin on 16 bytes is read where it is.
///
/// # Safety
/// Each pointer of `parameters` holds what its field says; nothing else uses the outputs until the stream has passed this
/// point; the layout is that of the kernel's form and of these extents, and `blocks` a multiple of its groups.
pub(super) unsafe fn launch(
    kernel: &Kernel<VolumeTransform>,
    parameters: &VolumeTransform,
    blocks: u32,
    stream: RawStream,
    bound: &Bound<'_>,
) -> Result<(), CudaError> {
    let mut parameters = *parameters;
    if !parameters.input.address().is_multiple_of(16) {
        parameters.layout.input = 0;
    }
    let shared = parameters.layout.bytes;
    // SAFETY: the caller's promise; volumes that have a place for the input are multiples of 16 bytes, so all begin where the first
    // does.
    unsafe { kernel.launch_with("launching volume_transform", blocks, shared, &parameters, stream, bound) }
}
