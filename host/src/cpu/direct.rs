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
//! Work is cut into channel blocks (whose weights are packed once, and which lie in one group), lines and column blocks. Column
//! blocks of all lines are dealt to a fixed number of shares; each share keeps its own M2, merged in order.
//! Cost: 2·B·Cin·(Cout / groups)·(Nw/stride)·D·H·taps flops: about a factor Nw/(W·stride) above the definition.
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
use crate::problem::{Axis, Phase, Problem};

/// Output channels of a block at most.
const CHANNELS: usize = 256;
/// Columns of a block at most; with `ROWS` it makes a block of X 1 MiB, and so is z's.
const COLUMNS: usize = 512;
/// Rows of X at most.
const ROWS: usize = 256;
/// Shares of the blocks at most: enough to keep any machine's cores busy, few enough to merge at no cost.
const SHARES: usize = 1024;

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
    let mut squares = Array1::zeros(problem.out_channels());
    for block in 0..blocks {
        let (group, block) = (block / cut.channel_blocks, block % cut.channel_blocks);
        let channels = part(problem.group_out_channels(), cut.channel_blocks, block);
        let weights = Weights::<R>::pack(operands, &cut, group, channels)?;
        let of_shares = (0..cut.shares)
            .into_par_iter()
            .map(|share| {
                let squares = one_share(operands, &cut, &weights, means, share)?;
                steps.done()?;
                Ok(squares)
            })
            .collect::<Result<Vec<Vec<f64>>, Error>>()?;
        for of_share in of_shares {
            for (c, part) in weights.outputs(problem).zip(of_share) {
                squares[c] += part;
            }
        }
        if cut.unmet > 0 {
            for c in weights.outputs(problem) {
                let of_samples = (0..problem.batch()).map(|b| mean_of(means, b, c).powi(2));
                squares[c] += cut.unmet as f64 * of_samples.sum::<f64>();
            }
        }
    }
    Ok(squares)
}

/// Bytes of packed weights, of each thread's blocks of X and z, and of the shares' sums.
pub(super) fn workspace_bytes<R: Real>(problem: &Problem, threads: usize) -> u64 {
    let cut = Cut::of(problem);
    let channels = problem.group_out_channels().div_ceil(cut.channel_blocks);
    let rows = problem.group_in_channels() * problem.taps();
    let scratch = (cut.widest() * (ROWS.min(rows) + channels)) as u64 * threads.min(cut.shares) as u64;
    let values = ((rows * channels) as u64).saturating_add(scratch).saturating_mul(size_of::<R>() as u64);
    values.saturating_add((cut.shares * channels) as u64 * 8)
}

/// Multiplications and additions, as they are done.
pub(super) fn operations(problem: &Problem) -> f64 {
    let [depth, height, width] = problem.axes();
    let lines = [depth, height].map(|axis| (0..axis.taps).map(|k| axis.inside(k).len() as f64).sum::<f64>());
    let columns: f64 = width.phases().map(|phase| phase.taps as f64 * phase.count as f64).sum();
    let pairs = (problem.batch() * problem.in_channels()) as f64 * problem.group_out_channels() as f64;
    pairs * lines[0] * lines[1] * columns
}

/// How a problem is cut: by its shape alone, so that every sum is taken in the same order everywhere.
struct Cut {
    /// Of a group.
    channel_blocks: usize,
    /// Of depths, and of heights.
    planes: [Vec<Phase>; 2],
    /// Positions of their phases.
    lines: [usize; 2],
    widths: Vec<Columns>,
    /// Column blocks of all lines.
    blocks: usize,
    shares: usize,
    /// Positions of no phase.
    unmet: usize,
}

/// The columns of a line that belong to one phase of its widths: (b, q).
struct Columns {
    phase: Phase,
    /// B·(positions of the phase).
    count: usize,
    blocks: usize,
    /// Column blocks, of all lines, of the phases before.
    blocks_before: usize,
    /// Taps of the phases before.
    taps_before: usize,
}

