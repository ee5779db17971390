//! The spectral way on a GPU: its kernels, its memory, and the order of its launches.
//!
//! ```text
//! tap_sums
//! for each cut of the batch:
//!     the transform of x: see `transform`
//!     for each chunk of plain, then of strict lines:  tap_fold_*  spectral_energy_*
//! spectral_finish
//! ```
//!
//! Folded taps of which one chunk holds all lines are made in the first cut and kept for the others. In eval mode with running
//! statistics the sums are all that is needed, and nothing is folded.

use cuda_std::global::{Global, GlobalMut};
use kernel_gpu::spectral_energy::{self as energy, SpectralEnergy};
use kernel_gpu::spectral_finish::{self as finish, SpectralFinish};
use kernel_gpu::spectrum::Spectrum;
use kernel_gpu::tap_fold::{self as fold, TapFold};
use kernel_gpu::tap_sums::{self as sums, TapSums};

use super::device::{Bound, CudaDevice};
use super::error::CudaError;
use super::memory::DeviceArray;
use super::module::Kernel;
use super::plan::{After, Target, WORKSPACE};
use super::stream::RawStream;
use super::transform::{InputTransform, Places};
use super::{pool_finish, spectral_energy, spectral_finish, tables, tap_fold, tap_sums};
use crate::Error;
use crate::plan::{Cost, CudaSpectral, Products};

/// A plan's kernels and memory.
pub(super) struct Spectral {
    design: CudaSpectral,
    kernels: Kernels,
    transform: InputTransform,
    memory: Memory,
}

struct Kernels {
    tap_sums: Kernel<TapSums>,
    /// Plain, strict.
    fold: [Kernel<TapFold>; 2],
    energy: [Kernel<SpectralEnergy>; 2],
    finish: Kernel<SpectralFinish>,
}

