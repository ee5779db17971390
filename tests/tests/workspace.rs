//! What the CPU backend says of its memory, against what an allocator counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use convt_bn_gap::draw::Draws;
use convt_bn_gap::plan::Ineligible;
use convt_bn_gap::{
    Algorithm, AlgorithmChoice, Device, Error, KernelShape, Plan, PlanOptions, Problem, ProblemBuilder, Shape5,
    Storage, f16,
};

/// The system's allocator, and how many bytes it has given at once at most.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn grow(bytes: usize) {
    PEAK.fetch_max(LIVE.fetch_add(bytes, Ordering::SeqCst) + bytes, Ordering::SeqCst);
}

// SAFETY: every call goes to the system's allocator as it is; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::SeqCst);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What threads, tasks and small lists take, whatever the problem.
const SMALL: u64 = 96 << 10;

/// B, Cin, Cout, D, H, W, Kd, Kh, Kw.
fn builder([batch, cin, cout, depth, height, width, kd, kh, kw]: [usize; 9]) -> ProblemBuilder {
    let input = Shape5 { batch, channels: cin, depth, height, width };
    Problem::builder(input, KernelShape { in_channels: cin, out_channels: cout, depth: kd, height: kh, width: kw })
}

/// Bytes that a plan says it takes, and that its second run took.
fn measured<T: Storage>(problem: &Problem, options: PlanOptions) -> Result<[u64; 2], Error> {
    let mut plan = Plan::<T>::new(problem, &Device::cpu(), options)?;
    let tensors = Draws::usual(problem, 7).tensors::<T>(problem)?;
    plan.run(&tensors.as_inputs())?;
    let before = LIVE.load(Ordering::SeqCst);
    PEAK.store(before, Ordering::SeqCst);
    plan.run(&tensors.as_inputs())?;
    let taken = PEAK.load(Ordering::SeqCst) - before;
    // Outputs in f64, as they are returned, and what statistics they come from.
    let outputs = problem.output_elements() * 16 + problem.out_channels() * 128;
    Ok([plan.workspace_bytes(), (taken as u64).saturating_sub(outputs as u64)])
}

/// One test: the allocator counts what all threads of the process do.
#[test]
fn runs_take_what_their_plans_say() {
    for (threads, tight) in [(2, true), (16, false)] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| check(tight));
    }
}

/// No run takes more than its plan says; nor, where all threads find work, less than half of it (`tight`).
fn check(tight: bool) {
    let plain = [
        builder([8, 16, 40, 12, 20, 24, 3, 5, 3]),
        builder([4, 64, 64, 8, 16, 16, 5, 5, 5]),
        builder([4, 200, 100, 3, 6, 8, 2, 3, 3]),
        builder([16, 8, 8, 1, 1, 3001, 1, 1, 9]),
        builder([2, 3, 64, 20, 64, 64, 3, 3, 3]),
    ];
    let parts = builder([4, 32, 64, 8, 12, 16, 4, 3, 5]).stride([2, 1, 3]).dilation([1, 2, 1]).groups(2);
    let padded = builder([4, 16, 64, 8, 12, 16, 4, 3, 5]).stride([2, 1, 3]).padding([1; 3]);
    for builder in plain.into_iter().chain([parts]) {
        let problem = builder.build().unwrap();
        let within = |workspace_budget| PlanOptions {
            algorithm: AlgorithmChoice::Force(Algorithm::Spectral),
            workspace_budget,
            ..Default::default()
        };
        let refused = measured::<f64>(&problem, within(Some(1))).unwrap_err();
        let Error::Ineligible(Ineligible::Workspace { needed, .. }) = refused else { panic!("{refused}") };
        for budget in [Some(needed), Some(needed + needed / 4), Some(2 * needed), None] {
            let [said, taken] = measured::<f64>(&problem, within(budget)).unwrap();
            assert!(said <= budget.unwrap_or(u64::MAX), "{problem:?} {said} of {budget:?}");
            assert!(taken <= said + SMALL, "{problem:?} {budget:?}: {taken} of {said}");
            assert!(!tight || taken + SMALL > said / 2, "{problem:?} {budget:?}: {taken} of {said}");
        }
        let widened = 4 * (problem.input_elements() + problem.kernel_elements()) as u64;
        for budget in [Some(needed + widened), None] {
            for [said, taken] in [measured::<f32>, measured::<f16>].map(|of| of(&problem, within(budget)).unwrap()) {
                assert!(said <= budget.unwrap_or(u64::MAX), "{problem:?} {said} of {budget:?}");
                assert!(taken <= said + SMALL, "{problem:?} {budget:?}: {taken} of {said}");
            }
        }
    }
    let direct = PlanOptions { algorithm: AlgorithmChoice::Force(Algorithm::Direct), ..Default::default() };
    for problem in [padded.build().unwrap(), builder([2, 8, 300, 4, 9, 9, 3, 3, 3]).build().unwrap()] {
        let [said, taken] = measured::<f64>(&problem, direct).unwrap();
        assert!(taken <= said + SMALL, "{problem:?}: {taken} of {said}");
        assert!(!tight || taken + SMALL > said / 2, "{problem:?}: {taken} of {said}");
    }
}
