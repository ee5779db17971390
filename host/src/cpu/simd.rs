//! Vectors of the processor's own width, chosen when the program runs.
//!
//! Kernels are written once, generic over the element type (`f32` or `f64`: [`Real`]) and over [`pulp::Simd`], and
//! compiled for AVX-512, AVX2 with FMA, NEON and plain scalars. A vector's lanes are channels everywhere: no kernel
//! shuffles lanes, and what a lane holds never depends on its neighbours.

use bytemuck::Pod;
use ndarray::LinalgScalar;
use pulp::{Simd, WithSimd};

use crate::Error;
use crate::element::Element;
use crate::memory;

/// What is computed with: `f32`, or `f64` where more is asked for.
pub(super) trait Real: Element + Pod + LinalgScalar {
    /// A vector of them.
    type Vector<S: Simd>: Pod + Send + Sync;
    /// Values that a vector holds.
    fn lanes<S: Simd>() -> usize;
    /// As many whole vectors as there are.
    fn vectors<S: Simd>(values: &[Self]) -> &[Self::Vector<S>];
    /// As many whole vectors as there are.
    fn vectors_mut<S: Simd>(values: &mut [Self]) -> &mut [Self::Vector<S>];
    /// `value` in every lane.
    fn splat<S: Simd>(simd: S, value: Self) -> Self::Vector<S>;
    /// a + b.
    fn plus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// a − b.
    fn minus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// a·b.
    fn product<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// a·b + c, rounded once where the processor can.
    fn mul_add<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>, c: Self::Vector<S>) -> Self::Vector<S>;
    /// c − a·b, rounded once where the processor can.
    fn mul_sub<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>, c: Self::Vector<S>) -> Self::Vector<S>;
    /// Any element as this type.
    fn of<T: Element>(value: T) -> Self;
}

macro_rules! real {
    ($real:ty, $vector:ident, $as_simd:ident, $as_mut_simd:ident, $splat:ident, $add:ident, $sub:ident, $mul:ident,
     $mul_add:ident, $negate_mul_add:ident) => {
        impl Real for $real {
            type Vector<S: Simd> = S::$vector;

            #[inline(always)]
            fn lanes<S: Simd>() -> usize {
                size_of::<S::$vector>() / size_of::<$real>()
            }

            #[inline(always)]
            fn vectors<S: Simd>(values: &[$real]) -> &[S::$vector] {
                S::$as_simd(values).0
            }

            #[inline(always)]
            fn vectors_mut<S: Simd>(values: &mut [$real]) -> &mut [S::$vector] {
                S::$as_mut_simd(values).0
            }

            #[inline(always)]
            fn splat<S: Simd>(simd: S, value: $real) -> S::$vector {
                simd.$splat(value)
            }

            #[inline(always)]
            fn plus<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$add(a, b)
            }

            #[inline(always)]
            fn minus<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$sub(a, b)
            }

            #[inline(always)]
            fn product<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$mul(a, b)
            }

            #[inline(always)]
            fn mul_add<S: Simd>(simd: S, a: S::$vector, b: S::$vector, c: S::$vector) -> S::$vector {
                simd.$mul_add(a, b, c)
            }

            #[inline(always)]
            fn mul_sub<S: Simd>(simd: S, a: S::$vector, b: S::$vector, c: S::$vector) -> S::$vector {
                simd.$negate_mul_add(a, b, c)
            }

            #[inline(always)]
            fn of<T: Element>(value: T) -> $real {
                value.to_f64() as $real
            }
        }
    };
}

real!(
    f32,
    f32s,
    as_simd_f32s,
    as_mut_simd_f32s,
    splat_f32s,
    add_f32s,
    sub_f32s,
    mul_f32s,
    mul_add_e_f32s,
    negate_mul_add_e_f32s
);
real!(
    f64,
    f64s,
    as_simd_f64s,
    as_mut_simd_f64s,
    splat_f64s,
    add_f64s,
    sub_f64s,
    mul_f64s,
    mul_add_e_f64s,
    negate_mul_add_e_f64s
);

/// A complex vector: real and imaginary parts, one beside the other.
pub(super) type Complex<V> = [V; 2];

