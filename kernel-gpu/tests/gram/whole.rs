//! All of it against the convolution: what the kernels make of Gram matrices that are an input's is what Parseval says.

use std::f64::consts::PI;

use kernel_gpu::conv_shape::ConvShape;
use kernel_gpu::gram_grid::BLOCK_WORDS;

use crate::launch::{self, Operands, Part};
use crate::reference::{Complex, gram_place, points};
use crate::{Case, draw};

/// P·Σ_b Σ_p (z − mean)² of each channel, by the definition of the convolution.
fn by_convolution(shape: &ConvShape, x: &[f64], case: &Case) -> Vec<f64> {
    let (n, [_, k1, k2], [d, h, w]) = (shape.output(), shape.kernel, shape.input);
    let volume = shape.volume() as usize;
    let of_channel = |c: u32| {
        (0..shape.batch).map(move |b| {
            let mut z = vec![0.0; shape.positions() as usize];
            for i in 0..shape.in_channels {
                let x = &x[(b * shape.in_channels + i) as usize * volume..];
                for (k, &tap) in case.row(i, c).iter().enumerate() {
                    let k = [k as u32 / (k1 * k2), k as u32 / k2 % k1, k as u32 % k2];
                    for at in 0..d * h * w {
                        let p = [at / (h * w) + k[0], at / w % h + k[1], at % w + k[2]];
                        z[((p[0] * n[1] + p[1]) * n[2] + p[2]) as usize] += f64::from(tap) * x[at as usize];
                    }
                }
            }
            let mean = z.iter().sum::<f64>() / z.len() as f64;
            z.iter().map(|z| (z - mean) * (z - mean)).sum::<f64>()
        })
    };
    (0..shape.out_channels).map(|c| of_channel(c).sum::<f64>() * shape.positions() as f64).collect()
}

/// Ĝ as it is stored, times 4^−m.
fn gram(shape: &ConvShape, x: &[f64], case: &Case, m: i32) -> Vec<f32> {
    let (grid, n) = (&case.grid, shape.output());
    let frequencies: Vec<[u32; 3]> =
        (0..shape.positions() as u32).map(|f| [f / (n[1] * n[2]), f / n[2] % n[1], f % n[2]]).collect();
    let [_, h, w] = shape.input;
    let transform = |b: u32, i: u32, f: [u32; 3]| {
        let volume = shape.volume() as usize;
        let x = &x[(b * shape.in_channels + i) as usize * volume..][..volume];
        x.iter().enumerate().fold(Complex::default(), |sum, (at, &x)| {
            let at = [at as u32 / (h * w), at as u32 / w % h, at as u32 % w];
            let turns: f64 = (0..3).map(|a| f64::from(f[a] * at[a]) / f64::from(n[a])).sum();
            sum + Complex::turn(-2.0 * PI * turns) * Complex { re: x, im: 0.0 }
        })
    };
    // (f, i): the images' spectra.
    let spectra: Vec<Vec<Vec<Complex>>> = frequencies
        .iter()
        .map(|&f| {
            let images = |i| (0..shape.batch).map(|b| transform(b, i, f)).collect();
            (0..shape.in_channels).map(images).collect()
        })
        .collect();
    let dirichlet = |a: usize, g: u32, f: u32| {
        let turns = f64::from(f) / f64::from(n[a]) - f64::from(g) / f64::from(grid.m()[a]);
        1.0 + 2.0 * (1..grid.kernel[a]).map(|l| (2.0 * PI * f64::from(l) * turns).cos()).sum::<f64>()
    };
    let mut stored = vec![0.0; grid.points() as usize * (grid.blocks() * BLOCK_WORDS) as usize];
    for (point, g) in points(grid).enumerate() {
        let stored = &mut stored[point * (grid.blocks() * BLOCK_WORDS) as usize..];
        for (i, j) in (0..shape.in_channels).flat_map(|i| (0..shape.in_channels).map(move |j| (i, j))) {
            if i / 16 < j / 16 {
                continue;
            }
            let mut sum = Complex::default();
            // f = 0 is left out.
            for (f, x) in frequencies.iter().zip(&spectra).skip(1) {
                let factor = Complex { re: (0..3).map(|a| dirichlet(a, g[a], f[a])).product(), im: 0.0 };
                let product = |b: usize| x[i as usize][b] * x[j as usize][b].conj();
                sum = sum + factor * (0..shape.batch as usize).map(product).fold(Complex::default(), |a, b| a + b);
            }
            let place = gram_place(grid, i, j);
            let scale = f64::powi(4.0, -m);
            (stored[place], stored[place + 1]) = ((sum.re * scale) as f32, (sum.im * scale) as f32);
        }
    }
    stored
}

fn check(batch: u32, in_channels: u32, out_channels: u32, input: [u32; 3], kernel: [u32; 3]) {
    let shape = ConvShape { batch, in_channels, out_channels, input, kernel };
    let case = Case::new(in_channels, out_channels, kernel);
    let x: Vec<f64> = draw((u64::from(batch * in_channels) * shape.volume()) as usize, 77).map(|x| x + 0.5).collect();
    let grid = case.grid;
    let lines = grid.grid_lines();
    let exponent = launch::tap_moments(&case).exponent;
    let operands = Operands {
        grid,
        gram: gram(&shape, &x, &case, 5),
        spectrum: launch::tap_spectrum(&case, &exponent, 0..lines),
        scale_exponent: vec![5],
        channel_exponent: exponent,
    };
    let part = Part { lines: 0..lines, blocks: 0..grid.blocks(), shares: 5, first_part: 0 };
    let energies = launch::gram_energy(&operands, &part);
    for (c, expected) in by_convolution(&shape, &x, &case).into_iter().enumerate() {
        let found: f64 = energies.chunks(out_channels as usize).map(|row| row[c]).sum();
        let error = (found / expected - 1.0).abs();
        assert!(error < 1e-6, "channel {c}: {found:e} instead of {expected:e}, {error:e}, {shape:?}");
    }
}

#[test]
fn the_energies_are_the_convolutions() {
    check(2, 3, 4, [3, 2, 4], [2, 3, 3]);
    check(1, 2, 3, [4, 3, 3], [3, 2, 2]);
    // A kernel longer than the input, and one of one tap.
    check(2, 2, 2, [1, 2, 2], [3, 4, 1]);
    check(2, 3, 2, [3, 3, 3], [1, 1, 1]);
    check(1, 18, 17, [2, 2, 2], [2, 1, 2]);
}
