//! The sums along outer of [`volume_transform`](crate::volume_transform), and the totals of a volume.
//!
//! ```text
//! C, S[f] = Σ_j cos, sin(2πf·j/N0)·(x[c+j] ± x[c−j])·2^−e      c = D0/2, of a quad of neighbours along pair; j = 0 once
//! C[N0/2 − f] = Ce − Co,  S[N0/2 − f] = So − Se                the sums over even and over odd j apart, where N0 is even
//! ```
//!
//! A **column** is a [quad](crate::volume_quads) of elements along pair with all its images along outer. A thread whose columns are short and few
//! holds one in registers ([`Held`](device::Held)); else it goes through columns, element by element.

use crate::spectrum::Spectrum;

/// Elements on each side of a column's middle that are held, the middle counting as above.
pub const HELD: u32 = 8;

/// Columns of a volume.
#[inline(always)]
pub const fn columns(input: [u32; 3]) -> u32 {
    input[1] * input[2].div_ceil(4)
}

/// (h, first element along pair, elements in the row from there) of column `index`; none past the last.
#[inline(always)]
pub const fn column(spectrum: &Spectrum, index: u32) -> Option<(u32, u32, u32)> {
    let [_, d1, d2] = spectrum.shape.input;
    let (h, quad) = crate::spectrum::div_rem(index, d2.div_ceil(4));
    if h < d1 { Some((h, 4 * quad, d2 - 4 * quad)) } else { None }
}

pub mod device {
    //! The device code.
    use cuda_std::convert::{self, Bf16};
    use cuda_std::global::Global;
    use cuda_std::shared::Shared;
    use cuda_std::thread::{lane_index, thread_idx_x, warp_index};
    use cuda_std::unroll;

    use super::*;
    use crate::element::Tensor;
    use crate::opaque::opaque;
    use crate::spectrum::div_rem;
    use crate::volume_layout::{FOLD, VolumeLayout, last, steps_outer};
    use crate::volume_quads::device::{Level, Quad, Sums, Totals, add, add_one};
    use crate::volume_sums::device::{FLIGHT, load};
    use crate::volume_tables::device::split;
    use crate::volume_transform::VolumeTransform;

    /// Bytes of a cache line.
    const LINE_BYTES: u64 = 128;

    /// A column in registers: its quads at c + j and c − 1 − j, zeros where there are none.
    #[derive(Clone, Copy)]
    pub struct Held {
        above: [Quad; HELD as usize],
        below: [Quad; HELD as usize],
    }

    impl Held {
        /// No column.
        pub const ZERO: Self = Self { above: [[0.0; 4]; HELD as usize], below: [[0.0; 4]; HELD as usize] };
    }

    /// A block's work on one volume along outer. `NARROW`, below: elements have 16 bits; `F16`: they are f16.
    pub struct Outer {
        spectrum: Spectrum,
        layout: VolumeLayout,
        x: Tensor<f32>,
        /// The first f of the block.
        first: u32,
        /// Whether quads are read at once: rows are whole quads, on the boundaries that takes.
        whole: bool,
    }

    /// A call for the input's number format, with code of its own.
    macro_rules! by_element {
        ($x:expr, $call:ident($($argument:expr),*), $self:expr) => {
            match ($x.is_narrow(), $x.is_f16()) {
                (false, _) => $self.$call::<false, false>($($argument),*),
                (true, false) => $self.$call::<true, false>($($argument),*),
                (true, true) => $self.$call::<true, true>($($argument),*),
            }
        };
    }

    impl Outer {
        /// The work on a volume, for the f from `first` on.
        #[inline(always)]
        pub fn new(p: &VolumeTransform, volume: u32, first: u32) -> Self {
            let x = p.input.offset(volume as u64 * p.spectrum.shape.volume());
            let bytes = if x.is_narrow() { 8 } else { 16 };
            let whole = p.spectrum.shape.input[2].is_multiple_of(4) && x.address().is_multiple_of(bytes);
            Self { spectrum: p.spectrum.opaque(), layout: p.layout, x, first, whole }
        }

        /// Asks for this thread's part of the volume to be brought to L2.
        ///
        /// # Safety
        /// The volume exists.
        #[inline(always)]
        pub unsafe fn prefetch(&self, threads: u32) {
            let bytes = self.spectrum.shape.volume() * if self.x.is_narrow() { 2 } else { 4 };
            let lines = Global::<u32>::from_address(self.x.address());
            let mut at = thread_idx_x() as u64 * LINE_BYTES;
            while at < bytes {
                // SAFETY: `at` is below the volume's bytes.
                unsafe { lines.prefetch(at / 4) };
                at += threads as u64 * LINE_BYTES;
            }
        }

        /// How many columns there are.
        #[inline(always)]
        pub fn columns(&self) -> u32 {
            columns(self.spectrum.shape.input)
        }

        /// A column, if there is one of that index.
        ///
        /// # Safety
        /// The volume exists, and its columns are no longer than can be held.
        #[inline(always)]
        pub unsafe fn hold(&self, index: u32) -> Held {
            // SAFETY: the caller's promise.
            unsafe { by_element!(self.x, hold_as(index), self) }
        }

