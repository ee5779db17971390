//! Which lane of a warp holds which element of a matrix, in the operations of the tensor cores.
//!
//! A warp holds a matrix in pieces, its *fragments*: element `i` of lane `lane`'s fragment is the matrix's element (row,
//! column) that these functions give, and their `holder_…` twins give lane and `i` back. From the figures of the PTX ISA,
//! sections "Matrix Fragments for mma.m16n8k8", "… mma.m16n8k16" and "ldmatrix".
//!
//! | matrix | 16-bit elements | tf32 |
//! |---|---|---|
//! | A, 16 × K | [`a16`]: 4 elements (K = 8) or 8 (K = 16) a lane | [`a32`]: 4 (K = 8) |
//! | B, K × 8 | [`b16`]: 2 or 4 | [`b32`]: 2 |
//! | C and D, 16 × 8 | [`accumulator`]: 4 | the same |
//! | 8 × 8 of `ldmatrix` | [`tile`]: 2 | – |
//!
//! 16-bit elements lie two in a register, the one of even `i` in its low half.

/// (row, column) of an element.
pub type Place = (u32, u32);
/// (lane, number in the lane's fragment).
pub type Holder = (u32, u32);

/// A of 16-bit elements.
#[inline(always)]
pub const fn a16(lane: u32, i: u32) -> Place {
    (lane / 4 + 8 * (i / 2 % 2), 2 * (lane % 4) + i % 2 + 8 * (i / 4))
}

/// Who holds A's element (row, column), of 16 bits.
#[inline(always)]
pub const fn holder_a16(row: u32, column: u32) -> Holder {
    (row % 8 * 4 + column % 8 / 2, column % 2 + row / 8 * 2 + column / 8 * 4)
}

/// B of 16-bit elements.
#[inline(always)]
pub const fn b16(lane: u32, i: u32) -> Place {
    (2 * (lane % 4) + i % 2 + 8 * (i / 2), lane / 4)
}

/// Who holds B's element (row, column), of 16 bits.
#[inline(always)]
pub const fn holder_b16(row: u32, column: u32) -> Holder {
    (column * 4 + row % 8 / 2, row % 2 + row / 8 * 2)
}

/// A of tf32 elements.
#[inline(always)]
pub const fn a32(lane: u32, i: u32) -> Place {
    (lane / 4 + 8 * (i % 2), lane % 4 + 4 * (i / 2))
}

/// Who holds A's element (row, column), of tf32.
#[inline(always)]
pub const fn holder_a32(row: u32, column: u32) -> Holder {
    (row % 8 * 4 + column % 4, row / 8 + column / 4 * 2)
}

/// B of tf32 elements.
#[inline(always)]
pub const fn b32(lane: u32, i: u32) -> Place {
    (lane % 4 + 4 * i, lane / 4)
}

/// Who holds B's element (row, column), of tf32.
#[inline(always)]
pub const fn holder_b32(row: u32, column: u32) -> Holder {
    (column * 4 + row % 4, row / 4)
}

/// C and D.
#[inline(always)]
pub const fn accumulator(lane: u32, i: u32) -> Place {
    (lane / 4 + 8 * (i / 2), 2 * (lane % 4) + i % 2)
}

/// Who holds C's and D's element (row, column).
#[inline(always)]
pub const fn holder_accumulator(row: u32, column: u32) -> Holder {
    (row % 8 * 4 + column / 2, column % 2 + row / 8 * 2)
}

/// One 8 × 8 matrix of `ldmatrix` and `stmatrix`, 16-bit elements; with `.trans` row and column change places.
#[inline(always)]
pub const fn tile(lane: u32, i: u32) -> Place {
    (lane / 4, 2 * (lane % 4) + i)
}

/// Who holds element (row, column) of an 8 × 8 matrix.
#[inline(always)]
pub const fn holder_tile(row: u32, column: u32) -> Holder {
    (row * 4 + column / 2, column % 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every element has one holder, every place of a fragment one element, and the two maps undo each other.
    fn bijection(rows: u32, columns: u32, place: fn(u32, u32) -> Place, holder: fn(u32, u32) -> Holder) {
        let per_lane = rows * columns / 32;
        let mut seen = vec![false; (rows * columns) as usize];
        for lane in 0..32 {
            for i in 0..per_lane {
                let (row, column) = place(lane, i);
                assert!(row < rows && column < columns);
                assert!(!std::mem::replace(&mut seen[(row * columns + column) as usize], true));
                assert_eq!(holder(row, column), (lane, i));
            }
        }
        for row in 0..rows {
            for column in 0..columns {
                let (lane, i) = holder(row, column);
                assert!(lane < 32 && i < per_lane);
                assert_eq!(place(lane, i), (row, column));
            }
        }
    }

    #[test]
    fn every_map_is_a_bijection_and_its_twin_the_inverse() {
        for k in [8, 16] {
            bijection(16, k, a16, holder_a16);
            bijection(k, 8, b16, holder_b16);
        }
        bijection(16, 8, a32, holder_a32);
        bijection(8, 8, b32, holder_b32);
        bijection(16, 8, accumulator, holder_accumulator);
        bijection(8, 8, tile, holder_tile);
    }

    /// Entries read off the ISA's formulas and figures.
    #[test]
    fn the_maps_are_those_of_the_isa() {
        assert_eq!(
            [0, 1, 2, 3, 4, 5, 6, 7].map(|i| a16(5, i)),
            [(1, 2), (1, 3), (9, 2), (9, 3), (1, 10), (1, 11), (9, 10), (9, 11)]
        );
        assert_eq!([0, 1, 2, 3].map(|i| b16(30, i)), [(4, 7), (5, 7), (12, 7), (13, 7)]);
        assert_eq!([0, 1, 2, 3].map(|i| a32(7, i)), [(1, 3), (9, 3), (1, 7), (9, 7)]);
        assert_eq!([0, 1].map(|i| b32(9, i)), [(1, 2), (5, 2)]);
        assert_eq!([0, 1, 2, 3].map(|i| accumulator(31, i)), [(7, 6), (7, 7), (15, 6), (15, 7)]);
        assert_eq!(tile(13, 1), (3, 3));
    }

    /// `ldmatrix` of the four 8 × 8 quarters of A gives A's fragment; of B stored by columns, two give B's.
    #[test]
    fn tiles_make_up_the_fragments() {
        for lane in 0..32 {
            for i in 0..8 {
                let ((row, column), quarter) = (tile(lane, i % 2), i / 2);
                assert_eq!(a16(lane, i), (row + 8 * (quarter % 2), column + 8 * (quarter / 2)));
            }
            for i in 0..4 {
                let (column, row) = tile(lane, i % 2);
                assert_eq!(b16(lane, i), (row + 8 * (i / 2), column));
            }
        }
    }
}
