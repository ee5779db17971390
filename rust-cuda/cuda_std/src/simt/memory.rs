//! Global memory: buffers at real addresses of the host, registered so that accesses can be checked.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::marker::PhantomData;

use super::shadow::Shadow;
use crate::Scalar;
use crate::global::{Global, GlobalMut};

/// Bytes between buffers that belong to none: a small overrun meets no neighbour.
const GAP: usize = 256;

/// The device's memory: every buffer that kernels may touch.
#[derive(Debug, Default)]
pub struct Memory {
    regions: RefCell<BTreeMap<u64, Region>>,
    launch: Cell<u32>,
}

/// One allocation.
#[derive(Debug)]
pub(super) struct Region {
    pub(super) name: String,
    pub(super) start: u64,
    pub(super) bytes: u64,
    pub(super) shadow: Shadow,
    /// The allocation itself, with a gap at either end.
    _words: Words,
}

/// 16-byte words owned by their raw pointer: a `Box` would claim, each time it is moved, that nobody else points into it.
#[derive(Debug)]
struct Words(*mut [u128]);

impl Words {
    fn zeros(count: usize) -> Self {
        Self(Box::into_raw(vec![0; count].into_boxed_slice()))
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        // SAFETY: made by `Box::into_raw` and dropped once.
        drop(unsafe { Box::from_raw(self.0) });
    }
}

// SAFETY: owned memory; who may touch it when is the business of `Memory`, which is not `Sync`.
unsafe impl Send for Words {}

/// A buffer of a [`Memory`], by its address and length.
#[derive(Debug)]
pub struct Buffer<T> {
    address: u64,
    len: usize,
    _holds: PhantomData<T>,
}

impl<T: Scalar> Buffer<T> {
    /// As a kernel's read-only argument.
    pub fn global(&self) -> Global<T> {
        Global::from_address(self.address)
    }

    /// As a kernel's output.
    pub fn global_mut(&self) -> GlobalMut<T> {
        GlobalMut::from_address(self.address)
    }

    /// Its address.
    pub fn address(&self) -> u64 {
        self.address
    }
}

impl Memory {
    /// No buffers.
    pub fn new() -> Self {
        Self::default()
    }

    /// A buffer that holds `values`. Findings call it `name`.
    pub fn buffer<T: Scalar>(&mut self, name: &str, values: &[T]) -> Buffer<T> {
        let bytes = size_of_val(values);
        let address = self.allocate(name, bytes as u64);
        // SAFETY: `bytes` bytes were allocated at `address`, and T has no padding.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr().cast::<u8>(), pointer(address), bytes) };
        Buffer { address, len: values.len(), _holds: PhantomData }
    }

    /// What a buffer holds now.
    ///
    /// # Panics
    /// If it is none of this memory's, or was freed.
    #[track_caller]
    pub fn read<T: Scalar>(&self, buffer: &Buffer<T>) -> Vec<T> {
        let bytes = buffer.len as u64 * u64::from(T::BYTES);
        assert!(self.contains(buffer.address, bytes), "a buffer of another memory, or one that was freed");
        let start = pointer(buffer.address).cast::<T>();
        // SAFETY: an allocation of this memory holds `len` values there (asserted), aligned to 256 bytes; no grid is running.
        unsafe { std::slice::from_raw_parts(start, buffer.len) }.to_vec()
    }

    /// `bytes` bytes of zeros at a new address, a multiple of 256.
    pub fn allocate(&mut self, name: &str, bytes: u64) -> u64 {
        let words = Words::zeros((bytes as usize + 3 * GAP).div_ceil(16));
        let start = (words.0.cast::<u8>().expose_provenance() + GAP).next_multiple_of(256) as u64;
        let region = Region { name: name.to_owned(), start, bytes, shadow: Shadow::filled(bytes), _words: words };
        self.regions.get_mut().insert(start, region);
        start
    }

    /// Frees what [`Self::allocate`] gave; whether there was such an allocation.
    pub fn free(&mut self, address: u64) -> bool {
        self.regions.get_mut().remove(&address).is_some()
    }

    /// Whether all of these bytes lie in one allocation.
    pub fn contains(&self, address: u64, bytes: u64) -> bool {
        let regions = self.regions.borrow();
        let below = regions.range(..=address).next_back();
        below.is_some_and(|(start, region)| {
            let offset = address - start;
            offset <= region.bytes && bytes <= region.bytes - offset
        })
    }

    /// How many allocations there are, and their bytes.
    pub fn in_use(&self) -> (usize, u64) {
        let regions = self.regions.borrow();
        (regions.len(), regions.values().map(|region| region.bytes).sum())
    }

    /// Accesses of the launch that begins now are ordered after all before.
    pub(super) fn next_launch(&self) -> u32 {
        self.launch.set(self.launch.get() + 1);
        self.launch.get()
    }

    /// The allocation at or nearest below `address`, if any, for one access.
    pub(super) fn with_region<R>(&self, address: u64, use_it: impl FnOnce(Option<&mut Region>) -> R) -> R {
        let mut regions = self.regions.borrow_mut();
        use_it(regions.range_mut(..=address).next_back().map(|(_, region)| region))
    }
}

/// The host's pointer to an address that [`Memory`] gave out.
pub(super) fn pointer(address: u64) -> *mut u8 {
    std::ptr::with_exposed_provenance_mut(address as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_hold_what_they_were_given_and_are_counted() {
        let mut memory = Memory::new();
        let x = memory.buffer("x", &[1.0f64, 2.0]);
        let address = memory.allocate("y", 100);
        assert_eq!(address % 256, 0);
        assert_eq!(memory.read(&x), [1.0, 2.0]);
        assert_eq!(memory.in_use(), (2, 116));
        assert!(memory.contains(address, 100) && memory.contains(address + 50, 50));
        assert!(!memory.contains(address, 101) && !memory.contains(address + 50, 51) && !memory.contains(1, 1));
        assert!(memory.free(address) && !memory.free(address));
    }
}
