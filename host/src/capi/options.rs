//! The structs of the C ABI, checked: numbers that mean something else than what is offered are refused by name.

use std::ffi::c_int;

use super::{CONVT_BN_GAP_BAD_INPUT, Failure, guarded};
use crate::plan::{Algorithm, AlgorithmChoice, PlanOptions, Precision};
use crate::{DType, Device, Error, KernelShape, Mode, Momentum, Problem, ProblemError, Shape5};

/// The version of ConvtBnGapOptions and ConvtBnGapTensors that this header describes.
pub const CONVT_BN_GAP_OPTIONS_VERSION: u32 = 1;

/// f32, for ConvtBnGapOptions.dtype.
pub const CONVT_BN_GAP_F32: u32 = 0;
/// f16: IEEE binary16, as uint16_t.
pub const CONVT_BN_GAP_F16: u32 = 1;
/// bf16: the upper half of an f32, as uint16_t.
pub const CONVT_BN_GAP_BF16: u32 = 2;
/// f64.
pub const CONVT_BN_GAP_F64: u32 = 3;

/// The output in the input's type, for ConvtBnGapOptions.output_dtype.
pub const CONVT_BN_GAP_OUTPUT_AS_INPUT: u32 = 0;
/// The output in f32.
pub const CONVT_BN_GAP_OUTPUT_F32: u32 = 1;

/// A CUDA device, for ConvtBnGapOptions.device; tensors are in its memory.
pub const CONVT_BN_GAP_DEVICE_CUDA: u32 = 0;
/// This machine's processor; tensors are in its memory.
pub const CONVT_BN_GAP_DEVICE_CPU: u32 = 1;
/// The definition in f64, on this machine's processor.
pub const CONVT_BN_GAP_DEVICE_REFERENCE: u32 = 2;

/// What the library takes for best, for ConvtBnGapOptions.algorithm.
pub const CONVT_BN_GAP_ALGORITHM_AUTO: u32 = 0;
/// Energies of spectra.
pub const CONVT_BN_GAP_ALGORITHM_SPECTRAL: u32 = 1;
/// Matrix products.
pub const CONVT_BN_GAP_ALGORITHM_DIRECT: u32 = 2;
/// The definition.
pub const CONVT_BN_GAP_ALGORITHM_REFERENCE: u32 = 3;

/// The sizes of a problem. kernel (in_channels, out_channels / groups, kernel_d, kernel_h, kernel_w). Flat cases have depths, and
/// heights, of 1.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ConvtBnGapShape {
    /// B.
    pub batch_size: usize,
    /// Cin.
    pub in_channels: usize,
    /// Cout, of all groups.
    pub out_channels: usize,
    /// D.
    pub depth: usize,
    /// H.
    pub height: usize,
    /// W.
    pub width: usize,
    /// Kd.
    pub kernel_d: usize,
    /// Kh.
    pub kernel_h: usize,
    /// Kw.
    pub kernel_w: usize,
}

