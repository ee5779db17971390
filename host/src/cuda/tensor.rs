//! The direct way on a GPU's tensor cores: eight kernels one after the other.
//!
//! | stage | reads | writes |
//! |---|---|---|
//! | `segment_sums` | input | sums and largest magnitudes of its segments |
//! | `box_sums` | these | sums of the boxes that taps carry, the scale of each input channel |
//! | `conv_means` | kernel, sums of boxes, scales | the mean of z a (b, c), the scale of each output channel |
//! | `split_taps` | kernel, scales | the taps as factors |
//! | `channels_last` | input, scales | the input as factors |
//! | `implicit_gemm` | factors, means | mean, M2 a (b, c, slice) |
//! | `batch_norm_reduce` | these | mean, M2 a (b, c) |
//! | `pool_finish` | these, the per-channel vectors | output, batch statistics, running statistics |
//!
//! `conv_means` and `split_taps` are on a stream of the plan's own ([`branch`](super::branch)), beside `channels_last`.

use kernel_gpu::batch_norm_reduce::{self as reduce, BatchNormReduce};
use kernel_gpu::box_sums::{self, BoxSums};
use kernel_gpu::channels_last::{self, ChannelsLast};
use kernel_gpu::conv_means::{self, ConvMeans};
use kernel_gpu::implicit_gemm::ImplicitGemm;
use kernel_gpu::pool_finish::PoolFinish;
use kernel_gpu::segment_sums::{self, SegmentSums};
use kernel_gpu::split_taps::{self, SplitTaps};

use super::branch::Fork;
use super::device::{Bound, CudaDevice};
use super::error::CudaError;
use super::implicit_gemm;
use super::memory::{DeviceArray, Plain};
use super::module::Kernel;
use super::plan::{After, Target, WORKSPACE};
use super::{batch_norm_reduce, factors, pool_finish};
use crate::Error;
use crate::element::DType;
use crate::plan::{Cost, CudaTensor};
use crate::problem::Problem;

/// A plan's kernels and memory.
pub(super) struct TensorDirect {
    design: CudaTensor,
    segment_sums: Kernel<SegmentSums>,
    box_sums: Kernel<BoxSums>,
    channels_last: Kernel<ChannelsLast>,
    split_taps: Kernel<SplitTaps>,
    conv_means: Kernel<ConvMeans>,
    implicit_gemm: Kernel<ImplicitGemm>,
    batch_norm_reduce: Kernel<BatchNormReduce>,
    pool_finish: Kernel<PoolFinish<f32>>,
    /// Bytes of shared memory of `implicit_gemm`.
    shared_bytes: u32,
    memory: Memory,
}

/// What the kernels hand to each other: the arrays of [`TensorLengths`](crate::plan::TensorLengths).
struct Memory {
    segment_sum: DeviceArray<f64>,
    largest: DeviceArray<f32>,
    box_sum: DeviceArray<f64>,
    exponent: DeviceArray<i32>,
    rows: DeviceArray<u32>,
    taps: DeviceArray<u32>,
    channel_exponent: DeviceArray<i32>,
    conv_mean: DeviceArray<f64>,
    slice_mean: DeviceArray<f64>,
    slice_m2: DeviceArray<f64>,
    mean: DeviceArray<f64>,
    m2: DeviceArray<f64>,
    batch_mean: DeviceArray<f64>,
    batch_var: DeviceArray<f64>,
}

impl Memory {
    fn new(design: &CudaTensor, device: &CudaDevice, bound: &Bound<'_>) -> Result<Self, Error> {
        fn array<T: Plain>(len: u64, device: &CudaDevice, bound: &Bound<'_>) -> Result<DeviceArray<T>, Error> {
            DeviceArray::new(WORKSPACE, len as usize, device, bound)
        }
        let lengths = design.lengths();
        Ok(Self {
            segment_sum: array(lengths.segment_sum, device, bound)?,
            largest: array(lengths.largest, device, bound)?,
            box_sum: array(lengths.box_sum, device, bound)?,
            exponent: array(lengths.exponent, device, bound)?,
            rows: array(lengths.rows, device, bound)?,
            taps: array(lengths.taps, device, bound)?,
            channel_exponent: array(lengths.channel_exponent, device, bound)?,
            conv_mean: array(lengths.moments, device, bound)?,
            slice_mean: array(lengths.slices, device, bound)?,
            slice_m2: array(lengths.slices, device, bound)?,
            mean: array(lengths.moments, device, bound)?,
            m2: array(lengths.moments, device, bound)?,
            batch_mean: array(lengths.statistics, device, bound)?,
            batch_var: array(lengths.statistics, device, bound)?,
        })
    }
}

