//! `cp.async`: what goes wrong with copies that are on their way, and the same kernels done right.

mod asynchronous;

use asynchronous::{SHARED, caught, clean, launch, on, race, still_copying, under_every_schedule};
use cuda_std::global::{Global, GlobalMut};
use cuda_std::shared::Shared;
use cuda_std::simt::{FindingKind, Grid, Memory, Space};
use cuda_std::{async_copy, thread};

const THREADS: u32 = 64;

/// y = x, each thread 4 elements that its neighbour copied; steps of it left out by the constants.
unsafe fn neighbour<const COMMIT: bool, const WAIT: bool, const BARRIER: bool>(x: Global<f32>, y: GlobalMut<f32>) {
    let (i, tile) = (thread::thread_idx_x(), Shared::<f32>::dynamic(0));
    // SAFETY: x and y hold 4 elements a thread, and the launch has as much shared memory.
    unsafe { async_copy::copy::<16, _>(tile.offset(4 * i), x.offset(4 * u64::from(i))) };
    if COMMIT {
        async_copy::commit_group();
    }
    if WAIT {
        async_copy::wait_group::<0>();
    }
    if BARRIER {
        thread::sync_threads();
    }
    let j = i ^ 1;
    for k in 4 * j..4 * j + 4 {
        // SAFETY: as above.
        unsafe { y.store(u64::from(k), tile.load(k)) };
    }
}

#[test]
fn a_copy_is_read_after_the_wait_and_the_barrier() {
    under_every_schedule(
        THREADS,
        |grid| {
            let (report, y) = launch(grid, 256, neighbour::<true, true, true>);
            assert_eq!(y, (0..256).map(|i| i as f32).collect::<Vec<_>>());
            report
        },
        |report| report.expect_clean(),
    );
}

#[test]
fn reading_without_the_wait_is_caught() {
    caught(THREADS, on(256, neighbour::<true, false, true>), still_copying);
}

#[test]
fn a_wait_for_groups_does_not_wait_for_what_is_in_none() {
    caught(THREADS, on(256, neighbour::<false, true, true>), still_copying);
}

#[test]
fn reading_anothers_copy_without_the_barrier_is_caught() {
    // Who runs first reads before the others waited, who runs last after it: that is the race.
    caught(THREADS, on(256, neighbour::<true, true, false>), race(Space::Shared));
}

/// y = x through two tiles of a row a thread: while one is used the next is on its way.
unsafe fn pipeline<const PENDING: u32, const LAST_BARRIER: bool>(x: Global<f32>, y: GlobalMut<f32>) {
    const STEPS: u32 = 6;
    let (i, n, tiles) = (thread::thread_idx_x(), thread::block_dim_x(), Shared::<f32>::dynamic(0));
    let start = |step: u32| {
        if step < STEPS {
            // SAFETY: x holds STEPS·n elements, and the launch has room for 2n.
            unsafe { async_copy::copy::<4, _>(tiles.offset(step % 2 * n + i), x.offset(u64::from(step * n + i))) };
        }
        async_copy::commit_group();
    };
    start(0);
    for step in 0..STEPS {
        start(step + 1);
        async_copy::wait_group::<PENDING>();
        thread::sync_threads();
        // SAFETY: as above.
        unsafe { y.store(u64::from(step * n + i), tiles.load(step % 2 * n + (n - 1 - i))) };
        if LAST_BARRIER {
            thread::sync_threads();
        }
    }
}

#[test]
fn a_double_buffered_pipeline_is_clean() {
    clean(THREADS, |grid| {
        let (report, y) = launch(grid, 6 * 64, pipeline::<1, true>);
        assert!((0..6 * 64).all(|i| y[i] == (i / 64 * 64 + 63 - i % 64) as f32));
        report
    });
}

#[test]
fn waiting_for_one_group_too_few_is_caught() {
    caught(THREADS, on(6 * 64, pipeline::<2, true>), still_copying);
}

#[test]
fn refilling_a_tile_that_others_still_read_is_caught() {
    let refills = |finding: &cuda_std::simt::Finding| race(Space::Shared)(finding) || still_copying(finding);
    caught(THREADS, on(6 * 64, pipeline::<1, false>), refills);
}

/// Takes `x[i]` while another thread writes it, before the wait or, with `AFTER`, after the wait and a barrier.
unsafe fn overwritten_source<const AFTER: bool>(_: Global<f32>, y: GlobalMut<f32>) {
    let (i, n, tile) = (thread::thread_idx_x(), thread::block_dim_x(), Shared::<f32>::dynamic(0));
    let source = Global::from_address(y.address());
    // SAFETY: y holds n elements, and so does the tile.
    unsafe { async_copy::copy::<4, _>(tile.offset(i), source.offset(u64::from(i))) };
    if AFTER {
        async_copy::wait_all();
    }
    thread::sync_threads();
    // SAFETY: as above.
    unsafe { y.store(u64::from(n - 1 - i), 0.0) };
    async_copy::wait_all();
}

#[test]
fn writing_a_source_before_the_wait_is_a_race() {
    caught(THREADS, on(64, overwritten_source::<false>), race(Space::Global));
    clean(THREADS, on(64, overwritten_source::<true>));
}

/// The thread that started the copy writes the source itself.
unsafe fn own_source<const AFTER: bool>(_: Global<f32>, y: GlobalMut<f32>) {
    let (i, tile) = (thread::thread_idx_x(), Shared::<f32>::dynamic(0));
    let source = Global::from_address(y.address());
    // SAFETY: y holds an element a thread, and so does the tile.
    unsafe {
        async_copy::copy::<4, _>(tile.offset(i), source.offset(u64::from(i)));
        if AFTER {
            async_copy::wait_all();
        }
        y.store(u64::from(i), 0.0);
    }
    async_copy::wait_all();
}

