//! What becomes of a tile of [`implicit_gemm`](crate::implicit_gemm): squares, or sums of a part of the input channels, of which
//! [`part_squares`](crate::part_squares) makes squares.
//!
//! ```text
//! mean[b,c,i], M2[b,c,i] = s·m[b,c], s²·Σ (z − m[b,c])² over tile i        m: the mean of all of (b, c)
//! partial (item, part, 4 words, thread, word)                               a thread's sums as they lie in its registers
//! ```
//!
//! **Who has what.** Rows come in sixteens, dealt to the warps along them in turn: neighbours meet about the same taps, so that what
//! [`implicit_gemm`](crate::implicit_gemm) leaves out it leaves out of all warps alike. Columns come in 32 a warp.
//!
//! Squares: f32 over a thread's rows, then f64. Positions that no tap is for are tile 0's, z = 0.

use crate::phased_conv::MAX_IMAGES;

/// Warps along the rows.
pub const fn row_warps(columns: u32) -> u32 {
    128 / columns
}

/// Sixteens of rows of a warp.
pub const fn height(columns: u32) -> usize {
    columns as usize / 16
}

/// Bytes of shared memory for the squares, an f64 a (warp along the rows, image, column).
pub const fn shared_bytes(columns: u32) -> u32 {
    8 * row_warps(columns) * MAX_IMAGES * columns
}

pub mod device {
    //! The device code.
    use cuda_std::float::Float;
    use cuda_std::global::{Global, GlobalMut};
    use cuda_std::shared::Shared;
    use cuda_std::thread::{sync_threads, thread_idx_x};
    use cuda_std::unroll;
    use cuda_std::warp::shuffle_xor;

    use super::*;
    use crate::factors::power;
    use crate::implicit_gemm::ImplicitGemm;
    use crate::implicit_gemm_stage::THREADS;
    use crate::implicit_gemm_stage::device::Tile;
    use crate::opaque::opaque;
    use crate::phased_conv::{AxisPhase, PhasedConv};

    /// A warp's sums, [16 rows][8 columns] of tiles in the accumulators' layout.
    pub type Sums = [[[f32; 4]; 4]; 4];

    /// A thread's place in the tile. Found anew, and not kept meanwhile: the products need the registers.
    pub struct Place {
        /// The lane.
        pub lane: u32,
        /// The number of its warp's first row; the next sixteen are behind those of the other warps along the rows.
        pub row: u32,
        /// The number of its warp's first column.
        pub column: u32,
    }

    impl Place {
        /// Of this thread.
        #[inline(always)]
        pub fn here(columns: u32) -> Self {
            let thread = opaque(thread_idx_x());
            let (warp, across) = (thread / 32, columns / 32);
            Self { lane: thread % 32, row: warp / across * 16, column: warp % across * 32 }
        }
    }

    /// Whether a row of a tile is a position.
    #[inline(always)]
    pub fn is_position(conv: &PhasedConv, phase: &[AxisPhase; 3], row: u32) -> bool {
        let q = conv.coordinates(row);
        row < conv.rows_of(phase) && q[1] < phase[1].count && q[2] < phase[2].count
    }

    /// The first word of a part of an item.
    #[inline(always)]
    fn part_start<const COLUMNS: u32>(p: &ImplicitGemm, item: u32, part: u32) -> u64 {
        (item as u64 * p.parts as u64 + part as u64) * (128 * COLUMNS) as u64
    }

    /// Stores this thread's sums of a part.
    ///
    /// # Safety
    /// The item and the part exist, and are this block's.
    #[inline(always)]
    pub unsafe fn store_part<const COLUMNS: u32>(p: &ImplicitGemm, item: u32, part: u32, sums: &Sums) {
        let to: GlobalMut<f32> = p.partial.offset(part_start::<COLUMNS>(p, item, part));
        unroll!(tile < 4, {
            if tile < height(COLUMNS) {
                unroll!(n < 4, {
                    let at = (tile as u32 * 4 + n as u32) * THREADS + thread_idx_x();
                    // SAFETY: four words of the part, this thread's.
                    unsafe { to.store_array(4 * at as u64, sums[tile][n]) };
                });
            }
        });
    }

