//! A CUDA driver for tests, in this process: its one device is the SIMT executor of `cuda_std`, its kernels those of
//! `kernel_gpu`, and it fails when told to.
//!
//! ```text
//! host ─▶ cust ─▶ cuda_loader ─▶ functions::cu…  ─▶ State (one, behind a lock) ─▶ cuda_std::simt::Grid over simt::Memory
//!                                    ▲
//!   in a test: cuda_loader::simulate(lookup)      in the tool: CUDA_LOADER_LIBRARY=libsimulated_cuda.so (the example)
//! ```
//!
//! | as the driver | not as the driver |
//! |---|---|
//! | handles, one primary context a device, the current context a thread's | streams run each call at once, in the caller's thread, or [late](State::late) |
//! | PTX is refused when it is too new, of another target, or lacks the entry | what runs is the Rust source of the kernel, not the PTX |
//! | capture records work, of streams that fork and join by events too; a graph replays it | graphs are a list; no conditions, no updates |
//! | a kernel's fault loses the context: later calls say so until its last release | so does all that the executor finds, a race too |
//! | fresh memory holds anything: here bytes of 0xFF, which are NaN | device memory lies at addresses of the host |
//!
//! What a test may see: everything not given back ([`State::usage`], [`State::abandoned`]), calls that no careful host makes
//! ([`State::misuses`]), what the executor found ([`State::findings`]), and every call by name ([`State::calls`]).

mod context;
mod fault;
pub mod functions;
mod machine;
mod module;
mod state;
mod work;

pub use context::Usage;
pub use fault::{Fault, Point};
pub use machine::Machine;
pub use state::{State, with};

/// Hands every function of the driver, `name(argument: type, …);`, to the macro named.
#[macro_export]
macro_rules! for_each_function {
    ($consumer:ident) => {
        $consumer! {
            cuInit(flags: u32);
            cuDriverGetVersion(version: *mut i32);
            cuDeviceGet(device: *mut i32, ordinal: i32);
            cuDeviceGetCount(count: *mut i32);
            cuDeviceGetName(name: *mut u8, length: i32, device: i32);
            cuDeviceTotalMem_v2(bytes: *mut usize, device: i32);
            cuDeviceGetAttribute(value: *mut i32, attribute: u32, device: i32);
            cuDevicePrimaryCtxRetain(context: *mut usize, device: i32);
            cuDevicePrimaryCtxRelease_v2(device: i32);
            cuCtxGetCurrent(context: *mut usize);
            cuCtxSetCurrent(context: usize);
            cuCtxGetDevice(device: *mut i32);
            cuCtxSynchronize();
            cuModuleLoadDataEx(module: *mut usize, image: *const u8, count: u32, options: *const u32, values: *const usize);
            cuModuleUnload(module: usize);
            cuModuleGetFunction(function: *mut usize, module: usize, name: *const u8);
            cuFuncSetAttribute(function: usize, attribute: u32, value: i32);
            cuMemGetInfo_v2(free: *mut usize, total: *mut usize);
            cuMemAlloc_v2(address: *mut u64, bytes: usize);
            cuMemFree_v2(address: u64);
            cuMemcpyHtoD_v2(to: u64, from: *const u8, bytes: usize);
            cuMemcpyDtoH_v2(to: *mut u8, from: u64, bytes: usize);
            cuMemcpyDtoD_v2(to: u64, from: u64, bytes: usize);
            cuMemcpyHtoDAsync_v2(to: u64, from: *const u8, bytes: usize, stream: usize);
            cuMemcpyDtoHAsync_v2(to: *mut u8, from: u64, bytes: usize, stream: usize);
            cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: usize);
            cuMemsetD8_v2(address: u64, byte: u8, bytes: usize);
            cuMemsetD8Async(address: u64, byte: u8, bytes: usize, stream: usize);
            cuPointerGetAttribute(value: *mut u32, attribute: u32, address: u64);
            cuStreamCreate(stream: *mut usize, flags: u32);
            cuStreamCreateWithPriority(stream: *mut usize, flags: u32, priority: i32);
            cuStreamSynchronize(stream: usize);
            cuStreamWaitEvent(stream: usize, event: usize, flags: u32);
            cuStreamIsCapturing(stream: usize, status: *mut u32);
            cuStreamDestroy_v2(stream: usize);
            cuStreamBeginCapture_v2(stream: usize, mode: u32);
            cuStreamEndCapture(stream: usize, graph: *mut usize);
            cuGraphInstantiate_v2(executable: *mut usize, graph: usize, node: *mut usize, log: *mut u8, length: usize);
            cuGraphLaunch(executable: usize, stream: usize);
            cuGraphExecDestroy(executable: usize);
            cuGraphDestroy(graph: usize);
            cuEventCreate(event: *mut usize, flags: u32);
            cuEventRecord(event: usize, stream: usize);
            cuEventElapsedTime(milliseconds: *mut f32, first: usize, second: usize);
            cuEventDestroy_v2(event: usize);
            cuLaunchKernel(
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
                extra: *const usize
            );
            cuGetProcAddress(symbol: *const u8, function: *mut usize, version: i32, flags: u64);
        }
    };
}

/// The function of that name, unless the machine is said to lack it: what `cuda_loader::simulate` asks.
pub fn lookup(name: &str) -> Option<*const ()> {
    macro_rules! find {
        ($($function:ident($($argument:ident: $type:ty),*);)*) => {
            match name {
                $(stringify!($function) => Some(functions::$function as *const ()),)*
                _ => None,
            }
        };
    }
    let lacks = with(|state| state.machine.missing.contains(&name));
    if lacks { None } else { for_each_function!(find) }
}
