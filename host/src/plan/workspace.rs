//! The memory that the spectral way's kernels hand to each other.

use kernel_gpu::line_gram::{coefficients, lags};
use kernel_gpu::{grid_resample_factors, pair_resample};

use super::CudaSpectral;
use super::gram::Lengths;

/// How many elements each array has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpectralLengths {
    /// f32: (cos, sin) of every axis, of the spectra and of the grid.
    pub twiddles: [u64; 2],
    /// f32: cos and sin of the lags along the pair axis.
    pub coefficients: u64,
    /// f32: what resamples the outer, the half and the pair axis.
    pub matrices: [u64; 3],
    /// u32: the spectra of one cut.
    pub high: u64,
    /// u32: what rounding left of the strict lines'.
    pub low: u64,
    /// f32: between the passes of an axis each, in turns.
    pub scratch: [u64; 2],
    /// f64: Σ x of each (b, ci).
    pub input_sum: u64,
    /// i32: e of each row of one cut.
    pub row_exponent: u64,
    /// i32: E of each ci.
    pub input_exponent: u64,
    /// i32: whether all rows of a channel have its scale, and m of each group of a bundle.
    pub scale_exponent: u64,
    /// f32: the taps of each phase, and of a bundle's groups; none, if they lie as w has them.
    pub phase_taps: u64,
    /// f64: Σ w of each (ci, c of the bundle, phase).
    pub tap_sum: u64,
    /// i32: g of each (c, phase).
    pub channel_exponent: u64,
    /// f32: the sums of a chunk of lines, then the Gram matrices on the grid. The spectra `high` follow, and may be overwritten by more.
    pub sums: u64,
    /// f32: the Gram matrices' components on the grid's lines; none, if they take the spectra's place.
    pub joined: u64,
    /// f32: the taps' spectrum.
    pub taps: u64,
    /// f64: the energies, (bundle, part, c of the bundle, phase).
    pub energy: u64,
    /// f64: the mean of each (b, c), and M2.
    pub moments: u64,
    /// f64: the mean of each c, and the variance.
    pub statistics: u64,
}

impl SpectralLengths {
    /// Of all arrays together.
    pub fn bytes(&self) -> u64 {
        let words = [
            self.twiddles[0],
            self.twiddles[1],
            self.coefficients,
            self.matrices[0],
            self.matrices[1],
            self.matrices[2],
            self.high,
            self.low,
            self.scratch[0],
            self.scratch[1],
            self.row_exponent,
            self.input_exponent,
            self.scale_exponent,
            self.channel_exponent,
            self.phase_taps,
            self.sums,
            self.joined,
            self.taps,
        ];
        let doubles =
            [self.input_sum, self.tap_sum, self.energy, self.moments, self.moments, self.statistics, self.statistics];
        let sum = |lengths: &[u64], bytes: u64| {
            lengths.iter().fold(0u64, |sum, length| sum.saturating_add(length.saturating_mul(bytes)))
        };
        sum(&words, 4).saturating_add(sum(&doubles, 8))
    }
}

impl CudaSpectral {
    /// The lengths of the plan's arrays.
    pub fn lengths(&self) -> SpectralLengths {
        let (whole, cut) = (&self.spectrum, self.cut(0));
        let shape = &whole.shape;
        let (batch, ins, outs) = (u64::from(shape.batch), u64::from(shape.in_channels), u64::from(shape.out_channels));
        // (c, phase) of a bundle.
        let columns = u64::from(self.grid.out_channels);
        let spectra =
            |lines: u32| u64::from(lines).saturating_mul(u64::from(cut.rows())).saturating_mul(u64::from(cut.slots()));
        let (grid, n, half) = (&self.grid, whole.n(), whole.half());
        let bundles = u64::from(self.parts.bundles());
        let without_energies = SpectralLengths {
            twiddles: [0; 2],
            coefficients: 0,
            matrices: [0; 3],
            high: 0,
            low: 0,
            scratch: [0; 2],
            input_sum: batch * ins,
            row_exponent: u64::from(cut.rows()),
            input_exponent: 0,
            scale_exponent: 0,
            phase_taps: match self.parts.keeps_taps() {
                true => 0,
                false => ins.saturating_mul(columns).saturating_mul(u64::from(grid.taps())),
            },
            tap_sum: ins.saturating_mul(columns),
            channel_exponent: bundles.saturating_mul(columns),
            sums: 0,
            joined: 0,
            taps: 0,
            energy: 0,
            moments: batch.saturating_mul(outs),
            statistics: outs,
        };
        if !self.energies {
            return without_energies;
        }
        let gram = Lengths::of(grid, &self.gram);
        SpectralLengths {
            twiddles: [n.iter().map(|&n| 4 * u64::from(n)).sum(), 2 * u64::from(grid.twiddles())],
            coefficients: u64::from(coefficients(whole, grid.kernel[2], lags(grid.kernel[2]))),
            matrices: [
                u64::from(grid_resample_factors::factors(grid_resample_factors::outer_rows(n[0]), grid.kernel[0])),
                u64::from(grid_resample_factors::factors(half, grid.kernel[1])),
                u64::from(pair_resample::matrix_len(grid.m()[2])),
            ],
            high: spectra(whole.lines()),
            low: spectra(whole.strict_lines()),
            scratch: self.transform.scratch_words(&cut),
            input_exponent: ins,
            scale_exponent: 1 + u64::from(self.parts.bundle),
            sums: gram.sums,
            joined: gram.joined,
            taps: gram.taps,
            energy: self.energy_parts().saturating_mul(bundles).saturating_mul(columns),
            ..without_energies
        }
    }

    /// Bytes beside inputs and outputs.
    pub fn workspace_bytes(&self) -> u64 {
        self.lengths().bytes()
    }
}
