//! Where the factors of [`grid_resample`](crate::grid_resample) lie: for host and device, in the order of its tiles of points.
//!
//! ```text
//! factors of an axis    [tile][frequency][16]      16: E of point 0, three unused, E of four points, O of these, four of zeros
//! ```
//!
//! A **tile** is point 0 and up to two or up to four more of the points g < K of an axis: point 0, of which O is zero, is in all tiles. f32.

use crate::grid_resample::PAIRS;
use crate::spectrum::div_rem;

/// Numbers of a factors' row: E at 0, three unused, E of four points, O of these, four of zeros.
pub(crate) const PITCH: u32 = 16;
/// Points of a tile beside 0, at most.
const WIDEST: u32 = 4;

/// Tiles of the points g < K of an axis: point 0 is in all of them.
#[inline(always)]
pub const fn tiles(kernel: u32) -> u32 {
    if kernel <= WIDEST { 1 } else { (kernel - 1).div_ceil(WIDEST) }
}

/// Points of a tile beside 0: two or four.
#[inline(always)]
pub const fn width(kernel: u32) -> u32 {
    if kernel - 1 <= 2 * tiles(kernel) { 2 } else { WIDEST }
}

/// The groups of ±fo.
#[inline(always)]
pub const fn groups(column: u32) -> u32 {
    (column / 2 + 1).div_ceil(PAIRS)
}

/// Rows of a tile of the outer axis' factors: fo ≤ N0/2, and rows of zeros up to whole groups.
#[inline(always)]
pub const fn outer_rows(column: u32) -> u32 {
    groups(column) * PAIRS
}

/// Numbers of an axis' factors.
#[inline(always)]
pub const fn factors(rows: u32, kernel: u32) -> u32 {
    rows * tiles(kernel) * PITCH
}

/// What an axis' factors hold at `index`: (frequency, point, whether of the odd part); None is 0.
#[inline(always)]
pub const fn factor(rows: u32, kernel: u32, index: u32) -> Option<(u32, u32, bool)> {
    let (row, at) = div_rem(index, PITCH);
    let (tile, frequency) = div_rem(row, rows);
    let place = at % 4 + 1;
    let point = tile * width(kernel) + place;
    if at == 0 {
        Some((frequency, 0, false))
    } else if at >= 4 && at < 12 && place <= width(kernel) && point < kernel {
        Some((frequency, point, at >= 8))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::collections::HashSet;
    use std::vec::Vec;

    use super::*;

    #[test]
    fn tiles_are_as_narrow_as_their_points_allow() {
        let found: Vec<_> = [1, 2, 3, 4, 5, 6, 7, 9, 10, 13, 14].map(|k| (width(k), tiles(k))).into();
        let expected = [(2, 1), (2, 1), (2, 1), (4, 1), (4, 1), (4, 2), (4, 2), (4, 2), (4, 3), (4, 3), (4, 4)];
        assert_eq!(found, expected);
    }

    #[test]
    fn each_factor_has_a_place_and_point_0_one_a_tile() {
        for kernel in 1..30 {
            let found: Vec<_> = (0..factors(7, kernel)).filter_map(|index| factor(7, kernel, index)).collect();
            assert!(found.iter().all(|&(frequency, point, _)| frequency < 7 && point < kernel));
            let zeros = found.iter().filter(|&&(_, point, odd)| point == 0 && !odd).count() as u32;
            assert_eq!((zeros, found.len() as u32), (7 * tiles(kernel), zeros + 7 * 2 * (kernel - 1)));
            assert_eq!(found.iter().collect::<HashSet<_>>().len() as u32, 7 * (2 * kernel - 1));
        }
    }
}
