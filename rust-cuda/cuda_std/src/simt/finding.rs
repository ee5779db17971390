//! What the executor found wrong, typed, with the places in the source.

use std::fmt;
use std::panic::Location;

use super::schedule::Schedule;

/// A memory that threads share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Space {
    /// The block's; addresses are offsets in bytes.
    Shared,
    /// The device's; addresses are offsets in bytes within the named buffer.
    Global,
}

/// What an access does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccessKind {
    /// It reads.
    Read,
    /// It writes.
    Write,
    /// It reads and writes as one step: two of these do not race.
    Atomic,
    /// It comes to a barrier or a warp collective, and accesses nothing.
    Arrive,
}

/// One side of a finding: a thread and its place in the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// The block's number in the grid, in C order with x innermost.
    pub block: u32,
    /// The thread's number in the block, likewise.
    pub thread: u32,
    /// What it did.
    pub kind: AccessKind,
    /// Where.
    pub at: &'static Location<'static>,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FindingKind {
    /// Two accesses that no barrier orders, one of them a write.
    Race {
        /// Where the memory lies.
        space: Space,
        /// The other access, the earlier in this run.
        other: Access,
    },
    /// An access outside its allocation.
    OutOfBounds {
        /// Where.
        space: Space,
        /// Bytes that may be accessed there: of the block's shared memory, or of the nearest buffer below.
        limit: u64,
    },
    /// An access whose address is no multiple of its size.
    Misaligned {
        /// Where.
        space: Space,
    },
    /// A read of shared memory that nothing has written.
    NeverWritten,
    /// An access to shared memory that an asynchronous copy still fills; or, without an access, a block that ends while a bulk
    /// copy still fills or reads its shared memory.
    StillCopying {
        /// The copy.
        copy: Access,
    },
    /// A plain store followed by an access of the async proxy to the same bytes without the fence between the proxies.
    MissingProxyFence {
        /// The store.
        store: Access,
    },
    /// A barrier that some thread of the block does not reach.
    Barrier {
        /// Its number.
        id: u32,
        /// Threads that arrived.
        arrived: u32,
        /// Threads that it waits for.
        expected: u32,
    },
    /// A misuse of a barrier: in words.
    BarrierMisuse {
        /// Its number.
        id: u32,
        /// What is wrong.
        what: &'static str,
        /// The arrival that it contradicts, the earlier in this run.
        other: Option<Access>,
    },
    /// A warp collective that some of its members do not reach, or reach at another operation.
    Collective {
        /// The operation.
        operation: &'static str,
        /// The members, one bit a lane.
        members: u32,
        /// Those that did not come.
        missing: u32,
    },
    /// A warp collective whose mask of members lacks the calling lane, or the lane whose value it asks for.
    NoMember {
        /// The operation.
        operation: &'static str,
        /// The members, one bit a lane.
        members: u32,
        /// The lane that is none of them.
        lane: u32,
    },
    /// A misuse of an mbarrier: in words.
    Mbarrier {
        /// What is wrong.
        what: &'static str,
    },
    /// The launch contradicts the kernel's spec.
    Launch {
        /// What: threads, shared bytes, …
        what: &'static str,
        /// The launch's.
        found: u64,
        /// The spec's.
        needed: u64,
    },
    /// The kernel trapped: a panic, with its message.
    Trap {
        /// What it said.
        message: String,
    },
}

/// One thing found wrong; the same one at the same places counts up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The kernel.
    pub kernel: &'static str,
    /// What is wrong.
    pub kind: FindingKind,
    /// The access, or the waiting thread, that showed it; `None` for the launch itself.
    pub access: Option<Access>,
    /// The address: of shared memory an offset, of global memory an offset in `buffer`.
    pub address: u64,
    /// Bytes of the access.
    pub bytes: u32,
    /// The name of the global buffer.
    pub buffer: Option<String>,
    /// How often it was seen.
    pub count: u64,
}

