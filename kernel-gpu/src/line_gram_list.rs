//! Which blocks of channel pairs a block of threads of [`line_gram`](crate::line_gram) takes, and which rows those need.
//!
//! All lines' blocks are numbered, strict lines first, each line's one after another; a block of threads takes the next four,
//! of one line or of several, and one pass of lags. Where a launch has all blocks of a Gram matrix, no place is left empty between
//! lines. Four blocks need at most five tiles of 16 channels, of any lines together:
//!
//! ```text
//! four channel tiles, ten blocks a line (I, J)        tiles
//! line 0    00 10 20 30                               0 1 2 3
//!           11 21 31 22                               1 2 3
//!           32 33   line 1   00 10                    2 3, 0 1
//! line 1    20 30 11 21                               0 1 2 3
//!           31 22 32 33                               1 2 3
//! ```
//!
//! In a range of blocks, which may start and end anywhere, each line starts anew.

use crate::conv_shape::div_rem;
use crate::line_gram::{LineGram, line_in_turn, strict_turns};

/// Blocks of channel pairs that a block of threads takes.
pub const GROUP: u32 = 4;
/// Tiles of input channels that they need at most.
pub const TILES: u32 = GROUP + 1;
/// Words of the list in shared memory.
pub const LIST_WORDS: u32 = 6 * TILES + 4 * GROUP + 4;

/// What a block of threads has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// Whether its lines have low words.
    pub strict: bool,
    /// The pass of lags.
    pub pass: u32,
    /// Its first block among those of the strict lines, or of the others.
    first: u64,
}

impl LineGram {
    /// Numbers that a line's blocks take.
    #[inline(always)]
    const fn numbers(&self) -> u64 {
        let whole = self.first_block == 0 && self.blocks == self.spectrum.grid().blocks();
        (if whole { self.blocks } else { self.blocks.next_multiple_of(GROUP) }) as u64
    }

    /// How many groups the strict lines' blocks are, and the others'.
    #[inline(always)]
    const fn groups(&self) -> [u64; 2] {
        let strict = strict_turns(&self.spectrum, self.first_line, self.lines) as u64;
        let (plain, numbers) = (self.lines as u64 - strict, self.numbers());
        [(strict * numbers).div_ceil(GROUP as u64), (plain * numbers).div_ceil(GROUP as u64)]
    }

    /// Shares of the work, each a block's.
    #[inline(always)]
    pub const fn items(&self, lags: u32) -> u64 {
        let [strict, plain] = self.groups();
        (strict + plain) * self.passes(lags) as u64
    }

    /// Item `number` of the launch: passes run first, then groups.
    #[inline(always)]
    pub const fn item(&self, lags: u32, number: u64) -> Item {
        let [strict, _] = self.groups();
        let (group, pass) = div_rem(number, self.passes(lags) as u64);
        let (is_strict, pass) = (group < strict, pass as u32);
        Item { strict: is_strict, pass, first: GROUP as u64 * if is_strict { group } else { group - strict } }
    }

    /// Block `which` of an item, as (line, block of the launch), and whether it is there: else it is the item's first.
    #[inline(always)]
    pub const fn member(&self, item: &Item, which: u32) -> ((u32, u32), bool) {
        let strict = strict_turns(&self.spectrum, self.first_line, self.lines);
        let (before, lines) = if item.strict { (0, strict) } else { (strict, self.lines - strict) };
        let (mut turn, mut block) = div_rem(item.first + which as u64, self.numbers());
        let exists = turn < lines as u64 && block < self.blocks as u64;
        if !exists {
            (turn, block) = div_rem(item.first, self.numbers());
        }
        let line = line_in_turn(&self.spectrum, self.first_line, self.lines, before + turn as u32);
        ((line, block as u32), exists)
    }
}

pub mod device {
    //! The device code.
    use cuda_std::global::Global;
    use cuda_std::shared::Shared;
    use cuda_std::thread::lane_index;
    use cuda_std::warp::{ballot, match_any};

    use super::*;
    use crate::spectrum::TILE;

    /// The list of an item, in shared memory:
    ///
    /// ```text
    /// [tile of 5, there or not] address of the high words of its first channel, of the low ones (64 bits each), first channel, channels
    /// [block of 4] line of the launch, block of the launch or u32::MAX, left and right tile of the list
    /// tiles, pass of lags, whether no row needs scaling, whether all tiles have 16 channels
    /// ```
    #[derive(Clone, Copy)]
    pub struct List {
        start: u32,
    }

