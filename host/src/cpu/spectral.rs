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
//! transformed at all N points, some lines at a time. [`Order`](cut::Order) is chosen by the count of operations.
//!
//! The mean is the frequency 0 and is left out before anything is squared. In the precision of `R` but for the last sums:
//! `f32`, or `f64` for `f64` tensors and for strict precision. A channel whose energy is far below what its taps and the
//! input would allow has lost digits by cancellation ([`Energies::condition`]); the caller does it again in `f64`.
//!
//! Memory and cuts: `cut`. They never depend on the number of threads: any number gives the same bits.

mod cut;
mod dft;
mod energy;
mod geometry;
mod gram;
mod product;
mod taps;
mod transform;

use std::ops::Range;

use rayon::prelude::*;

use super::means::Sums;
use super::simd::{Aligned, Real};
use super::stages::{Stages, Work};
use super::watch::{Steps, Watch};
use super::{Operands, too_little};
use crate::Error;
use crate::element::Element;
use crate::memory;
use crate::problem::Problem;
use cut::Held;
pub(super) use cut::{Cut, Order};
use geometry::saturating;
use gram::{Kernels, Tile};
use taps::{Phases, Taps, power_of_two};
use transform::{Destination, Spectra, Transforms};

/// Bytes beside the tensors that a run with so many threads takes, of `budget` at most.
///
/// # Errors
/// The bytes that would do, where those are more.
pub(super) fn workspace_bytes<R: Real>(problem: &Problem, budget: u64, threads: usize) -> Result<u64, u64> {
    Cut::of::<R>(problem, budget).map(|cut| cut.bytes(threads))
}

/// Multiplications and additions of vectors.
pub(super) fn operations<R: Real>(problem: &Problem, budget: u64) -> f64 {
    Cut::of::<R>(problem, budget).map_or(f64::INFINITY, |cut| cut.operations())
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
    pub stages: Stages,
}

