//! The primary context: everything that a process holds of a device, by handle.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use kernel_gpu::entries::Entry;

use crate::module::Module;
use crate::state::{CAPTURE_UNJOINED, Code, INVALID_HANDLE, INVALID_VALUE};
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
    /// The module's.
    pub(crate) warpgroups: bool,
    /// Dynamic shared memory that a launch may ask for.
    pub(crate) shared_limit: u32,
}

/// The limit until the host sets another.
pub(crate) const SHARED_LIMIT: u32 = 48 << 10;

/// The last of the default streams' handles: 0 and 1 are the legacy one's, 2 is the thread's own.
const PER_THREAD: usize = 2;

/// A stream.
#[derive(Default)]
pub(crate) struct Stream {
    /// Where its work goes while it captures.
    pub(crate) capture: Option<Capture>,
    /// Work that is still to be done: see [`State::late`](crate::State::late).
    pub(crate) queue: VecDeque<Work>,
    /// The ticket of the last event that it has recorded.
    pub(crate) passed: usize,
}

/// What a stream does while it captures.
pub(crate) enum Capture {
    /// It began: the work of all streams that take part.
    Origin(Vec<Work>),
    /// It waited for an event of the capture that `origin` began.
    Joining {
        origin: usize,
        /// Whether the origin has waited for all its work.
        joined: bool,
    },
}

/// An event.
#[derive(Clone, Copy, Default)]
pub(crate) struct Event {
    /// When it was last recorded.
    pub(crate) time: Option<Instant>,
    /// Where it was last recorded: the stream, and the ticket.
    pub(crate) place: Option<(usize, usize)>,
    /// Whether that was in a capture, and the origin's stream.
    pub(crate) captured: Option<usize>,
}

/// The context, from its first retain to its last release.
#[derive(Default)]
pub(crate) struct Context {
    pub(crate) handle: usize,
    /// The code of the fault that lost it.
    pub(crate) lost: Option<Code>,
    pub(crate) allocations: BTreeSet<u64>,
    pub(crate) streams: BTreeMap<usize, Stream>,
    pub(crate) events: BTreeMap<usize, Event>,
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

    /// The origin of the capture that a stream takes part in. The default ones, which are always there, take part in none.
    pub(crate) fn capture(&self, stream: usize) -> Result<Option<usize>, Code> {
        match self.streams.get(&stream).map(|stream| &stream.capture) {
            Some(Some(Capture::Origin(_))) => Ok(Some(stream)),
            Some(Some(Capture::Joining { origin, .. })) => Ok(Some(*origin)),
            Some(None) => Ok(None),
            None if stream <= PER_THREAD => Ok(None),
            None => Err(INVALID_HANDLE),
        }
    }

    /// Puts work of a stream that captures to the capture of `origin`.
    pub(crate) fn capture_work(&mut self, origin: usize, stream: usize, work: Work) {
        if let Some(Stream { capture: Some(Capture::Joining { joined, .. }), .. }) = self.streams.get_mut(&stream) {
            *joined = false;
        }
        if let Some(Stream { capture: Some(Capture::Origin(all)), .. }) = self.streams.get_mut(&origin) {
            all.push(work);
        }
    }

    /// Within a capture: `stream` waits for an event that was recorded in it, on `recorded`.
    pub(crate) fn capture_wait(&mut self, origin: usize, stream: usize, recorded: usize) {
        let joins = |stream: &mut Stream, joined| stream.capture = Some(Capture::Joining { origin, joined });
        if stream == origin {
            // What comes on that stream after its record is not told apart: the host records last.
            if let Some(recorded) = self.streams.get_mut(&recorded).filter(|_| recorded != origin) {
                joins(recorded, true);
            }
        } else if let Some(stream) = self.streams.get_mut(&stream) {
            joins(stream, false);
        }
    }

    /// Ends the capture that `origin` began: its work, or the code that says why it is none.
    pub(crate) fn end_capture(&mut self, origin: usize) -> Result<Vec<Work>, Code> {
        let stream = self.streams.get_mut(&origin).ok_or(INVALID_HANDLE)?;
        let Some(Capture::Origin(work)) = stream.capture.take_if(|capture| matches!(capture, Capture::Origin(_)))
        else {
            return Err(INVALID_VALUE);
        };
        let mut all_joined = true;
        for stream in self.streams.values_mut() {
            if let Some(Capture::Joining { origin: theirs, joined }) = stream.capture
                && theirs == origin
            {
                all_joined &= joined;
                stream.capture = None;
            }
        }
        if all_joined { Ok(work) } else { Err(CAPTURE_UNJOINED) }
    }

    /// Whether any stream captures: calls that wait or allocate are refused meanwhile.
    pub(crate) fn captures(&self) -> bool {
        self.streams.values().any(|stream| stream.capture.is_some())
    }
}
