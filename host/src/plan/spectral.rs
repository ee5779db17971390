//! The spectral way on a GPU: how its products are cut, and how much memory it takes.
//!
//! ```text
//! spectra        lines·rows·slots words, and strict lines·rows·slots      of one cut of the batch
//! folded taps    of one chunk of lines, plain and strict                   about FOLDED_BYTES each, which stay in L2
//! energies       (lines·splits)·batch groups·Cout f64, of all cuts
//! ```
//!
//! Where the budget does not hold the spectra of the whole batch, the batch is cut; energies add over it. What a
//! single image needs (its spectra, one line of folded taps, the energies) bounds the memory of any problem: a problem for
//! which that is past the budget is refused.
//!
//! Pure: the shape, the device's multiprocessors and shared memory, and the options decide.

use std::fmt;

use kernel_gpu::conv_shape::ConvShape;
use kernel_gpu::spectral_energy::{BATCH, Tiling, coefficient_words};
use kernel_gpu::spectrum::{Spectrum, TILE};

use super::cuda_direct::conv_shape;
use super::roles::with_roles;
use super::transform::Transform;
use super::{DeviceFacts, PlanOptions, Precision};
use crate::Error;
use crate::element::DType;
use crate::problem::Problem;

/// Bytes of workspace that a plan takes at most, unless the caller says otherwise: the spectra of KernelBench 77 at
/// batch 128 fit twice over.
pub const WORKSPACE_BUDGET: u64 = 1 << 30;
/// Whatever the caller allows: below this no buffer has places that the kernels, which count some of them in 32 bits, could not
/// tell apart.
const MAX_WORKSPACE: u64 = 16 << 30;
/// Bytes of folded taps of one chunk of lines, plain or strict: half the L2 cache of an H100, so that they are read from there,
/// and the spectra pass through the other half.
const FOLDED_BYTES: u64 = 24 << 20;
/// Different coefficients behind each output channel from which on lines may be plain: they err by some 2^-12, which averages
/// out over the frequencies and the input channels, of the inputs over the batch too. With n of them the variance is left with
/// a standard error of 2.6e-3/√n by the taps, 1.8e-3/√n by the inputs (measured, uniform inputs): here 2.5e-6, so that the worst
/// of many channels stays within 1e-5. An output's error is half of its variance's.
const AVERAGED: u64 = 1 << 20;
/// Units of a launch that are aimed at, a multiprocessor: its blocks take ranges of them that differ by one at most.
const ITEMS_A_MULTIPROCESSOR: u64 = 8;
/// Shared memory that the driver keeps of each block's.
const RESERVED_SHARED: u32 = 1024;
/// 2·N of an axis stays below this: the kernels form f·k mod 2N from 32-bit parts.
const MAX_TWIDDLES: u64 = 1 << 24;

/// How a GPU computes the energies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CudaSpectral {
    /// The extents by the roles of their axes, with the whole batch.
    pub spectrum: Spectrum,
    /// How x is transformed.
    pub transform: Transform,
    /// Images of one cut of the batch; the last may have fewer.
    pub images: u32,
    /// The lines whose spectra are held in one word a frequency.
    pub plain: Products,
    /// The lines held in two.
    pub strict: Products,
    /// Whether the variance is needed: in eval mode with running statistics the sums of x and w are all.
    pub energies: bool,
}

/// How the products of one kind of lines are launched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Products {
    /// Whether these are the strict lines.
    pub is_strict: bool,
    /// How a block's work is cut.
    pub tiling: Tiling,
    /// Lines of this kind; there may be none.
    pub lines: u32,
    /// Lines of one launch; the last may have fewer.
    pub chunk: u32,
    /// Tiles of 16 output channels, a multiple of the tiling's.
    pub channel_tiles: u32,
}

