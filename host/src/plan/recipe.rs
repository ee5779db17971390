//! Which algorithm runs: eligibility first, then preference.
//!
//! A [`Recipe`] is plain data that can be compared, printed and tested without a device.

use std::fmt;

use super::{Backend, CudaDirect};
use crate::Error;
use crate::cpu;
use crate::element::DType;
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
    /// How accurate. The CPU always computes in `f64`, whatever is asked.
    pub precision: Precision,
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
    /// On a GPU: the kernel's form and how the work is dealt to blocks.
    pub cuda: Option<CudaDirect>,
}

/// Chooses the algorithm and sizes its workspace.
///
/// # Errors
/// [`Error::Unsupported`] where a forced algorithm is not eligible on the device, [`Error::Memory`] where
/// the workspace exceeds the memory there is.
pub fn design(problem: &Problem, facts: &DeviceFacts, dtype: DType, options: PlanOptions) -> Result<Recipe, Error> {
    let eligible = eligible(facts.backend);
    let (algorithm, reason) = match options.algorithm {
        AlgorithmChoice::Force(forced) if eligible.algorithms.contains(&forced) => (forced, "forced"),
        AlgorithmChoice::Force(forced) => {
            return Err(Error::Unsupported {
                option: "algorithm",
                found: forced.to_string(),
                device: facts.backend.to_string(),
                supported: eligible.sentence,
            });
        }
        AlgorithmChoice::Auto => (eligible.algorithms[0], eligible.preference),
    };
    let cuda = match facts.backend {
        Backend::Cuda => Some(CudaDirect::design(problem, dtype, options.precision)?),
        _ => None,
    };
    let workspace_bytes = match algorithm {
        // The tensors are widened to `f64` first, where they are not.
        Algorithm::Reference => {
            let elements = problem.input_elements() as u64 + problem.kernel_elements() as u64;
            let threads = facts.threads.min(problem.out_channels());
            reference::workspace_bytes(problem, threads).saturating_add(elements.saturating_mul(8))
        }
        _ => cuda.map_or_else(|| cpu::workspace_bytes(problem, facts.threads), |direct| direct.workspace_bytes()),
    };
    match facts.available_memory {
        Some(available) if workspace_bytes > available => {
            Err(Error::Memory { what: "the plan's workspace", needed: workspace_bytes, available: Some(available) })
        }
        _ => Ok(Recipe {
            backend: facts.backend,
            algorithm,
            precision: options.precision,
            dtype,
            reason,
            workspace_bytes,
            cuda,
        }),
    }
}

/// What a device can run, the preferred algorithm first.
struct Eligible {
    algorithms: &'static [Algorithm],
    preference: &'static str,
    sentence: &'static str,
}

fn eligible(backend: Backend) -> Eligible {
    match backend {
        Backend::Cpu => Eligible {
            algorithms: &[Algorithm::Direct, Algorithm::Reference],
            preference: "the only algorithm of this device beside the definition",
            sentence: "direct and reference are",
        },
        Backend::Cuda => Eligible {
            algorithms: &[Algorithm::Direct],
            preference: "the only algorithm of this device",
            sentence: "direct is",
        },
        Backend::Reference => Eligible {
            algorithms: &[Algorithm::Reference],
            preference: "the device is the definition",
            sentence: "reference is",
        },
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
        let facts = DeviceFacts { backend, threads: 2, available_memory: None };
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
            (Backend::Cpu, Algorithm::Spectral),
            (Backend::Cuda, Algorithm::Spectral),
            (Backend::Cuda, Algorithm::Reference),
            (Backend::Reference, Algorithm::Direct),
            (Backend::Reference, Algorithm::Spectral),
        ] {
            let refused = forced(backend, algorithm).unwrap_err();
            assert!(matches!(refused, Error::Unsupported { option: "algorithm", .. }), "{refused}");
            assert!(refused.to_string().contains(&algorithm.to_string()), "{refused}");
        }
        let text = forced(Backend::Cpu, Algorithm::Spectral).unwrap_err().to_string();
        assert_eq!(text, "algorithm = spectral is not supported on the cpu device; direct and reference are");
    }

    #[test]
    fn a_workspace_past_the_memory_is_refused_with_both_numbers() {
        let needed = recipe(Backend::Cpu, AlgorithmChoice::Auto).unwrap().workspace_bytes;
        assert!(needed > 0);
        let design_with = |available| {
            let facts = DeviceFacts { backend: Backend::Cpu, threads: 2, available_memory: Some(available) };
            design(&problem(), &facts, DType::F32, PlanOptions::default())
        };
        assert!(design_with(needed).is_ok());
        let available = needed - 1;
        let expected = Error::Memory { what: "the plan's workspace", needed, available: Some(available) };
        assert_eq!(design_with(available), Err(expected));
    }
}
