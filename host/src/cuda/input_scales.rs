//! Launching [`kernel_gpu::input_scales`].

use kernel_gpu::input_scales::InputScales;

use super::device::Bound;
use super::error::CudaError;
use super::module::Kernel;
use super::stream::RawStream;

/// The stage's name in measurements.
pub(super) const STAGE: &str = "input_scales";

/// Puts the kernel on `stream`.
///
/// # Safety
/// Each pointer of `parameters` holds what its field says; nothing else uses the outputs until the stream has passed this
/// point.
pub(super) unsafe fn launch(
    kernel: &Kernel<InputScales>,
    parameters: &InputScales,
    stream: RawStream,
    bound: &Bound<'_>,
) -> Result<(), CudaError> {
    let blocks = 1;
    // SAFETY: the caller's promise.
    unsafe { kernel.launch("launching input_scales", blocks, parameters, stream, bound) }
}
