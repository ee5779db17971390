//! What a benchmark finds out: times of the whole and of its stages, and the bandwidth they are held against.

/// Times of repeated runs of one plan on one set of inputs, and the memory bandwidth of where it ran.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    /// Milliseconds of each run, in order. On a GPU: between events on the stream, copies to and from the host left out.
    pub runs_ms: Vec<f64>,
    /// Milliseconds of replays of one run captured in a CUDA graph, in order; none where there are no graphs.
    pub graph_ms: Vec<f64>,
    /// The runs, stage by stage. One stage where the backend has no others.
    pub stages: Vec<StageMeasurement>,
    /// Bytes a second that a copy moves here, reads and writes counted.
    pub bandwidth: f64,
}

/// Times of one stage.
#[derive(Debug, Clone, PartialEq)]
pub struct StageMeasurement {
    /// The kernel, or what a CPU does.
    pub name: &'static str,
    /// Milliseconds of each run, in order; several launches of one stage are added up.
    pub runs_ms: Vec<f64>,
    /// Bytes the stage must read and write at least once.
    pub bytes: u64,
    /// Multiplications and additions.
    pub flops: u64,
}

/// The middle of `values` (the upper of two), NaN of none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 3.0);
        assert!(median(&[]).is_nan());
    }
}
