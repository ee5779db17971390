//! Collects what a problem is made of, and checks it: by PyTorch's rules, then that every size can be counted.

use super::shape::{AXES, Convolution};
use super::{KernelShape, Mode, Problem, ProblemError, Shape5};

/// Collects what a [`Problem`] is made of; [`build`](ProblemBuilder::build) checks it.
///
/// `N` is the number of spatial axes that the options speak of: 3, or 2 and 1 for the flat cases
/// ([`Problem::builder_2d`], [`Problem::builder_1d`]), whose outer axes have extent 1.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct ProblemBuilder<const N: usize = 3> {
    input: Shape5,
    kernel: KernelShape,
    convolution: Convolution,
    scale_factor: f64,
    eps: f64,
    mode: Mode,
    running_statistics: bool,
}

/// `values` for the last N axes, `neutral` for those before.
fn innermost<const N: usize>(neutral: i64, values: [i64; N]) -> [i64; 3] {
    const { assert!(N >= 1 && N <= 3, "a convolution has one to three spatial axes") };
    let mut all = [neutral; 3];
    all[3 - N..].copy_from_slice(&values);
    all
}

impl<const N: usize> ProblemBuilder<N> {
    pub(super) fn new(input: Shape5, kernel: KernelShape) -> Self {
        Self {
            input,
            kernel,
            convolution: Convolution::default(),
            scale_factor: 1.0,
            eps: 1e-5,
            mode: Mode::default(),
            running_statistics: false,
        }
    }

    /// s, by which the convolution's output is multiplied. Default 1.
    pub fn scale_factor(mut self, scale_factor: f64) -> Self {
        self.scale_factor = scale_factor;
        self
    }

    /// ε, added to the variance. Default 1e-5.
    pub fn eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }

    /// Training or evaluation. Default training with momentum 0.1.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Whether the inputs hold `running_mean` and `running_var`. Default false: PyTorch's `track_running_stats=False`.
    pub fn running_statistics(mut self, given: bool) -> Self {
        self.running_statistics = given;
        self
    }

    /// Output positions from one input element's copy of the kernel to the next's. Default 1.
    pub fn stride(mut self, stride: [i64; N]) -> Self {
        self.convolution.stride = innermost(1, stride);
        self
    }

    /// Output positions cut off at either end. Default 0.
    pub fn padding(mut self, padding: [i64; N]) -> Self {
        self.convolution.padding = innermost(0, padding);
        self
    }

    /// Output positions added at the far end. Default 0.
    pub fn output_padding(mut self, output_padding: [i64; N]) -> Self {
        self.convolution.output_padding = innermost(0, output_padding);
        self
    }

    /// Output positions from one tap to the next. Default 1.
    pub fn dilation(mut self, dilation: [i64; N]) -> Self {
        self.convolution.dilation = innermost(1, dilation);
        self
    }

    /// Groups, each of Cin / groups input channels and as many output channels as the kernel's second extent. Default 1.
    pub fn groups(mut self, groups: i64) -> Self {
        self.convolution.groups = groups;
        self
    }

    /// Checks everything.
    ///
    /// # Errors
    /// The first refusal, by name, with what was found and what it must be.
    pub fn build(self) -> Result<Problem, ProblemError> {
        let Self { input, kernel, convolution, scale_factor, eps, mode, running_statistics } = self;
        check_extents("input", ["batch size", "channels", AXES[0], AXES[1], AXES[2]], input.extents())?;
        check_extents("kernel", ["input channels", "output channels", AXES[0], AXES[1], AXES[2]], kernel.extents())?;
        if input.channels != kernel.in_channels {
            return Err(ProblemError::ChannelMismatch { input: input.channels, kernel: kernel.in_channels });
        }
        convolution.check(&kernel)?;
        let output_extents = convolution.output_extents(&input, &kernel)?;
        check_number("scale_factor", scale_factor, scale_factor.is_finite(), "finite")?;
        check_number("eps", eps, eps.is_finite() && eps >= 0.0, "finite and at least 0")?;
        if let Mode::Train { momentum } = mode {
            momentum.check()?;
        }

        check_size("input", &input.extents())?;
        check_size("kernel", &kernel.extents())?;
        let problem =
            Problem { input, kernel, convolution, output_extents, scale_factor, eps, mode, running_statistics };
        // Groups divide Cin, so that there are no more output channels than the kernel has elements.
        let [d, h, w] = output_extents;
        check_size("the convolution's output", &[input.batch, problem.out_channels(), d, h, w])?;
        if problem.uses_batch_statistics() && problem.values_per_channel() == 1 {
            return Err(ProblemError::OneValuePerChannel { mode });
        }
        Ok(problem)
    }
}

fn check_extents(tensor: &'static str, axes: [&'static str; 5], extents: [usize; 5]) -> Result<(), ProblemError> {
    match axes.into_iter().zip(extents).find(|&(_, extent)| extent == 0) {
        Some((axis, _)) => Err(ProblemError::ZeroExtent { tensor, axis }),
        None => Ok(()),
    }
}

pub(super) fn check_number(
    option: &'static str,
    found: f64,
    valid: bool,
    must_be: &'static str,
) -> Result<(), ProblemError> {
    if valid { Ok(()) } else { Err(ProblemError::OutOfRange { option, found, must_be }) }
}

/// Bytes as `f64` must stay below 2⁶³, what an allocation (and an `ndarray`) can have. Every other
/// product of the problem divides one of the three that are checked.
fn check_size(what: &'static str, extents: &[usize]) -> Result<(), ProblemError> {
    let bytes = extents.iter().try_fold(size_of::<f64>(), |product, &extent| product.checked_mul(extent));
    match bytes {
        Some(bytes) if isize::try_from(bytes).is_ok() => Ok(()),
        _ => {
            let shape = extents.iter().map(usize::to_string).collect::<Vec<_>>().join("x");
            Err(ProblemError::TooLarge { what, shape })
        }
    }
}
