//! The launches from spectra to Gram matrices on the coarse grid, as a plan makes them.

use std::f64::consts::TAU;

use cuda_std::global::Global;
use cuda_std::simt::{Grid as Launch, Memory, Schedule};
use kernel_gpu::entries;
use kernel_gpu::gram_grid::BLOCK_WORDS;
use kernel_gpu::grid_resample::GridResample;
use kernel_gpu::input_scales::InputScales;
use kernel_gpu::line_gram::{LineGram, SPEC_2, SPEC_4, coefficient, coefficients, lags};
use kernel_gpu::pair_resample::PairResample;
use kernel_gpu::spectrum::Spectrum;
use kernel_gpu::{grid_resample, grid_resample_factors, input_scales, pair_resample};

use crate::data::{Case, Data, dirichlet};

/// Ĝ of the blocks of channel pairs from `first` on, (point, block, 16, 16, [re, im]), and the scale's exponent of each group.
pub fn run(case: &Case, data: &Data, first: u32, schedule: Schedule) -> (Vec<f32>, Vec<i32>) {
    let (s, grid, n, m) = (&data.spectrum, &data.grid, data.spectrum.n(), data.grid.m());
    let blocks = case.blocks.min(grid.blocks() - first);
    let inner = u64::from(blocks * BLOCK_WORDS);
    let mut memory = Memory::new();
    let (high, low) = (memory.buffer("high", &data.high), memory.buffer("low", &data.low));
    let rows = memory.buffer("e", &data.row_exponent);
    let channels = memory.buffer("E", &vec![i32::MIN; grid.in_channels as usize]);
    let scale = memory.buffer("m", &vec![i32::MIN; 1 + case.groups as usize]);
    let lags = lags(grid.kernel[2]);
    let table: Vec<f32> = (0..coefficients(s, grid.kernel[2], lags))
        .map(|index| match coefficient(s, grid.kernel[2], lags, index) {
            Some((l, fp)) => {
                let angle = TAU * f64::from(l * fp % n[2]) / f64::from(n[2]);
                if index / lags % 2 == 1 { angle.sin() as f32 } else { angle.cos() as f32 }
            }
            None => 0.0,
        })
        .collect();
    let table = memory.buffer("coefficients", &table);
    let outer = memory.buffer("outer", &outer_factors(n[0], grid.kernel[0]));
    let half = memory.buffer("half", &half_factors(s));
    let pair = memory.buffer("pair", &pair_matrix(m[2]));
    let lines = s.lines();
    let words = |lines: u32| vec![f32::NAN; (u64::from(lines * m[2]) * inner) as usize];
    let sums = memory.buffer("sums", &words(lines));
    let joined = memory.buffer("joined", &words(grid.grid_lines()));
    let gram = memory.buffer("gram", &words(grid.grid_lines()));

    let scales = InputScales {
        row_exponent: rows.global(),
        channel_exponent: channels.global_mut(),
        scale_exponent: scale.global_mut(),
        in_channels: grid.in_channels,
        groups: case.groups,
        batch: s.shape.batch,
    };
    launch(&memory, input_scales::SPEC.name, 1, &scales, schedule);
    let mut first_line = 0;
    while first_line < lines {
        let count = case.lines.min(lines - first_line);
        let parameters = LineGram {
            high: high.global(),
            low: low.global(),
            row_exponent: rows.global(),
            channel_exponent: channels.global(),
            scale_exponent: scale.global(),
            coefficients: table.global(),
            sums: sums.global_mut().offset(u64::from(first_line * m[2]) * inner),
            spectrum: *s,
            rows: s.rows(),
            first_line,
            lines: count,
            first_block: first,
            blocks,
            ways: case.ways,
        };
        let spec = if lags == 2 { SPEC_2 } else { SPEC_4 };
        launch(&memory, spec.name, parameters.items(lags) as u32, &parameters, schedule);
        first_line += count;
    }
    // As a plan's chunks of lines come.
    let mut first_line = 0;
    while first_line < lines {
        let count = case.lines.min(lines - first_line);
        let parameters = GridResample {
            input: sums.global().offset(u64::from(first_line * m[2]) * inner),
            outer: outer.global(),
            half: half.global(),
            channel_exponent: channels.global(),
            scale_exponent: scale.global(),
            output: joined.global_mut(),
            grid: *grid,
            group_channels: grid.in_channels / case.groups,
            column: n[0],
            inputs: s.half(),
            first_line,
            lines: count,
            first_block: first,
            blocks,
        };
        launch(&memory, grid_resample::SPEC.name, parameters.items(), &parameters, schedule);
        first_line += count;
    }
    let parameters = PairResample {
        input: Global::from_address(joined.global().address()),
        matrix: pair.global(),
        output: gram.global_mut(),
        inner,
        lines: grid.grid_lines(),
        points: m[2],
    };
    launch(&memory, pair_resample::SPEC.name, parameters.items().div_ceil(2), &parameters, schedule);
    for (ci, e) in memory.read(&channels).into_iter().enumerate() {
        assert_eq!(e, data.channel_exponent(ci as u32));
    }
    let scales = memory.read(&scale).split_off(1);
    for (group, m) in (0..).zip(&scales) {
        assert_eq!(*m, data.scale_exponent(group, grid.in_channels / case.groups));
    }
    (memory.read(&gram), scales)
}

