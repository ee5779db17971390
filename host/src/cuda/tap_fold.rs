//! Launching [`kernel_gpu::tap_fold`].

use kernel_gpu::tap_fold::TapFold;

use super::device::Bound;
use super::error::CudaError;
use super::module::Kernel;
use super::stream::RawStream;

/// The stages' names in measurements, of plain and of strict lines.
pub(super) const STAGES: [&str; 2] = ["tap_fold_plain", "tap_fold_strict"];

/// Puts the kernel for plain or strict lines on `stream`.
///
/// # Safety
/// Each pointer of `parameters` holds what its field says, for these lines; nothing else uses the outputs until the stream
/// has passed this point; the kernel is the one for such lines.
pub(super) unsafe fn launch(
    kernel: &Kernel<TapFold>,
    is_strict: bool,
    parameters: &TapFold,
    stream: RawStream,
    bound: &Bound<'_>,
) -> Result<(), CudaError> {
    let blocks = parameters.blocks(is_strict).clamp(1, i32::MAX as u32);
    // SAFETY: the caller's promise.
    unsafe { kernel.launch("launching tap_fold", blocks, parameters, stream, bound) }
}
