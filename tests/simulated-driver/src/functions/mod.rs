//! The driver's functions, with the signatures of CUDA's header in words: a handle is a `usize`, a result a `u32`.
//!
//! # Safety
//! Of all of them, as CUDA's header says: pointers are valid for what is read or written through them.

#![allow(non_snake_case, clippy::missing_safety_doc, reason = "CUDA's names; the contract is the module's")]

mod memory;
mod queue;

use std::ffi::CStr;

use crate::context::{Context, Function, SHARED_LIMIT};
use crate::module::{Module, Refusal};
use crate::state::{
    CURRENT, Code, INVALID_CONTEXT, INVALID_DEVICE, INVALID_HANDLE, INVALID_VALUE, NO_DEVICE, SUCCESS, State, call,
    give_back,
};

pub use memory::*;
pub use queue::*;

/// Writes a result through an argument, which must not be null.
///
/// # Safety
/// `to` is null or valid for a write.
unsafe fn put<T>(to: *mut T, value: T) -> Result<(), Code> {
    if to.is_null() {
        return Err(INVALID_VALUE);
    }
    // SAFETY: not null, so valid by the contract.
    unsafe { to.write(value) };
    Ok(())
}

fn only_device(state: &State, device: i32) -> Result<(), Code> {
    if (0..state.machine.devices).contains(&device) { Ok(()) } else { Err(INVALID_DEVICE) }
}

/// Starts the driver.
pub unsafe extern "C" fn cuInit(flags: u32) -> u32 {
    call("cuInit", |state| match (flags, state.machine.devices) {
        (0, 0) => Err(NO_DEVICE),
        (0, _) => {
            state.initialized = true;
            Ok(())
        }
        _ => Err(INVALID_VALUE),
    })
}

/// 1000·major + 10·minor.
pub unsafe extern "C" fn cuDriverGetVersion(version: *mut i32) -> u32 {
    call("cuDriverGetVersion", |state| {
        let (major, minor) = state.machine.driver;
        // SAFETY: the module's contract.
        unsafe { put(version, 1000 * major + 10 * minor) }
    })
}

/// The device of a number: the number itself.
pub unsafe extern "C" fn cuDeviceGet(device: *mut i32, ordinal: i32) -> u32 {
    call("cuDeviceGet", |state| {
        only_device(state, ordinal)?;
        // SAFETY: the module's contract.
        unsafe { put(device, ordinal) }
    })
}

/// How many devices there are.
pub unsafe extern "C" fn cuDeviceGetCount(count: *mut i32) -> u32 {
    // SAFETY: the module's contract.
    call("cuDeviceGetCount", |state| unsafe { put(count, state.machine.devices) })
}

/// The device's name, cut to fit.
pub unsafe extern "C" fn cuDeviceGetName(name: *mut u8, length: i32, device: i32) -> u32 {
    const NAME: &[u8] = b"Simulated GPU";
    call("cuDeviceGetName", |state| {
        only_device(state, device)?;
        let kept = NAME.len().min(usize::try_from(length).unwrap_or(0).checked_sub(1).ok_or(INVALID_VALUE)?);
        for (i, &byte) in NAME[..kept].iter().chain(&[0]).enumerate() {
            // SAFETY: `length` bytes may be written, and these are at most as many.
            unsafe { put(name.wrapping_add(i), byte)? };
        }
        Ok(())
    })
}

/// The device's memory.
pub unsafe extern "C" fn cuDeviceTotalMem_v2(bytes: *mut usize, device: i32) -> u32 {
    call("cuDeviceTotalMem_v2", |state| {
        only_device(state, device)?;
        // SAFETY: the module's contract.
        unsafe { put(bytes, state.machine.memory) }
    })
}

/// A number about the device; 0 for those that nobody here asks for.
pub unsafe extern "C" fn cuDeviceGetAttribute(value: *mut i32, attribute: u32, device: i32) -> u32 {
    call("cuDeviceGetAttribute", |state| {
        only_device(state, device)?;
        let (major, minor) = state.machine.capability;
        let answer = match attribute {
            16 => 4,       // multiprocessors
            38 => 1 << 20, // bytes of L2
            75 => major,
            76 => minor,
            97 => opt_in_shared_bytes(state.machine.capability) as i32,
            _ => 0,
        };
        // SAFETY: the module's contract.
        unsafe { put(value, answer) }
    })
}

/// Shared memory that a block may have where its kernel is set to ask for it (CUDA's guide, "Technical Specifications").
fn opt_in_shared_bytes(capability: (i32, i32)) -> u32 {
    match capability {
        (8, 0 | 7) => 163 << 10,
        (8, _) | (12, _) => 99 << 10,
        _ => 227 << 10,
    }
}

/// Sets an attribute of a kernel: of those there are, the most dynamic shared memory of a block.
pub unsafe extern "C" fn cuFuncSetAttribute(function: usize, attribute: u32, value: i32) -> u32 {
    call("cuFuncSetAttribute", |state| {
        const MAX_DYNAMIC_SHARED_SIZE_BYTES: u32 = 8;
        let most = opt_in_shared_bytes(state.machine.capability);
        let (context, _) = state.current()?;
        let function = context.functions.get_mut(&function).ok_or(INVALID_HANDLE)?;
        match u32::try_from(value) {
            Ok(bytes) if attribute == MAX_DYNAMIC_SHARED_SIZE_BYTES && bytes <= most => function.shared_limit = bytes,
            _ => return Err(INVALID_VALUE),
        }
        Ok(())
    })
}

