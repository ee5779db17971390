//! Which algorithm runs: eligibility first, then preference.
//!
//! A [`Recipe`] is plain data that can be compared, printed and tested without a device.

use std::fmt;

use super::{Backend, CudaDirect, CudaSpectral, CudaTensor, cost, on_cpu};
use crate::Error;
use crate::element::DType;
use crate::memory;
use crate::problem::Problem;
use crate::reference;

/// A way to compute the operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// The convolution as matrix products, whose result is reduced on the spot and never stored.
    Direct,
    /// Energies of the spectra; no convolution.
    Spectral,
    /// The definition, in `f64`.
    Reference,
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Algorithm::Direct => "direct",
            Algorithm::Spectral => "spectral",
            Algorithm::Reference => "reference",
        })
    }
}

/// The planner's choice, or the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AlgorithmChoice {
    /// The best that the device has for the problem.
    #[default]
    Auto,
    /// This one, or a refusal.
    Force(Algorithm),
}

/// How much accuracy speed may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Precision {
    /// Within the bounds of [`check::bound`](crate::check::bound).
    #[default]
    Default,
    /// As accurate as the algorithm can be.
    Strict,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Precision::Default => "default",
            Precision::Strict => "strict",
        })
    }
}

/// What a caller may ask of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PlanOptions {
    /// Which algorithm.
    pub algorithm: AlgorithmChoice,
    /// How accurate. Strict on the CPU is in `f64` throughout.
    pub precision: Precision,
    /// Bytes of workspace that the spectral way and, on a GPU, the direct way on tensor cores may take: the former cuts its work to
    /// stay within them; a problem whose least is more goes another way. Where not given, [`WORKSPACE_BUDGET`](super::WORKSPACE_BUDGET), and on a CPU
    /// [`cpu::WORKSPACE_BUDGET`](crate::cpu::WORKSPACE_BUDGET); never more than there are.
    pub workspace_budget: Option<u64>,
}

/// What a recipe depends on, of the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceFacts {
    /// The kind of device.
    pub backend: Backend,
    /// Threads a CPU computes with.
    pub threads: usize,
    /// Bytes free there, where known.
    pub available_memory: Option<u64>,
    /// Multiprocessors of a GPU, else 0.
    pub multiprocessors: u32,
    /// Bytes of shared memory that a block may ask for on a GPU, else 0.
    pub shared_memory: u32,
    /// Whether a GPU's kernels multiply four warps together on the tensor cores: those of sm_90a do.
    pub warpgroups: bool,
}

/// What will run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// Where.
    pub backend: Backend,
    /// By which algorithm.
    pub algorithm: Algorithm,
    /// How accurately.
    pub precision: Precision,
    /// Of which elements.
    pub dtype: DType,
    /// Why this algorithm.
    pub reason: &'static str,
    /// Bytes it takes beside inputs and outputs.
    pub workspace_bytes: u64,
    /// On a CPU: bytes that the spectral way cuts its work to stay within.
    pub workspace_budget: u64,
    /// On a GPU: which kernels, and how the work is dealt to their blocks.
    pub cuda: Option<CudaRecipe>,
}

/// What runs on a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CudaRecipe {
    /// The convolution, reduced on the spot.
    Direct(CudaDirect),
    /// The same on the tensor cores.
    Tensor(CudaTensor),
    /// The energies of the spectra.
    Spectral(CudaSpectral),
}

impl CudaRecipe {
    /// Chooses a way: what is forced, or what is estimated to take less time.
    ///
    /// # Errors
    /// As [`design`].
    pub fn design(
        problem: &Problem,
        facts: &DeviceFacts,
        dtype: DType,
        options: PlanOptions,
    ) -> Result<(Self, &'static str), Error> {
        let spectral = || CudaSpectral::design(problem, facts, dtype, options);
        let (direct, seconds) = Self::quicker_direct(problem, facts, dtype, options)?;
        match options.algorithm {
            AlgorithmChoice::Force(Algorithm::Spectral) => Ok((Self::Spectral(spectral()?), FORCED)),
            AlgorithmChoice::Force(_) => Ok((direct, FORCED)),
            AlgorithmChoice::Auto => Ok(match spectral() {
                Ok(spectral) => match seconds < cost::spectral_seconds(&spectral) {
                    true => (direct, "direct: estimated to take less time than spectral"),
                    false => (Self::Spectral(spectral), "spectral: estimated to take less time than direct"),
                },
                Err(Error::Ineligible(why)) => (direct, why.in_short()),
                Err(error) => return Err(error),
            }),
        }
    }

