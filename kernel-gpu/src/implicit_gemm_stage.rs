//! What a block of [`implicit_gemm`](crate::implicit_gemm) multiplies next, and how it gets into shared memory.
//!
//! A tile meets a box of taps; its products are walked **line** by line: taps of one (j0, j1) that follow each other along the last axis, and as many
//! chunks of input channels as make a step. All taps of a line read the same rows, each `lag` positions further back:
//!
//! ```text
//! window of a line   rows (tile's first − reach … tile's last), 128 bytes each: four planes      copied once a line
//! taps of a step     rows (the block's output channels), 128 bytes each                          copied once a step
//! ```
//!
//! So a row of the input goes to shared memory once for up to all taps of a line. Both have two buffers: a step is copied
//! (`cp.async`) while the one before is computed. Rows outside of the input, images past B and channels past the group's are zeros.
//!
//! **Bank conflicts.** Piece p (16 bytes) of row r lies at p XOR r mod 8: `ldmatrix` reads one piece of eight neighbouring rows, from all banks. It is also
//! how [`wgmma`](cuda_std::wgmma::Rows) has them, whose buffers begin at multiples of 1024 bytes.

use crate::phased_conv::{PhasedConv, ROWS, TapBox};

/// Rows of a window beyond the tile's.
pub const HALO: u32 = 16;
/// Rows of a window.
pub const WINDOW: u32 = ROWS + HALO;
/// Words of a row: four planes.
pub const ROW: u32 = 32;
/// Threads of a block.
pub const THREADS: u32 = 128;

/// Rows that the block's threads copy at once.
const AT_ONCE: u32 = THREADS / 8;
// A window is copied eight times at once, and its halo once.
const _: () = assert!(ROWS == 8 * AT_ONCE && HALO == AT_ONCE);
// Buffers behind a window, and behind taps of 32 channels or 64, begin where rows of eight do.
const _: () = assert!(WINDOW.is_multiple_of(8) && ROW == 32);

/// Bytes of shared memory for that many output channels.
pub const fn shared_bytes(columns: u32) -> u32 {
    2 * 4 * ROW * (WINDOW + columns)
}

/// The word at which piece `piece` of a row lies.
#[inline(always)]
pub const fn place(row: u32, piece: u32) -> u32 {
    row * ROW + ((piece ^ (row % 8)) << 2)
}

/// The lines of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lines {
    taps: TapBox,
    /// Taps of a line, at most.
    pub longest: u32,
    chunks: u32,
    /// Chunks of a step.
    step: u32,
}

