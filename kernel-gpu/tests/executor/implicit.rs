//! The direct way on the tensor cores, its kernels one after the other, held against the definition.

use cuda_std::simt::{Grid, Memory, Schedule};
use kernel_gpu::batch_norm_reduce::{self, BatchNormReduce, ROWS_A_BLOCK};
use kernel_gpu::box_sums::{self, BoxSums};
use kernel_gpu::channels_last::{self, ChannelsLast};
use kernel_gpu::conv_means::{self, ConvMeans};
use kernel_gpu::element::ElementType;
use kernel_gpu::factor_panels::{Panels, ROW, place};
use kernel_gpu::factors::parts;
use kernel_gpu::implicit_gemm::{FORMS, Form, ImplicitGemm};
use kernel_gpu::input_boxes::InputBoxes;
use kernel_gpu::phased_conv::PhasedConv;
use kernel_gpu::segment_sums::{self, SegmentSums};
use kernel_gpu::split_taps::{self, SplitTaps};

use crate::case::Case;
use crate::check::{close, deviation, moments_bits};
use crate::launch::{Moments, launch, launch_on};
use crate::reference;
use crate::tensors::tensor;

/// Rounding of f64, with room for the sums here.
const F64: f64 = 1e-12;
/// Rounding of z, relative to Σ|w·x|: 22 bits of each factor, and sums in f32.
const F32: f64 = 1e-6;

/// What is done to the factors between the kernels.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Factors {
    /// Nothing.
    Kept,
    /// The low words of x are lost.
    WithoutLow,
}

/// A convolution's case, with how many images a tile holds and whether many output channels are to be computed at once.
#[derive(Clone, Debug)]
pub struct Setting {
    pub case: Case,
    pub images: u32,
    pub columns: u32,
    /// Groups that are taken together.
    pub bundle: u32,
    /// Whether the products are those of a device with warpgroups.
    pub warpgroups: bool,
}

impl Setting {
    pub fn new(case: Case, images: u32, columns: u32) -> Self {
        Self { case, images, columns, bundle: 1, warpgroups: false }
    }

    /// Without warpgroups, and with them.
    pub fn devices(&self) -> [Self; 2] {
        [false, true].map(|warpgroups| Self { warpgroups, ..self.clone() })
    }

    fn form(&self) -> Form {
        let element = self.case.element::<f32>();
        *FORMS.iter().find(|form| form.element == element && form.columns == self.columns).unwrap()
    }

    pub fn conv(&self) -> PhasedConv {
        PhasedConv::new(self.case.shape, self.case.options, self.images).unwrap().bundled(self.bundle)
    }
}

