//! The scalar rules of batch normalisation, for one channel. Every backend follows these.
//!
//! ```text
//! out     = γ·(y − μ)·inverse_std(σ², ε) + β
//! running = (1 − f)·running + f·batch            with the batch's *unbiased* variance, σ²·n/(n − 1)
//! ```
//! Source: PyTorch's `batch_norm`; the factor of a constant channel with ε = 0 is 0 there, not infinite.

use crate::element::Element;
use crate::problem::{Mode, Problem};
use crate::tensors::Inputs;

/// A mean and a (biased) variance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Moments {
    pub mean: f64,
    pub var: f64,
}

/// What one channel brings along, with PyTorch's defaults where a tensor was not given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Channel {
    pub conv_bias: f64,
    pub gamma: f64,
    pub beta: f64,
    pub running: Option<Moments>,
}

impl Channel {
    /// Channel `c` of `inputs`, which fit their problem.
    pub fn of<T: Element>(inputs: &Inputs<'_, T>, c: usize) -> Channel {
        let running = inputs.running_mean.zip(inputs.running_var);
        Channel {
            conv_bias: inputs.conv_bias.map_or(0.0, |v| v[c].to_f64()),
            gamma: inputs.bn_weight.map_or(1.0, |v| v[c].to_f64()),
            beta: inputs.bn_bias.map_or(0.0, |v| v[c].to_f64()),
            running: running.map(|(mean, var)| Moments { mean: mean[c].to_f64(), var: var[c].to_f64() }),
        }
    }

    /// The channel's running statistics after this call: updated in training, else as they were.
    pub fn running_after(&self, problem: &Problem, batch: Option<Moments>) -> Option<Moments> {
        match (problem.mode(), batch) {
            (Mode::Train { momentum }, Some(batch)) => {
                let (factor, n) = (momentum.factor(), problem.values_per_channel() as f64);
                let towards = |running: f64, batch: f64| (1.0 - factor) * running + factor * batch;
                self.running.map(|running| Moments {
                    mean: towards(running.mean, batch.mean),
                    var: towards(running.var, batch.var * (n / (n - 1.0))),
                })
            }
            _ => self.running,
        }
    }
}

/// 1/√(σ² + ε), and 0 where both are 0.
pub(crate) fn inverse_std(var: f64, eps: f64) -> f64 {
    if var + eps == 0.0 { 0.0 } else { 1.0 / (var + eps).sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::{KernelShape, Momentum, Shape5};

    fn problem(mode: Mode) -> Problem {
        let input = Shape5 { batch: 2, channels: 1, depth: 1, height: 1, width: 2 };
        let kernel = KernelShape { in_channels: 1, out_channels: 1, depth: 1, height: 1, width: 1 };
        Problem::builder(input, kernel).mode(mode).running_statistics(true).build().unwrap()
    }

    #[test]
    fn a_constant_channel_without_eps_has_factor_zero() {
        assert_eq!(inverse_std(0.0, 0.0), 0.0);
        assert_eq!(inverse_std(0.0, 0.25), 2.0);
        assert_eq!(inverse_std(4.0, 0.0), 0.5);
        assert!(inverse_std(f64::NAN, 0.0).is_nan());
    }

    #[test]
    fn running_statistics_move_by_momentum() {
        let running = Some(Moments { mean: 1.0, var: 2.0 });
        let channel = Channel { conv_bias: 0.0, gamma: 1.0, beta: 0.0, running };
        let batch = Some(Moments { mean: 5.0, var: 3.0 });
        let after = |momentum| channel.running_after(&problem(Mode::Train { momentum }), batch).unwrap();
        // Four values: the unbiased variance is 3·4/3 = 4.
        assert_eq!(after(Momentum::Factor(0.25)), Moments { mean: 2.0, var: 2.5 });
        assert_eq!(after(Momentum::Factor(0.0)), Moments { mean: 1.0, var: 2.0 });
        assert_eq!(after(Momentum::Cumulative { num_batches_tracked: 0 }), Moments { mean: 5.0, var: 4.0 });
        assert_eq!(after(Momentum::Cumulative { num_batches_tracked: 1 }), Moments { mean: 3.0, var: 3.0 });
        assert_eq!(channel.running_after(&problem(Mode::Eval), None), running);
    }
}
