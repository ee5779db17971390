//! The kernels launched under a schedule, over outputs that hold what no kernel writes.

use cuda_std::launch::KernelSpec;
use cuda_std::simt::{Buffer, Grid, Memory, Schedule};
use kernel_gpu::dft_axis::{self, AxisExtents, DftAxis};
use kernel_gpu::dft_store::{self, DftStore};
use kernel_gpu::element::Tensor;
use kernel_gpu::entries;
use kernel_gpu::spectrum::Spectrum;
use kernel_gpu::volume_fft;
use kernel_gpu::volume_fft_layout::VolumeFftLayout;
use kernel_gpu::volume_layout::VolumeLayout;
use kernel_gpu::volume_outer::HELD;
use kernel_gpu::volume_sums::{self, VolumeSums};
use kernel_gpu::volume_transform::{Form, VolumeTransform};

use crate::case::Case;
use crate::tensors::tensor;

/// Everything that the transforms of x write.
pub struct Stored {
    pub high: Vec<u32>,
    pub low: Vec<u32>,
    pub sum: Vec<f64>,
    pub exponent: Vec<i32>,
    /// Twice the origin of each axis.
    pub twice: [u32; 3],
}

impl Stored {
    /// All of it.
    pub fn bits(&self) -> Vec<u64> {
        let words = self.high.iter().chain(&self.low).map(|&word| u64::from(word));
        let exponents = self.exponent.iter().map(|&e| e as u64);
        words.chain(self.sum.iter().map(|sum| sum.to_bits())).chain(exponents).collect()
    }
}

/// A word of two NaNs.
const NAN: u32 = 0x7fff_7fff;

/// How [`volume_transform`] is launched.
#[derive(Clone, Copy, Debug)]
pub struct Launch {
    pub form: Form,
    /// Bytes of shared memory a block may have.
    pub limit: u32,
    /// x begins so many elements into its buffer.
    pub skipped: usize,
}

/// In that form, with all the memory that an H100 has.
pub const fn with(form: Form) -> Launch {
    Launch { form, limit: 227 << 10, skipped: 0 }
}

/// `volume_transform` in that form.
pub fn volume_transform(launch: Launch) -> impl Fn(&Case, Schedule) -> Stored {
    move |case, schedule| volume_transform_of(launch, case, schedule, &case.input())
}

/// [`volume_transform`] of these values.
pub fn volume_transform_of(launch: Launch, case: &Case, schedule: Schedule, x: &[f32]) -> Stored {
    let s = case.spectrum;
    assert!(!launch.form.holds || s.shape.input[0] <= 2 * HELD, "{case:?}");
    let layout = VolumeLayout::design(&s, launch.form.warps(), launch.limit);
    let layout = layout.unwrap_or_else(|| panic!("{case:?} does not fit"));
    let x = [&vec![f32::NAN; launch.skipped][..], x].concat();
    let arrays = Arrays::new(case, &x);
    let parameters = arrays.parameters(s, launch.skipped, layout);
    let spec = KernelSpec { shared_bytes: layout.bytes, ..launch.form.spec };
    let blocks = s.rows().min(case.blocks) * layout.groups;
    grid(spec, blocks, schedule, case, &arrays.memory, &parameters);
    arrays.stored([s.shape.input[0] / 2 * 2, s.shape.input[1] - 1, s.shape.input[2] - 1])
}

/// `volume_fft`, where it takes the case, with so many volumes a block.
pub fn volume_fft(volumes: u32) -> impl Fn(&Case, Schedule) -> Stored {
    move |case, schedule| volume_fft_of(volumes, 0, case, schedule, &case.input())
}

/// [`volume_fft`] of these values, which begin so many elements into their buffer.
pub fn volume_fft_of(volumes: u32, skipped: usize, case: &Case, schedule: Schedule, x: &[f32]) -> Stored {
    let s = case.spectrum;
    let layout = VolumeFftLayout::design(&s, 227 << 10).unwrap_or_else(|| panic!("{case:?} is not taken"));
    let layout = VolumeFftLayout { volumes, ..layout };
    let arrays = Arrays::new(case, &[&vec![f32::NAN; skipped][..], x].concat());
    let parameters = arrays.parameters(s, skipped, layout);
    let spec =
        KernelSpec { shared_bytes: layout.bytes * volumes, threads: layout.threads * volumes, ..volume_fft::SPEC };
    grid(spec, s.rows().min(case.blocks), schedule, case, &arrays.memory, &parameters);
    arrays.stored([0; 3])
}

/// The axis path, so many volumes at a time.
pub fn axis_path(volumes: u32) -> impl Fn(&Case, Schedule) -> Stored {
    move |case, schedule| axis_path_of(case, schedule, volumes)
}

