//! mbarriers in the executor (PTX ISA, "mbarrier").
//!
//! A phase is complete when its arrivals came and its expected bytes did. Arrivals release what their threads did; a wait
//! that succeeds acquires it, and makes the copies arrive that the phase waited for. What reaches a phase must be ordered
//! after the phase before: otherwise the count of one of the two is wrong, and which it reaches is a matter of timing.

use std::collections::BTreeMap;

use super::block::{At, Block, Wait};
use super::clock::{Count, Released};
use super::finding::{Access, AccessKind, FindingKind, Space};
use super::ops::{self, with};

/// Bytes of an mbarrier.
const BYTES: u32 = 8;
/// The largest count of arrivals, and of bytes expected.
const LARGEST: i64 = (1 << 20) - 1;
/// `test_wait`s of a thread that may fail in vain before it counts as stuck.
const PATIENCE: usize = 64;

#[derive(Debug)]
struct Mbarrier {
    init: (Access, Count),
    /// Arrivals a phase.
    arrivals: u32,
    /// Arrivals still to come in this phase.
    pending: u32,
    /// Bytes still to come in this phase.
    bytes: i64,
    /// Phases completed.
    phase: u32,
    /// Who carries out the bulk copies that signal it; its count is that of the phase.
    agent: u32,
    /// What reached this phase: the thread that it was for, and the count.
    reached: Vec<(u32, Count)>,
    /// What reached the phase before.
    before: Vec<(u32, Count)>,
    /// What the arrivals of this phase released.
    gathering: Released,
    /// What those of the completed phases did.
    completed: Released,
    /// Copies that arrive with this phase.
    flights: Vec<u64>,
    /// Copies of completed phases that no wait has found yet.
    arrived: Vec<u64>,
    /// The last use by each thread.
    uses: BTreeMap<u32, (Access, Count)>,
}

/// The mbarriers of a block, by address.
#[derive(Debug, Default)]
pub(super) struct Mbarriers {
    live: BTreeMap<u32, Mbarrier>,
    /// `test_wait`s that failed since anything happened.
    vain: usize,
}

impl Mbarriers {
    /// Whether these bytes are part of one.
    pub(super) fn overlap(&self, address: u32, bytes: u32) -> bool {
        let below = self.live.range(..address.saturating_add(bytes)).next_back();
        below.is_some_and(|(&start, _)| start + BYTES > address)
    }

    /// What the current phase lacks.
    pub(super) fn lacking(&self, address: u32) -> &'static str {
        match self.live.get(&address) {
            Some(Mbarrier { pending: 1.., bytes: 1.., .. }) => {
                "a thread waits for a phase that lacks arrivals and bytes"
            }
            Some(Mbarrier { pending: 0, .. }) => "a thread waits for a phase that lacks bytes",
            _ => "a thread waits for a phase that lacks arrivals",
        }
    }
}

