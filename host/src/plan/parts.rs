//! A convolution with options as convolutions of stride 1, for the spectral way on a GPU.
//!
//! ```text
//! groups     in bundles, each by itself, of the same transform of x
//! phases     taps that are step apart meet output positions of their own: output channels by themselves, Φ a channel
//! gaps       taps of a phase see x `lag` elements apart: its correlation at l·lag, |l| < J along an axis
//! ```
//!
//! `problem/axis.rs` derives them. Without padding every phase has all of its output inside, N = D + (J − 1)·lag positions for J taps; a phase
//! with fewer taps counts as one with zeros.

use kernel_gpu::conv_shape::{ConvOptions, ConvShape};
use kernel_gpu::gram_grid::Grid;
use kernel_gpu::input_scales::BUNDLE_CHANNELS;

use super::Ineligible;
use super::cuda_direct::{conv_options, conv_shape};
use super::roles::roles;
use crate::Error;
use crate::problem::Problem;

/// The parts of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// The extents as the problem has them.
    pub shape: ConvShape,
    /// Its options.
    pub options: ConvOptions,
    /// Φ of each axis.
    pub phases: [u32; 3],
    /// From one tap of a phase to the next.
    pub step: [u32; 3],
    /// J: taps of the longest phase.
    pub taps: [u32; 3],
    /// Input elements from one of them to the next.
    pub lag: [u32; 3],
    /// Groups that are taken together, as one convolution with zeros between them: it divides their number.
    pub bundle: u32,
}

impl Parts {
    /// Of a problem without padding. Where no energies are asked for there is one part: sums know no order.
    ///
    /// # Errors
    /// What no kernel can count, as [`Error::Unsupported`]; [`Error::Ineligible`] for padding.
    pub(super) fn of(problem: &Problem, energies: bool) -> Result<Self, Error> {
        let (shape, options) = (conv_shape(problem)?, conv_options(problem)?);
        // Padding is the first.
        if let Some(why) = Ineligible::first_option(problem).filter(|_| options.padding != [0; 3]) {
            return Err(Error::Ineligible(why));
        }
        let mut parts =
            Self { shape, options, phases: [1; 3], step: [1; 3], taps: shape.kernel, lag: [1; 3], bundle: 1 };
        if energies {
            for axis in 0..3 {
                let (stride, dilation, taps) = (options.stride[axis], options.dilation[axis], shape.kernel[axis]);
                let common = gcd(stride, dilation);
                let step = stride / common;
                parts.phases[axis] = taps.min(step);
                parts.step[axis] = step;
                parts.taps[axis] = taps.div_ceil(step);
                parts.lag[axis] = dilation / common;
            }
        }
        Ok(parts)
    }

    /// Φ: phases of an output channel. They are no more than taps.
    pub fn phases(&self) -> u32 {
        self.phases.iter().product()
    }

    /// Groups.
    pub fn groups(&self) -> u32 {
        self.options.groups.max(1)
    }

    /// Bundles of groups.
    pub fn bundles(&self) -> u32 {
        self.groups() / self.bundle
    }

    /// Whether taps lie as w has them.
    pub fn keeps_taps(&self) -> bool {
        self.phases == [1; 3] && self.bundle == 1
    }

    /// Input and output channels of a group.
    pub fn of_group(&self) -> [u32; 2] {
        [self.shape.in_channels / self.groups(), self.shape.out_channels / self.groups()]
    }

    /// How many groups may be a bundle.
    pub(super) fn possible_bundles(&self) -> impl Iterator<Item = u32> + use<> {
        bundles(self.groups(), self.of_group()[0])
    }

    /// A phase's convolution, its axes by their roles: the extents with the taps' gaps, the taps without, and the lags between them. Channels
    /// are those of a bundle.
    ///
    /// # Errors
    /// More output channels, phases counted, than 32 bits hold.
    pub(super) fn by_roles(&self) -> Result<(ConvShape, Grid, [u32; 3]), Ineligible> {
        // The last tap's reach is at most 2^30 (`conv_options`).
        let with_gaps = |axis: usize| (self.taps[axis] - 1) * self.lag[axis] + 1;
        let roles = roles(self.shape.input, [0, 1, 2].map(with_gaps));
        let [ins, outs] = self.of_group();
        let in_channels = ins * self.bundle;
        let outputs = u64::from(outs * self.bundle) * u64::from(self.phases());
        let out_channels = u32::try_from(outputs).map_err(|_| Ineligible::Count(outputs))?;
        let shape =
            ConvShape { input: roles.map(|axis| self.shape.input[axis]), kernel: roles.map(with_gaps), ..self.shape };
        let grid = Grid { kernel: roles.map(|axis| self.taps[axis]), in_channels, out_channels };
        Ok((shape, grid, roles.map(|axis| self.lag[axis])))
    }
}