    /// A block of the list.
    pub struct Member {
        /// Its line, among the launch's.
        pub line: u32,
        /// Its number among the launch's blocks, if it is there.
        pub block: Option<u32>,
        /// Its tiles, left (I) and right (J), in the list.
        pub sides: [u32; 2],
    }

    impl List {
        /// In shared memory from that word on, an even one.
        #[inline(always)]
        pub fn at(start: u32) -> Self {
            Self { start }
        }

        #[inline(always)]
        fn word(&self, index: u32) -> Shared<u32> {
            Shared::dynamic(4 * (self.start + index))
        }

        #[inline(always)]
        fn address(&self, tile: u32, low: bool) -> Shared<u64> {
            Shared::dynamic(4 * (self.start + 6 * tile) + if low { 8 } else { 0 })
        }

        /// Writes the list.
        ///
        /// # Safety
        /// One warp calls, all lanes together; nobody else accesses the list before the next barrier.
        #[inline(always)]
        pub unsafe fn write(&self, p: &LineGram, item: &Item) {
            let (s, grid, lane) = (&p.spectrum, p.spectrum.grid(), lane_index());
            // A lane has a side of a block; those past the eighth do it again.
            let (which, side) = (lane / 2 % GROUP, lane % 2);
            let ((line, block), exists) = p.member(item, which);
            let (i, j) = grid.block(p.first_block + block);
            let tile = if side == 0 { i } else { j };
            let same = match_any(tile) & match_any(line) & ((1 << (2 * GROUP)) - 1);
            let first = same.trailing_zeros();
            let firsts = ballot(lane == first);
            let place = (firsts & ((1 << first) - 1)).count_ones();
            // SAFETY: the caller's promise; each word has one lane. `scale_exponent` is two numbers.
            unsafe {
                if lane == first {
                    let row = (8 * TILE * s.shape.batch) as u64 * tile as u64;
                    let (fo, fr) = s.frequencies(line);
                    let low = s.strict_index(fo, fr).unwrap_or(0);
                    let address =
                        |words: Global<u32>, line: u32| words.offset(line as u64 * s.line_words() + row).address();
                    self.address(place, false).store(0, address(p.high, line));
                    self.address(place, true).store(0, address(p.low, low));
                    let channel = tile * TILE;
                    let left = s.shape.in_channels - channel;
                    self.word(6 * place + 4).store(0, channel);
                    self.word(6 * place + 5).store(0, if left < TILE { left } else { TILE });
                }
                // Those that are not there have an address too: so they can all be loaded.
                let unused = lane.wrapping_sub(2 * GROUP);
                if unused >= firsts.count_ones() && unused < TILES {
                    self.address(unused, false).store(0, p.high.address());
                    self.address(unused, true).store(0, p.low.address());
                }
                let member = 6 * TILES + 4 * which;
                if lane < 2 * GROUP {
                    self.word(member + 2 + side).store(0, place);
                    if side == 0 {
                        self.word(member).store(0, line - p.first_line);
                        self.word(member).store(1, if exists { block } else { u32::MAX });
                    }
                }
                if lane == 0 {
                    let rest = self.word(6 * TILES + 4 * GROUP);
                    rest.store(0, firsts.count_ones());
                    rest.store(1, item.pass);
                    rest.store(2, p.scale_exponent.load(1) as u32);
                    rest.store(3, s.shape.in_channels.is_multiple_of(TILE) as u32);
                }
            }
        }

        /// Tiles.
        ///
        /// # Safety
        /// The list is complete, here and below.
        #[inline(always)]
        pub unsafe fn held(&self) -> u32 {
            // SAFETY: the caller's promise.
            unsafe { self.word(6 * TILES + 4 * GROUP).load(0) }
        }

        /// The pass of lags.
        ///
        /// # Safety
        /// As [`Self::held`].
        #[inline(always)]
        pub unsafe fn pass(&self) -> u32 {
            // SAFETY: the caller's promise.
            unsafe { self.word(6 * TILES + 4 * GROUP).load(1) }
        }

