//! The spectra of x, a channel in each lane.
//!
//! ```text
//! X_f[b, ci] = Σ_p s[ci]·x[b, ci, p]·e^{−2πi·Σ_a f_a·p_a/N_a},   X at f = 0 less its mean over what is not transformed
//! stored as [channel block][outer, of those that are held][middle][inner][b][re, im][channel of the block]
//! ```
//! s[ci] is a power of two that brings a channel's largest value near 1: no square leaves the range of `f32`, and nothing is
//! rounded. Two real rows make one complex transform along the inner axis; what is not input is 0. A task is one block of
//! channels of one sample: the passes along the inner and the middle axis run in place in its scratch, and the one along the
//! outer axis stores the spectra. Samples lie side by side, as their products are summed.

use pulp::{Simd, WithSimd};

use super::cut::Held;
use super::dft::{Dft, Lengths};
use super::geometry::{Axis, Geometry, saturating};

use crate::cpu::simd::{Complex, MOST_LANES, Real, complex_mut, zero};
use crate::element::Element;

/// The transforms of the three axes.
#[derive(Debug)]
pub struct Transforms<R> {
    outer: Dft<R>,
    middle: Dft<R>,
    inner: Dft<R>,
}

impl<R: Real> Transforms<R> {
    pub fn of(geometry: &Geometry) -> Transforms<R> {
        let [outer, middle, inner] =
            [geometry.outer, geometry.middle, geometry.inner].map(|axis| Dft::new(length(&axis)));
        Transforms { outer, middle, inner }
    }
}

/// How long the transform along an axis is: none is one of a single element.
fn length(axis: &Axis) -> usize {
    if axis.is_transformed() { axis.n } else { 1 }
}

/// Complex vectors of scratch: the volume before its last pass, a line, and what its transform needs.
pub fn scratch_len(geometry: &Geometry) -> usize {
    let line = |axis: &Axis| length(axis).saturating_add(Lengths::of(length(axis)).scratch);
    let longest = [geometry.outer, geometry.middle, geometry.inner].iter().map(line).max();
    before_last_pass(geometry).saturating_add(longest.unwrap_or(0))
}

/// Complex values of the transforms' tables at most.
pub fn tables_len(geometry: &Geometry) -> usize {
    let axes = [geometry.outer, geometry.middle, geometry.inner];
    axes.iter().fold(0, |sum: usize, axis| sum.saturating_add(Lengths::of(length(axis)).tables))
}

/// Complex vectors of a volume whose outer axis is not transformed yet.
fn before_last_pass(geometry: &Geometry) -> usize {
    saturating(&[geometry.outer.extent, geometry.middle.n, geometry.stored()])
}

/// Where the spectra of all samples go, each to its own places.
#[derive(Debug, Clone, Copy)]
pub struct Destination<R> {
    start: *mut R,
    len: usize,
}

// SAFETY: tasks write to places of their own (`Destination::store`), and nobody reads before all have ended.
unsafe impl<R: Send> Send for Destination<R> {}
// SAFETY: as above.
unsafe impl<R: Send> Sync for Destination<R> {}

impl<R: Real> Destination<R> {
    pub fn of(spectra: &mut [R]) -> Destination<R> {
        Destination { start: spectra.as_mut_ptr(), len: spectra.len() }
    }

    /// Writes a complex vector.
    ///
    /// # Safety
    /// The slice that this was made of is borrowed still, and no other thread writes or reads this place meanwhile.
    #[inline(always)]
    unsafe fn store<S: Simd>(self, place: usize, value: Complex<R::Vector<S>>) {
        let lanes = 2 * R::lanes::<S>();
        assert!((place + 1) * lanes <= self.len, "a place of the spectra");
        // SAFETY: within the slice, by the assertion; vectors are as aligned as their values; alone, by the contract.
        unsafe { self.start.add(place * lanes).cast::<Complex<R::Vector<S>>>().write_unaligned(value) };
    }
}

/// One block of channels of one sample.
pub struct Spectra<'a, T, R> {
    pub geometry: &'a Geometry,
    pub transforms: &'a Transforms<R>,
    /// The block's volumes one after the other, at most as many as a vector has lanes.
    pub volumes: &'a [T],
    /// The power of two of each.
    pub scales: &'a [f64],
    pub scratch: &'a mut [R],
    /// [block][outer][middle][inner][b], complex vectors: what is held.
    pub spectra: Destination<R>,
    pub held: &'a Held,
    pub block: usize,
    /// Of those that are held.
    pub sample: usize,
}

impl<T, R> Spectra<'_, T, R> {
    /// The one of all tasks that write to one destination which has this block and sample.
    ///
    /// # Safety
    /// The slice that `spectra` was made of is borrowed while this runs, and no other task with this block and sample does.
    pub unsafe fn assume_alone(self) -> Alone<Self> {
        Alone(self)
    }
}

