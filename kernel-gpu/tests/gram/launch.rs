//! Each kernel launched by its entry, under a schedule, over outputs that hold NaN: what it leaves is what it wrote.

use std::f64::consts::PI;
use std::ops::Range;

use cuda_std::simt::{Grid as Launch, Memory, Schedule};
use kernel_gpu::entries;
use kernel_gpu::gram_energy::{self, GramEnergy};
use kernel_gpu::gram_grid::{BLOCK_WORDS, Grid};
use kernel_gpu::tap_moments::{self, TapMoments};
use kernel_gpu::tap_spectrum::{self, TapSpectrum, point_words};

use crate::Case;
use crate::tensors::tensor;

/// The result of `run`, which has the same bits under each schedule.
pub fn same<R>(run: impl Fn(Schedule) -> R, bits: impl Fn(&R) -> Vec<u64>) -> R {
    let result = run(Schedule::InOrder);
    for schedule in [Schedule::Reversed, Schedule::Random(5)] {
        assert!(bits(&run(schedule)) == bits(&result), "{schedule:?} gives other bits");
    }
    result
}

/// Launches the entry of that name; it must run clean.
pub fn launch<P>(name: &str, blocks: u64, shared_bytes: u32, schedule: Schedule, memory: &Memory, parameters: &P) {
    let entry = entries::find(name).unwrap_or_else(|| panic!("no entry {name}"));
    assert_eq!(entry.parameter_bytes, size_of::<P>());
    // SAFETY: the parameters are of the entry's type: their sizes agree, and each caller below names the right one. What
    // they point at is checked access by access.
    let kernel = || unsafe { (entry.run)(std::ptr::from_ref(parameters).cast()) };
    let grid = Launch::of(entry.spec, blocks.max(1) as u32).shared_bytes(shared_bytes);
    let report = grid.schedule(schedule).run(memory, kernel);
    assert!(report.is_clean(), "{name}, {schedule:?}:\n{report}");
}

/// What `tap_moments` writes.
pub struct Moments {
    pub sum: Vec<f64>,
    pub exponent: Vec<i32>,
}

pub fn tap_moments(case: &Case) -> Moments {
    let run = |schedule| {
        let grid = case.grid;
        let mut memory = Memory::new();
        let kernel = tensor(&mut memory, "kernel", &case.taps, case.element);
        let sum = memory.buffer("sum", &vec![f64::NAN; (grid.in_channels * grid.out_channels) as usize]);
        let exponent = memory.buffer("channel_exponent", &vec![i32::MIN; grid.out_channels as usize]);
        let parameters = TapMoments { kernel, sum: sum.global_mut(), channel_exponent: exponent.global_mut(), grid };
        let (spec, blocks) = (tap_moments::SPEC, parameters.blocks().min(case.blocks));
        launch(spec.name, blocks.into(), spec.shared_bytes, schedule, &memory, &parameters);
        Moments { sum: memory.read(&sum), exponent: memory.read(&exponent) }
    };
    same(run, |moments| {
        let sums = moments.sum.iter().map(|value| value.to_bits());
        sums.chain(moments.exponent.iter().map(|&g| g as u64)).collect()
    })
}

/// (cos, sin)(π·m/M) of each axis.
fn twiddles(grid: &Grid) -> Vec<f32> {
    let axis = |m: u32| {
        (0..2 * m).flat_map(move |n| {
            let angle = PI * f64::from(n) / f64::from(m);
            [angle.cos() as f32, angle.sin() as f32]
        })
    };
    let table: Vec<_> = grid.m().into_iter().flat_map(axis).collect();
    assert_eq!(table.len() as u32, 2 * grid.twiddles());
    table
}

