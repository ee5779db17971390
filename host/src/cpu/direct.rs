//! Squared distances from known means, by matrix products over blocks of the convolution.
//!
//! ```text
//! z[c, (b, w)] = Σ_r W[r, c]·X[r, (b, w)]      for one line (d, h) of output positions
//! M2[c]       += (z − m[b,c])²                 z never leaves its block
//! ```
//! A row r is a tap and an input channel, (kd, kh, ci, kw); X holds the input elements the taps meet, 0
//! past the ends of a line (im2col). Taps that miss the line in depth or height are left out: rows are
//! ordered so that those which are left are contiguous for each kd.
//!
//! Work is cut into channel blocks (whose weights are packed once), lines and column blocks. Column
//! blocks of all lines are dealt to a fixed number of groups; each group keeps its own M2, merged in order.
//! Cost: 2·B·Cin·Cout·Nw·D·H·taps flops: a factor Nw/W above the definition.
//! Products are `matrixmultiply`'s, through `ndarray`, in the precision of `R`; squares are summed in `f64`. z carries the
//! rounding of a sum over Cin·taps, about 1e-7 of it in `f32`.

use std::ops::Range;

use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, ArrayView2, ArrayViewMut2};
use rayon::prelude::*;

use super::Operands;
use super::means::{CentredMeans, mean_of};
use super::simd::Real;
use super::watch::{Steps, Watch};
use crate::Error;
use crate::element::Element;
use crate::memory;
use crate::problem::Problem;

/// Output channels of a block at most.
const CHANNELS: usize = 256;
/// Columns of a block at most; with `ROWS` it makes a block of X 1 MiB, and so is z's.
const COLUMNS: usize = 512;
/// Rows of X at most.
const ROWS: usize = 256;
/// Groups of blocks at most: enough to keep any machine's cores busy, few enough to merge at no cost.
const GROUPS: usize = 1024;

/// Σ_{b,p} (z[b,c,p] − m[b,c])² for each channel.
///
/// # Errors
/// [`Error::Memory`] where packed weights and scratch do not fit.
pub(super) fn sum_of_squares<T: Element, R: Real>(
    operands: &Operands<'_, T>,
    means: &CentredMeans,
    watch: Watch<'_>,
) -> Result<Array1<f64>, Error> {
    let cut = Cut::of(operands.problem);
    let steps = Steps::new(watch, (cut.channel_blocks * cut.groups) as u64);
    let mut squares = Array1::zeros(operands.problem.out_channels());
    for block in 0..cut.channel_blocks {
        let channels = part(operands.problem.out_channels(), cut.channel_blocks, block);
        let weights = Weights::<R>::pack(operands, channels.clone())?;
        let of_groups = (0..cut.groups)
            .into_par_iter()
            .map(|group| {
                let squares = one_group(operands, &cut, &weights, means, group)?;
                steps.done()?;
                Ok(squares)
            })
            .collect::<Result<Vec<Vec<f64>>, Error>>()?;
        for of_group in of_groups {
            for (sum, part) in squares.slice_mut(ndarray::s![channels.clone()]).iter_mut().zip(of_group) {
                *sum += part;
            }
        }
    }
    Ok(squares)
}

/// Bytes of packed weights, of each thread's blocks of X and z, and of the groups' sums.
pub(super) fn workspace_bytes<R: Real>(problem: &Problem, threads: usize) -> u64 {
    let cut = Cut::of(problem);
    let channels = problem.out_channels().div_ceil(cut.channel_blocks);
    let rows = problem.in_channels() * problem.taps();
    let columns = cut.columns.div_ceil(cut.column_blocks);
    let scratch = (columns * (ROWS.min(rows) + channels)) as u64 * threads.min(cut.groups) as u64;
    let values = ((rows * channels) as u64).saturating_add(scratch).saturating_mul(size_of::<R>() as u64);
    values.saturating_add((cut.groups * channels) as u64 * 8)
}

/// Multiplications and additions, as they are done.
pub(super) fn operations(problem: &Problem) -> f64 {
    let [d, h, _] = problem.input().spatial();
    let pairs = (problem.batch() * problem.in_channels() * d * h) as f64 * problem.output_extents()[2] as f64;
    pairs * problem.out_channels() as f64 * problem.taps() as f64
}

