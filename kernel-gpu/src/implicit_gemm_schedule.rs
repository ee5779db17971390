//! When what a block of [`implicit_gemm`](crate::implicit_gemm) multiplies is asked for, and where it comes to.
//!
//! ```text
//! step s, first of line n     its copies are there ─ barrier ─ products started ─ the window of line n + 1 and the taps of s + 1, or s + 2, are asked for
//! ```
//!
//! Windows have buffers by turns, and taps. Each is asked for again behind the barrier that its last readers have come to: where products are
//! made at once, those of step s − 1; by warpgroups those of step s − 2, for step s − 1 may be in flight.
//!
//! What a step needs is worked out for some hundred steps at once, one a thread, and kept in shared memory: it takes divisions.

use crate::factor_panels::{ROW, input_panel_words};
use crate::implicit_gemm_stage::{Lines, Step};
use crate::phased_conv::{PhasedConv, ROWS};

/// Words of what a step needs.
const WORDS: u32 = 4;

// Buffers begin where rows of eight do.
const _: () = assert!(ROWS.is_multiple_of(8) && ROW == 32);

/// The buffers of a block, one after the other: windows, taps, and the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffers {
    /// Output channels of its tile.
    pub columns: u32,
    /// Rows of a window beyond the tile's.
    pub halo: u32,
    /// Windows.
    pub windows: u32,
    /// Buffers of taps.
    pub taps: u32,
    /// Steps of the table.
    pub run: u32,
    /// Steps that taps are asked for ahead: as far as buffers reach that nobody reads.
    pub ahead: u32,
}

impl Buffers {
    /// Of a block that makes tiles of so many output channels, by warpgroups or not. These have the products of two steps in flight, which read one
    /// window or two.
    #[inline(always)]
    pub const fn new(columns: u32, warpgroups: bool) -> Self {
        let (windows, taps) = if warpgroups { (3, 4) } else { (2, 2) };
        // As much as two blocks of a multiprocessor have room for, or three.
        let halo = if columns == 64 { 32 } else { [16, 8][warpgroups as usize] };
        let run = if columns == 64 && warpgroups { 512 } else { 128 };
        Self { columns, halo, windows, taps, run, ahead: taps - if warpgroups { 2 } else { 1 } }
    }

    /// Rows of a window: before its first there may be seven.
    #[inline(always)]
    pub const fn window_rows(&self) -> u32 {
        ROWS + self.halo + 8
    }

    /// The first row of a window.
    #[inline(always)]
    const fn window(&self, number: u32) -> u32 {
        (number % self.windows) * self.window_rows()
    }

    /// The first row of taps.
    #[inline(always)]
    const fn taps(&self, number: u32) -> u32 {
        self.windows * self.window_rows() + (number % self.taps) * self.columns
    }

    /// Bytes before the table.
    #[inline(always)]
    const fn table(&self) -> u32 {
        4 * ROW * (self.windows * self.window_rows() + self.taps * self.columns)
    }

    /// Bytes of shared memory.
    pub const fn bytes(&self) -> u32 {
        self.table() + 4 * WORDS * self.run
    }
}

/// Rows that are asked for: where they begin in memory, and their place in shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Of a window in eights of rows from panel 0 of the tile's images, of taps in panels from the tile's first.
    pub from: u32,
    /// The first row in shared memory, a multiple of eight.
    pub row: u32,
    /// Rows of a window beyond the tile's.
    pub more: u32,
}

/// What a step needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The row of shared memory that is the tile's first.
    pub row: u32,
    /// The first row of the taps there.
    pub taps: u32,
    /// Chunks that are not zeros alone.
    pub chunks: u32,
    /// Whether a line begins, whose window may be in the last group of copies.
    pub begins: bool,
    /// The window that is asked for.
    pub next_window: Option<Asked>,
    /// The taps that are asked for.
    pub next_taps: Option<Asked>,
}

/// Nothing is asked for.
const NOTHING: u32 = u32::MAX;

impl Entry {
    #[inline(always)]
    const fn to_words(self) -> [u32; WORDS as usize] {
        let none = Asked { from: NOTHING, row: 0, more: 0 };
        let window = if let Some(asked) = self.next_window { asked } else { none };
        let taps = if let Some(asked) = self.next_taps { asked } else { none };
        // Rows are multiples of eight below 2^11.
        let places = window.more | window.row << 3 | taps.row << 11 | self.chunks << 22 | (self.begins as u32) << 25;
        [self.row | self.taps << 16, window.from, taps.from, places]
    }

