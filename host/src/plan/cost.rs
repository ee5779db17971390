//! What the ways on a GPU cost, and which is taken: an estimate that is right to a factor of two or so, which is enough,
//! since the ways differ by more wherever it matters.
//!
//! ```text
//! direct    15 µs + flop of the convolution / 22·10¹²                      (CUDA cores, f32, as measured on an H100)
//!           15 µs + flop of the tiles / 5.5·10¹²                           (with options)
//!           40 µs + bytes / 1.4·10¹² + flop of the tiles / 1.35·10¹⁴         (tensor cores, f32; f16 and bf16 3·10¹⁴)
//!                                      flop of the tiles / 2.6·10¹⁴          (by warpgroups, f32; f16 and bf16 5.6·10¹⁴; an H200)
//!           + 10 µs a round of tiles; by warpgroups the last round takes half of a whole one, or as many of the tiles as a multiprocessor has
//! spectral  40 µs + 3 µs a launch of the Gram matrices and the energies + 6 µs a round of volumes
//!           + Σ over its stages of max(bytes / 2.5·10¹², flop / rate)
//!             rate  transform 24·10¹² in registers, 15·10¹² as matrix products, a third of that where blocks share volumes;
//!                   Gram matrices 20·10¹²; to the grid 5·10¹²; the energies' products 1.3·10¹⁴; axis by axis 25·10¹²     (an H100)
//! ```
//!
//! Both compute rates grow with the number of multiprocessors, so their ratio holds on other devices too.

use kernel_gpu::factors::{PLANES, parts};
use kernel_gpu::gram_grid::BLOCK_WORDS;
use kernel_gpu::line_gram_stage::IMAGES;

use super::transform::volume_words;
use super::{CudaDirect, CudaSpectral, CudaTensor, DeviceFacts, Precision, Transform};

/// Seconds of the direct way's launches.
const DIRECT_LAUNCHES: f64 = 15e-6;
/// Multiplications and additions a second of the direct way in default precision.
const DIRECT_RATE: f64 = 22e12;
/// The same in strict precision, whose sums are in f64.
const DIRECT_STRICT_RATE: f64 = 11e12;
/// How many times as long a form with options takes for the same tiles (measured, H200: 64 groups of one channel, 3×3×3, 4.6 times).
const OPTIONS: f64 = 4.0;
/// Seconds of the launches of the direct way on tensor cores.
const TENSOR_LAUNCHES: f64 = 40e-6;
/// Multiplications and additions a second on tensor cores, of f32 in three products.
const TENSOR_RATE: f64 = 135e12;
/// The same of f16 and bf16, in one.
const TENSOR_NARROW_RATE: f64 = 300e12;
/// The same by warpgroups (measured, H200: 16 × 64 → 128, 16×32×32, 5×5×5, padding 2, 2.29 ms; bf16 0.96 ms).
const GROUP_RATE: f64 = 260e12;
/// The same of f16 and bf16.
const GROUP_NARROW_RATE: f64 = 560e12;
/// Bytes a second of what prepares the factors.
const FACTOR_BANDWIDTH: f64 = 1.4e12;
/// Seconds that a tile takes beside its products.
const TILE_SECONDS: f64 = 10e-6;
/// The time that a tile takes alone by warpgroups, in that of all that a multiprocessor has at once.
const ALONE: f64 = 0.5;
/// Seconds of the spectral way's launches: five kernels or more, each with its ramp.
const SPECTRAL_LAUNCHES: f64 = 40e-6;
/// Seconds of each launch beyond those.
const LAUNCH: f64 = 3e-6;
/// Multiprocessors of the device that the rates are of.
const MULTIPROCESSORS: f64 = 132.0;
/// Bytes a second between kernels.
const BANDWIDTH: f64 = 2.5e12;
/// Multiplications and additions a second of the energies' products, three for one.
const PRODUCT_RATE: f64 = 1.3e14;
/// f32 operations a second of the sums of Gram matrices.
const SUM_RATE: f64 = 20e12;
/// The same on the way to the grid.
const RESAMPLE_RATE: f64 = 5e12;
/// f32 operations a second of the transforms of whole volumes, counted as sums over half an axis.
const VOLUME_RATE: f64 = 15e12;
/// The same of transforms in registers, which need fewer.
const FFT_RATE: f64 = 24e12;
/// The same where several blocks share a volume.
const SHARED_VOLUME_RATE: f64 = 5e12;
/// Seconds that a volume takes beside its operations.
const VOLUME_SECONDS: f64 = 6e-6;
/// Operations a second of the transforms axis by axis, and of plain sums.
const AXIS_RATE: f64 = 25e12;

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
    let form = direct.form();
    if !form.options {
        return DIRECT_LAUNCHES + direct.flops() as f64 / rate;
    }
    // A tile computes all of its channels, of which a group may have few.
    let computed = f64::from(direct.work.channel_tiles) * f64::from(form.tile.channels());
    let flops = direct.flops() as f64 * computed / f64::from(direct.shape.out_channels.max(1));
    DIRECT_LAUNCHES + flops * OPTIONS / rate
}

