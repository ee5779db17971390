//! Bulk loads and the async proxy: each misuse beside the same kernel done right.

mod asynchronous;

use asynchronous::{SHARED, caught, clean, gives, missing_fence, misuse, on, race, ready, still_copying, tile};
use cuda_std::bulk_copy;
use cuda_std::global::{Global, GlobalMut};
use cuda_std::mbarrier::Mbarrier;
use cuda_std::shared::Shared;
use cuda_std::simt::{Finding, FindingKind, Space};
use cuda_std::thread;

const THREADS: u32 = 64;
/// Elements of x and y.
const LEN: u32 = 256;

/// y = x reversed: thread 0 loads x in two pieces, and expects `EXPECTED` bytes, before or after; all read it.
unsafe fn reverse<const EXPECTED: u32, const LATE: bool, const WAIT: bool>(x: Global<f32>, y: GlobalMut<f32>) {
    let (i, full) = (thread::thread_idx_x(), ready());
    // SAFETY: x, y and the tile hold LEN elements.
    unsafe {
        if i == 0 {
            if !LATE {
                full.arrive_expect_tx(EXPECTED);
            }
            bulk_copy::load(tile(), x, 2 * LEN, full);
            bulk_copy::load(tile().offset(LEN / 2), x.offset(u64::from(LEN / 2)), 2 * LEN, full);
            if LATE {
                full.arrive_expect_tx(EXPECTED);
            }
        }
        if WAIT {
            full.wait(0);
        }
        for k in (i..LEN).step_by(THREADS as usize) {
            y.store(u64::from(k), tile().load(LEN - 1 - k));
        }
    }
}

#[test]
fn a_load_has_arrived_when_its_phase_is_complete() {
    gives(THREADS, LEN, reverse::<{ 4 * LEN }, false, true>, |i| (LEN - 1 - i) as f32);
    gives(THREADS, LEN, reverse::<{ 4 * LEN }, true, true>, |i| (LEN - 1 - i) as f32);
}

#[test]
fn reading_without_the_wait_is_caught() {
    // Who runs before the load reads what nothing has written; thread 0 reads what is on its way.
    caught(THREADS, on(LEN, reverse::<{ 4 * LEN }, false, false>), still_copying);
}

#[test]
fn bytes_and_what_was_expected_agree() {
    caught(THREADS, on(LEN, reverse::<{ 4 * LEN + 16 }, false, true>), misuse("lacks bytes"));
    caught(THREADS, on(LEN, reverse::<{ 2 * LEN }, false, true>), misuse("more bytes than it expects"));
    caught(THREADS, on(LEN, reverse::<{ 4 * LEN - 16 }, false, true>), misuse("more bytes than it expects"));
}

/// The barrier made without the fence, or without the block's barrier before the load by another thread.
unsafe fn unready<const FENCE: bool, const BARRIER: bool>(x: Global<f32>, _: GlobalMut<f32>) {
    let (i, full) = (thread::thread_idx_x(), Mbarrier::dynamic(0));
    // SAFETY: too early without either, which is what is tested.
    unsafe {
        if i == 0 {
            full.init(1);
            if FENCE {
                bulk_copy::fence_proxy_async();
            }
        }
        if BARRIER {
            thread::sync_threads();
        }
        if i == 1 {
            full.arrive_expect_tx(64);
            bulk_copy::load(tile(), x, 64, full);
        }
        thread::sync_threads();
        full.wait(0);
    }
}

#[test]
fn the_async_proxy_sees_a_barrier_that_was_fenced() {
    clean(THREADS, on(LEN, unready::<true, true>));
    caught(THREADS, on(LEN, unready::<false, true>), missing_fence);
    let early = |f: &Finding| race(Space::Shared)(f) || misuse("used before its init")(f);
    caught(THREADS, on(LEN, unready::<true, false>), early);
}

/// x loaded and stored again by the async proxy, which sees its own writes; what the tile held before was stored plainly.
unsafe fn straight_through<const STORED: bool, const FENCE: bool>(x: Global<f32>, y: GlobalMut<f32>) {
    let i = thread::thread_idx_x();
    // SAFETY: x, y and the tile hold LEN elements.
    unsafe {
        if STORED {
            tile().store(i, 0.0);
            if FENCE {
                bulk_copy::fence_proxy_async();
            }
        }
        let full = ready();
        if i == 0 {
            full.arrive_expect_tx(4 * LEN);
            bulk_copy::load(tile(), x, 4 * LEN, full);
            full.wait(0);
            bulk_copy::store(y, tile(), 4 * LEN);
            bulk_copy::commit_group();
            bulk_copy::wait_group_read::<0>();
        }
    }
}

