//! Vector clocks: which accesses of others a thread is ordered after.
//!
//! Each thread counts its own synchronisations. At a barrier every member learns the others' counts; an access of thread u
//! at count k is ordered before thread t if t has learnt a count of at least k from u. (FastTrack, Flanagan and Freund,
//! PLDI 2009: an access needs one number, not a vector.)
//!
//! Asynchronous operations are not the thread's that starts them: agents do them, which count as threads do. Whoever waits
//! for the operation learns the agent's count, and it travels from there as every other. So even the thread that started
//! a copy is not ordered after it until it has waited.
//!
//! Beside what a thread has learnt stands what of it had passed a proxy fence: the async proxy sees no other stores.

use std::rc::Rc;

/// A count of a thread, or of one of its agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    /// Added to the number of the thread that acts, it gives the number of who counts: 0 where it acts itself.
    offset: u32,
    value: u32,
}

/// Who carries out what a thread starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Agent {
    /// Its `cp.async` copies.
    Copies = 1,
    /// The reads of its bulk stores.
    BulkReads = 2,
    /// The writes of its bulk stores.
    BulkWrites = 3,
}

/// Numbers for each thread: its own and its agents'.
const BANKS: usize = 4;

/// What the threads of one block know of each other.
#[derive(Debug)]
pub(super) struct Clocks {
    threads: usize,
    /// The counts, from 1: of the threads, of their agents, then of the mbarriers' agents. The latter two appear with use.
    own: Vec<u32>,
    /// The counts that each thread has learnt, 0 past the end. Threads that met at a barrier share one vector.
    seen: Vec<Rc<[u32]>>,
    /// The counts of which each thread has learnt that a proxy fence followed.
    fenced: Vec<Rc<[u32]>>,
}

/// What a thread releases for others to acquire later: at a barrier it only arrives at, or at an mbarrier.
#[derive(Clone, Debug)]
pub(super) struct Released {
    seen: Rc<[u32]>,
    fenced: Rc<[u32]>,
}

impl Released {
    /// Nothing.
    pub(super) fn none() -> Self {
        let none: Rc<[u32]> = Rc::default();
        Self { seen: Rc::clone(&none), fenced: none }
    }

    /// What one knows who acquires both.
    pub(super) fn join(&self, other: &Released) -> Released {
        Released { seen: join(&self.seen, &other.seen), fenced: join(&self.fenced, &other.fenced) }
    }

    /// This, and that what was done at `count` for thread `t` is complete.
    pub(super) fn with(&self, t: u32, count: Count) -> Released {
        Released { seen: raise(&self.seen, (count.offset + t) as usize, count.value), fenced: Rc::clone(&self.fenced) }
    }
}

impl Clocks {
    pub(super) fn new(threads: usize) -> Self {
        let none: Rc<[u32]> = vec![0; threads].into();
        let nothing: Rc<[u32]> = Rc::default();
        Self { threads, own: vec![1; threads], seen: vec![none; threads], fenced: vec![nothing; threads] }
    }

    /// The count of thread `t` now.
    pub(super) fn now(&self, t: u32) -> Count {
        Count { offset: 0, value: self.own[t as usize] }
    }

    /// The number of an agent of thread `t`.
    pub(super) fn agent(&mut self, agent: Agent, t: u32) -> u32 {
        let who = agent as usize * self.threads + t as usize;
        self.own.resize(self.own.len().max(who + 1), 1);
        who as u32
    }

    /// A new agent, of the async proxy and of no thread: its number.
    pub(super) fn asynchronous_agent(&mut self) -> u32 {
        self.own.resize(self.own.len().max(BANKS * self.threads), 1);
        self.own.push(1);
        self.own.len() as u32 - 1
    }

    /// The count of agent `who` now, for what thread `t` starts.
    pub(super) fn now_of(&self, who: u32, t: u32) -> Count {
        Count { offset: who - t, value: self.own[who as usize] }
    }

    /// What agent `who` does next is not part of what it has done.
    pub(super) fn tick(&mut self, who: u32) {
        self.own[who as usize] += 1;
    }

    /// Whether an access for thread `u` at `count` is ordered before what thread `t` does now.
    pub(super) fn ordered(&self, u: u32, count: Count, t: u32) -> bool {
        let who = count.offset + u;
        who == t || self.seen[t as usize].get(who as usize).is_some_and(|&known| known >= count.value)
    }

    /// Whether what was done for thread `u` at `count` was the async proxy's.
    pub(super) fn is_asynchronous(&self, u: u32, count: Count) -> bool {
        (count.offset + u) as usize >= BANKS * self.threads
    }

    /// Whether a write for thread `u` at `count` can be seen by what the async proxy does for thread `t` now.
    pub(super) fn fenced(&self, u: u32, count: Count, t: u32) -> bool {
        let who = (count.offset + u) as usize;
        self.is_asynchronous(u, count) || self.fenced[t as usize].get(who).is_some_and(|&known| known >= count.value)
    }

    /// A proxy fence of thread `t`: it covers the thread's own stores and the copies that it knows to be complete.
    pub(super) fn fence(&mut self, t: u32) {
        let t = t as usize;
        let mut covered = self.seen[t].to_vec();
        covered[..self.threads].fill(0);
        covered[t] = self.own[t];
        self.fenced[t] = join(&self.fenced[t], &covered.into());
        self.own[t] += 1;
    }

