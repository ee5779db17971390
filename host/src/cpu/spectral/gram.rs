//! The Gram matrix of the spectra, carried to the small grid while it is made.
//!
//! ```text
//! G_f[i, j] = Σ_b X_f[b, i]·conj X_f[b, j]                        hermitian; i and j input channels
//! Ĝ_g[i, j] = Σ_f G_f[i, j]·Π_a Dir_a(f_a, g_a)                    over all f, g on the grid of M = 2K − 1 points an axis
//! ```
//! Ĝ is the transform of x's autocorrelation at lags |l| < K, which is all of x that the taps can see. Only f_inner ≤ N/2 is
//! stored, so A_g is summed over those and Ĝ_g = A_g + conj A_{−g}; g_inner < K is kept, the rest is conjugate.
//!
//! Channels are cut in blocks of one vector. A tile is a block of i by a block of j ≥ i: j in the lanes, i broadcast. For each
//! tile and plane of the outer axis (one task) the lines of the plane pass by: the products of some frequencies into a
//! buffer, those onto the inner grid, whole lines onto the middle grid. The planes of a tile go onto the outer
//! grid last. G itself is never stored. All sums are in the precision of the spectra, in an order that the shape decides.
//!
//! Cost: 8·B multiplications and additions a frequency and pair i ≤ j, and 4·M for the grid of the inner axis, 4·M²/F more for
//! that of the middle one (F: frequencies of a line).

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::cut::Held;
use super::geometry::{Geometry, saturating};
use crate::Error;
use crate::cpu::simd::{Complex, Real, complex, complex_mut, zero};
use crate::memory;

/// Frequencies of a line whose products are buffered at once at most: 16 rows of them are half of a level 1 cache.
const FREQUENCIES: usize = 24;
/// Bytes of a tile's lines on the inner grid that are buffered at once at most: a part of a level 2 cache.
const LINES_BYTES: usize = 384 << 10;

/// The Dirichlet kernels of the three axes, (f, g).
#[derive(Debug)]
pub struct Kernels<R> {
    outer: Vec<R>,
    middle: Vec<R>,
    inner: Vec<R>,
}

impl<R: Real> Kernels<R> {
    pub fn of(geometry: &Geometry) -> Result<Kernels<R>, Error> {
        Ok(Kernels {
            outer: geometry.outer.whole_kernel()?,
            middle: geometry.middle.whole_kernel()?,
            inner: geometry.inner_kernel()?,
        })
    }
}

/// A pair of blocks of channels: i ≤ j.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tile {
    pub i: usize,
    pub j: usize,
}

/// Tiles of so many blocks.
pub fn tile_count(blocks: usize) -> usize {
    saturating(&[blocks, blocks + 1]) / 2
}

/// All tiles of so many blocks.
pub fn tiles(blocks: usize) -> Result<Vec<Tile>, Error> {
    let mut tiles = memory::try_with_capacity("tiles of the Gram matrix", tile_count(blocks))?;
    tiles.extend((0..blocks).flat_map(|i| (i..blocks).map(move |j| Tile { i, j })));
    Ok(tiles)
}

/// Lines of a plane whose products are on the inner grid at once.
fn lines_at_once(geometry: &Geometry, vector_bytes: usize, lanes: usize) -> usize {
    let line = saturating(&[geometry.inner.grid(), lanes, 2, vector_bytes]);
    (LINES_BYTES / line).clamp(1, geometry.middle.n)
}

/// One tile over one plane of the outer axis.
pub struct Plane<'a, R> {
    pub geometry: &'a Geometry,
    pub kernels: &'a Kernels<R>,
    /// [block][outer][middle][inner][b], complex vectors: what is held.
    pub spectra: &'a [R],
    pub held: &'a Held,
    pub tile: Tile,
    /// Channels of block i that are there.
    pub rows: usize,
    pub plane: usize,
    pub scratch: &'a mut [R],
    /// (middle grid, inner grid, i), complex vectors: overwritten.
    pub grid: &'a mut [R],
}

/// Values of scratch that a [`Plane`] needs, for vectors of so many lanes of `size` bytes.
pub fn plane_scratch(geometry: &Geometry, lanes: usize, size: usize) -> usize {
    let frequencies = part_len(geometry.stored(), FREQUENCIES);
    let lines = lines_at_once(geometry, lanes * size, lanes);
    saturating(&[frequencies.saturating_add(saturating(&[lines, geometry.inner.grid()])), lanes, 2, lanes])
}

/// Length of the longest of the equal parts, at most `most` long, that `len` is cut in.
pub fn part_len(len: usize, most: usize) -> usize {
    len.div_ceil(len.div_ceil(most))
}