/// Retains the primary context, which the first retain makes.
pub unsafe extern "C" fn cuDevicePrimaryCtxRetain(context: *mut usize, device: i32) -> u32 {
    call("cuDevicePrimaryCtxRetain", |state| {
        only_device(state, device)?;
        let fresh = state.handle();
        let handle = state.context.get_or_insert_with(|| Context { handle: fresh, ..Context::default() }).handle;
        state.retains += 1;
        // SAFETY: the module's contract.
        unsafe { put(context, handle) }
    })
}

/// Releases the primary context: the last release ends it, and frees whatever it still holds.
pub unsafe extern "C" fn cuDevicePrimaryCtxRelease_v2(device: i32) -> u32 {
    give_back("cuDevicePrimaryCtxRelease_v2", |state| {
        only_device(state, device)?;
        state.retains = state.retains.checked_sub(1).ok_or(INVALID_CONTEXT)?;
        if state.retains == 0
            && let Some(context) = state.context.take()
        {
            context.allocations.iter().for_each(|&address| {
                state.memory.free(address);
            });
            state.abandoned.add(context.usage());
        }
        Ok(())
    })
}

/// The thread's current context.
pub unsafe extern "C" fn cuCtxGetCurrent(context: *mut usize) -> u32 {
    // SAFETY: the module's contract.
    call("cuCtxGetCurrent", |_| unsafe { put(context, CURRENT.get()) })
}

/// Makes a context, or none, current on the thread.
pub unsafe extern "C" fn cuCtxSetCurrent(context: usize) -> u32 {
    call("cuCtxSetCurrent", |state| {
        if context != 0 && state.context.as_ref().is_none_or(|live| live.handle != context) {
            return Err(INVALID_CONTEXT);
        }
        CURRENT.set(context);
        Ok(())
    })
}

/// The device of the current context.
pub unsafe extern "C" fn cuCtxGetDevice(device: *mut i32) -> u32 {
    call("cuCtxGetDevice", |state| {
        state.held()?;
        // SAFETY: the module's contract.
        unsafe { put(device, 0) }
    })
}

/// Waits for everything: here only says whether the context is lost.
pub unsafe extern "C" fn cuCtxSynchronize() -> u32 {
    call("cuCtxSynchronize", |state| {
        // SAFETY: addresses of the host are valid until they are waited for: the callers' promise.
        unsafe { state.catch_up_all() };
        state.current().map(|_| ())
    })
}

/// Options of `cuModuleLoadDataEx`.
const ERROR_LOG_BUFFER: u32 = 5;
const ERROR_LOG_BUFFER_SIZE_BYTES: u32 = 6;

/// Loads PTX. A refusal, an ordered one too, puts the compiler's words into the log that the options name.
pub unsafe extern "C" fn cuModuleLoadDataEx(
    module: *mut usize,
    image: *const u8,
    count: u32,
    options: *const u32,
    values: *const usize,
) -> u32 {
    let name = "cuModuleLoadDataEx";
    let mut refusal: Option<String> = None;
    let code = call(name, |state| {
        state.current()?;
        if image.is_null() {
            return Err(INVALID_VALUE);
        }
        // SAFETY: the image is PTX, a string of C.
        let ptx = unsafe { CStr::from_ptr(image.cast()) }.to_string_lossy();
        let loaded = Module::load(&ptx, &state.machine).map_err(|(code, log): Refusal| {
            refusal = Some(log);
            code
        })?;
        let handle = state.handle();
        state.any()?.modules.insert(handle, loaded);
        // SAFETY: the module's contract.
        unsafe { put(module, handle) }
    });
    if code != SUCCESS {
        let log = refusal.unwrap_or_else(|| "ptxas application ptx input, line 9;\nfatal   : as ordered".to_owned());
        let mut buffer = (std::ptr::null_mut::<u8>(), 0);
        for i in 0..count as usize {
            // SAFETY: both lists have `count` members.
            match unsafe { (options.add(i).read(), values.add(i).read()) } {
                (ERROR_LOG_BUFFER, value) => buffer.0 = std::ptr::with_exposed_provenance_mut(value),
                (ERROR_LOG_BUFFER_SIZE_BYTES, value) => buffer.1 = value,
                _ => {}
            }
        }
        let kept = log.len().min(buffer.1.saturating_sub(1));
        for (i, &byte) in log.as_bytes()[..kept].iter().chain(&[0]).enumerate().take(buffer.1) {
            // SAFETY: within the size that was given with the buffer; null is refused.
            let _ = unsafe { put(buffer.0.wrapping_add(i), byte) };
        }
    }
    code
}

/// Unloads a module, and its functions with it.
pub unsafe extern "C" fn cuModuleUnload(module: usize) -> u32 {
    give_back("cuModuleUnload", |state| {
        let (context, _) = state.held()?;
        context.functions.retain(|_, function| function.module != module);
        context.modules.remove(&module).map(|_| ()).ok_or(INVALID_HANDLE)
    })
}

/// The kernel of a name in a module.
pub unsafe extern "C" fn cuModuleGetFunction(function: *mut usize, module: usize, name: *const u8) -> u32 {
    call("cuModuleGetFunction", |state| {
        if name.is_null() {
            return Err(INVALID_VALUE);
        }
        // SAFETY: a string of C.
        let name = unsafe { CStr::from_ptr(name.cast()) }.to_string_lossy();
        let (context, _) = state.current()?;
        let loaded = context.modules.get(&module).ok_or(INVALID_HANDLE)?;
        let warpgroups = loaded.warpgroups;
        let entry = match loaded.function(&name) {
            Ok(entry) => entry,
            Err((code, defect)) => {
                state.misuses.extend(defect);
                return Err(code);
            }
        };
        let handle = state.handle();
        state.any()?.functions.insert(handle, Function { module, entry, warpgroups, shared_limit: SHARED_LIMIT });
        // SAFETY: the module's contract.
        unsafe { put(function, handle) }
    })
}