impl TensorDirect {
    /// Looks up the kernels and allocates.
    pub(super) fn new(design: &CudaTensor, device: &CudaDevice, bound: &Bound<'_>) -> Result<Self, Error> {
        let (kernels, form) = (device.kernels(), design.form());
        let small = 48 * 1024;
        let shared_bytes = form.shared_bytes(device.has_warpgroups());
        Ok(Self {
            design: *design,
            batch_norm_reduce: kernels.get(reduce::SPEC, bound)?,
            pool_finish: kernels.get(pool_finish::spec::<f32>(), bound)?,
            segment_sums: kernels.find(segment_sums::SPEC, small, bound)?,
            box_sums: kernels.find(box_sums::SPEC, small, bound)?,
            channels_last: kernels.find(channels_last::SPEC, small, bound)?,
            split_taps: kernels.find(split_taps::SPEC, small, bound)?,
            conv_means: kernels.find(conv_means::SPEC, conv_means::SPEC.shared_bytes, bound)?,
            implicit_gemm: kernels.find(form.spec, shared_bytes, bound)?.dealt_evenly(),
            shared_bytes,
            memory: Memory::new(design, device, bound)?,
        })
    }

    /// The batch's mean and variance.
    pub(super) fn statistics(&self) -> (&DeviceArray<f64>, &DeviceArray<f64>) {
        (&self.memory.batch_mean, &self.memory.batch_var)
    }

    /// The stages and their costs.
    pub(super) fn stages(&self, problem: &Problem, dtype: DType) -> Vec<(&'static str, Cost)> {
        let (lengths, element) = (self.design.lengths(), dtype.bytes() as u64);
        let input = (problem.input_elements() as u64).saturating_mul(element);
        let kernel = (problem.kernel_elements() as u64).saturating_mul(element);
        let (rows, slices) = (lengths.moments, lengths.slices);
        let segments = lengths.segment_sum.saturating_mul(8).saturating_add(lengths.largest * 4);
        let factors = (lengths.rows.saturating_mul(4), lengths.taps.saturating_mul(4));
        let cost = |bytes: &[u64], flops| {
            let bytes = bytes.iter().fold(0u64, |sum, &bytes| sum.saturating_add(bytes));
            Cost { bytes, flops }
        };
        vec![
            (factors::SEGMENT_SUMS, cost(&[input, segments], 2 * problem.input_elements() as u64)),
            (factors::BOX_SUMS, cost(&[segments, lengths.box_sum.saturating_mul(8)], lengths.segment_sum)),
            (
                factors::CONV_MEANS,
                cost(&[kernel, lengths.box_sum.saturating_mul(8), rows * 8], conv_means::flops(&self.design.boxes)),
            ),
            (factors::SPLIT_TAPS, cost(&[kernel, factors.1], 0)),
            (factors::CHANNELS_LAST, cost(&[input, factors.0], 0)),
            (implicit_gemm::STAGE, cost(&[factors.0, factors.1, slices.saturating_mul(16)], self.design.flops)),
            (
                batch_norm_reduce::STAGE,
                cost(&[slices.saturating_add(rows).saturating_mul(16)], slices.saturating_mul(12)),
            ),
            (pool_finish::STAGE, cost(&[rows.saturating_mul(24 + element)], rows.saturating_mul(15))),
        ]
    }

