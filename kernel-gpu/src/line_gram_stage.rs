//! What a block of [`line_gram`](crate::line_gram) works on at once, and how it gets into shared memory.
//!
//! A [list](crate::line_gram_list) names the tiles of 16 input channels that a block of threads needs, of one line or of several. Their
//! rows come in **stages** of 16 images and eight slots, in strict lines of four slots with their low words:
//!
//! ```text
//! [plane of 8][tile of 5][ci of 16][16 images] words, then the stage's coefficients
//! plane    0        1        2        3        4        5        6        7
//! plain    slot 0   slot 1   slot 2   slot 3   slot 4   slot 5   slot 6   slot 7
//! strict   slot 0   slot 1   slot 2   slot 3   their low words
//! ```
//!
//! There are two buffers, so that a stage is copied (`cp.async`) while the one before is computed. Images past B and channels
//! past Cin are zeros.
//!
//! **Bank conflicts.** A matrix of `ldmatrix` is eight rows (channels) of four images, 16 bytes. Of channel ci the four images q lie
//! q xor ci/2 mod 4 times 16 bytes into its 64, so that eight channels' are on different banks. A warp's copies write eight planes
//! of four images: planes are 16 bytes further apart than a multiple of all banks.

use crate::line_gram_list::{LIST_WORDS, TILES};
use crate::spectrum::TILE;

/// Images of a stage.
pub const IMAGES: u32 = 16;
/// Slots of a stage, or slots and their low words.
pub const PLANES: u32 = 8;
/// Words of a plane.
pub const PLANE: u32 = TILES * TILE * IMAGES + 4;
/// Words of a stage: its planes, and cos and sin of up to four lags at four pairs of slots.
pub const STAGE: u32 = PLANES * PLANE + 32;
/// Bytes of shared memory: two stages, and the list.
pub const SHARED_BYTES: u32 = (2 * STAGE + LIST_WORDS) * 4;

pub mod device {
    //! The device code.
    use cuda_std::async_copy::{commit_group, copy, copy_padded, wait_all};
    use cuda_std::convert::{F16, F16x2};
    use cuda_std::global::Global;
    use cuda_std::matrix::ldmatrix_x4;
    use cuda_std::shared::Shared;
    use cuda_std::thread::{lane_index, thread_idx_x};
    use cuda_std::unroll;

    use super::*;
    use crate::line_gram::LineGram;
    use crate::line_gram_list::device::List;
    use crate::opaque::opaque;
    use crate::spectrum::{EMPTY, div_rem};

    /// Where the rows of the matrices that this lane names start in a plane, left and right: in one register between products.
    #[derive(Clone, Copy)]
    pub struct PackedRows(u32);

    /// The same, unpacked.
    pub struct Rows {
        left: [u32; 2],
        right: u32,
    }

    impl PackedRows {
        /// Of the left and the right tile in shared memory, and of half `half` of the right one.
        #[inline(always)]
        pub fn new([left, right]: [u32; 2], half: u32) -> Self {
            const { assert!(PLANE < 1 << 16) };
            let (row, matrix) = (lane_index() % 8, lane_index() / 8);
            // Rows eight further on are swapped as these.
            let swap = row / 2 % 4;
            let left = (left * TILE + 8 * (matrix % 2) + row) * IMAGES + 4 * ((matrix / 2) ^ swap);
            let right = (right * TILE + 8 * half + row) * IMAGES + 4 * (matrix ^ swap);
            Self(left | right << 16)
        }

        /// Unpacked where it is needed.
        #[inline(always)]
        pub fn rows(&self) -> Rows {
            let packed = opaque(self.0);
            let left = packed & 0xffff;
            // Images eight further on are eight words away, swapped or not.
            Rows { left: [left, left ^ 8], right: packed >> 16 }
        }
    }

    /// The first slot and image of a stage.
    struct Place {
        slot: u32,
        image: u32,
    }

    /// What of a stage a thread copies: one plane, one image, and of each tile half of the channels.
    struct Share {
        plane: u32,
        image: u32,
        /// The first of its channels in a tile: 0 or 8.
        channel: u32,
    }

    impl Share {
        /// Found anew, and not kept meanwhile: the products need the registers.
        #[inline(always)]
        fn mine() -> Self {
            let thread = opaque(thread_idx_x());
            let row = thread / PLANES;
            Self { plane: thread % PLANES, image: row % IMAGES, channel: 8 * (row / IMAGES) }
        }

        /// The place of its first channel in a buffer, but for the swapped images.
        #[inline(always)]
        fn place(&self) -> u32 {
            self.plane * PLANE + self.channel * IMAGES + self.image % 4
        }

        /// From there to the `i`-th of its channels in a tile.
        #[inline(always)]
        const fn channel(&self, i: u32) -> u32 {
            i * IMAGES + 4 * ((self.image / 4) ^ (i / 2 % 4))
        }
    }

