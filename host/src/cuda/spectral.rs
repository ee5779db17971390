//! The spectral way on a GPU: its memory, and the order of its launches.
//!
//! ```text
//! fork ─▶ phase_taps where taps are laid out anew, tap_moments a bundle, and the taps' spectrum where it is held whole            beside:
//! for each cut of the batch:
//!     the transform of x: see `transform`
//!     the energies: see `gram`                                      join before the first that meet the taps
//! spectral_finish                                                   join at the latest
//! ```
//!
//! What the taps alone decide is made on a stream of the plan's own ([`branch`](super::branch)) while x is transformed. Stages that
//! are timed are all on the caller's.
//!
//! In eval mode with running statistics the sums are all that is needed, and there are no energies.

use cuda_std::global::{Global, GlobalMut};
use kernel_gpu::element::{ElementType, Tensor};
use kernel_gpu::gram_grid::Grid;
use kernel_gpu::phase_taps::{self as phases, PhaseTaps};
use kernel_gpu::spectral_finish::{self as finish, SpectralFinish};
use kernel_gpu::spectrum::Spectrum;
use kernel_gpu::tap_moments::{self as moments, TapMoments};

use super::branch::Fork;
use super::device::{Bound, CudaDevice};
use super::error::CudaError;
use super::gram::{Gram, Sources};
use super::memory::{DeviceArray, Plain};
use super::module::Kernel;
use super::plan::{After, Target, WORKSPACE};
use super::stream::RawStream;
use super::transform::{InputTransform, Places};
use super::{phase_taps, pool_finish, spectral_finish, tables, tap_moments};
use crate::Error;
use crate::plan::{Cost, CudaSpectral};

/// A plan's kernels and memory.
pub(super) struct Spectral {
    design: CudaSpectral,
    /// Of a convolution with several phases, or bundles of groups.
    phase_taps: Option<Kernel<PhaseTaps>>,
    tap_moments: Kernel<TapMoments>,
    finish: Kernel<SpectralFinish>,
    transform: InputTransform,
    gram: Option<Gram>,
    memory: Memory,
}

/// What the kernels read and hand to each other: the arrays of [`SpectralLengths`](crate::plan::SpectralLengths).
struct Memory {
    twiddles: DeviceArray<f32>,
    /// `sums`, then `high`.
    spectra: DeviceArray<u32>,
    low: DeviceArray<u32>,
    input_sum: DeviceArray<f64>,
    row_exponent: DeviceArray<i32>,
    phase_taps: DeviceArray<f32>,
    tap_sum: DeviceArray<f64>,
    channel_exponent: DeviceArray<i32>,
    mean: DeviceArray<f64>,
    m2: DeviceArray<f64>,
    batch_mean: DeviceArray<f64>,
    batch_var: DeviceArray<f64>,
}

impl Spectral {
    /// Looks up the kernels, allocates, and copies the tables to the device, which is waited for.
    pub(super) fn new(
        design: &CudaSpectral,
        device: &CudaDevice,
        stream: RawStream,
        bound: &Bound<'_>,
    ) -> Result<Self, Error> {
        let mut memory = Memory::new(design, device, bound)?;
        let mut gram = None;
        if design.energies {
            memory.twiddles.upload(&tables::twiddles(&design.spectrum)?, stream, bound)?;
            gram = Some(Gram::new(design, device, stream, bound)?);
        }
        stream.synchronize("copying the tables", bound)?;
        let (kernels, shared) = (device.kernels(), device.facts().shared_memory);
        Ok(Self {
            design: *design,
            phase_taps: match design.parts.keeps_taps() {
                true => None,
                false => Some(kernels.find(phases::SPEC, shared, bound)?),
            },
            tap_moments: kernels.find(moments::SPEC, shared, bound)?,
            finish: kernels.find(finish::SPEC, shared, bound)?,
            transform: InputTransform::new(design, device, bound)?,
            gram,
            memory,
        })
    }

    /// The spectra, behind the sums of lines.
    fn high(&mut self) -> GlobalMut<u32> {
        self.memory.spectra.global_mut().offset(self.design.gram.sums)
    }

    /// The batch's mean and variance.
    pub(super) fn statistics(&self) -> (&DeviceArray<f64>, &DeviceArray<f64>) {
        (&self.memory.batch_mean, &self.memory.batch_var)
    }

