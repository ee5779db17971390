//! Streams, events, graphs and launches.

use super::put;
use crate::context::{Capture, Event, Function, Stream};
use crate::state::{CAPTURE_UNSUPPORTED, INVALID_HANDLE, INVALID_VALUE, NOT_FOUND, NOT_READY, State, call, give_back};
use crate::work::{Launch, Work};

/// Makes a stream.
pub unsafe extern "C" fn cuStreamCreate(stream: *mut usize, _flags: u32) -> u32 {
    // SAFETY: the module's contract.
    call("cuStreamCreate", |state| unsafe { create_stream(state, stream) })
}

/// Makes a stream; there are no priorities here.
pub unsafe extern "C" fn cuStreamCreateWithPriority(stream: *mut usize, _flags: u32, _priority: i32) -> u32 {
    // SAFETY: the module's contract.
    call("cuStreamCreateWithPriority", |state| unsafe { create_stream(state, stream) })
}

/// # Safety
/// `stream` is null or valid for a write.
unsafe fn create_stream(state: &mut State, stream: *mut usize) -> Result<(), u32> {
    let handle = state.handle();
    state.current()?.0.streams.insert(handle, Stream::default());
    // SAFETY: the caller's promise.
    unsafe { put(stream, handle) }
}

/// Waits for a stream: here a lost context is told.
pub unsafe extern "C" fn cuStreamSynchronize(stream: usize) -> u32 {
    call("cuStreamSynchronize", |state| {
        if state.current()?.0.capture(stream)?.is_some() {
            return Err(CAPTURE_UNSUPPORTED);
        }
        // SAFETY: addresses of the host are valid until they are waited for: the callers' promise.
        unsafe { state.catch_up(stream, None) };
        state.current().map(|_| ())
    })
}

/// Lets a stream wait for an event.
pub unsafe extern "C" fn cuStreamWaitEvent(stream: usize, event: usize, _flags: u32) -> u32 {
    call("cuStreamWaitEvent", |state| state.wait(stream, event))
}

/// 1 where the stream records its work, else 0.
pub unsafe extern "C" fn cuStreamIsCapturing(stream: usize, status: *mut u32) -> u32 {
    call("cuStreamIsCapturing", |state| {
        let captures = state.current()?.0.capture(stream)?.is_some();
        // SAFETY: the module's contract.
        unsafe { put(status, u32::from(captures)) }
    })
}

/// Destroys a stream, whatever context is current.
pub unsafe extern "C" fn cuStreamDestroy_v2(stream: usize) -> u32 {
    give_back("cuStreamDestroy_v2", |state| {
        // SAFETY: as for `cuStreamSynchronize`. (A driver does not wait here, and its work is done all the same.)
        unsafe { state.catch_up(stream, None) };
        state.any()?.streams.remove(&stream).map(|_| ()).ok_or(INVALID_HANDLE)
    })
}

/// From here on the stream records its work.
pub unsafe extern "C" fn cuStreamBeginCapture_v2(stream: usize, _mode: u32) -> u32 {
    call("cuStreamBeginCapture_v2", |state| {
        let stream = state.current()?.0.streams.get_mut(&stream).ok_or(CAPTURE_UNSUPPORTED)?;
        if stream.capture.is_some() {
            return Err(CAPTURE_UNSUPPORTED);
        }
        stream.capture = Some(Capture::Origin(Vec::new()));
        Ok(())
    })
}

/// What the stream recorded, as a graph.
pub unsafe extern "C" fn cuStreamEndCapture(stream: usize, graph: *mut usize) -> u32 {
    call("cuStreamEndCapture", |state| {
        let handle = state.handle();
        let (context, _) = state.current()?;
        let work = context.end_capture(stream)?;
        context.graphs.insert(handle, work);
        // SAFETY: the module's contract.
        unsafe { put(graph, handle) }
    })
}

/// Makes a graph fit to be launched.
pub unsafe extern "C" fn cuGraphInstantiate_v2(
    executable: *mut usize,
    graph: usize,
    _node: *mut usize,
    _log: *mut u8,
    _length: usize,
) -> u32 {
    call("cuGraphInstantiate_v2", |state| {
        let handle = state.handle();
        let (context, _) = state.current()?;
        let work = context.graphs.get(&graph).ok_or(INVALID_HANDLE)?.clone();
        context.executables.insert(handle, work);
        // SAFETY: the module's contract.
        unsafe { put(executable, handle) }
    })
}

/// Puts a graph's work on a stream.
pub unsafe extern "C" fn cuGraphLaunch(executable: usize, stream: usize) -> u32 {
    call("cuGraphLaunch", |state| {
        let work = state.current()?.0.executables.get(&executable).ok_or(INVALID_HANDLE)?.clone();
        for work in work {
            // SAFETY: what is captured stays valid as long as the graph is launched: the capturing caller's promise.
            unsafe { state.enqueue(stream, work)? };
        }
        Ok(())
    })
}

/// Destroys a graph made fit to be launched.
pub unsafe extern "C" fn cuGraphExecDestroy(executable: usize) -> u32 {
    give_back("cuGraphExecDestroy", |state| {
        state.any()?.executables.remove(&executable).map(|_| ()).ok_or(INVALID_HANDLE)
    })
}

/// Destroys a graph.
pub unsafe extern "C" fn cuGraphDestroy(graph: usize) -> u32 {
    give_back("cuGraphDestroy", |state| state.any()?.graphs.remove(&graph).map(|_| ()).ok_or(INVALID_HANDLE))
}

