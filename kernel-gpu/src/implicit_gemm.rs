//! The direct way on the tensor cores: the convolution as products of rows and taps, reduced to squares and never stored.
//!
//! ```text
//! z[b,c,p] = Σ_k Σ_ci x[b,ci,source(p, k)] · w[ci,c,k]            over the taps of p's phase
//! mean[b,c,i], M2[b,c,i] = s·m[b,c], s²·Σ (z − m[b,c])² over tile i        m: the mean of all of (b, c), known before
//! ```
//!
//! Squares about the same m add up: merging such slices gives the row's mean and M2. Positions that no tap is for are tile 0's, z = 0.
//!
//! **Data flow.** A block of four warps makes tiles of 128 rows (positions, or positions and images, [`phased_conv`](crate::phased_conv))
//! by 64 or 32 output channels, a warp 64 × 32 or 32 × 32 of them. Factors and their scales are made before by
//! [`channels_last`](crate::channels_last) and [`split_taps`](crate::split_taps); [`implicit_gemm_stage`](crate::implicit_gemm_stage)
//! brings them through shared memory, taps that no position of the tile meets left out. A warp leaves out what none of sixteen rows meets,
//! which are two positions where a tile holds eight images: at the edges of small volumes, half of the rest.
//!
//! **Parts.** Where there are few tiles, or a few more than the device holds at once, blocks make `parts` of a tile's input channels each, and
//! store z of them; [`part_squares`](crate::part_squares) adds them up. Else the block makes the squares
//! ([`implicit_gemm_epilogue`](crate::implicit_gemm_epilogue)).
//!
//! **Accumulation.** The tensor cores cut sums off: they add over two planes (16 channels of high and low words, or 32 of 16 bits), and
//! f32 arithmetic from there.
//!
//! **Cost.** 2·3 (f32) or 2 flop a (row, tap, channel, output channel). A step's shared memory is 64 rows of taps and 128 of the window once a line.
//!
//! **Launch.** One dimension, a block a part of an item.

use cuda_std::global::{Global, GlobalMut};
use cuda_std::launch::KernelSpec;

use crate::element::ElementType;
use crate::factors::{PLANES, parts};
use crate::implicit_gemm_stage::{THREADS, shared_bytes};
use crate::phased_conv::{PhasedConv, split};
use crate::work::Work;

/// The parameters.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ImplicitGemm {
    /// x as [`channels_last`](crate::channels_last) wrote it.
    pub rows: Global<u32>,
    /// w as [`split_taps`](crate::split_taps) wrote it.
    pub taps: Global<u32>,
    /// g of each c.
    pub channel_exponent: Global<i32>,
    /// m: the mean of z a (b, c).
    pub conv_mean: Global<f64>,
    /// Out: s·m a (b, c, slice).
    pub mean: GlobalMut<f64>,
    /// Out: s²·Σ(z − m)² a (b, c, slice).
    pub m2: GlobalMut<f64>,
    /// Out instead, where there are several parts: z of each, as [`implicit_gemm_epilogue`](crate::implicit_gemm_epilogue) says.
    pub partial: GlobalMut<f32>,
    /// s.
    pub scale: f64,
    /// Positions that no tap is for.
    pub unreached: u64,
    /// The convolution.
    pub conv: PhasedConv,
    /// Its division among blocks: a tile a slice, tiles of channels of all groups, `images` images a batch.
    pub work: Work,
    /// Parts of a group's input channels.
    pub parts: u32,
}

impl ImplicitGemm {
    /// The blocks of [`implicit_gemm`](crate::implicit_gemm): parts of an item are near each other, so that they end together.
    pub const fn blocks(&self) -> u64 {
        self.work.items() * self.parts as u64
    }

    /// The item and the part of a block; [`Self::blocks`] is below 2³¹.
    #[inline(always)]
    pub const fn part(&self, block: u32) -> (u32, u32) {
        let (rest, tile) = split(block, self.work.channel_tiles);
        let (rest, part) = split(rest, self.parts);
        (rest * self.work.channel_tiles + tile, part)
    }
}

/// One compiled form of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// Its launch.
    pub spec: KernelSpec,
    /// Output channels of a tile.
    pub columns: u32,
    /// The tensors' format.
    pub element: ElementType,
}