impl<R: Real> WithSimd for Plane<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let lanes = R::lanes::<S>();
        let (middle, inner) = (self.geometry.middle, self.geometry.inner);
        let stored = self.geometry.stored();
        let step = part_len(stored, FREQUENCIES);
        let at_once = lines_at_once(self.geometry, size_of::<R::Vector<S>>(), lanes);
        let (products, onto_inner) = complex_mut::<S, R>(self.scratch).split_at_mut(step * lanes);
        let onto_middle = complex_mut::<S, R>(self.grid);
        let operand = Operand {
            values: self.spectra,
            volume: self.held.volume(self.geometry),
            samples: self.held.samples.len(),
            tile: self.tile,
        };
        let start = self.held.line(self.geometry, [self.plane, 0]);
        for first in (0..middle.n).step_by(at_once) {
            let lines = first..middle.n.min(first + at_once);
            for line in lines.clone() {
                let start = start + line * stored;
                let onto_inner = &mut onto_inner[(line - first) * inner.grid() * lanes..][..inner.grid() * lanes];
                for f in (0..stored).step_by(step) {
                    let count = step.min(stored - f);
                    operand.products::<S>(simd, start + f..start + f + count, self.rows, products);
                    let table = &self.kernels.inner[f * inner.grid()..][..count * inner.grid()];
                    for i in 0..self.rows {
                        let (from, to) = (&products[i..], &mut onto_inner[i..]);
                        resample::<S, R>(simd, table, inner.grid(), (from, lanes), (to, lanes), f == 0);
                    }
                }
            }
            let table = &self.kernels.middle[lines.start * middle.grid()..lines.end * middle.grid()];
            let width = inner.grid() * lanes;
            for g in 0..inner.grid() {
                for at in (0..self.rows).map(|i| g * lanes + i) {
                    let (from, to) = (&onto_inner[at..], &mut onto_middle[at..]);
                    resample::<S, R>(simd, table, middle.grid(), (from, width), (to, width), first == 0);
                }
            }
        }
    }
}

/// Spectra as the two operands of a tile.
struct Operand<'a, R> {
    values: &'a [R],
    /// Complex vectors of a volume.
    volume: usize,
    samples: usize,
    tile: Tile,
}

impl<R: Real> Operand<'_, R> {
    /// G at some frequencies into (f, i) of `products`.
    #[inline(always)]
    fn products<S: Simd>(
        &self,
        simd: S,
        frequencies: Range<usize>,
        rows: usize,
        products: &mut [Complex<R::Vector<S>>],
    ) {
        let lanes = R::lanes::<S>();
        // Accumulators are two registers a row: half of the registers there are.
        match lanes.min(if S::REGISTER_COUNT >= 32 { 8 } else { 4 }) {
            8 => self.rows::<S, 8>(simd, frequencies, rows, products),
            4 => self.rows::<S, 4>(simd, frequencies, rows, products),
            2 => self.rows::<S, 2>(simd, frequencies, rows, products),
            _ => self.rows::<S, 1>(simd, frequencies, rows, products),
        }
    }

    #[inline(always)]
    fn rows<S: Simd, const ROWS: usize>(
        &self,
        simd: S,
        frequencies: Range<usize>,
        rows: usize,
        products: &mut [Complex<R::Vector<S>>],
    ) {
        let lanes = R::lanes::<S>();
        let at = |block: usize| (block * self.volume + frequencies.start) * self.samples * 2 * lanes;
        let len = frequencies.len() * self.samples * 2 * lanes;
        let (xi, xj) = (&self.values[at(self.tile.i)..][..len], &self.values[at(self.tile.j)..][..len]);
        let (xj, step) = (complex::<S, R>(xj), self.samples * 2 * lanes);
        for first in (0..rows).step_by(ROWS) {
            let of_frequencies = xi.chunks_exact(step).zip(xj.chunks_exact(self.samples));
            for ((xi, xj), products) in of_frequencies.zip(products.chunks_exact_mut(lanes)) {
                let mut sums = [zero::<S, R>(simd); ROWS];
                for (xi, xj) in xi.chunks_exact(2 * lanes).zip(xj) {
                    let (re, im) = (&xi[first..][..ROWS], &xi[lanes + first..][..ROWS]);
                    for row in 0..ROWS {
                        let sum = &mut sums[row];
                        let (re, im) = (R::splat(simd, re[row]), R::splat(simd, im[row]));
                        // (re + i·im)·(xj[0] − i·xj[1])
                        sum[0] = R::mul_add(simd, re, xj[0], sum[0]);
                        sum[1] = R::mul_add(simd, im, xj[0], sum[1]);
                        sum[0] = R::mul_add(simd, im, xj[1], sum[0]);
                        sum[1] = R::mul_sub(simd, re, xj[1], sum[1]);
                    }
                }
                let products = &mut products[first..][..ROWS];
                products[..ROWS].copy_from_slice(&sums[..ROWS]);
            }
        }
    }
}

