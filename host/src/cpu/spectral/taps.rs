//! The taps as they are read, and their spectra along a line of frequencies: an output channel in each lane.
//!
//! ```text
//! W[i, c] = Σ_k v[i, c, k]·e^{−2πi·Σ_a k_a·f_a/n_a},     v = w / s[i] · t[c]
//! ```
//! s is the scale of x's channel, t a power of two that brings a channel's largest tap near 1. n is the grid's M for the Gram
//! matrix, and N for products with the spectra of x. The outer and the middle axis are folded first, then the inner one
//! goes to the frequencies of the line. Cost: 2·taps + 4·K·F multiplications and additions a pair of channels.

use pulp::Simd;
use rayon::prelude::*;

use super::cut::Cut;
use super::dft::root;
use super::geometry::{Geometry, saturating};
use crate::Error;
use crate::cpu::Operands;
use crate::cpu::simd::{Aligned, Complex, Real, zero};
use crate::element::Element;

/// The kernel as the energies read it.
pub struct Taps<R> {
    /// w / s[i] · t[c]: [vector of c][i][tap][c].
    pub values: Aligned<R>,
    /// t, for each output channel.
    pub scales: Vec<f64>,
}

impl<R: Real> Taps<R> {
    pub fn of<T: Element>(operands: &Operands<'_, T>, cut: &Cut, scales: &[f64]) -> Result<Taps<R>, Error> {
        let problem = operands.problem;
        let (ci, co, taps, lanes) = (problem.in_channels(), problem.out_channels(), problem.taps(), cut.lanes);
        let mut values = Aligned::<R>::zeros("the taps", cut.taps())?;
        let of_blocks: Vec<Vec<f64>> = values
            .as_mut_slice()
            .par_chunks_exact_mut(ci * taps * lanes)
            .enumerate()
            .map(|(block, values)| {
                let mut of_channels = Vec::new();
                for (lane, c) in (block * lanes..co.min((block + 1) * lanes)).enumerate() {
                    let row = |i: usize| operands.w[(i * co + c) * taps..][..taps].iter().map(|tap| tap.to_f64());
                    let largest = |i: usize| row(i).fold(0.0, |max: f64, tap| max.max(tap.abs()));
                    let scale = power_of_two::<R>((0..ci).map(|i| largest(i) / scales[i]).fold(0.0, f64::max));
                    for i in 0..ci {
                        let factor = scale / scales[i];
                        let places = values[i * taps * lanes + lane..].iter_mut().step_by(lanes);
                        for (place, tap) in places.zip(row(i)) {
                            *place = R::from_f64(tap * factor);
                        }
                    }
                    of_channels.push(scale);
                }
                of_channels
            })
            .collect();
        Ok(Taps { values, scales: of_blocks.concat() })
    }
}

/// The power of two that brings `largest` into [1, 2), so far as squares of `R` allow; 1 for what is 0 or not finite.
pub fn power_of_two<R: Real>(largest: f64) -> f64 {
    if largest == 0.0 || !largest.is_finite() {
        return 1.0;
    }
    let limit = if size_of::<R>() == 4 { 100.0 } else { 900.0 };
    (-largest.log2().floor().clamp(-limit, limit)).exp2()
}

/// Values of [`Turns`] over `n` points of the inner axis.
pub fn turns_len(geometry: &Geometry, n: usize) -> usize {
    saturating(&[2, saturating(&[geometry.outer.taps, geometry.middle.taps]).saturating_add(n)])
}

/// The phases along a line.
pub struct Turns<R> {
    /// For each pair of an outer and a middle tap.
    rows: Vec<[R; 2]>,
    /// The roots of the inner axis.
    inner: Vec<[R; 2]>,
    /// Taps of the inner axis.
    taps: usize,
    /// Frequencies of the line.
    frequencies: usize,
}

impl<R: Real> Turns<R> {
    /// Of the line at outer and middle frequencies `at`, for axes of `n` points.
    pub fn of(geometry: &Geometry, at: [usize; 2], n: [usize; 3], frequencies: usize) -> Turns<R> {
        let (outer, middle) = (geometry.outer.taps, geometry.middle.taps);
        let row = |d: usize, h: usize| {
            let [a, b] = [(d * at[0], n[0]), (h * at[1], n[1])].map(|(step, n)| root::<f64>(step % n, n));
            [a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]].map(R::from_f64)
        };
        Turns {
            rows: (0..outer).flat_map(|d| (0..middle).map(move |h| row(d, h))).collect(),
            inner: (0..n[2]).map(|f| root(f, n[2])).collect(),
            taps: geometry.inner.taps,
            frequencies,
        }
    }

    /// W of one vector of channels, (f, i), `padded` complex vectors from one f to the next.
    #[inline(always)]
    pub fn transform<S: Simd>(
        &self,
        simd: S,
        taps: &[R::Vector<S>],
        padded: usize,
        folded: &mut [Complex<R::Vector<S>>],
        spectrum: &mut [Complex<R::Vector<S>>],
    ) {
        let folded = &mut folded[..self.taps];
        for (i, taps) in taps.chunks_exact(self.rows.len() * self.taps).enumerate() {
            for (k, sum) in folded.iter_mut().enumerate() {
                *sum = zero::<S, R>(simd);
                for (turn, &tap) in self.rows.iter().zip(taps[k..].iter().step_by(self.taps)) {
                    sum[0] = R::mul_add(simd, tap, R::splat(simd, turn[0]), sum[0]);
                    sum[1] = R::mul_add(simd, tap, R::splat(simd, turn[1]), sum[1]);
                }
            }
            for f in 0..self.frequencies {
                let mut sum = zero::<S, R>(simd);
                let mut index = 0;
                for value in &*folded {
                    let turn = self.inner[index];
                    let (re, im) = (R::splat(simd, turn[0]), R::splat(simd, turn[1]));
                    sum[0] = R::mul_sub(simd, value[1], im, R::mul_add(simd, value[0], re, sum[0]));
                    sum[1] = R::mul_add(simd, value[1], re, R::mul_add(simd, value[0], im, sum[1]));
                    index += f;
                    if index >= self.inner.len() {
                        index -= self.inner.len();
                    }
                }
                spectrum[f * padded + i] = sum;
            }
        }
    }
}
