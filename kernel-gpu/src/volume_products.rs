//! The products of [`volume_transform`](crate::volume_transform): its planes along pair and half, on the tensor cores, and the
//! spectrum stored.
//!
//! ```text
//! Y[fp, h]  = T_pair[fp, w]·V[w, h]         V: a plane of sums along outer;  rows of T are cosines and sines
//! Z[fr, fp] = T_half[fr, h]·Y[fp, h]ᵀ        cosine and sine of outer, half and pair: eight real numbers
//! X_{±fo,fr,±fp} = (Co ∓ i·So)(Cr − i·Sr)(Cp ∓ i·Sp) multiplied out, plus the mean's: see spectrum_store
//! ```
//!
//! **A warp** takes the planes of C and S of one fo, eight units of fp and up to 24 fr. The sums Y are in the lanes that need them as
//! factors of the second product: column h of an accumulator is element k of B. Nothing is exchanged, and a lane ends up with
//! all eight real numbers of two neighbouring units, 16 bytes of each of the lines ±fo.
//!
//! **Accumulation.** Factors are two f16 (22 bits), products high·low + low·high + high·high, 16 elements each, summed by the tensor
//! cores, which cut off instead of rounding: first product low and high parts apart, added at the end; second product one after the other.

use crate::spectrum::Spectrum;
use crate::volume_transform::VolumeTransform;

/// The work of a block on one volume.
pub struct Products<'a> {
    /// The launch.
    pub p: &'a VolumeTransform,
    /// Its extents.
    pub spectrum: Spectrum,
    /// The first f of the block.
    pub first: u32,
    /// The volume's mean as it was subtracted: times 2^−e.
    pub mean: f32,
    /// What takes off a factor on the planes, a power of two; nearly always 1.
    pub unboost: f32,
    /// (b, ci).
    pub volume: u32,
}

pub mod device {
    //! The device code.
    use cuda_std::float::Float;
    use cuda_std::global::GlobalMut;
    use cuda_std::mma::m16n8k16_f16;
    use cuda_std::shared::Shared;
    use cuda_std::thread::{lane_index, warp_index};
    use cuda_std::unroll;

    pub use super::Products;
    use crate::opaque::opaque;
    use crate::spectrum::div_rem;
    use crate::spectrum_store::device::{Components, coefficients, left, rounded};
    use crate::volume_layout::{HALF_TILES, QUAD_BYTES, STEP, STEP_BYTES, TILE, last};
    use crate::volume_tables::device::{fragments, split};

    /// Z of planes: of each tiles of fr, by cosine and sine along pair, an accumulator: cosines along half of two units, sines of them.
    type Sums<const PLANES: usize> = [[[[f32; 4]; 2]; HALF_TILES as usize]; PLANES];

    /// What a warp takes at once.
    struct Task {
        /// |fo|.
        fo: u32,
        /// The plane of its cosines.
        plane: u32,
        /// The tile of units.
        tile: u32,
        /// The first tile of fr.
        half_tile: u32,
    }

    impl Products<'_> {
        /// The warp's share of `warps`.
        ///
        /// # Safety
        /// As the kernel; the planes are behind a barrier.
        #[inline(always)]
        pub unsafe fn run(&self, warps: u32) {
            let (layout, n) = (&self.p.layout, self.spectrum.n()[0]);
            let mirrors = layout.planes / 2;
            let mut number = warp_index();
            while number < layout.products() {
                let (rest, tile) = div_rem(number, layout.tiles[1]);
                let (block, pair) = div_rem(rest, layout.share * mirrors);
                let (slot, mirror) = if mirrors == 2 { (pair / 2, pair % 2) } else { (pair, 0) };
                let f = self.first + slot;
                let fo = if mirror == 1 { n / 2 - f } else { f };
                if f <= last(n) && (mirror == 0 || fo != f) {
                    let task = Task { fo, plane: 2 * pair, tile, half_tile: HALF_TILES * block };
                    // SAFETY: the caller's promise; (fo, tile, block) is this warp's alone, and 0 and N0/2 have no sines.
                    unsafe {
                        if fo > 0 && 2 * fo != n {
                            self.store(&task, &self.product::<2>(&task));
                        } else {
                            self.store(&task, &self.product::<1>(&task));
                        }
                    }
                }
                number += warps;
            }
        }

