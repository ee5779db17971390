//! Transforms of short lengths in a thread's registers, in f32: what [`volume_fft`](crate::volume_fft) does along each axis.
//!
//! ```text
//! X[k] = Σ_n x[n]·e^(−2πi·n·k/N)
//! ```
//!
//! **N = A·B, no common factor** (Good and Thomas): the N points are an A × B table, and with these two numberings the transform is
//! one of A along its columns, then one of B along its rows. There are no twiddle factors:
//!
//! ```text
//! n = (B·i + A·j) mod N        k: the number below N with k mod A = i, k mod B = j
//! ```
//!
//! **A and B both powers of two** (Cooley and Tukey): n = B·i + j, k = i + A·j, with e^(−2πi·i·j/N) in between.
//!
//! **An odd length** is done by its definition, elements ±j together: (R − 1)² multiply-adds. But 9 is 3 × 3, with twiddles.
//!
//! **Cost** of N complex points, in additions and multiply-adds: 20 → 224, 34 → 750, 36 → 496. **Constants** are made in f64 by the
//! compiler. Every array is indexed by constants alone: it lives in registers.

/// The lengths there are, each as A × B: `$each!` gets them all, behind what comes with it.
macro_rules! short_lengths {
    ($each:ident $($context:tt)*) => {
        $each! {
            ($($context)*)
            4 = 4 x 1, 6 = 2 x 3, 8 = 8 x 1, 9 = 1 x 9, 10 = 2 x 5, 12 = 4 x 3, 14 = 2 x 7, 16 = 4 x 4, 18 = 2 x 9,
            20 = 4 x 5, 22 = 2 x 11, 30 = 2 x 15, 32 = 4 x 8, 34 = 2 x 17, 36 = 4 x 9
        }
    };
}

macro_rules! lengths {
    (() $($n:literal = $a:literal x $b:literal),*) => {
        /// The lengths there are.
        pub const LENGTHS: [u32; [$($n),*].len()] = [$($n),*];
    };
}
pub(crate) use short_lengths;
short_lengths!(lengths);

/// Whether there is a transform of that length.
pub const fn is_short(n: u32) -> bool {
    let mut i = 0;
    while i < LENGTHS.len() {
        if LENGTHS[i] == n {
            return true;
        }
        i += 1;
    }
    false
}

/// cos(2π·p/q).
const fn cosine(p: usize, q: usize) -> f64 {
    // To half a turn, then to a quarter.
    let (p, q) = (p % q, q);
    let p = if 2 * p > q { q - p } else { p };
    if 4 * p > q {
        return -cosine(q - 2 * p, 2 * q);
    }
    if 4 * p == q {
        return 0.0;
    }
    let angle = core::f64::consts::TAU * p as f64 / q as f64;
    let (mut term, mut sum, mut i) = (1.0, 1.0, 1.0);
    while i < 30.0 {
        term *= -angle * angle / (i * (i + 1.0));
        sum += term;
        i += 2.0;
    }
    sum
}

/// cos and sin of 2π·m/N.
struct Roots<const N: usize>;

impl<const N: usize> Roots<N> {
    const TABLE: [[f32; 2]; N] = {
        let mut table = [[0.0; 2]; N];
        let mut m = 0;
        while m < N {
            // sin of m/N of a turn is the cosine of that less a quarter.
            table[m] = [cosine(m, N) as f32, cosine(4 * m + 3 * N, 4 * N) as f32];
            m += 1;
        }
        table
    };
}

/// Where the points of an A × B table are: n of (i, j), and k of it.
struct Places<const A: usize, const B: usize, const N: usize>;

impl<const A: usize, const B: usize, const N: usize> Places<A, B, N> {
    /// Whether A and B have no common factor; else there are twiddles.
    const COPRIME: bool = {
        assert!(A * B == N);
        A % 2 == 1 || B % 2 == 1
    };
    const INPUT: [[usize; B]; A] = Self::table(true);
    const OUTPUT: [[usize; B]; A] = Self::table(false);

    const fn table(input: bool) -> [[usize; B]; A] {
        let mut table = [[0; B]; A];
        let mut at = 0;
        while at < N {
            let (i, j) = (at / B, at % B);
            table[i][j] = match (Self::COPRIME, input) {
                (true, true) => (B * i + A * j) % N,
                (false, true) => B * i + j,
                (false, false) => i + A * j,
                (true, false) => {
                    let mut k = i;
                    while k % B != j {
                        k += A;
                    }
                    k
                }
            };
            at += 1;
        }
        table
    }
}

pub mod device {
    //! The device code.
    use core::ops::{Add, Sub};

    use cuda_std::float::Float;
    use cuda_std::unroll;

