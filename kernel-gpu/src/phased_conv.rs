//! A transposed convolution as products of contiguous rows: phases, padded volumes, tiles and the taps that they meet.
//!
//! ```text
//! position first + q·stride, tap first_tap + j·tap_step:      i = q + origin − j·lag            of one phase, along each axis
//! row(i) = (i0·R1 + i1)·R2 + i2                               row(q) + row(origin) − row(j·lag) is the source's row
//! ```
//!
//! With g = gcd(stride, dilation), taps whose numbers leave the same remainder by tap_step = stride/g meet the same output
//! positions, a **phase**, and see the input lag = dilation/g apart: a convolution of stride 1, and no zero of a stride is met.
//!
//! **Rows.** x lies channels last, one row a position, in volumes of D × R1 × R2 rows with zeros behind H and W: so many that an
//! index before the first element, or behind the last one, comes to a zero of the line or plane next to it. Output positions are
//! counted by the same pitches, those at q ≥ count left out: so a tap is one and the same distance from all of them. Before the
//! volume and behind it there are rows of zeros, the **margin**: what a tile's first and last rows may see.
//!
//! **Bundles.** Groups of few channels are taken together, as one group whose taps are 0 where input and output channel are of different ones.
//!
//! **Tiles.** 128 rows: neighbouring positions of one image, or every row of `images` images (a power of two), the
//! images innermost: fewer positions, which meet fewer taps that others of the tile do not.

use crate::conv_shape::{ConvOptions, ConvShape};

/// Input channels of a chunk: the depth of one product.
pub const CHUNK: u32 = 16;
/// Rows of a tile.
pub const ROWS: u32 = 128;
/// Images of a tile, at most.
pub const MAX_IMAGES: u32 = 8;
/// Phases of all axes together at most: more are all zeros but a few.
const MAX_PHASES: u64 = 1 << 16;
/// Extents past which 32 bits might not count rows.
pub const MAX_ROWS: u64 = 1 << 28;

/// The extents of a convolution and what follows from them. `#[repr(C)]`, part of parameter blocks.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhasedConv {
    /// The extents.
    pub shape: ConvShape,
    /// What the convolution has beside.
    pub options: ConvOptions,
    /// From one tap of a phase to the next.
    pub tap_step: [u32; 3],
    /// Input elements from what one tap of a phase brings to what the next does.
    pub lag: [u32; 3],
    /// Phases along each axis, some perhaps without a position.
    pub phases: [u32; 3],
    /// R1, R2.
    pub pitch: [u32; 2],
    /// Rows before the volume and behind it in memory.
    pub margin: [u32; 2],
    /// Input channels of a group, or of all groups of a bundle, which are one.
    pub in_channels: u32,
    /// Output channels, likewise.
    pub out_channels: u32,
    /// Groups of the convolution that are one here, with zeros between them.
    pub bundle: u32,
    /// Images of a tile.
    pub images: u32,
    /// Tiles of one image's (or `images` images') positions of the largest phase.
    pub phase_tiles: u32,
}

/// One axis of a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AxisPhase {
    /// Its first tap in the kernel.
    pub first_tap: u32,
    /// How many taps it has.
    pub taps: u32,
    /// How many positions it has.
    pub count: u32,
    /// The input element that tap 0 brings to position 0, if it exists.
    pub origin: i32,
    lag: u32,
    extent: u32,
}

impl AxisPhase {
    /// The taps [from, to) that bring an element to some of the positions `first` to `last`.
    #[inline(always)]
    pub const fn meeting(&self, first: u32, last: u32) -> (u32, u32) {
        let newest = last as i32 + self.origin;
        let oldest = first as i32 + self.origin - self.extent as i32 + 1;
        let to = if newest < 0 { 0 } else { quotient(newest as u32, self.lag) + 1 };
        let to = if to < self.taps { to } else { self.taps };
        let from = if oldest <= 0 { 0 } else { quotient(oldest as u32 + self.lag - 1, self.lag) };
        (if from < to { from } else { to }, to)
    }
}

/// The taps that a tile meets: `from` to below `to` along each axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TapBox {
    /// The first.
    pub from: [u32; 3],
    /// Behind the last.
    pub to: [u32; 3],
}

impl TapBox {
    /// How many there are.
    #[inline(always)]
    pub const fn taps(&self) -> u32 {
        (self.to[0] - self.from[0]) * (self.to[1] - self.from[1]) * (self.to[2] - self.from[2])
    }
}