/// W of some lines.
pub fn tap_spectrum(case: &Case, exponent: &[i32], lines: Range<u32>) -> Vec<f32> {
    let run = |schedule| {
        let grid = case.grid;
        let mut memory = Memory::new();
        let kernel = tensor(&mut memory, "kernel", &case.taps, case.element);
        let exponent = memory.buffer("channel_exponent", exponent);
        let twiddles = memory.buffer("twiddles", &twiddles(&grid));
        let words = lines.len() as u64 * u64::from(grid.m()[2]) * point_words(&grid);
        let spectrum = memory.buffer("spectrum", &vec![f32::NAN; words as usize]);
        let parameters = TapSpectrum {
            kernel,
            channel_exponent: exponent.global(),
            twiddles: twiddles.global(),
            spectrum: spectrum.global_mut(),
            grid,
            first_line: lines.start,
            lines: lines.len() as u32,
        };
        let blocks = parameters.items().min(case.blocks.into());
        launch(tap_spectrum::SPEC.name, blocks, parameters.shared_bytes(), schedule, &memory, &parameters);
        memory.read(&spectrum)
    };
    same(run, |spectrum| spectrum.iter().map(|value| u64::from(value.to_bits())).collect())
}

/// A launch of `gram_energy`.
#[derive(Clone, Debug)]
pub struct Part {
    pub lines: Range<u32>,
    pub blocks: Range<u32>,
    pub shares: u32,
    pub first_part: u64,
}

/// Ĝ, W and their scales, of all points and blocks.
pub struct Operands {
    pub grid: Grid,
    /// (point, block, i, j, re and im).
    pub gram: Vec<f32>,
    pub spectrum: Vec<f32>,
    /// m of each group, of as many output channels each.
    pub scale_exponent: Vec<i32>,
    pub channel_exponent: Vec<i32>,
}

/// The energies (part, c), from part 0 on; those before `first_part` stay NaN.
pub fn gram_energy(operands: &Operands, part: &Part) -> Vec<f64> {
    let run = |schedule| {
        let grid = operands.grid;
        // What the launch gets is what it needs, no more.
        let m2 = grid.m()[2];
        let points = (part.lines.start * m2) as usize..(part.lines.end * m2) as usize;
        let words = BLOCK_WORDS as usize;
        let of_point = |point: usize| {
            let start = point * grid.blocks() as usize * words;
            let blocks = start + part.blocks.start as usize * words..start + part.blocks.end as usize * words;
            operands.gram[blocks].iter().copied()
        };
        let gram: Vec<f32> = points.clone().flat_map(of_point).collect();
        let each = point_words(&grid) as usize;
        let mut memory = Memory::new();
        let gram = memory.buffer("gram", &gram);
        let spectrum = memory.buffer("spectrum", &operands.spectrum[points.start * each..points.end * each]);
        let scales = [&[1][..], &operands.scale_exponent].concat();
        let scale_exponent = memory.buffer("scale_exponent", &scales);
        let channel_exponent = memory.buffer("channel_exponent", &operands.channel_exponent);
        let rows = (part.first_part + u64::from(part.shares)) * u64::from(grid.out_channels);
        let energy = memory.buffer("energy", &vec![f64::NAN; rows as usize]);
        let parameters = GramEnergy {
            gram: gram.global(),
            spectrum: spectrum.global(),
            scale_exponent: scale_exponent.global(),
            channel_exponent: channel_exponent.global(),
            energy: energy.global_mut(),
            grid,
            group_channels: grid.out_channels / operands.scale_exponent.len() as u32,
            first_line: part.lines.start,
            lines: part.lines.len() as u32,
            first_block: part.blocks.start,
            blocks: part.blocks.len() as u32,
            shares: part.shares,
            first_part: part.first_part,
        };
        assert_eq!(parameters.parts(), u64::from(part.shares));
        let blocks = u64::from(parameters.thread_blocks());
        launch(gram_energy::SPEC.name, blocks, gram_energy::SPEC.shared_bytes, schedule, &memory, &parameters);
        memory.read(&energy)
    };
    same(run, |energy| energy.iter().map(|value| value.to_bits()).collect())
}
