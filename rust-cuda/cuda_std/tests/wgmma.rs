//! Products of warpgroups: each misuse beside the same kernel done right.

mod asynchronous;

use asynchronous::{caught, gives, missing_fence, on, race};
use cuda_std::convert::F16x2;
use cuda_std::global::{Global, GlobalMut};
use cuda_std::shared::Shared;
use cuda_std::simt::{Finding, FindingKind, Space};
use cuda_std::wgmma::{self, Rows};
use cuda_std::{bulk_copy, thread};

const THREADS: u32 = 128;
/// Rows of A; those of B are the first 32 of them.
const ROWS: u32 = 128;
/// Elements of D.
const LEN: u32 = ROWS * 32;

/// Stores D in y.
///
/// # Safety
/// y holds LEN elements, which nobody else accesses but threads of the warpgroup, each its own.
unsafe fn put(y: GlobalMut<f32>, d: &[[[f32; 4]; 4]; 2]) {
    let thread = thread::thread_idx_x();
    for (tile, sums) in d.as_flattened().iter().enumerate() {
        for (i, sum) in sums.iter().enumerate() {
            let (row, column) = cuda_std::fragment::accumulator(thread % 32, i as u32);
            let (row, column) = (64 * (tile as u32 / 4) + thread / 32 * 16 + row, 8 * (tile as u32 % 4) + column);
            // SAFETY: row < ROWS, column < 32.
            unsafe { y.store(u64::from(row * 32 + column), *sum) };
        }
    }
}

/// When a row is stored again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    Never,
    BeforeWait,
    BehindWait,
    BehindBarrier,
}

/// y = 4·Σ_k A[r][k]·A[c][k], k < 16, where A[r] is r everywhere: 64·r·c, if the factors are fenced, and met for, and then left alone.
unsafe fn products<const FENCE: bool, const BARRIER: bool, const AGAIN: u32>(_: Global<f32>, y: GlobalMut<f32>) {
    const TIMES: [Again; 4] = [Again::Never, Again::BeforeWait, Again::BehindWait, Again::BehindBarrier];
    let (thread, matrix) = (thread::thread_idx_x(), Shared::<u32>::dynamic(0));
    let again = TIMES[AGAIN as usize];
    // SAFETY: a row of shared memory a thread, of which products take two pieces; y holds LEN elements, of which each thread stores its own.
    unsafe {
        let store = |value: f32| {
            for word in 0..wgmma::ROW_BYTES / 4 {
                matrix.store(thread * wgmma::ROW_BYTES / 4 + word, F16x2::from_f32(value, value).to_bits());
            }
        };
        store(thread as f32);
        if FENCE {
            bulk_copy::fence_proxy_async();
        }
        if BARRIER {
            thread::sync_threads();
        }
        let rows = Rows::new(matrix, 0, 2);
        let started = wgmma::m128n32k16_f16([[rows; 2]; 4]);
        if again == Again::BeforeWait {
            store(0.0);
        }
        let found = started.wait();
        if again == Again::BehindBarrier {
            thread::sync_threads();
        }
        if matches!(again, Again::BehindWait | Again::BehindBarrier) {
            store(0.0);
        }
        put(y, &found);
    }
}

#[test]
fn factors_are_fenced_and_met_for_before_and_behind() {
    let product = |i: u32| (64 * (i / 32) * (i % 32)) as f32;
    gives(THREADS, LEN, products::<true, true, 0>, product);
    gives(THREADS, LEN, products::<true, true, 3>, product);
    caught(THREADS, on(LEN, products::<false, true, 0>), missing_fence);
    let unordered = |f: &Finding| race(Space::Shared)(f) || matches!(f.kind, FindingKind::NeverWritten);
    caught(THREADS, on(LEN, products::<true, false, 0>), unordered);
    caught(THREADS, on(LEN, products::<true, true, 1>), unordered);
    caught(THREADS, on(LEN, products::<true, true, 2>), unordered);
}

/// Two of the same products in flight, the second waited for first if `TURNED`.
unsafe fn two_in_flight<const TURNED: bool>(_: Global<f32>, y: GlobalMut<f32>) {
    let (thread, matrix) = (thread::thread_idx_x(), Shared::<u32>::dynamic(0));
    // SAFETY: as in `products`.
    unsafe {
        for word in 0..wgmma::ROW_BYTES / 4 {
            let value = thread as f32;
            matrix.store(thread * wgmma::ROW_BYTES / 4 + word, F16x2::from_f32(value, value).to_bits());
        }
        bulk_copy::fence_proxy_async();
        thread::sync_threads();
        let rows = Rows::new(matrix, 0, 2);
        let first = wgmma::m128n32k16_f16([[rows; 2]; 4]);
        let second = wgmma::m128n32k16_f16([[rows; 2]; 6]);
        let (last, next) = if TURNED { (second, first) } else { (first, second) };
        let mut found = last.wait_while(&next);
        let other = next.wait();
        for (sum, other) in
            found.as_flattened_mut().as_flattened_mut().iter_mut().zip(other.as_flattened().as_flattened())
        {
            *sum += other;
        }
        put(y, &found);
    }
}

#[test]
fn the_next_products_go_on_while_the_last_are_waited_for() {
    gives(THREADS, LEN, two_in_flight::<false>, |i: u32| (160 * (i / 32) * (i % 32)) as f32);
}

#[test]
#[should_panic(expected = "started before them")]
fn products_that_were_started_before_do_not_go_on() {
    gives(THREADS, LEN, two_in_flight::<true>, |_| 0.0);
}
