//! Launches that contradict the kernel, and kernels that trap.

use cuda_std::global::GlobalMut;
use cuda_std::launch::KernelSpec;
use cuda_std::simt::{Finding, FindingKind, Grid, Memory, Schedule};
use cuda_std::thread::{block_idx_x, sync_threads, thread_idx_x, trap};

use crate::{SCHEDULES, Source, caught, one_block, source};

const HERE: Source = source!("launch.rs");
const SPEC: KernelSpec = KernelSpec { name: "kernel", threads: 64, min_blocks: 1, shared_bytes: 512 };

/// Such a launch does not run at all.
#[test]
fn another_launch_than_the_spec_asks_for() {
    let launched = |threads, shared| {
        move |schedule| {
            let mut memory = Memory::new();
            let ran = memory.buffer("ran", &[0u32]);
            let kernel = || {
                if thread_idx_x() == 0 {
                    unsafe { ran.global_mut().store(0, 1) };
                }
            };
            let grid = Grid::new("kernel", 1, threads).shared_bytes(shared).schedule(schedule).spec(SPEC);
            let report = grid.run(&memory, kernel);
            assert_eq!(memory.read(&ran)[0] == 1, report.is_clean());
            report
        }
    };
    let is = |what, found, needed| {
        move |finding: &Finding| finding.kind == FindingKind::Launch { what, found, needed } && finding.access.is_none()
    };
    let right = launched(64, 512);
    caught(launched(96, 512), is("threads", 96, 64), right);
    caught(launched(64, 508), is("shared bytes", 508, 512), right);
    // More than it needs is well.
    SCHEDULES.into_iter().for_each(|schedule| launched(64, 1024)(schedule).expect_clean());
}

#[test]
fn a_launch_that_no_device_takes() {
    for (blocks, threads, what) in [(1, 1025, "threads"), (1, 0, "threads"), (0, 32, "blocks")] {
        let report = Grid::new("kernel", blocks, threads).run(&Memory::new(), || {});
        assert!(matches!(report.findings[0].kind, FindingKind::Launch { what: w, .. } if w == what), "{report}");
    }
    let axes = [
        ([1, 70_000, 1], [32, 1, 1], "blocks along y"),
        ([1, 1, 70_000], [32, 1, 1], "blocks along z"),
        ([1, 1, 1], [1, 1, 128], "threads along z"),
    ];
    for (grid, block, what) in axes {
        let report = Grid::with_dimensions("kernel", grid, block).run(&Memory::new(), || {});
        assert!(matches!(report.findings[0].kind, FindingKind::Launch { what: w, .. } if w == what), "{report}");
    }
    let report = Grid::new("kernel", 1, 32).shared_bytes(1 << 20).run(&Memory::new(), || {});
    assert!(matches!(report.findings[0].kind, FindingKind::Launch { what: "shared bytes", .. }), "{report}");
    // A product past 64 bits is no small number.
    let report = Grid::with_dimensions("kernel", [u32::MAX; 3], [u32::MAX; 3]).run(&Memory::new(), || {});
    assert!(!report.is_clean());
}

#[test]
fn a_kernel_traps() {
    let kernel = |thread: u32| {
        if thread_idx_x() == thread {
            trap(); // @trap
        }
    };
    let run = |thread| move |schedule| one_block(64, 0, schedule, || kernel(thread));
    caught(
        run(33),
        |finding| {
            finding.kind == FindingKind::Trap { message: "trap".to_owned() }
                && finding.access.as_ref().is_some_and(|access| access.thread == 33 && HERE.is_at(access, "trap"))
        },
        run(64),
    );
}

/// What panics in a kernel traps on the device; here its message is kept, and the place is the launch's.
#[test]
fn a_kernel_panics() {
    let kernel = |length: usize| {
        let values = [1u32; 4];
        assert!(values[..length].iter().sum::<u32>() < 4, "{length} are too many");
    };
    let run = |length| {
        move |schedule| {
            let grid = Grid::new("kernel", 1, 1).schedule(schedule);
            grid.run(&Memory::new(), || kernel(length)) // @launch
        }
    };
    caught(
        run(4),
        |finding| {
            finding.kind == FindingKind::Trap { message: "4 are too many".to_owned() }
                && finding.access.as_ref().is_some_and(|access| HERE.is_at(access, "launch"))
        },
        run(3),
    );
}

/// A trap ends the grid: no later block runs, and threads that wait are let go.
#[test]
fn a_trap_ends_the_grid() {
    let mut memory = Memory::new();
    let ran = memory.buffer("ran", &[0u32; 8]);
    let kernel = |ran: GlobalMut<u32>| {
        if thread_idx_x() == 0 {
            unsafe { ran.store(u64::from(block_idx_x()), 1) };
        }
        if block_idx_x() == 2 && thread_idx_x() == 5 {
            trap();
        }
        sync_threads();
    };
    let report = Grid::new("kernel", 8, 32).schedule(Schedule::InOrder).run(&memory, || kernel(ran.global_mut()));
    assert_eq!(report.findings.len(), 1, "{report}");
    assert_eq!(memory.read(&ran), [1, 1, 1, 0, 0, 0, 0, 0]);
    // And leaves nothing behind.
    Grid::new("kernel", 2, 32).run(&memory, || kernel(ran.global_mut())).expect_clean();
}
