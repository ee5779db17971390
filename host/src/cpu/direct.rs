//! Squared distances from known means, by matrix products over blocks of the convolution.
//!
//! ```text
//! z[c, (b, q)] = Σ_r W[r, c]·X[r, (b, q)]      for one line (d, h) of output positions, and one phase of its widths
//! M2[c]       += (z − m[b,c])²                 z never leaves its block
//! ```
//! A row r is a tap and an input channel, (kd, kh, ci, kw); X holds the input elements the taps meet, 0
//! past the ends of a line (im2col). With a stride, output positions fall into phases that meet different taps
//! (`problem::Axis`): each is a convolution of stride 1 with its share of the taps, so that nothing is multiplied by zeros but
//! at the ends of lines. Taps that miss the line in depth or height are left out: rows are ordered so that those which are left
//! are contiguous for each kd. Positions of no phase are 0: their squares are m².
//!
//! A block of few channels (most of all depthwise convolutions) adds its taps one by one instead: im2col would copy as much.
//!
//! Work is cut into channel blocks (whose weights are packed once, and which lie in one group), lines and column blocks. Column
//! blocks of all lines are dealt to a fixed number of shares; each share keeps its own M2, merged in order.
//! Cost: 2·B·Cin·(Cout / groups)·(Nw/stride)·D·H·taps flops: about a factor Nw/(W·stride) above the definition.
//! Products are `matrixmultiply`'s, through `ndarray`, in the precision of `R`; squares are summed in `f64`. z carries the
//! rounding of a sum over Cin·taps, about 1e-7 of it in `f32`.

mod cut;
mod weights;

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
use crate::problem::{Axis, Phase, Problem};
use cut::{Columns, Cut, Meeting, part};
use weights::Weights;

/// Rows of X at most.
const ROWS: usize = 256;
/// Up to so many channels of a block, taps are added one by one: a product would gather more than it multiplies.
const FEW: usize = 4;

/// Σ_{b,p} (z[b,c,p] − m[b,c])² for each channel.
///
/// # Errors
/// [`Error::Memory`] where packed weights and scratch do not fit.
pub(super) fn sum_of_squares<T: Element, R: Real>(
    operands: &Operands<'_, T>,
    means: &CentredMeans,
    watch: Watch<'_>,
) -> Result<Array1<f64>, Error> {
    let problem = operands.problem;
    let cut = Cut::of(problem);
    let blocks = problem.groups() * cut.channel_blocks;
    let steps = Steps::new(watch, (blocks * cut.shares) as u64);
    let of_block = |block| one_block::<T, R>(operands, &cut, means, block, &steps);
    // Blocks of one group hold many weights, and have work for all threads each; groups are small and many.
    let squares: Vec<Vec<f64>> = match problem.groups() {
        1 => (0..blocks).map(of_block).collect::<Result<_, Error>>()?,
        _ => (0..blocks).into_par_iter().map(of_block).collect::<Result<_, Error>>()?,
    };
    Ok(squares.into_iter().flatten().collect())
}

/// M2 of one block of channels, of all groups' blocks in order.
fn one_block<T: Element, R: Real>(
    operands: &Operands<'_, T>,
    cut: &Cut,
    means: &CentredMeans,
    block: usize,
    steps: &Steps<'_>,
) -> Result<Vec<f64>, Error> {
    let problem = operands.problem;
    let (group, block) = (block / cut.channel_blocks, block % cut.channel_blocks);
    let channels = part(problem.group_out_channels(), cut.channel_blocks, block);
    let weights = Weights::<R>::pack(operands, cut, group, channels)?;
    let mut squares = memory::try_filled("sums of squares", weights.channels.len(), 0.0)?;
    let of_shares = (0..cut.shares)
        .into_par_iter()
        .map(|share| {
            let squares = one_share(operands, cut, &weights, means, share)?;
            steps.done()?;
            Ok(squares)
        })
        .collect::<Result<Vec<Vec<f64>>, Error>>()?;
    for of_share in of_shares {
        squares.iter_mut().zip(of_share).for_each(|(square, part)| *square += part);
    }
    if cut.unmet > 0 {
        for (c, square) in weights.outputs(problem).zip(&mut squares) {
            let of_samples = (0..problem.batch()).map(|b| mean_of(means, b, c).powi(2));
            *square += cut.unmet as f64 * of_samples.sum::<f64>();
        }
    }
    Ok(squares)
}

