//! The energies on a GPU, from the spectra of one cut of the batch and the taps: kernels, memory, and the order of launches.
//!
//! ```text
//! for each bundle of groups:
//!     input_scales
//!     for each range of channel pairs:
//!         for each chunk of lines:        line_gram, grid_resample          or once behind the last, see `crate::plan::Reuse`
//!         pair_resample
//!         join
//!         for each chunk of grid lines:   tap_spectrum, gram_energy
//! ```
//!
//! The taps' spectrum, if it is held whole, is made once, beside all that and before the first join ([`branch`](super::branch)).

use cuda_std::global::{Global, GlobalMut};
use kernel_gpu::element::Tensor;
use kernel_gpu::gram_energy::{self as energy, GramEnergy};
use kernel_gpu::gram_grid::{BLOCK_WORDS, Grid};
use kernel_gpu::grid_resample::{self as to_grid, GridResample};
use kernel_gpu::input_scales::{self as scales, InputScales};
use kernel_gpu::line_gram::{self as line, LineGram};
use kernel_gpu::pair_resample::{self as pair, PairResample};
use kernel_gpu::spectrum::Spectrum;
use kernel_gpu::tap_spectrum::{self as taps, TapSpectrum};

use super::branch::Fork;
use super::device::{Bound, CudaDevice};
use super::error::CudaError;
use super::memory::DeviceArray;
use super::module::Kernel;
use super::plan::{After, Target, WORKSPACE};
use super::stream::RawStream;
use super::{gram_energy, grid_resample, input_scales, line_gram, pair_resample, tables, tap_spectrum};
use crate::Error;
use crate::plan::{Cost, CudaSpectral, Reuse};

/// A plan's kernels and memory for the energies.
pub(super) struct Gram {
    design: CudaSpectral,
    kernels: Kernels,
    memory: Memory,
}

struct Kernels {
    tap_spectrum: Kernel<TapSpectrum>,
    input_scales: Kernel<InputScales>,
    line_gram: Kernel<LineGram>,
    grid_resample: Kernel<GridResample>,
    pair_resample: Kernel<PairResample>,
    gram_energy: Kernel<GramEnergy>,
}

/// What the kernels read and hand to each other: the arrays of [`SpectralLengths`](crate::plan::SpectralLengths).
struct Memory {
    twiddles: DeviceArray<f32>,
    coefficients: DeviceArray<f32>,
    outer: DeviceArray<f32>,
    half: DeviceArray<f32>,
    pair: DeviceArray<f32>,
    input_exponent: DeviceArray<i32>,
    scale_exponent: DeviceArray<i32>,
    joined: DeviceArray<f32>,
    taps: DeviceArray<f32>,
    energy: DeviceArray<f64>,
}

/// What the launches read of others' arrays: of all bundles, or from one's first row and channel on.
#[derive(Clone, Copy)]
pub(super) struct Sources {
    /// The taps, (ci, c of the bundle, phase).
    pub(super) kernel: Tensor<f32>,
    /// The sums of the lines, or of some, and the Gram matrices on the grid. The spectra follow.
    pub(super) sums: GlobalMut<f32>,
    /// The spectra of the cut, which are overwritten as the design says.
    pub(super) high: GlobalMut<u32>,
    /// What rounding left of the strict lines'.
    pub(super) low: Global<u32>,
    /// e of each row of the cut.
    pub(super) row_exponent: Global<i32>,
    /// g of each (c, phase).
    pub(super) channel_exponent: Global<i32>,
}

impl Sources {
    /// Those of a bundle.
    fn of_bundle(&self, bundle: u32, grid: &Grid, cut: &Spectrum) -> Self {
        let channel = u64::from(bundle) * u64::from(grid.in_channels);
        let (row, column) = (channel * u64::from(cut.shape.batch), u64::from(bundle) * u64::from(grid.out_channels));
        Self {
            kernel: self.kernel.offset(channel * u64::from(grid.out_channels) * u64::from(grid.taps())),
            sums: self.sums,
            // Eight slots of a row lie together.
            high: GlobalMut::from_address(self.high.address() + 4 * 8 * row),
            low: self.low.offset(8 * row),
            row_exponent: self.row_exponent.offset(row),
            channel_exponent: self.channel_exponent.offset(column),
        }
    }
}