/// What the kernels read and hand to each other: the arrays of [`SpectralLengths`](crate::plan::SpectralLengths).
struct Memory {
    twiddles: DeviceArray<f32>,
    /// Plain, strict, as the other pairs.
    coefficients: [DeviceArray<u32>; 2],
    high: DeviceArray<u32>,
    low: DeviceArray<u32>,
    input_sum: DeviceArray<f64>,
    row_exponent: DeviceArray<i32>,
    tap_parts: DeviceArray<f32>,
    tap_sum: DeviceArray<f64>,
    tap_norm: DeviceArray<f32>,
    tap_exponent: DeviceArray<i32>,
    channel_exponent: DeviceArray<i32>,
    folded: [DeviceArray<u32>; 2],
    folded_low: DeviceArray<u32>,
    energy: DeviceArray<f64>,
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
        if design.energies {
            memory.twiddles.upload(&tables::twiddles(&design.spectrum)?, stream, bound)?;
            for (array, kind) in memory.coefficients.iter_mut().zip([&design.plain, &design.strict]) {
                if kind.lines > 0 {
                    array.upload(&tables::coefficients(&design.spectrum, kind.is_strict)?, stream, bound)?;
                }
            }
        }
        stream.synchronize("copying the tables", bound)?;
        let transform = InputTransform::new(design, device, bound)?;
        Ok(Self { design: *design, kernels: Kernels::find(device, bound)?, transform, memory })
    }

    /// The batch's mean and variance.
    pub(super) fn statistics(&self) -> (&DeviceArray<f64>, &DeviceArray<f64>) {
        (&self.memory.batch_mean, &self.memory.batch_var)
    }

    /// The stages and their costs.
    pub(super) fn stages(&self) -> Vec<(&'static str, Cost)> {
        let costs = self.design.costs();
        let mut stages = vec![(tap_sums::STAGE, costs.tap_sums)];
        stages.extend(self.transform.stages(&self.design));
        if self.design.energies {
            for (i, kind) in [&self.design.plain, &self.design.strict].into_iter().enumerate() {
                if kind.lines > 0 {
                    stages.push((tap_fold::STAGES[i], costs.folds[i]));
                    stages.push((spectral_energy::STAGES[i], costs.energies[i]));
                }
            }
        }
        stages.push((spectral_finish::STAGE, costs.finish));
        stages
    }

    /// All launches of a run.
    ///
    /// # Safety
    /// The tensors hold what the problem says, in f32, for which this way was designed; nothing else uses them or this until the
    /// stream has passed this point.
    pub(super) unsafe fn launch(&mut self, target: &Target<'_>, after: After<'_>) -> Result<(), CudaError> {
        // SAFETY: the caller's promise, here and below: each stage uses the tensors and this memory, in the stream's order.
        unsafe { self.sum_taps(target)? };
        after(tap_sums::STAGE)?;
        let (mut first_part, images) = (0, self.design.images.max(1));
        for first in (0..self.design.spectrum.shape.batch).step_by(images as usize) {
            let cut = self.design.cut(first);
            // SAFETY: as above; first < B.
            unsafe { self.transform(target, first, &cut, after)? };
            if !self.design.energies {
                continue;
            }
            for kind in [self.design.plain, self.design.strict] {
                for (first_line, lines) in kind.chunks() {
                    let index = usize::from(kind.is_strict);
                    if first == 0 || !kind.is_whole() {
                        // SAFETY: as above; the lines are of this kind, and one chunk.
                        unsafe { self.fold(target, &kind, first_line, lines)? };
                        after(tap_fold::STAGES[index])?;
                    }
                    // SAFETY: as above; their taps were folded just now, or in the first cut.
                    unsafe { self.multiply(target, &kind, &cut, first_line, lines, first_part)? };
                    after(spectral_energy::STAGES[index])?;
                    first_part += kind.parts(lines, &cut);
                }
            }
        }
        debug_assert_eq!(first_part, self.design.parts());
        // SAFETY: as above.
        unsafe { self.finish(target)? };
        after(spectral_finish::STAGE)
    }

    /// # Safety
    /// As [`Self::launch`].
    unsafe fn sum_taps(&mut self, target: &Target<'_>) -> Result<(), CudaError> {
        let memory = &mut self.memory;
        let parameters = TapSums {
            kernel: Global::from_address(target.tensors.kernel),
            sum: memory.tap_sum.global_mut(),
            norm: memory.tap_norm.global_mut(),
            exponent: memory.tap_exponent.global_mut(),
            parts: memory.tap_parts.global_mut(),
            spectrum: self.design.spectrum,
        };
        // SAFETY: the kernel is the caller's promise; the outputs have the lengths of `CudaSpectral::lengths`.
        unsafe { tap_sums::launch(&self.kernels.tap_sums, &parameters, target.stream, target.bound) }
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
        let memory = &mut self.memory;
        let volumes = u64::from(first) * u64::from(cut.shape.in_channels);
        let places = Places {
            input: Global::from_address(target.tensors.input + volumes * cut.shape.volume() * 4),
            twiddles: memory.twiddles.global(),
            high: memory.high.global_mut(),
            low: memory.low.global_mut(),
            sum: GlobalMut::from_address(memory.input_sum.address() + volumes * 8),
            exponent: memory.row_exponent.global_mut(),
        };
        // SAFETY: the cut's images are part of the input; the outputs hold a whole cut, the sums the whole batch.
        unsafe { self.transform.launch(target, cut, &places, after) }
    }

    /// The taps of one chunk of lines, folded.
    ///
    /// # Safety
    /// As [`Self::launch`]; the chunk is one of the kind's.
    unsafe fn fold(
        &mut self,
        target: &Target<'_>,
        kind: &Products,
        first_line: u32,
        lines: u32,
    ) -> Result<(), CudaError> {
        let (memory, index) = (&mut self.memory, usize::from(kind.is_strict));
        let parameters = TapFold {
            parts: memory.tap_parts.global(),
            twiddles: memory.twiddles.global(),
            norm: memory.tap_norm.global(),
            tap_exponent: memory.tap_exponent.global(),
            channel_exponent: memory.channel_exponent.global_mut(),
            folded: memory.folded[index].global_mut(),
            folded_low: memory.folded_low.global_mut(),
            spectrum: self.design.spectrum,
            first_line,
            lines,
            channel_tiles: kind.channel_tiles,
        };
        // SAFETY: `tap_sums` wrote the parts, norms and exponents; the outputs hold a chunk of this kind.
        unsafe { tap_fold::launch(&self.kernels.fold[index], kind.is_strict, &parameters, target.stream, target.bound) }
    }

    /// The energies of one chunk of lines and one cut.
    ///
    /// # Safety
    /// As [`Self::launch`]; the cut's spectra and the chunk's folded taps are written before; the parts from `first_part` on
    /// are this launch's.
    unsafe fn multiply(
        &mut self,
        target: &Target<'_>,
        kind: &Products,
        cut: &Spectrum,
        first_line: u32,
        lines: u32,
        first_part: u64,
    ) -> Result<(), CudaError> {
        let (memory, index) = (&mut self.memory, usize::from(kind.is_strict));
        let parameters = SpectralEnergy {
            high: memory.high.global(),
            low: memory.low.global(),
            folded: memory.folded[index].global(),
            folded_low: memory.folded_low.global(),
            coefficients: memory.coefficients[index].global(),
            row_exponent: memory.row_exponent.global(),
            tap_exponent: memory.tap_exponent.global(),
            channel_exponent: memory.channel_exponent.global(),
            energy: memory.energy.global_mut(),
            spectrum: *cut,
            first_line,
            lines,
            first_part,
            tiling: kind.tiling,
        };
        let (kernel, processors) = (&self.kernels.energy[index], target.device.facts().multiprocessors);
        // SAFETY: the caller's promise; the energies hold the parts of all launches.
        unsafe { spectral_energy::launch(kernel, kind, processors, &parameters, target.stream, target.bound) }
    }

    /// # Safety
    /// As [`Self::launch`].
    unsafe fn finish(&mut self, target: &Target<'_>) -> Result<(), CudaError> {
        let memory = &mut self.memory;
        let moments = (memory.mean.global(), memory.m2.global());
        let statistics = (memory.batch_mean.global_mut(), memory.batch_var.global_mut());
        let parameters = SpectralFinish {
            input_sum: memory.input_sum.global(),
            tap_sum: memory.tap_sum.global(),
            energy: memory.energy.global(),
            parts: self.design.parts(),
            in_channels: self.design.spectrum.shape.in_channels,
            finish: pool_finish::parameters::<f32>(target.problem, target.tensors, moments, statistics),
            mean: memory.mean.global_mut(),
            m2: memory.m2.global_mut(),
        };
        // SAFETY: the tensors are the caller's promise; all else is written before, and has the lengths of
        // `CudaSpectral::lengths`.
        unsafe { spectral_finish::launch(&self.kernels.finish, &parameters, target.stream, target.bound) }
    }
}