        /// Whether no row needs scaling.
        ///
        /// # Safety
        /// As [`Self::held`].
        #[inline(always)]
        pub unsafe fn is_uniform(&self) -> bool {
            // SAFETY: the caller's promise.
            unsafe { self.word(6 * TILES + 4 * GROUP).load(2) != 0 }
        }

        /// Whether all tiles have 16 channels.
        ///
        /// # Safety
        /// As [`Self::held`].
        #[inline(always)]
        pub unsafe fn is_whole(&self) -> bool {
            // SAFETY: the caller's promise.
            unsafe { self.word(6 * TILES + 4 * GROUP).load(3) != 0 }
        }

        /// The words of the first channel's first row of a tile, or their low parts.
        ///
        /// # Safety
        /// As [`Self::held`]; the list has the tile.
        #[inline(always)]
        pub unsafe fn words(&self, tile: u32, low: bool) -> Global<u32> {
            // SAFETY: the caller's promise.
            Global::from_address(unsafe { self.address(tile, low).load(0) })
        }

        /// A tile's first channel.
        ///
        /// # Safety
        /// As [`Self::words`].
        #[inline(always)]
        pub unsafe fn first_channel(&self, tile: u32) -> u32 {
            // SAFETY: the caller's promise.
            unsafe { self.word(6 * tile + 4).load(0) }
        }

        /// How many channels of a tile there are.
        ///
        /// # Safety
        /// As [`Self::words`].
        #[inline(always)]
        pub unsafe fn channels(&self, tile: u32) -> u32 {
            // SAFETY: the caller's promise.
            unsafe { self.word(6 * tile + 5).load(0) }
        }

        /// Block `which`.
        ///
        /// # Safety
        /// As [`Self::held`].
        #[inline(always)]
        pub unsafe fn member(&self, which: u32) -> Member {
            let word = self.word(6 * TILES + 4 * which);
            // SAFETY: the caller's promise.
            let [line, block, left, right] = unsafe { [word.load(0), word.load(1), word.load(2), word.load(3)] };
            Member { line, block: if block == u32::MAX { None } else { Some(block) }, sides: [left, right] }
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::collections::HashSet;

    use cuda_std::global::{Global, GlobalMut};

    use super::*;
    use crate::conv_shape::ConvShape;
    use crate::spectrum::Spectrum;

    fn launch(tiles: u32, all_strict: u32, lines: (u32, u32), blocks: (u32, u32)) -> LineGram {
        let shape =
            ConvShape { batch: 1, in_channels: 16 * tiles, out_channels: 1, input: [5, 6, 2], kernel: [1, 1, 6] };
        LineGram {
            high: Global::null(),
            low: Global::null(),
            row_exponent: Global::null(),
            channel_exponent: Global::null(),
            scale_exponent: Global::null(),
            coefficients: Global::null(),
            sums: GlobalMut::null(),
            spectrum: Spectrum { shape, all_strict },
            first_line: lines.0,
            lines: lines.1,
            first_block: blocks.0,
            blocks: blocks.1,
        }
    }

    #[test]
    fn every_block_of_every_line_is_in_one_item_of_at_most_five_tiles() {
        for tiles in 1..12 {
            let all = tiles * (tiles + 1) / 2;
            for blocks in [(0, all), (0, all.min(3)), (all / 3, all - all / 3), (all - 1, 1)] {
                for (all_strict, lines) in [(0, (0, 20)), (0, (3, 9)), (1, (2, 5)), (0, (7, 1))] {
                    let p = launch(tiles, all_strict, lines, blocks);
                    let mut seen = HashSet::new();
                    for number in 0..p.items(4) {
                        let item = p.item(4, number);
                        let mut needed = HashSet::new();
                        for which in 0..GROUP {
                            let ((line, block), exists) = p.member(&item, which);
                            let (fo, fr) = p.spectrum.frequencies(line);
                            assert_eq!(p.spectrum.strict_index(fo, fr).is_some(), item.strict);
                            assert!(line >= lines.0 && line < lines.0 + lines.1 && block < blocks.1);
                            assert!(!exists || seen.insert((item.pass, line, block)));
                            let (i, j) = p.spectrum.grid().block(p.first_block + block);
                            needed.extend([(line, i), (line, j)]);
                        }
                        assert!(needed.len() <= TILES as usize, "{tiles} {blocks:?} {number}");
                    }
                    assert_eq!(seen.len() as u32, 2 * lines.1 * blocks.1);
                }
            }
        }
    }
}
