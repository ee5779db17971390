//! The spectrum of each volume x[b, ci] by transforms in registers, for volumes of [short lengths](crate::short_dft) that fit in
//! shared memory.
//!
//! ```text
//! X[fo,fr,fp] = Σ_n x[n]·e^(−2πi Σ_a f_a·n_a/N_a)
//! ```
//!
//! stored as X·2^−e, see [`spectrum`](crate::spectrum). An axis a pass, a transform a thread; shared memory in between:
//!
//! ```text
//! half     two columns x[w], x[w+1] as one complex one, apart again:  A[f] = (Z[f] + conj Z[−f])/2,  B[f] = (Z[f] − conj Z[−f])/2i
//! pair     a row of each (fr, d), in its place
//! outer    a column of each (fr, slot), rounded and stored
//! ```
//!
//! **The mean goes first,** and comes back as the spectrum of a box of ones before the last pass: what varies little beside a
//! mean is not lost in the rounding of its sums.
//!
//! **Data flow.** A block takes [`VolumeFftLayout::volumes`] at a time, in step, and goes through all. Where two or more blocks share a
//! multiprocessor, one computes while another waits for memory; meanwhile the next volumes are asked for. A thread reads its two
//! columns at once ([`volume_fft_columns`](crate::volume_fft_columns)); in the last pass eight lanes store the eight slots of a row that
//! lie together, 32 bytes, for each fo ([`volume_fft_store`](crate::volume_fft_store)).
//!
//! **Accumulation.** f32; Σx in f64: a thread's elements in order, then the threads as a tree.
//!
//! **Cost.** Some 33,000 warp instructions a volume of 16 × 32 × 32 with a kernel of 5 × 5 × 5 (sm_90a), 17,000 of them f32
//! additions and multiply-adds. Reads x once, writes a word a coefficient.
//!
//! **Launch.** One dimension, any number of blocks, [`VolumeFftLayout::threads`] and [`VolumeFftLayout::bytes`] of shared memory for each of a
//! block's volumes.

use cuda_std::launch::KernelSpec;

use crate::volume_fft_layout::{MOST_THREADS, VolumeFftLayout};
use crate::volume_transform::VolumeTransform;

/// The parameters.
pub type VolumeFft = VolumeTransform<VolumeFftLayout>;

/// The launch.
pub const SPEC: KernelSpec = KernelSpec { name: "volume_fft", threads: MOST_THREADS, min_blocks: 1, shared_bytes: 0 };

pub mod device {
    //! The device code.
    use cuda_std::bulk_copy;
    use cuda_std::global::Global;
    use cuda_std::kernel;
    use cuda_std::shared::Shared;
    use cuda_std::thread::{block_idx_x, grid_dim_x, lane_index, sync_threads, thread_idx_x, warp_index};
    use cuda_std::unroll;
    use cuda_std::warp::shuffle_xor;

    use super::*;
    use crate::element::Tensor;
    use crate::opaque::opaque;
    use crate::short_dft::device::{Complex, transform};
    use crate::short_dft::short_lengths;
    use crate::spectrum::{div_rem, rem};
    use crate::spectrum_store::{exponent, scale};
    use crate::volume_fft_columns::device::Columns;
    use crate::volume_fft_layout::{place, place_of};
    use crate::volume_fft_store::device::Store;

    /// Bytes of a cache line.
    const LINE_BYTES: u32 = 128;

    /// A call with the lengths A × B = N of this N as constants.
    macro_rules! by_length {
        (($n:expr, $work:ident.$call:ident $arguments:tt) $($length:literal = $a:literal x $b:literal),*) => {
            match $n {
                $($length => $work.$call::<$a, $b, $length> $arguments,)*
                _ => {}
            }
        };
    }

    /// See the module.
    ///
    /// # Safety
    /// The arrays hold what the fields say and nobody else accesses the outputs; the layout is [`VolumeFftLayout::design`]'s for
    /// these extents, and the launch as it says.
    #[kernel(max_threads = 512, min_blocks = 1)]
    pub unsafe fn volume_fft(parameters: VolumeFft) {
        let (group, thread) = div_rem(thread_idx_x(), parameters.layout.threads);
        let work = Work { p: &parameters, thread, group };
        // SAFETY: the caller's promise.
        unsafe { work.run() }
    }

    /// Frequencies of a real transform of N.
    const fn halves(n: usize) -> usize {
        n / 2 + 1
    }

