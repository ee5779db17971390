//! What a CUDA kernel written in Rust may call, on stock rustc's `nvptx64-nvidia-cuda` target.
//!
//! | module | what | in CUDA C++ |
//! |---|---|---|
//! | `thread` | indices, block barrier, trap | `threadIdx`, `blockIdx`, `__syncthreads` |
//! | `warp` | shuffles, votes, warp barrier | `__shfl_xor_sync`, `__ballot_sync` |
//! | [`shared`] | dynamic shared memory, its address space in the type | `extern __shared__` |
//! | [`global`] | device memory: read-only and read-write pointers, vector loads and stores | `const __restrict__ T*`, `T*` |
//! | [`float`] | fused multiply-add, roots, conversions | `fmaf`, `rsqrtf` |
//! | [`atomic`] | relaxed atomic operations on shared and global memory | `atomicAdd`, `atomicCAS` |
//! | [`convert`] | f16, bf16, tf32: conversions and packed arithmetic | `__half2`, `__nv_bfloat162` |
//! | [`mma`], [`matrix`], [`fragment`] | products on the tensor cores, their operands and who holds what | `mma.sync`, `ldmatrix` |
//! | [`wgmma`] | products of four warps, both factors in shared memory | `wgmma.mma_async` |
//! | [`async_copy`] | global → shared while the thread goes on | `cp.async`, `__pipeline_memcpy_async` |
//! | [`mbarrier`] | barriers that arrivals and copies complete | `cuda::barrier` |
//! | [`bulk_copy`] | rows of memory copied by one thread; the proxy fence | `cp.async.bulk` |
//! | [`programmatic_launch`] | grids that begin before the one ahead has ended | `cudaGridDependencySynchronize` |
//! | [`launch`] | what a kernel asks of its launch, as plain data | `__launch_bounds__` |
//!
//! A kernel is an `unsafe fn` under [`kernel`](macro@kernel); it takes its arguments by value, best as one `#[repr(C)]`
//! block that the host shares. There is no `core::fmt` here and no message: a panic in device code traps, and the host
//! sees a failed launch.
//!
//! On `nvptx64` each operation is an instruction. On every other target it is the same operation in the SIMT executor,
//! [`simt`], which runs kernels unchanged and reports races, stray accesses and missed barriers; outside a running grid it
//! panics.
#![cfg_attr(target_arch = "nvptx64", no_std)]
#![cfg_attr(target_arch = "nvptx64", feature(stdarch_nvptx, asm_experimental_arch))]

pub mod async_copy;
pub mod atomic;
pub mod bits;
pub mod bulk_copy;
pub mod convert;
pub mod float;
pub mod fragment;
pub mod global;
pub mod launch;
pub mod matrix;
pub mod mbarrier;
pub mod mma;
mod narrow_word;
pub mod programmatic_launch;
#[cfg(not(target_arch = "nvptx64"))]
mod rounding;
pub mod shared;
#[cfg(not(target_arch = "nvptx64"))]
pub mod simt;
pub mod thread;
pub mod warp;
pub mod wgmma;
mod word;

/// Repeats a block for `i` = 0, 1, … 15 while `i` is below a constant, each time with `i` a constant.
///
/// LLVM leaves some short loops rolled; an array of registers indexed in one lands in local memory (a "stack frame" in
/// ptxas's report). Written out, every index is a constant and the array stays in registers. A bound, `i < N, at most 40`, says how many
/// copies are written, for constants past 16, or well below.
///
/// ```
/// let mut squares = [0; 4];
/// cuda_std::unroll!(i < 4, { squares[i] = i * i; });
/// assert_eq!(squares, [0, 1, 4, 9]);
/// ```
#[macro_export]
macro_rules! unroll {
    // Counts written as these literals get as many copies and no more: nested ones would multiply to code that takes minutes.
    ($i:ident < 2, $body:block) => {
        $crate::unroll!(@copies $i, $body, 0 1)
    };
    ($i:ident < 3, $body:block) => {
        $crate::unroll!(@copies $i, $body, 0 1 2)
    };
    ($i:ident < 4, $body:block) => {
        $crate::unroll!(@copies $i, $body, 0 1 2 3)
    };
    ($i:ident < 5, $body:block) => {
        $crate::unroll!(@copies $i, $body, 0 1 2 3 4)
    };
    ($i:ident < 8, $body:block) => {
        $crate::unroll!(@copies $i, $body, 0 1 2 3 4 5 6 7)
    };
    (@copies $i:ident, $body:block, $($n:literal)*) => {{
        $({
            #[allow(non_upper_case_globals)]
            const $i: usize = $n;
            $body
        })*
    }};
    // As many copies as said, of which those below the count stay.
    ($i:ident < $count:expr, at most 8, $body:block) => {
        $crate::unroll!(@below $i, $count, 8, $body, 0 1 2 3 4 5 6 7)
    };
    ($i:ident < $count:expr, at most 9, $body:block) => {
        $crate::unroll!(@below $i, $count, 9, $body, 0 1 2 3 4 5 6 7 8)
    };
    ($i:ident < $count:expr, at most 20, $body:block) => {
        $crate::unroll!(@below $i, $count, 20, $body, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19)
    };
    ($i:ident < $count:expr, at most 40, $body:block) => {
        $crate::unroll!(@below $i, $count, 40, $body, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19
            20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39)
    };
    ($i:ident < $count:expr, $body:block) => {
        $crate::unroll!(@each $i, $count, $body, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    (@each $i:ident, $count:expr, $body:block, $($n:literal)*) => {
        $crate::unroll!(@below $i, $count, 16, $body, $($n)*)
    };
    (@below $i:ident, $count:expr, $most:literal, $body:block, $($n:literal)*) => {{
        const { assert!($count <= $most) };
        $(
            // Where the index is past the end the branch is dead, and says so at compile time.
            #[allow(unconditional_panic, clippy::out_of_bounds_indexing)]
            if $n < $count {
                #[allow(non_upper_case_globals)]
                const $i: usize = $n;
                $body
            }
        )*
    }};
}

pub use cuda_std_macros::kernel;
pub use word::{Scalar, Word};

/// A panic in device code ends the grid: no message can be printed and nothing may unwind.
#[cfg(target_arch = "nvptx64")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    thread::trap()
}
