//! `spectral_finish` in the SIMT executor: clean under every schedule, the same bits, and right by the definition in f64.

use cuda_std::global::Global;
use cuda_std::simt::{Grid, Memory, Schedule};
use kernel_gpu::conv_shape::{ConvOptions, ConvShape};
use kernel_gpu::element::{ElementType, Tensor, TensorMut};
use kernel_gpu::entries;
use kernel_gpu::infinities::Operands;
use kernel_gpu::pool_finish::PoolFinish;
use kernel_gpu::spectral_finish::{SPEC, SpectralFinish};

struct Case {
    batch: usize,
    /// Of a group, as are the output channels.
    in_channels: usize,
    channels: usize,
    parts: usize,
    blocks: u32,
    groups: usize,
    /// Groups of a bundle.
    bundle: usize,
    phases: usize,
    /// N.
    phase_positions: u64,
}

const POSITIONS: u64 = 77;
const SCALE: f64 = -1.5;
const EPS: f64 = 1e-3;
const FACTOR: f64 = 0.25;

impl Case {
    fn draw(&self, count: usize, seed: u64) -> Vec<f64> {
        draw(count, seed).collect()
    }
    fn input_sum(&self) -> Vec<f64> {
        self.draw(self.batch * self.groups * self.in_channels, 1)
    }
    fn tap_sum(&self) -> Vec<f64> {
        self.draw(self.groups * self.in_channels * self.columns(), 2)
    }
    fn energy(&self) -> Vec<f64> {
        self.draw(self.groups * self.parts * self.channels * self.phases, 3).into_iter().map(f64::abs).collect()
    }
    /// (c, phase) of a bundle.
    fn columns(&self) -> usize {
        self.bundle * self.channels * self.phases
    }
    fn all_channels(&self) -> usize {
        self.groups * self.channels
    }
    /// γ, β, conv_bias, running mean, running variance less 1.
    fn channel(&self, seed: u64) -> Vec<f32> {
        self.draw(self.all_channels(), 4 + seed).into_iter().map(|value| value as f32).collect()
    }
}

struct Finished {
    mean: Vec<f64>,
    m2: Vec<f64>,
    output: Vec<f32>,
    batch_mean: Vec<f64>,
    batch_var: Vec<f64>,
    running_var: Vec<f32>,
}

impl Finished {
    fn bits(&self) -> Vec<u64> {
        let wide = self.mean.iter().chain(&self.m2).chain(&self.batch_mean).chain(&self.batch_var);
        let narrow = self.output.iter().chain(&self.running_var);
        wide.map(|value| value.to_bits()).chain(narrow.map(|value| u64::from(value.to_bits()))).collect()
    }
}

