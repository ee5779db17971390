//! The transform along one axis through global memory, for volumes that do not fit in shared memory: three launches, one an
//! axis, then [`dft_store`](crate::dft_store).
//!
//! ```text
//! out[o][c][i] = Σ_k T[c][k]·in[o][k][i],    T[c][k] = cos(2πc(k − D/2)/N)  for c ≤ N/2,  sin(2π(N − c)(k − D/2)/N)  above
//! ```
//!
//! Real components, N of D: a real product for any length.
//!
//! **Data flow.** 64 components by 64 columns (o, i) a block, steps of 16 k in shared memory: T by table, stepping through the
//! angles (no division a step), and columns as they lie. A thread owns 4 × 4: four neighbours along the side on which threads
//! are few (one 16-byte read), and every 16th along the other, which is the one that is contiguous in global memory:
//! columns, or components where inner is short.
//!
//! **Accumulation.** f32 in the order of k. **Cost.** 2·D·N flop a column; reads it N/64 times, mostly from L2.
//!
//! **Launch.** One dimension, any number of blocks: [`AxisExtents::tiles`] are dealt round robin.

use cuda_std::global::{Global, GlobalMut};
use cuda_std::launch::KernelSpec;

use crate::element::Tensor;
use crate::spectrum::Spectrum;

/// One axis of a number of volumes. `#[repr(C)]`, part of the parameter block.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AxisExtents {
    /// What lies before the axis.
    pub outer: u64,
    /// What lies behind it.
    pub inner: u64,
    /// D.
    pub length: u32,
    /// N.
    pub n: u32,
}

impl AxisExtents {
    /// The pass along `axis` of so many volumes: first 2, then 1, then 0.
    pub const fn new(spectrum: &Spectrum, axis: usize, volumes: u32) -> Self {
        let (input, n) = (spectrum.shape.input, spectrum.n());
        let (mut outer, mut inner) = (volumes as u64, 1);
        let mut other = 0;
        while other < 3 {
            if other < axis {
                outer *= input[other] as u64;
            } else if other > axis {
                inner *= n[other] as u64;
            }
            other += 1;
        }
        Self { outer, inner, length: input[axis], n: n[axis] }
    }

    /// Numbers that the pass writes.
    pub const fn written(&self) -> u64 {
        self.outer * self.n as u64 * self.inner
    }

    /// Tiles along the components.
    #[inline(always)]
    pub const fn component_tiles(&self) -> u64 {
        self.n.div_ceil(TILE) as u64
    }

    /// All tiles.
    #[inline(always)]
    pub const fn tiles(&self) -> u64 {
        self.component_tiles() * (self.outer * self.inner).div_ceil(TILE as u64)
    }
}

/// f32 of scratch for so many volumes at once: the passes along 2 and 0 write the first, the pass along 1 the second.
pub const fn scratch_words(spectrum: &Spectrum, volumes: u32) -> [u64; 2] {
    let [first, second, third] = [
        AxisExtents::new(spectrum, 2, volumes).written(),
        AxisExtents::new(spectrum, 1, volumes).written(),
        AxisExtents::new(spectrum, 0, volumes).written(),
    ];
    [if first > third { first } else { third }, second]
}

/// The parameters.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DftAxis {
    /// (outer, D, inner).
    pub input: Tensor<f32>,
    /// (cos, sin)(π·m/N), m < 2·N, of this axis.
    pub twiddles: Global<f32>,
    /// Out: (outer, N, inner).
    pub output: GlobalMut<f32>,
    /// The axis.
    pub extents: AxisExtents,
}

/// Components of a tile, and columns.
const TILE: u32 = 64;
/// k of a step.
const STEP: u32 = 16;
/// Words from one k to the next in shared memory: off the banks of the last, and 16 bytes aligned.
const STRIDE: u32 = TILE + 4;

/// The launch.
pub const SPEC: KernelSpec =
    KernelSpec { name: "dft_axis", threads: 256, min_blocks: 2, shared_bytes: 2 * STEP * STRIDE * 4 };

