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

use std::f64::consts::TAU;

use pulp::Simd;

use crate::cpu::simd::{Complex, Real, zero};

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

#[derive(Debug)]
struct Bluestein<R> {
    /// Of a length ≥ 2n − 1 with small factors.
    inner: Dft<R>,
    /// e^{−πi·p²/n}.
    chirp: Vec<[R; 2]>,
    /// The transform of the conjugate chirp, over the inner length.
    spectrum: Vec<[R; 2]>,
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

    /// Elements of the scratch that [`forward`](Dft::forward) needs.
    pub fn scratch_len(&self) -> usize {
        match &self.way {
            Way::Mixed(_) => self.len,
            Way::Bluestein(bluestein) => 2 * bluestein.inner.len,
        }
    }

    /// Transforms `data`; the result is in what is returned: `data` or a part of `scratch`.
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

/// A transform that is written out. A type and not a function: what is passed as a function is called through a shim that
/// is compiled for narrow vectors.
trait Butterfly<const N: usize> {
    fn transform<S: Simd, R: Real>(simd: S, x: [Complex<R::Vector<S>>; N]) -> [Complex<R::Vector<S>>; N];
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

#[inline(always)]
fn plus<S: Simd, R: Real>(simd: S, a: Complex<R::Vector<S>>, b: Complex<R::Vector<S>>) -> Complex<R::Vector<S>> {
    [R::plus(simd, a[0], b[0]), R::plus(simd, a[1], b[1])]
}

#[inline(always)]
fn minus<S: Simd, R: Real>(simd: S, a: Complex<R::Vector<S>>, b: Complex<R::Vector<S>>) -> Complex<R::Vector<S>> {
    [R::minus(simd, a[0], b[0]), R::minus(simd, a[1], b[1])]
}

/// a − i·b.
#[inline(always)]
fn minus_i<S: Simd, R: Real>(simd: S, a: Complex<R::Vector<S>>, b: Complex<R::Vector<S>>) -> Complex<R::Vector<S>> {
    [R::plus(simd, a[0], b[1]), R::minus(simd, a[1], b[0])]
}

/// a + i·b.
#[inline(always)]
fn plus_i<S: Simd, R: Real>(simd: S, a: Complex<R::Vector<S>>, b: Complex<R::Vector<S>>) -> Complex<R::Vector<S>> {
    [R::minus(simd, a[0], b[1]), R::plus(simd, a[1], b[0])]
}

/// f·a + b.
#[inline(always)]
fn scaled<S: Simd, R: Real>(
    simd: S,
    factor: f64,
    a: Complex<R::Vector<S>>,
    b: Complex<R::Vector<S>>,
) -> Complex<R::Vector<S>> {
    let factor = R::splat(simd, R::from_f64(factor));
    [R::mul_add(simd, factor, a[0], b[0]), R::mul_add(simd, factor, a[1], b[1])]
}

struct Two;

impl Butterfly<2> for Two {
    #[inline(always)]
    fn transform<S: Simd, R: Real>(simd: S, [a, b]: [Complex<R::Vector<S>>; 2]) -> [Complex<R::Vector<S>>; 2] {
        [plus::<S, R>(simd, a, b), minus::<S, R>(simd, a, b)]
    }
}

struct Three;

impl Butterfly<3> for Three {
    #[inline(always)]
    fn transform<S: Simd, R: Real>(simd: S, [a, b, c]: [Complex<R::Vector<S>>; 3]) -> [Complex<R::Vector<S>>; 3] {
        let (sum, difference) = (plus::<S, R>(simd, b, c), minus::<S, R>(simd, b, c));
        let even = scaled::<S, R>(simd, -0.5, sum, a);
        let odd = scaled::<S, R>(simd, 0.75f64.sqrt(), difference, zero::<S, R>(simd));
        [plus::<S, R>(simd, a, sum), minus_i::<S, R>(simd, even, odd), plus_i::<S, R>(simd, even, odd)]
    }
}

struct Four;

impl Butterfly<4> for Four {
    #[inline(always)]
    fn transform<S: Simd, R: Real>(simd: S, [a, b, c, d]: [Complex<R::Vector<S>>; 4]) -> [Complex<R::Vector<S>>; 4] {
        let (ac, ca) = (plus::<S, R>(simd, a, c), minus::<S, R>(simd, a, c));
        let (bd, db) = (plus::<S, R>(simd, b, d), minus::<S, R>(simd, b, d));
        [
            plus::<S, R>(simd, ac, bd),
            minus_i::<S, R>(simd, ca, db),
            minus::<S, R>(simd, ac, bd),
            plus_i::<S, R>(simd, ca, db),
        ]
    }
}

struct Five;

impl Butterfly<5> for Five {
    #[inline(always)]
    fn transform<S: Simd, R: Real>(simd: S, [a, b, c, d, e]: [Complex<R::Vector<S>>; 5]) -> [Complex<R::Vector<S>>; 5] {
        let ([c1, c2], [s1, s2]) = ([TAU / 5.0, TAU / 2.5].map(f64::cos), [TAU / 5.0, TAU / 2.5].map(f64::sin));
        let (be, eb) = (plus::<S, R>(simd, b, e), minus::<S, R>(simd, b, e));
        let (cd, dc) = (plus::<S, R>(simd, c, d), minus::<S, R>(simd, c, d));
        let none = zero::<S, R>(simd);
        let even1 = scaled::<S, R>(simd, c2, cd, scaled::<S, R>(simd, c1, be, a));
        let even2 = scaled::<S, R>(simd, c1, cd, scaled::<S, R>(simd, c2, be, a));
        let odd1 = scaled::<S, R>(simd, s2, dc, scaled::<S, R>(simd, s1, eb, none));
        let odd2 = scaled::<S, R>(simd, -s1, dc, scaled::<S, R>(simd, s2, eb, none));
        [
            plus::<S, R>(simd, a, plus::<S, R>(simd, be, cd)),
            minus_i::<S, R>(simd, even1, odd1),
            minus_i::<S, R>(simd, even2, odd2),
            plus_i::<S, R>(simd, even2, odd2),
            plus_i::<S, R>(simd, even1, odd1),
        ]
    }
}

/// As two by three, which are coprime: element 3i + 2j goes to 3i' + 4j', and nothing is turned.
struct Six;

impl Butterfly<6> for Six {
    #[inline(always)]
    fn transform<S: Simd, R: Real>(simd: S, x: [Complex<R::Vector<S>>; 6]) -> [Complex<R::Vector<S>>; 6] {
        let a = Three::transform::<S, R>(simd, [x[0], x[2], x[4]]);
        let b = Three::transform::<S, R>(simd, [x[3], x[5], x[1]]);
        let [x0, x3] = Two::transform::<S, R>(simd, [a[0], b[0]]);
        let [x4, x1] = Two::transform::<S, R>(simd, [a[1], b[1]]);
        let [x2, x5] = Two::transform::<S, R>(simd, [a[2], b[2]]);
        [x0, x1, x2, x3, x4, x5]
    }
}

impl<R: Real> Bluestein<R> {
    fn new(len: usize) -> Bluestein<R> {
        let inner = (2 * len - 1..).find(|&n| smooth(n)).expect("powers of two are smooth");
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
    fn forward<S: Simd>(&self, simd: S, data: &mut [Complex<R::Vector<S>>], scratch: &mut [Complex<R::Vector<S>>]) {
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

/// Whether 2, 3 and 5 are the only primes in `n`.
fn smooth(mut n: usize) -> bool {
    for prime in [2, 3, 5] {
        while n.is_multiple_of(prime) {
            n /= prime;
        }
    }
    n == 1
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
            let (mut data, mut scratch) = (x.clone(), vec![[f64::NAN; 2]; dft.scratch_len()]);
            let found = dft.forward(pulp::Scalar, &mut data, &mut scratch);
            assert!(distance(found, &expected) < 1e-13, "{n}: {}", distance(found, &expected));

            let dft = Dft::<f32>::new(n);
            let mut data: Vec<[f32; 2]> = x.iter().map(|x| x.map(|v| v as f32)).collect();
            let mut scratch = vec![[f32::NAN; 2]; dft.scratch_len()];
            let found: Vec<[f64; 2]> =
                dft.forward(pulp::Scalar, &mut data, &mut scratch).iter().map(|x| x.map(f64::from)).collect();
            assert!(distance(&found, &expected) < 6e-7, "{n}: {}", distance(&found, &expected));
        }
    }
}
