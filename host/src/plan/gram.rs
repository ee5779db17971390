//! How the Gram matrices of the spectral way are cut: into ranges of channel pairs, and those into chunks of lines.
//!
//! ```text
//! for each bundle of groups, for each range of blocks of its channel pairs:
//!     for each chunk of lines:        line_gram  ▶ sums      grid_resample  ▶ joined
//!     pair_resample  ▶ sums: Ĝ
//!     for each chunk of grid lines:   tap_spectrum  ▶ W       gram_energy
//! ```
//!
//! Where no spectrum is asked for twice, the sums go on into its place: those of a later chunk need no memory if they end before the
//! spectra of its own first line. Then all lines are joined at once.
//!
//! ```text
//! │ sums of the first chunk │ of the second one ……… │ joined │
//! │ memory of sums             │ spectra of line 0, 1, ………………………………………… │
//! ```

use kernel_gpu::gram_energy::GramEnergy;
use kernel_gpu::gram_grid::{BLOCK_WORDS, Grid};
use kernel_gpu::line_gram;
use kernel_gpu::spectrum::Spectrum;
use kernel_gpu::tap_spectrum::point_words;

use super::DeviceFacts;

/// Bytes of the sums of one chunk of lines, and of the Gram matrices of one range of channel pairs.
const SUMS_BYTES: u64 = 36 << 20;
/// f32 of which the memory of sums is a multiple, so that spectra behind it begin on a cache line.
const SUMS_UNIT: u64 = 64;
/// Lines of a chunk for each line of the grid, unless all are fewer: with every chunk but the first the grid's lines are read and
/// written again.
const LINES_PER_GRID_LINE: u64 = 4;
/// Bytes of the energies of one cut of the batch, unless a part a launch is more.
const ENERGY_BYTES: u64 = 64 << 20;
/// Bytes of the taps' spectrum of one chunk of grid lines.
const TAPS_BYTES: u64 = 192 << 20;

/// Blocks of threads of `line_gram` that a multiprocessor holds.
const LINE_BLOCKS: u32 = line_gram::SPEC_4.min_blocks;

/// What takes the place of spectra that have been summed, and needs no memory of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reuse {
    /// Nothing: other channel pairs or bundles need the spectra, or they are too small.
    #[default]
    None,
    /// What is joined on the grid, that of the first chunk's.
    Joined,
    /// The sums of all chunks but the first, and behind them what is joined.
    Sums,
}

/// The cuts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GramCuts {
    /// Lines of the spectra at a time.
    pub lines: u32,
    /// Blocks of 16 × 16 channel pairs at a time.
    pub blocks: u32,
    /// 2 where `line_gram` shares its blocks of channel pairs, for there are few of them or one alone; else 1.
    pub line_ways: u32,
    /// Lines of the grid at a time, of the taps' spectrum.
    pub grid_lines: u32,
    /// Shares of each launch of `gram_energy`.
    pub shares: u32,
    /// f32 of the memory of sums, before the spectra; later of the Gram matrices on the grid.
    pub sums: u64,
    /// f32 of the sums of one line.
    pub line_sums: u64,
    /// What takes the place of the spectra.
    pub reuse: Reuse,
    /// Whether the taps' spectrum is held whole, and made once. Not of several bundles: theirs is made before the energies of each.
    pub holds_taps: bool,
}

impl GramCuts {
    /// For cuts of the batch with these extents, the last of which has `rest` images if that is not 0, and bundles with that grid. `at_once`: all
    /// lines are one chunk where their sums are no larger than the spectra, however many bytes. At the end of each launch multiprocessors are
    /// idle.
    pub(super) fn design(
        spectrum: &Spectrum,
        rest: u32,
        (grid, bundles): (&Grid, u32),
        at_once: bool,
        facts: &DeviceFacts,
    ) -> GramCuts {
        let whole = grid.blocks();
        let on_grid = u64::from(grid.grid_lines());
        let wanted = u64::from(spectrum.lines()).min(LINES_PER_GRID_LINE * on_grid).max(on_grid);
        let mut blocks = whole;
        while blocks > 1 && line_words(grid, blocks).saturating_mul(4 * wanted) > SUMS_BYTES {
            blocks = blocks.div_ceil(2);
        }
        let ranges = whole.div_ceil(blocks);
        let blocks = whole.div_ceil(ranges);
        let line_bytes = 4 * line_words(grid, blocks);
        let at_once = at_once && line_bytes <= spectrum.line_words().saturating_mul(4);
        let whole_lines = line_bytes.saturating_mul(u64::from(spectrum.lines()));
        let room = if at_once { SUMS_BYTES.max(whole_lines) } else { SUMS_BYTES };
        let fitting = (room / line_bytes.max(1)).clamp(1, u64::from(spectrum.lines())) as u32;
        // Chunks of one size: what is left over would keep few multiprocessors busy. Of whole fr, if one fits.
        let column = spectrum.n()[0];
        let piece = if fitting >= column { column } else { 1 };
        let (pieces, fitting) = (spectrum.lines() / piece, fitting / piece);
        let lines = piece * pieces.div_ceil(pieces.div_ceil(fitting));
        let grid_line_bytes = 4 * point_words(grid).saturating_mul(u64::from(grid.m()[2]));
        let grid_lines = (TAPS_BYTES / grid_line_bytes.max(1)).clamp(1, u64::from(grid.grid_lines())) as u32;
        let grid_lines = grid.grid_lines().div_ceil(grid.grid_lines().div_ceil(grid_lines));
        // Every launch has its own parts.
        let launches = u64::from(ranges) * u64::from(grid.grid_lines().div_ceil(grid_lines));
        let columns = u64::from(grid.out_channels.max(1)).saturating_mul(u64::from(bundles));
        let parts = ENERGY_BYTES / 8 / columns / launches;
        let shares = GramEnergy::shares_for(grid, grid_lines, blocks, facts.multiprocessors);
        let shares = u64::from(shares).min(parts).max(1) as u32;
        let passes = line_gram::passes(grid.kernel[2], line_gram::lags(grid.kernel[2]));
        let wanted = u64::from(lines) * u64::from(passes) * u64::from(blocks);
        // One block alone would leave half of the threads without work.
        let few = blocks == 1 || wanted <= u64::from(facts.multiprocessors) * u64::from(LINE_BLOCKS);
        let line_ways = if few { 2 } else { 1 };
        let line_sums = line_words(grid, blocks);
        let joined = line_sums.saturating_mul(on_grid);
        let mut cuts = GramCuts {
            lines,
            blocks,
            line_ways,
            grid_lines,
            shares,
            sums: line_sums.saturating_mul(u64::from(lines)).max(joined),
            line_sums,
            reuse: Reuse::None,
            holds_taps: bundles == 1 && grid_lines >= grid.grid_lines(),
        };
        // The smallest cut of the batch decides: the spectra grow with the images, and the sums do not.
        let mut last = *spectrum;
        last.shape.batch = if rest > 0 { rest } else { spectrum.shape.batch };
        if ranges == 1 && bundles == 1 {
            if let Some(sums) = cuts.sums_in_place(&last, room, joined) {
                (cuts.sums, cuts.reuse) = (sums, Reuse::Sums);
            } else if joined <= u64::from(lines).saturating_mul(last.line_words()) {
                cuts.reuse = Reuse::Joined;
            }
        }
        cuts
    }

