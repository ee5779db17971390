//! How fast this machine's memory is: what the floor of a benchmark on the CPU is made of.

use std::time::{Duration, Instant};

use convt_bn_gap::{Error, memory};
use rayon::prelude::*;

/// Past any CPU's last cache, so that it is the memory that is measured.
const BYTES: usize = 256 << 20;

/// Copies timed; the best of them counts, since other work on the machine only slows them.
const COPIES: usize = 7;

/// Words that a thread copies at once.
const PART: usize = 1 << 16;

/// Bytes a second that a parallel copy moves, reads and writes counted.
pub fn of_this_machine() -> Result<f64, Error> {
    let what = "the copy that measures bandwidth";
    let source = memory::try_filled(what, BYTES / size_of::<u64>(), 1u64)?;
    let mut copy = memory::try_filled(what, source.len(), 0u64)?;
    let mut best = Duration::MAX;
    for _ in 0..COPIES {
        let began = Instant::now();
        copy.par_chunks_mut(PART).zip(source.par_chunks(PART)).for_each(|(to, from)| to.copy_from_slice(from));
        best = best.min(began.elapsed());
    }
    std::hint::black_box(&copy);
    Ok(2.0 * BYTES as f64 / best.as_secs_f64())
}