impl Gram {
    /// Looks up the kernels, allocates, and starts copying the tables to the device.
    pub(super) fn new(
        design: &CudaSpectral,
        device: &CudaDevice,
        stream: RawStream,
        bound: &Bound<'_>,
    ) -> Result<Self, Error> {
        let mut memory = Memory::new(design, device, bound)?;
        let spectrum = &design.spectrum;
        let ([k0, k1, k2], [gap0, gap1, gap2]) = (design.grid.kernel, design.lag);
        memory.twiddles.upload(&tables::grid_twiddles(&design.grid)?, stream, bound)?;
        memory.coefficients.upload(&tables::lag_coefficients(spectrum, k2, gap2)?, stream, bound)?;
        memory.outer.upload(&tables::outer_factors(spectrum, k0, gap0)?, stream, bound)?;
        memory.half.upload(&tables::half_factors(spectrum, k1, gap1)?, stream, bound)?;
        memory.pair.upload(&tables::pair_matrix(&design.grid)?, stream, bound)?;
        Ok(Self { design: *design, kernels: Kernels::find(design, device, bound)?, memory })
    }

    /// The stages and their costs.
    pub(super) fn stages(&self) -> Vec<(&'static str, Cost)> {
        let costs = self.design.costs();
        vec![
            (tap_spectrum::STAGE, costs.tap_spectrum),
            (input_scales::STAGE, costs.input_scales),
            (line_gram::STAGE, costs.line_gram),
            (grid_resample::STAGE, costs.resample[0]),
            (pair_resample::STAGE, costs.resample[1]),
            (gram_energy::STAGE, costs.gram_energy),
        ]
    }

    /// The energies, (bundle, part, c of the bundle, phase).
    pub(super) fn energy(&self) -> Global<f64> {
        self.memory.energy.global()
    }

    /// Where the components on the grid's lines go.
    fn joined(&mut self, sources: &Sources, cut: &Spectrum) -> GlobalMut<f32> {
        match self.design.gram.reuse {
            Reuse::None => self.memory.joined.global_mut(),
            Reuse::Joined => GlobalMut::from_address(sources.high.address()),
            Reuse::Sums => sources.sums.offset(self.design.gram.joined_behind(cut)),
        }
    }

    /// The taps' spectrum, if it is held whole: before all cuts, or beside the first.
    ///
    /// # Safety
    /// As [`Self::launch`].
    pub(super) unsafe fn prepare(
        &mut self,
        target: &Target<'_>,
        sources: &Sources,
        after: After<'_>,
    ) -> Result<(), CudaError> {
        if self.design.gram.holds_taps {
            // SAFETY: the caller's promise; all lines of the grid of the one bundle.
            unsafe { self.transform_taps(target, sources, (0, self.design.grid.grid_lines()), after)? };
        }
        Ok(())
    }

