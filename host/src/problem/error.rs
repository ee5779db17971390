//! Every refusal of a problem, each with its numbers.

use super::Mode;

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
    /// Groups that do not divide Cout, where that is given for all groups.
    #[error("groups is {groups}; it must divide the {out_channels} output channels")]
    OutputGroups {
        /// The groups.
        groups: i64,
        /// Cout.
        out_channels: usize,
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
}
