//! Drawn spectra, and the Gram matrices on the coarse grid that they have by the definition, in f64.

use std::f64::consts::TAU;

use cuda_std::convert::F16;
use kernel_gpu::conv_shape::ConvShape;
use kernel_gpu::gram_grid::Grid;
use kernel_gpu::spectrum::{EMPTY, NOT_FINITE, Spectrum};

/// A problem, and how it is cut.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub batch: u32,
    pub in_channels: u32,
    pub n: [u32; 3],
    pub kernel: [u32; 3],
    pub all_strict: bool,
    /// Whether rows have different scales.
    pub scaled: bool,
    /// Lines of a launch, and blocks of channel pairs.
    pub lines: u32,
    pub blocks: u32,
    /// Pairs of warps that share a block of channel pairs.
    pub ways: u32,
    /// Groups of input channels.
    pub groups: u32,
    /// A row (ci, b) that is not finite.
    pub not_finite: Option<usize>,
}

pub type Complex = (f64, f64);

/// The arrays of a run as the kernels get them, and the numbers that they stand for.
pub struct Data {
    pub spectrum: Spectrum,
    pub grid: Grid,
    pub high: Vec<u32>,
    pub low: Vec<u32>,
    pub row_exponent: Vec<i32>,
    /// X, (line, row, slot).
    spectra: Vec<Complex>,
}

/// A number in [−1, 1) of its own for each (stream, index): SplitMix64.
pub fn draw(stream: u64, index: u64) -> f64 {
    let mut z = (stream << 40 | index).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    (z >> 11) as f64 * f64::powi(2.0, -52) - 1.0
}

/// Two NaN, as f16.
const NAN: u32 = 0x7e00_7e00;

fn half(value: f64) -> (u32, f64) {
    let half = F16::from_f32(value as f32);
    (u32::from(half.to_bits()), f64::from(half.to_f32()))
}

fn word(value: Complex) -> (u32, Complex) {
    let ((re, re_value), (im, im_value)) = (half(value.0), half(value.1));
    (re | im << 16, (re_value, im_value))
}

impl Data {
    pub fn of(case: &Case) -> Self {
        let input = [0, 1, 2].map(|axis| case.n[axis] + 1 - case.kernel[axis]);
        let (batch, in_channels, kernel) = (case.batch, case.in_channels, case.kernel);
        let shape = ConvShape { batch, in_channels, out_channels: 3, input, kernel };
        let s = Spectrum { shape, all_strict: u32::from(case.all_strict) };
        let (rows, slots) = (s.rows() as usize, s.slots() as usize);
        // Two channels in three differ in scale, one of them by images; and one row in seven is empty.
        let row_exponent: Vec<i32> = (0..rows)
            .map(|row| {
                let (ci, b) = (row / batch as usize, row % batch as usize);
                if case.not_finite == Some(row) {
                    return NOT_FINITE;
                }
                match case.scaled {
                    true if row % 7 == 3 => EMPTY,
                    true => [0, 8, if b % 2 == 0 { -8 } else { -16 }][ci % 3],
                    false => 8,
                }
            })
            .collect();
        let words = s.lines() as usize * rows * slots;
        let mut data = Self {
            spectrum: s,
            grid: Grid { kernel, in_channels, out_channels: 3 },
            high: vec![0; words],
            low: vec![0; s.strict_lines() as usize * rows * slots],
            row_exponent,
            spectra: vec![(0.0, 0.0); words],
        };
        for line in 0..s.lines() {
            let (fo, fr) = s.frequencies(line);
            let strict = s.strict_index(fo, fr);
            for at in 0..rows * slots {
                let (row, slot) = (at / slots, at % slots);
                let Some(fp) = s.frequency(slot as u32) else { continue };
                if (fo, fr, fp) == (0, 0, 0) || data.row_exponent[row] == EMPTY {
                    continue;
                }
                let place = s.place(line, row as u32, slot as u32) as usize;
                // Of two mirror images the later one is conjugate.
                let (index, sign) = match s.mirror_image(line) {
                    Some(image) if image < line => {
                        let opposite = (case.n[2] - fp) % case.n[2];
                        (s.place(image, row as u32, s.slot(opposite)), -1.0)
                    }
                    _ => (place as u64, 1.0),
                };
                if data.row_exponent[row] == NOT_FINITE {
                    data.high[place] = NAN;
                    match strict {
                        Some(index) => data.low[s.place(index, row as u32, slot as u32) as usize] = NAN,
                        None if slot == 0 => data.high[place + 1] = NAN,
                        None => {}
                    }
                    continue;
                }
                let value = (3.0 * draw(1, index), sign * 3.0 * draw(2, index));
                let (high, kept) = word(value);
                let (low, rest) = word((value.0 - kept.0, value.1 - kept.1));
                // A launch of all lines does not read those.
                let unread = sign < 0.0 && case.lines >= s.lines();
                let (high, low) = if unread { (NAN, NAN) } else { (high, low) };
                data.high[place] = high;
                let exact = (kept.0 + rest.0, kept.1 + rest.1);
                data.spectra[place] = exact;
                match strict {
                    Some(index) => data.low[s.place(index, row as u32, slot as u32) as usize] = low,
                    None if slot == 0 => data.high[place + 1] = low,
                    None => data.spectra[place] = kept,
                }
            }
        }
        data
    }