/// Why a problem is not one for the spectral way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ineligible {
    /// Elements other than f32.
    Elements(DType),
    /// An axis too long for the twiddles' indices.
    Axis(u64),
    /// Too many (ci, b), or frequencies, to count in 32 bits.
    Count(u64),
    /// A kernel whose folded taps do not fit in a block's shared memory.
    Taps {
        /// Its extent along the pair axis.
        extent: u32,
        /// Bytes of shared memory of a block.
        shared_memory: u32,
    },
    /// One image takes more than the budget.
    Workspace {
        /// Bytes that it takes.
        needed: u64,
        /// Bytes allowed.
        budget: u64,
    },
}

impl Ineligible {
    /// As the reason of a recipe that takes the direct way instead.
    pub(super) fn in_short(self) -> &'static str {
        match self {
            Self::Elements(_) => "direct: spectral computes f32 alone",
            Self::Axis(_) | Self::Count(_) => "direct: spectral cannot count this many",
            Self::Taps { .. } => "direct: the taps of the last axis do not fit in shared memory for spectral",
            Self::Workspace { .. } => "direct: spectral takes more workspace than is allowed",
        }
    }
}

impl fmt::Display for Ineligible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Elements(dtype) => write!(f, "it computes f32, and the elements are {dtype}"),
            Self::Axis(extent) => write!(f, "an output axis of {extent} is past 2^23 - 1"),
            Self::Count(count) => write!(f, "{count} rows or frequencies are past 2^31 - 1"),
            Self::Taps { extent, shared_memory } => {
                write!(f, "{extent} taps along the last axis do not fit in {shared_memory} bytes of shared memory")
            }
            Self::Workspace { needed, budget } => {
                write!(f, "one image takes {needed} bytes of workspace, and {budget} are allowed")
            }
        }
    }
}

impl CudaSpectral {
    /// Cuts the work.
    ///
    /// # Errors
    /// As [`CudaDirect::design`](super::CudaDirect::design) for what no kernel can count, else [`Error::Ineligible`].
    pub fn design(
        problem: &Problem,
        facts: &DeviceFacts,
        dtype: DType,
        options: PlanOptions,
    ) -> Result<CudaSpectral, Error> {
        let shape = with_roles(conv_shape(problem)?);
        let all_strict = options.precision == Precision::Strict || !rounding_averages(&shape);
        let spectrum = Spectrum { shape, all_strict: u32::from(all_strict) };
        eligible(&spectrum, facts, dtype, options, problem.uses_batch_statistics()).map_err(Error::Ineligible)
    }

    /// The extents with the batch of the cut that begins at image `first`.
    pub fn cut(&self, first: u32) -> Spectrum {
        let mut spectrum = self.spectrum;
        spectrum.shape.batch = self.images.min(self.spectrum.shape.batch - first);
        spectrum
    }

    /// How many cuts of the batch there are.
    pub fn cuts(&self) -> u32 {
        self.spectrum.shape.batch.div_ceil(self.images)
    }

    /// Parts of the energies that all launches write.
    pub fn parts(&self) -> u64 {
        if !self.energies {
            return 0;
        }
        let (batch, images) = (self.spectrum.shape.batch, self.images);
        let groups =
            u64::from(batch / images) * u64::from(images.div_ceil(BATCH)) + u64::from((batch % images).div_ceil(BATCH));
        (self.plain.parts_a_group() + self.strict.parts_a_group()) * groups
    }
}

