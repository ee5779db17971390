//! What a block of [`volume_transform`](crate::volume_transform) holds in its shared memory, and how many blocks share a volume.
//!
//! ```text
//! pair table    [tile of 8 units][step of 16 elements][high, low][lane]     16 bytes a lane: A of mma.m16n8k16
//! half table    [tile of 8 fr]   [step of 16 elements][high, low][lane]
//! outer table   [pair of f][pair of j ≥ 1][j of 2][f of 2][cos, sin]        f32
//! boxes         (cos, sin) of each fo; of each fr; of each unit             f32: the spectrum of a box of ones, axis by axis
//! sums          Σ x, then Σ |x|, of each warp                               f64; then the least and the most, f32
//! planes        [f][C, S of f, then of N0/2 − f][element along half][quad]  16 bytes a quad of elements along pair: f16 high, low
//! ```
//!
//! Planes are padded to whole steps of 16 elements along both axes, with zeros that nobody overwrites.
//!
//! **Bank conflicts.** Lanes of a product read four quads of each of two rows at once: where rows are a multiple of 128 bytes apart,
//! odd rows have the halves of 128 bytes change places ([`VolumeLayout::quad`]).

use crate::spectrum::Spectrum;

/// Elements of a step of the products along an axis: k of `mma.m16n8k16`.
pub const STEP: u32 = 16;
/// Frequencies of a tile: a cosine and a sine of each make 16 rows.
pub const TILE: u32 = 8;
/// Tiles along half whose sums a warp keeps at once.
pub const HALF_TILES: u32 = 3;
/// f whose sums along outer a thread keeps at once.
pub const FOLD: u32 = 2;
/// Bytes of a quad of elements: high parts, then low ones.
pub const QUAD_BYTES: u32 = 16;
/// Bytes of a tile's step in a table: high and low, 16 bytes a lane.
pub const STEP_BYTES: u32 = 2 * 32 * 16;
/// Blocks that share a volume at most: each reads all of it.
const MOST_GROUPS: u32 = 32;
/// Extents past this are left to the passes along the axes.
const MAX_EXTENT: u32 = 1 << 12;

/// Where things lie, in bytes. `#[repr(C)]`, part of the parameters: the host works it out once.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolumeLayout {
    /// f of a block: those from share·group on.
    pub share: u32,
    /// Blocks of a volume.
    pub groups: u32,
    /// Planes of an f: 4, or 2 where N0 is odd and nothing mirrors.
    pub planes: u32,
    /// Steps along half and pair.
    pub steps: [u32; 2],
    /// Tiles of fr, a multiple of [`HALF_TILES`], and of units.
    pub tiles: [u32; 2],
    /// The half and the pair table.
    pub tables: [u32; 2],
    /// The outer table.
    pub outer: u32,
    /// Boxes along outer, half, pair.
    pub boxes: [u32; 3],
    /// Sums of the warps.
    pub sums: u32,
    /// The planes.
    pub volume: u32,
    /// All of it.
    pub bytes: u32,
}

impl VolumeLayout {
    /// The layout for blocks of so many warps, of at most `limit` bytes. None if the volume does not fit.
    pub const fn design(spectrum: &Spectrum, warps: u32, limit: u32) -> Option<Self> {
        let (d, n) = (spectrum.shape.input, spectrum.n());
        if n[0] > MAX_EXTENT || n[1] > MAX_EXTENT || n[2] > MAX_EXTENT {
            return None;
        }
        let steps = [d[1].div_ceil(STEP), d[2].div_ceil(STEP)];
        let tiles =
            [spectrum.half().div_ceil(TILE).next_multiple_of(HALF_TILES), (spectrum.slots() / 2).div_ceil(TILE)];
        let half = tiles[0] * steps[0] * STEP_BYTES;
        let pair = tiles[1] * steps[1] * STEP_BYTES;
        let outer = half + pair;
        let planes = if n[0].is_multiple_of(2) { 4 } else { 2 };
        let all = last(n[0]) + 1;
        // As few blocks a volume as fit, each with as many f.
        let mut groups = 1;
        while groups <= all && groups <= MOST_GROUPS {
            let share = all.div_ceil(groups);
            let boxes = outer + share.div_ceil(FOLD) * steps_outer(d[0]) * 4 * FOLD * 2 * 2;
            let box_half = boxes + 8 * (n[0] / 2 + 1);
            let box_pair = box_half + 4 * TILE * tiles[0];
            let sums = (box_pair + 4 * TILE * tiles[1]).next_multiple_of(16);
            let volume = sums + (24 * warps).next_multiple_of(16);
            let mut layout = Self {
                share,
                groups,
                planes,
                steps,
                tiles,
                tables: [0, half],
                outer,
                boxes: [boxes, box_half, box_pair],
                sums,
                volume,
                bytes: 0,
            };
            let end = volume as u64 + layout.plane_bytes() as u64 * (planes * share) as u64;
            if end <= limit as u64 {
                layout.bytes = end as u32;
                return Some(layout);
            }
            groups += 1;
        }
        None
    }

