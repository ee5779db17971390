//! The synchronous operations in the executor: each against its definition, and for each kind of misuse a kernel that must be
//! caught beside its correct twin.

mod atomics;
mod barriers;
mod products;
mod shuffles;
mod words;

use cuda_std::simt::{Finding, FindingKind, Grid, Memory, Report, Schedule};

const SCHEDULES: [Schedule; 4] = [Schedule::InOrder, Schedule::Reversed, Schedule::Random(1), Schedule::Random(0xfeed)];

/// Runs one block under every schedule.
fn run(threads: u32, shared_bytes: u32, kernel: impl Fn()) -> Vec<Report> {
    let grid = Grid::new("kernel", 1, threads).shared_bytes(shared_bytes);
    SCHEDULES.map(|schedule| grid.schedule(schedule).run(&Memory::new(), &kernel)).into()
}

/// `kernel` is right.
#[track_caller]
fn clean(threads: u32, shared_bytes: u32, kernel: impl Fn()) {
    run(threads, shared_bytes, kernel).iter().for_each(Report::expect_clean);
}

/// `kernel` is wrong: under every schedule there is a finding that is `expected`, and it names a line of this file's folder.
#[track_caller]
fn caught(threads: u32, shared_bytes: u32, expected: impl Fn(&FindingKind) -> bool, kernel: impl Fn()) {
    for report in run(threads, shared_bytes, kernel) {
        let found = report.findings.iter().find(|finding| expected(&finding.kind));
        let found = found.unwrap_or_else(|| panic!("not among the findings: {report}"));
        assert!(place(found).contains("operations"), "{found}");
    }
}

fn place(finding: &Finding) -> &'static str {
    finding.access.map_or("nowhere", |access| access.at.file())
}

/// Numbers that look random; the same for the same seed.
struct Draw(u64);

impl Draw {
    fn bits(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 32) as u32
    }

    /// An integer from −8 to 8: its products and sums are exact in every type.
    fn small(&mut self) -> f32 {
        (self.bits() >> 8) as f32 % 17.0 - 8.0
    }
}
