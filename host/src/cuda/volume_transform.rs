//! Launching [`kernel_gpu::volume_transform`].

use kernel_gpu::volume_transform::VolumeTransform;

use super::device::Bound;
use super::error::CudaError;
use super::module::Kernel;
use super::stream::RawStream;

/// The stage's name in measurements.
pub(super) const STAGE: &str = "volume_transform";

/// Puts the kernel on `stream`, with so many blocks.
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
    let shared = parameters.layout.bytes;
    // SAFETY: the caller's promise.
    unsafe { kernel.launch_with("launching volume_transform", blocks, shared, parameters, stream, bound) }
}
