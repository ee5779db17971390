//! The taps as they are read, and their spectra along a line of frequencies: an output channel in each lane.
//!
//! ```text
//! W[i, c] = Σ_k v[i, c, k]·e^{−2πi·Σ_a (k_a − (K_a − 1)/2)·f_a/n_a},     v = w / s[i] · t[c]
//! ```
//! s is the scale of x's channel, t a power of two that brings a channel's largest tap near 1. n is the grid's M for the Gram
//! matrix, and N for products with the spectra of x.
//!
//! Phases begin at the middle of the kernel: all channels are turned alike, which no energy sees. Two taps as far from it meet
//! conjugate phases, so their sum meets a cosine and their difference a sine, and every phase is real or imaginary, half the
//! work of one that is both. Sums and differences are made once, along each axis, as taps are read.
//!
//! The outer and the middle axis are folded first, then the inner one goes to the frequencies of the line. Cost: taps + 2·K·F
//! multiplications and additions a pair of channels.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::cut::Cut;
use super::dft::root;
use super::geometry::{Axis, Geometry, saturating};
use crate::Error;
use crate::cpu::Operands;
use crate::cpu::means::Sums;
use crate::cpu::simd::{Aligned, Complex, MOST_LANES, Real, zero};
use crate::element::Element;
use crate::memory;

/// The kernel as the energies read it.
pub struct Taps<R> {
    /// w / s[i] · t[c], sums and differences: [vector of c][i][inner tap][pair of an outer and a middle tap][c], pairs in the
    /// order of [`pairs`].
    pub values: Aligned<R>,
    /// t, for each output channel.
    pub scales: Vec<f64>,
}

/// Input channels of a task that reads taps.
const CHANNELS: usize = 4;

impl<R: Real> Taps<R> {
    pub fn of<T: Element>(
        operands: &Operands<'_, T>,
        sums: &Sums,
        cut: &Cut,
        scales: &[f64],
    ) -> Result<Taps<R>, Error> {
        let problem = operands.problem;
        let (ci, co, lanes) = (problem.in_channels(), problem.out_channels(), cut.lanes);
        let mut of_outputs = memory::try_filled("scales of the taps", co, 0.0)?;
        for (&scale, row) in scales.iter().zip(sums.w_largest.rows()) {
            of_outputs.iter_mut().zip(row).for_each(|(max, largest)| *max = f64::max(*max, largest / scale));
        }
        of_outputs.iter_mut().for_each(|largest| *largest = power_of_two::<R>(*largest));

        let mut values = Aligned::<R>::zeros("the taps", cut.taps())?;
        let of_pair = problem.taps() * lanes;
        // A task has a few input channels and all output channels, so that it reads the kernel from one end to the other.
        let (count, vectors) = (ci.div_ceil(CHANNELS), co.div_ceil(lanes));
        let mut tasks: Vec<Vec<&mut [R]>> = memory::try_with_capacity("tasks that read taps", count)?;
        for _ in 0..count {
            tasks.push(memory::try_with_capacity("what a task that reads taps writes", vectors)?);
        }
        for of_vector in values.as_mut_slice().chunks_exact_mut(ci * of_pair) {
            tasks.iter_mut().zip(of_vector.chunks_mut(CHANNELS * of_pair)).for_each(|(task, part)| task.push(part));
        }
        let pairs = pairs(&cut.geometry)?;
        cut.readers().each(tasks.into_par_iter().enumerate(), |(task, mut vectors), scratch| {
            let first = task * CHANNELS;
            for i in first..ci.min(first + CHANNELS) {
                let kernels = operands.w[i * co * problem.taps()..][..co * problem.taps()].chunks(of_pair);
                let of_vectors = kernels.zip(of_outputs.chunks(lanes)).zip(&mut vectors);
                for ((kernels, outputs), values) in of_vectors {
                    // Moved as they are, without the processor's scattered stores, which take longer. Lanes without a channel
                    // hold another vector's, which nobody reads.
                    let mut factors = [0.0; MOST_LANES];
                    for (lane, (kernel, t)) in kernels.chunks_exact(problem.taps()).zip(outputs).enumerate() {
                        factors[lane] = t / scales[i];
                        for (vector, tap) in scratch.chunks_exact_mut(lanes).zip(kernel) {
                            vector[lane] = R::of(*tap);
                        }
                    }
                    cut.width.run(OfInput {
                        geometry: &cut.geometry,
                        pairs: &pairs,
                        factors,
                        taps: scratch,
                        values: &mut values[(i - first) * of_pair..][..of_pair],
                    });
                }
            }
            Ok(())
        })?;
        Ok(Taps { values, scales: of_outputs })
    }
}