/// Taps j to j + `taps` − 1 along the last axis, and chunks from `chunk` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// (j0, j1, j2) of its first tap.
    pub j: [u32; 3],
    /// How many taps it has.
    pub taps: u32,
    /// Its first chunk.
    pub chunk: u32,
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
    /// Of a tile that meets those taps, with `step` chunks a step.
    #[inline(always)]
    pub const fn new(conv: &PhasedConv, taps: TapBox, step: u32) -> Self {
        let apart = conv.lag[2] * conv.images;
        let longest = match HALO.checked_div(apart) {
            Some(more) => 1 + more,
            None => 1,
        };
        Self { taps, longest, chunks: conv.chunks(), step }
    }

    /// Steps of all lines.
    #[inline(always)]
    pub const fn steps(&self) -> u32 {
        self.taps.taps() * self.chunks.div_ceil(self.step)
    }

    /// The first line; with no steps it has no meaning.
    #[inline(always)]
    pub const fn first(&self) -> Line {
        self.with(self.taps.from, 0)
    }

    #[inline(always)]
    const fn with(&self, j: [u32; 3], chunk: u32) -> Line {
        let rest = self.taps.to[2] - j[2];
        Line { j, taps: if rest < self.longest { rest } else { self.longest }, chunk }
    }

    /// Whether it is one, and not past the last.
    #[cfg(test)]
    pub const fn has(&self, line: &Line) -> bool {
        line.j[0] < self.taps.to[0]
    }

    /// The line after this one: the next chunks, then the next taps.
    #[inline(always)]
    pub const fn next(&self, line: &Line) -> Line {
        if line.chunk + self.step < self.chunks {
            return Line { chunk: line.chunk + self.step, ..*line };
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

    /// Chunks of a line's steps.
    #[inline(always)]
    pub const fn chunks_of(&self, line: &Line) -> u32 {
        let rest = self.chunks - line.chunk;
        if rest < self.step { rest } else { self.step }
    }
}

pub mod device {
    //! The device code.
    use cuda_std::async_copy::copy_padded_through_l2;
    use cuda_std::global::Global;
    use cuda_std::shared::Shared;
    use cuda_std::thread::thread_idx_x;
    use cuda_std::unroll;

    use super::*;
    use crate::implicit_gemm::ImplicitGemm;
    use crate::opaque::opaque;
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

        /// The lines of its products, with `step` chunks a step: none where it has no row.
        #[inline(always)]
        pub fn lines(&self, conv: &PhasedConv, step: u32) -> Lines {
            let (rows, end) = (conv.rows_of(&self.phase), self.first + conv.tile_positions());
            let taps = match self.first < rows {
                true => conv.meeting(&self.phase, self.first, if end < rows { end } else { rows }),
                false => TapBox { from: [0; 3], to: [0; 3] },
            };
            Lines::new(conv, taps, step)
        }
    }

    /// A buffer of windows, 0 or 1.
    #[inline(always)]
    pub fn window(buffer: u32) -> Shared<u32> {
        Shared::dynamic(buffer * (4 * ROW * WINDOW))
    }

    /// A buffer of taps for `COLUMNS` output channels.
    #[inline(always)]
    pub fn taps<const COLUMNS: u32>(buffer: u32) -> Shared<u32> {
        Shared::dynamic(4 * ROW * (2 * WINDOW + buffer * COLUMNS))
    }

    /// This thread's share of all copies: one piece of rows t/8, t/8 + 16, …
    pub struct Copies<'a> {
        p: &'a ImplicitGemm,
        /// Bytes of a chunk.
        chunk: u32,
        /// The piece of row 0 of this thread's image, or 0 where there is no such image.
        input: u64,
        /// The row that tap 0 brings to its first row.
        source: i32,
        /// The piece of tap 0 of its first output channel, and that channel's number in the group.
        kernel: u64,
        column: u32,
        /// The phase's first tap.
        first_tap: u32,
    }

    /// This thread's piece, and the first of its rows. Found anew, and not kept meanwhile: the products need the registers.
    #[inline(always)]
    fn mine() -> (u32, u32) {
        let thread = opaque(thread_idx_x());
        (thread % 8, thread / 8)
    }

    impl<'a> Copies<'a> {
        /// Of a tile whose chunks have `parts` planes.
        #[inline(always)]
        pub fn new(p: &'a ImplicitGemm, tile: &Tile, parts: u32) -> Self {
            let (conv, phase) = (&p.conv, &tile.phase);
            let ((piece, row), chunk) = (mine(), 32 * parts);
            let image = tile.image + row % conv.images;
            let start = (tile.group * conv.chunks() * chunk + 16 * piece) as u64;
            let volume = conv.volume_rows() as u64 * row_bytes(conv, chunk);
            let input = p.rows.address() + image as u64 * volume + start;
            let column = tile.column + row;
            let channel = (tile.group * conv.out_channels + column) as u64;
            let kernel = p.taps.address() + channel * channel_bytes(conv, chunk) + 16 * piece as u64;
            let origin = conv.row([phase[0].origin, phase[1].origin, phase[2].origin]);
            let source = origin.wrapping_add(tile.first as i32).wrapping_add(split(row, conv.images).0 as i32);
            let input = if image < conv.shape.batch { input } else { 0 };
            Self { p, chunk, input, source, kernel, column, first_tap: conv.tap(phase, [0; 3]) }
        }

        /// Starts copying a line's window.
        ///
        /// # Safety
        /// The line is one of the tile's; nobody reads or copies into the buffer.
        #[inline(always)]
        pub unsafe fn bring_window(&self, lines: &Lines, line: &Line, buffer: u32) {
            let (conv, (piece, row)) = (&self.p.conv, mine());
            let (lag, last) = (&conv.lag, line.j[2] + line.taps - 1);
            let back = conv.row([line.j[0] * lag[0], line.j[1] * lag[1], last * lag[2]].map(|j| j as i32));
            let (pitch, apart) = (row_bytes(conv, self.chunk), AT_ONCE >> conv.images.trailing_zeros());
            let mut source = self.source.wrapping_sub(back);
            let mut from = self.input.wrapping_add((line.chunk * self.chunk) as u64);
            from = from.wrapping_add((source as i64).wrapping_mul(pitch as i64) as u64);
            let to = window(buffer).offset(place(row, piece));
            let there = self.input != 0 && 16 * piece < lines.chunks_of(line) * self.chunk;
            let copy = |i: u32, source: i32, from: u64| {
                let taken = if there && (source as u32) < conv.volume_rows() { 16 } else { 0 };
                // SAFETY: a piece of a row of an image, or nothing is read; a row of the window.
                unsafe {
                    copy_padded_through_l2(to.offset(i * AT_ONCE * ROW), Global::<u32>::from_address(from), taken)
                };
            };
            unroll!(i < 8, {
                copy(i as u32, source, from);
                source += apart as i32;
                from = opaque(from.wrapping_add(apart as u64 * pitch));
            });
            if row < (line.taps - 1) * lag[2] * conv.images {
                copy(8, source, from);
            }
        }

        /// This thread's pieces of a step's taps.
        #[inline(always)]
        pub fn taps_of(&self, lines: &Lines, step: &Step) -> TapPieces {
            let (conv, line, (piece, _)) = (&self.p.conv, &step.line, mine());
            let [j0, j1, j2] = line.j;
            let tap = self.first_tap + conv.tap_distance([j0, j1, j2 + step.tap]);
            let at = (tap as u64 * conv.chunks() as u64 + line.chunk as u64) * self.chunk as u64;
            let there = 16 * piece < lines.chunks_of(line) * self.chunk;
            // Of a piece that is not there no channel is copied.
            TapPieces {
                from: self.kernel.wrapping_add(at),
                column: if there { self.column } else { conv.out_channels },
            }
        }

        /// Bytes from a tap to the next of its line.
        #[inline(always)]
        pub fn tap_bytes(&self) -> u64 {
            let conv = &self.p.conv;
            conv.tap_step[2] as u64 * (conv.chunks() * self.chunk) as u64
        }

        /// Starts copying a step's taps.
        ///
        /// # Safety
        /// The step is one of the tile's; nobody reads or copies into the buffer.
        #[inline(always)]
        pub unsafe fn bring_taps<const COLUMNS: u32>(&self, pieces: &TapPieces, buffer: u32) {
            let (conv, (piece, row)) = (&self.p.conv, mine());
            let to = taps::<COLUMNS>(buffer).offset(place(row, piece));
            let pitch = AT_ONCE as u64 * channel_bytes(conv, self.chunk);
            let mut from = pieces.from;
            unroll!(i < 4, {
                if (i as u32) * AT_ONCE < COLUMNS {
                    let taken = if pieces.column + i as u32 * AT_ONCE < conv.out_channels { 16 } else { 0 };
                    if i != 0 {
                        from = opaque(from.wrapping_add(pitch));
                    }
                    // SAFETY: a piece of a tap of an output channel of the group, or nothing is read; row < COLUMNS.
                    unsafe {
                        let from = Global::<u32>::from_address(from);
                        copy_padded_through_l2(to.offset(i as u32 * AT_ONCE * ROW), from, taken);
                    }
                }
            });
        }
    }

    /// This thread's pieces of a tap: that of its first output channel, and of every sixteenth from there on.
    #[derive(Clone, Copy)]
    pub struct TapPieces {
        from: u64,
        /// The channel's number, or how many there are if none is to be copied.
        column: u32,
    }

    impl TapPieces {
        /// Those of the tap so many bytes further on.
        #[inline(always)]
        pub fn further(self, bytes: u64) -> Self {
            Self { from: self.from.wrapping_add(bytes), ..self }
        }
    }

    /// From one row of the input to the next.
    #[inline(always)]
    fn row_bytes(conv: &PhasedConv, chunk: u32) -> u64 {
        conv.row_chunks() as u64 * chunk as u64
    }

    /// From one output channel's taps to the next's.
    #[inline(always)]
    fn channel_bytes(conv: &PhasedConv, chunk: u32) -> u64 {
        conv.shape.taps() as u64 * conv.chunks() as u64 * chunk as u64
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
        for (images, from, to, channels, step) in
            [(1, [0, 0, 0], [2, 3, 5], 40, 2), (8, [1, 0, 2], [2, 2, 9], 16, 4), (4, [0; 3], [1, 1, 1], 100, 4)]
        {
            let shape = ConvShape { batch: 8, in_channels: channels, out_channels: 1, input: [9; 3], kernel: [9; 3] };
            let conv = PhasedConv::new(shape, ConvOptions::none(&shape), images).unwrap();
            let lines = Lines::new(&conv, TapBox { from, to }, step);
            let mut seen = BTreeSet::new();
            let mut at = Step { line: lines.first(), tap: 0 };
            while lines.has(&at.line) {
                assert!(at.line.taps <= lines.longest && (at.line.taps - 1) * images <= HALO);
                for chunk in 0..lines.chunks_of(&at.line) {
                    let [j0, j1, j2] = at.line.j;
                    assert!(seen.insert(([j0, j1, j2 + at.tap], at.line.chunk + chunk)));
                }
                at = lines.next_step(&at);
            }
            assert_eq!(seen.len() as u32, lines.taps.taps() * conv.chunks());
            assert_eq!(lines.steps(), lines.taps.taps() * conv.chunks().div_ceil(step));
        }
    }

    #[test]
    fn eight_neighbouring_rows_read_a_piece_from_all_banks() {
        for first in 0..9 {
            for piece in 0..8 {
                let banks: BTreeSet<_> = (first..first + 8).map(|row| place(row, piece) % 32).collect();
                assert_eq!(banks.len(), 8);
            }
        }
    }
}
