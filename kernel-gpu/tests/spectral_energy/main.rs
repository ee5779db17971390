//! The energies of drawn spectra and folded taps in the SIMT executor: clean under every schedule, the same bits, and right by
//! the definition in f64.

use std::f64::consts::PI;

use cuda_std::convert::{F16, F16x2};
use cuda_std::simt::{Grid, Memory, Schedule};
use kernel_gpu::conv_shape::ConvShape;
use kernel_gpu::entries;
use kernel_gpu::spectral_energy::{SPEC_PLAIN, SPEC_STRICT, SpectralEnergy, Tiling, coefficient_words};
use kernel_gpu::spectrum::{EMPTY, Spectrum, TAP_BITS};

/// A launch.
#[derive(Clone, Copy, Debug)]
struct Case {
    batch: u32,
    in_channels: u32,
    out_channels: u32,
    n: [u32; 3],
    kernel: u32,
    tiling: Tiling,
    strict: bool,
    blocks: u32,
    /// Whether rows have different scales.
    scaled: bool,
}

const CASE: Case = Case {
    batch: 3,
    in_channels: 5,
    out_channels: 20,
    n: [3, 4, 13],
    kernel: 5,
    tiling: Tiling { channel_tiles: 2, in_tiles: 1, splits: 1 },
    strict: false,
    blocks: u32::MAX,
    scaled: false,
};

fn tiling(channel_tiles: u32, in_tiles: u32, splits: u32) -> Tiling {
    Tiling { channel_tiles, in_tiles, splits }
}

/// A number in [−1, 1) of its own for each (stream, index): SplitMix64.
fn draw(stream: u64, index: u64) -> f64 {
    let mut z = (stream << 40 | index).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    (z >> 11) as f64 * f64::powi(2.0, -52) - 1.0
}

fn half(value: f64) -> (u16, f64) {
    let half = F16::from_f32(value as f32);
    (half.to_bits(), f64::from(half.to_f32()))
}

type Complex = (f64, f64);

fn times(a: Complex, b: Complex) -> Complex {
    (a.0 * b.0 - a.1 * b.1, a.0 * b.1 + a.1 * b.0)
}

/// The arrays of a launch as the kernel gets them, and the numbers that they stand for.
struct Data {
    spectrum: Spectrum,
    high: Vec<u32>,
    low: Vec<u32>,
    folded: Vec<u32>,
    folded_low: Vec<u32>,
    coefficients: Vec<u32>,
    row_exponent: Vec<i32>,
    tap_exponent: Vec<i32>,
    channel_exponent: Vec<i32>,
    expected: Vec<f64>,
}

