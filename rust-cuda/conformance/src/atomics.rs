//! Atomic operations, in shared and in global memory. What is written does not depend on who came first.

use cuda_std::global::GlobalMut;
use cuda_std::kernel;
use cuda_std::shared::Shared;
use cuda_std::thread::*;

use crate::Conformance;
#[cfg(not(target_arch = "nvptx64"))]
use crate::entries::{Entry, draw, join, split};

/// Elements that all threads work on, one an operation.
const ELEMENTS: usize = 8;

/// Every operation by every thread on the elements of `$at`, which hold the [start](STARTS); 1 where the swap was this thread's.
macro_rules! every_operation {
    ($at:expr, $word:expr, $one:literal) => {{
        let (at, word) = ($at, $word);
        at.atomic_add(0, word);
        at.atomic_min(1, word);
        at.atomic_max(2, word);
        at.atomic_and(3, word | $one << 5 | $one << 30);
        at.atomic_or(4, word & !($one << 7));
        at.atomic_xor(5, word);
        // Who comes last is open: all put the same.
        at.atomic_exch(6, $one);
        // One of all finds what it expects.
        u32::from(at.atomic_cas(7, $one, $one + $one) == $one)
    }};
}

/// What the elements begin as: neutral for their operation.
const STARTS: [u64; ELEMENTS] = [3, u64::MAX, 0, u64::MAX, 0, 0, 9, 1];

/// On u32 and u64 in global memory: two blocks, each with elements of its own.
///
/// # Safety
/// 2 words of input a thread and block; 26 words of output a block.
#[kernel(max_threads = 128, min_blocks = 1)]
pub unsafe fn global_atomics(p: Conformance) {
    let (i, block) = (thread_idx_x(), u64::from(block_idx_x()));
    let of_32 = p.output.offset(26 * block);
    let of_64 = GlobalMut::<u64>::from_address(of_32.offset(ELEMENTS as u64).address());
    let winners = of_32.offset(24);
    // SAFETY: 26 words a block, written before the barrier by one thread and by all atomically after.
    unsafe {
        if i == 0 {
            cuda_std::unroll!(k < ELEMENTS, {
                of_32.store(k as u64, STARTS[k] as u32);
                of_64.store(k as u64, STARTS[k]);
            });
            winners.store(0, 0);
            winners.store(1, 0);
        }
        sync_threads();
        let word = p.word(2 * (index_1d() as u32));
        let long = u64::from(word) | u64::from(p.word(2 * (index_1d() as u32) + 1)) << 32;
        winners.atomic_add(0, every_operation!(of_32, word, 1u32));
        winners.atomic_add(1, every_operation!(of_64, long, 1u64));
    }
}

/// On u32 and u64 in shared memory.
///
/// # Safety
/// 2 words of input a thread; 26 words of output.
#[kernel(max_threads = 128, min_blocks = 1)]
pub unsafe fn shared_atomics(p: Conformance) {
    let i = thread_idx_x();
    let (of_32, of_64) = (Shared::<u32>::dynamic(0), Shared::<u64>::dynamic(32));
    let winners = Shared::<u32>::dynamic(96);
    // SAFETY: 104 bytes, written before the first barrier by one thread, by all atomically after, read after the second.
    unsafe {
        if i == 0 {
            cuda_std::unroll!(k < ELEMENTS, {
                of_32.store(k as u32, STARTS[k] as u32);
                of_64.store(k as u32, STARTS[k]);
            });
            winners.store(0, 0);
            winners.store(1, 0);
        }
        sync_threads();
        let word = p.word(2 * i);
        let long = u64::from(word) | u64::from(p.word(2 * i + 1)) << 32;
        winners.atomic_add(0, every_operation!(of_32, word, 1u32));
        winners.atomic_add(1, every_operation!(of_64, long, 1u64));
        sync_threads();
        if i < 26 {
            p.output.store(u64::from(i), of_32.load(i));
        }
    }
}