/// A task of which there is no other with the same places.
pub struct Alone<K>(K);

impl<T: Element, R: Real> WithSimd for Alone<Spectra<'_, T, R>> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Spectra { geometry, transforms, volumes, scales, scratch, spectra, held, block, sample } = self.0;
        let &Geometry { outer, middle, .. } = geometry;
        let stored = geometry.stored();
        let lanes = R::lanes::<S>();
        let channels = Block { volumes, scales, lanes };

        let (volume, scratch) = scratch.split_at_mut(before_last_pass(geometry) * 2 * lanes);
        inner_pass::<S, T, R>(simd, geometry, &transforms.inner, &channels, scratch, volume);
        let volume = complex_mut::<S, R>(volume);
        let scratch = complex_mut::<S, R>(scratch);
        if middle.is_transformed() {
            for plane in volume.chunks_exact_mut(middle.n * stored) {
                middle_pass::<S, R>(simd, &transforms.middle, plane, (stored, middle.extent, middle.n), scratch);
            }
        }
        let columns = middle.n * stored;
        let (planes, samples) = (held.planes.clone(), held.samples.len());
        let first = block * held.volume(geometry);
        let place = |p: usize, column: usize| (first + (p - planes.start) * columns + column) * samples + sample;
        if !outer.is_transformed() {
            remove_mean::<S, R>(simd, geometry, volume);
            let of_planes = planes.start * columns..planes.end * columns;
            for (at, value) in of_planes.clone().zip(&volume[of_planes]) {
                // SAFETY: block and sample are this task's alone, by the contract of `assume_alone`.
                unsafe { spectra.store::<S>(place(at / columns, at % columns), *value) };
            }
            return;
        }
        for column in 0..columns {
            let transformed = transform_line::<S, R>(
                simd,
                &transforms.outer,
                &volume[column..],
                (columns, outer.extent, outer.n),
                scratch,
            );
            for (p, value) in planes.clone().zip(&transformed[planes.clone()]) {
                // SAFETY: as above.
                unsafe { spectra.store::<S>(place(p, column), *value) };
            }
            // What the mean is made of, back where it is looked for; no other line has elements here.
            if column % stored == 0 {
                volume[column] = transformed[0];
            }
        }
        if planes.start > 0 {
            return;
        }
        remove_mean::<S, R>(simd, geometry, volume);
        for column in (0..middle.means()).map(|m| m * stored) {
            // SAFETY: as above.
            unsafe { spectra.store::<S>(place(0, column), volume[column]) };
        }
    }
}

/// Volumes of channels side by side.
struct Block<'a, T> {
    volumes: &'a [T],
    scales: &'a [f64],
    lanes: usize,
}

impl<T: Element> Block<'_, T> {
    /// Writes a row of each channel's volume into its lane of `line`, as real (0) or imaginary (1) parts.
    #[inline(always)]
    fn read<R: Real>(&self, start: usize, stride: usize, extent: usize, factor: f64, part: usize, line: &mut [R]) {
        let volume = self.volumes.len() / self.scales.len();
        for (lane, &scale) in self.scales.iter().enumerate() {
            let scale = R::from_f64(scale * factor);
            let row = &self.volumes[lane * volume + start..];
            let places = line[part * self.lanes + lane..].iter_mut().step_by(2 * self.lanes);
            for (place, value) in places.zip(row.iter().step_by(stride)).take(extent) {
                *place = R::of(*value) * scale;
            }
        }
    }
}

