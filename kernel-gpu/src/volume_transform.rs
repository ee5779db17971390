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
//! **Data flow.** A block goes through volumes. While the products of one are made, the next is copied to shared memory (`cp.async`), if
//! there is room; each thread adds up what it copied itself. Then there is a barrier, the sums along outer, and a barrier. Where
//! one block cannot hold a volume's planes, several take a share of the f each and read all of x.
//!
//! **Accumulation.** Σx and Σ|x| in f64: a thread's elements in order, then the threads as a tree. Sums along outer in f32, of at most
//! D0/4 + 1 terms each; products see [`volume_products`](crate::volume_products).
//!
//! **Cost.** (D0/2 + 1)·N0 multiply-adds a column (h, w), half of it where N0 is even; products 3·2·D1·D2·N2 and 3·2·D1·N1·N2 flop a
//! plane. Reads x once (from memory, or a block's share of times from L2), writes a word a coefficient.
//!
//! **Launch.** One dimension, a multiple of [`VolumeLayout::groups`] blocks, [`VolumeLayout::bytes`] of shared memory.

use cuda_std::global::{Global, GlobalMut};
use cuda_std::launch::KernelSpec;

use crate::element::Tensor;
use crate::spectrum::Spectrum;
use crate::volume_layout::VolumeLayout;

/// The parameters.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct VolumeTransform {
    /// x (B, Cin, outer, half, pair) of this cut of the batch; on a 16-byte boundary if the layout has a place for the input.
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
    pub layout: VolumeLayout,
    /// 1/(D0·D1·D2).
    pub inverse: f64,
}

/// The launch for volumes of many products.
pub const SPEC_12: KernelSpec =
    KernelSpec { name: "volume_transform_12", threads: 384, min_blocks: 1, shared_bytes: 0 };
/// The launch for volumes of few: more of them at once.
pub const SPEC_4: KernelSpec = KernelSpec { name: "volume_transform_4", threads: 128, min_blocks: 3, shared_bytes: 0 };

pub mod device {
    //! The device code.
    use cuda_std::async_copy::{commit_group, copy_through_l2, wait_all};
    use cuda_std::convert::{Bf16, F16};
    use cuda_std::float::Float;
    use cuda_std::shared::Shared;
    use cuda_std::thread::{block_idx_x, grid_dim_x, lane_index, sync_threads, thread_idx_x, warp_index};
    use cuda_std::warp::shuffle_xor;
    use cuda_std::{kernel, unroll};

    use super::*;
    use crate::opaque::opaque;
    use crate::spectrum::{div, div_rem};
    use crate::spectrum_store::{SMALLEST, exponent, scale};
    use crate::volume_layout::{FOLD, last, steps_outer};
    use crate::volume_products::device::Products;
    use crate::volume_sums::device::{FLIGHT, load};
    use crate::volume_tables::device::{Writer, split};

    /// See the module.
    ///
    /// # Safety
    /// The arrays hold what the fields say and nobody else accesses the outputs; the layout is
    /// [`VolumeLayout::design`]'s for these extents, 12 warps, and as many bytes of shared memory as the launch has; the launch is
    /// as [`SPEC_12`] says.
    #[kernel(max_threads = 384, min_blocks = 1)]
    pub unsafe fn volume_transform_12(parameters: VolumeTransform) {
        // SAFETY: the caller's promise.
        unsafe { run::<12>(&parameters) }
    }

    /// See the module.
    ///
    /// # Safety
    /// As [`volume_transform_12`], for 4 warps and [`SPEC_4`].
    #[kernel(max_threads = 128, min_blocks = 3)]
    pub unsafe fn volume_transform_4(parameters: VolumeTransform) {
        // SAFETY: the caller's promise.
        unsafe { run::<4>(&parameters) }
    }