impl Cut {
    fn of(problem: &Problem) -> Cut {
        let [depth, height, width] = problem.axes();
        let planes = [depth, height].map(|axis| axis.phases().collect::<Vec<_>>());
        let positions = |phases: &[Phase]| phases.iter().map(|phase| phase.count).sum::<usize>();
        let lines = [positions(&planes[0]), positions(&planes[1])];
        let (mut widths, mut blocks, mut taps_before, mut met) = (Vec::new(), 0, 0, 0);
        for phase in width.phases() {
            let count = problem.batch() * phase.count;
            let columns = Columns { phase, count, blocks: count.div_ceil(COLUMNS), blocks_before: blocks, taps_before };
            blocks += lines[0] * lines[1] * columns.blocks;
            taps_before += phase.taps;
            met += lines[0] * lines[1] * phase.count;
            widths.push(columns);
        }
        Cut {
            channel_blocks: problem.group_out_channels().div_ceil(CHANNELS),
            planes,
            lines,
            widths,
            blocks,
            shares: blocks.min(SHARES),
            unmet: problem.positions() - met,
        }
    }

    /// Columns of the largest block.
    fn widest(&self) -> usize {
        self.widths.iter().map(|columns| columns.count.div_ceil(columns.blocks)).max().unwrap_or(0)
    }

    /// Block `index` of all: the phase of its widths, its line, and its number among the line's blocks.
    fn block(&self, index: usize) -> (&Columns, [usize; 2], usize) {
        let columns = self.widths.iter().rev().find(|columns| columns.blocks_before <= index);
        let columns = columns.expect("the first phase has no blocks before it");
        let index = index - columns.blocks_before;
        let (line, block) = (index / columns.blocks, index % columns.blocks);
        (columns, [line / self.lines[1], line % self.lines[1]], block)
    }
}

/// The taps that meet one position of an axis.
struct Meeting<'a> {
    phase: &'a Phase,
    /// The position's number in its phase.
    q: usize,
    /// Taps of the phases before.
    before: usize,
}

impl<'a> Meeting<'a> {
    /// With position number `at` of all phases.
    fn at(phases: &'a [Phase], mut at: usize) -> Option<Meeting<'a>> {
        let mut before = 0;
        for phase in phases {
            if at < phase.count {
                return Some(Meeting { phase, q: at, before });
            }
            at -= phase.count;
            before += phase.taps;
        }
        None
    }

    /// Places of the taps, in the order of the phases.
    fn places(&self) -> Range<usize> {
        let taps = self.phase.meeting(self.q);
        self.before + taps.start..self.before + taps.end
    }

    /// The input element that the tap at `place` brings.
    fn source(&self, place: usize) -> usize {
        self.phase.source(self.q, place - self.before)
    }
}

/// Part `index` of `parts` of 0..len, all nearly equal.
fn part(len: usize, parts: usize, index: usize) -> Range<usize> {
    let at = |i: usize| (len as u128 * i as u128 / parts as u128) as usize;
    at(index)..at(index + 1)
}

/// The weights of a block of channels: for each phase of the widths (kd, kh, ci, kw, channel), taps in the order of their phases.
struct Weights<R> {
    group: usize,
    /// Channels of the group.
    channels: Range<usize>,
    /// Input channels of a group.
    inputs: usize,
    /// (kd, kh).
    planes: usize,
    values: Vec<R>,
}

/// The taps of an axis in the order of its phases; `None` for one that carries nothing inside, whatever its weight is.
fn taps_in_order(axis: &Axis, phases: impl IntoIterator<Item = Phase>) -> Vec<Option<usize>> {
    let taps = phases.into_iter().flat_map(|p| (0..p.taps).map(move |j| p.tap(j)));
    taps.map(|k| (!axis.inside(k).is_empty()).then_some(k)).collect()
}

impl<R: Real> Weights<R> {
    fn pack<T: Element>(
        operands: &Operands<'_, T>,
        cut: &Cut,
        group: usize,
        channels: Range<usize>,
    ) -> Result<Weights<R>, Error> {
        let problem = operands.problem;
        let (inputs, outputs, taps) = (problem.group_in_channels(), problem.group_out_channels(), problem.taps());
        let [depth, height, width] = problem.axes();
        let of_d = taps_in_order(&depth, cut.planes[0].iter().copied());
        let of_h = taps_in_order(&height, cut.planes[1].iter().copied());
        let of_w = taps_in_order(&width, cut.widths.iter().map(|columns| columns.phase));
        let planes = of_d.len() * of_h.len();
        let mut values =
            memory::try_filled("packed weights", planes * inputs * of_w.len() * channels.len(), R::default())?;
        let mut rest = &mut values[..];
        for columns in &cut.widths {
            let line = columns.phase.taps * channels.len();
            let (section, after) = rest.split_at_mut(planes * inputs * line);
            rest = after;
            let of_w = &of_w[columns.taps_before..][..columns.phase.taps];
            section.par_chunks_exact_mut(line).enumerate().for_each(|(row, line)| {
                let (plane, i) = (row / inputs, row % inputs);
                let (Some(kd), Some(kh)) = (of_d[plane / of_h.len()], of_h[plane % of_h.len()]) else { return };
                for (c, channel) in channels.clone().enumerate() {
                    let slab = &operands.w[((group * inputs + i) * outputs + channel) * taps..][..taps];
                    let taps = &slab[(kd * height.taps + kh) * width.taps..][..width.taps];
                    for (j, kw) in of_w.iter().enumerate() {
                        if let Some(kw) = kw {
                            line[j * channels.len() + c] = R::of(taps[*kw]);
                        }
                    }
                }
            });
        }
        Ok(Weights { group, channels, inputs, planes, values })
    }

