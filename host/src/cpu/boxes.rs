//! Which input elements a tap carries inside the output, where padding cuts some off.
//!
//! ```text
//! Σ_p z[b,c,p] = Σ_ci Σ_t Sx[b,ci,t]·Sw[ci,t,c]      Sx: Σ x over box t,  Sw: Σ w over the taps whose elements are box t
//! ```
//! Along an axis a tap carries a range of the input inside; taps with the same range are of one class. Without padding all
//! are, and the box is the whole input. A tap that carries nothing inside is of no class.

use std::ops::Range;

use ndarray::Array2;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::Operands;
use super::means::sum;
use crate::Error;
use crate::element::Element;
use crate::memory;
use crate::problem::{Axis, Problem};

/// The boxes of a problem: the products of three axes' ranges.
pub(super) struct Boxes {
    axes: [Ranges; 3],
}

/// The different ranges of an axis.
struct Ranges {
    ranges: Vec<Range<usize>>,
    /// Which of them each tap carries inside.
    of_taps: Vec<Option<usize>>,
}

impl Ranges {
    fn of(axis: &Axis) -> Result<Ranges, Error> {
        let mut ranges: Vec<Range<usize>> = Vec::new();
        let mut class = |range: Range<usize>| {
            // A tap's range begins and ends no later than that of the tap before it: equal ones are neighbours.
            if ranges.last() != Some(&range) {
                ranges.push(range);
            }
            ranges.len() - 1
        };
        let insides = (0..axis.taps).map(|k| axis.inside(k));
        let mut of_taps = memory::try_with_capacity("classes of taps", axis.taps)?;
        of_taps.extend(insides.map(|range| (!range.is_empty()).then(|| class(range))));
        Ok(Ranges { ranges, of_taps })
    }

    fn is_whole(&self, extent: usize) -> bool {
        self.of_taps.iter().all(Option::is_some) && self.ranges.iter().all(|range| range.len() == extent)
    }
}

impl Boxes {
    /// # Errors
    /// [`Error::Memory`] where there are too many taps.
    pub fn of(problem: &Problem) -> Result<Boxes, Error> {
        let [d, h, w] = problem.axes();
        Ok(Boxes { axes: [Ranges::of(&d)?, Ranges::of(&h)?, Ranges::of(&w)?] })
    }

    /// How many there are at most, known without a look at every tap: a range begins, or ends, elsewhere than the one before, and only
    /// taps that padding reaches at either end have one of their own.
    pub fn most(problem: &Problem) -> usize {
        let options = problem.convolution();
        let most = |(a, axis): (usize, Axis)| {
            let (padding, dilation) = (options.padding[a].max(0) as u64, options.dilation[a].max(1) as u64);
            let behind = padding.saturating_sub(options.output_padding[a].max(0) as u64);
            let cut = padding.div_ceil(dilation).saturating_add(behind.div_ceil(dilation));
            let cut = usize::try_from(cut).unwrap_or(usize::MAX).saturating_add(1);
            axis.taps.min(axis.extent.saturating_mul(2)).min(cut)
        };
        problem.axes().into_iter().enumerate().map(most).fold(1, usize::saturating_mul)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.axes.iter().map(|axis| axis.ranges.len()).product()
    }

    /// Whether the only box is the whole input, and all taps are of its class.
    pub fn is_whole(&self, problem: &Problem) -> bool {
        self.axes.iter().zip(problem.input().spatial()).all(|(axis, extent)| axis.is_whole(extent))
    }

    /// The class of each tap, in storage order.
    ///
    /// # Errors
    /// [`Error::Memory`] where there are too many.
    pub fn of_taps(&self) -> Result<Vec<Option<usize>>, Error> {
        let [d, h, w] = &self.axes;
        let class = |kd: usize, kh: usize, kw: usize| {
            Some((d.of_taps[kd]? * h.ranges.len() + h.of_taps[kh]?) * w.ranges.len() + w.of_taps[kw]?)
        };
        let planes = (0..d.of_taps.len()).flat_map(|kd| (0..h.of_taps.len()).map(move |kh| (kd, kh)));
        let taps = [d, h, w].map(|axis| axis.of_taps.len()).iter().product();
        let mut classes = memory::try_with_capacity("classes of taps", taps)?;
        classes.extend(planes.flat_map(|(kd, kh)| (0..w.of_taps.len()).map(move |kw| class(kd, kh, kw))));
        Ok(classes)
    }

