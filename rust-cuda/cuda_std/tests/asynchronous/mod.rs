//! What the tests of asynchronous operations share: a kernel under every schedule, and what must be found.
#![allow(dead_code)] // Each test file uses its part.

use cuda_std::global::{Global, GlobalMut};
use cuda_std::mbarrier::Mbarrier;
use cuda_std::shared::Shared;
use cuda_std::simt::{Access, Finding, FindingKind, Grid, Memory, Report, Schedule, Space};
use cuda_std::{bulk_copy, thread};

/// Shared bytes of every launch here.
pub const SHARED: u32 = 16 << 10;

/// The schedules that each kernel runs under.
pub const SCHEDULES: [Schedule; 4] =
    [Schedule::InOrder, Schedule::Reversed, Schedule::Random(1), Schedule::Random(0x5eed)];

/// A kernel from x to y.
pub type Kernel = unsafe fn(Global<f32>, GlobalMut<f32>);

/// Runs `kernel` on x = 0, 1, 2, … and y = −1 of `len` elements each; the report and y.
pub fn launch(grid: &Grid, len: u32, kernel: Kernel) -> (Report, Vec<f32>) {
    let mut memory = Memory::new();
    let x = memory.buffer("x", &(0..len).map(|i| i as f32).collect::<Vec<_>>());
    let y = memory.buffer("y", &vec![-1.0f32; len as usize]);
    // SAFETY: what each test does wrong is what the executor must catch.
    let report = grid.run(&memory, || unsafe { kernel(x.global(), y.global_mut()) });
    (report, memory.read(&y))
}

/// [`launch`], for who wants the report alone.
pub fn on(len: u32, kernel: Kernel) -> impl Fn(&Grid) -> Report {
    move |grid| launch(grid, len, kernel).0
}

/// Runs one block of `threads` threads under every schedule and hands each report to `check`.
pub fn under_every_schedule(threads: u32, run: impl Fn(&Grid) -> Report, check: impl Fn(&Report)) {
    for schedule in SCHEDULES {
        println!("{schedule:?}");
        check(&run(&Grid::new("kernel", 1, threads).shared_bytes(SHARED).schedule(schedule)));
    }
}

/// The kernel is clean under every schedule.
pub fn clean(threads: u32, run: impl Fn(&Grid) -> Report) {
    under_every_schedule(threads, run, |report| report.expect_clean());
}

/// Under every schedule something is found of which `is_it` holds. Both of its places are in the test's own source.
pub fn caught(threads: u32, run: impl Fn(&Grid) -> Report, is_it: impl Fn(&Finding) -> bool) {
    under_every_schedule(threads, run, |report| {
        let found = report.findings.iter().find(|finding| is_it(finding));
        let finding = found.unwrap_or_else(|| panic!("not caught: {report}"));
        for access in [finding.access, other(finding)].into_iter().flatten() {
            assert!(access.at.file().contains("tests"), "{finding}");
        }
    });
}

/// The earlier of the two sides of a finding.
pub fn other(finding: &Finding) -> Option<Access> {
    match finding.kind {
        FindingKind::Race { other, .. } => Some(other),
        FindingKind::StillCopying { copy } => Some(copy),
        FindingKind::MissingProxyFence { store } => Some(store),
        _ => None,
    }
}

/// A race in this memory.
pub fn race(space: Space) -> impl Fn(&Finding) -> bool {
    move |finding| matches!(finding.kind, FindingKind::Race { space: found, .. } if found == space)
}

/// An access to what a copy still fills.
pub fn still_copying(finding: &Finding) -> bool {
    matches!(finding.kind, FindingKind::StillCopying { .. })
}

/// An mbarrier's misuse, in these words.
pub fn misuse(words: &'static str) -> impl Fn(&Finding) -> bool {
    move |finding| matches!(finding.kind, FindingKind::Mbarrier { what } if what.contains(words))
}

/// A plain store and an access of the async proxy without the fence.
pub fn missing_fence(finding: &Finding) -> bool {
    matches!(finding.kind, FindingKind::MissingProxyFence { .. })
}

/// Runs `kernel` clean, with y as it should be.
pub fn gives(threads: u32, len: u32, kernel: Kernel, y: impl Fn(u32) -> f32) {
    clean(threads, |grid| {
        let (report, found) = launch(grid, len, kernel);
        assert_eq!(found, (0..len).map(&y).collect::<Vec<_>>(), "{report}");
        report
    });
}

/// Where the data of the kernels of bulk copies begins.
pub fn tile() -> Shared<f32> {
    Shared::dynamic(128)
}

/// Thread 0 makes the barrier of one arrival, with the fence.
pub fn ready() -> Mbarrier {
    let full = Mbarrier::dynamic(0);
    if thread::thread_idx_x() == 0 {
        // SAFETY: the first thing that a kernel here does, with 8 aligned bytes.
        unsafe { full.init(1) };
        bulk_copy::fence_proxy_async();
    }
    thread::sync_threads();
    full
}
