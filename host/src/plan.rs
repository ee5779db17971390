//! From a problem to a result: a [`Device`] is chosen, a [`Recipe`] designed, a [`Plan`] run.
//!
//! [`design`] is pure: the same problem, facts and options give the same [`Recipe`], plain data that says
//! which algorithm runs and why. [`Plan::new`] builds what the recipe says; [`Plan::run`] computes.
//!
//! | device | algorithms | accumulation |
//! |---|---|---|
//! | `cuda` | direct, spectral (not f64) | `f32`, or `f64` in strict precision; the mean always in `f64` |
//! | `cpu` | spectral, direct, reference | `f32`, or `f64` for `f64` and in strict precision; means and last sums in `f64` |
//! | `reference` | reference | `f64` |
//!
//! ```
//! use convt_bn_gap::{Device, KernelShape, Plan, PlanOptions, Problem, Shape5};
//! let input = Shape5 { batch: 2, channels: 3, depth: 4, height: 4, width: 4 };
//! let kernel = KernelShape { in_channels: 3, out_channels: 5, depth: 3, height: 3, width: 3 };
//! let problem = Problem::builder(input, kernel).build()?;
//! let plan = Plan::<f32>::new(&problem, &Device::cpu(), PlanOptions::default())?;
//! println!("{}: {}", plan.recipe().algorithm, plan.recipe().reason);
//! # Ok::<(), convt_bn_gap::Error>(())
//! ```

mod cost;
mod cuda_direct;
mod cuda_tensor;
mod device;
mod gram;
mod measure;
mod on_cpu;
mod parts;
mod recipe;
mod roles;
mod spectral;
mod transform;
mod workspace;

#[cfg(not(feature = "cuda"))]
use std::marker::PhantomData;

use crate::Error;
#[cfg(feature = "cuda")]
use crate::addresses::DeviceTensors;
use crate::cpu::{self, Watch};
#[cfg(feature = "cuda")]
use crate::cuda::{CudaPlan, RawStream};
use crate::element::Storage;
use crate::problem::{Mode, Problem};
use crate::reference;
use crate::tensors::{Inputs, Outputs, Progress, RunningStatistics};

pub use cost::{Cost, SpectralCosts};
pub use cuda_direct::CudaDirect;
pub use cuda_tensor::{CudaTensor, TensorLengths};
pub use device::{Backend, Device};
pub use gram::{GramCuts, Reuse};
pub use measure::{Measurement, StageMeasurement, median};
pub use parts::Parts;
#[cfg(feature = "cuda")]
pub(crate) use recipe::WORKSPACE;
pub use recipe::{Algorithm, AlgorithmChoice, CudaRecipe, DeviceFacts, PlanOptions, Precision, Recipe, design};
pub use spectral::{CudaSpectral, Ineligible, WORKSPACE_BUDGET};
pub use transform::{Transform, VolumeFft, VolumeTransform};
pub use workspace::SpectralLengths;

/// A problem made ready to run on a device, for elements of type `T`.
#[derive(Debug)]
pub struct Plan<T: Storage> {
    problem: Problem,
    recipe: Recipe,
    engine: Engine<T>,
    stages: Vec<cpu::Stage>,
}

#[derive(Debug)]
enum Engine<T: Storage> {
    Cpu,
    Reference,
    #[cfg(feature = "cuda")]
    Cuda(Box<CudaPlan<T>>),
    /// Names `T` where no engine does.
    #[cfg(not(feature = "cuda"))]
    #[allow(dead_code)]
    Nothing(PhantomData<T>, std::convert::Infallible),
}

impl<T: Storage> Plan<T> {
    /// Designs a recipe and builds it.
    ///
    /// # Errors
    /// An option that the device does not have, or [`Error::Memory`] where the workspace does not fit.
    pub fn new(problem: &Problem, device: &Device, options: PlanOptions) -> Result<Plan<T>, Error> {
        let recipe = design(problem, &device.facts(), T::DTYPE, options)?;
        #[cfg(feature = "cuda")]
        if let (Some(gpu), Some(cuda)) = (device.gpu(), &recipe.cuda) {
            let engine = Engine::Cuda(Box::new(CudaPlan::build(problem, cuda, gpu)?));
            return Ok(Plan { problem: problem.clone(), recipe, engine, stages: Vec::new() });
        }
        let engine = match recipe.algorithm {
            Algorithm::Reference => Engine::Reference,
            _ => Engine::Cpu,
        };
        Ok(Plan { problem: problem.clone(), recipe, engine, stages: Vec::new() })
    }

