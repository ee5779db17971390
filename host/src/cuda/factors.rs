//! Launching the kernels before [`kernel_gpu::implicit_gemm`]: they make its factors, scales and means.

use super::device::Bound;
use super::error::CudaError;
use super::module::Kernel;
use super::stream::RawStream;

/// The stages' names in measurements.
pub(super) const SEGMENT_SUMS: &str = "segment_sums";
pub(super) const BOX_SUMS: &str = "box_sums";
pub(super) const CHANNELS_LAST: &str = "channels_last";
pub(super) const SPLIT_TAPS: &str = "split_taps";
pub(super) const CONV_MEANS: &str = "conv_means";

/// Puts a kernel on `stream` that takes any number of blocks and has work for `blocks`.
///
/// # Safety
/// Each pointer of `parameters` holds what its field says; nothing else uses the outputs until the stream has passed this
/// point.
pub(super) unsafe fn launch<P: Copy>(
    kernel: &Kernel<P>,
    what: &'static str,
    blocks: u64,
    parameters: &P,
    stream: RawStream,
    bound: &Bound<'_>,
) -> Result<(), CudaError> {
    // Enough to fill any device; a block takes several of its items in turn.
    let blocks = blocks.clamp(1, 1 << 16) as u32;
    // SAFETY: the caller's promise.
    unsafe { kernel.launch(what, blocks, parameters, stream, bound) }
}
