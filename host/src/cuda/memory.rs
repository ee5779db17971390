//! Device memory that knows its length and frees itself in its own context.

use std::marker::PhantomData;

use cuda_std::Scalar;
use cuda_std::global::{Global, GlobalMut};
use cust::sys;

use super::device::{Bound, CudaDevice};
use super::error::{CudaError, check, failed};
use super::stream::RawStream;
use crate::Error;
use crate::element::Storage;

/// `len` values of `T` in device memory.
pub(super) struct DeviceArray<T> {
    address: sys::CUdeviceptr,
    len: usize,
    device: CudaDevice,
    _holds: PhantomData<T>,
}

/// Numbers of which every bit pattern is one: what may be copied to a device and back.
pub(super) trait Plain: Copy {}

impl Plain for u32 {}
impl Plain for i32 {}
impl<T: Storage> Plain for T {}

impl<T: Plain> DeviceArray<T> {
    /// Memory for `len` values, not written yet.
    ///
    /// # Errors
    /// [`Error::Memory`] where the device has too little, with both numbers; [`CudaError::Call`].
    pub(super) fn new(what: &'static str, len: usize, device: &CudaDevice, bound: &Bound<'_>) -> Result<Self, Error> {
        let too_much = |available| Error::Memory { what, needed: bytes::<T>(len), available };
        let size = usize::try_from(bytes::<T>(len)).map_err(|_| too_much(None))?;
        let mut address = 0;
        if size > 0 {
            // SAFETY: writes one address; a context is current.
            let result = unsafe { sys::cuMemAlloc_v2(&mut address, size) };
            if result == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
                return Err(too_much(device.free_memory(bound).ok()));
            }
            if result != sys::CUresult::CUDA_SUCCESS {
                return Err(failed(what, result).into());
            }
        }
        Ok(Self { address, len, device: device.clone(), _holds: PhantomData })
    }

    /// Where it lies.
    pub(super) fn address(&self) -> u64 {
        self.address
    }

    /// How many values it holds.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Its bytes.
    pub(super) fn bytes(&self) -> u64 {
        bytes::<T>(self.len)
    }

    /// Copies `values` here, in the order of `stream`; returns once `values` may be changed.
    pub(super) fn upload(&mut self, values: &[T], stream: RawStream, _bound: &Bound<'_>) -> Result<(), CudaError> {
        same_length("an upload", values.len(), self.len)?;
        if values.is_empty() {
            return Ok(());
        }
        // SAFETY: both hold `len` values. From pageable memory the driver has read `values` when the call returns.
        check("copying to the device", unsafe {
            sys::cuMemcpyHtoDAsync_v2(self.address, values.as_ptr().cast(), size_of_val(values), stream.as_raw())
        })
    }

    /// Copies to `values`, after all work on `stream`, which is waited for.
    pub(super) fn download(&self, values: &mut [T], stream: RawStream, bound: &Bound<'_>) -> Result<(), CudaError> {
        same_length("a download", values.len(), self.len)?;
        if !values.is_empty() {
            // SAFETY: both hold `len` values, and every bit pattern is a `T`; `values` is borrowed until the wait below.
            check("copying from the device", unsafe {
                sys::cuMemcpyDtoHAsync_v2(
                    values.as_mut_ptr().cast(),
                    self.address,
                    size_of_val(values),
                    stream.as_raw(),
                )
            })?;
        }
        stream.synchronize("waiting for the results", bound)
    }

    /// Sets every byte to `byte`, in the order of `stream`.
    pub(super) fn fill(&mut self, byte: u8, stream: RawStream, _bound: &Bound<'_>) -> Result<(), CudaError> {
        // SAFETY: the range is ours.
        check("filling device memory", unsafe {
            sys::cuMemsetD8Async(self.address, byte, self.bytes() as usize, stream.as_raw())
        })
    }

    /// Copies all of `other` here, in the order of `stream`.
    pub(super) fn copy_from(&mut self, other: &Self, stream: RawStream, _bound: &Bound<'_>) -> Result<(), CudaError> {
        same_length("a copy", other.len, self.len)?;
        // SAFETY: both hold `len` values, and they are different allocations.
        check("copying on the device", unsafe {
            sys::cuMemcpyDtoDAsync_v2(self.address, other.address, self.bytes() as usize, stream.as_raw())
        })
    }
}

impl<T: Scalar> DeviceArray<T> {
    /// As a kernel's read-only argument.
    pub(super) fn global(&self) -> Global<T> {
        Global::from_address(self.address)
    }

    /// As a kernel's output.
    pub(super) fn global_mut(&mut self) -> GlobalMut<T> {
        GlobalMut::from_address(self.address)
    }
}

impl<T> Drop for DeviceArray<T> {
    fn drop(&mut self) {
        if self.address == 0 {
            return;
        }
        if let Ok(_bound) = self.device.bind() {
            // SAFETY: allocated in this context and freed once. The driver waits for kernels that use it.
            let _ = unsafe { sys::cuMemFree_v2(self.address) };
        }
    }
}

/// The address of an optional array, null for none.
pub(super) fn address_of<T: Plain>(array: Option<&DeviceArray<T>>) -> u64 {
    array.map_or(0, DeviceArray::address)
}

fn bytes<T>(len: usize) -> u64 {
    (len as u64).saturating_mul(size_of::<T>() as u64)
}

fn same_length(what: &'static str, found: usize, needed: usize) -> Result<(), CudaError> {
    if found == needed {
        return Ok(());
    }
    Err(CudaError::Argument { what, found: format!("{found} values"), needed: format!("{needed}") })
}

const _: () = assert!(size_of::<*const u8>() == size_of::<sys::CUdeviceptr>(), "device addresses are 64 bits");