impl PhasedConv {
    /// Of a convolution whose tiles hold rows of `images` images; `None` where rows could not be counted in 32 bits.
    pub fn new(shape: ConvShape, options: ConvOptions, images: u32) -> Option<Self> {
        let mut conv = Self {
            shape,
            options,
            tap_step: [1; 3],
            lag: [1; 3],
            phases: [1; 3],
            pitch: [1; 2],
            margin: [0; 2],
            in_channels: quotient(shape.in_channels, options.groups),
            out_channels: quotient(shape.out_channels, options.groups),
            bundle: 1,
            images,
            phase_tiles: 0,
        };
        for axis in 0..3 {
            let (stride, dilation) = (options.stride[axis], options.dilation[axis]);
            let common = gcd(stride, dilation);
            (conv.tap_step[axis], conv.lag[axis]) = (stride / common, dilation / common);
            conv.phases[axis] = conv.tap_step[axis].min(shape.kernel[axis]);
            let reach = u64::from(shape.kernel[axis]) * u64::from(dilation) + u64::from(options.padding[axis]);
            if reach + u64::from(options.output[axis]) > MAX_ROWS || shape.input[axis] as u64 > MAX_ROWS {
                return None;
            }
            // Each phase is a tile of its own, and is looked at here.
            let phases: u64 = conv.phases.iter().map(|&phases| u64::from(phases)).product();
            if phases > MAX_PHASES {
                return None;
            }
            if axis > 0 {
                let needed = |index| conv.axis(axis, index).needed_pitch();
                conv.pitch[axis - 1] = (0..conv.phases[axis]).map(needed).max().unwrap_or(1);
            }
        }
        let [height, width] = conv.pitch.map(u64::from);
        let positions = u64::from(options.output[0].max(shape.input[0])).checked_mul(height)?.checked_mul(width)?;
        if positions > MAX_ROWS || shape.taps() as u64 * shape.in_channels as u64 > MAX_ROWS {
            return None;
        }
        conv.margin = conv.needed_margin()?;
        let rows = (0..conv.all_phases()).map(|phase| conv.rows_of(&conv.phase(phase))).max().unwrap_or(0);
        conv.phase_tiles = rows.div_ceil(conv.tile_positions());
        let tiles = u64::from(conv.all_phases()) * u64::from(conv.phase_tiles);
        (tiles <= MAX_ROWS).then_some(conv)
    }

    /// With so many groups in one, which divide their number.
    pub fn bundled(self, bundle: u32) -> Self {
        let groups = quotient(self.options.groups, bundle);
        let (in_channels, out_channels) = (self.in_channels * bundle, self.out_channels * bundle);
        Self { options: ConvOptions { groups, ..self.options }, in_channels, out_channels, bundle, ..self }
    }

    /// Input and output channels of one of a bundle's groups.
    #[inline(always)]
    pub const fn of_group(&self) -> [u32; 2] {
        [quotient(self.in_channels, self.bundle), quotient(self.out_channels, self.bundle)]
    }

    /// Positions of one image in a tile.
    #[inline(always)]
    pub const fn tile_positions(&self) -> u32 {
        ROWS >> self.images.trailing_zeros()
    }

    /// Tiles of all phases.
    #[inline(always)]
    pub const fn tiles(&self) -> u32 {
        self.all_phases() * self.phase_tiles
    }

    /// Phases of all axes together.
    #[inline(always)]
    pub const fn all_phases(&self) -> u32 {
        self.phases[0] * self.phases[1] * self.phases[2]
    }

    /// Rows of the padded volume.
    #[inline(always)]
    pub const fn volume_rows(&self) -> u32 {
        self.shape.input[0] * self.pitch[0] * self.pitch[1]
    }

    /// Rows of an image in memory: those, and the margin.
    #[inline(always)]
    pub const fn stored_rows(&self) -> u32 {
        self.margin[0] + self.volume_rows() + self.margin[1]
    }

    /// Chunks of a group's input channels.
    #[inline(always)]
    pub const fn chunks(&self) -> u32 {
        self.in_channels.div_ceil(CHUNK)
    }