    /// The direct way on the CUDA cores or on the tensor cores, whichever is estimated to take less time, and that time.
    fn quicker_direct(
        problem: &Problem,
        facts: &DeviceFacts,
        dtype: DType,
        options: PlanOptions,
    ) -> Result<(Self, f64), Error> {
        let direct = CudaDirect::design(problem, dtype, options.precision)?;
        let seconds = cost::direct_seconds(&direct, options.precision);
        let tensor = CudaTensor::design(problem, facts, dtype, options);
        Ok(match tensor.map(|tensor| (Self::Tensor(tensor), cost::tensor_seconds(&tensor, facts))) {
            Some((tensor, quicker)) if quicker < seconds => (tensor, quicker),
            _ => (Self::Direct(direct), seconds),
        })
    }

    /// Which way it is.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Direct(_) | Self::Tensor(_) => Algorithm::Direct,
            Self::Spectral(_) => Algorithm::Spectral,
        }
    }

    /// The direct way on the CUDA cores, if it is that.
    pub fn direct(&self) -> Option<&CudaDirect> {
        if let Self::Direct(direct) = self { Some(direct) } else { None }
    }

    /// The direct way on the tensor cores, if it is that.
    pub fn tensor(&self) -> Option<&CudaTensor> {
        if let Self::Tensor(tensor) = self { Some(tensor) } else { None }
    }

    /// The spectral way, if it is that.
    pub fn spectral(&self) -> Option<&CudaSpectral> {
        if let Self::Spectral(spectral) = self { Some(spectral) } else { None }
    }

    /// Bytes beside inputs and outputs.
    pub fn workspace_bytes(&self) -> u64 {
        match self {
            Self::Direct(direct) => direct.workspace_bytes(),
            Self::Tensor(tensor) => tensor.workspace_bytes(),
            Self::Spectral(spectral) => spectral.workspace_bytes(),
        }
    }
}

/// What a plan owns, in the refusals of every device.
pub(crate) const WORKSPACE: &str = "the plan's workspace";

/// The reason where there was no choice.
pub(super) const FORCED: &str = "forced";

/// Chooses the algorithm and sizes its workspace.
///
/// # Errors
/// [`Error::Unsupported`] where a forced algorithm is none of the device's, [`Error::Ineligible`] where it is not one for the
/// problem, [`Error::Memory`] where the workspace exceeds the memory there is.
pub fn design(problem: &Problem, facts: &DeviceFacts, dtype: DType, options: PlanOptions) -> Result<Recipe, Error> {
    if let AlgorithmChoice::Force(forced) = options.algorithm {
        let (algorithms, sentence) = algorithms(facts.backend);
        if !algorithms.contains(&forced) {
            return Err(Error::Unsupported {
                option: "algorithm",
                found: forced.to_string(),
                device: facts.backend.to_string(),
                supported: sentence,
            });
        }
    }
    let mut cuda = None;
    let (algorithm, reason, workspace_bytes) = match facts.backend {
        Backend::Cpu => on_cpu::design(problem, facts, dtype, options)?,
        Backend::Cuda => {
            let (recipe, reason) = CudaRecipe::design(problem, facts, dtype, options)?;
            cuda = Some(recipe);
            (recipe.algorithm(), reason, recipe.workspace_bytes())
        }
        Backend::Reference if options.algorithm == AlgorithmChoice::Auto => {
            (Algorithm::Reference, "the device is the definition", reference_bytes(problem, facts))
        }
        Backend::Reference => (Algorithm::Reference, FORCED, reference_bytes(problem, facts)),
    };
    memory::check_among(WORKSPACE, workspace_bytes, facts.available_memory)?;
    Ok(Recipe {
        backend: facts.backend,
        algorithm,
        precision: options.precision,
        dtype,
        reason,
        workspace_bytes,
        workspace_budget: on_cpu::budget(facts, options),
        cuda,
    })
}

/// Bytes of the definition: the tensors are widened to `f64` first, where they are not.
pub(super) fn reference_bytes(problem: &Problem, facts: &DeviceFacts) -> u64 {
    let elements = problem.input_elements() as u64 + problem.kernel_elements() as u64;
    let threads = facts.threads.min(problem.out_channels());
    reference::workspace_bytes(problem, threads).saturating_add(elements.saturating_mul(8))
}

