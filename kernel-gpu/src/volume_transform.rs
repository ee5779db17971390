//! The spectrum of each volume x[b, ci], for volumes of which at least a few planes fit in shared memory.
//!
//! ```text
//! X[fo,fr,fp] = Σ_n x[n]·exp(−2πi Σ_a f_a (n_a − c_a)/N_a)        c = D0/2 along outer, (D − 1)/2 along half and pair
//! ```
//!
//! stored as X·2^−e, see [`spectrum`](crate::spectrum). The axes are done in turn, in real components (sums with cosines, sums
//! with sines) that become complex numbers where they are stored:
//!
//! ```text
//! outer         C, S[f][h][w] = Σ_j cos, sin(2πf·j/N0)·(x[c+j] ± x[c−j])     f32, a thread four neighbours w
//! pair, half    C, S[f][fr][fp] = T_half · (C, S[f] · T_pair)                  tensor cores: volume_products
//! ```
//!
//! **Along outer** f and N0/2 − f share their sums over even and over odd j, where N0 is even. The sums leave as two f16, high and
//! low, in planes of shared memory in which a quad of elements is what a lane of the products reads at once ([`VolumeLayout`]).
//!
//! **The mean goes first.** A volume's mean is subtracted on the way in, and the spectrum of a box of ones, a product of three
//! numbers, added back in f32 times it: what is left for the two f16 is what varies.
//!
//! **Data flow.** A block goes through volumes; two or more blocks share a multiprocessor, if they fit, so that one computes while another waits
//! for memory; meanwhile the next volume is asked for. A thread reads a column (a quad along pair, all along outer), which it holds in registers while Σx
//! and Σ|x| are made; then there is a barrier, the sums along outer, a barrier, and the products. Volumes of more columns than
//! threads, or of longer ones, are read once for Σx and Σ|x| and again for the sums. Where one block cannot hold a
//! volume's planes, several take a share of the f each and read all of x.
//!
//! **Accumulation.** Σx and Σ|x| in f64: a thread's elements in order, then the threads as a tree. Sums along outer in f32, of at most
//! D0/4 + 1 terms each; products see [`volume_products`](crate::volume_products).
//!
//! **Cost.** (D0/2 + 1)·N0 multiply-adds a column (h, w), half of it where N0 is even; products 3·2·D1·D2·N2 and 3·2·D1·N1·N2 flop a
//! plane. Reads x once (from memory; where it is read again, from L2), writes a word a coefficient.
//!
//! **Launch.** One dimension, a multiple of [`VolumeLayout::groups`] blocks, [`VolumeLayout::bytes`] of shared memory.

use cuda_std::global::{Global, GlobalMut};
use cuda_std::launch::KernelSpec;

use crate::element::Tensor;
use crate::spectrum::Spectrum;
use crate::volume_layout::VolumeLayout;
use crate::volume_outer::HELD;

/// The parameters, of this kernel and of [`volume_fft`](crate::volume_fft), which differ in their layouts.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct VolumeTransform<Layout = VolumeLayout> {
    /// x (B, Cin, outer, half, pair) of this cut of the batch.
    pub input: Tensor<f32>,
    /// (cos, sin)(π·m/N_a), m < 2·N_a, of each axis: see [`Spectrum::twiddle_offset`].
    pub twiddles: Global<f32>,
    /// Out: the spectra, (line, row, slot).
    pub high: GlobalMut<u32>,
    /// Out: what rounding left of the strict lines', (strict line, row, slot).
    pub low: GlobalMut<u32>,
    /// Out: Σ x of each volume, (b, ci).
    pub sum: GlobalMut<f64>,
    /// Out: e of each row, (ci, b).
    pub exponent: GlobalMut<i32>,
    /// The extents; the batch is this cut's.
    pub spectrum: Spectrum,
    /// Where things lie in shared memory.
    pub layout: Layout,
    /// 1/(D0·D1·D2).
    pub inverse: f64,
}

/// One compiled form of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// Its launch.
    pub spec: KernelSpec,
    /// Whether threads hold their columns in registers.
    pub holds: bool,
}

const fn form(name: &'static str, threads: u32, min_blocks: u32, holds: bool) -> Form {
    Form { spec: KernelSpec { name, threads, min_blocks, shared_bytes: 0 }, holds }
}

/// For small volumes of at most 16 elements along outer: four blocks a multiprocessor.
pub const FORM_HELD_4: Form = form("volume_transform_held_4", 128, 4, true);
/// For other volumes of at most 16 elements along outer.
pub const FORM_HELD_8: Form = form("volume_transform_held_8", 256, 2, true);
/// For all others.
pub const FORM_8: Form = form("volume_transform_8", 256, 2, false);
/// All forms, the preferred ones first.
pub const FORMS: [Form; 3] = [FORM_HELD_4, FORM_HELD_8, FORM_8];

impl Form {
    /// Its warps.
    pub const fn warps(&self) -> u32 {
        self.spec.threads / 32
    }

    /// Whether it takes volumes of these extents. A column of one or two elements is not worth holding (measured, H100: 64 × 64 images
    /// take 81 µs held, 62 µs not).
    pub const fn takes(&self, input: [u32; 3]) -> bool {
        !self.holds || (input[0] > 2 && input[0] <= 2 * HELD)
    }
}

pub mod device {
    //! The device code.
    use cuda_std::kernel;
    use cuda_std::shared::Shared;
    use cuda_std::thread::{block_idx_x, grid_dim_x, lane_index, sync_threads, thread_idx_x, warp_index};
    use cuda_std::unroll;
    use cuda_std::warp::shuffle_xor;

