//! The driver's symbols, defined here: what cust's calls arrive at.
//!
//! ```text
//!     cust: cuMemAlloc_v2(&mut p, n)
//!       → cuMemAlloc_v2        hidden symbol, one jump               (assembler, below)
//!       → entry::cuMemAlloc_v2 look up the pointer, call it, clamp   (Rust, below)
//!       → libcuda.so.1
//! ```
//!
//! The symbols are *hidden*: a shared library made with this crate must not export `cuInit`, or it
//! would stand in for the real driver's in a process that has one, PyTorch's say. A Rust function
//! cannot be both of a fixed name and hidden: rustc exports every `no_mangle` function of every
//! crate from a `cdylib`. Hence the assembler.
//!
//! # Passing arguments as words
//!
//! A Rust entry of arity n takes n `usize` and hands them on, whatever the true types. This is
//! sound at the machine's level because every argument in the table is an integer or a pointer of
//! at most 8 bytes (tested in `entries.rs`), which both calling conventions treat alike:
//!
//! - System V x86-64: the first six travel in rdi, rsi, rdx, rcx, r8, r9, the others each in an
//!   8-byte slot of the stack.
//! - AAPCS64 on Linux: the first eight in x0 to x7, the others each in an 8-byte slot of the stack.
//!   (Apple's variant packs the stack, one reason why this file is for Linux.)
//!
//! The bits of a word above a narrower argument are unspecified, and are passed on as they came.
//! The jump changes neither an argument register nor the stack pointer, so the Rust entry sees
//! the caller's arguments in place. Every entry returns a `CUresult`: 32 bits, in eax or w0.

use std::arch::global_asm;
use std::hint::black_box;

use crate::entries::for_each_entry;

/// The Rust side of each entry. Only the trampolines call these.
#[allow(non_snake_case, clippy::too_many_arguments)]
mod entry {
    use std::ffi::c_char;
    use std::mem::transmute;

    use crate::codes::clamp;
    use crate::driver::Symbol;
    use crate::entries::{Entry, for_each_entry};
    use crate::messages::message;

    macro_rules! functions {
        ($($name:ident $arity:tt,)*) => { $(function!($name $arity);)* };
    }
    macro_rules! function {
        (cuGetErrorString 2) => { function!(@message cuGetErrorString); };
        (cuGetErrorName 2) => { function!(@message cuGetErrorName); };
        ($name:ident 0) => { function!(@words $name); };
        ($name:ident 1) => { function!(@words $name a); };
        ($name:ident 2) => { function!(@words $name a b); };
        ($name:ident 3) => { function!(@words $name a b c); };
        ($name:ident 4) => { function!(@words $name a b c d); };
        ($name:ident 5) => { function!(@words $name a b c d e); };
        ($name:ident 6) => { function!(@words $name a b c d e f); };
        ($name:ident 7) => { function!(@words $name a b c d e f g); };
        ($name:ident 8) => { function!(@words $name a b c d e f g h); };
        ($name:ident 10) => { function!(@words $name a b c d e f g h i j); };
        ($name:ident 11) => { function!(@words $name a b c d e f g h i j k); };
        (@word $word:ident) => { usize };
        (@words $name:ident $($word:ident)*) => {
            pub(super) unsafe extern "C" fn $name($($word: usize),*) -> u32 {
                type Function = unsafe extern "C" fn($(function!(@word $word)),*) -> u32;
                let code = match crate::symbol(Entry::$name) {
                    // SAFETY: the pointer was looked up under this name (`Symbols::resolve`), the
                    // arity is cust_raw's, and words stand for the arguments (module docs). That
                    // the arguments themselves are sound is the caller's duty, cust's.
                    Ok(symbol) => unsafe { transmute::<Symbol, Function>(symbol)($($word),*) },
                    Err(code) => code,
                };
                clamp(Entry::$name, code)
            }
        };
        (@message $name:ident) => {
            pub(super) unsafe extern "C" fn $name(code: u32, out: *mut *const c_char) -> u32 {
                // SAFETY: cust_raw's contract for this function.
                unsafe { message(Entry::$name, code, out) }
            }
        };
    }
    for_each_entry!(functions);
}

#[cfg(target_arch = "x86_64")]
macro_rules! jump {
    () => {
        "jmp"
    };
}
#[cfg(target_arch = "aarch64")]
macro_rules! jump {
    () => {
        "b"
    };
}

// One block, so that one object holds all symbols; one section a symbol, so that the linker keeps
// only those that are used.
macro_rules! trampolines {
    ($($name:ident $arity:tt,)*) => {
        global_asm!(
            $(concat!(
                ".pushsection .text.", stringify!($name), ",\"ax\",%progbits\n",
                ".p2align 4\n",
                ".globl ", stringify!($name), "\n",
                ".hidden ", stringify!($name), "\n",
                ".type ", stringify!($name), ",%function\n",
                stringify!($name), ":\n",
                "    ", jump!(), " {", stringify!($name), "}\n",
                ".size ", stringify!($name), ", . - ", stringify!($name), "\n",
                ".popsection\n",
            ),)*
            $($name = sym entry::$name,)*
        );
    };
}
for_each_entry!(trampolines);

/// Makes the caller's object refer to the one that holds the trampolines.
///
/// GNU ld reads archives from left to right and takes from each only what is missing so far. Were
/// this crate's archive read before cust's, nothing would yet be missing, and cust's references
/// would stay undefined. [`load`](crate::load) calls this, so whoever calls it brings them in.
pub(crate) fn keep_linked() {
    unsafe extern "C" {
        fn cuInit();
    }
    black_box(cuInit as *const ());
}