/// How a problem is cut: by its shape alone, so that every sum is taken in the same order everywhere.
struct Cut {
    channel_blocks: usize,
    /// B·Nw, columns of a line.
    columns: usize,
    column_blocks: usize,
    /// Column blocks of all lines.
    blocks: usize,
    groups: usize,
}

impl Cut {
    fn of(problem: &Problem) -> Cut {
        let [nd, nh, nw] = problem.output_extents();
        let columns = problem.batch() * nw;
        let column_blocks = columns.div_ceil(COLUMNS);
        let blocks = nd * nh * column_blocks;
        Cut {
            channel_blocks: problem.out_channels().div_ceil(CHANNELS),
            columns,
            column_blocks,
            blocks,
            groups: blocks.min(GROUPS),
        }
    }
}

/// Part `index` of `parts` of 0..len, all nearly equal.
fn part(len: usize, parts: usize, index: usize) -> Range<usize> {
    let at = |i: usize| (len as u128 * i as u128 / parts as u128) as usize;
    at(index)..at(index + 1)
}

/// The weights of a block of channels, (Kd, Kh, Cin, Kw, channel).
struct Weights<R> {
    channels: Range<usize>,
    values: Vec<R>,
}

impl<R: Real> Weights<R> {
    fn pack<T: Element>(operands: &Operands<'_, T>, channels: Range<usize>) -> Result<Weights<R>, Error> {
        let problem = operands.problem;
        let (ci, co, [kd, kh, kw]) = (problem.in_channels(), problem.out_channels(), problem.kernel().spatial());
        let mut values = memory::try_filled("packed weights", ci * kd * kh * kw * channels.len(), R::default())?;
        values.par_chunks_exact_mut(kw * channels.len()).enumerate().for_each(|(i, lines)| {
            let (plane, i) = (i / ci, i % ci);
            for (c, channel) in channels.clone().enumerate() {
                let line = &operands.w[((i * co + channel) * kd * kh + plane) * kw..][..kw];
                for (k, tap) in line.iter().enumerate() {
                    lines[k * channels.len() + c] = R::of(*tap);
                }
            }
        });
        Ok(Weights { channels, values })
    }

    /// Rows of W, (row, channel).
    fn rows(&self, rows: Range<usize>) -> ArrayView2<'_, R> {
        let channels = self.channels.len();
        let values = &self.values[rows.start * channels..rows.end * channels];
        ArrayView2::from_shape((rows.len(), channels), values).expect("a block of rows")
    }
}

/// One sample's stretch of a column block: columns `at..` are positions `w` of sample `b`.
struct Stretch {
    b: usize,
    w: Range<usize>,
    at: usize,
}

fn stretches(columns: Range<usize>, nw: usize) -> impl Iterator<Item = Stretch> + Clone {
    let samples = columns.start / nw..columns.end.div_ceil(nw);
    samples.map(move |b| {
        let (start, end) = (columns.start.max(b * nw), columns.end.min((b + 1) * nw));
        Stretch { b, w: start - b * nw..end - b * nw, at: start - columns.start }
    })
}

/// M2 of the block's channels over the blocks of one group.
fn one_group<T: Element, R: Real>(
    operands: &Operands<'_, T>,
    cut: &Cut,
    weights: &Weights<R>,
    means: &CentredMeans,
    group: usize,
) -> Result<Vec<f64>, Error> {
    let problem = operands.problem;
    let [_, nh, nw] = problem.output_extents();
    let channels = weights.channels.len();
    let widest = cut.columns.div_ceil(cut.column_blocks);
    let most_rows = ROWS.min(problem.in_channels() * problem.taps());
    let mut x = memory::try_filled("a block of the input", most_rows * widest, R::default())?;
    let mut z = memory::try_filled("a block of the convolution", channels * widest, R::default())?;
    let mut squares = memory::try_filled("sums of squares", channels, 0.0)?;

    for block in part(cut.blocks, cut.groups, group) {
        let (line, block) = (block / cut.column_blocks, block % cut.column_blocks);
        let columns = part(cut.columns, cut.column_blocks, block);
        let z = &mut z[..channels * columns.len()];
        convolve(operands, weights, (line / nh, line % nh), columns.clone(), &mut x, z);
        for ((c, z), square) in weights.channels.clone().zip(z.chunks_exact(columns.len())).zip(&mut squares) {
            let mut sum = 0.0;
            for Stretch { b, w, at } in stretches(columns.clone(), nw) {
                let mean = mean_of(means, b, c);
                sum += z[at..at + w.len()].iter().map(|z| (z.to_f64() - mean).powi(2)).sum::<f64>();
            }
            *square += sum;
        }
    }
    Ok(squares)
}

