//! Atomic operations on shared and global memory.

use cuda_std::atomic::{AtomicAdd, AtomicInteger};
use cuda_std::global::GlobalMut;
use cuda_std::shared::Shared;
use cuda_std::simt::{AccessKind, FindingKind, Grid, Memory, Report};
use cuda_std::thread::{index_1d, sync_threads, thread_idx_x};

use super::{Draw, SCHEDULES, caught, clean};

/// Counts 256 values in 8 bins of shared memory, adds the bins to global memory.
fn histogram(
    values: u64,
    x: GlobalMut<u32>,
    out: GlobalMut<u64>,
    count: impl Fn(Shared<u32>, u32),
    sum: impl Fn(GlobalMut<u64>, u64, u64),
) {
    let (bins, t) = (Shared::<u32>::dynamic(0), thread_idx_x());
    // SAFETY: 8 bins; `values` elements of x and 8 of out.
    unsafe {
        if t < 8 {
            bins.store(t, 0);
        }
        sync_threads();
        if index_1d() < values {
            count(bins, x.load(index_1d()));
        }
        sync_threads();
        if t < 8 {
            sum(out, u64::from(t), u64::from(bins.load(t)));
        }
    }
}

fn histograms(
    count: impl Fn(Shared<u32>, u32) + Copy,
    sum: impl Fn(GlobalMut<u64>, u64, u64) + Copy,
) -> Vec<(Report, Vec<u64>)> {
    let mut draw = Draw(5);
    let values: Vec<u32> = (0..250).map(|_| draw.bits() % 8).collect();
    let run = |schedule| {
        let mut memory = Memory::new();
        let (x, out) = (memory.buffer("x", &values), memory.buffer("out", &[0u64; 8]));
        let grid = Grid::new("histogram", 4, 64).shared_bytes(32).schedule(schedule);
        let report = grid.run(&memory, || histogram(250, x.global_mut(), out.global_mut(), count, sum));
        let counted = memory.read(&out);
        let expected: Vec<u64> = (0..8).map(|bin| values.iter().filter(|&&v| v == bin).count() as u64).collect();
        assert!(counted == expected || !report.is_clean());
        (report, counted)
    };
    SCHEDULES.map(run).into()
}

#[test]
fn atomic_sums_of_threads_and_of_blocks_are_exact_and_do_not_race() {
    let count = |bins: Shared<u32>, bin| {
        // SAFETY: 8 bins.
        unsafe { bins.atomic_add(bin, 1) };
    };
    let sum = |out: GlobalMut<u64>, i, value| {
        // SAFETY: 8 elements.
        unsafe { out.atomic_add(i, value) };
    };
    histograms(count, sum).iter().for_each(|(report, _)| report.expect_clean());

    // SAFETY: as above, but for the race.
    let count_plainly = |bins: Shared<u32>, bin| unsafe { bins.store(bin, bins.load(bin) + 1) };
    // SAFETY: as above, but for the race.
    let sum_plainly = |out: GlobalMut<u64>, i, value| unsafe { out.store(i, out.load(i) + value) };
    let race = |report: &Report| report.findings.iter().any(|f| matches!(f.kind, FindingKind::Race { .. }));
    assert!(histograms(count_plainly, sum).iter().all(|(report, _)| race(report)));
    assert!(histograms(count, sum_plainly).iter().all(|(report, _)| race(report)));
}

/// One thread: each operation's old value and what it leaves, in shared and in global memory.
fn operation<T: AtomicAdd + PartialEq + std::fmt::Debug>(
    before: T,
    value: T,
    after: T,
    shared: unsafe fn(Shared<T>, u32, T) -> T,
    global: unsafe fn(GlobalMut<T>, u64, T) -> T,
) {
    let mut memory = Memory::new();
    let buffer = memory.buffer("x", &[before, before]);
    let report = Grid::new("operation", 1, 1).shared_bytes(16).run(&memory, || {
        let place = Shared::<T>::dynamic(0);
        // SAFETY: element 1 of two.
        unsafe {
            place.store(1, before);
            assert_eq!(shared(place, 1, value), before);
            assert_eq!(place.load(1), after);
            assert_eq!(global(buffer.global_mut(), 1, value), before);
        }
    });
    report.expect_clean();
    assert_eq!(memory.read(&buffer), [before, after]);
}