pub mod device {
    //! The device code.
    use cuda_std::float::Float;
    use cuda_std::shared::Shared;
    use cuda_std::thread::{block_idx_x, grid_dim_x, sync_threads, thread_idx_x};
    use cuda_std::{kernel, unroll};

    use super::*;
    use crate::conv_shape::div_rem;

    /// See the module.
    ///
    /// # Safety
    /// The arrays hold what the fields say and nobody else accesses `output`; the launch is as [`SPEC`] says.
    #[kernel(max_threads = 256, min_blocks = 2)]
    pub unsafe fn dft_axis(parameters: DftAxis) {
        let mut tile = block_idx_x() as u64;
        while tile < parameters.extents.tiles() {
            let (columns, components) = div_rem(tile, parameters.extents.component_tiles());
            // SAFETY: the caller's promise.
            unsafe { Tile::new(&parameters, components as u32 * TILE, columns * TILE as u64).run() };
            tile += grid_dim_x() as u64;
        }
    }

    /// A tile, as a thread sees it.
    struct Tile<'a> {
        parameters: &'a DftAxis,
        first_component: u32,
        first_column: u64,
        /// Whether neighbouring lanes are components: inner is short.
        components_contiguous: bool,
        /// T and the columns, `STEP` rows of [`STRIDE`].
        matrix: Shared<f32>,
        columns: Shared<f32>,
        thread: u32,
    }

    /// Where a thread stands in one component's angles: f·(k − D/2) mod N, and by how much it moves a step.
    #[derive(Clone, Copy, Default)]
    struct Angle {
        at: u32,
        step: u32,
        sine: u32,
    }

    impl<'a> Tile<'a> {
        #[inline(always)]
        fn new(parameters: &'a DftAxis, first_component: u32, first_column: u64) -> Self {
            let components_contiguous = parameters.extents.inner < 16;
            // The side of four neighbours first.
            let (vectors, others) = (Shared::dynamic(0), Shared::dynamic(STEP * STRIDE * 4));
            let (matrix, columns) = if components_contiguous { (others, vectors) } else { (vectors, others) };
            let thread = thread_idx_x();
            Self { parameters, first_component, first_column, components_contiguous, matrix, columns, thread }
        }

        #[inline(always)]
        unsafe fn run(&self) {
            let extents = &self.parameters.extents;
            let (few, many) = (self.thread / 16 * 4, self.thread % 16);
            let (vectors, others) =
                (Shared::<f32>::dynamic(4 * few), Shared::<f32>::dynamic((STEP * STRIDE + many) * 4));
            let mut angles = [Angle::default(); 4];
            let mut at = [None; 4];
            unroll!(e < 4, {
                angles[e] = self.angle(self.thread / 16 + 16 * e as u32);
                at[e] = self.column(self.loaded(e as u32).0, extents.length);
            });
            let mut sums = [[0f32; 4]; 4];
            let mut k = 0;
            while k < extents.length {
                sync_threads(); // the last step's, or tile's, reads are done
                unroll!(e < 4, {
                    // SAFETY: the caller's promise; 16 × 64 elements of each side, one thread each.
                    unsafe { self.put_factor(e as u32, &mut angles[e]) };
                });
                // SAFETY: as above.
                unsafe {
                    match self.parameters.input.is_narrow() {
                        true => self.put_values::<true>(k, &at),
                        false => self.put_values::<false>(k, &at),
                    }
                }
                sync_threads();
                unroll!(step < STEP as usize, {
                    let (mut a, mut b) = ([0f32; 4], [0f32; 4]);
                    // SAFETY: written before the barrier; rows and the four neighbours start on 16-byte boundaries.
                    unsafe { vectors.load_16(step as u32 * STRIDE, &mut a) };
                    unroll!(j < 4, {
                        // SAFETY: as above.
                        b[j] = unsafe { others.load(step as u32 * STRIDE + 16 * j as u32) };
                    });
                    unroll!(i < 4, {
                        unroll!(j < 4, {
                            sums[i][j] = a[i].fma(b[j], sums[i][j]);
                        });
                    });
                });
                k += STEP;
            }
            let mut at = [None; 4];
            unroll!(i < 4, {
                let column = if self.components_contiguous { few + i as u32 } else { many + 16 * i as u32 };
                at[i] = self.column(column, extents.n);
            });
            unroll!(i < 4, {
                unroll!(j < 4, {
                    let (component, at) = if self.components_contiguous {
                        (many + 16 * j as u32, at[i])
                    } else {
                        (few + i as u32, at[j])
                    };
                    let component = self.first_component + component;
                    if let (true, Some(at)) = (component < extents.n, at) {
                        // SAFETY: a component below N of a column; a tile has one block.
                        unsafe { self.parameters.output.store(at + component as u64 * extents.inner, sums[i][j]) };
                    }
                });
            });
        }

        /// Where a column of the tile starts, if there is one, in an array of so many elements a column.
        #[inline(always)]
        fn column(&self, column: u32, length: u32) -> Option<u64> {
            let column = self.first_column + column as u64;
            let extents = &self.parameters.extents;
            if column >= extents.outer * extents.inner {
                return None;
            }
            let (o, i) = div_rem(column, extents.inner);
            Some(o * length as u64 * extents.inner + i)
        }

        /// (column, k) of this thread's element `e` of a step: neighbours where they are contiguous.
        #[inline(always)]
        fn loaded(&self, e: u32) -> (u32, u32) {
            if self.components_contiguous {
                (self.thread / 16 + 16 * e, self.thread % 16)
            } else {
                (self.thread % 64, self.thread / 64 + 4 * e)
            }
        }

        /// The angles of a component of the tile at this thread's k, thread mod 16.
        #[inline(always)]
        fn angle(&self, component: u32) -> Angle {
            let (n, length) = (self.parameters.extents.n as u64, self.parameters.extents.length);
            let component = self.first_component as u64 + component as u64;
            if component >= n {
                return Angle::default();
            }
            let sine = component > n / 2;
            let f = if sine { n - component } else { component };
            let k = (self.thread % 16) as u64 + n - (length / 2) as u64;
            let (_, at) = div_rem(f * k, n);
            let (_, step) = div_rem(f * STEP as u64, n);
            Angle { at: at as u32, step: step as u32, sine: sine as u32 }
        }

        /// T at component thread/16 + 16·e and this thread's k; the angle moves on.
        #[inline(always)]
        unsafe fn put_factor(&self, e: u32, angle: &mut Angle) {
            // SAFETY: f·k mod N, twice, is below 2·N.
            let factor = unsafe { self.parameters.twiddles.load(4 * angle.at as u64 + angle.sine as u64) };
            // SAFETY: row thread mod 16, component below 64.
            unsafe { self.matrix.store(self.thread % 16 * STRIDE + self.thread / 16 + 16 * e, factor) };
            angle.at += angle.step;
            if angle.at >= self.parameters.extents.n {
                angle.at -= self.parameters.extents.n;
            }
        }

        /// This thread's elements of the columns at this step, 0 where there are none.
        #[inline(always)]
        unsafe fn put_values<const NARROW: bool>(&self, first: u32, at: &[Option<u64>; 4]) {
            let (input, extents) = (self.parameters.input, &self.parameters.extents);
            let mut bits = [0u32; 4];
            unroll!(e < 4, {
                let (_, k) = self.loaded(e as u32);
                if let (true, Some(at)) = (first + k < extents.length, at[e]) {
                    // SAFETY: element k < D of a column.
                    bits[e] = unsafe { input.bits::<NARROW>(at + (first + k) as u64 * extents.inner) };
                }
            });
            unroll!(e < 4, {
                let (column, k) = self.loaded(e as u32);
                // SAFETY: row below 16, column below 64.
                unsafe { self.columns.store(k * STRIDE + column, input.widen::<NARROW>(bits[e])) };
            });
        }
    }
}
