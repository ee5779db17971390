//! Fused multiply-add, square roots and the conversions between f32 and f64, exactly; reciprocal roots within their bounds.

use cuda_std::bits::permute_bytes;
use cuda_std::float::Float;
use cuda_std::kernel;
use cuda_std::thread::*;

use crate::Conformance;
#[cfg(not(target_arch = "nvptx64"))]
use crate::entries::{Agreement, Entry, draw, join, split};

/// The bits of `value`; which NaN it is does not count.
#[inline(always)]
fn bits_32(value: f32) -> u32 {
    if value.is_nan() { 0x7fff_ffff } else { value.to_bits() }
}

/// As [`bits_32`].
#[inline(always)]
fn bits_64(value: f64) -> u64 {
    if value.is_nan() { u64::MAX >> 1 } else { value.to_bits() }
}

/// On f32.
///
/// # Safety
/// 3 words of input a case, 5 of output.
#[kernel(max_threads = 128, min_blocks = 1)]
pub unsafe fn arithmetic_f32(p: Conformance) {
    let mut case = thread_idx_x();
    // SAFETY: a case is one thread's.
    unsafe {
        while 3 * u64::from(case) < p.words {
            let (a, b, c) = (p.word(3 * case), p.word(3 * case + 1), p.word(3 * case + 2));
            let [a, b, c] = [a, b, c].map(f32::from_bits);
            let mut out = p.results(case, 5);
            out.put(bits_32(a.fma(b, c)));
            out.put(bits_32(Float::sqrt(a)));
            out.put_64(bits_64(a.to_f64()));
            out.put(permute_bytes(p.word(3 * case), p.word(3 * case + 1), p.word(3 * case + 2) & 0x7777));
            case += block_dim_x();
        }
    }
}

/// On f64.
///
/// # Safety
/// 6 words of input a case, 5 of output.
#[kernel(max_threads = 128, min_blocks = 1)]
pub unsafe fn arithmetic_f64(p: Conformance) {
    let mut case = thread_idx_x();
    // SAFETY: a case is one thread's.
    unsafe {
        while 6 * u64::from(case) < p.words {
            let value = |k| f64::from_bits(u64::from(p.word(6 * case + k)) | u64::from(p.word(6 * case + k + 1)) << 32);
            let (a, b, c) = (value(0), value(2), value(4));
            let mut out = p.results(case, 5);
            out.put_64(bits_64(a.fma(b, c)));
            out.put_64(bits_64(Float::sqrt(a)));
            out.put(bits_32(f32::from_f64(a)));
            case += block_dim_x();
        }
    }
}

/// 1/√x of f32, subnormal ones included.
///
/// # Safety
/// A word of input a case, and one of output.
#[kernel(max_threads = 128, min_blocks = 1)]
pub unsafe fn rsqrt_f32(p: Conformance) {
    let mut case = thread_idx_x();
    // SAFETY: a case is one thread's.
    unsafe {
        while u64::from(case) < p.words {
            p.results(case, 1).put(f32::from_bits(p.word(case)).rsqrt_approx().to_bits());
            case += block_dim_x();
        }
    }
}

/// 1/√x of f64.
///
/// # Safety
/// 2 words of input a case, and 2 of output.
#[kernel(max_threads = 128, min_blocks = 1)]
pub unsafe fn rsqrt_f64(p: Conformance) {
    let mut case = thread_idx_x();
    // SAFETY: a case is one thread's.
    unsafe {
        while 2 * u64::from(case) < p.words {
            let value = f64::from_bits(u64::from(p.word(2 * case)) | u64::from(p.word(2 * case + 1)) << 32);
            p.results(case, 2).put_64(value.rsqrt_approx().to_bits());
            case += block_dim_x();
        }
    }
}

/// Edges of f32, each with its neighbours.
#[cfg(not(target_arch = "nvptx64"))]
pub(crate) fn edges() -> Vec<u32> {
    let magnitudes = [0, 1, 0x0040_0000, 0x0080_0000, 0x3300_0000, 0x3880_0000, 0x3f80_0000, 0x477f_f000, 0x7f7f_0000];
    let magnitudes = magnitudes.into_iter().chain([0x7f80_0000, 0x7fc0_0000, 0x7fff_ffff]);
    let near = magnitudes.flat_map(|word: u32| [word.saturating_sub(1), word, (word + 1).min(0x7fff_ffff)]);
    near.flat_map(|word| [word, word | 1 << 31]).collect()
}

