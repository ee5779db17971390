//! z of a tile of [`conv_transpose_moments`](crate::conv_transpose_moments), and its moments.
//!
//! ```text
//! z[c, p] = Σ_k W[k, c]·X[k, p]            sums[c] = Σ_k W[k, c]·Σ_p X[k, p]
//! mean = sums/count      M2 = Σ_p (z − mean)²      p over the tile's positions, `count` of them
//! ```
//!
//! **Data flow.** Two stages in shared memory, [gathered](crate::conv_transpose_gather) by steps of eight k; the next step's values are in registers
//! meanwhile: one barrier a step. Then the same memory holds what threads hand each other for the moments.
//!
//! **Accumulation.** z in `A`, in the order of k; sums in f64: a warp takes every few k of a step, and the warps' are added in their order. Squares in `A`
//! over a thread's positions, then f64.

pub mod device {
    //! The device code.
    use cuda_std::float::Float;
    use cuda_std::shared::Shared;
    use cuda_std::thread::sync_threads;
    use cuda_std::unroll;
    use cuda_std::warp::shuffle_xor;

    use crate::conv_transpose_gather::device::InFlight;
    use crate::conv_transpose_moments::device::{Block, Part};
    use crate::element::Value;
    use crate::moments::Moments;
    use crate::tile::{POSITION_MICRO, POSITIONS, STEP};

