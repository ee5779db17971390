//! From a problem to a result: a [`Device`] is chosen, a [`Recipe`] designed, a [`Plan`] run.
//!
//! [`design`] is pure: the same problem, facts and options give the same [`Recipe`], plain data that says
//! which algorithm runs and why. [`Plan::new`] builds what the recipe says; [`Plan::run`] computes.
//!
//! | device | algorithms | accumulation |
//! |---|---|---|
//! | `cuda` | direct, spectral (f32) | `f32`, or `f64` in strict precision; the mean always in `f64` |
//! | `cpu` | spectral, direct, reference | the tensors' own type, or `f64` in strict precision; means and last sums in `f64` |
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
mod device;
mod gram;
mod measure;
mod recipe;
mod roles;
mod spectral;
mod transform;
mod workspace;

#[cfg(not(feature = "cuda"))]
use std::marker::PhantomData;

use crate::Error;
use crate::cpu::{self, Watch};
#[cfg(feature = "cuda")]
use crate::cuda::{CudaPlan, DeviceTensors, RawStream};
use crate::element::Element;
use crate::problem::Problem;
use crate::reference;
use crate::tensors::{Inputs, Outputs, Progress};

pub use cost::{Cost, SpectralCosts};
pub use cuda_direct::CudaDirect;
pub use device::{Backend, Device};
pub use gram::GramCuts;
pub use measure::{Measurement, StageMeasurement, median};
pub use recipe::{Algorithm, AlgorithmChoice, CudaRecipe, DeviceFacts, PlanOptions, Precision, Recipe, design};
pub use spectral::{CudaSpectral, Ineligible, WORKSPACE_BUDGET};
pub use transform::Transform;
pub use workspace::SpectralLengths;

/// A problem made ready to run on a device, for elements of type `T`.
#[derive(Debug)]
pub struct Plan<T: Element> {
    problem: Problem,
    recipe: Recipe,
    engine: Engine<T>,
    stages: Vec<cpu::Stage>,
}

#[derive(Debug)]
enum Engine<T: Element> {
    Cpu,
    Reference,
    #[cfg(feature = "cuda")]
    Cuda(Box<CudaPlan<T>>),
    /// Names `T` where no engine does.
    #[cfg(not(feature = "cuda"))]
    #[allow(dead_code)]
    Nothing(PhantomData<T>, std::convert::Infallible),
}

impl<T: Element> Plan<T> {
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

    /// Computes, and says how far it is. Devices that finish too soon to tell report nothing.
    ///
    /// # Errors
    /// Those of [`run`](Plan::run).
    pub fn run_with_progress(&mut self, inputs: &Inputs<'_, T>, progress: Progress<'_>) -> Result<Outputs<T>, Error> {
        self.run_watched(inputs, Watch { progress: Some(progress), cancelled: None })
    }

    /// What the last [`run`](Plan::run) on a CPU did, and how long each part took; nothing on other devices.
    pub fn stages(&self) -> &[cpu::Stage] {
        &self.stages
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

    /// Computes, says how far it is, and stops when asked to. Only a CPU looks whether it is asked.
    ///
    /// # Errors
    /// Those of [`run`](Plan::run), and [`Error::Cancelled`].
    pub fn run_watched(&mut self, inputs: &Inputs<'_, T>, watch: Watch<'_>) -> Result<Outputs<T>, Error> {
        match &mut self.engine {
            Engine::Cpu => {
                let way = cpu::Way { algorithm: self.recipe.algorithm, precision: self.recipe.precision };
                let (outputs, stages) = cpu::run(&self.problem, inputs, way, watch)?;
                self.stages = stages;
                Ok(outputs)
            }
            #[cfg(feature = "cuda")]
            Engine::Cuda(plan) => plan.run(inputs),
            #[cfg(not(feature = "cuda"))]
            Engine::Nothing(_, never) => match *never {},
            Engine::Reference => {
                inputs.check(&self.problem)?;
                let wide = inputs.to_f64()?;
                reference::run(&self.problem, &wide.as_inputs(), None, watch.progress).map(Outputs::rounded)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check;
    use crate::draw::Draws;
    use crate::problem::{KernelShape, Mode, Shape5};

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
