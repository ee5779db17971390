//! How what a block of [`implicit_gemm`](crate::implicit_gemm) multiplies gets into shared memory.
//!
//! ```text
//! window of a line    the tile's rows and more, from a multiple of eight on
//! taps of a step      a row an output channel of the tile
//! ```
//!
//! In memory both are runs of bytes in the order that they have here ([`factor_panels`](crate::factor_panels)): a thread copies every 128th of
//! their pieces of 16 bytes (`cp.async`), and neither needs an address of its own.

use crate::factor_panels::ROW;
use crate::phased_conv::ROWS;

/// Threads of a block.
pub const THREADS: u32 = 128;
/// Bytes that the block's threads copy at once, and rows.
const AT_ONCE: u32 = 16 * THREADS;
const ROWS_AT_ONCE: u32 = AT_ONCE / (4 * ROW);

// The tile's rows are copied eight times at once.
const _: () = assert!(ROWS == 8 * ROWS_AT_ONCE);
/// Rows that a window may have beyond the tile's.
pub const MOST_MORE: u32 = 3 * ROWS_AT_ONCE;

pub mod device {
    //! The device code.
    use cuda_std::async_copy::copy_through_l2;
    use cuda_std::global::Global;
    use cuda_std::shared::Shared;
    use cuda_std::thread::thread_idx_x;
    use cuda_std::unroll;

    use super::*;
    use crate::factor_panels::Panels;
    use crate::implicit_gemm::ImplicitGemm;
    use crate::implicit_gemm_schedule::Asked;
    use crate::implicit_gemm_stage::device::Tile;
    use crate::opaque::opaque;

    /// The copies of a tile of `COLUMNS` output channels.
    #[derive(Clone, Copy)]
    pub struct Copies<const COLUMNS: u32> {
        /// This thread's first piece of panel 0 of the tile's images, and of its output channels' tap 0 of the phase.
        input: u64,
        kernel: u64,
    }

    impl<const COLUMNS: u32> Copies<COLUMNS> {
        /// Of a tile.
        #[inline(always)]
        pub fn new(p: &ImplicitGemm, tile: &Tile, panels: Panels) -> Self {
            let (conv, mine) = (&p.conv, 16 * thread_idx_x() as u64);
            let image_tile = tile.image >> conv.images.trailing_zeros();
            let input = p.rows.offset(panels.input_panel(conv, image_tile, tile.group, 0)).address() + mine;
            let (channels, first_tap) = (tile.column >> COLUMNS.trailing_zeros(), conv.tap(&tile.phase, [0; 3]));
            let kernel = panels.kernel_panel(conv, COLUMNS, tile.group, channels, first_tap);
            Self { input, kernel: p.taps.offset(kernel).address() + mine }
        }

        /// Starts copying a line's window.
        ///
        /// # Safety
        /// The window is one of the tile's; nobody reads or copies into its rows; all threads of the block come.
        #[inline(always)]
        pub unsafe fn bring_window(&self, asked: Asked) {
            let from = Global::from_address(self.input + asked.from as u64 * (8 * 4 * ROW) as u64);
            // SAFETY: rows of a panel, of which the margin holds those before and behind the volume; a window has room for them.
            unsafe {
                Self::bring(asked.row, 0, from, 8);
                // The thread's row of those that are more.
                let row = opaque(thread_idx_x()) / (ROW / 4);
                unroll!(i < 3, {
                    if row + i as u32 * ROWS_AT_ONCE < asked.more {
                        Self::bring(asked.row, 8 + i as u32, from, 1);
                    }
                });
            }
        }

        /// Starts copying a step's taps.
        ///
        /// # Safety
        /// They are of the tile; nobody reads or copies into their rows; all threads of the block come.
        #[inline(always)]
        pub unsafe fn bring_taps(&self, asked: Asked) {
            let from = Global::from_address(self.kernel + asked.from as u64 * (4 * ROW * COLUMNS) as u64);
            // SAFETY: the rows of a tap's panel; a buffer of taps is for as many.
            unsafe { Self::bring(asked.row, 0, from, COLUMNS / ROWS_AT_ONCE) }
        }

        /// Starts copying this thread's pieces of `turns` times what all copy at once, from number `first` on, 8 at most, to what begins with a row.
        ///
        /// # Safety
        /// They exist on both sides, at multiples of 16 bytes, and nobody reads or copies into them.
        #[inline(always)]
        unsafe fn bring(row: u32, first: u32, from: Global<u32>, turns: u32) {
            let to = Shared::<u32>::dynamic(4 * ROW * row + 16 * opaque(thread_idx_x()));
            unroll!(i < 8, {
                if (i as u32) < turns {
                    let words = (first + i as u32) * (AT_ONCE / 4);
                    // SAFETY: the caller's promise.
                    unsafe { copy_through_l2(to.offset(words), from.offset(words as u64)) };
                }
            });
        }
    }
}
