//! The moments of each (b, c) from sums and energies, and then what [`pool_finish`](crate::pool_finish) makes of them.
//!
//! ```text
//! mean[b,c] = (s/P)·Σ_ci Σx[b,ci]·Σ_k w[ci,c]          M2 over all b: s²·E[c]/P,   E[c] = Σ_part energy[part,c]
//! ```
//!
//! E is of all images together, and only the sum over b of their M2 is asked for: that of b = 0 is all of it, the others' 0.
//! One block a channel. Thread i adds parts i, i + 256, … in order, a warp's threads as a tree, and the first warp the warps'
//! sums. Of 32 images at a time, lane b of each of the eight warps adds every eighth product, and of the first warp the
//! eight. All f64. Then the first warp finishes the channel; lane b's images are those whose mean it made. Eight loads a
//! thread are in flight, and all that do not depend on each other are asked for first: the time is latency.

use cuda_std::global::{Global, GlobalMut};
use cuda_std::launch::KernelSpec;

use crate::pool_finish::PoolFinish;

/// The parameters.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SpectralFinish {
    /// Σ x of each volume, (b, ci).
    pub input_sum: Global<f64>,
    /// Σ_k w, (ci, c).
    pub tap_sum: Global<f64>,
    /// The energies, (part, c).
    pub energy: Global<f64>,
    /// Parts.
    pub parts: u64,
    /// Cin.
    pub in_channels: u32,
    /// As for `pool_finish_f32`, but its `m2` is not read, and its `mean` is that below.
    pub finish: PoolFinish<f32>,
    /// Out: the mean a (b, c), without bias.
    pub mean: GlobalMut<f64>,
    /// Out: M2 a (b, c), or 0 but for b = 0.
    pub m2: GlobalMut<f64>,
}

/// Threads of a block.
const THREADS: u32 = 256;
const WARPS: u32 = THREADS / 32;
/// Images at once.
const IMAGES: u32 = 32;

/// The launch: one block a channel, any number of blocks.
pub const SPEC: KernelSpec =
    KernelSpec { name: "spectral_finish", threads: THREADS, min_blocks: 2, shared_bytes: 8 * (THREADS + WARPS) };

pub mod device {
    //! The device code.
    use cuda_std::kernel;
    use cuda_std::shared::Shared;
    use cuda_std::thread::{block_idx_x, grid_dim_x, lane_index, sync_threads, thread_idx_x, warp_index};
    use cuda_std::unroll;
    use cuda_std::warp::shuffle_xor;

    use super::*;
    use crate::infinities::device::taps_cancel_infinity;
    use crate::pool_finish::device::finish_channel;

    /// See the module.
    ///
    /// # Safety
    /// Each pointer holds what its field says; nobody else accesses the outputs; the launch is as [`SPEC`] says.
    #[kernel(max_threads = 256, min_blocks = 2)]
    pub unsafe fn spectral_finish(p: SpectralFinish) {
        let mut channel = block_idx_x();
        while channel < p.finish.channels {
            // SAFETY: the block owns this channel, and all its threads come here.
            unsafe {
                let moments = write_moments(&p, channel);
                if warp_index() == 0 {
                    let first = lane_index() as u64 * p.finish.channels as u64 + channel as u64;
                    // This thread wrote those of further images.
                    let row_moments = |at| if at == first { moments } else { (p.mean.load(at), p.m2.load(at)) };
                    finish_channel(&p.finish, channel, row_moments);
                }
                sync_threads();
            }
            channel += grid_dim_x();
        }
    }

