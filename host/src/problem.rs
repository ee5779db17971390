//! The checked problem: shapes, options, every size formula, every refusal.
//!
//! ```text
//! z[b,c,p] = conv_bias[c] + Σ_ci Σ_k w[ci,c,k] · x[b,ci,p − k]        P = Nd·Nh·Nw positions
//! y        = s·z                                                      statistics are those of y
//! out[b,c] = mean_p( γ[c]·(y − μ[c]) / √(σ²[c] + ε) + β[c] )          shape (B, Cout, 1, 1, 1)
//! ```
//!
//! μ and σ² are the batch's own (biased variance over B·P values) in training mode, and in eval mode
//! where there are no running statistics; else they are the running ones.
//! A [`Problem`] that exists is valid: later layers rely on its sizes not overflowing.

mod shape;

use std::fmt;

use shape::{AXES, ConvOptions};
pub use shape::{KernelShape, Shape5};

/// How far running statistics move towards the batch's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Momentum {
    /// `running = (1 − f)·running + f·batch`, with f in [0, 1].
    Factor(f64),
    /// PyTorch's `momentum=None`: the average over all batches so far. The count is that *before* this batch.
    Cumulative {
        /// Batches seen before this one.
        num_batches_tracked: u64,
    },
}

impl Momentum {
    /// The weight of this batch: the factor, or `1 / (num_batches_tracked + 1)`.
    pub fn factor(self) -> f64 {
        match self {
            Momentum::Factor(factor) => factor,
            Momentum::Cumulative { num_batches_tracked } => 1.0 / (num_batches_tracked as f64 + 1.0),
        }
    }

    /// Whether the factor is one.
    ///
    /// # Errors
    /// [`ProblemError`] for a factor outside [0, 1].
    pub fn check(self) -> Result<(), ProblemError> {
        match self {
            Momentum::Factor(factor) => check_number("momentum", factor, (0.0..=1.0).contains(&factor), "from 0 to 1"),
            Momentum::Cumulative { .. } => Ok(()),
        }
    }
}

impl Default for Momentum {
    /// PyTorch's 0.1.
    fn default() -> Momentum {
        Momentum::Factor(0.1)
    }
}

/// Training or evaluation, as `Module.train()` and `Module.eval()`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mode {
    /// Normalise by the batch's statistics; running statistics, where given, are updated.
    Train {
        /// How they are updated.
        momentum: Momentum,
    },
    /// Normalise by the running statistics; by the batch's where there are none.
    Eval,
}

impl Default for Mode {
    fn default() -> Mode {
        Mode::Train { momentum: Momentum::default() }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Mode::Train { .. } => "train",
            Mode::Eval => "eval",
        })
    }
}

