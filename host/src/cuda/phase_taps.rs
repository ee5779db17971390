//! Launching [`kernel_gpu::phase_taps`].

use kernel_gpu::phase_taps::PhaseTaps;

use super::device::Bound;
use super::error::CudaError;
use super::module::Kernel;
use super::stream::RawStream;

/// The stage's name in measurements.
pub(super) const STAGE: &str = "phase_taps";

/// Puts the kernel on `stream`.
///
/// # Safety
/// Each pointer of `parameters` holds what its field says; nothing else uses the outputs until the stream has passed this
/// point.
pub(super) unsafe fn launch(
    kernel: &Kernel<PhaseTaps>,
    parameters: &PhaseTaps,
    stream: RawStream,
    bound: &Bound<'_>,
) -> Result<(), CudaError> {
    let blocks = parameters.blocks().clamp(1, 1 << 16) as u32;
    // SAFETY: the caller's promise.
    unsafe { kernel.launch("launching phase_taps", blocks, parameters, stream, bound) }
}
