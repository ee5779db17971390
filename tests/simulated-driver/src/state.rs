//! The driver's state, and the way every call takes: counted, failed if ordered, refused in a lost context.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{LazyLock, Mutex, PoisonError};

use cuda_std::simt::{Finding, Memory, Schedule};

use crate::context::{Context, Usage};
use crate::fault::Fault;
use crate::machine::Machine;
use crate::work::{self, End, Failure, Work};

/// A `CUresult`.
pub(crate) type Code = u32;
pub(crate) const SUCCESS: Code = 0;
pub(crate) const INVALID_VALUE: Code = 1;
pub(crate) const OUT_OF_MEMORY: Code = 2;
pub(crate) const NOT_INITIALIZED: Code = 3;
pub(crate) const NO_DEVICE: Code = 100;
pub(crate) const INVALID_DEVICE: Code = 101;
pub(crate) const INVALID_CONTEXT: Code = 201;
pub(crate) const NO_BINARY_FOR_GPU: Code = 209;
pub(crate) const INVALID_PTX: Code = 218;
pub(crate) const UNSUPPORTED_PTX_VERSION: Code = 222;
pub(crate) const INVALID_HANDLE: Code = 400;
pub(crate) const NOT_FOUND: Code = 500;
pub(crate) const NOT_READY: Code = 600;
pub(crate) const ILLEGAL_ADDRESS: Code = 700;
pub(crate) const CONTEXT_IS_DESTROYED: Code = 709;
pub(crate) const MISALIGNED_ADDRESS: Code = 716;
pub(crate) const LAUNCH_FAILED: Code = 719;
pub(crate) const CAPTURE_UNSUPPORTED: Code = 900;
pub(crate) const CAPTURE_UNJOINED: Code = 904;
pub(crate) const CAPTURE_ISOLATION: Code = 905;
pub(crate) const CAPTURED_EVENT: Code = 907;
const UNKNOWN: Code = 999;

/// Codes that a careful host never meets. (Asking about any address is allowed.)
const MISUSE: [Code; 9] = [
    INVALID_VALUE,
    NOT_INITIALIZED,
    INVALID_CONTEXT,
    INVALID_HANDLE,
    CONTEXT_IS_DESTROYED,
    CAPTURE_UNSUPPORTED,
    CAPTURE_UNJOINED,
    CAPTURE_ISOLATION,
    CAPTURED_EVENT,
];

thread_local! {
    /// The handle of the context that is current on this thread; 0 for none.
    pub(crate) static CURRENT: Cell<usize> = const { Cell::new(0) };
}

static STATE: LazyLock<Mutex<State>> = LazyLock::new(|| Mutex::new(State::of(Machine::of_environment())));