    #[inline(always)]
    unsafe fn run<const WARPS: usize>(p: &VolumeTransform) {
        // SAFETY: the caller's promise: a form a number format.
        unsafe {
            match (p.layout.input != 0, p.input.is_narrow()) {
                (true, false) => Block::<WARPS, true, false>::run(p),
                (true, true) => Block::<WARPS, true, true>::run(p),
                (false, false) => Block::<WARPS, false, false>::run(p),
                (false, true) => Block::<WARPS, false, true>::run(p),
            }
        }
    }

    /// A block of `WARPS` warps; `COPIED`: the input has a place in shared memory; `NARROW`: its elements have 16 bits.
    struct Block<'a, const WARPS: usize, const COPIED: bool, const NARROW: bool> {
        p: &'a VolumeTransform,
        /// The first f of its share.
        first: u32,
    }

    /// What a volume is multiplied with.
    #[derive(Clone, Copy)]
    struct Level {
        /// 2^−e.
        scale: f32,
        /// The mean times that.
        mean: f32,
        /// Of a volume too small for 2^−e alone: what its sums along outer are multiplied with besides, so that f16 holds them. Else 1.
        boost: f32,
    }

    /// Four neighbours along pair, all along outer.
    struct Column {
        /// The one in the middle.
        at: u32,
        /// Elements from there to the end of the row.
        count: u32,
        /// From one to the next.
        plane: u32,
    }

    /// Sums along outer of a quad: of each f, over even and odd j, with cosines and sines.
    struct Sums {
        of: [[[[f32; 4]; 2]; 2]; FOLD as usize],
    }

    impl Sums {
        const ZERO: Self = Self { of: [[[[0.0; 4]; 2]; 2]; FOLD as usize] };

        /// Adds an odd j, then an even one, each the quad above and the quad below.
        ///
        /// # Safety
        /// `factors` is a step of the table.
        #[inline(always)]
        unsafe fn add(&mut self, factors: Shared<f32>, odd: [[f32; 4]; 2], even: [[f32; 4]; 2]) {
            unroll!(which < 2, {
                let [above, below] = if which == 0 { odd } else { even };
                let mut factor = [0f32; 4];
                // SAFETY: the caller's promise.
                unsafe { factors.load_16(4 * which as u32, &mut factor) };
                unroll!(i < 4, {
                    let (sum, difference) = (above[i] + below[i], above[i] - below[i]);
                    unroll!(f < 2, {
                        let [cosine, sine] = &mut self.of[f][1 - which];
                        cosine[i] = factor[2 * f].fma(sum, cosine[i]);
                        sine[i] = factor[2 * f + 1].fma(difference, sine[i]);
                    });
                });
            });
        }
    }

    impl<const WARPS: usize, const COPIED: bool, const NARROW: bool> Block<'_, WARPS, COPIED, NARROW> {
        const THREADS: u32 = 32 * WARPS as u32;

        /// All volumes of a block.
        ///
        /// # Safety
        /// As the kernels; the constants are what they say.
        #[inline(always)]
        unsafe fn run(p: &VolumeTransform) {
            let groups = p.layout.groups;
            let (mut volume, group) = div_rem(block_idx_x(), groups);
            let block = Block::<WARPS, COPIED, NARROW> { p, first: group * p.layout.share };
            let writer = Writer {
                spectrum: &p.spectrum,
                layout: &p.layout,
                twiddles: p.twiddles,
                thread: thread_idx_x(),
                threads: Self::THREADS,
            };
            let (stride, volumes) = (div(grid_dim_x(), groups), p.spectrum.rows());
            // SAFETY: the caller's promise; each step reads what the ones before wrote, this thread or behind a barrier.
            unsafe {
                if volume < volumes {
                    block.bring(volume);
                }
                writer.write(block.first);
                writer.clear();
                if volume < volumes {
                    block.add_up(volume);
                }
                while volume < volumes {
                    sync_threads(); // the input and its sums are there, and nobody reads the planes
                    let level = block.level(volume, group == 0);
                    block.outer(volume, level);
                    sync_threads(); // the planes are complete, and nobody reads the input
                    let next = volume + stride;
                    if next < volumes {
                        block.bring(next);
                    }
                    let unboost = 1.0 / level.boost;
                    Products { p, first: block.first, mean: level.mean, unboost, volume }.run(WARPS as u32);
                    if next < volumes {
                        block.add_up(next);
                    }
                    volume = next;
                }
            }
        }

        /// x of a volume.
        #[inline(always)]
        fn input(&self, volume: u32) -> Tensor<f32> {
            self.p.input.offset(volume as u64 * self.p.spectrum.shape.volume())
        }

        /// The volume's words in shared memory.
        #[inline(always)]
        fn copied(&self) -> Shared<u32> {
            Shared::dynamic(self.p.layout.input)
        }

        /// 16-byte pieces of a volume.
        #[inline(always)]
        fn pieces(&self) -> u32 {
            let volume = opaque(self.p.spectrum.shape.volume() as u32);
            if NARROW { volume / 8 } else { volume / 4 }
        }

        /// Starts this thread's copies of a volume: every [`Self::THREADS`]-th piece.
        ///
        /// # Safety
        /// The volume exists, and nobody reads the last one.
        #[inline(always)]
        unsafe fn bring(&self, volume: u32) {
            if COPIED {
                let from = Global::<u32>::from_address(self.input(volume).address());
                let mut piece = thread_idx_x();
                while piece < self.pieces() {
                    // SAFETY: 16 bytes of the volume, which begins on such a boundary, to their place.
                    unsafe { copy_through_l2(self.copied().offset(4 * piece), from.offset(4 * piece as u64)) };
                    piece += Self::THREADS;
                }
                commit_group();
            }
        }

        /// Σx and Σ|x| of this warp's part of a volume: with a copy, of the pieces that its threads copied.
        ///
        /// # Safety
        /// This thread brought the volume; nobody reads the last one's sums.
        #[inline(always)]
        unsafe fn add_up(&self, volume: u32) {
            let (mut sum, mut absolute) = (0f64, 0f64);
            if COPIED {
                wait_all();
                let mut piece = thread_idx_x();
                while piece < self.pieces() {
                    // SAFETY: this thread's own copies, complete after the wait.
                    unsafe {
                        let mut near = 0f32;
                        unroll!(half < if NARROW { 2 } else { 1 }, {
                            let at = if NARROW { 8 * piece + 4 * half as u32 } else { 4 * piece };
                            let values = self.quad_copied(at);
                            unroll!(i < 4, {
                                sum += values[i] as f64;
                                near += values[i].abs();
                            });
                        });
                        absolute += near as f64;
                    }
                    piece += Self::THREADS;
                }
            } else {
                let (x, size) = (self.input(volume), opaque(self.p.spectrum.shape.volume()));
                let mut first = thread_idx_x() as u64;
                while first < size {
                    // SAFETY: `first` is an element.
                    let values = unsafe { load::<NARROW>(x, first, size, Self::THREADS) };
                    let mut near = 0f32;
                    unroll!(i < FLIGHT, {
                        sum += values[i] as f64;
                        near += values[i].abs();
                    });
                    absolute += near as f64;
                    first += (FLIGHT as u32 * Self::THREADS) as u64;
                }
            }
            unroll!(level < 5, {
                sum += shuffle_xor(sum, 16 >> level);
                absolute += shuffle_xor(absolute, 16 >> level);
            });
            let warp = warp_index();
            if lane_index() == 0 {
                // SAFETY: two numbers a warp.
                unsafe {
                    self.sums().store(warp, sum);
                    self.sums().store(warp + WARPS as u32, absolute);
                }
            }
        }

        #[inline(always)]
        fn sums(&self) -> Shared<f64> {
            Shared::dynamic(self.p.layout.sums)
        }

        /// Scale and mean of a volume; a thread of the first group stores Σx and e.
        ///
        /// # Safety
        /// The sums of all warps are behind a barrier.
        #[inline(always)]
        unsafe fn level(&self, volume: u32, stores: bool) -> Level {
            let (mut sum, mut absolute) = (0f64, 0f64);
            unroll!(warp < WARPS, {
                // SAFETY: written before the last barrier.
                unsafe {
                    sum += self.sums().load(warp as u32);
                    absolute += self.sums().load(warp as u32 + WARPS as u32);
                }
            });
            let (e, shape) = (exponent(absolute as f32), &self.p.spectrum.shape);
            if stores && thread_idx_x() == 0 {
                let (b, ci) = div_rem(volume, shape.in_channels);
                // SAFETY: b < B, ci < Cin; one block a volume.
                unsafe {
                    self.p.sum.store(volume as u64, sum);
                    self.p.exponent.store((ci * shape.batch + b) as u64, e);
                }
            }
            let factor = scale(e);
            let boost = if e == SMALLEST { scale(exponent((absolute * factor as f64) as f32)) } else { 1.0 };
            Level { scale: factor, mean: (sum * self.p.inverse) as f32 * factor, boost }
        }

        /// The sums along outer, for this block's f: a warp two f of 32 quads at a time.
        ///
        /// # Safety
        /// The input is behind a barrier, and nobody reads the planes.
        #[inline(always)]
        unsafe fn outer(&self, volume: u32, level: Level) {
            let (p, layout) = (self.p, &self.p.layout);
            // Opaque, here and below: else what follows from it is kept in registers all along.
            let [d0, d1, d2] = p.spectrum.shape.input.map(opaque);
            let (row_quads, plane, steps) = (d2.div_ceil(4), d1 * d2, steps_outer(d0));
            let (middle, chunks) = (d0 / 2, (d1 * row_quads).div_ceil(32));
            // The j of which there are both elements: 1 to this.
            let both = d0 - 1 - middle;
            let x = self.input(volume);
            let mut task = warp_index();
            while task < chunks * layout.share.div_ceil(FOLD) {
                let (pair, chunk) = div_rem(task, chunks);
                let (h, quad) = div_rem(32 * chunk + lane_index(), row_quads);
                if h < d1 {
                    let mut factors = Shared::<f32>::dynamic(layout.outer).offset(8 * pair * steps);
                    let column = Column { at: h * d2 + 4 * quad + middle * plane, count: d2 - 4 * quad, plane };
                    let mut sums = Sums::ZERO;
                    // SAFETY: elements of the volume, or none; the table has the steps.
                    unsafe {
                        let center = self.quad(x, &column, 0, level);
                        let mut j = 1;
                        while j < both {
                            let first = [self.quad(x, &column, j, level), self.below(x, &column, j, level)];
                            let second = [self.quad(x, &column, j + 1, level), self.below(x, &column, j + 1, level)];
                            sums.add(factors, first, second);
                            factors = factors.offset(8);
                            j += 2;
                        }
                        if j <= middle {
                            // One or two j are left; of the last there may be only the element below.
                            let zero = [0f32; 4];
                            let mut first = [zero, self.below(x, &column, j, level)];
                            if j <= both {
                                first[0] = self.quad(x, &column, j, level);
                            }
                            let mut second = [zero; 2];
                            if j < middle {
                                second[1] = self.below(x, &column, j + 1, level);
                            }
                            sums.add(factors, first, second);
                        }
                        // j = 0: the cosine is 1, the sine 0.
                        unroll!(f < 2, {
                            unroll!(i < 4, { sums.of[f][0][0][i] += center[i] });
                        });
                        unroll!(f < 2, {
                            // Each (f, quad) is one thread's.
                            let slot = FOLD * pair + f as u32;
                            if level.boost == 1.0 {
                                self.put(slot, (h, quad), &sums.of[f]);
                            } else {
                                self.put(
                                    slot,
                                    (h, quad),
                                    &sums.of[f].map(|of| of.map(|of| of.map(|s| s * level.boost))),
                                );
                            }
                        });
                    }
                }
                task += WARPS as u32;
            }
        }

        /// The quad of a column j below its middle.
        ///
        /// # Safety
        /// As [`Self::quad`].
        #[inline(always)]
        unsafe fn below(&self, x: Tensor<f32>, column: &Column, j: u32, level: Level) -> [f32; 4] {
            // SAFETY: the caller's promise.
            unsafe { self.quad(x, column, j.wrapping_neg(), level) }
        }

        /// The quad of a column j from its middle, scaled, without the mean; zeros past the end of its row.
        ///
        /// # Safety
        /// The column has it.
        #[inline(always)]
        unsafe fn quad(&self, x: Tensor<f32>, column: &Column, j: u32, level: Level) -> [f32; 4] {
            let at = column.at.wrapping_add(j.wrapping_mul(column.plane));
            let mut values = [0f32; 4];
            if COPIED {
                // SAFETY: the caller's promise; rows are whole quads.
                values = unsafe { self.quad_copied(at) };
            } else {
                let mut bits = [0u32; 4];
                unroll!(i < 4, {
                    if (i as u32) < column.count {
                        // SAFETY: an element.
                        bits[i] = unsafe { x.bits::<NARROW>(at as u64 + i as u64) };
                    }
                });
                unroll!(i < 4, { values[i] = x.widen::<NARROW>(bits[i]) });
            }
            unroll!(i < 4, {
                let value = values[i].fma(level.scale, -level.mean);
                values[i] = if COPIED || (i as u32) < column.count { value } else { 0.0 };
            });
            values
        }

        /// Four elements of the copy.
        #[inline(always)]
        unsafe fn quad_copied(&self, at: u32) -> [f32; 4] {
            let mut values = [0f32; 4];
            // SAFETY: the caller's promise: elements of the copy, a multiple of four.
            unsafe {
                if NARROW {
                    let word = Shared::<u64>::dynamic(self.p.layout.input).load(at / 4);
                    let is_f16 = self.p.input.is_f16();
                    unroll!(i < 4, {
                        let bits = (word >> (16 * i)) as u16;
                        values[i] = if is_f16 { F16::from_bits(bits).to_f32() } else { Bf16::from_bits(bits).to_f32() };
                    });
                } else {
                    Shared::<f32>::dynamic(self.p.layout.input).load_16(at, &mut values);
                }
            }
            values
        }

        /// Writes a quad of f's planes, and of those of N0/2 − f.
        #[inline(always)]
        unsafe fn put(&self, slot: u32, (h, quad): (u32, u32), [even, odd]: &[[[f32; 4]; 2]; 2]) {
            let (layout, n, f) = (&self.p.layout, self.p.spectrum.n()[0], self.first + slot);
            if slot >= layout.share || f > last(n) {
                return;
            }
            let place = layout.volume + slot * layout.planes * layout.plane_bytes() + layout.quad(h, quad);
            unroll!(plane < 4, {
                let (sine, mirror) = (plane % 2, plane / 2 == 1);
                if (plane as u32) < layout.planes {
                    let mut values = [0f32; 4];
                    unroll!(i < 4, {
                        let (a, b) = (even[sine][i], odd[sine][i]);
                        values[i] = if !mirror {
                            a + b
                        } else if sine == 0 {
                            a - b
                        } else {
                            b - a
                        };
                    });
                    let ((h0, l0), (h1, l1)) = (split(values[0], values[1]), split(values[2], values[3]));
                    let to = Shared::<u32>::dynamic(place + plane as u32 * layout.plane_bytes());
                    // SAFETY: the caller's promise: 16 bytes of the plane.
                    unsafe { to.store_16(0, &[h0, h1, l0, l1]) };
                }
            });
        }
    }
}