/// z (channel, column) of the given columns of line (d, h).
fn convolve<T: Element, R: Real>(
    operands: &Operands<'_, T>,
    weights: &Weights<R>,
    (d, h): (usize, usize),
    columns: Range<usize>,
    x: &mut [R],
    z: &mut [R],
) {
    let problem = operands.problem;
    let [_, kernel_h, kw] = problem.kernel().spatial();
    let row_of = |plane: usize| plane * problem.in_channels() * kw;
    let [taps_d, taps_h] = [meeting(problem, 0, d), meeting(problem, 1, h)];
    let shape = (weights.channels.len(), columns.len());
    let mut z = ArrayViewMut2::from_shape(shape, z).expect("channels by columns");
    let mut first = true;
    for kd in taps_d {
        let rows = row_of(kd * kernel_h + taps_h.start)..row_of(kd * kernel_h + taps_h.end);
        let chunks = rows.len().div_ceil(ROWS);
        for chunk in 0..chunks {
            let chunk = part(rows.len(), chunks, chunk);
            let rows = rows.start + chunk.start..rows.start + chunk.end;
            let x = &mut x[..rows.len() * columns.len()];
            gather(operands, (d, h), rows.clone(), columns.clone(), x);
            let x = ArrayView2::from_shape((rows.len(), columns.len()), &*x).expect("rows by columns");
            let keep = R::from_f64(if first { 0.0 } else { 1.0 });
            general_mat_mul(R::from_f64(1.0), &weights.rows(rows).t(), &x, keep, &mut z);
            first = false;
        }
    }
}

/// Taps k of an axis that meet an input element from output position p: 0 ≤ p − k < extent. Never empty.
fn meeting(problem: &Problem, axis: usize, p: usize) -> Range<usize> {
    let (extent, taps) = (problem.input().spatial()[axis], problem.kernel().spatial()[axis]);
    (p + 1).saturating_sub(extent)..taps.min(p + 1)
}

/// X: for each row (kd, kh, ci, kw) the input elements (b, ci, d − kd, h − kh, w − kw) of the columns (b, w).
fn gather<T: Element, R: Real>(
    operands: &Operands<'_, T>,
    (d, h): (usize, usize),
    rows: Range<usize>,
    columns: Range<usize>,
    x: &mut [R],
) {
    let problem = operands.problem;
    let ([depth, height, width], channels) = (problem.input().spatial(), problem.in_channels());
    let [_, kernel_h, kernel_w] = problem.kernel().spatial();
    let nw = problem.output_extents()[2];
    let stretches = stretches(columns.clone(), nw);
    for (row, x) in rows.zip(x.chunks_exact_mut(columns.len())) {
        let (kw, ci, plane) = (row % kernel_w, row / kernel_w % channels, row / kernel_w / channels);
        let (kd, kh) = (plane / kernel_h, plane % kernel_h);
        for Stretch { b, w, at } in stretches.clone() {
            let line = ((b * channels + ci) * depth + (d - kd)) * height + (h - kh);
            let line = &operands.x[line * width..][..width];
            let x = &mut x[at..at + w.len()];
            // The part of the stretch that tap kw brings inside the line: kw ≤ w < kw + width; it may be empty.
            let start = kw.clamp(w.start, w.end);
            let inside = start..(kw + width).clamp(start, w.end);
            x[..inside.start - w.start].fill(R::default());
            x[inside.end - w.start..].fill(R::default());
            if inside.is_empty() {
                continue;
            }
            let met = &line[inside.start - kw..inside.end - kw];
            for (x, value) in x[inside.start - w.start..inside.end - w.start].iter_mut().zip(met) {
                *x = R::of(*value);
            }
        }
    }
}
