//! The taps' spectra along a line of frequencies, an output channel in each lane.
//!
//! ```text
//! W[i, c] = Σ_k v[i, c, k]·e^{−2πi·Σ_a k_a·f_a/n_a},     v = w / s[i] · t[c]
//! ```
//! s is the scale of x's channel, t a power of two that brings a channel's largest tap near 1. n is the grid's M for the Gram
//! matrix, and N for products with the spectra of x. The outer and the middle axis are folded first, then the inner one
//! goes to the frequencies of the line. Cost: 2·taps + 4·K·F multiplications and additions a pair of channels.

use pulp::Simd;

use super::dft::root;
use super::geometry::Geometry;
use crate::cpu::simd::{Complex, Real, zero};

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
