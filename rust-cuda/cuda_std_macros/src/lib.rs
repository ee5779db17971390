//! `#[kernel]`: a Rust function → a CUDA entry point.
//!
//! ```
//! # use cuda_std_macros::kernel;
//! /// Doubles `*x`.
//! ///
//! /// # Safety
//! /// `x` is valid for reads and writes; one thread only.
//! #[kernel(max_threads = 256, min_blocks = 2)]
//! pub unsafe fn double(x: *mut f32) {
//!     // SAFETY: the caller's promise.
//!     unsafe { *x *= 2.0 }
//! }
//! ```
//!
//! On `nvptx64` the function becomes `#[unsafe(no_mangle)] pub unsafe extern "ptx-kernel" fn double`, an
//! `.entry double` of the PTX, which begins by waiting for the grids ahead of it (`cuda_std::programmatic_launch`), and a comment that survives to the PTX text carries its launch bounds:
//! rustc has no attribute for them, so `cuda_builder` turns the comment into `.maxntid` and
//! `.minnctapersm`. On every other target it stays an ordinary `pub unsafe fn` that the SIMT executor
//! of `cuda_std` can run.
//!
//! The kernel crate needs, on `nvptx64` only, `feature(abi_ptx, asm_experimental_arch)`.

mod bounds;
mod checks;
mod expansion;

use proc_macro::TokenStream;

/// Marks a function as a CUDA kernel.
///
/// Keys, both optional:
/// - `max_threads = N`, 1 to 1024: no block launched has more than `N` threads (`.maxntid N, 1, 1`).
///   The compiler may then give each thread more registers, and the driver refuses larger blocks.
/// - `min_blocks = M`, 1 to 32, only with `max_threads`: at least `M` such blocks fit on one
///   multiprocessor at a time (`.minnctapersm M`); ptxas limits the registers to make it so.
///
/// The function must be `pub unsafe fn`, with named parameters passed by value and no return value:
/// integers, floats, raw pointers, or a `#[repr(C)]` block of them. Generic, `async`, `const` and
/// `extern` functions, references, slices, trait objects and heap-allocated types are compile errors.
///
/// # Safety
///
/// A kernel is `unsafe` because nothing checks what the launcher passes: its author states under
/// `# Safety` which pointers must be valid, for how many elements, and how it may be launched.
#[proc_macro_attribute]
pub fn kernel(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expansion::kernel(arguments.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}
