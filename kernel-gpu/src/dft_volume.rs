//! The spectrum of each volume x[b, ci], for volumes whose transform fits in shared memory.
//!
//! ```text
//! X[fo,fr,fp] = Σ_n x[n]·exp(−2πi Σ_a f_a (n_a − D_a/2)/N_a)        stored as X·2^−e, see [`spectrum`](crate::spectrum)
//! ```
//!
//! **Data flow.** One block a volume. It is copied to shared memory as part of an array (N0, N1, N2), in which each axis is
//! transformed in place, half, pair, then outer: a thread takes one or two rows at a time into registers
//! ([`row_transform`](crate::row_transform)) and writes their components back, real ones throughout. At the end a thread takes
//! the eight components behind ±fo, fr, ±fp and stores the units of both lines ([`spectrum_store`](crate::spectrum_store)),
//! neighbouring units from neighbouring lanes.
//!
//! **Accumulation.** f32, sums of at most D/2 + 1 terms; Σ x in f64, each thread over every 256th element, then the
//! threads as a tree.
//!
//! **Cost.** N/4 fused multiply-adds a component and axis where 4 divides N, twice that for other lengths. Reads x once,
//! writes a word a coefficient. Shared memory N0·N1·(N2 | 1) words and four small tables.
//!
//! **Launch.** One dimension, any number of blocks (volumes are dealt round robin), [`shared_bytes`] of shared memory.

use cuda_std::global::{Global, GlobalMut};
use cuda_std::launch::KernelSpec;

use crate::spectrum::Spectrum;
pub use crate::volume_layout::{fits, shared_bytes};

/// The parameters.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DftVolume {
    /// x (B, Cin, outer, half, pair) of this cut of the batch.
    pub input: Global<f32>,
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
}

/// The launch; shared memory is [`shared_bytes`].
pub const SPEC: KernelSpec = KernelSpec { name: "dft_volume", threads: 256, min_blocks: 2, shared_bytes: 0 };
pub mod device {
    //! The device code.
    use cuda_std::shared::Shared;
    use cuda_std::thread::{block_idx_x, grid_dim_x, lane_index, sync_threads, thread_idx_x, warp_index};
    use cuda_std::warp::shuffle_xor;
    use cuda_std::{kernel, unroll};

    use super::*;
    use crate::row_transform::Folding;
    use crate::row_transform::device::{Folded, opaque, transform};
    use crate::spectrum::{div, rem};
    use crate::spectrum_store::device::{Store, UnitStore};
    use crate::spectrum_store::{Unit, exponent, scale};
    use crate::volume_layout::{SUMS, VOLUME, WARPS, folding, stride, tables};
    use crate::volume_sums::device::FLIGHT;

    /// See the module.
    ///
    /// # Safety
    /// The arrays hold what the fields say and nobody else accesses the outputs; the launch is as [`SPEC`] says, with
    /// [`shared_bytes`] of shared memory, in which the volume [`fits`].
    #[kernel(max_threads = 256, min_blocks = 2)]
    pub unsafe fn dft_volume(parameters: DftVolume) {
        // SAFETY: the caller's promise.
        unsafe { run(&parameters) }
    }

    #[inline(always)]
    unsafe fn run(parameters: &DftVolume) {
        // SAFETY: the caller's promise.
        unsafe { Block::new(parameters).write_tables() };
        let mut volume = block_idx_x();
        while volume < parameters.spectrum.rows() {
            sync_threads(); // the tables are complete, and the previous volume is read
            // SAFETY: the caller's promise; each step reads what the one before wrote, behind a barrier.
            unsafe { Block::new(parameters).load(volume) };
            sync_threads();
            // SAFETY: as above.
            unsafe { Block::new(parameters).finish_sums(volume) };
            let mut pass = 0;
            while pass < 3 {
                let block = Block::new(parameters);
                // SAFETY: as above.
                unsafe { block.transform(pass) };
                sync_threads();
                pass += 1;
            }
            // SAFETY: as above.
            unsafe { Block::new(parameters).store(volume) };
            volume += grid_dim_x();
        }
    }

