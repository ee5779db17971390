//! The kernels from the taps and the input's Gram matrices to the energies, in the SIMT executor: clean under every schedule,
//! the same bits under each, and right by the definition in f64.

mod energy;
mod launch;
mod phases;
mod reference;
mod taps;
#[path = "../tensors/mod.rs"]
mod tensors;
mod whole;

use kernel_gpu::element::ElementType;
use kernel_gpu::gram_grid::Grid;

/// The extents of a case, and its taps.
#[derive(Clone)]
pub struct Case {
    /// The extents.
    pub grid: Grid,
    /// w (Cin, Cout, outer, half, pair).
    pub taps: Vec<f32>,
    /// Blocks of a launch, at most.
    pub blocks: u32,
    /// What the taps are stored in.
    pub element: ElementType,
}

impl Case {
    /// Taps drawn for these channels.
    pub fn new(in_channels: u32, out_channels: u32, kernel: [u32; 3]) -> Self {
        let grid = Grid { kernel, in_channels, out_channels };
        let count = (in_channels * out_channels * grid.taps()) as usize;
        let taps = draw(count, u64::from(in_channels + 100 * out_channels)).map(|value| value as f32).collect();
        Self { grid, taps, blocks: u32::MAX, element: ElementType::F32 }
    }

    /// The same, rounded to this format.
    pub fn stored(self, element: ElementType) -> Self {
        let rounded = self.change(|_, _, tap| tensors::rounded(f64::from(tap), element));
        Self { element, ..rounded }
    }

    /// The taps of (i, c), changed.
    pub fn change(mut self, change: impl Fn(u32, u32, f32) -> f32) -> Self {
        for (row, taps) in self.taps.chunks_mut(self.grid.taps() as usize).enumerate() {
            let (i, c) = (row as u32 / self.grid.out_channels, row as u32 % self.grid.out_channels);
            taps.iter_mut().for_each(|tap| *tap = change(i, c, *tap));
        }
        self
    }

    /// The taps of (i, c).
    pub fn row(&self, i: u32, c: u32) -> &[f32] {
        let taps = self.grid.taps() as usize;
        &self.taps[(i * self.grid.out_channels + c) as usize * taps..][..taps]
    }
}

/// Uniform in [−1, 1): SplitMix64.
pub fn draw(count: usize, seed: u64) -> impl Iterator<Item = f64> {
    (0..count as u64).map(move |i| {
        let mut z = (seed << 40).wrapping_add((i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        (z >> 11) as f64 * f64::powi(2.0, -52) - 1.0
    })
}