    use super::*;
    use crate::spectrum::{div, div_rem};
    use crate::spectrum_store::{exponent, scale};
    use crate::volume_outer::device::Outer;
    use crate::volume_products::device::Products;
    use crate::volume_quads::boost;
    use crate::volume_quads::device::{Level, Totals};
    use crate::volume_tables::device::Writer;

    /// See the module.
    ///
    /// # Safety
    /// The arrays hold what the fields say and nobody else accesses the outputs; the layout is
    /// [`VolumeLayout::design`]'s for these extents, the form's warps, and as many bytes of shared memory as the launch has; the
    /// launch is as [`FORM_HELD_4`] says, which takes the extents.
    #[kernel(max_threads = 128, min_blocks = 4)]
    pub unsafe fn volume_transform_held_4(parameters: VolumeTransform) {
        // SAFETY: the caller's promise.
        unsafe { run::<4, true>(&parameters) }
    }

    /// See the module.
    ///
    /// # Safety
    /// As [`volume_transform_held_4`], for [`FORM_HELD_8`].
    #[kernel(max_threads = 256, min_blocks = 2)]
    pub unsafe fn volume_transform_held_8(parameters: VolumeTransform) {
        // SAFETY: the caller's promise.
        unsafe { run::<8, true>(&parameters) }
    }

    /// See the module.
    ///
    /// # Safety
    /// As [`volume_transform_held_4`], for [`FORM_8`].
    #[kernel(max_threads = 256, min_blocks = 2)]
    pub unsafe fn volume_transform_8(parameters: VolumeTransform) {
        // SAFETY: the caller's promise.
        unsafe { run::<8, false>(&parameters) }
    }

    /// All volumes of a block.
    ///
    /// # Safety
    /// As the kernels.
    #[inline(always)]
    unsafe fn run<const WARPS: usize, const HOLDS: bool>(p: &VolumeTransform) {
        let threads = 32 * WARPS as u32;
        let (mut volume, group) = div_rem(block_idx_x(), p.layout.groups);
        let first = group * p.layout.share;
        let writer =
            Writer { spectrum: &p.spectrum, layout: &p.layout, twiddles: p.twiddles, thread: thread_idx_x(), threads };
        // SAFETY: the caller's promise; each step reads what the ones before wrote, this thread or behind a barrier.
        unsafe {
            writer.write(first);
            writer.clear();
            while volume < p.spectrum.rows() {
                let outer = Outer::new(p, volume, first);
                let level = if HOLDS {
                    // The first column is on its way while the totals are made: of it alone, or of all that there are.
                    let (mut index, columns) = (thread_idx_x(), outer.columns());
                    let mut held = outer.hold(index);
                    let totals =
                        if columns <= threads { outer.held_totals(&held, index) } else { outer.totals(threads) };
                    let level = level::<WARPS>(p, totals, volume, first == 0);
                    loop {
                        outer.sum_held(held, index, level);
                        index += threads;
                        if index >= columns {
                            break;
                        }
                        held = outer.hold(index);
                    }
                    level
                } else {
                    let level = level::<WARPS>(p, outer.totals(threads), volume, first == 0);
                    outer.sum(level, WARPS as u32);
                    level
                };
                sync_threads(); // the planes are complete, and the totals read
                let next = volume + div(grid_dim_x(), p.layout.groups);
                if next < p.spectrum.rows() {
                    Outer::new(p, next, first).prefetch(threads);
                }
                let unboost = 1.0 / level.boost;
                Products { p, spectrum: p.spectrum.opaque(), first, mean: level.mean, unboost, volume }
                    .run(WARPS as u32);
                volume = next;
            }
        }
    }

    /// Scale and mean of a volume, of which each thread has its totals; a thread of the first group stores Σx and e. In between is a
    /// barrier.
    ///
    /// # Safety
    /// All threads of the block call this, and nobody reads the last volume's totals.
    #[inline(always)]
    unsafe fn level<const WARPS: usize>(p: &VolumeTransform, totals: Totals, volume: u32, stores: bool) -> Level {
        let mut totals = totals;
        unroll!(level < 5, {
            totals.sum += shuffle_xor(totals.sum, 16 >> level);
            totals.absolute += shuffle_xor(totals.absolute, 16 >> level);
            totals.range(shuffle_xor(totals.least, 16 >> level), shuffle_xor(totals.most, 16 >> level));
        });
        let (warp, count) = (warp_index(), WARPS as u32);
        let (sums, ranges) =
            (Shared::<f64>::dynamic(p.layout.sums), Shared::<f32>::dynamic(p.layout.sums + 16 * count));
        if lane_index() == 0 {
            // SAFETY: four numbers a warp.
            unsafe {
                sums.store(warp, totals.sum);
                sums.store(warp + count, totals.absolute);
                ranges.store(warp, totals.least);
                ranges.store(warp + count, totals.most);
            }
        }
        sync_threads(); // the totals are there, and nobody reads the planes
        totals = Totals::NONE;
        unroll!(w < WARPS, {
            // SAFETY: written before the last barrier.
            unsafe {
                totals.sum += sums.load(w as u32);
                totals.absolute += sums.load(w as u32 + count);
                totals.range(ranges.load(w as u32), ranges.load(w as u32 + count));
            }
        });
        let Totals { sum, absolute, least, most } = totals;
        let (e, shape) = (exponent(absolute as f32), &p.spectrum.shape);
        if stores && thread_idx_x() == 0 {
            let (b, ci) = div_rem(volume, shape.in_channels);
            // SAFETY: b < B, ci < Cin; one block a volume.
            unsafe {
                p.sum.store(volume as u64, sum);
                p.exponent.store((ci * shape.batch + b) as u64, e);
            }
        }
        let factor = scale(e);
        let boost = boost((most - least) * factor, shape.input);
        Level { scale: factor, mean: (sum * p.inverse) as f32 * factor, boost }
    }
}
