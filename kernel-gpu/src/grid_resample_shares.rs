//! How the work of [`grid_resample`](crate::grid_resample) is divided among warps.
//!
//! ```text
//! unit     32 neighbouring numbers of a line, and a tile of g0 by one of h: (piece, tile of g0, tile of h), the last the fastest
//! share    a unit's steps, or where units are few a half or a quarter of them
//! ```
//!
//! Neighbouring warps take neighbouring units, so that tiles of the same numbers find them in the cache; warps that share one are of one block.

use crate::grid_resample::{GridResample, WARPS};
use crate::grid_resample_factors::tiles;

/// Warps below which each number is shared by two, or by four: some two a scheduler of a large GPU.
const ENOUGH: u32 = 1024;

impl GridResample {
    /// Tiles of g0, and of h.
    #[inline(always)]
    const fn tiles(&self) -> [u32; 2] {
        [tiles(self.grid.kernel[0]), tiles(self.grid.kernel[1])]
    }

    /// Pieces of 32 numbers and tiles; they fit 32 bits, for an output's memory does.
    #[inline(always)]
    const fn units(&self) -> u32 {
        let [outer, half] = self.tiles();
        (self.inner() / 32) as u32 * outer * half
    }

    /// Warps that share a unit.
    #[inline(always)]
    pub const fn ways(&self) -> u32 {
        let units = self.units();
        if units >= ENOUGH {
            1
        } else if units >= ENOUGH / 2 {
            2
        } else {
            4
        }
    }

    /// Blocks of threads that have work.
    #[inline(always)]
    pub const fn items(&self) -> u32 {
        self.units().div_ceil(WARPS / self.ways())
    }
}

pub mod device {
    //! The device code.
    use cuda_std::thread::{block_idx_x, lane_index, warp_index};

    use super::*;
    use crate::spectrum::div_rem;

    /// A warp's share of the work.
    pub(crate) struct Share {
        /// Its tile of g0, and of h.
        pub(crate) tiles: [u32; 2],
        /// Where the lane's number lies in a line.
        pub(crate) place: u64,
        /// Whether there is one.
        pub(crate) exists: bool,
        /// Which of the warps it is that share the unit.
        pub(crate) way: u32,
    }

    impl Share {
        /// Of the warp that asks.
        #[inline(always)]
        pub(crate) fn mine(p: &GridResample) -> Self {
            let ways = p.ways();
            let (warp, way) = div_rem(warp_index(), ways);
            let unit = block_idx_x() * (WARPS / ways) + warp;
            let exists = unit < p.units();
            let [outer, half] = p.tiles();
            // Tiles of the same numbers follow each other.
            let (rest, tile_1) = div_rem(if exists { unit } else { 0 }, half);
            let (piece, tile_0) = div_rem(rest, outer);
            Self { tiles: [tile_0, tile_1], place: piece as u64 * 32 + lane_index() as u64, exists, way }
        }
    }
}

#[cfg(test)]
mod tests {
    use cuda_std::global::{Global, GlobalMut};

    use super::*;
    use crate::gram_grid::Grid;
    use crate::grid_resample_factors::groups;

    #[test]
    fn kernelbench_77_is_a_warp_for_32_numbers() {
        let null = Global::null();
        let parameters = GridResample {
            input: null,
            outer: null,
            half: null,
            channel_exponent: Global::null(),
            scale_exponent: Global::null(),
            group_channels: 1,
            output: GlobalMut::null(),
            grid: Grid { kernel: [5, 5, 5], in_channels: 64, out_channels: 128 },
            column: 20,
            inputs: 19,
            first_line: 200,
            lines: 180,
            first_block: 0,
            blocks: 10,
        };
        assert_eq!((parameters.units(), parameters.ways(), parameters.items()), (1440, 1, 360));
        assert_eq!((parameters.frequencies(), groups(20)), ((10, 9), 3));
        let few = GridResample { blocks: 1, first_line: 7, lines: 40, ..parameters };
        assert_eq!((few.units(), few.ways(), few.items(), few.frequencies()), (144, 4, 144, (0, 3)));
    }
}
