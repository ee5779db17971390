//! A launch: block after block, each thread a coroutine.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};

use super::block::{At, Block, Geometry};
use super::finding::{Finding, FindingKind, Report};
use super::memory::Memory;
use super::ops::{self, Running};
use super::schedule::{Order, Schedule};
use crate::launch::KernelSpec;

/// Stack of a thread: kernels keep little there, and no recursion.
const STACK_BYTES: usize = 128 << 10;

/// Shared memory that the largest device gives a block: 227 KiB, from compute capability 9.0 on.
const MOST_SHARED_BYTES: u32 = 227 << 10;

/// A launch being described.
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    kernel: &'static str,
    geometry: Geometry,
    shared_bytes: u32,
    schedule: Schedule,
    spec: Option<KernelSpec>,
    warpgroups: bool,
}

impl Grid {
    /// `blocks` blocks of `threads` threads, in one dimension.
    pub fn new(kernel: &'static str, blocks: u32, threads: u32) -> Self {
        Self::with_dimensions(kernel, [blocks, 1, 1], [threads, 1, 1])
    }

    /// A grid of blocks and a block of threads, (x, y, z).
    pub fn with_dimensions(kernel: &'static str, grid: [u32; 3], block: [u32; 3]) -> Self {
        let geometry = Geometry { grid, block };
        Self { kernel, geometry, shared_bytes: 0, schedule: Schedule::InOrder, spec: None, warpgroups: false }
    }

    /// As many blocks of what `spec` asks for.
    pub fn of(spec: KernelSpec, blocks: u32) -> Self {
        Self::new(spec.name, blocks, spec.threads).shared_bytes(spec.shared_bytes).spec(spec)
    }

    /// Dynamic shared memory of a block.
    pub fn shared_bytes(mut self, bytes: u32) -> Self {
        self.shared_bytes = bytes;
        self
    }

    /// Who runs first.
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.schedule = schedule;
        self
    }

    /// Runs the kernel as on a device of compute capability 9.0, whose [`wgmma`](crate::wgmma) it may ask for.
    pub fn warpgroups(mut self) -> Self {
        self.warpgroups = true;
        self
    }

    /// What the launch is held against.
    pub fn spec(mut self, spec: KernelSpec) -> Self {
        self.spec = Some(spec);
        self
    }

    /// Runs `kernel` once a thread and reports what is wrong. A launch that contradicts the spec does not run.
    #[track_caller]
    pub fn run(&self, memory: &Memory, kernel: impl Fn()) -> Report {
        let launched = Location::caller();
        let mut report = Report { schedule: self.schedule, findings: Vec::new() };
        self.check_launch(&mut report);
        if !report.is_clean() {
            return report;
        }
        let launch = memory.next_launch();
        let mut order = Order::new(self.schedule);
        let mut blocks: Vec<u32> = (0..self.geometry.grid.iter().product()).collect();
        order.arrange(&mut blocks);
        let mut stacks = Vec::new();
        for number in blocks {
            let mut block =
                Block::new(self.kernel, self.geometry, number, self.shared_bytes, launch, memory, &mut report);
            block.warpgroups = self.warpgroups;
            if !run_block(block, &mut order, &kernel, &mut stacks, launched) {
                break;
            }
        }
        report
    }

    fn check_launch(&self, report: &mut Report) {
        let product =
            |sizes: [u32; 3]| sizes.into_iter().fold(1, |product: u64, n| product.saturating_mul(u64::from(n)));
        let (threads, blocks) = (product(self.geometry.block), product(self.geometry.grid));
        let mut wrong = Vec::new();
        if threads == 0 || threads > 1024 {
            wrong.push(("threads", threads, threads.clamp(1, 1024)));
        }
        if blocks == 0 {
            wrong.push(("blocks", blocks, 1));
        }
        let ([_, _, block_z], [grid_x, grid_y, grid_z]) = (self.geometry.block, self.geometry.grid);
        let most = [
            ("threads along z", block_z, 64),
            ("blocks along x", grid_x, i32::MAX as u32),
            ("blocks along y", grid_y, 65_535),
            ("blocks along z", grid_z, 65_535),
            ("shared bytes", self.shared_bytes, MOST_SHARED_BYTES),
        ];
        wrong.extend(most.iter().filter(|(_, n, most)| n > most).map(|&(what, n, most)| (what, n.into(), most.into())));
        if let Some(spec) = self.spec {
            // A spec's threads are along x.
            let along_x = u64::from(self.geometry.block[0]);
            if threads != u64::from(spec.threads) {
                wrong.push(("threads", threads, u64::from(spec.threads)));
            } else if along_x != threads {
                wrong.push(("threads along x", along_x, threads));
            }
            if self.shared_bytes < spec.shared_bytes {
                wrong.push(("shared bytes", u64::from(self.shared_bytes), u64::from(spec.shared_bytes)));
            }
        }
        for (what, found, needed) in wrong {
            let kind = FindingKind::Launch { what, found, needed };
            let kernel = self.kernel;
            report.add(Finding { kernel, kind, access: None, address: 0, bytes: 0, buffer: None, count: 1 });
        }
    }
}

