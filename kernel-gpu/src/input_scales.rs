//! The scales of the input channels, from those of the rows.
//!
//! ```text
//! E[ci] = max_b e[ci,b],   m[g] = max_ci E[ci] over ci of group g          e: see [`spectrum`](crate::spectrum); rows of zeros take no part
//! ```
//!
//! A Gram matrix adds over the images, so all rows of a channel need one scale; a channel's scale then leaves the sums, and
//! all Gram matrices are stored as if scaled by m. Several groups are a bundle of at most [`BUNDLE_CHANNELS`] channels. Where a row is not finite,
//! neither E nor m is. One block: a warp four channels at a time, lanes the images.

use cuda_std::global::{Global, GlobalMut};
use cuda_std::launch::KernelSpec;

/// The parameters.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct InputScales {
    /// e of each row, (ci, b).
    pub row_exponent: Global<i32>,
    /// Out: E of each ci, [`EMPTY`](crate::spectrum::EMPTY) where all its rows are.
    pub channel_exponent: GlobalMut<i32>,
    /// Out: 1 if every row's e is its channel's E or the row is empty, and all are finite, else 0; then m of each group, 0 where all its rows are empty.
    pub scale_exponent: GlobalMut<i32>,
    /// Cin, of all groups.
    pub in_channels: u32,
    /// Groups of as many channels each.
    pub groups: u32,
    /// B.
    pub batch: u32,
}

/// Threads of the block.
const THREADS: u32 = 512;
const WARPS: u32 = THREADS / 32;
/// Channels of a warp at a time, whose numbers are on their way together.
const CHANNELS: u32 = 4;

/// Input channels of a bundle of several groups at most: a block takes them all at once.
pub const BUNDLE_CHANNELS: u32 = CHANNELS * WARPS;

/// The launch: one block.
pub const SPEC: KernelSpec =
    KernelSpec { name: "input_scales", threads: THREADS, min_blocks: 1, shared_bytes: 8 * WARPS + 4 * BUNDLE_CHANNELS };

pub mod device {
    //! The device code.
    use cuda_std::shared::Shared;
    use cuda_std::thread::{block_idx_x, lane_index, sync_threads, thread_idx_x, warp_index};
    use cuda_std::warp::{all, reduce_max};
    use cuda_std::{kernel, unroll};

    use super::*;
    use crate::spectrum::{EMPTY, NOT_FINITE, div};

    /// See the module.
    ///
    /// # Safety
    /// Each pointer holds what its field says; nobody else accesses the outputs; the launch is as [`SPEC`] says.
    #[kernel(max_threads = 512, min_blocks = 1)]
    pub unsafe fn input_scales(p: InputScales) {
        let (warp, lane) = (warp_index(), lane_index());
        let (maxima, uniforms) = (Shared::<i32>::dynamic(0), Shared::<i32>::dynamic(4 * WARPS));
        let channels = Shared::<i32>::dynamic(8 * WARPS);
        let (mut maximum, mut uniform) = (EMPTY, true);
        let mut first = CHANNELS * warp;
        while first < p.in_channels {
            let (mut highest, mut lowest) = ([EMPTY; CHANNELS as usize], [-EMPTY; CHANNELS as usize]);
            let mut b = lane;
            while b < p.batch {
                let mut exponents = [EMPTY; CHANNELS as usize];
                unroll!(n < 4, {
                    let channel = first + n as u32;
                    if channel < p.in_channels {
                        // SAFETY: ci < Cin, b < B.
                        exponents[n] = unsafe { p.row_exponent.load(channel as u64 * p.batch as u64 + b as u64) };
                    }
                });
                unroll!(n < 4, {
                    let e = exponents[n];
                    highest[n] = if e > highest[n] { e } else { highest[n] };
                    lowest[n] = if e != EMPTY && e < lowest[n] { e } else { lowest[n] };
                });
                b += 32;
            }
            unroll!(n < 4, {
                let (channel, highest) = (first + n as u32, reduce_max(highest[n]));
                uniform &= highest != NOT_FINITE && all(lowest[n] == -EMPTY || lowest[n] == highest);
                maximum = if highest > maximum { highest } else { maximum };
                if lane == 0 && channel < p.in_channels {
                    // SAFETY: one warp a channel, of one block; those of a bundle, all of the first round, have a word of shared memory.
                    unsafe {
                        if block_idx_x() == 0 {
                            p.channel_exponent.store(channel as u64, highest);
                        }
                        if channel < BUNDLE_CHANNELS {
                            channels.store(channel, highest);
                        }
                    }
                }
            });
            first += CHANNELS * WARPS;
        }
        // SAFETY: a word a warp, with a barrier between the writes and the reads; one thread stores a number.
        unsafe {
            if lane == 0 {
                maxima.store(warp, maximum);
                uniforms.store(warp, uniform as i32);
            }
            sync_threads();
            if warp == 0 {
                let of = lane % WARPS;
                let maximum = reduce_max(maxima.load(of));
                let uniform = all(uniforms.load(of) != 0);
                if block_idx_x() == 0 && lane == 0 {
                    p.scale_exponent.store(0, uniform as i32);
                    if p.groups == 1 {
                        p.scale_exponent.store(1, scale_of(maximum));
                    }
                }
            }
            let (group, each) = (thread_idx_x(), div(p.in_channels, p.groups));
            if p.groups > 1 && group < p.groups {
                let (mut maximum, mut n) = (EMPTY, 0);
                while n < each {
                    let exponent = channels.load(group * each + n);
                    maximum = if exponent > maximum { exponent } else { maximum };
                    n += 1;
                }
                if block_idx_x() == 0 {
                    p.scale_exponent.store(1 + group as u64, scale_of(maximum));
                }
            }
        }
    }

    /// m of a group with this largest E.
    #[inline(always)]
    const fn scale_of(maximum: i32) -> i32 {
        if maximum == EMPTY { 0 } else { maximum }
    }
}
