//! Words of 16 bits, and the narrow types in memory and between lanes.

use cuda_std::convert::{Bf16, Bf16x2, F16, F16x2, Tf32};
use cuda_std::global::{Global, GlobalMut};
use cuda_std::shared::Shared;
use cuda_std::simt::{FindingKind, Grid, Memory};
use cuda_std::thread::{sync_threads, thread_idx_x};
use cuda_std::warp;

use super::{SCHEDULES, caught, clean};

/// Eight threads turn a row of 64 halves round in shared memory and store it as bf16.
#[test]
fn halves_go_through_global_and_shared_memory() {
    let values: Vec<F16> = (0..64).map(|i| F16::from_f32(i as f32 / 8.0)).collect();
    for schedule in SCHEDULES {
        let mut memory = Memory::new();
        let (x, y) = (memory.buffer("x", &values), memory.buffer("y", &[Bf16::default(); 64]));
        let grid = Grid::new("turn", 1, 8).shared_bytes(128).schedule(schedule);
        let report = grid.run(&memory, || {
            let (row, t) = (Shared::<F16>::dynamic(0), thread_idx_x());
            // SAFETY: 64 halves everywhere; 8 threads with 8 each.
            unsafe {
                let eight: [F16; 8] = x.global().load_array(u64::from(t) * 8);
                for i in 0..8 {
                    row.store(63 - (t * 8 + i), eight[i as usize]);
                }
                sync_threads();
                let mut eight = [F16::default(); 8];
                row.load_16(t * 8, &mut eight);
                assert_eq!(row.load(t * 8 + 3).to_bits(), eight[3].to_bits());
                for i in 0..8 {
                    y.global_mut().store(u64::from(t * 8 + i), Bf16::from_f32(eight[i as usize].to_f32()));
                }
            }
        });
        report.expect_clean();
        let turned: Vec<f32> = memory.read(&y).iter().map(|v| v.to_f32()).collect();
        let expected: Vec<f32> = (0..64).map(|i| Bf16::from_f32((63 - i) as f32 / 8.0).to_f32()).collect();
        assert_eq!(turned, expected);
    }
}

#[test]
fn sixteen_bytes_are_stored_at_once() {
    let values: Vec<u32> = (0..64).map(|i| i * 0x0101_0101).collect();
    for schedule in SCHEDULES {
        let mut memory = Memory::new();
        let (x, y) = (memory.buffer("x", &values), memory.buffer("y", &[0u32; 64]));
        let report = Grid::new("copy", 1, 8).schedule(schedule).run(&memory, || {
            let (from, to, t) = (x.global(), y.global_mut().address(), u64::from(thread_idx_x()));
            // SAFETY: 64 words everywhere; 8 threads with 8 each, by two stores or, the odd ones, as other types.
            unsafe {
                if t % 2 == 0 {
                    y.global_mut().store_array(8 * t, from.load_array::<8>(8 * t));
                } else {
                    let from = from.address();
                    let words = Global::<u64>::from_address(from).load_array::<2>(4 * t);
                    GlobalMut::<u64>::from_address(to).store_array(4 * t, words);
                    let halves = Global::<F16>::from_address(from).load_array::<8>(16 * t + 8);
                    GlobalMut::<F16>::from_address(to).store_array(16 * t + 8, halves);
                }
            }
        });
        report.expect_clean();
        assert_eq!(memory.read(&y), values);
    }
}

#[test]
fn narrow_types_move_between_lanes() {
    clean(32, 0, || {
        let t = thread_idx_x();
        assert_eq!(warp::shuffle_xor(t as u16 + 1000, 5), (t ^ 5) as u16 + 1000);
        assert_eq!(warp::broadcast(F16::from_f32(t as f32), 9).to_f32(), 9.0);
        assert_eq!(warp::shuffle_down(Bf16::from_f32(t as f32), 31).to_f32(), if t == 0 { 31.0 } else { t as f32 });
        assert_eq!(warp::shuffle_up(Tf32::from_f32(t as f32), 1).to_f32(), t.saturating_sub(1) as f32);
        assert_eq!(warp::shuffle_xor(F16x2::from_f32(t as f32, 1.0), 1).to_halves().0.to_f32(), (t ^ 1) as f32);
        assert_eq!(warp::shuffle_xor(Bf16x2::from_f32(1.0, t as f32), 1).to_halves().1.to_f32(), (t ^ 1) as f32);
    });
}

#[test]
fn neighbours_write_the_halves_of_a_word() {
    let write = |stride: u32| {
        let (row, t) = (Shared::<u16>::dynamic(0), thread_idx_x());
        // SAFETY: 64 halves.
        unsafe { row.store(t * stride, t as u16) };
    };
    clean(32, 128, || write(1));
    caught(32, 128, |kind| matches!(kind, FindingKind::Race { .. }), || write(0));
    caught(64, 64, |kind| matches!(kind, FindingKind::OutOfBounds { .. }), || write(1));
    // SAFETY: none: it is wrong.
    caught(
        1,
        8,
        |kind| matches!(kind, FindingKind::Misaligned { .. }),
        || unsafe { Shared::<u16>::dynamic(1).store(0, 1) },
    );
}