    impl<T: Value, A: Float, const MICRO: usize, const THREADS: u32, const OPTIONS: bool>
        Block<'_, T, A, MICRO, THREADS, OPTIONS>
    {
        /// The moments of unscaled z over `count` positions from `first`, of channel `part.channel + thread` of the group
        /// (meaningful in the first `TILE.channels()` threads).
        ///
        /// # Safety
        /// As the kernel's; the tile lies in the item, and the whole block comes here.
        #[inline(always)]
        pub unsafe fn tile(&self, part: Part, first: u64, count: u32) -> Moments {
            let shape = &self.parameters.shape;
            let steps = (self.in_channels() as u64 * shape.taps() as u64).div_ceil(STEP as u64);
            let mut gather = self.gather(first);
            let mut z = [[A::default(); POSITION_MICRO as usize]; MICRO];
            let mut sums = [0f64; 4];

            sync_threads(); // the previous tile's epilogue has read its sums
            // SAFETY: `bring` checks every index; nobody reads the stage before the next barrier.
            unsafe { self.put(0, &self.bring(&mut gather, part)) };
            sync_threads();
            let mut step = 0;
            while step < steps {
                let stage = (step % 2) as u32;
                let more = step + 1 < steps;
                let mut next = InFlight::none();
                if more {
                    // SAFETY: `bring` checks every index.
                    next = unsafe { self.bring(&mut gather, part) };
                }
                // SAFETY: the stage was written before the last barrier.
                unsafe { self.multiply(stage, &mut z, &mut sums) };
                if more {
                    // SAFETY: this stage was last read a step ago, before the barrier that ended it.
                    unsafe { self.put(1 - stage, &next) };
                }
                sync_threads();
                step += 1;
            }
            // SAFETY: all reads of the stages are behind the last barrier.
            unsafe { self.epilogue(&z, &sums, count) }
        }

        /// z += W·X over one stage, and the sums behind the mean: warp v takes rows v, v + warps, …; its lanes sum the
        /// row's x over the positions, and each multiplies by w of its channels (lane, lane + 32, …).
        #[inline(always)]
        unsafe fn multiply(&self, stage: u32, z: &mut [[A; POSITION_MICRO as usize]; MICRO], sums: &mut [f64; 4]) {
            let (channels, positions) = (Self::TILE.channel_side(), Self::TILE.position_side());
            let vector = Self::TILE.vector();
            let at = self.stages.offset(stage * Self::TILE.stage_elements());
            let (xs, ws) = (at, at.offset(Self::W));
            for k in 0..STEP {
                let mut w = [A::default(); MICRO];
                let mut x = [A::default(); POSITION_MICRO as usize];
                for e in (0..MICRO).step_by(vector as usize) {
                    let at = k * Self::TILE.channel_row() + channels.index(self.place.0, e as u32);
                    // SAFETY: row k < 8 of the stage, a 16-byte aligned vector (tested in `tile`).
                    unsafe { ws.load_16(at, &mut w[e..]) };
                }
                for e in (0..POSITION_MICRO as usize).step_by(vector as usize) {
                    let at = k * POSITIONS + positions.index(self.place.1, e as u32);
                    // SAFETY: as above.
                    unsafe { xs.load_16(at, &mut x[e..]) };
                }
                for i in 0..MICRO {
                    for j in 0..POSITION_MICRO as usize {
                        z[i][j] = w[i].fma(x[j], z[i][j]);
                    }
                }
            }
            for pass in 0..STEP / Self::TILE.warps() {
                let row = pass * Self::TILE.warps() + self.warp;
                let mut x = [A::default(); 4];
                for e in (0..4).step_by(vector as usize) {
                    // SAFETY: 4 of the row's 128 positions a lane, in aligned vectors.
                    unsafe { xs.load_16(row * POSITIONS + e as u32 * 32 + self.lane * vector, &mut x[e..]) };
                }
                let mut sum = (x[0].to_f64() + x[1].to_f64()) + (x[2].to_f64() + x[3].to_f64());
                unroll!(level < 5, {
                    sum += shuffle_xor(sum, 16 >> level);
                });
                unroll!(i < Self::MEANS, {
                    let channel = i as u32 * 32 + self.lane;
                    if channel < Self::TILE.channels() {
                        // SAFETY: a row of the stage.
                        let w = unsafe { ws.load(row * Self::TILE.channel_row() + channel) }.to_f64();
                        // An infinite tap may meet nothing in this tile, and ∞·0 would be NaN. If it meets x that add up to 0, z and with it M2
                        // are not finite, so that `infinities` has a look at it.
                        let skipped = sum == 0.0 && w.abs() == f64::INFINITY;
                        sums[i] = if skipped { sums[i] } else { w.fma(sum, sums[i]) };
                    }
                });
            }
        }

        /// The tile's moments from its z and sums. Shared memory now holds, from 0: sums (warps × channels), then the
        /// squares (2 × channels), both f64, then the shifts (channels), in `A`.
        #[inline(always)]
        unsafe fn epilogue(&self, z: &[[A; POSITION_MICRO as usize]; MICRO], sums: &[f64; 4], count: u32) -> Moments {
            let channels = Self::TILE.channels();
            let all_sums = Shared::<f64>::dynamic(0);
            let squares = all_sums.offset(Self::TILE.warps() * channels);
            let shifts = Shared::<A>::dynamic((Self::TILE.warps() + 2) * channels * 8);
            let mine = self.thread < channels;
            let mut moments = Moments::EMPTY;

            unroll!(i < Self::MEANS, {
                let channel = i as u32 * 32 + self.lane;
                if channel < channels {
                    // SAFETY: one element a (warp, channel); the stages are no longer read.
                    unsafe { all_sums.store(self.warp * channels + channel, sums[i]) };
                }
            });
            sync_threads();
            if mine {
                let mut sum = 0.0;
                for warp in 0..Self::TILE.warps() {
                    // SAFETY: written before the barrier.
                    sum += unsafe { all_sums.load(warp * channels + self.thread) };
                }
                moments = Moments { count: count as f64, mean: sum / count as f64, m2: 0.0 };
                // SAFETY: one element a channel.
                unsafe { shifts.store(self.thread, A::from_f64(moments.mean)) };
            }
            sync_threads();
            unroll!(i < MICRO, {
                let channel = Self::TILE.channel_side().index(self.place.0, i as u32);
                // SAFETY: written before the barrier.
                let shift = unsafe { shifts.load(channel) };
                let mut square = A::default();
                for j in 0..POSITION_MICRO {
                    if Self::TILE.position_side().index(self.place.1, j) < count {
                        let d = z[i][j as usize] - shift;
                        square = d.fma(d, square);
                    }
                }
                let mut square = square.to_f64();
                unroll!(level < 3, {
                    square += shuffle_xor(square, 4 >> level);
                });
                if self.lane.is_multiple_of(8) {
                    // SAFETY: one element a (half of the positions, channel).
                    unsafe { squares.store(self.warp % 2 * channels + channel, square) };
                }
            });
            sync_threads();
            if mine {
                // SAFETY: written before the barrier.
                moments.m2 = unsafe { squares.load(self.thread) + squares.load(channels + self.thread) };
            }
            moments
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::conv_transpose_moments::TILES;

    /// The epilogue's layout fits in the shared memory that the product asks for.
    #[test]
    fn the_epilogue_fits_in_the_stages() {
        for tile in TILES {
            let bytes = (tile.warps() + 2) * tile.channels() * 8 + tile.channels() * tile.bytes;
            assert!(bytes <= tile.shared_bytes(), "{tile:?}: {bytes} > {}", tile.shared_bytes());
            assert!(tile.shared_bytes() <= 48 * 1024, "no opt-in needed");
        }
    }
}
