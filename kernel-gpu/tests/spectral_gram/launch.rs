//! The launches from spectra to Gram matrices on the coarse grid, as a plan makes them.

use std::f64::consts::TAU;

use cuda_std::global::Global;
use cuda_std::simt::{Grid as Launch, Memory, Schedule};
use kernel_gpu::axis_resample::AxisResample;
use kernel_gpu::entries;
use kernel_gpu::gram_grid::BLOCK_WORDS;
use kernel_gpu::half_resample::HalfResample;
use kernel_gpu::input_scales::InputScales;
use kernel_gpu::line_gram::{LineGram, SPEC_2, SPEC_4, coefficient, coefficients, lags};
use kernel_gpu::{axis_resample, half_resample, input_scales};

use crate::data::{Case, Data, dirichlet};

/// Ĝ of the blocks of channel pairs from `first` on, (point, block, 16, 16, [re, im]), and the common scale's exponent.
pub fn run(case: &Case, data: &Data, first: u32, schedule: Schedule) -> (Vec<f32>, i32) {
    let (s, grid, n, m) = (&data.spectrum, &data.grid, data.spectrum.n(), data.grid.m());
    let blocks = case.blocks.min(grid.blocks() - first);
    let inner = u64::from(blocks * BLOCK_WORDS);
    let mut memory = Memory::new();
    let (high, low) = (memory.buffer("high", &data.high), memory.buffer("low", &data.low));
    let rows = memory.buffer("e", &data.row_exponent);
    let channels = memory.buffer("E", &vec![i32::MIN; grid.in_channels as usize]);
    let scale = memory.buffer("m", &[i32::MIN; 2]);
    let lags = lags(grid.kernel[2]);
    let table: Vec<f32> = (0..coefficients(s, lags))
        .map(|index| match coefficient(s, lags, index) {
            Some((l, fp)) => {
                let angle = TAU * f64::from(l * fp % n[2]) / f64::from(n[2]);
                if index / lags % 2 == 1 { angle.sin() as f32 } else { angle.cos() as f32 }
            }
            None => 0.0,
        })
        .collect();
    let table = memory.buffer("coefficients", &table);
    let outer = memory.buffer(
        "outer",
        &matrix(n[0], m[0], |f, g| {
            dirichlet(grid.kernel[0], f64::from(f) / f64::from(n[0]), f64::from(g) / f64::from(m[0]))
        }),
    );
    let k1 = grid.kernel[1];
    let mut halves = vec![0.0; half_resample::matrix_len(s.half(), k1) as usize];
    for fr in 0..s.half() {
        for h in 0..k1 {
            let factor = |g| {
                let (f, g) = (f64::from(fr) / f64::from(n[1]), f64::from(g) / f64::from(m[1]));
                dirichlet(k1, f, g) * f64::from(s.weight(fr)) / 2.0
            };
            let (here, opposite) = (factor(h), factor((m[1] - h) % m[1]));
            let (even, odd) = half_resample::matrix_index((s.half(), k1), fr, h);
            halves[even as usize] = ((here + opposite) / 2.0) as f32;
            halves[odd as usize] = ((here - opposite) / 2.0) as f32;
        }
    }
    let halves = memory.buffer("half", &halves);
    let pair = memory.buffer(
        "pair",
        &matrix(m[2], m[2], |component, g| {
            let (l, sine) = (component.div_ceil(2), component > 0 && component.is_multiple_of(2));
            let angle = TAU * f64::from(l * g) / f64::from(m[2]);
            if component == 0 { 1.0 } else { 2.0 * if sine { angle.sin() } else { angle.cos() } }
        }),
    );
    let lines = s.lines();
    let sums = memory.buffer("sums", &vec![f32::NAN; (u64::from(lines * m[2]) * inner) as usize]);
    let resampled = memory.buffer("resampled", &vec![f32::NAN; (u64::from(s.half() * m[0] * m[2]) * inner) as usize]);
    let joined = memory.buffer("joined", &vec![f32::NAN; (grid.points() * inner) as usize]);
    let gram = memory.buffer("gram", &vec![f32::NAN; (grid.points() * inner) as usize]);

    let scales = InputScales {
        row_exponent: rows.global(),
        channel_exponent: channels.global_mut(),
        scale_exponent: scale.global_mut(),
        in_channels: grid.in_channels,
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
            first_line,
            lines: count,
            first_block: first,
            blocks,
        };
        let spec = if lags == 2 { SPEC_2 } else { SPEC_4 };
        launch(&memory, spec.name, parameters.items(lags) as u32, &parameters, schedule);
        first_line += count;
    }
    // The outer axis as a plan's chunks of lines come.
    let mut first_line = 0;
    while first_line < lines {
        let rows = case.lines.min(lines - first_line);
        let inner = u64::from(m[2]) * inner;
        let parameters = AxisResample {
            input: sums.global().offset(u64::from(first_line) * inner),
            matrix: outer.global(),
            output: resampled.global_mut(),
            inner,
            outer: first_line / n[0],
            skipped: first_line % n[0],
            rows,
            inputs: n[0],
            outputs: m[0],
        };
        resample(&memory, &parameters, schedule);
        first_line += rows;
    }
    let parameters = HalfResample {
        input: resampled.global(),
        matrix: halves.global(),
        channel_exponent: channels.global(),
        scale_exponent: scale.global(),
        output: joined.global_mut(),
        grid: *grid,
        inputs: s.half(),
        first_block: first,
        blocks,
    };
    launch(&memory, half_resample::SPEC.name, parameters.items().div_ceil(2), &parameters, schedule);
    let parameters = AxisResample {
        input: Global::from_address(joined.global().address()),
        matrix: pair.global(),
        output: gram.global_mut(),
        inner,
        outer: 0,
        skipped: 0,
        rows: grid.points() as u32,
        inputs: m[2],
        outputs: m[2],
    };
    resample(&memory, &parameters, schedule);
    for (ci, e) in memory.read(&channels).into_iter().enumerate() {
        assert_eq!(e, data.channel_exponent(ci as u32));
    }
    (memory.read(&gram), memory.read(&scale)[0])
}

fn matrix(inputs: u32, outputs: u32, value: impl Fn(u32, u32) -> f64) -> Vec<f32> {
    let mut matrix = vec![0.0; axis_resample::matrix_len(inputs, outputs) as usize];
    for i in 0..inputs {
        for a in 0..outputs {
            matrix[axis_resample::matrix_index((inputs, outputs), i, a) as usize] = value(i, a) as f32;
        }
    }
    matrix
}

fn resample(memory: &Memory, parameters: &AxisResample, schedule: Schedule) {
    launch(memory, axis_resample::SPEC.name, parameters.items().div_ceil(2), parameters, schedule);
}

fn launch<P: Sync>(memory: &Memory, name: &str, blocks: u32, parameters: &P, schedule: Schedule) {
    let entry = entries::find(name).unwrap();
    assert_eq!(entry.parameter_bytes, size_of::<P>());
    let grid = Launch::of(entry.spec, blocks).shared_bytes(entry.spec.shared_bytes);
    // SAFETY: the parameters are of the entry's type; what they point at is checked access by access.
    let report = grid.schedule(schedule).run(memory, || unsafe { (entry.run)(std::ptr::from_ref(parameters).cast()) });
    assert!(report.is_clean(), "{name} {schedule:?}\n{report}");
}
