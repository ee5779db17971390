//! The primary context: everything that a process holds of a device, by handle.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use kernel_gpu::entries::Entry;

use crate::module::Module;
use crate::state::{Code, INVALID_HANDLE};
use crate::work::Work;

/// How much is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Retains of the primary context.
    pub retains: usize,
    /// Allocations of device memory.
    pub allocations: usize,
    /// Streams.
    pub streams: usize,
    /// Events.
    pub events: usize,
    /// Modules.
    pub modules: usize,
    /// Graphs, instantiated ones too.
    pub graphs: usize,
}

impl Usage {
    /// Nothing is held.
    pub const NOTHING: Self = Self { retains: 0, allocations: 0, streams: 0, events: 0, modules: 0, graphs: 0 };

    pub(crate) fn add(&mut self, other: Self) {
        self.retains += other.retains;
        self.allocations += other.allocations;
        self.streams += other.streams;
        self.events += other.events;
        self.modules += other.modules;
        self.graphs += other.graphs;
    }
}

/// A kernel of a loaded module.
pub(crate) struct Function {
    /// The module it goes with.
    pub(crate) module: usize,
    pub(crate) entry: &'static Entry,
    /// Dynamic shared memory that a launch may ask for.
    pub(crate) shared_limit: u32,
}

/// The limit until the host sets another.
pub(crate) const SHARED_LIMIT: u32 = 48 << 10;

/// The last of the default streams' handles: 0 and 1 are the legacy one's, 2 is the thread's own.
const PER_THREAD: usize = 2;

/// Work that a stream records instead of doing it, while it captures.
pub(crate) type Capture = Option<Vec<Work>>;

/// The context, from its first retain to its last release.
#[derive(Default)]
pub(crate) struct Context {
    pub(crate) handle: usize,
    /// The code of the fault that lost it.
    pub(crate) lost: Option<Code>,
    pub(crate) allocations: BTreeSet<u64>,
    pub(crate) streams: BTreeMap<usize, Capture>,
    /// When each was last recorded.
    pub(crate) events: BTreeMap<usize, Option<Instant>>,
    pub(crate) modules: BTreeMap<usize, Module>,
    pub(crate) functions: BTreeMap<usize, Function>,
    pub(crate) graphs: BTreeMap<usize, Vec<Work>>,
    pub(crate) executables: BTreeMap<usize, Vec<Work>>,
}

impl Context {
    pub(crate) fn usage(&self) -> Usage {
        Usage {
            retains: 0,
            allocations: self.allocations.len(),
            streams: self.streams.len(),
            events: self.events.len(),
            modules: self.modules.len(),
            graphs: self.graphs.len() + self.executables.len(),
        }
    }

    /// What a stream captures. The default ones, which are always there, capture nothing.
    pub(crate) fn capture(&mut self, stream: usize) -> Result<Option<&mut Vec<Work>>, Code> {
        match self.streams.get_mut(&stream) {
            Some(capture) => Ok(capture.as_mut()),
            None if stream <= PER_THREAD => Ok(None),
            None => Err(INVALID_HANDLE),
        }
    }

    /// Whether any stream captures: calls that wait or allocate are refused meanwhile.
    pub(crate) fn captures(&self) -> bool {
        self.streams.values().any(Option::is_some)
    }
}