/// Rows of the input, two at a time, to their half spectra; or neighbours to pairs, where nothing is transformed.
#[inline(always)]
fn inner_pass<S: Simd, T: Element, R: Real>(
    simd: S,
    geometry: &Geometry,
    dft: &Dft<R>,
    block: &Block<'_, T>,
    scratch: &mut [R],
    spectra: &mut [R],
) {
    let &Geometry { outer, middle, inner } = geometry;
    let stored = geometry.stored();
    let rows = outer.extent * middle.extent;
    // Where a row begins in the input, and where its spectrum does.
    let from = |row: usize| row / middle.extent * outer.stride + row % middle.extent * middle.stride;
    let to = |row: usize| (row / middle.extent * middle.n + row % middle.extent) * stored;
    if !inner.is_transformed() {
        for row in 0..rows {
            let line = &mut spectra[to(row) * 2 * block.lanes..][..stored * 2 * block.lanes];
            for part in 0..2.min(inner.extent) {
                let extent = (inner.extent - part).div_ceil(2);
                block.read(from(row) + part * inner.stride, 2 * inner.stride, extent, 1.0, part, line);
            }
        }
        return;
    }
    let (line, scratch) = scratch.split_at_mut(inner.n * 2 * block.lanes);
    let scratch = complex_mut::<S, R>(scratch);
    for first in (0..rows).step_by(2) {
        line.fill(R::default());
        let pair = first + 1 < rows;
        // The halves of ½(Y + conj Y') are in the input already: a power of two.
        block.read(from(first), inner.stride, inner.extent, 0.5, 0, line);
        if pair {
            block.read(from(first + 1), inner.stride, inner.extent, 0.5, 1, line);
        }
        let y = dft.forward::<S>(simd, complex_mut::<S, R>(line), scratch);
        let spectra = complex_mut::<S, R>(spectra);
        for f in 0..stored {
            let ([ar, ai], [br, bi]) = (y[f], y[(inner.n - f) % inner.n]);
            spectra[to(first) + f] = [R::plus(simd, ar, br), R::minus(simd, ai, bi)];
            if pair {
                spectra[to(first + 1) + f] = [R::plus(simd, ai, bi), R::minus(simd, br, ar)];
            }
        }
    }
}

/// Transforms lines that lie side by side, in place: `extent` elements of each are there, `n` will be.
#[inline(always)]
fn middle_pass<S: Simd, R: Real>(
    simd: S,
    dft: &Dft<R>,
    plane: &mut [Complex<R::Vector<S>>],
    (columns, extent, n): (usize, usize, usize),
    scratch: &mut [Complex<R::Vector<S>>],
) {
    for column in 0..columns {
        let transformed = transform_line::<S, R>(simd, dft, &plane[column..], (columns, extent, n), scratch);
        for p in 0..n {
            plane[p * columns + column] = transformed[p];
        }
    }
}

/// The transform of a line, one element in `step` of `from`: `extent` elements are there, the rest of `n` is 0.
#[inline(always)]
fn transform_line<'a, S: Simd, R: Real>(
    simd: S,
    dft: &Dft<R>,
    from: &[Complex<R::Vector<S>>],
    (step, extent, n): (usize, usize, usize),
    scratch: &'a mut [Complex<R::Vector<S>>],
) -> &'a mut [Complex<R::Vector<S>>] {
    let (line, scratch) = scratch.split_at_mut(n);
    for p in 0..extent {
        line[p] = from[p * step];
    }
    for place in &mut line[extent..] {
        *place = zero::<S, R>(simd);
    }
    dft.forward::<S>(simd, line, scratch)
}

/// Takes the mean over positions of the axes that are not transformed off the values at frequency 0 of those that are: all
/// that the mean of z is made of. In `f64`: these are few values, or else there was no transform to do.
#[inline(always)]
fn remove_mean<S: Simd, R: Real>(simd: S, geometry: &Geometry, spectra: &mut [Complex<R::Vector<S>>]) {
    let &Geometry { outer, middle, inner } = geometry;
    let stored = geometry.stored();
    if [outer, middle, inner].iter().all(|axis| axis.means() == 1) {
        spectra[0] = zero::<S, R>(simd);
        return;
    }
    let paired = !inner.is_transformed();
    let along = if paired { stored } else { 1 };
    let count = (outer.means() * middle.means() * inner.means()) as f64;
    let odd = paired && inner.n % 2 == 1;
    let places = move || {
        let planes = (0..outer.means()).flat_map(move |o| (0..middle.means()).map(move |m| (o, m)));
        planes
            .flat_map(move |(o, m)| (0..along).map(move |f| ((o * middle.n + m) * stored + f, odd && f + 1 == stored)))
    };
    let lanes = R::lanes::<S>();
    // Real parts of all lanes, then imaginary ones, as they are stored.
    let mut sums = [0.0; 2 * MOST_LANES];
    let sums = &mut sums[..2 * lanes];
    for (at, _) in places() {
        let value: &[R] = bytemuck::cast_slice(&spectra[at]);
        for (sum, value) in sums.iter_mut().zip(value) {
            *sum += value.to_f64();
        }
    }
    for lane in 0..lanes {
        let (re, im) = (sums[lane] / count, sums[lanes + lane] / count);
        // Of a pair both parts are values; of a spectrum at frequency 0 the imaginary part is 0.
        (sums[lane], sums[lanes + lane]) = if paired { (re + im, re + im) } else { (re, im) };
    }
    for (at, last) in places() {
        let value: &mut [R] = bytemuck::cast_slice_mut(&mut spectra[at]);
        let parts = if last { lanes } else { 2 * lanes };
        for (value, mean) in value[..parts].iter_mut().zip(&*sums) {
            *value = R::from_f64(value.to_f64() - mean);
        }
    }
}