    /// What will run, and why.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// Bytes a run takes beside inputs and outputs. On the CPU they are allocated while it runs.
    pub fn workspace_bytes(&self) -> u64 {
        self.recipe.workspace_bytes
    }

    /// Computes.
    ///
    /// # Errors
    /// Tensors that are not the problem's, memory that is not there, or the device's failure.
    pub fn run(&mut self, inputs: &Inputs<'_, T>) -> Result<Outputs<T>, Error> {
        self.run_watched(inputs, Watch::default())
    }

    /// Computes, and leaves the output in the format that it was computed in: `f32` for 16-bit tensors.
    ///
    /// # Errors
    /// Those of [`run`](Plan::run).
    pub fn run_wide(&mut self, inputs: &Inputs<'_, T>) -> Result<Outputs<T::Wide>, Error> {
        self.run_wide_watched(inputs, Watch::default())
    }

    /// Computes, and says how far it is. Devices that finish too soon to tell report nothing.
    ///
    /// # Errors
    /// Those of [`run`](Plan::run).
    pub fn run_with_progress(&mut self, inputs: &Inputs<'_, T>, progress: Progress<'_>) -> Result<Outputs<T>, Error> {
        self.run_watched(inputs, Watch { progress: Some(progress), cancelled: None })
    }

    /// Computes, says how far it is, and stops when asked to. Only a CPU looks whether it is asked.
    ///
    /// # Errors
    /// Those of [`run`](Plan::run), and [`Error::Cancelled`].
    pub fn run_watched(&mut self, inputs: &Inputs<'_, T>, watch: Watch<'_>) -> Result<Outputs<T>, Error> {
        self.compute(inputs, watch).map(Outputs::rounded)
    }

    /// [`run_wide`](Plan::run_wide), watched as [`run_watched`](Plan::run_watched) is.
    ///
    /// # Errors
    /// Those of [`run_watched`](Plan::run_watched).
    pub fn run_wide_watched(&mut self, inputs: &Inputs<'_, T>, watch: Watch<'_>) -> Result<Outputs<T::Wide>, Error> {
        self.compute(inputs, watch).map(Outputs::rounded)
    }

    /// Computes with the running statistics of a module, and moves them as its training step does: all of them once where the run
    /// succeeds, none where it fails. In eval mode they stay as they are. Cumulative momentum counts from
    /// [`num_batches_tracked`](RunningStatistics::num_batches_tracked), whatever the problem was built with.
    ///
    /// # Errors
    /// Those of [`run`](Plan::run); [`Error::Input`] where the problem was built without running statistics.
    pub fn run_updating(
        &mut self,
        inputs: &Inputs<'_, T>,
        running: &mut RunningStatistics<T::Wide>,
    ) -> Result<Outputs<T>, Error> {
        self.run_updating_unrounded(inputs, running).map(Outputs::rounded)
    }

    /// [`run_updating`](Plan::run_updating) with an output that is not rounded yet.
    pub(crate) fn run_updating_unrounded(
        &mut self,
        inputs: &Inputs<'_, T>,
        running: &mut RunningStatistics<T::Wide>,
    ) -> Result<Outputs<f64>, Error> {
        let built = self.problem.clone();
        self.count_from(built.after_batches(running.num_batches_tracked));
        let (running_mean, running_var) = (Some(running.mean.view()), Some(running.var.view()));
        let outputs = self.compute(&Inputs { running_mean, running_var, ..*inputs }, Watch::default());
        self.count_from(built);
        let outputs = outputs?;
        if let (Mode::Train { .. }, Some(mean), Some(var)) =
            (self.problem.mode(), &outputs.running_mean, &outputs.running_var)
        {
            running.mean.zip_mut_with(mean, |running, &moved| *running = Storage::from_f64(moved));
            running.var.zip_mut_with(var, |running, &moved| *running = Storage::from_f64(moved));
            running.num_batches_tracked = running.num_batches_tracked.saturating_add(1);
        }
        Ok(outputs)
    }

