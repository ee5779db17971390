//! What a block of [`line_gram`](crate::line_gram) works on at once, and how it gets into shared memory.
//!
//! An item is a line, a pass of lags and two blocks of channel pairs, whose rows are those of at most three tiles of 16 input
//! channels. It is worked through in **stages** of 16 images and eight slots, in strict lines of four with their low words:
//!
//! ```text
//! [plane of 4][tile of 3][ci of 16][16 images] pairs of slots, 8 bytes each
//! plane    0        1        2        3
//! plain    pair 0   pair 1   pair 2   pair 3
//! strict   pair 0   pair 1   their low words
//! ```
//!
//! Beside them lie the coefficients of the stage's pairs of slots.
//!
//! There are two buffers, so that a stage is copied (`cp.async`) while the one before is computed. Images past B and channels
//! past Cin are zeros.
//!
//! **Bank conflicts.** A matrix of `ldmatrix` is eight rows of 16 bytes, two images: rows of 144 bytes put them on different banks.
//! Copies write four planes of eight images: the planes' distance puts two of them on each half of the banks.

use crate::spectrum::TILE;

/// Images of a stage.
pub const IMAGES: u32 = 16;
/// Words of a row: 16 pairs of slots, and 16 bytes.
pub const ROW: u32 = 2 * IMAGES + 4;
/// Tiles of input channels of two blocks.
pub const TILES: u32 = 3;
/// Words of a plane.
pub const PLANE: u32 = TILES * TILE * ROW + 16;
/// Planes of a stage.
pub const PLANES: u32 = 4;
/// Where an item's target is kept.
const TARGET: u32 = 2 * PLANES * PLANE * 4;
/// Where the coefficients of the first stage are, and how many there may be: of four pairs four cosines and four sines each.
const COEFFICIENTS: u32 = TARGET + 16;
const STAGE_COEFFICIENTS: u32 = 4 * 8;
/// Bytes of shared memory: two stages, a target, and the coefficients of both stages.
pub const SHARED_BYTES: u32 = COEFFICIENTS + 2 * STAGE_COEFFICIENTS * 4;

pub mod device {
    //! The device code.
    use cuda_std::async_copy::{commit_group, copy, copy_padded, wait_all};
    use cuda_std::convert::{F16, F16x2};
    use cuda_std::global::Global;
    use cuda_std::matrix::ldmatrix_x4;
    use cuda_std::shared::Shared;
    use cuda_std::thread::{lane_index, thread_idx_x, warp_index};
    use cuda_std::unroll;

    use super::*;
    use crate::line_gram::{LineGram, line_in_turn};
    use crate::opaque::opaque;
    use crate::spectrum::{EMPTY, NOT_FINITE, div_rem};

    /// Where an item's sums go.
    #[derive(Clone, Copy)]
    pub struct Target {
        /// Among the launch's lines.
        pub line: u32,
        /// Its mirror image among them; past the last if there is none.
        image: u32,
        /// The pass of lags.
        pub pass: u32,
        /// The launch's first block of the item; the second, if there is one, follows.
        first: u32,
    }

    impl Target {
        /// The launch's number of the item's block 0 or 1, if it is there.
        #[inline(always)]
        pub fn block(&self, p: &LineGram, which: u32) -> Option<u32> {
            if self.first + which < p.blocks { Some(self.first + which) } else { None }
        }

        /// Its mirror image among the launch's lines, if it is there.
        #[inline(always)]
        pub fn image(&self, p: &LineGram) -> Option<u32> {
            if self.image < p.lines { Some(self.image) } else { None }
        }

        /// Keeps it in shared memory: the products need the registers.
        ///
        /// # Safety
        /// One thread calls this; others ask for it behind a barrier.
        #[inline(always)]
        pub unsafe fn keep(&self) {
            // SAFETY: 16 bytes behind the stages.
            unsafe { Shared::<u32>::dynamic(TARGET).store_16(0, &[self.line, self.image, self.pass, self.first]) };
        }

        /// What was kept.
        ///
        /// # Safety
        /// There was a barrier since.
        #[inline(always)]
        pub unsafe fn kept() -> Self {
            let mut words = [0; 4];
            // SAFETY: the caller's promise.
            unsafe { Shared::<u32>::dynamic(TARGET).load_16(0, &mut words) };
            let [line, image, pass, first] = words;
            Self { line, image, pass, first }
        }
    }

