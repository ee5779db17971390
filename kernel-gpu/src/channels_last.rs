//! The input as factors of products, channels last.
//!
//! ```text
//! row (b, i), chunk (group, 16 channels):   x[b,ci,i]·2^−e[ci], as [`factors`](crate::factors) says        0 in rows that only pad
//! ```
//!
//! A row of a chunk is its planes one after the other: 32 or 64 bytes, of a thread. A warp reads 32 neighbouring elements of each
//! channel in turn. Rows: [`phased_conv`](crate::phased_conv).
//!
//! **Cost.** Reads x once and writes as much again, and the padding.
//!
//! **Launch.** One dimension, any number of blocks.

use cuda_std::global::{Global, GlobalMut};
use cuda_std::launch::KernelSpec;

use crate::element::Tensor;
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
pub const SPEC: KernelSpec = KernelSpec { name: "channels_last", threads: 256, min_blocks: 4, shared_bytes: 0 };

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
    use cuda_std::thread::{block_idx_x, grid_dim_x, thread_idx_x};
    use cuda_std::{kernel, unroll};

    use super::*;
    use crate::conv_shape::div_rem;
    use crate::factors::device::words;
    use crate::factors::{parts, power};
    use crate::phased_conv::{CHUNK, split};

    /// See the module.
    ///
    /// # Safety
    /// The arrays hold what the fields say and nobody else accesses the output; the launch is as [`SPEC`] says.
    #[kernel(max_threads = 256, min_blocks = 4)]
    pub unsafe fn channels_last(p: ChannelsLast) {
        let mut unit = block_idx_x() as u64;
        while unit < p.blocks() {
            // Chunks innermost: neighbours write the same rows.
            let (rest, chunk) = div_rem(unit, p.conv.row_chunks() as u64);
            let (b, block) = div_rem(rest, p.row_blocks() as u64);
            let row = block as u32 * SPEC.threads + thread_idx_x();
            if row < p.conv.volume_rows() {
                // SAFETY: a row and a chunk that exist, of this thread.
                unsafe {
                    match p.input.is_narrow() {
                        true => write::<true>(&p, b as u32, row, chunk as u32),
                        false => write::<false>(&p, b as u32, row, chunk as u32),
                    }
                }
            }
            unit += grid_dim_x() as u64;
        }
    }

    /// Writes a row of a chunk.
    ///
    /// # Safety
    /// b < B, the row and the chunk exist, and are this thread's; `NARROW` is whether elements are.
    #[inline(always)]
    unsafe fn write<const NARROW: bool>(p: &ChannelsLast, b: u32, row: u32, chunk: u32) {
        let (conv, shape) = (&p.conv, &p.conv.shape);
        let (group, number) = split(chunk, conv.chunks());
        let (first, ins) = (number * CHUNK, conv.in_channels);
        let [i0, i1, i2] = conv.coordinates(row);
        let is_element = i1 < shape.input[1] && i2 < shape.input[2];
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
        let at = ((b as u64 * conv.volume_rows() as u64 + row as u64) * conv.row_chunks() as u64 + chunk as u64)
            * (8 * parts) as u64;
        // SAFETY: 8 words a plane, at multiples of 32 bytes; this thread's.
        unsafe {
            p.rows.store_array(at, high);
            if parts == 2 {
                p.rows.store_array(at + 8, low);
            }
        }
    }
}
