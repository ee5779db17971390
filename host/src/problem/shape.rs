//! Shapes as PyTorch stores them, and the extents of a transposed convolution's output.
//!
//! `out = (in − 1)·stride − 2·padding + dilation·(k − 1) + output_padding + 1`, per axis.

use std::fmt;

use super::ProblemError;

/// Names of the spatial axes, in storage order.
pub(super) const AXES: [&str; 3] = ["depth", "height", "width"];

/// The shape of an input: `(B, Cin, D, H, W)`, C order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape5 {
    /// B, samples.
    pub batch: usize,
    /// Cin, channels of a sample.
    pub channels: usize,
    /// D.
    pub depth: usize,
    /// H.
    pub height: usize,
    /// W.
    pub width: usize,
}

/// The shape of a transposed convolution's weight: `(Cin, Cout / groups, Kd, Kh, Kw)`, C order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KernelShape {
    /// Cin, channels of the input.
    pub in_channels: usize,
    /// Cout / groups, channels of the output in one group.
    pub out_channels: usize,
    /// Kd.
    pub depth: usize,
    /// Kh.
    pub height: usize,
    /// Kw.
    pub width: usize,
}

impl Shape5 {
    /// A batch of images, (B, Cin, H, W): depth is 1.
    pub const fn image([batch, channels, height, width]: [usize; 4]) -> Shape5 {
        Shape5 { batch, channels, depth: 1, height, width }
    }

    /// A batch of lines, (B, Cin, W): depth and height are 1.
    pub const fn line([batch, channels, width]: [usize; 3]) -> Shape5 {
        Shape5 { batch, channels, depth: 1, height: 1, width }
    }

    /// All five extents, in storage order.
    pub const fn extents(&self) -> [usize; 5] {
        [self.batch, self.channels, self.depth, self.height, self.width]
    }

    /// Depth, height and width.
    pub const fn spatial(&self) -> [usize; 3] {
        [self.depth, self.height, self.width]
    }
}

impl KernelShape {
    /// A kernel for images, (Cin, Cout / groups, Kh, Kw): depth is 1.
    pub const fn image([in_channels, out_channels, height, width]: [usize; 4]) -> KernelShape {
        KernelShape { in_channels, out_channels, depth: 1, height, width }
    }

    /// A kernel for lines, (Cin, Cout / groups, Kw): depth and height are 1.
    pub const fn line([in_channels, out_channels, width]: [usize; 3]) -> KernelShape {
        KernelShape { in_channels, out_channels, depth: 1, height: 1, width }
    }

    /// All five extents, in storage order.
    pub const fn extents(&self) -> [usize; 5] {
        [self.in_channels, self.out_channels, self.depth, self.height, self.width]
    }

    /// Depth, height and width.
    pub const fn spatial(&self) -> [usize; 3] {
        [self.depth, self.height, self.width]
    }
}

impl TryFrom<&[usize]> for Shape5 {
    type Error = ProblemError;

    fn try_from(extents: &[usize]) -> Result<Shape5, ProblemError> {
        let [batch, channels, depth, height, width] = rank5("input", extents)?;
        Ok(Shape5 { batch, channels, depth, height, width })
    }
}

impl TryFrom<&[usize]> for KernelShape {
    type Error = ProblemError;

    fn try_from(extents: &[usize]) -> Result<KernelShape, ProblemError> {
        let [in_channels, out_channels, depth, height, width] = rank5("kernel", extents)?;
        Ok(KernelShape { in_channels, out_channels, depth, height, width })
    }
}

fn rank5(tensor: &'static str, extents: &[usize]) -> Result<[usize; 5], ProblemError> {
    extents.try_into().map_err(|_| ProblemError::Rank { tensor, found: extents.len() })
}

impl fmt::Display for Shape5 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_extents(f, &self.extents())
    }
}

impl fmt::Display for KernelShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_extents(f, &self.extents())
    }
}

fn write_extents(f: &mut fmt::Formatter<'_>, extents: &[usize]) -> fmt::Result {
    let text: Vec<String> = extents.iter().map(usize::to_string).collect();
    f.pad(&text.join("x"))
}

/// The options of a transposed convolution, per axis (depth, height, width).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Convolution {
    /// At least 1.
    pub stride: [i64; 3],
    /// At least 0.
    pub padding: [i64; 3],
    /// At least 0, and below the stride or the dilation.
    pub output_padding: [i64; 3],
    /// At least 1.
    pub dilation: [i64; 3],
    /// At least 1; divides Cin.
    pub groups: i64,
}

impl Default for Convolution {
    fn default() -> Convolution {
        Convolution { stride: [1; 3], padding: [0; 3], output_padding: [0; 3], dilation: [1; 3], groups: 1 }
    }
}

impl Convolution {
    /// PyTorch's own rules.
    ///
    /// # Errors
    /// Whatever PyTorch would refuse: values below their minimum, an `output_padding` that is neither
    /// below the stride nor below the dilation, groups that do not divide Cin.
    pub(super) fn check(&self, kernel: &KernelShape) -> Result<(), ProblemError> {
        at_least("stride", 1, &self.stride)?;
        at_least("padding", 0, &self.padding)?;
        at_least("output_padding", 0, &self.output_padding)?;
        at_least("dilation", 1, &self.dilation)?;
        at_least("groups", 1, &[self.groups])?;
        for (i, axis) in AXES.into_iter().enumerate() {
            let (found, stride, dilation) = (self.output_padding[i], self.stride[i], self.dilation[i]);
            if found >= stride && found >= dilation {
                return Err(ProblemError::OutputPadding { axis, found, stride, dilation });
            }
        }
        // Positive, as checked above.
        if !(kernel.in_channels as u64).is_multiple_of(self.groups.unsigned_abs()) {
            return Err(ProblemError::Groups { groups: self.groups, in_channels: kernel.in_channels });
        }
        Ok(())
    }

