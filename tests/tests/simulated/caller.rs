//! A caller with device memory of its own, as PyTorch is: the primary context retained and current, arrays, a stream.

use std::marker::PhantomData;

use simulated_driver::functions::*;

/// The primary context, current on this thread.
pub struct Caller;

impl Caller {
    pub fn new() -> Self {
        let mut context = 0;
        // SAFETY: valid for a write; the handle is what the first call gave.
        unsafe { assert_eq!((cuDevicePrimaryCtxRetain(&mut context, 0), cuCtxSetCurrent(context)), (0, 0)) };
        Self
    }

    /// Device memory that holds `values`.
    pub fn array(&self, values: &[f32]) -> Array<'_> {
        self.array_of(values)
    }

    /// The same of any numbers.
    pub fn array_of<V: Copy + Default>(&self, values: &[V]) -> Array<'_, V> {
        let mut address = 0;
        // SAFETY: valid for a write.
        assert_eq!(unsafe { cuMemAlloc_v2(&mut address, size_of_val(values)) }, 0);
        let array = Array { address, len: values.len(), _caller: self, _holds: PhantomData };
        array.write(values);
        array
    }

    pub fn stream(&self) -> usize {
        let mut stream = 0;
        // SAFETY: valid for a write.
        assert_eq!(unsafe { cuStreamCreate(&mut stream, 0) }, 0);
        stream
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        // SAFETY: retained in `new`; arrays borrow this, so they are gone.
        unsafe { (cuCtxSetCurrent(0), cuDevicePrimaryCtxRelease_v2(0)) };
    }
}

/// Values in device memory.
pub struct Array<'a, V = f32> {
    pub address: u64,
    len: usize,
    _caller: &'a Caller,
    _holds: PhantomData<V>,
}

impl<V: Copy + Default> Array<'_, V> {
    pub fn write(&self, values: &[V]) {
        // SAFETY: as many values as are read.
        assert_eq!(unsafe { cuMemcpyHtoD_v2(self.address, values.as_ptr().cast(), size_of_val(values)) }, 0);
    }

    pub fn read(&self) -> Vec<V> {
        let mut values = vec![V::default(); self.len];
        // SAFETY: as many values as are written, of which every bit pattern is one.
        assert_eq!(unsafe { cuMemcpyDtoH_v2(values.as_mut_ptr().cast(), self.address, size_of_val(&values[..])) }, 0);
        values
    }

    /// As an argument of a C function.
    pub fn pointer(&self) -> *mut V {
        std::ptr::with_exposed_provenance_mut(self.address as usize)
    }
}

impl<V> Drop for Array<'_, V> {
    fn drop(&mut self) {
        // SAFETY: allocated by `Caller::array`, freed once.
        unsafe { cuMemFree_v2(self.address) };
    }
}
