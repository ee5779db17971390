//! The constants of [`volume_transform`](crate::volume_transform): made of the twiddles by each block, once, in its shared memory.
//!
//! ```text
//! half, pair    cos, sin(2πf(k − (D − 1)/2)/N)                 as f16 high + low: A of mma.m16n8k16, rows 0–7 cosines, 8–15 sines
//! outer         cos, sin(2πf·j/N0),  j = |k − c|, c = D0/2     f32
//! boxes         Σ_k e^(−2πif(k − (D − 1)/2)/N) = sin(πfD/N)/sin(πf/N),     along outer about c
//! ```
//!
//! A rounded constant errs the same way in every volume, so nothing of it averages out: constants are in two f16.
//!
//! Along pair, step k of 16 elements holds them in the order 4q, 4q+1 for q = 0 … 3, then 4q+2, 4q+3, so that a lane's four are
//! neighbours in memory; along half in their own.

use crate::spectrum::{Spectrum, rem};

/// The angle of frequency f at element k about the middle of D, in units of π/N: 0 ≤ m < 2·N.
#[inline(always)]
pub const fn angle(f: u32, k: u32, d: u32, n: u32) -> u32 {
    rem(2 * f * k + (2 * n - rem(f * (d - 1), 2 * n)), 2 * n)
}

/// The frequency of row g of a tile, along half (axis 1) or pair.
#[inline(always)]
pub const fn frequency(spectrum: &Spectrum, axis: usize, index: u32) -> Option<u32> {
    match axis {
        1 if index < spectrum.half() => Some(index),
        1 => None,
        _ => spectrum.frequency(2 * index),
    }
}

pub mod device {
    //! The device code.
    use cuda_std::convert::F16x2;
    use cuda_std::global::Global;
    use cuda_std::shared::Shared;
    use cuda_std::unroll;

    use super::*;
    use crate::spectrum::{div, div_rem};
    use crate::volume_layout::{FOLD, STEP, STEP_BYTES, TILE, VolumeLayout, last, steps_outer};

    /// Two values as f16 each, and what rounding left of them.
    #[inline(always)]
    pub fn split(first: f32, second: f32) -> (u32, u32) {
        let high = F16x2::from_f32(first, second);
        let (a, b) = high.to_halves();
        (high.to_bits(), F16x2::from_f32(first - a.to_f32(), second - b.to_f32()).to_bits())
    }