    /// What a block of threads has to do at once.
    pub struct Item {
        /// Where its sums go.
        pub target: Target,
        /// Whether the line has low words.
        pub strict: bool,
        /// Whether its sums follow from those of its mirror image, an earlier line of the launch, whose block stores both.
        pub left_out: bool,
        /// The tiles of input channels in shared memory, and how many of them are there.
        tiles: [u32; TILES as usize],
        held: u32,
        /// Which of them are the rows (I) and columns (J) of each block.
        sides: [[u32; 2]; 2],
        /// The line's words.
        high: Global<u32>,
        low: Global<u32>,
    }

    impl Item {
        /// Item `number` of the launch: units of blocks run first, then passes, then lines.
        #[inline(always)]
        pub fn new(p: &LineGram, lags: u32, number: u32) -> Self {
            let (s, grid) = (&p.spectrum, p.grid());
            let (rest, unit) = div_rem(number, p.units());
            let (turn, pass) = div_rem(rest, p.passes(lags));
            let line = line_in_turn(s, p.first_line, p.lines, turn);
            let first = if p.ways == 2 { unit } else { 2 * unit };
            let (i0, j0) = grid.block(p.first_block + first);
            // Neighbours share their column J, or the second one is the next column's diagonal: three tiles at most.
            let (i1, j1) =
                if p.ways != 2 && first + 1 < p.blocks { grid.block(p.first_block + first + 1) } else { (i0, j0) };
            let known = |tile: u32, tiles: [u32; 3], held: u32| match tile {
                _ if tile == tiles[0] => 0,
                _ if held > 1 && tile == tiles[1] => 1,
                _ if held > 2 && tile == tiles[2] => 2,
                _ => held,
            };
            let (mut tiles, mut held) = ([i0, 0, 0], 1);
            let mut places = [0; 3];
            unroll!(next < 3, {
                let tile = [j0, i1, j1][next];
                places[next] = known(tile, tiles, held);
                if places[next] == held {
                    tiles = if held == 1 { [tiles[0], tile, 0] } else { [tiles[0], tiles[1], tile] };
                    held += 1;
                }
            });
            let (fo, fr) = s.frequencies(line);
            let (strict, low) = match s.strict_index(fo, fr) {
                Some(index) => (true, p.low.offset(index as u64 * p.line_words())),
                None => (false, p.high),
            };
            let high = p.high.offset(line as u64 * p.line_words());
            let sides = [[0, places[0]], [places[1], places[2]]];
            // Where the mirror image is among the launch's lines; past them, if it is not there.
            let image = match s.mirror_image(line) {
                Some(image) => image.wrapping_sub(p.first_line),
                None => u32::MAX,
            };
            let target = Target { line: line - p.first_line, image, pass, first };
            let left_out = image < target.line;
            Self { target, strict, left_out, tiles, held, sides, high, low }
        }

        /// Where this lane's rows of the left and right half of block `which` lie.
        #[inline(always)]
        pub fn rows(&self, which: u32, half: u32) -> Rows {
            let [i, j] = if which == 0 { self.sides[0] } else { self.sides[1] };
            let (row, matrix) = (lane_index() % 8, lane_index() / 8);
            let left = (i * TILE + 8 * (matrix % 2) + row) * ROW + 4 * (matrix / 2);
            Rows { left, right: (j * TILE + 8 * half + row) * ROW + 4 * matrix }
        }
    }

    /// Where the rows of the matrices that this lane names start in a plane.
    pub struct Rows {
        left: u32,
        right: u32,
    }

    /// A place in an item's work: the first slot and image of a stage.
    #[derive(Clone, Copy)]
    pub struct Place {
        slot: u32,
        image: u32,
    }

    impl Place {
        /// The first stage.
        pub const FIRST: Self = Self { slot: 0, image: 0 };

        /// The number of the stage's first pair of slots in the line.
        #[inline(always)]
        pub fn first_pair(&self) -> u32 {
            self.slot / 2
        }
    }

    /// What of a stage a thread copies: one plane, one image, and of each tile every second channel.
    struct Share {
        plane: u32,
        image: u32,
        /// The first of its channels in a tile: 0 or 1.
        channel: u32,
    }

    impl Share {
        /// Found anew, and not kept meanwhile: the products need the registers.
        #[inline(always)]
        fn mine() -> Self {
            let thread = opaque(thread_idx_x());
            let row = thread / PLANES;
            Self { plane: thread % PLANES, image: row % IMAGES, channel: row / IMAGES }
        }

