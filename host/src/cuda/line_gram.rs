//! Launching [`kernel_gpu::line_gram`].

use kernel_gpu::line_gram::{LineGram, lags};

use super::device::Bound;
use super::error::CudaError;
use super::module::Kernel;
use super::stream::RawStream;

/// The stage's name in measurements.
pub(super) const STAGE: &str = "line_gram";

/// Puts the kernel on `stream`.
///
/// # Safety
/// Each pointer of `parameters` holds what its field says; nothing else uses the outputs until the stream has passed this
/// point; the kernel is that of the lags of this kernel's extent.
pub(super) unsafe fn launch(
    kernel: &Kernel<LineGram>,
    parameters: &LineGram,
    stream: RawStream,
    bound: &Bound<'_>,
) -> Result<(), CudaError> {
    // A block an item: the sums of as many as fit in memory are fewer than 2^31.
    let blocks = parameters.items(lags(parameters.grid().kernel[2])).clamp(1, i32::MAX as u64) as u32;
    // SAFETY: the caller's promise.
    unsafe { kernel.launch("launching line_gram", blocks, parameters, stream, bound) }
}