#[cfg(not(target_arch = "nvptx64"))]
pub(crate) fn entries() -> Vec<Entry> {
    let near_one = |word: &u32| word & 0x80ff_ffff | 0x3f00_0000;
    let mut single = draw(6, 3 * 400);
    single.extend(draw(7, 3 * 400).iter().map(near_one));
    // Every edge with every other, and something added.
    let edges = edges();
    for (i, &a) in edges.iter().enumerate() {
        for (j, &b) in edges.iter().enumerate().skip(i % 3).step_by(3) {
            single.extend([a, b, edges[(i * 7 + j * 5) % edges.len()]]);
        }
    }
    let of_single = single.chunks(3).flat_map(|case| {
        let [a, b, c] = [case[0], case[1], case[2]].map(f32::from_bits);
        let [low, high] = split(bits_64(f64::from(a)));
        let bytes = [case[0].to_le_bytes(), case[1].to_le_bytes()].concat();
        let chosen = [0, 4, 8, 12].map(|digit| bytes[(case[2] >> digit & 7) as usize]);
        [bits_32(a.mul_add(b, c)), bits_32(f32::sqrt(a)), low, high, u32::from_le_bytes(chosen)]
    });
    let of_single: Vec<u32> = of_single.collect();

    let mut double: Vec<u64> = draw(8, 2 * 3 * 400).chunks(2).map(join).collect();
    double.extend(draw(9, 2 * 3 * 200).chunks(2).map(|pair| join(pair) & 0x800f_ffff_ffff_ffff | 0x3ff0 << 48));
    // What f32 rounds: halfway cases, the edges of its range, and its subnormal numbers.
    double.extend(edges.iter().map(|&word| f64::from(f32::from_bits(word)).to_bits()));
    double.extend(edges.iter().map(|&word| f64::from(f32::from_bits(word)).to_bits() ^ 1 << 28));
    double.extend(edges.iter().map(|&word| f64::from(f32::from_bits(word)).to_bits() ^ 3 << 28));
    double.truncate(double.len() / 3 * 3);
    let of_double = double.chunks(3).flat_map(|case| {
        let [a, b, c] = [case[0], case[1], case[2]].map(f64::from_bits);
        let ([f, g], [r, s]) = (split(bits_64(a.mul_add(b, c))), split(bits_64(f64::sqrt(a))));
        [f, g, r, s, bits_32(a as f32)]
    });
    let of_double: Vec<u32> = of_double.collect();
    let double: Vec<u32> = double.into_iter().flat_map(split).collect();

    let roots = [draw(10, 1000), edges].concat();
    let of_roots: Vec<u32> =
        roots.iter().map(|&word| (1.0 / f64::from(f32::from_bits(word)).sqrt()) as f32).map(f32::to_bits).collect();
    // Normal numbers of every exponent, and what has none.
    let drawn = draw(11, 2 * 1000);
    let positive = drawn.chunks(2).map(join).map(|word| word >> 1).filter(|word| word >> 52 > 0);
    let special = [0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, -1.0, f64::MIN_POSITIVE, f64::MAX];
    let positive: Vec<u64> = positive.chain(special.map(f64::to_bits)).collect();
    let of_positive: Vec<u32> =
        positive.iter().flat_map(|&word| split((1.0 / f64::from_bits(word).sqrt()).to_bits())).collect();
    let positive: Vec<u32> = positive.into_iter().flat_map(split).collect();

    let entry = |name, run: unsafe fn(Conformance), input, expected: Vec<u32>, agreement| {
        let entry = Entry { output_words: expected.len(), agreement, ..Entry::new(name, 128, 0, run) };
        entry.input(input).expected(expected)
    };
    vec![
        entry("arithmetic_f32", arithmetic_f32, single, of_single, Agreement::Bits),
        entry("arithmetic_f64", arithmetic_f64, double, of_double, Agreement::Bits),
        entry("rsqrt_f32", rsqrt_f32, roots, of_roots, Agreement::F32 { ulps: 2 }),
        entry("rsqrt_f64", rsqrt_f64, positive, of_positive, Agreement::F64 { bits: 20 }),
    ]
}
