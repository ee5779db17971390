//! The 32 threads of a warp: values exchanged register to register, votes and reductions.
//!
//! Each operation comes twice: for the full warp, and with a mask of members, one bit a lane. Every member must call it
//! together, with the same mask and its own bit in it, and a value may come from a member only. A mask is data, the members
//! that the algorithm means: what happens to be active is not asked for.
//!
//! On 64-bit words a shuffle moves two halves. Segments narrower than a warp (CUDA's `width`) do not exist: a mask or an
//! `lane_mask` below the width says the same.

mod reduce;

use crate::Word;
#[cfg(not(target_arch = "nvptx64"))]
use crate::simt::ops;
pub use reduce::*;

/// All 32 lanes.
const FULL: u32 = 0xffff_ffff;

/// The value of the lane whose index differs by `lane_mask` in binary (`__shfl_xor_sync`).
#[inline(always)]
#[track_caller]
pub fn shuffle_xor<T: Word>(value: T, lane_mask: u32) -> T {
    value.shfl_bfly(lane_mask, FULL)
}

/// [`shuffle_xor`] among `members`.
#[inline(always)]
#[track_caller]
pub fn shuffle_xor_members<T: Word>(value: T, lane_mask: u32, members: u32) -> T {
    value.shfl_bfly(lane_mask, members)
}

/// The value of the lane `delta` before; lanes before the first keep their own (`__shfl_up_sync`).
#[inline(always)]
#[track_caller]
pub fn shuffle_up<T: Word>(value: T, delta: u32) -> T {
    value.shfl_up(delta, FULL)
}

/// [`shuffle_up`] among `members`.
#[inline(always)]
#[track_caller]
pub fn shuffle_up_members<T: Word>(value: T, delta: u32, members: u32) -> T {
    value.shfl_up(delta, members)
}

/// The value of the lane `delta` further on; lanes past the end keep their own (`__shfl_down_sync`).
#[inline(always)]
#[track_caller]
pub fn shuffle_down<T: Word>(value: T, delta: u32) -> T {
    value.shfl_down(delta, FULL)
}

/// [`shuffle_down`] among `members`.
#[inline(always)]
#[track_caller]
pub fn shuffle_down_members<T: Word>(value: T, delta: u32, members: u32) -> T {
    value.shfl_down(delta, members)
}

/// The value of lane `lane` (`__shfl_sync`); each caller may name another.
#[inline(always)]
#[track_caller]
pub fn broadcast<T: Word>(value: T, lane: u32) -> T {
    value.shfl_idx(lane, FULL)
}

/// [`broadcast`] among `members`.
#[inline(always)]
#[track_caller]
pub fn broadcast_members<T: Word>(value: T, lane: u32, members: u32) -> T {
    value.shfl_idx(lane, members)
}

/// The lanes for which `condition` holds, one bit a lane (`__ballot_sync`).
#[inline(always)]
#[track_caller]
pub fn ballot(condition: bool) -> u32 {
    ballot_members(condition, FULL)
}

/// The `members` for which `condition` holds.
#[inline(always)]
#[track_caller]
pub fn ballot_members(condition: bool, members: u32) -> u32 {
    // PTX ISA, section "vote.sync".
    #[cfg(target_arch = "nvptx64")]
    {
        let mask: u32;
        // SAFETY: exchanges predicates between lanes; touches no memory. Not `pure`: every member must execute it here.
        unsafe {
            core::arch::asm!(
                "{{ .reg .pred p; setp.ne.u32 p, {1}, 0; vote.sync.ballot.b32 {0}, p, {2}; }}",
                out(reg32) mask, in(reg32) condition as u32, in(reg32) members, options(nomem, nostack));
        }
        mask
    }
    #[cfg(not(target_arch = "nvptx64"))]
    {
        let votes = ops::collective("vote.sync", members, vec![u32::from(condition)], core::panic::Location::caller());
        votes.iter().enumerate().fold(0, |mask, (lane, vote)| mask | vote.first().map_or(0, |&vote| vote << lane))
    }
}

/// Whether `condition` holds in every lane (`__all_sync`).
#[inline(always)]
#[track_caller]
pub fn all(condition: bool) -> bool {
    ballot(condition) == FULL
}

/// Whether `condition` holds in all `members`.
#[inline(always)]
#[track_caller]
pub fn all_members(condition: bool, members: u32) -> bool {
    ballot_members(condition, members) == members
}

/// Whether `condition` holds in some lane (`__any_sync`).
#[inline(always)]
#[track_caller]
pub fn any(condition: bool) -> bool {
    ballot(condition) != 0
}

/// Whether `condition` holds in one of `members`.
#[inline(always)]
#[track_caller]
pub fn any_members(condition: bool, members: u32) -> bool {
    ballot_members(condition, members) != 0
}

/// The lanes that hold the same value as this one (`__match_any_sync`).
#[inline(always)]
#[track_caller]
pub fn match_any(value: u32) -> u32 {
    match_any_members(value, FULL)
}

/// The `members` that hold the same value as this one.
#[inline(always)]
#[track_caller]
pub fn match_any_members(value: u32, members: u32) -> u32 {
    // PTX ISA, section "match.sync".
    #[cfg(target_arch = "nvptx64")]
    {
        let mask: u32;
        // SAFETY: exchanges registers between lanes; touches no memory. Not `pure`: every member must execute it here.
        unsafe {
            core::arch::asm!(
                "match.any.sync.b32 {0}, {1}, {2};",
                out(reg32) mask, in(reg32) value, in(reg32) members, options(nomem, nostack));
        }
        mask
    }
    #[cfg(not(target_arch = "nvptx64"))]
    {
        let values = ops::collective("match.any.sync", members, vec![value], core::panic::Location::caller());
        let same = |other: &[u32]| u32::from(other.first() == Some(&value));
        values.iter().enumerate().fold(0, |mask, (lane, other)| mask | same(other) << lane)
    }
}

/// The warp's barrier (`__syncwarp`): orders shared and global accesses among its lanes.
#[inline(always)]
#[track_caller]
pub fn sync_warp() {
    sync_warp_members(FULL);
}

/// [`sync_warp`] among `members`.
#[inline(always)]
#[track_caller]
pub fn sync_warp_members(members: u32) {
    // PTX ISA, section "bar.warp.sync".
    #[cfg(target_arch = "nvptx64")]
    // SAFETY: a barrier; without `nomem` the compiler moves no memory access across it.
    unsafe {
        core::arch::asm!("bar.warp.sync {0};", in(reg32) members, options(nostack))
    }
    #[cfg(not(target_arch = "nvptx64"))]
    {
        ops::collective("bar.warp.sync", members, Vec::new(), core::panic::Location::caller());
    }
}
