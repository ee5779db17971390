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
/// Rows of A; those of B are the first 32 of them, and those of D as well.
const ROWS: u32 = 128;
/// Elements of D.
const LEN: u32 = ROWS * 32;

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
    // SAFETY: a row of shared memory a thread, of which products take two pieces; y holds LEN elements.
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
        for (half, tiles) in found.iter().enumerate() {
            for (tile, sums) in tiles.iter().enumerate() {
                for (i, sum) in sums.iter().enumerate() {
                    let (row, column) = cuda_std::fragment::accumulator(thread % 32, i as u32);
                    let (row, column) = (64 * half as u32 + thread / 32 * 16 + row, 8 * tile as u32 + column);
                    y.store(u64::from(row * 32 + column), *sum);
                }
            }
        }
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
