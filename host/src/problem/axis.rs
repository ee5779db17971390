//! One axis of a transposed convolution: which tap carries which input element where.
//!
//! ```text
//! tap k carries input i to output position p = i·stride + k·dilation − padding        where 0 ≤ p < N
//! ```
//! Taps whose k·dilation leave the same remainder by the stride meet the same output positions, and no others: a *phase*. Within
//! one, with g = gcd(stride, dilation), taps are stride/g apart and see the input dilation/g apart:
//! ```text
//! position first + q·stride, tap first_tap + j·tap_step:      i = q + origin − j·lag          lag = dilation/g
//! ```
//! which is a convolution of stride 1. Positions of no phase receive nothing but the bias.

use std::ops::Range;

/// An axis: its extents are those of a valid problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Axis {
    /// Of the input.
    pub extent: usize,
    /// Taps of the kernel.
    pub taps: usize,
    /// N: of the output.
    pub output: usize,
    pub(super) stride: i64,
    pub(super) padding: i64,
    pub(super) dilation: i64,
}

/// The output positions that a class of taps meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Phase {
    /// The first output position.
    pub first: usize,
    /// How many there are.
    pub count: usize,
    /// How many taps there are.
    pub taps: usize,
    first_tap: usize,
    tap_step: usize,
    extent: usize,
    origin: i128,
    lag: i128,
}

/// As an index of something with `len` elements: what lies before it is its start, what lies beyond its end.
fn clamped(at: i128, len: usize) -> usize {
    at.clamp(0, len as i128) as usize
}

/// ⌈a/b⌉ for b > 0.
fn ceil_div(a: i128, b: i128) -> i128 {
    -(-a).div_euclid(b)
}

impl Axis {
    /// The input elements that tap `k` carries inside the output.
    pub fn inside(&self, k: usize) -> Range<usize> {
        let stride = i128::from(self.stride);
        let shift = i128::from(self.padding) - k as i128 * i128::from(self.dilation);
        let end = clamped(ceil_div(shift + self.output as i128, stride), self.extent);
        clamped(ceil_div(shift, stride), end)..end
    }

    /// The output position that input `i` comes to by tap `k`, which carries it inside.
    pub fn position(&self, i: usize, k: usize) -> usize {
        let from = i as i128 * i128::from(self.stride) + k as i128 * i128::from(self.dilation);
        clamped(from - i128::from(self.padding), self.output)
    }

    /// From one input element's output position to the next's.
    pub fn stride(&self) -> usize {
        // Positive (`Convolution::check`); 64-bit.
        self.stride as usize
    }

    /// Phases at most: as many as there are taps before one meets what the first does.
    pub fn most_phases(self) -> usize {
        self.taps.min(self.tap_step())
    }

    /// From one tap of a phase to the next.
    fn tap_step(self) -> usize {
        let common = gcd(self.stride.unsigned_abs(), self.dilation.unsigned_abs());
        usize::try_from(self.stride.unsigned_abs() / common).unwrap_or(usize::MAX)
    }

    /// Every phase that has positions, by its first tap.
    pub fn phases(self) -> impl Iterator<Item = Phase> + Clone {
        let (stride, dilation) = (i128::from(self.stride), i128::from(self.dilation));
        let common = gcd(self.stride.unsigned_abs(), self.dilation.unsigned_abs());
        let tap_step = self.tap_step();
        (0..self.most_phases()).filter_map(move |first_tap| {
            let ahead = first_tap as i128 * dilation - i128::from(self.padding);
            let first = ahead.rem_euclid(stride);
            (first < self.output as i128).then(|| Phase {
                first: first as usize,
                count: clamped(ceil_div(self.output as i128 - first, stride), self.output),
                first_tap,
                tap_step,
                taps: (self.taps - first_tap).div_ceil(tap_step),
                extent: self.extent,
                origin: (first - ahead) / stride,
                lag: dilation / i128::from(common),
            })
        })
    }
}

impl Phase {
    /// The tap of the kernel that is number j here.
    pub fn tap(&self, j: usize) -> usize {
        self.first_tap + j * self.tap_step
    }