/// Values of scratch of a task that reads taps: those of a channel, for one vector.
pub fn reader_scratch(geometry: &Geometry, lanes: usize) -> usize {
    saturating(&[geometry.taps(), lanes])
}

/// Bytes of what the tasks share: where each writes, and the order of pairs.
pub fn readers_bytes(geometry: &Geometry, in_channels: usize, vectors: usize) -> usize {
    // A list a task, each of three words and what is in it.
    let places = saturating(&[in_channels.div_ceil(CHANNELS), vectors.saturating_add(2), size_of::<&[u8]>()]);
    places.saturating_add(saturating(&[geometry.outer.taps, geometry.middle.taps, size_of::<[usize; 2]>()]))
}

/// Pairs of an outer and a middle tap: those whose phase is real, then those whose phase is imaginary.
fn pairs(geometry: &Geometry) -> Result<Vec<[usize; 2]>, Error> {
    let &Geometry { outer, middle, .. } = geometry;
    let all = || (0..outer.taps).flat_map(|d| (0..middle.taps).map(move |h| [d, h]));
    let real = |&[d, h]: &[usize; 2]| is_sum(outer.taps, d) == is_sum(middle.taps, h);
    let mut pairs = memory::try_with_capacity("the order of taps", saturating(&[outer.taps, middle.taps]))?;
    pairs.extend(all().filter(real).chain(all().filter(|pair| !real(pair))));
    Ok(pairs)
}

/// Whether tap `k` of so many is a sum, or the one in the middle: its phase is real.
fn is_sum(taps: usize, k: usize) -> bool {
    k < taps.div_ceil(2)
}

/// The power of two that brings `largest` into [1, 2), so far as squares of `R` allow; 1 for what is 0 or not finite.
pub fn power_of_two<R: Real>(largest: f64) -> f64 {
    if largest == 0.0 || !largest.is_finite() {
        return 1.0;
    }
    let limit = if size_of::<R>() == 4 { 100.0 } else { 900.0 };
    (-largest.log2().floor().clamp(-limit, limit)).exp2()
}

/// The taps of an input channel for a vector of output channels, made sums and differences: along each axis tap k < (K − 1)/2
/// becomes its sum with tap K − 1 − k, which becomes their difference.
struct OfInput<'a, R> {
    geometry: &'a Geometry,
    pairs: &'a [[usize; 2]],
    /// t / s of each output channel.
    factors: [f64; MOST_LANES],
    /// [outer][middle][inner][c], as they are: overwritten.
    taps: &'a mut [R],
    /// [inner][pair][c].
    values: &'a mut [R],
}

impl<R: Real> WithSimd for OfInput<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for vector in self.taps.chunks_exact_mut(R::lanes::<S>()) {
            for (value, factor) in vector.iter_mut().zip(&self.factors) {
                *value = R::from_f64(value.to_f64() * factor);
            }
        }
        let taps = R::vectors_mut::<S>(self.taps);
        let &Geometry { outer, middle, inner } = self.geometry;
        let mut step = 1;
        for axis in [inner, middle, outer] {
            for plane in taps.chunks_exact_mut(axis.taps * step) {
                for k in 0..axis.taps / 2 {
                    let (low, high) = plane.split_at_mut((axis.taps - 1 - k) * step);
                    for (low, high) in low[k * step..].iter_mut().zip(&mut high[..step]) {
                        (*low, *high) = (R::plus(simd, *low, *high), R::minus(simd, *low, *high));
                    }
                }
            }
            step *= axis.taps;
        }
        for (k, values) in R::vectors_mut::<S>(self.values).chunks_exact_mut(self.pairs.len()).enumerate() {
            for (value, [d, h]) in values.iter_mut().zip(self.pairs) {
                *value = taps[(d * middle.taps + h) * inner.taps + k];
            }
        }
    }
}

