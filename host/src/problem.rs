//! The checked problem: shapes, options, every size formula, every refusal.
//!
//! ```text
//! z[b,c,p] = conv_bias[c] + Σ_ci Σ_k w[ci,c,k] · x[b,ci,i]            over i·stride + k·dilation − padding = p
//!                                                                     P = Nd·Nh·Nw positions, ci in c's group
//! y        = s·z                                                      statistics are those of y
//! out[b,c] = mean_p( γ[c]·(y − μ[c]) / √(σ²[c] + ε) + β[c] )          shape (B, Cout, 1, 1, 1)
//! ```
//!
//! μ and σ² are the batch's own (biased variance over B·P values) in training mode, and in eval mode
//! where there are no running statistics; else they are the running ones.
//! A [`Problem`] that exists is valid: later layers rely on its sizes not overflowing.

mod axis;
mod builder;
mod error;
mod mode;
mod shape;

pub(crate) use axis::{Axis, Phase};
pub use builder::ProblemBuilder;
pub use error::ProblemError;
pub use mode::{Mode, Momentum};
pub use shape::{Convolution, KernelShape, Shape5};

/// A valid problem: shapes and options. It owns every size formula.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    input: Shape5,
    kernel: KernelShape,
    convolution: Convolution,
    output_extents: [usize; 3],
    scale_factor: f64,
    eps: f64,
    mode: Mode,
    running_statistics: bool,
}

impl Problem {
    /// Starts a problem from its shapes; all options have PyTorch's defaults, and s is 1.
    pub fn builder(input: Shape5, kernel: KernelShape) -> ProblemBuilder {
        ProblemBuilder::new(input, kernel)
    }

    /// The flat case of images: `ConvTranspose2d`, `BatchNorm2d`, `AdaptiveAvgPool2d(1)`. Input (B, Cin, H, W), kernel
    /// (Cin, Cout / groups, Kh, Kw); depths are 1.
    ///
    /// ```
    /// use convt_bn_gap::{Device, Inputs, Plan, PlanOptions, Problem};
    /// use ndarray::Array4;
    /// // ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2)
    /// let builder = Problem::builder_2d([2, 4, 8, 8], [4, 3, 3, 3]).stride([2, 2]).padding([1, 1]);
    /// let problem = builder.output_padding([1, 1]).groups(2).build()?;
    /// assert_eq!(problem.output_extents(), [1, 16, 16]);
    ///
    /// let (x, w) = (Array4::<f32>::ones((2, 4, 8, 8)), Array4::ones((4, 3, 3, 3)));
    /// let mut plan = Plan::new(&problem, &Device::cpu(), PlanOptions::default())?;
    /// assert_eq!(plan.run(&Inputs::images(x.view(), w.view()))?.output.dim(), (2, 6, 1, 1, 1));
    /// # Ok::<(), convt_bn_gap::Error>(())
    /// ```
    pub fn builder_2d(input: [usize; 4], kernel: [usize; 4]) -> ProblemBuilder<2> {
        ProblemBuilder::new(Shape5::image(input), KernelShape::image(kernel))
    }

    /// The flat case of lines: `ConvTranspose1d`, `BatchNorm1d`, `AdaptiveAvgPool1d(1)`. Input (B, Cin, W), kernel
    /// (Cin, Cout / groups, Kw); depths and heights are 1.
    pub fn builder_1d(input: [usize; 3], kernel: [usize; 3]) -> ProblemBuilder<1> {
        ProblemBuilder::new(Shape5::line(input), KernelShape::line(kernel))
    }

    /// `(B, Cin, D, H, W)`.
    pub fn input(&self) -> Shape5 {
        self.input
    }

    /// `(Cin, Cout / groups, Kd, Kh, Kw)`.
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

    /// Stride, padding, output padding, dilation and groups.
    pub fn convolution(&self) -> &Convolution {
        &self.convolution
    }

    /// Cout.
    pub fn out_channels(&self) -> usize {
        self.kernel.out_channels * self.groups()
    }

    /// Groups of channels, each a convolution by itself.
    pub fn groups(&self) -> usize {
        // At least 1 and a divisor of Cin (`Convolution::check`).
        self.convolution.groups as usize
    }

    /// Channels of the input in one group.
    pub fn group_in_channels(&self) -> usize {
        self.in_channels() / self.groups()
    }

    /// Channels of the output in one group.
    pub fn group_out_channels(&self) -> usize {
        self.kernel.out_channels
    }

    /// Depth, height and width as the convolution walks them.
    pub(crate) fn axes(&self) -> [Axis; 3] {
        let (input, kernel, conv) = (self.input.spatial(), self.kernel.spatial(), &self.convolution);
        [0, 1, 2].map(|i| Axis {
            extent: input[i],
            taps: kernel[i],
            output: self.output_extents[i],
            stride: conv.stride[i],
            padding: conv.padding[i],
            dilation: conv.dilation[i],
        })
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

    /// Cin·(Cout / groups)·Kd·Kh·Kw.
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

    /// The same problem after `num_batches_tracked` batches, where that matters: with cumulative momentum.
    pub(crate) fn after_batches(&self, num_batches_tracked: u64) -> Problem {
        match self.mode {
            Mode::Train { momentum: Momentum::Cumulative { .. } } => {
                let momentum = Momentum::Cumulative { num_batches_tracked };
                Problem { mode: Mode::Train { momentum }, ..self.clone() }
            }
            _ => self.clone(),
        }
    }

    /// Whether `running_mean` and `running_var` are among the inputs.
    pub fn has_running_statistics(&self) -> bool {
        self.running_statistics
    }

    /// Whether μ and σ² are the batch's: in training, and in eval without running statistics.
    pub fn uses_batch_statistics(&self) -> bool {
        matches!(self.mode, Mode::Train { .. }) || !self.running_statistics
    }

    /// 2·B·Cin·(Cout / groups)·(D·H·W)·(Kd·Kh·Kw): what the convolution costs by its definition, nothing cut off.
    pub fn direct_flops(&self) -> u128 {
        // Each factor is below 2⁶⁰ (`check_size`), so the product is below 2¹²¹.
        2 * self.input_elements() as u128 * (self.group_out_channels() * self.taps()) as u128
    }
}

#[cfg(test)]
mod tests;
