//! How the Gram matrices of the spectral way are cut: into ranges of channel pairs, and those into chunks of lines.
//!
//! ```text
//! for each range of blocks of channel pairs:
//!     for each chunk of lines:        line_gram  ▶ sums      axis_resample  ▶ resampled
//!     half_resample  ▶ sums           axis_resample  ▶ resampled: Ĝ
//!     for each chunk of grid lines:   tap_spectrum  ▶ W       gram_energy
//! ```
//!
//! The sums resampled along the outer axis take the place of the spectra that they were made of, where those are larger.

use kernel_gpu::gram_energy::GramEnergy;
use kernel_gpu::gram_grid::{BLOCK_WORDS, Grid};
use kernel_gpu::spectrum::Spectrum;
use kernel_gpu::tap_spectrum::point_words;

use super::DeviceFacts;

/// Bytes of the sums of one chunk of lines.
const SUMS_BYTES: u64 = 36 << 20;
/// Bytes of the Gram matrices of one range of channel pairs.
const RESAMPLED_BYTES: u64 = 64 << 20;
/// Bytes of the energies of one cut of the batch, unless a part a launch is more.
const ENERGY_BYTES: u64 = 64 << 20;
/// Bytes of the taps' spectrum of one chunk of grid lines.
const TAPS_BYTES: u64 = 192 << 20;

/// The cuts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GramCuts {
    /// Lines of the spectra at a time.
    pub lines: u32,
    /// Blocks of 16 × 16 channel pairs at a time.
    pub blocks: u32,
    /// Lines of the grid at a time, of the taps' spectrum.
    pub grid_lines: u32,
    /// Shares of each launch of `gram_energy`.
    pub shares: u32,
    /// Whether the resampled sums take the place of the spectra that have been summed, and need no memory of their own.
    pub in_place: bool,
}

impl GramCuts {
    /// For cuts of the batch with these extents, the last of which has `rest` images if that is not 0.
    pub(super) fn design(spectrum: &Spectrum, rest: u32, facts: &DeviceFacts) -> GramCuts {
        let (grid, whole) = (spectrum.grid(), spectrum.grid().blocks());
        let resampled = |blocks: u32| {
            Lengths::of(spectrum, &GramCuts { lines: 1, blocks, grid_lines: 1, shares: 1, in_place: false })
                .resampled
                .saturating_mul(4)
        };
        let mut blocks = whole;
        while blocks > 1 && resampled(blocks) > RESAMPLED_BYTES {
            blocks = blocks.div_ceil(2);
        }
        let ranges = whole.div_ceil(blocks);
        let blocks = whole.div_ceil(ranges);
        let line_bytes = 4 * line_words(&grid, blocks);
        let fitting = (SUMS_BYTES / line_bytes.max(1)).clamp(1, u64::from(spectrum.lines()));
        // Chunks of one size: what is left over would keep few multiprocessors busy.
        let lines = spectrum.lines().div_ceil(spectrum.lines().div_ceil(fitting as u32));
        let grid_line_bytes = 4 * point_words(&grid).saturating_mul(u64::from(grid.m()[2]));
        let grid_lines = (TAPS_BYTES / grid_line_bytes.max(1)).clamp(1, u64::from(grid.grid_lines())) as u32;
        let grid_lines = grid.grid_lines().div_ceil(grid.grid_lines().div_ceil(grid_lines));
        // Every launch has its own parts.
        let launches = u64::from(ranges) * u64::from(grid.grid_lines().div_ceil(grid_lines));
        let parts = ENERGY_BYTES / 8 / u64::from(grid.out_channels.max(1)) / launches;
        let shares = GramEnergy::shares_for(&grid, grid_lines, blocks, facts.multiprocessors);
        let shares = u64::from(shares).min(parts).max(1) as u32;
        let mut cuts = GramCuts { lines, blocks, grid_lines, shares, in_place: false };
        let mut last = *spectrum;
        last.shape.batch = if rest > 0 { rest } else { spectrum.shape.batch };
        cuts.in_place = ranges == 1 && cuts.fits_in_place(&last);
        cuts
    }

