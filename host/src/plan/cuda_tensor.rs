//! The direct way on a GPU's tensor cores: how rows are dealt to tiles, and its workspace.
//!
//! ```text
//! items      = B/images · groups · channel tiles · tiles of 128 rows of all phases        one block computes one item
//! products   = 2 · 128 · channels of a tile · channels of a group, in chunks of 16, a tap that the tile meets
//! ```
//!
//! A tile holds the positions of one image, or fewer positions of 2, 4 or 8 images, whichever meets fewer taps. Groups of few channels are
//! taken together, as many as take the least time by [`tensor_seconds`]. Pure: the shape, the element type, the device's kind and the options decide.
//! In default precision for f16, bf16 and f32; strict precision and f64 are [`CudaDirect`](super::CudaDirect)'s.

use kernel_gpu::conv_shape::{ConvOptions, ConvShape};
use kernel_gpu::factor_panels::Panels;
use kernel_gpu::factors::parts;
use kernel_gpu::implicit_gemm::{FORMS, Form};
use kernel_gpu::input_boxes::InputBoxes;
use kernel_gpu::phased_conv::{CHUNK, MAX_IMAGES, PhasedConv, ROWS};
use kernel_gpu::work::Work;

use super::cost::tensor_seconds;
use super::cuda_direct::{conv_options, conv_shape};
use super::parts::bundles;
use super::{DeviceFacts, PlanOptions, Precision, WORKSPACE_BUDGET};
use crate::element::DType;
use crate::problem::Problem;

/// Tiles that are looked at to count products, at most.
const LOOKED_AT: u32 = 4096;

/// What more images a tile must save, as a factor.
const WORTH: f64 = 1.04;

/// How a GPU computes the convolution's moments on its tensor cores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CudaTensor {
    /// Which compiled form, as an index of [`FORMS`].
    pub form: usize,
    /// The convolution, as the kernels take it.
    pub conv: PhasedConv,
    /// The boxes of the input that its mean is made of.
    pub boxes: InputBoxes,
    /// How the output is divided among blocks.
    pub work: Work,
    /// Multiplications and additions of all tiles, one for a product of two numbers, whatever it takes.
    pub flops: u64,
}

/// How many elements each array has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorLengths {
    /// f64: the sums of the input's segments.
    pub segment_sum: u64,
    /// f32: their largest magnitudes.
    pub largest: u64,
    /// f64: the sums of the boxes.
    pub box_sum: u64,
    /// i32: e of each ci.
    pub exponent: u64,
    /// u32: the input as factors.
    pub rows: u64,
    /// u32: the taps as factors.
    pub taps: u64,
    /// i32: g of each c.
    pub channel_exponent: u64,
    /// f64: the mean of each slice of a (b, c), and M2.
    pub slices: u64,
    /// f64: the mean of z a (b, c), then scaled, and M2.
    pub moments: u64,
    /// f64: the mean of each c, and the variance.
    pub statistics: u64,
}

impl TensorLengths {
    /// Of all arrays together.
    pub fn bytes(&self) -> u64 {
        let words = [self.largest, self.exponent, self.rows, self.taps, self.channel_exponent];
        let doubles = [self.segment_sum, self.box_sum, 2 * self.slices, 3 * self.moments, 2 * self.statistics];
        let sum = |lengths: &[u64], bytes: u64| {
            lengths.iter().fold(0u64, |sum, length| sum.saturating_add(length.saturating_mul(bytes)))
        };
        sum(&words, 4).saturating_add(sum(&doubles, 8))
    }
}

impl CudaTensor {
    /// Divides the work; `None` where the tensor cores are not for it: f64, strict precision, more than 32 bits count, no position that a
    /// tap reaches, or more workspace than is allowed.
    pub fn design(problem: &Problem, facts: &DeviceFacts, dtype: DType, options: PlanOptions) -> Option<Self> {
        if dtype == DType::F64 || options.precision == Precision::Strict {
            return None;
        }
        let (shape, conv_options) = in_line(conv_shape(problem).ok()?, conv_options(problem).ok()?);
        let budget = options.workspace_budget.unwrap_or(WORKSPACE_BUDGET);
        let allowed = facts.available_memory.map_or(budget, |available| available.min(budget));
        let ins = shape.in_channels.checked_div(conv_options.groups)?;
        let designs = bundles(conv_options.groups, ins)
            .filter_map(|bundle| Self::with_bundle((shape, conv_options), dtype, bundle))
            .filter(|design| design.workspace_bytes() <= allowed);
        // As many groups a bundle as take the least time, of equals the fewest.
        let less = |a: &Self, b: &Self| tensor_seconds(b, facts) < tensor_seconds(a, facts);
        designs.reduce(|few, many| if less(&few, &many) { many } else { few })
    }