#[test]
fn a_thread_is_not_ordered_after_its_own_copy_until_it_waits() {
    caught(THREADS, on(64, own_source::<false>), race(Space::Global));
    clean(THREADS, on(64, own_source::<true>));
}

/// The destination is written before the wait.
unsafe fn written_destination<const AFTER: bool>(x: Global<f32>, _: GlobalMut<f32>) {
    let (i, tile) = (thread::thread_idx_x(), Shared::<f32>::dynamic(0));
    // SAFETY: x holds an element a thread, and so does the tile.
    unsafe {
        async_copy::copy::<4, _>(tile.offset(i), x.offset(u64::from(i)));
        if AFTER {
            async_copy::wait_all();
        }
        tile.store(i, 0.0);
    }
    async_copy::wait_all();
}

#[test]
fn writing_a_destination_before_the_wait_is_caught() {
    caught(THREADS, on(64, written_destination::<false>), still_copying);
    clean(THREADS, on(64, written_destination::<true>));
}

#[test]
fn copies_are_held_to_bounds_and_alignment() {
    let out_of = |space| move |f: &cuda_std::simt::Finding| matches!(f.kind, FindingKind::OutOfBounds { space: s, .. } if s == space);
    unsafe fn past_the_source(x: Global<f32>, _: GlobalMut<f32>) {
        // SAFETY: 8 of these 16 bytes lie outside, which is what is tested.
        unsafe { async_copy::copy::<16, _>(Shared::<f32>::dynamic(0), x.offset(62)) };
        async_copy::wait_all();
    }
    unsafe fn past_the_tile(x: Global<f32>, _: GlobalMut<f32>) {
        // SAFETY: outside, which is what is tested.
        unsafe { async_copy::copy_through_l2(Shared::<f32>::dynamic(SHARED), x) };
        async_copy::wait_all();
    }
    unsafe fn misaligned(x: Global<f32>, _: GlobalMut<f32>) {
        // SAFETY: not at a multiple of 8, which is what is tested.
        unsafe { async_copy::copy::<8, _>(Shared::<f32>::dynamic(0), x.offset(1)) };
        async_copy::wait_all();
    }
    unsafe fn well_placed(x: Global<f32>, _: GlobalMut<f32>) {
        // SAFETY: x holds 64 elements, and the launch has SHARED bytes.
        unsafe {
            async_copy::copy::<16, _>(Shared::<f32>::dynamic(0), x.offset(60));
            async_copy::copy_through_l2(Shared::<f32>::dynamic(SHARED - 16), x);
            async_copy::copy::<8, _>(Shared::<f32>::dynamic(16), x.offset(2));
        }
        async_copy::wait_all();
    }
    caught(1, on(64, past_the_source), out_of(Space::Global));
    caught(1, on(64, past_the_tile), out_of(Space::Shared));
    caught(1, on(64, misaligned), |f| matches!(f.kind, FindingKind::Misaligned { space: Space::Global }));
    clean(1, on(64, well_placed));
}

/// y = x, then zeros: the tail of `TAKEN` elements is all there is of x.
unsafe fn tail<const TAKEN: u32>(x: Global<f32>, y: GlobalMut<f32>) {
    let (i, tile) = (thread::thread_idx_x(), Shared::<f32>::dynamic(0));
    let taken = 4 * (TAKEN.saturating_sub(4 * i)).min(4);
    // SAFETY: x holds TAKEN elements; y and the tile hold 4 a thread.
    unsafe {
        async_copy::copy_padded::<16, _>(tile.offset(4 * i), x.offset(4 * u64::from(i)), taken);
        async_copy::copy_padded_through_l2(tile.offset(64 + 4 * i), x.offset(4 * u64::from(i)), taken);
    }
    async_copy::wait_all();
    for k in 4 * i..4 * i + 4 {
        // SAFETY: as above.
        unsafe { y.store(u64::from(k), tile.load(k) + tile.load(64 + k)) };
    }
}

#[test]
fn what_is_not_taken_is_zeros_and_not_read() {
    for grid in asynchronous::SCHEDULES.map(|s| Grid::new("tail", 1, 4).shared_bytes(SHARED).schedule(s)) {
        let mut memory = Memory::new();
        let (x, y) = (memory.buffer("x", &[1.0f32; 6]), memory.buffer("y", &[-1.0f32; 16]));
        // SAFETY: x holds 6 elements, y 16.
        grid.run(&memory, || unsafe { tail::<6>(x.global(), y.global_mut()) }).expect_clean();
        assert_eq!(memory.read(&y), [[2.0; 6].as_slice(), &[0.0; 10]].concat());
        // SAFETY: one element of x is missing, which is what is tested.
        let report = grid.run(&memory, || unsafe { tail::<7>(x.global(), y.global_mut()) });
        assert!(
            matches!(report.findings[0].kind, FindingKind::OutOfBounds { space: Space::Global, limit: 24 }),
            "{report}"
        );
    }
}

#[test]
fn data_arrives_at_the_wait_and_not_before() {
    unsafe fn peek(x: Global<f32>, y: GlobalMut<f32>) {
        let tile = Shared::<f32>::dynamic(0);
        // SAFETY: both hold 2 elements. The first load comes too early, which is what is tested.
        unsafe {
            tile.store(0, 7.0);
            async_copy::copy::<4, _>(tile, x.offset(1));
            y.store(0, tile.load(0));
            async_copy::wait_all();
            y.store(1, tile.load(0));
        }
    }
    let (report, y) = launch(&Grid::new("peek", 1, 1).shared_bytes(SHARED), 2, peek);
    assert_eq!((report.findings.len(), y), (1, vec![7.0, 1.0]));
}
