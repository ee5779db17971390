//! Named and partial barriers.

use cuda_std::shared::Shared;
use cuda_std::simt::FindingKind;
use cuda_std::thread::{arrive, sync_threads, sync_threads_partial, thread_idx_x};

use super::{caught, clean};

fn misuse(expected: &'static str) -> impl Fn(&FindingKind) -> bool {
    move |kind| matches!(kind, FindingKind::BarrierMisuse { what, .. } if what.contains(expected))
}

fn race(kind: &FindingKind) -> bool {
    matches!(kind, FindingKind::Race { .. })
}

/// Two warps fill four rounds of a buffer of 64 words, two others read them: "full" is barrier 1, "empty" barrier 2.
fn producers_and_consumers(waits_until_full: bool, waits_until_empty: bool) {
    let (buffer, t) = (Shared::<u32>::dynamic(0), thread_idx_x());
    for round in 0..4 {
        // SAFETY: 64 words, handed to and fro by the barriers.
        unsafe {
            if t < 64 {
                if round > 0 && waits_until_empty {
                    sync_threads_partial(2, 128);
                }
                buffer.store(t, round * 100 + t);
                arrive(1, 128);
            } else {
                if waits_until_full {
                    sync_threads_partial(1, 128);
                }
                let other = 127 - t;
                let value = buffer.load(other);
                assert!(value == round * 100 + other || !waits_until_full || !waits_until_empty);
                if round < 3 && waits_until_empty {
                    arrive(2, 128);
                }
            }
        }
    }
}

#[test]
fn arrivals_release_and_waits_acquire() {
    clean(128, 256, || producers_and_consumers(true, true));
    caught(128, 256, race, || producers_and_consumers(false, true));
}

#[test]
fn a_barrier_is_used_again_only_when_its_completion_is_known() {
    // Whether it comes too early depends on who runs first; that it may, does not.
    let unknown = misuse("cannot know");
    let twice = misuse("twice");
    caught(128, 256, |kind| unknown(kind) || twice(kind), || producers_and_consumers(true, false));
    clean(64, 0, || (0..5).for_each(|_| sync_threads_partial(3, 64)));
    // The lower half alone, then both: the upper half has not heard of the first.
    let used_by_others = |hears: bool| {
        if thread_idx_x() < 32 {
            sync_threads_partial(1, 32);
        }
        if hears {
            sync_threads();
        }
        if thread_idx_x() >= 32 {
            sync_threads_partial(1, 32);
        }
    };
    clean(64, 0, || used_by_others(true));
    caught(64, 0, misuse("cannot know"), || used_by_others(false));
}

#[test]
fn partial_barriers_order_their_members_and_no_others() {
    let exchange = |reach: u32| {
        let (buffer, t) = (Shared::<u32>::dynamic(0), thread_idx_x());
        // SAFETY: 128 words.
        unsafe {
            buffer.store(t, t);
            sync_threads_partial(1 + t / 64, 64);
            assert_eq!(buffer.load(t ^ reach), t ^ reach);
        }
    };
    clean(128, 512, || exchange(63));
    let across =
        |kind: &FindingKind| race(kind) || matches!(kind, FindingKind::Trap { .. } | FindingKind::NeverWritten);
    caught(128, 512, across, || exchange(64));
}

#[test]
fn a_barrier_that_too_few_reach_is_reported() {
    let short = |kind: &FindingKind| matches!(kind, FindingKind::Barrier { id: 5, arrived: 64, expected: 128 });
    let kernel = |last: u32| {
        if thread_idx_x() < last {
            sync_threads_partial(5, 128);
        }
    };
    clean(256, 0, || kernel(128));
    caught(256, 0, short, || kernel(64));
    let short = |kind: &FindingKind| matches!(kind, FindingKind::Barrier { id: 6, arrived: 64, expected: 96 });
    let arrives = || if thread_idx_x() < 32 { arrive(6, 96) } else { sync_threads_partial(6, 96) };
    clean(96, 0, arrives);
    caught(64, 0, short, arrives);
}

#[test]
fn counts_and_numbers_are_checked() {
    let count = |upper: u32| sync_threads_partial(1, if thread_idx_x() < 32 { 64 } else { upper });
    clean(64, 0, || count(64));
    caught(64, 0, misuse("different counts"), || count(96));
    caught(64, 0, misuse("multiple of 32"), || sync_threads_partial(1, 48));
    caught(64, 0, misuse("multiple of 32"), || arrive(1, 0));
    clean(64, 0, || sync_threads_partial(15, 64));
    caught(64, 0, misuse("0 to 15"), || sync_threads_partial(16, 64));
    caught(64, 0, misuse("0 to 15"), || arrive(u32::MAX, 64));
}

#[expect(clippy::if_same_then_else, reason = "two places in the source")]
fn one_of_two_barriers(group: u32) {
    if (thread_idx_x() / group).is_multiple_of(2) {
        sync_threads();
    } else {
        sync_threads();
    }
}

#[test]
fn the_lanes_of_a_warp_come_together() {
    clean(128, 0, || one_of_two_barriers(32));
    caught(128, 0, misuse("different places"), || one_of_two_barriers(1));
    // 16 lanes of each of two warps make 32 threads, but no warp.
    let part = |shift: u32| {
        if (thread_idx_x() + shift) / 32 == 1 {
            sync_threads_partial(1, 32);
        }
    };
    clean(64, 0, || part(0));
    caught(64, 0, misuse("some lanes"), || part(16));
    // A block whose last warp is not full.
    clean(48, 0, sync_threads);
}