/// Σ_{b,p} (z[b,c,p] − m[b,c])² for each channel, in a workspace of at most `budget` bytes.
///
/// # Errors
/// [`Error::Ineligible`] where the budget is too small, [`Error::Memory`] where the workspace does not fit,
/// [`Error::Cancelled`].
pub(super) fn sum_of_squares<T: Element, R: Real>(
    operands: &Operands<'_, T>,
    sums: &Sums,
    budget: u64,
    watch: Watch<'_>,
) -> Result<Energies, Error> {
    let problem = operands.problem;
    let cut = Cut::of::<R>(problem, budget).map_err(|needed| too_little(needed, budget))?;
    let mut stages = Stages::default();
    let energies = saturating(&[cut.tasks(), cut.of_task_len()]);
    let mut energies = memory::try_filled("energies of lines", energies, 0.0)?;
    let scales: Vec<f64> = sums.largest.iter().map(|&largest| power_of_two::<R>(largest)).collect();
    let bytes = |values: usize| values as u64 * size_of::<R>() as u64;
    let flops = |operations: f64| (2.0 * cut.lanes as f64 * operations) as u64;
    let of_kernel = problem.kernel_elements() as u64;
    let work = Work { bytes: of_kernel * T::DTYPE.bytes() as u64 + bytes(cut.taps()), flops: of_kernel };
    let taps = stages.time("taps", work, || Taps::<R>::of(operands, sums, &cut, &scales))?;
    let phases = Phases::of(&cut.geometry, cut.points())?;
    let run = Run { problem, cut: &cut, steps: Steps::new(watch, cut.steps()), taps, phases };

    let [while_held, after] = cut.product_operations();
    let tiles = if cut.order == Order::Gram { gram::tiles(cut.blocks)? } else { Vec::new() };
    let mut gram = Aligned::<R>::zeros("the Gram matrix", cut.grams())?;
    {
        let mut spectra = Aligned::<R>::zeros("the spectra", cut.spectra())?;
        let mut planes = Aligned::<R>::zeros("planes of the grid", cut.planes_on_grid())?;
        let transforms = Transforms::of(&cut.geometry);
        let kernels = if cut.order == Order::Gram { Some(Kernels::of(&cut.geometry)?) } else { None };
        for held in cut.cuts() {
            let len = saturating(&[held.samples.len(), cut.blocks, held.volume(&cut.geometry), 2, cut.lanes]);
            let spectra = &mut spectra.as_mut_slice()[..len];
            let share = (held.samples.len() * held.planes.len()) as f64
                / (problem.batch() as f64 * cut.geometry.outer.n as f64);
            let of_input = problem.input_elements() / problem.batch() * held.samples.len();
            let work = Work {
                bytes: of_input as u64 * T::DTYPE.bytes() as u64 + bytes(len),
                flops: flops(share * cut.transform_operations()),
            };
            stages.time("transform", work, || run.transform(operands, &transforms, &scales, &held, spectra))?;
            let flops = flops(share * while_held);
            match &kernels {
                Some(kernels) => stages.time("gram", Work { bytes: bytes(len), flops }, || {
                    let buffers = (planes.as_mut_slice(), gram.as_mut_slice());
                    run.add_grams(&tiles, kernels, spectra, &held, buffers)
                })?,
                None => stages.time("product", Work { bytes: bytes(len + cut.taps()), flops }, || {
                    run.add_products(spectra, &held, &mut energies)
                })?,
            }
        }
    }
    let grid = match cut.order {
        Order::Gram => {
            let work = Work { bytes: bytes(cut.grams() + cut.taps()), flops: flops(after) };
            stages.time("energy", work, || run.energies(&tiles, gram.as_slice(), &mut energies))?;
            cut.geometry.grid()
        }
        Order::Product => 1,
    };
    let factor = 1.0 / (cut.geometry.transformed() as f64 * grid as f64);
    let sum = |c: usize| cut.of_channel(&energies, c).sum::<f64>() * factor;
    let squares: Vec<f64> = run.taps.scales.iter().enumerate().map(|(c, t)| sum(c) / t / t).collect();
    // The means are left out before anything is squared.
    let of_means = sums.x.map(|x| x * x).sum_axis(ndarray::Axis(0)) / problem.positions() as f64;
    let cancelled = sums.cancelled(&(&sums.squares - of_means), &squares)?;
    let condition = if cut.order == Order::Gram { cancelled } else { cancelled.sqrt() };
    Ok(Energies { squares, condition, stages })
}

/// What all stages of a run have in common.
struct Run<'a, R> {
    problem: &'a Problem,
    cut: &'a Cut,
    steps: Steps<'a>,
    taps: Taps<R>,
    phases: Phases<R>,
}

