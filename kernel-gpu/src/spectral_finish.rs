//! The moments of each (b, c) from sums and energies, and then what [`pool_finish`](crate::pool_finish) makes of them.
//!
//! ```text
//! mean[b,c,φ] = (1/N)·Σ_ci Σx[b,ci]·Σ_k w[ci,c,φ,k]     over ci of c's group          E[c] = Σ_part Σ_φ energy[part,c,φ]
//! (count, mean, M2)[b,c] = merge over φ of (N, mean[b,c,φ], 0), and of (P − Φ·N, 0, 0)          see [`moments`](crate::moments)
//! mean[b,c] = s·mean          M2[b,c] = s²·M2, that of b = 0 with s²·E[c]/N besides
//! ```
//!
//! φ are the Φ phases of a convolution with a stride, each of N positions; without one Φ = 1 and N = P. E is each phase's M2 about its
//! mean. Positions that no tap meets are 0; phases that have a tap less have fewer than N: those that are counted too many are 0 as well, so
//! that P − Φ·N may be negative.
//!
//! E is of all images together, and only the sum over b of their M2 is asked for: so that of b = 0 has all of it.
//! One block a channel. Thread i adds parts i, i + 256, … in order, phase by phase, a warp's threads as a tree, and the first warp the warps'
//! sums. Of 32 images at a time, lane b of each of the eight warps adds every eighth product of a phase, and of the first warp the
//! eight. All f64. Then the first warp finishes the channel; lane b's images are those whose mean it made. Eight loads a
//! thread are in flight, and all that do not depend on each other are asked for first: the time is latency.

use cuda_std::global::{Global, GlobalMut};
use cuda_std::launch::KernelSpec;

use crate::infinities::Operands;
use crate::phased_conv::split;
use crate::pool_finish::PoolFinish;

/// The parameters.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SpectralFinish {
    /// Σ x of each volume, (b, ci).
    pub input_sum: Global<f64>,
    /// Σ_k w, (ci, c of its bundle, phase).
    pub tap_sum: Global<f64>,
    /// The energies, (bundle, part, c of the bundle, phase).
    pub energy: Global<f64>,
    /// Parts of a bundle.
    pub parts: u64,
    /// Groups of a bundle.
    pub bundle: u32,
    /// N.
    pub phase_positions: u64,
    /// Φ.
    pub phases: u32,
    /// As for `pool_finish_f32`, but its `m2` is not read, and its `mean` is that below.
    pub finish: PoolFinish<f32>,
    /// Out: the mean a (b, c), without bias.
    pub mean: GlobalMut<f64>,
    /// Out: M2 a (b, c), that of b = 0 with what is within all.
    pub m2: GlobalMut<f64>,
}

/// Threads of a block.
const THREADS: u32 = 256;
const WARPS: u32 = THREADS / 32;
/// Images at once.
const IMAGES: u32 = 32;

impl SpectralFinish {
    /// Input and output channels of a group.
    #[inline(always)]
    const fn of_group(&self) -> (u32, u32) {
        let Operands { shape, options, .. } = &self.finish.operands;
        (split(shape.in_channels, options.groups).0, split(shape.out_channels, options.groups).0)
    }
}

/// The launch: one block a channel, any number of blocks.
pub const SPEC: KernelSpec =
    KernelSpec { name: "spectral_finish", threads: THREADS, min_blocks: 2, shared_bytes: 8 * (THREADS + WARPS) };

pub mod device {
    //! The device code.
    use cuda_std::kernel;
    use cuda_std::shared::Shared;
    use cuda_std::thread::{block_idx_x, grid_dim_x, lane_index, sync_threads, thread_idx_x, warp_index};
    use cuda_std::unroll;
    use cuda_std::warp::shuffle_xor;

    use super::*;
    use crate::infinities::device::taps_cancel_infinity;
    use crate::moments::Moments;
    use crate::pool_finish::device::finish_channel;