        #[inline(always)]
        unsafe fn hold_as<const NARROW: bool, const F16: bool>(&self, index: u32) -> Held {
            let mut held = Held::ZERO;
            let Some((h, w, count)) = column(&self.spectrum, index) else { return held };
            let [d0, d1, d2] = self.spectrum.shape.input;
            let (middle, plane) = (d0 / 2, d1 * d2);
            let (mut up, mut down) = (h * d2 + w + middle * plane, h * d2 + w + middle * plane);
            // SAFETY: the caller's promise: elements that there are.
            unsafe {
                unroll!(j < 8, {
                    // Opaque: else all places are in registers at once.
                    down = opaque(down.wrapping_sub(plane));
                    if j != 0 {
                        up = opaque(up + plane);
                    }
                    if j as u32 + middle < d0 {
                        held.above[j] = self.read::<NARROW, F16>(up, count);
                    }
                    if (j as u32) < middle {
                        held.below[j] = self.read::<NARROW, F16>(down, count);
                    }
                });
            }
            held
        }

        /// The totals of a column.
        #[inline(always)]
        pub fn held_totals(&self, held: &Held, index: u32) -> Totals {
            let mut totals = Totals::NONE;
            if let Some((_, _, count)) = column(&self.spectrum, index) {
                let (d0, there) = (self.spectrum.shape.input[0], |i: usize| (i as u32) < count);
                unroll!(j < 8, {
                    if j as u32 + d0 / 2 < d0 {
                        totals.add(&held.above[j], there);
                    }
                    if (j as u32) < d0 / 2 {
                        totals.add(&held.below[j], there);
                    }
                });
            }
            totals
        }

        /// The sums of a column.
        ///
        /// # Safety
        /// `held` is [`Self::hold`]'s of that index; nobody reads the planes.
        #[inline(always)]
        pub unsafe fn sum_held(&self, held: Held, index: u32, level: Level) {
            let Some((h, w, count)) = column(&self.spectrum, index) else { return };
            let d0 = self.spectrum.shape.input[0];
            let (middle, steps) = (d0 / 2, steps_outer(d0));
            // Sums and differences of c ± j in the places of the two; `below` has its j one place further down.
            let Held { mut above, mut below } = held;
            unroll!(j < 8, {
                above[j] = level.of(above[j], j as u32 + middle < d0, count);
                below[j] = level.of(below[j], (j as u32) < middle, count);
            });
            unroll!(j < 8, {
                if j != 0 {
                    unroll!(i < 4, {
                        let (a, b) = (above[j][i], below[j - 1][i]);
                        (above[j][i], below[j - 1][i]) = (a + b, a - b);
                    });
                }
            });
            let end = below[7];
            let mut factors = Shared::<f32>::dynamic(self.layout.outer);
            let mut slot = 0;
            while slot < self.layout.share {
                // One f at a time: for two there are not enough registers.
                let mut sums = [[[0f32; 4]; 2]; 2];
                sums[0][0] = above[0];
                // SAFETY: the table has a row of factors for each j ≤ c; the quad of the planes is this thread's.
                unsafe {
                    unroll!(j < 8, {
                        if j != 0 && j as u32 <= middle {
                            add_one(&mut sums[j % 2], factors.offset(4 * (j as u32 - 1)), &above[j], &below[j - 1]);
                        }
                    });
                    if middle == 8 {
                        add_one(&mut sums[0], factors.offset(28), &end, &end.map(|value| -value));
                    }
                    self.put_boosted(slot, (h, w / 4), &sums, level.boost);
                }
                // The next f, or the first of the next two.
                factors = factors.offset(if slot % FOLD == 0 { 2 } else { 8 * steps - 2 });
                slot += 1;
            }
        }

        /// Σx and Σ|x| of this thread's part of a volume.
        ///
        /// # Safety
        /// The volume exists.
        #[inline(always)]
        pub unsafe fn totals(&self, threads: u32) -> Totals {
            // SAFETY: the caller's promise.
            unsafe {
                if self.x.is_narrow() { self.totals_as::<true>(threads) } else { self.totals_as::<false>(threads) }
            }
        }

        #[inline(always)]
        unsafe fn totals_as<const NARROW: bool>(&self, threads: u32) -> Totals {
            let mut totals = Totals::NONE;
            let size = self.spectrum.shape.volume();
            let mut first = thread_idx_x() as u64;
            while first < size {
                // SAFETY: `first` is an element.
                let values = unsafe { load::<NARROW>(self.x, first, size, threads) };
                totals.add::<FLIGHT>(&values, |i| first + ((i as u32 * threads) as u64) < size);
                first += (FLIGHT as u32 * threads) as u64;
            }
            totals
        }

        /// The sums of all columns: a warp two f of 32 columns at a time.
        ///
        /// # Safety
        /// Nobody reads the planes.
        #[inline(always)]
        pub unsafe fn sum(&self, level: Level, warps: u32) {
            // SAFETY: the caller's promise.
            unsafe { by_element!(self.x, sum_as(level, warps), self) }
        }