    /// The elements of each box of a volume, in the order of the boxes.
    pub fn elements<'a, T>(
        &'a self,
        volume: &'a [T],
        [_, h, w]: [usize; 3],
    ) -> impl Iterator<Item = impl Iterator<Item = &'a T>> {
        let [of_d, of_h, of_w] = &self.axes;
        let pairs = of_d.ranges.iter().flat_map(|d| of_h.ranges.iter().map(move |h| (d, h)));
        let triples = pairs.flat_map(|(d, h)| of_w.ranges.iter().map(move |w| (d, h, w)));
        triples.map(move |(of_d, of_h, of_w)| {
            let lines = of_d.clone().flat_map(|d| of_h.clone().map(move |h| (d, h)));
            lines.flat_map(move |(at_d, at_h)| &volume[(at_d * h + at_h) * w..][of_w.clone()])
        })
    }

    /// Sx, (B, Cin·boxes).
    pub fn sums_of_input<T: Element>(&self, operands: &Operands<'_, T>) -> Result<Array2<f64>, Error> {
        let problem = operands.problem;
        let (rows, columns) = (problem.batch(), problem.in_channels() * self.count());
        let mut sums = memory::try_filled("sums of boxes", rows * columns, 0.0)?;
        if !sums.is_empty() {
            let (arch, extents) = (pulp::Arch::new(), problem.input().spatial());
            let volumes = operands.x.par_chunks_exact(problem.input_volume());
            sums.par_chunks_exact_mut(self.count())
                .zip(volumes)
                .try_for_each(|(sums, volume)| arch.dispatch(OfVolume { boxes: self, volume, extents, sums }))?;
        }
        Ok(memory::in_shape(ndarray::Dim([rows, columns]), sums))
    }

    /// Sw, (Cin·boxes, channels of a group).
    pub fn sums_of_kernel<T: Element>(&self, operands: &Operands<'_, T>) -> Result<Array2<f64>, Error> {
        let problem = operands.problem;
        let (classes, channels) = (self.of_taps()?, problem.group_out_channels());
        let (rows, columns) = (problem.in_channels() * self.count(), channels);
        let mut sums = memory::try_filled("sums of taps", rows * columns, 0.0)?;
        if !sums.is_empty() {
            let of_inputs = operands.w.par_chunks_exact(channels * classes.len());
            sums.par_chunks_exact_mut(self.count() * channels).zip(of_inputs).for_each(|(sums, taps)| {
                for (c, taps) in taps.chunks_exact(classes.len()).enumerate() {
                    for (tap, class) in taps.iter().zip(&classes) {
                        if let Some(class) = class {
                            sums[class * channels + c] += tap.to_f64();
                        }
                    }
                }
            });
        }
        Ok(memory::in_shape(ndarray::Dim([rows, columns]), sums))
    }
}

/// A volume whose boxes are to be summed with the processor's own vectors: lines first, then planes, then all.
struct OfVolume<'a, T> {
    boxes: &'a Boxes,
    volume: &'a [T],
    extents: [usize; 3],
    sums: &'a mut [f64],
}