/// Seconds that the direct way on tensor cores is expected to take. A warp's products take as long alone as beside others, a warpgroup's half as long
/// as where a multiprocessor has all the tiles that it can have.
pub(super) fn tensor_seconds(tensor: &CudaTensor, facts: &DeviceFacts) -> f64 {
    let rate = match (facts.warpgroups, tensor.is_narrow()) {
        (false, false) => TENSOR_RATE,
        (false, true) => TENSOR_NARROW_RATE,
        (true, false) => GROUP_RATE,
        (true, true) => GROUP_NARROW_RATE,
    };
    // Warpgroups multiply whole steps, of zeros where there are fewer channels.
    let chunks = tensor.conv.chunks().max(1);
    let step = if facts.warpgroups { PLANES / parts(tensor.form().element) } else { 1 };
    let flops = tensor.flops as f64 * f64::from(chunks.next_multiple_of(step)) / f64::from(chunks);
    let items = tensor.work.items().max(1) as f64;
    let resident = f64::from(tensor.form().spec.min_blocks);
    let filled = items / (resident * MULTIPROCESSORS);
    let rounds = filled.ceil();
    let idle = match facts.warpgroups {
        true => {
            // Of the last round some multiprocessors have one tile more than others.
            let last = ((filled - (rounds - 1.0)) * resident).ceil() / resident;
            (rounds - 1.0 + last.max(ALONE)) / filled
        }
        false => (MULTIPROCESSORS / items).max(1.0),
    };
    // Written once, read once.
    let bytes = 2.0 * tensor.workspace_bytes() as f64;
    TENSOR_LAUNCHES + bytes / FACTOR_BANDWIDTH + rounds * TILE_SECONDS + flops * idle / rate
}

/// Seconds that the spectral way is expected to take: each stage as long as its memory or its arithmetic, whichever is longer. How taps are laid out and
/// summed is beside the transform.
pub(super) fn spectral_seconds(spectral: &CudaSpectral) -> f64 {
    let costs = spectral.costs();
    let grid = &spectral.grid;
    let ranges = spectral.gram.ranges(grid).count();
    let of_lines = spectral.gram.chunks(&spectral.spectrum).count() + spectral.gram.joins(&spectral.spectrum).count();
    let launches = (of_lines + 2 * spectral.gram.grid_chunks(grid).count() + 1) * ranges + 2;
    let launches = launches as f64 * f64::from(spectral.cuts()) * f64::from(spectral.parts.bundles());
    let launches = if spectral.energies { launches } else { 0.0 };
    SPECTRAL_LAUNCHES
        + launches * LAUNCH
        + spectral.transform_seconds(&costs)
        + [costs.line_gram, costs.tap_spectrum].map(|cost| stage(cost, SUM_RATE)).iter().sum::<f64>()
        + costs.resample.map(|cost| stage(cost, RESAMPLE_RATE)).iter().sum::<f64>()
        + stage(costs.gram_energy, PRODUCT_RATE)
}

