//! f16, bf16 and tf32: rounding, widening, and arithmetic on pairs.

use cuda_std::convert::{Bf16, Bf16x2, F16, F16x2, Tf32};
use cuda_std::kernel;
use cuda_std::thread::*;

use crate::Conformance;
#[cfg(not(target_arch = "nvptx64"))]
use crate::arithmetic::edges;
#[cfg(not(target_arch = "nvptx64"))]
use crate::entries::{Entry, draw};

/// f32 rounded to each narrow type, alone and in pairs.
///
/// # Safety
/// A word of input a case, 4 of output.
#[kernel(max_threads = 128, min_blocks = 1)]
pub unsafe fn narrowings(p: Conformance) {
    let mut case = thread_idx_x();
    // SAFETY: a case is one thread's.
    unsafe {
        while u64::from(case) < p.words {
            let next = if u64::from(case) + 1 == p.words { 0 } else { case + 1 };
            let (low, high) = (f32::from_bits(p.word(case)), f32::from_bits(p.word(next)));
            let mut out = p.results(case, 4);
            out.put(u32::from(F16::from_f32(low).to_bits()) | u32::from(Bf16::from_f32(low).to_bits()) << 16);
            // The low 13 bits do not count. A NaN stays out: an H100 passes its bits on, and where the payload is in those 13
            // alone the rest is an infinity.
            let tf32 = Tf32::from_f32(low).to_f32();
            out.put(if low.is_nan() { 0x7fff_ffff } else { tf32.to_bits() });
            out.put(F16x2::from_f32(low, high).to_bits());
            out.put(Bf16x2::from_f32(low, high).to_bits());
            case += block_dim_x();
        }
    }
}

/// All 2¹⁶ patterns widened; of a NaN only that it is one.
///
/// # Safety
/// 2 words of output a pattern.
#[kernel(max_threads = 128, min_blocks = 1)]
pub unsafe fn widenings(p: Conformance) {
    let bits = |value: f32| if value.is_nan() { 0x7fff_ffff } else { value.to_bits() };
    let mut pattern = index_1d() as u32;
    // SAFETY: a pattern is one thread's.
    unsafe {
        while pattern < 1 << 16 {
            let mut out = p.results(pattern, 2);
            out.put(bits(F16::from_bits(pattern as u16).to_f32()));
            out.put(bits(Bf16::from_bits(pattern as u16).to_f32()));
            pattern += grid_dim_x() * block_dim_x();
        }
    }
}

/// Arithmetic on pairs of a type; of the sign of a NaN turned about nothing is said.
macro_rules! pairs {
    ($(#[$doc:meta])* $name:ident, $pair:ident, $infinity:literal) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// 3 words of input a case, 4 of output.
        #[kernel(max_threads = 128, min_blocks = 1)]
        pub unsafe fn $name(p: Conformance) {
            let half = |bits: u32| if bits & 0x7fff > $infinity { 0x7fff } else { bits };
            let mut case = thread_idx_x();
            // SAFETY: a case is one thread's.
            unsafe {
                while 3 * u64::from(case) < p.words {
                    let (a, b, c) = (p.word(3 * case), p.word(3 * case + 1), p.word(3 * case + 2));
                    let [a, b, c] = [a, b, c].map($pair::from_bits);
                    let mut out = p.results(case, 4);
                    out.put(a.fma(b, c).to_bits());
                    out.put(a.add(b).to_bits());
                    out.put(a.mul(b).to_bits());
                    let turned = a.neg().to_bits();
                    out.put(half(turned & 0xffff) | half(turned >> 16) << 16);
                    case += block_dim_x();
                }
            }
        }
    };
}
pairs!(
    /// fma, add, mul and neg of pairs of f16.
    pairs_f16,
    F16x2,
    0x7c00
);
pairs!(
    /// fma, add, mul and neg of pairs of bf16.
    pairs_bf16,
    Bf16x2,
    0x7f80
);

#[cfg(not(target_arch = "nvptx64"))]
pub(crate) fn entries() -> Vec<Entry> {
    // All kinds; those of f16's range; those that lie halfway between two narrow numbers or just beside.
    let mut wide = [draw(12, 2000), edges()].concat();
    wide.extend(draw(13, 2000).iter().map(|word| word & 0x8fff_ffff | 0x3000_0000));
    wide.extend(draw(14, 1000).iter().flat_map(|word| [0x1000, 0x0fff, 0x1001].map(|tie| word & 0xbfff_e000 | tie)));
    wide.extend(draw(15, 1000).iter().flat_map(|word| [0x8000, 0x7fff, 0x8001].map(|tie| word & 0xffff_0000 | tie)));
    // Subnormal numbers of f16.
    wide.extend((0..1000).map(|i| f32::to_bits(i as f32 * f32::powi(2.0, -26) * if i % 2 == 0 { 1.0 } else { -1.0 })));

    let of_f16 = |bits: u32| {
        let (sign, exponent, fraction) = (bits >> 15 << 31, bits >> 10 & 31, bits & 1023);
        match exponent {
            0 => (fraction as f32 * f32::powi(2.0, -24)).to_bits() | sign,
            31 if fraction > 0 => 0x7fff_ffff,
            31 => 0x7f80_0000 | sign,
            _ => (exponent + 112) << 23 | fraction << 13 | sign,
        }
    };
    let of_bf16 = |bits: u32| if bits & 0x7fff > 0x7f80 { 0x7fff_ffff } else { bits << 16 };
    let widened: Vec<u32> = (0..1 << 16).flat_map(|bits| [of_f16(bits), of_bf16(bits)]).collect();

    // All kinds, and pairs whose magnitudes are near each other and meet specials.
    let special =
        [0x0000u32, 0x8000, 0x0001, 0x83ff, 0x0400, 0x3c00, 0xbc00, 0x3f80, 0x7bff, 0x7c00, 0xfc00, 0x7f7f, 0x7f80];
    let special =
        special.into_iter().chain([0xff80, 0x7fff, 0x7e00, 0xffff, 0x0080, 0x007f, 0x3555]).collect::<Vec<_>>();
    let mut pairs = draw(16, 3 * 2000);
    pairs.extend(draw(17, 3 * 1000).iter().map(|word| word & 0x8fff_8fff | 0x3000_3000));
    for (i, &a) in special.iter().enumerate() {
        for (j, &b) in special.iter().enumerate() {
            let c = special[(3 * i + 5 * j) % special.len()];
            pairs.extend([a | b << 16, b | c << 16, c | a << 16]);
        }
    }
    let entry = |name, run: unsafe fn(Conformance), input: Vec<u32>, output_words| {
        Entry { output_words, ..Entry::new(name, 128, 0, run) }.input(input)
    };
    let (wide_words, pair_words) = (4 * wide.len(), pairs.len() / 3 * 4);
    vec![
        entry("narrowings", narrowings, wide, wide_words),
        Entry { grid: [2, 1, 1], ..entry("widenings", widenings, Vec::new(), widened.len()).expected(widened) },
        entry("pairs_f16", pairs_f16, pairs.clone(), pair_words),
        entry("pairs_bf16", pairs_bf16, pairs, pair_words),
    ]
}