impl Data {
    fn of(case: &Case) -> Self {
        let [n0, n1, n2] = case.n;
        let input = [n0, n1, n2 + 1 - case.kernel];
        let shape = ConvShape {
            batch: case.batch,
            in_channels: case.in_channels,
            out_channels: case.out_channels,
            input,
            kernel: [1, 1, case.kernel],
        };
        let s = Spectrum { shape, all_strict: u32::from(case.strict) };
        let (rows, slots, basis) = (s.rows() as usize, s.slots() as usize, s.basis() as usize);
        let lines = if case.strict { s.strict_lines() } else { s.plain_lines() } as usize;
        let frequencies = |line: usize| match case.strict {
            true => s.strict_line(line as u32),
            false => s.plain_line(line as u32),
        };

        let row_exponent: Vec<i32> =
            (0..rows).map(|row| if case.scaled { [0, 8, -8, EMPTY][row % 4] } else { 0 }).collect();
        let tap_exponent: Vec<i32> =
            (0..case.in_channels as i32).map(|ci| if case.scaled { 8 * (ci % 2) } else { 8 }).collect();
        let channel_exponent: Vec<i32> = (0..case.out_channels as i32).map(|c| c % 5 - 2).collect();

        // Spectra of all lines: value and words.
        let all = s.lines() as usize;
        let mut spectra = vec![(0.0, 0.0); all * rows * slots];
        let (mut high, mut low) = (vec![0; all * rows * slots], vec![0; s.strict_lines() as usize * rows * slots]);
        for line in 0..all {
            let (fo, fr) = (line as u32 / s.half(), line as u32 % s.half());
            let strict = s.strict_index(fo, fr);
            for row in 0..rows {
                for slot in 0..slots {
                    let Some(fp) = s.frequency(slot as u32) else { continue };
                    if (fo, fr, fp) == (0, 0, 0) || row_exponent[row] == EMPTY {
                        continue;
                    }
                    let at = (line * rows + row) * slots + slot;
                    let value = (3.0 * draw(1, at as u64), 3.0 * draw(2, at as u64));
                    let ((re, re_high), (im, im_high)) = (half(value.0), half(value.1));
                    let ((re_low, re_rest), (im_low, im_rest)) = (half(value.0 - re_high), half(value.1 - im_high));
                    high[at] = u32::from(re) | u32::from(im) << 16;
                    let rest = u32::from(re_low) | u32::from(im_low) << 16;
                    let exact = (re_high + re_rest, im_high + im_rest);
                    spectra[at] = exact;
                    match strict {
                        Some(index) => low[(index as usize * rows + row) * slots + slot] = rest,
                        None if slot == 0 => high[at + 1] = rest,
                        None => spectra[at] = (re_high, im_high),
                    }
                }
            }
        }

        // Folded taps of the lines of the launch.
        let (tiles, in_tiles) = (case.tiling.folded_tiles(&s) as usize, s.in_tiles() as usize);
        let words = if case.strict { 2 } else { 1 };
        let mut folded = vec![0u32; lines * tiles * in_tiles * basis * 128 * words];
        let mut folded_low = vec![0u32; lines * tiles * in_tiles * 256];
        let mut taps = vec![0.0; lines * (tiles * in_tiles * 256) * basis];
        for line in 0..lines {
            for ct in 0..tiles {
                for kt in 0..in_tiles {
                    let tile = (line * tiles + ct) * in_tiles + kt;
                    for (b, lane, q, odd) in places(basis) {
                        let (c, ci) = (ct * 16 + lane / 4 + 8 * (q % 2), kt * 16 + 2 * (lane % 4) + 8 * (q / 2) + odd);
                        if c >= case.out_channels as usize || ci >= case.in_channels as usize {
                            continue;
                        }
                        let at = ((line * tiles * 16 + c) * in_tiles * 16 + ci) * basis + b;
                        let value = draw(3, at as u64);
                        let (bits, high) = half(value);
                        let (low_bits, rest) = half(value - high);
                        if case.strict {
                            let word = ((tile * basis + b) * 2 + q / 2) * 128 + lane * 4 + q % 2 * 2 + odd;
                            folded[word] = (value as f32).to_bits();
                            taps[at] = f64::from(value as f32);
                        } else {
                            folded[(tile * basis + b) * 128 + lane * 4 + q] |= u32::from(bits) << (16 * odd);
                            taps[at] = high;
                            if b < 2 {
                                folded_low[(tile * 2 + b) * 128 + lane * 4 + q] |= u32::from(low_bits) << (16 * odd);
                                taps[at] = high + rest;
                            }
                        }
                    }
                }
            }
        }

        let data = Self {
            coefficients: coefficients(&s, case.strict),
            expected: Vec::new(),
            spectrum: s,
            high,
            low,
            folded,
            folded_low,
            row_exponent,
            tap_exponent,
            channel_exponent,
        };
        let tap = |line: usize, c: usize, ci: usize, b: usize| {
            taps[((line * tiles * 16 + c) * in_tiles * 16 + ci) * basis + b]
        };
        let mut expected = vec![0.0; lines * case.out_channels as usize];
        for line in 0..lines {
            let (fo, fr) = frequencies(line);
            let stored = (fo * s.half() + fr) as usize;
            for c in 0..case.out_channels as usize {
                let mut sum = 0.0;
                for fp in 0..n2 {
                    let slot = s.slot(fp) as usize;
                    let w: Vec<_> =
                        (0..case.in_channels as usize).map(|ci| transformed(&s, fp, |b| tap(line, c, ci, b))).collect();
                    for image in 0..case.batch as usize {
                        let mut z = (0.0, 0.0);
                        for (ci, &w) in w.iter().enumerate() {
                            let row = ci * case.batch as usize + image;
                            if data.row_exponent[row] == EMPTY {
                                continue;
                            }
                            let scale = f64::powi(2.0, data.row_exponent[row] + data.tap_exponent[ci]);
                            let product = times(spectra[(stored * rows + row) * slots + slot], w);
                            z = (z.0 + scale * product.0, z.1 + scale * product.1);
                        }
                        sum += z.0 * z.0 + z.1 * z.1;
                    }
                }
                let scale = f64::powi(4.0, data.channel_exponent[c] - TAP_BITS) * f64::from(s.weight(fr));
                expected[line * case.out_channels as usize + c] = sum * scale;
            }
        }
        Self { expected, ..data }
    }
}