        #[inline(always)]
        unsafe fn sum_as<const NARROW: bool, const F16: bool>(&self, level: Level, warps: u32) {
            let layout = &self.layout;
            let [d0, d1, d2] = self.spectrum.shape.input;
            let (middle, plane, steps) = (d0 / 2, d1 * d2, steps_outer(d0));
            let chunks = (d1 * d2.div_ceil(4)).div_ceil(32);
            let mut task = warp_index();
            while task < chunks * layout.share.div_ceil(FOLD) {
                let (pair, chunk) = div_rem(task, chunks);
                task += warps;
                if let Some((h, w, count)) = column(&self.spectrum, 32 * chunk + lane_index()) {
                    let mut factors = Shared::<f32>::dynamic(layout.outer).offset(8 * pair * steps);
                    let at = h * d2 + w + middle * plane;
                    let mut sums: Sums = [[[[0.0; 4]; 2]; 2]; FOLD as usize];
                    // SAFETY: elements that there are; the table has a row of factors for each j ≤ c.
                    unsafe {
                        let read = |at: u32, there: bool| {
                            let quad = if there { self.read::<NARROW, F16>(at, count) } else { [0.0; 4] };
                            level.of(quad, there, count)
                        };
                        let center = read(at, true);
                        unroll!(f < 2, { sums[f][0][0] = center });
                        let mut j = 1;
                        while j <= middle {
                            let mut quads = [[[0f32; 4]; 2]; 2];
                            unroll!(next < 2, {
                                let j = j + next as u32;
                                quads[next][0] = read(at.wrapping_add(j * plane), middle + j < d0);
                                quads[next][1] = read(at.wrapping_sub(j * plane), j <= middle);
                            });
                            unroll!(next < 2, {
                                let [mut sum, mut difference] = quads[next];
                                unroll!(i < 4, {
                                    (sum[i], difference[i]) = (sum[i] + difference[i], sum[i] - difference[i]);
                                });
                                add(&mut sums, 1 - next, factors.offset(4 * next as u32), &sum, &difference);
                            });
                            factors = factors.offset(8);
                            j += 2;
                        }
                        unroll!(f < 2, {
                            self.put_boosted(FOLD * pair + f as u32, (h, w / 4), &sums[f], level.boost);
                        });
                    }
                }
            }
        }

        /// The quad at `at`, of which `count` elements are in the row.
        ///
        /// # Safety
        /// They exist.
        #[inline(always)]
        unsafe fn read<const NARROW: bool, const F16: bool>(&self, at: u32, count: u32) -> Quad {
            // SAFETY: the caller's promise.
            unsafe { if self.whole { self.quad::<NARROW, F16>(at) } else { self.elements::<NARROW>(at, count) } }
        }

        /// Four neighbours, read at once.
        #[inline(always)]
        unsafe fn quad<const NARROW: bool, const F16: bool>(&self, at: u32) -> Quad {
            let address = self.x.address();
            // SAFETY: the caller's promise: four elements, on a boundary of as many bytes.
            unsafe {
                if NARROW {
                    let word = Global::<u64>::from_address(address).load((at / 4) as u64);
                    let mut quad = [0f32; 4];
                    unroll!(i < 4, {
                        let bits = (word >> (16 * i)) as u16;
                        quad[i] =
                            if F16 { convert::F16::from_bits(bits).to_f32() } else { Bf16::from_bits(bits).to_f32() };
                    });
                    quad
                } else {
                    Global::<f32>::from_address(address).load_array(at as u64)
                }
            }
        }

        /// Up to four neighbours, of which there are `count`; then zeros.
        #[inline(always)]
        unsafe fn elements<const NARROW: bool>(&self, at: u32, count: u32) -> Quad {
            let (mut bits, mut quad) = ([0u32; 4], [0f32; 4]);
            unroll!(i < 4, {
                if (i as u32) < count {
                    // SAFETY: the caller's promise.
                    bits[i] = unsafe { self.x.bits::<NARROW>(at as u64 + i as u64) };
                }
            });
            unroll!(i < 4, { quad[i] = self.x.widen::<NARROW>(bits[i]) });
            quad
        }

        /// Writes a quad of the planes of f, and of those of N0/2 − f.
        ///
        /// # Safety
        /// Nobody reads the planes.
        #[inline(always)]
        unsafe fn put_boosted(&self, slot: u32, place: (u32, u32), sums: &[[Quad; 2]; 2], boost: f32) {
            // SAFETY: the caller's promise.
            unsafe {
                if boost == 1.0 {
                    self.put(slot, place, sums);
                } else {
                    self.put(slot, place, &sums.map(|of| of.map(|of| of.map(|sum| sum * boost))));
                }
            }
        }

        #[inline(always)]
        unsafe fn put(&self, slot: u32, (h, quad): (u32, u32), [even, odd]: &[[Quad; 2]; 2]) {
            let (layout, n, f) = (&self.layout, self.spectrum.n()[0], self.first + slot);
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
                        values[i] = match (mirror, sine) {
                            (false, _) => a + b,
                            (true, 0) => a - b,
                            _ => b - a,
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
