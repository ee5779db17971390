//! How x is transformed: in shared memory, volume by volume, or axis by axis through global memory.

use kernel_gpu::spectrum::Spectrum;
use kernel_gpu::{dft_axis, dft_volume};

use super::DeviceFacts;
use crate::element::DType;

/// Bytes of scratch of the passes that go axis by axis: some volumes at a time, at least one.
const SCRATCH_BYTES: u64 = 64 << 20;

/// The way of the transform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transform {
    /// The sums of x alone: no spectrum is needed.
    Sums,
    /// One block a volume, whose spectrum lies in its shared memory.
    Volume {
        /// Bytes of it.
        shared_bytes: u32,
    },
    /// The sums, and a launch an axis.
    Axes {
        /// Volumes (b, ci) at a time.
        volumes: u32,
    },
}

impl Transform {
    /// The way for the volumes of a cut.
    pub(super) fn design(cut: &Spectrum, dtype: DType, facts: &DeviceFacts) -> Transform {
        // What reads whole volumes does not widen yet.
        if dtype == DType::F32 && dft_volume::fits(cut, facts.shared_memory) {
            return Transform::Volume { shared_bytes: dft_volume::shared_bytes(cut) };
        }
        let rows = cut.rows().max(1);
        let fitting = (SCRATCH_BYTES / (4 * volume_words(cut)).max(1)).clamp(1, u64::from(rows)) as u32;
        Transform::Axes { volumes: rows.div_ceil(rows.div_ceil(fitting)) }
    }

    /// f32 of scratch, the two arrays that the passes write in turns.
    pub fn scratch_words(&self, cut: &Spectrum) -> [u64; 2] {
        match *self {
            Transform::Axes { volumes } => dft_axis::scratch_words(cut, volumes.min(cut.rows())),
            _ => [0; 2],
        }
    }

    /// (first volume, volumes) of each cut of the passes.
    pub fn passes(&self, cut: &Spectrum) -> impl Iterator<Item = (u32, u32)> + use<> {
        let (rows, volumes) = (cut.rows(), if let Transform::Axes { volumes } = *self { volumes.max(1) } else { 1 });
        let rows = if matches!(self, Transform::Axes { .. }) { rows } else { 0 };
        (0..rows).step_by(volumes as usize).map(move |first| (first, volumes.min(rows - first)))
    }
}

/// f32 of scratch of one volume. The extents are bounded (`eligible`), so nothing overflows.
pub(super) fn volume_words(spectrum: &Spectrum) -> u64 {
    dft_axis::scratch_words(spectrum, 1).iter().sum()
}