    /// E of a channel.
    pub fn channel_exponent(&self, ci: u32) -> i32 {
        let batch = self.spectrum.shape.batch as usize;
        *self.row_exponent[ci as usize * batch..][..batch].iter().max().unwrap()
    }

    /// m of a group of so many channels.
    pub fn scale_exponent(&self, group: u32, channels: u32) -> i32 {
        let largest = (group * channels..(group + 1) * channels).map(|ci| self.channel_exponent(ci)).max().unwrap();
        if largest == EMPTY { 0 } else { largest }
    }

    /// X[b, ci] of a frequency, true but for the common scale.
    fn value(&self, (fo, fr, fp): (u32, u32, u32), ci: u32, b: u32) -> Complex {
        let s = &self.spectrum;
        let row = ci * s.shape.batch + b;
        let (re, im) = self.spectra[s.place(s.line(fo, fr), row, s.slot(fp)) as usize];
        let exponent = self.row_exponent[row as usize];
        let scale = if exponent == EMPTY { 0.0 } else { f64::powi(2.0, exponent) };
        (scale * re, scale * im)
    }

    /// Ĝ[i, j] at all points of the grid, (line, g2): in true scale.
    pub fn gram(&self, i: u32, j: u32) -> Vec<Complex> {
        let (s, grid, n, m) = (&self.spectrum, &self.grid, self.spectrum.n(), self.grid.m());
        let mut gram = vec![(0.0, 0.0); grid.points() as usize];
        for fo in 0..n[0] {
            for fr in 0..s.half() {
                for fp in 0..n[2] {
                    let f = [fo, fr, fp];
                    let mut g = (0.0, 0.0);
                    for b in 0..s.shape.batch {
                        let ((a, b), (c, d)) = (self.value((fo, fr, fp), i, b), self.value((fo, fr, fp), j, b));
                        g = (g.0 + a * c + b * d, g.1 + b * c - a * d);
                    }
                    let weight = f64::from(s.weight(fr)) / 2.0;
                    for (point, sum) in gram.iter_mut().enumerate() {
                        let (line, g2) = (point as u32 / m[2], point as u32 % m[2]);
                        let (g0, g1) = grid.line(line);
                        let factor = |mirrored: bool| {
                            let axes = [(0, g0), (1, g1), (2, g2)];
                            axes.map(|(a, g)| {
                                let f = if mirrored { (n[a] - f[a]) % n[a] } else { f[a] };
                                dirichlet(
                                    case_kernel(grid, a),
                                    f64::from(f) / f64::from(n[a]),
                                    f64::from(g) / f64::from(m[a]),
                                )
                            })
                            .iter()
                            .product::<f64>()
                                * weight
                        };
                        // The frequency itself, and its mirror image −f.
                        let (here, there) = (factor(false), factor(true));
                        *sum = (sum.0 + (here + there) * g.0, sum.1 + (here - there) * g.1);
                    }
                }
            }
        }
        gram
    }
}

fn case_kernel(grid: &Grid, axis: usize) -> u32 {
    grid.kernel[axis]
}

/// 1 + 2 Σ_{0<l<K} cos(2πl·(f − g)), of parts of a turn.
pub fn dirichlet(kernel: u32, f: f64, g: f64) -> f64 {
    1.0 + 2.0 * (1..kernel).map(|l| (TAU * f64::from(l) * (f - g)).cos()).sum::<f64>()
}
