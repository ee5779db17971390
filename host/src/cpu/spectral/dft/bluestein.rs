//! Lengths with a large prime: with kp = (k² + p² − (k−p)²)/2 a transform is a cyclic convolution with a chirp, of a length
//! that has small factors.

use std::iter::successors;

use pulp::Simd;

use super::{Dft, Way, mixed, root, turn};
use crate::cpu::simd::{Complex, Real, zero};

#[derive(Debug)]
pub struct Bluestein<R> {
    /// Of a length ≥ 2n − 1 with small factors.
    pub inner: Dft<R>,
    /// e^{−πi·p²/n}.
    chirp: Vec<[R; 2]>,
    /// The transform of the conjugate chirp, over the inner length.
    spectrum: Vec<[R; 2]>,
}

impl<R: Real> Bluestein<R> {
    pub fn new(len: usize) -> Bluestein<R> {
        let inner = inner_len(len);
        // p² mod 2n keeps the angle small, and its rounding with it.
        let squared = |p: usize| (p as u128 * p as u128 % (2 * len as u128)) as usize;
        let chirp: Vec<[f64; 2]> = (0..len).map(|p| root::<f64>(squared(p), 2 * len)).collect();
        let mut conjugate = vec![[0.0; 2]; inner];
        for (p, &[re, im]) in chirp.iter().enumerate() {
            for at in [p, (inner - p) % inner] {
                conjugate[at] = [re, -im];
            }
        }
        let wide = Dft::<f64>::new(inner);
        let mut scratch = conjugate.clone();
        // 1/n of the inverse transform is in the spectrum.
        let spectrum = wide
            .forward(pulp::Scalar, &mut conjugate, &mut scratch)
            .iter()
            .map(|value| value.map(|v| v / inner as f64));
        let rounded = |value: [f64; 2]| value.map(R::from_f64);
        Bluestein {
            spectrum: spectrum.map(rounded).collect(),
            chirp: chirp.into_iter().map(rounded).collect(),
            inner: Dft::new(inner),
        }
    }

    #[inline(always)]
    pub fn forward<S: Simd>(&self, simd: S, data: &mut [Complex<R::Vector<S>>], scratch: &mut [Complex<R::Vector<S>>]) {
        let n = self.inner.len;
        let (a, b) = scratch.split_at_mut(n);
        let Way::Mixed(passes) = &self.inner.way else { unreachable!("the inner length is smooth") };
        a[data.len()..].fill(zero::<S, R>(simd));
        for ((a, x), &chirp) in a.iter_mut().zip(&*data).zip(&self.chirp) {
            *a = turn::<S, R>(simd, *x, chirp);
        }
        let transformed = mixed::<S, R>(simd, passes, a, &mut b[..n]);
        // The inverse is the transform with real and imaginary parts exchanged, before and after.
        for (x, &factor) in transformed.iter_mut().zip(&self.spectrum) {
            let [re, im] = turn::<S, R>(simd, *x, factor);
            *x = [im, re];
        }
        if passes.len() % 2 == 1 {
            a.copy_from_slice(&b[..n]);
        }
        let convolved = mixed::<S, R>(simd, passes, a, &mut b[..n]);
        for ((x, &[im, re]), &chirp) in data.iter_mut().zip(&*convolved).zip(&self.chirp) {
            *x = turn::<S, R>(simd, [re, im], chirp);
        }
    }
}

/// The least number with no primes but 2, 3 and 5 that holds the convolution of `len` elements with a chirp.
pub fn inner_len(len: usize) -> usize {
    let least = 2 * len as u128 - 1;
    let powers = |base: u128| successors(Some(1u128), move |&power| (power < least).then_some(power * base));
    let odd = powers(5).flat_map(|fives| powers(3).map(move |threes| fives.saturating_mul(threes)));
    let inner = odd.filter(|&odd| odd < 2 * least).map(|odd| odd * least.div_ceil(odd).next_power_of_two()).min();
    inner.and_then(|inner| usize::try_from(inner).ok()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inner_lengths_are_the_next_with_small_factors() {
        let smooth = |mut n: usize| {
            for prime in [2, 3, 5] {
                while n.is_multiple_of(prime) {
                    n /= prime;
                }
            }
            n == 1
        };
        for len in (1..300).chain([1009, 4093, 65_537]) {
            assert_eq!(Some(inner_len(len)), (2 * len - 1..).find(|&n| smooth(n)), "{len}");
        }
        assert_eq!(inner_len(usize::MAX), usize::MAX);
        assert!(inner_len(1 << 61) >= (1 << 62) - 1);
    }
}
