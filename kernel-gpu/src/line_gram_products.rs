//! The products of [`line_gram`](crate::line_gram): the Gram matrix of a pair of slots, over 16 images and 16 × 8 channel pairs of a warp.
//!
//! ```text
//! G₊ ± G₋ [i,j] = Σ_b X_{+fp}[b,i]·conj X_{+fp}[b,j] ± Σ_b X_{−fp}[b,i]·conj X_{−fp}[b,j]
//! Re a·conj b = (re, im)·(re, im)      Im a·conj b = (re, im)·(−im, re)
//! ```
//!
//! A word of the spectrum, (re, im), is two neighbouring factors of `mma.m16n8k16`: with x as it is on both sides
//! the sum over k is Re G, with (−im, re) on the right it is Im G. The eight words of a product are those of +fp and of −fp of four
//! images: as they are, the sum is that of G₊ + G₋, with those of −fp negated on the right, of G₊ − G₋. In strict lines, and for fp = 0 in the
//! others, a second word holds what rounding left of the first; products are high·high + high·low + low·high.
//!
//! **Accumulation.** f32, in the tensor cores, over 16 images.

pub mod device {
    //! The device code.
    use cuda_std::bits::permute_bytes;
    use cuda_std::mma::m16n8k16_f16;
    use cuda_std::thread::lane_index;
    use cuda_std::unroll;
    use cuda_std::warp::shuffle_xor;

    use crate::line_gram_stage::device::{Rows, Words};

    /// Re, Im of G at 16 × 8 pairs of channels, in the accumulators' layout.
    pub type Pairs = [f32; 8];

    /// G₊ + G₋ and G₊ − G₋ of a pair of slots.
    pub struct Gram {
        /// G₊ + G₋.
        pub sum: Pairs,
        /// G₊ − G₋.
        pub difference: Pairs,
    }

    impl Gram {
        const ZERO: Self = Self { sum: [0.0; 8], difference: [0.0; 8] };

        /// Of ±fp in one word each.
        ///
        /// # Safety
        /// The words are complete; all lanes of the warp come together, here and below.
        #[inline(always)]
        pub unsafe fn plain(words: &Words, rows: &Rows) -> Self {
            let (mut gram, signs) = (Self::ZERO, signs());
            unroll!(two < 2, {
                // SAFETY: the caller's promise.
                let b = unsafe { words.right(rows, two as u32) };
                unroll!(one < 2, {
                    // SAFETY: the caller's promise.
                    gram.multiply(unsafe { words.left(rows, 2 * two as u32 + one as u32) }, b[one], signs);
                });
            });
            gram
        }

        /// Of fp = 0 in a line that is not strict: the second slot is what rounding left of the first. The sum is all of G, and
        /// the difference meets sines of 0.
        ///
        /// # Safety
        /// As [`Self::plain`].
        #[inline(always)]
        pub unsafe fn plane(words: &Words, rows: &Rows) -> Self {
            let (mut gram, second) = (Self::ZERO, signs() != 0);
            unroll!(two < 2, {
                // SAFETY: the caller's promise.
                let b = unsafe { words.right(rows, two as u32) };
                unroll!(one < 2, {
                    // SAFETY: the caller's promise.
                    let a = unsafe { words.left(rows, 2 * two as u32 + one as u32) };
                    // On the right (low, 0), then (high, high).
                    let (mut low, mut high) = (b[one], b[one]);
                    unroll!(word < 2, {
                        let other = shuffle_xor(b[one][word], 1);
                        low[word] = if second { 0 } else { other };
                        high[word] = if second { other } else { b[one][word] };
                    });
                    multiply(a, low, [turned(low[0]), turned(low[1])], &mut gram.sum);
                    multiply(a, high, [turned(high[0]), turned(high[1])], &mut gram.sum);
                });
            });
            gram
        }

        /// Of ±fp in two words each.
        ///
        /// # Safety
        /// As [`Self::plain`], the low words too.
        #[inline(always)]
        pub unsafe fn strict(words: &Words, rows: &Rows) -> Self {
            let (mut gram, signs, low) = (Self::ZERO, signs(), words.low());
            unroll!(two < 2, {
                // SAFETY: the caller's promise. The left side is read twice: both right sides at once are too many registers.
                let b_low = unsafe { low.right(rows, two as u32) };
                unroll!(one < 2, {
                    // SAFETY: as above.
                    gram.multiply(unsafe { words.left(rows, 2 * two as u32 + one as u32) }, b_low[one], signs);
                });
                // SAFETY: as above.
                let b = unsafe { words.right(rows, two as u32) };
                unroll!(one < 2, {
                    let step = 2 * two as u32 + one as u32;
                    // SAFETY: as above.
                    gram.multiply(unsafe { low.left(rows, step) }, b[one], signs);
                    // SAFETY: as above.
                    gram.multiply(unsafe { words.left(rows, step) }, b[one], signs);
                });
            });
            gram
        }

        /// Adds the products of four images.
        #[inline(always)]
        fn multiply(&mut self, a: [u32; 4], b: [u32; 2], signs: u32) {
            let turned = [turned(b[0]), turned(b[1])];
            multiply(a, b, turned, &mut self.sum);
            multiply(a, [b[0] ^ signs, b[1] ^ signs], [turned[0] ^ signs, turned[1] ^ signs], &mut self.difference);
        }
    }

    /// What negates this lane's words on the right if they are of the second slot: of a row of words (+, −, +, −) lane i holds
    /// the i-th.
    #[inline(always)]
    fn signs() -> u32 {
        if lane_index() % 2 == 1 { 0x8000_8000 } else { 0 }
    }

    /// Adds Re and Im of a·conj b, over eight words.
    #[inline(always)]
    fn multiply(a: [u32; 4], b: [u32; 2], turned: [u32; 2], gram: &mut Pairs) {
        let [g0, g1, g2, g3, g4, g5, g6, g7] = *gram;
        let [r0, r1, r2, r3] = m16n8k16_f16(a, b, [g0, g1, g2, g3]);
        let [i0, i1, i2, i3] = m16n8k16_f16(a, turned, [g4, g5, g6, g7]);
        *gram = [r0, r1, r2, r3, i0, i1, i2, i3];
    }

    /// (re, im) to (−im, re).
    #[inline(always)]
    fn turned(word: u32) -> u32 {
        permute_bytes(word, 0, 0x1032) ^ 0x8000
    }
}