impl Products {
    fn design(spectrum: &Spectrum, is_strict: bool, facts: &DeviceFacts) -> Result<Products, Ineligible> {
        let lines = if is_strict { spectrum.strict_lines() } else { spectrum.plain_lines() };
        let few_channels = is_strict || spectrum.shape.out_channels <= 2 * TILE;
        let room = facts.shared_memory.saturating_sub(RESERVED_SHARED);
        let mut widths = [(4, 4), (4, 2), (4, 1), (2, 4), (2, 2), (2, 1)].into_iter();
        let tiling = widths.find_map(|(channel_tiles, in_tiles)| {
            let tiling = Tiling { channel_tiles, in_tiles, splits: 1 };
            // Buffers for input channels that are not there would only take room.
            let superfluous = in_tiles / 2 >= spectrum.in_tiles();
            let too_wide = few_channels && channel_tiles == 4;
            let suits = !too_wide && !superfluous;
            (suits && shared_bytes(&tiling, spectrum, is_strict) <= u64::from(room)).then_some(tiling)
        });
        let extent = spectrum.shape.kernel[2];
        let tiling = tiling.ok_or(Ineligible::Taps { extent, shared_memory: facts.shared_memory })?;
        let channel_tiles = spectrum.shape.out_channels.div_ceil(TILE).next_multiple_of(tiling.channel_tiles);
        let mut products = Products { is_strict, tiling, lines, chunk: lines, channel_tiles };
        let fitting = (FOLDED_BYTES / products.line_bytes(spectrum).max(1)).clamp(1, u64::from(lines.max(1))) as u32;
        products.chunk = lines.max(1).div_ceil(lines.max(1).div_ceil(fitting));
        products.tiling.splits = products.splits(spectrum, facts.multiprocessors);
        Ok(products)
    }

    /// Into how many parts the slots of a line are cut: enough items for all multiprocessors, each of whole steps.
    fn splits(&self, spectrum: &Spectrum, multiprocessors: u32) -> u32 {
        let items = self.items(self.chunk, spectrum).max(1);
        let wanted = (ITEMS_A_MULTIPROCESSOR * u64::from(multiprocessors)).div_ceil(items);
        let steps = spectrum.slots().div_ceil(self.tiling.step_slots());
        let steps_a_split = u64::from(steps).div_ceil(wanted.max(1)).max(1);
        steps.div_ceil(steps_a_split as u32)
    }

    /// Items of a launch of so many lines, each a block's.
    pub fn items(&self, lines: u32, cut: &Spectrum) -> u64 {
        let groups =
            u64::from(self.channel_tiles / self.tiling.channel_tiles) * u64::from(cut.shape.batch.div_ceil(BATCH));
        u64::from(lines) * u64::from(self.tiling.splits) * groups
    }

    /// Parts of the energies of one group of images.
    fn parts_a_group(&self) -> u64 {
        u64::from(self.lines) * u64::from(self.tiling.splits)
    }

    /// Parts that a launch of so many lines writes.
    pub fn parts(&self, lines: u32, cut: &Spectrum) -> u64 {
        u64::from(lines) * u64::from(self.tiling.splits) * u64::from(cut.shape.batch.div_ceil(BATCH))
    }

    /// Bytes of dynamic shared memory of a block.
    pub fn shared_bytes(&self, spectrum: &Spectrum) -> u32 {
        self.tiling.shared_bytes(spectrum, self.is_strict)
    }

    /// Words of the folded taps of one line: of two f16 (plain), or f32 (strict).
    pub fn line_words(&self, spectrum: &Spectrum) -> u64 {
        let words = if self.is_strict { 256 } else { 128 };
        self.tiles(spectrum) * u64::from(spectrum.basis()) * words
    }

    /// Words of what rounding left of the first two basis elements, of one line. Strict lines have none.
    pub fn line_low_words(&self, spectrum: &Spectrum) -> u64 {
        if self.is_strict { 0 } else { self.tiles(spectrum) * 2 * 128 }
    }

    fn line_bytes(&self, spectrum: &Spectrum) -> u64 {
        4 * (self.line_words(spectrum) + self.line_low_words(spectrum))
    }

    /// Tiles of 16 by 16 channels.
    fn tiles(&self, spectrum: &Spectrum) -> u64 {
        u64::from(self.channel_tiles) * u64::from(spectrum.in_tiles())
    }

    /// Words of the pairs' coefficients.
    pub fn coefficient_words(&self, spectrum: &Spectrum) -> u64 {
        u64::from(spectrum.slots() / 4) * u64::from(coefficient_words(spectrum, self.is_strict))
    }

    /// (first line, lines) of each launch.
    pub fn chunks(&self) -> impl Iterator<Item = (u32, u32)> + use<> {
        let (lines, chunk) = (self.lines, self.chunk.max(1));
        (0..lines).step_by(chunk as usize).map(move |first| (first, chunk.min(lines - first)))
    }

