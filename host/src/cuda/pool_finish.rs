//! Launching [`kernel_gpu::pool_finish`].

use kernel_gpu::pool_finish::PoolFinish;

use super::device::{Bound, CudaDevice};
use super::error::CudaError;
use super::stream::RawStream;
use crate::element::Element;

/// The stage's name in measurements.
pub(super) const STAGE: &str = "pool_finish";

/// Puts the kernel on `stream`.
///
/// # Safety
/// Each pointer of `parameters` holds what its field says, or is null where that is allowed; nothing else uses the outputs
/// until the stream has passed this point.
pub(super) unsafe fn launch<T: Element>(
    device: &CudaDevice,
    parameters: &PoolFinish<T>,
    stream: RawStream,
    bound: &Bound<'_>,
) -> Result<(), CudaError> {
    let blocks = parameters.channels.clamp(1, 1 << 16);
    let kernel = device.kernels().pool_finish::<T>();
    // SAFETY: the caller's promise.
    unsafe { kernel.launch("launching pool_finish", blocks, parameters, stream, bound) }
}
