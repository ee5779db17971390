//! Means where some elements are NaN or infinite.
//!
//! A sum of products of *every* x of a volume with *every* tap of a slab is not the product of two sums
//! once infinities are about: ∞·(1 − 1) is NaN by the sums or 0·∞ by another order, and ∞·1 + ∞·(−1) by
//! the definition. But which non-finite value it is depends only on which *kinds* of element (positive,
//! negative, zero, ±∞, NaN) occur on either side: one representative of each kind is enough.

use ndarray::Array2;
use rayon::prelude::*;

use super::Operands;
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
    let (ci, co) = (problem.in_channels(), problem.out_channels());
    let x = kinds_of_rows(&operands.x, problem.input_volume())?;
    let w = kinds_of_rows(&operands.w, problem.taps())?;
    let table = Table::new();
    for ((b, c), mean) in means.indexed_iter_mut() {
        let pairs = || (0..ci).map(|i| (x[b * ci + i], w[i * co + c]));
        if pairs().any(|(x, w)| (x | w) & NON_FINITE != 0) {
            *mean = pairs().map(|(x, w)| table.sum_of_products(x, w)).sum();
        }
    }
    Ok(())
}

fn kinds_of_rows<T: Element>(values: &[T], len: usize) -> Result<Vec<Kinds>, Error> {
    let mut kinds = memory::try_with_capacity("kinds of elements", values.len() / len)?;
    let of_row = |row: &[T]| row.iter().fold(0, |kinds, value| kinds | kind(value.to_f64()));
    values.par_chunks_exact(len).map(of_row).collect_into_vec(&mut kinds);
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
