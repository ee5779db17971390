//! The Gram matrices of four slots, for [`line_gram`](crate::line_gram): a warp's 16 × 8 pairs of channels on the tensor cores.
//!
//! ```text
//! G_f[i,j] = Σ_b X_f[b,i]·conj X_f[b,j]           X = high + low, of which the product low·low is left out
//! ```
//!
//! **Products.** A word of the spectrum, (re, im), is two neighbouring factors of `mma.m16n8k16`: with x as it is on both sides
//! the sum over k is Re G, with (−im, re) on the right it is Im G. The eight words of a product are those of one slot and eight
//! images. In strict lines, and for fp = 0 in the others, a second word holds what rounding left of the first; products are high·low +
//! low·high + high·high.

pub mod device {
    //! The device code.
    use cuda_std::bits::permute_bytes;
    use cuda_std::mma::m16n8k16_f16;
    use cuda_std::unroll;

    use crate::line_gram_stage::device::{Quad, Rows};

    /// Re, Im of G at 16 × 8 pairs of channels, in the accumulators' layout.
    pub type Pairs = [f32; 8];

    /// G of four slots.
    pub struct Gram {
        /// In the slots' order.
        pub slots: [Pairs; 4],
    }

    impl Gram {
        const ZERO: Self = Self { slots: [[0.0; 8]; 4] };

        /// Of one word each. In the first group of a line slot 1 is what rounding left of slot 0: G of slot 0 is then of
        /// both words, and that of slot 1 is 0.
        ///
        /// # Safety
        /// The words are complete; all lanes of the warp come together, with the same `first`.
        #[inline(always)]
        pub unsafe fn plain(words: &Quad, rows: &Rows, first: bool) -> Self {
            let mut gram = Self::ZERO;
            // The branch in the middle keeps the loads of all slots from coming first, and registers from running short.
            // SAFETY: the caller's promise.
            unsafe {
                multiply(words, rows, (2, 2), &mut gram.slots[2]);
                multiply(words, rows, (3, 3), &mut gram.slots[3]);
                if first {
                    multiply(words, rows, (0, 1), &mut gram.slots[0]);
                    multiply(words, rows, (1, 0), &mut gram.slots[0]);
                } else {
                    multiply(words, rows, (1, 1), &mut gram.slots[1]);
                }
                multiply(words, rows, (0, 0), &mut gram.slots[0]);
            }
            gram
        }

        /// Of two words each. In the first group of a line slots 1 and 3 are zeros.
        ///
        /// # Safety
        /// As [`Self::plain`], the low words too.
        #[inline(always)]
        pub unsafe fn strict(words: &Quad, rows: &Rows, first: bool) -> Self {
            let mut gram = Self::ZERO;
            // SAFETY: the caller's promise.
            unsafe {
                multiply_exactly(words, rows, 2, &mut gram.slots[2]);
                if !first {
                    multiply_exactly(words, rows, 3, &mut gram.slots[3]);
                }
                multiply_exactly(words, rows, 0, &mut gram.slots[0]);
                if !first {
                    multiply_exactly(words, rows, 1, &mut gram.slots[1]);
                }
            }
            gram
        }

        /// The slots of pair 0 or 1.
        #[inline(always)]
        pub fn pair(&self, pair: usize) -> [&Pairs; 2] {
            if pair == 0 { [&self.slots[0], &self.slots[1]] } else { [&self.slots[2], &self.slots[3]] }
        }
    }

    /// Adds Re and Im of a·conj b over 16 images, a of one plane and b of another.
    ///
    /// # Safety
    /// The planes are complete; all lanes of the warp come together.
    #[inline(always)]
    unsafe fn multiply(words: &Quad, rows: &Rows, (left, right): (u32, u32), gram: &mut Pairs) {
        // SAFETY: the caller's promise.
        let b = unsafe { words.right(rows, right) };
        unroll!(step < 2, {
            // SAFETY: as above.
            multiply_step(unsafe { words.left(rows, left, step) }, b[step], gram);
        });
    }

    /// Adds Re and Im of a·conj b over 16 images of one slot, a and b in two words: all products but those of two low ones.
    ///
    /// # Safety
    /// As [`multiply`].
    #[inline(always)]
    unsafe fn multiply_exactly(words: &Quad, rows: &Rows, slot: u32, gram: &mut Pairs) {
        let (high, low) = (slot, slot + 4);
        // SAFETY: the caller's promise.
        let (b, b_low) = unsafe { (words.right(rows, high), words.right(rows, low)) };
        unroll!(step < 2, {
            // SAFETY: as above.
            let (a, a_low) = unsafe { (words.left(rows, high, step), words.left(rows, low, step)) };
            multiply_step(a, b_low[step], gram);
            multiply_step(a_low, b[step], gram);
            multiply_step(a, b[step], gram);
        });
    }

    /// Adds Re and Im of a·conj b over eight images.
    #[inline(always)]
    fn multiply_step(a: [u32; 4], b: [u32; 2], gram: &mut Pairs) {
        let [g0, g1, g2, g3, g4, g5, g6, g7] = *gram;
        let [r0, r1, r2, r3] = m16n8k16_f16(a, b, [g0, g1, g2, g3]);
        let [i0, i1, i2, i3] = m16n8k16_f16(a, [turned(b[0]), turned(b[1])], [g4, g5, g6, g7]);
        *gram = [r0, r1, r2, r3, i0, i1, i2, i3];
    }

    /// (re, im) to (−im, re).
    #[inline(always)]
    fn turned(word: u32) -> u32 {
        permute_bytes(word, 0, 0x1032) ^ 0x8000
    }
}
