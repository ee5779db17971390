//! A second stream beside the caller's, for launches that do not wait for each other.
//!
//! ```text
//! caller's stream   ──┬── launches ──────────────┬── launches of what both made ──
//!                     │ fork                     │ join
//! the branch's        └── launches of one part ──┘
//! ```
//!
//! [`Fork::of`] records an event on the caller's stream, for which the branch's waits; [`Fork::join`] does the same the other way
//! round. So all that was on the caller's stream before the fork comes before the part, and the part before all that follows the
//! join: whoever orders another run behind the caller's stream has ordered it behind the branch too. No call waits or allocates, and
//! a capture of the caller's stream takes in the branch's from the fork to the join.
//!
//! A fork that a failure leaves open is joined when it is dropped.

use std::ptr;

use cust::sys;

use super::device::{Bound, CudaDevice};
use super::error::{CudaError, check};
use super::plan::Target;
use super::stream::{OwnStream, RawStream};

/// The stream, and the events of both ends.
pub(super) struct Branch {
    stream: OwnStream,
    forked: Event,
    joined: Event,
}

impl Branch {
    pub(super) fn new(device: &CudaDevice, bound: &Bound<'_>) -> Result<Self, CudaError> {
        Ok(Self {
            stream: OwnStream::new(device, bound)?,
            forked: Event::new(device, bound)?,
            joined: Event::new(device, bound)?,
        })
    }
}

/// What is between a fork and its join; or nothing, where all is on one stream.
pub(super) struct Fork<'a> {
    branch: Option<&'a Branch>,
    caller: RawStream,
    bound: &'a Bound<'a>,
}

impl<'a> Fork<'a> {
    /// From here on launches on [`Self::stream`] are beside those on the target's, if it has a branch.
    pub(super) fn of(target: &Target<'a>) -> Result<Self, CudaError> {
        if let Some(branch) = target.branch {
            branch.forked.order(target.stream, branch.stream.raw(), target.bound)?;
        }
        Ok(Self { branch: target.branch, caller: target.stream, bound: target.bound })
    }

    /// Where the part's launches go.
    pub(super) fn stream(&self) -> RawStream {
        self.branch.map_or(self.caller, |branch| branch.stream.raw())
    }

    /// What the caller's stream does from here on comes behind the part. Once; again it does nothing.
    pub(super) fn join(&mut self) -> Result<(), CudaError> {
        if let Some(branch) = self.branch {
            branch.joined.order(branch.stream.raw(), self.caller, self.bound)?;
            self.branch = None;
        }
        Ok(())
    }
}

impl Drop for Fork<'_> {
    fn drop(&mut self) {
        if self.join().is_err()
            && let Some(branch) = self.branch
        {
            // Nothing else keeps the part's tensors until it has run.
            let _ = branch.stream.raw().synchronize("waiting for a branch", self.bound);
        }
    }
}

/// An event that orders streams and takes no time.
struct Event {
    event: sys::CUevent,
    device: CudaDevice,
}

// SAFETY: an event's handle may be used from any thread in which its context is current.
unsafe impl Send for Event {}

impl Event {
    fn new(device: &CudaDevice, _bound: &Bound<'_>) -> Result<Self, CudaError> {
        let (mut event, flags) = (ptr::null_mut(), sys::CUevent_flags::CU_EVENT_DISABLE_TIMING as u32);
        // SAFETY: writes one handle; a context is current.
        check("creating an event", unsafe { sys::cuEventCreate(&mut event, flags) })?;
        Ok(Self { event, device: device.clone() })
    }

    /// What `second` does from here on comes behind what `first` has been given until now.
    fn order(&self, first: RawStream, second: RawStream, _bound: &Bound<'_>) -> Result<(), CudaError> {
        // SAFETY: the event lives as long as `self`; the streams are of its context, or the caller's promise of that.
        check("recording an event", unsafe { sys::cuEventRecord(self.event, first.as_raw()) })?;
        // SAFETY: as above; the event is recorded.
        check("waiting for an event", unsafe { sys::cuStreamWaitEvent(second.as_raw(), self.event, 0) })
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if let Ok(_bound) = self.device.bind() {
            // SAFETY: created by `new`, destroyed once; streams that still wait for it are not disturbed.
            let _ = unsafe { sys::cuEventDestroy_v2(self.event) };
        }
    }
}
