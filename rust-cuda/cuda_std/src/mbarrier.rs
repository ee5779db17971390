//! Barriers in shared memory that arrivals and asynchronous copies complete, phase after phase (PTX ISA, "Parallel
//! Synchronization and Communication Instructions: mbarrier").
//!
//! A phase is complete when as many arrivals came as [`init`](Mbarrier::init) said, and all bytes that
//! [`arrive_expect_tx`](Mbarrier::arrive_expect_tx) announced. Phases have parity 0, 1, 0, …; a wait names the parity of the
//! phase it waits for, and succeeds while that is the last one completed. So the first wait is for parity 0; one for parity 1
//! on a fresh barrier succeeds at once, which is how a producer starts on empty buffers. What a thread did before it
//! arrived is seen by who waited.
//!
//! | operation | target | PTX version |
//! |---|---|---|
//! | `init`, `inval`, `arrive`, `arrive_after_copies` | `sm_80` | 7.0 |
//! | `test_wait`, `wait` | `sm_80` | 7.1 |
//! | `try_wait` | `sm_90` | 7.8 |
//! | `arrive_expect_tx` | `sm_90` | 8.0 |
//!
//! ptxas refuses an operation in code built for less. rustc writes version 7.0 for `sm_80` unless told more
//! (`-Ctarget-feature=+ptx71`), and 8.0 for `sm_90a`.

#[cfg(not(target_arch = "nvptx64"))]
use core::panic::Location;

use crate::shared::Shared;
#[cfg(not(target_arch = "nvptx64"))]
use crate::simt::mbarrier as host;

/// An mbarrier, by the address of its 8 bytes of shared memory, which nothing but its operations may access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Mbarrier {
    address: u32,
}

impl Mbarrier {
    /// Bytes of one, and what its address is a multiple of.
    pub const BYTES: u32 = 8;

    /// The one that starts `bytes` into the launch's dynamic shared memory.
    #[inline(always)]
    pub fn dynamic(bytes: u32) -> Self {
        Self { address: Shared::<u64>::dynamic(bytes).address() }
    }

    /// The one `count` further on.
    #[inline(always)]
    pub const fn offset(self, count: u32) -> Self {
        Self { address: self.address + count * Self::BYTES }
    }

    /// Its address in the block's shared window.
    #[inline(always)]
    pub const fn address(self) -> u32 {
        self.address
    }

    /// Makes it: each phase is of `arrivals` arrivals, 1 to 2²⁰ − 1.
    ///
    /// One thread calls it; for the others a barrier orders it before their uses, and for bulk copies the thread's
    /// [`fence_proxy_async`](crate::bulk_copy::fence_proxy_async) too.
    ///
    /// # Safety
    /// The 8 bytes lie in the launch's shared memory, aligned; no mbarrier lives there and nobody else accesses them
    /// unordered with this.
    #[inline(always)]
    #[track_caller]
    pub unsafe fn init(self, arrivals: u32) {
        #[cfg(target_arch = "nvptx64")]
        // SAFETY: the caller's promise.
        unsafe {
            core::arch::asm!("mbarrier.init.shared.b64 [{0}], {1};",
                in(reg32) self.address, in(reg32) arrivals, options(nostack))
        }
        #[cfg(not(target_arch = "nvptx64"))]
        host::init(self.address, arrivals, Location::caller());
    }

    /// Ends it: its bytes are plain memory again.
    ///
    /// # Safety
    /// It lives, and every use of it is ordered before this.
    #[inline(always)]
    #[track_caller]
    pub unsafe fn inval(self) {
        #[cfg(target_arch = "nvptx64")]
        // SAFETY: the caller's promise.
        unsafe {
            core::arch::asm!("mbarrier.inval.shared.b64 [{0}];", in(reg32) self.address, options(nostack))
        }
        #[cfg(not(target_arch = "nvptx64"))]
        host::inval(self.address, Location::caller());
    }

    /// Arrives, and releases what this thread did before.
    ///
    /// # Safety
    /// It lives, and the phase still lacks an arrival that is this one's.
    #[inline(always)]
    #[track_caller]
    pub unsafe fn arrive(self) {
        #[cfg(target_arch = "nvptx64")]
        // SAFETY: the caller's promise.
        unsafe {
            core::arch::asm!("mbarrier.arrive.shared.b64 {1}, [{0}];",
                in(reg32) self.address, out(reg64) _, options(nostack))
        }
        #[cfg(not(target_arch = "nvptx64"))]
        host::arrive(self.address, 0, Location::caller());
    }