    use super::*;

    /// A complex number.
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub struct Complex {
        /// Its real part.
        pub re: f32,
        /// Its imaginary part.
        pub im: f32,
    }

    impl Add for Complex {
        type Output = Self;
        #[inline(always)]
        fn add(self, other: Self) -> Self {
            Self { re: self.re + other.re, im: self.im + other.im }
        }
    }

    impl Sub for Complex {
        type Output = Self;
        #[inline(always)]
        fn sub(self, other: Self) -> Self {
            Self { re: self.re - other.re, im: self.im - other.im }
        }
    }

    impl Complex {
        /// 0.
        pub const ZERO: Self = Self { re: 0.0, im: 0.0 };

        /// As a word of shared memory.
        #[inline(always)]
        pub fn to_word(self) -> u64 {
            self.re.to_bits() as u64 | (self.im.to_bits() as u64) << 32
        }

        /// What [`Self::to_word`] made.
        #[inline(always)]
        pub fn from_word(word: u64) -> Self {
            Self { re: f32::from_bits(word as u32), im: f32::from_bits((word >> 32) as u32) }
        }

        /// −i times this.
        #[inline(always)]
        pub fn turned(self) -> Self {
            Self { re: self.im, im: -self.re }
        }

        /// `factor`·self + addend.
        #[inline(always)]
        pub fn fma(self, factor: f32, addend: Self) -> Self {
            Self { re: factor.fma(self.re, addend.re), im: factor.fma(self.im, addend.im) }
        }

        /// This times e^(−iφ), given (cos φ, sin φ).
        #[inline(always)]
        pub fn rotated(self, [cos, sin]: [f32; 2]) -> Self {
            Self { re: sin.fma(self.im, cos * self.re), im: cos.fma(self.im, -(sin * self.re)) }
        }
    }

    /// The transform of N = A·B points.
    #[inline(always)]
    pub fn transform<const A: usize, const B: usize, const N: usize>(points: [Complex; N]) -> [Complex; N] {
        let mut table = points;
        if A > 1 {
            unroll!(j < B, at most 20, {
                let mut column = [Complex::ZERO; A];
                unroll!(i < A, at most 8, { column[i] = table[Places::<A, B, N>::INPUT[i][j]] });
                column = short(column);
                unroll!(i < A, at most 8, {
                    let turned = i * j != 0 && !Places::<A, B, N>::COPRIME;
                    let point = if turned { column[i].rotated(Roots::<N>::TABLE[i * j]) } else { column[i] };
                    table[Places::<A, B, N>::INPUT[i][j]] = point;
                });
            });
        }
        let mut result = [Complex::ZERO; N];
        unroll!(i < A, at most 8, {
            let mut row = [Complex::ZERO; B];
            unroll!(j < B, at most 20, { row[j] = table[Places::<A, B, N>::INPUT[i][j]] });
            row = short(row);
            unroll!(j < B, at most 20, { result[Places::<A, B, N>::OUTPUT[i][j]] = row[j] });
        });
        result
    }

    /// A length that is no product here: 1, 2, 4, 8, 9, or odd.
    #[inline(always)]
    fn short<const R: usize>(x: [Complex; R]) -> [Complex; R] {
        let mut x = x;
        match R {
            1 => {}
            2 => (x[0], x[R - 1]) = (x[0] + x[R - 1], x[0] - x[R - 1]),
            4 => four::<R>(&mut x, [0, 1, 2, 3]),
            8 => eight(&mut x),
            9 => nine(&mut x),
            _ => odd(&mut x),
        }
        x
    }

    /// Four of the points, in place.
    #[inline(always)]
    fn four<const R: usize>(x: &mut [Complex; R], at: [usize; 4]) {
        if R < 4 {
            return;
        }
        let [a, b, c, d] = at;
        let (even, odd) = ([x[a] + x[c], x[a] - x[c]], [x[b] + x[d], (x[b] - x[d]).turned()]);
        x[a] = even[0] + odd[0];
        x[b] = even[1] + odd[1];
        x[c] = even[0] - odd[0];
        x[d] = even[1] - odd[1];
    }

    #[inline(always)]
    fn eight<const R: usize>(x: &mut [Complex; R]) {
        if R != 8 {
            return;
        }
        four(x, [0, 2, R - 4, R - 2]);
        four(x, [1, 3, R - 3, R - 1]);
        const HALF: f32 = core::f32::consts::FRAC_1_SQRT_2;
        let (second, fourth) = (x[3], x[R - 1]);
        let odd = [
            x[1],
            Complex { re: HALF * (second.re + second.im), im: HALF * (second.im - second.re) },
            x[R - 3].turned(),
            Complex { re: HALF * (fourth.im - fourth.re), im: -HALF * (fourth.im + fourth.re) },
        ];
        let even = [x[0], x[2], x[R - 4], x[R - 2]];
        unroll!(k < 4, {
            if R == 8 {
                x[k] = even[k] + odd[k];
                x[k + R - 4 - (R - 8)] = even[k] - odd[k];
            }
        });
    }

