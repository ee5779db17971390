//! The catalogue of faults: for each class of finding a kernel that has it, which must be caught with both places and
//! threads, and its correct twin, which must be clean. Each under three schedules.
//!
//! Faults of the asynchronous operations are in `async_copy.rs`, `mbarrier.rs`, `bulk.rs` and `bulk_store.rs` beside this
//! folder, those of atomics, masks and matrix operations in `operations`.
#![expect(
    clippy::undocumented_unsafe_blocks,
    reason = "here promises are broken on purpose, and every access is checked"
)]

mod executor;
mod launch;
mod memory;
mod synchronisation;

use cuda_std::simt::{Access, Finding, FindingKind, Grid, Memory, Report, Schedule};

/// The orders that everything here runs in.
const SCHEDULES: [Schedule; 3] = [Schedule::InOrder, Schedule::Reversed, Schedule::Random(0x5eed)];

/// A source with marks: a line that ends in `// @name` is found by `name`.
struct Source {
    file: &'static str,
    text: &'static str,
}

macro_rules! source {
    ($file:literal) => {
        crate::Source { file: $file, text: include_str!($file) }
    };
}
use source;

impl Source {
    /// Whether an access is at the line with that mark.
    #[track_caller]
    fn is_at(&self, access: &Access, mark: &str) -> bool {
        let line = self.text.lines().position(|line| line.trim_end().ends_with(&format!("// @{mark}")));
        let line = line.unwrap_or_else(|| panic!("no mark {mark} in {}", self.file)) + 1;
        access.at.line() as usize == line && access.at.file().ends_with(self.file)
    }

    /// Whether two accesses are at these marks, in either order: which one comes first is the schedule's.
    #[track_caller]
    fn are_at(&self, accesses: [&Access; 2], marks: [&str; 2]) -> bool {
        let [a, b] = accesses;
        let [first, second] = marks;
        self.is_at(a, first) && self.is_at(b, second) || self.is_at(a, second) && self.is_at(b, first)
    }
}

/// Runs `faulty` and its twin under every schedule: the first must show a finding for which `is_it` holds, the second
/// nothing. Each makes its own memory.
#[track_caller]
fn caught(faulty: impl Fn(Schedule) -> Report, is_it: impl Fn(&Finding) -> bool, twin: impl Fn(Schedule) -> Report) {
    for schedule in SCHEDULES {
        let report = faulty(schedule);
        assert!(report.findings.iter().any(&is_it), "{schedule:?} missed it: {report}");
        assert!(!report.is_clean());
        let report = twin(schedule);
        assert!(report.is_clean(), "{schedule:?} of the twin: {report}");
    }
}

/// The race of a finding: both its sides.
fn race(finding: &Finding) -> Option<[Access; 2]> {
    match (&finding.kind, finding.access) {
        (FindingKind::Race { other, .. }, Some(access)) => Some([access, *other]),
        _ => None,
    }
}

/// One block of `threads` threads with `shared` bytes, and no buffers.
fn one_block(threads: u32, shared: u32, schedule: Schedule, kernel: impl Fn()) -> Report {
    Grid::new("kernel", 1, threads).shared_bytes(shared).schedule(schedule).run(&Memory::new(), kernel)
}
