//! How x is transformed: volume by volume, in registers or as matrix products, or axis by axis through global memory.

use cuda_std::launch::KernelSpec;
use kernel_gpu::dft_axis;
use kernel_gpu::spectrum::Spectrum;
use kernel_gpu::volume_fft;
use kernel_gpu::volume_fft_layout::{MOST_THREADS, VolumeFftLayout};
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
    /// Volume by volume, by transforms in registers.
    Fft(VolumeFft),
    /// Volume by volume, as matrix products in the shared memory of a block or of several.
    Volume(VolumeTransform),
    /// The sums, and a launch an axis.
    Axes {
        /// Volumes (b, ci) at a time.
        volumes: u32,
    },
}

/// Threads that a block should have at least: a block a small volume leaves warps idle at its barriers.
const LEAST_THREADS: u32 = 128;

/// How volumes are transformed in registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VolumeFft {
    /// Where things lie in shared memory, and who works on them.
    pub layout: VolumeFftLayout,
    /// Blocks that a multiprocessor has at a time.
    pub resident: u32,
    multiprocessors: u32,
}

impl VolumeFft {
    /// Where each axis has a length that there is a transform of, and a block holds a volume.
    fn design(cut: &Spectrum, facts: &DeviceFacts) -> Option<Self> {
        let mut layout = VolumeFftLayout::design(cut, facts.shared_memory)?;
        let multiprocessors = facts.multiprocessors.max(1);
        // Volumes that a multiprocessor has registers and shared memory for.
        let in_registers = MOST_THREADS / layout.threads;
        let in_shared = facts.shared_memory.saturating_add(RESERVED) / (layout.bytes + RESERVED);
        let at_once = in_registers.min(in_shared).max(1);
        layout.volumes = LEAST_THREADS.div_ceil(layout.threads).min(at_once);
        Some(Self { layout, resident: at_once / layout.volumes, multiprocessors })
    }

    /// The launch of the kernel.
    pub fn spec(&self) -> KernelSpec {
        KernelSpec {
            threads: self.layout.threads * self.layout.volumes,
            shared_bytes: self.layout.bytes * self.layout.volumes,
            ..volume_fft::SPEC
        }
    }

    /// Blocks for the volumes of a cut: all at once, each with its share of them.
    pub fn blocks(&self, cut: &Spectrum) -> u32 {
        self.multiprocessors.saturating_mul(self.resident).clamp(1, cut.rows().div_ceil(self.layout.volumes).max(1))
    }
}

/// How volumes are transformed as matrix products.
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
            let shared = (facts.shared_memory.saturating_add(RESERVED) / resident).saturating_sub(RESERVED);
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
        (self.multiprocessors.saturating_mul(self.resident) / groups).clamp(1, cut.rows().max(1)) * groups
    }
}

impl Transform {
    /// The way for the volumes of a cut.
    pub(super) fn design(cut: &Spectrum, facts: &DeviceFacts) -> Transform {
        if let Some(fft) = VolumeFft::design(cut, facts) {
            return Transform::Fft(fft);
        }
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
