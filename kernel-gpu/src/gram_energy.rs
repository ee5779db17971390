//! The energies of a convolution from the Gram matrices of its input and the spectrum of its taps, on the points of the grid.
//!
//! ```text
//! energy[part,c] = 4^(m[c] + g[c]) / (M0·M1·M2) · Σ_units weight(line) · (2 − δ_IJ) · Σ_{i∈I, j∈J} Re(W_i·Ĝ_ij·conj W_j)
//! ```
//!
//! with Ĝ as [`gram_grid`](crate::gram_grid) and W as [`tap_spectrum`](crate::tap_spectrum) store them. A **unit** is a block
//! (I, J) of a point, 16 × 16 channel pairs. The parts' sum over the launches is `Σ_f Σ_b |Z_f[b,c]|²`. m is that of c's group; where that is not
//! finite, energies are NaN.
//!
//! **Accumulation.** Products of two tf32 a factor ([`gram_energy_products`](crate::gram_energy_products)), over 16 j in the tensor cores, then
//! f32 over the (i, j) of a column of blocks, then f64.
//!
//! **Data flow.** Every warp works alone: a **share** of the units, point by point and in a point column by column, and 32
//! output channels. W_J stays in registers for its column; a unit's Ĝ is asked for while the one before is multiplied. Warps of
//! the same share are neighbours: they read the same Ĝ, through the cache. The order follows from the number of shares.
//!
//! **Cost.** 96 products of 16 × 8 × 8 a unit and 32 channels, and some 180 other instructions; reads Ĝ once and W once from
//! L2, if L1 holds the W of a point.

use cuda_std::global::{Global, GlobalMut};
use cuda_std::launch::KernelSpec;

use crate::gram_grid::Grid;

/// The parameters.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct GramEnergy {
    /// Ĝ, (point, block), from the launch's first of both on: those of its points and its blocks, no others.
    pub gram: Global<f32>,
    /// W, from the launch's first line on.
    pub spectrum: Global<f32>,
    /// m of each group, behind a first number.
    pub scale_exponent: Global<i32>,
    /// g of each c.
    pub channel_exponent: Global<i32>,
    /// Out: the energies, (part, c) from part `first_part` on: `shares` parts.
    pub energy: GlobalMut<f64>,
    /// The extents.
    pub grid: Grid,
    /// Output channels of a group.
    pub group_channels: u32,
    /// The first line, and how many.
    pub first_line: u32,
    /// Lines.
    pub lines: u32,
    /// The first block of each Gram matrix, and how many.
    pub first_block: u32,
    /// Blocks.
    pub blocks: u32,
    /// Into how many parts the units are cut, as evenly as they can be: below 2^32 units each. Times Cout it
    /// fits 31 bits.
    pub shares: u32,
    /// Where this launch's parts start.
    pub first_part: u64,
}

/// Threads of a block.
const THREADS: u32 = 128;
const WARPS: u32 = THREADS / 32;
/// Warps that a multiprocessor holds.
const RESIDENT: u32 = 3 * WARPS;
/// Tiles of 16 output channels that a warp takes.
const TILES: u32 = 2;

/// The launch: [`GramEnergy::thread_blocks`] blocks.
pub const SPEC: KernelSpec =
    KernelSpec { name: "gram_energy", threads: THREADS, min_blocks: 3, shared_bytes: 8 * 2 * TILES * THREADS };

impl GramEnergy {
    /// Warps that share a part: each takes 32 output channels.
    #[inline(always)]
    const fn channel_groups(grid: &Grid) -> u32 {
        grid.out_tiles().div_ceil(TILES)
    }

    /// Parts that a launch writes: the shares, all of them.
    pub const fn parts(&self) -> u64 {
        self.shares as u64
    }

    /// The shares for so many multiprocessors to be full once; no more than there are units.
    pub const fn shares_for(grid: &Grid, lines: u32, blocks: u32, multiprocessors: u32) -> u32 {
        let units = lines as u64 * grid.m()[2] as u64 * blocks as u64;
        let full = (multiprocessors as u64 * RESIDENT as u64).div_ceil(Self::channel_groups(grid) as u64);
        let shares = if full < units { full } else { units };
        if shares == 0 { 1 } else { shares as u32 }
    }

    /// Blocks of threads that have work.
    pub const fn thread_blocks(&self) -> u32 {
        (self.shares * Self::channel_groups(&self.grid)).div_ceil(WARPS)
    }
}

pub mod device {
    //! The device code.
    use cuda_std::kernel;
    use cuda_std::shared::Shared;
    use cuda_std::thread::{block_idx_x, lane_index, thread_idx_x, warp_index};
    use cuda_std::unroll;
    use cuda_std::warp::shuffle_xor;