/// Makes an event.
pub unsafe extern "C" fn cuEventCreate(event: *mut usize, _flags: u32) -> u32 {
    call("cuEventCreate", |state| {
        let handle = state.handle();
        state.current()?.0.events.insert(handle, Event::default());
        // SAFETY: the module's contract.
        unsafe { put(event, handle) }
    })
}

/// Puts an event on a stream.
pub unsafe extern "C" fn cuEventRecord(event: usize, stream: usize) -> u32 {
    call("cuEventRecord", |state| state.record(event, stream))
}

/// Milliseconds from one event to another, by the host's clock.
pub unsafe extern "C" fn cuEventElapsedTime(milliseconds: *mut f32, first: usize, second: usize) -> u32 {
    call("cuEventElapsedTime", |state| {
        let (context, _) = state.current()?;
        let time = |event| context.events.get(&event).ok_or(INVALID_HANDLE)?.time.ok_or(NOT_READY);
        let elapsed = time(second)?.saturating_duration_since(time(first)?);
        // SAFETY: the module's contract.
        unsafe { put(milliseconds, elapsed.as_secs_f32() * 1e3) }
    })
}

/// Destroys an event, whatever context is current.
pub unsafe extern "C" fn cuEventDestroy_v2(event: usize) -> u32 {
    give_back("cuEventDestroy_v2", |state| state.any()?.events.remove(&event).map(|_| ()).ok_or(INVALID_HANDLE))
}

/// Puts a kernel on a stream, with a copy of its parameter block. A launch that its spec does not allow is refused; what a
/// kernel does wrong is told by later calls.
#[allow(clippy::too_many_arguments, reason = "CUDA's signature")]
pub unsafe extern "C" fn cuLaunchKernel(
    function: usize,
    grid_x: u32,
    grid_y: u32,
    grid_z: u32,
    block_x: u32,
    block_y: u32,
    block_z: u32,
    shared_bytes: u32,
    stream: usize,
    parameters: *const *const u8,
    extra: *const usize,
) -> u32 {
    let config = LaunchConfig {
        grid: [grid_x, grid_y, grid_z],
        block: [block_x, block_y, block_z],
        shared_bytes,
        stream,
        attributes: std::ptr::null(),
        attribute_count: 0,
    };
    // SAFETY: the module's contract.
    call("cuLaunchKernel", |state| unsafe { launch(state, &config, function, parameters, extra) })
}

/// `CUlaunchConfig`.
#[repr(C)]
pub struct LaunchConfig {
    grid: [u32; 3],
    block: [u32; 3],
    shared_bytes: u32,
    stream: usize,
    attributes: *const LaunchAttribute,
    attribute_count: u32,
}

/// `CUlaunchAttribute`.
#[repr(C)]
struct LaunchAttribute {
    id: u32,
    value: [u64; 8],
}

/// The only attribute that is known: programmatic stream serialization. Grids run one after the other all the same.
const STREAM_SERIALIZATION: u32 = 6;

/// As [`cuLaunchKernel`].
pub unsafe extern "C" fn cuLaunchKernelEx(
    config: *const LaunchConfig,
    function: usize,
    parameters: *const *const u8,
    extra: *const usize,
) -> u32 {
    // SAFETY: the module's contract.
    call("cuLaunchKernelEx", |state| unsafe { launch(state, config, function, parameters, extra) })
}

/// # Safety
/// Of both: as the module's contract says, of the configuration's attributes too.
unsafe fn launch(
    state: &mut State,
    config: *const LaunchConfig,
    function: usize,
    parameters: *const *const u8,
    extra: *const usize,
) -> Result<(), u32> {
    // SAFETY: the caller's promise.
    let Some(config) = (unsafe { config.as_ref() }) else { return Err(INVALID_VALUE) };
    for i in 0..config.attribute_count as usize {
        // SAFETY: as above.
        if unsafe { (*config.attributes.add(i)).id } != STREAM_SERIALIZATION {
            return Err(INVALID_VALUE);
        }
    }
    let functions = &state.current()?.0.functions;
    let &Function { entry, warpgroups, shared_limit, .. } = functions.get(&function).ok_or(INVALID_HANDLE)?;
    if parameters.is_null() || !extra.is_null() || config.shared_bytes > shared_limit {
        return Err(INVALID_VALUE);
    }
    // SAFETY: one pointer for the kernel's one parameter, which is a block of that many bytes.
    let block = unsafe { std::slice::from_raw_parts(parameters.read(), entry.parameter_bytes) };
    let launch = Launch {
        entry,
        warpgroups,
        grid: config.grid,
        block: config.block,
        shared_bytes: config.shared_bytes,
        parameters: block.to_vec(),
    };
    // SAFETY: no address of the host.
    unsafe { state.enqueue(config.stream, Work::Launch(launch)) }
}

/// The address of a function that is newer than the table: there is one.
pub unsafe extern "C" fn cuGetProcAddress(symbol: *const u8, function: *mut usize, _version: i32, _flags: u64) -> u32 {
    call("cuGetProcAddress", |_| {
        // SAFETY: a C string, by the module's contract.
        let name = unsafe { std::ffi::CStr::from_ptr(symbol.cast()) };
        if name != c"cuLaunchKernelEx" {
            return Err(NOT_FOUND);
        }
        // SAFETY: the module's contract.
        unsafe { put(function, cuLaunchKernelEx as *const () as usize) }
    })
}
