//! Squared distances from the mean by Parseval, with the input's autocorrelation in place of a convolution.
//!
//! ```text
//! E[c] = Σ_b Σ_p (z[b,c,p] − m[b,c])² = 1/P Σ_{f≠0} Σ_ij W_f[i,c]·G_f[i,j]·conj W_f[j,c]      G_f = Σ_b X_f[b,i]·conj X_f[b,j]
//! ```
//! A kernel of K taps sees x's autocorrelation at lags |l| < K alone, so G goes from N points an axis to the 2K − 1 that
//! hold those lags, and the taps are never transformed at N points:
//!
//! 1. `transform`: the spectra of a cut of the batch;
//! 2. `gram`: G, frequency by frequency, onto the grid;
//! 3. `energy`: the quadratic form, point by point.
//!
//! With many channels over few positions the other order is less work: instead of 2 and 3, `product` makes Σ|X·W|² with taps
//! transformed at all N points, a line at a time. [`Order`] is chosen by the count of operations.
//!
//! The mean is the frequency 0 and is left out before anything is squared. In the precision of `R` but for the last sums:
//! `f32`, or `f64` for `f64` tensors and for strict precision. A channel whose energy is far below what its taps and the
//! input would allow has lost digits by cancellation ([`Energies::condition`]); the caller does it again in `f64`.
//!
//! Memory: the spectra of as many samples as [`SPECTRA_BYTES`] hold, and at least of one; Ĝ; and the planes of some tiles.
//! Work is cut by the shape and the vectors' width, never by the number of threads: any number gives the same bits.

mod dft;
mod energy;
mod geometry;
mod gram;
mod product;
mod taps;
mod transform;

use std::ops::Range;
use std::time::Instant;

use rayon::prelude::*;

use super::means::Sums;
use super::simd::{Aligned, Real, Width};
use super::watch::{Steps, Watch};
use super::{Operands, Stage};
use crate::Error;
use crate::element::Element;
use crate::memory;
use crate::problem::Problem;
use geometry::{Geometry, saturating};
use gram::{Kernels, Tile};
use transform::{Destination, Spectra, Transforms};

/// Bytes of spectra at once, unless one sample has more. The batch is cut to hold it: products cost the same in cuts, but
/// each cut goes onto the grid by itself.
const SPECTRA_BYTES: usize = 64 << 20;
/// Bytes of planes on the grid at once, unless one has more.
const PLANES_BYTES: usize = 8 << 20;
/// Planes at once at most.
const PLANES: usize = 64;

/// In what order the factors of Σ |X·W|² are multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// The spectra of x with each other first: `gram` and `energy`.
    Gram,
    /// The spectra of x with those of the taps first: `product`.
    Product,
}

/// How a problem is cut: by its shape, the precision and the width of vectors.
#[derive(Debug)]
struct Cut {
    geometry: Geometry,
    width: Width,
    lanes: usize,
    /// Blocks of input channels.
    blocks: usize,
    /// Pairs of blocks.
    tiles: usize,
    /// Samples whose spectra are held at once.
    samples: usize,
    planes: usize,
    tiles_at_once: usize,
    order: Order,
}

impl Cut {
    fn of<R: Real>(problem: &Problem) -> Cut {
        let geometry = Geometry::of(problem);
        let width = Width::fitting::<R>(problem.in_channels());
        let lanes = width.lanes::<R>();
        let blocks = problem.in_channels().div_ceil(lanes);
        let sample = saturating(&[blocks, geometry.volume(), 2 * lanes * size_of::<R>()]);
        let most = (SPECTRA_BYTES / sample).clamp(1, problem.batch());
        let cuts = problem.batch().div_ceil(most);
        let tiles = gram::tile_count(blocks);
        let planes = geometry.outer.n.div_ceil(geometry.outer.n.div_ceil(PLANES));
        let mut cut = Cut {
            samples: problem.batch().div_ceil(cuts),
            tiles_at_once: 1,
            order: Order::Gram,
            geometry,
            width,
            lanes,
            blocks,
            tiles,
            planes,
        };
        cut.tiles_at_once = (PLANES_BYTES / saturating(&[cut.plane(), planes, size_of::<R>()])).clamp(1, cut.tiles);
        let of = |order| cut.operations(problem, order).iter().sum::<f64>();
        if of(Order::Product) < of(Order::Gram) {
            cut.order = Order::Product;
        }
        cut
    }

