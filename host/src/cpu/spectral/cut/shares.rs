//! Who sums which energies: a task has some lines of frequencies, and some vectors of output channels.
//!
//! Energies lie as [group of vectors][line, in whole groups][c of the group]: those of a task one after the other.

use std::ops::Range;

use super::{Cut, Order};
use crate::cpu::spectral::geometry::saturating;

/// Bytes of products that a task sums at once: they stay in a level 2 cache beside what they are made of.
const PRODUCTS_BYTES: usize = 256 << 10;
/// Vectors of output channels of such a task at most: each line's spectra are read once for all of them.
const VECTORS: usize = 4;
/// Tasks that the energies are worth being cut into: a few for each of many threads.
const TASKS: usize = 64;

impl Cut {
    /// Lines and vectors of output channels that a task has at once at most.
    pub(super) fn share(&self) -> (usize, usize) {
        let (lines, vectors) = (self.lines(), self.padded_outputs() / self.lanes);
        // As even as they come.
        let parts = |len: usize, most: usize| len.div_ceil(len.div_ceil(most.clamp(1, len)));
        match self.order {
            // All vectors read the same Ĝ.
            Order::Gram => (1, parts(vectors, vectors / TASKS.div_ceil(lines))),
            Order::Product => {
                let of_line = saturating(&[self.geometry.stored(), self.samples, 2, self.lanes, self.size]);
                let vectors_at_once = parts(vectors, (PRODUCTS_BYTES / of_line).min(VECTORS));
                let fitting = PRODUCTS_BYTES / of_line.saturating_mul(vectors_at_once);
                let tasks = saturating(&[lines, vectors.div_ceil(vectors_at_once)]);
                (parts(lines, fitting.min(tasks / TASKS)), vectors_at_once)
            }
        }
    }

    /// Points of the axes at which the taps are transformed: of the grid, or frequencies.
    pub fn points(&self) -> [usize; 3] {
        let axes = [self.geometry.outer, self.geometry.middle, self.geometry.inner];
        axes.map(|axis| if self.order == Order::Gram { axis.grid() } else { axis.n })
    }

    /// Lines of them along the inner axis.
    pub fn lines(&self) -> usize {
        let [outer, middle, _] = self.points();
        saturating(&[outer, middle])
    }

    /// Tasks that sum energies: for each group of vectors of output channels, all groups of lines.
    pub fn tasks(&self) -> usize {
        let groups = (self.padded_outputs() / self.lanes).div_ceil(self.vectors_at_once);
        saturating(&[groups, self.line_groups()])
    }

    /// Groups of lines.
    fn line_groups(&self) -> usize {
        self.lines().div_ceil(self.lines_at_once)
    }

    /// The lines of a task, and its vectors of output channels.
    pub fn task(&self, task: usize) -> (Range<usize>, Range<usize>) {
        let part = |index: usize, step: usize, len: usize| index * step..len.min((index + 1) * step);
        let (group, lines) = (task / self.line_groups(), task % self.line_groups());
        let vectors = self.padded_outputs() / self.lanes;
        (part(lines, self.lines_at_once, self.lines()), part(group, self.vectors_at_once, vectors))
    }

    /// Energies of a task: [line][c].
    pub fn of_task_len(&self) -> usize {
        saturating(&[self.lines_at_once, self.vectors_at_once, self.lanes])
    }

    /// An output channel's share of all tasks' energies, in order.
    pub fn of_channel<'a>(&self, energies: &'a [f64], c: usize) -> impl Iterator<Item = &'a f64> {
        let (width, lines) = (self.vectors_at_once * self.lanes, self.line_groups() * self.lines_at_once);
        energies[c / width * lines * width..][..lines * width][c % width..].iter().step_by(width)
    }
}
