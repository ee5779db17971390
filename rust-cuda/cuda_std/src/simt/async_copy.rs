//! `cp.async` in the executor: bytes that are on their way from global to shared memory.
//!
//! A copy takes its bytes when it is started, and they arrive as late as they may: when the thread that started it waits for
//! its group, or when a wait finds the phase of the mbarrier complete that tracks it. Until then every access to the
//! destination is reported; the source counts as being read by the thread's agent (see [`clock`](super::clock)), so that a
//! write of it before the wait is a race.
//!
//! Room for `wgmma`: [`Shadow::begin_copy`](super::shadow::Shadow::begin_copy) marks bytes as in use by the async proxy until
//! `end_copy`, and reads of operands are recorded for an agent whose count the wait learns, as those of bulk stores are.
//! Registers in use would be one more such agent, asked at the operations that hand out fragments.

use std::collections::{BTreeMap, VecDeque};

use super::block::{At, Block};
use super::clock::{Agent, Count};
use super::finding::{Access, AccessKind, FindingKind};
use super::memory::pointer;
use super::ops::with;

/// Launches do not matter to shared memory: each block has its own.
pub(super) const ONLY: u32 = 1;

/// A copy on its way to shared memory.
#[derive(Debug)]
struct Flight {
    access: Access,
    address: u32,
    bytes: Vec<u8>,
    count: Count,
}

/// The groups of one thread's copies.
#[derive(Debug, Default)]
struct Groups {
    /// Not committed yet.
    open: Vec<u64>,
    /// In the order they were committed, and the count that each is complete at.
    committed: VecDeque<(Count, Vec<u64>)>,
}

/// All copies of a block that are on their way.
#[derive(Debug, Default)]
pub(super) struct Copies {
    flights: BTreeMap<u64, Flight>,
    started: u64,
    groups: BTreeMap<u32, Groups>,
}

impl Block<'_> {
    /// Starts `cp.async` of `bytes` bytes, of which `taken` come from `source` and the others are zeros.
    fn copy(&mut self, destination: u32, source: u64, bytes: u32, taken: u32, at: At) {
        assert!(taken <= bytes, "a copy of {bytes} bytes cannot take {taken} from its source");
        let thread = self.current;
        let agent = self.clocks.agent(Agent::Copies, thread);
        let count = self.clocks.now_of(agent, thread);
        let mut data = vec![0; bytes as usize];
        self.take(source, &mut data[..taken as usize], bytes, count, at);
        let write = self.access(AccessKind::Write, at);
        if self.check_shared_as(destination, bytes, bytes, write, count) {
            let flight = self.take_off(destination, data, write, count);
            self.copies.groups.entry(thread).or_default().open.push(flight);
        }
    }

    /// Reads the source of a copy, at a multiple of `align`, into `data`; zeros where it may not.
    pub(super) fn take(&mut self, source: u64, data: &mut [u8], align: u32, count: Count, at: At) {
        let read = self.access(AccessKind::Read, at);
        if !data.is_empty() && self.check_global_as(source, data.len() as u32, align, read, count) {
            // SAFETY: the bytes lie in a registered allocation (checked), which the running grid alone uses.
            unsafe { std::ptr::copy_nonoverlapping(pointer(source), data.as_mut_ptr(), data.len()) };
        }
    }

    /// Puts a copy on its way, whose destination was checked: its number.
    pub(super) fn take_off(&mut self, address: u32, bytes: Vec<u8>, access: Access, count: Count) -> u64 {
        self.shadow.begin_copy(u64::from(address), bytes.len() as u32, access, count, ONLY);
        self.copies.started += 1;
        self.copies.flights.insert(self.copies.started, Flight { access, address, bytes, count });
        self.copies.started
    }

    /// The copy arrives, unless it has.
    pub(super) fn land(&mut self, flight: u64) {
        let Some(Flight { access, address, bytes, .. }) = self.copies.flights.remove(&flight) else { return };
        self.shadow.end_copy(u64::from(address), bytes.len() as u32, access, ONLY);
        self.shared[address as usize..][..bytes.len()].copy_from_slice(&bytes);
    }

    /// What the current thread has on its way, and the count that it is complete at: what it starts next is not part of it.
    pub(super) fn on_their_way(&mut self) -> (Vec<u64>, Count) {
        let thread = self.current;
        let agent = self.clocks.agent(Agent::Copies, thread);
        let count = self.clocks.now_of(agent, thread);
        self.clocks.tick(agent);
        let groups = self.copies.groups.entry(thread).or_default();
        let committed = groups.committed.iter().flat_map(|(_, group)| group);
        (committed.chain(&groups.open).copied().collect(), count)
    }

    fn commit_copies(&mut self) {
        let thread = self.current;
        let agent = self.clocks.agent(Agent::Copies, thread);
        let count = self.clocks.now_of(agent, thread);
        self.clocks.tick(agent);
        let groups = self.copies.groups.entry(thread).or_default();
        let group = std::mem::take(&mut groups.open);
        groups.committed.push_back((count, group));
    }

    /// All groups of the current thread but the `pending` last arrive.
    fn wait_for_copies(&mut self, pending: usize) {
        let thread = self.current;
        loop {
            let groups = self.copies.groups.entry(thread).or_default();
            if groups.committed.len() <= pending {
                break;
            }
            let Some((count, group)) = groups.committed.pop_front() else { break };
            group.into_iter().for_each(|flight| self.land(flight));
            self.clocks.learn(thread, thread, count);
        }
    }

    /// The block ends. A bulk copy on its way would arrive in, or read, shared memory that is another block's by then.
    pub(super) fn end(&mut self) {
        let bulk = self.copies.flights.values().filter(|f| self.clocks.is_asynchronous(f.access.thread, f.count));
        let loads = bulk.map(|f| (f.access, f.address, f.bytes.len() as u32)).collect::<Vec<_>>();
        for (copy, address, bytes) in loads.into_iter().chain(self.unread_bulk_stores()) {
            self.find(FindingKind::StillCopying { copy }, None, u64::from(address), bytes, None);
        }
    }
}

/// `cp.async`.
pub(crate) fn copy(destination: u32, source: u64, bytes: u32, taken: u32, at: At) {
    with(|block| block.copy(destination, source, bytes, taken, at));
}

/// `cp.async.commit_group`.
pub(crate) fn commit_group() {
    with(|block| block.commit_copies());
}

/// `cp.async.wait_group`.
pub(crate) fn wait_group(pending: u32) {
    with(|block| block.wait_for_copies(pending as usize));
}

/// `cp.async.wait_all`.
pub(crate) fn wait_all() {
    with(|block| {
        block.commit_copies();
        block.wait_for_copies(0);
    });
}