    /// Multiplications and additions of vectors after the transform, were they done in this order: those that are done while
    /// the spectra are there, and those after.
    fn operations(&self, problem: &Problem, order: Order) -> [f64; 2] {
        let Geometry { outer, middle, inner } = self.geometry;
        let [n, m] = [[outer.n, middle.n, self.geometry.stored()], [outer.grid(), middle.grid(), inner.grid()]]
            .map(|axes| axes.map(|length| length as f64));
        let batch = problem.batch() as f64;
        let cuts = problem.batch().div_ceil(self.samples) as f64;
        let pairs = self.tiles as f64 * self.lanes as f64;
        let vectors = problem.out_channels().div_ceil(self.lanes) as f64;
        let (channels, taps) = (problem.in_channels() as f64, problem.taps() as f64);
        // The spectra of the taps at `frequencies` of a line.
        let of_taps = |frequencies: f64| vectors * channels * (2.0 * taps + 4.0 * inner.taps as f64 * frequencies);
        match order {
            Order::Gram => {
                let products = n[0] * n[1] * n[2] * 4.0 * batch;
                let onto =
                    cuts * n[0] * (2.0 * n[1] * n[2] * m[2] + 2.0 * n[1] * m[1] * m[2] + 2.0 * m[0] * m[1] * m[2]);
                let half = inner.taps as f64;
                let form = vectors * half * 4.0 * pairs * self.lanes as f64;
                [pairs * (products + onto), m[0] * m[1] * (of_taps(half) + form)]
            }
            Order::Product => [n[0] * n[1] * (cuts * of_taps(n[2]) + vectors * channels * n[2] * 4.0 * batch), 0.0],
        }
    }

    /// Multiplications and additions of vectors of the transform.
    fn transform_operations(&self, problem: &Problem) -> f64 {
        let Geometry { outer, middle, inner } = self.geometry;
        // A fifth of 5·n·log2 n flops are of multiplications and additions in one; reading and storing count as much again.
        let of_line = |n: usize, transformed: bool| n as f64 * if transformed { 5.0 * (n as f64).log2() } else { 2.0 };
        let stored = self.geometry.stored() as f64;
        let lines = (outer.extent * middle.extent) as f64 / 2.0 * of_line(inner.n, inner.is_transformed())
            + outer.extent as f64 * stored * of_line(middle.n, middle.is_transformed())
            + middle.n as f64 * stored * of_line(outer.n, outer.is_transformed());
        problem.batch() as f64 * self.blocks as f64 * lines
    }

    /// Values of a block of channels' spectra.
    fn volume(&self) -> usize {
        saturating(&[self.geometry.volume(), 2, self.lanes])
    }

    /// Values of a tile's plane on the grid.
    fn plane(&self) -> usize {
        saturating(&[self.geometry.middle.grid(), self.geometry.inner.grid(), self.lanes, 2, self.lanes])
    }

    /// Values of a tile's Ĝ.
    fn gram(&self) -> usize {
        saturating(&[self.geometry.half_grid(), self.lanes, 2, self.lanes])
    }

    /// Output channels, in whole vectors.
    fn padded_outputs(&self, problem: &Problem) -> usize {
        problem.out_channels().next_multiple_of(self.lanes)
    }

    /// Values of scratch of the largest task.
    fn scratch<R: Real>(&self, in_channels: usize) -> usize {
        let of_grams = gram::plane_scratch::<R>(&self.geometry, self.lanes);
        let of_energies = match self.order {
            Order::Gram => energy::line_scratch(&self.geometry, in_channels, self.lanes),
            Order::Product => product::line_scratch(&self.geometry, in_channels, self.lanes),
        };
        let of_transforms = Transforms::<R>::of(&self.geometry).scratch_len(&self.geometry) * 2 * self.lanes;
        of_transforms.max(of_grams).max(of_energies)
    }
}

