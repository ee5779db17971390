//! What the ways on a GPU cost, and which is taken: an estimate that is right to a factor of two or so, which is enough,
//! since the ways differ by more wherever it matters.
//!
//! ```text
//! direct    15 µs + flop of the convolution / 22·10¹²                      (f32, as measured on an H100)
//! spectral  40 µs + Σ over its stages of max(bytes / 2.5·10¹², flop / 25·10¹² or, of the products, 2·10¹⁴)
//! ```
//!
//! Both compute rates grow with the number of multiprocessors, so their ratio holds on other devices too.

use kernel_gpu::spectral_energy::BATCH;
use kernel_gpu::spectrum::TILE;

use super::transform::volume_words;
use super::{CudaDirect, CudaSpectral, Precision, Products, Transform};

/// Seconds of the direct way's launches.
const DIRECT_LAUNCHES: f64 = 15e-6;
/// Multiplications and additions a second of the direct way in default precision.
const DIRECT_RATE: f64 = 22e12;
/// The same in strict precision, whose sums are in f64.
const DIRECT_STRICT_RATE: f64 = 11e12;
/// Seconds of the spectral way's launches: five kernels or more, each with its ramp.
const SPECTRAL_LAUNCHES: f64 = 40e-6;
/// Seconds of each launch beyond those.
const LAUNCH: f64 = 3e-6;
/// Bytes a second between kernels.
const BANDWIDTH: f64 = 2.5e12;
/// Multiplications and additions a second of the products.
const PRODUCT_RATE: f64 = 2e14;
/// f32 operations a second of the transforms, counted as sums over half an axis.
const TRANSFORM_RATE: f64 = 25e12;

/// Bytes and operations of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Bytes that it must read and write at least once.
    pub bytes: u64,
    /// Multiplications and additions.
    pub flops: u64,
}

/// Seconds that the direct way is expected to take.
pub(super) fn direct_seconds(direct: &CudaDirect, precision: Precision) -> f64 {
    let rate = if precision == Precision::Strict { DIRECT_STRICT_RATE } else { DIRECT_RATE };
    DIRECT_LAUNCHES + direct.flops() as f64 / rate
}

/// Seconds that the spectral way is expected to take: each stage as long as its memory or its arithmetic, whichever is longer.
pub(super) fn spectral_seconds(spectral: &CudaSpectral) -> f64 {
    let costs = spectral.costs();
    let stage = |cost: Cost, rate: f64| (cost.bytes as f64 / BANDWIDTH).max(cost.flops as f64 / rate);
    let chunks = spectral.plain.chunks().count() + spectral.strict.chunks().count();
    let launches = 2 * u64::from(spectral.cuts()) * chunks as u64;
    SPECTRAL_LAUNCHES
        + launches.saturating_sub(4) as f64 * LAUNCH
        + [costs.volume_sums, costs.transform, costs.store].map(|cost| stage(cost, TRANSFORM_RATE)).iter().sum::<f64>()
        + costs.folds.map(|cost| stage(cost, TRANSFORM_RATE)).iter().sum::<f64>()
        + costs.energies.map(|cost| stage(cost, PRODUCT_RATE)).iter().sum::<f64>()
}

/// What the spectral way's stages cost in one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpectralCosts {
    /// The sums of the taps.
    pub tap_sums: Cost,
    /// Σx and the scales, where the transform does not make them on its way.
    pub volume_sums: Cost,
    /// The transform of x: of whole volumes, or axis by axis.
    pub transform: Cost,
    /// The spectra from what the passes along the axes left.
    pub store: Cost,
    /// The taps, folded for plain and for strict lines.
    pub folds: [Cost; 2],
    /// The energies of plain and of strict lines.
    pub energies: [Cost; 2],
    /// The moments and the outputs.
    pub finish: Cost,
}

