//! What is remembered of every 16 bytes of memory: the accesses that a later one may race with, and which bytes hold
//! anything.
//!
//! A plain write is ordered after all that it meets, or is reported; so it forgets them. Reads and atomics add up, and are
//! forgotten once a later one of their kind that is ordered after them would meet the same races. Lanes of one warp that
//! did the same at the same place in the source and the same count are one record.

use super::block::WARP;
use super::clock::Count;
use super::finding::{Access, AccessKind};

/// Bytes that share one list of records: no aligned access of a thread touches two.
const GRAIN: u64 = 16;
/// Grains allocated together: most of a large buffer is never touched.
const PAGE: usize = 256;

/// Accesses as remembered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    /// The first of them.
    pub(super) access: Access,
    /// The count of each thread when it made it.
    pub(super) clock: Count,
    /// Who made it, of the warp of `access.thread`.
    lanes: u32,
    /// Bytes of the grain.
    mask: u16,
}

#[derive(Clone, Debug, Default)]
struct Grain {
    /// The launch that the records belong to: older ones are ordered before everything now.
    launch: u32,
    /// Bytes ever written.
    written: u16,
    records: Vec<Record>,
    /// Bytes an asynchronous copy will fill.
    copying: Vec<Record>,
}

/// The records of one allocation.
#[derive(Debug, Default)]
pub(super) struct Shadow {
    pages: Vec<Option<Box<[Grain]>>>,
    /// Whether every byte holds something from the start.
    filled: bool,
}

/// What an access met, of what there is to report.
#[derive(Clone, Copy, Debug)]
pub(super) enum Met {
    Race(Access),
    NeverWritten,
    StillCopying(Access),
}

impl Record {
    fn new(access: Access, clock: Count, mask: u16) -> Self {
        Self { access, clock, lanes: 1 << (access.thread % WARP), mask }
    }

    /// Its accesses, one a lane.
    fn accesses(&self) -> impl Iterator<Item = Access> + use<> {
        let (access, mut rest) = (self.access, self.lanes);
        let first = access.thread / WARP * WARP;
        std::iter::from_fn(move || {
            let lane = (rest != 0).then(|| rest.trailing_zeros())?;
            rest &= rest - 1;
            Some(Access { thread: first + lane, ..access })
        })
    }

    /// Whether `other` differs from this in its lanes alone.
    fn together(&self, other: &Record) -> bool {
        let (a, b) = (&self.access, &other.access);
        std::ptr::eq(a.at, b.at)
            && a.thread / WARP == b.thread / WARP
            && (a.block, a.kind, self.clock, self.mask) == (b.block, b.kind, other.clock, other.mask)
    }
}

impl Shadow {
    /// Of memory that nothing has written.
    pub(super) fn new(bytes: u64) -> Self {
        let grains = bytes.div_ceil(GRAIN) as usize;
        Self { pages: vec![None; grains.div_ceil(PAGE)], filled: false }
    }

    /// Of memory that the host has filled.
    pub(super) fn filled(bytes: u64) -> Self {
        Self { filled: true, ..Self::new(bytes) }
    }

    fn grain(&mut self, index: usize, launch: u32) -> &mut Grain {
        let page = self.pages[index / PAGE].get_or_insert_with(|| vec![Grain::default(); PAGE].into());
        let grain = &mut page[index % PAGE];
        if grain.launch != launch {
            grain.launch = launch;
            grain.records.clear();
            grain.copying.clear();
        }
        grain
    }

    /// The grains of an access and the bytes that it touches in each.
    fn parts(address: u64, bytes: u32) -> impl Iterator<Item = (usize, u16)> {
        let end = address + u64::from(bytes);
        (address / GRAIN..end.div_ceil(GRAIN)).map(move |grain| {
            let first = address.max(grain * GRAIN) - grain * GRAIN;
            let last = end.min((grain + 1) * GRAIN) - grain * GRAIN;
            (grain as usize, ((1u32 << last) - (1u32 << first)) as u16)
        })
    }

    /// Records an access of `bytes` bytes that lie inside; the first thing wrong with it. `ordered` tells whether an access
    /// at that count of its thread is ordered before this one.
    pub(super) fn access(
        &mut self,
        address: u64,
        bytes: u32,
        access: Access,
        clock: Count,
        launch: u32,
        ordered: impl Fn(&Access, Count) -> bool,
    ) -> Option<Met> {
        let (mut met, filled) = (None, self.filled);
        for (index, mask) in Self::parts(address, bytes) {
            let grain = self.grain(index, launch);
            if let Some(copy) = grain.copying.iter().find(|copy| copy.mask & mask != 0) {
                met = met.or(Some(Met::StillCopying(copy.access)));
            }
            // Two reads do not race, nor two atomics.
            let conflicting = |other: &&Record| {
                other.mask & mask != 0 && (other.access.kind != access.kind || access.kind == AccessKind::Write)
            };
            let unordered = |other: &Record| other.accesses().find(|earlier| !ordered(earlier, other.clock));
            if let Some(other) = grain.records.iter().filter(conflicting).find_map(unordered) {
                met = met.or(Some(Met::Race(other)));
            }
            if access.kind != AccessKind::Write && !filled && mask & !grain.written != 0 {
                met = met.or(Some(Met::NeverWritten));
            }
            let record = Record::new(access, clock, mask);
            if access.kind == AccessKind::Write { grain.write(record) } else { grain.add(record, &ordered) }
        }
        met
    }

