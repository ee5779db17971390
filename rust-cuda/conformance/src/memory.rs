//! Loads and stores of every width, in global and in shared memory.

use cuda_std::convert::{Bf16, Bf16x2, F16, F16x2, Tf32};
use cuda_std::global::{Global, GlobalMut};
use cuda_std::kernel;
use cuda_std::shared::Shared;
use cuda_std::thread::*;

use crate::Conformance;
#[cfg(not(target_arch = "nvptx64"))]
use crate::entries::{Entry, draw};

/// The input as an array of other elements.
#[inline(always)]
fn input_as<T: cuda_std::Scalar>(p: &Conformance) -> Global<T> {
    Global::from_address(p.input.address())
}

/// Loads and stores of global memory: each copies a piece of the input.
///
/// # Safety
/// 40 words a thread of input, and of output.
#[kernel(max_threads = 32, min_blocks = 1)]
pub unsafe fn global_words(p: Conformance) {
    let i = thread_idx_x();
    let at = 40 * u64::from(i);
    let mut out = p.results(i, 40);
    let (halves, longs) = (
        GlobalMut::<u16>::from_address(p.output.address()).offset(2 * at),
        GlobalMut::<u64>::from_address(p.output.address()).offset(at / 2),
    );
    // SAFETY: the thread's 40 words of input and of output, on 16-byte boundaries.
    unsafe {
        // Words 0 to 7: one element at a time.
        out.put(p.input.load(at));
        out.put(input_as::<i32>(&p).load(at + 1) as u32);
        out.put(input_as::<f32>(&p).load(at + 2).to_bits());
        out.put(input_as::<Tf32>(&p).load(at + 3).to_bits());
        halves.store(8, input_as::<u16>(&p).load(2 * at + 8));
        halves.store(9, input_as::<F16>(&p).load(2 * at + 9).to_bits());
        halves.store(10, halves.load(8));
        halves.store(11, input_as::<Bf16>(&p).load(2 * at + 11).to_bits());
        longs.store(3, input_as::<u64>(&p).load(at / 2 + 3));
        // Words 8 to 15: of 64 bits, written as what they are and read back.
        let real = GlobalMut::<f64>::from_address(longs.address());
        real.store(4, input_as::<f64>(&p).load(at / 2 + 4));
        longs.store(5, longs.load(4));
        let signed = GlobalMut::<i64>::from_address(longs.address());
        signed.store(6, input_as::<i64>(&p).load(at / 2 + 6));
        p.output.store(at + 14, p.output.load(at + 8));
        p.output.store(at + 15, p.output.load(at + 9));
        p.input.prefetch(at + 16);
        // Words 16 to 39: 16 bytes at a time, loaded and stored.
        p.output.store_array(at + 16, p.input.load_array::<8>(at + 16));
        let singles = GlobalMut::<f32>::from_address(p.output.address());
        singles.store_array(at + 24, input_as::<f32>(&p).load_array::<4>(at + 24));
        longs.store_array(14, input_as::<u64>(&p).load_array::<2>(at / 2 + 14));
        halves.store_array(64, input_as::<u16>(&p).load_array::<8>(2 * at + 64));
        let pairs = GlobalMut::<F16x2>::from_address(p.output.address());
        pairs.store_array(at + 36, input_as::<F16x2>(&p).load_array::<4>(at + 36));
    }
}

/// Loads and stores of shared memory: each element written by one thread is read by the next.
///
/// # Safety
/// 4 words of input and 20 of output a thread; 96 bytes of shared memory a thread.
#[kernel(max_threads = 64, min_blocks = 1)]
pub unsafe fn shared_words(p: Conformance) {
    let (i, n) = (thread_idx_x(), block_dim_x());
    let next = (i + 1) % n;
    let quads = Shared::<u32>::dynamic(0);
    let (longs, reals) = (Shared::<u64>::dynamic(16 * n), Shared::<f64>::dynamic(24 * n));
    let (halves, words) = (Shared::<u16>::dynamic(32 * n), Shared::<f32>::dynamic(40 * n));
    let (packed, signed) = (Shared::<Bf16x2>::dynamic(44 * n), Shared::<i32>::dynamic(48 * n));
    let wide = Shared::<i64>::dynamic(56 * n);
    let mut out = p.results(i, 20);
    // SAFETY: elements of this thread before the barrier and of the next after it; 16 bytes of `quads` a thread.
    unsafe {
        let [a, b, c, d] = p.input.load_array::<4>(4 * u64::from(i));
        let long = u64::from(a) | u64::from(b) << 32;
        quads.store_16(4 * i, &[a, b, c, d]);
        longs.store(i, long);
        reals.store(i, f64::from_bits(long >> 2));
        halves.store(4 * i, c as u16);
        halves.store(4 * i + 1, (c >> 16) as u16);
        halves.store(4 * i + 2, d as u16);
        halves.store(4 * i + 3, (d >> 16) as u16);
        words.store(i, f32::from_bits(a >> 2));
        packed.store(i, Bf16x2::from_bits(b));
        signed.store(2 * i, c as i32);
        signed.store(2 * i + 1, d as i32);
        wide.store(i, long as i64);
        sync_threads();
        let mut quad = [0; 4];
        quads.load_16(4 * next, &mut quad);
        for word in quad {
            out.put(word);
        }
        out.put_64(longs.load(next));
        out.put_64(reals.load(next).to_bits());
        out.put(u32::from(halves.load(4 * next)) | u32::from(halves.load(4 * next + 3)) << 16);
        out.put(words.load(next).to_bits());
        out.put(packed.load(next).to_bits());
        out.put(signed.load(2 * next + 1) as u32);
        out.put_64(wide.load(next) as u64);
        // Two threads' elements: those of an even one and the odd one after it.
        let mut pair = [0; 2];
        longs.load_16(next & !1, &mut pair);
        out.put(pair[0] as u32 ^ pair[1] as u32);
        let mut eight = [0; 8];
        halves.load_16(4 * (next & !1), &mut eight);
        for pair in eight.as_chunks::<2>().0 {
            out.put(u32::from(pair[0]) | u32::from(pair[1]) << 16);
        }
        out.put(quads.load(4 * next + 2));
    }
}

#[cfg(not(target_arch = "nvptx64"))]
pub(crate) fn entries() -> Vec<Entry> {
    let words = draw(4, 40 * 32);
    let copied = (0..32).flat_map(|i| {
        let mut own = words[40 * i..][..40].to_vec();
        own[5] = own[4] & 0xffff | own[5] & 0xffff_0000;
        own.copy_within(8..10, 10);
        own.copy_within(8..10, 14);
        own
    });
    let moved = (0..64).flat_map(|i| {
        let quad = |i: usize| &words[4 * i..][..4];
        let next = (i + 1) % 64;
        let [a, b, c, d] = *quad(next).first_chunk().unwrap();
        let (even, odd) = (quad(next & !1), quad(next | 1));
        let real = (u64::from(a) | u64::from(b) << 32) >> 2;
        let ends = c & 0xffff | d & 0xffff_0000;
        let [low, high] = crate::entries::split(real);
        [a, b, c, d, a, b, low, high, ends, a >> 2, b, d, a, b, even[0] ^ odd[0], even[2], even[3], odd[2], odd[3], c]
    });
    vec![
        Entry::new("global_words", 32, 40, global_words).input(words.clone()).expected(copied.collect()),
        Entry::new("shared_words", 64, 20, shared_words)
            .shared(96 * 64)
            .input(words[..256].to_vec())
            .expected(moved.collect()),
    ]
}
