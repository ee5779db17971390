//! The discrete Fourier transform of any length, a channel in each lane.
//!
//! ```text
//! X[k] = Σ_p x[p]·e^{−2πi·kp/n}                    not normalised; X and x as [re, im] vectors
//! ```
//! Stockham's self-sorting form: a pass for each factor r of n takes r elements m apart (m what is left of n), and
//! writes their r-point transform, turned by e^{−2πi·jp/(rm)}, side by side. Factors are 4, 2, 3, 5, 6, and odd primes up to
//! [`LARGEST_PRIME`] by their definition, real and imaginary kernels apart. A length with a larger prime goes by
//! Bluestein's way: with kp = (k² + p² − (k−p)²)/2 it is a cyclic convolution, of a length that has small factors.
//!
//! Every lane is transformed by itself, so passes need no transposition and no shuffles.
//! Error: about 1e-7·log n of the norm in `f32`.
//! Sources: Stockham 1966; Van Loan, Computational Frameworks for the FFT, §1.7; Bluestein 1970.

mod bluestein;
mod butterfly;

use std::f64::consts::TAU;

use pulp::Simd;

use crate::cpu::simd::{Complex, Real, zero};
use bluestein::Bluestein;
use butterfly::{Butterfly, Five, Four, Six, Three, Two};

/// The largest prime factor that is transformed by its definition: past it, Bluestein's way costs less.
const LARGEST_PRIME: usize = 31;

/// A transform of one length.
#[derive(Debug)]
pub struct Dft<R> {
    len: usize,
    way: Way<R>,
}

#[derive(Debug)]
enum Way<R> {
    /// Pass after pass.
    Mixed(Vec<Pass<R>>),
    Bluestein(Box<Bluestein<R>>),
}

/// One factor's pass over n = radix·m·stride elements.
#[derive(Debug)]
struct Pass<R> {
    radix: usize,
    /// What is left of the length after this factor.
    m: usize,
    /// The product of the factors before it.
    stride: usize,
    /// e^{−2πi·jp/(radix·m)} for p < m, 0 < j < radix.
    twiddles: Vec<[R; 2]>,
    /// cos and sin of 2πj/radix, for those radices that are done by definition.
    roots: Vec<[R; 2]>,
}

/// e^{−2πi·index/n}.
pub fn root<R: Real>(index: usize, n: usize) -> [R; 2] {
    let angle = TAU * index as f64 / n as f64;
    [R::from_f64(angle.cos()), R::from_f64(-angle.sin())]
}

/// The factors of `n` in the order of their passes, or none if one is too large.
fn factors(mut n: usize) -> Option<Vec<usize>> {
    let mut factors = Vec::new();
    for radix in [6, 4, 5, 3, 2] {
        while n.is_multiple_of(radix) {
            factors.push(radix);
            n /= radix;
        }
    }
    for radix in (7..=LARGEST_PRIME).step_by(2) {
        while n.is_multiple_of(radix) {
            factors.push(radix);
            n /= radix;
        }
    }
    (n == 1).then_some(factors)
}

/// What a transform takes, known before it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lengths {
    /// Elements of the scratch that [`forward`](Dft::forward) needs.
    pub scratch: usize,
    /// Elements of all tables at most, also while they are made.
    pub tables: usize,
}

impl Lengths {
    pub fn of(len: usize) -> Lengths {
        match factors(len) {
            // The passes' twiddles are len − 1 in all, and roots are fewer than their radix.
            Some(_) => Lengths { scratch: len, tables: len.saturating_mul(2) },
            // Twice: the chirp and its spectrum, made in `f64`, and the tables of the inner transform in both precisions.
            None => {
                let inner = bluestein::inner_len(len);
                Lengths { scratch: inner.saturating_mul(2), tables: inner.saturating_mul(10) }
            }
        }
    }
}