    /// All kernels.
    ///
    /// # Safety
    /// The tensors hold what the problem says, in the type for which this way was designed, which is computed in f32; nothing else uses
    /// them or this until the stream has passed this point.
    pub(super) unsafe fn launch(&mut self, target: &Target<'_>, after: After<'_>) -> Result<(), CudaError> {
        let Target { problem, stream, bound, .. } = *target;
        let (design, m) = (&self.design, &mut self.memory);
        let (conv, boxes, work) = (design.conv, design.boxes, design.work);
        // SAFETY: input and kernel are the caller's promise; the arrays have the lengths of the design (`Memory::new`), the
        // stream orders each launch behind what writes its inputs, and the kernels are those of these parameters (`new`).
        unsafe {
            let p = SegmentSums {
                input: target.input(),
                sum: m.segment_sum.global_mut(),
                largest: m.largest.global_mut(),
                boxes,
            };
            factors::launch(&self.segment_sums, "launching segment_sums", p.blocks(), &p, stream, bound)?;
            after(factors::SEGMENT_SUMS)?;
            let p = BoxSums {
                segment_sum: m.segment_sum.global(),
                largest: m.largest.global(),
                sum: m.box_sum.global_mut(),
                exponent: m.exponent.global_mut(),
                boxes,
            };
            factors::launch(&self.box_sums, "launching box_sums", p.blocks(), &p, stream, bound)?;
            after(factors::BOX_SUMS)?;
            // The taps' stages beside the input's: neither fills a device where there is little of its own.
            let mut taps = Fork::of(target)?;
            let p = ConvMeans {
                kernel: target.kernel(),
                sum: m.box_sum.global(),
                exponent: m.exponent.global(),
                mean: m.conv_mean.global_mut(),
                channel_exponent: m.channel_exponent.global_mut(),
                boxes,
            };
            factors::launch(&self.conv_means, "launching conv_means", p.blocks(), &p, taps.stream(), bound)?;
            after(factors::CONV_MEANS)?;
            let p = SplitTaps {
                kernel: target.kernel(),
                exponent: m.exponent.global(),
                channel_exponent: m.channel_exponent.global(),
                taps: m.taps.global_mut(),
                conv,
                columns: design.form().columns,
            };
            factors::launch(&self.split_taps, "launching split_taps", p.blocks(), &p, taps.stream(), bound)?;
            after(factors::SPLIT_TAPS)?;
            let p =
                ChannelsLast { input: target.input(), exponent: m.exponent.global(), rows: m.rows.global_mut(), conv };
            factors::launch(&self.channels_last, "launching channels_last", p.blocks(), &p, stream, bound)?;
            after(factors::CHANNELS_LAST)?;
            taps.join()?;
            let p = ImplicitGemm {
                rows: m.rows.global(),
                taps: m.taps.global(),
                channel_exponent: m.channel_exponent.global(),
                conv_mean: m.conv_mean.global(),
                mean: m.slice_mean.global_mut(),
                m2: m.slice_m2.global_mut(),
                scale: problem.scale_factor(),
                unreached: conv.unreached(),
                conv,
                work,
            };
            implicit_gemm::launch(&self.implicit_gemm, self.shared_bytes, &p, stream, bound)?;
            after(implicit_gemm::STAGE)?;
            // All slices of a row have its mean, and M2 about it: they add up, whatever their counts.
            let p = BatchNormReduce {
                slice_mean: m.slice_mean.global(),
                slice_m2: m.slice_m2.global(),
                mean: m.mean.global_mut(),
                m2: m.m2.global_mut(),
                rows: design.rows(),
                positions: work.position_tiles,
                tile_positions: 1,
                work,
            };
            batch_norm_reduce::launch(&self.batch_norm_reduce, &p, stream, bound)?;
            after(batch_norm_reduce::STAGE)?;
            let statistics = (m.batch_mean.global_mut(), m.batch_var.global_mut());
            let p = pool_finish::parameters::<f32>(
                target,
                (boxes.shape, boxes.options),
                (m.mean.global_mut(), m.m2.global()),
                statistics,
            );
            pool_finish::launch(&self.pool_finish, &p, stream, bound)?;
            after(pool_finish::STAGE)
        }
    }
}