impl<T: Element> WithSimd for OfVolume<'_, T> {
    type Output = Result<(), Error>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Result<(), Error> {
        let ([_, h, w], [of_d, of_h, of_w]) = (self.extents, &self.boxes.axes);
        let (heights, widths) = (of_h.ranges.len(), of_w.ranges.len());
        let mut of_plane = memory::try_filled("sums of a plane", heights * widths, 0.0)?;
        for (d, plane) in self.volume.chunks_exact(h * w).enumerate() {
            of_plane.fill(0.0);
            for (y, line) in plane.chunks_exact(w).enumerate() {
                for (j, columns) in of_w.ranges.iter().enumerate() {
                    let of_line = sum(&line[columns.clone()]).sum;
                    for i in (0..heights).filter(|&i| of_h.ranges[i].contains(&y)) {
                        of_plane[i * widths + j] += of_line;
                    }
                }
            }
            for (i, sums) in self.sums.chunks_exact_mut(heights * widths).enumerate() {
                if of_d.ranges[i].contains(&d) {
                    sums.iter_mut().zip(&of_plane).for_each(|(sum, part)| *sum += part);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    #[test]
    fn without_padding_there_is_one() {
        let problem = Problem::builder_2d([1, 1, 3, 4], [1, 1, 2, 3]).stride([2, 3]).dilation([3, 1]).build().unwrap();
        let boxes = Boxes::of(&problem).unwrap();
        assert!(boxes.is_whole(&problem));
        assert_eq!((boxes.count(), boxes.of_taps().unwrap()), (1, vec![Some(0); 6]));
    }

    /// Counted for every axis that is small enough.
    #[test]
    fn the_most_boxes_are_not_far_from_those_there_are() {
        for (extent, taps, stride, padding, dilation) in (1..6)
            .flat_map(|e| (1..7).flat_map(move |k| (1..4).map(move |s| (e, k, s))))
            .flat_map(|(e, k, s)| (0..6).flat_map(move |p| (1..4).map(move |d| (e, k, s, p, d))))
        {
            for output_padding in 0..stride.max(dilation) {
                let built = Problem::builder_1d([2, 1, extent], [1, 1, taps]).stride([stride]).padding([padding]);
                let Ok(problem) = built.dilation([dilation]).output_padding([output_padding]).build() else { continue };
                assert!(Boxes::most(&problem) >= Boxes::of(&problem).unwrap().count(), "{problem:?}");
            }
        }
        let problem = Problem::builder_1d([2, 1, 100], [1, 1, 64]).padding([1]).build().unwrap();
        assert_eq!((Boxes::most(&problem), Boxes::of(&problem).unwrap().count()), (3, 3));
    }

    #[test]
    fn taps_that_carry_the_same_are_of_one_class() {
        // Positions −1..: taps 0 and 1 of five lose the first element, taps 3 and 4 the last.
        let problem = Problem::builder_1d([1, 1, 3], [1, 1, 5]).stride([2]).padding([2]).build().unwrap();
        let boxes = Boxes::of(&problem).unwrap();
        assert!(!boxes.is_whole(&problem));
        assert_eq!(boxes.axes[2].ranges, [1..3, 0..3, 0..2]);
        assert!(Boxes::most(&problem) >= boxes.count());
        assert_eq!(boxes.of_taps().unwrap(), [Some(0), Some(0), Some(1), Some(2), Some(2)]);
        let operands = Operands {
            problem: &problem,
            x: Cow::Owned(vec![1.0, 10.0, 100.0]),
            w: Cow::Owned(vec![1.0, 2.0, 4.0, 8.0, 16.0]),
        };
        assert_eq!(boxes.sums_of_input(&operands).unwrap(), ndarray::array![[110.0, 111.0, 11.0]]);
        assert_eq!(boxes.sums_of_kernel(&operands).unwrap(), ndarray::array![[3.0], [4.0], [24.0]]);
        let elements: Vec<Vec<f64>> =
            boxes.elements(&operands.x, [1, 1, 3]).map(|elements| elements.copied().collect()).collect();
        assert_eq!(elements, [vec![10.0, 100.0], vec![1.0, 10.0, 100.0], vec![1.0, 10.0]]);
    }

    #[test]
    fn where_all_is_cut_off_there_is_none() {
        let problem =
            Problem::builder_1d([2, 1, 1], [1, 1, 1]).stride([3]).padding([1]).output_padding([2]).build().unwrap();
        let boxes = Boxes::of(&problem).unwrap();
        assert_eq!((boxes.count(), boxes.of_taps().unwrap()), (0, vec![None]));
    }
}