        /// Its place in a buffer.
        #[inline(always)]
        fn place(&self) -> u32 {
            self.plane * PLANE + self.channel * ROW + 2 * self.image
        }
    }

    /// An item's stages.
    pub struct Stages<'a, const STRICT: bool> {
        p: &'a LineGram,
        item: &'a Item,
        /// The line's words of this thread's share.
        words: Global<u32>,
    }

    impl<'a, const STRICT: bool> Stages<'a, STRICT> {
        /// Pairs of slots of a stage.
        pub const PAIRS: u32 = if STRICT { 2 } else { 4 };

        /// Which pairs of slots of a stage are this warp's: all, or half of them.
        #[inline(always)]
        pub fn pairs(ways: u32) -> (u32, u32) {
            let each = if ways == 2 { Self::PAIRS / 2 } else { Self::PAIRS };
            let first = if ways == 2 { warp_index() / 2 * each } else { 0 };
            (first, first + each)
        }

        /// Of the item, for this thread.
        #[inline(always)]
        pub fn new(p: &'a LineGram, item: &'a Item) -> Self {
            let share = Share::mine();
            let low = STRICT && share.plane >= 2;
            let slot = if low { 2 * share.plane - 4 } else { 2 * share.plane };
            let words = if low { item.low } else { item.high };
            Self { p, item, words: words.offset(p.place(share.image, slot)) }
        }

        /// False past the last stage.
        #[inline(always)]
        pub fn has(&self, place: &Place) -> bool {
            place.slot < self.p.spectrum.slots()
        }

        /// The stage after this: the next images, then the next slots.
        #[inline(always)]
        pub fn next(&self, mut place: Place) -> Place {
            place.image += IMAGES;
            if place.image >= self.p.spectrum.shape.batch {
                place.image = 0;
                place.slot += 2 * Self::PAIRS;
            }
            place
        }

        #[inline(always)]
        fn buffer(buffer: u32) -> Shared<u32> {
            Shared::dynamic(0).offset(buffer * PLANES * PLANE)
        }

        /// Where a stage's coefficients are.
        #[inline(always)]
        fn coefficients(buffer: u32) -> Shared<f32> {
            Shared::dynamic(COEFFICIENTS).offset(buffer * STAGE_COEFFICIENTS)
        }

        /// Starts this thread's copies of a stage, and of its coefficients, `BOTH` a pair of slots.
        ///
        /// # Safety
        /// The stage exists, and the table; nobody reads or copies into the buffer.
        #[inline(always)]
        pub unsafe fn bring<const BOTH: usize>(&self, table: Global<f32>, stage: &Place, buffer: u32) {
            let place = 4 * opaque(thread_idx_x());
            if place < Self::PAIRS * BOTH as u32 {
                let from = table.offset((stage.first_pair() * BOTH as u32 + place) as u64);
                // SAFETY: the rows of the stage's pairs, on a 16-byte boundary.
                unsafe { copy::<16, _>(Self::coefficients(buffer).offset(place), from) };
            }
            let (shape, share) = (&self.p.spectrum.shape, Share::mine());
            // Opaque: else its multiples are kept in registers that the products need.
            let (image, pitch) = (stage.image + share.image, opaque(8 * shape.batch as u64));
            let words = self.words.offset(self.p.place(stage.image, stage.slot));
            let mut to = Self::buffer(buffer).offset(share.place());
            unroll!(held < 3, {
                if (held as u32) < self.item.held {
                    let channel = self.item.tiles[held] * TILE + share.channel;
                    let from = words.offset(channel as u64 * pitch);
                    // Channels that exist, of this image: channel, channel + 2, …
                    let exist = if image < shape.batch { shape.in_channels.saturating_sub(channel) } else { 0 };
                    let mut from = from;
                    if exist > 14 {
                        unroll!(i < 8, {
                            if i != 0 {
                                from = Global::from_address(opaque(from.offset(2 * pitch).address()));
                            }
                            // SAFETY: ci < Cin, b < B, two slots of the line, at an even word; the place is in the buffer.
                            unsafe { copy::<8, _>(to.offset(2 * i as u32 * ROW), from) };
                        });
                    } else {
                        let mut i = 0;
                        while i < 8 {
                            let taken = if 2 * i < exist { 8 } else { 0 };
                            // SAFETY: as above, or nothing is read.
                            unsafe { copy_padded::<8, _>(to.offset(2 * i * ROW), from, taken) };
                            from = from.offset(2 * pitch);
                            i += 1;
                        }
                    }
                }
                to = to.offset(TILE * ROW);
            });
            commit_group();
        }

        /// Waits for this thread's copies of a stage, and gives rows their channel's scale.
        ///
        /// # Safety
        /// This thread brought the stage to this buffer, and nobody else reads it before a barrier.
        #[inline(always)]
        pub unsafe fn arrived(&self, stage: &Place, buffer: u32, uniform: bool) {
            wait_all();
            if uniform {
                return;
            }
            let (shape, share) = (&self.p.spectrum.shape, Share::mine());
            let image = stage.image + share.image;
            let place = Self::buffer(buffer).offset(share.place());
            let mut row = 0;
            while row < self.item.held * TILE / 2 {
                let held = row / (TILE / 2);
                let tile = if held == 0 {
                    self.item.tiles[0]
                } else if held == 1 {
                    self.item.tiles[1]
                } else {
                    self.item.tiles[2]
                };
                let channel = tile * TILE + share.channel + row % (TILE / 2) * 2;
                if channel < shape.in_channels && image < shape.batch {
                    // SAFETY: ci < Cin, b < B; the words are this thread's copies.
                    unsafe {
                        let e = self.p.row_exponent.load(channel as u64 * shape.batch as u64 + image as u64);
                        let scale = F16x2::from_bits(scale(e, self.p.channel_exponent.load(channel as u64)));
                        let at = place.offset(2 * row * ROW);
                        unroll!(i < 2, {
                            let word = F16x2::from_bits(at.load(i as u32)).mul(scale).to_bits();
                            at.store(i as u32, if e == NOT_FINITE { 0 } else { word });
                        });
                    }
                }
                row += 1;
            }
        }

        /// The coefficients of a pair of slots.
        ///
        /// # Safety
        /// The stage is complete.
        #[inline(always)]
        pub unsafe fn row<const BOTH: usize>(&self, buffer: u32, pair: u32) -> [f32; BOTH] {
            let mut row = [0f32; BOTH];
            unroll!(i < 2, {
                if 4 * i < BOTH {
                    // SAFETY: four of the stage's numbers, on a 16-byte boundary.
                    unsafe { Self::coefficients(buffer).load_16(pair * BOTH as u32 + 4 * i as u32, &mut row[4 * i..]) };
                }
            });
            row
        }

        /// A pair of slots of a stage.
        #[inline(always)]
        pub fn words(&self, buffer: u32, pair: u32) -> Words {
            Words { plane: Self::buffer(buffer).offset(pair * PLANE) }
        }
    }

    /// 2^(e − E) twice, as f16, 1 for empty rows. Of a channel that is not finite there is nothing.
    #[inline(always)]
    fn scale(e: i32, channel: i32) -> u32 {
        let shift = if e == EMPTY { 0 } else { e - channel };
        let half = F16::from_f32(if shift < -40 { 0.0 } else { f32::from_bits(((127 + shift) as u32) << 23) });
        F16x2::from_halves(half, half).to_bits()
    }

    /// The words of all rows of one pair of slots, or of their low parts.
    pub struct Words {
        plane: Shared<u32>,
    }

    impl Words {
        /// The low words of the same pair, in a strict stage.
        #[inline(always)]
        pub fn low(&self) -> Words {
            Words { plane: self.plane.offset(2 * PLANE) }
        }

        /// The left side of a product: 16 rows by both slots of four images.
        ///
        /// # Safety
        /// The plane is complete; all lanes of the warp come together.
        #[inline(always)]
        pub unsafe fn left(&self, rows: &Rows, step: u32) -> [u32; 4] {
            // SAFETY: the caller's promise; rows of the plane, at 16-byte boundaries.
            unsafe { ldmatrix_x4(self.plane.offset(rows.left + 8 * step)) }
        }

        /// The right sides of two products: eight rows by both slots of eight images.
        ///
        /// # Safety
        /// As [`Self::left`].
        #[inline(always)]
        pub unsafe fn right(&self, rows: &Rows, steps: u32) -> [[u32; 2]; 2] {
            // SAFETY: as above.
            let [b0, b1, b2, b3] = unsafe { ldmatrix_x4(self.plane.offset(rows.right + 16 * steps)) };
            [[b0, b1], [b2, b3]]
        }
    }
}
