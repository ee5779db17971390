//! The energy of z from the Gram matrix on the grid and the taps.
//!
//! ```text
//! E[c] = 1/(Π N · Π M) · Σ_g Σ_ij W_g[i, c]·Ĝ_g[i, j]·conj W_g[j, c] / t[c]²
//! ```
//! Half of the grid is enough: its points count twice, but for those whose inner coordinate is 0. So is half of Ĝ: blocks
//! above the diagonal count twice.
//!
//! Lanes are output channels. A task is a line of the grid along the inner axis and some vectors of channels: it makes W for one
//! of them at a time and sums in `f64` between points. Tasks' sums are added in order.
//! Cost: 4·Cin²·Cout·|g| multiplications and additions, and W.

use pulp::{Simd, WithSimd};

use super::geometry::{Geometry, saturating};
use super::gram::Tile;
use super::taps::Phases;
use crate::cpu::simd::{Complex, Real, complex_mut, zero};

/// One line of the grid, for some vectors of output channels.
pub struct GridLine<'a, R> {
    pub geometry: &'a Geometry,
    pub phases: &'a Phases<R>,
    /// Outer and middle coordinates of the line.
    pub at: [usize; 2],
    /// [vector of c][i][tap], vectors: those of the task's channels.
    pub taps: &'a [R],
    pub in_channels: usize,
    pub tiles: &'a [Tile],
    /// [tile][half grid][i of the block], complex vectors.
    pub gram: &'a [R],
    pub scratch: &'a mut [R],
    /// One for each output channel, padded to whole vectors: overwritten.
    pub energies: &'a mut [f64],
}

/// Values of scratch that a [`GridLine`] needs: W of one vector of channels at a point, and what it is made of.
pub fn line_scratch(geometry: &Geometry, in_channels: usize, lanes: usize) -> usize {
    saturating(&[(geometry.inner.taps + 1), in_channels.next_multiple_of(lanes), 2, lanes])
}

/// Rows of Ĝ at once at most.
const ROWS: usize = 8;

impl<R: Real> WithSimd for GridLine<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let lanes = R::lanes::<S>();
        let (middle, inner) = (self.geometry.middle.grid(), self.geometry.inner.taps);
        let padded = self.in_channels.next_multiple_of(lanes);
        let (spectrum, folded) = complex_mut::<S, R>(self.scratch).split_at_mut(padded);
        let folded = &mut folded[..self.in_channels * inner];
        // The quadratic form reads whole blocks.
        spectrum.fill(zero::<S, R>(simd));
        let turns = self.phases.line(self.at);
        let mut parts = vec![R::default(); inner];
        let block = self.in_channels * self.geometry.taps();
        let taps = R::vectors::<S>(self.taps);
        for (taps, energies) in taps.chunks_exact(block).zip(self.energies.chunks_exact_mut(lanes)) {
            turns.fold::<S>(simd, taps, folded);
            energies.fill(0.0);
            for g in 0..inner {
                self.phases.spectrum::<S>(simd, g, folded, &mut parts, &mut spectrum[..self.in_channels]);
                let point = (self.at[0] * middle + self.at[1]) * inner + g;
                let gram = Point {
                    values: self.gram,
                    half_grid: self.geometry.half_grid(),
                    point,
                    tiles: self.tiles,
                    in_channels: self.in_channels,
                };
                let sum = gram.quadratic_form::<S>(simd, spectrum);
                let weight = if g == 0 { 1.0 } else { 2.0 };
                let sum: &[R] = bytemuck::cast_slice(std::slice::from_ref(&sum));
                for (energy, value) in energies.iter_mut().zip(sum) {
                    *energy += weight * value.to_f64();
                }
            }
        }
    }
}

/// Ĝ at one point of the grid.
struct Point<'a, R> {
    values: &'a [R],
    half_grid: usize,
    point: usize,
    tiles: &'a [Tile],
    in_channels: usize,
}

impl<R: Real> Point<'_, R> {
    /// Σ_ij W[i]·Ĝ[i, j]·conj W[j], for each lane.
    #[inline(always)]
    fn quadratic_form<S: Simd>(&self, simd: S, w: &[Complex<R::Vector<S>>]) -> R::Vector<S> {
        let lanes = R::lanes::<S>();
        match lanes.min(if S::REGISTER_COUNT >= 32 { ROWS } else { 4 }) {
            8 => self.by_rows::<S, 8>(simd, w),
            4 => self.by_rows::<S, 4>(simd, w),
            2 => self.by_rows::<S, 2>(simd, w),
            _ => self.by_rows::<S, 1>(simd, w),
        }
    }

    #[inline(always)]
    fn by_rows<S: Simd, const N: usize>(&self, simd: S, w: &[Complex<R::Vector<S>>]) -> R::Vector<S> {
        let lanes = R::lanes::<S>();
        let mut total = R::splat(simd, R::default());
        for (index, tile) in self.tiles.iter().enumerate() {
            let here = (index * self.half_grid + self.point) * lanes * 2 * lanes;
            let rows = lanes.min(self.in_channels - tile.i * lanes);
            let columns = lanes.min(self.in_channels - tile.j * lanes);
            let wj = &w[tile.j * lanes..][..columns];
            let mut of_tile = R::splat(simd, R::default());
            for first in (0..rows).step_by(N) {
                let g = &self.values[here + first * 2 * lanes..][..N * 2 * lanes];
                let (mut re, mut im) = ([&g[..columns]; N], [&g[..columns]; N]);
                for row in 0..N {
                    (re[row], im[row]) = (&g[row * 2 * lanes..][..columns], &g[(row * 2 + 1) * lanes..][..columns]);
                }
                let mut sums = [zero::<S, R>(simd); N];
                for j in 0..columns {
                    let wj = wj[j];
                    for row in 0..N {
                        let (re, im) = (R::splat(simd, re[row][j]), R::splat(simd, im[row][j]));
                        let sum = &mut sums[row];
                        // (re + i·im)·(wj[0] − i·wj[1])
                        sum[0] = R::mul_add(simd, re, wj[0], sum[0]);
                        sum[1] = R::mul_add(simd, im, wj[0], sum[1]);
                        sum[0] = R::mul_add(simd, im, wj[1], sum[0]);
                        sum[1] = R::mul_sub(simd, re, wj[1], sum[1]);
                    }
                }
                for (sum, wi) in sums.iter().zip(&w[tile.i * lanes + first..]) {
                    of_tile = R::mul_sub(simd, wi[1], sum[1], R::mul_add(simd, wi[0], sum[0], of_tile));
                }
            }
            total = R::plus(simd, total, of_tile);
            if tile.i < tile.j {
                total = R::plus(simd, total, of_tile);
            }
        }
        total
    }
}