    /// Number `index` of the phases along an axis.
    #[inline(always)]
    pub const fn axis(&self, axis: usize, index: u32) -> AxisPhase {
        let (stride, padding) = (self.options.stride[axis], self.options.padding[axis]);
        let ahead = index * self.options.dilation[axis];
        // (ahead − padding) mod stride: the first position.
        let first = split(ahead + stride - split(padding, stride).1, stride).1;
        let output = self.options.output[axis];
        let count = if first < output { quotient(output - first + stride - 1, stride) } else { 0 };
        let origin = if first + padding >= ahead {
            quotient(first + padding - ahead, stride) as i32
        } else {
            -(quotient(ahead - first - padding, stride) as i32)
        };
        let taps = quotient(self.shape.kernel[axis] - index + self.tap_step[axis] - 1, self.tap_step[axis]);
        let (lag, extent) = (self.lag[axis], self.shape.input[axis]);
        AxisPhase { first_tap: index, taps, count, origin, lag, extent }
    }

    /// Number `index` of all phases.
    #[inline(always)]
    pub const fn phase(&self, index: u32) -> [AxisPhase; 3] {
        let (line, i2) = split(index, self.phases[2]);
        let (i0, i1) = split(line, self.phases[1]);
        [self.axis(0, i0), self.axis(1, i1), self.axis(2, i2)]
    }

    /// Rows of a phase's output positions, those left out among them; 0 where it has no position.
    #[inline(always)]
    pub const fn rows_of(&self, phase: &[AxisPhase; 3]) -> u32 {
        if phase[0].count == 0 || phase[1].count == 0 || phase[2].count == 0 {
            return 0;
        }
        ((phase[0].count - 1) * self.pitch[0] + phase[1].count - 1) * self.pitch[1] + phase[2].count
    }

    /// (q0, q1, q2) of a row.
    #[inline(always)]
    pub const fn coordinates(&self, row: u32) -> [u32; 3] {
        let (line, q2) = split(row, self.pitch[1]);
        let (q0, q1) = split(line, self.pitch[0]);
        [q0, q1, q2]
    }

    /// row(q) of coordinates or of differences of them. It may wrap: rows that a tile reads are near each other, and differences are right.
    #[inline(always)]
    pub const fn row(&self, q: [i32; 3]) -> i32 {
        let plane = q[0].wrapping_mul(self.pitch[0] as i32).wrapping_add(q[1]);
        plane.wrapping_mul(self.pitch[1] as i32).wrapping_add(q[2])
    }

    /// The taps that bring an element to some of a phase's rows `first` to below `end`, which is above `first`: those along each axis alone, so
    /// perhaps some more.
    #[inline(always)]
    pub const fn meeting(&self, phase: &[AxisPhase; 3], first: u32, end: u32) -> TapBox {
        let (low, high) = (self.coordinates(first), self.coordinates(end - 1));
        let (mut from, mut to) = ([0; 3], [0; 3]);
        // Axes after one along which the rows differ are covered wholly.
        (from[0], to[0]) = phase[0].meeting(low[0], high[0]);
        let whole = low[0] != high[0];
        let last = phase[1].count - 1;
        let (a, b) = if whole { (0, last) } else { (least(low[1], last), least(high[1], last)) };
        (from[1], to[1]) = phase[1].meeting(a, b);
        let whole = whole || low[1] != high[1];
        let last = phase[2].count - 1;
        let (a, b) = if whole { (0, last) } else { (least(low[2], last), least(high[2], last)) };
        (from[2], to[2]) = phase[2].meeting(a, b);
        TapBox { from, to }
    }

    /// Number of a phase's tap in the kernel, of the taps numbered j along each axis.
    #[inline(always)]
    pub const fn tap(&self, phase: &[AxisPhase; 3], j: [u32; 3]) -> u32 {
        let (kernel, first) = (&self.shape.kernel, [phase[0].first_tap, phase[1].first_tap, phase[2].first_tap]);
        (first[0] * kernel[1] + first[1]) * kernel[2] + first[2] + self.tap_distance(j)
    }

    /// From a phase's first tap to its taps numbered j, in the kernel.
    #[inline(always)]
    pub const fn tap_distance(&self, j: [u32; 3]) -> u32 {
        let (step, kernel) = (&self.tap_step, &self.shape.kernel);
        (j[0] * step[0] * kernel[1] + j[1] * step[1]) * kernel[2] + j[2] * step[2]
    }

