//! The moments of a tile of [`implicit_gemm`](crate::implicit_gemm): its sums reduced to squares about a mean known before, and stored.
//!
//! ```text
//! mean[b,c,i], M2[b,c,i] = s·m[b,c], s²·(2^2g·Σ_tile (z' − 2^−g·m[b,c])² + unreached·m[b,c]² in slice 0)        z' = 2^−g·z, the sums
//! ```
//!
//! Rows of the tile that are no positions are left out. Squares are summed in f32 over a thread's rows, and in f64 over the threads, in a fixed order.

use crate::implicit_gemm_copies::THREADS;

pub mod device {
    //! The device code.
    use cuda_std::float::Float;
    use cuda_std::shared::Shared;
    use cuda_std::thread::{lane_index, sync_threads, thread_idx_x};
    use cuda_std::unroll;
    use cuda_std::warp::{ballot, shuffle_xor};

    use super::*;
    use crate::factors::power;
    use crate::implicit_gemm::ImplicitGemm;
    use crate::implicit_gemm_products::device::{Layout, Place, Sums};
    use crate::implicit_gemm_stage::device::Tile;
    use crate::phased_conv::AxisPhase;

    /// Stores the moments of a tile, of which a thread has these sums.
    ///
    /// # Safety
    /// The parameters are as the kernel asks, the tile is this block's, and nobody else accesses its moments; all threads of the block come together,
    /// with the form's shared memory, in which no copies are on their way.
    #[inline(always)]
    pub unsafe fn store_moments<const COLUMNS: u32, const GROUP: bool>(p: &ImplicitGemm, tile: &Tile, sums: &Sums) {
        // SAFETY: the caller's promise.
        unsafe {
            if Layout::<COLUMNS, GROUP>::BY_CHANNELS {
                reduce_by_channels::<COLUMNS, GROUP>(p, tile, sums);
            } else {
                reduce_by_rows::<COLUMNS, GROUP>(p, tile, sums);
            }
        }
    }

    /// Stores Σ(z − m)² of the tile, whose channels are rows of the products: of a channel all are in four neighbouring lanes. Shared memory
    /// holds which of the tile's rows are positions. Generic like its neighbour, for it to be compiled within each kernel: compiled once for all of them
    /// first, it leaves the sums of the products in other registers.
    ///
    /// # Safety
    /// As [`store_moments`], which comes here.
    #[inline(always)]
    unsafe fn reduce_by_channels<const COLUMNS: u32, const GROUP: bool>(p: &ImplicitGemm, tile: &Tile, sums: &Sums) {
        let conv = &p.conv;
        let (thread, lane, images) = (thread_idx_x(), lane_index(), conv.images);
        let (bits, positions) = (images.trailing_zeros(), Shared::<u32>::dynamic(0));
        let row = tile.first + (thread >> bits);
        let is_one = row < conv.rows_of(&tile.phase) && is_position(conv.coordinates(row), &tile.phase);
        sync_threads(); // the buffers are no longer read
        let found = ballot(is_one);
        if lane == 0 {
            // SAFETY: a word of this warp's.
            unsafe { positions.store(thread / 32, found) };
        }
        sync_threads();
        let mut there = [0u32; 4];
        // SAFETY: stored before the barrier, at the beginning of shared memory.
        unsafe { positions.load_16(0, &mut there) };
        unroll!(i < 2, {
            let column = tile.column + thread / 32 * 16 + lane / 4 + 8 * i as u32;
            let c = (tile.group * conv.out_channels + column) as u64;
            // Of this lane's two rows of each eight, which are of one image each.
            let mut found = [(0u64, 0f64, 0i32, 0f64, false); 2];
            unroll!(e < 2, {
                let row = 2 * (lane % 4) + e as u32;
                let b = tile.image + row % images;
                let exists = b < conv.shape.batch && column < conv.out_channels;
                let at = b as u64 * conv.shape.out_channels as u64 + c;
                let (mut mean, mut g) = (0f64, 0);
                if exists {
                    // SAFETY: b < B and c < Cout.
                    (mean, g) = unsafe { (p.conv_mean.load(at), p.channel_exponent.load(c)) };
                }
                let scaled = mean * power(-g);
                let high = scaled as f32;
                let low = (scaled - high as f64) as f32;
                let mut square = 0f32;
                unroll!(n < 16, {
                    let d = (sums[n][2 * i + e] - high) - low;
                    let is_one = there[n / 4] >> (8 * (n as u32 % 4) + row) & 1 == 1;
                    square = if is_one { d.fma(d, square) } else { square };
                });
                found[e] = (at, mean, g, square as f64, exists && row < images);
            });
            if bits == 0 {
                found[0].3 += found[1].3;
            }
            unroll!(e < 2, {
                let (at, mean, g, mut square, is_mine) = found[e];
                // The other lanes of the image.
                if bits < 2 {
                    square += shuffle_xor(square, 1);
                }
                if bits < 3 {
                    square += shuffle_xor(square, 2);
                }
                if is_mine {
                    // SAFETY: each (b, c, slice) belongs to one block, and to one lane.
                    unsafe { store(p, tile, at, mean, g, square) };
                }
            });
        });
    }