    /// Bytes of a plane.
    #[inline(always)]
    pub const fn plane_bytes(&self) -> u32 {
        self.steps[0] * STEP * self.row_bytes()
    }

    /// Bytes of a row of a plane.
    #[inline(always)]
    pub const fn row_bytes(&self) -> u32 {
        self.steps[1] * STEP / 4 * QUAD_BYTES
    }

    /// Where a plane keeps quad `quad` of a row, in bytes.
    #[inline(always)]
    pub const fn quad(&self, row: u32, quad: u32) -> u32 {
        row * self.row_bytes() + (quad ^ self.turn(row)) * QUAD_BYTES
    }

    /// What the quads of a row are turned by.
    #[inline(always)]
    pub const fn turn(&self, row: u32) -> u32 {
        if self.steps[1].is_multiple_of(2) { row % 2 * 4 } else { 0 }
    }

    /// Units of work of a volume's products: each a plane pair, a tile of units and some tiles of fr.
    #[inline(always)]
    pub const fn products(&self) -> u32 {
        self.share * self.planes / 2 * self.tiles[1] * (self.tiles[0] / HALF_TILES)
    }
}

/// The last f that is summed along outer; where N0 is even, N0/2 − f comes with it.
#[inline(always)]
pub const fn last(n0: u32) -> u32 {
    if n0.is_multiple_of(2) { n0 / 4 } else { n0 / 2 }
}

/// Pairs of j ≥ 1, elements c ± j about the middle c = D0/2.
#[inline(always)]
pub const fn steps_outer(d0: u32) -> u32 {
    (d0 / 2).div_ceil(2)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::collections::HashSet;

    use super::*;
    use crate::conv_shape::ConvShape;

    fn design(input: [u32; 3], kernel: [u32; 3], limit: u32) -> Option<VolumeLayout> {
        let shape = ConvShape { batch: 2, in_channels: 3, out_channels: 4, input, kernel };
        VolumeLayout::design(&Spectrum { shape, all_strict: 0 }, 8, limit)
    }

    #[test]
    fn quads_of_a_plane_have_places_of_their_own() {
        for width in [5, 16, 32, 33, 64] {
            let layout = design([2, 20, width], [1, 1, 1], 227 << 10).unwrap();
            let quads = layout.steps[1] * STEP / 4;
            let places: HashSet<_> = (0..layout.steps[0] * STEP)
                .flat_map(|row| (0..quads).map(move |quad| layout.quad(row, quad)))
                .collect();
            assert_eq!(places.len() as u32, layout.steps[0] * STEP * quads);
            assert!(places.iter().all(|place| place % 16 == 0 && *place < layout.plane_bytes()));
        }
    }

    #[test]
    fn a_volume_is_shared_where_it_is_large() {
        let whole = design([16, 32, 32], [5, 5, 5], 227 << 10).unwrap();
        assert_eq!((whole.share, whole.groups, whole.planes), (6, 1, 4));
        assert_eq!((whole.steps, whole.tiles), ([2, 2], [3, 3]));
        // Two blocks of a multiprocessor.
        assert!(whole.bytes <= 227 << 9);
        let shared = design([64, 64, 64], [5, 5, 5], 227 << 10).unwrap();
        assert!(shared.groups > 1 && shared.share * shared.groups > last(68));
        assert_eq!(design([16, 32, 32], [5, 5, 5], 20 << 10), None);
        assert_eq!(design([1, 1, 5000], [1, 1, 1], 227 << 10), None);
    }

    #[test]
    fn each_frequency_along_outer_comes_once() {
        for n in 1..60 {
            let mut seen = std::vec![0; (n / 2 + 1) as usize];
            for f in 0..=last(n) {
                seen[f as usize] += 1;
                if n % 2 == 0 && n / 2 - f != f {
                    seen[(n / 2 - f) as usize] += 1;
                }
            }
            assert!(seen.iter().all(|&count| count == 1), "{n}: {seen:?}");
        }
    }
}
