//! The memory that the spectral way's kernels hand to each other.

use kernel_gpu::spectrum::TILE;
use kernel_gpu::tap_sums::part_words;

use super::CudaSpectral;

/// How many elements each array has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpectralLengths {
    /// f32: (cos, sin) of every axis.
    pub twiddles: u64,
    /// u32: the coefficients of plain and of strict lines.
    pub coefficients: [u64; 2],
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
    /// f32: sums and differences of the taps.
    pub tap_parts: u64,
    /// f64, and f32: Σ w and Σ |w| of each (ci, c).
    pub tap_sum: u64,
    /// i32: t of each ci.
    pub tap_exponent: u64,
    /// i32: g of each c.
    pub channel_exponent: u64,
    /// u32: the folded taps of one chunk, plain and strict.
    pub folded: [u64; 2],
    /// u32: what rounding left of their first two basis elements, of plain lines.
    pub folded_low: u64,
    /// f64: the energies, (part, c).
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
            self.twiddles,
            self.coefficients[0],
            self.coefficients[1],
            self.high,
            self.low,
            self.scratch[0],
            self.scratch[1],
            self.row_exponent,
            self.tap_parts,
            self.tap_sum, // Σ |w|
            self.tap_exponent,
            self.channel_exponent,
            self.folded[0],
            self.folded[1],
            self.folded_low,
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
        let spectra =
            |lines: u32| u64::from(lines).saturating_mul(u64::from(cut.rows())).saturating_mul(u64::from(cut.slots()));
        let kinds = [&self.plain, &self.strict];
        let of = |words: fn(&super::Products, &kernel_gpu::spectrum::Spectrum) -> u64| {
            kinds.map(|kind| u64::from(kind.chunk.min(kind.lines)).saturating_mul(words(kind, whole)))
        };
        let channel_tiles = self.plain.channel_tiles.max(self.strict.channel_tiles);
        let without_energies = SpectralLengths {
            twiddles: whole.n().iter().map(|&n| 4 * u64::from(n)).sum(),
            coefficients: kinds.map(|kind| if kind.lines > 0 { kind.coefficient_words(whole) } else { 0 }),
            high: spectra(whole.lines()),
            low: spectra(whole.strict_lines()),
            scratch: self.transform.scratch_words(&cut),
            input_sum: batch * ins,
            row_exponent: u64::from(cut.rows()),
            tap_parts: part_words(whole),
            tap_sum: ins.saturating_mul(outs),
            tap_exponent: ins,
            channel_exponent: u64::from(channel_tiles) * u64::from(TILE),
            folded: [0; 2],
            folded_low: 0,
            energy: 0,
            moments: batch.saturating_mul(outs),
            statistics: outs,
        };
        if !self.energies {
            return SpectralLengths {
                twiddles: 0,
                coefficients: [0; 2],
                high: 0,
                low: 0,
                scratch: [0; 2],
                channel_exponent: 0,
                ..without_energies
            };
        }
        SpectralLengths {
            folded: of(super::Products::line_words),
            folded_low: of(super::Products::line_low_words)[0],
            energy: self.parts().saturating_mul(outs),
            ..without_energies
        }
    }

    /// Bytes beside inputs and outputs.
    pub fn workspace_bytes(&self) -> u64 {
        self.lengths().bytes()
    }
}
