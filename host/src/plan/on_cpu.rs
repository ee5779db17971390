//! What runs on a CPU: by which algorithm, and in how much memory.

use super::recipe::{FORCED, reference_bytes};
use super::{Algorithm, AlgorithmChoice, DeviceFacts, Ineligible, PlanOptions, Precision};
use crate::Error;
use crate::cpu;
use crate::element::DType;
use crate::problem::Problem;
use crate::tensors;

/// An algorithm, why it is that, and the bytes that it takes beside inputs and outputs.
pub(super) type Choice = (Algorithm, &'static str, u64);

/// Bytes that the spectral way may take.
pub(super) fn budget(facts: &DeviceFacts, options: PlanOptions) -> u64 {
    let allowed = options.workspace_budget.unwrap_or(cpu::WORKSPACE_BUDGET);
    allowed.min(facts.available_memory.unwrap_or(u64::MAX))
}

/// How the backend goes an algorithm's way, within a budget that widened tensors share.
pub(super) fn way(
    problem: &Problem,
    dtype: DType,
    (algorithm, precision): (Algorithm, Precision),
    budget: u64,
) -> cpu::Way {
    let widened = tensors::widened_bytes(problem, dtype);
    cpu::Way { algorithm, precision, workspace_budget: budget.saturating_sub(widened) }
}

/// Chooses.
///
/// # Errors
/// [`Error::Ineligible`] where the spectral way is forced and not possible; [`Error::Unsupported`] as [`cpu::run`].
pub(super) fn design(
    problem: &Problem,
    facts: &DeviceFacts,
    dtype: DType,
    options: PlanOptions,
) -> Result<Choice, Error> {
    cpu::check_phases(problem)?;
    let (widened, budget) = (tensors::widened_bytes(problem, dtype), budget(facts, options));
    let way = |algorithm| way(problem, dtype, (algorithm, options.precision), budget);
    let bytes = |algorithm| match algorithm {
        Algorithm::Reference => Ok(reference_bytes(problem, facts)),
        _ => match cpu::workspace_bytes(problem, dtype, way(algorithm), facts.threads) {
            Ok(bytes) => Ok(bytes.saturating_add(widened)),
            Err(needed) => Err(Ineligible::Workspace { needed: needed.saturating_add(widened), budget }),
        },
    };
    let direct = |reason| Ok((Algorithm::Direct, reason, bytes(Algorithm::Direct).map_err(Error::Ineligible)?));
    if let AlgorithmChoice::Force(forced) = options.algorithm {
        if forced == Algorithm::Spectral {
            cpu::spectral_eligible(problem).map_err(Error::Ineligible)?;
        }
        return Ok((forced, FORCED, bytes(forced).map_err(Error::Ineligible)?));
    }
    if cpu::spectral_eligible(problem).is_err() {
        return direct("direct: spectral cannot leave out what padding cuts off");
    }
    let spectral = match bytes(Algorithm::Spectral) {
        Ok(bytes) => bytes,
        Err(why) => return direct(why.in_short()),
    };
    if !problem.uses_batch_statistics() {
        return Ok((Algorithm::Spectral, "nothing is convolved", spectral));
    }
    let seconds = |algorithm| cpu::seconds(problem, dtype, way(algorithm));
    match seconds(Algorithm::Direct) < seconds(Algorithm::Spectral) {
        true => direct("direct: estimated to take less time than spectral"),
        false => Ok((Algorithm::Spectral, "spectral: estimated to take less time than direct", spectral)),
    }
}
