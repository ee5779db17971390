//! Barriers and collectives that some thread misses.

use cuda_std::simt::FindingKind;
use cuda_std::thread::{sync_threads, sync_threads_partial, thread_idx_x};
use cuda_std::warp::{ballot, shuffle_xor, sync_warp};

use crate::{Source, caught, one_block, source};

const HERE: Source = source!("synchronisation.rs");

#[test]
fn a_thread_leaves_before_the_barrier() {
    let kernel = |leaves: u32| {
        if thread_idx_x() == leaves {
            return;
        }
        sync_threads(); // @left alone
    };
    let run = |leaves| move |schedule| one_block(64, 0, schedule, || kernel(leaves));
    caught(
        run(40),
        |finding| {
            finding.kind == FindingKind::Barrier { id: 0, arrived: 63, expected: 64 }
                && finding.access.as_ref().is_some_and(|access| HERE.is_at(access, "left alone"))
        },
        run(u32::MAX),
    );
}

/// Both groups are named. (The same barrier reached from two places is one barrier: the hardware counts by number.)
#[test]
fn threads_wait_at_two_different_barriers() {
    let kernel = |second: u32| {
        if thread_idx_x() < 32 {
            sync_threads_partial(1, 64); // @first barrier
        } else {
            sync_threads_partial(second, 64); // @second barrier
        }
    };
    let run = |second| move |schedule| one_block(64, 0, schedule, || kernel(second));
    for (id, mark) in [(1, "first barrier"), (2, "second barrier")] {
        caught(
            run(2),
            |finding| {
                finding.kind == FindingKind::Barrier { id, arrived: 32, expected: 64 }
                    && finding.access.as_ref().is_some_and(|access| HERE.is_at(access, mark))
            },
            run(1),
        );
    }
}

#[test]
fn a_lane_misses_a_shuffle() {
    let kernel = |absent: u32| {
        if thread_idx_x() != absent {
            shuffle_xor(1.0f32, 1); // @without a lane
        }
    };
    let run = |absent| move |schedule| one_block(64, 0, schedule, || kernel(absent));
    caught(
        run(37),
        |finding| {
            matches!(finding.kind, FindingKind::Collective { members: u32::MAX, missing, .. } if missing == 1 << 5)
                && finding
                    .access
                    .as_ref()
                    .is_some_and(|access| access.thread / 32 == 1 && HERE.is_at(access, "without a lane"))
        },
        run(u32::MAX),
    );
}

/// The halves of a warp come to different operations: both are named, each with the other half missing.
#[test]
fn the_lanes_of_a_warp_diverge() {
    let kernel = |split: u32| {
        if thread_idx_x() < split {
            ballot(true); // @vote
        } else {
            sync_warp(); // @warp barrier
        }
    };
    let run = |split| move |schedule| one_block(32, 0, schedule, || kernel(split));
    for (missing, mark) in [(0xffff_0000, "vote"), (0x0000_ffff, "warp barrier")] {
        let is_it = |finding: &cuda_std::simt::Finding| {
            matches!(finding.kind, FindingKind::Collective { missing: found, .. } if found == missing)
                && finding.access.as_ref().is_some_and(|access| HERE.is_at(access, mark))
        };
        caught(run(16), is_it, run(32));
    }
}

/// A warp that is not full lacks its last lanes.
#[test]
fn a_block_of_half_a_warp_has_no_full_collectives() {
    let run = |threads| move |schedule| one_block(threads, 0, schedule, || _ = ballot(true));
    let is_it = |finding: &cuda_std::simt::Finding| {
        matches!(finding.kind, FindingKind::Collective { missing: 0xffff_0000, .. })
    };
    caught(run(16), is_it, run(32));
}