impl<R: Real> Dft<R> {
    /// Tables for `len` elements.
    pub fn new(len: usize) -> Dft<R> {
        let Some(factors) = factors(len) else {
            return Dft { len, way: Way::Bluestein(Box::new(Bluestein::new(len))) };
        };
        let mut stride = 1;
        let passes = factors.into_iter().map(|radix| {
            let m = len / stride / radix;
            let turned = |p: usize| (1..radix).map(move |j| root(j * p, radix * m));
            let by_definition = if radix > 6 { radix } else { 0 };
            let pass = Pass {
                radix,
                m,
                stride,
                twiddles: (0..m).flat_map(turned).collect(),
                roots: (0..by_definition)
                    .map(|j| root(j, radix))
                    .map(|[c, s]: [R; 2]| [c, R::from_f64(-s.to_f64())])
                    .collect(),
            };
            stride *= radix;
            pass
        });
        Dft { len, way: Way::Mixed(passes.collect()) }
    }

    /// Transforms `data` with [`Lengths::scratch`] elements of scratch; the result is in what is returned: `data` or a part of `scratch`.
    #[inline(always)]
    pub fn forward<'a, S: Simd>(
        &self,
        simd: S,
        data: &'a mut [Complex<R::Vector<S>>],
        scratch: &'a mut [Complex<R::Vector<S>>],
    ) -> &'a mut [Complex<R::Vector<S>>] {
        match &self.way {
            Way::Mixed(passes) => mixed(simd, passes, &mut data[..self.len], &mut scratch[..self.len]),
            Way::Bluestein(bluestein) => {
                bluestein.forward(simd, &mut data[..self.len], scratch);
                &mut data[..self.len]
            }
        }
    }
}

#[inline(always)]
fn mixed<'a, S: Simd, R: Real>(
    simd: S,
    passes: &[Pass<R>],
    mut from: &'a mut [Complex<R::Vector<S>>],
    mut to: &'a mut [Complex<R::Vector<S>>],
) -> &'a mut [Complex<R::Vector<S>>] {
    for pass in passes {
        match pass.radix {
            2 => fixed::<S, R, Two, 2>(simd, pass, from, to),
            3 => fixed::<S, R, Three, 3>(simd, pass, from, to),
            4 => fixed::<S, R, Four, 4>(simd, pass, from, to),
            5 => fixed::<S, R, Five, 5>(simd, pass, from, to),
            6 => fixed::<S, R, Six, 6>(simd, pass, from, to),
            _ => by_definition(simd, pass, from, to),
        }
        (from, to) = (to, from);
    }
    from
}

/// A pass of a radix whose transform is written out.
#[inline(always)]
fn fixed<S: Simd, R: Real, B: Butterfly<N>, const N: usize>(
    simd: S,
    pass: &Pass<R>,
    from: &[Complex<R::Vector<S>>],
    to: &mut [Complex<R::Vector<S>>],
) {
    let (m, stride) = (pass.m, pass.stride);
    for (p, to) in to.chunks_exact_mut(N * stride).enumerate() {
        let twiddles = &pass.twiddles[p * (N - 1)..][..N - 1];
        for q in 0..stride {
            let mut x = [zero::<S, R>(simd); N];
            for k in 0..N {
                x[k] = from[q + stride * (p + m * k)];
            }
            let x = B::transform::<S, R>(simd, x);
            to[q] = x[0];
            for j in 1..N {
                to[q + stride * j] = if p == 0 { x[j] } else { turn::<S, R>(simd, x[j], twiddles[j - 1]) };
            }
        }
    }
}

