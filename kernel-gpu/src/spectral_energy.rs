//! The energies `Σ_f |Z_f[b,c]|²` of some lines, summed over b: no convolution, no Z in memory.
//!
//! ```text
//! Z_f[b,c] = Σ_ci X_f[b,ci]·W_f[ci,c]                W_{±fp} = V + Σ_q (cos θ_q − 1)·P_q ∓ i·Σ_q sin θ_q·M_q
//! energy[part, c] = weight(fr) · Σ_{f of the part} Σ_{b of the part} |Z_f[b,c]|²         part = (line, split, 16 images)
//! ```
//!
//! with V, P, M the taps folded along the outer and the half axis ([`tap_fold`](crate::tap_fold)). A block takes one part and
//! 2 or 4 tiles of 16 output channels; its 8 warps share those, and groups of four slots. A warp makes W_f in registers, in the
//! fragment layout of the product (c on the rows, ci along the sum), and multiplies by X_f (b on the columns): four real
//! products a complex one, re² + im² at the end, nothing stored. [`spectral_stage`](crate::spectral_stage) brings X and the
//! taps through two buffers of shared memory, [`spectral_products`](crate::spectral_products) is the arithmetic.
//!
//! **Precision.** Plain: X, W and the folded taps as f16, coefficients as high + low, made in f16 pairs; the plane fp = 0 exactly
//! (X and W as high + low: three products). Strict: everything high + low, W_f made in f32. f32 sums over ci, slots and 16
//! images, then f64. The order depends on shape and tiling alone.
//!
//! **Cost.** 8·Cin·Cout flop a frequency and image (strict: three times that), and a third as many to make W_f. Reads the spectra
//! once a Cout/(16·channel_tiles), the folded taps once a line and 16 images.
//!
//! **Launch.** One dimension, any number of blocks (each takes a range of units), [`Tiling::shared_bytes`] of shared memory. How
//! units fall to blocks decides which f32 sums are cut where: the same number of blocks gives the same bits.

use cuda_std::global::{Global, GlobalMut};
use cuda_std::launch::KernelSpec;

use crate::spectrum::{Spectrum, TILE};

/// The parameters.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SpectralEnergy {
    /// The spectra, (line, row, slot).
    pub high: Global<u32>,
    /// What rounding left of the strict lines', (strict line, row, slot).
    pub low: Global<u32>,
    /// The folded taps of these lines, as [`tap_fold`](crate::tap_fold) wrote them.
    pub folded: Global<u32>,
    /// Plain lines: what rounding left of basis 0 and 1.
    pub folded_low: Global<u32>,
    /// The pairs' coefficients, see [`coefficient_words`].
    pub coefficients: Global<u32>,
    /// e of each row, (ci, b).
    pub row_exponent: Global<i32>,
    /// t of each ci.
    pub tap_exponent: Global<i32>,
    /// g of each c.
    pub channel_exponent: Global<i32>,
    /// Out: the energies, (part, c) from part `first_part`: this launch writes `lines·splits·batch groups` parts.
    pub energy: GlobalMut<f64>,
    /// The extents; the batch is this cut's.
    pub spectrum: Spectrum,
    /// The first line, counted among the plain or among the strict ones.
    pub first_line: u32,
    /// How many.
    pub lines: u32,
    /// Where this launch's parts start.
    pub first_part: u64,
    /// How a block's work is cut.
    pub tiling: Tiling,
}

/// How the products are cut.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiling {
    /// Tiles of 16 output channels a block: 2 or 4 (strict lines: 2). Its 8 warps share them, and 4·8/channel_tiles slots.
    pub channel_tiles: u32,
    /// Tiles of 16 input channels in shared memory at once: 1, 2 or 4.
    pub in_tiles: u32,
    /// Into how many units the steps of a line are cut: blocks take ranges of units. At most the number of steps.
    pub splits: u32,
}

/// Batch rows of a block.
pub const BATCH: u32 = 16;

impl Tiling {
    /// Slots that a block takes at once.
    #[inline(always)]
    pub const fn step_slots(&self) -> u32 {
        if self.channel_tiles == 4 { 8 } else { 16 }
    }

    /// Steps of step_slots slots a line.
    #[inline(always)]
    pub const fn steps(&self, spectrum: &Spectrum) -> u32 {
        spectrum.slots().div_ceil(self.step_slots())
    }

    /// Blocks' shares of the output channels.
    #[inline(always)]
    pub const fn channel_groups(&self, spectrum: &Spectrum) -> u32 {
        let channels = self.channel_tiles * TILE;
        spectrum.shape.out_channels.div_ceil(if channels == 0 { 1 } else { channels })
    }

    /// Tiles of 16 output channels for which folded taps exist.
    #[inline(always)]
    pub const fn folded_tiles(&self, spectrum: &Spectrum) -> u32 {
        self.channel_groups(spectrum) * self.channel_tiles
    }

    /// Parts of one line.
    #[inline(always)]
    pub const fn line_parts(&self, spectrum: &Spectrum) -> u64 {
        self.splits as u64 * spectrum.shape.batch.div_ceil(BATCH) as u64
    }

