//! `ldmatrix` and `stmatrix`: one, two and four matrices, as they lie and transposed.

use cuda_std::kernel;
use cuda_std::matrix::*;
use cuda_std::shared::Shared;
use cuda_std::thread::*;

use crate::Conformance;
#[cfg(not(target_arch = "nvptx64"))]
use crate::entries::{Entry, draw};

/// The row of 16 bytes that a lane names: scattered over 32.
#[inline(always)]
const fn row_of(lane: u32) -> u32 {
    lane * 5 % 32
}

/// Where in shared memory the second 32 rows begin.
const SECOND: u32 = 512;

/// Fills the rows from byte `at` on with the input's 128 words.
///
/// # Safety
/// One warp, and nobody else accesses the rows.
#[inline(always)]
#[track_caller]
unsafe fn fill(p: &Conformance, at: u32) {
    let (rows, lane) = (Shared::<u32>::dynamic(at), thread_idx_x());
    // SAFETY: 4 words a lane.
    unsafe {
        cuda_std::unroll!(k < 4, { rows.store(4 * lane + k as u32, p.word(4 * lane + k as u32)) });
    }
    sync_threads();
}

/// Every load.
///
/// # Safety
/// 128 words of input, 14 of output a lane.
#[kernel(max_threads = 32, min_blocks = 1)]
pub unsafe fn matrix_loads(p: Conformance) {
    let lane = lane_index();
    let row = Shared::<u16>::dynamic(0).offset(8 * row_of(lane));
    let mut out = p.results(lane, 14);
    // SAFETY: 32 rows of 16 bytes; 14 words a lane.
    unsafe {
        fill(&p, 0);
        let (one, two, four) = (ldmatrix_x1(row), ldmatrix_x2(row), ldmatrix_x4(row));
        let (one_turned, two_turned, four_turned) =
            (ldmatrix_x1_trans(row), ldmatrix_x2_trans(row), ldmatrix_x4_trans(row));
        out.put(one[0]);
        cuda_std::unroll!(k < 2, { out.put(two[k]) });
        cuda_std::unroll!(k < 4, { out.put(four[k]) });
        out.put(one_turned[0]);
        cuda_std::unroll!(k < 2, { out.put(two_turned[k]) });
        cuda_std::unroll!(k < 4, { out.put(four_turned[k]) });
    }
}

macro_rules! store {
    ($(#[$doc:meta])* $name:ident, $st:ident, $st_trans:ident, $count:literal) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// 128 words of input; 8 of output a lane, the rows as they lie and those of the transposed matrices.
        #[kernel(max_threads = 32, min_blocks = 1)]
        pub unsafe fn $name(p: Conformance) {
            let lane = lane_index();
            let row = 8 * row_of(lane);
            let mut registers = [0u32; $count];
            // SAFETY: twice 32 rows of 16 bytes; the stores and the loads of them have barriers between.
            unsafe {
                fill(&p, 0);
                fill(&p, SECOND);
                cuda_std::unroll!(k < $count, { registers[k] = !p.word(lane + 32 * k as u32) });
                $st(Shared::<u16>::dynamic(0).offset(row), registers);
                $st_trans(Shared::<u16>::dynamic(SECOND).offset(row), registers);
                sync_threads();
                let mut out = p.results(lane, 4);
                cuda_std::unroll!(k < 4, { out.put(Shared::<u32>::dynamic(0).load(4 * lane + k as u32)) });
                let mut out = p.results(32 + lane, 4);
                cuda_std::unroll!(k < 4, { out.put(Shared::<u32>::dynamic(SECOND).load(4 * lane + k as u32)) });
            }
        }
    };
}
store!(
    /// Stores of one matrix.
    matrix_stores_x1,
    stmatrix_x1,
    stmatrix_x1_trans,
    1
);
store!(
    /// Stores of two.
    matrix_stores_x2,
    stmatrix_x2,
    stmatrix_x2_trans,
    2
);
store!(
    /// Stores of four.
    matrix_stores_x4,
    stmatrix_x4,
    stmatrix_x4_trans,
    4
);

#[cfg(not(target_arch = "nvptx64"))]
pub(crate) fn entries() -> Vec<Entry> {
    let words = draw(19, 128);
    let half = |words: &[u32], row: usize, column: usize| words[4 * row + column / 2] >> (column % 2 * 16) & 0xffff;
    // Lane l's register of matrix m: elements (l / 4, 2·(l % 4)) and the next in its row, or, transposed, in its column.
    let register = |lane: usize, matrix: usize, turned: bool| {
        let element = |i: usize| {
            let (row, column) = (lane / 4, 2 * (lane % 4) + i);
            let (row, column) = if turned { (column, row) } else { (row, column) };
            half(&words, row_of((8 * matrix + row) as u32) as usize, column)
        };
        element(0) | element(1) << 16
    };
    let loaded = (0..32).flat_map(|lane| {
        let all = [(0..1, false), (0..2, false), (0..4, false), (0..1, true), (0..2, true), (0..4, true)];
        all.into_iter().flat_map(move |(matrices, turned)| matrices.map(move |matrix| (lane, matrix, turned)))
    });
    let loaded = loaded.map(|(lane, matrix, turned)| register(lane, matrix, turned)).collect();
    let stored = |count: usize, turned: bool| {
        let mut rows = words.clone();
        for (matrix, lane, i) in (0..count).flat_map(|m| (0..32).flat_map(move |l| (0..2).map(move |i| (m, l, i)))) {
            let (row, column) = (lane / 4, 2 * (lane % 4) + i);
            let (row, column) = if turned { (column, row) } else { (row, column) };
            let word = &mut rows[4 * row_of((8 * matrix + row) as u32) as usize + column / 2];
            let given = !words[lane + 32 * matrix] >> (16 * i) & 0xffff;
            *word = *word & !(0xffff << (column % 2 * 16)) | given << (column % 2 * 16);
        }
        rows
    };
    let store = |name, run: unsafe fn(Conformance), count| Entry {
        capability: 90,
        ..Entry::new(name, 32, 8, run)
            .shared(1024)
            .input(words.clone())
            .expected([stored(count, false), stored(count, true)].concat())
    };
    vec![
        Entry::new("matrix_loads", 32, 14, matrix_loads).shared(512).input(words.clone()).expected(loaded),
        store("matrix_stores_x1", matrix_stores_x1, 1),
        store("matrix_stores_x2", matrix_stores_x2, 2),
        store("matrix_stores_x4", matrix_stores_x4, 4),
    ]
}
