//! Training or evaluation, and how running statistics move.

use std::fmt;

use super::ProblemError;
use super::builder::check_number;

/// How far running statistics move towards the batch's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Momentum {
    /// `running = (1 − f)·running + f·batch`, with f in [0, 1].
    Factor(f64),
    /// PyTorch's `momentum=None`: the average over all batches so far. The count is that *before* this batch.
    Cumulative {
        /// Batches seen before this one.
        num_batches_tracked: u64,
    },
}

impl Momentum {
    /// The weight of this batch: the factor, or `1 / (num_batches_tracked + 1)`.
    pub fn factor(self) -> f64 {
        match self {
            Momentum::Factor(factor) => factor,
            Momentum::Cumulative { num_batches_tracked } => 1.0 / (num_batches_tracked as f64 + 1.0),
        }
    }

    /// Whether the factor is one.
    ///
    /// # Errors
    /// [`ProblemError`] for a factor outside [0, 1].
    pub fn check(self) -> Result<(), ProblemError> {
        match self {
            Momentum::Factor(factor) => check_number("momentum", factor, (0.0..=1.0).contains(&factor), "from 0 to 1"),
            Momentum::Cumulative { .. } => Ok(()),
        }
    }
}

impl Default for Momentum {
    /// PyTorch's 0.1.
    fn default() -> Momentum {
        Momentum::Factor(0.1)
    }
}

/// Training or evaluation, as `Module.train()` and `Module.eval()`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mode {
    /// Normalise by the batch's statistics; running statistics, where given, are updated.
    Train {
        /// How they are updated.
        momentum: Momentum,
    },
    /// Normalise by the running statistics; by the batch's where there are none.
    Eval,
}

impl Default for Mode {
    fn default() -> Mode {
        Mode::Train { momentum: Momentum::default() }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Mode::Train { .. } => "train",
            Mode::Eval => "eval",
        })
    }
}
