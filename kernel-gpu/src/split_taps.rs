//! The taps as factors of products, and the scale of each output channel.
//!
//! ```text
//! (c, k, chunk of 16 channels):   w[ci,c,k]·2^(e[ci] − g[c]), as [`factors`](crate::factors) says
//! g[c] of the largest |w[ci,c,k]|·2^e[ci]        of the finite ones
//! ```
//!
//! So a product of factors is `2^−g[c]` of the product, whatever the channels' scales. A block makes an output channel: its
//! threads look for the largest, then each writes rows of (k, chunk), neighbours neighbouring taps.
//!
//! **Cost.** Reads w twice, the second time mostly from caches, and writes as much as there is.
//!
//! **Launch.** One dimension, any number of blocks.

use cuda_std::global::{Global, GlobalMut};
use cuda_std::launch::KernelSpec;

use crate::element::Tensor;
use crate::phased_conv::PhasedConv;

/// The parameters.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SplitTaps {
    /// w (Cin, Cout/groups, Kd, Kh, Kw).
    pub kernel: Tensor<f32>,
    /// e of each ci.
    pub exponent: Global<i32>,
    /// Out: (c, k, chunk, plane, 8 words).
    pub taps: GlobalMut<u32>,
    /// Out: g of each c.
    pub channel_exponent: GlobalMut<i32>,
    /// The convolution.
    pub conv: PhasedConv,
}

/// Warps of a block.
const WARPS: u32 = 8;

/// The launch: a block an output channel, or any other number.
pub const SPEC: KernelSpec =
    KernelSpec { name: "split_taps", threads: 32 * WARPS, min_blocks: 4, shared_bytes: 8 * WARPS };

pub mod device {
    //! The device code.
    use cuda_std::shared::Shared;
    use cuda_std::thread::{block_idx_x, grid_dim_x, lane_index, sync_threads, thread_idx_x, warp_index};
    use cuda_std::warp::shuffle_xor;
    use cuda_std::{kernel, unroll};

    use super::*;
    use crate::factors::device::words;
    use crate::factors::{parts, power, wide_exponent};
    use crate::phased_conv::{CHUNK, split};

    /// See the module.
    ///
    /// # Safety
    /// The arrays hold what the fields say and nobody else accesses the outputs; the launch is as [`SPEC`] says.
    #[kernel(max_threads = 256, min_blocks = 4)]
    pub unsafe fn split_taps(p: SplitTaps) {
        let (maxima, warp) = (Shared::<f64>::dynamic(0), warp_index());
        let mut c = block_idx_x();
        while c < p.conv.shape.out_channels {
            // SAFETY: c exists; one word a warp, with barriers between the writes and the reads of others.
            unsafe {
                let largest = largest(&p, c);
                if lane_index() == 0 {
                    maxima.store(warp, largest);
                }
                sync_threads();
                let mut largest = 0f64;
                unroll!(i < 8, {
                    let other = maxima.load(i as u32);
                    largest = if other > largest { other } else { largest };
                });
                sync_threads();
                let g = wide_exponent(largest);
                if thread_idx_x() == 0 {
                    p.channel_exponent.store(c as u64, g);
                }
                match p.kernel.is_narrow() {
                    true => write::<true>(&p, c, g),
                    false => write::<false>(&p, c, g),
                }
            }
            c += grid_dim_x();
        }
    }

    /// The taps of (the group's first channel, c): element 0 of the taps of channel 0, and elements from one channel to the next.
    #[inline(always)]
    fn rows(p: &SplitTaps, c: u32) -> (Tensor<f32>, u64, u32) {
        let (group, column) = split(c, p.conv.out_channels);
        let (first, row) = (group * p.conv.in_channels, p.conv.out_channels as u64 * p.conv.shape.taps() as u64);
        let w = p.kernel.offset(first as u64 * row + column as u64 * p.conv.shape.taps() as u64);
        (w, row, first)
    }

    /// The largest finite |w|·2^e of this warp's taps of channel c.
    ///
    /// # Safety
    /// c < Cout; all lanes of the warp come together.
    #[inline(always)]
    unsafe fn largest(p: &SplitTaps, c: u32) -> f64 {
        let ((w, row, first), taps) = (rows(p, c), p.conv.shape.taps());
        let count = p.conv.in_channels * taps;
        let mut largest = 0f64;
        let mut at = thread_idx_x();
        while at < count {
            let mut values = [0f64; 4];
            unroll!(i < 4, {
                let at = at + SPEC.threads * i as u32;
                if at < count {
                    let (ci, tap) = split(at, taps);
                    // SAFETY: a channel of the group, and a tap.
                    unsafe {
                        let value = w.load(ci as u64 * row + tap as u64);
                        values[i] = value.abs() as f64 * power(p.exponent.load((first + ci) as u64));
                    }
                }
            });
            unroll!(i < 4, {
                let value = values[i];
                largest = if value > largest && value < f64::INFINITY { value } else { largest };
            });
            at += 4 * SPEC.threads;
        }
        unroll!(level < 5, {
            let other = shuffle_xor(largest, 16 >> level);
            largest = if other > largest { other } else { largest };
        });
        largest
    }

    /// Writes the factors of channel c.
    ///
    /// # Safety
    /// c < Cout, and they are this block's; `NARROW` is whether elements are.
    #[inline(always)]
    unsafe fn write<const NARROW: bool>(p: &SplitTaps, c: u32, g: i32) {
        let ((w, row, first), taps, ins) = (rows(p, c), p.conv.shape.taps(), p.conv.in_channels);
        let (chunks, element) = (p.conv.chunks(), p.kernel.element());
        let words_of_chunk = 8 * parts(element);
        let mut item = thread_idx_x();
        while item < taps * chunks {
            let (chunk, tap) = split(item, taps);
            let of = chunk * CHUNK;
            let mut bits = [0u32; CHUNK as usize];
            unroll!(i < 16, {
                if of + (i as u32) < ins {
                    // SAFETY: a channel of the group, and a tap.
                    bits[i] = unsafe { w.bits::<NARROW>((of + i as u32) as u64 * row + tap as u64) };
                }
            });
            let mut values = [0f32; CHUNK as usize];
            unroll!(i < 16, {
                if of + (i as u32) < ins {
                    // SAFETY: a channel of the group.
                    let e = unsafe { p.exponent.load((first + of + i as u32) as u64) };
                    values[i] = (p.kernel.widen::<NARROW>(bits[i]) as f64 * power(e - g)) as f32;
                }
            });
            let (mut high, mut low) = ([0u32; 8], [0u32; 8]);
            unroll!(i < 8, {
                [high[i], low[i]] = words(element, [values[2 * i], values[2 * i + 1]]);
            });
            let at = ((c as u64 * taps as u64 + tap as u64) * chunks as u64 + chunk as u64) * words_of_chunk as u64;
            // SAFETY: 8 words a plane, at multiples of 32 bytes; this thread's.
            unsafe {
                p.taps.store_array(at, high);
                if words_of_chunk == 16 {
                    p.taps.store_array(at + 8, low);
                }
            }
            item += SPEC.threads;
        }
    }
}