    /// Whether the resampled sums of every chunk and those before fit where these chunks' spectra were: of the smallest cut of the
    /// batch, since the spectra grow with the images and the sums do not.
    fn fits_in_place(&self, spectrum: &Spectrum) -> bool {
        let grid = spectrum.grid();
        let (column, m0) = (u64::from(spectrum.n()[0]), u64::from(grid.m()[0]));
        self.chunks(spectrum).all(|(first, lines)| {
            let lines = u64::from(first) + u64::from(lines);
            let columns = lines.div_ceil(column);
            columns.saturating_mul(m0).saturating_mul(line_words(&grid, self.blocks))
                <= lines.saturating_mul(spectrum.line_words())
        })
    }

    /// (first line, lines) of each chunk of the spectra's lines.
    pub fn chunks(&self, spectrum: &Spectrum) -> impl Iterator<Item = (u32, u32)> + use<> {
        pieces(spectrum.lines(), self.lines)
    }

    /// (first block, blocks) of each range of channel pairs.
    pub fn ranges(&self, grid: &Grid) -> impl Iterator<Item = (u32, u32)> + use<> {
        pieces(grid.blocks(), self.blocks)
    }

    /// (first line, lines) of each chunk of the grid's lines.
    pub fn grid_chunks(&self, grid: &Grid) -> impl Iterator<Item = (u32, u32)> + use<> {
        pieces(grid.grid_lines(), self.grid_lines)
    }

    /// Whether the taps' spectrum is held whole, and made once.
    pub fn holds_taps(&self, grid: &Grid) -> bool {
        self.grid_lines >= grid.grid_lines()
    }

    /// Parts of the energies of one cut of the batch.
    pub(super) fn parts(&self, grid: &Grid) -> u64 {
        let launches =
            u64::from(grid.blocks().div_ceil(self.blocks)) * u64::from(grid.grid_lines().div_ceil(self.grid_lines));
        launches.saturating_mul(u64::from(self.shares))
    }
}

/// (first, count) of pieces of `piece` out of `whole`.
fn pieces(whole: u32, piece: u32) -> impl Iterator<Item = (u32, u32)> {
    (0..whole).step_by(piece.max(1) as usize).map(move |first| (first, piece.min(whole - first)))
}

/// f32 of the arrays of one range of channel pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lengths {
    /// The sums of a chunk of lines; later what `half_resample` makes.
    pub(super) sums: u64,
    /// The sums of all fr, resampled along the outer axis; later the Gram matrices on the grid.
    pub(super) resampled: u64,
    /// The taps' spectrum of a chunk of grid lines.
    pub(super) taps: u64,
    /// The spectra, or the Gram matrices on the grid in their place.
    pub(super) spectra: u64,
}

impl Lengths {
    pub(super) fn of(spectrum: &Spectrum, cuts: &GramCuts) -> Lengths {
        let (grid, m) = (spectrum.grid(), spectrum.grid().m());
        let line = line_words(&grid, cuts.blocks);
        let on_grid = line.saturating_mul(u64::from(grid.grid_lines()));
        let outer = line.saturating_mul(u64::from(spectrum.half())).saturating_mul(u64::from(m[0]));
        let spectra = u64::from(spectrum.lines()).saturating_mul(spectrum.line_words());
        Lengths {
            sums: line.saturating_mul(u64::from(cuts.lines)).max(on_grid),
            resampled: if cuts.in_place { 0 } else { outer.max(on_grid) },
            spectra: spectra.max(if cuts.in_place { on_grid } else { 0 }),
            taps: point_words(&grid).saturating_mul(u64::from(m[2])).saturating_mul(u64::from(cuts.grid_lines)),
        }
    }
}

/// f32 of the sums of one line, and of a line of the grid.
fn line_words(grid: &Grid, blocks: u32) -> u64 {
    u64::from(grid.m()[2]) * u64::from(blocks) * u64::from(BLOCK_WORDS)
}