/// Seconds of a stage: as long as its memory or its arithmetic, whichever is longer.
fn stage(cost: Cost, rate: f64) -> f64 {
    (cost.bytes as f64 / BANDWIDTH).max(cost.flops as f64 / rate)
}

/// What the spectral way's stages cost in one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpectralCosts {
    /// The taps of each phase and of a bundle's groups, where they are laid out anew.
    pub phase_taps: Cost,
    /// The sums of the taps.
    pub tap_moments: Cost,
    /// Σx and the scales, where the transform does not make them on its way.
    pub volume_sums: Cost,
    /// The transform of x: of whole volumes, or axis by axis.
    pub transform: Cost,
    /// The spectra from what the passes along the axes left.
    pub store: Cost,
    /// The Gram matrices of the lines.
    pub line_gram: Cost,
    /// The scales of the input's channels.
    pub input_scales: Cost,
    /// To the grid's lines, and along them.
    pub resample: [Cost; 2],
    /// The taps on the grid.
    pub tap_spectrum: Cost,
    /// The energies.
    pub gram_energy: Cost,
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
        let whole = &self.parts.shape;
        let [ins, outs] = self.parts.of_group().map(u64::from);
        let taps = product(&[whole.in_channels.into(), outs, whole.taps().into()]);
        let laid_out = self.lengths().phase_taps;
        let stored = u64::from(spectrum.lines()) + u64::from(spectrum.strict_lines());
        let spectra = product(&[stored, rows, u64::from(spectrum.slots()), 4]);
        let elements = product(&[rows, shape.volume()]);
        let element = self.dtype.bytes() as u64;
        let input = elements.saturating_mul(element);
        let passed = product(&[volume_words(spectrum), rows, 4]);
        let none = Cost::default();
        let phases = u64::from(self.parts.phases());
        let parts = product(&[self.energy_parts(), shape.out_channels.into(), phases]);
        let [line_gram, joined, pair, tap_spectrum, gram_energy] =
            if self.energies { self.gram_costs() } else { [none; 5] };
        SpectralCosts {
            phase_taps: match self.parts.keeps_taps() {
                true => none,
                false => {
                    Cost { bytes: taps.saturating_mul(element).saturating_add(laid_out.saturating_mul(4)), flops: 0 }
                }
            },
            tap_moments: match self.parts.keeps_taps() {
                true => Cost { bytes: taps.saturating_mul(element), flops: taps.saturating_mul(2) },
                false => Cost { bytes: laid_out.saturating_mul(4), flops: laid_out.saturating_mul(2) },
            },
            volume_sums: match self.transform {
                Transform::Fft(_) | Transform::Volume(_) => none,
                _ => Cost { bytes: input, flops: 2 * elements },
            },
            transform: match self.transform {
                Transform::Sums => none,
                Transform::Fft(_) | Transform::Volume(_) => {
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
            line_gram,
            input_scales: Cost { bytes: rows * 4, flops: 0 },
            resample: [joined, pair],
            tap_spectrum,
            gram_energy,
            finish: Cost {
                bytes: parts.saturating_mul(8).saturating_add(outputs.saturating_mul(28)),
                flops: parts.saturating_add(product(&[outputs, ins, phases, 2])),
            },
        }
    }

    /// Seconds of the input's transform.
    fn transform_seconds(&self, costs: &SpectralCosts) -> f64 {
        let sums = stage(costs.volume_sums, AXIS_RATE);
        let (rate, at_once) = match self.transform {
            Transform::Fft(fft) => (FFT_RATE, fft.blocks(&self.spectrum) * fft.layout.volumes),
            Transform::Volume(volume) => {
                let (groups, blocks) = (volume.layout.groups.max(1), volume.blocks(&self.spectrum));
                (if groups > 1 { SHARED_VOLUME_RATE } else { VOLUME_RATE }, blocks / groups)
            }
            _ => return sums + stage(costs.transform, AXIS_RATE) + stage(costs.store, AXIS_RATE),
        };
        let rounds = f64::from(self.spectrum.rows()) / f64::from(at_once.max(1));
        stage(costs.transform, rate) + rounds.ceil() * VOLUME_SECONDS
    }

    /// A sum over half of each axis for every frequency, as the folded transforms do; axis by axis, over all of it.
    fn transform_flops(&self) -> u64 {
        let spectrum = &self.spectrum;
        let [d, h, w] = spectrum.shape.input.map(u64::from);
        let [n0, _, n2] = spectrum.n().map(u64::from);
        let half = u64::from(spectrum.half());
        let products = product(&[d, w, half, h]) + product(&[d, half, n2, w, 2]) + product(&[half, n2, n0, d, 2]);
        let factor = if matches!(self.transform, Transform::Fft(_) | Transform::Volume(_)) { 1 } else { 4 };
        product(&[products, u64::from(spectrum.rows()), factor])
    }

    /// Of the Gram matrices of the lines, their way to the grid, the taps on the grid, and the energies.
    fn gram_costs(&self) -> [Cost; 5] {
        let (spectrum, grid) = (&self.spectrum, &self.grid);
        let (bundles, cuts) = (u64::from(self.parts.bundles()), u64::from(self.cuts()));
        let m = grid.m().map(u64::from);
        // Of all bundles.
        let pairs = product(&[bundles, grid.blocks().into(), u64::from(BLOCK_WORDS) / 2]);
        let (lines, on_grid) = (u64::from(spectrum.lines()), u64::from(grid.grid_lines()));
        let stored = lines + u64::from(spectrum.strict_lines());
        // Words of the components of all lines, and on the grid.
        let sums = product(&[lines, m[2], pairs, 2, cuts]);
        let joined = product(&[on_grid, m[2], pairs, 2, cuts]);
        // Pairs ±fo, each of which meets the grid once a launch.
        let (folded, joins) = (u64::from(spectrum.n()[0] / 2 + 1), self.gram.joins(spectrum).count() as u64);
        let steps = u64::from(spectrum.shape.batch.div_ceil(IMAGES));
        let read = product(&[stored, u64::from(spectrum.rows()), u64::from(spectrum.slots()), 4]);
        let channels = product(&[bundles, grid.in_channels.into(), grid.out_channels.into()]);
        // Taps of several phases, or of bundles, are f32. How often their spectrum is made.
        let tap = if self.parts.keeps_taps() { self.dtype.bytes() as u64 } else { 4 };
        let made = if self.gram.holds_taps { 1 } else { cuts * self.gram.ranges(grid).count() as u64 };
        let spectrum_bytes = product(&[on_grid, m[2], channels, 8]);
        [
            // The products are beside the multiply-adds, two a component, and as many other instructions.
            Cost {
                bytes: read.saturating_add(sums.saturating_mul(4)),
                flops: product(&[lines, u64::from(spectrum.slots()), pairs, m[2] + 4, 4, steps]),
            },
            // Folded: half of the products. What the last launch finds of the grid, those before it have written and read.
            Cost {
                bytes: product(&[sums.saturating_add(product(&[joined, 2 * joins - 1])), 4]),
                flops: product(&[sums, m[1] + 1]).saturating_add(product(&[folded, joined, 2, joins])),
            },
            Cost { bytes: product(&[joined, 8]), flops: product(&[joined, m[2], 2]) },
            Cost {
                bytes: made.saturating_mul(spectrum_bytes.saturating_add(product(&[
                    channels,
                    grid.taps().into(),
                    tap,
                ]))),
                flops: product(&[made, on_grid, m[2], channels, 2 * (m[0] + m[1] + m[2])]),
            },
            Cost {
                bytes: product(&[joined, 4]).saturating_add(product(&[spectrum_bytes, cuts])),
                flops: product(&[on_grid, m[2], pairs, u64::from(grid.out_channels), 8 * 3, cuts]),
            },
        ]
    }
}

fn product(factors: &[u64]) -> u64 {
    factors.iter().fold(1, |product, &factor| product.saturating_mul(factor))
}
