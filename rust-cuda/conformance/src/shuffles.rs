//! Shuffles of every kind, of every width of word, for all lanes and for members.

use cuda_std::Word;
use cuda_std::kernel;
use cuda_std::thread::*;
use cuda_std::warp::*;

use crate::Conformance;
#[cfg(not(target_arch = "nvptx64"))]
use crate::entries::{Entry, draw, split};

/// Shuffles of one value.
const KINDS: usize = 12;

/// Each kind of shuffle of `value`.
#[inline(always)]
#[track_caller]
fn shuffled<T: Word>(value: T) -> [T; KINDS] {
    let lane = lane_index();
    [
        shuffle_xor(value, 1),
        shuffle_xor(value, 16),
        shuffle_xor(value, 31),
        shuffle_up(value, 1),
        shuffle_up(value, 5),
        shuffle_up(value, 31),
        shuffle_down(value, 1),
        shuffle_down(value, 5),
        shuffle_down(value, 31),
        broadcast(value, 0),
        broadcast(value, 31),
        // Each lane another, and more than five bits.
        broadcast(value, 7 * lane + 3),
    ]
}

/// The lanes that [`shuffled`] takes from.
#[cfg(not(target_arch = "nvptx64"))]
fn sources(lane: usize) -> [usize; KINDS] {
    let up = |delta| lane.checked_sub(delta).unwrap_or(lane);
    let down = |delta| if lane + delta < 32 { lane + delta } else { lane };
    [lane ^ 1, lane ^ 16, lane ^ 31, up(1), up(5), up(31), down(1), down(5), down(31), 0, 31, (7 * lane + 3) % 32]
}

/// On words of 32 bits: u32, i32, f32.
///
/// # Safety
/// 64 words of input, 36 of output a thread.
#[kernel(max_threads = 64, min_blocks = 1)]
pub unsafe fn shuffles_32(p: Conformance) {
    let i = thread_idx_x();
    let mut out = p.results(i, 36);
    // SAFETY: a word of input and 36 of output a thread.
    unsafe {
        let word = p.word(i);
        let (unsigned, signed, float) =
            (shuffled(word), shuffled(!word as i32), shuffled(f32::from_bits(word & 0x3fff_ffff)));
        cuda_std::unroll!(k < KINDS, { out.put(unsigned[k]) });
        cuda_std::unroll!(k < KINDS, { out.put(signed[k] as u32) });
        cuda_std::unroll!(k < KINDS, { out.put(float[k].to_bits()) });
    }
}

/// On words of 64 bits and of 16: u64, f64, u16.
///
/// # Safety
/// 128 words of input, 60 of output a thread.
#[kernel(max_threads = 64, min_blocks = 1)]
pub unsafe fn shuffles_64_16(p: Conformance) {
    let i = thread_idx_x();
    let mut out = p.results(i, 60);
    // SAFETY: 2 words of input and 60 of output a thread.
    unsafe {
        let word = u64::from(p.word(2 * i)) | u64::from(p.word(2 * i + 1)) << 32;
        let (long, float, short) =
            (shuffled(word), shuffled(f64::from_bits(word & (u64::MAX >> 2))), shuffled(word as u16));
        cuda_std::unroll!(k < KINDS, { out.put_64(long[k]) });
        cuda_std::unroll!(k < KINDS, { out.put_64(float[k].to_bits()) });
        cuda_std::unroll!(k < KINDS, { out.put(u32::from(short[k])) });
    }
}

/// Among members: the halves of a warp in different branches, and at once with different masks.
///
/// # Safety
/// 64 words of input, 5 of output a thread.
#[kernel(max_threads = 64, min_blocks = 1)]
pub unsafe fn shuffles_members(p: Conformance) {
    const LOW: u32 = 0x0000_ffff;
    const HIGH: u32 = 0xffff_0000;
    let (i, lane) = (thread_idx_x(), lane_index());
    let mut out = p.results(i, 5);
    // SAFETY: a word of input and 5 of output a thread.
    unsafe {
        let word = p.word(i);
        if lane < 16 {
            out.put(shuffle_up_members(word, 3, LOW));
            out.put(broadcast_members(word, 5, LOW));
        } else {
            out.put(shuffle_down_members(word, 3, HIGH));
            out.put(broadcast_members(word, 21, HIGH));
        }
        let half = if lane < 16 { LOW } else { HIGH };
        out.put(shuffle_xor_members(word, 9, half));
        out.put_64(shuffle_xor_members(u64::from(word) << 20, 15, half));
    }
}

#[cfg(not(target_arch = "nvptx64"))]
pub(crate) fn entries() -> Vec<Entry> {
    let words = draw(2, 128);
    let warp_of = |i: usize| i / 32 * 32;
    let long = |i: usize| u64::from(words[2 * i]) | u64::from(words[2 * i + 1]) << 32;
    let each = |i: usize, of: &dyn Fn(usize) -> Vec<u32>| {
        sources(i % 32).into_iter().flat_map(|from| of(warp_of(i) + from)).collect::<Vec<_>>()
    };
    let of_32 = (0..64).flat_map(|i| {
        [each(i, &|j| vec![words[j]]), each(i, &|j| vec![!words[j]]), each(i, &|j| vec![words[j] & 0x3fff_ffff])]
            .concat()
    });
    let of_64_16 = (0..64).flat_map(|i| {
        let float = |j| split(long(j) & (u64::MAX >> 2)).to_vec();
        [each(i, &|j| split(long(j)).to_vec()), each(i, &float), each(i, &|j| vec![words[2 * j] & 0xffff])].concat()
    });
    let of_members = (0..64).flat_map(|i| {
        let (warp, lane) = (warp_of(i), i % 32);
        let (moved, named) = if lane < 16 {
            (if lane < 3 { lane } else { lane - 3 }, 5)
        } else {
            (if lane > 28 { lane } else { lane + 3 }, 21)
        };
        let [low, high] = split(u64::from(words[i ^ 15]) << 20);
        [words[warp + moved], words[warp + named], words[i ^ 9], low, high]
    });
    vec![
        Entry::new("shuffles_32", 64, 36, shuffles_32).input(words[..64].to_vec()).expected(of_32.collect()),
        Entry::new("shuffles_64_16", 64, 60, shuffles_64_16).input(words.clone()).expected(of_64_16.collect()),
        Entry::new("shuffles_members", 64, 5, shuffles_members)
            .input(words[..64].to_vec())
            .expected(of_members.collect()),
    ]
}