    /// Writes `mean` and `m2` of one channel, those of images l, l + 32, … by lane l of the first warp, which learns the
    /// first of them.
    ///
    /// # Safety
    /// channel < Cout; all threads of the block come together, and no other block with this channel.
    #[inline(always)]
    unsafe fn write_moments(p: &SpectralFinish, channel: u32) -> (f64, f64) {
        let (thread, lane, warp) = (thread_idx_x(), lane_index(), warp_index());
        let (c, channels) = (channel as u64, p.finish.channels as u64);
        let (products, energies) = (Shared::<f64>::dynamic(0), Shared::<f64>::dynamic(8 * THREADS));
        // SAFETY: all below: parts, images and channels that exist; a word of shared memory a thread, then one a warp, each
        // with a barrier between its write and the reads of others.
        unsafe {
            // Asked for before the products are, waited for after them.
            let mut values = some_energies(p, channel, thread as u64);
            let mut product = share_of_product(p, channel, 0);
            let mut energy = 0f64;
            let mut part = thread as u64;
            loop {
                unroll!(i < 8, {
                    energy += values[i];
                });
                part += 8 * THREADS as u64;
                if part >= p.parts {
                    break;
                }
                values = some_energies(p, channel, part);
            }
            unroll!(i < 5, {
                energy += shuffle_xor(energy, 16 >> i);
            });
            if lane == 0 {
                energies.store(warp, energy);
            }

            let positions = p.finish.positions as f64;
            let (mut moments, mut first) = ((0.0, 0.0), 0);
            while first < p.finish.batch {
                if first > 0 {
                    product = share_of_product(p, channel, first);
                }
                products.store(thread, product);
                sync_threads();
                if warp == 0 && first + lane < p.finish.batch {
                    let mut sum = 0f64;
                    unroll!(i < 8, {
                        sum += products.load(IMAGES * i as u32 + lane);
                    });
                    if sum.abs() == f64::INFINITY && image_cancels(p, channel, first + lane) {
                        sum = f64::NAN;
                    }
                    let mut m2 = 0f64;
                    if first + lane == 0 {
                        unroll!(i < 8, {
                            m2 += energies.load(i as u32);
                        });
                        m2 = p.finish.scale * p.finish.scale * m2 / positions;
                    }
                    let (at, mean) = ((first + lane) as u64 * channels + c, p.finish.scale / positions * sum);
                    p.mean.store(at, mean);
                    p.m2.store(at, m2);
                    if first == 0 {
                        moments = (mean, m2);
                    }
                }
                sync_threads();
                first += IMAGES;
            }
            moments
        }
    }

    /// Whether an infinite x of an image makes NaN of a channel.
    ///
    /// # Safety
    /// channel < Cout, b < B.
    #[cold]
    unsafe fn image_cancels(p: &SpectralFinish, channel: u32, b: u32) -> bool {
        let (mut ci, mut cancels) = (0, false);
        while ci < p.in_channels && !cancels {
            // SAFETY: a volume that exists; of one group, all of whose taps carry all elements.
            cancels = unsafe {
                let sum = p.input_sum.load(b as u64 * p.in_channels as u64 + ci as u64);
                sum.abs() == f64::INFINITY && taps_cancel_infinity(&p.finish.operands, ci, channel)
            };
            ci += 1;
        }
        cancels
    }

    /// Energies of parts part, part + 256, … of a channel, 0 past the last.
    ///
    /// # Safety
    /// channel < Cout.
    #[inline(always)]
    unsafe fn some_energies(p: &SpectralFinish, channel: u32, part: u64) -> [f64; 8] {
        let mut values = [0f64; 8];
        unroll!(i < 8, {
            let part = part + i as u64 * THREADS as u64;
            if part < p.parts {
                // SAFETY: part < parts, c < Cout.
                values[i] = unsafe { p.energy.load(part * p.finish.channels as u64 + channel as u64) };
            }
        });
        values
    }

    /// Every eighth of the products of image first + lane, from the warp's number on; of no image: any.
    ///
    /// # Safety
    /// channel < Cout, and there are an image and an input channel.
    #[inline(always)]
    unsafe fn share_of_product(p: &SpectralFinish, channel: u32, first: u32) -> f64 {
        // Past an end the last one comes again, so that no branch parts the loads.
        let b = (first + lane_index()).min(p.finish.batch - 1);
        let mut product = 0f64;
        let mut ci = warp_index();
        while ci < p.in_channels {
            let (mut x, mut w) = ([0f64; 8], [0f64; 8]);
            unroll!(i < 8, {
                let ci = (ci + i as u32 * WARPS).min(p.in_channels - 1);
                // SAFETY: b < B, ci < Cin, c < Cout.
                unsafe {
                    x[i] = p.input_sum.load(b as u64 * p.in_channels as u64 + ci as u64);
                    w[i] = p.tap_sum.load(ci as u64 * p.finish.channels as u64 + channel as u64);
                }
            });
            unroll!(i < 8, {
                let term = x[i] * w[i];
                product += if ci + i as u32 * WARPS < p.in_channels { term } else { 0.0 };
            });
            ci += 8 * WARPS;
        }
        product
    }
}
