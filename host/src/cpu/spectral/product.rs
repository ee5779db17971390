//! The energy of z from the products of spectra, frequency by frequency.
//!
//! ```text
//! Z_f[b, c] = Σ_i X_f[b, i]·W_f[i, c]          E[c] = 1/(Π N) · Σ_f Σ_b |Z_f[b, c]|² / t[c]²
//! ```
//! The same energy as by the Gram matrix, in the other order: less work where channels are many and positions few, since the
//! Gram matrix has Cin² elements whatever the batch, or where there are far fewer output than input channels.
//!
//! Lanes are output channels. A task is some lines of frequencies along the inner axis and some vectors of channels, whose Z
//! stay in the level 2 cache. It goes through the input channels a block at a time: the block's taps are read once for all of
//! the task's lines, and its spectra once for all of the task's channels. With a line or a vector a task, either the taps or
//! the spectra would come from memory as often as there are lines or vectors, which is what threads wait for.
//! Energies are summed in `f64` between frequencies, tasks' sums in order.
//! Cost: 4·B·Cin·Cout multiplications and additions a frequency, and W at all N points.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::cut::Held;
use super::geometry::{Geometry, saturating};
use super::taps::{Phases, Turns};
use crate::cpu::simd::{Complex, Real, complex_mut, zero};

/// Some lines of frequencies, for some vectors of output channels.
pub struct FrequencyLines<'a, R> {
    pub geometry: &'a Geometry,
    pub phases: &'a Phases<R>,
    /// The lines, of planes that are held: middle frequencies of an outer one after the other.
    pub lines: Range<usize>,
    /// [vector of c][i][tap], vectors: those of the task's channels.
    pub taps: &'a [R],
    pub in_channels: usize,
    /// [block][outer][middle][inner][b], complex vectors: what is held.
    pub spectra: &'a [R],
    pub held: &'a Held,
    pub scratch: &'a mut [R],
    /// [line][c], channels padded to whole vectors: added to.
    pub energies: &'a mut [f64],
}

/// Values of scratch that [`FrequencyLines`] need: Z of all, and of one block of input channels W at a frequency and what it is
/// made of.
pub fn lines_scratch(geometry: &Geometry, samples: usize, lines: usize, vectors: usize, lanes: usize) -> usize {
    let of_block = saturating(&[geometry.inner.taps + 1, lanes]);
    saturating(&[saturating(&[vectors, lines, geometry.stored(), samples]).saturating_add(of_block), 2, lanes])
}

impl<R: Real> WithSimd for FrequencyLines<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let lanes = R::lanes::<S>();
        let (geometry, samples) = (self.geometry, self.held.samples.len());
        let (middle, stored, of_pair) = (geometry.middle.n, geometry.stored(), geometry.taps());
        let at = |line: usize| [line / middle, line % middle];
        let turns: Vec<Turns<R>> = self.lines.clone().map(|line| self.phases.line(at(line))).collect();
        let mut parts = vec![R::default(); geometry.inner.taps];

        let taps = R::vectors::<S>(self.taps);
        let vectors = taps.len() / (self.in_channels * of_pair);
        let (products, scratch) =
            complex_mut::<S, R>(self.scratch).split_at_mut(vectors * turns.len() * stored * samples);
        let (spectrum, folded) = scratch.split_at_mut(lanes);
        products.fill(zero::<S, R>(simd));
        let volume = self.held.volume(geometry);
        for (block, first) in (0..self.in_channels).step_by(lanes).enumerate() {
            let channels = lanes.min(self.in_channels - first);
            let (spectrum, folded) = (&mut spectrum[..channels], &mut folded[..channels * geometry.inner.taps]);
            // Those of a vector's lines.
            let products = products.chunks_exact_mut(turns.len() * stored * samples);
            for (taps, products) in taps.chunks_exact(self.in_channels * of_pair).zip(products) {
                let taps = &taps[first * of_pair..][..channels * of_pair];
                let lines = self.lines.clone().zip(&turns).zip(products.chunks_exact_mut(stored * samples));
                for ((line, turns), products) in lines {
                    turns.fold::<S>(simd, taps, folded);
                    let line = (block * volume + self.held.line(geometry, at(line))) * samples * 2 * lanes;
                    let spectra = &self.spectra[line..][..stored * samples * 2 * lanes];
                    let frequencies = spectra.chunks_exact(samples * 2 * lanes).zip(products.chunks_exact_mut(samples));
                    for (f, (x, products)) in frequencies.enumerate() {
                        self.phases.spectrum::<S>(simd, f, folded, &mut parts, spectrum);
                        add_products::<S, R>(simd, x, spectrum, products);
                    }
                }
            }
        }

        let width = self.energies.len() / turns.len();
        let products = products.chunks_exact(stored * samples).enumerate();
        for (index, products) in products {
            let (vector, line) = (index / turns.len(), index % turns.len());
            let energies = &mut self.energies[line * width + vector * lanes..][..lanes];
            for (f, products) in products.chunks_exact(samples).enumerate() {
                let mut sum = R::splat(simd, R::default());
                for [re, im] in products {
                    sum = R::mul_add(simd, *re, *re, R::mul_add(simd, *im, *im, sum));
                }
                let inner = geometry.inner;
                let weight = if inner.is_transformed() && f > 0 && 2 * f != inner.n { 2.0 } else { 1.0 };
                let sum: &[R] = bytemuck::cast_slice(std::slice::from_ref(&sum));
                for (energy, value) in energies.iter_mut().zip(sum) {
                    *energy += weight * value.to_f64();
                }
            }
        }
    }
}

/// Adds Σ_i X[b, i]·W[i] to the products of all samples, over a block of channels at one frequency.
#[inline(always)]
fn add_products<S: Simd, R: Real>(
    simd: S,
    x: &[R],
    w: &[Complex<R::Vector<S>>],
    products: &mut [Complex<R::Vector<S>>],
) {
    let mut rows = x.chunks_exact(2 * R::lanes::<S>());
    let at_once = if S::REGISTER_COUNT >= 32 { products.len() } else { 0 };
    let (eights, rest) = products.split_at_mut(at_once / 8 * 8);
    for products in eights.as_chunks_mut().0 {
        add_rows::<S, R, 8>(simd, &mut rows, w, products);
    }
    let (fours, ones) = rest.as_chunks_mut();
    for products in fours {
        add_rows::<S, R, 4>(simd, &mut rows, w, products);
    }
    for products in ones.as_chunks_mut().0 {
        add_rows::<S, R, 1>(simd, &mut rows, w, products);
    }
}

/// The same for the next rows of X, [re, im][i] each.
#[inline(always)]
fn add_rows<'a, S: Simd, R: Real, const ROWS: usize>(
    simd: S,
    rows: &mut impl Iterator<Item = &'a [R]>,
    w: &[Complex<R::Vector<S>>],
    products: &mut [Complex<R::Vector<S>>; ROWS],
) {
    let (mut re, mut im) = ([&[] as &[R]; ROWS], [&[] as &[R]; ROWS]);
    for row in 0..ROWS {
        let Some(x) = rows.next() else { return };
        let (real, imaginary) = x.split_at(x.len() / 2);
        (re[row], im[row]) = (&real[..w.len()], &imaginary[..w.len()]);
    }
    let mut sums = *products;
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
    *products = sums;
}