    /// f32 of memory before the spectra with which the sums of all lines, and what is joined behind them, take the spectra's place: those of a
    /// chunk end before the spectra of its first line. None where that is more than there is room for.
    fn sums_in_place(&self, spectrum: &Spectrum, room: u64, joined: u64) -> Option<u64> {
        let words = |lines: u32| u64::from(lines).saturating_mul(spectrum.line_words());
        let sums = |lines: u32| u64::from(lines).saturating_mul(self.line_sums);
        let before = self.chunks(spectrum).map(|(first, count)| sums(first + count).saturating_sub(words(first)));
        let needed = before.fold(joined, u64::max).next_multiple_of(SUMS_UNIT);
        let end = sums(spectrum.lines()).max(needed).saturating_add(joined);
        (needed <= room / 4 && end <= needed.saturating_add(words(spectrum.lines()))).then_some(needed)
    }

    /// (first line, lines) of each chunk of the spectra's lines.
    pub fn chunks(&self, spectrum: &Spectrum) -> impl Iterator<Item = (u32, u32)> + use<> {
        pieces(spectrum.lines(), self.lines)
    }

    /// (first line, lines) of each launch that joins lines on the grid: all at once, or chunk by chunk.
    pub fn joins(&self, spectrum: &Spectrum) -> impl Iterator<Item = (u32, u32)> + use<> {
        let whole = if self.reuse == Reuse::Sums { spectrum.lines() } else { self.lines };
        pieces(spectrum.lines(), whole)
    }

    /// f32 from the first line's sums to what is joined behind all of them, where that is in the spectra's place.
    pub fn joined_behind(&self, spectrum: &Spectrum) -> u64 {
        u64::from(spectrum.lines()).saturating_mul(self.line_sums).max(self.sums)
    }

    /// (first block, blocks) of each range of channel pairs.
    pub fn ranges(&self, grid: &Grid) -> impl Iterator<Item = (u32, u32)> + use<> {
        pieces(grid.blocks(), self.blocks)
    }

    /// (first line, lines) of each chunk of the grid's lines.
    pub fn grid_chunks(&self, grid: &Grid) -> impl Iterator<Item = (u32, u32)> + use<> {
        pieces(grid.grid_lines(), self.grid_lines)
    }

    /// Parts of the energies of one cut of the batch and one bundle.
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
    /// The sums of a chunk of lines; later the Gram matrices on the grid.
    pub(super) sums: u64,
    /// Their components on the grid's lines.
    pub(super) joined: u64,
    /// The taps' spectrum of a chunk of grid lines.
    pub(super) taps: u64,
}

impl Lengths {
    pub(super) fn of(grid: &Grid, cuts: &GramCuts) -> Lengths {
        let m = grid.m();
        let on_grid = cuts.line_sums.saturating_mul(u64::from(grid.grid_lines()));
        Lengths {
            sums: cuts.sums,
            joined: if cuts.reuse == Reuse::None { on_grid } else { 0 },
            taps: point_words(grid).saturating_mul(u64::from(m[2])).saturating_mul(u64::from(cuts.grid_lines)),
        }
    }
}

/// f32 of the sums of one line, and of a line of the grid.
fn line_words(grid: &Grid, blocks: u32) -> u64 {
    u64::from(grid.m()[2]) * u64::from(blocks) * u64::from(BLOCK_WORDS)
}
