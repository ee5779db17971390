//! mbarriers: arrivals, waits of every form, copies that arrive, bytes that are expected.

use cuda_std::kernel;
use cuda_std::mbarrier::Mbarrier;
use cuda_std::shared::Shared;
use cuda_std::thread::*;
use cuda_std::{async_copy, bulk_copy};

use crate::Conformance;
#[cfg(not(target_arch = "nvptx64"))]
use crate::entries::{Entry, draw};

/// Rounds of the pipelines: each buffer is used several times, each parity too.
const ROUNDS: u32 = 7;
/// Buffers of the pipelines.
const STAGES: u32 = 2;

/// Every thread arrives, then waits, phase after phase: by `test_wait`, by `wait`; the barrier ends and lives again.
///
/// # Safety
/// 64 words of input; 7 of output a thread.
#[kernel(max_threads = 64, min_blocks = 1)]
pub unsafe fn mbarrier_phases(p: Conformance) {
    let (i, n) = (thread_idx_x(), block_dim_x());
    let barrier = Mbarrier::dynamic(0);
    let row = |round: u32| Shared::<u32>::dynamic(128 + 256 * (round % 2));
    let mut out = p.results(i, ROUNDS);
    // SAFETY: two rows of a word a thread: a row is written again two waits later; init and inval between barriers.
    unsafe {
        let mut value = p.word(i);
        for life in 0..2 {
            if i == 0 {
                barrier.init(n);
            }
            sync_threads();
            for phase in 0..ROUNDS - 4 * life {
                row(phase).store(i, value);
                barrier.arrive();
                if phase % 2 == life {
                    while !barrier.test_wait(phase % 2) {}
                } else {
                    barrier.wait(phase % 2);
                }
                value = row(phase).load((i + 1) % n).wrapping_add(phase);
                if life == 0 {
                    out.put(value);
                }
            }
            sync_threads();
            if i == 0 {
                barrier.inval();
            }
            sync_threads();
        }
        out.written = u64::from(ROUNDS) - 1;
        out.put(value);
    }
}

/// A warp fills buffers by `cp.async`, another empties them: one full and one empty barrier a buffer.
///
/// # Safety
/// 7·32 words of input; 7 of output a lane of the second warp.
#[kernel(max_threads = 64, min_blocks = 1)]
pub unsafe fn mbarrier_pipeline(p: Conformance) {
    let (i, warp, lane) = (thread_idx_x(), warp_index(), lane_index());
    let full = |round: u32| Mbarrier::dynamic(0).offset(round % STAGES);
    let empty = |round: u32| Mbarrier::dynamic(16).offset(round % STAGES);
    let buffer = |round: u32| Shared::<u32>::dynamic(128 * (1 + round % STAGES));
    // SAFETY: the filling warp writes a buffer after its empty barrier's phase, the other reads it after the full one's.
    unsafe {
        if i == 0 {
            for stage in 0..STAGES {
                // Of each lane its copies' arrival and its own, which releases the phase of the empty barrier it waited for.
                full(stage).init(64);
                empty(stage).init(32);
            }
        }
        sync_threads();
        if warp == 0 {
            for round in 0..ROUNDS {
                // The first use of a buffer waits for nothing.
                empty(round).wait((round / STAGES + 1) % 2);
                async_copy::copy::<4, _>(buffer(round).offset(lane), p.input.offset(u64::from(32 * round + lane)));
                full(round).arrive_after_copies();
                full(round).arrive();
            }
            async_copy::wait_all();
        } else {
            let mut out = p.results(lane, ROUNDS);
            for round in 0..ROUNDS {
                full(round).wait(round / STAGES % 2);
                out.put(buffer(round).load(31 - lane));
                empty(round).arrive();
            }
        }
    }
}

/// The same with bulk copies of a whole row: the full barriers expect bytes, and `try_wait`.
///
/// # Safety
/// 7·32 words of input; 7 of output a lane of the second warp.
#[kernel(max_threads = 64, min_blocks = 1)]
pub unsafe fn mbarrier_expected_bytes(p: Conformance) {
    let (i, warp, lane) = (thread_idx_x(), warp_index(), lane_index());
    let full = |round: u32| Mbarrier::dynamic(0).offset(round % STAGES);
    let empty = |round: u32| Mbarrier::dynamic(16).offset(round % STAGES);
    let buffer = |round: u32| Shared::<u32>::dynamic(128 * (1 + round % STAGES));
    // SAFETY: as `mbarrier_pipeline`; rows are of 128 bytes on 16-byte boundaries.
    unsafe {
        if i == 0 {
            for stage in 0..STAGES {
                full(stage).init(1);
                empty(stage).init(32);
            }
            bulk_copy::fence_proxy_async();
        }
        sync_threads();
        if warp == 0 {
            if lane == 0 {
                for round in 0..ROUNDS {
                    while !empty(round).try_wait((round / STAGES + 1) % 2) {}
                    full(round).arrive_expect_tx(128);
                    bulk_copy::load(buffer(round), p.input.offset(u64::from(32 * round)), 128, full(round));
                }
            }
        } else {
            let mut out = p.results(lane, ROUNDS);
            for round in 0..ROUNDS {
                while !full(round).try_wait(round / STAGES % 2) {}
                out.put(buffer(round).load(31 - lane));
                empty(round).arrive();
            }
        }
    }
}

#[cfg(not(target_arch = "nvptx64"))]
pub(crate) fn entries() -> Vec<Entry> {
    let words = draw(21, 32 * ROUNDS as usize);
    let mut row = words[..64].to_vec();
    let mut rounds = Vec::new();
    for phase in (0..ROUNDS).chain(0..ROUNDS - 4) {
        row.rotate_left(1);
        row.iter_mut().for_each(|word| *word = word.wrapping_add(phase));
        rounds.push(row.clone());
    }
    let last = rounds.len() - 1;
    let shown = (0..ROUNDS as usize - 1).chain([last]);
    let phases = (0..64).flat_map(|i| shown.clone().map(|round| rounds[round][i]).collect::<Vec<_>>()).collect();
    let turned: Vec<u32> =
        (0..32).flat_map(|lane| (0..7).map(move |round| 32 * round + 31 - lane)).map(|at| words[at]).collect();
    let pipeline = |name, run: unsafe fn(Conformance), capability| Entry {
        capability,
        output_words: turned.len(),
        ..Entry::new(name, 64, 0, run).shared(384).input(words.clone()).expected(turned.clone())
    };
    vec![
        Entry::new("mbarrier_phases", 64, ROUNDS, mbarrier_phases)
            .shared(640)
            .input(words[..64].to_vec())
            .expected(phases),
        pipeline("mbarrier_pipeline", mbarrier_pipeline, 80),
        pipeline("mbarrier_expected_bytes", mbarrier_expected_bytes, 90),
    ]
}