    /// See the module.
    ///
    /// # Safety
    /// Each pointer holds what its field says; nobody else accesses the outputs; the launch is as [`SPEC`] says.
    #[kernel(max_threads = 256, min_blocks = 2)]
    pub unsafe fn spectral_finish(p: SpectralFinish) {
        let mut channel = block_idx_x();
        while channel < p.finish.channels {
            // SAFETY: the block owns this channel, and all its threads come here.
            unsafe {
                let moments = write_moments(&p, channel);
                if warp_index() == 0 {
                    let first = lane_index() as u64 * p.finish.channels as u64 + channel as u64;
                    // This thread wrote those of further images.
                    let row_moments = |at| if at == first { moments } else { (p.mean.load(at), p.m2.load(at)) };
                    finish_channel::<_, true>(&p.finish, channel, row_moments);
                }
                sync_threads();
            }
            channel += grid_dim_x();
        }
    }

    /// A channel's place in its group and bundle.
    #[derive(Clone, Copy)]
    struct Place {
        /// The group's first input channel, and how many there are.
        first_in: u32,
        ins: u32,
        /// The channel's first column of the bundle's (c, phase), and how many those are.
        column: u32,
        columns: u32,
        /// The bundle's energies.
        energy: Global<f64>,
    }

    impl Place {
        #[inline(always)]
        fn of(p: &SpectralFinish, channel: u32) -> Self {
            let (ins, outs) = p.of_group();
            let (bundle, column) = split(channel, outs * p.bundle);
            let columns = outs * p.bundle * p.phases;
            let energy = p.energy.offset(bundle as u64 * p.parts * columns as u64);
            Self { first_in: split(channel, outs).0 * ins, ins, column: column * p.phases, columns, energy }
        }
    }

    /// Writes `mean` and `m2` of one channel, those of images l, l + 32, … by lane l of the first warp, which learns the
    /// first of them.
    ///
    /// # Safety
    /// channel < Cout; all threads of the block come together, and no other block with this channel.
    #[inline(always)]
    unsafe fn write_moments(p: &SpectralFinish, channel: u32) -> (f64, f64) {
        let (thread, lane, warp) = (thread_idx_x(), lane_index(), warp_index());
        let (c, channels, place) = (channel as u64, p.finish.channels as u64, Place::of(p, channel));
        let (products, energies) = (Shared::<f64>::dynamic(0), Shared::<f64>::dynamic(8 * THREADS));
        // SAFETY: all below: parts, phases, images and channels that exist; a word of shared memory a thread, then one a warp, each
        // with a barrier between its write and the reads of others.
        unsafe {
            // Asked for before the products are, waited for after them.
            let mut values = some_energies(p, &place, 0, thread as u64);
            let mut product = share_of_product(p, &place, 0, 0);
            let mut energy = 0f64;
            let (mut part, mut phase) = (thread as u64, 0);
            loop {
                unroll!(i < 8, {
                    energy += values[i];
                });
                part += 8 * THREADS as u64;
                if part >= p.parts {
                    phase += 1;
                    part = thread as u64;
                    if phase == p.phases {
                        break;
                    }
                }
                values = some_energies(p, &place, phase, part);
            }
            unroll!(i < 5, {
                energy += shuffle_xor(energy, 16 >> i);
            });
            if lane == 0 {
                energies.store(warp, energy);
            }

            let (of_phase, share) = (p.phase_positions as f64, 1.0 / p.phase_positions as f64);
            let rest = p.finish.positions as f64 - p.phases as f64 * of_phase;
            let (mut of_first, mut first) = ((0.0, 0.0), 0);
            while first < p.finish.batch {
                let (mut moments, mut phase) = (Moments::EMPTY, 0);
                while phase < p.phases {
                    if first > 0 || phase > 0 {
                        product = share_of_product(p, &place, phase, first);
                    }
                    products.store(thread, product);
                    sync_threads();
                    if warp == 0 {
                        let mut sum = 0f64;
                        unroll!(i < 8, {
                            sum += products.load(IMAGES * i as u32 + lane);
                        });
                        moments = moments.merge(Moments { count: of_phase, mean: sum * share, m2: 0.0 });
                    }
                    sync_threads();
                    phase += 1;
                }
                if warp == 0 && first + lane < p.finish.batch {
                    let Moments { mut mean, mut m2, .. } = moments.merge(Moments { count: rest, mean: 0.0, m2: 0.0 });
                    if mean.abs() == f64::INFINITY && image_cancels(p, &place, channel, first + lane) {
                        mean = f64::NAN;
                    }
                    if first + lane == 0 {
                        let mut within = 0f64;
                        unroll!(i < 8, {
                            within += energies.load(i as u32);
                        });
                        m2 += within * share;
                    }
                    let s = p.finish.scale;
                    let (at, mean, m2) = ((first + lane) as u64 * channels + c, s * mean, s * s * m2);
                    p.mean.store(at, mean);
                    p.m2.store(at, m2);
                    if first == 0 {
                        of_first = (mean, m2);
                    }
                }
                first += IMAGES;
            }
            of_first
        }
    }

