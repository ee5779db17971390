//! Launching [`kernel_gpu::conv_transpose_moments`].

use cuda_std::Scalar;
use kernel_gpu::conv_shape::ConvOptions;
use kernel_gpu::conv_transpose_moments::{ConvTransposeMoments, FORMS};
use kernel_gpu::tile::POSITIONS;

use super::device::Bound;
use super::error::CudaError;
use super::module::Kernel;
use super::stream::RawStream;

/// The stage's name in measurements.
pub(super) const STAGE: &str = "conv_transpose_moments";

/// Puts form `form` of [`FORMS`], which is the kernel, on `stream`.
///
/// # Safety
/// `input` and `kernel` hold what `shape` says and are not written until the stream has passed this point; `mean` and `m2`
/// hold B·Cout·slices elements each that nothing else uses meanwhile.
pub(super) unsafe fn launch<T: Scalar>(
    (kernel, form): (&Kernel<ConvTransposeMoments<T>>, usize),
    parameters: &ConvTransposeMoments<T>,
    stream: RawStream,
    bound: &Bound<'_>,
) -> Result<(), CudaError> {
    let (tile, work) = (FORMS[form].tile, &parameters.work);
    // What the kernel takes from `work` must be this tile's division of this shape: else it would read past the stages.
    let (shape, options) = (&parameters.shape, &parameters.options);
    debug_assert_eq!(work.position_tiles, options.positions().div_ceil(u64::from(POSITIONS)));
    debug_assert!(FORMS[form].options || *options == ConvOptions::none(shape));
    let tiles = (shape.out_channels / options.groups.max(1)).div_ceil(tile.channels());
    debug_assert_eq!(work.channel_tiles, tiles * options.groups);
    let blocks = u32::try_from(work.items()).unwrap_or(u32::MAX).min(i32::MAX as u32);
    // SAFETY: the caller's promise on memory; `shape` and `work` come from one recipe, made for this form.
    unsafe { kernel.launch("launching conv_transpose_moments", blocks, parameters, stream, bound) }
}
