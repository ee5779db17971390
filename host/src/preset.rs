//! Named problems to measure on.

use crate::draw::Draws;
use crate::problem::{KernelShape, Problem, Shape5};

/// A named problem and how its tensors are drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Preset {
    /// What the command line calls it.
    pub name: &'static str,
    /// Where it comes from.
    pub about: &'static str,
    input: [usize; 4],
    batch: usize,
    out_channels: usize,
    kernel: usize,
    data: Data,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Data {
    /// As the modules initialise themselves, with this seed.
    Usual(u64),
    /// All in [0, 1), with this seed.
    Unit(u64),
}

/// Every preset. All have scale 2, ε = 1e-5, training mode and no running statistics.
pub const PRESETS: [Preset; 5] = [
    Preset {
        name: "kernelbench-77",
        about: "KernelBench level 2, problem 77",
        batch: 16,
        input: [64, 16, 32, 32],
        out_channels: 128,
        kernel: 5,
        data: Data::Usual(77_000),
    },
    Preset {
        name: "kernelbench-77-v0",
        about: "the first version of KernelBench's problem 77: kernel 3, 32 output channels",
        batch: 16,
        input: [64, 16, 32, 32],
        out_channels: 32,
        kernel: 3,
        data: Data::Usual(78_000),
    },
    Preset {
        name: "tensara",
        about: "Tensara's conv-transpose3d-scale-batchnorm-globalavgpool: all tensors in [0, 1)",
        batch: 16,
        input: [64, 16, 32, 32],
        out_channels: 128,
        kernel: 5,
        data: Data::Unit(42),
    },
    Preset {
        name: "batch-128",
        about: "KernelBench's problem 77 with eight times the batch",
        batch: 128,
        input: [64, 16, 32, 32],
        out_channels: 128,
        kernel: 5,
        data: Data::Usual(80_000),
    },
    Preset {
        name: "cube-64",
        about: "a small batch of large volumes",
        batch: 4,
        input: [32, 64, 64, 64],
        out_channels: 32,
        kernel: 3,
        data: Data::Usual(79_000),
    },
];

impl Preset {
    /// The preset called `name`.
    pub fn find(name: &str) -> Option<&'static Preset> {
        PRESETS.iter().find(|preset| preset.name == name)
    }

    /// The input's shape.
    pub fn input(&self) -> Shape5 {
        let [channels, depth, height, width] = self.input;
        Shape5 { batch: self.batch, channels, depth, height, width }
    }

    /// The kernel's shape.
    pub fn kernel(&self) -> KernelShape {
        let (out_channels, k) = (self.out_channels, self.kernel);
        KernelShape { in_channels: self.input[0], out_channels, depth: k, height: k, width: k }
    }

    /// The problem.
    pub fn problem(&self) -> Problem {
        let builder = Problem::builder(self.input(), self.kernel()).scale_factor(2.0);
        builder.build().expect("presets are valid problems: a test builds each")
    }

    /// How its tensors are drawn.
    pub fn draws(&self) -> Draws {
        match self.data {
            Data::Usual(seed) => Draws::usual(&self.problem(), seed),
            Data::Unit(seed) => Draws::unit(seed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::Draw;

    #[test]
    fn each_is_a_valid_problem_under_its_own_name() {
        for preset in &PRESETS {
            assert_eq!(Preset::find(preset.name), Some(preset));
            assert_eq!(preset.problem().scale_factor(), 2.0);
        }
        assert_eq!(Preset::find("kernelbench-78"), None);
    }

    #[test]
    fn kernelbench_77_is_that_problem() {
        let preset = Preset::find("kernelbench-77").unwrap();
        assert_eq!(preset.problem().output_extents(), [20, 36, 36]);
        assert_eq!(preset.problem().direct_flops(), 536_870_912_000);
        // As in the golden case of the same name.
        let bound = 0.007_905_694_150_420_948;
        assert_eq!(preset.draws().kernel, Draw { seed: 77_002, lo: -bound, hi: bound });
    }
}
