//! The executor itself: the largest blocks, deadlocks, misuse.

use std::panic::catch_unwind;

use cuda_std::shared::Shared;
use cuda_std::simt::{FindingKind, Grid, Memory, Schedule};
use cuda_std::thread::*;
use cuda_std::{global::Global, warp};

use crate::{SCHEDULES, one_block};

/// The message of a panic of `misuse`.
fn panic_of(misuse: impl Fn() + std::panic::UnwindSafe) -> String {
    let panic = catch_unwind(misuse).expect_err("it must panic");
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).expect("a message")
}

#[test]
fn operations_outside_a_grid_say_what_they_need() {
    let misuses: [fn(); 7] = [
        || _ = thread_idx_x(),
        || sync_threads(),
        || _ = warp::ballot(true),
        || _ = warp::shuffle_xor(1.0f64, 1),
        || _ = unsafe { Shared::<f32>::dynamic(0).load(0) },
        || _ = unsafe { Global::<f32>::from_address(256).load(0) },
        || trap(),
    ];
    for (i, misuse) in misuses.into_iter().enumerate() {
        let message = panic_of(misuse);
        assert!(message.contains("cuda_std need a running grid"), "{i}: {message}");
    }
}

#[test]
fn a_kernel_that_launches_a_grid_is_told() {
    let report = one_block(1, 0, Schedule::InOrder, || {
        let _ = one_block(1, 0, Schedule::InOrder, || {});
    });
    let message = "a kernel cannot launch a grid".to_owned();
    assert_eq!(report.findings[0].kind, FindingKind::Trap { message }, "{report}");
}

/// Every thread of the largest block and of a grid in three dimensions is itself, once.
#[test]
fn three_dimensions_and_1024_threads() {
    let (grid, block) = ([3, 2, 2], [16, 8, 8]);
    for schedule in SCHEDULES {
        let mut memory = Memory::new();
        let seen = memory.buffer("seen", &vec![0u32; 12 * 1024]);
        let kernel = || {
            let sizes = [grid_dim_x(), grid_dim_y(), grid_dim_z(), block_dim_x(), block_dim_y(), block_dim_z()];
            assert_eq!(sizes, [3, 2, 2, 16, 8, 8]);
            let b = block_idx_x() + 3 * (block_idx_y() + 2 * block_idx_z());
            let t = thread_idx_x() + 16 * (thread_idx_y() + 8 * thread_idx_z());
            let stage = Shared::<u32>::dynamic(0);
            unsafe { stage.store(t, b * 1024 + t) };
            sync_threads();
            let other = 1023 - t;
            unsafe { seen.global_mut().store(u64::from(b * 1024 + other), stage.load(other) + 1) };
        };
        Grid::with_dimensions("kernel", grid, block)
            .shared_bytes(4096)
            .schedule(schedule)
            .run(&memory, kernel)
            .expect_clean();
        assert_eq!(memory.read(&seen), (1..=12 * 1024).collect::<Vec<_>>(), "{schedule:?}");
    }
}

/// A block that cannot go on ends with a report; the next blocks run.
#[test]
fn a_deadlock_ends() {
    for schedule in SCHEDULES {
        let mut memory = Memory::new();
        let ran = memory.buffer("ran", &[0u32; 4]);
        let kernel = || {
            if thread_idx_x() == 0 {
                unsafe { ran.global_mut().store(u64::from(block_idx_x()), 1) };
            }
            if block_idx_x().is_multiple_of(2) && thread_idx_x() < 32 {
                warp::sync_warp();
            } else if block_idx_x().is_multiple_of(2) {
                sync_threads();
            }
        };
        let report = Grid::new("kernel", 4, 64).schedule(schedule).run(&memory, kernel);
        assert_eq!(memory.read(&ran), [1; 4]);
        assert_eq!(report.findings.len(), 1, "{report}");
        // The same fault of two blocks is counted, not repeated.
        assert_eq!(report.findings[0].count, 2, "{report}");
        assert_eq!(report.findings[0].kind, FindingKind::Barrier { id: 0, arrived: 32, expected: 64 });
    }
}

/// A schedule decides the order and repeats it; a correct kernel gives the same bits under all.
#[test]
fn a_schedule_repeats_its_run() {
    let order = |schedule| {
        let seen = std::cell::RefCell::new(Vec::new());
        one_block(64, 0, schedule, || {
            seen.borrow_mut().push(thread_idx_x());
            sync_threads();
            seen.borrow_mut().push(thread_idx_x());
        })
        .expect_clean();
        seen.into_inner()
    };
    for schedule in SCHEDULES {
        assert_eq!(order(schedule), order(schedule), "{schedule:?}");
    }
    assert_ne!(order(Schedule::InOrder), order(Schedule::Reversed));
    assert_ne!(order(Schedule::Random(1)), order(Schedule::Random(2)));
}

/// Grids on different threads of the host know nothing of each other.
#[test]
fn host_threads_run_their_own_grids() {
    std::thread::scope(|scope| {
        for threads in [32, 64, 96] {
            scope.spawn(move || {
                for schedule in SCHEDULES {
                    let kernel = || {
                        assert_eq!(block_dim_x(), threads);
                        sync_threads();
                    };
                    one_block(threads, 0, schedule, kernel).expect_clean();
                }
            });
        }
    });
}
