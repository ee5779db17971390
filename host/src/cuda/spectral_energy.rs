//! Launching [`kernel_gpu::spectral_energy`].

use kernel_gpu::spectral_energy::SpectralEnergy;

use super::device::Bound;
use super::error::CudaError;
use super::module::Kernel;
use super::stream::RawStream;
use crate::plan::Products;

/// The stages' names in measurements, of plain and of strict lines.
pub(super) const STAGES: [&str; 2] = ["spectral_energy_plain", "spectral_energy_strict"];

/// Puts the kernel for plain or strict lines on `stream`: as many blocks as run at once, which take the items in turns.
///
/// # Safety
/// Each pointer of `parameters` holds what its field says, for these lines; nothing else uses the outputs until the stream
/// has passed this point; the kernel is the one for such lines.
pub(super) unsafe fn launch(
    kernel: &Kernel<SpectralEnergy>,
    products: &Products,
    multiprocessors: u32,
    parameters: &SpectralEnergy,
    stream: RawStream,
    bound: &Bound<'_>,
) -> Result<(), CudaError> {
    let items = products.items(parameters.lines, &parameters.spectrum);
    let at_once = u64::from(multiprocessors.max(1)) * u64::from(kernel.spec().min_blocks);
    let (blocks, shared) = (items.min(at_once) as u32, products.shared_bytes(&parameters.spectrum));
    // SAFETY: the caller's promise.
    unsafe { kernel.launch_with("launching spectral_energy", blocks, shared, parameters, stream, bound) }
}
