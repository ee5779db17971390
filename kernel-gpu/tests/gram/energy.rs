//! `gram_energy` of drawn Gram matrices and spectra.

use kernel_gpu::gram_grid::{BLOCK_WORDS, Grid};
use kernel_gpu::spectrum::NOT_FINITE;
use kernel_gpu::tap_spectrum::point_words;

use crate::draw;
use crate::launch::{self, Operands, Part};
use crate::reference::{Complex, gram_place, points, spectrum_place};

fn operands(grid: Grid) -> Operands {
    let all = grid.points() as usize;
    let mut gram = vec![0.0; all * (grid.blocks() * BLOCK_WORDS) as usize];
    let mut spectrum = vec![0.0; all * point_words(&grid) as usize];
    let mut values = draw(usize::MAX, u64::from(grid.in_channels)).map(|value| value as f32);
    let mut next = || values.next().unwrap();
    for point in 0..all {
        let gram = &mut gram[point * (grid.blocks() * BLOCK_WORDS) as usize..];
        for i in 0..grid.in_channels {
            for j in 0..=i {
                let (re, im) = (next(), if i == j { 0.0 } else { next() });
                let place = gram_place(&grid, i, j);
                (gram[place], gram[place + 1]) = (re, im);
                if i / 16 == j / 16 {
                    let place = gram_place(&grid, j, i);
                    (gram[place], gram[place + 1]) = (re, -im);
                }
            }
        }
        let spectrum = &mut spectrum[point * point_words(&grid) as usize..];
        for (i, c) in (0..grid.in_channels).flat_map(|i| (0..grid.out_channels).map(move |c| (i, c))) {
            let place = spectrum_place(&grid, i, c);
            (spectrum[place], spectrum[place + 128]) = (next(), next());
        }
    }
    let channel_exponent = (0..grid.out_channels as i32).map(|c| c % 5 - 2).collect();
    Operands { grid, gram, spectrum, scale_exponent: vec![3], channel_exponent }
}

/// What may be wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    NotConjugate,
    OffDiagonalOnce,
    EveryLineTwice,
    EveryLineOnce,
    RealPartsOnly,
}

/// The energies of c over the launch's lines and blocks, and the sum of the magnitudes of what they are summed of.
fn expected(operands: &Operands, part: &Part, c: u32, fault: Fault) -> (f64, f64) {
    let grid = &operands.grid;
    let (mut sum, mut size) = (0.0, 0.0);
    for (point, _) in points(grid).enumerate() {
        let line = point as u32 / grid.m()[2];
        if !part.lines.contains(&line) {
            continue;
        }
        let weight = match fault {
            Fault::EveryLineTwice => 2.0,
            Fault::EveryLineOnce => 1.0,
            _ => f64::from(u32::from(line > 0) + 1),
        };
        let gram = &operands.gram[point * (grid.blocks() * BLOCK_WORDS) as usize..];
        let spectrum = &operands.spectrum[point * point_words(grid) as usize..];
        let w = |i: u32| {
            let place = spectrum_place(grid, i, c);
            Complex { re: spectrum[place].into(), im: spectrum[place + 128].into() }
        };
        for (i, j) in (0..grid.in_channels).flat_map(|i| (0..grid.in_channels).map(move |j| (i, j))) {
            if i / 16 < j / 16 || !part.blocks.contains(&grid.block_index((i / 16, j / 16))) {
                continue;
            }
            let place = gram_place(grid, i, j);
            let mut g = Complex { re: gram[place].into(), im: gram[place + 1].into() };
            if fault == Fault::RealPartsOnly {
                g.im = 0.0;
            }
            let twice = if i / 16 == j / 16 || fault == Fault::OffDiagonalOnce { 1.0 } else { 2.0 };
            let other = if fault == Fault::NotConjugate { w(j) } else { w(j).conj() };
            sum += weight * twice * (w(i) * g * other).re;
            size += weight * twice * w(i).abs() * g.abs() * w(j).abs();
        }
    }
    let m: f64 = grid.m().into_iter().map(f64::from).product();
    let group = c as usize * operands.scale_exponent.len() / operands.grid.out_channels as usize;
    let scale = f64::powi(4.0, operands.scale_exponent[group] + operands.channel_exponent[c as usize]) / m;
    (sum * scale, size * scale)
}

/// The largest error of a channel, of the magnitudes that it is summed of.
fn error(operands: &Operands, part: &Part, energies: &[f64], fault: Fault) -> f64 {
    let channels = operands.grid.out_channels as usize;
    let (before, rows) = energies.split_at(part.first_part as usize * channels);
    assert!(before.iter().all(|value| value.is_nan()));
    let errors = (0..channels).map(|c| {
        let found: f64 = rows.chunks(channels).map(|row| row[c]).sum();
        let (expected, size) = expected(operands, part, c as u32, fault);
        (found - expected).abs() / size
    });
    errors.fold(0.0, |a: f64, b| if b > a || b.is_nan() { b } else { a })
}

/// f32 sums of factors of 22 bits.
const BOUND: f64 = 2e-7;

