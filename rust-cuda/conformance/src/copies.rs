//! `cp.async`: every size, through all caches and through L2 alone, zeros past the end, and groups.

use cuda_std::async_copy::*;
use cuda_std::kernel;
use cuda_std::shared::Shared;
use cuda_std::thread::*;

use crate::Conformance;
#[cfg(not(target_arch = "nvptx64"))]
use crate::entries::{Entry, draw};

/// Words of a thread's copies: of 4, 8, 16 and 16 bytes, and the same padded.
const TILE: u32 = 24;

/// Every form, each in its place of the thread's 24 words; the next thread reads them.
///
/// # Safety
/// 24 words a thread of input, and of output.
#[kernel(max_threads = 64, min_blocks = 1)]
pub unsafe fn async_copies(p: Conformance) {
    let (i, n) = (thread_idx_x(), block_dim_x());
    let tile = Shared::<u32>::dynamic(0).offset(TILE * i);
    let source = p.input.offset(u64::from(TILE * i));
    let mut out = p.results(i, TILE);
    // SAFETY: 24 words a thread on 16-byte boundaries, read by others after the wait and the barrier. Of a padded copy the
    // bytes that are taken exist.
    unsafe {
        copy::<4, _>(tile, source);
        copy_padded::<4, _>(tile.offset(1), source.offset(1), 4 * (i % 2));
        copy::<8, _>(tile.offset(2), source.offset(2));
        copy_padded::<8, _>(tile.offset(4), source.offset(4), i % 9);
        copy_padded::<8, _>(tile.offset(6), source.offset(6), 8);
        copy::<16, _>(tile.offset(8), source.offset(8));
        copy_padded::<16, _>(tile.offset(12), source.offset(12), i % 17);
        copy_through_l2(tile.offset(16), source.offset(16));
        copy_padded_through_l2(tile.offset(20), source.offset(20), (i + 5) % 17);
        wait_all();
        sync_threads();
        let next = Shared::<u32>::dynamic(0).offset(TILE * ((i + 1) % n));
        for k in 0..TILE {
            out.put(next.load(k));
        }
    }
}

/// Two buffers filled in turn, one group ahead of what is read.
///
/// # Safety
/// 8·32 words of input; 8 of output a thread.
#[kernel(max_threads = 32, min_blocks = 1)]
pub unsafe fn async_groups(p: Conformance) {
    const ROUNDS: u32 = 8;
    let i = thread_idx_x();
    let buffer = |round: u32| Shared::<u32>::dynamic(128 * (round % 2));
    let mut out = p.results(i, ROUNDS);
    // SAFETY: a word a thread and buffer: each is filled again after the barrier that follows its reads.
    unsafe {
        copy::<4, _>(buffer(0).offset(i), p.input.offset(u64::from(i)));
        commit_group();
        for round in 0..ROUNDS {
            if round + 1 < ROUNDS {
                copy::<4, _>(buffer(round + 1).offset(i), p.input.offset(u64::from(32 * (round + 1) + i)));
            }
            commit_group();
            wait_group::<1>();
            sync_threads();
            out.put(buffer(round).load(31 - i));
            sync_threads();
        }
        wait_group::<0>();
    }
}

#[cfg(not(target_arch = "nvptx64"))]
pub(crate) fn entries() -> Vec<Entry> {
    let words = draw(20, 64 * TILE as usize);
    let copied = (0..64).flat_map(|thread: u32| {
        let i = (thread + 1) % 64;
        let mut own = words[(TILE * i) as usize..][..TILE as usize].to_vec();
        // Words from, words of the copy, bytes taken.
        for (first, count, taken) in [(1, 1, 4 * (i % 2)), (4, 2, i % 9), (12, 4, i % 17), (20, 4, (i + 5) % 17)] {
            for (k, word) in own[first..][..count].iter_mut().enumerate() {
                let kept = taken.saturating_sub(4 * k as u32).min(4);
                *word &= u32::MAX.checked_shr(32 - 8 * kept).unwrap_or(0);
            }
        }
        own
    });
    let turns = (0..32).flat_map(|i| (0..8).map(move |round| 32 * round + 31 - i)).map(|at| words[at]);
    vec![
        Entry::new("async_copies", 64, TILE, async_copies)
            .shared(64 * 4 * TILE)
            .input(words.clone())
            .expected(copied.collect()),
        Entry::new("async_groups", 32, 8, async_groups)
            .shared(256)
            .input(words[..256].to_vec())
            .expected(turns.collect()),
    ]
}
