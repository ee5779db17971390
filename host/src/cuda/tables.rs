//! The constants that the spectral way's kernels read: computed in f64 once, when a plan is made.

use std::f64::consts::PI;

use kernel_gpu::gram_grid::Grid;
use kernel_gpu::spectrum::Spectrum;
use kernel_gpu::{grid_resample_factors, line_gram, pair_resample};

use crate::Error;
use crate::memory;

/// (cos, sin)(π·m/N_a), m < 2·N_a, of each axis, as [`Spectrum::twiddle_offset`] says.
pub(super) fn twiddles(spectrum: &Spectrum) -> Result<Vec<f32>, Error> {
    let n = spectrum.n();
    let length = 4 * n.iter().map(|&n| n as usize).sum::<usize>();
    let mut table = memory::try_with_capacity("the table of twiddles", length)?;
    for n in n {
        for m in 0..2 * n {
            let (cos, sin) = cos_sin(m, n);
            table.extend([cos as f32, sin as f32]);
        }
    }
    Ok(table)
}

/// cos and sin of π·m/n. Multiples of a quarter turn are exact, so that coefficients that should be 0 are.
fn cos_sin(m: u32, n: u32) -> (f64, f64) {
    let (m, n) = (u64::from(m) % (2 * u64::from(n)), u64::from(n));
    let (quarter, rest) = (2 * m / n, 2 * m % n);
    let (sin, cos) = (PI * rest as f64 / (2 * n) as f64).sin_cos();
    match quarter {
        0 => (cos, sin),
        1 => (-sin, cos),
        2 => (-cos, -sin),
        _ => (sin, -cos),
    }
}

/// (cos, sin)(π·m/M_a), m < 2·M_a, of each axis of the grid, as [`Grid::twiddle_offset`] says.
pub(super) fn grid_twiddles(grid: &Grid) -> Result<Vec<f32>, Error> {
    let mut table = memory::try_with_capacity("the table of the grid's twiddles", 2 * grid.twiddles() as usize)?;
    for m in grid.m() {
        for i in 0..2 * m {
            let (cos, sin) = cos_sin(i, m);
            table.extend([cos as f32, sin as f32]);
        }
    }
    Ok(table)
}

/// cos and sin of the lags along the pair axis, as [`line_gram::coefficient`] says, for `kernel` taps that are `gap` apart.
pub(super) fn lag_coefficients(spectrum: &Spectrum, kernel: u32, gap: u32) -> Result<Vec<f32>, Error> {
    let (lags, n) = (line_gram::lags(kernel), spectrum.n()[2]);
    let length = line_gram::coefficients(spectrum, kernel, lags);
    let mut table = memory::try_with_capacity("the table of coefficients", length as usize)?;
    table.extend((0..length).map(|index| match line_gram::coefficient(spectrum, kernel, lags, index) {
        Some((l, fp)) => {
            let turns = u64::from(l) * u64::from(gap) % u64::from(n) * u64::from(fp) % u64::from(n);
            let (cos, sin) = cos_sin((2 * turns) as u32, n);
            (if index / lags % 2 == 1 { sin } else { cos }) as f32
        }
        None => 0.0,
    }));
    Ok(table)
}

/// The parts even and odd in g0 of what takes ±fo to M0 points, for `kernel` taps that are `gap` apart.
pub(super) fn outer_factors(spectrum: &Spectrum, kernel: u32, gap: u32) -> Result<Vec<f32>, Error> {
    let n = spectrum.n()[0];
    // Rows past the last fo are zeros.
    factors(grid_resample_factors::outer_rows(n), (kernel, gap), n, |fo| if fo <= n / 2 { 1.0 } else { 0.0 })
}

/// The same from fr ≤ N1/2 to M1 points, of each fr as often as it counts.
pub(super) fn half_factors(spectrum: &Spectrum, kernel: u32, gap: u32) -> Result<Vec<f32>, Error> {
    factors(spectrum.half(), (kernel, gap), spectrum.n()[1], |fr| f64::from(spectrum.weight(fr)))
}