    /// One thread's work.
    struct Work<'a> {
        p: &'a VolumeFft,
        /// Its number among those of its volume.
        thread: u32,
        /// Its volume's number in the block.
        group: u32,
    }

    impl Work<'_> {
        /// All volumes of a block.
        ///
        /// # Safety
        /// As the kernel.
        #[inline(always)]
        unsafe fn run(&self) {
            let (s, n) = (&self.p.spectrum, self.p.spectrum.n());
            // Rows one after another: what blocks store at the same time lies side by side.
            let volumes = self.p.layout.volumes;
            let mut first = block_idx_x() * volumes;
            // SAFETY: the caller's promise; each pass reads what the one before wrote, this thread or behind a barrier.
            unsafe {
                self.boxes();
                while first < s.rows() {
                    let row = first + self.group;
                    let mut mean = 0.0;
                    short_lengths!(by_length n[1], self.half(row, &mut mean));
                    sync_threads();
                    let exists = row < s.rows();
                    if exists {
                        short_lengths!(by_length n[2], self.pair());
                    }
                    sync_threads();
                    first += grid_dim_x() * volumes;
                    if exists {
                        let next = first + self.group;
                        if next < s.rows() {
                            self.prefetch(next);
                        }
                        short_lengths!(by_length n[0], self.outer(row, mean));
                    }
                }
            }
        }

        /// The number of a row's volume.
        #[inline(always)]
        fn volume(&self, row: u32) -> u64 {
            let (ci, b) = div_rem(row, self.p.spectrum.shape.batch);
            (b * self.p.spectrum.shape.in_channels + ci) as u64
        }

        /// The volume of a row.
        #[inline(always)]
        fn input(&self, row: u32) -> Tensor<f32> {
            self.p.input.offset(self.volume(row) * self.p.spectrum.shape.volume())
        }

        /// Asks for a row's volume to be brought to L2: one thread for all of it, or where it takes an instruction a line, each for its part.
        ///
        /// # Safety
        /// The volume exists.
        #[inline(always)]
        unsafe fn prefetch(&self, row: u32) {
            let x = self.input(row);
            let bytes = self.p.spectrum.shape.volume() * if x.is_narrow() { 2 } else { 4 };
            if bulk_copy::HAS_PREFETCH {
                let start = x.address().next_multiple_of(16);
                let whole = (bytes as u32).saturating_sub(16) / 16 * 16;
                if self.thread == 0 && whole > 0 {
                    // SAFETY: of the volume, up to 15 bytes from its start, which fits in shared memory.
                    unsafe { bulk_copy::prefetch(Global::<u32>::from_address(start), whole) };
                }
                return;
            }
            let lines = Global::<u32>::from_address(x.address());
            let mut at = (self.thread * LINE_BYTES) as u64;
            while at < bytes {
                // SAFETY: `at` is below the volume's bytes.
                unsafe { lines.prefetch(at / 4) };
                at += (self.p.layout.threads * LINE_BYTES) as u64;
            }
        }

        /// The complex values in shared memory from byte `at` on.
        #[inline(always)]
        fn shared(&self, at: u32) -> Shared<u64> {
            Shared::dynamic(at + self.group * self.p.layout.bytes)
        }

        /// The spectra of a box of ones along half, for each fr, and along pair, for each place of a row.
        ///
        /// # Safety
        /// The twiddles are there; nobody accesses the boxes before the next barrier.
        #[inline(always)]
        unsafe fn boxes(&self) {
            let (s, table) = (&self.p.spectrum, self.shared(self.p.layout.boxes));
            let (n, half) = (s.n(), s.half());
            let mut i = self.thread;
            while i < n[2] {
                // SAFETY: fr < N1, fp < N2; a place each.
                unsafe {
                    table.store(half + place_of(n[2] as usize, i as usize) as u32, self.ones(2, i).to_word());
                    i += self.p.layout.threads;
                }
            }
            let mut i = self.thread;
            while i < half {
                // SAFETY: as above.
                unsafe { table.store(i, self.ones(1, i).to_word()) };
                i += self.p.layout.threads;
            }
        }

        /// Σ_{n<D} e^(−2πi·f·n/N) = e^(−πi·f(D−1)/N)·sin(πfD/N)/sin(πf/N).
        #[inline(always)]
        unsafe fn ones(&self, axis: usize, f: u32) -> Complex {
            let s = &self.p.spectrum;
            let (d, n) = (s.shape.input[axis], s.n()[axis]);
            if f == 0 {
                return Complex { re: d as f32, im: 0.0 };
            }
            let turn = |m: u32| {
                let at = 2 * (s.twiddle_offset(axis as u32) + rem(m, 2 * n)) as u64;
                // SAFETY: the caller's promise: an angle below 2·N.
                unsafe { [self.p.twiddles.load(at), self.p.twiddles.load(at + 1)] }
            };
            let sum = turn(f * d)[1] / turn(f)[1];
            Complex { re: sum, im: 0.0 }.rotated(turn(f * (d - 1)))
        }

        /// Along half: two columns, neighbours along pair. Sets the mean of the volume as it is scaled here.
        ///
        /// # Safety
        /// As the kernel; the volume exists.
        #[inline(always)]
        unsafe fn half<const A: usize, const B: usize, const N: usize>(&self, row: u32, mean: &mut f32) {
            let (p, [d0, d1, d2]) = (self.p, self.p.spectrum.opaque().shape.input);
            let (d, pair) = div_rem(self.thread, d2.div_ceil(2));
            let columns = Columns {
                first: d * d1 * d2 + 2 * pair,
                count: if d < d0 && row < self.p.spectrum.rows() { d2 - 2 * pair } else { 0 },
                d1,
                d2,
            };
            // SAFETY: the caller's promise.
            let mut points = unsafe { columns.read::<N>(self.input(row)) };
            let (mut sum, mut absolute) = (0f64, 0f32);
            unroll!(n < N, at most 40, {
                sum += points[n].re as f64;
                sum += points[n].im as f64;
                absolute += points[n].re.abs() + points[n].im.abs();
            });
            // SAFETY: the caller's promise; all threads are here.
            let level = unsafe { self.level(sum, absolute, row) };
            *mean = level.mean;
            if columns.count == 0 {
                return;
            }
            unroll!(n < N, at most 40, {
                if 2 * n < N || (n as u32) < d1 {
                    points[n] = level.of(points[n]);
                }
            });
            let z = transform::<A, B, N>(points);
            let (plane, row) = (opaque(p.layout.plane), self.shared(0).offset(d * p.layout.row + pair));
            let (mut even, mut odd) = (row, row.offset(d2.div_ceil(2)));
            // SAFETY: these columns of the volume are this thread's; the last pass over them is before the last barrier.
            unsafe {
                unroll!(f < halves(N), at most 40, {
                    let (ahead, behind) = (z[f], z[(N - f) % N]);
                    if f != 0 {
                        (even, odd) = (even.offset(plane), odd.offset(plane));
                    }
                    even.store(0, Complex { re: ahead.re + behind.re, im: ahead.im - behind.im }.to_word());
                    if columns.count > 1 {
                        odd.store(0, Complex { re: ahead.im + behind.im, im: behind.re - ahead.re }.to_word());
                    }
                });
            }
        }

        /// Scale and mean of a volume, given a thread's share of Σx and Σ|x|; one thread stores Σx and e. In between are barriers.
        ///
        /// # Safety
        /// All threads of the block call this.
        #[inline(always)]
        unsafe fn level(&self, sum: f64, absolute: f32, row: u32) -> Level {
            let (p, mut sum, mut absolute) = (self.p, sum, absolute);
            unroll!(level < 5, {
                sum += shuffle_xor(sum, 16 >> level);
                absolute += shuffle_xor(absolute, 16 >> level);
            });
            let warps = p.layout.threads / 32;
            let sums = self.shared(p.layout.sums).cast::<f64>();
            let absolutes = self.shared(p.layout.sums + 8 * warps).cast::<f32>();
            let warp = warp_index() - self.group * warps;
            if lane_index() == 0 {
                // SAFETY: two numbers a warp, which all have read before the barrier after the pass along half.
                unsafe {
                    sums.store(warp, sum);
                    absolutes.store(warp, absolute);
                }
            }
            sync_threads(); // the totals are there, and nobody reads the last volume
            (sum, absolute) = (0.0, 0.0);
            let mut i = 0;
            while i < warps {
                // SAFETY: written before the barrier.
                unsafe {
                    sum += sums.load(i);
                    absolute += absolutes.load(i);
                }
                i += 1;
            }
            let e = exponent(absolute);
            if self.thread == 0 && row < p.spectrum.rows() {
                // SAFETY: row < Cin·B; one block a row.
                unsafe {
                    p.sum.store(self.volume(row), sum);
                    p.exponent.store(row as u64, e);
                }
            }
            let scale = scale(e);
            Level { half: 0.5 * scale, mean: (sum * p.inverse) as f32 * scale }
        }

        /// Along pair: the row of each (fr, d), in the order of the slots.
        ///
        /// # Safety
        /// The pass along half is complete.
        #[inline(always)]
        unsafe fn pair<const A: usize, const B: usize, const N: usize>(&self) {
            let (s, layout) = (self.p.spectrum.opaque(), &self.p.layout);
            let [d0, _, d2] = s.shape.input;
            let mut task = self.thread;
            while task < s.half() * d0 {
                let (fr, d) = div_rem(task, d0);
                let row = self.shared(0).offset(fr * layout.plane + d * layout.row);
                let odd = row.offset(d2.div_ceil(2));
                let mut points = [Complex::ZERO; N];
                // SAFETY: the row is this thread's.
                unsafe {
                    unroll!(n < N, at most 40, {
                        if 2 * n < N || (n as u32) < d2 {
                            points[n] = Complex::from_word(if n.is_multiple_of(2) { row } else { odd }.load(n as u32 / 2));
                        }
                    });
                    let z = transform::<A, B, N>(points);
                    unroll!(f < N, at most 40, { row.store(const { place_of(N, f) as u32 }, z[f].to_word()) });
                }
                task += layout.threads;
            }
        }

        /// Along outer: the column of each (fr, slot), stored.
        ///
        /// # Safety
        /// The pass along pair is complete, the volume exists.
        #[inline(always)]
        unsafe fn outer<const A: usize, const B: usize, const N: usize>(&self, row: u32, mean: f32) {
            let (p, s, layout) = (self.p, &self.p.spectrum.opaque(), &self.p.layout);
            let (half, d0) = (s.half(), s.shape.input[0]);
            let boxes = self.shared(layout.boxes);
            let mut task = self.thread;
            while task < s.slots() * half {
                // Eight slots of an fr together. The groups with lines or slots that are strict come first: few warps have both kinds.
                let (fr, group) = if task / 8 < half {
                    (task / 8, 0)
                } else {
                    let (fr, group) = div_rem(task / 8 - half, s.slots() / 8 - 1);
                    (fr, group + 1)
                };
                let slot = 8 * group + task % 8;
                let (exists, place) = match place(s.n()[2], slot) {
                    Some(place) => (true, place),
                    None => (false, 0),
                };
                let mut points = [Complex::ZERO; N];
                // SAFETY: written before the barrier.
                unsafe {
                    let (of_half, of_pair) =
                        (Complex::from_word(boxes.load(fr)), Complex::from_word(boxes.load(half + place)));
                    let mean = if exists { mean } else { 0.0 };
                    let of_pair = Complex { re: mean * of_pair.re, im: mean * of_pair.im };
                    let level = of_pair.rotated([of_half.re, -of_half.im]);
                    let (mut column, step) = (self.shared(0).offset(fr * layout.plane + place), opaque(layout.row));
                    unroll!(n < N, at most 40, {
                        if n != 0 {
                            column = column.offset(step);
                        }
                        if exists && (2 * n < N || (n as u32) < d0) {
                            points[n] = Complex::from_word(column.load(0)) + level;
                        }
                    });
                }
                let z = transform::<A, B, N>(points);
                let store = Store::new(p, s, row, fr, slot);
                // SAFETY: the caller's promise; the slot is this thread's.
                unsafe {
                    if group == 0 || store.strict {
                        store.careful(&z);
                    } else {
                        store.plain(&z);
                    }
                }
                task += layout.threads;
            }
        }
    }

    /// What a volume is multiplied with on its way in.
    #[derive(Clone, Copy)]
    struct Level {
        /// Half of 2^−e.
        half: f32,
        /// The mean times 2^−e.
        mean: f32,
    }

    impl Level {
        /// Half of two elements without the mean: columns come apart as sums.
        #[inline(always)]
        fn of(self, x: Complex) -> Complex {
            use cuda_std::float::Float;
            let level = -0.5 * self.mean;
            Complex { re: x.re.fma(self.half, level), im: x.im.fma(self.half, level) }
        }
    }
}