impl Block<'_> {
    fn find_misuse(&mut self, address: u32, what: &'static str, at: At) {
        let access = self.access(AccessKind::Atomic, at);
        self.find(FindingKind::Mbarrier { what }, Some(access), u64::from(address), BYTES, None);
    }

    fn init_mbarrier(&mut self, address: u32, arrivals: u32, at: At) {
        self.progress = true;
        if self.mbarriers.live.contains_key(&address) {
            return self.find_misuse(address, "initialised again while in use", at);
        }
        if arrivals == 0 || i64::from(arrivals) > LARGEST {
            return self.find_misuse(address, "a count of arrivals is 1 to 2^20 - 1", at);
        }
        if !self.check_shared(address, BYTES, AccessKind::Write, at) {
            return;
        }
        let mbarrier = Mbarrier {
            init: (self.access(AccessKind::Write, at), self.clocks.now(self.current)),
            arrivals,
            pending: arrivals,
            bytes: 0,
            phase: 0,
            agent: self.clocks.asynchronous_agent(),
            reached: Vec::new(),
            before: Vec::new(),
            gathering: Released::none(),
            completed: Released::none(),
            flights: Vec::new(),
            arrived: Vec::new(),
            uses: BTreeMap::new(),
        };
        self.mbarriers.live.insert(address, mbarrier);
    }

    /// The mbarrier at `address`, which the current thread uses at `at`; `None` if there is none.
    fn mbarrier(&mut self, address: u32, at: At) -> Option<&mut Mbarrier> {
        let (access, thread) = (self.access(AccessKind::Atomic, at), self.current);
        let count = self.clocks.now(thread);
        let Some(mbarrier) = self.mbarriers.live.get_mut(&address) else {
            self.find_misuse(address, "used before its init", at);
            return None;
        };
        mbarrier.uses.insert(thread, (access, count));
        let (init, made) = mbarrier.init;
        if !self.clocks.ordered(init.thread, made, thread) {
            let kind = FindingKind::Race { space: Space::Shared, other: init };
            self.find(kind, Some(access), u64::from(address), BYTES, None);
        }
        self.mbarriers.live.get_mut(&address)
    }

    fn invalidate_mbarrier(&mut self, address: u32, at: At) {
        self.progress = true;
        let (access, thread) = (self.access(AccessKind::Write, at), self.current);
        if self.mbarrier(address, at).is_none() {
            return;
        }
        let Some(mbarrier) = self.mbarriers.live.remove(&address) else { return };
        let late = mbarrier.uses.values().find(|(by, count)| !self.clocks.ordered(by.thread, *count, thread));
        if let Some(&(other, _)) = late {
            let kind = FindingKind::Race { space: Space::Shared, other };
            self.find(kind, Some(access), u64::from(address), BYTES, None);
        }
        if !mbarrier.flights.is_empty() {
            self.find_misuse(address, "invalidated while copies are on their way", at);
        }
        self.check_shared(address, BYTES, AccessKind::Write, at);
    }

    /// Whether the current thread may reach the phase: it is ordered after all that reached the one before.
    fn may_reach(&mut self, address: u32, what: &'static str, at: At) -> bool {
        let (clocks, thread) = (&self.clocks, self.current);
        let Some(mbarrier) = self.mbarriers.live.get(&address) else { return false };
        let ordered = mbarrier.before.iter().all(|(u, count)| clocks.ordered(*u, *count, thread));
        if !ordered {
            self.find_misuse(address, what, at);
        }
        ordered
    }

    /// Whether one more arrival may be counted.
    fn may_arrive(&mut self, address: u32, at: At) -> bool {
        self.progress = true;
        self.mbarriers.vain = 0;
        let Some(mbarrier) = self.mbarrier(address, at) else { return false };
        let what = "more arrivals than its count";
        if mbarrier.pending == 0 {
            self.find_misuse(address, what, at);
            return false;
        }
        self.may_reach(address, what, at)
    }

    /// The current thread arrives, and says that `bytes` bytes more belong to the phase.
    fn arrive_at_mbarrier(&mut self, address: u32, bytes: u32, at: At) {
        if !self.may_arrive(address, at) {
            return;
        }
        let thread = self.current;
        let count = self.clocks.now(thread);
        let released = self.clocks.release(thread);
        let Some(mbarrier) = self.mbarriers.live.get_mut(&address) else { return };
        mbarrier.bytes += i64::from(bytes);
        mbarrier.pending -= 1;
        mbarrier.reached.push((thread, count));
        mbarrier.gathering = mbarrier.gathering.join(&released);
        if mbarrier.bytes > LARGEST {
            self.find_misuse(address, "more than 2^20 - 1 bytes expected", at);
        }
        self.complete_phase(address, at);
    }

    /// An arrival when the copies of the current thread have arrived. It releases them and nothing else of the thread.
    fn arrive_after_copies(&mut self, address: u32, at: At) {
        if !self.may_arrive(address, at) {
            return;
        }
        let thread = self.current;
        let (flights, count) = self.on_their_way();
        let Some(mbarrier) = self.mbarriers.live.get_mut(&address) else { return };
        mbarrier.pending -= 1;
        mbarrier.reached.push((thread, count));
        mbarrier.gathering = mbarrier.gathering.with(thread, count);
        self.await_flights(address, flights);
        self.complete_phase(address, at);
    }

    /// A bulk load of the current thread will signal `bytes` bytes: the count that it is done at.
    pub(super) fn signal_bytes(&mut self, address: u32, bytes: u32, at: At) -> Option<Count> {
        self.progress = true;
        self.mbarriers.vain = 0;
        let (init, made) = self.mbarrier(address, at)?.init;
        let thread = self.current;
        if self.clocks.ordered(init.thread, made, thread) && !self.clocks.fenced(init.thread, made, thread) {
            let access = self.access(AccessKind::Atomic, at);
            let kind = FindingKind::MissingProxyFence { store: init };
            self.find(kind, Some(access), u64::from(address), BYTES, None);
        }
        if !self.may_reach(address, "more bytes than it expects", at) {
            return None;
        }
        let mbarrier = self.mbarriers.live.get_mut(&address)?;
        let count = self.clocks.now_of(mbarrier.agent, thread);
        mbarrier.bytes -= i64::from(bytes);
        mbarrier.reached.push((thread, count));
        mbarrier.gathering = mbarrier.gathering.with(thread, count);
        Some(count)
    }

    /// The copies arrive with the current phase.
    pub(super) fn await_flights(&mut self, address: u32, flights: Vec<u64>) {
        if let Some(mbarrier) = self.mbarriers.live.get_mut(&address) {
            mbarrier.flights.extend(flights);
        }
    }

    /// Completes the phase, if all came.
    pub(super) fn complete_phase(&mut self, address: u32, at: At) {
        let Some(mbarrier) = self.mbarriers.live.get_mut(&address) else { return };
        if mbarrier.pending > 0 || mbarrier.bytes > 0 {
            return;
        }
        let too_many = mbarrier.bytes < 0;
        mbarrier.bytes = 0;
        mbarrier.pending = mbarrier.arrivals;
        mbarrier.phase += 1;
        mbarrier.before = std::mem::take(&mut mbarrier.reached);
        mbarrier.completed = mbarrier.completed.join(&mbarrier.gathering);
        mbarrier.gathering = Released::none();
        mbarrier.arrived.append(&mut mbarrier.flights);
        self.clocks.tick(mbarrier.agent);
        if too_many {
            self.find_misuse(address, "more bytes than it expects", at);
        }
    }

    /// Whether the phase of this parity is complete; if so the current thread is ordered after it.
    fn test_mbarrier(&mut self, address: u32, parity: u32, at: At) -> bool {
        if parity > 1 {
            self.find_misuse(address, "a parity is 0 or 1", at);
            return true;
        }
        let thread = self.current;
        // Where there is none nothing would ever complete: reported, and the thread goes on.
        let Some(mbarrier) = self.mbarrier(address, at) else { return true };
        if mbarrier.phase % 2 == parity {
            return false;
        }
        let arrived = std::mem::take(&mut mbarrier.arrived);
        let completed = mbarrier.completed.clone();
        arrived.into_iter().for_each(|flight| self.land(flight));
        self.clocks.acquire(thread, &completed);
        self.mbarriers.vain = 0;
        true
    }

    /// A `test_wait` failed: whether the thread may go on and come back.
    fn be_patient(&mut self) {
        self.mbarriers.vain += 1;
        self.progress |= self.mbarriers.vain <= PATIENCE * self.threads.len();
    }
}