/// W at fp of taps given by their basis.
fn transformed(s: &Spectrum, fp: u32, tap: impl Fn(usize) -> f64) -> Complex {
    let mut w = (tap(0), tap(1));
    for q in 0..s.tap_pairs() {
        let (a, b) = coefficient(s, fp, q);
        let at = 2 + 4 * q as usize;
        w.0 += a * tap(at) + b * tap(at + 3);
        w.1 += a * tap(at + 1) - b * tap(at + 2);
    }
    w
}

/// (cos θ − 1, sin θ), the upper half of the frequencies taken as negative ones: the taps drawn here are no kernel's, for which
/// that would change nothing.
fn coefficient(s: &Spectrum, fp: u32, q: u32) -> Complex {
    let twice = 2 * (q + 1) - u32::from(s.shape.kernel[2].is_multiple_of(2));
    let n = f64::from(s.n()[2]);
    let fp = if f64::from(fp) > n / 2.0 { f64::from(fp) - n } else { f64::from(fp) };
    let angle = PI * fp * f64::from(twice) / n;
    (angle.cos() - 1.0, angle.sin())
}

fn coefficients(s: &Spectrum, strict: bool) -> Vec<u32> {
    let mut words = Vec::new();
    for group in 0..s.slots() / 4 {
        for q in 0..s.tap_pairs() {
            for pair in 0..2 {
                let (a, b) = s.frequency(group * 4 + 2 * pair).map_or((0.0, 0.0), |fp| coefficient(s, fp, q));
                for value in [a, b] {
                    let high = F16::from_f32(value as f32);
                    let low = F16::from_f32((value - f64::from(high.to_f32())) as f32);
                    match strict {
                        true => words.push((value as f32).to_bits()),
                        false => words.extend([high, low].map(|half| F16x2::from_halves(half, half).to_bits())),
                    }
                }
            }
        }
    }
    assert_eq!(words.len() as u32, s.slots() / 4 * coefficient_words(s, strict));
    words
}

/// (basis, lane, word, half of the word).
fn places(basis: usize) -> impl Iterator<Item = (usize, usize, usize, usize)> {
    (0..basis * 256).map(|i| (i / 256, i / 8 % 32, i / 2 % 4, i % 2))
}

fn run(case: &Case, data: &Data, schedule: Schedule) -> Vec<f64> {
    let mut memory = Memory::new();
    let s = data.spectrum;
    let lines = if case.strict { s.strict_lines() } else { s.plain_lines() };
    let parts = u64::from(lines) * case.tiling.line_parts(&s);
    let some = |words: &[u32]| if words.is_empty() { vec![0; 4] } else { words.to_vec() };
    let (high, low) = (memory.buffer("high", &data.high), memory.buffer("low", &some(&data.low)));
    let folded = memory.buffer("folded", &data.folded);
    let folded_low = memory.buffer("folded_low", &some(&data.folded_low));
    let coefficients = memory.buffer("coefficients", &some(&data.coefficients));
    let (rows, taps) = (memory.buffer("e", &data.row_exponent), memory.buffer("t", &data.tap_exponent));
    let channels = memory.buffer("g", &data.channel_exponent);
    let energy = memory.buffer("energy", &vec![f64::NAN; (parts * u64::from(case.out_channels)) as usize]);
    let parameters = SpectralEnergy {
        high: high.global(),
        low: low.global(),
        folded: folded.global(),
        folded_low: folded_low.global(),
        coefficients: coefficients.global(),
        row_exponent: rows.global(),
        tap_exponent: taps.global(),
        channel_exponent: channels.global(),
        energy: energy.global_mut(),
        spectrum: s,
        first_line: 0,
        lines,
        first_part: 0,
        tiling: case.tiling,
    };
    let spec = if case.strict { SPEC_STRICT } else { SPEC_PLAIN };
    let entry = entries::find(spec.name).unwrap();
    let items = parts * u64::from(case.tiling.channel_groups(&s));
    let grid =
        Grid::of(entry.spec, (items as u32).min(case.blocks)).shared_bytes(case.tiling.shared_bytes(&s, case.strict));
    // SAFETY: the parameters are of the entry's type; what they point at is checked access by access.
    let report =
        grid.schedule(schedule).run(&memory, || unsafe { (entry.run)(std::ptr::from_ref(&parameters).cast()) });
    assert!(report.is_clean(), "{case:?} {schedule:?}\n{report}");
    memory.read(&energy)
}