/// Sums of `from` (every so many) by the columns of `table` (rows of `grid` columns) into `to` (every so many), which they
/// replace or are added to.
#[inline(always)]
pub fn resample<S: Simd, R: Real>(
    simd: S,
    table: &[R],
    grid: usize,
    from: (&[Complex<R::Vector<S>>], usize),
    to: (&mut [Complex<R::Vector<S>>], usize),
    replaces: bool,
) {
    // Accumulators are two registers a column; equal parts of at most so many.
    let most = if S::REGISTER_COUNT >= 32 { 9 } else { 6 };
    let step = part_len(grid, most);
    let mut first = 0;
    while first < grid {
        let count = step.min(grid - first);
        let columns = Columns { table: &table[first..], grid };
        let to = (&mut to.0[first * to.1..], to.1);
        match count {
            9 => columns.sums::<S, 9>(simd, from, to, replaces),
            8 => columns.sums::<S, 8>(simd, from, to, replaces),
            7 => columns.sums::<S, 7>(simd, from, to, replaces),
            6 => columns.sums::<S, 6>(simd, from, to, replaces),
            5 => columns.sums::<S, 5>(simd, from, to, replaces),
            4 => columns.sums::<S, 4>(simd, from, to, replaces),
            3 => columns.sums::<S, 3>(simd, from, to, replaces),
            2 => columns.sums::<S, 2>(simd, from, to, replaces),
            _ => columns.sums::<S, 1>(simd, from, to, replaces),
        }
        first += count;
    }
}

struct Columns<'a, R> {
    table: &'a [R],
    grid: usize,
}

impl<R: Real> Columns<'_, R> {
    #[inline(always)]
    fn sums<S: Simd, const COLUMNS: usize>(
        &self,
        simd: S,
        (from, from_stride): (&[Complex<R::Vector<S>>], usize),
        (to, to_stride): (&mut [Complex<R::Vector<S>>], usize),
        replaces: bool,
    ) {
        let mut sums = [zero::<S, R>(simd); COLUMNS];
        for (row, [re, im]) in self.table.chunks(self.grid).zip(from.iter().step_by(from_stride)) {
            let row = &row[..COLUMNS];
            for (sum, &factor) in sums.iter_mut().zip(row) {
                let factor = R::splat(simd, factor);
                sum[0] = R::mul_add(simd, factor, *re, sum[0]);
                sum[1] = R::mul_add(simd, factor, *im, sum[1]);
            }
        }
        for (place, sum) in to.iter_mut().step_by(to_stride).zip(sums) {
            *place = if replaces { sum } else { [R::plus(simd, place[0], sum[0]), R::plus(simd, place[1], sum[1])] };
        }
    }
}

/// A tile's planes onto the outer grid, added to what is there.
pub struct Onto<'a, R> {
    pub geometry: &'a Geometry,
    pub kernels: &'a Kernels<R>,
    pub planes: Range<usize>,
    /// (plane, middle grid, inner grid, i), complex vectors.
    pub from: &'a [R],
    /// Two outer grids.
    pub scratch: &'a mut [R],
    /// (outer grid, middle grid, inner half grid, i), complex vectors: added to.
    pub gram: &'a mut [R],
}

/// Values of scratch that [`Onto`] needs.
pub fn onto_scratch(geometry: &Geometry, lanes: usize) -> usize {
    saturating(&[2, geometry.outer.grid(), 2, lanes])
}

impl<R: Real> WithSimd for Onto<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let lanes = R::lanes::<S>();
        let (outer, middle, inner) = (self.geometry.outer, self.geometry.middle, self.geometry.inner);
        let from = complex::<S, R>(self.from);
        let gram = complex_mut::<S, R>(self.gram);
        let (plus, minus) = complex_mut::<S, R>(self.scratch).split_at_mut(outer.grid());
        let minus = &mut minus[..outer.grid()];
        let table = &self.kernels.outer[self.planes.start * outer.grid()..self.planes.end * outer.grid()];
        let plane = middle.grid() * inner.grid() * lanes;
        let opposite = |g: usize, points: usize| (points - g) % points;
        for (m, n) in (0..middle.grid()).flat_map(|m| (0..inner.taps).map(move |n| (m, n))) {
            for i in 0..lanes {
                let at = |m: usize, n: usize| (m * inner.grid() + n) * lanes + i;
                let across = at(opposite(m, middle.grid()), opposite(n, inner.grid()));
                resample::<S, R>(simd, table, outer.grid(), (&from[at(m, n)..], plane), (plus, 1), true);
                resample::<S, R>(simd, table, outer.grid(), (&from[across..], plane), (minus, 1), true);
                for (g, a) in plus.iter().enumerate() {
                    let b = minus[opposite(g, outer.grid())];
                    let place = &mut gram[((g * middle.grid() + m) * inner.taps + n) * lanes + i];
                    place[0] = R::plus(simd, place[0], R::plus(simd, a[0], b[0]));
                    place[1] = R::plus(simd, place[1], R::minus(simd, a[1], b[1]));
                }
            }
        }
    }
}
