//! Timing a plan on a GPU: events on the stream around every launch, then around replays of a graph; the L2 cache is flushed
//! before each run.

use cust::sys;

use super::device::Bound;
use super::error::{CudaError, check};
use super::graph::Graph;
use super::memory::DeviceArray;
use super::plan::CudaPlan;
use super::stream::RawStream;
use crate::Error;
use crate::addresses::DeviceTensors;
use crate::element::Storage;
use crate::plan::{Measurement, StageMeasurement, median};
use crate::tensors::Inputs;

/// Bytes of the copy that measures bandwidth: several times any L2 cache.
const COPY_BYTES: u64 = 512 << 20;
/// Copies timed.
const COPIES: usize = 9;

impl<T: Storage> CudaPlan<T> {
    /// Runs once to warm up, then `runs` times under events, and as often as a graph.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn measure(&mut self, inputs: &Inputs<'_, T>, runs: usize) -> Result<Measurement, Error> {
        let device = self.device().clone();
        let bound = device.bind()?;
        let stream = self.stream();
        // Written as callers have it, in the room of f64.
        let tensors = DeviceTensors { output_dtype: None, ..self.stage(inputs, &bound)? };
        let room = device.free_memory(&bound)? / 4;
        let words = (COPY_BYTES.min(room) / 4).max(1) as usize;
        let mut scratch = DeviceArray::<u32>::new("the copy that measures bandwidth", words, &device, &bound)?;
        let mut copy = DeviceArray::<u32>::new("the copy that measures bandwidth", words, &device, &bound)?;
        scratch.fill(1, stream, &bound)?;

        let costs = self.stages();
        let mut times = vec![Vec::with_capacity(runs); costs.len()];
        let mut totals = Vec::with_capacity(runs);
        for run in 0..=runs {
            let mut events = Events::default();
            let mut stages = Vec::new();
            copy.copy_from(&scratch, stream, &bound)?; // leaves nothing of the tensors in L2
            events.record(stream, &bound)?;
            let mut after = |stage| {
                stages.push(stage);
                events.record(stream, &bound)
            };
            // SAFETY: the staged tensors have the problem's lengths, and the plan's own stream orders everything.
            unsafe { self.launch(&tensors, stream, &bound, Some(&mut after))? };
            stream.synchronize("waiting for the measured run", &bound)?;
            if run > 0 {
                for ((name, _), times) in costs.iter().zip(&mut times) {
                    let launches = stages.iter().enumerate().filter(|(_, stage)| *stage == name);
                    let spans = launches.map(|(i, _)| events.between(i, i + 1));
                    times.push(spans.sum::<Result<f64, CudaError>>()?);
                }
                totals.push(events.between(0, stages.len())?);
            }
        }
        let graph_ms = self.measure_graph(&tensors, (&mut copy, &scratch), runs, &bound)?;
        let bandwidth = bandwidth(&mut copy, &scratch, stream, &bound)?;
        let stages = costs.into_iter().zip(times).map(|((name, cost), runs_ms)| StageMeasurement {
            name,
            runs_ms,
            bytes: cost.bytes,
            flops: cost.flops,
        });
        Ok(Measurement { runs_ms: totals, graph_ms, stages: stages.collect(), bandwidth })
    }

    /// Milliseconds of `runs` replays of one captured run, the L2 cache flushed before each.
    fn measure_graph(
        &mut self,
        tensors: &DeviceTensors,
        (copy, scratch): (&mut DeviceArray<u32>, &DeviceArray<u32>),
        runs: usize,
        bound: &Bound<'_>,
    ) -> Result<Vec<f64>, Error> {
        let (device, stream) = (self.device().clone(), self.stream());
        let graph = Graph::capture(&device, bound, |captured| {
            // SAFETY: as for a run; the graph is launched in this function alone, on the plan's own stream.
            unsafe { self.launch(tensors, captured, bound, None) }
        })?;
        let mut times = Vec::with_capacity(runs);
        for run in 0..=runs {
            let mut events = Events::default();
            copy.copy_from(scratch, stream, bound)?;
            events.record(stream, bound)?;
            // SAFETY: the tensors are staged and the workspace is the plan's, which is borrowed.
            unsafe { graph.replay(stream, bound)? };
            events.record(stream, bound)?;
            stream.synchronize("waiting for the measured graph", bound)?;
            if run > 0 {
                times.push(events.between(0, 1)?);
            }
        }
        Ok(times)
    }
}

/// Bytes a second of a copy within the device, reads and writes counted: the median of several.
fn bandwidth(
    copy: &mut DeviceArray<u32>,
    source: &DeviceArray<u32>,
    stream: RawStream,
    bound: &Bound<'_>,
) -> Result<f64, Error> {
    let mut ms = Vec::with_capacity(COPIES);
    for _ in 0..COPIES {
        let mut events = Events::default();
        events.record(stream, bound)?;
        copy.copy_from(source, stream, bound)?;
        events.record(stream, bound)?;
        stream.synchronize("waiting for the copy that measures bandwidth", bound)?;
        ms.push(events.between(0, 1)?);
    }
    Ok(2.0 * source.bytes() as f64 / (median(&ms) * 1e-3))
}

/// Events of one run, in the order in which they were recorded. (cust's own events record on cust's own streams only.)
#[derive(Default)]
struct Events(Vec<sys::CUevent>);

impl Events {
    /// Records one more.
    fn record(&mut self, stream: RawStream, _bound: &Bound<'_>) -> Result<(), CudaError> {
        let mut event = std::ptr::null_mut();
        // SAFETY: writes one handle; a context is current.
        check("creating an event", unsafe { sys::cuEventCreate(&mut event, 0) })?;
        self.0.push(event);
        // SAFETY: the event lives as long as `self`; the stream is the plan's.
        check("recording an event", unsafe { sys::cuEventRecord(event, stream.as_raw()) })
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
            // SAFETY: created by `record`, destroyed once; the driver waits where one is still pending.
            let _ = unsafe { sys::cuEventDestroy_v2(event) };
        }
    }
}
