//! The taps as factors of products.
//!
//! ```text
//! (c, k, chunk of 16 channels):   w[ci,c,k]·2^(e[ci] − g[c]), as [`factors`](crate::factors) says
//! ```
//!
//! and 0 where ci and c are of different groups of a bundle. So a product of factors is `2^−g[c]` of the product, whatever the channels' scales. g: [`conv_means`](crate::conv_means); where they go:
//! [`factor_panels`](crate::factor_panels).
//!
//! A block takes eight output channels and some taps of a panel: of each input channel they are one run of memory, or eight, and what comes of
//! each tap is eight rows, a kilobyte. In between they lie in shared memory, where a lane finds eight input channels of a (c, k) in banks
//! that no other lane of its warp uses.
//!
//! **Cost.** Reads w once and writes as much for each group of a bundle.
//!
//! **Launch.** One dimension, any number of blocks.

use cuda_std::global::{Global, GlobalMut};
use cuda_std::launch::KernelSpec;

use crate::element::Tensor;
use crate::factor_panels::{Panels, channel_tiles};
use crate::factors::parts;
use crate::phased_conv::{PhasedConv, split};

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
/// Output channels of a block.
const CHANNELS: u32 = 8;
/// Input channels of a panel times taps of a block, at most: 32 taps of 32 channels, 16 of 64.
const HELD: u32 = 32 * 32;

/// Words from an output channel to the next in shared memory, for so many taps.
#[inline(always)]
const fn channel_pitch(taps: u32) -> u32 {
    taps + 1
}

/// The launch.
pub const SPEC: KernelSpec = KernelSpec {
    name: "split_taps",
    threads: 32 * WARPS,
    min_blocks: 3,
    shared_bytes: 4 * 64 * (CHANNELS * channel_pitch(16) + 1),
};
// 32 taps of 32 input channels need no more.
const _: () = assert!(4 * 32 * (CHANNELS * channel_pitch(32) + 1) <= SPEC.shared_bytes);

impl SplitTaps {
    #[inline(always)]
    const fn panels(&self) -> Panels {
        Panels::new(&self.conv, parts(self.kernel.element()))
    }

    /// Taps of a block.
    #[inline(always)]
    const fn taps_held(&self) -> u32 {
        if parts(self.kernel.element()) == 2 { HELD / 32 } else { HELD / 64 }
    }

    /// Runs of as many taps.
    #[inline(always)]
    const fn tap_runs(&self) -> u32 {
        split(self.conv.shape.taps() + self.taps_held() - 1, self.taps_held()).0
    }

    /// Eights of output channels of a group, of whole tiles.
    #[inline(always)]
    const fn eights(&self) -> u32 {
        channel_tiles(&self.conv, self.columns) * (self.columns / CHANNELS)
    }

    /// Blocks that have work: all runs of taps of a panel, then the next panel, then the next channels.
    pub const fn blocks(&self) -> u64 {
        let of_group = self.eights() as u64 * self.panels().count as u64 * self.tap_runs() as u64;
        self.conv.options.groups as u64 * of_group
    }
}

pub mod device {
    //! The device code.
    use cuda_std::async_copy::{copy, wait_all};
    use cuda_std::shared::Shared;
    use cuda_std::thread::{block_idx_x, grid_dim_x, lane_index, sync_threads, thread_idx_x, warp_index};
    use cuda_std::{kernel, unroll};

    use super::*;
    use crate::factor_panels::{ROW, place};
    use crate::factors::device::words;
    use crate::factors::power;
    use crate::phased_conv::CHUNK;

    /// What a block writes: the factors of a panel of eight output channels and some taps.
    #[derive(Clone, Copy)]
    struct Item {
        group: u32,
        panel: u32,
        /// The first of its output channels in the group.
        channel: u32,
        /// The first tap, and how many.
        tap: u32,
        taps: u32,
    }

    /// See the module.
    ///
    /// # Safety
    /// The arrays hold what the fields say and nobody else accesses the output; the launch is as [`SPEC`] says.
    #[kernel(max_threads = 256, min_blocks = 3)]
    pub unsafe fn split_taps(p: SplitTaps) {
        let (taps, held) = (p.conv.shape.taps(), p.taps_held());
        let mut number = block_idx_x() as u64;
        while number < p.blocks() {
            // Of 2^32 blocks, a kilobyte each at least, the panels would not fit anywhere.
            let (rest, run) = split(number as u32, p.tap_runs());
            let (rest, panel) = split(rest, p.panels().count);
            let (group, eight) = split(rest, p.eights());
            let tap = run * held;
            let count = if taps - tap < held { taps - tap } else { held };
            let item = Item { group, panel, channel: eight * CHANNELS, tap, taps: count };
            // SAFETY: the item exists and is this block's; all its threads come together.
            unsafe {
                match (p.kernel.is_narrow(), p.conv.bundle > 1) {
                    (true, true) => load::<true, true>(&p, item),
                    (true, false) => load::<true, false>(&p, item),
                    (false, true) => load::<false, true>(&p, item),
                    (false, false) => load::<false, false>(&p, item),
                }
                sync_threads();
                store(&p, item);
                sync_threads();
            }
            number += grid_dim_x() as u64;
        }
    }

    /// In the place of an element: a zero is stored, or nothing.
    const ZERO: u32 = u32::MAX - 1;
    const NOWHERE: u32 = u32::MAX;