/// Bytes of packed weights, of each thread's blocks of X and z, and of the shares' sums.
pub(super) fn workspace_bytes<R: Real>(problem: &Problem, threads: usize) -> u64 {
    let cut = Cut::of(problem);
    let channels = problem.group_out_channels().div_ceil(cut.channel_blocks);
    let rows = problem.group_in_channels() * problem.taps();
    let weights = if problem.groups() == 1 { rows * channels } else { problem.kernel_elements() } as u64;
    // X once more, and 64 rows of W: what a product packs for itself.
    let scratch = cut.widest() * (2 * ROWS.min(rows) + channels) + 64 * ROWS.min(rows);
    let scratch = scratch as u64 * threads.min(cut.shares) as u64;
    let values = weights.saturating_add(scratch).saturating_mul(size_of::<R>() as u64);
    values.saturating_add((cut.shares * problem.out_channels()) as u64 * 8)
}

/// Multiplications and additions, as they are done.
pub(super) fn operations(problem: &Problem) -> f64 {
    let [depth, height, width] = problem.axes();
    // What padding cuts off is counted where that is soon done.
    let met = |axis: Axis| match axis.taps {
        ..=1024 => (0..axis.taps).map(|k| axis.inside(k).len() as f64).sum(),
        many => many as f64 * axis.extent as f64,
    };
    let lines: [f64; 2] = [met(depth), met(height)];
    let columns: f64 = width.phases().map(|phase| phase.taps as f64 * phase.count as f64).sum();
    let pairs = (problem.batch() * problem.in_channels()) as f64 * problem.group_out_channels() as f64;
    pairs * lines[0] * lines[1] * columns
}

/// One sample's stretch of a column block: columns `at..` are positions number `q` of sample `b`.
struct Stretch {
    b: usize,
    q: Range<usize>,
    at: usize,
}

fn stretches(columns: Range<usize>, positions: usize) -> impl Iterator<Item = Stretch> + Clone {
    let samples = columns.start / positions..columns.end.div_ceil(positions);
    samples.map(move |b| {
        let (start, end) = (columns.start.max(b * positions), columns.end.min((b + 1) * positions));
        Stretch { b, q: start - b * positions..end - b * positions, at: start - columns.start }
    })
}

/// M2 of the block's channels over the blocks of one share.
fn one_share<T: Element, R: Real>(
    operands: &Operands<'_, T>,
    cut: &Cut,
    weights: &Weights<R>,
    means: &CentredMeans,
    share: usize,
) -> Result<Vec<f64>, Error> {
    let problem = operands.problem;
    let channels = weights.channels.len();
    let most_rows = ROWS.min(problem.group_in_channels() * problem.taps());
    let mut x = memory::try_filled("a block of the input", most_rows * cut.widest(), R::default())?;
    let mut z = memory::try_filled("a block of the convolution", channels * cut.widest(), R::default())?;
    let mut squares = memory::try_filled("sums of squares", channels, 0.0)?;

    for block in part(cut.blocks, cut.shares, share) {
        let (columns, line, block) = cut.block(block);
        let stretch = part(columns.count, columns.blocks, block);
        let z = &mut z[..channels * stretch.len()];
        convolve(operands, cut, weights, columns, line, stretch.clone(), &mut x, z);
        for ((c, z), square) in weights.outputs(problem).zip(z.chunks_exact(stretch.len())).zip(&mut squares) {
            let mut sum = 0.0;
            for Stretch { b, q, at } in stretches(stretch.clone(), columns.phase.count) {
                let mean = mean_of(means, b, c);
                sum += z[at..at + q.len()].iter().map(|z| (z.to_f64() - mean).powi(2)).sum::<f64>();
            }
            *square += sum;
        }
    }
    Ok(squares)
}