    use super::*;
    use crate::conv_shape::div_rem;
    use crate::gram_energy_products::device::{Taps, Weights, multiply};
    use crate::gram_grid::BLOCK_WORDS;
    use crate::spectrum::{NOT_FINITE, TILE, div, rem};
    use crate::tap_spectrum::{GROUP_WORDS, point_words};

    /// See the module.
    ///
    /// # Safety
    /// Each pointer holds what its field says, for the lines and blocks given, which the grid has; nobody else accesses the
    /// parts of `energy` written here; the launch is as [`SPEC`] says.
    #[kernel(max_threads = 128, min_blocks = 3)]
    pub unsafe fn gram_energy(p: GramEnergy) {
        let groups = GramEnergy::channel_groups(&p.grid);
        let item = block_idx_x() * WARPS + warp_index();
        let (share, tile) = (div(item, groups), rem(item, groups) * TILES);
        if share < p.shares {
            let share = Share::new(&p, share, tile);
            // SAFETY: the share and the tiles exist; the whole warp comes here, and no other with both.
            unsafe {
                if tile + 1 < p.grid.out_tiles() {
                    share.run::<2>();
                } else {
                    share.run::<1>();
                }
            }
        }
    }

    /// What a warp does: a range of units, for one or two tiles of 16 output channels.
    struct Share<'a> {
        p: &'a GramEnergy,
        share: u32,
        tile: u32,
        /// How many units, and of the first one the point and the block.
        units: u32,
        point: u32,
        block: u32,
        /// This lane's first words: of the tile's W of the first point, and of Ĝ of the first unit.
        taps: Global<f32>,
        gram: Global<f32>,
        /// Words from the W of a tile to the next.
        tile_words: u32,
    }

    impl<'a> Share<'a> {
        #[inline(always)]
        fn new(p: &'a GramEnergy, share: u32, tile: u32) -> Self {
            let lane = lane_index();
            let units = p.lines as u64 * p.grid.m()[2] as u64 * p.blocks as u64;
            // The first shares have a unit more, if they do not come out even.
            let (each, more) = div_rem(units, p.shares as u64);
            let number = share as u64;
            let first = number * each + number.min(more);
            let (point, block) = div_rem(first, p.blocks as u64);
            let tile_words = 2 * p.grid.in_tiles() * GROUP_WORDS;
            let taps = point * point_words(&p.grid) + tile as u64 * tile_words as u64;
            // Row i = lane/4 of 16 (j, re, im), of which the lane takes j = 2(lane%4) and the next.
            let gram = first * BLOCK_WORDS as u64 + (lane / 4 * 32 + lane % 4 * 4) as u64;
            Self {
                p,
                share,
                tile,
                units: (each + (number < more) as u64) as u32,
                point: point as u32,
                block: block as u32,
                taps: p.spectrum.offset(taps + 4 * lane as u64),
                gram: p.gram.offset(gram),
                tile_words,
            }
        }

        /// Writes the energies of the share.
        #[inline(always)]
        unsafe fn run<const N: usize>(&self) {
            let p = self.p;
            let mut remaining = self.units;
            let (mut gram, mut of_point) = (self.gram, self.taps);
            let (mut point, mut block) = (self.point, self.block);
            let (mut i, mut j) = p.grid.block(p.first_block + block);
            // SAFETY: units of the launch, as far as there are any, their points, and input channels of their blocks; the sums
            // in shared memory are a thread's own.
            unsafe {
                unroll!(n < 4, {
                    Self::total(n).store(0, 0.0);
                });
                let mut next = if remaining > 0 { pairs(gram) } else { [[0.0; 4]; 2] };
                while remaining > 0 {
                    // The units of this column.
                    let column = (p.grid.in_tiles() - i).min(p.blocks - block).min(remaining);
                    remaining -= column;
                    block += column;
                    let weights = [self.weights(of_point, 2 * j), self.weights(of_point, 2 * j + 1)];
                    let mut energies = [[0f32; 2]; N];
                    let mut taps = of_point.offset((2 * i * GROUP_WORDS) as u64);
                    // What is off the diagonal counts twice: all does in the end, what is on it half.
                    let behind_diagonal = if i == j { 2 * column - 2 } else { u32::MAX };
                    // Half a unit at a time, 8 i.
                    let mut left = 2 * column;
                    while left > 0 {
                        let now = next;
                        // Behind the last unit its own again.
                        let more = left > 1 || remaining > 0;
                        gram = gram.offset(if more { HALF_WORDS as u64 } else { 0 });
                        next = pairs(gram);
                        multiply(&weights, &now, &self.load(taps), &mut energies);
                        taps = taps.offset(GROUP_WORDS as u64);
                        left -= 1;
                        if left == behind_diagonal {
                            unroll!(n < 2, {
                                if n < N {
                                    energies[n] = [0.5 * energies[n][0], 0.5 * energies[n][1]];
                                }
                            });
                        }
                    }
                    let first_line = p.first_line == 0 && point < p.grid.m()[2];
                    let weight = 2.0 * p.grid.weight(!first_line as u32);
                    unroll!(n < 2, {
                        if n < N {
                            unroll!(half < 2, {
                                let total = Self::total(2 * n + half);
                                total.store(0, total.load(0) + (energies[n][half] * weight) as f64);
                            });
                        }
                    });
                    (i, j) = (j + 1, j + 1);
                    if block == p.blocks {
                        (point, block) = (point + 1, 0);
                        of_point = of_point.offset(point_words(&p.grid));
                        (i, j) = p.grid.block(p.first_block);
                    }
                }
                self.store::<N>();
            }
        }

        /// This thread's sum of a tile's c = lane/4 or of lane/4 + 8. Rarely used: not worth a register.
        #[inline(always)]
        fn total(number: usize) -> Shared<f64> {
            Shared::dynamic(0).offset(number as u32 * THREADS + thread_idx_x())
        }

        /// W of 8 input channels, in each tile.
        #[inline(always)]
        unsafe fn load<const N: usize>(&self, at: Global<f32>) -> [Taps; N] {
            let mut taps = [Taps { re: [0.0; 4], im: [0.0; 4] }; N];
            unroll!(n < 2, {
                if n < N {
                    // SAFETY: a group of a tile of a point that exist; 16 bytes a lane.
                    unsafe {
                        let at = at.offset((n as u32 * self.tile_words) as u64);
                        taps[n] = Taps { re: at.load_array(0), im: at.load_array(128) };
                    }
                }
            });
            taps
        }

        /// W of 8 input channels as first operands.
        #[inline(always)]
        unsafe fn weights<const N: usize>(&self, of_point: Global<f32>, group: u32) -> [Weights; N] {
            // SAFETY: the caller's promise.
            let taps: [Taps; N] = unsafe { self.load(of_point.offset((group * GROUP_WORDS) as u64)) };
            let mut weights = [Weights::ZERO; N];
            unroll!(n < 2, {
                if n < N {
                    weights[n] = Weights::of(&taps[n]);
                }
            });
            weights
        }

        /// Writes the sums over the four lanes of each c, in true scale.
        #[inline(always)]
        unsafe fn store<const N: usize>(&self) {
            let p = self.p;
            let [m0, m1, m2] = p.grid.m();
            let factor = 1.0 / (m0 as f64 * m1 as f64 * m2 as f64);
            unroll!(n < 2, {
                if n < N {
                    unroll!(half < 2, {
                        // SAFETY: this thread wrote it.
                        let mut total = unsafe { Self::total(2 * n + half).load(0) };
                        total += shuffle_xor(total, 1);
                        total += shuffle_xor(total, 2);
                        let c = (self.tile + n as u32) * TILE + lane_index() / 4 + 8 * half as u32;
                        if lane_index().is_multiple_of(4) && c < p.grid.out_channels {
                            // SAFETY: c < Cout; the part is this warp's for its channels.
                            unsafe {
                                let m = p.scale_exponent.load(1 + div(c, p.group_channels) as u64);
                                let exponent = m + p.channel_exponent.load(c as u64);
                                let factor = if m == NOT_FINITE { f64::NAN } else { factor };
                                let at = (p.first_part + self.share as u64) * p.grid.out_channels as u64 + c as u64;
                                p.energy.store(at, total * power_of_two(2 * exponent) * factor);
                            }
                        }
                    });
                }
            });
        }
    }

    /// Words of half a block of a Gram matrix, 8 i.
    const HALF_WORDS: u32 = BLOCK_WORDS / 2;

    /// Ĝ of the lane's 2 j in each half of a block's, and its i of 8.
    ///
    /// # Safety
    /// `half` is this lane's first word of half a unit of the launch.
    #[inline(always)]
    unsafe fn pairs(half: Global<f32>) -> [[f32; 4]; 2] {
        // SAFETY: the caller's promise; 16 bytes a lane.
        unsafe { [half.load_array(0), half.load_array(16)] }
    }

    /// 2^exponent, for exponents of normal f64.
    #[inline(always)]
    fn power_of_two(exponent: i32) -> f64 {
        f64::from_bits(((exponent.clamp(-1022, 1023) + 1023) as u64) << 52)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_fill_the_device_and_are_no_more_than_the_units() {
        let grid = Grid { kernel: [5, 5, 5], in_channels: 64, out_channels: 128 };
        assert_eq!(GramEnergy::shares_for(&grid, 41, 10, 132), 396);
        assert_eq!(GramEnergy::shares_for(&grid, 1, 1, 132), 9);
        assert_eq!(GramEnergy::shares_for(&Grid { out_channels: 4096, ..grid }, 41, 10, 1), 1);
    }
}