    /// Extents of the convolution's output.
    ///
    /// # Errors
    /// An extent below 1, or past what a `usize` holds.
    pub(super) fn output_extents(&self, input: &Shape5, kernel: &KernelShape) -> Result<[usize; 3], ProblemError> {
        let mut extents = [0; 3];
        for (i, axis) in AXES.into_iter().enumerate() {
            // Every factor is below 2⁶⁴, so each term is below 2¹²⁸: only the saturation could differ
            // from the true value, and a saturated extent is refused as too large.
            let (n, k) = (input.spatial()[i] as i128, kernel.spatial()[i] as i128);
            let extent = (n - 1)
                .saturating_mul(i128::from(self.stride[i]))
                .saturating_sub(2 * i128::from(self.padding[i]))
                .saturating_add((k - 1).saturating_mul(i128::from(self.dilation[i])))
                .saturating_add(i128::from(self.output_padding[i]) + 1);
            if extent < 1 {
                return Err(ProblemError::EmptyOutput { axis, found: extent });
            }
            extents[i] = usize::try_from(extent).map_err(|_| ProblemError::TooLarge {
                what: "an extent of the convolution's output",
                shape: extent.to_string(),
            })?;
        }
        Ok(extents)
    }

    /// The first option, by name, that is not at its default; none where all are. Those come first that rule most ways out.
    pub fn first_set(&self) -> Option<(&'static str, String)> {
        let default = Convolution::default();
        let triples = [
            ("padding", self.padding, default.padding),
            ("dilation", self.dilation, default.dilation),
            ("stride", self.stride, default.stride),
            ("output_padding", self.output_padding, default.output_padding),
        ];
        let list = |values: [i64; 3]| values.map(|value| value.to_string()).join(",");
        let set = triples.into_iter().find(|(_, found, default)| found != default);
        set.map(|(option, found, _)| (option, list(found)))
            .or_else(|| (self.groups != default.groups).then(|| ("groups", self.groups.to_string())))
    }
}

fn at_least(option: &'static str, minimum: i64, values: &[i64]) -> Result<(), ProblemError> {
    match values.iter().find(|&&value| value < minimum) {
        Some(&found) => Err(ProblemError::BelowMinimum { option, found, minimum }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cube(batch: usize, channels: usize, n: usize) -> Shape5 {
        Shape5 { batch, channels, depth: n, height: n, width: n }
    }

    fn kernel(in_channels: usize, k: [usize; 3]) -> KernelShape {
        KernelShape { in_channels, out_channels: 4, depth: k[0], height: k[1], width: k[2] }
    }

    /// Extents that PyTorch 2.11 gave for the golden cases `everything`, `stride2` and `padding`.
    #[test]
    fn output_extents_are_pytorchs() {
        let options = Convolution {
            stride: [2, 1, 3],
            padding: [1, 2, 0],
            output_padding: [1, 0, 2],
            dilation: [1, 2, 2],
            groups: 2,
        };
        let input = Shape5 { batch: 2, channels: 6, depth: 5, height: 6, width: 7 };
        let weight = kernel(6, [3, 4, 2]);
        options.check(&weight).unwrap();
        assert_eq!(options.output_extents(&input, &weight), Ok([10, 8, 23]));

        let strided = Convolution { stride: [2; 3], ..Default::default() };
        assert_eq!(strided.output_extents(&cube(1, 1, 4), &kernel(1, [3; 3])), Ok([9; 3]));
        let dilated = Convolution { dilation: [2; 3], ..Default::default() };
        assert_eq!(dilated.output_extents(&cube(1, 1, 4), &kernel(1, [3; 3])), Ok([8; 3]));
        let padded = Convolution { padding: [1; 3], ..Default::default() };
        assert_eq!(padded.output_extents(&cube(1, 1, 4), &kernel(1, [3; 3])), Ok([4; 3]));
    }

    #[test]
    fn an_output_must_have_an_extent() {
        let padded = Convolution { padding: [0, 3, 0], ..Default::default() };
        let refused = padded.output_extents(&cube(1, 1, 4), &kernel(1, [3; 3]));
        assert_eq!(refused, Err(ProblemError::EmptyOutput { axis: "height", found: 0 }));
    }

    #[test]
    fn extremes_saturate_instead_of_wrapping() {
        let input = cube(1, 1, usize::MAX);
        let huge = Convolution { stride: [i64::MAX; 3], dilation: [i64::MAX; 3], ..Default::default() };
        let refused = huge.output_extents(&input, &kernel(1, [usize::MAX; 3]));
        assert!(matches!(refused, Err(ProblemError::TooLarge { .. })), "{refused:?}");
        let padded = Convolution { padding: [i64::MAX; 3], ..Default::default() };
        let refused = padded.output_extents(&cube(1, 1, 1), &kernel(1, [1; 3]));
        assert!(matches!(refused, Err(ProblemError::EmptyOutput { .. })), "{refused:?}");
    }

    #[test]
    fn a_rank_other_than_five_is_refused() {
        let refused = Shape5::try_from(&[1usize, 2, 3][..]);
        assert_eq!(refused, Err(ProblemError::Rank { tensor: "input", found: 3 }));
        let refused = KernelShape::try_from(&[1usize; 6][..]);
        assert_eq!(refused, Err(ProblemError::Rank { tensor: "kernel", found: 6 }));
        assert_eq!(Shape5::try_from(&[1usize, 2, 3, 4, 5][..]).unwrap().extents(), [1, 2, 3, 4, 5]);
    }
}