/// `mbarrier.init`.
pub(crate) fn init(address: u32, arrivals: u32, at: At) {
    with(|block| block.init_mbarrier(address, arrivals, at));
}

/// `mbarrier.inval`.
pub(crate) fn inval(address: u32, at: At) {
    with(|block| block.invalidate_mbarrier(address, at));
}

/// `mbarrier.arrive`, with `.expect_tx` where `bytes` is not 0.
pub(crate) fn arrive(address: u32, bytes: u32, at: At) {
    with(|block| block.arrive_at_mbarrier(address, bytes, at));
}

/// `cp.async.mbarrier.arrive.noinc`.
pub(crate) fn arrive_after_copies(address: u32, at: At) {
    with(|block| block.arrive_after_copies(address, at));
}

/// `mbarrier.test_wait.parity` and `mbarrier.try_wait.parity`. Where it fails the others have their turn.
pub(crate) fn test_wait(address: u32, parity: u32, at: At) -> bool {
    let complete = with(|block| block.test_mbarrier(address, parity, at));
    if !complete {
        with(|block| block.be_patient());
        ops::wait(Wait::Turn { address, at });
    }
    complete
}

/// Repeats the test until it succeeds.
pub(crate) fn wait(address: u32, parity: u32, at: At) {
    while !with(|block| block.test_mbarrier(address, parity, at)) {
        ops::wait(Wait::Turn { address, at });
    }
}