    /// What writes the tables: one of a block's threads.
    pub struct Writer<'a> {
        /// The extents.
        pub spectrum: &'a Spectrum,
        /// Where the tables go.
        pub layout: &'a VolumeLayout,
        /// (cos, sin)(π·m/N_a): see [`Spectrum::twiddle_offset`].
        pub twiddles: Global<f32>,
        /// Its number.
        pub thread: u32,
        /// How many there are.
        pub threads: u32,
    }

    impl Writer<'_> {
        /// Writes this thread's part of all tables, for the f from `first` on.
        ///
        /// # Safety
        /// The twiddles are there; the layout is the launch's, and nobody accesses its tables before the next barrier.
        #[inline(always)]
        pub unsafe fn write(&self, first: u32) {
            // SAFETY: the caller's promise.
            unsafe {
                self.products(1);
                self.products(2);
                self.outer(first);
                self.boxes();
            }
        }

        /// cos or sin of π·m/N.
        #[inline(always)]
        unsafe fn twiddle(&self, axis: usize, m: u32, sine: bool) -> f32 {
            let at = 2 * (self.spectrum.twiddle_offset(axis as u32) + m) as u64;
            // SAFETY: the caller's promise: m < 2·N.
            unsafe { self.twiddles.load(at + sine as u64) }
        }

        /// An element of A.
        #[inline(always)]
        unsafe fn entry(&self, axis: usize, f: Option<u32>, k: u32, sine: bool) -> f32 {
            let (d, n) = (self.spectrum.shape.input[axis], self.spectrum.n()[axis]);
            match f {
                // SAFETY: m < 2·N.
                Some(f) if k < d => unsafe { self.twiddle(axis, angle(f, k, d, n), sine) },
                _ => 0.0,
            }
        }

        /// The table of the half or the pair axis: a lane's word (of four) of a tile's step at a time.
        #[inline(always)]
        unsafe fn products(&self, axis: usize) {
            let layout = self.layout;
            let (tiles, steps) = (layout.tiles[axis - 1], layout.steps[axis - 1]);
            let mut i = self.thread;
            while i < tiles * steps * 128 {
                let (place, lane, word) = (i / 128, i / 4 % 32, i % 4);
                let (tile, step) = div_rem(place, steps);
                let f = frequency(self.spectrum, axis, tile * TILE + lane / 4);
                let (q, later, sine) = (lane % 4, word / 2, word % 2 == 1);
                let k = step * STEP + if axis == 1 { 2 * q + 8 * later } else { 4 * q + 2 * later };
                // SAFETY: a word each of the high and of the low part, with room for every place.
                unsafe {
                    let (high, low) = split(self.entry(axis, f, k, sine), self.entry(axis, f, k + 1, sine));
                    let at = Shared::<u32>::dynamic(layout.tables[axis - 1] + place * STEP_BYTES).offset(i % 128);
                    at.store(0, high);
                    at.store(128, low);
                }
                i += self.threads;
            }
        }

        #[inline(always)]
        unsafe fn outer(&self, first: u32) {
            let (d, n) = (self.spectrum.shape.input[0], self.spectrum.n()[0]);
            let (steps, table) = (steps_outer(d), Shared::<f32>::dynamic(self.layout.outer));
            let mut i = self.thread;
            while i < self.layout.share.div_ceil(FOLD) * steps * 8 {
                let (pair, step) = div_rem(i / 8, steps);
                let (f, j) = (first + FOLD * pair + i / 2 % 2, 1 + 2 * step + i / 4 % 2);
                // SAFETY: m < 2·N0; a number of the table each.
                unsafe {
                    let there = f <= last(n) && j <= d / 2;
                    table.store(i, if there { self.twiddle(0, rem(2 * f * j, 2 * n), i % 2 == 1) } else { 0.0 });
                }
                i += self.threads;
            }
        }

        /// The spectrum of a box of ones, along each axis.
        #[inline(always)]
        unsafe fn boxes(&self) {
            unroll!(axis < 3, {
                let (d, n) = (self.spectrum.shape.input[axis], self.spectrum.n()[axis]);
                let table = Shared::<f32>::dynamic(self.layout.boxes[axis]);
                let count = if axis == 0 { n / 2 + 1 } else { TILE * self.layout.tiles[axis.saturating_sub(1)] };
                let mut i = self.thread;
                while i < count {
                    let f = if axis == 0 { Some(i) } else { frequency(self.spectrum, axis, i) };
                    // SAFETY: m < 2·N; a number each, two along outer.
                    unsafe {
                        let sum = match f {
                            None => 0.0,
                            Some(0) => d as f32,
                            Some(f) => self.twiddle(axis, rem(f * d, 2 * n), true) / self.twiddle(axis, f, true),
                        };
                        if axis == 0 {
                            // About D0/2, half an element past the middle of an even number of them.
                            let half = if d % 2 == 0 { i } else { 0 };
                            table.store(2 * i, sum * self.twiddle(0, half, false));
                            table.store(2 * i + 1, -sum * self.twiddle(0, half, true));
                        } else {
                            table.store(i, sum);
                        }
                    }
                    i += self.threads;
                }
            });
        }

        /// Zeros in all planes.
        ///
        /// # Safety
        /// As [`Self::write`].
        #[inline(always)]
        pub unsafe fn clear(&self) {
            let layout = self.layout;
            let planes = Shared::<u32>::dynamic(layout.volume);
            let mut i = self.thread;
            while i < div(layout.plane_bytes() * layout.planes * layout.share, 16) {
                // SAFETY: 16 bytes of the planes each.
                unsafe { planes.store_16(4 * i, &[0; 4]) };
                i += self.threads;
            }
        }
    }

    /// A fragment of A, high then low: 16 bytes of a lane at a tile's step.
    ///
    /// # Safety
    /// The table was written before the last barrier, and has the step.
    #[inline(always)]
    pub unsafe fn fragments(step: Shared<u32>, lane: u32) -> [[u32; 4]; 2] {
        let (mut high, mut low) = ([0u32; 4], [0u32; 4]);
        // SAFETY: the caller's promise.
        unsafe {
            step.load_16(4 * lane, &mut high);
            step.load_16(128 + 4 * lane, &mut low);
        }
        [high, low]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn angles_are_about_the_middle() {
        for d in 1..12 {
            for n in d..d + 5 {
                for f in 0..=n / 2 {
                    for k in 0..d {
                        let expected = (f as i64 * (2 * k as i64 - (d as i64 - 1))).rem_euclid(2 * n as i64);
                        assert_eq!(angle(f, k, d, n) as i64, expected);
                    }
                }
            }
        }
    }
}