    #[inline(always)]
    fn from_words([rows, window, taps, places]: [u32; WORDS as usize]) -> Self {
        let asked =
            |from: u32, row: u32, more: u32| if from == NOTHING { None } else { Some(Asked { from, row, more }) };
        Self {
            row: rows & 0xffff,
            taps: rows >> 16,
            chunks: places >> 22 & 7,
            begins: places >> 25 & 1 == 1,
            next_window: asked(window, places >> 3 & 0x7f8, places & 63),
            next_taps: asked(taps, places >> 11 & 0x7f8, 0),
        }
    }
}

/// The steps of a tile.
#[derive(Clone, Copy)]
pub struct Schedule<'a> {
    conv: &'a PhasedConv,
    lines: Lines,
    buffers: Buffers,
    /// The stored row that tap 0 brings to the tile's first row.
    source: u32,
}

impl<'a> Schedule<'a> {
    /// Of a tile with these lines, to whose first row tap 0 brings the stored row `source`.
    #[inline(always)]
    pub const fn new(conv: &'a PhasedConv, lines: Lines, buffers: Buffers, source: u32) -> Self {
        Self { conv, lines, buffers, source }
    }

    /// How many there are.
    #[inline(always)]
    pub const fn steps(&self) -> u32 {
        self.lines.steps()
    }

    /// The number of the first row, in a panel, of a step's window.
    #[inline(always)]
    const fn first_row(&self, step: &Step) -> u32 {
        let (conv, lag, [j0, j1, j2]) = (self.conv, &self.conv.lag, step.j);
        let last = j2 + step.taps - 1;
        let back = conv.row([(j0 * lag[0]) as i32, (j1 * lag[1]) as i32, (last * lag[2]) as i32]);
        self.source.wrapping_sub(back as u32) * conv.images
    }

    /// Rows from a step's tap to the last one of its line.
    #[inline(always)]
    const fn reach(&self, step: &Step) -> u32 {
        (step.taps - 1 - step.tap) * self.conv.lag[2] * self.conv.images
    }

    /// The window of the line that step `number` begins.
    #[inline(always)]
    pub const fn window(&self, number: u32) -> Asked {
        let step = &self.lines.step(number);
        let first = self.first_row(step);
        let panel = step.panel as u64 * input_panel_words(self.conv) / (8 * ROW) as u64;
        let row = self.buffers.window(step.line);
        Asked { from: panel as u32 + first / 8, row, more: first % 8 + self.reach(step) }
    }

    /// The taps of step `number`.
    #[inline(always)]
    pub const fn taps(&self, number: u32, panels: u32) -> Asked {
        let Step { j: [j0, j1, j2], tap, panel, .. } = self.lines.step(number);
        let from = self.conv.tap_distance([j0, j1, j2 + tap]) * panels + panel;
        Asked { from, row: self.buffers.taps(number), more: 0 }
    }

    /// What step `number` needs.
    #[inline(always)]
    pub const fn entry(&self, number: u32, panels: u32) -> Entry {
        let (step, steps, ahead) = (self.lines.step(number), self.steps(), number + self.buffers.ahead);
        let (begins, next_line) = (step.tap == 0, number + step.taps);
        Entry {
            row: self.buffers.window(step.line) + self.first_row(&step) % 8 + self.reach(&step),
            taps: self.buffers.taps(number),
            chunks: self.lines.chunks_of(step.panel),
            begins,
            next_window: if begins && next_line < steps { Some(self.window(next_line)) } else { None },
            next_taps: if ahead < steps { Some(self.taps(ahead, panels)) } else { None },
        }
    }
}

pub mod device {
    //! The device code.
    use cuda_std::shared::Shared;
    use cuda_std::thread::{sync_threads, thread_idx_x};

    use super::*;
    use crate::implicit_gemm_copies::THREADS;

    /// The table of a run of steps.
    #[derive(Clone, Copy)]
    pub struct Table(Shared<u32>);

    impl Table {
        /// Where it is.
        #[inline(always)]
        pub fn new(buffers: Buffers) -> Self {
            Self(Shared::dynamic(buffers.table()))
        }

