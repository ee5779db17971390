//! How x is transformed: in shared memory, volume by volume, or axis by axis through global memory.

use cuda_std::launch::KernelSpec;
use kernel_gpu::dft_axis;
use kernel_gpu::spectrum::Spectrum;
use kernel_gpu::volume_layout::VolumeLayout;
use kernel_gpu::volume_transform::{SPEC_4, SPEC_12};

use super::DeviceFacts;
use crate::element::DType;

/// Bytes of scratch of the passes that go axis by axis: some volumes at a time, at least one.
const SCRATCH_BYTES: u64 = 64 << 20;

/// The way of the transform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transform {
    /// The sums of x alone: no spectrum is needed.
    Sums,
    /// Volume by volume, in the shared memory of a block or of several.
    Volume(VolumeTransform),
    /// The sums, and a launch an axis.
    Axes {
        /// Volumes (b, ci) at a time.
        volumes: u32,
    },
}

/// How volumes are transformed in shared memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VolumeTransform {
    /// Where things lie in it.
    pub layout: VolumeLayout,
    /// Blocks that a multiprocessor has at a time: of 12 warps one, of 4 warps three.
    pub resident: u32,
    /// Multiprocessors.
    multiprocessors: u32,
}

impl VolumeTransform {
    /// Three small blocks a multiprocessor where they fit: while one waits, others compute.
    fn design(cut: &Spectrum, dtype: DType, facts: &DeviceFacts) -> Option<Self> {
        let (element, limit) = (dtype.bytes() as u32, facts.shared_memory);
        let layout = |spec: KernelSpec, limit| VolumeLayout::design(cut, spec.threads / 32, element, limit);
        let small = layout(SPEC_4, limit / SPEC_4.min_blocks);
        let small = small.filter(|layout| layout.groups == 1).map(|layout| (layout, SPEC_4.min_blocks));
        let (layout, resident) = small.or_else(|| Some((layout(SPEC_12, limit)?, SPEC_12.min_blocks)))?;
        Some(Self { layout, resident, multiprocessors: facts.multiprocessors.max(1) })
    }

    /// The form of the kernel.
    pub fn spec(&self) -> KernelSpec {
        if self.resident == SPEC_4.min_blocks { SPEC_4 } else { SPEC_12 }
    }

    /// Blocks for the volumes of a cut: all at once, each with its share of them.
    pub fn blocks(&self, cut: &Spectrum) -> u32 {
        let groups = self.layout.groups;
        (self.multiprocessors * self.resident / groups).clamp(1, cut.rows().max(1)) * groups
    }
}

impl Transform {
    /// The way for the volumes of a cut.
    pub(super) fn design(cut: &Spectrum, dtype: DType, facts: &DeviceFacts) -> Transform {
        if let Some(volume) = VolumeTransform::design(cut, dtype, facts) {
            return Transform::Volume(volume);
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
