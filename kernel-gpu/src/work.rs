//! How the (b, channel tile, position tile) of a convolution are dealt to blocks.
//!
//! One *item* is one image b, one tile of channels, and one *slice*: a run of position tiles whose moments are merged
//! before they are stored. Fewer, longer slices bound the workspace; the split depends on the shape alone, so results have
//! the same bits on every run.

use crate::conv_shape::div_rem;

/// The division of a convolution's output into work items. `#[repr(C)]`, part of a parameter block.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Tiles of positions of one (b, c): the last may be partial.
    pub position_tiles: u64,
    /// Consecutive position tiles of one slice; the last slice may have fewer.
    pub tiles_per_slice: u64,
    /// Slices of one (b, c).
    pub slices: u64,
    /// Tiles of output channels.
    pub channel_tiles: u32,
    /// B.
    pub batch: u32,
}

/// One work item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// b.
    pub batch: u32,
    /// The tile of channels.
    pub channel_tile: u32,
    /// The slice of positions.
    pub slice: u64,
}

impl Work {
    /// Splits P `positions` in tiles of `tile_positions`, and their runs so that there are about `max_items` items at most
    /// (never fewer than one slice for each b and channel tile).
    pub const fn split(positions: u64, tile_positions: u64, channel_tiles: u32, batch: u32, max_items: u64) -> Self {
        let position_tiles = positions.div_ceil(tile_positions);
        let groups = batch as u64 * channel_tiles as u64;
        let wanted = if max_items > groups { max_items / groups } else { 1 };
        let tiles_per_slice = position_tiles.div_ceil(wanted);
        let slices = position_tiles.div_ceil(tiles_per_slice);
        Self { position_tiles, tiles_per_slice, slices, channel_tiles, batch }
    }

    /// How many items there are.
    #[inline(always)]
    pub const fn items(&self) -> u64 {
        self.batch as u64 * self.slices * self.channel_tiles as u64
    }

    /// Item `index`: channel tiles innermost, so that neighbours read the same part of the input.
    #[inline(always)]
    pub const fn item(&self, index: u64) -> Item {
        let (rest, channel_tile) = div_rem(index, self.channel_tiles as u64);
        let (batch, slice) = div_rem(rest, self.slices);
        Item { batch: batch as u32, channel_tile: channel_tile as u32, slice }
    }

    /// The position tiles [first, end) of `slice`.
    #[inline(always)]
    pub const fn tiles(&self, slice: u64) -> (u64, u64) {
        let first = slice * self.tiles_per_slice;
        let end = first + self.tiles_per_slice;
        (first, if end < self.position_tiles { end } else { self.position_tiles })
    }

    /// How many positions `slice` holds, of P `positions` in tiles of `tile_positions`.
    #[inline(always)]
    pub const fn positions_of(&self, slice: u64, positions: u64, tile_positions: u64) -> u64 {
        let (first, end) = self.tiles(slice);
        let last = end * tile_positions;
        (if last < positions { last } else { positions }) - first * tile_positions
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    proptest! {
        #[test]
        fn every_position_of_every_image_and_channel_tile_is_dealt_once(
            positions in 1u64..5000, tile in 1u64..200, channel_tiles in 1u32..5, batch in 1u32..6, max_items in 1u64..300,
        ) {
            let work = Work::split(positions, tile, channel_tiles, batch, max_items);
            let mut seen = HashSet::new();
            let mut covered = 0;
            for index in 0..work.items() {
                let item = work.item(index);
                prop_assert!(item.batch < batch && item.channel_tile < channel_tiles && item.slice < work.slices);
                prop_assert!(seen.insert((item.batch, item.channel_tile, item.slice)));
                covered += work.positions_of(item.slice, positions, tile);
                prop_assert!(work.positions_of(item.slice, positions, tile) > 0);
            }
            prop_assert_eq!(covered, positions * batch as u64 * channel_tiles as u64);
            prop_assert!(work.items() <= max_items.max(batch as u64 * channel_tiles as u64));
        }
    }

    #[test]
    fn enough_room_means_one_tile_a_slice() {
        let work = Work::split(25_920, 128, 1, 16, 16_384);
        assert_eq!((work.position_tiles, work.tiles_per_slice, work.slices, work.items()), (203, 1, 203, 3248));
        assert_eq!(work.positions_of(202, 25_920, 128), 64);
    }
}