    /// The stages and their costs.
    pub(super) fn stages(&self) -> Vec<(&'static str, Cost)> {
        let costs = self.design.costs();
        let mut stages = self.transform.stages(&self.design);
        stages.extend(self.phase_taps.as_ref().map(|_| (phase_taps::STAGE, costs.phase_taps)));
        stages.push((tap_moments::STAGE, costs.tap_moments));
        stages.extend(self.gram.iter().flat_map(Gram::stages));
        stages.push((spectral_finish::STAGE, costs.finish));
        stages
    }

    /// All launches of a run.
    ///
    /// # Safety
    /// The tensors hold what the problem says, in the type for which this way was designed; nothing else uses them or this until the
    /// stream has passed this point.
    pub(super) unsafe fn launch(&mut self, target: &Target<'_>, after: After<'_>) -> Result<(), CudaError> {
        let kernel = match self.phase_taps {
            Some(_) => Tensor::new(self.memory.phase_taps.address(), ElementType::F32),
            None => target.kernel(),
        };
        let sources = Sources {
            kernel,
            sums: GlobalMut::from_address(self.memory.spectra.address()),
            high: self.high(),
            low: self.memory.low.global(),
            row_exponent: self.memory.row_exponent.global(),
            channel_exponent: self.memory.channel_exponent.global(),
        };
        let mut fork = Fork::of(target)?;
        let beside = Target { stream: fork.stream(), ..*target };
        // The input first: it takes longest, and the launches of the taps arrive meanwhile.
        // SAFETY: the caller's promise, here and below: each stage uses the tensors and this memory, in the stream's order; what is
        // beside it reads the taps alone, and writes what nothing else uses before the join.
        unsafe { self.transform(target, 0, &self.design.cut(0), after)? };
        // SAFETY: as above.
        unsafe { self.sum_taps(&beside, kernel, after)? };
        if let Some(gram) = &mut self.gram {
            // SAFETY: as above; the channels' exponents are written.
            unsafe { gram.prepare(&beside, &sources, after)? };
        }
        let (mut parts, images) = (0, self.design.images.max(1));
        for first in (0..self.design.spectrum.shape.batch).step_by(images as usize) {
            let cut = self.design.cut(first);
            if first > 0 {
                // SAFETY: as above; first < B.
                unsafe { self.transform(target, first, &cut, after)? };
            }
            if let Some(gram) = &mut self.gram {
                // SAFETY: as above; the cut's spectra and exponents are written.
                parts = unsafe { gram.launch(target, &cut, &sources, (&mut fork, parts), after)? };
            }
        }
        debug_assert_eq!(parts, self.design.energy_parts());
        fork.join()?;
        // SAFETY: as above.
        unsafe { self.finish(target)? };
        after(spectral_finish::STAGE)
    }

    /// # Safety
    /// As [`Self::launch`].
    unsafe fn sum_taps(&mut self, target: &Target<'_>, kernel: Tensor<f32>, after: After<'_>) -> Result<(), CudaError> {
        let (memory, parts, grid) = (&mut self.memory, &self.design.parts, self.design.grid);
        if let Some(phase_taps) = &self.phase_taps {
            let parameters = PhaseTaps {
                kernel: target.kernel(),
                taps: memory.phase_taps.global_mut(),
                in_channels: parts.shape.in_channels,
                group: parts.of_group(),
                bundle: parts.bundle,
                whole: parts.shape.kernel,
                phases: parts.phases,
                step: parts.step,
                part: parts.taps,
            };
            // SAFETY: the kernel is the caller's promise; the output has the length of `CudaSpectral::lengths`.
            unsafe { phase_taps::launch(phase_taps, &parameters, target.stream, target.bound)? };
            after(phase_taps::STAGE)?;
        }
        let (columns, rows) = (u64::from(grid.out_channels), u64::from(grid.in_channels));
        // Of the sums alone, (ci, c of its group), the groups are one.
        let (bundles, grid) = match self.design.energies {
            true => (u64::from(parts.bundles()), grid),
            false => (1, Grid { in_channels: parts.shape.in_channels, ..grid }),
        };
        for bundle in 0..bundles {
            let parameters = TapMoments {
                kernel: kernel.offset(bundle * rows * columns * u64::from(grid.taps())),
                sum: GlobalMut::from_address(memory.tap_sum.address() + 8 * bundle * rows * columns),
                channel_exponent: GlobalMut::from_address(memory.channel_exponent.address() + 4 * bundle * columns),
                grid,
            };
            // SAFETY: the bundle's taps, which are the caller's promise or written just before; the outputs have the lengths of
            // `CudaSpectral::lengths`.
            unsafe { tap_moments::launch(&self.tap_moments, &parameters, target.stream, target.bound)? };
            after(tap_moments::STAGE)?;
        }
        Ok(())
    }