/// Factors of [`kernel_gpu::grid_resample`] for `n` frequencies.
fn factors(rows: u32, (kernel, gap): (u32, u32), n: u32, weight: impl Fn(u32) -> f64) -> Result<Vec<f32>, Error> {
    let (length, m) = (grid_resample_factors::factors(rows, kernel), 2 * kernel - 1);
    let mut table = memory::try_with_capacity("a table of factors", length as usize)?;
    table.extend((0..length).map(|index| match grid_resample_factors::factor(rows, kernel, index) {
        Some((f, point, odd)) => {
            let turns = (u64::from(f) * u64::from(gap) % u64::from(n)) as u32;
            let [here, opposite] = [point, (m - point) % m].map(|g| interpolation(kernel, (turns, n), (g, m)));
            (weight(f) * (if odd { here - opposite } else { here + opposite }) / 2.0) as f32
        }
        None => 0.0,
    }));
    Ok(table)
}

/// From the lags' components to M2 points: C_0 once, twice cos times C_l and twice sin times S_l.
pub(super) fn pair_matrix(grid: &Grid) -> Result<Vec<f32>, Error> {
    let m = grid.m()[2];
    let length = pair_resample::matrix_len(m) as usize;
    let mut matrix: Vec<f32> = memory::try_with_capacity("a resampling matrix", length)?;
    matrix.resize(length, 0.0);
    for component in 0..m {
        let l = u64::from(component.div_ceil(2));
        for g in 0..m {
            let (cos, sin) = cos_sin((2 * l * u64::from(g) % (2 * u64::from(m))) as u32, m);
            matrix[pair_resample::matrix_index(m, component, g) as usize] = match component {
                0 => 1.0,
                _ if component % 2 == 1 => (2.0 * cos) as f32,
                _ => (2.0 * sin) as f32,
            };
        }
    }
    Ok(matrix)
}