    /// An item's stages, for `LAGS` lags.
    pub struct Stages<'a, const LAGS: usize, const STRICT: bool> {
        p: &'a LineGram,
        list: List,
    }

    impl<'a, const LAGS: usize, const STRICT: bool> Stages<'a, LAGS, STRICT> {
        /// Groups of four slots of a stage.
        pub const QUADS: u32 = if STRICT { 1 } else { 2 };

        /// Of the item whose list that is.
        #[inline(always)]
        pub fn new(p: &'a LineGram, list: List) -> Self {
            Self { p, list }
        }

        /// Stages of one group of slots: counted anew, and not kept meanwhile.
        #[inline(always)]
        fn steps(&self) -> u32 {
            // `div_ceil` would take a register more.
            (opaque(self.p.spectrum.shape.batch) + (IMAGES - 1)) >> IMAGES.ilog2()
        }

        /// How many there are.
        #[inline(always)]
        pub fn count(&self) -> u32 {
            opaque(self.p.spectrum.slots()) / (4 * Self::QUADS) * self.steps()
        }

        /// Whether stage `stage` starts with fp = 0.
        #[inline(always)]
        pub fn is_first(&self, stage: u32) -> bool {
            stage * IMAGES < self.p.spectrum.shape.batch
        }

        /// The place of stage `stage`: images run first, then slots.
        #[inline(always)]
        fn place(&self, stage: u32) -> Place {
            let steps = self.steps();
            let (group, step) = if steps == 1 { (stage, 0) } else { div_rem(stage, steps) };
            Place { slot: 4 * Self::QUADS * group, image: IMAGES * step }
        }

        /// The first word of the buffer of a stage.
        #[inline(always)]
        fn buffer(stage: u32) -> Shared<u32> {
            Shared::dynamic(0).offset(stage % 2 * STAGE)
        }

        /// Starts this thread's copies of stage `number`.
        ///
        /// # Safety
        /// The stage exists, the list is complete, and nobody reads or copies into its buffer.
        #[inline(always)]
        pub unsafe fn bring(&self, number: u32) {
            let stage = self.place(number);
            // Opaque: what follows from the extents is not kept meanwhile.
            let (mut s, share) = (self.p.spectrum, Share::mine());
            (s.shape.batch, s.shape.in_channels) = (opaque(s.shape.batch), opaque(s.shape.in_channels));
            let (batch, image) = (s.shape.batch, stage.image + share.image);
            // Words from one channel to the next.
            let pitch = (8 * batch) as u64;
            let low = STRICT && share.plane >= 4;
            let slot = if low { share.plane - 4 } else { share.plane };
            let within = s.place(0, image, stage.slot) + (slot + 8 * batch * share.channel) as u64;
            let to = Self::buffer(number).offset(share.place());
            // SAFETY: the list is complete.
            let (count, whole) = unsafe { (self.list.held(), self.list.is_whole()) };
            if whole && batch == IMAGES {
                // Every place is a number from one of these, for two in eight of the thread's channels.
                let places = [0, 1, 2, 3].map(|i| Shared::<u32>::offset(to, 4 * ((share.image / 4) ^ i)));
                // All at once, and from the middle on, so that the distances are short: fewer instructions.
                let half = 4 * pitch;
                // SAFETY: the list has an address for each tile that there may be.
                let tiles = [0, 1, 2, 3, 4].map(|held| unsafe { self.list.words(held, low) }.offset(within + half));
                unroll!(held < 5, {
                    if (held as u32) < count {
                        let middle = opaque(tiles[held].address());
                        unroll!(i < 8, {
                            let to = places[i / 2 % 4].offset((held as u32 * TILE + i as u32) * IMAGES);
                            let bytes = (32 * IMAGES as u64).wrapping_mul((i as u64).wrapping_sub(4));
                            // SAFETY: ci < Cin, b < B, a slot of the line; the place is in the buffer.
                            unsafe { copy::<4, _>(to, Global::from_address(middle.wrapping_add(bytes))) };
                        });
                    }
                });
            } else {
                let mut held = 0;
                while held < count {
                    // SAFETY: a tile of the list.
                    let (tile, exist) = unsafe { (self.list.words(held, low), self.list.channels(held)) };
                    let (mut from, to) = (tile.offset(within), to.offset(held * TILE * IMAGES));
                    let full = exist == TILE && stage.image + IMAGES <= batch;
                    // Opaque: else all eight addresses are computed first, and registers run short; and the second is to remain
                    // a loop.
                    if full {
                        unroll!(i < 8, {
                            // SAFETY: as above.
                            unsafe { copy::<4, _>(to.offset(share.channel(i as u32)), from) };
                            from = Global::from_address(opaque(from.offset(pitch).address()));
                        });
                    } else {
                        let mut i = 0;
                        while i < 8 {
                            let taken = if image < batch && share.channel + i < exist { 4 } else { 0 };
                            // SAFETY: as above, or nothing is read.
                            unsafe { copy_padded::<4, _>(to.offset(share.channel(i)), from, taken) };
                            from = from.offset(pitch);
                            i = opaque(i + 1);
                        }
                    }
                    held += 1;
                }
            }
            // Cos and sin of each pair of slots.
            let (thread, words) = (opaque(thread_idx_x()), 4 * Self::QUADS * LAGS as u32);
            if 4 * thread < words {
                // SAFETY: the list is complete.
                let row = unsafe { self.list.pass() } as u64 * opaque(s.slots()) as u64 + stage.slot as u64;
                let from = self.p.coefficients.offset(row * LAGS as u64 + (4 * thread) as u64);
                // SAFETY: the table has the rows of all slots, at multiples of 16 bytes; the place is in the buffer.
                unsafe { copy::<16, _>(Self::rows(number).offset(4 * thread), from) };
            }
            commit_group();
        }

        /// Waits for this thread's copies of stage `number`, and gives rows their channel's scale.
        ///
        /// # Safety
        /// This thread brought the stage, and nobody else reads it before a barrier.
        #[inline(always)]
        pub unsafe fn arrived(&self, number: u32) {
            wait_all();
            // SAFETY: the list is complete, for the first stage was brought by it.
            if unsafe { self.list.is_uniform() } {
                return;
            }
            let (shape, share) = (&self.p.spectrum.shape, Share::mine());
            let image = self.place(number).image + share.image;
            let mut place = Self::buffer(number).offset(share.place());
            let mut held = 0;
            // SAFETY: as above.
            while held < unsafe { self.list.held() } {
                // SAFETY: a tile of the list.
                let (first, exist) = unsafe { (self.list.first_channel(held), self.list.channels(held)) };
                let mut i = 0;
                while i < 8 && share.channel + i < exist && image < shape.batch {
                    let channel = (first + share.channel + i) as u64;
                    // SAFETY: ci < Cin, b < B; the word is this thread's copy.
                    unsafe {
                        let e = self.p.row_exponent.load(channel * shape.batch as u64 + image as u64);
                        let scale = F16x2::from_bits(scale(e, self.p.channel_exponent.load(channel)));
                        let at = place.offset(share.channel(i));
                        at.store(0, F16x2::from_bits(at.load(0)).mul(scale).to_bits());
                    }
                    i = opaque(i + 1);
                }
                place = place.offset(TILE * IMAGES);
                held += 1;
            }
        }

        /// Four slots of a stage.
        #[inline(always)]
        pub fn quad(&self, stage: u32, quad: u32) -> Quad {
            Quad { planes: Self::buffer(stage).offset(4 * quad * PLANE) }
        }

        /// The coefficients of a stage's pairs of slots.
        #[inline(always)]
        fn rows(stage: u32) -> Shared<f32> {
            Shared::dynamic(4 * (stage % 2 * STAGE + PLANES * PLANE))
        }

        /// LAGS cosines, then LAGS sines, at pair of slots `pair` of a stage.
        ///
        /// # Safety
        /// The stage is complete.
        #[inline(always)]
        pub unsafe fn coefficients(&self, stage: u32, pair: u32) -> [f32; 8] {
            let row = Self::rows(stage).offset(2 * LAGS as u32 * pair);
            let mut values = [0.0; 8];
            // SAFETY: the caller's promise; a row is 16 or 32 bytes.
            unsafe {
                row.load_16(0, &mut values[..4]);
                if LAGS == 4 {
                    row.load_16(4, &mut values[4..]);
                }
            }
            values
        }
    }

    /// 2^(e − E) twice, as f16, 1 for empty rows.
    #[inline(always)]
    fn scale(e: i32, channel: i32) -> u32 {
        let shift = if e == EMPTY { 0 } else { e - channel };
        let half = F16::from_f32(if shift < -40 { 0.0 } else { f32::from_bits(((127 + shift) as u32) << 23) });
        F16x2::from_halves(half, half).to_bits()
    }

    /// The words of all rows of four slots; in a strict stage their low parts are the four slots after.
    pub struct Quad {
        planes: Shared<u32>,
    }

    impl Quad {
        /// The left side of a product: 16 rows by eight images of plane `plane`, the first ones or the others.
        ///
        /// # Safety
        /// The plane is complete; all lanes of the warp come together.
        #[inline(always)]
        pub unsafe fn left(&self, rows: &Rows, plane: u32, step: usize) -> [u32; 4] {
            // SAFETY: the caller's promise; rows of the plane, at 16-byte boundaries.
            unsafe { ldmatrix_x4(self.planes.offset(rows.left[step]).offset(plane * PLANE)) }
        }

        /// The right sides of two products: eight rows by all images of plane `plane`.
        ///
        /// # Safety
        /// As [`Self::left`].
        #[inline(always)]
        pub unsafe fn right(&self, rows: &Rows, plane: u32) -> [[u32; 2]; 2] {
            // SAFETY: as above.
            let [b0, b1, b2, b3] = unsafe { ldmatrix_x4(self.planes.offset(rows.right).offset(plane * PLANE)) };
            [[b0, b1], [b2, b3]]
        }
    }
}
