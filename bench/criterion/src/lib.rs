//! What is timed: a preset's problem on this machine's processor, forced to go one way.

use convt_bn_gap::preset::Preset;
use convt_bn_gap::{Algorithm, AlgorithmChoice, Device, Error, Plan, PlanOptions, Problem, Shape5, Tensors};

/// A preset's problem with `samples` samples, or with all it has where those are fewer.
///
/// # Errors
/// [`Error::Problem`] for no samples.
pub fn problem(preset: &Preset, samples: usize) -> Result<Problem, Error> {
    let input = Shape5 { batch: preset.input().batch.min(samples), ..preset.input() };
    let builder = Problem::builder(input, preset.kernel()).scale_factor(preset.problem().scale_factor());
    Ok(builder.build()?)
}

/// A plan and its data.
pub struct Subject {
    plan: Plan<f32>,
    tensors: Tensors<f32>,
}

impl Subject {
    /// Of [`problem`].
    ///
    /// # Errors
    /// [`Error::Memory`] where tensors or workspace do not fit.
    pub fn new(preset: &Preset, samples: usize, algorithm: Algorithm) -> Result<Subject, Error> {
        let problem = problem(preset, samples)?;
        let options = PlanOptions { algorithm: AlgorithmChoice::Force(algorithm), ..Default::default() };
        let plan = Plan::new(&problem, &Device::cpu(), options)?;
        Ok(Subject { tensors: preset.draws().tensors(&problem)?, plan })
    }

    /// Computes once.
    ///
    /// # Errors
    /// Those of [`Plan::run`].
    pub fn run(&mut self) -> Result<(), Error> {
        self.plan.run(&self.tensors.as_inputs()).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use convt_bn_gap::preset::PRESETS;

    #[test]
    fn a_subject_is_the_preset_with_fewer_samples() {
        let v0 = &PRESETS[1];
        assert_eq!(problem(v0, usize::MAX).unwrap(), v0.problem());
        assert_eq!(problem(v0, 1).unwrap().direct_flops(), v0.problem().direct_flops() / 16);
        assert!(problem(v0, 0).is_err());
        for algorithm in [Algorithm::Spectral, Algorithm::Direct] {
            Subject::new(v0, 1, algorithm).unwrap().run().unwrap();
        }
    }
}
