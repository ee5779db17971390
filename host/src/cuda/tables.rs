//! The constants that the spectral way's kernels read: computed in f64 once, when a plan is made.

use std::f64::consts::PI;

use cuda_std::convert::F16;
use kernel_gpu::spectrum::Spectrum;

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

/// The pairs' coefficients, as [`coefficient_words`](kernel_gpu::spectral_energy::coefficient_words) says, of all groups.
pub(super) fn coefficients(spectrum: &Spectrum, is_strict: bool) -> Result<Vec<u32>, Error> {
    let groups = spectrum.slots() / 4;
    let words = groups as usize * kernel_gpu::spectral_energy::coefficient_words(spectrum, is_strict) as usize;
    let mut table = memory::try_with_capacity("the table of coefficients", words)?;
    for group in 0..groups {
        for q in 0..spectrum.tap_pairs() {
            for pair in 0..2 {
                let (a, b) = match frequency(spectrum, group, pair) {
                    Some(fp) => coefficient(spectrum, fp, q),
                    None => (0.0, 0.0),
                };
                if is_strict {
                    table.extend([(a as f32).to_bits(), (b as f32).to_bits()]);
                } else {
                    table.extend(twice(a).into_iter().chain(twice(b)));
                }
            }
        }
    }
    Ok(table)
}

/// The fp of a pair of slots, if there is one.
fn frequency(spectrum: &Spectrum, group: u32, pair: u32) -> Option<u32> {
    let n = spectrum.n()[2];
    match (group, pair) {
        (0, 0) => Some(0),
        (0, _) => n.is_multiple_of(2).then_some(n / 2),
        _ => Some(2 * group - 1 + pair).filter(|&fp| fp <= spectrum.pairs()),
    }
}

/// (cos θ − 1, sin θ), θ = π·fp·2x_q/N2 with 2x_q = 2q + 2 of an odd kernel, 2q + 1 of an even one.
fn coefficient(spectrum: &Spectrum, fp: u32, q: u32) -> (f64, f64) {
    let n = u64::from(spectrum.n()[2]);
    let twice_place = 2 * u64::from(q) + if spectrum.shape.kernel[2] % 2 == 1 { 2 } else { 1 };
    let m = u64::from(fp) * twice_place % (2 * n);
    // 1 − cos θ = 2 sin²(θ/2), which does not cancel.
    let half = (PI * m as f64 / (2 * n) as f64).sin();
    (-2.0 * half * half, cos_sin(m as u32, n as u32).1)
}

/// The value as f16, and what that left, each twice in a word.
fn twice(value: f64) -> [u32; 2] {
    let high = F16::from_f32(value as f32);
    let low = F16::from_f32((value - f64::from(high.to_f32())) as f32);
    [high, low].map(|half| u32::from(half.to_bits()) * 0x1_0001)
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
        for kernel in 1..7 {
            for input in 1..9 {
                let s = spectrum([1, 1, input], [1, 1, kernel]);
                let n = f64::from(s.n()[2]);
                let (strict, plain) = (coefficients(&s, true).unwrap(), coefficients(&s, false).unwrap());
                let pairs = (s.slots() / 4 * s.tap_pairs() * 2) as usize;
                assert_eq!((strict.len(), plain.len()), (2 * pairs, 4 * pairs));
                for at in 0..pairs {
                    let (group, rest) = (at as u32 / (s.tap_pairs() * 2), at as u32 % (s.tap_pairs() * 2));
                    let (q, pair) = (rest / 2, rest % 2);
                    let place = if kernel % 2 == 1 { f64::from(q) + 1.0 } else { f64::from(q) + 0.5 };
                    // The pair's first slot holds +fp.
                    let slot = 4 * group + 2 * pair;
                    let expected = s.frequency(slot).map_or([0.0; 2], |fp| {
                        let angle = 2.0 * PI * f64::from(fp) * place / n;
                        [angle.cos() - 1.0, angle.sin()]
                    });
                    for (i, expected) in expected.into_iter().enumerate() {
                        assert!((f64::from(f32::from_bits(strict[2 * at + i])) - expected).abs() < 1e-7);
                        let half = |word: u32| f64::from(F16::from_bits(word as u16).to_f32());
                        let words = &plain[4 * at + 2 * i..][..2];
                        assert!((half(words[0]) + half(words[1]) - expected).abs() < 1e-6);
                        assert!(words.iter().all(|word| word >> 16 == word & 0xffff));
                    }
                }
            }
        }
    }
}