/// The driver, held while `use_it` runs: which must not call the driver's functions.
pub fn with<R>(use_it: impl FnOnce(&mut State) -> R) -> R {
    use_it(&mut STATE.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The driver and its device.
pub struct State {
    /// What it pretends to be.
    pub machine: Machine,
    /// The order in which kernels' threads take turns.
    pub schedule: Schedule,
    /// Whether streams that are not default ones do their work as late as the order of streams and events allows: when somebody
    /// waits for it. What is ordered by luck alone is then out of order.
    pub late: bool,
    /// Every call so far.
    pub calls: Vec<&'static str>,
    /// What the executor found in kernels.
    pub findings: Vec<Finding>,
    /// Calls that no careful host makes: after a release, of a handle given back, without a context.
    pub misuses: Vec<String>,
    /// What was still held when the context was released for the last time.
    pub abandoned: Usage,
    pub(crate) initialized: bool,
    pub(crate) memory: Memory,
    pub(crate) context: Option<Context>,
    pub(crate) retains: usize,
    handles: usize,
    faults: Vec<Fault>,
}

impl State {
    fn of(machine: Machine) -> Self {
        Self {
            faults: machine.faults.clone(),
            machine,
            schedule: Schedule::InOrder,
            late: false,
            calls: Vec::new(),
            findings: Vec::new(),
            misuses: Vec::new(),
            abandoned: Usage::NOTHING,
            initialized: false,
            memory: Memory::new(),
            context: None,
            retains: 0,
            handles: 0x5100_0000,
        }
    }

    /// Starts anew as `machine`.
    pub fn start(&mut self, machine: Machine) {
        *self = Self::of(machine);
    }

    /// Orders a failure.
    pub fn inject(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// Takes back the failures that have not happened; how many there were.
    pub fn forget_faults(&mut self) -> usize {
        self.faults.drain(..).count()
    }

    /// What is held now.
    pub fn usage(&self) -> Usage {
        let held = self.context.as_ref().map_or(Usage::NOTHING, Context::usage);
        Usage { retains: self.retains, ..held }
    }

    /// Whether a kernel's fault, or an ordered one, has lost the context.
    pub fn lost(&self) -> bool {
        self.context.as_ref().is_some_and(|context| context.lost.is_some())
    }

    /// A handle that was never given out.
    pub(crate) fn handle(&mut self) -> usize {
        self.handles += 16;
        self.handles
    }

    /// The context that is current on this thread, not lost, and the device's memory.
    pub(crate) fn current(&mut self) -> Result<(&mut Context, &mut Memory), Code> {
        let (context, memory) = self.held()?;
        context.lost.map_or(Ok((context, memory)), Err)
    }

    /// The same, lost or not: for giving back.
    pub(crate) fn held(&mut self) -> Result<(&mut Context, &mut Memory), Code> {
        match (CURRENT.get(), &mut self.context) {
            (0, _) => Err(INVALID_CONTEXT),
            (current, Some(context)) if context.handle == current => Ok((context, &mut self.memory)),
            _ => Err(CONTEXT_IS_DESTROYED),
        }
    }

    /// The context whatever is current: streams and events know theirs.
    pub(crate) fn any(&mut self) -> Result<&mut Context, Code> {
        self.context.as_mut().ok_or(CONTEXT_IS_DESTROYED)
    }

    /// Puts work on a stream: done at once, or late, or recorded where the stream captures.
    ///
    /// # Safety
    /// Addresses of the host in it are valid for its bytes until it is done.
    pub(crate) unsafe fn enqueue(&mut self, stream: usize, work: Work) -> Result<(), Code> {
        let late = self.late;
        let (context, memory) = self.current()?;
        let inside = |address, bytes| memory.contains(address, bytes as u64);
        match work {
            Work::Fill { address, bytes, .. } if !inside(address, bytes) => return Err(INVALID_VALUE),
            _ => {}
        }
        if let Some(origin) = context.capture(stream)? {
            context.capture_work(origin, stream, work);
            return Ok(());
        }
        if let Some(queue) = context.streams.get_mut(&stream).filter(|_| late).map(|stream| &mut stream.queue) {
            // Memory of the host is read before the call returns.
            let reads_host = matches!(work, Work::Copy { from: End::Host(_), .. });
            queue.push_back(work);
            if reads_host {
                // SAFETY: the caller's promise.
                unsafe { self.catch_up(stream, None) };
            }
            return Ok(());
        }
        // SAFETY: the caller's promise.
        unsafe { self.perform(stream, &work) }
    }

    /// Records an event on a stream.
    pub(crate) fn record(&mut self, event: usize, stream: usize) -> Result<(), Code> {
        let ticket = self.handle();
        let (context, _) = self.current()?;
        let captured = context.capture(stream)?;
        let entry = context.events.get_mut(&event).ok_or(INVALID_HANDLE)?;
        (entry.place, entry.captured) = (Some((stream, ticket)), captured);
        // In a capture it stands for a place in the graph, and has no time.
        if captured.is_some() {
            return Ok(());
        }
        // SAFETY: no address of the host.
        unsafe { self.enqueue(stream, Work::Record { event, ticket }) }
    }

    /// Lets a stream wait for what an event was last recorded behind.
    pub(crate) fn wait(&mut self, stream: usize, event: usize) -> Result<(), Code> {
        let (context, _) = self.current()?;
        let event = *context.events.get(&event).ok_or(INVALID_HANDLE)?;
        let (capture, Some((recorded, ticket))) = (context.capture(stream)?, event.place) else { return Ok(()) };
        match (capture, event.captured) {
            // SAFETY: no address of the host.
            (None, None) => unsafe { self.enqueue(stream, Work::Wait { stream: recorded, ticket }) },
            (Some(_), None) => Err(CAPTURE_ISOLATION),
            // The default streams cannot take part; the others do from here on.
            (None, Some(_)) if !context.streams.contains_key(&stream) => Err(CAPTURED_EVENT),
            (Some(ours), Some(origin)) if ours != origin => Err(CAPTURE_ISOLATION),
            (_, Some(origin)) if context.capture(origin) != Ok(Some(origin)) => Err(CAPTURED_EVENT),
            (_, Some(origin)) => {
                context.capture_wait(origin, stream, recorded);
                Ok(())
            }
        }
    }

    /// Does what a stream still has to do, up to that ticket or all of it.
    ///
    /// # Safety
    /// As [`Self::enqueue`].
    pub(crate) unsafe fn catch_up(&mut self, stream: usize, ticket: Option<usize>) {
        loop {
            let Some(context) = &mut self.context else { return };
            let Some(late) = context.streams.get_mut(&stream) else { return };
            if context.lost.is_some() {
                late.queue.clear();
            }
            if ticket.is_some_and(|ticket| late.passed >= ticket) {
                return;
            }
            let Some(work) = late.queue.pop_front() else { return };
            // SAFETY: the caller's promise.
            let failed = unsafe { self.perform(stream, &work) }.err();
            if let Some(context) = &mut self.context {
                context.lost = context.lost.or(failed);
            }
        }
    }

    /// The same for all streams: what calls do that wait for the device.
    ///
    /// # Safety
    /// As [`Self::enqueue`].
    pub(crate) unsafe fn catch_up_all(&mut self) {
        let streams: Vec<_> = self.context.iter().flat_map(|context| context.streams.keys().copied()).collect();
        for stream in streams {
            // SAFETY: the caller's promise.
            unsafe { self.catch_up(stream, None) };
        }
    }

    /// Does work of a stream.
    ///
    /// # Safety
    /// As [`Self::enqueue`].
    unsafe fn perform(&mut self, stream: usize, work: &Work) -> Result<(), Code> {
        if let Work::Wait { stream, ticket } = *work {
            // SAFETY: the caller's promise, kept for what was queued.
            unsafe { self.catch_up(stream, Some(ticket)) };
        }
        let Some(context) = &mut self.context else { return Err(CONTEXT_IS_DESTROYED) };
        if let (Some(stream), &Work::Record { ticket, .. }) = (context.streams.get_mut(&stream), work) {
            stream.passed = ticket;
        }
        // SAFETY: the caller's promise.
        match unsafe { work::perform(work, &self.memory, &mut context.events, self.schedule, &mut self.findings) } {
            Ok(()) => Ok(()),
            Err(Failure::Refused(code)) => Err(code),
            // As on a GPU, which runs behind: it is a later call that says so.
            Err(Failure::Lost(code)) => {
                context.lost = Some(code);
                Ok(())
            }
        }
    }

    /// Counts a call; the code it fails with, if that was ordered.
    fn enter(&mut self, function: &'static str) -> Option<Code> {
        self.calls.push(function);
        let met: Vec<Fault> = self.faults.extract_if(.., |fault| fault.meets(function)).collect();
        let fault = met.first()?;
        if fault.sticky
            && let Some(context) = &mut self.context
        {
            context.lost = Some(fault.code);
        }
        Some(fault.code)
    }

    fn left(&mut self, function: &'static str, result: Result<(), Code>) -> Code {
        let code = result.err().unwrap_or(SUCCESS);
        if MISUSE.contains(&code) && function != "cuPointerGetAttribute" {
            self.misuses.push(format!("{function} returned {code}"));
        }
        code
    }
}

/// A call of the driver.
pub(crate) fn call(function: &'static str, body: impl FnOnce(&mut State) -> Result<(), Code>) -> Code {
    guarded(|state| match state.enter(function) {
        Some(code) => code,
        None if !state.initialized && !["cuInit", "cuDriverGetVersion"].contains(&function) => {
            state.left(function, Err(NOT_INITIALIZED))
        }
        None => {
            let result = body(state);
            state.left(function, result)
        }
    })
}

/// A call that gives something back: it does so even where it fails, as the context's end would.
pub(crate) fn give_back(function: &'static str, body: impl FnOnce(&mut State) -> Result<(), Code>) -> Code {
    guarded(|state| {
        let ordered = state.enter(function);
        let lost = state.context.as_ref().and_then(|context| context.lost);
        let result = body(state);
        let code = state.left(function, result);
        ordered.or(lost).unwrap_or(code)
    })
}

/// No panic leaves through a function of C.
fn guarded(body: impl FnOnce(&mut State) -> Code) -> Code {
    catch_unwind(AssertUnwindSafe(|| with(body))).unwrap_or(UNKNOWN)
}
