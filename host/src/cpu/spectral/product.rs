//! The energy of z from the products of spectra, frequency by frequency.
//!
//! ```text
//! Z_f[b, c] = Σ_i X_f[b, i]·W_f[i, c]          E[c] = 1/(Π N) · Σ_f Σ_b |Z_f[b, c]|² / t[c]²
//! ```
//! The same energy as by the Gram matrix, in the other order: less work where channels are many and positions few, since the
//! Gram matrix has Cin² elements whatever the batch, or where there are far fewer output than input channels.
//!
//! Lanes are output channels. A task is a line of frequencies along the inner axis: for one vector of channels at a time it
//! makes W and multiplies, and sums in `f64` between frequencies. Tasks' sums are added in order.
//! Cost: 4·B·Cin·Cout multiplications and additions a frequency, and W at all N points.

use pulp::{Simd, WithSimd};

use super::cut::Held;
use super::geometry::{Geometry, saturating};
use super::taps::Turns;
use crate::cpu::simd::{Complex, Real, complex_mut, zero};

/// One line of frequencies.
pub struct FrequencyLine<'a, R> {
    pub geometry: &'a Geometry,
    /// Outer and middle frequencies of the line.
    pub at: [usize; 2],
    /// v: [vector of c][i][tap], vectors.
    pub taps: &'a [R],
    pub in_channels: usize,
    /// [block][outer][middle][inner][b], complex vectors: what is held.
    pub spectra: &'a [R],
    pub held: &'a Held,
    pub scratch: &'a mut [R],
    /// One for each output channel, padded to whole vectors: added to.
    pub energies: &'a mut [f64],
}

/// Values of scratch that a [`FrequencyLine`] needs: W of one vector of channels, and a tap's line.
pub fn line_scratch(geometry: &Geometry, in_channels: usize, lanes: usize) -> usize {
    saturating(&[saturating(&[geometry.stored(), in_channels]).saturating_add(geometry.inner.taps), 2, lanes])
}

impl<R: Real> WithSimd for FrequencyLine<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let lanes = R::lanes::<S>();
        let (outer, middle, inner) = (self.geometry.outer, self.geometry.middle, self.geometry.inner);
        let stored = self.geometry.stored();
        let (spectrum, folded) = complex_mut::<S, R>(self.scratch).split_at_mut(stored * self.in_channels);
        let taps = R::vectors::<S>(self.taps);
        let turns = Turns::<R>::of(self.geometry, self.at, [outer.n, middle.n, inner.n], stored);
        let (volume, line) = (self.held.volume(self.geometry), self.held.line(self.geometry, self.at));
        let block = taps.len() / (self.energies.len() / lanes);
        for (taps, energies) in taps.chunks_exact(block).zip(self.energies.chunks_exact_mut(lanes)) {
            turns.transform::<S>(simd, taps, self.in_channels, folded, spectrum);
            for (f, w) in spectrum.chunks_exact(self.in_channels).enumerate() {
                let samples = Samples { values: self.spectra, volume, at: line + f, samples: self.held.samples.len() };
                let sum = samples.energy::<S>(simd, w);
                let weight = if inner.is_transformed() && f > 0 && 2 * f != inner.n { 2.0 } else { 1.0 };
                let sum: &[R] = bytemuck::cast_slice(std::slice::from_ref(&sum));
                for (energy, value) in energies.iter_mut().zip(sum) {
                    *energy += weight * value.to_f64();
                }
            }
        }
    }
}

/// The spectra of all samples at one frequency.
struct Samples<'a, R> {
    values: &'a [R],
    /// Frequencies of a block.
    volume: usize,
    at: usize,
    samples: usize,
}

impl<R: Real> Samples<'_, R> {
    /// Σ_b |Σ_i X[b, i]·W[i]|², for each lane.
    #[inline(always)]
    fn energy<S: Simd>(&self, simd: S, w: &[Complex<R::Vector<S>>]) -> R::Vector<S> {
        let mut total = R::splat(simd, R::default());
        let mut first = 0;
        if S::REGISTER_COUNT >= 32 {
            while first + 8 <= self.samples {
                total = R::plus(simd, total, self.rows::<S, 8>(simd, first, w));
                first += 8;
            }
        }
        while first + 4 <= self.samples {
            total = R::plus(simd, total, self.rows::<S, 4>(simd, first, w));
            first += 4;
        }
        while first < self.samples {
            total = R::plus(simd, total, self.rows::<S, 1>(simd, first, w));
            first += 1;
        }
        total
    }

    #[inline(always)]
    fn rows<S: Simd, const ROWS: usize>(&self, simd: S, first: usize, w: &[Complex<R::Vector<S>>]) -> R::Vector<S> {
        let lanes = R::lanes::<S>();
        let mut sums = [zero::<S, R>(simd); ROWS];
        for (block, w) in w.chunks(lanes).enumerate() {
            let x = &self.values[((block * self.volume + self.at) * self.samples + first) * 2 * lanes..]
                [..ROWS * 2 * lanes];
            let (mut re, mut im) = ([&x[..w.len()]; ROWS], [&x[..w.len()]; ROWS]);
            for row in 0..ROWS {
                (re[row], im[row]) = (&x[row * 2 * lanes..][..w.len()], &x[(row * 2 + 1) * lanes..][..w.len()]);
            }
            for i in 0..w.len() {
                let w = w[i];
                for row in 0..ROWS {
                    let (re, im) = (R::splat(simd, re[row][i]), R::splat(simd, im[row][i]));
                    let sum = &mut sums[row];
                    sum[0] = R::mul_add(simd, re, w[0], sum[0]);
                    sum[1] = R::mul_add(simd, im, w[0], sum[1]);
                    sum[0] = R::mul_sub(simd, im, w[1], sum[0]);
                    sum[1] = R::mul_add(simd, re, w[1], sum[1]);
                }
            }
        }
        let mut total = R::splat(simd, R::default());
        for sum in sums {
            total = R::mul_add(simd, sum[0], sum[0], R::mul_add(simd, sum[1], sum[1], total));
        }
        total
    }
}
