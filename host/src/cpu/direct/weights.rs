//! The taps of a block of channels, packed as the factors of matrix products.

use std::ops::Range;

use ndarray::ArrayView2;
use rayon::prelude::*;

use super::cut::{Columns, Cut};
use crate::Error;
use crate::cpu::Operands;
use crate::cpu::simd::Real;
use crate::element::Element;
use crate::memory;
use crate::problem::{Axis, Phase, Problem};

/// The weights of a block of channels: for each phase of the widths (kd, kh, ci, kw, channel), taps in the order of their phases.
pub struct Weights<R> {
    pub group: usize,
    /// Channels of the group.
    pub channels: Range<usize>,
    /// Input channels of a group.
    pub inputs: usize,
    /// (kd, kh).
    pub planes: usize,
    values: Vec<R>,
}

/// The taps of an axis in the order of its phases; `None` for one that carries nothing inside, whatever its weight is.
fn taps_in_order(axis: &Axis, phases: impl IntoIterator<Item = Phase>) -> Vec<Option<usize>> {
    let taps = phases.into_iter().flat_map(|p| (0..p.taps).map(move |j| p.tap(j)));
    taps.map(|k| (!axis.inside(k).is_empty()).then_some(k)).collect()
}

impl<R: Real> Weights<R> {
    pub fn pack<T: Element>(
        operands: &Operands<'_, T>,
        cut: &Cut,
        group: usize,
        channels: Range<usize>,
    ) -> Result<Weights<R>, Error> {
        let problem = operands.problem;
        let (inputs, outputs, taps) = (problem.group_in_channels(), problem.group_out_channels(), problem.taps());
        let [depth, height, width] = problem.axes();
        let of_d = taps_in_order(&depth, cut.planes[0].iter().copied());
        let of_h = taps_in_order(&height, cut.planes[1].iter().copied());
        let of_w = taps_in_order(&width, cut.widths.iter().map(|columns| columns.phase));
        let planes = of_d.len() * of_h.len();
        let mut values =
            memory::try_filled("packed weights", planes * inputs * of_w.len() * channels.len(), R::default())?;
        let mut rest = &mut values[..];
        for columns in &cut.widths {
            let line = columns.phase.taps * channels.len();
            let (section, after) = rest.split_at_mut(planes * inputs * line);
            rest = after;
            let of_w = &of_w[columns.taps_before..][..columns.phase.taps];
            section.par_chunks_exact_mut(line).enumerate().for_each(|(row, line)| {
                let (plane, i) = (row / inputs, row % inputs);
                let (Some(kd), Some(kh)) = (of_d[plane / of_h.len()], of_h[plane % of_h.len()]) else { return };
                for (c, channel) in channels.clone().enumerate() {
                    let slab = &operands.w[((group * inputs + i) * outputs + channel) * taps..][..taps];
                    let taps = &slab[(kd * height.taps + kh) * width.taps..][..width.taps];
                    for (j, kw) in of_w.iter().enumerate() {
                        if let Some(kw) = kw {
                            line[j * channels.len() + c] = R::of(taps[*kw]);
                        }
                    }
                }
            });
        }
        Ok(Weights { group, channels, inputs, planes, values })
    }

    /// Rows of W of one phase of the widths, (row, channel).
    pub fn rows(&self, columns: &Columns, rows: Range<usize>) -> ArrayView2<'_, R> {
        let (before, channels) = (self.planes * self.inputs * columns.taps_before, self.channels.len());
        let values = &self.values[(before + rows.start) * channels..(before + rows.end) * channels];
        ArrayView2::from_shape((rows.len(), channels), values).expect("a block of rows")
    }

    /// The block's channels among all of the output.
    pub fn outputs(&self, problem: &Problem) -> Range<usize> {
        let before = self.group * problem.group_out_channels();
        before + self.channels.start..before + self.channels.end
    }
}