impl<R: Real> Run<'_, R> {
    /// The spectra that are held, a block of channels of a sample a task.
    fn transform<T: Element>(
        &self,
        operands: &Operands<'_, T>,
        transforms: &Transforms<R>,
        scales: &[f64],
        held: &Held,
        spectra: &mut [R],
    ) -> Result<(), Error> {
        let Run { problem, cut, .. } = self;
        let (channels, volume) = (problem.in_channels(), problem.input_volume());
        let spectra = Destination::of(spectra);
        cut.transforms().each((0..held.samples.len() * cut.blocks).into_par_iter(), |task, scratch| {
            let (sample, block) = (task / cut.blocks, task % cut.blocks);
            let of_block = block * cut.lanes..channels.min((block + 1) * cut.lanes);
            let first = (held.samples.start + sample) * channels;
            let task = Spectra {
                geometry: &cut.geometry,
                transforms,
                volumes: &operands.x[(first + of_block.start) * volume..(first + of_block.end) * volume],
                scales: &scales[of_block],
                scratch,
                spectra,
                held,
                block,
                sample,
            };
            // SAFETY: `task` counts every pair of sample and block once, and the slice is borrowed until all are done.
            cut.width.run(unsafe { task.assume_alone() });
            self.steps.done()
        })
    }

    /// Adds the Gram matrix of what is held on the grid: some planes of some tiles at a time, a plane of a tile a task.
    fn add_grams(
        &self,
        tiles: &[Tile],
        kernels: &Kernels<R>,
        spectra: &[R],
        held: &Held,
        (planes, gram): (&mut [R], &mut [R]),
    ) -> Result<(), Error> {
        let Run { problem, cut, .. } = self;
        for first in held.planes.clone().step_by(cut.planes) {
            let range = first..held.planes.end.min(first + cut.planes);
            let of_tile = range.len() * cut.plane();
            let groups = tiles.chunks(cut.tiles_at_once).zip(gram.chunks_mut(cut.tiles_at_once * cut.gram()));
            for (tiles, gram) in groups {
                let planes = &mut planes[..tiles.len() * of_tile];
                cut.products().each(
                    planes.par_chunks_exact_mut(cut.plane()).enumerate(),
                    |(task, grid), scratch| {
                        let tile = tiles[task / range.len()];
                        cut.width.run(gram::Plane {
                            geometry: &cut.geometry,
                            kernels,
                            spectra,
                            held,
                            tile,
                            rows: cut.lanes.min(problem.in_channels() - tile.i * cut.lanes),
                            plane: range.start + task % range.len(),
                            scratch,
                            grid,
                        });
                        self.steps.done()
                    },
                )?;
                let onto = planes.par_chunks_exact(of_tile).zip(gram.par_chunks_exact_mut(cut.gram()));
                cut.onto().each(onto, |(from, gram), scratch| {
                    let planes = range.clone();
                    cut.width.run(gram::Onto { geometry: &cut.geometry, kernels, planes, from, scratch, gram });
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    /// Σ_g Σ_ij W·Ĝ·conj W for each line of the grid and output channel.
    fn energies(&self, tiles: &[Tile], gram: &[R], energies: &mut [f64]) -> Result<(), Error> {
        let Run { problem, cut, phases, .. } = self;
        let middle = cut.geometry.middle.grid();
        let tasks = energies.par_chunks_exact_mut(cut.of_task_len()).enumerate();
        cut.energies().each(tasks, |(task, energies), scratch| {
            let (lines, vectors) = cut.task(task);
            for (line, energies) in lines.zip(energies.chunks_exact_mut(cut.vectors_at_once * cut.lanes)) {
                cut.width.run(energy::GridLine {
                    geometry: &cut.geometry,
                    phases,
                    at: [line / middle, line % middle],
                    taps: self.taps_of(vectors.clone()),
                    in_channels: problem.in_channels(),
                    tiles,
                    gram,
                    scratch,
                    energies,
                });
            }
            self.steps.done()
        })
    }

    /// Adds Σ_f Σ_b |X·W|² of what is held for each line of frequencies and output channel.
    fn add_products(&self, spectra: &[R], held: &Held, energies: &mut [f64]) -> Result<(), Error> {
        let Run { problem, cut, phases, .. } = self;
        let middle = cut.geometry.middle.n;
        let of_planes: Range<usize> = held.planes.start * middle..held.planes.end * middle;
        let width = cut.vectors_at_once * cut.lanes;
        let tasks = energies.par_chunks_exact_mut(cut.of_task_len()).enumerate();
        cut.energies().each(tasks, |(task, energies), scratch| {
            let (of_task, vectors) = cut.task(task);
            let lines = of_task.start.max(of_planes.start)..of_task.end.min(of_planes.end);
            if !lines.is_empty() {
                let energies = &mut energies[(lines.start - of_task.start) * width..][..lines.len() * width];
                cut.width.run(product::FrequencyLines {
                    geometry: &cut.geometry,
                    phases,
                    lines,
                    taps: self.taps_of(vectors),
                    in_channels: problem.in_channels(),
                    spectra,
                    held,
                    scratch,
                    energies,
                });
            }
            self.steps.done()
        })
    }

    /// The taps of some vectors of output channels.
    fn taps_of(&self, vectors: Range<usize>) -> &[R] {
        let of_vector = self.problem.in_channels() * self.problem.taps() * self.cut.lanes;
        &self.taps.values.as_slice()[vectors.start * of_vector..vectors.end * of_vector]
    }
}