    /// The margin: of the rows of a tile the last meets an element or a zero beside it along the first axis at all taps but what is too far on, and the
    /// first at all but what is too far back ([`meeting`](Self::meeting)). `None` where rows could not be counted in 32 bits.
    fn needed_margin(&self) -> Option<[u32; 2]> {
        let of = |axis: usize| (0..self.phases[axis]).map(move |index| self.axis(axis, index));
        let lowest = |axis: usize| of(axis).map(|phase| phase.lowest()).min().unwrap_or(0);
        let highest = |axis: usize| {
            of(axis).map(|phase| i64::from(phase.origin) + i64::from(self.pitch[axis - 1]) - 1).max().unwrap_or(0)
        };
        let width = i64::from(self.pitch[1]);
        let (plane, beside) = (i64::from(self.pitch[0]) * width, i64::from(self.tile_positions()) - 1);
        let margin = [beside - (lowest(1) * width + lowest(2)), beside + highest(1) * width + highest(2) - (plane - 1)]
            .map(|rows| rows.max(0) as u64);
        let stored = margin[0] + margin[1] + u64::from(self.volume_rows());
        // Of a panel the words are counted in 32 bits, 32 a row.
        (stored * u64::from(self.images) + 8 <= 1 << 27).then_some(margin.map(|rows| rows as u32))
    }

    /// Output positions that no tap of any phase is for.
    pub fn unreached(&self) -> u64 {
        let along = |axis: usize| (0..self.phases[axis]).map(|i| u64::from(self.axis(axis, i).count)).sum::<u64>();
        self.options.positions() - along(0) * along(1) * along(2)
    }
}

impl AxisPhase {
    /// The lowest index that a tap brings to a position.
    fn lowest(&self) -> i64 {
        i64::from(self.origin) - i64::from(self.taps - 1) * i64::from(self.lag)
    }

    /// Indices along the axis so that what is outside of the input falls on zeros.
    fn needed_pitch(&self) -> u32 {
        let (extent, lowest) = (self.extent as i64, self.lowest());
        let highest = i64::from(self.origin) + i64::from(self.count) - 1;
        extent.max(extent - lowest).max(highest + 1).max(i64::from(self.count)) as u32
    }
}

#[inline(always)]
const fn least(a: u32, b: u32) -> u32 {
    if a < b { a } else { b }
}

#[inline(always)]
const fn quotient(a: u32, b: u32) -> u32 {
    match a.checked_div(b) {
        Some(quotient) => quotient,
        None => 0,
    }
}

