//! `grid_resample` of drawn sums, against its definition in f64: lengths, kernels, ranges of lines, and one, two and four warps for
//! a number.

use cuda_std::simt::{Memory, Schedule};
use kernel_gpu::conv_shape::ConvShape;
use kernel_gpu::gram_grid::{BLOCK_WORDS, Grid};
use kernel_gpu::grid_resample::{self, GridResample};
use kernel_gpu::spectrum::{EMPTY, Spectrum};

use crate::data::{Complex, dirichlet, draw};
use crate::launch::{half_factors, launch, outer_factors};
use crate::{distance, norm};

#[derive(Clone, Copy, Debug)]
struct Case {
    n: [u32; 2],
    kernel: [u32; 3],
    in_channels: u32,
    /// The blocks of channel pairs.
    first_block: u32,
    blocks: u32,
    /// Lines of each launch.
    lines: u32,
    /// Warps that share a number.
    ways: u32,
}

const CASE: Case =
    Case { n: [4, 5], kernel: [2, 3, 2], in_channels: 10, first_block: 0, blocks: 1, lines: u32::MAX, ways: 4 };

/// f32 sums, some of few numbers that cancel.
const BOUND: f64 = 1e-6;

/// What goes wrong in a control.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// A launch takes its lines for those after.
    Shifted,
    /// The last launch is left out.
    Short,
    /// fr of one frequency that counts twice counts once.
    Weight,
}

struct Run {
    case: Case,
    spectrum: Spectrum,
    sums: Vec<f32>,
    exponents: Vec<i32>,
}

impl Run {
    fn of(case: Case) -> Self {
        let [n0, n1] = case.n;
        let [k0, k1, _] = case.kernel;
        let input = [n0 + 1 - k0, n1 + 1 - k1, 3];
        let shape = ConvShape { batch: 1, in_channels: case.in_channels, out_channels: 1, input, kernel: case.kernel };
        let spectrum = Spectrum { shape, all_strict: 0 };
        let words = u64::from(spectrum.lines()) * Self::inner(&case);
        Self {
            case,
            spectrum,
            sums: (0..words).map(|index| draw(3, index) as f32).collect(),
            exponents: (0..case.in_channels)
                .map(|ci| if ci == 7 { EMPTY } else { [8, 0, -16][ci as usize % 3] })
                .collect(),
        }
    }

    fn inner(case: &Case) -> u64 {
        u64::from((2 * case.kernel[2] - 1) * case.blocks * BLOCK_WORDS)
    }

    /// What the launches make, (r, m, block, 16, 16, [re, im]).
    fn found(&self, schedule: Schedule, fault: Fault) -> Vec<f32> {
        let (case, s, grid) = (&self.case, &self.spectrum, Grid::of(&self.spectrum.shape));
        let mut memory = Memory::new();
        let outer = memory.buffer("outer", &outer_factors(case.n[0], case.kernel[0]));
        let mut factors = half_factors(s);
        if fault == Fault::Weight {
            factors[16..32].iter_mut().for_each(|factor| *factor /= 2.0);
        }
        let half = memory.buffer("half", &factors);
        let (channels, scale) = (memory.buffer("E", &self.exponents), memory.buffer("m", &[0, 8i32]));
        let output = vec![f32::NAN; (u64::from(grid.grid_lines()) * Self::inner(case)) as usize];
        let output = memory.buffer("output", &output);
        let mut first_line = 0;
        while first_line < s.lines() {
            let lines = case.lines.min(s.lines() - first_line);
            let last = first_line + lines == s.lines();
            // A buffer of these lines alone: none other is read.
            let words = (u64::from(first_line) * Self::inner(case)) as usize;
            let input = memory.buffer("sums", &self.sums[words..][..(u64::from(lines) * Self::inner(case)) as usize]);
            let shifted = u32::from(fault == Fault::Shifted && last);
            let parameters = GridResample {
                input: input.global(),
                outer: outer.global(),
                half: half.global(),
                channel_exponent: channels.global(),
                scale_exponent: scale.global(),
                output: output.global_mut(),
                grid,
                group_channels: grid.in_channels,
                column: case.n[0],
                inputs: s.half(),
                first_line: first_line + shifted,
                lines: lines - shifted,
                first_block: case.first_block,
                blocks: case.blocks,
            };
            assert_eq!(parameters.ways(), case.ways, "{case:?}");
            if fault != Fault::Short || !last {
                launch(&memory, grid_resample::SPEC.name, parameters.items() + 1, &parameters, schedule);
            }
            first_line += lines;
        }
        memory.read(&output)
    }

