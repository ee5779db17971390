//! `cp.async.bulk` to shared memory and back, with plain stores between and the fence that shows them.

use cuda_std::bulk_copy::*;
use cuda_std::kernel;
use cuda_std::mbarrier::Mbarrier;
use cuda_std::shared::Shared;
use cuda_std::thread::*;

use crate::Conformance;
#[cfg(not(target_arch = "nvptx64"))]
use crate::entries::{Entry, draw};

/// Each word of the input doubled, by blocks: a load, stores of every thread, two stores back in two groups; then, once the
/// first is read, its row anew.
///
/// # Safety
/// 64 words of input a block and 96 of output; 16-byte boundaries.
#[kernel(max_threads = 64, min_blocks = 1)]
pub unsafe fn bulk_copies(p: Conformance) {
    let (i, block) = (thread_idx_x(), u64::from(block_idx_x()));
    let (full, tile) = (Mbarrier::dynamic(0), Shared::<u32>::dynamic(128));
    let output = p.output.offset(96 * block);
    // SAFETY: 64 words of the tile, of which each thread has its own between two barriers.
    unsafe {
        if i == 0 {
            full.init(1);
            fence_proxy_async();
            full.arrive_expect_tx(256);
            // Two copies complete one phase.
            load(tile, p.input.offset(64 * block), 64, full);
            load(tile.offset(16), p.input.offset(64 * block + 16), 192, full);
        }
        sync_threads();
        full.wait(0);
        let value = tile.load(i);
        tile.store(i, value.wrapping_mul(2));
        fence_proxy_async();
        sync_threads();
        if i == 0 {
            store(output, tile, 128);
            commit_group();
            store(output.offset(32), tile.offset(32), 128);
            commit_group();
            wait_group_read::<1>();
        }
        sync_threads();
        if i < 32 {
            tile.store(i, value.wrapping_add(1));
            fence_proxy_async();
        }
        sync_threads();
        if i == 0 {
            store(output.offset(64), tile, 128);
            commit_group();
            wait_group::<0>();
        }
    }
}

#[cfg(not(target_arch = "nvptx64"))]
pub(crate) fn entries() -> Vec<Entry> {
    let words = draw(22, 128);
    let copied = words.chunks(64).flat_map(|block| {
        let doubled = block.iter().map(|word| word.wrapping_mul(2));
        doubled.chain(block[..32].iter().map(|word| word.wrapping_add(1))).collect::<Vec<_>>()
    });
    let copied: Vec<u32> = copied.collect();
    let entry = Entry::new("bulk_copies", 64, 0, bulk_copies).blocks([2, 1, 1]).shared(384).input(words);
    vec![Entry { capability: 90, output_words: copied.len(), ..entry }.expected(copied)]
}