fn check(case: Case, bound: f64) {
    let data = Data::of(&case);
    let s = &data.spectrum;
    let schedules = [Schedule::InOrder, Schedule::Reversed, Schedule::Random(5)];
    let results = schedules.map(|schedule| run(&case, &data, schedule));
    let bits = |values: &Vec<f64>| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    assert!(results.iter().all(|result| bits(result) == bits(&results[0])), "{case:?}");
    let channels = case.out_channels as usize;
    let each = case.tiling.line_parts(s) as usize;
    let (mut difference, mut norm) = (0.0, 0.0);
    for (i, expected) in data.expected.iter().enumerate() {
        let (line, c) = (i / channels, i % channels);
        let found: f64 = (0..each).map(|part| results[0][(line * each + part) * channels + c]).sum();
        // Channels have scales of their own.
        let scale = f64::powi(4.0, -data.channel_exponent[c]);
        difference += (scale * (found - expected)).powi(2);
        norm += (scale * expected).powi(2);
    }
    assert!(norm > 0.0 && difference.sqrt() <= bound * norm.sqrt(), "{case:?}: {}", (difference / norm).sqrt());
}

/// W is made in f16.
const PLAIN: f64 = 1e-3;
/// f32 sums; the products of two low words are left out.
const STRICT: f64 = 2e-6;

#[test]
fn plain_lines() {
    check(CASE, PLAIN);
    check(Case { tiling: tiling(4, 1, 1), out_channels: 70, ..CASE }, PLAIN);
    check(Case { tiling: tiling(2, 2, 2), in_channels: 37, batch: 9, n: [2, 3, 50], ..CASE }, PLAIN);
    check(Case { tiling: tiling(4, 4, 1), in_channels: 100, out_channels: 5, batch: 17, n: [2, 3, 6], ..CASE }, PLAIN);
}

#[test]
fn plain_lines_of_other_kernels_and_lengths() {
    for (kernel, n2) in [(1, 1), (1, 4), (2, 7), (3, 8), (4, 4), (6, 21)] {
        check(Case { kernel, n: [2, 3, n2], ..CASE }, PLAIN);
    }
}

#[test]
fn strict_lines() {
    let case = Case { strict: true, ..CASE };
    check(case, STRICT);
    check(Case { tiling: tiling(2, 2, 3), in_channels: 70, batch: 9, n: [1, 3, 50], ..case }, STRICT);
    for (kernel, n2) in [(1, 1), (2, 7), (3, 8)] {
        check(Case { kernel, n: [2, 1, n2], ..case }, STRICT);
    }
}

#[test]
fn rows_of_different_scales() {
    check(Case { scaled: true, ..CASE }, PLAIN);
    check(Case { scaled: true, strict: true, in_channels: 20, ..CASE }, STRICT);
}

#[test]
fn fewer_blocks_than_items() {
    check(Case { blocks: 2, ..CASE }, PLAIN);
    check(Case { blocks: 3, strict: true, in_channels: 40, tiling: tiling(2, 1, 2), n: [2, 3, 40], ..CASE }, STRICT);
}
