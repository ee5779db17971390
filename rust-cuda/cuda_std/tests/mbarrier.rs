//! mbarriers: what they order, and each misuse beside the same kernel done right.

mod asynchronous;

use asynchronous::{caught, clean, misuse, race, still_copying};
use cuda_std::mbarrier::Mbarrier;
use cuda_std::shared::Shared;
use cuda_std::simt::{Finding, FindingKind, Grid, Memory, Report, Space};
use cuda_std::{async_copy, bulk_copy, thread};

const THREADS: u32 = 64;

/// Runs a kernel that needs no global memory.
fn run(kernel: unsafe fn()) -> impl Fn(&Grid) -> Report {
    // SAFETY: what each test does wrong is what the executor must catch.
    move |grid| grid.run(&Memory::new(), || unsafe { kernel() })
}

fn barrier() -> Mbarrier {
    Mbarrier::dynamic(0)
}

fn data() -> Shared<u32> {
    Shared::dynamic(128)
}

/// Thread 0 initialises it for `arrivals` arrivals, for all.
fn ready(arrivals: u32) {
    if thread::thread_idx_x() == 0 {
        // SAFETY: the first thing that every kernel here does, with 8 aligned bytes.
        unsafe { barrier().init(arrivals) };
    }
    thread::sync_threads();
}

/// Every thread stores, arrives, waits for `PARITY` if `WAIT`, and reads another's.
unsafe fn exchange<const ARRIVALS: u32, const WAIT: bool, const PARITY: u32>() {
    let i = thread::thread_idx_x();
    ready(ARRIVALS);
    // SAFETY: an element a thread; the barrier lives.
    unsafe {
        data().store(i, i);
        barrier().arrive();
        if WAIT {
            barrier().wait(PARITY);
        }
        let value = data().load(i ^ 1);
        assert!(value == i ^ 1 || (ARRIVALS, WAIT, PARITY) != (THREADS, true, 0));
    }
}

#[test]
fn what_was_done_before_arriving_is_seen_after_waiting() {
    clean(THREADS, run(exchange::<THREADS, true, 0>));
}

#[test]
fn reading_without_the_wait_is_a_race() {
    caught(THREADS, run(exchange::<THREADS, false, 0>), race(Space::Shared));
}

#[test]
fn a_wait_for_the_parity_of_no_phase_yet_orders_nothing() {
    caught(THREADS, run(exchange::<THREADS, true, 1>), race(Space::Shared));
}

#[test]
fn a_phase_that_lacks_an_arrival_is_reported_with_its_barrier() {
    caught(THREADS, run(exchange::<{ THREADS + 1 }, true, 0>), |finding| {
        misuse("lacks arrivals")(finding) && finding.address == 0 && finding.access.is_some()
    });
}

#[test]
fn more_arrivals_than_the_count_are_caught() {
    caught(THREADS, run(exchange::<{ THREADS - 1 }, true, 0>), misuse("more arrivals than its count"));
}

/// Each phase after the other, each thread's value moving one thread on; the last phase's parity is wrong by `OFF`.
unsafe fn phases<const OFF: u32>() {
    const PHASES: u32 = 5;
    let (i, n) = (thread::thread_idx_x(), thread::block_dim_x());
    ready(n);
    let mut value = i;
    for phase in 0..PHASES {
        let row = data().offset(phase % 2 * n);
        // SAFETY: two rows of an element a thread: a row is written again two waits later.
        unsafe {
            row.store(i, value);
            barrier().arrive();
            barrier().wait((phase + if phase + 1 == PHASES { OFF } else { 0 }) % 2);
            value = row.load((i + 1) % n);
        }
    }
    assert!(OFF == 1 || value == (i + PHASES) % n);
}

#[test]
fn phases_alternate() {
    clean(THREADS, run(phases::<0>));
    caught(THREADS, run(phases::<1>), race(Space::Shared));
}

/// Thread 0 waits for a phase twice: the parity of the second is that of one to come.
unsafe fn waits_for_the_next<const SECOND: u32>() {
    ready(thread::block_dim_x());
    // SAFETY: the barrier lives.
    unsafe {
        barrier().arrive();
        barrier().wait(0);
        barrier().wait(SECOND);
    }
}

#[test]
fn a_parity_that_can_never_complete_is_reported() {
    clean(THREADS, run(waits_for_the_next::<0>));
    caught(THREADS, run(waits_for_the_next::<1>), misuse("a thread waits for a phase that lacks arrivals"));
    caught(THREADS, run(waits_for_the_next::<2>), misuse("a parity is 0 or 1"));
}