    /// What a thread knows in a step.
    struct Block<'a> {
        parameters: &'a DftVolume,
        /// The extents; [`opaque`], so that each step computes what it needs of them.
        spectrum: Spectrum,
        /// (N0, N1, N2), rows of [`stride`] words.
        volume: Shared<f32>,
        thread: u32,
    }

    /// The rows along one axis: row i starts at (i / width)·jump + (i mod width)·hop.
    struct Pass {
        fold: Folding,
        table: Shared<f32>,
        rows: u32,
        width: u32,
        jump: u32,
        hop: u32,
        /// From one element of a row to the next.
        step: u32,
    }

    impl<'a> Block<'a> {
        #[inline(always)]
        fn new(parameters: &'a DftVolume) -> Self {
            let mut spectrum = parameters.spectrum;
            unroll!(axis < 3, {
                spectrum.shape.input[axis] = opaque(spectrum.shape.input[axis]);
                spectrum.shape.kernel[axis] = opaque(spectrum.shape.kernel[axis]);
            });
            spectrum.shape.in_channels = opaque(spectrum.shape.in_channels);
            spectrum.shape.batch = opaque(spectrum.shape.batch);
            Self { parameters, spectrum, volume: Shared::dynamic(4 * VOLUME), thread: thread_idx_x() }
        }

        /// A table, 3 that of axis 0 times 2^−e.
        ///
        /// # Safety
        /// [`Self::write_tables`] is behind a barrier.
        #[inline(always)]
        unsafe fn table(&self, table: u32) -> Shared<f32> {
            // SAFETY: the caller's promise.
            Shared::dynamic(4 * unsafe { Shared::<u32>::dynamic(0).load(table) })
        }

        /// Σ x of the warps, or Σ |x|.
        #[inline(always)]
        fn sums(&self, absolute: bool) -> Shared<f64> {
            Shared::dynamic(4 * SUMS + if absolute { 8 * WARPS } else { 0 })
        }

        #[inline(always)]
        unsafe fn write_tables(&self) {
            let spectrum = &self.spectrum;
            let tables = tables(spectrum);
            unroll!(axis < 3, {
                let twiddles = self.parameters.twiddles.offset(2 * spectrum.twiddle_offset(axis as u32) as u64);
                let table = Shared::dynamic(4 * tables[axis]);
                // SAFETY: there is room for the axis' table, which is read after the first barrier.
                unsafe { folding(spectrum, axis).write_table(twiddles, table, self.thread, SPEC.threads) };
            });
            if self.thread == 0 {
                unroll!(table < 4, {
                    // SAFETY: as above.
                    unsafe { Shared::<u32>::dynamic(0).store(table as u32, tables[table]) };
                });
            }
        }

        /// The passes: along the half, the pair and the outer axis.
        ///
        /// # Safety
        /// As [`Self::table`].
        #[inline(always)]
        unsafe fn pass(&self, pass: u32) -> Pass {
            let (input, n, stride) = (self.spectrum.shape.input, self.spectrum.n(), stride(&self.spectrum));
            let plane = n[1] * stride;
            let (axis, table, rows, width, jump, hop, step) = match pass {
                0 => (1, 1, input[0] * input[2], input[2], plane, 1, stride),
                1 => (2, 2, input[0] * n[1], n[1], plane, stride, 1),
                _ => (0, 3, n[1] * n[2], n[2], stride, 1, plane),
            };
            let fold = match axis {
                0 => Folding::new(input[0], n[0]),
                1 => Folding::new(input[1], n[1]),
                _ => Folding::new(input[2], n[2]),
            };
            // SAFETY: the caller's promise.
            Pass { fold, table: unsafe { self.table(table) }, rows, width, jump, hop, step }
        }

        /// The transforms of a pass, with the constants of its folding, and as many rows a thread as registers allow.
        #[inline(always)]
        unsafe fn transform(&self, pass: u32) {
            // SAFETY: the caller's promise.
            let fold = unsafe { self.pass(opaque(pass)) }.fold;
            // SAFETY: the caller's promise.
            unsafe {
                match (fold.even, fold.terms) {
                    (true, ..=6) => self.rows::<true, 6, 2>(pass),
                    (true, ..=10) => self.rows::<true, 10, 2>(pass),
                    (true, _) => self.rows::<true, 18, 1>(pass),
                    (false, _) => self.rows::<false, 18, 1>(pass),
                }
            }
        }

        #[inline(always)]
        unsafe fn rows<const EVEN: bool, const K: usize, const ROWS: usize>(&self, pass: u32) {
            let mut first = self.thread;
            loop {
                // Computed anew: kept, its numbers would be registers that the rows need.
                // SAFETY: the caller's promise.
                let pass = unsafe { &Block::new(self.parameters).pass(opaque(pass)) };
                if first >= pass.rows {
                    break;
                }
                let second = first + SPEC.threads < pass.rows;
                let (mut rows, mut base) = ([Folded::<K>::ZERO; ROWS], [0u32; ROWS]);
                unroll!(r < ROWS, {
                    // Where there is no second row, the first again: one path for all lanes.
                    let row = if r == 1 && second { first + SPEC.threads } else { first };
                    base[r] = div(row, pass.width) * pass.jump + rem(row, pass.width) * pass.hop;
                    rows[r] = Folded::both::<EVEN>(
                        &pass.fold.opaque(),
                        (base[r], pass.step),
                        #[inline(always)]
                        // SAFETY: an element of the row, written before the last barrier; the row is this thread's alone.
                        |at, there| if there { unsafe { self.volume.load(at) } } else { 0.0 },
                    );
                });
                // SAFETY: a table of K terms; the rows are this thread's alone, and read.
                unsafe {
                    transform::<EVEN, K, ROWS>(
                        &pass.fold,
                        pass.table,
                        &rows,
                        #[inline(always)]
                        |r, component, value| {
                            if r == 0 || second {
                                self.volume.store(base[r] + component * pass.step, value);
                            }
                        },
                    );
                }
                first += ROWS as u32 * SPEC.threads;
            }
        }

        /// Copies the volume to shared memory, a column (d, …, p) a thread; its Σ x and Σ |x| there too, a warp an element.
        #[inline(always)]
        unsafe fn load(&self, volume: u32) {
            let ([outer, half, pair], stride) = (self.spectrum.shape.input, stride(&self.spectrum));
            let x = self.parameters.input.offset(volume as u64 * (outer * half * pair) as u64);
            // Opaque: else the offset is added to each index anew.
            let x = Global::<f32>::from_address(opaque(x.address()));
            let (mut sum, mut absolute) = (0f64, 0f64);
            let mut column = self.thread;
            while column < outer * pair {
                let (d, p) = (div(column, pair), rem(column, pair));
                let mut from = d * half * pair + p;
                let mut to = d * self.spectrum.n()[1] * stride + p;
                let mut near = 0f32;
                let mut h = 0;
                while h + FLIGHT as u32 <= half {
                    let mut values = [0f32; FLIGHT];
                    unroll!(i < FLIGHT, {
                        // SAFETY: d < D0, h < D1, p < D2.
                        values[i] = unsafe { x.load(from as u64) };
                        from += pair;
                    });
                    unroll!(i < FLIGHT, {
                        // SAFETY: as above; one thread an element.
                        unsafe { self.volume.store(to, values[i]) };
                        to += stride;
                        sum += values[i] as f64;
                        near += values[i].abs();
                    });
                    h += FLIGHT as u32;
                }
                while h < half {
                    // SAFETY: as above.
                    let value = unsafe { x.load(from as u64) };
                    // SAFETY: as above.
                    unsafe { self.volume.store(to, value) };
                    sum += value as f64;
                    near += value.abs();
                    (from, to, h) = (from + pair, to + stride, h + 1);
                }
                absolute += near as f64;
                column += SPEC.threads;
            }
            unroll!(level < 5, {
                sum += shuffle_xor(sum, 16 >> level);
                absolute += shuffle_xor(absolute, 16 >> level);
            });
            if lane_index() == 0 {
                let warp = self.thread / 32;
                // SAFETY: one element a warp, read after the next barrier.
                unsafe {
                    self.sums(false).store(warp, sum);
                    self.sums(true).store(warp, absolute);
                }
            }
        }

        /// Stores the spectrum: a lane has a unit of an fr, for the fo ≤ N0/2 of one parity.
        #[inline(always)]
        unsafe fn store(&self, volume: u32) {
            let spectrum = &self.spectrum;
            let (shape, n, stride) = (&spectrum.shape, spectrum.n(), stride(spectrum));
            let row = rem(volume, shape.in_channels) * shape.batch + div(volume, shape.in_channels);
            let store = Store { high: self.parameters.high, low: self.parameters.low, row };
            let (units, plane) = (Unit::count(spectrum), n[1] * stride);
            let items = spectrum.half() * units;
            let chunks = items.div_ceil(32);
            let (mut task, lane) = (warp_index(), lane_index());
            while task < 2 * chunks {
                let parity = (task >= chunks) as u32;
                let item = (task - parity * chunks) * 32 + lane;
                task += WARPS;
                if item < items {
                    let (fr, unit) = (div(item, units), Unit::new(rem(item, units), spectrum));
                    let (sine_r, sine_p) = (fr > 0 && 2 * fr != n[1], unit.is_pair());
                    let fp = unit.frequency.unwrap_or(0);
                    let mut out = UnitStore::new(spectrum, store, (parity, fr), unit);
                    let (mut exists, mut at) = ([false; 4], [0u32; 4]);
                    unroll!(column < 4, {
                        let (r, p) = (column % 2 == 1, column / 2 == 1);
                        exists[column] = (!r || sine_r) && (!p || sine_p);
                        let (r, p) =
                            (if r && sine_r { n[1] - fr } else { fr }, if p && sine_p { n[2] - fp } else { fp });
                        at[column] = r * stride + p;
                    });
                    let mut fo = parity;
                    while 2 * fo <= n[0] {
                        let sine_o = fo > 0 && 2 * fo != n[0];
                        let mut components = [[0f32; 2]; 4];
                        unroll!(part < 2, {
                            if part == 0 || sine_o {
                                let first = if part == 0 { fo } else { n[0] - fo } * plane;
                                unroll!(column < 4, {
                                    // SAFETY: components of the volume, written before the last barrier.
                                    let value = unsafe { self.volume.load(first + at[column]) };
                                    components[column][part] = if exists[column] { value } else { 0.0 };
                                });
                            }
                        });
                        // SAFETY: the caller's promise; each (±fo, fr, unit) comes once.
                        unsafe { out.both(&components) };
                        out.advance(2);
                        fo += 2;
                    }
                }
            }
        }

        /// Σ x and e of the volume, stored by one thread, and the outer axis' table times 2^−e.
        #[inline(always)]
        unsafe fn finish_sums(&self, volume: u32) {
            let (mut sum, mut absolute) = (0.0, 0.0);
            unroll!(warp < WARPS as usize, {
                // SAFETY: written before the last barrier.
                unsafe {
                    sum += self.sums(false).load(warp as u32);
                    absolute += self.sums(true).load(warp as u32);
                }
            });
            let e = exponent(absolute as f32);
            if self.thread == 0 {
                let shape = &self.spectrum.shape;
                let (b, ci) = (div(volume, shape.in_channels), rem(volume, shape.in_channels));
                // SAFETY: b < B, ci < Cin; one block a volume.
                unsafe {
                    self.parameters.sum.store(volume as u64, sum);
                    self.parameters.exponent.store((ci * shape.batch + b) as u64, e);
                }
            }
            let outer = folding(&self.spectrum, 0).table();
            // SAFETY: the caller's promise.
            let (table, scaled) = unsafe { (self.table(0), self.table(3)) };
            let mut i = self.thread;
            while i < outer {
                // SAFETY: one thread each; the previous volume's last pass, which read it, is behind barriers.
                unsafe { scaled.store(i, table.load(i) * scale(e)) };
                i += SPEC.threads;
            }
        }
    }
}