/// Everything else. convt_bn_gap_options_init sets PyTorch's defaults; change what differs.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ConvtBnGapOptions {
    /// CONVT_BN_GAP_OPTIONS_VERSION of the header that the caller was compiled with.
    pub version: u32,
    /// CONVT_BN_GAP_F32, _F16, _BF16 or _F64: input, kernel, conv_bias and output. bn_weight, bn_bias, running_mean and
    /// running_var are f32, or f64 with _F64.
    pub dtype: u32,
    /// CONVT_BN_GAP_OUTPUT_AS_INPUT or CONVT_BN_GAP_OUTPUT_F32.
    pub output_dtype: u32,
    /// CONVT_BN_GAP_DEVICE_CUDA, _CPU or _REFERENCE.
    pub device: u32,
    /// Which CUDA device; -1 for the one that is current on the calling thread.
    pub device_ordinal: i32,
    /// CONVT_BN_GAP_ALGORITHM_AUTO, _SPECTRAL, _DIRECT or _REFERENCE.
    pub algorithm: u32,
    /// 0, or 1 for as accurate as the algorithm can be.
    pub strict: u32,
    /// 0 for training, 1 for eval mode.
    pub eval: u32,
    /// 1 where running_mean and running_var are given: normalised by in eval mode, moved in training.
    pub running_statistics: u32,
    /// 1 for PyTorch's momentum=None: the average over all batches, by num_batches_tracked.
    pub cumulative_momentum: u32,
    /// Along depth, height, width; as the three below.
    pub stride: [i64; 3],
    /// Cut off at either end.
    pub padding: [i64; 3],
    /// Added at the far end.
    pub output_padding: [i64; 3],
    /// Between taps.
    pub dilation: [i64; 3],
    /// Groups of channels.
    pub groups: i64,
    /// Multiplies the convolution's output.
    pub scale_factor: f64,
    /// Added to the variance.
    pub eps: f64,
    /// Weight of the batch in the running statistics.
    pub momentum: f64,
    /// Bytes of workspace that the spectral algorithm and, on a GPU, the direct one on tensor cores may take; 0 for the library's own
    /// bound.
    pub workspace_budget: u64,
}

/// Sets PyTorch's defaults: f32 on the current CUDA device, training, stride 1, scale 1, eps 1e-5, momentum 0.1.
///
/// # Safety
/// `options` points to a ConvtBnGapOptions, or is NULL, which is refused.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn convt_bn_gap_options_init(options: *mut ConvtBnGapOptions) -> c_int {
    guarded(|| {
        // SAFETY: the caller's promise; null is told apart.
        let options = unsafe { options.as_mut() }.ok_or_else(|| refused("options", "a null pointer", "a struct"))?;
        *options = ConvtBnGapOptions {
            version: CONVT_BN_GAP_OPTIONS_VERSION,
            dtype: CONVT_BN_GAP_F32,
            output_dtype: CONVT_BN_GAP_OUTPUT_AS_INPUT,
            device: CONVT_BN_GAP_DEVICE_CUDA,
            device_ordinal: -1,
            algorithm: CONVT_BN_GAP_ALGORITHM_AUTO,
            strict: 0,
            eval: 0,
            running_statistics: 0,
            cumulative_momentum: 0,
            stride: [1; 3],
            padding: [0; 3],
            output_padding: [0; 3],
            dilation: [1; 3],
            groups: 1,
            scale_factor: 1.0,
            eps: 1e-5,
            momentum: 0.1,
            workspace_budget: 0,
        };
        Ok(())
    })
}

/// An argument that is none of what it must be.
pub(super) fn refused(what: &str, found: impl std::fmt::Display, must_be: &str) -> Failure {
    Failure { code: CONVT_BN_GAP_BAD_INPUT, sentence: format!("{what} is {found}; it must be {must_be}") }
}

/// The meaning of number `found` of an option.
fn one_of<V: Copy>(option: &str, found: u32, meanings: &[V], must_be: &str) -> Result<V, Failure> {
    meanings.get(found as usize).copied().ok_or_else(|| refused(option, found, must_be))
}

impl ConvtBnGapOptions {
    pub(super) fn check_version(&self) -> Result<(), Failure> {
        match self.version {
            CONVT_BN_GAP_OPTIONS_VERSION => Ok(()),
            other => Err(refused("the options' version", other, "1: convt_bn_gap_options_init sets it")),
        }
    }

    pub(super) fn dtype(&self) -> Result<DType, Failure> {
        let dtypes = [DType::F32, DType::F16, DType::BF16, DType::F64];
        one_of("dtype", self.dtype, &dtypes, "0 (f32), 1 (f16), 2 (bf16) or 3 (f64)")
    }