/// The first half produces, the second consumes, through two slots with a full and an empty barrier each.
unsafe fn producer_consumer<const WAIT_EMPTY: bool, const RELEASE_FIRST: bool>() {
    const STEPS: u32 = 7;
    let (i, half) = (thread::thread_idx_x(), thread::block_dim_x() / 2);
    let (full, empty) = (Mbarrier::dynamic(0), Mbarrier::dynamic(16));
    if i == 0 {
        for slot in 0..2 {
            // SAFETY: four barriers of 8 bytes, which nobody uses yet.
            unsafe { (full.offset(slot).init(half), empty.offset(slot).init(half)) };
        }
    }
    thread::sync_threads();
    let lane = i % half;
    for step in 0..STEPS {
        let (slot, round) = (step % 2, step / 2);
        let place = data().offset(slot * half);
        // SAFETY: a slot is written between its empty and its full barrier and read between its full and its empty one.
        unsafe {
            if i < half {
                if WAIT_EMPTY {
                    empty.offset(slot).wait((round + 1) % 2);
                }
                place.store(lane, 1000 * step + lane);
                full.offset(slot).arrive();
            } else {
                full.offset(slot).wait(round % 2);
                if RELEASE_FIRST {
                    empty.offset(slot).arrive();
                }
                let value = place.load(half - 1 - lane);
                if !RELEASE_FIRST {
                    empty.offset(slot).arrive();
                }
                assert!(!WAIT_EMPTY || RELEASE_FIRST || value == 1000 * step + half - 1 - lane);
            }
        }
    }
}

#[test]
fn producers_and_consumers_take_turns() {
    clean(THREADS, run(producer_consumer::<true, false>));
}

#[test]
fn a_producer_that_does_not_wait_for_the_empty_slot_is_caught() {
    // Its early arrival is the fault where it comes first, the overwritten slot where the reader does.
    let early = |f: &Finding| misuse("more arrivals than its count")(f) || race(Space::Shared)(f);
    caught(THREADS, run(producer_consumer::<false, false>), early);
}

#[test]
fn a_consumer_that_releases_the_slot_before_reading_it_is_a_race() {
    caught(THREADS, run(producer_consumer::<true, true>), race(Space::Shared));
}

/// Uses a barrier that thread 0 makes, with the block's barrier in between or not.
unsafe fn made_by_another<const MAKE: bool, const BARRIER: bool>() {
    let n = thread::block_dim_x();
    if MAKE && thread::thread_idx_x() == 0 {
        // SAFETY: 8 aligned bytes.
        unsafe { barrier().init(n) };
    }
    if BARRIER {
        thread::sync_threads();
    }
    // SAFETY: too early without the block's barrier, which is what is tested.
    unsafe {
        barrier().arrive();
        barrier().wait(0);
    }
}

#[test]
fn use_before_init_is_caught() {
    clean(THREADS, run(made_by_another::<true, true>));
    caught(THREADS, run(made_by_another::<false, true>), misuse("used before its init"));
    // Without the barrier it depends on who runs first; both are found for what they are.
    let early = |f: &Finding| misuse("used before its init")(f) || race(Space::Shared)(f);
    caught(THREADS, run(made_by_another::<true, false>), early);
}

/// Two phases with an end and a beginning between them, each step left out by a constant.
unsafe fn made_again<const INVAL: bool, const BARRIER: bool>() {
    let (i, n) = (thread::thread_idx_x(), thread::block_dim_x());
    ready(n);
    for _ in 0..2 {
        // SAFETY: the barrier lives; what is missing is what is tested.
        unsafe {
            barrier().arrive();
            barrier().wait(0);
            if BARRIER {
                thread::sync_threads();
            }
            if i == 0 && INVAL {
                barrier().inval();
            }
            if i == 0 {
                barrier().init(n);
            }
            thread::sync_threads();
        }
    }
}

#[test]
fn a_barrier_is_ended_before_it_is_made_again_and_after_its_last_use() {
    clean(THREADS, run(made_again::<true, true>));
    caught(THREADS, run(made_again::<false, true>), misuse("initialised again while in use"));
    let too_early = |f: &Finding| race(Space::Shared)(f) || misuse("used before its init")(f);
    caught(THREADS, run(made_again::<true, false>), too_early);
}

/// Reads or writes the barrier's bytes, or with `ENDED` what was one.
unsafe fn bytes_of_it<const WRITE: bool, const ENDED: bool>() {
    ready(1);
    // SAFETY: not allowed while it lives, which is what is tested.
    unsafe {
        if ENDED {
            barrier().inval();
        }
        let word = Shared::<u32>::dynamic(4);
        if WRITE {
            word.store(0, 1);
        } else {
            word.load(0);
        }
    }
}

