//! The block's sixteen barriers: who arrived, who waits, and what is wrong with that (PTX ISA, "barrier.cta").

use super::block::{At, Block, WARP, Wait};
use super::clock::{Count, Released};
use super::finding::{Access, AccessKind, FindingKind};

/// Barriers of a block.
const BARRIERS: u32 = 16;

/// A thread that came to a barrier.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    thread: u32,
    /// Its count then.
    clock: Count,
    at: At,
}

/// One barrier.
#[derive(Debug, Default)]
struct Barrier {
    /// Threads that this phase waits for: what its first thread said.
    expected: u32,
    /// The first thread of this phase.
    first: Option<Arrival>,
    /// Threads that wait.
    waiting: Vec<Arrival>,
    /// Threads that arrived and went on, and what each released.
    gone_on: Vec<(Arrival, Released)>,
    /// Those who waited in the phase before, in ascending order, and those who did not.
    last: (Vec<Arrival>, Vec<Arrival>),
}

/// All barriers of a block.
#[derive(Debug, Default)]
pub(super) struct Barriers([Barrier; BARRIERS as usize]);

impl Block<'_> {
    /// The current thread arrives at barrier `id` of `expected` threads (of all, if `None`) and waits for it.
    pub(super) fn sync(&mut self, id: u32, expected: Option<u32>, at: At) {
        let Some(arrival) = self.come(id, expected, at) else { return };
        self.threads[self.current as usize].wait = Some(Wait::Barrier);
        self.barriers.0[id as usize].waiting.push(arrival);
        self.complete(id);
    }

    /// The current thread arrives at barrier `id` and goes on.
    pub(super) fn arrive(&mut self, id: u32, expected: u32, at: At) {
        let Some(arrival) = self.come(id, Some(expected), at) else { return };
        let released = self.clocks.release(self.current);
        self.barriers.0[id as usize].gone_on.push((arrival, released));
        self.complete(id);
    }

    /// Checks what the current thread says of barrier `id`; its arrival, if it may be counted.
    fn come(&mut self, id: u32, expected: Option<u32>, at: At) -> Option<Arrival> {
        self.progress = true;
        let arrival = Arrival { thread: self.current, clock: self.clocks.now(self.current), at };
        if id >= BARRIERS {
            self.misused(id, "a block has the barriers 0 to 15", arrival, None);
            return None;
        }
        if expected.is_some_and(|expected| expected == 0 || !expected.is_multiple_of(WARP)) {
            self.misused(id, "its count is no multiple of 32 threads", arrival, None);
            return None;
        }
        let expected = expected.unwrap_or(self.threads.len() as u32);
        let barrier = &mut self.barriers.0[id as usize];
        if barrier.first.is_none() {
            barrier.expected = expected;
        }
        let first = *barrier.first.get_or_insert(arrival);
        let twice = barrier.gone_on.iter().map(|(gone, _)| *gone).find(|gone| gone.thread == arrival.thread);
        let disagrees = barrier.expected != expected;
        if let Some(other) = twice {
            self.misused(id, "a thread arrives twice before it is complete", arrival, Some(other));
            return None;
        }
        if disagrees {
            self.misused(id, "two of its threads give different counts", arrival, Some(first));
        }
        if let Some(other) = self.unknown_of_last(id, arrival.thread) {
            self.misused(id, "a thread arrives again that cannot know of its last completion", arrival, Some(other));
        }
        Some(arrival)
    }

    /// Someone of the last phase of barrier `id` of whose arrival `thread` has not learnt: `thread` may be too early.
    fn unknown_of_last(&self, id: u32, thread: u32) -> Option<Arrival> {
        let (waited, gone_on) = &self.barriers.0[id as usize].last;
        if waited.binary_search_by_key(&thread, |arrival| arrival.thread).is_ok() {
            return None;
        }
        let unknown = |arrival: &&Arrival| !self.clocks.ordered(arrival.thread, arrival.clock, thread);
        waited.iter().chain(gone_on).find(unknown).copied()
    }

    /// Lets the waiting threads go on if all have come.
    fn complete(&mut self, id: u32) {
        let barrier = &mut self.barriers.0[id as usize];
        if barrier.waiting.len() + barrier.gone_on.len() < barrier.expected as usize {
            return;
        }
        let Barrier { mut waiting, gone_on, .. } = std::mem::take(barrier);
        waiting.sort_unstable_by_key(|arrival| arrival.thread);
        let gone: Vec<Arrival> = gone_on.iter().map(|(arrival, _)| *arrival).collect();
        self.check_warps(id, waiting.iter().chain(&gone));
        let members: Vec<u32> = waiting.iter().map(|arrival| arrival.thread).collect();
        self.clocks.meet(&members);
        for (_, released) in &gone_on {
            members.iter().for_each(|&t| self.clocks.acquire(t, released));
        }
        members.iter().for_each(|&t| self.threads[t as usize].wait = None);
        self.barriers.0[id as usize].last = (waiting, gone);
    }

    /// A barrier counts whole warps: all lanes of each come, and at one place.
    fn check_warps<'b>(&mut self, id: u32, arrivals: impl Iterator<Item = &'b Arrival>) {
        let mut warps: Vec<(u32, Option<Arrival>)> = vec![(0, None); self.threads.len().div_ceil(WARP as usize)];
        let mut apart = Vec::new();
        for arrival in arrivals {
            let (came, first) = &mut warps[(arrival.thread / WARP) as usize];
            *came += 1;
            let first = *first.get_or_insert(*arrival);
            if first.at != arrival.at {
                apart.push((*arrival, first));
            }
        }
        for (arrival, first) in apart {
            self.misused(id, "the lanes of a warp come to it at different places", arrival, Some(first));
        }
        for (warp, (came, first)) in warps.into_iter().enumerate() {
            let lanes = self.threads.iter().skip(warp * WARP as usize).take(WARP as usize);
            let alive = lanes.filter(|thread| !thread.done).count() as u32;
            if let Some(first) = first.filter(|_| came < alive) {
                self.misused(id, "some lanes of a warp come to it and some do not", first, None);
            }
        }
    }

    fn misused(&mut self, id: u32, what: &'static str, arrival: Arrival, other: Option<Arrival>) {
        let access = |a: Arrival| Access { block: self.number, thread: a.thread, kind: AccessKind::Arrive, at: a.at };
        let (arrival, other) = (access(arrival), other.map(access));
        self.find(FindingKind::BarrierMisuse { id, what, other }, Some(arrival), 0, 0, None);
    }

    /// No thread can go on: the barriers that some wait at.
    pub(super) fn report_stuck_barriers(&mut self) {
        for id in 0..BARRIERS {
            let barrier = &self.barriers.0[id as usize];
            let Some(&Arrival { thread, at, .. }) = barrier.waiting.iter().min_by_key(|arrival| arrival.thread) else {
                continue;
            };
            let arrived = (barrier.waiting.len() + barrier.gone_on.len()) as u32;
            let kind = FindingKind::Barrier { id, arrived, expected: barrier.expected };
            let access = Access { block: self.number, thread, kind: AccessKind::Arrive, at };
            self.find(kind, Some(access), 0, 0, None);
        }
    }
}