fn all(grid: &Grid, shares: u32) -> Part {
    Part { lines: 0..grid.grid_lines(), blocks: 0..grid.blocks(), shares, first_part: 0 }
}

fn check(operands: &Operands, part: &Part) {
    let energies = launch::gram_energy(operands, part);
    let error = error(operands, part, &energies, Fault::None);
    assert!(error <= BOUND, "{error:e}, {:?}, {part:?}", operands.grid);
}

fn grid(in_channels: u32, out_channels: u32, kernel: [u32; 3]) -> Grid {
    Grid { kernel, in_channels, out_channels }
}

#[test]
fn channels_about_a_tile() {
    for (cin, cout) in [(1, 1), (3, 16), (16, 17), (17, 33), (40, 5), (33, 49)] {
        let grid = grid(cin, cout, [1, 2, 1]);
        check(&operands(grid), &all(&grid, 3));
    }
}

#[test]
fn many_points_of_few_channels() {
    let grid = grid(5, 40, [2, 2, 3]);
    let operands = operands(grid);
    for shares in [1, 2, 7, 30, 40] {
        check(&operands, &all(&grid, shares));
    }
}

#[test]
fn some_lines_and_some_blocks() {
    let grid = grid(50, 20, [2, 1, 2]);
    let operands = operands(grid);
    let (lines, blocks) = (grid.grid_lines(), grid.blocks());
    assert_eq!((lines, blocks), (2, 10));
    for (lines, blocks) in [(0..1, 0..blocks), (1..2, 0..blocks), (0..2, 2..5), (0..2, 6..10), (1..2, 4..5)] {
        check(&operands, &Part { lines, blocks, shares: 4, first_part: 3 });
    }
}

/// The comparison can fail, by each thing that may be wrong.
#[test]
fn faults_are_found_out() {
    let grid = grid(20, 18, [1, 2, 2]);
    let operands = operands(grid);
    let part = all(&grid, 2);
    let energies = launch::gram_energy(&operands, &part);
    assert!(error(&operands, &part, &energies, Fault::None) <= BOUND);
    use Fault::*;
    for fault in [NotConjugate, OffDiagonalOnce, EveryLineTwice, EveryLineOnce, RealPartsOnly] {
        let error = error(&operands, &part, &energies, fault);
        assert!(error > 100.0 * BOUND, "{fault:?}: {error:e}");
    }
}

#[test]
fn scales_are_applied_in_f64() {
    let grid = grid(3, 4, [1, 1, 2]);
    let mut operands = operands(grid);
    operands.scale_exponent = vec![-120];
    operands.channel_exponent = vec![120, -126, 0, 126];
    check(&operands, &all(&grid, 1));
}

/// Each group by its own scale; where that is not finite, energies are NaN, and those of other groups what they are without.
#[test]
fn groups_have_scales_of_their_own() {
    let grid = grid(20, 36, [1, 1, 2]);
    let part = all(&grid, 2);
    let mut operands = operands(grid);
    operands.scale_exponent = vec![3, -4, 7];
    check(&operands, &part);
    let right = launch::gram_energy(&operands, &part);
    operands.scale_exponent[1] = NOT_FINITE;
    let found = launch::gram_energy(&operands, &part);
    for (n, (found, right)) in found.iter().zip(&right).enumerate() {
        assert!(if n % 36 / 12 == 1 { found.is_nan() } else { found == right });
    }
}

#[test]
fn a_number_that_is_none_reaches_the_channels_it_belongs_to() {
    let grid = grid(20, 35, [1, 1, 2]);
    let (operands, part) = (operands(grid), all(&grid, 2));
    let right = launch::gram_energy(&operands, &part);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        // In W of (5, 17), of which there is one half.
        let mut wrong = Operands { grid, gram: operands.gram.clone(), ..operands_again(&operands) };
        wrong.spectrum[point_words(&grid) as usize + spectrum_place(&grid, 5, 17)] = bad;
        let found = launch::gram_energy(&wrong, &part);
        let finite = |c: usize| found.chunks(35).all(|row| row[c].is_finite());
        assert!((0..35).all(|c| finite(c) == (c != 17)), "{bad}");
        for (n, (found, right)) in found.iter().zip(&right).enumerate() {
            assert!(n % 35 == 17 || found == right);
        }
        // In Ĝ of one pair, and so of its mirror image.
        for (i, j) in [(18, 3), (2, 2)] {
            let mut wrong = operands_again(&operands);
            wrong.gram[gram_place(&grid, i, j)] = bad;
            let found = launch::gram_energy(&wrong, &part);
            assert!((0..35).all(|c| !found.chunks(35).all(|row| row[c].is_finite())), "{bad}");
        }
    }
}

fn operands_again(operands: &Operands) -> Operands {
    Operands {
        grid: operands.grid,
        gram: operands.gram.clone(),
        spectrum: operands.spectrum.clone(),
        scale_exponent: operands.scale_exponent.clone(),
        channel_exponent: operands.channel_exponent.clone(),
    }
}