/// The phases of an axis's taps.
struct Circle<R> {
    taps: usize,
    /// e^{−iπj/n}: taps are whole or half elements from the kernel's middle.
    roots: Vec<[R; 2]>,
    /// Where those of the first tap are, for each frequency.
    first: Vec<usize>,
}

impl<R: Real> Circle<R> {
    /// For an axis whose grid has `n` points.
    fn of(axis: &Axis, n: usize) -> Result<Circle<R>, Error> {
        let mut roots = memory::try_with_capacity("phases of the taps", 2 * n)?;
        roots.extend((0..2 * n).map(|j| root(j, 2 * n)));
        let mut first = memory::try_with_capacity("phases of the taps", n)?;
        // One frequency on, it is K − 1 half elements further back.
        let step = 2 * n - (axis.taps - 1) % (2 * n);
        first.extend(std::iter::successors(Some(0), |at| Some((at + step) % (2 * n))).take(n));
        Ok(Circle { taps: axis.taps, roots, first })
    }

    /// What each tap, a sum or a difference, is multiplied with at frequency `f`: the phase of a difference is imaginary.
    fn parts(&self, f: usize) -> impl Iterator<Item = R> {
        let mut at = self.first[f];
        (0..self.taps).map(move |k| {
            let [cosine, minus_sine] = self.roots[at];
            at += 2 * f;
            at -= if at >= self.roots.len() { self.roots.len() } else { 0 };
            if is_sum(self.taps, k) { cosine } else { R::default() - minus_sine }
        })
    }
}

/// The phases of all three axes.
pub struct Phases<R> {
    /// See [`pairs`].
    pairs: Vec<[usize; 2]>,
    outer: Circle<f64>,
    middle: Circle<f64>,
    inner: Circle<R>,
}

impl<R: Real> Phases<R> {
    /// For axes of `n` points.
    ///
    /// # Errors
    /// [`Error::Memory`] where the tables do not fit.
    pub fn of(geometry: &Geometry, n: [usize; 3]) -> Result<Phases<R>, Error> {
        let &Geometry { outer, middle, inner } = geometry;
        Ok(Phases {
            pairs: pairs(geometry)?,
            outer: Circle::of(&outer, n[0])?,
            middle: Circle::of(&middle, n[1])?,
            inner: Circle::of(&inner, n[2])?,
        })
    }

    /// Values of the tables, at eight bytes.
    pub fn len(n: [usize; 3]) -> usize {
        n.iter().fold(0, |sum: usize, &n| sum.saturating_add(saturating(&[5, n])))
    }

    /// The phases along a line at outer and middle frequencies `at`.
    pub fn line(&self, at: [usize; 2]) -> Turns<R> {
        let [outer, middle]: [Vec<f64>; 2] = [self.outer.parts(at[0]).collect(), self.middle.parts(at[1]).collect()];
        let sums = |&[d, h]: &[usize; 2]| (is_sum(outer.len(), d), is_sum(middle.len(), h));
        let phase = |pair: &[usize; 2]| {
            let product = outer[pair[0]] * middle[pair[1]];
            R::from_f64(if sums(pair) == (false, false) { -product } else { product })
        };
        Turns {
            phases: self.pairs.iter().map(phase).collect(),
            real: self.pairs.iter().filter(|pair| sums(pair).0 == sums(pair).1).count(),
        }
    }

    /// W at frequency `f` of the inner axis, for as many channels as are folded. `parts` is room for its phases.
    #[inline(always)]
    pub fn spectrum<S: Simd>(
        &self,
        simd: S,
        f: usize,
        folded: &[Complex<R::Vector<S>>],
        parts: &mut [R],
        spectrum: &mut [Complex<R::Vector<S>>],
    ) {
        parts.iter_mut().zip(self.inner.parts(f)).for_each(|(place, part)| *place = part);
        let taps = parts.len();
        let (of_fours, rest) = spectrum.as_chunks_mut();
        let (folded_fours, folded_rest) = folded.split_at(of_fours.len() * 4 * taps);
        for (folded, w) in folded_fours.chunks_exact(4 * taps).zip(of_fours) {
            *w = at_frequency::<S, R, 4>(simd, folded, parts);
        }
        for (folded, w) in folded_rest.chunks_exact(taps).zip(rest) {
            [*w] = at_frequency::<S, R, 1>(simd, folded, parts);
        }
    }
}