/// A pass of an odd prime radix: x[0] + Σ (x[k] + x[r−k])·cos and Σ (x[k] − x[r−k])·sin, which serve j and r − j.
#[inline(always)]
fn by_definition<S: Simd, R: Real>(
    simd: S,
    pass: &Pass<R>,
    from: &[Complex<R::Vector<S>>],
    to: &mut [Complex<R::Vector<S>>],
) {
    let (radix, m, stride) = (pass.radix, pass.m, pass.stride);
    let half = radix / 2;
    let mut sums = [zero::<S, R>(simd); LARGEST_PRIME / 2];
    let mut differences = sums;
    for (p, to) in to.chunks_exact_mut(radix * stride).enumerate() {
        for q in 0..stride {
            let x = |k: usize| from[q + stride * (p + m * k)];
            let first = x(0);
            let mut total = first;
            for k in 1..=half {
                let (a, b) = (x(k), x(radix - k));
                sums[k - 1] = [R::plus(simd, a[0], b[0]), R::plus(simd, a[1], b[1])];
                differences[k - 1] = [R::minus(simd, a[0], b[0]), R::minus(simd, a[1], b[1])];
                total = [R::plus(simd, total[0], sums[k - 1][0]), R::plus(simd, total[1], sums[k - 1][1])];
            }
            to[q] = total;
            for j in 1..=half {
                let (mut even, mut odd) = (first, zero::<S, R>(simd));
                let mut index = 0;
                for k in 0..half {
                    index = (index + j) % radix;
                    let [cos, sin] = pass.roots[index].map(|value| R::splat(simd, value));
                    even = [R::mul_add(simd, cos, sums[k][0], even[0]), R::mul_add(simd, cos, sums[k][1], even[1])];
                    odd = [
                        R::mul_add(simd, sin, differences[k][0], odd[0]),
                        R::mul_add(simd, sin, differences[k][1], odd[1]),
                    ];
                }
                // even − i·odd and even + i·odd.
                let low = [R::plus(simd, even[0], odd[1]), R::minus(simd, even[1], odd[0])];
                let high = [R::minus(simd, even[0], odd[1]), R::plus(simd, even[1], odd[0])];
                let twiddles = &pass.twiddles[p * (radix - 1)..][..radix - 1];
                to[q + stride * j] = turn::<S, R>(simd, low, twiddles[j - 1]);
                to[q + stride * (radix - j)] = turn::<S, R>(simd, high, twiddles[radix - j - 1]);
            }
        }
    }
}

/// x·w.
#[inline(always)]
fn turn<S: Simd, R: Real>(simd: S, x: Complex<R::Vector<S>>, w: [R; 2]) -> Complex<R::Vector<S>> {
    let [re, im] = w.map(|value| R::splat(simd, value));
    [R::mul_sub(simd, x[1], im, R::product(simd, x[0], re)), R::mul_add(simd, x[1], re, R::product(simd, x[0], im))]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_the_sum(x: &[[f64; 2]]) -> Vec<[f64; 2]> {
        let n = x.len();
        let term = |k: usize, p: usize| {
            let [c, s] = root::<f64>(k * p % n, n);
            [x[p][0] * c - x[p][1] * s, x[p][0] * s + x[p][1] * c]
        };
        (0..n).map(|k| (0..n).map(|p| term(k, p)).fold([0.0; 2], |a, b| [a[0] + b[0], a[1] + b[1]])).collect()
    }

    fn distance(a: &[[f64; 2]], b: &[[f64; 2]]) -> f64 {
        let squares = a.iter().flatten().zip(b.iter().flatten()).map(|(a, b)| (a - b).powi(2));
        (squares.sum::<f64>() / b.iter().flatten().map(|b| b * b).sum::<f64>()).sqrt()
    }

    #[test]
    fn every_length_is_the_sum() {
        let lengths = (1..=130).chain([131, 169, 251, 331, 360, 509, 528, 1009]);
        for n in lengths {
            let x: Vec<[f64; 2]> =
                (0..n).map(|p| [(p as f64 * 0.7).sin() + 0.3, (p as f64 * p as f64).cos()]).collect();
            let expected = by_the_sum(&x);
            let dft = Dft::<f64>::new(n);
            let (mut data, mut scratch) = (x.clone(), vec![[f64::NAN; 2]; Lengths::of(n).scratch]);
            let found = dft.forward(pulp::Scalar, &mut data, &mut scratch);
            assert!(distance(found, &expected) < 1e-13, "{n}: {}", distance(found, &expected));

            let dft = Dft::<f32>::new(n);
            let mut data: Vec<[f32; 2]> = x.iter().map(|x| x.map(|v| v as f32)).collect();
            let mut scratch = vec![[f32::NAN; 2]; Lengths::of(n).scratch];
            let found: Vec<[f64; 2]> =
                dft.forward(pulp::Scalar, &mut data, &mut scratch).iter().map(|x| x.map(f64::from)).collect();
            assert!(distance(&found, &expected) < 6e-7, "{n}: {}", distance(&found, &expected));
        }
    }
}