/// How many of `groups` may be taken together, one first: the more there are, the more zeros are multiplied. `ins`: input channels of a group.
pub(super) fn bundles(groups: u32, ins: u32) -> impl Iterator<Item = u32> {
    (1..=groups.min(BUNDLE_CHANNELS)).filter(move |&bundle| {
        bundle == 1 || (groups.is_multiple_of(bundle) && ins.saturating_mul(bundle) <= BUNDLE_CHANNELS)
    })
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a.max(1) } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::{KernelShape, Shape5};

    fn parts(stride: [usize; 3], dilation: [usize; 3], output_padding: [usize; 3], groups: usize) -> Parts {
        let input = Shape5 { batch: 2, channels: 2 * groups, depth: 4, height: 1, width: 6 };
        let kernel = KernelShape { in_channels: 2 * groups, out_channels: 3, depth: 5, height: 2, width: 4 };
        let [stride, dilation, output_padding] =
            [stride, dilation, output_padding].map(|values| values.map(|value| value as i64));
        let builder = Problem::builder(input, kernel).stride(stride).dilation(dilation).output_padding(output_padding);
        Parts::of(&builder.groups(groups as i64).build().unwrap(), true).unwrap()
    }

    /// The same phases as the CPU's.
    #[test]
    fn phases_are_those_of_the_axes() {
        for (stride, dilation) in
            [([1; 3], [1; 3]), ([2, 2, 3], [1; 3]), ([1; 3], [2, 1, 3]), ([4, 6, 2], [2, 3, 4]), ([9, 1, 7], [1; 3])]
        {
            let parts = parts(stride, dilation, [0; 3], 1);
            let input = Shape5 { batch: 2, channels: 2, depth: 4, height: 1, width: 6 };
            let kernel = KernelShape { in_channels: 2, out_channels: 3, depth: 5, height: 2, width: 4 };
            let builder = Problem::builder(input, kernel).stride(stride.map(|s| s as i64));
            let problem = builder.dilation(dilation.map(|d| d as i64)).build().unwrap();
            for (a, axis) in problem.axes().into_iter().enumerate() {
                let phases: Vec<_> = axis.phases().collect();
                assert_eq!(phases.len(), parts.phases[a] as usize, "{stride:?} {dilation:?}");
                let longest = phases.iter().map(|phase| phase.taps).max().unwrap();
                assert_eq!((longest, phases[0].gap()), (parts.taps[a] as usize, parts.lag[a] as usize));
                for phase in phases {
                    assert_eq!(phase.tap(1), phase.tap(0) + parts.step[a] as usize);
                }
            }
        }
    }

    #[test]
    fn a_stride_makes_channels_and_a_dilation_lags() {
        let strided = parts([2, 2, 4], [1; 3], [0; 3], 1);
        let (shape, grid, lag) = strided.by_roles().unwrap();
        assert_eq!((strided.phases(), strided.taps), (2 * 2 * 4, [3, 1, 1]));
        // The middle axis has one element and a tap a phase.
        assert_eq!((shape.input, shape.kernel, lag), ([1, 4, 6], [1, 3, 1], [1; 3]));
        assert_eq!((grid.kernel, grid.in_channels, grid.out_channels), ([1, 3, 1], 2, 3 * 16));
        let dilated = parts([1; 3], [3, 2, 5], [0; 3], 3);
        let (shape, grid, lag) = dilated.by_roles().unwrap();
        assert!(dilated.keeps_taps());
        assert_eq!((shape.in_channels, shape.out_channels, shape.kernel), (6, 9, [13, 3, 16]));
        assert_eq!((grid.kernel, grid.in_channels, grid.out_channels, lag), ([5, 2, 4], 2, 3, [3, 2, 5]));
    }
}