/// z (channel, column) of a stretch of the columns of one line.
#[allow(clippy::too_many_arguments)]
fn convolve<T: Element, R: Real>(
    operands: &Operands<'_, T>,
    cut: &Cut,
    weights: &Weights<R>,
    columns: &Columns,
    line: [usize; 2],
    stretch: Range<usize>,
    x: &mut [R],
    z: &mut [R],
) {
    z.fill(R::default());
    let [Some(d), Some(h)] = [0, 1].map(|axis: usize| Meeting::at(&cut.planes[axis], line[axis])) else { return };
    let heights = cut.planes[1].iter().map(|phase| phase.taps).sum::<usize>();
    let of_plane = weights.inputs * columns.phase.taps;
    let shape = (weights.channels.len(), stretch.len());
    let mut z = ArrayViewMut2::from_shape(shape, z).expect("channels by columns");
    // The input channel of a row, the line that its tap brings, and the tap of the widths.
    let of_row = |row: usize| {
        let (plane, i, j) = (row / of_plane, row % of_plane / columns.phase.taps, row % columns.phase.taps);
        (weights.group * weights.inputs + i, [d.source(plane / heights), h.source(plane % heights)], j)
    };
    for kd in d.places() {
        let taps = h.places();
        let rows = (kd * heights + taps.start) * of_plane..(kd * heights + taps.end) * of_plane;
        if weights.channels.len() <= FEW {
            for row in rows {
                let weights = weights.rows(columns, row..row + 1);
                add_row(operands, &columns.phase, of_row(row), weights, stretch.clone(), &mut z);
            }
            continue;
        }
        let chunks = rows.len().div_ceil(ROWS);
        for chunk in 0..chunks {
            let chunk = part(rows.len(), chunks, chunk);
            let rows = rows.start + chunk.start..rows.start + chunk.end;
            let x = &mut x[..rows.len() * stretch.len()];
            for (row, x) in rows.clone().zip(x.chunks_exact_mut(stretch.len())) {
                let (channel, line, j) = of_row(row);
                gather(operands, &columns.phase, channel, line, j, stretch.clone(), x);
            }
            let x = ArrayView2::from_shape((rows.len(), stretch.len()), &*x).expect("rows by columns");
            let one = R::from_f64(1.0);
            general_mat_mul(one, &weights.rows(columns, rows).t(), &x, one, &mut z);
        }
    }
}

/// Adds what one row brings to the channels of z, without gathering it.
fn add_row<T: Element, R: Real>(
    operands: &Operands<'_, T>,
    phase: &Phase,
    (channel, line, j): (usize, [usize; 2], usize),
    weights: ArrayView2<'_, R>,
    columns: Range<usize>,
    z: &mut ArrayViewMut2<'_, R>,
) {
    for Stretch { b, q, at } in stretches(columns, phase.count) {
        let (met, inside) = met(operands, phase, b, channel, line, j, &q);
        for (mut z, &weight) in z.outer_iter_mut().zip(weights.iter()) {
            let z = z.as_slice_mut().expect("rows of z are contiguous");
            for (z, &value) in z[at + inside.start - q.start..][..met.len()].iter_mut().zip(met) {
                *z = *z + weight * R::of(value);
            }
        }
    }
}

/// A row of X: what tap j of the widths' phase brings, of channel `channel` at depth and height `at`, to the columns (b, q).
fn gather<T: Element, R: Real>(
    operands: &Operands<'_, T>,
    phase: &Phase,
    channel: usize,
    line: [usize; 2],
    j: usize,
    columns: Range<usize>,
    x: &mut [R],
) {
    for Stretch { b, q, at } in stretches(columns, phase.count) {
        let x = &mut x[at..at + q.len()];
        let (met, inside) = met(operands, phase, b, channel, line, j, &q);
        x[..inside.start - q.start].fill(R::default());
        x[inside.end - q.start..].fill(R::default());
        for (x, value) in x[inside.start - q.start..inside.end - q.start].iter_mut().zip(met) {
            *x = R::of(*value);
        }
    }
}

/// The input elements that tap j brings to positions `q` of sample `b`, and to which of them; there may be none.
fn met<'a, T: Element>(
    operands: &'a Operands<'_, T>,
    phase: &Phase,
    b: usize,
    channel: usize,
    [d, h]: [usize; 2],
    j: usize,
    q: &Range<usize>,
) -> (&'a [T], Range<usize>) {
    let problem = operands.problem;
    let [depth, height, width] = problem.input().spatial();
    let reach = phase.reach(j);
    let start = reach.start.clamp(q.start, q.end);
    let inside = start..reach.end.clamp(start, q.end);
    if inside.is_empty() {
        return (&[], inside);
    }
    let line = ((b * problem.in_channels() + channel) * depth + d) * height + h;
    (&operands.x[line * width + phase.source(inside.start, j)..][..inside.len()], inside)
}
