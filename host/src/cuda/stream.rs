//! Streams: the plan's own, and those a caller brings.

use cust::stream::{Stream, StreamFlags};
use cust::sys;

use super::device::{Bound, CudaDevice};
use super::error::{CudaError, check, checked};

/// A CUDA stream by its handle (`CUstream`, `cudaStream_t`): what other libraries hand over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawStream(usize);

impl RawStream {
    /// The legacy default stream (handle 0).
    pub const DEFAULT: Self = Self(0);

    /// The stream of that handle.
    pub const fn from_handle(handle: usize) -> Self {
        Self(handle)
    }

    /// Its handle.
    pub const fn handle(self) -> usize {
        self.0
    }

    pub(super) fn as_raw(self) -> sys::CUstream {
        std::ptr::with_exposed_provenance_mut(self.0)
    }

    /// Whether its work is being captured in a graph; the default stream's cannot be.
    ///
    /// # Errors
    /// [`CudaError::Call`].
    ///
    /// # Safety
    /// It is a stream of the device's primary context.
    pub unsafe fn is_captured(self, device: &CudaDevice) -> Result<bool, CudaError> {
        if self == Self::DEFAULT {
            return Ok(false);
        }
        let _bound = device.bind()?;
        let mut status = sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE;
        // SAFETY: writes one status; the handle is the caller's promise of a stream of this context.
        check("asking whether the stream is captured", unsafe {
            sys::cuStreamIsCapturing(self.as_raw(), &mut status)
        })?;
        Ok(status != sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE)
    }

    /// Waits until all work on it is done; here the errors of its kernels come out.
    pub(super) fn synchronize(self, what: &'static str, _bound: &Bound<'_>) -> Result<(), CudaError> {
        // SAFETY: the handle is a stream of the current context, or the caller's promise of one.
        check(what, unsafe { sys::cuStreamSynchronize(self.as_raw()) })
    }
}

/// A stream of our own, which does not wait for the default stream.
pub(super) struct OwnStream {
    /// `None` only while it is dropped.
    stream: Option<Stream>,
    raw: RawStream,
    device: CudaDevice,
}

// SAFETY: a stream handle may be used from any thread; a plan, which owns it, is used by one at a time.
unsafe impl Send for OwnStream {}

impl OwnStream {
    pub(super) fn new(device: &CudaDevice, _bound: &Bound<'_>) -> Result<Self, CudaError> {
        let stream = checked("creating a stream", Stream::new(StreamFlags::NON_BLOCKING, None))?;
        let raw = RawStream(stream.as_inner().expose_provenance());
        Ok(Self { stream: Some(stream), raw, device: device.clone() })
    }

    pub(super) fn raw(&self) -> RawStream {
        self.raw
    }
}

impl Drop for OwnStream {
    fn drop(&mut self) {
        // In its own context, which `device` keeps until after this.
        match self.device.bind() {
            Ok(_bound) => drop(self.stream.take()),
            // The context is lost, and the stream with it.
            Err(_) => std::mem::forget(self.stream.take()),
        }
    }
}
