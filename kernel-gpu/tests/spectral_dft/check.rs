//! What the kernels stored, held against the definition.

use cuda_std::convert::F16x2;
use cuda_std::simt::Schedule;
use kernel_gpu::spectrum::{EMPTY, ROW_BITS};

use crate::case::Case;
use crate::launch::Stored;
use crate::reference;

/// The orders that every kernel runs in, with the same bits.
const SCHEDULES: [Schedule; 3] = [Schedule::InOrder, Schedule::Reversed, Schedule::Random(7)];

/// `run` under every schedule, and its result against the definition.
pub fn check(case: &Case, run: impl Fn(&Case, Schedule) -> Stored) {
    let stored = run(case, SCHEDULES[0]);
    for &schedule in &SCHEDULES[1..] {
        assert!(run(case, schedule).bits() == stored.bits(), "{schedule:?} differs, {case:?}");
    }
    against_definition(case, &stored);
}

/// The energy of a single volume but for its mean, within 1e-3 of its own, which is what the words' own steps leave.
pub fn energy(case: &Case, stored: &Stored) {
    let s = &case.spectrum;
    let exact: Vec<_> = reference::transform(s, &case.input(), stored.twice);
    let scale = f64::powi(2.0, -stored.exponent[0]);
    let (mut found, mut expected) = (0.0, 0.0);
    for fo in 0..s.n()[0] {
        for fr in 0..s.half() {
            for fp in 0..s.n()[2] {
                if (fo, fr, fp) == (0, 0, 0) {
                    continue;
                }
                let (line, slot) = (s.line(fo, fr), s.slot(fp));
                let mut value = halves(stored.high[s.place(line, 0, slot) as usize]);
                if let Some(strict) = s.strict_index(fo, fr) {
                    let low = halves(stored.low[s.place(strict, 0, slot) as usize]);
                    value = (value.0 + low.0, value.1 + low.1);
                }
                let (re, im) = exact[((fo * s.half() + fr) * s.n()[2] + fp) as usize];
                found += value.0 * value.0 + value.1 * value.1;
                expected += (re * re + im * im) * scale * scale;
            }
        }
    }
    assert!((found / expected - 1.0).abs() < 1e-3, "{found:e} instead of {expected:e}, {case:?}");
}

/// What was stored, against the definition.
pub fn against_definition(case: &Case, stored: &Stored) {
    let s = &case.spectrum;
    let x = case.input();
    let (batch, channels) = (s.shape.batch as usize, s.shape.in_channels as usize);
    for (volume, x) in x.chunks(s.shape.volume() as usize).enumerate() {
        let (b, ci) = (volume / channels, volume % channels);
        let row = ci * batch + b;
        let sum: f64 = x.iter().map(|&value| f64::from(value)).sum();
        let absolute: f64 = x.iter().map(|&value| f64::from(value).abs()).sum();
        close("Σx", stored.sum[volume], sum, 1e-12 * absolute, case);
        let e = stored.exponent[row];
        let scale = if absolute == 0.0 {
            assert_eq!(e, EMPTY, "{case:?}");
            0.0
        } else {
            assert!(e % 8 == 0 && absolute <= f64::powi(2.0, e + ROW_BITS), "e {e} of Σ|x| {absolute:e}, {case:?}");
            assert!(e == -120 || absolute > 0.98 * f64::powi(2.0, e + ROW_BITS - 8), "e {e} of {absolute:e}, {case:?}");
            f64::powi(2.0, -e)
        };
        let spectrum = reference::transform(s, x, stored.twice);
        rows(case, stored, row, &spectrum, scale, absolute * scale);
    }
}

/// Every word of a row of every line; coefficients are at most `bound`.
fn rows(case: &Case, stored: &Stored, row: usize, spectrum: &[reference::Complex], scale: f64, bound: f64) {
    let s = &case.spectrum;
    let (slots, half, pairs) = (s.slots() as usize, s.half(), s.n()[2] as usize);
    for fo in 0..s.n()[0] {
        for fr in 0..half {
            let line = s.line(fo, fr) as usize;
            let strict = s.strict_index(fo, fr);
            let at = |line: usize, slot: usize| s.place(line as u32, row as u32, slot as u32) as usize;
            for slot in 0..slots {
                let high = stored.high[at(line, slot)];
                let low = match strict {
                    Some(strict) => stored.low[at(strict as usize, slot)],
                    None if slot == 0 => stored.high[at(line, 1)],
                    None => 0,
                };
                let fp = s.frequency(slot as u32);
                if fp.is_none() || (fo, fr, fp) == (0, 0, Some(0)) {
                    let is_low = strict.is_none() && slot == 1;
                    assert!(
                        (is_zero(high) || is_low) && is_zero(low),
                        "({fo}, {fr}) slot {slot} holds {high:#x} {low:#x}, {case:?}"
                    );
                    continue;
                }
                let exact = spectrum[(fo * half + fr) as usize * pairs + fp.unwrap_or(0) as usize];
                let (high, low) = (halves(high), halves(low));
                let both = strict.is_some() || slot == 0;
                for (high, low, exact) in [(high.0, low.0, exact.0 * scale), (high.1, low.1, exact.1 * scale)] {
                    let what = format!("({fo}, {fr}, {fp:?}) of row {row}");
                    close(&what, high, exact, exact.abs() * f64::powi(2.0, -11) + 1e-6 * bound + 6e-8, case);
                    if both {
                        close(&what, high + low, exact, 1e-6 * bound + 6e-8, case);
                    }
                }
            }
        }
    }
}

/// Whether both numbers are ±0.
fn is_zero(word: u32) -> bool {
    word & 0x7fff_7fff == 0
}

fn halves(word: u32) -> (f64, f64) {
    let (re, im) = F16x2::from_bits(word).to_halves();
    (f64::from(re.to_f32()), f64::from(im.to_f32()))
}

#[track_caller]
fn close(what: &str, found: f64, expected: f64, bound: f64, case: &Case) {
    // Not `>`: a NaN fails.
    assert!((found - expected).abs() <= bound, "{what}: {found:e} instead of {expected:e}, within {bound:e}, {case:?}");
}
