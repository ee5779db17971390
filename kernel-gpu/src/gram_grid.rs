//! The coarse grid on which the energies of a convolution are summed, and how the input's Gram matrices lie on it.
//!
//! ```text
//! G_f[i,j] = Σ_b X_f[b,i]·conj X_f[b,j],  G_0 = 0         f of N, the output's extents: Cin × Cin, hermitian
//! Ĝ_g = Σ_f G_f Π_a D_a(g_a, f_a),   D_a(g, f) = 1 + 2 Σ_{0<l<K_a} cos(2πl·(f/N_a − g/M_a)),   M_a = 2·K_a − 1
//! Σ_f Σ_b |Z_f[b,c]|² = 1/(M0·M1·M2) · Σ_g Σ_ij W_g[i,c]·Ĝ_g[i,j]·conj W_g[j,c],   W_g[i,c] = Σ_k w[i,c,k]·e^(−2πi Σ_a g_a·k_a/M_a)
//! ```
//!
//! What the left side takes of the input is its correlation at lags |l_a| < K_a, for taps are no further apart. Ĝ is the
//! spectrum of just these lags, of which M_a an axis determine all: however large the input, ∏ M_a points are enough. The
//! axes' roles, outer, half and pair, are [`Spectrum`](crate::spectrum::Spectrum)'s.
//!
//! **Gaps.** Taps that are λ_a elements apart along an axis (dilated ones) see lags that are multiples of λ_a: the same with l·λ_a for l
//! beside f, and with N = D + (K − 1)·λ. The grid is as small as that of taps without gaps.
//!
//! **Half of the points.** The lags' correlations are real, so Ĝ_{−g} = conj Ĝ_g entry by entry, and W_{−g} = conj W_g: the
//! energies are equal. A **line** is the M2 points of one (g0, g1). Line 0 is (0, 0), which holds its points' mirror images and
//! counts once; of each other line and its mirror image one is there, and counts twice:
//!
//! ```text
//! M0 = 5, M1 = 5      g1   0   1   2   3   4
//!             g0  0        0   1   2   ·   ·         r = g1
//!                 1        3   4   5   6   7         r = (M1 + 1)/2 + (g0 − 1)·M1 + g1
//!                 2        8   9  10  11  12
//!              3, 4        ·   ·   ·   ·   ·
//! ```
//!
//! **Gram matrices.** Ĝ is stored in blocks of 16 × 16 channel pairs, those of the lower triangle, columns one after another:
//! f32 `[point][block (I, J)][i of 16][j of 16][re, im]`, Ĝ[16I + i, 16J + j], zeros for channels past the last, the true
//! one being 2^(m_i + m_j) times that, each m that of the channel's group. A block on the diagonal holds both its triangles and counts once, one below it counts twice.

use crate::conv_shape::ConvShape;
use crate::spectrum::{TILE, div, rem};

/// Words of a block of a Gram matrix.
pub const BLOCK_WORDS: u32 = 2 * TILE * TILE;

/// The extents that the grid, the taps' spectrum and the Gram matrices follow from: of one bundle of groups, whose output channels are those of all
/// phases. `#[repr(C)]`, part of parameter blocks.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// K of each axis: outer, half, pair. Of taps with gaps, those that are not 0.
    pub kernel: [u32; 3],
    /// Cin.
    pub in_channels: u32,
    /// Cout.
    pub out_channels: u32,
}

impl Grid {
    /// Of a plain convolution: all input channels for all output channels, and a lag of one element from tap to tap.
    pub const fn of(shape: &ConvShape) -> Self {
        Self { kernel: shape.kernel, in_channels: shape.in_channels, out_channels: shape.out_channels }
    }

    /// K0·K1·K2, which fits 32 bits.
    #[inline(always)]
    pub const fn taps(&self) -> u32 {
        self.kernel[0] * self.kernel[1] * self.kernel[2]
    }

    /// M, the points along each axis: odd.
    #[inline(always)]
    pub const fn m(&self) -> [u32; 3] {
        let [k0, k1, k2] = self.kernel;
        [2 * k0 - 1, 2 * k1 - 1, 2 * k2 - 1]
    }

    /// Lines, of M2 points each; u32::MAX where there are more, which no device gets through.
    #[inline(always)]
    pub const fn grid_lines(&self) -> u32 {
        let [m0, m1, _] = self.m();
        saturated((m0 as u64 * m1 as u64).div_ceil(2))
    }

    /// All points; point g2 of line r is r·M2 + g2.
    #[inline(always)]
    pub const fn points(&self) -> u64 {
        self.grid_lines() as u64 * self.m()[2] as u64
    }

    /// (g0, g1) of a line.
    #[inline(always)]
    pub const fn line(&self, line: u32) -> (u32, u32) {
        let m1 = self.m()[1];
        let first = m1.div_ceil(2);
        if line < first { (0, line) } else { (1 + div(line - first, m1), rem(line - first, m1)) }
    }

    /// How often the energies of a line count.
    #[inline(always)]
    pub const fn weight(&self, line: u32) -> f32 {
        if line == 0 { 1.0 } else { 2.0 }
    }

    /// Tiles of 16 input channels.
    #[inline(always)]
    pub const fn in_tiles(&self) -> u32 {
        self.in_channels.div_ceil(TILE)
    }

    /// Tiles of 16 output channels.
    #[inline(always)]
    pub const fn out_tiles(&self) -> u32 {
        self.out_channels.div_ceil(TILE)
    }

