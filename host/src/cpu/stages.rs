//! What a run spent its time on.

use std::time::Instant;

/// How long a part of a run took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stage {
    /// What was done.
    pub name: &'static str,
    /// Seconds on the clock on the wall.
    pub seconds: f64,
    /// Bytes of tensors and workspace that it must read and write at least once.
    pub bytes: u64,
    /// Multiplications and additions, as they are done: lanes of vectors that hold no channel count too.
    pub flops: u64,
}

/// What some work costs, beside time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Work {
    pub bytes: u64,
    pub flops: u64,
}

/// Stages by name, in the order of their first appearance. Work that is done again (for another part of the batch, another
/// phase, or in `f64`) adds to its stage.
#[derive(Debug, Default)]
pub(super) struct Stages(Vec<Stage>);

impl Stages {
    /// Does some of a stage's work.
    pub fn time<V>(&mut self, name: &'static str, work: Work, run: impl FnOnce() -> V) -> V {
        let began = Instant::now();
        let value = run();
        self.add(Stage { name, seconds: began.elapsed().as_secs_f64(), bytes: work.bytes, flops: work.flops });
        value
    }

    /// Adds all of another run's.
    pub fn extend(&mut self, others: Stages) {
        others.0.into_iter().for_each(|stage| self.add(stage));
    }

    fn add(&mut self, stage: Stage) {
        match self.0.iter_mut().find(|other| other.name == stage.name) {
            Some(other) => {
                other.seconds += stage.seconds;
                other.bytes = other.bytes.saturating_add(stage.bytes);
                other.flops = other.flops.saturating_add(stage.flops);
            }
            None => self.0.push(stage),
        }
    }
}

impl From<Stages> for Vec<Stage> {
    fn from(stages: Stages) -> Vec<Stage> {
        stages.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_done_again_adds_to_its_stage() {
        let mut stages = Stages::default();
        let work = |bytes, flops| Work { bytes, flops };
        assert_eq!(stages.time("first", work(1, 2), || 5), 5);
        stages.time("second", work(u64::MAX, 3), || ());
        let mut again = Stages::default();
        again.time("second", work(7, 8), || ());
        stages.extend(again);
        let found: Vec<Stage> = stages.into();
        let costs: Vec<_> = found.iter().map(|stage| (stage.name, stage.bytes, stage.flops)).collect();
        assert_eq!(costs, [("first", 1, 2), ("second", u64::MAX, 11)]);
        assert!(found.iter().all(|stage| stage.seconds >= 0.0));
    }
}