    /// Words from an input channel to the next in shared memory: an odd number, so that eight of them are 8 or 24 banks, and eight output channels
    /// between those.
    #[inline(always)]
    fn input_pitch(p: &SplitTaps) -> u32 {
        CHANNELS * channel_pitch(p.taps_held()) + 1
    }

    /// Brings an item's taps to shared memory, zeros where there is no such channel.
    ///
    /// # Safety
    /// The item exists; nobody reads shared memory; `NARROW` is whether elements are, `BUNDLED` whether there are groups to tell apart.
    #[inline(always)]
    unsafe fn load<const NARROW: bool, const BUNDLED: bool>(p: &SplitTaps, item: Item) {
        let (conv, all, held) = (&p.conv, p.conv.shape.taps(), Shared::<f32>::dynamic(0));
        let [ins, outs] = conv.of_group();
        let columns = outs as u64 * all as u64;
        let rows = p.panels().chunks * CHUNK;
        // This lane's (c, k), of those that are neighbours in memory or near: its place here and there, and c's group.
        let mut at = [(0u32, NOWHERE, 0u32); 8];
        unroll!(i < 8, {
            let (c, k) = split(32 * i as u32 + lane_index(), item.taps);
            if c < CHANNELS {
                let exists = item.channel + c < conv.out_channels;
                let (group, of_group) = if BUNDLED { split(item.channel + c, outs) } else { (0, item.channel + c) };
                at[i] = (c * channel_pitch(p.taps_held()) + k, if exists { of_group * all + k } else { ZERO }, group);
            }
        });
        let mut row = warp_index();
        while row < rows {
            let ci = item.panel * rows + row;
            let exists = ci < conv.in_channels;
            let channel = (item.group * conv.in_channels + ci) as u64;
            let w = p.kernel.offset(channel * columns + item.tap as u64);
            let group = if BUNDLED { split(ci, ins).0 } else { 0 };
            unroll!(i < 8, {
                let (to, from, of) = at[i];
                let to = held.offset(row * input_pitch(p) + to);
                // SAFETY: a place of this lane's; a channel, a tap of an output channel of its group.
                unsafe {
                    if exists && from < ZERO && (!BUNDLED || of == group) {
                        if NARROW {
                            to.store(0, p.kernel.widen::<NARROW>(w.bits::<NARROW>(from as u64)));
                        } else {
                            copy::<4, f32>(to, Global::from_address(w.offset(from as u64).address()));
                        }
                    } else if from != NOWHERE {
                        to.store(0, 0.0);
                    }
                }
            });
            row += WARPS;
        }
        wait_all();
    }

    /// Writes an item's factors.
    ///
    /// # Safety
    /// They are in shared memory; the item is this block's.
    #[inline(always)]
    unsafe fn store(p: &SplitTaps, item: Item) {
        let (conv, panels, held) = (&p.conv, p.panels(), Shared::<f32>::dynamic(0));
        let (element, bits) = (p.kernel.element(), p.columns.trailing_zeros());
        let parts = parts(element);
        // A lane has eight input channels of a (c, k): c innermost, then the eight, then k.
        let eights = panels.chunks * (CHUNK / 8);
        let c = thread_idx_x() % CHANNELS;
        let channel = item.channel + c;
        let exists = channel < conv.out_channels;
        let mut g = 0;
        if exists {
            // SAFETY: a channel of the group.
            g = unsafe { p.channel_exponent.load((item.group * conv.out_channels + channel) as u64) };
        }
        let first_tap = panels.kernel_panel(conv, p.columns, item.group, channel >> bits, item.tap);
        let to = p.taps.offset(first_tap + item.panel as u64 * (p.columns * ROW) as u64);
        let apart = panels.count as u64 * (p.columns * ROW) as u64;
        let mut number = thread_idx_x() / CHANNELS;
        while number < eights * item.taps {
            let (k, eight) = (number >> eights.trailing_zeros(), number % eights);
            let first = item.panel * panels.chunks * CHUNK + 8 * eight;
            let mut values = [0f32; 8];
            unroll!(i < 8, {
                if exists && first + (i as u32) < conv.in_channels {
                    let row = 8 * eight + i as u32;
                    // SAFETY: a channel of the group; its tap is behind a barrier.
                    unsafe {
                        let e = p.exponent.load((item.group * conv.in_channels + first) as u64 + i as u64);
                        let tap = held.load(row * input_pitch(p) + c * channel_pitch(p.taps_held()) + k);
                        values[i] = (tap as f64 * power(e - g)) as f32;
                    }
                }
            });
            let (mut high, mut low) = ([0u32; 4], [0u32; 4]);
            unroll!(i < 4, {
                [high[i], low[i]] = words(element, [values[2 * i], values[2 * i + 1]]);
            });
            // The planes of a chunk, two pieces each.
            let (of_panel, half) = (eight / 2, eight % 2);
            let piece = 2 * parts * of_panel + half;
            let row = channel % p.columns;
            // SAFETY: pieces of a row of the tap's panel, of this lane.
            unsafe {
                to.offset(k as u64 * apart + place(row, piece) as u64).store_array(0, high);
                if parts == 2 {
                    to.offset(k as u64 * apart + place(row, piece + 2) as u64).store_array(0, low);
                }
            }
            number += SPEC.threads / CHANNELS;
        }
    }
}