    /// Whether one launch holds the folded taps of all lines, so that they are made once for all cuts of the batch.
    pub fn is_whole(&self) -> bool {
        self.chunk >= self.lines
    }
}

/// Whether there are enough different coefficients to average over. Along an axis of one tap (of one element) those of the
/// taps (of the inputs) are all the same, but for phases, and so are their errors.
fn rounding_averages(shape: &ConvShape) -> bool {
    let different = |extents: [u32; 3]| {
        let axes = (0..3).filter(|&axis| extents[axis] > 1);
        axes.fold(1u64, |count, axis| count.saturating_mul(u64::from(shape.output()[axis])))
    };
    let channels = u64::from(shape.in_channels);
    let taps = different(shape.kernel).saturating_mul(channels);
    let inputs = different(shape.input).saturating_mul(channels).saturating_mul(u64::from(shape.batch));
    taps.min(inputs) >= AVERAGED
}

/// [`Tiling::shared_bytes`] that cannot overflow.
fn shared_bytes(tiling: &Tiling, spectrum: &Spectrum, is_strict: bool) -> u64 {
    // Past this many taps nothing fits, and the sums below it stay within 32 bits.
    if spectrum.shape.kernel[2] > 1 << 12 { u64::MAX } else { u64::from(tiling.shared_bytes(spectrum, is_strict)) }
}

/// Eligibility apart from preference: the design, or why there is none.
fn eligible(
    spectrum: &Spectrum,
    facts: &DeviceFacts,
    dtype: DType,
    options: PlanOptions,
    energies: bool,
) -> Result<CudaSpectral, Ineligible> {
    if dtype != DType::F32 {
        return Err(Ineligible::Elements(dtype));
    }
    let shape = &spectrum.shape;
    for axis in 0..3 {
        let extent = u64::from(shape.input[axis]) + u64::from(shape.kernel[axis]) - 1;
        if 2 * extent >= MAX_TWIDDLES {
            return Err(Ineligible::Axis(extent));
        }
    }
    let n = spectrum.n();
    let rows = u64::from(shape.in_channels).saturating_mul(u64::from(shape.batch));
    let lines = u64::from(n[0]) * u64::from(n[1] / 2 + 1);
    for count in [rows, lines, shape.volume()] {
        if count >= 1 << 31 {
            return Err(Ineligible::Count(count));
        }
    }
    let allowed = options.workspace_budget.unwrap_or(WORKSPACE_BUDGET).min(MAX_WORKSPACE);
    let budget = allowed.min(facts.available_memory.unwrap_or(u64::MAX));
    let mut needed = u64::MAX;
    for images in cuts(shape.batch) {
        let mut cut = *spectrum;
        cut.shape.batch = images;
        let design = CudaSpectral {
            spectrum: *spectrum,
            transform: if energies { Transform::design(&cut, facts) } else { Transform::Sums },
            images,
            plain: Products::design(&cut, false, facts)?,
            strict: Products::design(&cut, true, facts)?,
            energies,
        };
        needed = design.workspace_bytes();
        if needed <= budget {
            return Ok(design);
        }
    }
    Err(Ineligible::Workspace { needed, budget })
}

/// Images of a cut to try, the whole batch first, one last: in 1, 2, 3, 4, 6, 8, 12, … cuts, rounded up to whole groups.
fn cuts(batch: u32) -> impl Iterator<Item = u32> {
    let mut last = 0;
    (0..33).flat_map(|power| [1u64 << power, (3 << power) / 2]).filter_map(move |pieces| {
        let images = u64::from(batch).div_ceil(pieces);
        let images = if images > u64::from(BATCH) { images.next_multiple_of(u64::from(BATCH)) } else { images };
        let images = images.min(u64::from(batch)) as u32;
        (std::mem::replace(&mut last, images) != images).then_some(images)
    })
}

#[cfg(test)]
mod tests;
