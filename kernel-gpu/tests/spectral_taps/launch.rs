//! Each kernel launched by its entry, under a schedule, over outputs that hold NaN: what it leaves is what it wrote.

use std::f64::consts::PI;

use cuda_std::simt::{Grid, Memory, Schedule};
use kernel_gpu::entries;
use kernel_gpu::spectrum::Spectrum;
use kernel_gpu::tap_fold::{SPEC_PLAIN, SPEC_STRICT, TapFold};
use kernel_gpu::tap_sums::{self, TapSums, part_words};

use crate::Case;

/// A word that no kernel writes: as f32 and as f16 a NaN.
const UNWRITTEN: u32 = 0x7fff_7fff;

/// What `tap_sums` writes.
pub struct Sums {
    pub sum: Vec<f64>,
    pub norm: Vec<f32>,
    pub exponent: Vec<i32>,
    pub parts: Vec<f32>,
}

impl Sums {
    pub fn bits(&self) -> Vec<u64> {
        let mut bits: Vec<u64> = self.sum.iter().map(|value| value.to_bits()).collect();
        bits.extend(self.norm.iter().chain(&self.parts).map(|value| u64::from(value.to_bits())));
        bits.extend(self.exponent.iter().map(|&t| t as u64));
        bits
    }
}

/// Lines of a launch of `tap_fold`.
#[derive(Clone, Copy)]
pub struct Chunk {
    pub strict: bool,
    pub first_line: u32,
    pub lines: u32,
    pub tiles: u32,
}

/// What `tap_fold` writes.
pub struct Folded {
    pub exponent: Vec<i32>,
    pub folded: Vec<u32>,
    pub low: Vec<u32>,
}

impl Folded {
    pub fn bits(&self) -> Vec<u64> {
        let words = self.folded.iter().chain(&self.low).map(|&word| u64::from(word));
        words.chain(self.exponent.iter().map(|&g| g as u64)).collect()
    }
}

/// Launches the entry of that name; it must run clean.
pub fn launch<P>(name: &str, blocks: u32, schedule: Schedule, memory: &Memory, parameters: &P) {
    let entry = entries::find(name).unwrap_or_else(|| panic!("no entry {name}"));
    assert_eq!(entry.parameter_bytes, size_of::<P>());
    // SAFETY: the parameters are of the entry's type: their sizes agree, and each caller below names the right one. What
    // they point at is checked access by access.
    let kernel = || unsafe { (entry.run)(std::ptr::from_ref(parameters).cast()) };
    let report = Grid::of(entry.spec, blocks).schedule(schedule).run(memory, kernel);
    assert!(report.is_clean(), "{name}, {schedule:?}:\n{report}");
}

/// The result of `run`, which has the same bits under each schedule.
pub fn same<C, R>(case: &C, run: impl Fn(&C, Schedule) -> R, bits: impl Fn(&R) -> Vec<u64>) -> R {
    let result = run(case, Schedule::InOrder);
    for schedule in [Schedule::Reversed, Schedule::Random(5)] {
        assert!(bits(&run(case, schedule)) == bits(&result), "{schedule:?} gives other bits");
    }
    result
}

pub fn tap_sums(case: &Case, schedule: Schedule) -> Sums {
    let spectrum = case.spectrum;
    let rows = (spectrum.shape.in_channels * spectrum.shape.out_channels) as usize;
    let mut memory = Memory::new();
    let kernel = memory.buffer("kernel", &case.taps);
    let sum = memory.buffer("sum", &vec![f64::NAN; rows]);
    let norm = memory.buffer("norm", &vec![f32::NAN; rows]);
    let exponent = memory.buffer("exponent", &vec![i32::MIN; spectrum.shape.in_channels as usize]);
    let parts = memory.buffer("parts", &vec![f32::NAN; part_words(&spectrum) as usize]);
    let parameters = TapSums {
        kernel: kernel.global(),
        sum: sum.global_mut(),
        norm: norm.global_mut(),
        exponent: exponent.global_mut(),
        parts: parts.global_mut(),
        spectrum,
    };
    launch(tap_sums::SPEC.name, case.blocks.min(spectrum.shape.in_channels), schedule, &memory, &parameters);
    Sums {
        sum: memory.read(&sum),
        norm: memory.read(&norm),
        exponent: memory.read(&exponent),
        parts: memory.read(&parts),
    }
}

/// (cos, sin)(π·m/N) of each axis.
fn twiddles(spectrum: &Spectrum) -> Vec<f32> {
    let axis = |n: u32| {
        (0..2 * n).flat_map(move |m| {
            let angle = PI * f64::from(m) / f64::from(n);
            [angle.cos() as f32, angle.sin() as f32]
        })
    };
    spectrum.n().into_iter().flat_map(axis).collect()
}

pub fn tap_fold(case: &Case, schedule: Schedule, sums: &Sums, chunk: Chunk) -> Folded {
    let spectrum = case.spectrum;
    let tiles = (chunk.lines * chunk.tiles * spectrum.in_tiles()) as usize;
    let words = if chunk.strict { 256 } else { 128 };
    let mut memory = Memory::new();
    let parts = memory.buffer("parts", &sums.parts);
    let twiddles = memory.buffer("twiddles", &twiddles(&spectrum));
    let norm = memory.buffer("norm", &sums.norm);
    let tap_exponent = memory.buffer("tap_exponent", &sums.exponent);
    let channel_exponent = memory.buffer("channel_exponent", &vec![i32::MIN; 16 * chunk.tiles as usize]);
    let folded = memory.buffer("folded", &vec![UNWRITTEN; tiles * spectrum.basis() as usize * words]);
    let low = memory.buffer("low", &vec![UNWRITTEN; if chunk.strict { 0 } else { tiles * 256 }]);
    let parameters = TapFold {
        parts: parts.global(),
        twiddles: twiddles.global(),
        norm: norm.global(),
        tap_exponent: tap_exponent.global(),
        channel_exponent: channel_exponent.global_mut(),
        folded: folded.global_mut(),
        folded_low: low.global_mut(),
        spectrum,
        first_line: chunk.first_line,
        lines: chunk.lines,
        channel_tiles: chunk.tiles,
    };
    let blocks = parameters.blocks(chunk.strict);
    let spec = if chunk.strict { SPEC_STRICT } else { SPEC_PLAIN };
    launch(spec.name, blocks, schedule, &memory, &parameters);
    Folded { exponent: memory.read(&channel_exponent), folded: memory.read(&folded), low: memory.read(&low) }
}