#[test]
fn a_load_needs_no_fence_but_for_plain_stores_below_it() {
    gives(THREADS, LEN, straight_through::<false, false>, |i| i as f32);
    gives(THREADS, LEN, straight_through::<true, true>, |i| i as f32);
    // Thread 0 fences its own store in `ready`; the others do not.
    caught(THREADS, on(LEN, straight_through::<true, false>), missing_fence);
}

/// All write the source of a load, before the wait or after it.
unsafe fn overwritten_source<const AFTER: bool>(_: Global<f32>, y: GlobalMut<f32>) {
    let (i, full) = (thread::thread_idx_x(), ready());
    // SAFETY: y and the tile hold an element a thread.
    unsafe {
        if i == 0 {
            full.arrive_expect_tx(4 * THREADS);
            bulk_copy::load(tile(), Global::from_address(y.address()), 4 * THREADS, full);
        }
        if AFTER {
            full.wait(0);
        }
        thread::sync_threads();
        y.store(u64::from(i), 0.0);
        full.wait(0);
    }
}

#[test]
fn writing_a_source_before_the_wait_is_a_race() {
    clean(THREADS, on(LEN, overwritten_source::<true>));
    caught(THREADS, on(LEN, overwritten_source::<false>), race(Space::Global));
}

/// Two slots refilled by thread 0, which waits until the others have emptied them; y = Σ of the rows of x.
unsafe fn ring<const WAIT_EMPTY: bool>(x: Global<f32>, y: GlobalMut<f32>) {
    const STEPS: u32 = 5;
    let (i, n) = (thread::thread_idx_x(), thread::block_dim_x());
    let (full, empty) = (Mbarrier::dynamic(0), Mbarrier::dynamic(16));
    // SAFETY: x holds LEN elements, at multiples of 16 bytes of which each row begins; y holds n; the tile 2n.
    unsafe {
        if i == 0 {
            for slot in 0..2 {
                full.offset(slot).init(1);
                empty.offset(slot).init(n);
            }
            bulk_copy::fence_proxy_async();
        }
        thread::sync_threads();
        let start = |step: u32| {
            let slot = step % 2;
            if i == 0 && step < STEPS {
                if WAIT_EMPTY {
                    empty.offset(slot).wait((step / 2 + 1) % 2);
                }
                full.offset(slot).arrive_expect_tx(4 * n);
                bulk_copy::load(tile().offset(slot * n), x.offset(u64::from(4 * step)), 4 * n, full.offset(slot));
            }
        };
        start(0);
        start(1);
        let mut sum = 0.0;
        for step in 0..STEPS {
            let slot = step % 2;
            full.offset(slot).wait(step / 2 % 2);
            sum += tile().load(slot * n + i);
            empty.offset(slot).arrive();
            start(step + 2);
        }
        y.store(u64::from(i), sum);
    }
}

#[test]
fn a_ring_of_slots_is_clean() {
    gives(THREADS, LEN, ring::<true>, |i| if i < THREADS { (5 * i + 40) as f32 } else { -1.0 });
}

#[test]
fn a_slot_refilled_before_it_is_empty_is_caught() {
    // Where thread 0 runs ahead of all it laps them: they wait for a phase whose parity is another's by then.
    let overtaken = |f: &Finding| race(Space::Shared)(f) || still_copying(f) || misuse("lacks arrivals")(f);
    caught(THREADS, on(LEN, ring::<false>), overtaken);
}

/// A load and a store of `BYTES` bytes, the shared side `OFFSET` bytes further on.
unsafe fn placed<const BYTES: u32, const OFFSET: u32>(x: Global<f32>, y: GlobalMut<f32>) {
    let (full, place) = (ready(), Shared::<f32>::dynamic(128 + OFFSET));
    // SAFETY: wrong sizes and places are what is tested.
    unsafe {
        full.arrive_expect_tx(BYTES);
        bulk_copy::load(place, x, BYTES, full);
        full.wait(0);
        bulk_copy::store(y, place, BYTES);
        bulk_copy::commit_group();
        bulk_copy::wait_group_read::<0>();
    }
}

#[test]
fn sizes_and_places_are_multiples_of_16_and_inside() {
    let misaligned = |f: &Finding| matches!(f.kind, FindingKind::Misaligned { space: Space::Shared });
    let outside = |space| move |f: &Finding| matches!(f.kind, FindingKind::OutOfBounds { space: s, .. } if s == space);
    clean(1, on(LEN, placed::<{ 4 * LEN }, 16>));
    caught(1, on(LEN, placed::<24, 0>), misaligned);
    caught(1, on(LEN, placed::<32, 8>), misaligned);
    caught(1, on(LEN, placed::<{ 4 * LEN + 16 }, 0>), outside(Space::Global));
    caught(1, on(LEN, placed::<32, { SHARED - 144 }>), outside(Space::Shared));
}