/// The moments of each (b, c) under a schedule.
pub fn run(setting: &Setting, schedule: Schedule, (x, w): (&[f32], &[f32]), factors: Factors) -> Moments {
    let (case, form, conv) = (&setting.case, setting.form(), setting.conv());
    let (shape, element) = (&case.shape, case.element::<f32>());
    let boxes = InputBoxes::new(*shape, case.options);
    let work = form.work(&conv);
    let mut memory = Memory::new();
    let [input, kernel] =
        [("input", x), ("kernel", w)].map(|(name, values)| tensor(&mut memory, name, values, element));
    let (ins, rows) = (shape.in_channels as usize, case.rows());
    let doubles = |count: u64| vec![f64::NAN; count as usize];
    let segment_sum = memory.buffer("segment_sum", &doubles(boxes.segments() * u64::from(boxes.ranges[2])));
    let largest = memory.buffer("largest", &vec![f32::NAN; boxes.segments() as usize]);
    let sums = u64::from(shape.in_channels) * u64::from(boxes.boxes()) * u64::from(shape.batch);
    let box_sum = memory.buffer("box_sum", &doubles(sums));
    let exponent = memory.buffer("exponent", &vec![i32::MIN; ins]);
    let panels = Panels::new(&conv, parts(element));
    // NaN of either format.
    let input_rows = memory.buffer("rows", &vec![0x7fff_7fffu32; panels.input_words(&conv) as usize]);
    let taps = panels.kernel_words(&conv, form.columns) as usize;
    let kernel_taps = memory.buffer("taps", &vec![0x7fff_7fffu32; taps]);
    let channel_exponent = memory.buffer("channel_exponent", &vec![i32::MIN; shape.out_channels as usize]);
    let conv_mean = memory.buffer("conv_mean", &vec![f64::NAN; rows]);
    let slices = rows * work.slices as usize;
    let [slice_mean, slice_m2] = ["slice_mean", "slice_m2"].map(|name| memory.buffer(name, &vec![f64::NAN; slices]));
    let [mean, m2] = ["mean", "m2"].map(|name| memory.buffer(name, &vec![f64::NAN; rows]));

    let p = SegmentSums { input, sum: segment_sum.global_mut(), largest: largest.global_mut(), boxes };
    launch(segment_sums::SPEC.name, p.blocks(), schedule, case, &memory, &p);
    let p = BoxSums {
        segment_sum: segment_sum.global(),
        largest: largest.global(),
        sum: box_sum.global_mut(),
        exponent: exponent.global_mut(),
        boxes,
    };
    launch(box_sums::SPEC.name, p.blocks(), schedule, case, &memory, &p);
    let p = ChannelsLast { input, exponent: exponent.global(), rows: input_rows.global_mut(), conv };
    launch(channels_last::SPEC.name, p.blocks(), schedule, case, &memory, &p);
    let p = ConvMeans {
        kernel,
        sum: box_sum.global(),
        exponent: exponent.global(),
        mean: conv_mean.global_mut(),
        channel_exponent: channel_exponent.global_mut(),
        boxes,
    };
    launch(conv_means::SPEC.name, p.blocks(), schedule, case, &memory, &p);
    let p = SplitTaps {
        kernel,
        exponent: exponent.global(),
        channel_exponent: channel_exponent.global(),
        taps: kernel_taps.global_mut(),
        conv,
        columns: form.columns,
    };
    launch(split_taps::SPEC.name, p.blocks(), schedule, case, &memory, &p);
    let mut rows_read = input_rows.global();
    if factors == Factors::WithoutLow {
        let mut values = memory.read(&input_rows);
        for (row, words) in values.chunks_mut(ROW as usize).enumerate() {
            for piece in [2, 3, 6, 7] {
                let at = place(row as u32 % 8, piece) as usize % ROW as usize;
                words[at..at + 4].fill(0);
            }
        }
        rows_read = memory.buffer("rows without low words", &values).global();
    }
    let p = ImplicitGemm {
        rows: rows_read,
        taps: kernel_taps.global(),
        channel_exponent: channel_exponent.global(),
        conv_mean: conv_mean.global(),
        mean: slice_mean.global_mut(),
        m2: slice_m2.global_mut(),
        scale: case.scale,
        unreached: conv.unreached(),
        conv,
        work,
    };
    let every = Case { blocks: u32::MAX, ..case.clone() };
    let device = |grid: Grid| {
        let grid = grid.shared_bytes(form.shared_bytes(setting.warpgroups));
        if setting.warpgroups { grid.warpgroups() } else { grid }
    };
    launch_on(device, form.spec.name, work.items(), schedule, &every, &memory, &p);
    let p = BatchNormReduce {
        slice_mean: slice_mean.global(),
        slice_m2: slice_m2.global(),
        mean: mean.global_mut(),
        m2: m2.global_mut(),
        rows: rows as u64,
        positions: work.position_tiles,
        tile_positions: 1,
        work,
    };
    launch(batch_norm_reduce::SPEC.name, (rows as u64).div_ceil(ROWS_A_BLOCK), schedule, case, &memory, &p);
    (memory.read(&mean), memory.read(&m2))
}

/// The setting's own tensors on both kinds of device and under every schedule: the same bits, within the rounding of the definition.
pub fn check(setting: &Setting) {
    setting.devices().iter().for_each(check_on);
}

fn check_on(setting: &Setting) {
    let tensors = (setting.case.input::<f32>(), setting.case.kernel::<f32>());
    let of = |schedule| run(setting, schedule, (&tensors.0, &tensors.1), Factors::Kept);
    let found = of(Schedule::InOrder);
    let seed = setting.case.seed;
    for schedule in [Schedule::Reversed, Schedule::Random(seed)] {
        assert_eq!(moments_bits(&of(schedule)), moments_bits(&found), "{schedule:?}, {setting:?}");
    }
    judge(setting, (&tensors.0, &tensors.1), &found);
}

/// Holds moments against the definition.
pub fn judge(setting: &Setting, (x, w): (&[f32], &[f32]), found: &Moments) {
    let wide = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect::<Vec<_>>();
    let case = &setting.case;
    let expected = reference::convolve(case, &wide(x), &wide(w));
    let positions = case.options.positions() as usize;
    for (row, z) in expected.z.chunks(positions).enumerate() {
        let (mean, m2) = reference::moments(z);
        let size = expected.size[row];
        let what = |what| format!("{what} of row {row}, {setting:?}");
        close(&what("mean"), found.0[row], mean, F64 * size);
        close(&what("M2"), found.1[row], m2, F32 * m2 + deviation(m2, positions as f64, F32 * size));
    }
}

/// Every setting with the case in each format.
pub fn formats(setting: &Setting) {
    for element in [ElementType::F32, ElementType::F16, ElementType::Bf16] {
        check(&Setting { case: Case { element: Some(element), ..setting.case.clone() }, ..setting.clone() });
    }
}