/// Bytes beside the tensors.
pub(super) fn workspace_bytes<R: Real>(problem: &Problem, threads: usize) -> u64 {
    let cut = Cut::of::<R>(problem);
    let size = size_of::<R>() as u64;
    let product = |factors: [usize; 3]| factors.iter().fold(1u64, |product, &f| product.saturating_mul(f as u64));
    let spectra = product([cut.samples, cut.blocks, cut.volume()]);
    let planes = product([cut.tiles_at_once, cut.planes, cut.plane()]);
    let grams = product([cut.tiles, cut.gram(), 1]);
    let taps = product([cut.padded_outputs(problem), problem.in_channels(), problem.taps()]);
    let lines = product([cut.lines(), cut.padded_outputs(problem), 8]);
    let (planes, grams, tables) = match cut.order {
        Order::Gram => (planes, grams, cut.geometry.tables() as u64),
        Order::Product => (0, 0, 0),
    };
    let scratch = product([threads, cut.scratch::<R>(problem.in_channels()), 1]);
    [spectra, planes, grams, tables, taps, scratch]
        .iter()
        .fold(0u64, |sum, &values| sum.saturating_add(values))
        .saturating_mul(size)
        .saturating_add(lines)
}

/// Multiplications and additions of vectors.
pub(super) fn operations<R: Real>(problem: &Problem) -> f64 {
    let cut = Cut::of::<R>(problem);
    cut.transform_operations(problem) + cut.operations(problem, cut.order).iter().sum::<f64>()
}

/// What the spectral way finds.
pub(super) struct Energies {
    /// Σ_{b,p} (z − m)², for each output channel.
    pub squares: Vec<f64>,
    /// How much larger rounding errors are than those of a sum that does not cancel. With the energy that taps and input have
    /// apart, over what is left when they meet, Σ_i ‖w[i,c]‖²·Σ|x[i] − mean|² / E[c], they grow as its square root where
    /// amplitudes are rounded before they are squared, and as itself by the Gram matrix.
    pub condition: f64,
    /// What took how long.
    pub stages: Vec<Stage>,
}