    /// Bytes of shared memory: two buffers of spectra and folded taps, coefficients, and the sums of the warps.
    pub const fn shared_bytes(&self, spectrum: &Spectrum, strict: bool) -> u32 {
        let words = if strict { 2 } else { 1 };
        let spectra = self.in_tiles * TILE * BATCH * self.step_slots() * 4 * words;
        let taps = self.in_tiles * self.channel_tiles * spectrum.basis() * 512 * words;
        let coefficients = self.step_slots() / 4 * coefficient_words(spectrum, strict) * 4;
        2 * (spectra + taps + coefficients) + 8 * 16 * 4
    }
}
/// Words of the coefficients of a group of four slots, two pairs: for each q of [`Spectrum::tap_pairs`] and each pair
/// (a, b) = (cos θ − 1, sin θ), θ = π·fp·(2x_q)/N2, x_q = q + 1 (odd kernel) or q + ½ (even).
///
/// Plain: four words (a high, a low, b high, b low), each twice the same f16. Strict: a and b as f32. The order is (group, q,
/// pair); groups in the order of the slots. Group 0 has the pairs fp = 0 (so zeros) and fp = N2/2; group i ≥ 1 has
/// fp = 2i − 1 and 2i. Pairs that do not exist are zeros.
#[inline(always)]
pub const fn coefficient_words(spectrum: &Spectrum, strict: bool) -> u32 {
    spectrum.tap_pairs() * 2 * if strict { 2 } else { 4 }
}

/// The launch for plain lines.
pub const SPEC_PLAIN: KernelSpec =
    KernelSpec { name: "spectral_energy_plain", threads: 256, min_blocks: 1, shared_bytes: 0 };
/// The launch for strict lines.
pub const SPEC_STRICT: KernelSpec =
    KernelSpec { name: "spectral_energy_strict", threads: 256, min_blocks: 1, shared_bytes: 0 };

pub mod device {
    //! The device code.
    use cuda_std::kernel;
    use cuda_std::shared::Shared;
    use cuda_std::thread::{block_idx_x, grid_dim_x, lane_index, sync_threads, thread_idx_x, warp_index};
    use cuda_std::warp::{self, shuffle_xor};

    use super::*;
    use crate::conv_shape::div_rem;
    use crate::spectral_products::Accumulators;
    use crate::spectral_stage::{Cursor, Stages};
    use crate::spectrum::{EMPTY, TAP_BITS};

    /// See the module.
    ///
    /// # Safety
    /// Each pointer holds what its field says, for the lines and the tiling given; nobody else accesses the parts of `energy`
    /// written here; the launch is as the module says.
    #[kernel(max_threads = 256, min_blocks = 1)]
    pub unsafe fn spectral_energy_plain(parameters: SpectralEnergy) {
        // SAFETY: the caller's promise.
        unsafe { run::<false>(&parameters) }
    }

    /// See the module.
    ///
    /// # Safety
    /// As [`spectral_energy_plain`].
    #[kernel(max_threads = 256, min_blocks = 1)]
    pub unsafe fn spectral_energy_strict(parameters: SpectralEnergy) {
        // SAFETY: the caller's promise.
        unsafe { run::<true>(&parameters) }
    }

    #[inline(always)]
    unsafe fn run<const STRICT: bool>(p: &SpectralEnergy) {
        let stages = Stages::<STRICT>::new(p);
        // SAFETY: the caller's promise; the sums have 8·16 words.
        let scales = unsafe { scales(p, stages.sums()) };
        let mut next = Cursor::first(p, STRICT, block_idx_x(), grid_dim_x());
        // Which taps each of their two buffers holds, and which one the next stage uses.
        let (mut tag_0, mut tag_1, mut taps) = (next.taps_tag(), u32::MAX, 0);
        if next.exists() {
            // SAFETY: nothing is in flight yet.
            unsafe { stages.bring(&next, 0, 0, true) };
        }
        let mut buffer = 0;
        let warp = warp_index();
        let (group, tile) = div_rem(warp as u64, p.tiling.channel_tiles as u64);
        let (group, tile) = (group as u32, tile as u32);
        let mut sums = Accumulators::ZERO;
        while next.exists() {
            let now = next;
            let now_taps = taps;
            // SAFETY: this thread's copies, which are complete after the wait, at this stage's buffer.
            unsafe { stages.arrived(&now, buffer, &scales) };
            sync_threads(); // the stage is complete, and the other buffer no longer read
            next.advance(p, STRICT);
            if next.exists() {
                let tag = next.taps_tag();
                let load = tag != tag_0 && tag != tag_1;
                if load {
                    taps = 1 - now_taps; // the one that this stage does not use
                    (tag_0, tag_1) = if taps == 0 { (tag, tag_1) } else { (tag_0, tag) };
                } else {
                    taps = if tag == tag_0 { 0 } else { 1 };
                }
                // SAFETY: behind the barrier nobody reads the other buffers.
                unsafe { stages.bring(&next, 1 - buffer, taps, load) };
            }
            if now.group_exists(p, group) {
                // SAFETY: the stage is complete.
                unsafe { sums.multiply::<STRICT>(p, &stages, &now, (buffer, now_taps), tile, group) };
            }
            if now.ends_unit() {
                if now.goes_on(p) {
                    // SAFETY: the part is this block's.
                    unsafe { store(p, &now, 0.0) };
                } else {
                    let [e0, e1] = sums.energies();
                    // SAFETY: one row of 16 a warp; the barrier orders what follows, and a stage's barrier the next sum.
                    unsafe {
                        if lane_index().is_multiple_of(4) {
                            let at = warp * TILE + lane_index() / 4;
                            stages.sums().store(at, e0);
                            stages.sums().store(at + 8, e1);
                        }
                        sync_threads();
                        store(p, &now, total(p, &stages.sums(), &now, scales.maximum));
                    }
                }
            }
            buffer = 1 - buffer;
        }
    }