impl Kernels {
    fn find(device: &CudaDevice, bound: &Bound<'_>) -> Result<Self, CudaError> {
        let shared = device.facts().shared_memory;
        let kernels = device.kernels();
        Ok(Self {
            tap_sums: kernels.find(sums::SPEC, shared, bound)?,
            fold: [kernels.find(fold::SPEC_PLAIN, shared, bound)?, kernels.find(fold::SPEC_STRICT, shared, bound)?],
            energy: [
                kernels.find(energy::SPEC_PLAIN, shared, bound)?,
                kernels.find(energy::SPEC_STRICT, shared, bound)?,
            ],
            finish: kernels.find(finish::SPEC, shared, bound)?,
        })
    }
}

impl Memory {
    fn new(design: &CudaSpectral, device: &CudaDevice, bound: &Bound<'_>) -> Result<Self, Error> {
        fn array<T: cuda_std::Scalar>(
            len: u64,
            device: &CudaDevice,
            bound: &Bound<'_>,
        ) -> Result<DeviceArray<T>, Error> {
            DeviceArray::new(WORKSPACE, usize::try_from(len).unwrap_or(usize::MAX), device, bound)
        }
        let lengths = design.lengths();
        let words = |len| array::<u32>(len, device, bound);
        let doubles = |len| array::<f64>(len, device, bound);
        let integers = |len| array::<i32>(len, device, bound);
        let floats = |len| array::<f32>(len, device, bound);
        Ok(Self {
            twiddles: floats(lengths.twiddles)?,
            coefficients: [words(lengths.coefficients[0])?, words(lengths.coefficients[1])?],
            high: words(lengths.high)?,
            low: words(lengths.low)?,
            input_sum: doubles(lengths.input_sum)?,
            row_exponent: integers(lengths.row_exponent)?,
            tap_parts: floats(lengths.tap_parts)?,
            tap_sum: doubles(lengths.tap_sum)?,
            tap_norm: floats(lengths.tap_sum)?,
            tap_exponent: integers(lengths.tap_exponent)?,
            channel_exponent: integers(lengths.channel_exponent)?,
            folded: [words(lengths.folded[0])?, words(lengths.folded[1])?],
            folded_low: words(lengths.folded_low)?,
            energy: doubles(lengths.energy)?,
            mean: doubles(lengths.moments)?,
            m2: doubles(lengths.moments)?,
            batch_mean: doubles(lengths.statistics)?,
            batch_var: doubles(lengths.statistics)?,
        })
    }
}