/// What a device can run, and that as a clause.
fn algorithms(backend: Backend) -> (&'static [Algorithm], &'static str) {
    match backend {
        Backend::Cpu => {
            (&[Algorithm::Spectral, Algorithm::Direct, Algorithm::Reference], "spectral, direct and reference are")
        }
        Backend::Cuda => (&[Algorithm::Direct, Algorithm::Spectral], "direct and spectral are"),
        Backend::Reference => (&[Algorithm::Reference], "reference is"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::{KernelShape, Shape5};

    fn problem() -> Problem {
        let input = Shape5 { batch: 2, channels: 2, depth: 3, height: 2, width: 4 };
        let kernel = KernelShape { in_channels: 2, out_channels: 3, depth: 2, height: 2, width: 2 };
        Problem::builder(input, kernel).build().unwrap()
    }

    fn recipe(backend: Backend, algorithm: AlgorithmChoice) -> Result<Recipe, Error> {
        let facts = DeviceFacts {
            backend,
            threads: 2,
            available_memory: None,
            multiprocessors: 132,
            shared_memory: 232_448,
            warpgroups: backend == Backend::Cuda,
        };
        design(&problem(), &facts, DType::F32, PlanOptions { algorithm, ..Default::default() })
    }

    #[test]
    fn what_is_preferred() {
        let chosen = |backend| recipe(backend, AlgorithmChoice::Auto).unwrap().algorithm;
        assert_eq!(chosen(Backend::Cpu), Algorithm::Direct);
        assert_eq!(chosen(Backend::Cuda), Algorithm::Direct);
        assert_eq!(chosen(Backend::Reference), Algorithm::Reference);
    }

    #[test]
    fn what_is_forced_runs_or_is_refused_by_name() {
        let forced = |backend, algorithm| recipe(backend, AlgorithmChoice::Force(algorithm));
        let accepted = forced(Backend::Cpu, Algorithm::Reference).unwrap();
        assert_eq!((accepted.algorithm, accepted.reason), (Algorithm::Reference, "forced"));
        for (backend, algorithm) in [
            (Backend::Cuda, Algorithm::Reference),
            (Backend::Reference, Algorithm::Direct),
            (Backend::Reference, Algorithm::Spectral),
        ] {
            let refused = forced(backend, algorithm).unwrap_err();
            assert!(matches!(refused, Error::Unsupported { option: "algorithm", .. }), "{refused}");
            assert!(refused.to_string().contains(&algorithm.to_string()), "{refused}");
        }
        let text = forced(Backend::Cuda, Algorithm::Reference).unwrap_err().to_string();
        assert_eq!(text, "algorithm = reference is not supported on the cuda device; direct and spectral are");
    }

    #[test]
    fn a_workspace_past_the_memory_is_refused_with_both_numbers() {
        let needed = recipe(Backend::Cpu, AlgorithmChoice::Auto).unwrap().workspace_bytes;
        assert!(needed > 0);
        let design_with = |available| {
            let facts = DeviceFacts {
                backend: Backend::Cpu,
                threads: 2,
                available_memory: Some(available),
                multiprocessors: 0,
                shared_memory: 0,
                warpgroups: false,
            };
            design(&problem(), &facts, DType::F32, PlanOptions::default())
        };
        assert!(design_with(needed).is_ok());
        let available = needed - 1;
        let expected = Error::Memory { what: WORKSPACE, needed, available: Some(available) };
        assert_eq!(design_with(available), Err(expected));
    }

    /// The same fault is the same sentence on every device, but for the numbers that are each device's own.
    #[test]
    fn devices_refuse_in_the_same_words() {
        let said = |backend, problem: &Problem, budget, available_memory| {
            let facts = DeviceFacts {
                backend,
                threads: 2,
                available_memory,
                multiprocessors: 132,
                shared_memory: 232_448,
                warpgroups: backend == Backend::Cuda,
            };
            let algorithm = AlgorithmChoice::Force(Algorithm::Spectral);
            let options = PlanOptions { algorithm, workspace_budget: budget, ..Default::default() };
            design(problem, &facts, DType::F32, options).unwrap_err().to_string()
        };
        let numberless = |sentence: String| sentence.replace(|c: char| c.is_ascii_digit(), "");
        let of_both = |problem: &Problem, budget, available| {
            [Backend::Cpu, Backend::Cuda].map(|backend| said(backend, problem, budget, available))
        };
        let (x, w) = (problem().input(), problem().kernel());
        let padded = Problem::builder(x, w).stride([1, 2, 1]).padding([1, 0, 1]).build().unwrap();
        for sentence in of_both(&padded, None, None) {
            assert_eq!(
                sentence,
                "algorithm = spectral is not possible for this problem: it does not take padding = 1,0,1"
            );
        }
        for sentence in of_both(&problem(), Some(1000), None) {
            assert_eq!(
                numberless(sentence.clone()),
                "algorithm = spectral is not possible for this problem: it needs  bytes of workspace; at most  are allowed"
            );
            assert!(sentence.contains(" at most 1000 are"), "{sentence}");
        }
        // What is allowed is never more than there is.
        for sentence in of_both(&problem(), None, Some(1000)) {
            assert!(sentence.ends_with("at most 1000 are allowed"), "{sentence}");
        }
        for backend in [Backend::Cpu, Backend::Cuda, Backend::Reference] {
            let facts = DeviceFacts {
                backend,
                threads: 2,
                available_memory: Some(9),
                multiprocessors: 132,
                shared_memory: 1,
                warpgroups: false,
            };
            let sentence = design(&problem(), &facts, DType::F32, PlanOptions::default()).unwrap_err().to_string();
            assert!(sentence.starts_with("the plan's workspace needs "), "{sentence}");
            assert!(sentence.ends_with("; 9 bytes are available"), "{sentence}");
        }
    }
}