/// Why something is not a problem this library computes.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ProblemError {
    /// A tensor that is not five-dimensional.
    #[error("{tensor} has {found} dimensions; it must have 5")]
    Rank {
        /// `input` or `kernel`.
        tensor: &'static str,
        /// Its rank.
        found: usize,
    },
    /// An empty axis.
    #[error("{tensor}'s {axis} is 0; it must be at least 1")]
    ZeroExtent {
        /// `input` or `kernel`.
        tensor: &'static str,
        /// The axis.
        axis: &'static str,
    },
    /// Input and kernel disagree about Cin.
    #[error("input has {input} channels and kernel has {kernel} (its first extent); they must be equal")]
    ChannelMismatch {
        /// The input's.
        input: usize,
        /// The kernel's.
        kernel: usize,
    },
    /// A stride, dilation or groups below 1, or a negative padding.
    #[error("{option} is {found}; it must be at least {minimum}")]
    BelowMinimum {
        /// The option.
        option: &'static str,
        /// Its offending value.
        found: i64,
        /// The smallest allowed.
        minimum: i64,
    },
    /// PyTorch's rule for output_padding.
    #[error(
        "output_padding is {found} in {axis}; it must be smaller than the stride ({stride}) or the dilation ({dilation})"
    )]
    OutputPadding {
        /// The axis.
        axis: &'static str,
        /// The output_padding.
        found: i64,
        /// The stride of the axis.
        stride: i64,
        /// The dilation of the axis.
        dilation: i64,
    },
    /// Groups that do not divide Cin.
    #[error("groups is {groups}; it must divide the {in_channels} input channels")]
    Groups {
        /// The groups.
        groups: i64,
        /// Cin.
        in_channels: usize,
    },
    /// A convolution without output.
    #[error("the convolution's output would have {axis} {found}; it must be at least 1")]
    EmptyOutput {
        /// The axis.
        axis: &'static str,
        /// The computed extent.
        found: i128,
    },
    /// One value per channel has no variance.
    #[error(
        "{mode} mode normalises by the batch's statistics here and needs more than 1 value per channel; \
         batch size and output extents are all 1"
    )]
    OneValuePerChannel {
        /// The mode.
        mode: Mode,
    },
    /// A real-valued option outside its range.
    #[error("{option} is {found}; it must be {must_be}")]
    OutOfRange {
        /// The option.
        option: &'static str,
        /// Its value.
        found: f64,
        /// What is allowed.
        must_be: &'static str,
    },
    /// A size past 64 bits.
    #[error("{what} ({shape}) is too large: its size in bytes does not fit in 63 bits")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its shape.
        shape: String,
    },
    /// Valid in PyTorch; not computed by this library.
    #[error("{option} = {found} is not supported; only {supported} is")]
    Unsupported {
        /// The option.
        option: &'static str,
        /// Its value.
        found: String,
        /// What is supported.
        supported: String,
    },
}

/// A valid problem: shapes and options. It owns every size formula.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    input: Shape5,
    kernel: KernelShape,
    output_extents: [usize; 3],
    scale_factor: f64,
    eps: f64,
    mode: Mode,
    running_statistics: bool,
}

/// Collects what a [`Problem`] is made of; [`build`](ProblemBuilder::build) checks it.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct ProblemBuilder {
    input: Shape5,
    kernel: KernelShape,
    conv: ConvOptions,
    scale_factor: f64,
    eps: f64,
    mode: Mode,
    running_statistics: bool,
}

impl ProblemBuilder {
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

    /// Whether the inputs hold `running_mean` and `running_var`. Default false.
    pub fn running_statistics(mut self, given: bool) -> Self {
        self.running_statistics = given;
        self
    }

    /// Stride of the transposed convolution. Default 1, the only supported one.
    pub fn stride(mut self, stride: [i64; 3]) -> Self {
        self.conv.stride = stride;
        self
    }

    /// Padding. Default 0, the only supported one.
    pub fn padding(mut self, padding: [i64; 3]) -> Self {
        self.conv.padding = padding;
        self
    }

    /// Output padding. Default 0, the only supported one.
    pub fn output_padding(mut self, output_padding: [i64; 3]) -> Self {
        self.conv.output_padding = output_padding;
        self
    }

    /// Dilation. Default 1, the only supported one.
    pub fn dilation(mut self, dilation: [i64; 3]) -> Self {
        self.conv.dilation = dilation;
        self
    }

    /// Groups. Default 1, the only supported one.
    pub fn groups(mut self, groups: i64) -> Self {
        self.conv.groups = groups;
        self
    }

