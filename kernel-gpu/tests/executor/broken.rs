//! The convolution's main loop in small, with a barrier taken out: the executor must say where.
//!
//! Two stages in shared memory, as in `conv_transpose_moments`: a step reads stage i mod 2 and fills the other, and one
//! barrier a step separates them.

use cuda_std::global::{Global, GlobalMut};
use cuda_std::shared::Shared;
use cuda_std::simt::{FindingKind, Grid, Memory, Report, Schedule, Space};
use cuda_std::thread::{sync_threads, thread_idx_x};

const THREADS: u32 = 64;
const STEPS: u32 = 5;

/// Which barrier is missing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Nothing,
    /// The one after the first stage is filled.
    First,
    /// The one that ends each step.
    Step,
}

/// y[t] = Σ over the steps of what the thread across the block brought.
unsafe fn staged_sum(missing: Missing, x: Global<f32>, y: GlobalMut<f32>) {
    let (stages, thread) = (Shared::<f32>::dynamic(0), thread_idx_x());
    let bring = |step: u32| unsafe { x.load(u64::from(step * THREADS + thread)) };
    unsafe { stages.store(thread, bring(0)) };
    if missing != Missing::First {
        sync_threads();
    }
    let mut sum = 0.0;
    for step in 0..STEPS {
        let stage = step % 2 * THREADS;
        sum += unsafe { stages.load(stage + THREADS - 1 - thread) };
        if step + 1 < STEPS {
            unsafe { stages.store(THREADS - stage + thread, bring(step + 1)) };
        }
        if missing != Missing::Step {
            sync_threads();
        }
    }
    unsafe { y.store(u64::from(thread), sum) };
}

fn run(missing: Missing, schedule: Schedule) -> (Report, Vec<f32>) {
    let values: Vec<f32> = (0..STEPS * THREADS).map(|i| i as f32).collect();
    let mut memory = Memory::new();
    let (x, y) = (memory.buffer("x", &values), memory.buffer("y", &[f32::NAN; THREADS as usize]));
    let grid = Grid::new("staged_sum", 1, THREADS).shared_bytes(2 * THREADS * 4).schedule(schedule);
    // SAFETY: x holds STEPS values a thread, y one.
    let report = grid.run(&memory, || unsafe { staged_sum(missing, x.global(), y.global_mut()) });
    (report, memory.read(&y))
}

const SCHEDULES: [Schedule; 3] = [Schedule::InOrder, Schedule::Reversed, Schedule::Random(11)];

#[test]
fn with_its_barriers_it_is_clean_and_right() {
    for schedule in SCHEDULES {
        let (report, y) = run(Missing::Nothing, schedule);
        report.expect_clean();
        let expected = |t: u32| (0..STEPS).map(|step| (step * THREADS + THREADS - 1 - t) as f32).sum::<f32>();
        assert_eq!(y, (0..THREADS).map(expected).collect::<Vec<_>>(), "{schedule:?}");
    }
}

/// The store and the load of different threads are reported, each by its place in this file.
#[test]
fn without_one_of_them_the_race_is_reported() {
    for missing in [Missing::First, Missing::Step] {
        for schedule in SCHEDULES {
            let (report, _) = run(missing, schedule);
            let race = report.findings.iter().find_map(|finding| match (&finding.kind, finding.access) {
                (FindingKind::Race { space: Space::Shared, other }, Some(access)) => Some((access, *other)),
                _ => None,
            });
            let (access, other) = race.unwrap_or_else(|| panic!("{schedule:?}: {report}"));
            assert_ne!((access.thread, access.at.line()), (other.thread, other.at.line()), "{report}");
            assert!(access.at.file().ends_with("broken.rs") && other.at.file().ends_with("broken.rs"), "{report}");
        }
    }
}