    /// Blocks of a Gram matrix; u32::MAX where there are more.
    #[inline(always)]
    pub const fn blocks(&self) -> u32 {
        let n = self.in_tiles() as u64;
        saturated(n * (n + 1) / 2)
    }

    /// The number of block (I, J), J ≤ I < in_tiles.
    #[inline(always)]
    pub const fn block_index(&self, (i, j): (u32, u32)) -> u32 {
        self.column(j) + (i - j)
    }

    /// (I, J) of a block by its number.
    #[inline(always)]
    pub const fn block(&self, index: u32) -> (u32, u32) {
        let (mut j, mut first, mut length) = (0, 0, self.in_tiles());
        while length > 1 && index >= first + length {
            first += length;
            length -= 1;
            j += 1;
        }
        (j + (index - first), j)
    }

    /// The first block of column J.
    #[inline(always)]
    const fn column(&self, j: u32) -> u32 {
        // Even: of 2n + 1 − J and J one is.
        j * (2 * self.in_tiles() + 1 - j) / 2
    }

    /// Where the twiddles of an axis start, in entries (cos, sin): axis a has 2·M_a of them, of the angles π·m/M_a.
    #[inline(always)]
    pub const fn twiddle_offset(&self, axis: u32) -> u32 {
        let m = self.m();
        match axis {
            0 => 0,
            1 => 2 * m[0],
            _ => (2 * m[0]).saturating_add(2 * m[1]),
        }
    }

    /// Entries of the twiddles of all axes.
    #[inline(always)]
    pub const fn twiddles(&self) -> u32 {
        self.twiddle_offset(2).saturating_add(2 * self.m()[2])
    }
}

/// The number, or the largest that fits.
#[inline(always)]
const fn saturated(count: u64) -> u32 {
    if count < u32::MAX as u64 { count as u32 } else { u32::MAX }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::collections::HashSet;
    use std::vec;
    use std::vec::Vec;

    use super::*;

    fn grid(kernel: [u32; 3], in_channels: u32) -> Grid {
        Grid { kernel, in_channels, out_channels: 4 }
    }

    #[test]
    fn each_point_or_its_mirror_image_is_there() {
        for kernel in [[1, 1, 1], [1, 1, 5], [3, 1, 2], [1, 4, 1], [2, 3, 2], [5, 5, 5], [4, 6, 3]] {
            let grid = grid(kernel, 1);
            let [m0, m1, _] = grid.m();
            let mut weights = vec![0.0; (m0 * m1) as usize];
            for r in 0..grid.grid_lines() {
                let (g0, g1) = grid.line(r);
                assert!(g0 < m0 && g1 < m1);
                // A line that counts twice stands for its mirror image too.
                weights[(g0 * m1 + g1) as usize] += 1.0;
                if r != 0 {
                    weights[((m0 - g0) % m0 * m1 + (m1 - g1) % m1) as usize] += grid.weight(r) - 1.0;
                }
            }
            assert!(weights.iter().all(|&weight| weight == 1.0), "{kernel:?}: {weights:?}");
            let all: f32 = (0..grid.grid_lines()).map(|r| grid.weight(r)).sum();
            assert_eq!(all, (m0 * m1) as f32);
        }
    }

    #[test]
    fn blocks_and_their_numbers_are_inverse() {
        for channels in [1, 15, 16, 17, 64, 65, 500, 4096] {
            let grid = grid([3, 3, 3], channels);
            let n = grid.in_tiles();
            assert_eq!(n, channels.div_ceil(16));
            let order: Vec<_> = (0..n).flat_map(|j| (j..n).map(move |i| (i, j))).collect();
            assert_eq!(order.len() as u32, grid.blocks());
            assert_eq!(order.iter().collect::<HashSet<_>>().len(), order.len());
            for (index, &place) in order.iter().enumerate() {
                assert_eq!(grid.block_index(place), index as u32);
                assert_eq!(grid.block(index as u32), place);
            }
        }
    }

    #[test]
    fn kernelbench_77() {
        let grid = Grid { kernel: [5, 5, 5], in_channels: 64, out_channels: 128 };
        assert_eq!((grid.m(), grid.grid_lines(), grid.points()), ([9, 9, 9], 41, 369));
        assert_eq!((grid.in_tiles(), grid.out_tiles(), grid.blocks()), (4, 8, 10));
        assert_eq!((grid.twiddle_offset(1), grid.twiddle_offset(2), grid.twiddles()), (18, 36, 54));
        assert_eq!((0..grid.grid_lines()).map(|r| grid.weight(r)).sum::<f32>(), 81.0);
    }

    #[test]
    fn what_no_device_computes_is_counted_as_the_most() {
        let grid = Grid { kernel: [1 << 20, 1 << 12, 1], in_channels: u32::MAX, out_channels: 1 };
        assert_eq!((grid.grid_lines(), grid.blocks()), (u32::MAX, u32::MAX));
        assert_eq!(Grid { kernel: [1 << 30, 1, 1], ..grid }.twiddles(), u32::MAX);
    }

    #[test]
    fn the_figure_of_the_lines() {
        let grid = grid([3, 3, 1], 1);
        assert_eq!((0..5).map(|r| grid.line(r)).collect::<Vec<_>>(), [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]);
        assert_eq!((grid.line(8), grid.line(12), grid.grid_lines()), ((2, 0), (2, 4), 13));
    }
}
