//! Launching [`kernel_gpu::pair_resample`].

use kernel_gpu::pair_resample::PairResample;

use super::device::Bound;
use super::error::CudaError;
use super::module::Kernel;
use super::stream::RawStream;

/// The stage's name in measurements.
pub(super) const STAGE: &str = "pair_resample";

/// Puts the kernel on `stream`.
///
/// # Safety
/// Each pointer of `parameters` holds what its field says; nothing else uses the outputs until the stream has passed this
/// point.
pub(super) unsafe fn launch(
    kernel: &Kernel<PairResample>,
    parameters: &PairResample,
    stream: RawStream,
    bound: &Bound<'_>,
) -> Result<(), CudaError> {
    let blocks = parameters.items().clamp(1, 1 << 20);
    // SAFETY: the caller's promise.
    unsafe { kernel.launch("launching pair_resample", blocks, parameters, stream, bound) }
}