    /// [`arrive`](Self::arrive), and the phase waits for `bytes` bytes of bulk copies more, at most 2²⁰ − 1 in all.
    ///
    /// # Safety
    /// As [`arrive`](Self::arrive).
    #[inline(always)]
    #[track_caller]
    pub unsafe fn arrive_expect_tx(self, bytes: u32) {
        #[cfg(target_arch = "nvptx64")]
        // SAFETY: the caller's promise.
        unsafe {
            core::arch::asm!("mbarrier.arrive.expect_tx.shared::cta.b64 {2}, [{0}], {1};",
                in(reg32) self.address, in(reg32) bytes, out(reg64) _, options(nostack))
        }
        #[cfg(not(target_arch = "nvptx64"))]
        host::arrive(self.address, bytes, Location::caller());
    }

    /// Arrives when all [`async_copy`](crate::async_copy)s that this thread started so far have arrived
    /// (`cp.async.mbarrier.arrive.noinc`). It counts among the arrivals of `init`, and releases the copies, not what else
    /// the thread did.
    ///
    /// # Safety
    /// As [`arrive`](Self::arrive).
    #[inline(always)]
    #[track_caller]
    pub unsafe fn arrive_after_copies(self) {
        #[cfg(target_arch = "nvptx64")]
        // SAFETY: the caller's promise.
        unsafe {
            core::arch::asm!("cp.async.mbarrier.arrive.noinc.shared.b64 [{0}];", in(reg32) self.address, options(nostack))
        }
        #[cfg(not(target_arch = "nvptx64"))]
        host::arrive_after_copies(self.address, Location::caller());
    }

    /// Whether the phase of `parity` (0 or 1) is complete; if so, what its arrivals released is seen from here on.
    ///
    /// # Safety
    /// It lives, and the phase waited for is the current one or the one before.
    #[inline(always)]
    #[track_caller]
    #[must_use]
    pub unsafe fn test_wait(self, parity: u32) -> bool {
        #[cfg(target_arch = "nvptx64")]
        {
            let complete: u32;
            // SAFETY: the caller's promise.
            unsafe {
                core::arch::asm!(
                    "{{ .reg .pred p; mbarrier.test_wait.parity.shared.b64 p, [{1}], {2}; selp.u32 {0}, 1, 0, p; }}",
                    out(reg32) complete, in(reg32) self.address, in(reg32) parity, options(nostack))
            };
            complete != 0
        }
        #[cfg(not(target_arch = "nvptx64"))]
        host::test_wait(self.address, parity, Location::caller())
    }

    /// [`test_wait`](Self::test_wait) that may suspend the thread for a while before it says no.
    ///
    /// # Safety
    /// As [`test_wait`](Self::test_wait).
    #[inline(always)]
    #[track_caller]
    #[must_use]
    pub unsafe fn try_wait(self, parity: u32) -> bool {
        #[cfg(target_arch = "nvptx64")]
        {
            let complete: u32;
            // SAFETY: the caller's promise.
            unsafe {
                core::arch::asm!(
                    "{{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [{1}], {2}; selp.u32 {0}, 1, 0, p; }}",
                    out(reg32) complete, in(reg32) self.address, in(reg32) parity, options(nostack))
            };
            complete != 0
        }
        #[cfg(not(target_arch = "nvptx64"))]
        host::test_wait(self.address, parity, Location::caller())
    }

    /// Waits until the phase of `parity` is complete: [`try_wait`](Self::try_wait) again and again where the target has it,
    /// else [`test_wait`](Self::test_wait).
    ///
    /// # Safety
    /// As [`test_wait`](Self::test_wait).
    #[inline(always)]
    #[track_caller]
    pub unsafe fn wait(self, parity: u32) {
        #[cfg(all(target_arch = "nvptx64", target_feature = "sm_90"))]
        // SAFETY: the caller's promise.
        while !unsafe { self.try_wait(parity) } {}
        #[cfg(all(target_arch = "nvptx64", not(target_feature = "sm_90")))]
        // SAFETY: the caller's promise.
        while !unsafe { self.test_wait(parity) } {}
        #[cfg(not(target_arch = "nvptx64"))]
        host::wait(self.address, parity, Location::caller());
    }
}