    /// Marks bytes as being filled by a copy that `access` started.
    pub(super) fn begin_copy(&mut self, address: u64, bytes: u32, access: Access, clock: Count, launch: u32) {
        for (index, mask) in Self::parts(address, bytes) {
            self.grain(index, launch).copying.push(Record::new(access, clock, mask));
        }
    }

    /// The copy that `access` started has arrived.
    pub(super) fn end_copy(&mut self, address: u64, bytes: u32, access: Access, launch: u32) {
        for (index, mask) in Self::parts(address, bytes) {
            let grain = self.grain(index, launch);
            if let Some(at) = grain.copying.iter().position(|c| c.access == access && c.mask == mask) {
                grain.copying.swap_remove(at);
            }
        }
    }

    /// A write of these bytes for which `faulty` holds.
    pub(super) fn find_write(
        &mut self,
        address: u64,
        bytes: u32,
        launch: u32,
        faulty: impl Fn(&Access, Count) -> bool,
    ) -> Option<Access> {
        Self::parts(address, bytes).find_map(|(index, mask)| {
            let writes = |record: &&Record| record.mask & mask != 0 && record.access.kind != AccessKind::Read;
            let mut records = self.grain(index, launch).records.iter().filter(writes);
            records.find_map(|record| record.accesses().find(|write| faulty(write, record.clock)))
        })
    }
}

impl Grain {
    fn write(&mut self, record: Record) {
        self.written |= record.mask;
        self.records.retain_mut(|known| {
            known.mask &= !record.mask;
            known.mask != 0
        });
        self.records.push(record);
    }

    /// Adds a read or an atomic.
    fn add(&mut self, record: Record, ordered: &impl Fn(&Access, Count) -> bool) {
        if record.access.kind == AccessKind::Atomic {
            self.written |= record.mask;
        }
        if let Some(known) = self.records.iter_mut().rev().find(|known| known.together(&record)) {
            known.lanes |= record.lanes;
            return;
        }
        if self.records.len() == self.records.capacity() {
            self.forget_before(&record, ordered);
        }
        self.records.push(record);
    }

    /// Forgets what meets no race that `record`, the newest, does not meet too.
    fn forget_before(&mut self, record: &Record, ordered: &impl Fn(&Access, Count) -> bool) {
        // Of other blocks, which nothing orders and which are over, one read a byte stands for all.
        let mut others = 0;
        self.records.retain_mut(|known| {
            if known.access.kind != record.access.kind {
                return true;
            }
            if known.access.block != record.access.block {
                let adds = known.mask & !others != 0;
                others |= known.mask;
                return adds;
            }
            if known.mask & !record.mask == 0 {
                let first = known.access.thread / WARP * WARP;
                let clock = known.clock;
                for access in known.accesses().filter(|access| ordered(access, clock)) {
                    known.lanes &= !(1 << (access.thread - first));
                }
            }
            known.lanes != 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::clock::Clocks;
    use super::*;
    use std::panic::Location;

    fn access(thread: u32, kind: AccessKind) -> Access {
        Access { block: 0, thread, kind, at: Location::caller() }
    }

    fn count() -> Count {
        Clocks::new(1).now(0)
    }

    fn touch(shadow: &mut Shadow, address: u64, bytes: u32, thread: u32, kind: AccessKind) -> Option<Met> {
        shadow.access(address, bytes, access(thread, kind), count(), 1, |earlier, _| earlier.thread == thread)
    }

    #[test]
    fn unordered_accesses_conflict_only_where_bytes_are_shared_and_one_writes() {
        use AccessKind::{Atomic, Read, Write};
        let mut shadow = Shadow::new(64);
        assert!(matches!(touch(&mut shadow, 0, 4, 0, Read), Some(Met::NeverWritten)));
        assert!(matches!(touch(&mut shadow, 0, 4, 1, Write), Some(Met::Race(other)) if other.thread == 0));
        assert!(touch(&mut shadow, 8, 2, 0, Write).is_none());
        assert!(touch(&mut shadow, 10, 2, 1, Write).is_none(), "the other half of the word");
        assert!(matches!(touch(&mut shadow, 8, 8, 2, Write), Some(Met::Race(_))));
        shadow.grain(1, 0).written = u16::MAX;
        assert!(touch(&mut shadow, 16, 4, 0, Atomic).is_none());
        assert!(touch(&mut shadow, 16, 4, 1, Atomic).is_none());
        assert!(matches!(touch(&mut shadow, 16, 4, 2, Read), Some(Met::Race(_))));
    }

    #[test]
    fn another_launch_starts_afresh_but_what_is_written_stays_written() {
        let mut shadow = Shadow::new(8);
        assert!(touch(&mut shadow, 0, 8, 0, AccessKind::Write).is_none());
        let read = access(1, AccessKind::Read);
        assert!(shadow.access(0, 8, read, count(), 2, |_, _| false).is_none());
    }

    #[test]
    fn bytes_of_a_copy_in_flight_are_nobodys() {
        let mut shadow = Shadow::new(32);
        assert!(touch(&mut shadow, 0, 16, 3, AccessKind::Write).is_none());
        let copy = access(3, AccessKind::Write);
        shadow.begin_copy(0, 16, copy, count(), 1);
        assert!(matches!(touch(&mut shadow, 12, 4, 3, AccessKind::Read), Some(Met::StillCopying(_))));
        shadow.end_copy(0, 16, copy, 1);
        assert!(touch(&mut shadow, 12, 4, 3, AccessKind::Read).is_none());
    }
}
