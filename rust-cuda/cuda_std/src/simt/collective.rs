//! Warp collectives: lanes that exchange registers, and the lanes that are missing.

use std::rc::Rc;

use super::block::{At, Block, Lanes, WARP, Wait};
use super::finding::{Access, AccessKind, FindingKind};

impl Block<'_> {
    /// Whether the current thread is one of `members`: calling without it is a fault.
    pub(super) fn is_member(&mut self, operation: &'static str, members: u32, at: At) -> bool {
        let lane = self.current % WARP;
        let member = members >> lane & 1 == 1;
        if !member {
            self.find_no_member(operation, members, lane, at);
        }
        member
    }

    /// The current thread's collective concerns `lane`, which is none of its members.
    pub(super) fn find_no_member(&mut self, operation: &'static str, members: u32, lane: u32, at: At) {
        let access = self.access(AccessKind::Arrive, at);
        self.find(FindingKind::NoMember { operation, members, lane }, Some(access), 0, 0, None);
    }

    /// Lets the members of each collective go on whose members have all come.
    pub(super) fn resolve_collectives(&mut self) {
        for first in (0..self.threads.len()).step_by(WARP as usize) {
            let end = (first + WARP as usize).min(self.threads.len());
            for t in first..end {
                let Some(Wait::Collective { operation, members, at, .. }) = &self.threads[t].wait else { continue };
                let (operation, members, at) = (*operation, *members, *at);
                if self.missing(first, operation, members, at) != 0 {
                    continue;
                }
                let mut lanes: Vec<Vec<u32>> = vec![Vec::new(); WARP as usize];
                let came: Vec<u32> =
                    (first as u32..end as u32).filter(|&u| members >> (u - first as u32) & 1 == 1).collect();
                for &u in &came {
                    if let Some(Wait::Collective { operands, .. }) = self.threads[u as usize].wait.take() {
                        lanes[u as usize - first] = operands;
                    }
                }
                // Only __syncwarp orders memory; a shuffle moves registers.
                if operation == "bar.warp.sync" {
                    self.clocks.meet(&came);
                }
                let lanes: Lanes = lanes.into();
                came.iter().for_each(|&u| self.threads[u as usize].lanes = Rc::clone(&lanes));
            }
        }
    }

    /// The members of a collective of the warp at `first` that do not wait at the same one. Of an `.aligned` one, all lanes
    /// execute the same instruction: theirs must be at the same place.
    fn missing(&self, first: usize, operation: &str, members: u32, at: At) -> u32 {
        let aligned = operation.contains(".aligned");
        (0..WARP)
            .filter(|lane| members >> lane & 1 == 1)
            .filter(|&lane| {
                let wait = self.threads.get(first + lane as usize).and_then(|thread| thread.wait.as_ref());
                let same = |o: &str, m: u32, a: At| o == operation && m == members && (!aligned || a == at);
                !matches!(wait, Some(Wait::Collective { operation: o, members: m, at: a, .. }) if same(o, *m, a))
            })
            .fold(0, |missing, lane| missing | 1 << lane)
    }

    /// No thread can go on: the collectives that some wait at.
    pub(super) fn report_stuck_collectives(&mut self) {
        for t in 0..self.threads.len() {
            let Some(Wait::Collective { operation, members, at, .. }) = self.threads[t].wait else { continue };
            let missing = self.missing(t / WARP as usize * WARP as usize, operation, members, at);
            let access = Access { block: self.number, thread: t as u32, kind: AccessKind::Arrive, at };
            self.find(FindingKind::Collective { operation, members, missing }, Some(access), 0, 0, None);
        }
    }
}
