//! The definitions, in f64.

use std::f64::consts::PI;
use std::ops::{Add, Mul};

use kernel_gpu::gram_grid::{BLOCK_WORDS, Grid};

use crate::Case;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Complex {
    pub re: f64,
    pub im: f64,
}

impl Complex {
    pub fn conj(self) -> Self {
        Self { im: -self.im, ..self }
    }

    /// e^(i·angle).
    pub fn turn(angle: f64) -> Self {
        Self { re: angle.cos(), im: angle.sin() }
    }

    pub fn abs(self) -> f64 {
        self.re.hypot(self.im)
    }
}

impl Add for Complex {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { re: self.re + other.re, im: self.im + other.im }
    }
}

impl Mul for Complex {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        Self { re: self.re * other.re - self.im * other.im, im: self.re * other.im + self.im * other.re }
    }
}

#[track_caller]
pub fn close(what: impl Fn() -> String, found: f64, expected: f64, bound: f64) {
    // Not `>`: a NaN fails.
    let within = (found - expected).abs() <= bound;
    assert!(within, "{}: {found:e} instead of {expected:e}, within {bound:e}", what());
}

/// The points of the grid, (g0, g1, g2).
pub fn points(grid: &Grid) -> impl Iterator<Item = [u32; 3]> {
    (0..grid.grid_lines()).flat_map(|line| {
        let (g0, g1) = grid.line(line);
        (0..grid.m()[2]).map(move |g2| [g0, g1, g2])
    })
}

/// W of (i, c) at g, taps counted from the first (0) or from the kernel's middle.
pub fn transform(case: &Case, (i, c): (u32, u32), g: [u32; 3], centered: bool) -> Complex {
    let (m, [_, k1, k2]) = (case.grid.m(), case.grid.kernel);
    let mut sum = Complex::default();
    for (number, &tap) in case.row(i, c).iter().enumerate() {
        let number = number as u32;
        let k = [number / (k1 * k2), number / k2 % k1, number % k2];
        let angle = |a: usize| {
            let place = f64::from(k[a]) - if centered { f64::from(case.grid.kernel[a] - 1) / 2.0 } else { 0.0 };
            // Of an even kernel's half places, −g2 and M2 − g2 differ in a sign: the kernel takes the one nearer to 0.
            let above = if a == 2 && g[a] >= case.grid.kernel[a] { f64::from(m[a]) } else { 0.0 };
            2.0 * PI * (f64::from(g[a]) - above) * place / f64::from(m[a])
        };
        let angle = angle(0) + angle(1) + angle(2);
        sum = sum + Complex::turn(-angle) * Complex { re: f64::from(tap), im: 0.0 };
    }
    sum
}

/// Where (i, c) of a point's W is: its real part; the imaginary one is 128 words on.
pub fn spectrum_place(grid: &Grid, i: u32, c: u32) -> usize {
    let group = c / 16 * (2 * grid.in_tiles()) + i / 8;
    let (lane, q) = (c % 8 * 4 + i % 8 / 2, c % 16 / 8 * 2 + i % 2);
    (group * 256 + lane * 4 + q) as usize
}

/// Where Ĝ of a pair is in a point's Gram matrix: its real part; the pair's block exists.
pub fn gram_place(grid: &Grid, i: u32, j: u32) -> usize {
    (grid.block_index((i / 16, j / 16)) * BLOCK_WORDS + (i % 16 * 16 + j % 16) * 2) as usize
}