        /// Z of the planes of cosines, and of sines if there are two.
        #[inline(always)]
        unsafe fn product<const PLANES: usize>(&self, task: &Task) -> Sums<PLANES> {
            let mut sums: Sums<PLANES> = [[[[0.0; 4]; 2]; HALF_TILES as usize]; PLANES];
            unroll!(plane < PLANES, {
                // SAFETY: the caller's promise.
                sums[plane] = unsafe { self.plane(task, task.plane + plane as u32) };
            });
            if self.unboost != 1.0 {
                sums = sums.map(|plane| plane.map(|tile| tile.map(|of| of.map(|sum| sum * self.unboost))));
            }
            sums
        }

        /// Z of one plane.
        #[inline(always)]
        unsafe fn plane(&self, task: &Task, plane: u32) -> [[[f32; 4]; 2]; HALF_TILES as usize] {
            let layout = &self.p.layout;
            let ([steps_half, steps_pair], lane) = (layout.steps, lane_index());
            let (g, q) = (lane / 4, lane % 4);
            let table = |axis: usize, tile: u32| {
                Shared::<u32>::dynamic(layout.tables[axis] + tile * layout.steps[axis] * STEP_BYTES)
            };
            let (of_pair, mut of_half) = (table(1, task.tile), table(0, task.half_tile));
            let half_stride = steps_half * (STEP_BYTES / 4);
            let mut rows = layout.volume + plane * layout.plane_bytes() + g * layout.row_bytes();
            let turn = layout.turn(g);
            let mut sums = [[[0f32; 4]; 2]; HALF_TILES as usize];
            let mut step = 0;
            while step < steps_half {
                // Y of 16 h, in accumulators for low and for high parts.
                let mut y = [[[0f32; 4]; 2]; 2];
                let mut k = 0;
                loop {
                    let at = rows + ((4 * k + q) ^ turn) * QUAD_BYTES;
                    let mut v = [[0u32; 4]; 2];
                    // SAFETY: a step of the table, of which there is one at least; rows and quads of the plane, padded to whole steps.
                    let [a, a_low] = unsafe {
                        unroll!(n < 2, {
                            let row = Shared::<u32>::dynamic(at + 8 * n as u32 * layout.row_bytes());
                            row.load_16(0, &mut v[n]);
                        });
                        fragments(of_pair.offset(k * (STEP_BYTES / 4)), lane)
                    };
                    // One sum after the other, so that none waits for itself.
                    unroll!(n < 2, { y[n][0] = m16n8k16_f16(a_low, [v[n][0], v[n][1]], y[n][0]) });
                    unroll!(n < 2, { y[n][1] = m16n8k16_f16(a, [v[n][0], v[n][1]], y[n][1]) });
                    unroll!(n < 2, { y[n][0] = m16n8k16_f16(a, [v[n][2], v[n][3]], y[n][0]) });
                    k += 1;
                    if k >= steps_pair {
                        break;
                    }
                }
                // Its cosines and sines as factors: of each, elements h = 2q, 2q + 1 and 8 further on.
                let mut factors = [[[0u32; 2]; 2]; 2];
                unroll!(n < 2, {
                    let [low, high] = y[n];
                    unroll!(s < 2, {
                        let values = (high[2 * s] + low[2 * s], high[2 * s + 1] + low[2 * s + 1]);
                        (factors[s][0][n], factors[s][1][n]) = split(values.0, values.1);
                    });
                });
                unroll!(t < 3, {
                    // SAFETY: a step of the table.
                    let [a, a_low] = unsafe { fragments(of_half.offset(t as u32 * half_stride), lane) };
                    unroll!(s < 2, { sums[t][s] = m16n8k16_f16(a_low, factors[s][0], sums[t][s]) });
                    unroll!(s < 2, { sums[t][s] = m16n8k16_f16(a, factors[s][1], sums[t][s]) });
                    unroll!(s < 2, { sums[t][s] = m16n8k16_f16(a, factors[s][0], sums[t][s]) });
                });
                of_half = of_half.offset(STEP_BYTES / 4);
                rows += STEP * layout.row_bytes();
                step += 1;
            }
            sums
        }