    /// Rows of W of one phase of the widths, (row, channel).
    fn rows(&self, columns: &Columns, rows: Range<usize>) -> ArrayView2<'_, R> {
        let (before, channels) = (self.planes * self.inputs * columns.taps_before, self.channels.len());
        let values = &self.values[(before + rows.start) * channels..(before + rows.end) * channels];
        ArrayView2::from_shape((rows.len(), channels), values).expect("a block of rows")
    }

    /// The block's channels among all of the output.
    fn outputs(&self, problem: &Problem) -> Range<usize> {
        let before = self.group * problem.group_out_channels();
        before + self.channels.start..before + self.channels.end
    }
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
    for kd in d.places() {
        let taps = h.places();
        let rows = (kd * heights + taps.start) * of_plane..(kd * heights + taps.end) * of_plane;
        let chunks = rows.len().div_ceil(ROWS);
        for chunk in 0..chunks {
            let chunk = part(rows.len(), chunks, chunk);
            let rows = rows.start + chunk.start..rows.start + chunk.end;
            let x = &mut x[..rows.len() * stretch.len()];
            for (row, x) in rows.clone().zip(x.chunks_exact_mut(stretch.len())) {
                let (plane, i, j) = (row / of_plane, row % of_plane / columns.phase.taps, row % columns.phase.taps);
                let channel = weights.group * weights.inputs + i;
                let at = [d.source(plane / heights), h.source(plane % heights)];
                gather(operands, &columns.phase, channel, at, j, stretch.clone(), x);
            }
            let x = ArrayView2::from_shape((rows.len(), stretch.len()), &*x).expect("rows by columns");
            let one = R::from_f64(1.0);
            general_mat_mul(one, &weights.rows(columns, rows).t(), &x, one, &mut z);
        }
    }
}

/// A row of X: what tap j of the widths' phase brings, of channel `channel` at depth and height `at`, to the columns (b, q).
fn gather<T: Element, R: Real>(
    operands: &Operands<'_, T>,
    phase: &Phase,
    channel: usize,
    [d, h]: [usize; 2],
    j: usize,
    columns: Range<usize>,
    x: &mut [R],
) {
    let problem = operands.problem;
    let ([depth, height, width], channels) = (problem.input().spatial(), problem.in_channels());
    let reach = phase.reach(j);
    for Stretch { b, q, at } in stretches(columns, phase.count) {
        let line = ((b * channels + channel) * depth + d) * height + h;
        let line = &operands.x[line * width..][..width];
        let x = &mut x[at..at + q.len()];
        // The part of the stretch that the tap brings inside the line; it may be empty.
        let start = reach.start.clamp(q.start, q.end);
        let inside = start..reach.end.clamp(start, q.end);
        x[..inside.start - q.start].fill(R::default());
        x[inside.end - q.start..].fill(R::default());
        if inside.is_empty() {
            continue;
        }
        let met = &line[phase.source(inside.start, j)..][..inside.len()];
        for (x, value) in x[inside.start - q.start..inside.end - q.start].iter_mut().zip(met) {
            *x = R::of(*value);
        }
    }
}
