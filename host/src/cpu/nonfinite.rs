//! Means where some elements are NaN or infinite.
//!
//! A sum of products of *every* x of a volume with *every* tap of a slab is not the product of two sums
//! once infinities are about: ∞·(1 − 1) is NaN by the sums or 0·∞ by another order, and ∞·1 + ∞·(−1) by
//! the definition. But which non-finite value it is depends only on which *kinds* of element (positive,
//! negative, zero, ±∞, NaN) occur on either side: one representative of each kind is enough.

use ndarray::Array2;
use rayon::prelude::*;

use super::Operands;
use super::boxes::Boxes;
use crate::Error;
use crate::element::Element;
use crate::memory;

/// A set of kinds: bit i says that `REPRESENTATIVES[i]`'s kind occurs.
type Kinds = u8;

const REPRESENTATIVES: [f64; 6] = [1.0, -1.0, 0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
const NON_FINITE: Kinds = 0b111_000;

fn kind(value: f64) -> Kinds {
    let index = match value {
        v if v.is_nan() => 5,
        f64::INFINITY => 3,
        f64::NEG_INFINITY => 4,
        v if v > 0.0 => 0,
        v if v < 0.0 => 1,
        _ => 2,
    };
    1 << index
}

/// Replaces the means that non-finite elements reach by what the definition gives: NaN or ±∞.
/// Means whose elements are all finite stay as they are, even if their sums overflowed.
pub(super) fn correct<T: Element>(operands: &Operands<'_, T>, means: &mut Array2<f64>) -> Result<(), Error> {
    let problem = operands.problem;
    let (boxes, channels) = (Boxes::of(problem)?, problem.group_out_channels());
    let x = kinds_of_input(operands, &boxes)?;
    let w = kinds_of_kernel(operands, &boxes)?;
    let (all, of_group) = (problem.in_channels() * boxes.count(), problem.group_in_channels() * boxes.count());
    let table = Table::new();
    for ((b, c), mean) in means.indexed_iter_mut() {
        let (group, c) = (c / channels, c % channels);
        let rows = group * of_group..(group + 1) * of_group;
        let pairs = || rows.clone().map(|row| (x[b * all + row], w[row * channels + c]));
        if pairs().any(|(x, w)| (x | w) & NON_FINITE != 0) {
            *mean = pairs().map(|(x, w)| table.sum_of_products(x, w)).sum();
        }
    }
    Ok(())
}

/// Of the elements of each box, (B, Cin·boxes).
fn kinds_of_input<T: Element>(operands: &Operands<'_, T>, boxes: &Boxes) -> Result<Vec<Kinds>, Error> {
    let (problem, extents) = (operands.problem, operands.problem.input().spatial());
    let rows = problem.batch() * problem.in_channels();
    let mut kinds = memory::try_filled("kinds of elements", rows * boxes.count(), 0)?;
    let volumes = operands.x.par_chunks_exact(problem.input_volume());
    kinds.par_chunks_exact_mut(boxes.count().max(1)).zip(volumes).for_each(|(kinds, volume)| {
        for (kinds, elements) in kinds.iter_mut().zip(boxes.elements(volume, extents)) {
            *kinds = elements.fold(0, |kinds, value| kinds | kind(value.to_f64()));
        }
    });
    Ok(kinds)
}

/// Of the taps of each class, (Cin·boxes, channels of a group).
fn kinds_of_kernel<T: Element>(operands: &Operands<'_, T>, boxes: &Boxes) -> Result<Vec<Kinds>, Error> {
    let (classes, channels) = (boxes.of_taps()?, operands.problem.group_out_channels());
    let rows = operands.problem.in_channels() * boxes.count();
    let mut kinds = memory::try_filled("kinds of taps", rows * channels, 0)?;
    for (row, taps) in operands.w.chunks_exact(classes.len()).enumerate() {
        let (i, c) = (row / channels, row % channels);
        for (tap, class) in taps.iter().zip(&classes) {
            if let Some(class) = class {
                kinds[(i * boxes.count() + class) * channels + c] |= kind(tap.to_f64());
            }
        }
    }
    Ok(kinds)
}

/// Sums of the products of all representatives, for each pair of sets; 0 where both sets are finite.
struct Table(Vec<f64>);

impl Table {
    fn new() -> Table {
        let members = |set: usize| (0..6).filter(move |i| set & (1 << i) != 0).map(|i| REPRESENTATIVES[i]);
        let product = |x: usize, w: usize| members(x).flat_map(|x| members(w).map(move |w| x * w)).sum();
        let finite = |set: usize| set & usize::from(NON_FINITE) == 0;
        let entry = |i: usize| {
            let (x, w) = (i / 64, i % 64);
            if finite(x) && finite(w) { 0.0 } else { product(x, w) }
        };
        Table((0..64 * 64).map(entry).collect())
    }

    fn sum_of_products(&self, x: Kinds, w: Kinds) -> f64 {
        self.0[usize::from(x) * 64 + usize::from(w)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every pair of non-empty sets of kinds against the sum over actual elements.
    #[test]
    fn representatives_stand_for_their_kind() {
        let table = Table::new();
        let elements = [3.5, -0.25, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
        for (x, w) in (1..64).flat_map(|x| (1..64).map(move |w| (x, w))) {
            let some = |set: usize| (0..6).filter(move |i| set & (1 << i) != 0).map(move |i| elements[i]);
            let set = |kinds: usize| some(kinds).fold(0, |set, value| set | kind(value));
            assert_eq!((usize::from(set(x)), usize::from(set(w))), (x, w));
            let sum: f64 = some(x).flat_map(|x| some(w).map(move |w| x * w)).sum();
            let found = table.sum_of_products(x as Kinds, w as Kinds);
            if sum.is_finite() {
                assert_eq!(found, 0.0);
            } else {
                assert!(found == sum || (found.is_nan() && sum.is_nan()), "{x:06b} {w:06b}: {found} {sum}");
            }
        }
    }
}
