//! What a block of [`implicit_gemm`](crate::implicit_gemm) multiplies, step by step.
//!
//! A tile meets a box of taps; its products are walked **line** by line: taps of one (j0, j1) that follow each other along the last axis, and one
//! [panel](crate::factor_panels) of input channels. All taps of a line read the same rows, each `lag` positions further back:
//!
//! ```text
//! window of a line   rows (tile's first − reach … tile's last)
//! taps of a step     rows (the block's output channels)
//! ```
//!
//! So a row of the input is brought to shared memory once for up to all taps of a line. Lines of one (j0, j1) follow each other: all panels of
//! the first taps, then of the next.

use crate::factor_panels::Panels;
use crate::phased_conv::{PhasedConv, TapBox, split};

/// The lines of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lines {
    taps: TapBox,
    /// Taps of a line, at most.
    longest: u32,
    chunks: u32,
    panels: Panels,
}

/// A tap of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The line's number.
    pub line: u32,
    /// (j0, j1, j2) of its first tap.
    pub j: [u32; 3],
    /// How many taps it has.
    pub taps: u32,
    /// Its panel.
    pub panel: u32,
    /// The tap's number in it.
    pub tap: u32,
}

impl Lines {
    /// Of a tile that meets those taps, where a window has `halo` rows beyond the tile's.
    #[inline(always)]
    pub const fn new(conv: &PhasedConv, taps: TapBox, panels: Panels, halo: u32) -> Self {
        let apart = conv.lag[2] * conv.images;
        let longest = match halo.checked_div(apart) {
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

    /// A step.
    #[inline(always)]
    pub const fn step(&self, number: u32) -> Step {
        let (from, to, panels, longest) = (&self.taps.from, &self.taps.to, self.panels.count, self.longest);
        let (n1, n2) = (to[1] - from[1], to[2] - from[2]);
        let (pair, rest) = split(number, n2 * panels);
        let (j0, j1) = split(pair, n1);
        let (segment, rest) = split(rest, longest * panels);
        let first = segment * longest;
        let taps = if n2 - first < longest { n2 - first } else { longest };
        let (panel, tap) = split(rest, taps);
        let line = (pair * split(n2 + longest - 1, longest).0 + segment) * panels + panel;
        Step { line, j: [from[0] + j0, from[1] + j1, from[2] + first], taps, panel, tap }
    }

    /// Chunks of a panel that are not of zeros alone.
    #[inline(always)]
    pub const fn chunks_of(&self, panel: u32) -> u32 {
        let rest = self.chunks - panel * self.panels.chunks;
        if rest < self.panels.chunks { rest } else { self.panels.chunks }
    }
}

pub mod device {
    //! The device code.
    use super::*;
    use crate::implicit_gemm::ImplicitGemm;
    use crate::phased_conv::AxisPhase;

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

        /// The stored row that the phase's tap 0 brings to its first row, perhaps one that does not exist.
        #[inline(always)]
        pub fn source(&self, conv: &PhasedConv) -> u32 {
            let origin = conv.row([self.phase[0].origin, self.phase[1].origin, self.phase[2].origin]);
            (origin as u32).wrapping_add(self.first).wrapping_add(conv.margin[0])
        }

        /// The lines of its products: none where it has no row.
        #[inline(always)]
        pub fn lines(&self, conv: &PhasedConv, panels: Panels, halo: u32) -> Lines {
            let (rows, end) = (conv.rows_of(&self.phase), self.first + conv.tile_positions());
            let taps = match self.first < rows {
                true => conv.meeting(&self.phase, self.first, if end < rows { end } else { rows }),
                false => TapBox { from: [0; 3], to: [0; 3] },
            };
            Lines::new(conv, taps, panels, halo)
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
            let lines = Lines::new(&conv, TapBox { from, to }, panels, 16);
            assert_eq!(lines.steps(), lines.taps.taps() * panels.count);
            let mut seen = BTreeSet::new();
            let mut last = None;
            for number in 0..lines.steps() {
                let step = lines.step(number);
                assert!(step.tap < step.taps && step.taps <= lines.longest && (step.taps - 1) * images <= 16);
                // A line's taps follow each other, and lines are numbered in order.
                let place = (step.line, step.tap);
                assert!(last.is_none_or(|(line, tap)| place == (line, tap + 1) || place == (line + 1, 0)), "{step:?}");
                last = Some(place);
                for chunk in 0..lines.chunks_of(step.panel) {
                    let [j0, j1, j2] = step.j;
                    let chunk = step.panel * panels.chunks + chunk;
                    assert!(seen.insert(([j0, j1, j2 + step.tap], chunk)));
                }
            }
            assert_eq!(seen.len() as u32, lines.taps.taps() * conv.chunks());
            assert_eq!(last.map(|(_, tap)| tap + 1), Some(lines.step(lines.steps() - 1).taps));
        }
    }
}
