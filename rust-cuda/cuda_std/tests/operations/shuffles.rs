//! Warp collectives, with and without a mask of members.

use cuda_std::shared::Shared;
use cuda_std::simt::FindingKind;
use cuda_std::thread::{lane_index, thread_idx_x};
use cuda_std::warp::*;

use super::{Draw, caught, clean};

const MASKS: [u32; 5] = [u32::MAX, 0x0000_ffff, 0xaaaa_aaaa, 0x8000_0001, 0x0000_0100];

fn no_member(kind: &FindingKind) -> bool {
    matches!(kind, FindingKind::NoMember { .. })
}

fn collective(kind: &FindingKind) -> bool {
    matches!(kind, FindingKind::Collective { .. })
}

/// Runs `kernel` in the lanes of `members` alone.
fn among(members: u32, kernel: impl Fn(u32)) {
    clean(32, 0, || {
        let lane = lane_index();
        if members >> lane & 1 == 1 {
            kernel(lane);
        }
    });
}

#[test]
fn shuffles_take_the_value_of_the_lane_they_name() {
    let value = |lane: u32| (u64::from(lane) << 40) + u64::from(lane) + 7;
    // Operands past 31 count modulo 32.
    for n in [0, 1, 2, 5, 16, 31, 32, 33, 63, u32::MAX] {
        clean(64, 0, || {
            let lane = lane_index();
            let own = value(lane);
            let m = n % 32;
            assert_eq!(shuffle_xor(own, n), value(lane ^ m));
            assert_eq!(shuffle_up(own, n), value(if lane < m { lane } else { lane - m }));
            assert_eq!(shuffle_down(own, n), value(if lane + m > 31 { lane } else { lane + m }));
            assert_eq!(broadcast(own, n), value(m));
            assert_eq!(broadcast(own as f64, (lane + m) % 32), value((lane + m) % 32) as f64);
            assert_eq!(shuffle_xor(lane as f32, n), (lane ^ m) as f32);
            assert_eq!(shuffle_down(lane as i32 - 40, n), if lane + m > 31 { lane } else { lane + m } as i32 - 40);
        });
    }
}

#[test]
fn members_alone_exchange_values() {
    among(0x0000_ffff, |lane| {
        assert_eq!(shuffle_xor_members(lane, 15, 0x0000_ffff), lane ^ 15);
        assert_eq!(shuffle_up_members(lane, 1, 0x0000_ffff), lane.saturating_sub(1));
        assert_eq!(broadcast_members(lane, 3, 0x0000_ffff), 3);
    });
    among(0xffff_0000, |lane| {
        assert_eq!(shuffle_down_members(lane, 4, 0xffff_0000), if lane > 27 { lane } else { lane + 4 })
    });
    // Two groups of one warp at once, each with its own mask.
    clean(32, 0, || {
        let lane = lane_index();
        let members = if lane.is_multiple_of(2) { 0x5555_5555 } else { 0xaaaa_aaaa };
        assert_eq!(shuffle_xor_members(lane, 2, members), lane ^ 2);
        assert_eq!(reduce_add_members(lane, members), if lane.is_multiple_of(2) { 240 } else { 256 });
    });
}

#[test]
fn votes_and_matches_count_members_only() {
    for members in MASKS {
        among(members, |lane| {
            let third = |lane: u32| lane.is_multiple_of(3);
            let expected = (0..32).filter(|&l| third(l)).fold(0, |mask, l| mask | 1 << l) & members;
            assert_eq!(ballot_members(third(lane), members), expected);
            assert_eq!(all_members(third(lane), members), expected == members);
            assert_eq!(any_members(third(lane), members), expected != 0);
            let same = (0..32).filter(|l| l % 4 == lane % 4).fold(0, |mask, l| mask | 1 << l) & members;
            assert_eq!(match_any_members(lane % 4, members), same);
        });
    }
    clean(32, 0, || {
        assert!(all(true) && !all(lane_index() > 0) && any(lane_index() == 31) && !any(false));
        assert_eq!(match_any(lane_index() / 16), if lane_index() < 16 { 0xffff } else { 0xffff_0000 });
    });
}

