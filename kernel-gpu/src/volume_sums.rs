//! Σ x of each volume, and the scale of its spectrum: what `volume_transform` does on the way, for the axis path.
//!
//! ```text
//! sum[b,ci] = Σ_n x[b,ci,n],    e[ci,b]: a multiple of 8 with Σ|x| ≤ 2^(e+14), see [`spectrum_store`](crate::spectrum_store)
//! ```
//!
//! One block a volume: thread t sums elements t, t + 256, … in order, then the threads add up as a tree; f64. Reads x once.
//!
//! **Launch.** One dimension, any number of blocks.

use cuda_std::global::GlobalMut;
use cuda_std::launch::KernelSpec;

use crate::element::Tensor;
use crate::spectrum::Spectrum;

/// The parameters.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct VolumeSums {
    /// x (B, Cin, …).
    pub input: Tensor<f32>,
    /// Out: Σ x of each volume, (b, ci).
    pub sum: GlobalMut<f64>,
    /// Out: e of each row, (ci, b).
    pub exponent: GlobalMut<i32>,
    /// The extents.
    pub spectrum: Spectrum,
}

/// Warps of a block.
const WARPS: u32 = SPEC.threads / 32;

/// The launch.
pub const SPEC: KernelSpec = KernelSpec { name: "volume_sums", threads: 256, min_blocks: 4, shared_bytes: 2 * 8 * 8 };

pub mod device {
    //! The device code.
    use cuda_std::shared::Shared;
    use cuda_std::thread::{block_idx_x, grid_dim_x, lane_index, sync_threads, thread_idx_x, warp_index};
    use cuda_std::warp::shuffle_xor;
    use cuda_std::{kernel, unroll};

    use super::*;
    use crate::spectrum::{div, rem};
    use crate::spectrum_store::exponent;

    /// Loads of a thread in flight.
    pub const FLIGHT: usize = 8;

    /// See the module.
    ///
    /// # Safety
    /// The arrays hold what the fields say and nobody else accesses the outputs; the launch is as [`SPEC`] says.
    #[kernel(max_threads = 256, min_blocks = 4)]
    pub unsafe fn volume_sums(p: VolumeSums) {
        let shape = &p.spectrum.shape;
        let (sums, absolutes) = (Shared::<f64>::dynamic(0), Shared::<f64>::dynamic(8 * WARPS));
        let (thread, lane, warp, size) = (thread_idx_x(), lane_index(), warp_index(), shape.volume());
        let mut volume = block_idx_x();
        while volume < p.spectrum.rows() {
            let x = p.input.offset(volume as u64 * size);
            let (mut sum, mut absolute) = (0f64, 0f64);
            let mut first = thread as u64;
            while first < size {
                // SAFETY: `first` is an element.
                let values = unsafe {
                    match x.is_narrow() {
                        true => load::<true>(x, first, size, SPEC.threads),
                        false => load::<false>(x, first, size, SPEC.threads),
                    }
                };
                let mut near = 0f32;
                unroll!(i < FLIGHT, {
                    sum += values[i] as f64;
                    near += values[i].abs();
                });
                absolute += near as f64;
                first += (FLIGHT as u32 * SPEC.threads) as u64;
            }
            unroll!(level < 5, {
                sum += shuffle_xor(sum, 16 >> level);
                absolute += shuffle_xor(absolute, 16 >> level);
            });
            sync_threads(); // the previous volume's sums are read
            if lane == 0 {
                // SAFETY: one element a warp.
                unsafe {
                    sums.store(warp, sum);
                    absolutes.store(warp, absolute);
                }
            }
            sync_threads();
            if thread == 0 {
                let (mut sum, mut absolute) = (0f64, 0f64);
                unroll!(i < WARPS as usize, {
                    // SAFETY: written before the barrier.
                    unsafe {
                        sum += sums.load(i as u32);
                        absolute += absolutes.load(i as u32);
                    }
                });
                let row = rem(volume, shape.in_channels) * shape.batch + div(volume, shape.in_channels);
                // SAFETY: one block a volume.
                unsafe {
                    p.sum.store(volume as u64, sum);
                    p.exponent.store(row as u64, exponent(absolute as f32));
                }
            }
            volume += grid_dim_x();
        }
    }

    /// Elements `first`, `first + threads`, … of `size`, 0 behind the last.
    ///
    /// # Safety
    /// `first` < `size`, as many as x has; `NARROW` is whether they are.
    #[inline(always)]
    pub unsafe fn load<const NARROW: bool>(x: Tensor<f32>, first: u64, size: u64, threads: u32) -> [f32; FLIGHT] {
        let mut bits = [0u32; FLIGHT];
        unroll!(i < FLIGHT, {
            let at = first + (i as u32 * threads) as u64;
            // Always a load, so that all are in flight together.
            // SAFETY: an element.
            let element = unsafe { x.bits::<NARROW>(if at < size { at } else { first }) };
            bits[i] = if at < size { element } else { 0 };
        });
        let mut values = [0f32; FLIGHT];
        unroll!(i < FLIGHT, {
            values[i] = x.widen::<NARROW>(bits[i]);
        });
        values
    }
}