    /// This thread's sums of all parts of an item, added in order.
    ///
    /// # Safety
    /// The item exists; all its parts are stored, and nobody writes them.
    #[inline(always)]
    pub unsafe fn add_parts<const COLUMNS: u32>(p: &ImplicitGemm, item: u32) -> Sums {
        let mut sums: Sums = [[[0.0; 4]; 4]; 4];
        let mut part = 0;
        while part < p.parts {
            let from = Global::<f32>::from_address(p.partial.address()).offset(part_start::<COLUMNS>(p, item, part));
            let mut more: Sums = [[[0.0; 4]; 4]; 4];
            unroll!(tile < 4, {
                if tile < height(COLUMNS) {
                    unroll!(n < 4, {
                        let at = (tile as u32 * 4 + n as u32) * THREADS + thread_idx_x();
                        // SAFETY: four words of the part, which this thread's place has stored.
                        more[tile][n] = unsafe { from.load_array(4 * at as u64) };
                    });
                }
            });
            unroll!(tile < 4, {
                unroll!(n < 4, {
                    unroll!(i < 4, {
                        sums[tile][n][i] += more[tile][n][i];
                    });
                });
            });
            part += 1;
        }
        sums
    }

    /// Stores the mean and Σ(z − m)² of a tile.
    ///
    /// # Safety
    /// The tile is this block's; all threads come together, with shared memory that nobody reads.
    #[inline(always)]
    pub unsafe fn squares<const COLUMNS: u32>(p: &ImplicitGemm, tile: &Tile, sums: &Sums) {
        let conv = &p.conv;
        let Place { lane, row: first_row, column: first_column } = Place::here(COLUMNS);
        let (all, images) = (Shared::<f64>::dynamic(0), conv.images);
        let bits = images.trailing_zeros();
        // All of a thread's rows are of one image.
        let image = lane / 4 % images;
        let b = tile.image + image;
        let mut there = 0u32;
        unroll!(n < 8, {
            if n < 2 * height(COLUMNS) {
                let row = first_row + 16 * row_warps(COLUMNS) * (n as u32 / 2) + 8 * (n as u32 % 2) + lane / 4;
                there |= (is_position(conv, &tile.phase, tile.first + (row >> bits)) as u32) << n;
            }
        });
        unroll!(n < 4, {
            unroll!(i < 2, {
                let column = first_column + 8 * n as u32 + 2 * (lane % 4) + i as u32;
                let mut square = 0f32;
                if b < conv.shape.batch && tile.column + column < conv.out_channels {
                    let c = (tile.group * conv.out_channels + tile.column + column) as u64;
                    // SAFETY: b < B and c < Cout.
                    let (mean, g) = unsafe {
                        let row = b as u64 * conv.shape.out_channels as u64 + c;
                        (p.conv_mean.load(row), p.channel_exponent.load(c))
                    };
                    let mean = mean * power(-g);
                    let high = mean as f32;
                    let low = (mean - high as f64) as f32;
                    unroll!(row < 8, {
                        if row < 2 * height(COLUMNS) && there >> row & 1 == 1 {
                            let d = (sums[row / 2][n][row % 2 * 2 + i] - high) - low;
                            square = d.fma(d, square);
                        }
                    });
                }
                let mut square = square as f64;
                // The other lanes of the image.
                if bits < 1 {
                    square += shuffle_xor(square, 4);
                }
                if bits < 2 {
                    square += shuffle_xor(square, 8);
                }
                if bits < 3 {
                    square += shuffle_xor(square, 16);
                }
                if lane / 4 < images {
                    // SAFETY: one element a (warp along the rows, image, column).
                    unsafe { all.store((first_row / 16 * images + image) * COLUMNS + column, square) };
                }
            });
        });
        sync_threads();
        unroll!(n < 4, {
            let pair = n as u32 * THREADS + thread_idx_x();
            let (image, column) = (pair / COLUMNS, tile.column + pair % COLUMNS);
            let b = tile.image + image;
            if image < images && b < conv.shape.batch && column < conv.out_channels {
                let c = (tile.group * conv.out_channels + column) as u64;
                let row = b as u64 * conv.shape.out_channels as u64 + c;
                let mut square = 0f64;
                unroll!(warp < 4, {
                    if (warp as u32) < row_warps(COLUMNS) {
                        // SAFETY: written before the barrier.
                        square += unsafe { all.load(warp as u32 * images * COLUMNS + pair) };
                    }
                });
                // SAFETY: b < B and c < Cout; each (b, c, slice) belongs to one block, and to one thread.
                unsafe {
                    let (mean, gain) = (p.conv_mean.load(row), power(p.channel_exponent.load(c)));
                    let outside = if tile.slice == 0 { p.unreached as f64 * mean * mean } else { 0.0 };
                    let at = row * p.work.slices + tile.slice as u64;
                    p.mean.store(at, mean * p.scale);
                    p.m2.store(at, (square * gain * gain + outside) * p.scale * p.scale);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::implicit_gemm::FORMS;
    use crate::implicit_gemm_stage::THREADS;

    #[test]
    fn squares_fit_in_the_stages_and_have_a_thread_each() {
        for form in FORMS {
            assert!(shared_bytes(form.columns) <= form.spec.shared_bytes);
            assert!(MAX_IMAGES * form.columns <= 4 * THREADS);
        }
    }
}