    fn with_bundle((shape, options): (ConvShape, ConvOptions), dtype: DType, bundle: u32) -> Option<Self> {
        let outs = shape.out_channels.checked_div(options.groups)?;
        let form = Form::index_for(dtype.into(), outs * bundle);
        let images = (0..=MAX_IMAGES.ilog2()).map(|bits| 1 << bits).filter(|&images| images < 2 * shape.batch);
        let designs = images.filter_map(|images| Self::with_images(shape, options, (form, bundle), images));
        // More images a tile are fewer taps a window: they have to save something.
        let worth = |few: &Self, many: &Self| many.flops as f64 * WORTH < few.flops as f64;
        designs.reduce(|few, many| if worth(&few, &many) { many } else { few })
    }

    fn with_images(shape: ConvShape, options: ConvOptions, (form, bundle): (usize, u32), images: u32) -> Option<Self> {
        let conv = PhasedConv::new(shape, options, images)?.bundled(bundle);
        if conv.tiles() == 0 {
            return None;
        }
        let work = FORMS[form].work(&conv);
        if work.items() > i32::MAX as u64 {
            return None;
        }
        let boxes = InputBoxes::new(shape, options);
        // The kernels count the boxes of all images in 32 bits.
        if u64::from(shape.batch) * u64::from(boxes.boxes()) > u64::from(u32::MAX) {
            return None;
        }
        let mut design = Self { form, conv, boxes, work, flops: 0 };
        let each = u64::from(2 * ROWS * FORMS[form].columns) * u64::from(CHUNK * conv.chunks());
        let tiles = u64::from(work.channel_tiles) * u64::from(work.batch);
        design.flops = each.saturating_mul(tiles).saturating_mul(design.met_taps());
        Some(design)
    }

    /// Taps that the tiles of one batch of images meet, all together; of many tiles as every n-th has.
    fn met_taps(&self) -> u64 {
        let (conv, tiles) = (&self.conv, self.conv.tiles());
        let every = tiles.div_ceil(LOOKED_AT).max(1);
        let met = |number: u32| {
            let phase = conv.phase(number / conv.phase_tiles);
            let (first, rows) = (number % conv.phase_tiles * conv.tile_positions(), conv.rows_of(&phase));
            match first < rows {
                true => u64::from(conv.meeting(&phase, first, rows.min(first + conv.tile_positions())).taps()),
                false => 0,
            }
        };
        (0..tiles).step_by(every as usize).map(met).sum::<u64>().saturating_mul(u64::from(every))
    }

    /// The compiled form.
    pub fn form(&self) -> Form {
        FORMS[self.form]
    }

    /// B·Cout.
    pub fn rows(&self) -> u64 {
        u64::from(self.conv.shape.batch) * u64::from(self.conv.shape.out_channels)
    }

    /// The lengths of the plan's arrays.
    pub fn lengths(&self) -> TensorLengths {
        let (conv, boxes, shape) = (&self.conv, &self.boxes, &self.conv.shape);
        let [batch, ins, outs] = [shape.batch, shape.in_channels, shape.out_channels].map(u64::from);
        let form = self.form();
        let panels = Panels::new(conv, parts(form.element));
        let product = |factors: &[u64]| factors.iter().fold(1u64, |product, &factor| product.saturating_mul(factor));
        TensorLengths {
            segment_sum: product(&[boxes.segments(), boxes.ranges[2].into()]),
            largest: boxes.segments(),
            box_sum: product(&[ins, boxes.boxes().into(), batch]),
            exponent: ins,
            rows: panels.input_words(conv),
            taps: panels.kernel_words(conv, form.columns),
            channel_exponent: outs,
            slices: product(&[self.rows(), self.work.slices]),
            moments: self.rows(),
            statistics: outs,
        }
    }

