//! The spectral way on a GPU: how its work is cut, and how much memory it takes.
//!
//! ```text
//! spectra          lines·rows·slots words, and strict lines·rows·slots      of one cut of the batch
//! Gram matrices    of some lines, SUMS_BYTES; on the lines of the grid; on the grid      of a range of channel pairs
//! taps' spectrum   of some lines of the grid, TAPS_BYTES
//! ```
//!
//! Where the budget does not hold the spectra of the whole batch, the batch is cut; energies add over it, and over ranges of
//! channel pairs. What a single image needs bounds the memory of any problem: a problem for which that is past the budget is
//! refused.
//!
//! Pure: the shape, the device's multiprocessors and shared memory, and the options decide.

use std::fmt;

use kernel_gpu::conv_shape::ConvShape;
use kernel_gpu::gram_grid::Grid;
use kernel_gpu::line_gram_stage::IMAGES;
use kernel_gpu::spectrum::Spectrum;

use super::cost::spectral_seconds;
use super::gram::GramCuts;
use super::parts::Parts;
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
/// Different coefficients of the input from which on lines may be plain: they err by some 2^-12, which averages out over
/// frequencies, channels and images. With n of them the variance is left with a standard error of 1.8e-3/√n (measured, uniform
/// inputs): here 1.8e-6, so that the worst of many channels stays within 1e-5. An output's error is half of its variance's.
const AVERAGED: u64 = 1 << 20;
/// 2·N of an axis stays below this: the kernels form f·k mod 2N from 32-bit parts.
const MAX_TWIDDLES: u64 = 1 << 24;

/// How a GPU computes the energies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CudaSpectral {
    /// The problem's options, taken apart.
    pub parts: Parts,
    /// The extents by the roles of their axes, with the whole batch and all input channels.
    pub spectrum: Spectrum,
    /// What the grid follows from, in each bundle.
    pub grid: Grid,
    /// Lags between taps, by the roles of the axes.
    pub lag: [u32; 3],
    /// What x and w are stored in: f32, f16 or bf16.
    pub dtype: DType,
    /// How x is transformed.
    pub transform: Transform,
    /// Images of one cut of the batch; the last may have fewer.
    pub images: u32,
    /// How the Gram matrices and the taps' spectrum are cut.
    pub gram: GramCuts,
    /// Whether the variance is needed: in eval mode with running statistics the sums of x and w are all.
    pub energies: bool,
}

/// Why a problem is not one for the spectral way.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ineligible {
    /// Elements that are not computed in f32.
    Elements(DType),
    /// An option of the convolution that it does not take, or not so large.
    Option {
        /// Its name.
        option: &'static str,
        /// Its value.
        found: String,
    },
    /// An axis too long for the twiddles' indices.
    Axis(u64),
    /// Too many (ci, b), frequencies, or output channels with their phases, to count in 32 bits.
    Count(u64),
    /// The least that it takes is more than the budget.
    Workspace {
        /// Bytes that it takes, with its work cut as small as it can be.
        needed: u64,
        /// Bytes allowed.
        budget: u64,
    },
}

impl Ineligible {
    /// The first option of the convolution that is not at its default; none where all are.
    pub(crate) fn first_option(problem: &Problem) -> Option<Self> {
        problem.convolution().first_set().map(|(option, found)| Self::Option { option, found })
    }

    /// As the reason of a recipe that takes the direct way instead.
    pub(super) fn in_short(&self) -> &'static str {
        match self {
            Self::Elements(_) => "direct: spectral computes in f32 alone",
            Self::Option { .. } => "direct: spectral takes no padding",
            Self::Axis(_) | Self::Count(_) => "direct: spectral cannot count this many",
            Self::Workspace { .. } => "direct: spectral takes more workspace than is allowed",
        }
    }
}

impl fmt::Display for Ineligible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Elements(dtype) => write!(f, "it computes in f32, and the elements are {dtype}"),
            Self::Option { option, found } => write!(f, "it does not take {option} = {found}"),
            Self::Axis(extent) => write!(f, "an axis of {extent} frequencies is past 2^23 - 1"),
            Self::Count(count) => write!(f, "{count} rows, frequencies or output channels are past 2^31 - 1"),
            Self::Workspace { needed, budget } => {
                write!(f, "it needs {needed} bytes of workspace; at most {budget} are allowed")
            }
        }
    }
}

impl CudaSpectral {
    /// Cuts the work, with as many groups a bundle as let it take the least time by the estimate.
    ///
    /// # Errors
    /// As [`CudaDirect::design`](super::CudaDirect::design) for what no kernel can count, else [`Error::Ineligible`].
    pub fn design(
        problem: &Problem,
        facts: &DeviceFacts,
        dtype: DType,
        options: PlanOptions,
    ) -> Result<CudaSpectral, Error> {
        let energies = problem.uses_batch_statistics();
        let parts = Parts::of(problem, energies)?;
        let design = |bundle| Self::of_parts(Parts { bundle, ..parts }, energies, facts, dtype, options);
        // Of those that there are; if none, of single groups why. Sums alone are made of all groups at once.
        let better = |a: Result<Self, Ineligible>, b: Result<Self, Ineligible>| match (&a, &b) {
            (Ok(few), Ok(many)) if spectral_seconds(many) < spectral_seconds(few) => b,
            (Err(_), Ok(_)) => b,
            _ => a,
        };
        let bundles = parts.possible_bundles().filter(|&bundle| energies && bundle > 1);
        bundles.map(design).fold(design(1), better).map_err(Error::Ineligible)
    }