    /// The spectra of the cut that begins at image `first`.
    ///
    /// # Safety
    /// As [`Self::launch`], and first < B.
    unsafe fn transform(
        &mut self,
        target: &Target<'_>,
        first: u32,
        cut: &Spectrum,
        after: After<'_>,
    ) -> Result<(), CudaError> {
        let high = self.high();
        let memory = &mut self.memory;
        let volumes = u64::from(first) * u64::from(cut.shape.in_channels);
        let places = Places {
            input: target.input().offset(volumes * cut.shape.volume()),
            twiddles: memory.twiddles.global(),
            high,
            low: memory.low.global_mut(),
            sum: GlobalMut::from_address(memory.input_sum.address() + volumes * 8),
            exponent: memory.row_exponent.global_mut(),
        };
        // SAFETY: the cut's images are part of the input; the outputs hold a whole cut, the sums the whole batch.
        unsafe { self.transform.launch(target, cut, &places, after) }
    }

    /// # Safety
    /// As [`Self::launch`].
    unsafe fn finish(&mut self, target: &Target<'_>) -> Result<(), CudaError> {
        let memory = &mut self.memory;
        let moments = (memory.mean.global_mut(), memory.m2.global());
        let parts = self.design.parts;
        let statistics = (memory.batch_mean.global_mut(), memory.batch_var.global_mut());
        let parameters = SpectralFinish {
            input_sum: memory.input_sum.global(),
            tap_sum: memory.tap_sum.global(),
            energy: self.gram.as_ref().map_or(Global::null(), Gram::energy),
            parts: self.design.energy_parts(),
            bundle: parts.bundle,
            phase_positions: self.design.spectrum.shape.positions(),
            phases: parts.phases(),
            finish: pool_finish::parameters(target, (parts.shape, parts.options), moments, statistics),
            mean: memory.mean.global_mut(),
            m2: memory.m2.global_mut(),
        };
        // SAFETY: the tensors are the caller's promise; all else is written before, and has the lengths of
        // `CudaSpectral::lengths`.
        unsafe { spectral_finish::launch(&self.finish, &parameters, target.stream, target.bound) }
    }
}

impl Memory {
    fn new(design: &CudaSpectral, device: &CudaDevice, bound: &Bound<'_>) -> Result<Self, Error> {
        fn array<T: Plain>(len: u64, device: &CudaDevice, bound: &Bound<'_>) -> Result<DeviceArray<T>, Error> {
            DeviceArray::new(WORKSPACE, usize::try_from(len).unwrap_or(usize::MAX), device, bound)
        }
        let lengths = design.lengths();
        let words = |len| array::<u32>(len, device, bound);
        let doubles = |len| array::<f64>(len, device, bound);
        let integers = |len| array::<i32>(len, device, bound);
        let floats = |len| array::<f32>(len, device, bound);
        Ok(Self {
            twiddles: floats(lengths.twiddles[0])?,
            spectra: words(lengths.sums.saturating_add(lengths.high))?,
            low: words(lengths.low)?,
            input_sum: doubles(lengths.input_sum)?,
            row_exponent: integers(lengths.row_exponent)?,
            phase_taps: floats(lengths.phase_taps)?,
            tap_sum: doubles(lengths.tap_sum)?,
            channel_exponent: integers(lengths.channel_exponent)?,
            mean: doubles(lengths.moments)?,
            m2: doubles(lengths.moments)?,
            batch_mean: doubles(lengths.statistics)?,
            batch_var: doubles(lengths.statistics)?,
        })
    }
}
