//! One block while it runs: its threads, what they wait for, its shared memory, and the checks on every access.

use std::panic::Location;
use std::rc::Rc;

use super::async_copy::Copies;
use super::barrier::Barriers;
use super::bulk_copy::BulkStores;
use super::clock::{Clocks, Count};
use super::finding::{Access, AccessKind, Finding, FindingKind, Report, Space};
use super::mbarrier::Mbarriers;
use super::memory::{Memory, pointer};
use super::shadow::{Met, Shadow};

/// A place in the source.
pub(super) type At = &'static Location<'static>;

/// Lanes of a warp.
pub(super) const WARP: u32 = 32;

/// The sizes of a launch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    pub(super) grid: [u32; 3],
    pub(super) block: [u32; 3],
}

/// What a thread waits for.
#[derive(Clone, Debug)]
pub(super) enum Wait {
    /// A barrier.
    Barrier,
    /// A warp collective: `operation` of `members`, with this lane's operands.
    Collective { operation: &'static str, members: u32, operands: Vec<u32>, at: At },
    /// A phase of the mbarrier at `address`: it asks again when the others have had their turn.
    Turn { address: u32, at: At },
}

#[derive(Debug)]
pub(super) struct Thread {
    pub(super) wait: Option<Wait>,
    pub(super) done: bool,
    /// What the collective it waited for gave: one list of operands a lane, empty for lanes that are no members.
    pub(super) lanes: Lanes,
}

/// The operands that each lane brought to a collective; its members share them.
pub(super) type Lanes = Rc<[Vec<u32>]>;

/// A block while it runs.
pub(super) struct Block<'a> {
    pub(super) kernel: &'static str,
    pub(super) geometry: Geometry,
    /// The block's number, x innermost.
    pub(super) number: u32,
    /// The thread whose turn it is.
    pub(super) current: u32,
    pub(super) threads: Vec<Thread>,
    pub(super) clocks: Clocks,
    pub(super) report: &'a mut Report,
    pub(super) memory: &'a Memory,
    pub(super) launch: u32,
    pub(super) shared: Vec<u8>,
    pub(super) shadow: Shadow,
    pub(super) barriers: Barriers,
    pub(super) mbarriers: Mbarriers,
    pub(super) copies: Copies,
    pub(super) bulk_stores: BulkStores,
    /// Whether anything changed since the last turn of all threads: else threads that ask again would ask for ever.
    pub(super) progress: bool,
    /// Whether the device has the products of warpgroups.
    pub(super) warpgroups: bool,
}

impl<'a> Block<'a> {
    pub(super) fn new(
        kernel: &'static str,
        geometry: Geometry,
        number: u32,
        shared_bytes: u32,
        launch: u32,
        memory: &'a Memory,
        report: &'a mut Report,
    ) -> Self {
        let count = geometry.block.iter().product::<u32>();
        let thread = || Thread { wait: None, done: false, lanes: Lanes::default() };
        Self {
            kernel,
            geometry,
            number,
            current: 0,
            threads: (0..count).map(|_| thread()).collect(),
            clocks: Clocks::new(count as usize),
            report,
            memory,
            launch,
            // Not zeros: a read of what was never written should also look wrong.
            shared: vec![0xA5; shared_bytes as usize],
            shadow: Shadow::new(u64::from(shared_bytes)),
            barriers: Barriers::default(),
            mbarriers: Mbarriers::default(),
            copies: Copies::default(),
            bulk_stores: BulkStores::default(),
            progress: false,
            warpgroups: false,
        }
    }

    /// The current thread doing `kind` at `at`.
    pub(super) fn access(&self, kind: AccessKind, at: At) -> Access {
        Access { block: self.number, thread: self.current, kind, at }
    }

    pub(super) fn find(
        &mut self,
        kind: FindingKind,
        access: Option<Access>,
        address: u64,
        bytes: u32,
        buffer: Option<String>,
    ) {
        self.report.add(Finding { kernel: self.kernel, kind, access, address, bytes, buffer, count: 1 });
    }

