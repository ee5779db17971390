//! The kernels of the spectral way that know nothing of x's transform, in the SIMT executor: clean under every schedule, the
//! same bits under each, and right by the definition in f64.

mod finish;
mod launch;
mod reference;

use kernel_gpu::conv_shape::ConvShape;
use kernel_gpu::spectrum::Spectrum;
use launch::{Chunk, Folded, Sums};

/// The extents of a case, and its taps.
pub struct Case {
    /// The extents.
    pub spectrum: Spectrum,
    /// w.
    pub taps: Vec<f32>,
    /// Blocks of `tap_sums`.
    pub blocks: u32,
}

impl Case {
    fn new(channels: (u32, u32), input: [u32; 3], kernel: [u32; 3]) -> Self {
        let shape = ConvShape { batch: 2, in_channels: channels.0, out_channels: channels.1, input, kernel };
        let count = (channels.0 * channels.1 * shape.taps()) as usize;
        let taps = draw(count, u64::from(channels.0 + 100 * channels.1)).map(|value| value as f32);
        Self { spectrum: Spectrum { shape, all_strict: 0 }, taps: taps.collect(), blocks: 100 }
    }

    fn all_strict(mut self) -> Self {
        self.spectrum.all_strict = 1;
        self
    }

    /// The taps of (ci, c), changed.
    fn change(mut self, change: impl Fn(u32, u32, f32) -> f32) -> Self {
        let shape = self.spectrum.shape;
        for (row, taps) in self.taps.chunks_mut(shape.taps() as usize).enumerate() {
            let (ci, c) = (row as u32 / shape.out_channels, row as u32 % shape.out_channels);
            taps.iter_mut().for_each(|tap| *tap = change(ci, c, *tap));
        }
        self
    }
}

/// Uniform in [−1, 1): SplitMix64.
pub fn draw(count: usize, seed: u64) -> impl Iterator<Item = f64> {
    (0..count as u64).map(move |i| {
        let mut z = (seed << 40).wrapping_add((i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        (z >> 11) as f64 * f64::powi(2.0, -52) - 1.0
    })
}

/// All three kernels on a case, against the definition.
fn check(case: &Case) {
    let sums = launch::same(case, launch::tap_sums, Sums::bits);
    reference::check_sums(case, &sums);
    let spectrum = &case.spectrum;
    for strict in [false, true] {
        let lines = if strict { spectrum.strict_lines() } else { spectrum.plain_lines() };
        if lines == 0 {
            continue;
        }
        for extra in [0, 1] {
            let tiles = spectrum.shape.out_channels.div_ceil(16) + extra;
            let fold = |first_line, lines| {
                let chunk = Chunk { strict, first_line, lines, tiles };
                launch::same(case, |case, schedule| launch::tap_fold(case, schedule, &sums, chunk), Folded::bits)
            };
            let whole = fold(0, lines);
            reference::check_folded(case, &sums, strict, tiles, &whole);
            // The padding is checked; it need not be cut as well.
            if extra == 0 && lines > 1 {
                let (head, tail) = (fold(0, lines / 3 + 1), fold(lines / 3 + 1, lines - lines / 3 - 1));
                assert_eq!(head.exponent, whole.exponent);
                assert_eq!(tail.exponent, whole.exponent);
                assert_eq!([head.folded, tail.folded].concat(), whole.folded, "{:?}", case.spectrum);
                assert_eq!([head.low, tail.low].concat(), whole.low, "{:?}", case.spectrum);
            }
        }
    }
}

#[test]
fn kernels_along_each_axis() {
    for k in [1, 2, 3, 5, 6, 7, 9] {
        for axis in 0..3 {
            let (mut input, mut kernel) = ([3, 2, 2], [2, 3, 2]);
            (input[axis], kernel[axis]) = (4, k);
            check(&Case::new((2, 3), input, kernel));
        }
    }
    check(&Case::new((3, 2), [4, 5, 3], [2, 3, 4]));
    check(&Case::new((2, 2), [3, 3, 3], [5, 5, 5]));
}

#[test]
fn channels_about_a_tile() {
    for (channels, kernel) in [((1, 1), [3, 3, 3]), ((3, 16), [2, 1, 3]), ((17, 3), [1, 2, 2]), ((40, 17), [1, 1, 3])] {
        check(&Case::new(channels, [3, 4, 2], kernel));
    }
    check(&Case::new((16, 40), [2, 2, 1], [2, 2, 1]));
}

#[test]
fn extents_of_one_and_long_runs() {
    check(&Case::new((1, 1), [1, 1, 1], [1, 1, 1]));
    check(&Case::new((2, 2), [1, 1, 6], [1, 1, 3]));
    check(&Case::new((2, 2), [5, 1, 1], [3, 1, 1]));
    check(&Case::new((2, 2), [1, 9, 1], [1, 3, 1]));
    check(&Case::new((1, 2), [4, 30, 2], [2, 2, 2]));
    check(&Case::new((1, 2), [6, 17, 1], [1, 1, 1]));
}

#[test]
fn every_line_strict() {
    check(&Case::new((3, 3), [4, 6, 2], [3, 2, 3]).all_strict());
    check(&Case::new((2, 3), [3, 9, 2], [2, 7, 2]).all_strict());
}

#[test]
fn more_input_channels_than_blocks() {
    let case = Case::new((18, 18), [4, 5, 2], [3, 3, 2]);
    check(&Case { blocks: 3, ..case });
}

#[test]
fn taps_that_do_not_fit_in_shared_memory() {
    check(&Case::new((2, 2), [1, 2, 1], [9, 9, 10]));
}

#[test]
fn groups_of_channels() {
    // 16 channels of 343 taps at a time.
    check(&Case::new((1, 35), [1, 2, 1], [7, 7, 7]));
}

#[test]
fn scales() {
    let case = || Case::new((5, 6), [3, 4, 2], [3, 3, 3]);
    check(&case().change(|ci, _, tap| if ci == 2 { tap * 1e-12 } else { tap }));
    check(&case().change(|_, c, tap| if c == 1 { tap * 1e20 } else { tap }));
    check(&case().change(|ci, c, tap| if ci == 3 || c == 4 { 0.0 } else { tap }));
    check(&case().change(|_, _, tap| tap * 1e-36));
    check(&case().change(|_, _, tap| tap * 1e36));
    check(&case().change(|_, _, _| 0.0));
    check(&case().change(|_, _, _| 1.0));
}

#[test]
fn the_exponent_is_of_the_finite_norms() {
    let infinite = Case::new((2, 3), [2, 2, 2], [2, 2, 2]).change(|ci, c, tap| match (ci, c) {
        (0, 1) => f32::INFINITY,
        (0, 2) => f32::NAN,
        (0, 0) => 4096.0 * tap.abs().max(0.5),
        _ => f32::INFINITY,
    });
    let sums = launch::same(&infinite, launch::tap_sums, |sums| sums.exponent.iter().map(|&t| t as u64).collect());
    assert_eq!(sums.exponent, [16, 0]);
}