    /// What thread `t` has done and learnt so far; what it does next is not part of it.
    pub(super) fn release(&mut self, t: u32) -> Released {
        let t = t as usize;
        let seen = raise(&self.seen[t], t, self.own[t]);
        self.own[t] += 1;
        Released { seen, fenced: Rc::clone(&self.fenced[t]) }
    }

    /// Thread `t` learns what was released.
    pub(super) fn acquire(&mut self, t: u32, released: &Released) {
        let t = t as usize;
        self.seen[t] = join(&self.seen[t], &released.seen);
        self.fenced[t] = join(&self.fenced[t], &released.fenced);
    }

    /// Thread `t` learns that what was done at `count` for thread `u` is complete.
    pub(super) fn learn(&mut self, t: u32, u: u32, count: Count) {
        let seen = &mut self.seen[t as usize];
        *seen = raise(seen, (count.offset + u) as usize, count.value);
    }

    /// All of `members` learn what each other did before: a barrier.
    pub(super) fn meet(&mut self, members: &[u32]) {
        let mut known = everything(&self.seen, members);
        for &t in members {
            known[t as usize] = self.own[t as usize];
            self.own[t as usize] += 1;
        }
        let (known, fenced): (Rc<[u32]>, Rc<[u32]>) = (known.into(), everything(&self.fenced, members).into());
        for &t in members {
            self.seen[t as usize] = Rc::clone(&known);
            self.fenced[t as usize] = Rc::clone(&fenced);
        }
    }
}

/// What `members` know together.
fn everything(known: &[Rc<[u32]>], members: &[u32]) -> Vec<u32> {
    let Some(&first) = members.first() else { return Vec::new() };
    let mut last = &known[first as usize];
    let mut all = last.to_vec();
    for &t in members {
        let more = &known[t as usize];
        if !Rc::ptr_eq(more, last) {
            all.resize(all.len().max(more.len()), 0);
            all.iter_mut().zip(more.iter()).for_each(|(a, &b)| *a = (*a).max(b));
            last = more;
        }
    }
    all
}

/// The larger of each count.
fn join(a: &Rc<[u32]>, b: &Rc<[u32]>) -> Rc<[u32]> {
    if Rc::ptr_eq(a, b) || b.is_empty() {
        return Rc::clone(a);
    }
    let count = |known: &[u32], who: usize| known.get(who).copied().unwrap_or(0);
    (0..a.len().max(b.len())).map(|who| count(a, who).max(count(b, who))).collect()
}

/// `known`, with the count of `who` at least `value`.
fn raise(known: &Rc<[u32]>, who: usize, value: u32) -> Rc<[u32]> {
    if known.get(who).is_some_and(|&known| known >= value) {
        return Rc::clone(known);
    }
    let mut raised = known.to_vec();
    raised.resize(raised.len().max(who + 1), 0);
    raised[who] = value;
    raised.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_barrier_orders_what_came_before_it_and_no_more() {
        let mut clocks = Clocks::new(4);
        let before = clocks.now(0);
        assert!(!clocks.ordered(0, before, 1));
        clocks.meet(&[0, 1]);
        assert!(clocks.ordered(0, before, 1));
        assert!(!clocks.ordered(0, before, 2), "2 was not there");
        assert!(!clocks.ordered(0, clocks.now(0), 1), "what 0 does after it");
        clocks.meet(&[1, 2]);
        assert!(clocks.ordered(0, before, 2), "through 1");
        assert!(clocks.ordered(3, clocks.now(3), 3), "a thread is ordered after itself");
    }

    #[test]
    fn a_release_reaches_who_acquires_it() {
        let mut clocks = Clocks::new(3);
        let before = clocks.now(0);
        let released = clocks.release(0);
        let after = clocks.now(0);
        clocks.acquire(2, &released);
        assert!(clocks.ordered(0, before, 2) && !clocks.ordered(0, after, 2));
        assert!(!clocks.ordered(0, before, 1));
    }

    #[test]
    fn what_an_agent_does_is_ordered_for_those_who_heard_of_it() {
        let mut clocks = Clocks::new(2);
        let agent = clocks.agent(Agent::Copies, 0);
        let copy = clocks.now_of(agent, 0);
        clocks.tick(agent);
        let next = clocks.now_of(agent, 0);
        assert!(!clocks.ordered(0, copy, 0), "not even for the thread that started it");
        clocks.learn(0, 0, copy);
        assert!(clocks.ordered(0, copy, 0) && !clocks.ordered(0, next, 0) && !clocks.ordered(0, copy, 1));
        clocks.meet(&[0, 1]);
        assert!(clocks.ordered(0, copy, 1), "through the barrier");
    }

    #[test]
    fn a_fence_covers_the_stores_before_it_for_those_ordered_after_it() {
        let mut clocks = Clocks::new(2);
        let before = clocks.now(0);
        clocks.fence(0);
        let after = clocks.now(0);
        assert!(clocks.fenced(0, before, 0) && !clocks.fenced(0, after, 0) && !clocks.fenced(0, before, 1));
        clocks.meet(&[0, 1]);
        assert!(clocks.fenced(0, before, 1) && !clocks.fenced(0, after, 1));
        assert!(!clocks.fenced(1, clocks.now(1), 1), "thread 1's own stores");
        let bulk = clocks.asynchronous_agent();
        assert!(clocks.fenced(1, clocks.now_of(bulk, 1), 0), "the async proxy sees its own");
    }
}