impl CudaSpectral {
    /// What each stage costs.
    pub fn costs(&self) -> SpectralCosts {
        let spectrum = &self.spectrum;
        let shape = &spectrum.shape;
        let rows = u64::from(spectrum.rows());
        let outputs = u64::from(shape.batch) * u64::from(shape.out_channels);
        let taps = u64::from(shape.in_channels) * u64::from(shape.out_channels) * u64::from(shape.taps());
        let stored = u64::from(spectrum.lines()) + u64::from(spectrum.strict_lines());
        let spectra = product(&[stored, rows, u64::from(spectrum.slots()), 4]);
        let elements = product(&[rows, shape.volume()]);
        let input = elements.saturating_mul(4);
        let passed = product(&[volume_words(spectrum), rows, 4]);
        let none = Cost::default();
        let kinds = [&self.plain, &self.strict];
        let parts = self.parts().saturating_mul(u64::from(shape.out_channels));
        let energy = |cost: fn(&CudaSpectral, &Products) -> Cost| {
            kinds.map(|kind| if self.energies { cost(self, kind) } else { Cost::default() })
        };
        SpectralCosts {
            tap_sums: Cost { bytes: taps.saturating_mul(4), flops: taps.saturating_mul(2) },
            volume_sums: if matches!(self.transform, Transform::Volume { .. }) {
                none
            } else {
                Cost { bytes: input, flops: 2 * elements }
            },
            transform: match self.transform {
                Transform::Sums => none,
                Transform::Volume { .. } => {
                    Cost { bytes: input.saturating_add(spectra), flops: self.transform_flops() }
                }
                // Each pass writes what the next reads.
                Transform::Axes { .. } => {
                    Cost { bytes: input.saturating_add(passed.saturating_mul(2)), flops: self.transform_flops() }
                }
            },
            store: match self.transform {
                Transform::Axes { .. } => Cost { bytes: passed.saturating_add(spectra), flops: passed },
                _ => none,
            },
            folds: energy(CudaSpectral::fold_cost),
            energies: energy(CudaSpectral::energy_cost),
            finish: Cost {
                bytes: parts.saturating_mul(8).saturating_add(outputs.saturating_mul(28)),
                flops: parts.saturating_add(product(&[outputs, u64::from(shape.in_channels), 2])),
            },
        }
    }

    /// A sum over half of each axis for every frequency, as the folded transforms do; axis by axis, over all of it.
    fn transform_flops(&self) -> u64 {
        let spectrum = &self.spectrum;
        let [d, h, w] = spectrum.shape.input.map(u64::from);
        let [n0, _, n2] = spectrum.n().map(u64::from);
        let half = u64::from(spectrum.half());
        let products = product(&[d, w, half, h]) + product(&[d, half, n2, w, 2]) + product(&[half, n2, n0, d, 2]);
        let factor = if matches!(self.transform, Transform::Volume { .. }) { 1 } else { 4 };
        product(&[products, u64::from(spectrum.rows()), factor])
    }

    fn fold_cost(&self, kind: &Products) -> Cost {
        let times = if kind.is_whole() { 1 } else { u64::from(self.cuts()) };
        let words = (kind.line_words(&self.spectrum) + kind.line_low_words(&self.spectrum))
            .saturating_mul(u64::from(kind.lines))
            .saturating_mul(times);
        Cost { bytes: words.saturating_mul(4), flops: words.saturating_mul(30) }
    }

    fn energy_cost(&self, kind: &Products) -> Cost {
        let spectrum = &self.spectrum;
        let (words, products) = if kind.is_strict { (2, 3) } else { (1, 1) };
        let frequencies = u64::from(kind.lines) * u64::from(spectrum.slots());
        let images = u64::from(spectrum.shape.batch.div_ceil(BATCH)) * u64::from(BATCH);
        let channels =
            u64::from(kind.channel_tiles) * u64::from(TILE) * u64::from(spectrum.in_tiles()) * u64::from(TILE);
        let spectra = product(&[frequencies, u64::from(spectrum.rows()), 4 * words]);
        let folded = product(&[kind.line_words(spectrum) + kind.line_low_words(spectrum), u64::from(kind.lines), 4]);
        Cost { bytes: spectra.saturating_add(folded), flops: product(&[frequencies, images, channels, 8 * products]) }
    }
}

fn product(factors: &[u64]) -> u64 {
    factors.iter().fold(1, |product, &factor| product.saturating_mul(factor))
}
