//! The direct way on a GPU's CUDA cores: which form of the kernel, and how the work is dealt to its blocks.
//!
//! ```text
//! items      = B · groups · channel tiles · slices       one block computes one item, see kernel_gpu::work
//! workspace  = B·Cout·slices·16 (moments of the slices) + B·Cout·16 (of the rows) + Cout·16 (batch statistics) bytes
//! ```
//!
//! Pure: the shape, the element type and the precision decide. The device does not, so every GPU computes the same bits
//! with the same PTX.

use kernel_gpu::conv_shape::{ConvOptions, ConvShape, MAX_EXTENT};
use kernel_gpu::conv_transpose_moments::{
    FORM_F32_NARROW, FORM_F32_STRICT_NARROW, FORM_F32_STRICT_WIDE, FORM_F32_WIDE, FORM_F64_NARROW, FORM_F64_WIDE,
    FORMS, Form,
};
use kernel_gpu::tile::POSITIONS;
use kernel_gpu::work::Work;

use super::Precision;
use crate::Error;
use crate::element::DType;
use crate::problem::Problem;

/// Work items past which slices grow longer than one tile. An H100 runs 132 blocks at once: this many leave its last round
/// under one part in a hundred of the whole, and bound the workspace of the slices at 32 MiB beside that of the rows.
const MAX_ITEMS: u64 = 16_384;

/// How a GPU computes the convolution's moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CudaDirect {
    /// Which compiled form, as an index of [`FORMS`].
    pub form: usize,
    /// The extents, as the kernel takes them.
    pub shape: ConvShape,
    /// What the convolution has beside.
    pub options: ConvOptions,
    /// How the output is divided among blocks.
    pub work: Work,
}

impl CudaDirect {
    /// Chooses the form and divides the work.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where an extent is past what the kernels count in 32 bits.
    pub fn design(problem: &Problem, dtype: DType, precision: Precision) -> Result<Self, Error> {
        let (shape, options) = (conv_shape(problem)?, conv_options(problem)?);
        let (wide, narrow) = forms(dtype, precision);
        let channels = shape.out_channels / options.groups.max(1);
        let form = if channels > narrow.tile.channels() { wide } else { narrow };
        let channel_tiles = channels.div_ceil(form.tile.channels()).saturating_mul(options.groups);
        let work = Work::split(options.positions(), u64::from(POSITIONS), channel_tiles, shape.batch, MAX_ITEMS);
        let form = FORMS.iter().position(|f| f.spec.name == form.spec.name).unwrap_or(0);
        // The forms with options follow the others.
        let form = if options == ConvOptions::none(&shape) { form } else { form + FORMS.len() / 2 };
        Ok(Self { form, shape, options, work })
    }

    /// The compiled form.
    pub fn form(&self) -> Form {
        FORMS[self.form]
    }

    /// B·Cout.
    pub fn rows(&self) -> u64 {
        u64::from(self.shape.batch) * u64::from(self.shape.out_channels)
    }

    /// Bytes beside inputs and outputs.
    pub fn workspace_bytes(&self) -> u64 {
        let values = self.rows().saturating_mul(self.work.slices + 1) + u64::from(self.shape.out_channels);
        values.saturating_mul(16)
    }

    /// Multiplications and additions of the convolution as it is computed, padding of the tiles left out.
    pub fn flops(&self) -> u64 {
        let depth = self.shape.depth() / u64::from(self.options.groups.max(1));
        2u64.saturating_mul(self.rows()).saturating_mul(self.options.positions()).saturating_mul(depth)
    }
}

/// The extents as kernels take them.
///
/// # Errors
/// [`Error::Unsupported`] where one is past what the kernels count in 32 bits.
pub(super) fn conv_shape(problem: &Problem) -> Result<ConvShape, Error> {
    let (x, w) = (problem.input(), problem.kernel());
    extent("the number of taps", problem.taps())?;
    Ok(ConvShape {
        batch: extent("batch", x.batch)?,
        in_channels: extent("in_channels", x.channels)?,
        out_channels: extent("out_channels", problem.out_channels())?,
        input: [extent("depth", x.depth)?, extent("height", x.height)?, extent("width", x.width)?],
        kernel: [extent("kernel_d", w.depth)?, extent("kernel_h", w.height)?, extent("kernel_w", w.width)?],
    })
}