/// W of some channels at the frequency of `parts`.
#[inline(always)]
fn at_frequency<S: Simd, R: Real, const CHANNELS: usize>(
    simd: S,
    folded: &[Complex<R::Vector<S>>],
    parts: &[R],
) -> [Complex<R::Vector<S>>; CHANNELS] {
    let taps = parts.len();
    let (sums, differences) = parts.split_at(taps.div_ceil(2));
    let mut of_sums = [&folded[..sums.len()]; CHANNELS];
    let mut of_differences = [&folded[..differences.len()]; CHANNELS];
    for channel in 0..CHANNELS {
        let folded = &folded[channel * taps..][..taps];
        (of_sums[channel], of_differences[channel]) = (&folded[..sums.len()], &folded[sums.len()..]);
    }
    let mut w = [zero::<S, R>(simd); CHANNELS];
    for k in 0..sums.len() {
        let part = R::splat(simd, sums[k]);
        for channel in 0..CHANNELS {
            let ([re, im], w) = (of_sums[channel][k], &mut w[channel]);
            *w = [R::mul_add(simd, re, part, w[0]), R::mul_add(simd, im, part, w[1])];
        }
    }
    for k in 0..differences.len() {
        let part = R::splat(simd, differences[k]);
        for channel in 0..CHANNELS {
            let ([re, im], w) = (of_differences[channel][k], &mut w[channel]);
            *w = [R::mul_sub(simd, im, part, w[0]), R::mul_add(simd, re, part, w[1])];
        }
    }
    w
}

/// The phases along a line.
pub struct Turns<R> {
    /// Of each pair of an outer and a middle tap, in the order of [`pairs`].
    phases: Vec<R>,
    /// How many of them are real.
    real: usize,
}

impl<R: Real> Turns<R> {
    /// Values of one, and of the parts of each axis, at eight bytes.
    pub fn len(geometry: &Geometry) -> usize {
        let &Geometry { outer, middle, inner } = geometry;
        let of_axes = outer.taps.saturating_add(middle.taps).saturating_add(inner.taps);
        saturating(&[outer.taps, middle.taps]).saturating_add(of_axes).saturating_add(4)
    }

    /// Sums over the outer and the middle axis of some channels' taps: [i][inner tap].
    #[inline(always)]
    pub fn fold<S: Simd>(&self, simd: S, taps: &[R::Vector<S>], folded: &mut [Complex<R::Vector<S>>]) {
        let pairs = self.phases.len();
        let (eights, rest) = folded.as_chunks_mut();
        let (taps_of_eights, taps_of_rest) = taps.split_at(eights.len() * 8 * pairs);
        for (taps, sums) in taps_of_eights.chunks_exact(8 * pairs).zip(eights) {
            *sums = self.sums::<S, 8>(simd, taps);
        }
        for (taps, sum) in taps_of_rest.chunks_exact(pairs).zip(rest) {
            [*sum] = self.sums::<S, 1>(simd, taps);
        }
    }

    /// Those of some taps of the inner axis.
    #[inline(always)]
    fn sums<S: Simd, const TAPS: usize>(&self, simd: S, taps: &[R::Vector<S>]) -> [Complex<R::Vector<S>>; TAPS] {
        let pairs = self.phases.len();
        let mut sums = [zero::<S, R>(simd); TAPS];
        for (part, pairs_of_part) in [0..self.real, self.real..pairs].into_iter().enumerate() {
            let phases = &self.phases[pairs_of_part.clone()];
            let mut values = [&taps[..phases.len()]; TAPS];
            for tap in 0..TAPS {
                values[tap] = &taps[tap * pairs..][pairs_of_part.clone()][..phases.len()];
            }
            for pair in 0..phases.len() {
                let phase = R::splat(simd, phases[pair]);
                for tap in 0..TAPS {
                    sums[tap][part] = R::mul_add(simd, values[tap][pair], phase, sums[tap][part]);
                }
            }
        }
        sums
    }
}
