//! Where the factors of [`implicit_gemm`](crate::implicit_gemm) lie in memory: as they will in shared memory, so that whatever a step
//! of the products needs is one run of bytes.
//!
//! ```text
//! x     (tile of images, group, panel, row)                  row = (margin + row of the volume)·images + image of the tile
//! w     (group, tile of output channels, tap, panel, row)    row = output channel of the tile
//! ```
//!
//! A **panel** is the input channels of a step, 32 of f32 and 64 of 16 bits: as many chunks as have four planes
//! ([`factors`](crate::factors)). A row of it is 128 bytes, the planes of its chunks one after the other. Their pieces of 16 bytes are
//! swizzled: piece p of row r lies at the place of p XOR r mod 8, so that eight neighbouring rows have a piece in all banks, and as
//! [`wgmma`](cuda_std::wgmma::Rows) has them. Rows from a multiple of eight on keep that order wherever a buffer begins.
//!
//! Channels past the group's, images past B and output channels past the tile's are zeros.

use crate::factors::PLANES;
use crate::phased_conv::PhasedConv;

/// Words of a row: four planes.
pub const ROW: u32 = 32;

/// The word at which piece `piece` of a row lies.
#[inline(always)]
pub const fn place(row: u32, piece: u32) -> u32 {
    row * ROW + ((piece ^ (row % 8)) << 2)
}

/// The panels of a convolution's factors, which have `parts` planes a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Panels {
    /// Chunks of a panel.
    pub chunks: u32,
    /// Panels of a group's input channels.
    pub count: u32,
}

impl Panels {
    /// Of a convolution.
    #[inline(always)]
    pub const fn new(conv: &PhasedConv, parts: u32) -> Self {
        let chunks = if parts == 2 { PLANES / 2 } else { PLANES };
        Self { chunks, count: conv.chunks().div_ceil(chunks) }
    }

    /// Chunks of a group, those of zeros among them.
    #[inline(always)]
    pub const fn all_chunks(&self) -> u32 {
        self.chunks * self.count
    }

    /// Words of x's factors; what 64 bits do not hold is all ones.
    pub fn input_words(&self, conv: &PhasedConv) -> u64 {
        let panels = u64::from(conv.options.groups) * u64::from(self.count);
        panels.saturating_mul(conv.shape.batch.div_ceil(conv.images).into()).saturating_mul(input_panel_words(conv))
    }

    /// The first word of a panel of x.
    #[inline(always)]
    pub const fn input_panel(&self, conv: &PhasedConv, image_tile: u32, group: u32, panel: u32) -> u64 {
        let number = (image_tile as u64 * conv.options.groups as u64 + group as u64) * self.count as u64 + panel as u64;
        number * input_panel_words(conv)
    }

    /// Words of w's factors, for tiles of `columns` output channels; what 64 bits do not hold is all ones.
    pub fn kernel_words(&self, conv: &PhasedConv, columns: u32) -> u64 {
        let tiles = u64::from(conv.options.groups) * u64::from(channel_tiles(conv, columns));
        let each = u64::from(self.count) * u64::from(columns * ROW);
        tiles.saturating_mul(conv.shape.taps().into()).saturating_mul(each)
    }

    /// The first word of panel 0 of a tap of a tile of `columns` output channels; other panels follow it.
    #[inline(always)]
    pub const fn kernel_panel(&self, conv: &PhasedConv, columns: u32, group: u32, tile: u32, tap: u32) -> u64 {
        let tiles = group as u64 * channel_tiles(conv, columns) as u64 + tile as u64;
        (tiles * conv.shape.taps() as u64 + tap as u64) * self.count as u64 * (columns * ROW) as u64
    }
}

/// Words of a panel of x: rows of several images by eights.
#[inline(always)]
pub const fn input_panel_words(conv: &PhasedConv) -> u64 {
    (conv.stored_rows() * conv.images).next_multiple_of(8) as u64 * ROW as u64
}

/// Tiles of `columns` output channels of a group.
#[inline(always)]
pub const fn channel_tiles(conv: &PhasedConv, columns: u32) -> u32 {
    // Tiles are of 32 or 64.
    let bits = columns.trailing_zeros();
    (conv.out_channels + columns - 1) >> bits
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn eight_neighbouring_rows_read_a_piece_from_all_banks() {
        for first in 0..9 {
            for piece in 0..8 {
                let banks: BTreeSet<_> = (first..first + 8).map(|row| place(row, piece) % 32).collect();
                assert_eq!(banks.len(), 8);
            }
        }
    }
}
