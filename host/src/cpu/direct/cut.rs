//! How the convolution is cut: into blocks of channels, lines and blocks of columns, and those into shares.

use std::ops::Range;

use super::operations;
use crate::problem::{Phase, Problem};

/// Output channels of a block at most.
const CHANNELS: usize = 256;
/// Columns of a block at most; with `ROWS` it makes a block of X 1 MiB, and so is z's.
const COLUMNS: usize = 512;
/// Shares of the blocks at most: enough to keep any machine's cores busy, few enough to merge at no cost.
const SHARES: usize = 1024;
/// Multiplications of a share at least, unless all have fewer: what its scratch and its task cost is little beside them.
const OF_SHARE: f64 = (1 << 18) as f64;

/// How a problem is cut: by its shape alone, so that every sum is taken in the same order everywhere.
pub struct Cut {
    /// Of a group.
    pub channel_blocks: usize,
    /// Of depths, and of heights.
    pub planes: [Vec<Phase>; 2],
    /// Positions of their phases.
    pub lines: [usize; 2],
    pub widths: Vec<Columns>,
    /// Column blocks of all lines.
    pub blocks: usize,
    pub shares: usize,
    /// Positions of no phase.
    pub unmet: usize,
}

/// The columns of a line that belong to one phase of its widths: (b, q).
pub struct Columns {
    pub phase: Phase,
    /// B·(positions of the phase).
    pub count: usize,
    pub blocks: usize,
    /// Column blocks, of all lines, of the phases before.
    pub blocks_before: usize,
    /// Taps of the phases before.
    pub taps_before: usize,
}

impl Cut {
    pub fn of(problem: &Problem) -> Cut {
        let [depth, height, width] = problem.axes();
        let planes = [depth, height].map(|axis| axis.phases().collect::<Vec<_>>());
        let positions = |phases: &[Phase]| phases.iter().map(|phase| phase.count).sum::<usize>();
        let lines = [positions(&planes[0]), positions(&planes[1])];
        let (mut widths, mut blocks, mut taps_before, mut met) = (Vec::new(), 0, 0, 0);
        for phase in width.phases() {
            let count = problem.batch() * phase.count;
            let columns = Columns { phase, count, blocks: count.div_ceil(COLUMNS), blocks_before: blocks, taps_before };
            blocks += lines[0] * lines[1] * columns.blocks;
            taps_before += phase.taps;
            met += lines[0] * lines[1] * phase.count;
            widths.push(columns);
        }
        Cut {
            channel_blocks: problem.group_out_channels().div_ceil(CHANNELS),
            planes,
            lines,
            widths,
            blocks,
            shares: blocks.min(SHARES).min((operations(problem) / problem.groups() as f64 / OF_SHARE) as usize + 1),
            unmet: problem.positions() - met,
        }
    }

    /// Columns of the largest block.
    pub fn widest(&self) -> usize {
        self.widths.iter().map(|columns| columns.count.div_ceil(columns.blocks)).max().unwrap_or(0)
    }

    /// Block `index` of all: the phase of its widths, its line, and its number among the line's blocks.
    pub fn block(&self, index: usize) -> (&Columns, [usize; 2], usize) {
        let columns = self.widths.iter().rev().find(|columns| columns.blocks_before <= index);
        let columns = columns.expect("the first phase has no blocks before it");
        let index = index - columns.blocks_before;
        let (line, block) = (index / columns.blocks, index % columns.blocks);
        (columns, [line / self.lines[1], line % self.lines[1]], block)
    }
}

/// The taps that meet one position of an axis.
pub struct Meeting<'a> {
    pub phase: &'a Phase,
    /// The position's number in its phase.
    pub q: usize,
    /// Taps of the phases before.
    pub before: usize,
}

impl<'a> Meeting<'a> {
    /// With position number `at` of all phases.
    pub fn at(phases: &'a [Phase], mut at: usize) -> Option<Meeting<'a>> {
        let mut before = 0;
        for phase in phases {
            if at < phase.count {
                return Some(Meeting { phase, q: at, before });
            }
            at -= phase.count;
            before += phase.taps;
        }
        None
    }

    /// Places of the taps, in the order of the phases.
    pub fn places(&self) -> Range<usize> {
        let taps = self.phase.meeting(self.q);
        self.before + taps.start..self.before + taps.end
    }

    /// The input element that the tap at `place` brings.
    pub fn source(&self, place: usize) -> usize {
        self.phase.source(self.q, place - self.before)
    }
}

/// Part `index` of `parts` of 0..len, all nearly equal.
pub fn part(len: usize, parts: usize, index: usize) -> Range<usize> {
    let at = |i: usize| (len as u128 * i as u128 / parts as u128) as usize;
    at(index)..at(index + 1)
}
