//! The transform of x on a GPU: its kernels, their scratch, and the order of their launches.
//!
//! ```text
//! sums alone     volume_sums
//! volumes        volume_fft or volume_transform
//! axis by axis   volume_sums, then for some volumes at a time: dft_axis along pair, half, outer; dft_store
//! ```

use cuda_std::global::{Global, GlobalMut};
use kernel_gpu::dft_axis::{AxisExtents, DftAxis};
use kernel_gpu::dft_store::DftStore;
use kernel_gpu::element::Tensor;
use kernel_gpu::spectrum::Spectrum;
use kernel_gpu::volume_fft::VolumeFft;
use kernel_gpu::volume_sums::VolumeSums;
use kernel_gpu::volume_transform::VolumeTransform;
use kernel_gpu::{dft_axis as axis, dft_store as store, volume_sums as sums};

use super::device::{Bound, CudaDevice};
use super::error::CudaError;
use super::memory::DeviceArray;
use super::module::Kernel;
use super::plan::{After, Target, WORKSPACE};
use super::{dft_axis, dft_store, volume_fft, volume_sums, volume_transform};
use crate::Error;
use crate::plan::{Cost, CudaSpectral, Transform};

/// A plan's kernels for x, with their scratch.
pub(super) struct InputTransform {
    design: Transform,
    way: Way,
}

enum Way {
    Sums(Kernel<VolumeSums>),
    Fft(Kernel<VolumeFft>),
    Volume(Kernel<VolumeTransform>),
    Axes { sums: Kernel<VolumeSums>, axis: Kernel<DftAxis>, store: Kernel<DftStore>, scratch: [DeviceArray<f32>; 2] },
}

/// Where the transform of one cut of the batch reads and writes.
pub(super) struct Places {
    /// The cut's images.
    pub(super) input: Tensor<f32>,
    pub(super) twiddles: Global<f32>,
    pub(super) high: GlobalMut<u32>,
    pub(super) low: GlobalMut<u32>,
    /// The cut's sums.
    pub(super) sum: GlobalMut<f64>,
    pub(super) exponent: GlobalMut<i32>,
}

impl Places {
    /// What a kernel takes that transforms volumes of the cut, in shared memory of that layout.
    fn parameters<Layout>(&self, cut: &Spectrum, layout: Layout) -> VolumeTransform<Layout> {
        VolumeTransform {
            input: self.input,
            twiddles: self.twiddles,
            high: self.high,
            low: self.low,
            sum: self.sum,
            exponent: self.exponent,
            spectrum: *cut,
            layout,
            inverse: 1.0 / cut.shape.volume() as f64,
        }
    }
}

impl InputTransform {
    pub(super) fn new(design: &CudaSpectral, device: &CudaDevice, bound: &Bound<'_>) -> Result<Self, Error> {
        let (kernels, shared) = (device.kernels(), device.facts().shared_memory);
        let way = match design.transform {
            Transform::Sums => Way::Sums(kernels.find(sums::SPEC, shared, bound)?),
            Transform::Fft(fft) => Way::Fft(kernels.find(fft.spec(), shared, bound)?),
            Transform::Volume(volume) => Way::Volume(kernels.find(volume.form.spec, shared, bound)?),
            _ => {
                let array =
                    |len: u64| DeviceArray::new(WORKSPACE, usize::try_from(len).unwrap_or(usize::MAX), device, bound);
                let [first, second] = design.lengths().scratch;
                Way::Axes {
                    sums: kernels.find(sums::SPEC, shared, bound)?,
                    axis: kernels.find(axis::SPEC, shared, bound)?,
                    store: kernels.find(store::SPEC, shared, bound)?,
                    scratch: [array(first)?, array(second)?],
                }
            }
        };
        Ok(Self { design: design.transform, way })
    }

    /// The stages and their costs.
    pub(super) fn stages(&self, design: &CudaSpectral) -> Vec<(&'static str, Cost)> {
        let costs = design.costs();
        match self.way {
            Way::Sums(_) => vec![(volume_sums::STAGE, costs.volume_sums)],
            Way::Fft(_) => vec![(volume_fft::STAGE, costs.transform)],
            Way::Volume(_) => vec![(volume_transform::STAGE, costs.transform)],
            Way::Axes { .. } => vec![
                (volume_sums::STAGE, costs.volume_sums),
                (dft_axis::STAGE, costs.transform),
                (dft_store::STAGE, costs.store),
            ],
        }
    }

    /// The spectra, sums and scales of one cut.
    ///
    /// # Safety
    /// The places hold what the cut says: its images and sums, twiddles, spectra and exponents of a whole cut; nothing else uses
    /// them or this until the stream has passed this point.
    pub(super) unsafe fn launch(
        &mut self,
        target: &Target<'_>,
        cut: &Spectrum,
        places: &Places,
        after: After<'_>,
    ) -> Result<(), CudaError> {
        let (stream, bound) = (target.stream, target.bound);
        let of_sums = VolumeSums { input: places.input, sum: places.sum, exponent: places.exponent, spectrum: *cut };
        match &mut self.way {
            Way::Sums(kernel) => {
                // SAFETY: the caller's promise.
                unsafe { volume_sums::launch(kernel, &of_sums, stream, bound)? };
                after(volume_sums::STAGE)
            }
            Way::Fft(kernel) => {
                let Transform::Fft(design) = self.design else { return Ok(()) };
                let parameters = places.parameters(cut, design.layout);
                // SAFETY: the caller's promise; the kernel was found with the design's launch (`new`), which depends on no batch.
                unsafe { volume_fft::launch(kernel, &parameters, design.blocks(cut), stream, bound)? };
                after(volume_fft::STAGE)
            }
            Way::Volume(kernel) => {
                let Transform::Volume(design) = self.design else { return Ok(()) };
                let parameters = places.parameters(cut, design.layout);
                // SAFETY: the caller's promise; the kernel is the design's (`new`), whose layout depends on no batch.
                unsafe { volume_transform::launch(kernel, &parameters, design.blocks(cut), stream, bound)? };
                after(volume_transform::STAGE)
            }
            Way::Axes { sums, axis, store, scratch: [first, second] } => {
                // SAFETY: the caller's promise.
                unsafe { volume_sums::launch(sums, &of_sums, stream, bound)? };
                after(volume_sums::STAGE)?;
                for (first_volume, volumes) in self.design.passes(cut) {
                    let input = places.input.offset(u64::from(first_volume) * cut.shape.volume());
                    let passes = [
                        (2, input, first.global_mut()),
                        (1, first.global().into(), second.global_mut()),
                        (0, second.global().into(), first.global_mut()),
                    ];
                    for (along, input, output) in passes {
                        let extents = AxisExtents::new(cut, along, volumes);
                        let twiddles = places.twiddles.offset(2 * u64::from(cut.twiddle_offset(along as u32)));
                        let parameters = DftAxis { input, twiddles, output, extents };
                        // SAFETY: scratch holds the passes of so many volumes; each reads what the last wrote.
                        unsafe { dft_axis::launch(axis, &parameters, stream, bound)? };
                        after(dft_axis::STAGE)?;
                    }
                    let parameters = DftStore {
                        components: first.global(),
                        exponent: Global::from_address(places.exponent.address()),
                        high: places.high,
                        low: places.low,
                        spectrum: *cut,
                        first_volume,
                        volumes,
                    };
                    // SAFETY: the last pass left the components of these volumes; the rest is the caller's promise.
                    unsafe { dft_store::launch(store, &parameters, stream, bound)? };
                    after(dft_store::STAGE)?;
                }
                Ok(())
            }
        }
    }
}