fn run(case: &Case, schedule: Schedule) -> Finished {
    let (channels, nan) = (case.all_channels(), f64::NAN);
    let rows = case.batch * channels;
    let mut memory = Memory::new();
    let input_sum = memory.buffer("input_sum", &case.input_sum());
    let tap_sum = memory.buffer("tap_sum", &case.tap_sum());
    let energy = memory.buffer("energy", &case.energy());
    let [gamma, beta, bias, running_mean] = [0, 1, 2, 3].map(|seed| memory.buffer("a channel's", &case.channel(seed)));
    let running_var = memory.buffer("running_var", &vec![1f32; channels]);
    let (mean, m2) = (memory.buffer("mean", &vec![nan; rows]), memory.buffer("m2", &vec![nan; rows]));
    let output = memory.buffer("output", &vec![f32::NAN; rows]);
    let batch_mean = memory.buffer("batch_mean", &vec![nan; channels]);
    let batch_var = memory.buffer("batch_var", &vec![nan; channels]);
    let (batch, groups) = (case.batch as u32, case.groups as u32);
    let (in_channels, out_channels) = (groups * case.in_channels as u32, channels as u32);
    let shape = ConvShape { batch, in_channels, out_channels, input: [1; 3], kernel: [1; 3] };
    let nothing = Tensor::new(0, ElementType::F32);
    let finish = PoolFinish::<f32> {
        mean: mean.global_mut(),
        m2: Global::null(),
        // Read only where a mean is not finite.
        operands: Operands {
            input: nothing,
            kernel: nothing,
            shape,
            options: ConvOptions { groups, ..ConvOptions::none(&shape) },
        },
        conv_bias: bias.global().into(),
        bn_weight: gamma.global(),
        bn_bias: beta.global(),
        running_mean: running_mean.global_mut(),
        running_var: running_var.global_mut(),
        output: TensorMut::new(output.address(), ElementType::F32),
        batch_mean: batch_mean.global_mut(),
        batch_var: batch_var.global_mut(),
        positions: POSITIONS,
        scale: SCALE,
        eps: EPS,
        factor: FACTOR,
        batch: case.batch as u32,
        channels: channels as u32,
        normalize_by_running: 0,
        update_running: 1,
    };
    let parameters = SpectralFinish {
        input_sum: input_sum.global(),
        tap_sum: tap_sum.global(),
        energy: energy.global(),
        parts: case.parts as u64,
        bundle: case.bundle as u32,
        phase_positions: case.phase_positions,
        phases: case.phases as u32,
        finish,
        mean: mean.global_mut(),
        m2: m2.global_mut(),
    };
    launch(SPEC.name, case.blocks.min(channels as u32), schedule, &memory, &parameters);
    Finished {
        mean: memory.read(&mean),
        m2: memory.read(&m2),
        output: memory.read(&output),
        batch_mean: memory.read(&batch_mean),
        batch_var: memory.read(&batch_var),
        running_var: memory.read(&running_var),
    }
}

fn check(case: &Case) {
    let found = same(case, run, Finished::bits);
    let (x, w, energy) = (case.input_sum(), case.tap_sum(), case.energy());
    let (gamma, beta, bias) = (case.channel(0), case.channel(1), case.channel(2));
    let count = (case.batch as u64 * POSITIONS) as f64;
    for c in 0..case.all_channels() {
        let group = c / case.channels;
        let (bundle, column) = (group / case.bundle, c % (case.bundle * case.channels));
        let columns = case.columns();
        let at = |what: &'static str| move || format!("{what} of channel {c}");
        // Of a phase, summed over its positions.
        let sum = |b: usize, phase: usize| {
            let channels = (0..case.in_channels).map(|i| group * case.in_channels + i);
            let all = case.groups * case.in_channels;
            channels.map(|ci| x[b * all + ci] * w[ci * columns + column * case.phases + phase]).sum::<f64>()
        };
        let mean = |b: usize| SCALE / POSITIONS as f64 * (0..case.phases).map(|phase| sum(b, phase)).sum::<f64>();
        let size = (case.in_channels * case.phases) as f64;
        let energy: f64 = (0..case.parts)
            .flat_map(|part| (0..case.phases).map(move |phase| (part, phase)))
            .map(|(part, phase)| energy[(bundle * case.parts + part) * columns + column * case.phases + phase])
            .sum();
        let n = case.phase_positions as f64;
        // Σ of the squares of what each phase's mean differs by, and of the positions that are no phase's.
        let between_phases = |b: usize| {
            let of_phases: f64 = (0..case.phases).map(|phase| n * (SCALE * sum(b, phase) / n - mean(b)).powi(2)).sum();
            of_phases + (POSITIONS as f64 - case.phases as f64 * n) * mean(b).powi(2)
        };
        let m2 = SCALE * SCALE * energy / n + (0..case.batch).map(between_phases).sum::<f64>();
        let batch_mean = (0..case.batch).map(mean).sum::<f64>() / case.batch as f64;
        let between: f64 = (0..case.batch).map(|b| (mean(b) - batch_mean).powi(2)).sum();
        let variance = m2 / count + between / case.batch as f64;
        let rounding = 1e-13 * size;
        close(at("batch_mean"), found.batch_mean[c], batch_mean + SCALE * f64::from(bias[c]), rounding);
        close(at("batch_var"), found.batch_var[c], variance, rounding * (1.0 + variance));
        let running = 0.75 + FACTOR * variance * count / (count - 1.0);
        close(at("running_var"), f64::from(found.running_var[c]), running, 1e-7 * running + rounding);
        for b in 0..case.batch {
            let row = b * case.all_channels() + c;
            close(at("mean"), found.mean[row], mean(b), rounding);
            let own = between_phases(b) + if b == 0 { SCALE * SCALE * energy / n } else { 0.0 };
            close(at("m2"), found.m2[row], own, 1e-13 * m2.abs() + rounding);
            let root = (variance + EPS).sqrt();
            let output = f64::from(gamma[c]) * (mean(b) - batch_mean) / root + f64::from(beta[c]);
            close(at("output"), f64::from(found.output[row]), output, 1e-7 * output.abs() + 100.0 * rounding);
        }
    }
}

