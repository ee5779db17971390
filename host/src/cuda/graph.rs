//! CUDA graphs: launches captured once, replayed as one.

use cust::sys;

use super::device::{Bound, CudaDevice};
use super::error::{CudaError, check};
use super::stream::{OwnStream, RawStream};
use crate::Error;

/// A captured sequence of launches, ready to be replayed in the context it was captured in.
pub(super) struct Graph {
    executable: sys::CUgraphExec,
    device: CudaDevice,
}

impl Graph {
    /// Captures what `launch` puts on the stream it is given, a stream of its own: one whose capture cannot be ended goes with
    /// it.
    ///
    /// # Errors
    /// Those of `launch`, or [`CudaError::Call`].
    pub(super) fn capture(
        device: &CudaDevice,
        bound: &Bound<'_>,
        launch: impl FnOnce(RawStream) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let own = OwnStream::new(device, bound)?;
        let stream = own.raw().as_raw();
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: a stream of the current context, which nobody else has.
        check("beginning to capture a graph", unsafe { sys::cuStreamBeginCapture_v2(stream, mode) })?;
        let launched = launch(own.raw());
        let mut graph = std::ptr::null_mut();
        // SAFETY: the stream captures; writes one handle.
        let ended = check("ending the capture of a graph", unsafe { sys::cuStreamEndCapture(stream, &mut graph) });
        let made = launched.and(ended.map_err(Error::from)).and_then(|()| {
            let mut executable = std::ptr::null_mut();
            let (node, log) = (std::ptr::null_mut(), std::ptr::null_mut());
            // SAFETY: the graph was just captured; writes one handle, and no log is asked for.
            let result = unsafe { sys::cuGraphInstantiate_v2(&mut executable, graph, node, log, 0) };
            check("making a graph fit to launch", result)?;
            Ok(Self { executable, device: device.clone() })
        });
        if !graph.is_null() {
            // SAFETY: captured above and destroyed once; an executable does not need it.
            let _ = unsafe { sys::cuGraphDestroy(graph) };
        }
        made
    }

    /// Puts the captured launches on `stream`.
    ///
    /// # Safety
    /// What was captured may be launched again: its memory is still there, and `stream` orders all its uses.
    pub(super) unsafe fn replay(&self, stream: RawStream, _bound: &Bound<'_>) -> Result<(), CudaError> {
        // SAFETY: the executable lives as long as `self`; the rest is the caller's promise.
        check("launching a graph", unsafe { sys::cuGraphLaunch(self.executable, stream.as_raw()) })
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        if let Ok(_bound) = self.device.bind() {
            // SAFETY: made by `capture`, destroyed once; launches of it that still run are not disturbed.
            let _ = unsafe { sys::cuGraphExecDestroy(self.executable) };
        }
    }
}