impl Finding {
    /// Whether both are the same fault at the same places.
    pub(super) fn same_fault(&self, other: &Finding) -> bool {
        fn places(f: &Finding) -> impl PartialEq + '_ {
            let other = match &f.kind {
                FindingKind::Race { other, .. } | FindingKind::BarrierMisuse { other: Some(other), .. } => {
                    Some(other.at)
                }
                FindingKind::StillCopying { copy: other } | FindingKind::MissingProxyFence { store: other } => {
                    Some(other.at)
                }
                _ => None,
            };
            let (what, id) = match &f.kind {
                FindingKind::BarrierMisuse { what, id, .. } => (*what, *id),
                FindingKind::Mbarrier { what } | FindingKind::Launch { what, .. } => (*what, 0),
                FindingKind::Barrier { id, .. } => ("", *id),
                FindingKind::Trap { message } => (message.as_str(), 0),
                _ => ("", 0),
            };
            (std::mem::discriminant(&f.kind), what, id, f.access.map(|a| a.at), other, f.buffer.as_deref())
        }
        places(self) == places(other)
    }
}

impl fmt::Display for AccessKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AccessKind::Read => "read",
            AccessKind::Write => "write",
            AccessKind::Atomic => "atomic",
            AccessKind::Arrive => "arrival",
        })
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by thread {} of block {} at {}", self.kind, self.thread, self.block, self.at)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.kernel)?;
        let memory = match &self.buffer {
            Some(buffer) => format!("{buffer}, byte {}", self.address),
            None => format!("shared memory, byte {}", self.address),
        };
        match &self.kind {
            FindingKind::Race { other, .. } => write!(f, "race in {memory}: with {other}")?,
            FindingKind::OutOfBounds { limit, .. } => {
                write!(f, "{} bytes out of bounds in {memory} of {limit}", self.bytes)?;
            }
            FindingKind::Misaligned { .. } => write!(f, "{} bytes misaligned in {memory}", self.bytes)?,
            FindingKind::NeverWritten => write!(f, "{memory} was never written")?,
            FindingKind::StillCopying { copy } => write!(f, "{memory} is still being copied: {copy}")?,
            FindingKind::MissingProxyFence { store } => write!(f, "{memory} lacks the proxy fence after: {store}")?,
            FindingKind::Barrier { id, arrived, expected } => {
                write!(f, "barrier {id} is reached by {arrived} of {expected} threads")?;
            }
            FindingKind::BarrierMisuse { id, what, other } => {
                write!(f, "barrier {id}: {what}")?;
                if let Some(other) = other {
                    write!(f, ": with {other}")?;
                }
            }
            FindingKind::NoMember { operation, members, lane } => {
                write!(f, "{operation} of lanes {members:#010x}: lane {lane} is none of them")?;
            }
            FindingKind::Collective { operation, members, missing } => {
                write!(f, "{operation} of lanes {members:#010x} is not reached by {missing:#010x}")?;
            }
            FindingKind::Mbarrier { what } => write!(f, "mbarrier in {memory}: {what}")?,
            FindingKind::Launch { what, found, needed } => {
                write!(f, "launched with {what} {found}; it needs {needed}")?
            }
            FindingKind::Trap { message } => write!(f, "trap: {message}")?,
        }
        if let Some(access) = self.access {
            match self.kind {
                FindingKind::Trap { .. } => {
                    write!(f, "; thread {} of block {} at {}", access.thread, access.block, access.at)?
                }
                _ => write!(f, "; {access}")?,
            }
        }
        if self.count > 1 { write!(f, " ({} times)", self.count) } else { Ok(()) }
    }
}

/// What a run of a grid found: nothing, if all is well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Report {
    /// The schedule that was followed: with it the run repeats.
    pub schedule: Schedule,
    /// In the order they were first seen.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether nothing was found.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    /// Counts `finding`, or adds it.
    pub(super) fn add(&mut self, finding: Finding) {
        match self.findings.iter_mut().find(|known| known.same_fault(&finding)) {
            Some(known) => known.count += 1,
            None => self.findings.push(finding),
        }
    }

    /// For tests.
    ///
    /// # Panics
    /// If anything was found, with all of it.
    #[track_caller]
    pub fn expect_clean(&self) {
        assert!(self.is_clean(), "under schedule {:?}:\n{self}", self.schedule);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_clean() {
            return f.write_str("clean");
        }
        self.findings.iter().try_for_each(|finding| writeln!(f, "{finding}"))
    }
}