/// The even and odd part of Dirichlet's kernel in the point, from the definition.
fn part(kernel: u32, f: f64, point: u32, odd: bool) -> f64 {
    let g = f64::from(point) / f64::from(2 * kernel - 1);
    let (here, opposite) = (dirichlet(kernel, f, g), dirichlet(kernel, f, -g));
    (if odd { here - opposite } else { here + opposite }) / 2.0
}

/// The factors of the outer axis.
pub fn outer_factors(n: u32, kernel: u32) -> Vec<f32> {
    let rows = grid_resample_factors::outer_rows(n);
    (0..grid_resample_factors::factors(rows, kernel))
        .map(|index| match grid_resample_factors::factor(rows, kernel, index) {
            Some((fo, point, odd)) if fo <= n / 2 => part(kernel, f64::from(fo) / f64::from(n), point, odd) as f32,
            _ => 0.0,
        })
        .collect()
}

/// The factors of the half axis.
pub fn half_factors(s: &Spectrum) -> Vec<f32> {
    let (n, kernel) = (s.n()[1], s.shape.kernel[1]);
    (0..grid_resample_factors::factors(s.half(), kernel))
        .map(|index| match grid_resample_factors::factor(s.half(), kernel, index) {
            Some((fr, point, odd)) => {
                (f64::from(s.weight(fr)) * part(kernel, f64::from(fr) / f64::from(n), point, odd)) as f32
            }
            None => 0.0,
        })
        .collect()
}

fn pair_matrix(m: u32) -> Vec<f32> {
    let mut matrix = vec![0.0; pair_resample::matrix_len(m) as usize];
    for component in 0..m {
        for g in 0..m {
            let (l, sine) = (component.div_ceil(2), component > 0 && component.is_multiple_of(2));
            let angle = TAU * f64::from(l * g) / f64::from(m);
            let value = if component == 0 { 1.0 } else { 2.0 * if sine { angle.sin() } else { angle.cos() } };
            matrix[pair_resample::matrix_index(m, component, g) as usize] = value as f32;
        }
    }
    matrix
}

pub fn launch<P: Sync>(memory: &Memory, name: &str, blocks: u32, parameters: &P, schedule: Schedule) {
    let entry = entries::find(name).unwrap();
    assert_eq!(entry.parameter_bytes, size_of::<P>());
    let grid = Launch::of(entry.spec, blocks).shared_bytes(entry.spec.shared_bytes);
    // SAFETY: the parameters are of the entry's type; what they point at is checked access by access.
    let report = grid.schedule(schedule).run(memory, || unsafe { (entry.run)(std::ptr::from_ref(parameters).cast()) });
    assert!(report.is_clean(), "{name} {schedule:?}\n{report}");
}