    /// The same for these parts.
    fn of_parts(
        parts: Parts,
        energies: bool,
        facts: &DeviceFacts,
        dtype: DType,
        options: PlanOptions,
    ) -> Result<CudaSpectral, Ineligible> {
        let (shape, grid, lag) = parts.by_roles()?;
        let mut spectrum = Spectrum { shape, all_strict: 0 };
        let averages = rounding_averages(&spectrum, parts.of_group()[0]);
        let all_strict = options.precision == Precision::Strict || !averages;
        spectrum.all_strict = u32::from(all_strict);
        let design = CudaSpectral {
            parts,
            spectrum,
            grid,
            lag,
            dtype,
            transform: Transform::Sums,
            images: shape.batch,
            gram: GramCuts::default(),
            energies,
        };
        design.eligible(facts, options)
    }

    /// The extents with the batch of the cut that begins at image `first`.
    pub fn cut(&self, first: u32) -> Spectrum {
        let mut spectrum = self.spectrum;
        spectrum.shape.batch = self.images.min(self.spectrum.shape.batch - first);
        spectrum
    }

    /// The extents of a bundle of a cut, as if its taps had no gaps and the input as many elements as leave the frequencies what they are.
    pub fn of_bundle(&self, cut: &Spectrum) -> Spectrum {
        let (n, kernel) = (cut.n(), self.grid.kernel);
        let input = [0, 1, 2].map(|axis| n[axis] + 1 - kernel[axis]);
        let shape = ConvShape { in_channels: self.grid.in_channels, input, kernel, ..cut.shape };
        Spectrum { shape, ..*cut }
    }

    /// How many cuts of the batch there are.
    pub fn cuts(&self) -> u32 {
        self.spectrum.shape.batch.div_ceil(self.images)
    }

    /// Parts of the energies that all launches of a bundle write.
    pub fn energy_parts(&self) -> u64 {
        if self.energies { u64::from(self.cuts()).saturating_mul(self.gram.parts(&self.grid)) } else { 0 }
    }

    /// Eligibility apart from preference: the design with its work cut, or why there is none.
    fn eligible(mut self, facts: &DeviceFacts, options: PlanOptions) -> Result<CudaSpectral, Ineligible> {
        if self.dtype == DType::F64 {
            return Err(Ineligible::Elements(self.dtype));
        }
        let (spectrum, grid) = (self.spectrum, self.grid);
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
        // A line's components times channel pairs, too, are counted in 32 bits.
        let sums = u64::from(grid.m()[2]).saturating_mul(grid.blocks().into());
        // So are the tables: of the lags, a pass of at least two at a time; of the lines' resampling, 16 numbers for four taps, of pairs ±fo
        // in whole groups; and along the lines, 12 for at least three points.
        let table =
            |rows: u32, taps: u32| (u64::from(rows) + 4).saturating_mul(u64::from(taps.div_ceil(4))).saturating_mul(16);
        let points = |m: u32| u64::from(m).saturating_mul(u64::from(m.div_ceil(3))).saturating_mul(12);
        let (m, slots) = (grid.m(), u64::from(n[2]) + 12);
        let lags = slots.saturating_mul(u64::from(grid.kernel[2]) + 4);
        let [k0, k1, _] = grid.kernel;
        let tables = lags.max(table(n[0] / 2 + 1, k0)).max(table(n[1] / 2 + 1, k1)).max(points(m[2]));
        for count in [rows, lines, shape.volume(), grid.points(), sums, tables] {
            if count >= 1 << 31 {
                return Err(Ineligible::Count(count));
            }
        }
        let allowed = options.workspace_budget.unwrap_or(WORKSPACE_BUDGET).min(MAX_WORKSPACE);
        let budget = allowed.min(facts.available_memory.unwrap_or(u64::MAX));
        let mut needed = u64::MAX;
        for images in cuts(shape.batch) {
            let mut cut = spectrum;
            cut.shape.batch = images;
            self.images = images;
            if self.energies {
                self.transform = Transform::design(&cut, facts);
            }
            // Summing all lines at once is given up before images are.
            for at_once in [true, false] {
                let bundles = (&grid, self.parts.bundles());
                self.gram = GramCuts::design(&cut, shape.batch % images, bundles, at_once, facts);
                needed = self.workspace_bytes();
                if needed <= budget {
                    return Ok(self);
                }
            }
        }
        Err(Ineligible::Workspace { needed, budget })
    }
}

/// Whether there are enough different coefficients to average over. Along an axis of one element all are the same, but for
/// phases, and so are their errors.
fn rounding_averages(spectrum: &Spectrum, in_channels: u32) -> bool {
    let axes = (0..3).filter(|&axis| spectrum.shape.input[axis] > 1);
    let rows = u64::from(in_channels).saturating_mul(u64::from(spectrum.shape.batch));
    let (input, kernel) = (spectrum.shape.input, spectrum.shape.kernel);
    let extent = |axis: usize| u64::from(input[axis]) + u64::from(kernel[axis]) - 1;
    axes.fold(rows, |count, axis| count.saturating_mul(extent(axis))) >= AVERAGED
}

/// Images of a cut to try, the whole batch first, one last: in 1, 2, 3, 4, 6, 8, 12, … cuts, rounded up to whole groups.
fn cuts(batch: u32) -> impl Iterator<Item = u32> {
    let mut last = 0;
    (0..33).flat_map(|power| [1u64 << power, (3 << power) / 2]).filter_map(move |pieces| {
        let images = u64::from(batch).div_ceil(pieces);
        let images = if images > u64::from(IMAGES) { images.next_multiple_of(u64::from(IMAGES)) } else { images };
        let images = images.min(u64::from(batch)) as u32;
        (std::mem::replace(&mut last, images) != images).then_some(images)
    })
}

#[cfg(test)]
mod tests;
