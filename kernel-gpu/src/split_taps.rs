//! The taps as factors of products.
//!
//! ```text
//! (c, k, chunk of 16 channels):   w[ci,c,k]·2^(e[ci] − g[c]), as [`factors`](crate::factors) says
//! ```
//!
//! So a product of factors is `2^−g[c]` of the product, whatever the channels' scales. g: [`conv_means`](crate::conv_means).
//!
//! The (c, k) of an input channel and a group are one run of memory. So a warp takes 32 neighbouring (c, k) of a chunk, which it reads in whole
//! lines and writes in whole sectors, and the warps of a block the next chunks of these. Where they go: [`factor_panels`](crate::factor_panels).
//!
//! **Cost.** Reads w once and writes as much.
//!
//! **Launch.** One dimension, any number of blocks.

use cuda_std::global::{Global, GlobalMut};
use cuda_std::launch::KernelSpec;

use crate::element::Tensor;
use crate::factor_panels::{Panels, channel_tiles};
use crate::factors::{STORE_BYTES, parts};
use crate::phased_conv::PhasedConv;

/// The parameters.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SplitTaps {
    /// w (Cin, Cout/groups, Kd, Kh, Kw).
    pub kernel: Tensor<f32>,
    /// e of each ci.
    pub exponent: Global<i32>,
    /// g of each c.
    pub channel_exponent: Global<i32>,
    /// Out: panels.
    pub taps: GlobalMut<u32>,
    /// The convolution.
    pub conv: PhasedConv,
    /// Output channels of a tile, 32 or 64.
    pub columns: u32,
}

/// Warps of a block.
const WARPS: u32 = 8;

/// The launch.
pub const SPEC: KernelSpec =
    KernelSpec { name: "split_taps", threads: 32 * WARPS, min_blocks: 2, shared_bytes: WARPS * STORE_BYTES };

impl SplitTaps {
    #[inline(always)]
    const fn panels(&self) -> Panels {
        Panels::new(&self.conv, parts(self.kernel.element()))
    }

    /// Runs of 32 (c, k) of a group, of whole tiles.
    #[inline(always)]
    const fn column_runs(&self) -> u64 {
        let channels = channel_tiles(&self.conv, self.columns) * self.columns;
        // Tiles are of 32 or 64.
        channels as u64 / 32 * self.conv.shape.taps() as u64
    }

    /// Runs of 32 (c, k) of a chunk: all of a group's chunks, then the next run, then the next group.
    #[inline(always)]
    const fn items(&self) -> u64 {
        self.conv.options.groups as u64 * self.column_runs() * self.panels().all_chunks() as u64
    }

    /// Blocks that have work.
    pub const fn blocks(&self) -> u64 {
        self.items().div_ceil(WARPS as u64)
    }
}

pub mod device {
    //! The device code.
    use cuda_std::shared::Shared;
    use cuda_std::thread::{block_idx_x, grid_dim_x, lane_index, warp_index};
    use cuda_std::{kernel, unroll};

    use super::*;
    use crate::conv_shape::div_rem;
    use crate::factor_panels::{ROW, place};
    use crate::factors::device::{store_chunks, words};
    use crate::factors::power;
    use crate::phased_conv::{CHUNK, split};

    /// See the module.
    ///
    /// # Safety
    /// The arrays hold what the fields say and nobody else accesses the output; the launch is as [`SPEC`] says.
    #[kernel(max_threads = 256, min_blocks = 2)]
    pub unsafe fn split_taps(p: SplitTaps) {
        let warp = warp_index();
        let mut item = block_idx_x() as u64 * WARPS as u64 + warp as u64;
        while item < p.items() {
            let (rest, chunk) = div_rem(item, p.panels().all_chunks() as u64);
            let (group, run) = div_rem(rest, p.column_runs());
            let (group, chunk) = (group as u32, chunk as u32);
            // SAFETY: a run and a chunk that exist, of this warp, whose lanes are together.
            unsafe {
                match p.kernel.is_narrow() {
                    true => write::<true>(&p, warp, group, 32 * run, chunk),
                    false => write::<false>(&p, warp, group, 32 * run, chunk),
                }
            }
            item += grid_dim_x() as u64 * WARPS as u64;
        }
    }

    /// Writes the factors of a chunk of the (c, k) of a group from number `start` on, one a lane.
    ///
    /// # Safety
    /// They exist and are this warp's; all its lanes come together; `NARROW` is whether elements are.
    #[inline(always)]
    unsafe fn write<const NARROW: bool>(p: &SplitTaps, warp: u32, group: u32, start: u64, chunk: u32) {
        let (conv, panels, taps) = (&p.conv, p.panels(), p.conv.shape.taps());
        let (ins, first) = (conv.in_channels, chunk * CHUNK);
        let (first_c, first_k) = div_rem(start, taps as u64);
        // (c, k) of a lane.
        let of = |lane: u32| {
            let (further, k) = split(first_k as u32 + lane, taps);
            (first_c as u32 + further, k)
        };
        let (channel, c) = ((group * ins + first) as u64, of(lane_index()).0);
        let mut values = [0f32; CHUNK as usize];
        if c < conv.out_channels {
            let columns = conv.out_channels as u64 * taps as u64;
            let w = p.kernel.offset(channel * columns + start + lane_index() as u64);
            let mut bits = [0u32; CHUNK as usize];
            unroll!(i < 16, {
                if first + (i as u32) < ins {
                    // SAFETY: a channel of the group, a tap of an output channel of it.
                    bits[i] = unsafe { w.bits::<NARROW>(i as u64 * columns) };
                }
            });
            // SAFETY: c is one of the group's.
            let g = unsafe { p.channel_exponent.load((group * conv.out_channels + c) as u64) };
            unroll!(i < 16, {
                if first + (i as u32) < ins {
                    // SAFETY: a channel of the group.
                    let e = unsafe { p.exponent.load(channel + i as u64) };
                    values[i] = (p.kernel.widen::<NARROW>(bits[i]) as f64 * power(e - g)) as f32;
                }
            });
        }
        let (mut high, mut low) = ([0u32; 8], [0u32; 8]);
        unroll!(i < 8, {
            [high[i], low[i]] = words(p.kernel.element(), [values[2 * i], values[2 * i + 1]]);
        });
        let (parts, bits) = (parts(p.kernel.element()), p.columns.trailing_zeros());
        let (panel, of_panel) = split(chunk, panels.chunks);
        let at = |lane: u32, piece: u32| {
            let (c, k) = of(lane);
            let of_tap = panels.kernel_panel(conv, p.columns, group, c >> bits, k) + (panel * p.columns * ROW) as u64;
            p.taps.offset(of_tap + place(c % p.columns, 2 * parts * of_panel + piece) as u64)
        };
        // SAFETY: chunks of 32 (c, k) of whole tiles, at multiples of 32 bytes; this warp's.
        unsafe { store_chunks(Shared::dynamic(warp * STORE_BYTES), at, 32, parts, [high, low]) }
    }
}
