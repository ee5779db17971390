//! Launching [`kernel_gpu::dft_store`].

use kernel_gpu::dft_store::DftStore;

use super::device::Bound;
use super::error::CudaError;
use super::module::Kernel;
use super::stream::RawStream;

/// The stage's name in measurements.
pub(super) const STAGE: &str = "dft_store";

/// Puts the kernel on `stream`.
///
/// # Safety
/// Each pointer of `parameters` holds what its field says; nothing else uses the outputs until the stream has passed this
/// point.
pub(super) unsafe fn launch(
    kernel: &Kernel<DftStore>,
    parameters: &DftStore,
    stream: RawStream,
    bound: &Bound<'_>,
) -> Result<(), CudaError> {
    // Enough to fill any device; a thread takes several of its items in turn.
    let items = u64::from(parameters.volumes) * u64::from(parameters.spectrum.lines());
    let blocks = items.clamp(1, 1 << 14) as u32;
    // SAFETY: the caller's promise.
    unsafe { kernel.launch("launching dft_store", blocks, parameters, stream, bound) }
}