#[test]
fn reductions_are_those_of_the_members_values() {
    let mut draw = Draw(3);
    let values: Vec<u32> = (0..32).map(|_| draw.bits()).collect();
    for members in MASKS {
        let chosen: Vec<u32> = (0..32).filter(|lane| members >> lane & 1 == 1).map(|lane| values[lane]).collect();
        let signed = || chosen.iter().map(|&v| v as i32);
        among(members, |lane| {
            let (value, fold) =
                (values[lane as usize], |f: fn(u32, u32) -> u32| chosen.iter().copied().reduce(f).unwrap());
            assert_eq!(reduce_add_members(value, members), fold(u32::wrapping_add));
            assert_eq!(reduce_min_members(value, members), fold(u32::min));
            assert_eq!(reduce_max_members(value, members), fold(u32::max));
            assert_eq!(reduce_and_members(value, members), fold(|a, b| a & b));
            assert_eq!(reduce_or_members(value, members), fold(|a, b| a | b));
            assert_eq!(reduce_xor_members(value, members), fold(|a, b| a ^ b));
            assert_eq!(reduce_add_members(value as i32, members), signed().fold(0, i32::wrapping_add));
            assert_eq!(reduce_min_members(value as i32, members), signed().min().unwrap());
            assert_eq!(reduce_max_members(value as i32, members), signed().max().unwrap());
        });
    }
    clean(32, 0, || {
        let lane = lane_index();
        assert_eq!((reduce_add(lane), reduce_min(lane + 1), reduce_max(lane)), (496, 1, 31));
        assert_eq!((reduce_and(lane | 32), reduce_or(lane), reduce_xor(1u32)), (32, 31, 0));
    });
}

#[test]
fn a_lane_that_stays_away_is_missed() {
    let missing = |kind: &FindingKind| matches!(kind, FindingKind::Collective { members: u32::MAX, missing: 0x80, .. });
    let kernel = |away: u32| {
        if lane_index() != away {
            shuffle_xor(1u32, 1);
        }
    };
    clean(32, 0, || kernel(99));
    caught(32, 0, missing, || kernel(7));
    // Different operations, or different masks, are different collectives.
    caught(32, 0, collective, || {
        if lane_index() == 7 {
            ballot(true)
        } else {
            reduce_add(1u32)
        };
    });
    caught(32, 0, collective, || {
        ballot_members(true, if lane_index() == 7 { 0xff } else { u32::MAX });
    });
    // A warp that is not full has no 32 lanes.
    caught(48, 0, collective, || sync_warp());
    clean(48, 0, || sync_warp_members(if thread_idx_x() < 32 { u32::MAX } else { 0xffff }));
}

#[test]
fn a_lane_calls_with_itself_among_the_members() {
    let vote = |members: u32| {
        ballot_members(true, members);
    };
    clean(32, 0, || vote(u32::MAX));
    caught(32, 0, no_member, || vote(0xffff_0000));
}

#[test]
fn values_come_from_members() {
    let halves = |distance: u32| {
        let members = if lane_index() < 16 { 0xffff } else { 0xffff_0000 };
        shuffle_xor_members(lane_index(), distance, members);
    };
    clean(32, 0, || halves(8));
    caught(32, 0, no_member, || halves(16));
}

#[test]
fn the_warps_barrier_orders_its_members() {
    let exchange = |members: [u32; 2]| {
        let (buffer, lane) = (Shared::<u32>::dynamic(0), lane_index());
        // SAFETY: 32 words.
        unsafe {
            buffer.store(lane, lane);
            sync_warp_members(members[(lane / 16) as usize]);
            buffer.load(lane ^ 16);
        }
    };
    clean(32, 128, || exchange([u32::MAX; 2]));
    caught(32, 128, |kind| matches!(kind, FindingKind::Race { .. }), || exchange([0xffff, 0xffff_0000]));
    // A shuffle moves registers and orders no memory.
    caught(
        32,
        128,
        |kind| matches!(kind, FindingKind::Race { .. }),
        || {
            let (buffer, lane) = (Shared::<u32>::dynamic(0), lane_index());
            // SAFETY: 32 words.
            unsafe {
                buffer.store(lane, lane);
                shuffle_xor(lane, 1);
                buffer.load(lane ^ 1);
            }
        },
    );
}