    /// Of the output, for elements of `dtype`.
    pub(super) fn output_dtype(&self, dtype: DType) -> Result<DType, Failure> {
        one_of("output_dtype", self.output_dtype, &[dtype, DType::F32], "0 (the input's) or 1 (f32)")
    }

    pub(super) fn device(&self) -> Result<Device, Failure> {
        let open: fn(i32) -> Result<Device, Error> = one_of(
            "device",
            self.device,
            &[cuda as fn(i32) -> _, |_| Ok(Device::cpu()), |_| Ok(Device::reference())],
            "0 (CUDA), 1 (CPU) or 2 (reference)",
        )?;
        if self.device_ordinal < -1 {
            return Err(refused(
                "device_ordinal",
                self.device_ordinal,
                "-1 for the current device, or a device's number",
            ));
        }
        Ok(open(self.device_ordinal)?)
    }

    pub(super) fn plan_options(&self) -> Result<PlanOptions, Failure> {
        let force = AlgorithmChoice::Force;
        let algorithms =
            [AlgorithmChoice::Auto, force(Algorithm::Spectral), force(Algorithm::Direct), force(Algorithm::Reference)];
        let must_be = "0 (auto), 1 (spectral), 2 (direct) or 3 (reference)";
        Ok(PlanOptions {
            algorithm: one_of("algorithm", self.algorithm, &algorithms, must_be)?,
            precision: one_of("strict", self.strict, &[Precision::Default, Precision::Strict], "0 or 1")?,
            workspace_budget: (self.workspace_budget != 0).then_some(self.workspace_budget),
        })
    }

    pub(super) fn problem(&self, shape: &ConvtBnGapShape) -> Result<Problem, Failure> {
        let momentum = match one_of("cumulative_momentum", self.cumulative_momentum, &[false, true], "0 or 1")? {
            true => Momentum::Cumulative { num_batches_tracked: 0 },
            false => Momentum::Factor(self.momentum),
        };
        momentum.check().map_err(Error::from)?;
        let eval = one_of("eval", self.eval, &[false, true], "0 or 1")?;
        let running = one_of("running_statistics", self.running_statistics, &[false, true], "0 or 1")?;
        let builder = Problem::builder(shape.input(), shape.kernel(self.groups)?)
            .stride(self.stride)
            .padding(self.padding)
            .output_padding(self.output_padding)
            .dilation(self.dilation)
            .groups(self.groups)
            .scale_factor(self.scale_factor)
            .eps(self.eps)
            .mode(if eval { Mode::Eval } else { Mode::Train { momentum } })
            .running_statistics(running);
        Ok(builder.build().map_err(Error::from)?)
    }
}

/// CUDA device `ordinal`, or the one that is current on this thread.
#[cfg(feature = "cuda")]
fn cuda(ordinal: i32) -> Result<Device, Error> {
    let current = || crate::cuda::CudaDevice::current_ordinal().map(|ordinal| ordinal as usize);
    Device::cuda(usize::try_from(ordinal).or_else(|_| current())?)
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: i32) -> Result<Device, Error> {
    Device::cuda(0)
}

impl ConvtBnGapShape {
    fn input(&self) -> Shape5 {
        Shape5 {
            batch: self.batch_size,
            channels: self.in_channels,
            depth: self.depth,
            height: self.height,
            width: self.width,
        }
    }

    /// With the output channels of one of so many groups; a number of groups that is none is refused with the other options.
    fn kernel(&self, groups: i64) -> Result<KernelShape, Failure> {
        let divisor = usize::try_from(groups).unwrap_or(1).max(1);
        if !self.out_channels.is_multiple_of(divisor) {
            let refused = ProblemError::OutputGroups { groups, out_channels: self.out_channels };
            return Err(Error::from(refused).into());
        }
        Ok(KernelShape {
            in_channels: self.in_channels,
            out_channels: self.out_channels / divisor,
            depth: self.kernel_d,
            height: self.kernel_h,
            width: self.kernel_w,
        })
    }
}