/// Σ_{b,p} (z[b,c,p] − m[b,c])² for each channel.
///
/// # Errors
/// [`Error::Memory`] where the workspace does not fit, [`Error::Cancelled`].
pub(super) fn sum_of_squares<T: Element, R: Real>(
    operands: &Operands<'_, T>,
    sums: &Sums,
    watch: Watch<'_>,
) -> Result<Energies, Error> {
    let problem = operands.problem;
    let cut = Cut::of::<R>(problem);
    let steps = Steps::new(watch, cut.steps(problem.batch()));
    let scales: Vec<f64> = sums.largest.iter().map(|&largest| power_of_two::<R>(largest)).collect();
    let mut stages = Stages::default();
    let size = size_of::<R>() as u64;
    let of_spectra = (problem.batch() * cut.blocks * cut.volume()) as u64 * size;
    let of_taps = (cut.padded_outputs(problem) * problem.in_channels() * problem.taps()) as u64 * size;
    let of_tensors = |elements: usize| elements as u64 * T::DTYPE.bytes() as u64;
    let flops = |operations: f64| (2.0 * cut.lanes as f64 * operations) as u64;
    let [in_cuts, after] = cut.operations(problem, cut.order);
    let taps = stages
        .time(("taps", of_tensors(operands.w.len()) + of_taps, problem.kernel_elements() as u64), || {
            Taps::<R>::of(operands, &cut, &scales)
        })?;
    let tiles = if cut.order == Order::Gram { gram::tiles(cut.blocks)? } else { Vec::new() };
    let grams = saturating(&[tiles.len(), cut.gram()]);
    let mut gram = Aligned::<R>::zeros("the Gram matrix", grams)?;
    let mut lines =
        memory::try_filled("energies of lines", saturating(&[cut.lines(), cut.padded_outputs(problem)]), 0.0)?;
    {
        let mut spectra = Aligned::<R>::zeros("the spectra", saturating(&[cut.samples, cut.blocks, cut.volume()]))?;
        let planes = saturating(&[cut.tiles_at_once.min(tiles.len()), cut.planes, cut.plane()]);
        let mut planes = Aligned::<R>::zeros("planes of the grid", planes)?;
        let transforms = Transforms::of(&cut.geometry);
        let kernels = if cut.order == Order::Gram { Some(Kernels::of(&cut.geometry)?) } else { None };
        for first in (0..problem.batch()).step_by(cut.samples) {
            let samples = first..problem.batch().min(first + cut.samples);
            let spectra = &mut spectra.as_mut_slice()[..samples.len() * cut.blocks * cut.volume()];
            let cost = (of_tensors(operands.x.len()) + of_spectra, flops(cut.transform_operations(problem)));
            stages.time(("transform", cost.0, cost.1), || {
                transform(operands, &cut, &transforms, &scales, samples.clone(), &steps, spectra)
            })?;
            match &kernels {
                Some(kernels) => stages.time(("gram", of_spectra, flops(in_cuts)), || {
                    let buffers = (planes.as_mut_slice(), gram.as_mut_slice());
                    add_grams(problem, &cut, &tiles, kernels, spectra, &steps, buffers)
                })?,
                None => stages.time(("product", of_spectra + of_taps, flops(in_cuts)), || {
                    add_products(problem, &cut, &taps, spectra, samples.len(), &steps, &mut lines)
                })?,
            }
        }
    }
    let grid = match cut.order {
        Order::Gram => {
            let cost = (size * grams as u64 + of_taps, flops(after));
            stages.time(("energy", cost.0, cost.1), || {
                energies(problem, &cut, &tiles, &taps, gram.as_slice(), &steps, &mut lines)
            })?;
            cut.geometry.grid()
        }
        Order::Product => 1,
    };
    let padded = cut.padded_outputs(problem);
    let factor = 1.0 / (cut.geometry.transformed() as f64 * grid as f64);
    let sum = |c: usize| lines[c..].iter().step_by(padded).sum::<f64>() * factor;
    let squares: Vec<f64> = taps.scales.iter().enumerate().map(|(c, t)| sum(c) / t / t).collect();
    // The means are left out before anything is squared.
    let of_means = sums.x.map(|x| x * x).sum_axis(ndarray::Axis(0)) / problem.positions() as f64;
    let cancelled = sums.cancelled(&(&sums.squares - of_means), &squares);
    Ok(Energies {
        squares,
        condition: if cut.order == Order::Gram { cancelled } else { cancelled.sqrt() },
        stages: stages.0,
    })
}

impl Cut {
    /// Lines whose energies are summed apart: of the grid, or of frequencies.
    fn lines(&self) -> usize {
        let axes = [self.geometry.outer, self.geometry.middle];
        saturating(&axes.map(|axis| if self.order == Order::Gram { axis.grid() } else { axis.n }))
    }

    /// Tasks of a run, for progress.
    fn steps(&self, batch: usize) -> u64 {
        let cuts = batch.div_ceil(self.samples);
        let energies = match self.order {
            Order::Gram => saturating(&[cuts, self.tiles, self.geometry.outer.n]).saturating_add(self.lines()),
            Order::Product => saturating(&[cuts, self.lines()]),
        };
        energies.saturating_add(saturating(&[batch, self.blocks])) as u64
    }
}

/// Stages by name, in the order of their first appearance.
#[derive(Default)]
struct Stages(Vec<Stage>);

