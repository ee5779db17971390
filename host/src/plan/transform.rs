//! How x is transformed: in shared memory, volume by volume, or axis by axis through global memory.

use kernel_gpu::dft_axis;
use kernel_gpu::spectrum::Spectrum;
use kernel_gpu::volume_layout::VolumeLayout;
use kernel_gpu::volume_transform::{FORMS, Form};

use super::DeviceFacts;

/// Bytes of scratch of the passes that go axis by axis: some volumes at a time, at least one.
const SCRATCH_BYTES: u64 = 64 << 20;

/// Bytes of shared memory that the driver reserves in each block.
const RESERVED: u32 = 1 << 10;

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
    /// The form of the kernel.
    pub form: Form,
    /// Where things lie in shared memory.
    pub layout: VolumeLayout,
    /// Blocks that a multiprocessor has at a time.
    pub resident: u32,
    multiprocessors: u32,
}

impl VolumeTransform {
    /// The smallest blocks that hold a volume; where none does, as few as possible share it.
    fn design(cut: &Spectrum, facts: &DeviceFacts) -> Option<Self> {
        let of = |form: Form, resident: u32| {
            // Of what a multiprocessor has each block takes RESERVED beside.
            let shared = ((facts.shared_memory + RESERVED) / resident).saturating_sub(RESERVED);
            let layout = VolumeLayout::design(cut, form.warps(), shared)?;
            Some(Self { form, layout, resident, multiprocessors: facts.multiprocessors.max(1) })
        };
        let fitting = FORMS.into_iter().filter(|form| form.takes(cut.shape.input));
        let mut whole = fitting.clone().filter_map(|form| of(form, form.spec.min_blocks));
        let mut shared = fitting.rev().flat_map(|form| [of(form, form.spec.min_blocks), of(form, 1)]).flatten();
        whole.find(|way| way.layout.groups == 1).or_else(|| shared.next())
    }

    /// Blocks for the volumes of a cut: all at once, each with its share of them.
    pub fn blocks(&self, cut: &Spectrum) -> u32 {
        let groups = self.layout.groups;
        (self.multiprocessors * self.resident / groups).clamp(1, cut.rows().max(1)) * groups
    }
}

impl Transform {
    /// The way for the volumes of a cut.
    pub(super) fn design(cut: &Spectrum, facts: &DeviceFacts) -> Transform {
        if let Some(volume) = VolumeTransform::design(cut, facts) {
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