    /// Checks an access of the current thread to shared memory; whether it may go on.
    pub(super) fn check_shared(&mut self, address: u32, bytes: u32, kind: AccessKind, at: At) -> bool {
        self.check_shared_as(address, bytes, bytes, self.access(kind, at), self.clocks.now(self.current))
    }

    /// Checks an access to shared memory, at a multiple of `align`, that the current thread makes or starts and that is done
    /// at `count`; whether it may go on.
    pub(super) fn check_shared_as(
        &mut self,
        address: u32,
        bytes: u32,
        align: u32,
        access: Access,
        count: Count,
    ) -> bool {
        if self.mbarriers.overlap(address, bytes) {
            let what = "its bytes are accessed by something other than its operations";
            self.find(FindingKind::Mbarrier { what }, Some(access), u64::from(address), bytes, None);
            return false;
        }
        let address = u64::from(address);
        let limit = self.shared.len() as u64;
        if address + u64::from(bytes) > limit {
            self.find(FindingKind::OutOfBounds { space: Space::Shared, limit }, Some(access), address, bytes, None);
            return false;
        }
        if !address.is_multiple_of(u64::from(align)) {
            self.find(FindingKind::Misaligned { space: Space::Shared }, Some(access), address, bytes, None);
            return false;
        }
        let (clocks, thread) = (&self.clocks, self.current);
        let ordered = |earlier: &Access, clock| clocks.ordered(earlier.thread, clock, thread);
        let met = self.shadow.access(address, bytes, access, count, 1, ordered);
        if let Some(met) = met {
            let kind = match met {
                Met::Race(other) => FindingKind::Race { space: Space::Shared, other },
                Met::NeverWritten => FindingKind::NeverWritten,
                Met::StillCopying(copy) => FindingKind::StillCopying { copy },
            };
            self.find(kind, Some(access), address, bytes, None);
        }
        true
    }

    /// Reads shared memory; zeros where it may not.
    pub(super) fn read_shared(&mut self, address: u32, out: &mut [u8], at: At) {
        if self.check_shared(address, out.len() as u32, AccessKind::Read, at) {
            out.copy_from_slice(&self.shared[address as usize..][..out.len()]);
        }
    }

    /// Writes shared memory, where it may.
    pub(super) fn write_shared(&mut self, address: u32, bytes: &[u8], at: At) {
        if self.check_shared(address, bytes.len() as u32, AccessKind::Write, at) {
            self.shared[address as usize..][..bytes.len()].copy_from_slice(bytes);
        }
    }

    /// Replaces shared memory by what `change` makes of it, as one step; what was there.
    pub(super) fn update_shared(&mut self, address: u32, bytes: u32, change: impl FnOnce(u64) -> u64, at: At) -> u64 {
        if !self.check_shared(address, bytes, AccessKind::Atomic, at) {
            return 0;
        }
        let place = &mut self.shared[address as usize..][..bytes as usize];
        let old = from_bytes(place);
        place.copy_from_slice(&change(old).to_le_bytes()[..bytes as usize]);
        old
    }

    /// Checks an access of the current thread to global memory; whether it may go on.
    fn check_global(&mut self, address: u64, bytes: u32, kind: AccessKind, at: At) -> bool {
        self.check_global_as(address, bytes, bytes, self.access(kind, at), self.clocks.now(self.current))
    }