fn axis_path_of(case: &Case, schedule: Schedule, cut: u32) -> Stored {
    let s = case.spectrum;
    let mut arrays = Arrays::new(case, &case.input());
    let scratch = dft_axis::scratch_words(&s, cut.min(s.rows())).map(|words| vec![f32::NAN; words as usize]);
    let (first, second) =
        (arrays.memory.buffer("scratch 0", &scratch[0]), arrays.memory.buffer("scratch 1", &scratch[1]));
    let Arrays { memory, input, twiddles, high, low, sum, exponent } = &arrays;

    let parameters = VolumeSums { input: *input, sum: sum.global_mut(), exponent: exponent.global_mut(), spectrum: s };
    launch(volume_sums::SPEC, u64::from(s.rows()), schedule, case, memory, &parameters);
    let mut volume = 0;
    while volume < s.rows() {
        let volumes = cut.min(s.rows() - volume);
        let input = input.offset(u64::from(volume) * s.shape.volume());
        let passes = [
            (2, input, first.global_mut()),
            (1, first.global().into(), second.global_mut()),
            (0, second.global().into(), first.global_mut()),
        ];
        for (axis, input, output) in passes {
            let extents = AxisExtents::new(&s, axis, volumes);
            let twiddles = twiddles.global().offset(2 * u64::from(s.twiddle_offset(axis as u32)));
            let parameters = DftAxis { input, twiddles, output, extents };
            launch(dft_axis::SPEC, extents.tiles(), schedule, case, memory, &parameters);
        }
        let parameters = DftStore {
            components: first.global(),
            exponent: exponent.global(),
            high: high.global_mut(),
            low: low.global_mut(),
            spectrum: s,
            first_volume: volume,
            volumes,
        };
        launch(dft_store::SPEC, 2, schedule, case, memory, &parameters);
        volume += volumes;
    }
    arrays.stored(s.shape.input.map(|extent| extent / 2 * 2))
}

/// What every way of the transform reads and writes, in the executor's memory.
struct Arrays {
    memory: Memory,
    input: Tensor<f32>,
    twiddles: Buffer<f32>,
    high: Buffer<u32>,
    low: Buffer<u32>,
    sum: Buffer<f64>,
    exponent: Buffer<i32>,
}

impl Arrays {
    fn new(case: &Case, x: &[f32]) -> Self {
        let s = case.spectrum;
        let (row, rows) = (s.slots() as usize, s.rows() as usize);
        let mut memory = Memory::new();
        Self {
            input: tensor(&mut memory, "input", x, case.element),
            twiddles: memory.buffer("twiddles", &case.twiddles()),
            high: memory.buffer("high", &vec![NAN; s.lines() as usize * rows * row]),
            low: memory.buffer("low", &vec![NAN; s.strict_lines() as usize * rows * row]),
            sum: memory.buffer("sum", &vec![f64::NAN; rows]),
            exponent: memory.buffer("exponent", &vec![i32::MIN; rows]),
            memory,
        }
    }

    /// What a kernel takes that transforms volumes, which begin so many elements into their buffer.
    fn parameters<Layout>(&self, s: Spectrum, skipped: usize, layout: Layout) -> VolumeTransform<Layout> {
        VolumeTransform {
            input: self.input.offset(skipped as u64),
            twiddles: self.twiddles.global(),
            high: self.high.global_mut(),
            low: self.low.global_mut(),
            sum: self.sum.global_mut(),
            exponent: self.exponent.global_mut(),
            spectrum: s,
            layout,
            inverse: 1.0 / s.shape.volume() as f64,
        }
    }

    /// What was written, about these origins.
    fn stored(&self, twice: [u32; 3]) -> Stored {
        Stored {
            high: self.memory.read(&self.high),
            low: self.memory.read(&self.low),
            sum: self.memory.read(&self.sum),
            exponent: self.memory.read(&self.exponent),
            twice,
        }
    }
}

/// Launches the kernel of that spec, on as many blocks as the case allows.
fn launch<P>(spec: KernelSpec, blocks: u64, schedule: Schedule, case: &Case, memory: &Memory, parameters: &P) {
    grid(spec, blocks.min(u64::from(case.blocks)) as u32, schedule, case, memory, parameters);
}

/// Launches the kernel of that spec; it must run clean.
fn grid<P>(spec: KernelSpec, blocks: u32, schedule: Schedule, case: &Case, memory: &Memory, parameters: &P) {
    let entry = entries::find(spec.name).unwrap_or_else(|| panic!("no entry {}", spec.name));
    assert_eq!(entry.parameter_bytes, size_of::<P>());
    // SAFETY: the parameters are of the entry's type; what they point at is checked access by access.
    let kernel = || unsafe { (entry.run)(std::ptr::from_ref(parameters).cast()) };
    let report = Grid::of(spec, blocks).schedule(schedule).run(memory, kernel);
    assert!(report.is_clean(), "{} {schedule:?}, {case:?}:\n{report}", spec.name);
}