/// a / b and a mod b.
#[inline(always)]
pub(crate) const fn split(a: u32, b: u32) -> (u32, u32) {
    let q = quotient(a, b);
    (q, a - q * b)
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    type Axis = (u32, u32, u32, u32, u32, u32);

    /// Extent, taps, stride, dilation, padding, and what is cut off behind or added.
    fn axis() -> impl Strategy<Value = Axis> {
        (1u32..5, 1u32..5, 1u32..4, 1u32..4, 0u32..5, 0u32..5)
    }

    fn conv(axes: [Axis; 3], images: u32) -> Option<PhasedConv> {
        let of = |f: fn(&Axis) -> u32| [f(&axes[0]), f(&axes[1]), f(&axes[2])];
        let reach = |&(n, k, s, d, _, _): &Axis| (n - 1) * s + (k - 1) * d + 1;
        let mut output = [0; 3];
        for a in 0..3 {
            output[a] = (reach(&axes[a]) + 2).checked_sub(axes[a].4 + axes[a].5).filter(|&n| n > 0)?;
        }
        let (input, kernel) = (of(|a| a.0), of(|a| a.1));
        let shape = ConvShape { batch: 3, in_channels: 1, out_channels: 1, input, kernel };
        let options =
            ConvOptions { stride: of(|a| a.2), dilation: of(|a| a.3), padding: of(|a| a.4), output, groups: 1 };
        PhasedConv::new(shape, options, images)
    }

    proptest! {
        /// Every (input, tap, position) of the definition is met once, by its row, and what is met beside is a zero.
        #[test]
        fn rows_meet_what_the_definition_says(axes in [axis(), axis(), axis()], bits in 0u32..4) {
            let Some(conv) = conv(axes, 1 << bits) else { return Ok(()) };
            let (shape, options) = (&conv.shape, &conv.options);
            let mut met = Vec::new();
            for index in 0..conv.all_phases() {
                let phase = conv.phase(index);
                let rows = conv.rows_of(&phase);
                prop_assert!(rows <= conv.phase_tiles * conv.tile_positions());
                let origin = conv.row([phase[0].origin, phase[1].origin, phase[2].origin]);
                let mut first = 0;
                while first < rows {
                    let end = rows.min(first + conv.tile_positions());
                    let taps = conv.meeting(&phase, first, end);
                    // All that the tile's windows hold is stored.
                    if taps.taps() > 0 {
                        let back = |j: [u32; 3]| conv.row([0, 1, 2].map(|a| (j[a] * conv.lag[a]) as i32));
                        let lowest = first as i32 + origin - back(taps.to.map(|to| to - 1));
                        let highest = (first + conv.tile_positions()) as i32 - 1 + origin - back(taps.from);
                        prop_assert!(lowest + conv.margin[0] as i32 >= 0);
                        prop_assert!(highest < (conv.volume_rows() + conv.margin[1]) as i32);
                    }
                    for m in first..end {
                        let q = conv.coordinates(m);
                        if (0..3).any(|a| q[a] >= phase[a].count) {
                            continue;
                        }
                        let p = [0, 1, 2].map(|a| {
                            let ahead = (phase[a].first_tap * options.dilation[a]) as i64 - options.padding[a] as i64;
                            ahead.rem_euclid(options.stride[a] as i64) as u32 + q[a] * options.stride[a]
                        });
                        for j in (0..taps.taps()).map(|j| {
                            let n = [0, 1, 2].map(|a| taps.to[a] - taps.from[a]);
                            [taps.from[0] + j / n[2] / n[1], taps.from[1] + j / n[2] % n[1], taps.from[2] + j % n[2]]
                        }) {
                            let lag = [0, 1, 2].map(|a| (j[a] * conv.lag[a]) as i32);
                            let row = m as i32 + origin - conv.row(lag);
                            if row < 0 || row >= conv.volume_rows() as i32 {
                                continue;
                            }
                            let i = conv.coordinates(row as u32);
                            if (0..3).all(|a| i[a] < shape.input[a]) {
                                met.push((p, conv.tap(&phase, j), i));
                            }
                        }
                    }
                    first = end;
                }
            }
            let mut defined = Vec::new();
            let each = |n: [u32; 3]| (0..n[0] * n[1] * n[2]).map(move |i| [i / n[2] / n[1], i / n[2] % n[1], i % n[2]]);
            for i in each(shape.input) {
                for k in each(shape.kernel) {
                    let at = [0, 1, 2].map(|a| (i[a] * options.stride[a] + k[a] * options.dilation[a]) as i64 - options.padding[a] as i64);
                    if (0..3).all(|a| at[a] >= 0 && at[a] < options.output[a] as i64) {
                        let tap = (k[0] * shape.kernel[1] + k[1]) * shape.kernel[2] + k[2];
                        defined.push((at.map(|p| p as u32), tap, i));
                    }
                }
            }
            met.sort_unstable();
            defined.sort_unstable();
            prop_assert_eq!(met, defined);
        }

        /// Positions of the phases and those of none are all there are.
        #[test]
        fn positions_are_reached_or_counted_as_not(axes in [axis(), axis(), axis()]) {
            let Some(conv) = conv(axes, 1) else { return Ok(()) };
            let options = &conv.options;
            let mut reached = vec![false; options.positions() as usize];
            for index in 0..conv.all_phases() {
                let phase = conv.phase(index);
                for m in 0..conv.rows_of(&phase) {
                    let q = conv.coordinates(m);
                    if (0..3).all(|a| q[a] < phase[a].count) {
                        let p = [0, 1, 2].map(|a| {
                            let ahead = (phase[a].first_tap * options.dilation[a]) as i64 - options.padding[a] as i64;
                            ahead.rem_euclid(options.stride[a] as i64) as u32 + q[a] * options.stride[a]
                        });
                        let at = ((p[0] * options.output[1] + p[1]) * options.output[2] + p[2]) as usize;
                        prop_assert!(!std::mem::replace(&mut reached[at], true), "twice");
                    }
                }
            }
            prop_assert_eq!(reached.iter().filter(|&&r| !r).count() as u64, conv.unreached());
        }
    }

    #[test]
    fn a_whole_convolution_wastes_no_row() {
        let shape = ConvShape { batch: 1, in_channels: 64, out_channels: 64, input: [1, 64, 64], kernel: [1, 5, 5] };
        let conv = PhasedConv::new(shape, ConvOptions::none(&shape), 1).unwrap();
        assert_eq!((conv.pitch, conv.phase_tiles), ([68, 68], (68 * 68u32).div_ceil(128)));
    }

    #[test]
    fn extents_past_what_rows_count_are_refused() {
        let shape =
            ConvShape { batch: 1, in_channels: 1, out_channels: 1, input: [1 << 10, 1 << 10, 1 << 10], kernel: [1; 3] };
        assert_eq!(PhasedConv::new(shape, ConvOptions::none(&shape), 1), None);
    }
}