    /// The channel of the group that this thread stores, if any.
    #[inline(always)]
    fn channel(p: &SpectralEnergy, now: &Cursor) -> Option<u64> {
        let channels = p.tiling.channel_tiles * TILE;
        let channel = now.channel_group * channels + thread_idx_x();
        let mine = thread_idx_x() < channels && channel < p.spectrum.shape.out_channels;
        if mine { Some(channel as u64) } else { None }
    }

    /// Stores the energy of this thread's channel in the unit's part.
    #[inline(always)]
    unsafe fn store(p: &SpectralEnergy, now: &Cursor, energy: f64) {
        if let Some(channel) = channel(p, now) {
            let part = p.first_part + now.part(p);
            // SAFETY: c < Cout; the part is this block's.
            unsafe { p.energy.store(part * p.spectrum.shape.out_channels as u64 + channel, energy) };
        }
    }

    /// The warps' sums of this thread's channel, in true scale.
    #[inline(always)]
    unsafe fn total(p: &SpectralEnergy, sums: &Shared<f32>, now: &Cursor, maximum: i32) -> f64 {
        let Some(channel) = channel(p, now) else { return 0.0 };
        let mut energy = 0.0;
        let mut warp = thread_idx_x() / TILE;
        while warp < 8 {
            // SAFETY: 8 rows of 16, written before the barrier.
            energy += unsafe { sums.load(warp * TILE + thread_idx_x() % TILE) } as f64;
            warp += p.tiling.channel_tiles;
        }
        // SAFETY: c < Cout.
        let exponent = unsafe { p.channel_exponent.load(channel) };
        energy * power_of_two(2 * (maximum + exponent - TAP_BITS)) * p.spectrum.weight(now.half_frequency) as f64
    }

    /// 2^exponent, for exponents of normal f64.
    #[inline(always)]
    fn power_of_two(exponent: i32) -> f64 {
        let exponent = if exponent < -1022 { -1022 } else { exponent };
        let exponent = if exponent > 1023 { 1023 } else { exponent };
        f64::from_bits(((exponent + 1023) as u64) << 52)
    }

    /// How the rows' scales lie.
    pub struct Scales {
        /// G = max (e + t).
        pub maximum: i32,
        /// e + t is the same for all rows that are not empty.
        pub uniform: bool,
    }

    /// The scales of all rows: the same in every block.
    #[inline(always)]
    unsafe fn scales(p: &SpectralEnergy, sums: Shared<f32>) -> Scales {
        let (mut maximum, mut minimum) = (EMPTY, -EMPTY);
        let mut row = thread_idx_x();
        while row < p.spectrum.rows() {
            let (channel, _) = div_rem(row as u64, p.spectrum.shape.batch as u64);
            // SAFETY: row < Cin·B, and so ci < Cin.
            unsafe {
                let e = p.row_exponent.load(row as u64);
                let sum = e + p.tap_exponent.load(channel);
                if e != EMPTY {
                    maximum = if sum > maximum { sum } else { maximum };
                    minimum = if sum < minimum { sum } else { minimum };
                }
            }
            row += 256;
        }
        let (maximum, minimum) = (warp::reduce_max(maximum), warp::reduce_min(minimum));
        // SAFETY: two numbers a warp.
        unsafe {
            if lane_index() == 0 {
                sums.store(thread_idx_x() / 32 * 2, maximum as f32);
                sums.store(thread_idx_x() / 32 * 2 + 1, minimum as f32);
            }
            sync_threads();
            let mine = thread_idx_x() % 8 * 2;
            let (mut maximum, mut minimum) = (sums.load(mine), sums.load(mine + 1));
            cuda_std::unroll!(level < 3, {
                let (high, low) = (shuffle_xor(maximum, 1 << level), shuffle_xor(minimum, 1 << level));
                maximum = if high > maximum { high } else { maximum };
                minimum = if low < minimum { low } else { minimum };
            });
            let uniform = maximum as i32 == minimum as i32;
            Scales { maximum: if maximum as i32 == EMPTY { 0 } else { maximum as i32 }, uniform }
        }
    }
}