        /// Writes what `count` steps from `first` on need.
        ///
        /// # Safety
        /// They exist, as many as the table holds at most; all threads of the block come together.
        #[inline(always)]
        pub unsafe fn write(self, schedule: &Schedule, panels: u32, first: u32, count: u32) {
            sync_threads(); // the last run is no longer read
            let mut number = thread_idx_x();
            while number < count {
                // SAFETY: a place of the table, this thread's.
                unsafe { self.0.store_16(WORDS * number, &schedule.entry(first + number, panels).to_words()) };
                number += THREADS;
            }
            sync_threads();
        }

        /// What step `number` of the run needs.
        ///
        /// # Safety
        /// It was written.
        #[inline(always)]
        pub unsafe fn read(self, number: u32) -> Entry {
            let mut words = [0; WORDS as usize];
            // SAFETY: the caller's promise.
            unsafe { self.0.load_16(WORDS * number, &mut words) };
            Entry::from_words(words)
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::conv_shape::{ConvOptions, ConvShape};
    use crate::factor_panels::Panels;
    use crate::implicit_gemm_copies::MOST_MORE;
    use crate::phased_conv::TapBox;
    use std::vec;

    #[test]
    fn what_is_asked_for_fits() {
        for (columns, warpgroups) in [(32, false), (32, true), (64, false), (64, true)] {
            let buffers = Buffers::new(columns, warpgroups);
            // Six bits hold it.
            assert!(buffers.halo + 7 <= MOST_MORE.min(63));
            assert!(buffers.taps(buffers.taps - 1) + columns <= 1 << 11);
        }
    }

    /// Whatever is read was asked for so many groups before, and nothing in use is replaced.
    #[test]
    fn what_is_read_was_asked_for_and_is_not_replaced() {
        for (images, to, warpgroups, columns) in [
            (1, [2, 2, 5], true, 64),
            (8, [3, 3, 3], true, 64),
            (8, [2, 2, 5], true, 32),
            (8, [2, 2, 5], false, 64),
            (8, [2, 5, 1], true, 64),
            (1, [2, 2, 9], false, 32),
        ] {
            let shape = ConvShape { batch: 8, in_channels: 70, out_channels: 1, input: [9; 3], kernel: [9; 3] };
            let conv = PhasedConv::new(shape, ConvOptions::none(&shape), images).unwrap();
            let panels = Panels::new(&conv, 2);
            let buffers = Buffers::new(columns, warpgroups);
            let lines = Lines::new(&conv, TapBox { from: [0; 3], to }, panels, buffers.halo);
            let window_rows = buffers.window_rows();
            let schedule = Schedule::new(&conv, lines, buffers, 400);
            // What was asked for, how many rows, and in which step's group.
            let mut asked = vec![(schedule.window(0), ROWS + schedule.window(0).more, -i64::from(buffers.ahead))];
            for number in 0..buffers.ahead.min(schedule.steps()) {
                let group = i64::from(number) - i64::from(buffers.ahead);
                asked.push((schedule.taps(number, panels.count), columns, group));
            }
            let (mut read, mut line) = (vec![], 0);
            for number in 0..schedule.steps() {
                let entry = schedule.entry(number, panels.count);
                assert_eq!(Entry::from_words(entry.to_words()), entry);
                if entry.begins {
                    line = number;
                }
                // Groups that may be on their way: the last, or where a line begins none.
                let waited = if entry.begins || buffers.ahead == 1 { 0 } else { 1 };
                let there = |row: u32, rows: u32, from: u32| {
                    let held =
                        |&&(asked, held, _): &&(Asked, u32, i64)| asked.row <= row && row + rows <= asked.row + held;
                    asked
                        .iter()
                        .rev()
                        .find(held)
                        .is_some_and(|&(asked, _, group)| asked.from == from && group < i64::from(number) - waited)
                };
                assert!(there(entry.row, ROWS, schedule.window(line).from), "{number}: {entry:?}");
                assert!(there(entry.taps, columns, schedule.taps(number, panels.count).from), "{number}: {entry:?}");
                read.push([(entry.row / window_rows * window_rows, window_rows), (entry.taps, columns)]);
                let in_use = &read[read.len().saturating_sub(if warpgroups { 2 } else { 1 })..];
                for (asked_for, rows, held) in
                    [(entry.next_window, window_rows, ROWS), (entry.next_taps, columns, columns)]
                {
                    let Some(new) = asked_for else { continue };
                    assert!(in_use.iter().flatten().all(|&(row, held)| new.row + rows <= row || row + held <= new.row));
                    assert!(new.row.is_multiple_of(8) && held + new.more <= rows);
                    asked.push((new, held + new.more, i64::from(number)));
                }
            }
        }
    }
}