    /// [`Self::check_shared_as`] for global memory.
    pub(super) fn check_global_as(
        &mut self,
        address: u64,
        bytes: u32,
        align: u32,
        access: Access,
        count: Count,
    ) -> bool {
        let (clocks, thread, number, launch) = (&self.clocks, self.current, self.number, self.launch);
        // Nothing orders blocks.
        let ordered =
            |earlier: &Access, clock| earlier.block == number && clocks.ordered(earlier.thread, clock, thread);
        type Fault = (FindingKind, u64, Option<String>);
        let (fault, goes_on): (Option<Fault>, bool) = self.memory.with_region(address, |region| {
            let space = Space::Global;
            let Some(region) = region else {
                return (
                    Some((FindingKind::OutOfBounds { space, limit: 0 }, address, Some("no buffer".to_owned()))),
                    false,
                );
            };
            let (offset, name) = (address - region.start, || Some(region.name.clone()));
            if offset.saturating_add(u64::from(bytes)) > region.bytes {
                return (Some((FindingKind::OutOfBounds { space, limit: region.bytes }, offset, name())), false);
            }
            if !address.is_multiple_of(u64::from(align)) {
                return (Some((FindingKind::Misaligned { space }, offset, name())), false);
            }
            let met = region.shadow.access(offset, bytes, access, count, launch, ordered);
            let race = met.and_then(|met| match met {
                Met::Race(other) => Some((FindingKind::Race { space, other }, offset, Some(region.name.clone()))),
                Met::NeverWritten | Met::StillCopying(_) => None,
            });
            (race, true)
        });
        if let Some((kind, offset, name)) = fault {
            self.find(kind, Some(access), offset, bytes, name);
        }
        goes_on
    }

    /// Reads global memory; zeros where it may not.
    pub(super) fn read_global(&mut self, address: u64, out: &mut [u8], at: At) {
        if self.check_global(address, out.len() as u32, AccessKind::Read, at) {
            // SAFETY: the bytes lie in a registered allocation (checked), which the running grid alone uses.
            unsafe { std::ptr::copy_nonoverlapping(pointer(address), out.as_mut_ptr(), out.len()) };
        }
    }

    /// Writes global memory, where it may.
    pub(super) fn write_global(&mut self, address: u64, bytes: &[u8], at: At) {
        if self.check_global(address, bytes.len() as u32, AccessKind::Write, at) {
            // SAFETY: as in `read_global`.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), pointer(address), bytes.len()) };
        }
    }

    /// Replaces global memory by what `change` makes of it, as one step; what was there.
    pub(super) fn update_global(&mut self, address: u64, bytes: u32, change: impl FnOnce(u64) -> u64, at: At) -> u64 {
        if !self.check_global(address, bytes, AccessKind::Atomic, at) {
            return 0;
        }
        // SAFETY: as in `read_global`.
        let place = unsafe { std::slice::from_raw_parts_mut(pointer(address), bytes as usize) };
        let old = from_bytes(place);
        place.copy_from_slice(&change(old).to_le_bytes()[..bytes as usize]);
        old
    }

    /// Lets go every thread whose wait is over; whether there was one.
    pub(super) fn resolve(&mut self) -> bool {
        let before = self.waiting();
        self.resolve_collectives();
        self.waiting() < before
    }

    fn waiting(&self) -> usize {
        self.threads.iter().filter(|thread| thread.wait.is_some()).count()
    }

    /// Lets the threads that only gave up their turn ask again; whether there is one.
    pub(super) fn give_turns(&mut self) -> bool {
        self.progress = false;
        let mut any = false;
        for thread in &mut self.threads {
            if matches!(thread.wait, Some(Wait::Turn { .. })) {
                thread.wait = None;
                any = true;
            }
        }
        any
    }

    /// A trap of thread `t`, or a panic, which says itself where it was: then `at` is the launch.
    pub(super) fn find_trap(&mut self, t: u32, message: String, at: At) {
        let access = Access { block: self.number, thread: t, kind: AccessKind::Arrive, at };
        self.find(FindingKind::Trap { message }, Some(access), 0, 0, None);
    }

    /// No thread can go on and some are not done: says what each group waits for.
    pub(super) fn report_stuck(&mut self) {
        self.report_stuck_barriers();
        self.report_stuck_collectives();
        for t in 0..self.threads.len() {
            let Some(Wait::Turn { address, at }) = self.threads[t].wait else { continue };
            let what = self.mbarriers.lacking(address);
            let access = Access { block: self.number, thread: t as u32, kind: AccessKind::Arrive, at };
            self.find(FindingKind::Mbarrier { what }, Some(access), u64::from(address), 0, None);
        }
    }
}

fn from_bytes(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}
