//! Votes, matches and reductions of a warp, for all lanes and for members.

use cuda_std::kernel;
use cuda_std::thread::*;
use cuda_std::warp::*;

use crate::Conformance;
#[cfg(not(target_arch = "nvptx64"))]
use crate::entries::{Entry, draw};

/// The members of the half of the warp that a lane is in.
#[inline(always)]
fn half(lane: u32) -> u32 {
    0xffff << (lane / 16 * 16)
}

/// Votes and matches.
///
/// # Safety
/// 64 words of input, 8 of output a thread.
#[kernel(max_threads = 64, min_blocks = 1)]
pub unsafe fn votes(p: Conformance) {
    let (i, members) = (thread_idx_x(), half(lane_index()));
    let mut out = p.results(i, 8);
    // SAFETY: a word of input and 8 of output a thread.
    unsafe {
        let word = p.word(i);
        let odd = word % 2 == 1;
        out.put(ballot(odd));
        out.put(u32::from(all(odd)) | u32::from(all(odd | true)) << 1);
        out.put(u32::from(any(odd)) | u32::from(any(odd & false)) << 1);
        out.put(ballot_members(odd, members));
        out.put(u32::from(all_members(lane_index() < 16, members)));
        out.put(u32::from(any_members(lane_index() < 16, members)));
        out.put(match_any(word % 5));
        out.put(match_any_members(word % 5, members));
    }
}

/// All six reductions of unsigned and signed words.
///
/// # Safety
/// 64 words of input, 24 of output a thread.
#[kernel(max_threads = 64, min_blocks = 1)]
pub unsafe fn reductions(p: Conformance) {
    let (i, members) = (thread_idx_x(), half(lane_index()));
    let mut out = p.results(i, 24);
    // SAFETY: a word of input and 24 of output a thread.
    unsafe {
        let word = p.word(i);
        let signed = word as i32;
        out.put(reduce_add(word));
        out.put(reduce_min(word));
        out.put(reduce_max(word));
        out.put(reduce_and(word | 0xff00));
        out.put(reduce_or(word & 0xff00));
        out.put(reduce_xor(word));
        out.put(reduce_add_members(word, members));
        out.put(reduce_min_members(word, members));
        out.put(reduce_max_members(word, members));
        out.put(reduce_and_members(word | 0xff00, members));
        out.put(reduce_or_members(word & 0xff00, members));
        out.put(reduce_xor_members(word, members));
        out.put(reduce_add(signed) as u32);
        out.put(reduce_min(signed) as u32);
        out.put(reduce_max(signed) as u32);
        out.put(reduce_and(signed | 0xff00) as u32);
        out.put(reduce_or(signed & 0xff00) as u32);
        out.put(reduce_xor(signed) as u32);
        out.put(reduce_add_members(signed, members) as u32);
        out.put(reduce_min_members(signed, members) as u32);
        out.put(reduce_max_members(signed, members) as u32);
        out.put(reduce_and_members(signed | 0xff00, members) as u32);
        out.put(reduce_or_members(signed & 0xff00, members) as u32);
        out.put(reduce_xor_members(signed, members) as u32);
    }
}

#[cfg(not(target_arch = "nvptx64"))]
pub(crate) fn entries() -> Vec<Entry> {
    let words = draw(3, 64);
    let mask = |lanes: &[u32], first: usize, holds: &dyn Fn(u32) -> bool| {
        lanes.iter().enumerate().fold(0, |mask, (lane, &word)| mask | u32::from(holds(word)) << (first + lane))
    };
    let voted = (0..64).flat_map(|i| {
        let (warp, lane) = (&words[i / 32 * 32..][..32], i % 32);
        let (first, members) = (lane / 16 * 16, &warp[lane / 16 * 16..][..16]);
        let low = u32::from(lane < 16);
        let same = |word: u32| word % 5 == words[i] % 5;
        let odd = |word: u32| word % 2 == 1;
        let ballot = mask(warp, 0, &odd);
        let (all, any) = (u32::from(ballot == u32::MAX) | 2, u32::from(ballot != 0));
        [ballot, all, any, mask(members, first, &odd), low, low, mask(warp, 0, &same), mask(members, first, &same)]
    });
    let reduced = (0..64).flat_map(|i| {
        let (warp, members) = (&words[i / 32 * 32..][..32], &words[i / 16 * 16..][..16]);
        let bits = |lanes: &[u32]| {
            [
                lanes.iter().fold(u32::MAX, |all, word| all & (word | 0xff00)),
                lanes.iter().fold(0, |all, word| all | word & 0xff00),
                lanes.iter().fold(0, |all, word| all ^ word),
            ]
        };
        let unsigned = |lanes: &[u32]| {
            let sum = lanes.iter().fold(0, |sum: u32, &word| sum.wrapping_add(word));
            [sum, *lanes.iter().min().unwrap(), *lanes.iter().max().unwrap()]
        };
        let signed = |lanes: &[u32]| {
            let values = || lanes.iter().map(|&word| word as i32);
            [unsigned(lanes)[0], values().min().unwrap() as u32, values().max().unwrap() as u32]
        };
        [
            unsigned(warp),
            bits(warp),
            unsigned(members),
            bits(members),
            signed(warp),
            bits(warp),
            signed(members),
            bits(members),
        ]
        .concat()
    });
    vec![
        Entry::new("votes", 64, 8, votes).input(words.clone()).expected(voted.collect()),
        Entry::new("reductions", 64, 24, reductions).input(words.clone()).expected(reduced.collect()),
    ]
}