    /// [`run`](Plan::run) with an output that is not rounded yet.
    pub(crate) fn run_unrounded(&mut self, inputs: &Inputs<'_, T>) -> Result<Outputs<f64>, Error> {
        self.compute(inputs, Watch::default())
    }

    /// Takes the same problem with another count of batches.
    pub(crate) fn count_from(&mut self, problem: Problem) {
        #[cfg(feature = "cuda")]
        if let Engine::Cuda(plan) = &mut self.engine {
            plan.count_from(&problem);
        }
        self.problem = problem;
    }

    /// The problem it is for.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// What the last [`run`](Plan::run) on a CPU did, and how long each part took; nothing on other devices.
    pub fn stages(&self) -> &[cpu::Stage] {
        &self.stages
    }

    /// Refuses addresses that the device cannot reach.
    ///
    /// # Errors
    /// As [`CudaPlan::check_reachable`]; none where the plan is not for a GPU.
    #[cfg(feature = "cuda")]
    pub(crate) fn check_reachable(&self, tensors: &DeviceTensors) -> Result<(), Error> {
        match &self.engine {
            Engine::Cuda(plan) => plan.check_reachable(tensors),
            Engine::Cpu | Engine::Reference => Ok(()),
        }
    }

    /// Computes on tensors that are in device memory, and returns without waiting: no allocation, fit for capture in a CUDA
    /// graph.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the plan is not for a GPU; [`Error::Cuda`] where a launch fails.
    ///
    /// # Safety
    /// As [`CudaPlan::run_device`].
    #[cfg(feature = "cuda")]
    pub unsafe fn run_device(&mut self, stream: RawStream, tensors: &DeviceTensors) -> Result<(), Error> {
        match &mut self.engine {
            // SAFETY: the caller's promise.
            Engine::Cuda(plan) => unsafe { plan.run_device(stream, tensors) },
            Engine::Cpu | Engine::Reference => Err(Error::Unsupported {
                option: "tensors",
                found: "device memory".to_owned(),
                device: self.recipe.backend.to_string(),
                supported: "host memory is",
            }),
        }
    }

    /// Times `runs` runs by the device's own clock, copies to and from the host left out. `None` on a CPU: the clock on the
    /// wall around [`run`](Plan::run) says as much.
    ///
    /// # Errors
    /// Those of [`run`](Plan::run).
    pub fn measure_on_device(&mut self, inputs: &Inputs<'_, T>, runs: usize) -> Result<Option<Measurement>, Error> {
        match &mut self.engine {
            #[cfg(feature = "cuda")]
            Engine::Cuda(plan) => plan.measure(inputs, runs).map(Some),
            _ => {
                let _ = (inputs, runs);
                Ok(None)
            }
        }
    }