        /// Stores a lane's two units, in the lines (±fo, fr) of each tile.
        #[inline(always)]
        unsafe fn store<const PLANES: usize>(&self, task: &Task, sums: &Sums<PLANES>) {
            let (layout, s) = (&self.p.layout, &self.spectrum);
            let lane = opaque(lane_index());
            let (g, q) = (lane / 4, lane % 4);
            let (n0, unit) = (s.n()[0], TILE * task.tile + 2 * q);
            if unit >= s.slots() / 2 {
                return;
            }
            let (b, ci) = div_rem(self.volume, s.shape.in_channels);
            let row = ci * s.shape.batch + b;
            let boxes = |axis: usize, at: u32| Shared::<f32>::dynamic(layout.boxes[axis]).offset(at);
            // SAFETY: the boxes of this fo and of these units.
            let (outer, pair) = unsafe {
                let outer = boxes(0, 2 * task.fo);
                let pair = boxes(2, unit);
                ([self.mean * outer.load(0), self.mean * outer.load(1)], [pair.load(0), pair.load(1)])
            };
            let first = TILE * task.half_tile + g;
            let line = |fo: u32| self.p.high.offset(s.place(s.line(fo, first), row, 2 * unit));
            let mut lines = [line(task.fo), line(if PLANES == 2 { n0 - task.fo } else { 0 })];
            let stride = (TILE * n0) as u64 * s.line_words();
            unroll!(t < 3, {
                let fr = first + TILE * t as u32;
                if t != 0 {
                    lines = lines.map(|line| line.offset(stride));
                }
                if fr < s.half() {
                    // SAFETY: the box of this fr.
                    let half = unsafe { boxes(1, fr).load(0) };
                    let mut components = [[[0f32; 2]; 4]; 2];
                    unroll!(e < 2, {
                        unroll!(plane < PLANES, {
                            let [cosine, sine] = sums[plane][t];
                            let plain = half * pair[e];
                            components[e][0][plane] = plain.fma(outer[plane], cosine[e]);
                            components[e][1][plane] = cosine[2 + e];
                            components[e][2][plane] = sine[e];
                            components[e][3][plane] = sine[2 + e];
                        });
                    });
                    let units = Units { products: self, unit, row, fr, starts: task.tile == 0 };
                    // SAFETY: the caller's promise: these units of the lines are this lane's.
                    unsafe {
                        units.store(task.fo, lines[0], &components, 1.0);
                        if PLANES == 2 {
                            units.store(n0 - task.fo, lines[1], &components, -1.0);
                        }
                    }
                }
            });
        }
    }

    /// Two neighbouring units of a row, from `unit` on, in the lines of an fr.
    struct Units<'a> {
        products: &'a Products<'a>,
        unit: u32,
        row: u32,
        fr: u32,
        /// Whether `unit` may be 0.
        starts: bool,
    }

    impl Units<'_> {
        /// Stores them in the line of fo, at `at`; `sign` −1 if that is −|fo|.
        ///
        /// # Safety
        /// They are this thread's, and lie at `at`, on a 16-byte boundary.
        #[inline(always)]
        unsafe fn store(&self, fo: u32, at: GlobalMut<u32>, components: &[Components; 2], sign: f32) {
            let (s, fr) = (&self.products.spectrum, self.fr);
            let strict = s.all_strict != 0 || fo == 0 || fr == 0;
            let values = [coefficients(&components[0], sign), coefficients(&components[1], sign)];
            let mut words =
                [rounded(values[0][0]), rounded(values[0][1]), rounded(values[1][0]), rounded(values[1][1])];
            // Units 0 and 1 hold one frequency each; f = 0 is stored as 0.
            let first = self.starts && self.unit == 0;
            if first {
                let low = if strict { 0 } else { left(values[0][0], words[0]) };
                words = [if fo | fr == 0 { 0 } else { words[0] }, low, words[2], 0];
            }
            if strict {
                let index = s.strict_index(fo, fr).unwrap_or(0);
                let mut low = [0u32; 4];
                unroll!(e < 2, {
                    unroll!(i < 2, {
                        low[2 * e + i] = left(values[e][i], words[2 * e + i]);
                    });
                });
                if first {
                    low = [if fo | fr == 0 { 0 } else { low[0] }, 0, low[2], 0];
                }
                // SAFETY: the caller's promise: the strict line's words, as the line's.
                unsafe { self.products.p.low.store_array(s.place(index, self.row, 2 * self.unit), low) };
            }
            // SAFETY: the caller's promise.
            unsafe { at.store_array(0, words) };
        }
    }
}
