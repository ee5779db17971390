//! A caller with device memory of its own, as PyTorch is: the primary context retained and current, arrays, a stream.

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
        let mut address = 0;
        // SAFETY: valid for a write.
        assert_eq!(unsafe { cuMemAlloc_v2(&mut address, size_of_val(values)) }, 0);
        let array = Array { address, len: values.len(), _caller: self };
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

/// f32 values in device memory.
pub struct Array<'a> {
    pub address: u64,
    len: usize,
    _caller: &'a Caller,
}

impl Array<'_> {
    pub fn write(&self, values: &[f32]) {
        // SAFETY: as many values as are read.
        assert_eq!(unsafe { cuMemcpyHtoD_v2(self.address, values.as_ptr().cast(), size_of_val(values)) }, 0);
    }

    pub fn read(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.len];
        // SAFETY: as many values as are written.
        assert_eq!(unsafe { cuMemcpyDtoH_v2(values.as_mut_ptr().cast(), self.address, 4 * self.len) }, 0);
        values
    }

    /// As an argument of a C function.
    pub fn pointer(&self) -> *mut f32 {
        std::ptr::with_exposed_provenance_mut(self.address as usize)
    }
}

impl Drop for Array<'_> {
    fn drop(&mut self) {
        // SAFETY: allocated by `Caller::array`, freed once.
        unsafe { cuMemFree_v2(self.address) };
    }
}