/// Additions of f32 and f64 by one thread, with what each found: subnormal f32 count as zero in global memory alone.
///
/// # Safety
/// 6 words of input and 24 of output; one thread works.
#[kernel(max_threads = 32, min_blocks = 1)]
pub unsafe fn float_atomics(p: Conformance) {
    let (single, double) = (Shared::<f32>::dynamic(0), Shared::<f64>::dynamic(8));
    let in_global = GlobalMut::<f32>::from_address(p.output.address());
    let in_global_64 = GlobalMut::<f64>::from_address(p.output.offset(2).address());
    if thread_idx_x() != 0 {
        return;
    }
    let mut out = p.results(0, 0);
    // SAFETY: one thread; words 0 to 3 of the output are sums, then 4 a step of five.
    unsafe {
        single.store(0, 1.5e-38);
        in_global.store(0, 1.5e-38);
        double.store(0, 1.0);
        in_global_64.store(0, 1.0);
        out.written = 4;
        for step in 0..5 {
            let value = f32::from_bits(p.word(step));
            out.put(single.atomic_add(0, value).to_bits());
            out.put(in_global.atomic_add(0, value).to_bits());
            double.atomic_add(0, value as f64);
            in_global_64.atomic_add(0, value as f64);
            out.put_64(double.load(0).to_bits());
        }
    }
}

#[cfg(not(target_arch = "nvptx64"))]
pub(crate) fn entries() -> Vec<Entry> {
    let words = draw(5, 2 * 2 * 128);
    let after = |mine: &[u32]| {
        let pairs = mine.chunks(2);
        let short: Vec<u64> = pairs.clone().map(|pair| u64::from(pair[0])).collect();
        let long: Vec<u64> = pairs.map(join).collect();
        let all = |values: &[u64], bits: u32| {
            let fold = |start: u64, f: fn(u64, u64) -> u64| values.iter().fold(start, |all, &value| f(all, value));
            let top = u64::MAX >> (64 - bits);
            [
                fold(3, u64::wrapping_add) & top,
                fold(top, u64::min),
                fold(0, u64::max),
                fold(top, |a, b| a & (b | 1 << 5 | 1 << 30)),
                fold(0, |a, b| a | b & !(1 << 7)),
                fold(0, |a, b| a ^ b),
                1,
                2,
            ]
        };
        let mut out: Vec<u32> = all(&short, 32).iter().map(|&word| word as u32).collect();
        out.extend(all(&long, 64).into_iter().flat_map(split));
        out.extend([1, 1]);
        out
    };
    // A subnormal result, a subnormal operand, and ordinary ones.
    let values = [-1.4e-38f32, 1e-39, 1e-38, 0.1, 2.5e7].map(f32::to_bits).to_vec();
    let flush = |v: f32| if v.is_subnormal() { 0f32.copysign(v) } else { v };
    let (mut single, mut flushed, mut double) = (1.5e-38f32, 1.5e-38f32, 1f64);
    let mut steps = Vec::new();
    for value in values.iter().map(|&word| f32::from_bits(word)) {
        steps.extend([single.to_bits(), flushed.to_bits()]);
        (single, flushed) = (single + value, flush(flush(flushed) + flush(value)));
        double += f64::from(value);
        steps.extend(split(double.to_bits()));
    }
    let [low, high] = split(double.to_bits());
    let floats = [vec![flushed.to_bits(), crate::entries::BEFORE, low, high], steps].concat();
    let exact = |entry: Entry, expected: Vec<u32>| Entry { output_words: expected.len(), ..entry }.expected(expected);
    let blocks = words.chunks(256).flat_map(after).collect();
    vec![
        exact(Entry::new("global_atomics", 128, 0, global_atomics).blocks([2, 1, 1]).input(words.clone()), blocks),
        exact(
            Entry::new("shared_atomics", 128, 0, shared_atomics).shared(104).input(words[..256].to_vec()),
            after(&words[..256]),
        ),
        exact(Entry::new("float_atomics", 32, 0, float_atomics).shared(16).input(values), floats),
    ]
}
