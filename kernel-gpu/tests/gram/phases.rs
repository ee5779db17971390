//! `phase_taps`.

use cuda_std::simt::Memory;
use kernel_gpu::element::ElementType;
use kernel_gpu::phase_taps::{PhaseTaps, SPEC};

use crate::draw;
use crate::launch::{launch, same};
use crate::tensors::{NARROW, rounded, tensor};

/// Taps of `rows` rows, and how they come apart.
#[derive(Clone, Copy, Debug)]
struct Case {
    rows: usize,
    /// Rows of a group, each an input channel with one output channel; and groups of a bundle.
    of_group: usize,
    bundle: usize,
    whole: [u32; 3],
    step: [u32; 3],
    blocks: u64,
    element: ElementType,
}

impl Case {
    /// Φ_a and J_a.
    fn parts(&self) -> [[u32; 3]; 2] {
        let of = |part: fn(u32, u32) -> u32| [0, 1, 2].map(|a| part(self.whole[a], self.step[a]));
        [of(|taps, step| taps.min(step)), of(u32::div_ceil)]
    }

    fn taps(&self) -> Vec<f32> {
        let count = self.rows * self.whole.iter().product::<u32>() as usize;
        draw(count, 5).map(|value| rounded(value, self.element)).collect()
    }

    fn found(&self) -> Vec<f32> {
        let ([phases, part], taps) = (self.parts(), self.taps());
        let run = |schedule| {
            let mut memory = Memory::new();
            let kernel = tensor(&mut memory, "kernel", &taps, self.element);
            let row: u32 = phases.iter().chain(&part).product();
            let output = memory.buffer("taps", &vec![f32::NAN; self.rows * self.bundle * row as usize]);
            let parameters = PhaseTaps {
                kernel,
                taps: output.global_mut(),
                in_channels: self.rows as u32,
                group: [self.of_group as u32, 1],
                bundle: self.bundle as u32,
                whole: self.whole,
                phases,
                step: self.step,
                part,
            };
            let blocks = parameters.blocks().min(self.blocks);
            launch(SPEC.name, blocks, SPEC.shared_bytes, schedule, &memory, &parameters);
            memory.read(&output)
        };
        same(run, |taps| taps.iter().map(|tap| u64::from(tap.to_bits())).collect())
    }

    /// (row, phase, tap of the phase) by the definition: `other` shifts the first axis' phases by one, which is wrong.
    fn expected(&self, other: u32) -> Vec<f32> {
        let ([phases, part], taps) = (self.parts(), self.taps());
        let indices = |extents: [u32; 3]| {
            let [a, b, c] = extents;
            (0..a).flat_map(move |i| (0..b).flat_map(move |j| (0..c).map(move |k| [i, j, k])))
        };
        let mut expected = Vec::new();
        let of_row = self.whole.iter().product::<u32>() as usize;
        let of_bundle = taps.chunks(of_row).enumerate().flat_map(|row| (0..self.bundle).map(move |c| (row, c)));
        for ((ci, row), c) in of_bundle {
            let own = ci / self.of_group % self.bundle == c;
            for phase in indices(phases) {
                for j in indices(part) {
                    let k = [0, 1, 2].map(|a| phase[a] + u32::from(a == 0) * other + j[a] * self.step[a]);
                    let there = own && (0..3).all(|a| k[a] < self.whole[a]);
                    let at = ((k[0] * self.whole[1] + k[1]) * self.whole[2] + k[2]) as usize;
                    expected.push(if there { row[at] } else { 0.0 });
                }
            }
        }
        expected
    }
}

const CASE: Case =
    Case { rows: 7, of_group: 7, bundle: 1, whole: [3, 5, 4], step: [2, 3, 1], blocks: 9, element: ElementType::F32 };

#[test]
fn each_tap_comes_to_its_phase() {
    let cases = [
        CASE,
        Case { blocks: 1, ..CASE },
        Case { whole: [4, 4, 4], step: [2; 3], rows: 12, of_group: 12, ..CASE },
        Case { rows: 12, of_group: 2, bundle: 3, ..CASE },
        Case { rows: 6, of_group: 1, bundle: 6, blocks: 1, element: NARROW[0], ..CASE },
        Case { whole: [2, 1, 3], step: [5, 9, 7], ..CASE },
        Case { whole: [1, 6, 2], step: [1, 4, 2], element: NARROW[0], ..CASE },
        Case { element: NARROW[1], ..CASE },
    ];
    for case in cases {
        assert_eq!(case.found(), case.expected(0), "{case:?}");
    }
}

/// The check can fail.
#[test]
fn the_next_phase_is_another() {
    assert_ne!(CASE.found(), CASE.expected(1));
}