    /// Stores Σ(z − m)² of the tile, whose positions are rows of the products. Shared memory holds (warps along the rows, image, column) of f64.
    ///
    /// # Safety
    /// As [`store_moments`], which comes here.
    #[inline(always)]
    unsafe fn reduce_by_rows<const COLUMNS: u32, const GROUP: bool>(p: &ImplicitGemm, tile: &Tile, sums: &Sums) {
        let conv = &p.conv;
        let Place { lane, warp, row: first_row, column: first_column } = Layout::<COLUMNS, GROUP>::place();
        let (all, images) = (Shared::<f64>::dynamic(0), conv.images);
        let bits = images.trailing_zeros();
        // All of a thread's rows are of one image.
        let image = lane / 4 % images;
        let b = tile.image + image;
        let rows = conv.rows_of(&tile.phase);
        let mut there = 0u32;
        unroll!(n < 8, {
            if n < 2 * Layout::<COLUMNS, GROUP>::HEIGHT {
                let row = first_row + Layout::<COLUMNS, GROUP>::APART * (n as u32 / 2) + 8 * (n as u32 % 2) + lane / 4;
                let row = tile.first + (row >> bits);
                there |= ((row < rows && is_position(conv.coordinates(row), &tile.phase)) as u32) << n;
            }
        });
        sync_threads(); // the buffers are no longer read
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
                        if row < 2 * Layout::<COLUMNS, GROUP>::HEIGHT && there >> row & 1 == 1 {
                            let d = (sums[row / 2 * Layout::<COLUMNS, GROUP>::WIDTH + n][row % 2 * 2 + i] - high) - low;
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
                    // SAFETY: one element a (warp along the rows, image, column); the buffers are no longer read.
                    unsafe { all.store((warp * images + image) * COLUMNS + column, square) };
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
                    if (warp as u32) < Layout::<COLUMNS, GROUP>::ROW_WARPS {
                        // SAFETY: written before the barrier.
                        square += unsafe { all.load(warp as u32 * images * COLUMNS + pair) };
                    }
                });
                // SAFETY: b < B and c < Cout; each (b, c, slice) belongs to one block, and to one thread.
                unsafe { store(p, tile, row, p.conv_mean.load(row), p.channel_exponent.load(c), square) };
            }
        });
    }

    /// Stores the moments of a (b, c), number `at`, in the tile.
    ///
    /// # Safety
    /// They exist and are this thread's.
    #[inline(always)]
    unsafe fn store(p: &ImplicitGemm, tile: &Tile, at: u64, mean: f64, g: i32, square: f64) {
        let gain = power(g);
        let outside = if tile.slice == 0 { p.unreached as f64 * mean * mean } else { 0.0 };
        let at = at * p.work.slices + tile.slice as u64;
        // SAFETY: the caller's promise.
        unsafe {
            p.mean.store(at, mean * p.scale);
            p.m2.store(at, (square * gain * gain + outside) * p.scale * p.scale);
        }
    }

    /// Whether these coordinates, of a row of the phase, are a position.
    #[inline(always)]
    fn is_position(q: [u32; 3], phase: &[AxisPhase; 3]) -> bool {
        q[1] < phase[1].count && q[2] < phase[2].count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::implicit_gemm::FORMS;
    use crate::phased_conv::MAX_IMAGES;

    #[test]
    fn sums_of_warps_fit_in_the_buffers() {
        for form in FORMS {
            for warpgroups in [false, true] {
                assert!(128 / form.columns * MAX_IMAGES * form.columns * 8 <= form.shared_bytes(warpgroups));
            }
            assert!(MAX_IMAGES * form.columns <= 4 * THREADS);
        }
    }
}
