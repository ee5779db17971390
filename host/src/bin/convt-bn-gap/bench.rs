//! `bench`: is it right, then how long does it take, and how far is that from the floor?

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use clap::Args;
use convt_bn_gap::check::{self, OutputError, SampledReference};
use convt_bn_gap::draw::Draws;
use convt_bn_gap::plan::{Measurement, StageMeasurement, median};
use convt_bn_gap::preset::{PRESETS, Preset};
use convt_bn_gap::{DType, Error, KernelShape, Plan, Problem, Recipe, Shape5, Storage, Tensors, Watch, bf16, f16};
use serde_json::{Value, json};

use crate::arguments::Where;
use crate::failure::Failure;
use crate::options::ConvolutionArguments;
use crate::progress::Bar;
use crate::{bandwidth, report};

/// Check a result on drawn data, then time it.
///
/// The error is that of the whole operation against the definition in f64, over as many output channels as can be
/// afforded. The floor is the time that reading input and kernel once and writing the output takes.
#[derive(Args)]
pub struct Arguments {
    /// A named problem.
    #[arg(long, default_value = "kernelbench-77", value_parser = preset)]
    preset: &'static Preset,
    /// Any other problem: its nine sizes. The options of the convolution are for it.
    #[arg(long, value_name = "B,Cin,Cout,D,H,W,Kd,Kh,Kw", value_parser = sizes, conflicts_with = "preset", allow_hyphen_values = true)]
    shape: Option<[usize; 9]>,
    #[command(flatten)]
    convolution: ConvolutionArguments,
    /// The format of input, kernel and conv_bias: f32, f16, bf16 or f64. The error is that of an output in f32, or f64.
    #[arg(long, default_value = "f32")]
    dtype: DType,
    /// How many runs to time; else as many as fit in ten seconds, at least 3 and at most 100.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    runs: Option<u32>,
    #[command(flatten)]
    place: Where,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

fn preset(name: &str) -> Result<&'static Preset, String> {
    PRESETS.iter().find(|preset| preset.name == name).ok_or_else(|| {
        let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
        format!("there is no such preset; there are {}", names.join(", "))
    })
}

fn sizes(text: &str) -> Result<[usize; 9], String> {
    let sizes: Option<Vec<usize>> = text.split(',').map(|size| size.trim().parse().ok()).collect();
    sizes
        .and_then(|sizes| sizes.try_into().ok())
        .ok_or_else(|| "it must be nine sizes, B,Cin,Cout,D,H,W,Kd,Kh,Kw".to_owned())
}

/// Enough to compute a few channels of KernelBench 77 by the definition, in seconds.
pub const REFERENCE_FLOPS: u128 = 20_000_000_000;

/// The time that runs may take where their number is not given.
const ENOUGH: Duration = Duration::from_secs(10);

/// Their number then.
const RUNS: RangeInclusive<u32> = 3..=100;

/// A problem and its data.
pub struct Subject<T: Storage> {
    /// The problem.
    pub problem: Problem,
    /// Its tensors.
    pub tensors: Tensors<T>,
}

impl<T: Storage> Subject<T> {
    /// A preset's problem and data.
    pub fn preset(preset: &Preset) -> Result<Self, Failure> {
        let problem = preset.problem();
        let tensors = preset.draws().tensors(&problem)?;
        Ok(Self { problem, tensors })
    }

    /// Data drawn for a problem of these sizes; `cout` is of all groups.
    fn sizes(
        [batch, cin, cout, d, h, w, kd, kh, kw]: [usize; 9],
        convolution: &ConvolutionArguments,
    ) -> Result<Self, Failure> {
        // As PyTorch's module says it.
        let groups = usize::try_from(convolution.groups()).unwrap_or(0).max(1);
        if !cout.is_multiple_of(groups) {
            return Err(anyhow!("out_channels is {cout}; groups, which are {groups}, must divide it").into());
        }
        let input = Shape5 { batch, channels: cin, depth: d, height: h, width: w };
        let kernel = KernelShape { in_channels: cin, out_channels: cout / groups, depth: kd, height: kh, width: kw };
        let problem = convolution.apply(Problem::builder(input, kernel).scale_factor(2.0));
        let problem = problem.build().map_err(Error::from)?;
        let tensors = Draws::usual(&problem, 1).tensors(&problem)?;
        Ok(Self { problem, tensors })
    }

    /// The error of an output of this problem over sampled channels, and how many those are.
    pub fn error(&self, output: ndarray::ArrayView5<'_, T::Wide>) -> Result<(OutputError, usize), Failure> {
        let inputs = self.tensors.as_inputs();
        let sampled = SampledReference::new(&self.problem, REFERENCE_FLOPS);
        let bar = Bar::of("checking against the definition in f64");
        let expected = sampled.run(&self.problem, &inputs, Some(&|done, total| bar.set(done, total)))?;
        Ok((sampled.error::<T::Wide>(output, &expected, inputs.bn_bias)?, sampled.channels().len()))
    }
}

