//! Transforms of a few elements, written out.

use std::f64::consts::TAU;

use pulp::Simd;

use crate::cpu::simd::{Complex, Real, zero};

/// A transform that is written out. A type and not a function: what is passed as a function is called through a shim that
/// is compiled for narrow vectors.
pub trait Butterfly<const N: usize> {
    fn transform<S: Simd, R: Real>(simd: S, x: [Complex<R::Vector<S>>; N]) -> [Complex<R::Vector<S>>; N];
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

pub struct Two;

impl Butterfly<2> for Two {
    #[inline(always)]
    fn transform<S: Simd, R: Real>(simd: S, [a, b]: [Complex<R::Vector<S>>; 2]) -> [Complex<R::Vector<S>>; 2] {
        [plus::<S, R>(simd, a, b), minus::<S, R>(simd, a, b)]
    }
}

pub struct Three;

impl Butterfly<3> for Three {
    #[inline(always)]
    fn transform<S: Simd, R: Real>(simd: S, [a, b, c]: [Complex<R::Vector<S>>; 3]) -> [Complex<R::Vector<S>>; 3] {
        let (sum, difference) = (plus::<S, R>(simd, b, c), minus::<S, R>(simd, b, c));
        let even = scaled::<S, R>(simd, -0.5, sum, a);
        let odd = scaled::<S, R>(simd, 0.75f64.sqrt(), difference, zero::<S, R>(simd));
        [plus::<S, R>(simd, a, sum), minus_i::<S, R>(simd, even, odd), plus_i::<S, R>(simd, even, odd)]
    }
}

pub struct Four;

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

pub struct Five;

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
pub struct Six;

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
