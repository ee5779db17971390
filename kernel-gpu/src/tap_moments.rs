//! The sums of the taps, for the mean, and the scale of each output channel's taps, for their spectrum.
//!
//! ```text
//! sum[ci,c] = Σ_k w[ci,c,k]        g[c] the least with Σ_ci Σ_k |w[ci,c,k]| ≤ 2^g        all sums in f64
//! ```
//!
//! g is 0 where the sum is 0 or not finite, and between −126 and 126: 2^−g is then a normal f32.
//!
//! **Data flow.** A block takes 32/L neighbouring output channels, L = 32 lanes a channel, fewer where it has fewer taps: the
//! taps of a row (ci) that a warp reads are contiguous. Warp v takes rows v, v + 16, …, four at a time, a lane the taps
//! j, j + L, … of each in order, the lanes as a tree; the channel's magnitudes are summed over a warp's rows in order, then
//! over the warps.
//!
//! **Cost.** Reads w once; with four loads of each of 4 rows in flight a lane it is the memory's latency, and one round for 64 rows of
//! 125 taps.

use cuda_std::global::GlobalMut;
use cuda_std::launch::KernelSpec;

use crate::element::Tensor;
use crate::gram_grid::Grid;

/// The parameters.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TapMoments {
    /// w (Cin, Cout, outer, half, pair).
    pub kernel: Tensor<f32>,
    /// Out: Σ_k w, (ci, c).
    pub sum: GlobalMut<f64>,
    /// Out: g of each c.
    pub channel_exponent: GlobalMut<i32>,
    /// The extents.
    pub grid: Grid,
}

/// Threads of a block.
const THREADS: u32 = 512;
const WARPS: u32 = THREADS / 32;
/// Taps of a row that a lane asks for at once.
const LOADS: u32 = 4;
/// The bound of |g|.
pub const MAX_EXPONENT: i32 = 126;

/// The launch: [`TapMoments::blocks`] blocks, or any other number.
pub const SPEC: KernelSpec =
    KernelSpec { name: "tap_moments", threads: THREADS, min_blocks: 1, shared_bytes: 8 * THREADS };

impl TapMoments {
    /// log2 of the lanes that share a channel.
    #[inline(always)]
    const fn lane_bits(&self) -> u32 {
        let taps = self.grid.taps();
        if taps > 16 { 5 } else { taps.next_power_of_two().trailing_zeros() }
    }

    /// Blocks that have work.
    pub const fn blocks(&self) -> u32 {
        self.grid.out_channels.div_ceil(32 >> self.lane_bits())
    }
}

/// g of a channel whose taps' magnitudes have this sum.
#[inline(always)]
pub const fn channel_exponent(norm: f64) -> i32 {
    if norm == 0.0 || !norm.is_finite() {
        return 0;
    }
    let bits = norm.to_bits();
    let exponent = (bits >> 52) as i32 - 1023 + (bits << 12 != 0) as i32;
    if exponent < -MAX_EXPONENT {
        -MAX_EXPONENT
    } else if exponent > MAX_EXPONENT {
        MAX_EXPONENT
    } else {
        exponent
    }
}

pub mod device {
    //! The device code.
    use cuda_std::kernel;
    use cuda_std::shared::Shared;
    use cuda_std::thread::{block_idx_x, grid_dim_x, lane_index, sync_threads, thread_idx_x, warp_index};
    use cuda_std::unroll;
    use cuda_std::warp::shuffle_xor;

    use super::*;

    /// See the module.
    ///
    /// # Safety
    /// Each pointer holds what its field says, of the extents in `grid`; nobody else accesses the outputs; the launch is as
    /// [`SPEC`] says.
    #[kernel(max_threads = 512, min_blocks = 1)]
    pub unsafe fn tap_moments(p: TapMoments) {
        let bits = p.lane_bits();
        let each = 32 >> bits;
        let norms = Shared::<f64>::dynamic(0);
        let mut first = block_idx_x() * each;
        while first < p.grid.out_channels {
            let c = first + (lane_index() >> bits);
            // SAFETY: the block owns these channels, and all its threads come here; one word a thread, with barriers between
            // the writes and the reads of others.
            unsafe {
                norms.store(thread_idx_x(), sum_rows(&p, c, 1 << bits));
                sync_threads();
                // A channel's first lane of the first warp.
                if thread_idx_x() < 32 && (thread_idx_x() >> bits) << bits == thread_idx_x() && c < p.grid.out_channels
                {
                    let mut norm = 0f64;
                    let mut warp = 0;
                    while warp < WARPS {
                        norm += norms.load(32 * warp + thread_idx_x());
                        warp += 1;
                    }
                    p.channel_exponent.store(c as u64, channel_exponent(norm));
                }
                sync_threads();
            }
            first += grid_dim_x() * each;
        }
    }

