//! The barriers of a block and of a warp: what is exchanged over shared memory between them.

use cuda_std::kernel;
use cuda_std::shared::Shared;
use cuda_std::thread::*;
use cuda_std::warp::{sync_warp, sync_warp_members};

use crate::Conformance;
#[cfg(not(target_arch = "nvptx64"))]
use crate::entries::{Entry, draw};

/// `sync_threads`, two partial barriers at once, and one at which half of the block only arrives.
///
/// # Safety
/// 128 words of input, 3 of output a thread.
#[kernel(max_threads = 128, min_blocks = 1)]
pub unsafe fn barriers(p: Conformance) {
    let (i, warp) = (thread_idx_x(), warp_index());
    let (whole, half, handed) = (Shared::<u32>::dynamic(0), Shared::<u32>::dynamic(512), Shared::<u32>::dynamic(1024));
    let mut out = p.results(i, 3);
    // SAFETY: three arrays of a word a thread; each exchange is between two barriers.
    unsafe {
        let value = p.word(i);
        whole.store(i, value);
        sync_threads();
        out.put(whole.load(127 - i));

        half.store(i, value + 1);
        sync_threads_partial(1 + warp / 2, 64);
        out.put(half.load(i ^ 63));

        // Warps 0 and 1 write and go on; 2 and 3 wait for them.
        if warp < 2 {
            handed.store(i, value + 2);
            arrive(3, 128);
            out.put(value);
        } else {
            sync_threads_partial(3, 128);
            out.put(handed.load(i - 64));
        }
    }
}

/// `sync_warp` and both halves of a warp apart.
///
/// # Safety
/// 64 words of input, 2 of output a thread.
#[kernel(max_threads = 64, min_blocks = 1)]
pub unsafe fn warp_barriers(p: Conformance) {
    let (i, lane) = (thread_idx_x(), lane_index());
    let (whole, half) = (Shared::<u32>::dynamic(0), Shared::<u32>::dynamic(256));
    let mut out = p.results(i, 2);
    // SAFETY: two arrays of a word a thread; each exchange is within a warp, or half of one, that the barrier orders.
    unsafe {
        let value = p.word(i);
        whole.store(i, value);
        sync_warp();
        out.put(whole.load(i ^ 31));
        half.store(i, value + 1);
        if lane < 16 {
            sync_warp_members(0x0000_ffff);
            out.put(half.load(i ^ 15));
        } else {
            sync_warp_members(0xffff_0000);
            out.put(half.load(i ^ 1));
        }
    }
}

#[cfg(not(target_arch = "nvptx64"))]
pub(crate) fn entries() -> Vec<Entry> {
    let words: Vec<u32> = draw(1, 128).iter().map(|word| word >> 1).collect();
    let block = (0..128)
        .flat_map(|i| [words[127 - i], words[i ^ 63] + 1, if i < 64 { words[i] } else { words[i - 64] + 2 }])
        .collect();
    let warps = (0..64).flat_map(|i| [words[i ^ 31], words[i ^ if i % 32 < 16 { 15 } else { 1 }] + 1]).collect();
    vec![
        Entry::new("barriers", 128, 3, barriers).shared(1536).input(words.clone()).expected(block),
        Entry::new("warp_barriers", 64, 2, warp_barriers).shared(512).input(words[..64].to_vec()).expected(warps),
    ]
}
