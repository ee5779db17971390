//! The products of the tensor cores, of every shape: on small integers, where every order of summing gives the same bits.

use cuda_std::convert::{Bf16, F16, Tf32};
use cuda_std::fragment::{self, Place};
use cuda_std::kernel;
use cuda_std::mma::*;
use cuda_std::thread::*;

use crate::Conformance;
#[cfg(not(target_arch = "nvptx64"))]
use crate::entries::{Entry, draw};

/// Where B (16 × 8) and C (16 × 8) begin in the input, after A (16 × 16).
const B: u32 = 256;
const C: u32 = 384;
/// Words of input.
#[cfg(not(target_arch = "nvptx64"))]
const WORDS: usize = 512;

/// The element at `place` of a matrix of `columns` columns from word `first` on: an integer from −8 to 8.
///
/// # Safety
/// It lies in the input.
#[inline(always)]
#[track_caller]
unsafe fn element(p: &Conformance, first: u32, columns: u32, (row, column): Place) -> f32 {
    // SAFETY: the caller's promise.
    small(unsafe { p.word(first + row * columns + column) })
}

#[inline(always)]
fn small(word: u32) -> f32 {
    (word % 17) as f32 - 8.0
}

macro_rules! product {
    ($(#[$doc:meta])* $name:ident = $mma:ident, $a:ident $a_count:literal, $b:ident $b_count:literal, $register:expr) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// 512 words of input: A, B and C; 4 words of output a lane.
        #[kernel(max_threads = 32, min_blocks = 1)]
        pub unsafe fn $name(p: Conformance) {
            let lane = lane_index();
            let (mut a, mut b, mut c) = ([0u32; $a_count], [0u32; $b_count], [0f32; 4]);
            // SAFETY: the maps stay inside the matrices.
            unsafe {
                cuda_std::unroll!(r < $a_count, {
                    a[r] = $register(&|i| element(&p, 0, 16, fragment::$a(lane, i)), r as u32);
                });
                cuda_std::unroll!(r < $b_count, {
                    b[r] = $register(&|i| element(&p, B, 8, fragment::$b(lane, i)), r as u32);
                });
                cuda_std::unroll!(r < 4, { c[r] = element(&p, C, 8, fragment::accumulator(lane, r as u32)) });
                let d = $mma(a, b, c);
                cuda_std::unroll!(r < 4, {
                    let (row, column) = fragment::accumulator(lane, r as u32);
                    p.results(row * 8 + column, 1).put(d[r].to_bits());
                });
            }
        }
    };
}

/// Register `r` of a fragment whose element `i` is `element(i)`.
#[inline(always)]
#[track_caller]
fn of_f16(element: &impl Fn(u32) -> f32, r: u32) -> u32 {
    let half = |i| u32::from(F16::from_f32(element(i)).to_bits());
    half(2 * r) | half(2 * r + 1) << 16
}

/// As [`of_f16`].
#[inline(always)]
#[track_caller]
fn of_bf16(element: &impl Fn(u32) -> f32, r: u32) -> u32 {
    let half = |i| u32::from(Bf16::from_f32(element(i)).to_bits());
    half(2 * r) | half(2 * r + 1) << 16
}

/// As [`of_f16`], one element a register.
#[inline(always)]
#[track_caller]
fn of_tf32(element: &impl Fn(u32) -> f32, r: u32) -> u32 {
    Tf32::from_f32(element(r)).to_bits()
}

product!(
    /// 16 × 16 by 16 × 8 of f16.
    product_m16n8k16_f16 = m16n8k16_f16, a16 4, b16 2, of_f16
);
product!(
    /// 16 × 16 by 16 × 8 of bf16.
    product_m16n8k16_bf16 = m16n8k16_bf16, a16 4, b16 2, of_bf16
);
product!(
    /// 16 × 8 by 8 × 8 of f16.
    product_m16n8k8_f16 = m16n8k8_f16, a16 2, b16 1, of_f16
);
product!(
    /// 16 × 8 by 8 × 8 of bf16.
    product_m16n8k8_bf16 = m16n8k8_bf16, a16 2, b16 1, of_bf16
);
product!(
    /// 16 × 8 by 8 × 8 of tf32.
    product_m16n8k8_tf32 = m16n8k8_tf32, a32 4, b32 2, of_tf32
);

#[cfg(not(target_arch = "nvptx64"))]
pub(crate) fn entries() -> Vec<Entry> {
    let words = draw(18, WORDS);
    let entry = |name, run: unsafe fn(Conformance), k: usize| {
        let at = |first: u32, index: usize| small(words[first as usize + index]);
        let d = (0..128).map(|i| {
            let products = (0..k).map(|k| at(0, i / 8 * 16 + k) * at(B, k * 8 + i % 8));
            (at(C, i) + products.sum::<f32>()).to_bits()
        });
        Entry::new(name, 32, 4, run).input(words.clone()).expected(d.collect())
    };
    vec![
        entry("product_m16n8k16_f16", product_m16n8k16_f16, 16),
        entry("product_m16n8k16_bf16", product_m16n8k16_bf16, 16),
        entry("product_m16n8k8_f16", product_m16n8k8_f16, 8),
        entry("product_m16n8k8_bf16", product_m16n8k8_bf16, 8),
        entry("product_m16n8k8_tf32", product_m16n8k8_tf32, 8),
    ]
}