    /// Checks everything: first by PyTorch's rules, then against what is supported.
    ///
    /// # Errors
    /// The first refusal, by name, with what was found and what it must be.
    pub fn build(self) -> Result<Problem, ProblemError> {
        let ProblemBuilder { input, kernel, conv, scale_factor, eps, mode, running_statistics } = self;
        check_extents("input", ["batch size", "channels", AXES[0], AXES[1], AXES[2]], input.extents())?;
        check_extents("kernel", ["input channels", "output channels", AXES[0], AXES[1], AXES[2]], kernel.extents())?;
        if input.channels != kernel.in_channels {
            return Err(ProblemError::ChannelMismatch { input: input.channels, kernel: kernel.in_channels });
        }
        conv.check(&kernel)?;
        let output_extents = conv.output_extents(&input, &kernel)?;
        check_number("scale_factor", scale_factor, scale_factor.is_finite(), "finite")?;
        check_number("eps", eps, eps.is_finite() && eps >= 0.0, "finite and at least 0")?;
        if let Mode::Train { momentum } = mode {
            momentum.check()?;
        }
        conv.check_supported()?;

        check_size("input", &input.extents())?;
        check_size("kernel", &kernel.extents())?;
        let [d, h, w] = output_extents;
        check_size("the convolution's output", &[input.batch, kernel.out_channels, d, h, w])?;

        let problem = Problem { input, kernel, output_extents, scale_factor, eps, mode, running_statistics };
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

fn check_number(option: &'static str, found: f64, valid: bool, must_be: &'static str) -> Result<(), ProblemError> {
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

impl Problem {
    /// Starts a problem from its shapes; all options have PyTorch's defaults, and s is 1.
    pub fn builder(input: Shape5, kernel: KernelShape) -> ProblemBuilder {
        ProblemBuilder {
            input,
            kernel,
            conv: ConvOptions::default(),
            scale_factor: 1.0,
            eps: 1e-5,
            mode: Mode::default(),
            running_statistics: false,
        }
    }

    /// `(B, Cin, D, H, W)`.
    pub fn input(&self) -> Shape5 {
        self.input
    }

    /// `(Cin, Cout, Kd, Kh, Kw)`.
    pub fn kernel(&self) -> KernelShape {
        self.kernel
    }

    /// B.
    pub fn batch(&self) -> usize {
        self.input.batch
    }

    /// Cin.
    pub fn in_channels(&self) -> usize {
        self.input.channels
    }

    /// Cout.
    pub fn out_channels(&self) -> usize {
        self.kernel.out_channels
    }

    /// Kd·Kh·Kw.
    pub fn taps(&self) -> usize {
        self.kernel.spatial().iter().product()
    }

    /// D·H·W.
    pub fn input_volume(&self) -> usize {
        self.input.spatial().iter().product()
    }

    /// N: depth, height and width of the convolution's output.
    pub fn output_extents(&self) -> [usize; 3] {
        self.output_extents
    }

    /// P = Nd·Nh·Nw: positions of the convolution's output.
    pub fn positions(&self) -> usize {
        self.output_extents.iter().product()
    }

    /// B·P: how many values of a channel the batch statistics are taken over.
    pub fn values_per_channel(&self) -> usize {
        self.batch() * self.positions()
    }

    /// B·Cin·D·H·W.
    pub fn input_elements(&self) -> usize {
        self.input.extents().iter().product()
    }

    /// Cin·Cout·Kd·Kh·Kw.
    pub fn kernel_elements(&self) -> usize {
        self.kernel.extents().iter().product()
    }

    /// B·Cout·P: elements of the convolution's output, which is never stored.
    pub fn convolution_elements(&self) -> usize {
        self.out_channels() * self.values_per_channel()
    }

    /// B·Cout: elements of the result.
    pub fn output_elements(&self) -> usize {
        self.batch() * self.out_channels()
    }

    /// `(B, Cout, 1, 1, 1)`.
    pub fn output_shape(&self) -> [usize; 5] {
        [self.batch(), self.out_channels(), 1, 1, 1]
    }

    /// s.
    pub fn scale_factor(&self) -> f64 {
        self.scale_factor
    }

    /// ε.
    pub fn eps(&self) -> f64 {
        self.eps
    }

    /// Training or evaluation.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether `running_mean` and `running_var` are among the inputs.
    pub fn has_running_statistics(&self) -> bool {
        self.running_statistics
    }

    /// Whether μ and σ² are the batch's: in training, and in eval without running statistics.
    pub fn uses_batch_statistics(&self) -> bool {
        matches!(self.mode, Mode::Train { .. }) || !self.running_statistics
    }

    /// 2·B·Cin·Cout·(D·H·W)·(Kd·Kh·Kw): what the convolution costs by its definition.
    pub fn direct_flops(&self) -> u128 {
        // Each factor is below 2⁶⁰ (`check_size`), so the product is below 2¹²¹.
        2 * self.input_elements() as u128 * (self.out_channels() * self.taps()) as u128
    }
}

#[cfg(test)]
mod tests;