    /// The energies of one cut, in each bundle's parts from `first_part` on; gives the part after the last.
    ///
    /// # Safety
    /// The sources hold what they say, for this cut; the target's kernel is the problem's; nothing else uses them or this until
    /// the stream has passed this point. [`Self::prepare`] has been called in this run, on the fork's stream.
    pub(super) unsafe fn launch(
        &mut self,
        target: &Target<'_>,
        cut: &Spectrum,
        sources: &Sources,
        (fork, first_part): (&mut Fork<'_>, u64),
        after: After<'_>,
    ) -> Result<u64, CudaError> {
        let mut next_part = first_part;
        for bundle in 0..self.design.parts.bundles() {
            let sources = sources.of_bundle(bundle, &self.design.grid, cut);
            // SAFETY: the caller's promise: the bundle's, from its first row and channel on.
            next_part = unsafe { self.launch_bundle(target, cut, &sources, bundle, (fork, first_part), after)? };
        }
        Ok(next_part)
    }

    /// [`Self::launch`] for one bundle.
    ///
    /// # Safety
    /// As there, for the bundle's sources.
    unsafe fn launch_bundle(
        &mut self,
        target: &Target<'_>,
        cut: &Spectrum,
        sources: &Sources,
        bundle: u32,
        (fork, mut part): (&mut Fork<'_>, u64),
        after: After<'_>,
    ) -> Result<u64, CudaError> {
        let (grid, cuts) = (self.design.grid, self.design.gram);
        // SAFETY: the caller's promise, here and below: each launch reads what the ones before wrote, in the stream's order.
        unsafe { self.scales(target, cut, sources)? };
        after(input_scales::STAGE)?;
        for range in cuts.ranges(&grid) {
            let mut joins = cuts.joins(cut).peekable();
            for lines in cuts.chunks(cut) {
                // SAFETY: as above.
                unsafe { self.sum_lines(target, cut, sources, range, lines)? };
                after(line_gram::STAGE)?;
                // All that have been summed since the last.
                let summed = |&(first, count): &(u32, u32)| first + count <= lines.0 + lines.1;
                if let Some(lines) = joins.next_if(summed) {
                    // SAFETY: as above.
                    unsafe { self.resample_lines(target, cut, sources, range, lines)? };
                    after(grid_resample::STAGE)?;
                }
            }
            // SAFETY: as above.
            unsafe { self.resample_pair(target, cut, sources, range)? };
            after(pair_resample::STAGE)?;
            fork.join()?;
            for lines in cuts.grid_chunks(&grid) {
                if !cuts.holds_taps {
                    // SAFETY: as above.
                    unsafe { self.transform_taps(target, sources, lines, after)? };
                }
                // SAFETY: as above; the parts are this launch's.
                part += unsafe { self.energies(target, sources, range, lines, (bundle, part))? };
                after(gram_energy::STAGE)?;
            }
        }
        Ok(part)
    }

    /// # Safety
    /// As [`Self::launch`], for lines of the grid that fit.
    unsafe fn transform_taps(
        &mut self,
        target: &Target<'_>,
        sources: &Sources,
        (first_line, lines): (u32, u32),
        after: After<'_>,
    ) -> Result<(), CudaError> {
        let parameters = TapSpectrum {
            kernel: sources.kernel,
            channel_exponent: sources.channel_exponent,
            twiddles: self.memory.twiddles.global(),
            spectrum: self.memory.taps.global_mut(),
            grid: self.design.grid,
            first_line,
            lines,
        };
        // SAFETY: the kernel and the exponents are the caller's promise; the output holds a chunk of lines.
        unsafe { tap_spectrum::launch(&self.kernels.tap_spectrum, &parameters, target.stream, target.bound)? };
        after(tap_spectrum::STAGE)
    }

    /// # Safety
    /// As [`Self::launch`].
    unsafe fn scales(&mut self, target: &Target<'_>, cut: &Spectrum, sources: &Sources) -> Result<(), CudaError> {
        let parameters = InputScales {
            row_exponent: sources.row_exponent,
            channel_exponent: self.memory.input_exponent.global_mut(),
            scale_exponent: self.memory.scale_exponent.global_mut(),
            in_channels: self.design.grid.in_channels,
            groups: self.design.parts.bundle,
            batch: cut.shape.batch,
        };
        // SAFETY: the caller's promise; a number a channel, and a group, and one.
        unsafe { input_scales::launch(&self.kernels.input_scales, &parameters, target.stream, target.bound) }
    }

    /// # Safety
    /// As [`Self::launch`], for a range and a chunk of the design's.
    unsafe fn sum_lines(
        &mut self,
        target: &Target<'_>,
        cut: &Spectrum,
        sources: &Sources,
        (first_block, blocks): (u32, u32),
        (first_line, lines): (u32, u32),
    ) -> Result<(), CudaError> {
        // Of all lines, those of a chunk follow those before it.
        let before = if self.design.gram.reuse == Reuse::Sums { u64::from(first_line) } else { 0 };
        let memory = &mut self.memory;
        let parameters = LineGram {
            high: Global::from_address(sources.high.address()),
            low: sources.low,
            row_exponent: sources.row_exponent,
            channel_exponent: memory.input_exponent.global(),
            scale_exponent: memory.scale_exponent.global(),
            coefficients: memory.coefficients.global(),
            sums: sources.sums.offset(before * self.design.gram.line_sums),
            spectrum: self.design.of_bundle(cut),
            rows: cut.rows(),
            first_line,
            lines,
            first_block,
            blocks,
            ways: self.design.gram.line_ways,
        };
        // SAFETY: the spectra are the caller's promise; the sums hold a chunk of lines of a range, or with `Reuse::Sums` end before the
        // spectra of this chunk (`GramCuts::design`), where nobody reads any more.
        unsafe { line_gram::launch(&self.kernels.line_gram, &parameters, target.stream, target.bound) }
    }

    /// # Safety
    /// As [`Self::sum_lines`], which wrote the chunk's sums; chunks follow each other.
    unsafe fn resample_lines(
        &mut self,
        target: &Target<'_>,
        cut: &Spectrum,
        sources: &Sources,
        (first_block, blocks): (u32, u32),
        (first_line, lines): (u32, u32),
    ) -> Result<(), CudaError> {
        let output = self.joined(sources, cut);
        let memory = &mut self.memory;
        let parameters = GridResample {
            input: Global::from_address(sources.sums.address()),
            outer: memory.outer.global(),
            half: memory.half.global(),
            channel_exponent: memory.input_exponent.global(),
            scale_exponent: memory.scale_exponent.global(),
            output,
            grid: self.design.grid,
            group_channels: self.design.parts.of_group()[0],
            column: cut.n()[0],
            inputs: cut.half(),
            first_line,
            lines,
            first_block,
            blocks,
        };
        // SAFETY: the sums of these lines; the output holds a range's components on the grid, and if `Reuse` says so lies behind all
        // sums, where spectra were that nobody reads any more.
        unsafe { grid_resample::launch(&self.kernels.grid_resample, &parameters, target.stream, target.bound) }
    }

    /// # Safety
    /// As [`Self::launch`]; all lines of the range are resampled.
    unsafe fn resample_pair(
        &mut self,
        target: &Target<'_>,
        cut: &Spectrum,
        sources: &Sources,
        (_, blocks): (u32, u32),
    ) -> Result<(), CudaError> {
        let input = Global::from_address(self.joined(sources, cut).address());
        let (memory, grid) = (&self.memory, &self.design.grid);
        let parameters = PairResample {
            input,
            matrix: memory.pair.global(),
            output: sources.sums,
            inner: u64::from(blocks) * u64::from(BLOCK_WORDS),
            lines: grid.grid_lines(),
            points: grid.m()[2],
        };
        // SAFETY: the caller's promise; the lines' sums are no longer read, and their memory holds a range's Gram matrices: what is joined
        // begins behind it.
        unsafe { pair_resample::launch(&self.kernels.pair_resample, &parameters, target.stream, target.bound) }
    }

    /// # Safety
    /// As [`Self::launch`]; the range's Gram matrices and the taps' spectrum of these lines are there.
    unsafe fn energies(
        &mut self,
        target: &Target<'_>,
        sources: &Sources,
        (first_block, blocks): (u32, u32),
        (first_line, lines): (u32, u32),
        (bundle, first_part): (u32, u64),
    ) -> Result<u64, CudaError> {
        let of_bundle = self.design.energy_parts() * u64::from(self.design.grid.out_channels);
        let (memory, grid) = (&mut self.memory, self.design.grid);
        let line_words = u64::from(grid.m()[2]) * u64::from(blocks) * u64::from(BLOCK_WORDS);
        let parameters = GramEnergy {
            gram: Global::from_address(sources.sums.offset(u64::from(first_line) * line_words).address()),
            spectrum: memory.taps.global(),
            scale_exponent: memory.scale_exponent.global(),
            channel_exponent: sources.channel_exponent,
            energy: GlobalMut::from_address(memory.energy.address() + 8 * u64::from(bundle) * of_bundle),
            grid,
            group_channels: self.design.parts.of_group()[1] * self.design.parts.phases(),
            first_line,
            lines,
            first_block,
            blocks,
            shares: self.design.gram.shares,
            first_part,
        };
        // SAFETY: the caller's promise; the energies hold the parts of all launches.
        unsafe { gram_energy::launch(&self.kernels.gram_energy, &parameters, target.stream, target.bound)? };
        Ok(parameters.parts())
    }
}

impl Kernels {
    fn find(design: &CudaSpectral, device: &CudaDevice, bound: &Bound<'_>) -> Result<Self, CudaError> {
        let (kernels, shared) = (device.kernels(), device.facts().shared_memory);
        let of_lines = if line::lags(design.grid.kernel[2]) == 2 { line::SPEC_2 } else { line::SPEC_4 };
        Ok(Self {
            tap_spectrum: kernels.find(taps::SPEC, shared, bound)?,
            input_scales: kernels.find(scales::SPEC, shared, bound)?,
            line_gram: kernels.find(of_lines, shared, bound)?,
            grid_resample: kernels.find(to_grid::SPEC, shared, bound)?,
            pair_resample: kernels.find(pair::SPEC, shared, bound)?,
            gram_energy: kernels.find(energy::SPEC, shared, bound)?,
        })
    }
}

impl Memory {
    fn new(design: &CudaSpectral, device: &CudaDevice, bound: &Bound<'_>) -> Result<Self, Error> {
        let lengths = design.lengths();
        let floats = |len: u64| DeviceArray::new(WORKSPACE, usize::try_from(len).unwrap_or(usize::MAX), device, bound);
        let integers =
            |len: u64| DeviceArray::new(WORKSPACE, usize::try_from(len).unwrap_or(usize::MAX), device, bound);
        Ok(Self {
            twiddles: floats(lengths.twiddles[1])?,
            coefficients: floats(lengths.coefficients)?,
            outer: floats(lengths.matrices[0])?,
            half: floats(lengths.matrices[1])?,
            pair: floats(lengths.matrices[2])?,
            input_exponent: integers(lengths.input_exponent)?,
            scale_exponent: integers(lengths.scale_exponent)?,
            joined: floats(lengths.joined)?,
            taps: floats(lengths.taps)?,
            energy: DeviceArray::new(WORKSPACE, usize::try_from(lengths.energy).unwrap_or(usize::MAX), device, bound)?,
        })
    }
}
