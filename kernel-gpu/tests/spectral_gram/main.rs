//! The Gram matrices of drawn spectra in the SIMT executor: clean under every schedule, the same bits, and right by the
//! definition in f64.

mod data;
mod launch;
mod resample;

use cuda_std::simt::Schedule;
use data::{Case, Complex, Data};

const CASE: Case = Case {
    batch: 3,
    in_channels: 5,
    n: [4, 5, 13],
    kernel: [2, 3, 5],
    all_strict: false,
    scaled: false,
    lines: 7,
    blocks: 2,
    ways: 1,
    groups: 1,
    not_finite: None,
};

/// f32 sums; the products of two low words are left out.
const BOUND: f64 = 1e-6;

fn norm(values: &[Complex]) -> f64 {
    values.iter().map(|(re, im)| re * re + im * im).sum::<f64>().sqrt()
}

fn distance(found: &[Complex], expected: &[Complex]) -> f64 {
    let differences: Vec<_> = found.iter().zip(expected).map(|(a, b)| (a.0 - b.0, a.1 - b.1)).collect();
    norm(&differences)
}

fn check(case: Case) {
    let data = Data::of(&case);
    let grid = &data.grid;
    let mut first = 0;
    while first < grid.blocks() {
        let blocks = case.blocks.min(grid.blocks() - first);
        let schedules = [Schedule::InOrder, Schedule::Reversed, Schedule::Random(5)];
        let results = schedules.map(|schedule| launch::run(&case, &data, first, schedule));
        let bits = |(gram, scales): &(Vec<f32>, Vec<i32>)| {
            (gram.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), scales.clone())
        };
        assert!(results.iter().all(|result| bits(result) == bits(&results[0])), "{case:?}");
        let (gram, scales) = &results[0];
        // What a channel's part of a pair is scaled by, nothing of what is not finite.
        let lost = |ci: u32| case.not_finite.is_some_and(|row| row as u32 / case.batch == ci);
        let scale_of = |ci: u32| scales[(ci / (case.in_channels / case.groups)) as usize];
        for block in 0..blocks {
            let (rows, columns) = grid.block(first + block);
            // The corners of the block, the diagonal and some others.
            let mut pairs = Vec::new();
            for (i, j) in [(0, 0), (1, 0), (3, 4), (2, 2), (15, 0), (0, 15), (9, 15), (15, 15)] {
                let channels = (rows * 16 + i, columns * 16 + j);
                let found: Vec<Complex> = (0..grid.points())
                    .map(|point| {
                        let at = ((point * u64::from(blocks) + u64::from(block)) * 256 + u64::from(16 * i + j)) * 2;
                        let (re, im) = (gram[at as usize], gram[at as usize + 1]);
                        let there = channels.0 < grid.in_channels && channels.1 < grid.in_channels;
                        let exponent = if there { scale_of(channels.0) + scale_of(channels.1) } else { 0 };
                        let scale = f64::powi(2.0, if exponent < 10_000 { exponent } else { 0 });
                        (f64::from(re) * scale, f64::from(im) * scale)
                    })
                    .collect();
                let outside = channels.0 >= grid.in_channels || channels.1 >= grid.in_channels;
                if outside || lost(channels.0) || lost(channels.1) {
                    assert!(found.iter().all(|&value| value == (0.0, 0.0)), "{case:?}");
                } else if [channels.0, channels.1].iter().all(|&ci| scale_of(ci) < 10_000) {
                    pairs.push((channels, found, data.gram(channels.0, channels.1)));
                }
            }
            for ((i, j), found, expected) in &pairs {
                // A channel pair's matrices are as large as those of its channels with themselves, or smaller.
                let size = (norm(&data.gram(*i, *i)) * norm(&data.gram(*j, *j))).sqrt();
                let error = distance(found, expected) / size;
                assert!(size > 0.0 && error <= BOUND, "{case:?} {i} {j}: {error:e}");
                // Controls: the matrix without a conjugate, and the neighbouring point.
                // (One point alone is its own mirror image, and real.)
                if i != j && found.len() > 1 {
                    let conjugate: Vec<_> = found.iter().map(|&(re, im)| (re, -im)).collect();
                    assert!(distance(&conjugate, expected) > 100.0 * BOUND * size, "{case:?}");
                }
                if found.len() > 1 {
                    let mut turned = found.clone();
                    turned.rotate_left(1);
                    assert!(distance(&turned, expected) > 100.0 * BOUND * size, "{case:?}");
                }
            }
        }
        first += blocks;
    }
}

#[test]
fn a_few_channels() {
    check(CASE);
    check(Case { batch: 17, lines: 100, ..CASE });
}

#[test]
fn blocks_that_are_shared() {
    check(Case { ways: 2, ..CASE });
    check(Case { ways: 2, all_strict: true, lines: 100, ..CASE });
    check(Case { ways: 2, in_channels: 37, n: [1, 3, 12], kernel: [1, 2, 3], blocks: 4, ..CASE });
    check(Case { ways: 2, scaled: true, batch: 4, ..CASE });
}

/// In a later pass of lags too.
#[test]
fn mirror_images() {
    for ways in [1, 2] {
        check(Case { ways, n: [4, 1, 7], kernel: [1, 1, 6], lines: 100, ..CASE });
    }
}

#[test]
fn strict_lines() {
    check(Case { all_strict: true, batch: 9, ..CASE });
}

#[test]
fn more_channels_than_a_tile_in_ranges_of_blocks() {
    check(Case { in_channels: 37, n: [2, 2, 6], kernel: [1, 2, 3], blocks: 10, lines: 3, ..CASE });
    check(Case { in_channels: 50, n: [1, 2, 4], kernel: [1, 1, 2], blocks: 3, ..CASE });
}

#[test]
fn rows_of_different_scales() {
    check(Case { scaled: true, batch: 4, ..CASE });
    check(Case { scaled: true, in_channels: 20, all_strict: true, n: [2, 3, 4], kernel: [2, 1, 2], ..CASE });
}

/// Each group by its own scale; what is not finite of one leaves the others as they are.
#[test]
fn groups_of_a_bundle() {
    let case = Case { groups: 10, in_channels: 20, n: [2, 3, 4], kernel: [2, 1, 2], ..CASE };
    check(Case { scaled: true, ..case });
    for all_strict in [false, true] {
        check(Case { not_finite: Some(7), all_strict, ..case });
        check(Case { not_finite: Some(7), scaled: true, batch: 2, all_strict, ..case });
    }
    check(Case { groups: 64, in_channels: 64, n: [1, 2, 4], kernel: [1, 1, 2], not_finite: Some(100), ..CASE });
}

#[test]
fn other_kernels_and_lengths() {
    for (kernel, n) in [
        ([1, 1, 1], [2, 2, 4]),
        ([1, 1, 6], [1, 1, 7]),
        ([1, 1, 11], [1, 1, 12]),
        ([6, 1, 1], [6, 1, 1]),
        ([1, 7, 1], [1, 8, 1]),
        ([3, 2, 1], [4, 2, 2]),
    ] {
        check(Case { kernel, n, ..CASE });
    }
}
