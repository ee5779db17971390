//! Launching [`kernel_gpu::batch_norm_reduce`].

use kernel_gpu::batch_norm_reduce::{BatchNormReduce, ROWS_A_BLOCK};

use super::device::Bound;
use super::error::CudaError;
use super::module::Kernel;
use super::stream::RawStream;

/// The stage's name in measurements.
pub(super) const STAGE: &str = "batch_norm_reduce";

/// Puts the kernel on `stream`.
///
/// # Safety
/// The slices' arrays hold rows·slices elements, `mean` and `m2` hold `rows`; nothing else uses them until the stream has
/// passed this point.
pub(super) unsafe fn launch(
    kernel: &Kernel<BatchNormReduce>,
    parameters: &BatchNormReduce,
    stream: RawStream,
    bound: &Bound<'_>,
) -> Result<(), CudaError> {
    let blocks = parameters.rows.div_ceil(ROWS_A_BLOCK).clamp(1, 1 << 16) as u32;
    // SAFETY: the caller's promise.
    unsafe { kernel.launch("launching batch_norm_reduce", blocks, parameters, stream, bound) }
}