    /// Three of the points, in place.
    #[inline(always)]
    fn three<const R: usize>(x: &mut [Complex; R], [a, b, c]: [usize; 3]) {
        const SINE: f32 = 0.866_025_4;
        let (sum, turned) = (x[b] + x[c], (x[b] - x[c]).turned());
        let even = sum.fma(-0.5, x[a]);
        x[a] = x[a] + sum;
        x[b] = turned.fma(SINE, even);
        x[c] = turned.fma(-SINE, even);
    }

    #[inline(always)]
    fn nine<const R: usize>(x: &mut [Complex; R]) {
        if R != 9 {
            return;
        }
        unroll!(j < 3, {
            three(x, [j, j + 3, j + 6]);
            unroll!(i < 3, {
                if i * j != 0 {
                    x[3 * i + j] = x[3 * i + j].rotated(Roots::<9>::TABLE[i * j]);
                }
            });
        });
        unroll!(i < 3, { three(x, [3 * i, 3 * i + 1, 3 * i + 2]) });
        // k = i + 3·j lies at 3·i + j.
        let [second, third] = [x[1], x[2]];
        (x[1], x[2]) = (x[3], x[6]);
        (x[3], x[6]) = (second, third);
        (x[5], x[7]) = (x[7], x[5]);
    }

    /// By the definition, ±j together.
    #[inline(always)]
    fn odd<const R: usize>(x: &mut [Complex; R]) {
        if R.is_multiple_of(2) {
            return;
        }
        let first = x[0];
        unroll!(j < (R - 1) / 2, at most 9, {
            (x[j + 1], x[R - 1 - j]) = (x[j + 1] + x[R - 1 - j], x[j + 1] - x[R - 1 - j]);
            x[0] = x[0] + x[j + 1];
        });
        let halves = *x;
        unroll!(k < (R - 1) / 2, at most 9, {
            let (mut even, mut odd) = (first, Complex::ZERO);
            unroll!(j < (R - 1) / 2, at most 9, {
                let [cos, sin] = Roots::<R>::TABLE[(j + 1) * (k + 1) % R];
                even = halves[j + 1].fma(cos, even);
                let term = halves[R - 1 - j];
                odd = if j == 0 { Complex { re: sin * term.re, im: sin * term.im } } else { term.fma(sin, odd) };
            });
            let odd = odd.turned();
            x[k + 1] = even + odd;
            x[R - 1 - k] = even - odd;
        });
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use super::device::{Complex, transform};
    use super::*;

    /// e^(−2πi·p/q).
    fn root(p: usize, q: usize) -> (f64, f64) {
        let angle = core::f64::consts::TAU * (p % q) as f64 / q as f64;
        (f64::cos(angle), -f64::sin(angle))
    }

    fn check<const A: usize, const B: usize, const N: usize>() {
        let value = |i: usize| ((i * 7919 + 13) % 1009) as f32 / 1009.0 - 0.5;
        let points: [Complex; N] = core::array::from_fn(|n| Complex { re: value(2 * n), im: value(2 * n + 1) });
        let result = transform::<A, B, N>(points);
        for (k, found) in result.iter().enumerate() {
            let terms: Vec<_> =
                points.iter().enumerate().map(|(n, x)| (root(n * k, N), f64::from(x.re), f64::from(x.im))).collect();
            let re: f64 = terms.iter().map(|((cos, sin), re, im)| cos * re - sin * im).sum();
            let im: f64 = terms.iter().map(|((cos, sin), re, im)| cos * im + sin * re).sum();
            let error = (f64::from(found.re) - re).hypot(f64::from(found.im) - im);
            assert!(error < 1e-6 * (N as f64).sqrt(), "N {N}, k {k}: {found:?} instead of ({re}, {im})");
        }
    }

    #[test]
    fn every_length_is_the_definition() {
        macro_rules! check_all {
            (() $($n:literal = $a:literal x $b:literal),*) => { $(check::<$a, $b, $n>();)* };
        }
        short_lengths!(check_all);
    }

    #[test]
    fn constants_are_those_of_the_library() {
        for q in 1..50 {
            for p in 0..2 * q {
                let (cos, _) = root(p, q);
                assert!((cosine(p, q) - cos).abs() < 4e-15, "{p}/{q}");
            }
        }
        assert!(is_short(36) && !is_short(37));
    }
}