fn integers<T: AtomicInteger + PartialEq + std::fmt::Debug>(of: impl Fn(u64) -> T) {
    let (a, b) = (0xf0f0_1234_f0f0_1234, 0x1111_ffff_2222_ffff);
    let both = |expected: u64, shared, global| operation(of(a), of(b), of(expected), shared, global);
    both(if size_of::<T>() == 8 { a.wrapping_add(b) } else { 0x1313_1233 }, Shared::atomic_add, GlobalMut::atomic_add);
    both(b, Shared::atomic_min, GlobalMut::atomic_min);
    both(a, Shared::atomic_max, GlobalMut::atomic_max);
    both(a & b, Shared::atomic_and, GlobalMut::atomic_and);
    both(a | b, Shared::atomic_or, GlobalMut::atomic_or);
    both(a ^ b, Shared::atomic_xor, GlobalMut::atomic_xor);
    both(b, Shared::atomic_exch, GlobalMut::atomic_exch);
    let mut memory = Memory::new();
    let buffer = memory.buffer("x", &[of(a)]);
    let report = Grid::new("cas", 1, 1).shared_bytes(8).run(&memory, || {
        let (place, x) = (Shared::<T>::dynamic(0), buffer.global_mut());
        // SAFETY: one element each.
        unsafe {
            place.store(0, of(a));
            assert_eq!((place.atomic_cas(0, of(b), of(1)), place.atomic_cas(0, of(a), of(2))), (of(a), of(a)));
            assert_eq!(place.load(0), of(2));
            assert_eq!((x.atomic_cas(0, of(b), of(1)), x.atomic_cas(0, of(a), of(3))), (of(a), of(a)));
        }
    });
    report.expect_clean();
    assert_eq!(memory.read(&buffer), [of(3)]);
}

#[test]
fn each_operation_gives_what_was_there_and_leaves_what_it_says() {
    integers(|v| v as u32);
    integers(|v| v);
    operation(1.5f64, 2.25, 3.75, Shared::atomic_add, GlobalMut::atomic_add);
    operation(1.5f32, 2.25, 3.75, Shared::atomic_add, GlobalMut::atomic_add);
}

#[test]
fn f32_sums_lose_subnormal_numbers_in_global_memory_alone() {
    let tiny = f32::from_bits(3);
    let mut memory = Memory::new();
    let buffer = memory.buffer("x", &[tiny]);
    let report = Grid::new("tiny", 1, 1).shared_bytes(4).run(&memory, || {
        let place = Shared::<f32>::dynamic(0);
        // SAFETY: one element each.
        unsafe {
            place.store(0, tiny);
            place.atomic_add(0, tiny);
            assert_eq!(place.load(0).to_bits(), 6);
            buffer.global_mut().atomic_add(0, tiny);
        }
    });
    report.expect_clean();
    assert_eq!(memory.read(&buffer)[0].to_bits(), 0);
}

#[test]
fn atomics_and_plain_accesses_race_without_a_barrier() {
    let kernel = |separates: bool| {
        let (place, t) = (Shared::<u32>::dynamic(0), thread_idx_x());
        // SAFETY: one element.
        unsafe {
            if t == 0 {
                place.store(0, 0);
            }
            sync_threads();
            place.atomic_add(0, 1);
            if separates {
                sync_threads();
            }
            let sum = place.load(0);
            assert!(sum == 64 || !separates);
        }
    };
    let race = |kind: &FindingKind| matches!(kind, FindingKind::Race { .. });
    clean(64, 4, || kernel(true));
    caught(64, 4, race, || kernel(false));
}

/// The reader has heard of the last atomic but not of the first.
#[test]
fn an_atomic_does_not_hide_another() {
    let kernel = |all: bool| {
        let (place, t) = (Shared::<u32>::dynamic(0), thread_idx_x());
        // SAFETY: one element.
        unsafe {
            if t == 0 {
                place.store(0, 0);
            }
            sync_threads();
            if t == 0 || t == 32 {
                place.atomic_add(0, 1);
            }
            if all {
                sync_threads();
            } else if t >= 32 {
                cuda_std::thread::sync_threads_partial(1, 64);
            }
            if t == 64 {
                place.load(0);
            }
        }
    };
    clean(96, 4, || kernel(true));
    let with_thread_0 = |kind: &FindingKind| matches!(kind, FindingKind::Race { other, .. } if other.kind == AccessKind::Atomic && other.thread == 0);
    // Reversed, the reader is first: then it is the atomic that meets the read.
    let either = |kind: &FindingKind| {
        with_thread_0(kind) || matches!(kind, FindingKind::Race { other, .. } if other.thread == 64)
    };
    caught(96, 4, either, || kernel(false));
}

#[test]
fn atomics_are_checked_like_any_access() {
    let add = |bytes: u32, index: u32| {
        // SAFETY: none: they are wrong.
        unsafe { Shared::<u32>::dynamic(bytes).atomic_add(index, 1) };
    };
    caught(1, 16, |kind| matches!(kind, FindingKind::OutOfBounds { .. }), || add(0, 4));
    caught(1, 16, |kind| matches!(kind, FindingKind::Misaligned { .. }), || add(2, 0));
    caught(1, 16, |kind| matches!(kind, FindingKind::NeverWritten), || add(0, 3));
    let mut memory = Memory::new();
    let buffer = memory.buffer("x", &[0u32; 3]);
    let report = Grid::new("global", 1, 1).run(&memory, || {
        // SAFETY: none: it is wrong.
        unsafe { buffer.global_mut().atomic_max(3, 1) };
    });
    assert!(matches!(report.findings[0].kind, FindingKind::OutOfBounds { limit: 12, .. }), "{report}");
}