#[test]
fn spectral_finish() {
    for (batch, in_channels) in [(1, 1), (2, 3), (15, 8), (16, 17), (17, 9), (40, 7)] {
        for (channels, parts, blocks) in [(1, 1, 9), (3, 127, 2), (5, 300, 9)] {
            let whole = Case {
                batch,
                in_channels,
                channels,
                parts,
                blocks,
                groups: 1,
                bundle: 1,
                phases: 1,
                phase_positions: POSITIONS,
            };
            check(&whole);
        }
    }
}

/// Phases with fewer positions than there are, all together, and with more; groups, by themselves and in bundles; and both.
#[test]
fn phases_and_groups() {
    for (groups, bundle, phases, phase_positions) in [
        (1, 1, 1, 40),
        (3, 1, 1, POSITIONS),
        (1, 1, 4, 19),
        (1, 1, 3, 26),
        (2, 1, 6, 11),
        (3, 3, 1, POSITIONS),
        (6, 2, 3, 26),
    ] {
        for (batch, in_channels, channels, parts, blocks) in [(1, 1, 1, 3, 9), (3, 9, 2, 700, 3), (33, 2, 3, 40, 9)] {
            check(&Case { batch, in_channels, channels, parts, blocks, groups, bundle, phases, phase_positions });
        }
    }
}

/// Uniform in [−1, 1): SplitMix64.
fn draw(count: usize, seed: u64) -> impl Iterator<Item = f64> {
    (0..count as u64).map(move |i| {
        let mut z = (seed << 40).wrapping_add((i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        (z >> 11) as f64 * f64::powi(2.0, -52) - 1.0
    })
}

/// Launches the entry of that name; it must run clean.
fn launch<P>(name: &str, blocks: u32, schedule: Schedule, memory: &Memory, parameters: &P) {
    let entry = entries::find(name).unwrap_or_else(|| panic!("no entry {name}"));
    assert_eq!(entry.parameter_bytes, size_of::<P>());
    // SAFETY: the parameters are of the entry's type: their sizes agree, and each caller below names the right one. What
    // they point at is checked access by access.
    let kernel = || unsafe { (entry.run)(std::ptr::from_ref(parameters).cast()) };
    let report = Grid::of(entry.spec, blocks).schedule(schedule).run(memory, kernel);
    assert!(report.is_clean(), "{name}, {schedule:?}:\n{report}");
}

/// The result of `run`, which has the same bits under each schedule.
fn same<C, R>(case: &C, run: impl Fn(&C, Schedule) -> R, bits: impl Fn(&R) -> Vec<u64>) -> R {
    let result = run(case, Schedule::InOrder);
    for schedule in [Schedule::Reversed, Schedule::Random(5)] {
        assert!(bits(&run(case, schedule)) == bits(&result), "{schedule:?} gives other bits");
    }
    result
}

fn close(what: impl Fn() -> String, found: f64, expected: f64, bound: f64) {
    // Not `>`: a NaN fails.
    let within = (found - expected).abs() <= bound;
    assert!(within, "{}: {found:e} instead of {expected:e}, within {bound:e}", what());
}
