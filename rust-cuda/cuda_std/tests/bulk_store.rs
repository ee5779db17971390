//! Bulk stores and the proxy fence: each misuse beside the same kernel done right.

mod asynchronous;

use asynchronous::{caught, clean, gives, missing_fence, on, race, ready, still_copying, tile};
use cuda_std::global::{Global, GlobalMut};
use cuda_std::simt::{Finding, FindingKind, Space};
use cuda_std::{async_copy, bulk_copy, thread};

const THREADS: u32 = 64;
/// Elements of x and y.
const LEN: u32 = 256;

/// y = 2x through shared memory and one bulk store; the fence by the threads that stored, by the one that copies, or by none.
unsafe fn double<const BY_STORER: bool, const BY_COPIER: bool, const BARRIER: bool>(x: Global<f32>, y: GlobalMut<f32>) {
    let i = thread::thread_idx_x();
    // SAFETY: x, y and the tile hold LEN elements, 4 a thread.
    unsafe {
        for k in 4 * i..4 * i + 4 {
            tile().store(k, 2.0 * x.load(u64::from(k)));
        }
        if BY_STORER {
            bulk_copy::fence_proxy_async();
        }
        if BARRIER {
            thread::sync_threads();
        }
        if i == 0 {
            if BY_COPIER {
                bulk_copy::fence_proxy_async();
            }
            bulk_copy::store(y, tile(), 4 * LEN);
            bulk_copy::commit_group();
            bulk_copy::wait_group::<0>();
        }
    }
}

#[test]
fn stores_before_a_bulk_store_need_their_threads_fence_and_the_barrier() {
    gives(THREADS, LEN, double::<true, false, true>, |i| 2.0 * i as f32);
    caught(THREADS, on(LEN, double::<false, false, true>), missing_fence);
    caught(THREADS, on(LEN, double::<false, true, true>), missing_fence);
    let unordered = |f: &Finding| race(Space::Shared)(f) || matches!(f.kind, FindingKind::NeverWritten);
    caught(THREADS, on(LEN, double::<true, false, false>), unordered);
}

/// A fence, and a store after it.
unsafe fn stores_after_the_fence<const AGAIN: bool>(_: Global<f32>, y: GlobalMut<f32>) {
    let i = thread::thread_idx_x();
    // SAFETY: y and the tile hold LEN elements.
    unsafe {
        tile().store(i, 1.0);
        bulk_copy::fence_proxy_async();
        tile().store(i, 2.0);
        if AGAIN {
            bulk_copy::fence_proxy_async();
        }
        thread::sync_threads();
        if i == 0 {
            bulk_copy::store(y, tile(), 4 * THREADS);
            bulk_copy::commit_group();
            bulk_copy::wait_group_read::<0>();
        }
    }
}

#[test]
fn a_fence_covers_what_came_before_it() {
    clean(THREADS, on(LEN, stores_after_the_fence::<true>));
    caught(THREADS, on(LEN, stores_after_the_fence::<false>), missing_fence);
}

/// What cp.async brought, stored by a bulk copy: the fence comes after the wait.
unsafe fn passes_on<const BEFORE: bool, const AFTER: bool>(x: Global<f32>, y: GlobalMut<f32>) {
    let i = thread::thread_idx_x();
    // SAFETY: x, y and the tile hold 4 elements a thread.
    unsafe {
        async_copy::copy::<16, _>(tile().offset(4 * i), x.offset(u64::from(4 * i)));
        if BEFORE {
            bulk_copy::fence_proxy_async();
        }
        async_copy::wait_all();
        if AFTER {
            bulk_copy::fence_proxy_async();
        }
        thread::sync_threads();
        if i == 0 {
            bulk_copy::store(y, tile(), 4 * LEN);
            bulk_copy::commit_group();
            bulk_copy::wait_group_read::<0>();
        }
    }
}

#[test]
fn what_a_plain_copy_brought_is_fenced_after_the_wait() {
    gives(THREADS, LEN, passes_on::<false, true>, |i| i as f32);
    caught(THREADS, on(LEN, passes_on::<false, false>), missing_fence);
    caught(THREADS, on(LEN, passes_on::<true, false>), missing_fence);
}

/// After a bulk store: the source is written again, or the destination is read, after a wait of the constants' kind.
unsafe fn afterwards<const WAIT: u32, const READ_BACK: bool>(_: Global<f32>, y: GlobalMut<f32>) {
    let i = thread::thread_idx_x();
    // SAFETY: y and the tile hold LEN elements, 4 a thread.
    unsafe {
        for k in 4 * i..4 * i + 4 {
            tile().store(k, k as f32);
        }
        bulk_copy::fence_proxy_async();
        thread::sync_threads();
        if i == 0 {
            bulk_copy::store(y, tile(), 4 * LEN);
            bulk_copy::commit_group();
            match WAIT {
                0 => {}
                1 => bulk_copy::wait_group_read::<0>(),
                2 => bulk_copy::wait_group::<0>(),
                _ => bulk_copy::wait_group::<1>(),
            }
        }
        thread::sync_threads();
        if READ_BACK {
            y.load(u64::from(LEN - 1 - i));
        } else {
            tile().store(i, 0.0);
        }
        if i == 0 {
            bulk_copy::wait_group::<0>();
        }
    }
}

#[test]
fn a_source_is_written_again_after_it_was_read() {
    clean(THREADS, on(LEN, afterwards::<1, false>));
    clean(THREADS, on(LEN, afterwards::<2, false>));
    caught(THREADS, on(LEN, afterwards::<0, false>), race(Space::Shared));
    caught(THREADS, on(LEN, afterwards::<3, false>), race(Space::Shared));
}

#[test]
fn a_destination_is_read_after_it_was_written() {
    clean(THREADS, on(LEN, afterwards::<2, true>));
    caught(THREADS, on(LEN, afterwards::<1, true>), race(Space::Global));
    caught(THREADS, on(LEN, afterwards::<0, true>), race(Space::Global));
}

/// The block ends with a store, or a load, that nobody waited for.
unsafe fn leaves<const LOAD: bool, const WAIT: bool>(x: Global<f32>, y: GlobalMut<f32>) {
    let full = ready();
    if thread::thread_idx_x() != 0 {
        return;
    }
    // SAFETY: x, y and the tile hold more than 16 bytes.
    unsafe {
        if LOAD {
            full.arrive_expect_tx(16);
            bulk_copy::load(tile(), x, 16, full);
            if WAIT {
                full.wait(0);
            }
        } else {
            for k in 0..4 {
                tile().store(k, 0.0);
            }
            bulk_copy::fence_proxy_async();
            bulk_copy::store(y, tile(), 16);
            bulk_copy::commit_group();
            if WAIT {
                bulk_copy::wait_group_read::<0>();
            }
        }
    }
}

#[test]
fn a_block_does_not_end_before_its_copies() {
    clean(THREADS, on(LEN, leaves::<true, true>));
    clean(THREADS, on(LEN, leaves::<false, true>));
    let left = |f: &Finding| still_copying(f) && f.access.is_none();
    caught(THREADS, on(LEN, leaves::<true, false>), left);
    caught(THREADS, on(LEN, leaves::<false, false>), left);
}