    /// Input elements from what one tap brings to what the next does. Saturates: no such kernel is counted.
    pub fn gap(&self) -> usize {
        usize::try_from(self.lag).unwrap_or(usize::MAX)
    }

    /// Taps of a plain kernel that has these, and zeros in between; `None` where it cannot be counted.
    pub fn taps_with_gaps(&self) -> Option<usize> {
        (self.taps - 1).checked_mul(self.gap())?.checked_add(1)
    }

    /// The taps j that meet an input element at position number `q`.
    pub fn meeting(&self, q: usize) -> Range<usize> {
        let newest = q as i128 + self.origin;
        let end = clamped(newest.div_euclid(self.lag) + 1, self.taps);
        clamped(ceil_div(newest - self.extent as i128 + 1, self.lag), end)..end
    }

    /// The input element that tap j brings to position number `q`, which it meets.
    pub fn source(&self, q: usize, j: usize) -> usize {
        clamped(q as i128 + self.origin - j as i128 * self.lag, self.extent)
    }

    /// The positions that tap j brings an input element to.
    pub fn reach(&self, j: usize) -> Range<usize> {
        let start = j as i128 * self.lag - self.origin;
        let end = clamped(start + self.extent as i128, self.count);
        clamped(start, end)..end
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn axis(extent: usize, taps: usize, [stride, padding, dilation, output_padding]: [i64; 4]) -> Option<Axis> {
        let output = (extent as i64 - 1) * stride - 2 * padding + dilation * (taps as i64 - 1) + output_padding + 1;
        (output > 0).then_some(Axis { extent, taps, output: output as usize, stride, padding, dilation })
    }

    proptest! {
        /// Every (input, tap, position) of the definition is found once by `inside` and once by the phases.
        #[test]
        fn every_way_to_walk_an_axis_is_the_definition(
            extent in 1usize..9, taps in 1usize..8, stride in 1i64..7, padding in 0i64..9, dilation in 1i64..7, more in 0i64..6,
        ) {
            let Some(axis) = axis(extent, taps, [stride, padding, dilation, more.min(stride.max(dilation) - 1)]) else {
                return Ok(());
            };
            let mut defined = Vec::new();
            for (k, i) in (0..taps).flat_map(|k| (0..extent).map(move |i| (k, i))) {
                let p = i as i64 * stride + k as i64 * dilation - padding;
                if (0..axis.output as i64).contains(&p) {
                    defined.push((k, i, p as usize));
                }
            }
            let carried = (0..taps).flat_map(|k| axis.inside(k).map(move |i| (k, i, axis.position(i, k))));
            prop_assert_eq!(carried.collect::<Vec<_>>(), defined.clone());

            let (mut by_position, mut by_tap) = (Vec::new(), Vec::new());
            for phase in axis.phases() {
                let at = |q| phase.first + q * axis.stride();
                prop_assert!(at(phase.count - 1) < axis.output && at(phase.count) >= axis.output);
                for (q, j) in (0..phase.count).flat_map(|q| phase.meeting(q).map(move |j| (q, j))) {
                    by_position.push((phase.tap(j), phase.source(q, j), at(q)));
                }
                for (j, q) in (0..phase.taps).flat_map(|j| phase.reach(j).map(move |q| (j, q))) {
                    by_tap.push((phase.tap(j), phase.source(q, j), at(q)));
                }
            }
            by_position.sort_unstable();
            by_tap.sort_unstable();
            prop_assert_eq!(&by_position, &defined);
            prop_assert_eq!(&by_tap, &defined);
        }
    }

    #[test]
    fn extremes_do_not_wrap() {
        let huge = Axis { extent: 1, taps: 1, output: 1, stride: i64::MAX, padding: 0, dilation: i64::MAX };
        assert_eq!(huge.inside(0), 0..1);
        assert_eq!(
            huge.phases().map(|phase| (phase.first, phase.count, phase.meeting(0))).collect::<Vec<_>>(),
            [(0, 1, 0..1)]
        );
        let far =
            Axis { extent: 2, taps: 2, output: 3, stride: i64::MAX / 2, padding: i64::MAX / 2, dilation: i64::MAX / 2 };
        assert_eq!((far.inside(0), far.inside(1)), (1..2, 0..1));
        assert_eq!(far.phases().count(), 1);
    }
}
