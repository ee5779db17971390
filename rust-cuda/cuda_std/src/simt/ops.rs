//! The way from an operation in a kernel to the running block.

use std::cell::{Cell, RefCell};
use std::ptr::NonNull;

use corosensei::Yielder;

use super::block::{At, Block, Lanes, WARP, Wait};

/// The block that runs on this thread of the host, and each of its threads' way back to the scheduler.
pub(super) struct Running<'a> {
    pub(super) block: RefCell<Block<'a>>,
    pub(super) yielders: RefCell<Vec<*const Yielder<(), ()>>>,
}

thread_local! {
    static RUNNING: Cell<Option<NonNull<Running<'static>>>> = const { Cell::new(None) };
}

/// Makes `running` the block of this host thread while `run` runs.
pub(super) fn enter(running: &Running<'_>, run: impl FnOnce()) {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            RUNNING.set(None);
        }
    }
    assert!(RUNNING.get().is_none(), "a kernel cannot launch a grid");
    RUNNING.set(Some(NonNull::from(running).cast()));
    let _leave = Leave;
    run();
}

/// What a thread that traps unwinds with.
pub(super) struct Trap {
    pub(super) at: At,
}

/// The current thread traps.
pub(crate) fn trap(at: At) -> ! {
    with(|_| ());
    std::panic::resume_unwind(Box::new(Trap { at }))
}

/// The running block, for the length of one operation.
pub(super) fn with<R>(operate: impl FnOnce(&mut Block<'_>) -> R) -> R {
    let running = RUNNING.get().expect("operations of cuda_std need a running grid: see cuda_std::simt");
    // SAFETY: set by `enter`, which clears it before the value goes; the lifetime is shortened to this call.
    let running: &Running<'_> = unsafe { running.as_ref() };
    operate(&mut running.block.borrow_mut())
}

/// The current thread waits; the scheduler resumes it when its wait is over.
pub(super) fn wait(wait: Wait) {
    with(|block| {
        let thread = block.current as usize;
        block.progress |= !matches!(wait, Wait::Turn { .. });
        block.threads[thread].wait = Some(wait);
    });
    suspend();
}

/// The current thread's turn ends; its next comes when it waits for nothing.
fn suspend() {
    let running = RUNNING.get().expect("operations of cuda_std need a running grid: see cuda_std::simt");
    // SAFETY: as in `with`.
    let running: &Running<'_> = unsafe { running.as_ref() };
    let thread = running.block.borrow().current as usize;
    let yielder = running.yielders.borrow()[thread];
    // SAFETY: the coroutine's own yielder, which lives as long as it runs; nothing of the block is borrowed here.
    unsafe { &*yielder }.suspend(());
}

/// The coordinates of the current thread, its block, and the sizes of both.
pub(crate) struct Place {
    pub(crate) thread: [u32; 3],
    pub(crate) block: [u32; 3],
    pub(crate) block_dim: [u32; 3],
    pub(crate) grid_dim: [u32; 3],
}

pub(crate) fn place() -> Place {
    with(|block| {
        let (grid_dim, block_dim) = (block.geometry.grid, block.geometry.block);
        Place {
            thread: coordinates(block.current, block_dim),
            block: coordinates(block.number, grid_dim),
            block_dim,
            grid_dim,
        }
    })
}

fn coordinates(number: u32, extents: [u32; 3]) -> [u32; 3] {
    [number % extents[0], number / extents[0] % extents[1], number / extents[0] / extents[1]]
}

pub(crate) fn barrier(id: u32, threads: Option<u32>, at: At) {
    with(|block| block.sync(id, threads, at));
    suspend();
}

pub(crate) fn arrive(id: u32, threads: u32, at: At) {
    with(|block| block.arrive(id, threads, at));
}

/// Gives every member's operands, by lane, to every member.
pub(crate) fn collective(operation: &'static str, members: u32, operands: Vec<u32>, at: At) -> Lanes {
    if !with(|block| block.is_member(operation, members, at)) {
        let own = lane();
        return (0..WARP).map(|lane| if lane == own { operands.clone() } else { Vec::new() }).collect();
    }
    wait(Wait::Collective { operation, members, operands, at });
    with(|block| {
        let current = block.current as usize;
        std::mem::take(&mut block.threads[current].lanes)
    })
}

/// A lane that the current thread's collective names is none of its members.
pub(crate) fn no_member(operation: &'static str, members: u32, lane: u32, at: At) {
    with(|block| block.find_no_member(operation, members, lane, at));
}

/// The current thread's lane.
pub(crate) fn lane() -> u32 {
    with(|block| block.current % WARP)
}

pub(crate) fn read_shared(address: u32, out: &mut [u8], at: At) {
    with(|block| block.read_shared(address, out, at));
}

pub(crate) fn write_shared(address: u32, bytes: &[u8], at: At) {
    with(|block| block.write_shared(address, bytes, at));
}

pub(crate) fn update_shared(address: u32, bytes: u32, change: impl FnOnce(u64) -> u64, at: At) -> u64 {
    with(|block| block.update_shared(address, bytes, change, at))
}

pub(crate) fn read_global(address: u64, out: &mut [u8], at: At) {
    with(|block| block.read_global(address, out, at));
}

pub(crate) fn write_global(address: u64, bytes: &[u8], at: At) {
    with(|block| block.write_global(address, bytes, at));
}

pub(crate) fn update_global(address: u64, bytes: u32, change: impl FnOnce(u64) -> u64, at: At) -> u64 {
    with(|block| block.update_global(address, bytes, change, at))
}
