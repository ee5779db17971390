//! The products of warpgroups, on small integers, where every order of summing gives the same bits: rows from any on, and any pieces of them.

use cuda_std::bulk_copy::fence_proxy_async;
use cuda_std::convert::{Bf16, F16};
use cuda_std::fragment;
use cuda_std::kernel;
use cuda_std::shared::Shared;
use cuda_std::thread::*;
use cuda_std::unroll;
use cuda_std::wgmma::*;

use crate::Conformance;
#[cfg(not(target_arch = "nvptx64"))]
use crate::entries::{Entry, draw};

/// Rows of A in shared memory, of which products take 64 or 128 from some row on; of B there are up to 128.
const ROWS: u32 = 136;
/// Words of a row: 64 elements.
const WORDS: u32 = ROW_BYTES / 4;

/// An integer from −8 to 8.
#[inline(always)]
fn small(word: u32) -> f32 {
    (word % 17) as f32 - 8.0
}

/// Stores a row's word, two elements, where swizzling has it.
///
/// # Safety
/// The row is one of the matrix, and its words are this thread's.
#[inline(always)]
#[track_caller]
unsafe fn store(matrix: Shared<u32>, row: u32, word: u32, value: u32) {
    // SAFETY: the caller's promise.
    unsafe { matrix.store(row * WORDS + 4 * ((word / 4) ^ (row % 8)) + word % 4, value) };
}

macro_rules! product {
    ($(#[$doc:meta])* $name:ident = $start:ident, $columns:literal, $tiles:literal, $first:literal, $pairs:expr, $element:ident) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// A word of input an element, of A, then of B; a word of output an element of D; shared memory for both.
        #[kernel(max_threads = 128, min_blocks = 1)]
        pub unsafe fn $name(p: Conformance) {
            let thread = thread_idx_x();
            let (a, b) = (Shared::<u32>::dynamic(0), Shared::<u32>::dynamic(ROWS * ROW_BYTES));
            // SAFETY: each thread has its own words, and a fence and a barrier before others read them.
            unsafe {
                let mut i = thread;
                while i < (ROWS + $columns) * WORDS {
                    let half = |n: u32| u32::from($element::from_f32(small(p.word(2 * i + n))).to_bits());
                    let (row, word) = (i / WORDS, i % WORDS);
                    let (matrix, row) = if row < ROWS { (a, row) } else { (b, row - ROWS) };
                    store(matrix, row, word, half(0) | half(1) << 16);
                    i += 128;
                }
                fence_proxy_async();
                sync_threads();
                let pairs = $pairs;
                let found = $start(pairs.map(|[x, y]: [u32; 2]| [Rows::new(a, $first, 2 * x), Rows::new(b, 0, 2 * y)])).wait();
                let (lane, warp) = (thread % 32, thread / 32);
                unroll!(half < 2, {
                    unroll!(tile < $tiles, at most 8, {
                        unroll!(i < 4, {
                            let (row, column) = fragment::accumulator(lane, i as u32);
                            // Halves are of rows where all tiles are of the columns.
                            let (lower, right) = if 8 * $tiles == $columns { (half as u32, 0) } else { (0, half as u32) };
                            let (row, column) = (64 * lower + 16 * warp + row, 8 * ($tiles * right + tile as u32) + column);
                            p.results(row * $columns + column, 1).put(found[half][tile][i].to_bits());
                        });
                    });
                });
            }
        }
    };
}
product!(
    /// 64 × 64 by 64 × 128 of f16.
    warpgroup_n128_f16 = m64n128k16_f16, 128, 8, 0, [[0, 0], [1, 1], [2, 2], [3, 3]], F16
);
product!(
    /// 64 × 96 by 96 × 128 of bf16, from an odd row on.
    warpgroup_n128_bf16 = m64n128k16_bf16, 128, 8, 3, [[1, 0], [0, 1], [3, 2], [2, 3], [0, 0], [2, 2]], Bf16
);
product!(
    /// 128 × 96 by 96 × 32 of f16, from another.
    warpgroup_n32_f16 = m128n32k16_f16, 32, 4, 6, [[1, 0], [0, 1], [3, 2], [2, 3], [0, 0], [2, 2]], F16
);
product!(
    /// 128 × 64 by 64 × 32 of bf16, from the eighth row on.
    warpgroup_n32_bf16 = m128n32k16_bf16, 32, 4, 8, [[0, 0], [1, 1], [2, 2], [3, 3]], Bf16
);

#[cfg(not(target_arch = "nvptx64"))]
pub(crate) fn entries() -> Vec<Entry> {
    const STRAIGHT: &[[u32; 2]] = &[[0, 0], [1, 1], [2, 2], [3, 3]];
    const SPLIT: &[[u32; 2]] = &[[1, 0], [0, 1], [3, 2], [2, 3], [0, 0], [2, 2]];
    let entry = |name, run: unsafe fn(Conformance), columns: u32, first: u32, pairs: &[[u32; 2]]| {
        let words = draw(u64::from(columns + first), (2 * WORDS * (ROWS + columns)) as usize);
        let at = |row: u32, k: u32| small(words[(row * 2 * WORDS + k) as usize]);
        let element = |i: u32| {
            let (row, column) = (first + i / columns, ROWS + i % columns);
            let terms = pairs.iter().flat_map(|&[x, y]| (0..16).map(move |k| (16 * x + k, 16 * y + k)));
            terms.map(|(x, y)| at(row, x) * at(column, y)).sum::<f32>().to_bits()
        };
        let rows = if columns == 128 { 64 } else { 128 };
        let expected = (0..rows * columns).map(element).collect();
        let shared = (ROWS + columns) * ROW_BYTES;
        Entry { capability: 90, ..Entry::new(name, 128, rows * columns / 128, run).shared(shared) }
            .input(words.clone())
            .expected(expected)
    };
    vec![
        entry("warpgroup_n128_f16", warpgroup_n128_f16, 128, 0, STRAIGHT),
        entry("warpgroup_n128_bf16", warpgroup_n128_bf16, 128, 3, SPLIT),
        entry("warpgroup_n32_f16", warpgroup_n32_f16, 32, 6, SPLIT),
        entry("warpgroup_n32_bf16", warpgroup_n32_bf16, 32, 8, STRAIGHT),
    ]
}
