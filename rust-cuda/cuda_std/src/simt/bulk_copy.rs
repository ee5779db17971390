//! Bulk copies in the executor: what the async proxy does.
//!
//! A bulk load belongs to the agent of the mbarrier that it signals, and arrives when a wait finds that phase complete. A bulk
//! store belongs to two agents of its thread, one that reads shared memory and one that writes global memory; the waits for
//! its group learn their counts. The async proxy sees a plain store of shared memory only if the thread that stored (or, of a
//! `cp.async`, waited for it) executed the proxy fence after it, before whatever orders it before the copy.

use std::collections::{BTreeMap, VecDeque};

use super::async_copy::ONLY;
use super::block::{At, Block};
use super::clock::{Agent, Count};
use super::finding::{Access, AccessKind, FindingKind, Space};
use super::memory::pointer;
use super::ops::with;

/// Sizes and addresses of bulk copies are multiples of this.
const UNIT: u32 = 16;

/// Where a bulk store reads.
#[derive(Debug)]
struct Source {
    access: Access,
    address: u32,
    bytes: u32,
    count: Count,
}

/// The bulk stores of one thread.
#[derive(Debug, Default)]
struct Groups {
    /// The counts at which the reads and the writes of each committed group are complete.
    committed: VecDeque<(Count, Count)>,
    /// Those whose reads the thread has not waited for.
    unread: Vec<Source>,
}

/// All bulk stores of a block.
#[derive(Debug, Default)]
pub(super) struct BulkStores(BTreeMap<u32, Groups>);

impl Block<'_> {
    /// Starts a bulk load that signals the mbarrier at `mbarrier`.
    fn bulk_load(&mut self, destination: u32, source: u64, bytes: u32, mbarrier: u32, at: At) {
        let write = self.access(AccessKind::Write, at);
        if !self.check_units(bytes, write, destination) {
            return;
        }
        let Some(count) = self.signal_bytes(mbarrier, bytes, at) else { return };
        let mut data = vec![0; bytes as usize];
        self.take(source, &mut data, UNIT, count, at);
        self.check_proxy(destination, bytes, write);
        if self.check_shared_as(destination, bytes, UNIT, write, count) {
            let flight = self.take_off(destination, data, write, count);
            self.await_flights(mbarrier, vec![flight]);
        }
        self.complete_phase(mbarrier, at);
    }

    /// Starts a bulk store.
    fn bulk_store(&mut self, destination: u64, source: u32, bytes: u32, at: At) {
        let (read, write) = (self.access(AccessKind::Read, at), self.access(AccessKind::Write, at));
        if !self.check_units(bytes, read, source) {
            return;
        }
        let thread = self.current;
        let [reads, writes] = [Agent::BulkReads, Agent::BulkWrites].map(|agent| {
            let who = self.clocks.agent(agent, thread);
            self.clocks.now_of(who, thread)
        });
        self.check_proxy(source, bytes, read);
        let readable = self.check_shared_as(source, bytes, UNIT, read, reads);
        if self.check_global_as(destination, bytes, UNIT, write, writes) && readable {
            let data = &self.shared[source as usize..][..bytes as usize];
            // SAFETY: the bytes lie in a registered allocation (checked), which the running grid alone uses.
            unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), pointer(destination), data.len()) };
        }
        let source = Source { access: read, address: source, bytes, count: reads };
        self.bulk_stores.0.entry(thread).or_default().unread.push(source);
    }

    fn check_units(&mut self, bytes: u32, access: Access, shared: u32) -> bool {
        let whole = bytes.is_multiple_of(UNIT);
        if !whole {
            let kind = FindingKind::Misaligned { space: Space::Shared };
            self.find(kind, Some(access), u64::from(shared), bytes, None);
        }
        whole
    }

    /// Finds a plain store before `access` of the async proxy, without the fence between them. Where nothing orders the two
    /// it is a race already.
    pub(super) fn check_proxy(&mut self, address: u32, bytes: u32, access: Access) {
        if u64::from(address) + u64::from(bytes) > self.shared.len() as u64 {
            return;
        }
        let (clocks, t) = (&self.clocks, self.current);
        let unfenced =
            |write: &Access, count| clocks.ordered(write.thread, count, t) && !clocks.fenced(write.thread, count, t);
        if let Some(store) = self.shadow.find_write(u64::from(address), bytes, ONLY, unfenced) {
            self.find(FindingKind::MissingProxyFence { store }, Some(access), u64::from(address), bytes, None);
        }
    }

    fn commit_bulk_stores(&mut self) {
        let thread = self.current;
        let [reads, writes] = [Agent::BulkReads, Agent::BulkWrites].map(|agent| {
            let who = self.clocks.agent(agent, thread);
            let count = self.clocks.now_of(who, thread);
            self.clocks.tick(who);
            count
        });
        self.bulk_stores.0.entry(thread).or_default().committed.push_back((reads, writes));
    }

    /// All groups of the current thread but the `pending` last have read their source, and written too if `written`.
    fn wait_for_bulk_stores(&mut self, pending: usize, wait: Completion) {
        let thread = self.current;
        let groups = self.bulk_stores.0.entry(thread).or_default();
        let complete = groups.committed.len().saturating_sub(pending);
        for (reads, writes) in groups.committed.iter().take(complete) {
            self.clocks.learn(thread, thread, *reads);
            if wait == Completion::Written {
                self.clocks.learn(thread, thread, *writes);
            }
        }
        if wait == Completion::Written {
            groups.committed.drain(..complete);
        }
        groups.unread.retain(|source| !self.clocks.ordered(thread, source.count, thread));
    }

    /// The reads of shared memory that no thread has waited for.
    pub(super) fn unread_bulk_stores(&self) -> Vec<(Access, u32, u32)> {
        let sources = self.bulk_stores.0.values().flat_map(|groups| &groups.unread);
        sources.map(|source| (source.access, source.address, source.bytes)).collect()
    }
}

/// What a wait for bulk stores waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Completion {
    /// Their source may be written again.
    Read,
    /// All of it.
    Written,
}

/// `cp.async.bulk.shared::cluster.global`.
pub(crate) fn load(destination: u32, source: u64, bytes: u32, mbarrier: u32, at: At) {
    with(|block| block.bulk_load(destination, source, bytes, mbarrier, at));
}

/// `cp.async.bulk.global.shared::cta`.
pub(crate) fn store(destination: u64, source: u32, bytes: u32, at: At) {
    with(|block| block.bulk_store(destination, source, bytes, at));
}

/// `cp.async.bulk.commit_group`.
pub(crate) fn commit_group() {
    with(|block| block.commit_bulk_stores());
}

/// `cp.async.bulk.wait_group`.
pub(crate) fn wait_group(pending: u32, wait: Completion) {
    with(|block| block.wait_for_bulk_stores(pending as usize, wait));
}

/// `fence.proxy.async.shared::cta`.
pub(crate) fn fence() {
    with(|block| {
        let thread = block.current;
        block.clocks.fence(thread);
    });
}
