//! The 32 threads of a warp: values exchanged register to register, and votes.
//!
//! All lanes of the warp must call these together (the members' mask is the full warp).

use crate::Word;

/// All 32 lanes.
const FULL: u32 = 0xffff_ffff;

/// The value of the lane whose index differs by `lane_mask` in binary (`__shfl_xor_sync`).
#[inline(always)]
pub fn shuffle_xor<T: Word>(value: T, lane_mask: u32) -> T {
    value.shfl_bfly(lane_mask, FULL)
}

/// The value of the lane `delta` further on; lanes past the end keep their own (`__shfl_down_sync`).
#[inline(always)]
pub fn shuffle_down<T: Word>(value: T, delta: u32) -> T {
    value.shfl_down(delta, FULL)
}

/// The value of lane `lane` (`__shfl_sync`).
#[inline(always)]
pub fn broadcast<T: Word>(value: T, lane: u32) -> T {
    value.shfl_idx(lane, FULL)
}

/// The lanes for which `condition` holds, one bit a lane (`__ballot_sync`).
#[inline(always)]
pub fn ballot(condition: bool) -> u32 {
    let mask: u32;
    // SAFETY: exchanges predicates between lanes; touches no memory. Not `pure`: every lane must execute it here.
    unsafe {
        core::arch::asm!(
            "{{ .reg .pred p; setp.ne.u32 p, {1}, 0; vote.sync.ballot.b32 {0}, p, {2}; }}",
            out(reg32) mask, in(reg32) condition as u32, in(reg32) FULL, options(nomem, nostack));
    }
    mask
}

/// Whether `condition` holds in every lane (`__all_sync`).
#[inline(always)]
pub fn all(condition: bool) -> bool {
    ballot(condition) == FULL
}

/// Whether `condition` holds in some lane (`__any_sync`).
#[inline(always)]
pub fn any(condition: bool) -> bool {
    ballot(condition) != 0
}

/// The warp's barrier (`__syncwarp`): orders shared and global accesses among its lanes.
#[inline(always)]
pub fn sync_warp() {
    // SAFETY: a barrier; without `nomem` the compiler moves no memory access across it.
    unsafe { core::arch::asm!("bar.warp.sync {0};", in(reg32) FULL, options(nostack)) }
}