    /// An output that is not rounded to `T` yet.
    fn compute(&mut self, inputs: &Inputs<'_, T>, watch: Watch<'_>) -> Result<Outputs<f64>, Error> {
        inputs.check(&self.problem)?;
        match &mut self.engine {
            Engine::Cpu => {
                let Recipe { algorithm, precision, workspace_budget, .. } = self.recipe;
                let way = on_cpu::way(&self.problem, T::DTYPE, (algorithm, precision), workspace_budget);
                let wide = inputs.widened()?;
                let (outputs, stages) = cpu::run(&self.problem, &wide.as_inputs(), way, watch)?;
                self.stages = stages;
                Ok(outputs)
            }
            #[cfg(feature = "cuda")]
            Engine::Cuda(plan) => plan.run_unrounded(inputs),
            #[cfg(not(feature = "cuda"))]
            Engine::Nothing(_, never) => match *never {},
            Engine::Reference => {
                let wide = inputs.to_f64()?;
                reference::run(&self.problem, &wide.as_inputs(), None, watch.progress)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check;
    use crate::draw::Draws;
    use crate::problem::{KernelShape, Momentum, Shape5};
    use crate::tensors::Tensors;

    fn problem() -> Problem {
        let input = Shape5 { batch: 2, channels: 2, depth: 3, height: 2, width: 4 };
        let kernel = KernelShape { in_channels: 2, out_channels: 3, depth: 2, height: 2, width: 2 };
        Problem::builder(input, kernel).running_statistics(true).mode(Mode::Eval).build().unwrap()
    }

    fn force(algorithm: Algorithm) -> PlanOptions {
        PlanOptions { algorithm: AlgorithmChoice::Force(algorithm), ..Default::default() }
    }

    #[test]
    fn every_way_agrees() {
        let problem = problem();
        let tensors = Draws::usual(&problem, 3).tensors::<f32>(&problem).unwrap();
        let inputs = tensors.as_inputs();
        let expected = reference::run(&problem, &inputs.to_f64().unwrap().as_inputs(), None, None).unwrap();
        let ways = [
            (Device::cpu(), PlanOptions::default()),
            (Device::cpu(), force(Algorithm::Spectral)),
            (Device::cpu(), force(Algorithm::Direct)),
            (Device::cpu(), force(Algorithm::Reference)),
            (Device::reference(), PlanOptions::default()),
        ];
        for (device, options) in ways {
            let mut plan = Plan::<f32>::new(&problem, &device, options).unwrap();
            let out = plan.run(&inputs).unwrap();
            let error = check::output_error(out.output.view(), expected.output.view(), inputs.bn_bias).unwrap();
            assert!(error.passes(1e-9), "{:?} {error:?}", plan.recipe());
            assert_eq!(out.running_var, expected.running_var);
        }
    }

    /// 16-bit tensors: the same as their values in f32, rounded once; and not rounded where that is asked for.
    #[test]
    fn sixteen_bits_are_widened_and_the_output_is_rounded_once() {
        fn check<T: Storage<Wide = f32>>() {
            let built = Problem::builder(problem().input(), problem().kernel()).stride([1, 2, 1]).groups(2);
            let problem = built.padding([1, 0, 0]).running_statistics(true).build().unwrap();
            let narrow = Draws::usual(&problem, 3).tensors::<T>(&problem).unwrap();
            let wide = Tensors {
                input: narrow.input.mapv(|x| x.to_f64() as f32),
                kernel: narrow.kernel.mapv(|w| w.to_f64() as f32),
                conv_bias: narrow.conv_bias.as_ref().map(|v| v.mapv(|v| v.to_f64() as f32)),
                bn_weight: narrow.bn_weight.clone(),
                bn_bias: narrow.bn_bias.clone(),
                running_mean: narrow.running_mean.clone(),
                running_var: narrow.running_var.clone(),
            };
            for device in [Device::cpu(), Device::reference()] {
                let mut plan = Plan::<T>::new(&problem, &device, PlanOptions::default()).unwrap();
                let expected =
                    Plan::<f32>::new(&problem, &device, PlanOptions::default()).unwrap().run(&wide.as_inputs());
                let expected = expected.unwrap();
                assert_eq!(plan.run_wide(&narrow.as_inputs()).unwrap(), expected);
                let rounded = plan.run(&narrow.as_inputs()).unwrap();
                assert_eq!((&rounded.batch_var, &rounded.running_mean), (&expected.batch_var, &expected.running_mean));
                for (found, wide) in rounded.output.iter().zip(&expected.output) {
                    let off = (found.to_f64() - f64::from(*wide)).abs();
                    assert!(off <= T::DTYPE.unit_roundoff() * f64::from(wide.abs()), "{found} {wide}");
                }
            }
            let cpu = |dtype| {
                design(&problem, &Device::cpu().facts(), dtype, PlanOptions::default()).unwrap().workspace_bytes
            };
            let elements = (problem.input_elements() + problem.kernel_elements()) as u64;
            assert_eq!(cpu(T::DTYPE), cpu(crate::DType::F32) + 4 * elements);
        }
        check::<crate::f16>();
        check::<crate::bf16>();
    }

    #[test]
    fn tensors_of_another_problem_are_refused_on_every_device() {
        let problem = problem();
        let tensors = Draws::usual(&problem, 3).tensors::<f32>(&problem).unwrap();
        let without = Inputs { running_mean: None, ..tensors.as_inputs() };
        for device in [Device::cpu(), Device::reference()] {
            let mut plan = Plan::new(&problem, &device, PlanOptions::default()).unwrap();
            assert!(matches!(plan.run(&without), Err(Error::Input(_))));
        }
    }

    /// Three steps of a module, by hand: each moves the buffers once, eval and what fails not at all.
    #[test]
    fn running_statistics_move_once_where_a_run_succeeds() {
        for (device, cumulative) in
            [Device::cpu(), Device::reference()].into_iter().flat_map(|d| [(d.clone(), false), (d, true)])
        {
            let momentum = match cumulative {
                true => Momentum::Cumulative { num_batches_tracked: 77 },
                false => Momentum::Factor(0.25),
            };
            let built = Problem::builder(problem().input(), problem().kernel()).running_statistics(true);
            let problem = built.clone().mode(Mode::Train { momentum }).build().unwrap();
            let mut plan = Plan::<f64>::new(&problem, &device, PlanOptions::default()).unwrap();
            let mut running = RunningStatistics::new(problem.out_channels());
            let (mut mean, mut var) = (running.mean.clone(), running.var.clone());
            let n = problem.values_per_channel() as f64;
            for step in 1..=3 {
                let tensors = Draws::usual(&problem, step).tensors::<f64>(&problem).unwrap();
                let inputs = Inputs { running_mean: None, running_var: None, ..tensors.as_inputs() };
                let out = plan.run_updating(&inputs, &mut running).unwrap();
                let factor = if cumulative { 1.0 / step as f64 } else { 0.25 };
                mean = mean * (1.0 - factor) + out.batch_mean.unwrap() * factor;
                var = var * (1.0 - factor) + out.batch_var.unwrap() * (factor * n / (n - 1.0));
                assert_eq!(running.num_batches_tracked, step);
                assert!((&running.mean - &mean).iter().all(|off| off.abs() < 1e-14), "{running:?} {mean}");
                assert!((&running.var - &var).iter().all(|off| off.abs() < 1e-14), "{running:?} {var}");

                let before = running.clone();
                let other = Inputs { input: tensors.kernel.view(), ..inputs };
                assert!(plan.run_updating(&other, &mut running).is_err());
                assert_eq!(running, before);
                running.var[1] = -0.5;
                let refused = plan.run_updating(&inputs, &mut running).unwrap_err().to_string();
                assert_eq!(refused, "running_var[1] is -0.5; a variance must be at least 0");
                assert_eq!((running.var[1], running.num_batches_tracked), (-0.5, step));
                running = before.clone();
                let eval = built.clone().mode(Mode::Eval).build().unwrap();
                Plan::new(&eval, &device, PlanOptions::default()).unwrap().run_updating(&inputs, &mut running).unwrap();
                assert_eq!(running, before);
            }
            assert_eq!(plan.problem(), &problem, "the plan's own count is as it was built");
        }
    }

    #[test]
    fn running_statistics_need_a_problem_with_them() {
        let without = Problem::builder(problem().input(), problem().kernel()).build().unwrap();
        let tensors = Draws::usual(&without, 3).tensors::<f32>(&without).unwrap();
        let mut plan = Plan::new(&without, &Device::cpu(), PlanOptions::default()).unwrap();
        let refused = plan.run_updating(&tensors.as_inputs(), &mut RunningStatistics::new(3)).unwrap_err();
        assert_eq!(refused.to_string(), "running statistics are given, and the problem was built without them");
    }

    #[test]
    fn progress_ends_at_its_total() {
        let problem = Problem::builder(problem().input(), problem().kernel()).build().unwrap();
        let tensors = Draws::usual(&problem, 3).tensors::<f64>(&problem).unwrap();
        for device in [Device::cpu(), Device::reference()] {
            let finished = std::sync::atomic::AtomicBool::new(false);
            let report = |done: u64, total: u64| {
                assert!(done <= total);
                finished.fetch_or(done == total, std::sync::atomic::Ordering::Relaxed);
            };
            let mut plan = Plan::new(&problem, &device, PlanOptions::default()).unwrap();
            plan.run_with_progress(&tensors.as_inputs(), &report).unwrap();
            assert!(finished.into_inner());
        }
    }

    #[test]
    fn plans_move_between_threads() {
        fn send<T: Send>() {}
        send::<Plan<f32>>();
        send::<Device>();
    }
}