#[test]
fn its_bytes_are_its_own_while_it_lives() {
    caught(1, run(bytes_of_it::<false, false>), misuse("accessed by something other"));
    caught(1, run(bytes_of_it::<true, false>), misuse("accessed by something other"));
    clean(1, run(bytes_of_it::<true, true>));
}

#[test]
fn counts_and_places_are_checked() {
    unsafe fn none() {
        // SAFETY: a count of 0 is none, which is what is tested.
        unsafe { barrier().init(0) };
    }
    unsafe fn askew() {
        // SAFETY: not at a multiple of 8, which is what is tested.
        unsafe { Mbarrier::dynamic(4).init(1) };
    }
    unsafe fn too_many_bytes() {
        // SAFETY: more than fits, which is what is tested.
        unsafe {
            barrier().init(2);
            barrier().arrive_expect_tx((1 << 20) - 1);
            barrier().arrive_expect_tx(16);
        }
    }
    unsafe fn as_it_should_be() {
        // SAFETY: 8 aligned bytes.
        unsafe { Mbarrier::dynamic(8).init((1 << 20) - 1) };
    }
    caught(1, run(none), misuse("1 to 2^20 - 1"));
    caught(1, run(askew), |f| matches!(f.kind, FindingKind::Misaligned { space: Space::Shared }));
    caught(1, run(too_many_bytes), misuse("more than 2^20 - 1 bytes"));
    clean(1, run(as_it_should_be));
}

/// Bytes that are expected and never copied.
unsafe fn expects<const BYTES: u32>() {
    ready(1);
    // SAFETY: the barrier lives.
    unsafe {
        if thread::thread_idx_x() == 0 {
            barrier().arrive_expect_tx(BYTES);
        }
        barrier().wait(0);
    }
}

#[test]
fn bytes_that_never_come_are_reported() {
    clean(THREADS, run(expects::<0>));
    caught(THREADS, run(expects::<16>), misuse("lacks bytes"));
}

/// Each thread copies its element; the barrier tracks the copies, or (`PLAIN`) an arrival that does not wait for them.
unsafe fn tracked<const PLAIN: bool, const STORE: bool>(x: cuda_std::global::Global<f32>) {
    let (i, n, tile) = (thread::thread_idx_x(), thread::block_dim_x(), Shared::<f32>::dynamic(128));
    ready(n);
    // SAFETY: x and the tile hold 2 elements a thread.
    unsafe {
        if STORE {
            tile.store(n + i, i as f32);
        } else {
            async_copy::copy::<4, _>(tile.offset(n + i), x.offset(u64::from(i)));
        }
        async_copy::copy::<4, _>(tile.offset(i), x.offset(u64::from(i)));
        if PLAIN {
            barrier().arrive();
        } else {
            barrier().arrive_after_copies();
        }
        barrier().wait(0);
        let sum = tile.load(i ^ 1) + tile.load(n + (i ^ 1));
        assert!(PLAIN || STORE || sum == 2.0 * (i ^ 1) as f32);
    }
    async_copy::wait_all();
}

#[test]
fn an_arrival_after_copies_releases_the_copies_and_nothing_else() {
    let run = |kernel: unsafe fn(cuda_std::global::Global<f32>)| {
        move |grid: &Grid| {
            let mut memory = Memory::new();
            let x = memory.buffer("x", &(0..THREADS).map(|i| i as f32).collect::<Vec<_>>());
            // SAFETY: x holds an element a thread.
            grid.run(&memory, || unsafe { kernel(x.global()) })
        }
    };
    clean(THREADS, run(tracked::<false, false>));
    caught(THREADS, run(tracked::<true, false>), still_copying);
    caught(THREADS, run(tracked::<false, true>), race(Space::Shared));
}

/// A thread that asks now and then while it does what completes the phase itself.
unsafe fn asks_between<const ARRIVE: bool>() {
    ready(3);
    let mut asked = 0;
    // SAFETY: the barrier lives.
    unsafe {
        while !barrier().test_wait(0) {
            asked += 1;
            if ARRIVE && asked % 10 == 0 {
                barrier().arrive();
            }
        }
        assert!(barrier().try_wait(0));
    }
    bulk_copy::fence_proxy_async();
}

#[test]
fn asking_in_vain_is_allowed_for_a_while() {
    clean(1, run(asks_between::<true>));
    caught(1, run(asks_between::<false>), misuse("lacks arrivals"));
}