/// What the convolution has beside its extents, as kernels take it.
///
/// # Errors
/// As [`conv_shape`].
pub(super) fn conv_options(problem: &Problem) -> Result<ConvOptions, Error> {
    let convolution = problem.convolution();
    let three = |option, values: [i64; 3]| -> Result<[u32; 3], Error> {
        let [d, h, w] = values.map(|value| usize::try_from(value).unwrap_or(usize::MAX));
        Ok([extent(option, d)?, extent(option, h)?, extent(option, w)?])
    };
    let (x, w) = (problem.input().spatial(), problem.kernel().spatial());
    let (stride, dilation) = (three("stride", convolution.stride)?, three("dilation", convolution.dilation)?);
    for axis in 0..3 {
        // Where the last element comes to by the last tap, before padding is cut off.
        let reach = (x[axis] - 1).saturating_mul(stride[axis] as usize);
        extent("output's extent", reach.saturating_add((w[axis] - 1).saturating_mul(dilation[axis] as usize)))?;
    }
    let [d, h, w] = problem.output_extents();
    Ok(ConvOptions {
        stride,
        padding: three("padding", convolution.padding)?,
        dilation,
        output: [extent("output's depth", d)?, extent("output's height", h)?, extent("output's width", w)?],
        groups: extent("groups", usize::try_from(convolution.groups).unwrap_or(usize::MAX))?,
    })
}

/// The wide and the narrow form for an element type and a precision.
fn forms(dtype: DType, precision: Precision) -> (Form, Form) {
    match (dtype, precision) {
        (DType::F64, _) => (FORM_F64_WIDE, FORM_F64_NARROW),
        (_, Precision::Strict) => (FORM_F32_STRICT_WIDE, FORM_F32_STRICT_NARROW),
        (_, Precision::Default) => (FORM_F32_WIDE, FORM_F32_NARROW),
    }
}

/// An extent that the kernels can count.
fn extent(option: &'static str, found: usize) -> Result<u32, Error> {
    match u32::try_from(found) {
        Ok(extent) if extent <= MAX_EXTENT => Ok(extent),
        _ => Err(Error::Unsupported {
            option,
            found: found.to_string(),
            device: "cuda".to_owned(),
            supported: "at most 2^30 is",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::{KernelShape, Shape5};

    fn design(x: [usize; 5], out_channels: usize, k: [usize; 3], dtype: DType) -> Result<CudaDirect, Error> {
        let input = Shape5 { batch: x[0], channels: x[1], depth: x[2], height: x[3], width: x[4] };
        let kernel = KernelShape { in_channels: x[1], out_channels, depth: k[0], height: k[1], width: k[2] };
        CudaDirect::design(&Problem::builder(input, kernel).build().unwrap(), dtype, Precision::Default)
    }

    #[test]
    fn kernelbench_77_has_one_tile_a_slice() {
        let direct = design([16, 64, 16, 32, 32], 128, [5, 5, 5], DType::F32).unwrap();
        assert_eq!(direct.form().spec.name, "conv_transpose_moments_f32_wide");
        assert_eq!((direct.work.items(), direct.work.tiles_per_slice), (3248, 1));
        assert_eq!(direct.workspace_bytes(), 16 * (16 * 128 * 204 + 128));
    }

    #[test]
    fn the_form_follows_channels_type_and_precision() {
        let name = |cout, dtype| design([2, 3, 4, 4, 4], cout, [3, 3, 3], dtype).unwrap().form().spec.name;
        assert_eq!(name(32, DType::F32), "conv_transpose_moments_f32_narrow");
        assert_eq!(name(33, DType::F32), "conv_transpose_moments_f32_wide");
        assert_eq!(name(16, DType::F64), "conv_transpose_moments_f64_narrow");
        assert_eq!(name(17, DType::F64), "conv_transpose_moments_f64_wide");
        assert_eq!(forms(DType::F32, Precision::Strict).0.spec.name, "conv_transpose_moments_f32_strict_wide");
    }

    #[test]
    fn large_volumes_get_longer_slices_not_more_workspace() {
        let direct = design([1, 1, 1024, 1024, 1024], 1, [3, 3, 3], DType::F32).unwrap();
        assert!(direct.work.items() <= MAX_ITEMS && direct.work.tiles_per_slice > 500);
        assert!(direct.workspace_bytes() < 1 << 20);
    }

    #[test]
    fn extents_past_32_bits_are_refused_by_name() {
        let refused = design([1, 1, 1, 1, (1 << 30) + 1], 1, [1, 1, 1], DType::F32).unwrap_err().to_string();
        assert_eq!(refused, "width = 1073741825 is not supported on the cuda device; at most 2^30 is");
    }
}