/// 1 + 2 Σ_{0<l<K} cos(2πl·(f/n − g/m)) = sin((2K − 1)·x/2)/sin(x/2), x the angle in the cosine for l = 1.
fn interpolation(kernel: u32, (f, n): (u32, u32), (g, m): (u32, u32)) -> f64 {
    // f/n − g/m in parts of 1/(n·m), exactly.
    let (parts, whole) = (u64::from(f) * u64::from(m), u64::from(n) * u64::from(m));
    let difference = (parts + whole - u64::from(g) * u64::from(n) % whole) % whole;
    if difference == 0 {
        return f64::from(2 * kernel - 1);
    }
    let terms = u64::from(2 * kernel - 1);
    // sin(π·a/whole), a mod 2·whole first.
    let sine = |a: u128| (PI * (a % (2 * u128::from(whole))) as f64 / whole as f64).sin();
    sine(u128::from(terms) * u128::from(difference)) / sine(u128::from(difference))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernel_gpu::conv_shape::ConvShape;

    fn spectrum(input: [u32; 3], kernel: [u32; 3]) -> Spectrum {
        let shape = ConvShape { batch: 2, in_channels: 3, out_channels: 4, input, kernel };
        Spectrum { shape, all_strict: 0 }
    }

    #[test]
    fn twiddles_are_those_of_every_axis() {
        let s = spectrum([3, 4, 5], [2, 1, 3]);
        let table = twiddles(&s).unwrap();
        assert_eq!(table.len(), 4 * (4 + 4 + 7));
        for axis in 0..3 {
            for m in 0..2 * s.n()[axis as usize] {
                let at = 2 * (s.twiddle_offset(axis) + m) as usize;
                let angle = PI * f64::from(m) / f64::from(s.n()[axis as usize]);
                assert!((f64::from(table[at]) - angle.cos()).abs() < 1e-7);
                assert!((f64::from(table[at + 1]) - angle.sin()).abs() < 1e-7);
            }
        }
        assert_eq!(cos_sin(5, 10), (0.0, 1.0));
        assert_eq!(cos_sin(10, 10), (-1.0, 0.0));
        assert_eq!(cos_sin(15, 10), (0.0, -1.0));
    }

    #[test]
    fn coefficients_are_those_of_the_pairs_of_slots() {
        for kernel in 1..11 {
            for (input, gap) in (1..9).flat_map(|input| [(input, 1), (input, 3)]) {
                let s = spectrum([1, 1, input], [1, 1, (kernel - 1) * gap + 1]);
                let (table, n) = (lag_coefficients(&s, kernel, gap).unwrap(), f64::from(s.n()[2]));
                let (lags, pairs) = (line_gram::lags(kernel) as usize, s.slots() as usize / 2);
                let mut seen = 0;
                for pass in 0..line_gram::passes(kernel, lags as u32) as usize {
                    for pair in 0..pairs {
                        for lag in 0..lags {
                            let at = ((pass * pairs + pair) * 2) * lags + lag;
                            let l = pass * lags + lag + 1;
                            let frequency = s.frequency(2 * pair as u32).filter(|_| l < kernel as usize);
                            let (cos, sin) = frequency.map_or((0.0, 0.0), |fp| {
                                let angle = 2.0 * PI * f64::from(fp) * f64::from(gap) * l as f64 / n;
                                (angle.cos(), if pair < 2 { 0.0 } else { angle.sin() })
                            });
                            assert!((f64::from(table[at]) - cos).abs() < 1e-6);
                            assert!((f64::from(table[at + lags]) - sin).abs() < 1e-6);
                            seen += 2;
                        }
                    }
                }
                assert_eq!(seen, table.len());
            }
        }
    }

    /// 1 + 2 Σ_{0<l<K} cos(2πl·(f/n − g/m)) by its sum.
    fn dirichlet(kernel: u32, (f, n): (u32, u32), (g, m): (u32, u32)) -> f64 {
        let x = 2.0 * PI * (f64::from(f) / f64::from(n) - f64::from(g) / f64::from(m));
        1.0 + 2.0 * (1..kernel).map(|l| (f64::from(l) * x).cos()).sum::<f64>()
    }

    /// The parts' sum is the kernel at g, and their difference that at −g.
    #[test]
    fn resampling_keeps_the_lags_that_there_are() {
        let cases = [
            (5, 3, 1),
            (3, 5, 1),
            (1, 1, 1),
            (1, 4, 1),
            (6, 1, 1),
            (16, 5, 1),
            (9, 7, 1),
            (4, 12, 1),
            (5, 3, 2),
            (1, 4, 7),
        ];
        for (input, kernel, gap) in cases {
            let m = 2 * kernel - 1;
            let check = |table: &[f32], n: u32, rows: u32, weight: &dyn Fn(u32) -> f64| {
                let mut parts = vec![[0.0; 2]; (rows * kernel) as usize];
                for (index, &value) in table.iter().enumerate() {
                    match grid_resample_factors::factor(rows, kernel, index as u32) {
                        Some((f, point, odd)) => {
                            parts[(f * kernel + point) as usize][usize::from(odd)] = f64::from(value);
                        }
                        None => assert_eq!(value, 0.0),
                    }
                }
                for (at, [even, odd]) in parts.into_iter().enumerate() {
                    let (f, g) = (at as u32 / kernel, at as u32 % kernel);
                    for (found, g) in [(even + odd, g), (even - odd, (m - g) % m)] {
                        let sum = weight(f) * dirichlet(kernel, (f * gap, n), (g, m));
                        assert!((found - sum).abs() < 1e-5 * f64::from(m), "{n} {m} {f} {g}: {found} {sum}");
                    }
                }
            };
            let with_gaps = (kernel - 1) * gap + 1;
            let s = spectrum([input, 1, 1], [with_gaps, 1, 1]);
            let n = s.n()[0];
            let there = |fo: u32| if fo <= n / 2 { 1.0 } else { 0.0 };
            check(&outer_factors(&s, kernel, gap).unwrap(), n, grid_resample_factors::outer_rows(n), &there);
            let s = spectrum([1, input, 1], [1, with_gaps, 1]);
            check(&half_factors(&s, kernel, gap).unwrap(), s.n()[1], s.half(), &|fr| f64::from(s.weight(fr)));
        }
    }
}