/// Times runs one by one by the clock on the wall, and the memory beside them. The plan has run before: that was the
/// warm-up.
fn measure_on_cpu<T: Storage>(plan: &mut Plan<T>, subject: &Subject<T>, runs: u32) -> Result<Measurement, Error> {
    let inputs = subject.tensors.as_inputs();
    let bar = Bar::of("timing");
    let mut runs_ms = Vec::new();
    let mut stages: Vec<StageMeasurement> = Vec::new();
    for run in 0..runs {
        bar.set(run.into(), runs.into());
        let start = Instant::now();
        plan.run(&inputs)?;
        runs_ms.push(start.elapsed().as_secs_f64() * 1e3);
        for stage in plan.stages() {
            let ms = stage.seconds * 1e3;
            match stages.iter_mut().find(|found| found.name == stage.name) {
                Some(found) => found.runs_ms.push(ms),
                None => stages.push(StageMeasurement {
                    name: stage.name,
                    runs_ms: vec![ms],
                    bytes: stage.bytes,
                    flops: stage.flops,
                }),
            }
        }
    }
    if stages.is_empty() {
        stages.push(StageMeasurement {
            name: "all",
            runs_ms: runs_ms.clone(),
            bytes: least_bytes(&subject.problem, T::DTYPE),
            flops: u64::try_from(subject.problem.direct_flops()).unwrap_or(u64::MAX),
        });
    }
    Ok(Measurement { runs_ms, graph_ms: Vec::new(), stages, bandwidth: bandwidth::of_this_machine()? })
}

/// As many runs as fit in [`ENOUGH`], judged by the first.
fn affordable_runs(first: Duration) -> u32 {
    let fitting = ENOUGH.as_secs_f64() / first.as_secs_f64().max(1e-9);
    (fitting as u32).clamp(*RUNS.start(), *RUNS.end())
}

/// Bytes that any way must move: input and kernel read once, output written once.
fn least_bytes(problem: &Problem, dtype: DType) -> u64 {
    let elements =
        problem.input_elements() as u64 + problem.kernel_elements() as u64 + problem.output_elements() as u64;
    elements.saturating_mul(dtype.bytes() as u64)
}

/// Checks, times, prints.
pub fn bench(arguments: &Arguments) -> Result<(), Failure> {
    match arguments.dtype {
        DType::F16 => bench_of::<f16>(arguments),
        DType::BF16 => bench_of::<bf16>(arguments),
        DType::F32 => bench_of::<f32>(arguments),
        DType::F64 => bench_of::<f64>(arguments),
    }
}

fn bench_of<T: Storage>(arguments: &Arguments) -> Result<(), Failure> {
    let place = arguments.place.prepare()?;
    let subject = match arguments.shape {
        Some(shape) => Subject::<T>::sizes(shape, &arguments.convolution)?,
        None if arguments.convolution.are_given() => {
            return Err(anyhow!("a preset has the convolution's options of its own; give others with --shape").into());
        }
        None => Subject::preset(arguments.preset)?,
    };
    let device = place.device()?;
    let mut plan = Plan::<T>::new(&subject.problem, device, arguments.place.plan_options())?;
    let began = Instant::now();
    let outputs = {
        let bar = Bar::of("warming up");
        let report = |done, total| bar.set(done, total);
        let watch = Watch { progress: Some(&report), cancelled: None };
        plan.run_wide_watched(&subject.tensors.as_inputs(), watch)?
    };
    let runs = arguments.runs.unwrap_or(affordable_runs(began.elapsed()));
    // Before the definition, which holds the tensors in f64.
    let peak_memory = peak_memory();
    let (error, channels) = subject.error(outputs.output.view())?;
    let bound = check::bound(plan.recipe().algorithm, T::DTYPE);
    if !error.passes(bound) {
        let bound = error.bound(bound);
        return Err(Failure::Check(format!("not timed: the error is {:.1e}, its bound {bound:.0e}", error.value)));
    }
    let measured = match plan.measure_on_device(&subject.tensors.as_inputs(), runs as usize)? {
        Some(measured) => measured,
        None => measure_on_cpu(&mut plan, &subject, runs)?,
    };
    let floor_ms = least_bytes(&subject.problem, T::DTYPE) as f64 / measured.bandwidth * 1e3;
    let recipe = plan.recipe().clone();
    let found = Found { device: device.name(), recipe, error, channels, measured, floor_ms, peak_memory };
    let text = if arguments.json { found.as_json(&subject.problem) } else { found.in_words(&subject.problem) };
    Ok(report::print(&text)?)
}

/// What is to be reported.
struct Found {
    device: String,
    recipe: Recipe,
    error: OutputError,
    channels: usize,
    measured: Measurement,
    floor_ms: f64,
    /// Of this process after its first run, where the system says.
    peak_memory: Option<u64>,
}

