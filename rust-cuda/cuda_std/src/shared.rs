//! Shared memory with its address space in the type.
//!
//! A [`Shared<T>`] is a 32-bit address in the block's shared window; it can only be reached by `ld.shared`/`st.shared`.
//! (A generic pointer to shared memory works too, until one of the wrong space is made: Rust-CUDA's issue 402.)
//! All shared memory is dynamic: the launch says how much, and the kernel lays it out from offset 0.

use core::marker::PhantomData;

use crate::Scalar;

#[cfg(target_arch = "nvptx64")]
core::arch::global_asm!(".extern .shared .align 1024 .b8 cuda_std_dynamic_shared[];");

/// Where the launch's dynamic shared memory begins.
#[inline(always)]
fn dynamic_base() -> u32 {
    #[cfg(target_arch = "nvptx64")]
    {
        let base: u32;
        // SAFETY: reads the address of a symbol that this module declares.
        unsafe {
            core::arch::asm!("mov.u32 {0}, cuda_std_dynamic_shared;", out(reg32) base, options(pure, nomem, nostack))
        };
        base
    }
    #[cfg(not(target_arch = "nvptx64"))]
    0
}

/// An array of `T` in the block's shared memory, by its 32-bit address.
#[repr(transparent)]
pub struct Shared<T> {
    address: u32,
    _holds: PhantomData<*mut T>,
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Shared<T> {}

impl<T: Scalar> Shared<T> {
    /// Its first element's address in the block's shared window.
    #[inline(always)]
    pub const fn address(self) -> u32 {
        self.address
    }

    /// The array `elements` further on.
    #[inline(always)]
    pub const fn offset(self, elements: u32) -> Self {
        #[cfg(target_arch = "nvptx64")]
        let address = self.address + elements * T::BYTES;
        // Where the hardware's address would wrap, the executor should see it out of bounds.
        #[cfg(not(target_arch = "nvptx64"))]
        let address = self.address.saturating_add(elements.saturating_mul(T::BYTES));
        Self { address, _holds: PhantomData }
    }
}

impl<T: crate::Word> Shared<T> {
    /// The array that starts `bytes` into the launch's dynamic shared memory (itself 1024-byte aligned, which is what [`wgmma`](crate::wgmma) asks for).
    #[inline(always)]
    pub fn dynamic(bytes: u32) -> Self {
        Self { address: dynamic_base() + bytes, _holds: PhantomData }
    }

    /// Element `index`.
    ///
    /// # Safety
    /// The element lies in the launch's shared memory, was written, and no other thread writes it since the last barrier.
    #[inline(always)]
    #[track_caller]
    pub unsafe fn load(self, index: u32) -> T {
        // SAFETY: the caller's promise.
        unsafe { T::ld_shared(self.offset(index).address) }
    }

    /// Writes element `index`.
    ///
    /// # Safety
    /// The element lies in the launch's shared memory and no other thread accesses it since the last barrier.
    #[inline(always)]
    #[track_caller]
    pub unsafe fn store(self, index: u32, value: T) {
        // SAFETY: the caller's promise.
        unsafe { T::st_shared(self.offset(index).address, value) }
    }

    /// The 16 bytes from `index` on, into the head of `out` (4 words of 32 bits or 2 of 64).
    ///
    /// # Safety
    /// As [`Self::load`] for each element; the first lies on a 16-byte boundary.
    #[inline(always)]
    #[track_caller]
    pub unsafe fn load_16(self, index: u32, out: &mut [T]) {
        // SAFETY: the caller's promise.
        unsafe { T::ld_shared_16(self.offset(index).address, out) }
    }

    /// The same memory as an array of words of another size.
    #[inline(always)]
    pub fn cast<U: crate::Word>(self) -> Shared<U> {
        Shared { address: self.address, _holds: PhantomData }
    }

    /// Writes 16 bytes from `index` on: the head of `values`.
    ///
    /// # Safety
    /// As [`Self::store`] for each element; the first lies on a 16-byte boundary.
    #[inline(always)]
    #[track_caller]
    pub unsafe fn store_16(self, index: u32, values: &[T]) {
        // SAFETY: the caller's promise.
        unsafe { T::st_shared_16(self.offset(index).address, values) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_count_elements() {
        let at = |bytes| Shared::<f64> { address: bytes, _holds: PhantomData };
        assert_eq!(at(64).offset(3).address, 64 + 24);
        assert_eq!(size_of::<Shared<f32>>(), 4);
    }
}