const fn form(name: &'static str, columns: u32, element: ElementType) -> Form {
    let min_blocks = if columns == 64 { 2 } else { 3 };
    let spec = KernelSpec { name, threads: THREADS, min_blocks, shared_bytes: shared_bytes(columns) };
    Form { spec, columns, element }
}

/// All forms.
pub const FORMS: [Form; 6] = [
    form("implicit_gemm_f32_wide", 64, ElementType::F32),
    form("implicit_gemm_f32_narrow", 32, ElementType::F32),
    form("implicit_gemm_f16_wide", 64, ElementType::F16),
    form("implicit_gemm_f16_narrow", 32, ElementType::F16),
    form("implicit_gemm_bf16_wide", 64, ElementType::Bf16),
    form("implicit_gemm_bf16_narrow", 32, ElementType::Bf16),
];

impl Form {
    /// The index in [`FORMS`] of the form for tensors in a format of up to 32 bits and `channels` output channels a group.
    pub fn index_for(element: ElementType, channels: u32) -> usize {
        let of = |form: &Form| form.element == element && (form.columns == 32) == (channels <= 32);
        FORMS.iter().position(of).unwrap_or(0)
    }

    /// Steps of the products of a tile with a tap: of so many chunks of input channels.
    pub const fn steps(&self, conv: &PhasedConv) -> u32 {
        conv.chunks().div_ceil(PLANES / parts(self.element))
    }

    /// How a convolution is divided into items: a tile each.
    pub fn work(&self, conv: &PhasedConv) -> Work {
        let tiles = conv.out_channels.div_ceil(self.columns) * conv.options.groups;
        Work::split(u64::from(conv.tiles()), 1, tiles, conv.shape.batch.div_ceil(conv.images), u64::MAX)
    }
}

pub mod device {
    //! The device code.
    use core::marker::PhantomData;

    use cuda_std::async_copy::wait_all;
    use cuda_std::matrix::ldmatrix_x4;
    use cuda_std::shared::Shared;
    use cuda_std::thread::{block_idx_x, sync_threads};
    use cuda_std::warp::ballot;
    use cuda_std::{kernel, unroll};

    use super::*;
    use crate::factors::device::{Bfloat, Factors, Half, Split};
    use crate::implicit_gemm_epilogue::device::{Place, Sums, is_position, squares, store_part};
    use crate::implicit_gemm_epilogue::{height, row_warps};
    use crate::implicit_gemm_stage::device::{Copies, Tile, taps, window};
    use crate::implicit_gemm_stage::{ROW, Step, place};
    use crate::opaque::opaque;

    macro_rules! form {
        ($name:ident, $factors:ty, $columns:literal, $min_blocks:literal) => {
            /// See the module.
            ///
            /// # Safety
            /// Each pointer holds what its field says; nobody else accesses `mean`, `m2` and `partial`; the launch is as the form's
            /// spec says.
            #[kernel(max_threads = 128, min_blocks = $min_blocks)]
            pub unsafe fn $name(p: ImplicitGemm) {
                // SAFETY: the caller's promise.
                unsafe { Block::<$factors, $columns>::new(&p).run() }
            }
        };
    }
    form!(implicit_gemm_f32_wide, Split, 64, 2);
    form!(implicit_gemm_f32_narrow, Split, 32, 3);
    form!(implicit_gemm_f16_wide, Half, 64, 2);
    form!(implicit_gemm_f16_narrow, Half, 32, 3);
    form!(implicit_gemm_bf16_wide, Bfloat, 64, 2);
    form!(implicit_gemm_bf16_narrow, Bfloat, 32, 3);

    /// Of two sixteens of a warp's rows, each lane's: the input element, along each axis, that tap 0 brings to it; so far off that no tap
    /// brings one to it where it is no position of an image.
    type Reach = [[i32; 3]; 2];

