//! The definition, in f64, and how far the kernels' results may lie from it.

use std::f64::consts::PI;

use cuda_std::convert::F16;
use kernel_gpu::spectrum::{TAP_BITS, twice_centered};

use crate::Case;
use crate::launch::{Folded, Sums};

#[track_caller]
pub fn close(what: impl Fn() -> String, found: f64, expected: f64, bound: f64) {
    // Not `>`: a NaN fails.
    let within = (found - expected).abs() <= bound;
    assert!(within, "{}: {found:e} instead of {expected:e}, within {bound:e}", what());
}

pub fn check_sums(case: &Case, sums: &Sums) {
    let shape = &case.spectrum.shape;
    let mut largest = vec![0f32; shape.in_channels as usize];
    for (row, taps) in case.taps.chunks(shape.taps() as usize).enumerate() {
        let (sum, norm) =
            taps.iter().fold((0.0, 0.0), |(sum, norm), &tap| (sum + f64::from(tap), norm + f64::from(tap.abs())));
        let what = |what: &str| format!("{what} of row {row}, {:?}", case.spectrum);
        close(|| what("the sum"), sums.sum[row], sum, 1e-14 * norm);
        close(|| what("the norm"), f64::from(sums.norm[row]), norm, 1e-7 * norm);
        let ci = row / shape.out_channels as usize;
        largest[ci] = largest[ci].max(sums.norm[row]);
    }
    for (&t, &largest) in sums.exponent.iter().zip(&largest) {
        assert!(t % 8 == 0 && t.abs() <= 120);
        let expected = if largest == 0.0 { 0 } else { (f64::from(largest).log2() / 8.0).ceil() as i32 * 8 };
        assert_eq!(t, expected.clamp(-120, 120), "of {largest:e}");
    }
}

/// The basis of (ci, c) on line (fo, fr), unscaled.
fn basis(case: &Case, (ci, c): (u32, u32), (fo, fr): (u32, u32)) -> Vec<f64> {
    let spectrum = &case.spectrum;
    let (n, [k0, k1, k2]) = (spectrum.n(), spectrum.shape.kernel);
    let mut v = vec![(0.0, 0.0); k2 as usize];
    for ko in 0..k0 {
        for kr in 0..k1 {
            let turns = |f: u32, k: u32, kernel: u32, n: u32| {
                f64::from(f) * f64::from(twice_centered(k, kernel)) / f64::from(n)
            };
            let angle = -PI * (turns(fo, ko, k0, n[0]) + turns(fr, kr, k1, n[1]));
            for (kp, v) in v.iter_mut().enumerate() {
                let row = ((ci * spectrum.shape.out_channels + c) * k0 + ko) * k1 + kr;
                let tap = f64::from(case.taps[row as usize * k2 as usize + kp]);
                *v = (v.0 + tap * angle.cos(), v.1 + tap * angle.sin());
            }
        }
    }
    let all = v.iter().fold((0.0, 0.0), |all, v| (all.0 + v.0, all.1 + v.1));
    let mut basis = vec![all.0, all.1];
    for q in 0..k2 as usize / 2 {
        let (plus, minus) = (v[k2.div_ceil(2) as usize + q], v[k2 as usize / 2 - 1 - q]);
        basis.extend([plus.0 + minus.0, plus.1 + minus.1, plus.0 - minus.0, plus.1 - minus.1]);
    }
    basis
}

/// g of each channel by the norms that the kernel found.
fn channel_exponents(case: &Case, sums: &Sums, tiles: u32) -> Vec<i32> {
    let cout = case.spectrum.shape.out_channels;
    let exponent = |c: u32| {
        let scaled =
            |(ci, &t): (usize, &i32)| f64::from(sums.norm[ci * cout as usize + c as usize]) * f64::powi(2.0, -t);
        let largest = sums.exponent.iter().enumerate().map(scaled).fold(0.0, f64::max);
        if largest == 0.0 { 0 } else { (largest.log2().ceil() as i32).clamp(-100, 100) }
    };
    (0..16 * tiles).map(|c| if c < cout { exponent(c) } else { 0 }).collect()
}

pub fn check_folded(case: &Case, sums: &Sums, strict: bool, tiles: u32, found: &Folded) {
    let spectrum = &case.spectrum;
    let (cin, cout) = (spectrum.shape.in_channels, spectrum.shape.out_channels);
    let exponents = channel_exponents(case, sums, tiles);
    assert_eq!(found.exponent, exponents, "{spectrum:?}");
    let half = |word: u32, upper: u32| f64::from(F16::from_bits((word >> (16 * upper)) as u16).to_f32());
    let lines = if strict { spectrum.strict_lines() } else { spectrum.plain_lines() };
    let count = spectrum.basis() as usize;
    for line in 0..lines {
        let place = if strict { spectrum.strict_line(line) } else { spectrum.plain_line(line) };
        for (c, ci) in (0..16 * tiles).flat_map(|c| (0..16 * spectrum.in_tiles()).map(move |ci| (c, ci))) {
            let exists = c < cout && ci < cin;
            let (expected, size) = if exists {
                let scale = f64::powi(2.0, TAP_BITS - sums.exponent[ci as usize] - exponents[c as usize]);
                let values: Vec<_> = basis(case, (ci, c), place).iter().map(|value| value * scale).collect();
                (values, f64::from(sums.norm[(ci * cout + c) as usize]) * scale)
            } else {
                (vec![0.0; count], 0.0)
            };
            let tile = ((line * tiles + c / 16) * spectrum.in_tiles() + ci / 16) as usize;
            let (lane, q) = ((c % 8 * 4 + ci % 8 / 2) as usize, (c % 16 / 8 + ci % 16 / 8 * 2) as usize);
            for (b, &expected) in expected.iter().enumerate() {
                let what = |what: &str| format!("{what} of basis {b} of ({ci}, {c}) on line {place:?}, {spectrum:?}");
                // The transform's own rounding.
                let rounding = 2e-6 * size;
                if strict {
                    let at = ((tile * count + b) * 2 + q / 2) * 128 + lane * 4 + q % 2 * 2 + ci as usize % 2;
                    let value = f64::from(f32::from_bits(found.folded[at]));
                    close(|| what("the value"), value, expected, rounding);
                    continue;
                }
                let at = (tile * count + b) * 128 + lane * 4 + q;
                let value = half(found.folded[at], ci % 2);
                let stored = |bits: i32| expected.abs() * f64::powi(2.0, -bits) + f64::powi(2.0, -25);
                close(|| what("the value"), value, expected, rounding + stored(11));
                if b < 2 {
                    let rest = half(found.low[(tile * 2 + b) * 128 + lane * 4 + q], ci % 2);
                    close(|| what("the value with its rest"), value + rest, expected, rounding + stored(22));
                }
            }
        }
    }
}