/// Runs one block to its end; whether the grid may go on: a trap ends it.
fn run_block(
    block: Block<'_>,
    order: &mut Order,
    kernel: &impl Fn(),
    stacks: &mut Vec<DefaultStack>,
    launched: At,
) -> bool {
    let count = block.threads.len();
    let running = Running { block: RefCell::new(block), yielders: RefCell::new(vec![std::ptr::null(); count]) };
    let body = |t: usize, yielder: &Yielder<(), ()>| {
        running.yielders.borrow_mut()[t] = yielder;
        catch_unwind(AssertUnwindSafe(kernel))
    };
    let mut threads: Vec<Coroutine<(), (), std::thread::Result<()>>> = (0..count)
        .map(|t| {
            let stack = stacks.pop().unwrap_or_else(|| DefaultStack::new(STACK_BYTES).expect("memory for a stack"));
            let body = &body;
            // SAFETY: the coroutine is finished or unwound before `running` and `kernel` go, at the end of this function.
            unsafe { Coroutine::with_stack_unchecked(stack, move |yielder: &Yielder<(), ()>, ()| body(t, yielder)) }
        })
        .collect();

    let mut trapped = false;
    ops::enter(&running, || {
        while !trapped {
            let mut turns: Vec<usize> = {
                let block = running.block.borrow();
                let ready = |t: &usize| !block.threads[*t].done && block.threads[*t].wait.is_none();
                (0..count).filter(ready).collect()
            };
            if turns.is_empty() {
                let mut block = running.block.borrow_mut();
                if block.threads.iter().all(|thread| thread.done) {
                    block.end();
                    break;
                }
                let mut moved = block.resolve();
                if !moved && block.progress {
                    moved = block.give_turns();
                }
                if !moved {
                    block.report_stuck();
                    break;
                }
                continue;
            }
            order.arrange(&mut turns);
            for t in turns {
                running.block.borrow_mut().current = t as u32;
                match threads[t].resume(()) {
                    CoroutineResult::Yield(()) => {}
                    CoroutineResult::Return(ended) => {
                        let mut block = running.block.borrow_mut();
                        block.threads[t].done = true;
                        block.progress = true;
                        if let Err(panic) = ended {
                            let at = panic.downcast_ref::<ops::Trap>().map_or(launched, |trap| trap.at);
                            block.find_trap(t as u32, message(&*panic), at);
                            trapped = true;
                            break;
                        }
                    }
                }
            }
        }
    });
    for mut thread in threads {
        // A thread that still waits is unwound, not forgotten: what its frames own or have lent may be more than a kernel's.
        thread.force_unwind();
        stacks.push(thread.into_stack());
    }
    !trapped
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    if panic.is::<ops::Trap>() {
        return "trap".to_owned();
    }
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".to_owned())
}