impl Stages {
    /// Does some of a stage's work. The name, and bytes and flops of all of it.
    fn time<V>(&mut self, (name, bytes, flops): (&'static str, u64, u64), work: impl FnOnce() -> V) -> V {
        let began = Instant::now();
        let value = work();
        let seconds = began.elapsed().as_secs_f64();
        match self.0.iter_mut().find(|stage| stage.name == name) {
            Some(stage) => stage.seconds += seconds,
            None => self.0.push(Stage { name, seconds, bytes, flops }),
        }
        value
    }
}

/// The power of two that brings `largest` into [1, 2), so far as squares of `R` allow; 1 for what is 0 or not finite.
fn power_of_two<R: Real>(largest: f64) -> f64 {
    if largest == 0.0 || !largest.is_finite() {
        return 1.0;
    }
    let limit = if size_of::<R>() == 4 { 100.0 } else { 900.0 };
    (-largest.log2().floor().clamp(-limit, limit)).exp2()
}

/// The spectra of some samples, a block of channels a task.
fn transform<T: Element, R: Real>(
    operands: &Operands<'_, T>,
    cut: &Cut,
    transforms: &Transforms<R>,
    scales: &[f64],
    samples: Range<usize>,
    steps: &Steps<'_>,
    spectra: &mut [R],
) -> Result<(), Error> {
    let (channels, volume) = (operands.problem.in_channels(), operands.problem.input_volume());
    let scratch_len = transforms.scratch_len(&cut.geometry) * 2 * cut.lanes;
    let spectra = Destination::of(spectra);
    (0..samples.len() * cut.blocks).into_par_iter().try_for_each_init(
        || Aligned::zeros("a volume's transform", scratch_len),
        |scratch, task| {
            let (sample, block) = (task / cut.blocks, task % cut.blocks);
            let of_block = block * cut.lanes..channels.min((block + 1) * cut.lanes);
            let first = (samples.start + sample) * channels;
            let task = Spectra {
                geometry: &cut.geometry,
                transforms,
                volumes: &operands.x[(first + of_block.start) * volume..(first + of_block.end) * volume],
                scales: &scales[of_block],
                scratch: scratch.as_mut().map_err(|error| error.clone())?.as_mut_slice(),
                spectra,
                block,
                sample,
                samples: samples.len(),
            };
            // SAFETY: `task` counts every pair of sample and block once, and the slice is borrowed until all are done.
            cut.width.run(unsafe { task.assume_alone() });
            steps.done()
        },
    )
}

/// Adds the Gram matrix of some samples on the grid: some planes of some tiles at a time, a plane of a tile a task.
fn add_grams<R: Real>(
    problem: &Problem,
    cut: &Cut,
    tiles: &[Tile],
    kernels: &Kernels<R>,
    spectra: &[R],
    steps: &Steps<'_>,
    (planes, gram): (&mut [R], &mut [R]),
) -> Result<(), Error> {
    let scratch_len = gram::plane_scratch::<R>(&cut.geometry, cut.lanes);
    let samples = spectra.len() / (cut.blocks * cut.volume());
    for first in (0..cut.geometry.outer.n).step_by(cut.planes) {
        let range = first..cut.geometry.outer.n.min(first + cut.planes);
        let of_tile = range.len() * cut.plane();
        let groups = tiles.chunks(cut.tiles_at_once).zip(gram.chunks_mut(cut.tiles_at_once * cut.gram()));
        for (tiles, gram) in groups {
            let planes = &mut planes[..tiles.len() * of_tile];
            planes.par_chunks_exact_mut(cut.plane()).enumerate().try_for_each_init(
                || Aligned::zeros("a plane's lines", scratch_len),
                |scratch, (task, grid)| {
                    let tile = tiles[task / range.len()];
                    cut.width.run(gram::Plane {
                        geometry: &cut.geometry,
                        kernels,
                        spectra,
                        samples,
                        tile,
                        rows: cut.lanes.min(problem.in_channels() - tile.i * cut.lanes),
                        plane: range.start + task % range.len(),
                        scratch: scratch.as_mut().map_err(|error| error.clone())?.as_mut_slice(),
                        grid,
                    });
                    steps.done()
                },
            )?;
            let onto = planes.par_chunks_exact(of_tile).zip(gram.par_chunks_exact_mut(cut.gram()));
            onto.for_each_init(
                || vec![R::default(); gram::onto_scratch(&cut.geometry, cut.lanes)],
                |scratch, (from, gram)| {
                    let planes = range.clone();
                    cut.width.run(gram::Onto { geometry: &cut.geometry, kernels, planes, from, scratch, gram });
                },
            );
        }
    }
    Ok(())
}

/// The kernel as the energies read it.
struct Taps<R> {
    /// w / s[i] · t[c]: [vector of c][i][tap][c].
    values: Aligned<R>,
    /// t, for each output channel.
    scales: Vec<f64>,
}

impl<R: Real> Taps<R> {
    fn of<T: Element>(operands: &Operands<'_, T>, cut: &Cut, scales: &[f64]) -> Result<Taps<R>, Error> {
        let problem = operands.problem;
        let (ci, co, taps, lanes) = (problem.in_channels(), problem.out_channels(), problem.taps(), cut.lanes);
        let mut values = Aligned::<R>::zeros("the taps", cut.padded_outputs(problem) * ci * taps)?;
        let of_blocks: Vec<Vec<f64>> = values
            .as_mut_slice()
            .par_chunks_exact_mut(ci * taps * lanes)
            .enumerate()
            .map(|(block, values)| {
                let mut of_channels = Vec::new();
                for (lane, c) in (block * lanes..co.min((block + 1) * lanes)).enumerate() {
                    let row = |i: usize| operands.w[(i * co + c) * taps..][..taps].iter().map(|tap| tap.to_f64());
                    let largest = |i: usize| row(i).fold(0.0, |max: f64, tap| max.max(tap.abs()));
                    let scale = power_of_two::<R>((0..ci).map(|i| largest(i) / scales[i]).fold(0.0, f64::max));
                    for i in 0..ci {
                        let factor = scale / scales[i];
                        let places = values[i * taps * lanes + lane..].iter_mut().step_by(lanes);
                        for (place, tap) in places.zip(row(i)) {
                            *place = R::from_f64(tap * factor);
                        }
                    }
                    of_channels.push(scale);
                }
                of_channels
            })
            .collect();
        Ok(Taps { values, scales: of_blocks.concat() })
    }
}

/// Σ_g Σ_ij W·Ĝ·conj W for each line of the grid and output channel: a line a task.
fn energies<R: Real>(
    problem: &Problem,
    cut: &Cut,
    tiles: &[Tile],
    taps: &Taps<R>,
    gram: &[R],
    steps: &Steps<'_>,
    lines: &mut [f64],
) -> Result<(), Error> {
    let middle = cut.geometry.middle.grid();
    let scratch_len = energy::line_scratch(&cut.geometry, problem.in_channels(), cut.lanes);
    lines.par_chunks_exact_mut(cut.padded_outputs(problem)).enumerate().try_for_each_init(
        || Aligned::zeros("the spectra of the taps", scratch_len),
        |scratch, (line, energies)| {
            cut.width.run(energy::GridLine {
                geometry: &cut.geometry,
                at: [line / middle, line % middle],
                taps: taps.values.as_slice(),
                in_channels: problem.in_channels(),
                tiles,
                gram,
                scratch: scratch.as_mut().map_err(|error: &mut Error| error.clone())?.as_mut_slice(),
                energies,
            });
            steps.done()
        },
    )
}

/// Adds Σ_f Σ_b |X·W|² of some samples for each line of frequencies and output channel: a line a task.
fn add_products<R: Real>(
    problem: &Problem,
    cut: &Cut,
    taps: &Taps<R>,
    spectra: &[R],
    samples: usize,
    steps: &Steps<'_>,
    lines: &mut [f64],
) -> Result<(), Error> {
    let middle = cut.geometry.middle.n;
    let scratch_len = product::line_scratch(&cut.geometry, problem.in_channels(), cut.lanes);
    lines.par_chunks_exact_mut(cut.padded_outputs(problem)).enumerate().try_for_each_init(
        || Aligned::zeros("the spectra of the taps", scratch_len),
        |scratch, (line, energies)| {
            cut.width.run(product::FrequencyLine {
                geometry: &cut.geometry,
                at: [line / middle, line % middle],
                taps: taps.values.as_slice(),
                in_channels: problem.in_channels(),
                spectra,
                samples,
                scratch: scratch.as_mut().map_err(|error: &mut Error| error.clone())?.as_mut_slice(),
                energies,
            });
            steps.done()
        },
    )
}