    /// One (component, block, channel pair) at all lines of the grid, by the definition.
    fn expected(&self, component: u32, block: u32, pair: u32) -> Vec<Complex> {
        let (case, s, grid) = (&self.case, &self.spectrum, Grid::of(&self.spectrum.shape));
        let ([n0, n1], [k0, k1, _], [m0, m1, _]) = (case.n, case.kernel, grid.m());
        let turn = |part: u32, whole: u32| f64::from(part) / f64::from(whole);
        let scale: f64 = {
            let (i, j) = grid.block(case.first_block + block);
            let of = |ci: u32| match self.exponents.get(ci as usize) {
                Some(&e) if e != EMPTY => f64::powi(2.0, e - 8),
                _ => 0.0,
            };
            of(16 * i + pair / 16) * of(16 * j + pair % 16)
        };
        let h = |g0: u32, g1: u32| {
            let mut sum = (0.0, 0.0);
            for line in 0..s.lines() {
                let (fo, fr) = s.frequencies(line);
                let at = u64::from(line) * Self::inner(case)
                    + u64::from(((component * case.blocks + block) * 256 + pair) * 2);
                let factor = f64::from(s.weight(fr)) / 2.0
                    * dirichlet(k0, turn(fo, n0), turn(g0, m0))
                    * dirichlet(k1, turn(fr, n1), turn(g1, m1));
                sum.0 += factor * f64::from(self.sums[at as usize]);
                sum.1 += factor * f64::from(self.sums[at as usize + 1]);
            }
            sum
        };
        let sign = if component > 0 && component.is_multiple_of(2) { -1.0 } else { 1.0 };
        (0..grid.grid_lines())
            .map(|line| {
                let (g0, g1) = grid.line(line);
                let (here, there) = (h(g0, g1), h((m0 - g0) % m0, (m1 - g1) % m1));
                (scale * (here.0 + sign * there.0), scale * (here.1 - sign * there.1))
            })
            .collect()
    }

    /// The largest error of some numbers over all lines, beside their size.
    fn error(&self, found: &[f32]) -> f64 {
        let (case, grid) = (&self.case, Grid::of(&self.spectrum.shape));
        let mut worst = 0f64;
        for component in 0..grid.m()[2] {
            for (block, pair) in [(0, 0), (case.blocks - 1, 35), (0, 7), (case.blocks / 2, 18), (0, 255)] {
                let found: Vec<Complex> = (0..grid.grid_lines())
                    .map(|line| {
                        let at = u64::from(line) * Self::inner(case)
                            + u64::from(((component * case.blocks + block) * 256 + pair) * 2);
                        (f64::from(found[at as usize]), f64::from(found[at as usize + 1]))
                    })
                    .collect();
                let expected = self.expected(component, block, pair);
                let size = norm(&expected);
                // Channels that are not there, or empty.
                let error = if size == 0.0 { norm(&found) } else { distance(&found, &expected) / size };
                worst = if error.is_nan() { f64::INFINITY } else { worst.max(error) };
            }
        }
        worst
    }
}

fn check(case: Case) {
    let run = Run::of(case);
    let results = [Schedule::InOrder, Schedule::Reversed, Schedule::Random(3)].map(|s| run.found(s, Fault::None));
    let bits = |found: &[f32]| found.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert!(results.iter().all(|found| bits(found) == bits(&results[0])), "{case:?}");
    let error = run.error(&results[0]);
    assert!(error <= BOUND, "{case:?}: {error:e}");
}

#[test]
fn lengths_even_and_odd_and_one() {
    for n in [[1, 1], [1, 2], [2, 1], [1, 9], [8, 1], [3, 4], [7, 3], [9, 6]] {
        check(Case { n, kernel: [1, 1, 2], ..CASE });
    }
    for n in [[2, 3], [5, 4], [16, 5], [17, 8]] {
        check(Case { n, ..CASE });
    }
}

#[test]
fn kernels_of_each_width_and_of_several_tiles() {
    for kernel in [[5, 3, 1], [3, 5, 2], [4, 4, 1], [7, 2, 1], [2, 6, 2], [6, 10, 1]] {
        check(Case { n: [9, 11], kernel, ..CASE });
    }
}

/// A launch's lines may begin and end anywhere, and be fewer than those of one fr, or more than a ring holds.
#[test]
fn ranges_of_lines() {
    for lines in [1, 3, 7, 8, 10, 14, 20, 21] {
        check(Case { n: [7, 8], kernel: [3, 4, 1], lines, ..CASE });
    }
    check(Case { n: [11, 45], kernel: [2, 2, 1], lines: 200, ..CASE });
}

#[test]
fn many_numbers_are_a_warp_each() {
    let many = Case { n: [5, 6], kernel: [3, 2, 4], in_channels: 57, lines: 10, ..CASE };
    check(Case { blocks: 10, ways: 1, ..many });
    check(Case { first_block: 3, blocks: 5, ways: 2, ..many });
    check(Case { first_block: 9, blocks: 1, ways: 4, ..many });
}

#[test]
fn what_is_wrong_is_found_out() {
    let run = Run::of(Case { n: [6, 7], kernel: [3, 3, 2], lines: 13, ..CASE });
    for fault in [Fault::Shifted, Fault::Short, Fault::Weight] {
        let error = run.error(&run.found(Schedule::InOrder, fault));
        assert!(error > 1000.0 * BOUND, "{fault:?}: {error:e}");
    }
    assert!(run.error(&run.found(Schedule::InOrder, Fault::None)) <= BOUND);
}