    /// Writes the sums of this warp's rows of channel `c`, if it exists, and gives the sum of their magnitudes.
    ///
    /// # Safety
    /// All lanes of the warp come together, with the same `lanes`, a power of two.
    #[inline(always)]
    unsafe fn sum_rows(p: &TapMoments, c: u32, lanes: u32) -> f64 {
        let (taps, in_channels, out_channels) = (p.grid.taps(), p.grid.in_channels, p.grid.out_channels);
        let lane = lane_index() & (lanes - 1);
        let mut norm = 0f64;
        let mut ci = warp_index();
        while ci < in_channels {
            // (sum, sum of magnitudes) of four rows.
            let mut totals = [[0f64; 2]; 4];
            let mut k = 0;
            while k < taps {
                // SAFETY: the rows and taps are looked at.
                let values = unsafe {
                    match p.kernel.is_narrow() {
                        true => load::<true>(p, (ci, c), k + lane, lanes),
                        false => load::<false>(p, (ci, c), k + lane, lanes),
                    }
                };
                unroll!(i < 4, {
                    unroll!(j < 4, {
                        let tap = values[i][j] as f64;
                        totals[i][0] += tap;
                        totals[i][1] += tap.abs();
                    });
                });
                k += LOADS * lanes;
            }
            let mut step = lanes / 2;
            while step > 0 {
                unroll!(i < 4, {
                    totals[i][0] += shuffle_xor(totals[i][0], step);
                    totals[i][1] += shuffle_xor(totals[i][1], step);
                });
                step /= 2;
            }
            unroll!(i < 4, {
                let ci = ci + WARPS * i as u32;
                norm += totals[i][1];
                if lane == 0 && ci < in_channels && c < out_channels {
                    // SAFETY: a row that exists, with one writer.
                    unsafe { p.sum.store(ci as u64 * out_channels as u64 + c as u64, totals[i][0]) };
                }
            });
            ci += 4 * WARPS;
        }
        norm
    }

    /// Taps `k`, `k + lanes`, … of rows `ci`, `ci + WARPS`, … of channel `c`, 0 where there are none.
    ///
    /// # Safety
    /// `NARROW` is whether the kernel's elements are.
    #[inline(always)]
    unsafe fn load<const NARROW: bool>(
        p: &TapMoments,
        (ci, c): (u32, u32),
        k: u32,
        lanes: u32,
    ) -> [[f32; LOADS as usize]; 4] {
        let (taps, in_channels, out_channels) = (p.grid.taps(), p.grid.in_channels, p.grid.out_channels);
        let mut bits = [[0u32; LOADS as usize]; 4];
        unroll!(i < 4, {
            let ci = ci + WARPS * i as u32;
            let row = p.kernel.offset((ci as u64 * out_channels as u64 + c as u64) * taps as u64);
            unroll!(j < 4, {
                let k = k + lanes * j as u32;
                if ci < in_channels && c < out_channels && k < taps {
                    // SAFETY: a tap of a row that exists.
                    bits[i][j] = unsafe { row.bits::<NARROW>(k as u64) };
                }
            });
        });
        let mut values = [[0f32; LOADS as usize]; 4];
        unroll!(i < 4, {
            unroll!(j < 4, {
                values[i][j] = p.kernel.widen::<NARROW>(bits[i][j]);
            });
        });
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponents_bound_the_norm_from_above_and_no_more() {
        for (norm, exponent) in [(0.0, 0), (1.0, 0), (1.0001, 1), (0.5, -1), (0.75, 0), (3.0, 2), (4.0, 2)] {
            assert_eq!(channel_exponent(norm), exponent, "{norm}");
        }
        assert_eq!([f64::NAN, f64::INFINITY].map(channel_exponent), [0, 0]);
        assert_eq!([1e-44, 1e300].map(channel_exponent), [-MAX_EXPONENT, MAX_EXPONENT]);
    }
}