/// Complex vectors in `values`.
#[inline(always)]
pub(super) fn complex<S: Simd, R: Real>(values: &[R]) -> &[Complex<R::Vector<S>>] {
    R::vectors::<S>(values).as_chunks().0
}

/// Complex vectors in `values`.
#[inline(always)]
pub(super) fn complex_mut<S: Simd, R: Real>(values: &mut [R]) -> &mut [Complex<R::Vector<S>>] {
    R::vectors_mut::<S>(values).as_chunks_mut().0
}

/// The zero vector, complex.
#[inline(always)]
pub(super) fn zero<S: Simd, R: Real>(simd: S) -> Complex<R::Vector<S>> {
    [R::splat(simd, R::default()); 2]
}

/// Lanes of the widest vector there is: 64 bytes of `f32`.
pub(super) const MOST_LANES: usize = 16;

/// The widths there are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Width {
    /// 64 bytes (AVX-512).
    #[cfg(target_arch = "x86_64")]
    V4(pulp::x86::V4),
    /// 32 bytes (AVX2).
    #[cfg(target_arch = "x86_64")]
    V3(pulp::x86::V3),
    /// 16 bytes.
    #[cfg(target_arch = "aarch64")]
    Neon(pulp::aarch64::Neon),
    /// One value.
    Scalar,
}

impl Width {
    /// The widest vectors of which `channels` fill more than half, or the narrowest of those that hold them all.
    pub fn fitting<R: Real>(channels: usize) -> Width {
        let needed = channels * size_of::<R>();
        #[cfg(target_arch = "x86_64")]
        {
            if let Some(simd) = pulp::x86::V4::try_new()
                && needed > 32
            {
                return Width::V4(simd);
            }
            if let Some(simd) = pulp::x86::V3::try_new()
                && channels > 1
            {
                return Width::V3(simd);
            }
        }
        #[cfg(target_arch = "aarch64")]
        if let Some(simd) = pulp::aarch64::Neon::try_new()
            && channels > 1
        {
            return Width::Neon(simd);
        }
        let _ = needed;
        Width::Scalar
    }

    /// Values that a vector holds.
    pub fn lanes<R: Real>(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Width::V4(_) => R::lanes::<pulp::x86::V4>(),
            #[cfg(target_arch = "x86_64")]
            Width::V3(_) => R::lanes::<pulp::x86::V3>(),
            #[cfg(target_arch = "aarch64")]
            Width::Neon(_) => R::lanes::<pulp::aarch64::Neon>(),
            Width::Scalar => 1,
        }
    }

    /// Runs `kernel`, compiled for this width.
    #[inline]
    pub fn run<K: WithSimd>(self, kernel: K) -> K::Output {
        match self {
            #[cfg(target_arch = "x86_64")]
            Width::V4(simd) => Simd::vectorize(simd, kernel),
            #[cfg(target_arch = "x86_64")]
            Width::V3(simd) => Simd::vectorize(simd, kernel),
            #[cfg(target_arch = "aarch64")]
            Width::Neon(simd) => Simd::vectorize(simd, kernel),
            Width::Scalar => Simd::vectorize(pulp::Scalar, kernel),
        }
    }
}

/// Zeros that begin at a cache line, so that no vector lies across two.
#[derive(Debug)]
pub(super) struct Aligned<R> {
    values: Vec<R>,
    start: usize,
    len: usize,
}

/// Bytes of a cache line, and of the widest vector.
const LINE: usize = 64;

impl<R: Real> Aligned<R> {
    /// `len` zeros.
    ///
    /// # Errors
    /// [`Error::Memory`] where they do not fit.
    pub fn zeros(what: &'static str, len: usize) -> Result<Aligned<R>, Error> {
        let values: Vec<R> = memory::try_zeroed(what, len.saturating_add(LINE / size_of::<R>()))?;
        let start = values.as_ptr().align_offset(LINE).min(LINE / size_of::<R>());
        Ok(Aligned { values, start, len })
    }

    /// The values.
    pub fn as_slice(&self) -> &[R] {
        &self.values[self.start..][..self.len]
    }

    /// The values.
    pub fn as_mut_slice(&mut self) -> &mut [R] {
        &mut self.values[self.start..][..self.len]
    }
}
