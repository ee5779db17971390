//! Device memory, as a kernel sees it: two pointer types that say who may write.
//!
//! Both are a 64-bit address and nothing else, `#[repr(transparent)]`, so that a `#[repr(C)]` parameter block of them has
//! one layout on host and device. They carry no length: the kernel's parameters do, and the host checks them.

use core::marker::PhantomData;

use crate::Scalar;

/// A pointer to device memory that nobody writes while the kernel runs (`const T* __restrict__`; `ld.global.nc`). It runs, here and in
/// what follows, from the end of its wait for the grid ahead on ([`programmatic_launch`](crate::programmatic_launch)).
#[repr(transparent)]
pub struct Global<T> {
    address: u64,
    _points_to: PhantomData<*const T>,
}

/// A pointer to device memory that the kernel reads and writes (`T*`).
#[repr(transparent)]
pub struct GlobalMut<T> {
    address: u64,
    _points_to: PhantomData<*mut T>,
}

macro_rules! pointer {
    ($name:ident) => {
        impl<T> Clone for $name<T> {
            fn clone(&self) -> Self {
                *self
            }
        }
        impl<T> Copy for $name<T> {}
        // SAFETY: an address is plain data; every access through it is an unsafe device operation.
        unsafe impl<T> Send for $name<T> {}
        // SAFETY: as for Send.
        unsafe impl<T> Sync for $name<T> {}
        impl<T: Scalar> $name<T> {
            /// The pointer to `address` in device memory; 0 is the null pointer.
            pub const fn from_address(address: u64) -> Self {
                Self { address, _points_to: PhantomData }
            }
            /// No memory: how an optional argument is left out.
            pub const fn null() -> Self {
                Self::from_address(0)
            }
            /// Whether this is [`Self::null`].
            pub const fn is_null(self) -> bool {
                self.address == 0
            }
            /// The pointer `elements` further on.
            #[inline(always)]
            pub const fn offset(self, elements: u64) -> Self {
                Self::from_address(self.at(elements))
            }
            /// The address in device memory.
            pub const fn address(self) -> u64 {
                self.address
            }
            /// The address of element `index`.
            #[inline(always)]
            pub(crate) const fn at(self, index: u64) -> u64 {
                #[cfg(target_arch = "nvptx64")]
                let address = self.address.wrapping_add(index.wrapping_mul(T::BYTES as u64));
                // Where the hardware's address would wrap, the executor should see it out of bounds.
                #[cfg(not(target_arch = "nvptx64"))]
                let address = self.address.saturating_add(index.saturating_mul(T::BYTES as u64));
                address
            }
        }
    };
}
pointer!(Global);
pointer!(GlobalMut);

impl<T: crate::Word> Global<T> {
    /// Element `index`.
    ///
    /// # Safety
    /// The element exists and nobody writes it while the kernel runs.
    #[inline(always)]
    #[track_caller]
    pub unsafe fn load(self, index: u64) -> T {
        // SAFETY: the caller's promise; `from_address` of an aligned allocation keeps elements aligned.
        unsafe { T::ld_global_nc(self.at(index)) }
    }

    /// The `N` elements from `index` on, by 16-byte loads.
    ///
    /// # Safety
    /// As [`Self::load`] for each of them; the first lies on a 16-byte boundary and `N` words fill whole 16 bytes.
    #[inline(always)]
    #[track_caller]
    pub unsafe fn load_array<const N: usize>(self, index: u64) -> [T; N]
    where
        T: Default,
    {
        let lanes = (16 / T::BYTES) as usize;
        let mut out = [T::default(); N];
        for piece in 0..N / lanes {
            // SAFETY: the caller's promise.
            unsafe { T::ld_global_nc_16(self.at(index + (piece * lanes) as u64), &mut out[piece * lanes..]) };
        }
        out
    }
}

impl<T: Scalar> Global<T> {
    /// Asks for the cache line of element `index` to be brought to L2 (PTX ISA, "prefetch"): no more than a hint, which the
    /// executor passes over.
    ///
    /// # Safety
    /// The element exists.
    #[inline(always)]
    pub unsafe fn prefetch(self, index: u64) {
        #[cfg(target_arch = "nvptx64")]
        // SAFETY: it changes no memory; the address is the caller's promise.
        unsafe {
            core::arch::asm!("prefetch.global.L2 [{0}];", in(reg64) self.at(index), options(nostack, readonly))
        };
        #[cfg(not(target_arch = "nvptx64"))]
        let _ = self.at(index);
    }
}

impl<T: crate::Word> GlobalMut<T> {
    /// Element `index`.
    ///
    /// # Safety
    /// The element exists, and no other thread writes it unordered with this read.
    #[inline(always)]
    #[track_caller]
    pub unsafe fn load(self, index: u64) -> T {
        // SAFETY: the caller's promise.
        unsafe { T::ld_global(self.at(index)) }
    }

    /// Writes element `index`.
    ///
    /// # Safety
    /// The element exists, and no other thread accesses it unordered with this write.
    #[inline(always)]
    #[track_caller]
    pub unsafe fn store(self, index: u64, value: T) {
        // SAFETY: the caller's promise.
        unsafe { T::st_global(self.at(index), value) }
    }

    /// Writes the `N` elements from `index` on, by 16-byte stores.
    ///
    /// # Safety
    /// As [`Self::store`] for each of them; the first lies on a 16-byte boundary and `N` words fill whole 16 bytes.
    #[inline(always)]
    #[track_caller]
    pub unsafe fn store_array<const N: usize>(self, index: u64, values: [T; N]) {
        let lanes = (16 / T::BYTES) as usize;
        for piece in 0..N / lanes {
            // SAFETY: the caller's promise.
            unsafe { T::st_global_16(self.at(index + (piece * lanes) as u64), &values[piece * lanes..]) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_one_64_bit_word() {
        assert_eq!(size_of::<Global<f32>>(), 8);
        assert_eq!(align_of::<GlobalMut<f64>>(), 8);
        assert!(Global::<f32>::null().is_null());
        assert_eq!(GlobalMut::<f64>::from_address(0x7f00).address(), 0x7f00);
    }
}
