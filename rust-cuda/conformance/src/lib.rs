//! Kernels that apply every operation of [`cuda_std`] once: what a GPU makes of its instruction must be, word for word, what
//! the SIMT executor makes of it.
//!
//! ```text
//! input words ──one small kernel a group of operations──▶ output words        executor = GPU, and = a formula where one is short
//! ```
//!
//! One file a group, with its kernels and, for the host, their [entries]: input, launch, expected words. Kernels
//! write nothing that may differ: no addresses, no order of arrival, and of a NaN only that it is one, where which is open.
//! [`cuda_std::thread::trap`] ends a device's context and has no kernel here.
#![cfg_attr(target_arch = "nvptx64", no_std)]
#![cfg_attr(target_arch = "nvptx64", feature(abi_ptx, asm_experimental_arch))]

use cuda_std::global::{Global, GlobalMut};

pub mod arithmetic;
pub mod atomics;
pub mod barriers;
pub mod bulk_copies;
pub mod conversions;
pub mod copies;
#[cfg(not(target_arch = "nvptx64"))]
pub mod entries;
pub mod indices;
pub mod matrices;
pub mod mbarriers;
pub mod memory;
pub mod products;
pub mod shuffles;
pub mod votes;
pub mod warpgroups;

/// The parameters of every kernel here.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Conformance {
    /// What the operations are applied to.
    pub input: Global<u32>,
    /// Out: their results.
    pub output: GlobalMut<u32>,
    /// Words of `input`.
    pub words: u64,
}

impl Conformance {
    /// Word `index` of the input.
    ///
    /// # Safety
    /// It exists.
    #[inline(always)]
    #[track_caller]
    unsafe fn word(&self, index: u32) -> u32 {
        // SAFETY: the caller's promise; nobody writes the input.
        unsafe { self.input.load(u64::from(index)) }
    }

    /// Where thread number `thread` of the grid writes its `words` results.
    #[inline(always)]
    fn results(&self, thread: u32, words: u32) -> Results {
        Results { output: self.output.offset(u64::from(thread) * u64::from(words)), written: 0 }
    }
}

/// The results of one thread, one after the other.
struct Results {
    output: GlobalMut<u32>,
    written: u64,
}

impl Results {
    /// The next result.
    ///
    /// # Safety
    /// Its word is the thread's.
    #[inline(always)]
    #[track_caller]
    unsafe fn put(&mut self, word: u32) {
        // SAFETY: the caller's promise.
        unsafe { self.output.store(self.written, word) };
        self.written += 1;
    }

    /// The next result of two words, the lower first.
    ///
    /// # Safety
    /// Its words are the thread's.
    #[inline(always)]
    #[track_caller]
    unsafe fn put_64(&mut self, words: u64) {
        // SAFETY: the caller's promise.
        unsafe {
            self.put(words as u32);
            self.put((words >> 32) as u32);
        }
    }
}