    /// Whether an infinite x of an image makes NaN of a channel.
    ///
    /// # Safety
    /// channel < Cout, at that place; b < B.
    #[cold]
    unsafe fn image_cancels(p: &SpectralFinish, place: &Place, channel: u32, b: u32) -> bool {
        let all = p.finish.operands.shape.in_channels;
        let (mut ci, mut cancels) = (place.first_in, false);
        while ci < place.first_in + place.ins && !cancels {
            // SAFETY: a volume of the channel's group; all taps carry all elements.
            cancels = unsafe {
                let sum = p.input_sum.load(b as u64 * all as u64 + ci as u64);
                sum.abs() == f64::INFINITY && taps_cancel_infinity(&p.finish.operands, ci, channel)
            };
            ci += 1;
        }
        cancels
    }

    /// Energies of parts part, part + 256, … of a channel's phase, 0 past the last.
    ///
    /// # Safety
    /// The place is a channel's, and the phase exists.
    #[inline(always)]
    unsafe fn some_energies(p: &SpectralFinish, place: &Place, phase: u32, part: u64) -> [f64; 8] {
        let mut values = [0f64; 8];
        unroll!(i < 8, {
            let part = part + i as u64 * THREADS as u64;
            if part < p.parts {
                // SAFETY: a part, a channel of the bundle and a phase.
                values[i] = unsafe { place.energy.load(part * place.columns as u64 + (place.column + phase) as u64) };
            }
        });
        values
    }

    /// Every eighth of the products of a phase and image first + lane, from the warp's number on; of no image: any.
    ///
    /// # Safety
    /// The place is a channel's, the phase exists, and there are an image and an input channel.
    #[inline(always)]
    unsafe fn share_of_product(p: &SpectralFinish, place: &Place, phase: u32, first: u32) -> f64 {
        // Past an end the last one comes again, so that no branch parts the loads.
        let b = (first + lane_index()).min(p.finish.batch - 1);
        let sums = p.input_sum.offset(b as u64 * p.finish.operands.shape.in_channels as u64);
        let taps = p.tap_sum.offset((place.column + phase) as u64);
        let mut product = 0f64;
        let mut ci = warp_index();
        while ci < place.ins {
            let (mut x, mut w) = ([0f64; 8], [0f64; 8]);
            unroll!(i < 8, {
                let ci = (place.first_in + (ci + i as u32 * WARPS).min(place.ins - 1)) as u64;
                // SAFETY: b < B; ci is of the group, and its row has a column for each (c, phase).
                unsafe {
                    x[i] = sums.load(ci);
                    w[i] = taps.load(ci * place.columns as u64);
                }
            });
            unroll!(i < 8, {
                let term = x[i] * w[i];
                product += if ci + i as u32 * WARPS < place.ins { term } else { 0.0 };
            });
            ci += 8 * WARPS;
        }
        product
    }
}
