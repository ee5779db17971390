//! Launching [`kernel_gpu::implicit_gemm`].

use kernel_gpu::implicit_gemm::ImplicitGemm;

use super::device::Bound;
use super::error::CudaError;
use super::module::Kernel;
use super::stream::RawStream;

/// The stage's name in measurements.
pub(super) const STAGE: &str = "implicit_gemm";

/// Puts the kernel on `stream`, a block an item, with the shared memory that its form needs on the device.
///
/// # Safety
/// Each pointer of `parameters` holds what its field says; `conv` and `work` come from one design, made for this form; nothing else uses the
/// outputs until the stream has passed this point.
pub(super) unsafe fn launch(
    kernel: &Kernel<ImplicitGemm>,
    shared_bytes: u32,
    parameters: &ImplicitGemm,
    stream: RawStream,
    bound: &Bound<'_>,
) -> Result<(), CudaError> {
    debug_assert_eq!(parameters.work.slices, u64::from(parameters.conv.tiles()));
    // The design has refused more than 2^31 − 1.
    let blocks = u32::try_from(parameters.work.items()).unwrap_or(u32::MAX);
    // SAFETY: the caller's promise.
    unsafe { kernel.launch_with("launching implicit_gemm", blocks, shared_bytes, parameters, stream, bound) }
}
