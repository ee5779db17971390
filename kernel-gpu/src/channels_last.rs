//! The input as factors of products, channels last.
//!
//! ```text
//! row (b, i), chunk (group, 16 channels):   x[b,ci,i]·2^−e[ci], as [`factors`](crate::factors) says        0 in rows that only pad
//! ```
//!
//! A row of a chunk is its planes one after the other: 32 or 64 bytes, of a thread. A warp reads 32 neighbouring elements of each
//! channel in turn, and writes whole sectors. Rows: [`phased_conv`](crate::phased_conv).
//!
//! **Cost.** Reads x once and writes as much again, and the padding.
//!
//! **Launch.** One dimension, any number of blocks.

use cuda_std::global::{Global, GlobalMut};
use cuda_std::launch::KernelSpec;

use crate::element::Tensor;
use crate::factors::STORE_BYTES;
use crate::phased_conv::PhasedConv;

/// The parameters.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ChannelsLast {
    /// x (B, Cin, D, H, W).
    pub input: Tensor<f32>,
    /// e of each ci.
    pub exponent: Global<i32>,
    /// Out: (b, row, group, chunk, plane, 8 words).
    pub rows: GlobalMut<u32>,
    /// The convolution.
    pub conv: PhasedConv,
}

/// The launch.
pub const SPEC: KernelSpec =
    KernelSpec { name: "channels_last", threads: 256, min_blocks: 3, shared_bytes: 8 * STORE_BYTES };

impl ChannelsLast {
    /// Blocks of rows of a (b, chunk).
    #[inline(always)]
    const fn row_blocks(&self) -> u32 {
        self.conv.volume_rows().div_ceil(SPEC.threads)
    }

    /// Blocks that have work.
    pub const fn blocks(&self) -> u64 {
        self.conv.shape.batch as u64 * self.conv.row_chunks() as u64 * self.row_blocks() as u64
    }
}

pub mod device {
    //! The device code.
    use cuda_std::shared::Shared;
    use cuda_std::thread::{block_idx_x, grid_dim_x, lane_index, warp_index};
    use cuda_std::{kernel, unroll};

    use super::*;
    use crate::conv_shape::div_rem;
    use crate::factors::device::{store_chunks, words};
    use crate::factors::{parts, power};
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
            let (rest, chunk) = div_rem(unit, p.conv.row_chunks() as u64);
            let (b, block) = div_rem(rest, p.row_blocks() as u64);
            let row = block as u32 * SPEC.threads + 32 * warp;
            if row < p.conv.volume_rows() {
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

    /// Writes rows of a chunk from row `start` on, one a lane.
    ///
    /// # Safety
    /// b < B, the first row and the chunk exist, and the rows are this warp's; all its lanes come together; `NARROW` is whether elements are.
    #[inline(always)]
    unsafe fn write<const NARROW: bool>(p: &ChannelsLast, warp: u32, b: u32, start: u32, chunk: u32) {
        let (conv, shape) = (&p.conv, &p.conv.shape);
        let (group, number) = split(chunk, conv.chunks());
        let (first, ins) = (number * CHUNK, conv.in_channels);
        let (row, rows) = (start + lane_index(), conv.volume_rows());
        let [i0, i1, i2] = conv.coordinates(row);
        let is_element = row < rows && i1 < shape.input[1] && i2 < shape.input[2];
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
        let (mut high, mut low) = ([0u32; 8], [0u32; 8]);
        unroll!(i < 8, {
            [high[i], low[i]] = words(p.input.element(), [values[2 * i], values[2 * i + 1]]);
        });
        let parts = parts(p.input.element());
        let pitch = conv.row_chunks() as u64 * (8 * parts) as u64;
        let to = p.rows.offset((b as u64 * rows as u64 + start as u64) * pitch + (chunk * 8 * parts) as u64);
        let count = if rows - start < 32 { rows - start } else { 32 };
        // SAFETY: chunks of `count` rows, at multiples of 32 bytes; this warp's.
        unsafe { store_chunks(Shared::dynamic(warp * STORE_BYTES), to, pitch, count, parts, [high, low]) }
    }
}
