//! The input as factors of products, channels last.
//!
//! ```text
//! row (b, i), chunk (group, 16 channels):   x[b,ci,i]·2^−e[ci], as [`factors`](crate::factors) says        0 in rows that only pad
//! ```
//!
//! and in a bundle of groups 0 for what is not finite: it is in the means that it reaches, which make NaN of all that it should, and not in those of
//! other groups.
//!
//! A row of a chunk is its planes one after the other: 32 or 64 bytes, of a thread. A warp reads 32 neighbouring elements of each
//! channel in turn, and writes whole sectors. Rows: [`phased_conv`](crate::phased_conv); where they go:
//! [`factor_panels`](crate::factor_panels).
//!
//! **Cost.** Reads x once and writes as much again, and the padding.
//!
//! **Launch.** One dimension, any number of blocks.

use cuda_std::global::{Global, GlobalMut};
use cuda_std::launch::KernelSpec;

use crate::element::Tensor;
use crate::factor_panels::Panels;
use crate::factors::{STORE_BYTES, parts};
use crate::phased_conv::PhasedConv;

/// The parameters.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ChannelsLast {
    /// x (B, Cin, D, H, W).
    pub input: Tensor<f32>,
    /// e of each ci.
    pub exponent: Global<i32>,
    /// Out: panels.
    pub rows: GlobalMut<u32>,
    /// The convolution.
    pub conv: PhasedConv,
}

/// The launch.
pub const SPEC: KernelSpec =
    KernelSpec { name: "channels_last", threads: 256, min_blocks: 3, shared_bytes: 8 * STORE_BYTES };

impl ChannelsLast {
    #[inline(always)]
    const fn panels(&self) -> Panels {
        Panels::new(&self.conv, parts(self.input.element()))
    }

    /// Blocks of rows of a (b, chunk).
    #[inline(always)]
    const fn row_blocks(&self) -> u32 {
        self.conv.stored_rows().div_ceil(SPEC.threads)
    }

    /// Chunks of all groups.
    #[inline(always)]
    const fn chunks(&self) -> u32 {
        self.conv.options.groups * self.panels().all_chunks()
    }

    /// Images, those past the last of a tile among them.
    #[inline(always)]
    const fn images(&self) -> u32 {
        self.conv.shape.batch.next_multiple_of(self.conv.images)
    }

    /// Blocks that have work.
    pub const fn blocks(&self) -> u64 {
        self.images() as u64 * self.chunks() as u64 * self.row_blocks() as u64
    }
}

pub mod device {
    //! The device code.
    use cuda_std::shared::Shared;
    use cuda_std::thread::{block_idx_x, grid_dim_x, lane_index, warp_index};
    use cuda_std::{kernel, unroll};

    use super::*;
    use crate::conv_shape::div_rem;
    use crate::factor_panels::place;
    use crate::factors::device::{store_chunks, words};
    use crate::factors::power;
    use crate::phased_conv::{CHUNK, split};

    /// See the module.
    ///
    /// # Safety
    /// The arrays hold what the fields say and nobody else accesses the output; the launch is as [`SPEC`] says.
    #[kernel(max_threads = 256, min_blocks = 3)]
    pub unsafe fn channels_last(p: ChannelsLast) {
        let (mut unit, warp) = (block_idx_x() as u64, warp_index());
        while unit < p.blocks() {
            // Chunks innermost: neighbours write the same rows.
            let (rest, chunk) = div_rem(unit, p.chunks() as u64);
            let (b, block) = div_rem(rest, p.row_blocks() as u64);
            let row = block as u32 * SPEC.threads + 32 * warp;
            if row < p.conv.stored_rows() {
                // SAFETY: a row and a chunk that exist, of this warp, whose lanes are together.
                unsafe {
                    match p.input.is_narrow() {
                        true => write::<true>(&p, warp, b as u32, row, chunk as u32),
                        false => write::<false>(&p, warp, b as u32, row, chunk as u32),
                    }
                }
            }
            unit += grid_dim_x() as u64;
        }
    }

    /// Writes stored rows of a chunk from row `start` on, one a lane.
    ///
    /// # Safety
    /// The image, the first row and the chunk exist, and the rows are this warp's; all its lanes come together; `NARROW` is whether elements are.
    #[inline(always)]
    unsafe fn write<const NARROW: bool>(p: &ChannelsLast, warp: u32, b: u32, start: u32, chunk: u32) {
        let (conv, shape, panels) = (&p.conv, &p.conv.shape, p.panels());
        let (group, number) = split(chunk, panels.all_chunks());
        let (first, ins) = (number * CHUNK, conv.in_channels);
        // Of a row before the volume it is past the last one.
        let row = (start + lane_index()).wrapping_sub(conv.margin[0]);
        let [i0, i1, i2] = conv.coordinates(row);
        let inside = row < conv.volume_rows() && b < shape.batch;
        let is_element = inside && i1 < shape.input[1] && i2 < shape.input[2];
        let element = (i0 as u64 * shape.input[1] as u64 + i1 as u64) * shape.input[2] as u64 + i2 as u64;
        let volume = b as u64 * shape.in_channels as u64 + (group * ins + first) as u64;
        let x = p.input.offset(volume * shape.volume() + element);
        let mut bits = [0u32; CHUNK as usize];
        unroll!(i < 16, {
            if is_element && first + (i as u32) < ins {
                // SAFETY: an element of channel first + i of the group.
                bits[i] = unsafe { x.bits::<NARROW>(i as u64 * shape.volume()) };
            }
        });
        let mut values = [0f32; CHUNK as usize];
        unroll!(i < 16, {
            if first + (i as u32) < ins {
                // SAFETY: a channel of the group.
                let e = unsafe { p.exponent.load((group * ins + first) as u64 + i as u64) };
                values[i] = p.input.widen::<NARROW>(bits[i]) * power(-e) as f32;
            }
        });
        if conv.bundle > 1 {
            unroll!(i < 16, {
                values[i] = if values[i].is_finite() { values[i] } else { 0.0 };
            });
        }
        let (mut high, mut low) = ([0u32; 8], [0u32; 8]);
        unroll!(i < 8, {
            [high[i], low[i]] = words(p.input.element(), [values[2 * i], values[2 * i + 1]]);
        });
        let parts = parts(p.input.element());
        let (tile, image) = (b >> conv.images.trailing_zeros(), b % conv.images);
        let (panel, of_panel) = split(number, panels.chunks);
        let to = p.rows.offset(panels.input_panel(conv, tile, group, panel));
        let at = |lane: u32, piece: u32| {
            to.offset(place((start + lane) * conv.images + image, 2 * parts * of_panel + piece) as u64)
        };
        let rest = conv.stored_rows() - start;
        // SAFETY: chunks of that many stored rows, at multiples of 32 bytes; this warp's.
        unsafe {
            store_chunks(Shared::dynamic(warp * STORE_BYTES), at, if rest < 32 { rest } else { 32 }, parts, [high, low])
        }
    }
}
