//! What a block of [`implicit_gemm`](crate::implicit_gemm) multiplies next.
//!
//! A tile meets a box of taps; its products are walked **line** by line: taps of one (j0, j1) that follow each other along the last axis, and one
//! [panel](crate::factor_panels) of input channels. All taps of a line read the same rows, each `lag` positions further back:
//!
//! ```text
//! window of a line   rows (tile's first − reach … tile's last)
//! taps of a step     rows (the block's output channels)
//! ```
//!
//! So a row of the input is brought to shared memory once for up to all taps of a line ([`implicit_gemm_copies`](crate::implicit_gemm_copies)).

use crate::factor_panels::Panels;
use crate::phased_conv::{PhasedConv, TapBox};

/// Rows of a window beyond the tile's.
pub const HALO: u32 = 16;

/// The lines of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lines {
    taps: TapBox,
    /// Taps of a line, at most.
    pub longest: u32,
    chunks: u32,
    panels: Panels,
}

/// Taps j to j + `taps` − 1 along the last axis, and a panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// (j0, j1, j2) of its first tap.
    pub j: [u32; 3],
    /// How many taps it has.
    pub taps: u32,
    /// Its panel.
    pub panel: u32,
}

/// A tap of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The line.
    pub line: Line,
    /// The tap's number in it.
    pub tap: u32,
}

impl Lines {
    /// Of a tile that meets those taps.
    #[inline(always)]
    pub const fn new(conv: &PhasedConv, taps: TapBox, panels: Panels) -> Self {
        let apart = conv.lag[2] * conv.images;
        let longest = match HALO.checked_div(apart) {
            Some(more) => 1 + more,
            None => 1,
        };
        Self { taps, longest, chunks: conv.chunks(), panels }
    }

    /// Steps of all lines.
    #[inline(always)]
    pub const fn steps(&self) -> u32 {
        self.taps.taps() * self.panels.count
    }

    /// The first line; with no steps it has no meaning.
    #[inline(always)]
    pub const fn first(&self) -> Line {
        self.with(self.taps.from, 0)
    }

    #[inline(always)]
    const fn with(&self, j: [u32; 3], panel: u32) -> Line {
        let rest = self.taps.to[2] - j[2];
        Line { j, taps: if rest < self.longest { rest } else { self.longest }, panel }
    }

    /// Whether it is one, and not past the last.
    #[inline(always)]
    pub const fn has(&self, line: &Line) -> bool {
        line.j[0] < self.taps.to[0]
    }

    /// The line after this one: the next panel, then the next taps.
    #[inline(always)]
    pub const fn next(&self, line: &Line) -> Line {
        if line.panel + 1 < self.panels.count {
            return Line { panel: line.panel + 1, ..*line };
        }
        let (from, to, [j0, j1, j2]) = (&self.taps.from, &self.taps.to, line.j);
        if j2 + line.taps < to[2] {
            self.with([j0, j1, j2 + line.taps], 0)
        } else if j1 + 1 < to[1] {
            self.with([j0, j1 + 1, from[2]], 0)
        } else {
            self.with([j0 + 1, from[1], from[2]], 0)
        }
    }

    /// The step after this one.
    #[cfg(test)]
    const fn next_step(&self, step: &Step) -> Step {
        if step.tap + 1 < step.line.taps {
            Step { tap: step.tap + 1, ..*step }
        } else {
            Step { line: self.next(&step.line), tap: 0 }
        }
    }

    /// Chunks of a line's steps that are not of zeros alone.
    #[inline(always)]
    pub const fn chunks_of(&self, line: &Line) -> u32 {
        let rest = self.chunks - line.panel * self.panels.chunks;
        if rest < self.panels.chunks { rest } else { self.panels.chunks }
    }
}

pub mod device {
    //! The device code.
    use super::*;
    use crate::implicit_gemm::ImplicitGemm;
    use crate::phased_conv::{AxisPhase, split};

    /// What a block computes: rows of some images by some output channels.
    pub struct Tile {
        /// Its phase.
        pub phase: [AxisPhase; 3],
        /// Its first row in the phase.
        pub first: u32,
        /// Its number among the tiles of all phases.
        pub slice: u32,
        /// The first image.
        pub image: u32,
        /// The group.
        pub group: u32,
        /// The first output channel in the group.
        pub column: u32,
    }

    impl Tile {
        /// Of item `index`, of `columns` output channels; [`Work::item`](crate::work::Work::item) in 32 bits.
        #[inline(always)]
        pub fn new(p: &ImplicitGemm, index: u32, columns: u32) -> Self {
            let conv = &p.conv;
            let (rest, tile) = split(index, p.work.channel_tiles);
            let (batch, slice) = split(rest, p.work.slices as u32);
            let (group, tile) = split(tile, split(p.work.channel_tiles, conv.options.groups).0);
            let (phase, place) = split(slice, conv.phase_tiles);
            Self {
                phase: conv.phase(phase),
                first: place * conv.tile_positions(),
                slice,
                image: batch * conv.images,
                group,
                column: tile * columns,
            }
        }

        /// The lines of its products: none where it has no row.
        #[inline(always)]
        pub fn lines(&self, conv: &PhasedConv, panels: Panels) -> Lines {
            let (rows, end) = (conv.rows_of(&self.phase), self.first + conv.tile_positions());
            let taps = match self.first < rows {
                true => conv.meeting(&self.phase, self.first, if end < rows { end } else { rows }),
                false => TapBox { from: [0; 3], to: [0; 3] },
            };
            Lines::new(conv, taps, panels)
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::conv_shape::{ConvOptions, ConvShape};
    use std::collections::BTreeSet;

    #[test]
    fn every_tap_and_chunk_is_a_step_once() {
        for (images, from, to, channels, parts) in
            [(1, [0, 0, 0], [2, 3, 5], 40, 2), (8, [1, 0, 2], [2, 2, 9], 16, 1), (4, [0; 3], [1, 1, 1], 100, 1)]
        {
            let shape = ConvShape { batch: 8, in_channels: channels, out_channels: 1, input: [9; 3], kernel: [9; 3] };
            let conv = PhasedConv::new(shape, ConvOptions::none(&shape), images).unwrap();
            let panels = Panels::new(&conv, parts);
            let lines = Lines::new(&conv, TapBox { from, to }, panels);
            let mut seen = BTreeSet::new();
            let mut at = Step { line: lines.first(), tap: 0 };
            while lines.has(&at.line) {
                assert!(at.line.taps <= lines.longest && (at.line.taps - 1) * images <= HALO);
                for chunk in 0..lines.chunks_of(&at.line) {
                    let [j0, j1, j2] = at.line.j;
                    let chunk = at.line.panel * panels.chunks + chunk;
                    assert!(seen.insert(([j0, j1, j2 + at.tap], chunk)));
                }
                at = lines.next_step(&at);
            }
            assert_eq!(seen.len() as u32, lines.taps.taps() * conv.chunks());
            assert_eq!(lines.steps(), lines.taps.taps() * panels.count);
        }
    }
}
