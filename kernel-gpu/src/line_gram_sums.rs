//! The sums of [`line_gram`](crate::line_gram) along a line, a lag each, and where they are stored.
//!
//! ```text
//! C_0 += G₊ + G₋      C_l += cos(2πl·fp/N2)·(G₊ + G₋)      S_l += sin(2πl·fp/N2)·(G₊ − G₋)      a pair of slots, ±fp
//! ```
//!
//! of a warp's 16 × 8 channel pairs and the lags of a pass, in registers. Where the line at −f is stored too, its sums are stored with this line's:
//! C conjugate, S the same with the other sign.
//!
//! **Accumulation.** f32, multiply-adds that round to nearest. Of two warps that share a block the second hands its sums to
//! the first, through shared memory.

pub mod device {
    //! The device code.
    use cuda_std::float::Float;
    use cuda_std::shared::Shared;
    use cuda_std::thread::{lane_index, sync_threads, warp_index};
    use cuda_std::unroll;

    use crate::gram_grid::BLOCK_WORDS;
    use crate::line_gram::LineGram;
    use crate::line_gram_products::device::{Gram, Pairs};
    use crate::line_gram_stage::device::Target;
    use crate::spectrum::TILE;

    /// Numbers of a lane that one warp hands another: C_0, and C_l and S_l of four lags.
    const GATHERED: u32 = 8 * 9;

    /// C_0, and C_l and S_l of the pass' lags.
    pub struct Sums<const LAGS: usize> {
        zero: Pairs,
        cos: [Pairs; LAGS],
        sin: [Pairs; LAGS],
    }

    impl<const LAGS: usize> Sums<LAGS> {
        /// Of nothing.
        pub const ZERO: Self = Self { zero: [0.0; 8], cos: [[0.0; 8]; LAGS], sin: [[0.0; 8]; LAGS] };

        /// Adds a pair of slots, whose coefficients are LAGS cosines and LAGS sines.
        #[inline(always)]
        pub fn add<const BOTH: usize>(&mut self, gram: &Gram, coefficients: impl FnOnce() -> [f32; BOTH]) {
            let coefficients = coefficients();
            unroll!(i < 8, {
                self.zero[i] += gram.sum[i];
            });
            unroll!(lag < 4, {
                if lag < LAGS {
                    unroll!(i < 8, {
                        self.cos[lag][i] = coefficients[lag].fma(gram.sum[i], self.cos[lag][i]);
                        self.sin[lag][i] = coefficients[LAGS + lag].fma(gram.difference[i], self.sin[lag][i]);
                    });
                }
            });
        }

        /// Every number.
        #[inline(always)]
        fn each(&mut self, mut visit: impl FnMut(u32, &mut f32)) {
            unroll!(i < 8, {
                visit(i as u32, &mut self.zero[i]);
                unroll!(lag < 4, {
                    if lag < LAGS {
                        visit((8 * (2 * lag + 1) + i) as u32, &mut self.cos[lag][i]);
                        visit((8 * (2 * lag + 2) + i) as u32, &mut self.sin[lag][i]);
                    }
                });
            });
        }

        /// Adds what the second pair of warps found, by way of the stages' memory; false for those, which are done.
        ///
        /// # Safety
        /// All threads of the block call this; no copies are on their way.
        #[inline(always)]
        pub unsafe fn gather(&mut self) -> bool {
            let (way, half) = (warp_index() / 2, warp_index() % 2);
            let numbers = Shared::<f32>::dynamic(4 * 32 * GATHERED * half).offset(lane_index());
            sync_threads(); // the last stage is no longer read
            if way == 1 {
                // SAFETY: a place a number and lane, in the stages' memory.
                self.each(|place, sum| unsafe { numbers.store(32 * place, *sum) });
            }
            sync_threads();
            if way == 0 {
                // SAFETY: stored before the barrier.
                self.each(|place, sum| *sum += unsafe { numbers.load(32 * place) });
            }
            way == 0
        }

        /// Stores the warp's half of its block.
        ///
        /// # Safety
        /// The item's sums are this block's.
        #[inline(always)]
        pub unsafe fn store(&self, p: &LineGram, target: &Target) {
            let which = if p.ways == 2 { 0 } else { warp_index() / 2 };
            let Some(block) = target.block(p, which) else { return };
            let block_words = BLOCK_WORDS as u64;
            let (row, column) = (lane_index() / 4, 8 * (warp_index() % 2) + 2 * (lane_index() % 4));
            let place = block as u64 * block_words + (2 * (row * TILE + column)) as u64;
            // SAFETY: the caller's promise: the line is the item's.
            unsafe { self.store_line(p, target, target.line, place, 1.0) };
            if let Some(image) = target.image(p) {
                // SAFETY: as above; the image's item stores nothing.
                unsafe { self.store_line(p, target, image, place, -1.0) };
            }
        }

        /// Stores a line's, or with −1 its mirror image's: cosines' sums are conjugate, sines' the same with the other sign.
        ///
        /// # Safety
        /// As [`Self::store`]; the line is one of the launch's.
        #[inline(always)]
        unsafe fn store_line(&self, p: &LineGram, target: &Target, line: u32, place: u64, sign: f32) {
            let component_words = p.blocks as u64 * BLOCK_WORDS as u64;
            // From component to component: C_0, then C_l and S_l of the pass.
            let first = line as u64 * p.components() as u64 + (2 * target.pass * LAGS as u32) as u64;
            let mut to = p.sums.offset(first * component_words + place);
            let mut put = |pairs: Option<&Pairs>, [re, im]: [f32; 2]| {
                if let Some(g) = pairs {
                    // SAFETY: component < 2·K2 − 1, block < blocks; rows `row` and `row` + 8 of it, two columns.
                    unsafe {
                        to.store_array(0, [re * g[0], im * g[4], re * g[1], im * g[5]]);
                        to.store_array((16 * TILE) as u64, [re * g[2], im * g[6], re * g[3], im * g[7]]);
                    }
                }
                to = to.offset(component_words);
            };
            put(if target.pass == 0 { Some(&self.zero) } else { None }, [1.0, sign]);
            unroll!(lag < 4, {
                if lag < LAGS && target.pass * LAGS as u32 + (lag as u32) + 1 < p.spectrum.shape.kernel[2] {
                    put(Some(&self.cos[lag]), [1.0, sign]);
                    put(Some(&self.sin[lag]), [sign, 1.0]);
                }
            });
        }
    }
}
