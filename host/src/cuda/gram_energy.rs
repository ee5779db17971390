//! Launching [`kernel_gpu::gram_energy`].

use kernel_gpu::gram_energy::GramEnergy;

use super::device::Bound;
use super::error::CudaError;
use super::module::Kernel;
use super::stream::RawStream;

/// The stage's name in measurements.
pub(super) const STAGE: &str = "gram_energy";

/// Puts the kernel on `stream`.
///
/// # Safety
/// Each pointer of `parameters` holds what its field says; nothing else uses the outputs until the stream has passed this
/// point.
pub(super) unsafe fn launch(
    kernel: &Kernel<GramEnergy>,
    parameters: &GramEnergy,
    stream: RawStream,
    bound: &Bound<'_>,
) -> Result<(), CudaError> {
    let blocks = parameters.thread_blocks().clamp(1, 1 << 20);
    // SAFETY: the caller's promise.
    unsafe { kernel.launch("launching gram_energy", blocks, parameters, stream, bound) }
}