impl Found {
    fn as_json(&self, problem: &Problem) -> String {
        let convolution = problem.convolution();
        let (min_ms, max_ms) = min_and_max(&self.measured.runs_ms);
        let whole: f64 = self.measured.stages.iter().map(|stage| median(&stage.runs_ms)).sum();
        let stages: Vec<Value> = self.measured.stages.iter().map(|stage| stage_as_json(stage, whole)).collect();
        json!({
            "device": self.device,
            "backend": self.recipe.backend.to_string(),
            "algorithm": self.recipe.algorithm.to_string(),
            "precision": self.recipe.precision.to_string(),
            "dtype": self.recipe.dtype.to_string(),
            "reason": self.recipe.reason,
            "shape": report::shape_numbers(problem),
            "convolution": {
                "stride": convolution.stride,
                "padding": convolution.padding,
                "output_padding": convolution.output_padding,
                "dilation": convolution.dilation,
                "groups": convolution.groups,
            },
            "error": self.error.value,
            "median_ms": median(&self.measured.runs_ms),
            "min_ms": min_ms,
            "max_ms": max_ms,
            "runs": self.measured.runs_ms.len(),
            "graph_ms": graph_as_json(&self.measured.graph_ms),
            "floor_ms": self.floor_ms,
            "workspace_bytes": self.recipe.workspace_bytes,
            "peak_memory_bytes": self.peak_memory,
            "stages": stages,
        })
        .to_string()
    }

    fn in_words(&self, problem: &Problem) -> String {
        let recipe = &self.recipe;
        let (min_ms, max_ms) = min_and_max(&self.measured.runs_ms);
        let median_ms = median(&self.measured.runs_ms);
        let kind = if self.error.absolute { "absolute" } else { "relative to |output − β|" };
        let mut lines = vec![
            report::shape_in_words(problem),
            format!(
                "{} of {} on {}, precision {}, workspace {} bytes",
                recipe.algorithm,
                recipe.dtype,
                report::place(recipe.backend, &self.device),
                recipe.precision,
                recipe.workspace_bytes,
            ),
            format!(
                "error   {:.1e}, {kind}, over {} of {} channels",
                self.error.value,
                self.channels,
                problem.out_channels(),
            ),
            format!(
                "median  {} of {} runs, {} to {}",
                report::milliseconds(median_ms),
                self.measured.runs_ms.len(),
                report::milliseconds(min_ms),
                report::milliseconds(max_ms),
            ),
            format!(
                "floor   {}: {} bytes at {:.1} GB/s; the median is {:.1} times that",
                report::milliseconds(self.floor_ms),
                least_bytes(problem, recipe.dtype),
                self.measured.bandwidth / 1e9,
                median_ms / self.floor_ms,
            ),
        ];
        if !self.measured.graph_ms.is_empty() {
            let (min_ms, max_ms) = min_and_max(&self.measured.graph_ms);
            let graph = format!(
                "graph   {}, {} to {}, of the same launches replayed",
                report::milliseconds(median(&self.measured.graph_ms)),
                report::milliseconds(min_ms),
                report::milliseconds(max_ms),
            );
            lines.insert(lines.len() - 1, graph);
        }
        if self.measured.stages.len() > 1 {
            lines.extend(self.measured.stages.iter().map(|stage| {
                let ms = median(&stage.runs_ms);
                let rate = stage.flops as f64 / (ms * 1e6);
                format!("        {}: {}, {rate:.0} GFLOP/s", stage.name, report::milliseconds(ms))
            }));
        }
        lines.join("\n")
    }
}

fn min_and_max(ms: &[f64]) -> (f64, f64) {
    let runs = ms.iter().copied();
    (runs.clone().fold(f64::INFINITY, f64::min), runs.fold(0.0, f64::max))
}

/// The middle and the ends of a graph's replays, null where there were none.
fn graph_as_json(ms: &[f64]) -> Value {
    let (min_ms, max_ms) = min_and_max(ms);
    if ms.is_empty() { Value::Null } else { json!({ "median": median(ms), "min": min_ms, "max": max_ms }) }
}

/// A stage, and its share of what all stages take together.
fn stage_as_json(stage: &StageMeasurement, whole_ms: f64) -> Value {
    let median_ms = median(&stage.runs_ms);
    json!({
        "name": stage.name,
        "median_ms": median_ms,
        "bytes": stage.bytes,
        "flops": stage.flops,
        "gflop_per_s": stage.flops as f64 / (median_ms * 1e6),
        "share": median_ms / whole_ms,
    })
}

/// The most memory that this process has had at once: `VmHWM`.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_fit_in_the_time_there_is() {
        assert_eq!(affordable_runs(Duration::ZERO), 100);
        assert_eq!(affordable_runs(Duration::from_millis(500)), 20);
        assert_eq!(affordable_runs(Duration::MAX), 3);
    }

    #[test]
    fn nine_sizes_or_none() {
        assert_eq!(sizes("1, 2,3,4,5,6,7,8,9"), Ok([1, 2, 3, 4, 5, 6, 7, 8, 9]));
        for text in ["", "1,2,3,4,5,6,7,8", "1,2,3,4,5,6,7,8,9,10", "1,2,3,4,5,6,7,8,-9", "1,2,3,4,5,6,7,8,1e3"] {
            assert!(sizes(text).is_err(), "{text}");
        }
    }
}