    /// Bytes beside inputs and outputs.
    pub fn workspace_bytes(&self) -> u64 {
        self.lengths().bytes()
    }

    /// Whether one product of two numbers takes one of their factors.
    pub fn is_narrow(&self) -> bool {
        parts(self.form().element) == 1
    }
}

/// Axes of one element, one tap and one position moved to the front: what remains is a line where it can be, which the products walk along.
fn in_line(shape: ConvShape, options: ConvOptions) -> (ConvShape, ConvOptions) {
    let flat = |&axis: &usize| shape.input[axis] == 1 && shape.kernel[axis] == 1 && options.output[axis] == 1;
    let mut order: Vec<usize> = (0..3).filter(flat).collect();
    order.extend((0..3).filter(|axis| !flat(axis)));
    let turned = |values: [u32; 3]| [values[order[0]], values[order[1]], values[order[2]]];
    let options = ConvOptions {
        stride: turned(options.stride),
        padding: turned(options.padding),
        dilation: turned(options.dilation),
        output: turned(options.output),
        ..options
    };
    (ConvShape { input: turned(shape.input), kernel: turned(shape.kernel), ..shape }, options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Backend;
    use crate::problem::{KernelShape, ProblemBuilder, Shape5};

    fn builder(x: [usize; 5], out_channels: usize, k: [usize; 3]) -> ProblemBuilder {
        let input = Shape5 { batch: x[0], channels: x[1], depth: x[2], height: x[3], width: x[4] };
        let kernel = KernelShape { in_channels: x[1], out_channels, depth: k[0], height: k[1], width: k[2] };
        Problem::builder(input, kernel)
    }

    const FACTS: DeviceFacts = DeviceFacts {
        backend: Backend::Cuda,
        threads: 0,
        available_memory: None,
        multiprocessors: 132,
        shared_memory: 232_448,
        warpgroups: true,
    };

    fn design(problem: &Problem, dtype: DType, options: PlanOptions) -> Option<CudaTensor> {
        CudaTensor::design(problem, &FACTS, dtype, options)
    }

    #[test]
    fn warpgroups_take_less_time_for_many_channels_and_more_for_a_chunk_of_a_step() {
        let seconds = |channels, dtype| {
            let problem = builder([16, channels, 16, 32, 32], 64, [5; 3]).build().unwrap();
            let design = design(&problem, dtype, PlanOptions::default()).unwrap();
            [true, false].map(|warpgroups| tensor_seconds(&design, &DeviceFacts { warpgroups, ..FACTS }))
        };
        let [with, without] = seconds(64, DType::F32);
        assert!(1.5 * with < without, "{with} {without}");
        let [with, without] = seconds(16, DType::F16);
        assert!(with > without, "{with} {without}");
    }

    #[test]
    fn the_form_follows_channels_and_type() {
        let name = |outs, dtype| {
            let problem = builder([2, 64, 4, 16, 16], outs, [3; 3]).build().unwrap();
            design(&problem, dtype, PlanOptions::default()).map(|design| design.form().spec.name)
        };
        assert_eq!(name(32, DType::F32), Some("implicit_gemm_f32_narrow"));
        assert_eq!(name(33, DType::F16), Some("implicit_gemm_f16_wide"));
        assert_eq!(name(64, DType::BF16), Some("implicit_gemm_bf16_wide"));
        assert_eq!(name(64, DType::F64), None);
        let strict = PlanOptions { precision: Precision::Strict, ..PlanOptions::default() };
        let problem = builder([2, 64, 4, 16, 16], 64, [3; 3]).build().unwrap();
        assert_eq!(design(&problem, DType::F32, strict), None);
        let little = PlanOptions { workspace_budget: Some(1 << 20), ..PlanOptions::default() };
        assert_eq!(design(&problem, DType::F32, little), None);
    }

    /// Edges are half of the taps of small volumes: eight images a tile leave most of them out.
    #[test]
    fn many_images_of_small_volumes_share_a_tile() {
        let of = |x, outs, k| {
            let problem = builder(x, outs, k).build().unwrap();
            let design = design(&problem, DType::F32, PlanOptions::default()).unwrap();
            (design.conv.images, design.flops as f64 / problem.direct_flops() as f64)
        };
        let (images, share) = of([8, 512, 4, 8, 8], 512, [3; 3]);
        assert!(images == 8 && share < 1.7, "{images} {share}");
        let (images, share) = of([16, 64, 1, 64, 64], 64, [1, 5, 5]);
        assert!(share < 1.15, "{images} {share}");
        let (images, share) = of([4, 32, 2, 4, 4096], 32, [2, 3, 9]);
        assert!(share < 1.05, "{images} {share}");
    }

    #[test]
    fn a_stride_costs_no_products() {
        let plain = builder([4, 64, 1, 64, 64], 64, [1, 4, 4]).build().unwrap();
        let strided = builder([4, 64, 1, 64, 64], 64, [1, 4, 4]).stride([1, 2, 2]).padding([0, 1, 1]).build().unwrap();
        let flops = |problem| design(problem, DType::F32, PlanOptions::default()).unwrap().flops as f64;
        assert!(flops(&strided) < 1.1 * flops(&plain));
    }

    #[test]
    fn flat_axes_come_first() {
        let problem = builder([2, 16, 50, 1, 1], 16, [9, 1, 1]).build().unwrap();
        let conv = design(&problem, DType::F32, PlanOptions::default()).unwrap().conv;
        assert_eq!((conv.shape.input, conv.shape.kernel), ([1, 1, 50], [1, 1, 9]));
    }

    #[test]
    fn boxes_of_all_images_are_counted_in_32_bits() {
        let of = |batch| builder([batch, 1, 1, 1, 1100], 1, [1, 1, 1100]).padding([0, 0, 1]).build().unwrap();
        let options = PlanOptions { workspace_budget: Some(u64::MAX), ..PlanOptions::default() };
        assert!(design(&of(1 << 21), DType::F32, options).is_some());
        assert_eq!(design(&of(1 << 22), DType::F32, options), None);
    }

    /// Groups of few channels are taken together, as far as that is less work by the estimate.
    #[test]
    fn groups_of_few_channels_are_bundled() {
        for (x, outs, k, groups, expected) in [
            ([16, 64, 16, 32, 32], 1, [3; 3], 64, [32, 64]),
            ([16, 64, 16, 32, 32], 32, [5; 3], 4, [2, 4]),
            ([16, 256, 8, 16, 16], 8, [3; 3], 32, [4, 8]),
            // More channels than a bundle may have, and one group.
            ([16, 128, 8, 16, 16], 64, [3; 3], 2, [1, 1]),
            ([16, 256, 8, 16, 16], 256, [3; 3], 1, [1, 1]),
        ] {
            let problem = builder(x, outs, k).groups(groups).padding([1; 3]).build().unwrap();
            for (dtype, bundle) in [DType::F32, DType::F16].into_iter().zip(expected) {
                let chosen = design(&problem, dtype, PlanOptions::default()).unwrap();
                let conv = &chosen.conv;
                assert_eq!(
                    (conv.bundle, conv.options.groups),
                    (bundle, groups as u32 / bundle),
                    "{x:?} {groups} {dtype:?}"
                );
                assert_eq!(
                    [conv.in_channels, conv.out_channels],
                    [x[1] as u32, (outs * groups as usize) as u32].map(|all| all / conv.options.groups)
                );
                assert_eq!(chosen.boxes.options.groups, groups as u32);
                // No other takes less.
                let extents = in_line(conv_shape(&problem).unwrap(), conv_options(&problem).unwrap());
                for bundle in bundles(groups as u32, x[1] as u32 / groups as u32) {
                    let other = CudaTensor::with_bundle(extents, dtype, bundle).unwrap();
                    assert!(tensor_seconds(&other, &FACTS) >= tensor_seconds(&chosen, &FACTS), "{x:?} {bundle}");
                }
            }
        }
    }

    #[test]
    fn where_no_tap_reaches_a_position_there_are_no_tiles() {
        let problem = builder([2, 16, 1, 1, 1], 16, [1, 1, 1]).stride([1, 1, 3]).padding([0, 0, 1]);
        let problem = problem.output_padding([0, 0, 2]).build().unwrap();
        assert_eq!(design(&problem, DType::F32, PlanOptions::default()), None);
    }
}
