//! Timing a plan on a GPU: events on the stream around every stage, the L2 cache flushed before each run.

use cust::sys;

use super::device::Bound;
use super::error::{CudaError, check};
use super::memory::DeviceArray;
use super::plan::CudaPlan;
use super::stream::RawStream;
use super::{batch_norm_reduce, conv_transpose_moments, pool_finish};
use crate::Error;
use crate::element::Element;
use crate::plan::{Measurement, StageMeasurement, median};
use crate::tensors::Inputs;

/// Bytes of the copy that measures bandwidth: several times any L2 cache.
const COPY_BYTES: u64 = 512 << 20;
/// Copies timed.
const COPIES: usize = 9;

impl<T: Element> CudaPlan<T> {
    /// Runs once to warm up, then `runs` times under events.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn measure(&mut self, inputs: &Inputs<'_, T>, runs: usize) -> Result<Measurement, Error> {
        let device = self.device().clone();
        let bound = device.bind()?;
        let stream = self.stream();
        let tensors = self.stage(inputs, &bound)?;
        let room = device.free_memory(&bound)? / 4;
        let words = (COPY_BYTES.min(room) / 4).max(1) as usize;
        let mut scratch = DeviceArray::<u32>::new("the copy that measures bandwidth", words, &device, &bound)?;
        let mut copy = DeviceArray::<u32>::new("the copy that measures bandwidth", words, &device, &bound)?;
        scratch.fill(1, stream, &bound)?;

        let mut times = vec![Vec::with_capacity(runs); STAGES.len()];
        let mut totals = Vec::with_capacity(runs);
        for run in 0..=runs {
            let events = Events::new(STAGES.len() + 1, &bound)?;
            copy.copy_from(&scratch, stream, &bound)?; // leaves nothing of the tensors in L2
            // SAFETY: the staged tensors have the problem's lengths, and the plan's own stream orders everything.
            unsafe { self.launch(&tensors, stream, &bound, |stage| events.record(stage, stream))? };
            stream.synchronize("waiting for the measured run", &bound)?;
            if run > 0 {
                for (stage, times) in times.iter_mut().enumerate() {
                    times.push(events.between(stage, stage + 1)?);
                }
                totals.push(events.between(0, STAGES.len())?);
            }
        }
        let bandwidth = bandwidth(&mut copy, &scratch, stream, &bound)?;
        let costs = self.costs();
        let stages = STAGES.iter().zip(times).zip(costs);
        let stages = stages.map(|((name, runs_ms), (bytes, flops))| StageMeasurement { name, runs_ms, bytes, flops });
        Ok(Measurement { runs_ms: totals, stages: stages.collect(), bandwidth })
    }

    /// Bytes and operations of each stage.
    fn costs(&self) -> [(u64, u64); 3] {
        let (problem, direct) = (self.problem(), self.direct());
        let element = T::DTYPE.bytes() as u64;
        let tensors = (problem.input_elements() as u64).saturating_add(problem.kernel_elements() as u64);
        let (rows, slices) = (direct.rows(), direct.rows().saturating_mul(direct.work.slices));
        [
            (tensors.saturating_mul(element).saturating_add(slices.saturating_mul(16)), direct.flops()),
            (slices.saturating_add(rows).saturating_mul(16), slices.saturating_mul(12)),
            (rows.saturating_mul(24 + element), rows.saturating_mul(15)),
        ]
    }
}

/// The stages in the order of their launches.
const STAGES: [&str; 3] = [conv_transpose_moments::STAGE, batch_norm_reduce::STAGE, pool_finish::STAGE];

/// Bytes a second of a copy within the device, reads and writes counted: the median of several.
fn bandwidth(
    copy: &mut DeviceArray<u32>,
    source: &DeviceArray<u32>,
    stream: RawStream,
    bound: &Bound<'_>,
) -> Result<f64, Error> {
    let mut ms = Vec::with_capacity(COPIES);
    for _ in 0..COPIES {
        let events = Events::new(2, bound)?;
        events.record(0, stream)?;
        copy.copy_from(source, stream, bound)?;
        events.record(1, stream)?;
        stream.synchronize("waiting for the copy that measures bandwidth", bound)?;
        ms.push(events.between(0, 1)?);
    }
    Ok(2.0 * source.bytes() as f64 / (median(&ms) * 1e-3))
}

/// Events of one run. (cust's own events record on cust's own streams only.)
struct Events(Vec<sys::CUevent>);

impl Events {
    fn new(count: usize, _bound: &Bound<'_>) -> Result<Self, CudaError> {
        let mut events = Self(Vec::with_capacity(count));
        for _ in 0..count {
            let mut event = std::ptr::null_mut();
            // SAFETY: writes one handle; a context is current.
            check("creating an event", unsafe { sys::cuEventCreate(&mut event, 0) })?;
            events.0.push(event);
        }
        Ok(events)
    }

    fn record(&self, index: usize, stream: RawStream) -> Result<(), CudaError> {
        // SAFETY: the event lives as long as `self`; the stream is the plan's.
        check("recording an event", unsafe { sys::cuEventRecord(self.0[index], stream.as_raw()) })
    }

    /// Milliseconds from one to the other, both behind the stream.
    fn between(&self, first: usize, second: usize) -> Result<f64, CudaError> {
        let mut ms = 0.0;
        // SAFETY: writes one number; both events live and have been recorded.
        check("reading an event", unsafe { sys::cuEventElapsedTime(&mut ms, self.0[first], self.0[second]) })?;
        Ok(f64::from(ms))
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        for &event in &self.0 {
            // SAFETY: created by `new`, destroyed once; the driver waits where one is still pending.
            let _ = unsafe { sys::cuEventDestroy_v2(event) };
        }
    }
}