    /// What computes, of 128 rows by `COLUMNS`.
    struct Block<'a, F, const COLUMNS: u32> {
        p: &'a ImplicitGemm,
        factors: PhantomData<F>,
    }

    impl<'a, F: Factors, const COLUMNS: u32> Block<'a, F, COLUMNS> {
        /// Sixteens of rows of a warp; eights of columns it has four.
        const HEIGHT: usize = height(COLUMNS);
        /// A bit for each of them.
        const ALL: u32 = (1 << Self::HEIGHT) - 1;
        /// From one of a warp's sixteens to the next.
        const APART: u32 = 16 * row_warps(COLUMNS);
        /// Chunks of a step.
        const CHUNKS: u32 = PLANES / F::PARTS;

        #[inline(always)]
        fn new(p: &'a ImplicitGemm) -> Self {
            Self { p, factors: PhantomData }
        }

        #[inline(always)]
        unsafe fn run(&self) {
            let part = || self.p.part(opaque(block_idx_x()));
            let tile = || Tile::new(self.p, part().0, COLUMNS);
            // SAFETY: the caller's promise; the part is this block's. It is found anew behind the products, and not kept meanwhile.
            unsafe {
                let sums = self.products(&tile(), part().1);
                if self.p.parts == 1 {
                    sync_threads(); // the buffers are no longer read
                    squares::<COLUMNS>(self.p, &tile(), &sums);
                } else {
                    let (item, part) = part();
                    store_part::<COLUMNS>(self.p, item, part, &sums);
                }
            }
        }

        /// z of a part of a tile, 2^−g of it.
        #[inline(always)]
        unsafe fn products(&self, tile: &Tile, part: u32) -> Sums {
            let conv = &self.p.conv;
            let lines = tile.lines(conv, Self::CHUNKS, part, self.p.parts);
            let (copies, reach) = (Copies::new(self.p, tile, F::PARTS), self.reach(tile));
            let mut sums: Sums = [[[0.0; 4]; 4]; 4];
            let mut now = Step { line: lines.first(), tap: 0 };
            let (mut line, mut buffer) = (0, 0);
            let mut left = lines.steps();

            if left > 0 {
                // SAFETY: the first step exists; nobody reads the buffers.
                unsafe {
                    copies.bring_window(&lines, &now.line, 0);
                    copies.bring_taps::<COLUMNS>(&lines, &now, 0);
                }
            }
            while left > 0 {
                wait_all();
                sync_threads(); // the step is complete, and the last one's buffers no longer read
                let (rows, columns) = (window(line), taps::<COLUMNS>(buffer));
                let shift = (now.line.taps - 1 - now.tap) * conv.lag[2] * conv.images;
                let (chunks, met) = (lines.chunks_of(&now.line), self.met(&reach, &now));
                now = lines.next_step(&now);
                buffer = 1 - buffer;
                left -= 1;
                if left > 0 {
                    // SAFETY: the step exists; behind the barrier nobody reads what it replaces: the last step's taps, and of a new line the
                    // window before the one being read.
                    unsafe {
                        if now.tap == 0 {
                            line = 1 - line;
                            copies.bring_window(&lines, &now.line, line);
                        }
                        copies.bring_taps::<COLUMNS>(&lines, &now, buffer);
                    }
                }
                // SAFETY: the step is complete.
                unsafe { self.step(rows, shift, columns, chunks, met, &mut sums) };
            }
            sums
        }

        /// Of this lane's rows.
        #[inline(always)]
        fn reach(&self, tile: &Tile) -> Reach {
            let (conv, phase, Place { lane, row, .. }) = (&self.p.conv, &tile.phase, Place::here(COLUMNS));
            let mut reach = [[i32::MIN / 2; 3]; 2];
            unroll!(n < 2, {
                let row = row + (2 * n as u32 + lane / 16) * Self::APART + lane % 16;
                let position = tile.first + (row >> conv.images.trailing_zeros());
                if tile.image + row % conv.images < conv.shape.batch && is_position(conv, phase, position) {
                    let q = conv.coordinates(position);
                    unroll!(axis < 3, {
                        reach[n][axis] = q[axis] as i32 + phase[axis].origin;
                    });
                }
            });
            reach
        }

        /// Which of the warp's sixteens of rows a step's tap brings an element to.
        #[inline(always)]
        fn met(&self, reach: &Reach, step: &Step) -> u32 {
            let (conv, [j0, j1, j2]) = (&self.p.conv, step.line.j);
            let j = [j0, j1, j2 + step.tap];
            let mut met = 0u32;
            unroll!(n < 2, {
                if 2 * n < Self::HEIGHT {
                    let mut is_met = true;
                    unroll!(axis < 3, {
                        let source = reach[n][axis] - (j[axis] * conv.lag[axis]) as i32;
                        is_met &= (source as u32) < conv.shape.input[axis];
                    });
                    let rows = ballot(is_met);
                    met |= ((rows & 0xffff != 0) as u32 | ((rows >> 16 != 0) as u32) << 1) << (2 * n);
                }
            });
            met
        }

        /// Adds the products of a step of `chunks` chunks for the sixteens of rows in `met`.
        #[inline(always)]
        unsafe fn step(
            &self,
            window: Shared<u32>,
            shift: u32,
            taps: Shared<u32>,
            chunks: u32,
            met: u32,
            sums: &mut Sums,
        ) {
            // SAFETY: the caller's promise.
            unsafe {
                if chunks < Self::CHUNKS {
                    let mut chunk = 0;
                    while chunk < chunks {
                        self.multiply::<1, false>(window, shift, taps, chunk, met, sums);
                        chunk += 1;
                    }
                } else if met == Self::ALL {
                    if F::PARTS == 2 {
                        self.multiply::<1, true>(window, shift, taps, 0, met, sums);
                        self.multiply::<1, true>(window, shift, taps, 1, met, sums);
                    } else {
                        self.multiply::<2, true>(window, shift, taps, 0, met, sums);
                        self.multiply::<2, true>(window, shift, taps, 2, met, sums);
                    }
                } else if met != 0 {
                    let mut half = 0;
                    while half < 2 {
                        if F::PARTS == 2 {
                            self.multiply::<1, false>(window, shift, taps, half, met, sums);
                        } else {
                            self.multiply::<2, false>(window, shift, taps, 2 * half, met, sums);
                        }
                        half += 1;
                    }
                }
            }
        }

        /// Adds the products of `CHUNKS` chunks from `chunk` on, of rows `shift` further on than the tile's. They have two planes at most: more
        /// are too many registers. With `ALL` nothing is left out.
        ///
        /// # Safety
        /// They are complete; all lanes of the warp come together.
        #[inline(always)]
        unsafe fn multiply<const CHUNKS: usize, const ALL: bool>(
            &self,
            window: Shared<u32>,
            shift: u32,
            taps: Shared<u32>,
            chunk: u32,
            met: u32,
            sums: &mut Sums,
        ) {
            let (Place { lane, row, column }, planes) = (Place::here(COLUMNS), CHUNKS * F::PARTS as usize);
            let first = 2 * F::PARTS * chunk;
            let row = row + lane % 16 + shift;
            let column = column + lane % 8 + lane / 16 * 8;
            // [plane][8 columns]
            let mut b = [[[0u32; 2]; 4]; 2];
            unroll!(plane < 2, {
                if plane < planes {
                    let at = taps.offset(place(column, first + 2 * plane as u32 + lane / 8 % 2));
                    // SAFETY: rows of the taps, at 16-byte boundaries.
                    let ([b0, b1, b2, b3], [b4, b5, b6, b7]) =
                        unsafe { (ldmatrix_x4(at), ldmatrix_x4(at.offset(16 * ROW))) };
                    b[plane] = [[b0, b1], [b2, b3], [b4, b5], [b6, b7]];
                }
            });
            // All of them before any product: a branch waits for what is loaded behind it.
            let mut a = [[[0u32; 4]; 2]; 4];
            unroll!(tile < 4, {
                if tile < Self::HEIGHT && (ALL || met >> tile & 1 == 1) {
                    unroll!(plane < 2, {
                        if plane < planes {
                            let at = window.offset(place(row, first + 2 * plane as u32 + lane / 16));
                            // SAFETY: rows of the window, at 16-byte boundaries.
                            a[tile][plane] = unsafe { ldmatrix_x4(at.offset(tile as u32 * (Self::APART * ROW))) };
                        }
                    });
                }
            });
            unroll!(tile < 4, {
                if tile < Self::HEIGHT && (ALL || met >> tile & 1 == 1) {
                    let mut part = [[0f32; 4]; 4];
                    unroll!(product < 3, {
                        if product < F::PRODUCTS.len() {
                            let (of_a, of_b) = F::PRODUCTS[product];
                            unroll!(chunk < 2, {
                                if chunk < CHUNKS {
                                    let plane = chunk * F::PARTS as usize;
                                    unroll!(n < 4, {
                                        part[n] = F::multiply(a[tile][plane + of_a], b[plane + of_b][n], part[n]);
                                    });
                                }
                            });
                        }
                    });
                    unroll!(n < 4, {
                        unroll!(i < 4, {
                            sums[tile][n][i] += part[n][i];
                        });
                    });
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_blocks_fit() {
        for form in FORMS {
            assert!(3 * (form.spec.shared_bytes + 1024) <= 227 * 1024);
        }
    }
}
