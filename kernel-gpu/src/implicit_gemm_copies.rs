//! How what a block of [`implicit_gemm`](crate::implicit_gemm) multiplies gets into shared memory.
//!
//! ```text
//! window of a line    152 rows at most, from a multiple of eight on
//! taps of a step      a row an output channel of the tile
//! ```
//!
//! In memory both are runs of bytes in the order that they have here ([`factor_panels`](crate::factor_panels)): a thread copies every 128th of
//! their pieces of 16 bytes (`cp.async`), and neither needs an address of its own.

use crate::factor_panels::ROW;
use crate::implicit_gemm_stage::HALO;
use crate::phased_conv::ROWS;

/// Threads of a block.
pub const THREADS: u32 = 128;
/// Rows of a window: before its first there may be seven.
const WINDOW: u32 = ROWS + HALO + 8;
const WINDOW_BYTES: u32 = 4 * ROW * WINDOW;
/// Bytes that the block's threads copy at once, and rows.
const AT_ONCE: u32 = 16 * THREADS;
const ROWS_AT_ONCE: u32 = AT_ONCE / (4 * ROW);

// A window is copied eight times at once, and what is more of it twice.
const _: () = assert!(ROWS == 8 * ROWS_AT_ONCE && WINDOW <= 10 * ROWS_AT_ONCE);
// Buffers begin where rows of eight do: behind windows, and behind taps of 32 channels or 64.
const _: () = assert!(WINDOW.is_multiple_of(8) && ROW == 32);

/// The buffers of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffers {
    /// Output channels of its tile.
    pub columns: u32,
    /// Windows.
    pub windows: u32,
    /// Buffers of taps.
    pub taps: u32,
}

impl Buffers {
    /// Of a block that makes tiles of so many output channels, by warpgroups or not. These have the products of two steps in flight, which read one
    /// window or two.
    #[inline(always)]
    pub const fn new(columns: u32, warpgroups: bool) -> Self {
        let (windows, taps) = if warpgroups { (3, 4) } else { (2, 2) };
        Self { columns, windows, taps }
    }

    /// Bytes of shared memory.
    pub const fn bytes(&self) -> u32 {
        self.windows * WINDOW_BYTES + self.taps * 4 * ROW * self.columns
    }
}

pub mod device {
    //! The device code.
    use cuda_std::async_copy::copy_through_l2;
    use cuda_std::global::Global;
    use cuda_std::shared::Shared;
    use cuda_std::thread::thread_idx_x;
    use cuda_std::unroll;

    use super::*;
    use crate::factor_panels::{Panels, input_panel_words};
    use crate::implicit_gemm::ImplicitGemm;
    use crate::implicit_gemm_stage::Line;
    use crate::implicit_gemm_stage::device::Tile;
    use crate::opaque::opaque;

    /// The copies of a tile of `COLUMNS` output channels.
    pub struct Copies<'a, const COLUMNS: u32, const GROUP: bool> {
        p: &'a ImplicitGemm,
        panels: Panels,
        /// This thread's first piece of panel 0 of the tile's images, and of its output channels' tap 0 of the phase.
        input: u64,
        kernel: u64,
        /// The stored row that tap 0 brings to the tile's first row.
        source: u32,
    }

    impl<'a, const COLUMNS: u32, const GROUP: bool> Copies<'a, COLUMNS, GROUP> {
        const BUFFERS: Buffers = Buffers::new(COLUMNS, GROUP);

        /// A window's buffer.
        #[inline(always)]
        pub fn window(buffer: u32) -> Shared<u32> {
            Shared::dynamic(buffer * WINDOW_BYTES)
        }

        /// A buffer of taps.
        #[inline(always)]
        pub fn taps(buffer: u32) -> Shared<u32> {
            Shared::dynamic(Self::BUFFERS.windows * WINDOW_BYTES + buffer * (4 * ROW * COLUMNS))
        }

        /// Of a tile.
        #[inline(always)]
        pub fn new(p: &'a ImplicitGemm, tile: &Tile, panels: Panels) -> Self {
            let (conv, phase) = (&p.conv, &tile.phase);
            let mine = 16 * thread_idx_x() as u64;
            let image_tile = tile.image >> conv.images.trailing_zeros();
            let input = p.rows.offset(panels.input_panel(conv, image_tile, tile.group, 0)).address() + mine;
            let (channels, first_tap) = (tile.column >> COLUMNS.trailing_zeros(), conv.tap(phase, [0; 3]));
            let kernel = panels.kernel_panel(conv, COLUMNS, tile.group, channels, first_tap);
            let kernel = p.taps.offset(kernel).address() + mine;
            let origin = conv.row([phase[0].origin, phase[1].origin, phase[2].origin]) as u32;
            let source = origin.wrapping_add(tile.first).wrapping_add(conv.margin[0]);
            Self { p, panels, input, kernel, source }
        }

        /// The number of a line's first row in a panel.
        #[inline(always)]
        fn first_row(&self, line: &Line) -> u32 {
            let (conv, lag) = (&self.p.conv, &self.p.conv.lag);
            let last = line.j[2] + line.taps - 1;
            let back = conv.row([line.j[0] * lag[0], line.j[1] * lag[1], last * lag[2]].map(|j| j as i32));
            self.source.wrapping_sub(back as u32) * conv.images
        }

        /// Where in its window a line's first row is.
        #[inline(always)]
        pub fn place_of(&self, line: &Line) -> u32 {
            self.first_row(line) % 8
        }

        /// Starts copying a line's window.
        ///
        /// # Safety
        /// The line is one of the tile's; nobody reads or copies into the buffer; all threads of the block come.
        #[inline(always)]
        pub unsafe fn bring_window(&self, line: &Line, buffer: u32) {
            let (conv, first) = (&self.p.conv, self.first_row(line));
            let more = first % 8 + (line.taps - 1) * conv.lag[2] * conv.images;
            let at = line.panel as u64 * input_panel_words(conv) + ((first - first % 8) * ROW) as u64;
            // SAFETY: rows of a panel, of which the margin holds those before and behind the volume; a window has room for them.
            unsafe {
                let from = Global::from_address(self.input + 4 * at);
                Self::bring(Self::window(buffer), from, 8);
                // The thread's row of those that are more.
                let row = opaque(thread_idx_x()) / (ROW / 4);
                unroll!(i < 2, {
                    if row + i as u32 * ROWS_AT_ONCE < more {
                        let words = (8 + i as u32) * (AT_ONCE / 4);
                        Self::bring(Self::window(buffer).offset(words), from.offset(words as u64), 1);
                    }
                });
            }
        }

        /// The address of this thread's first piece of the taps of a line's first step.
        #[inline(always)]
        pub fn taps_of(&self, line: &Line) -> u64 {
            let tap = self.p.conv.tap_distance(line.j);
            let panel = tap as u64 * self.panels.count as u64 + line.panel as u64;
            self.kernel + panel * (4 * ROW * COLUMNS) as u64
        }

        /// Bytes from the taps of a line's step to those of the next.
        #[inline(always)]
        pub fn taps_apart(&self) -> u64 {
            (self.p.conv.tap_step[2] * self.panels.count) as u64 * (4 * ROW * COLUMNS) as u64
        }

        /// Starts copying a step's taps, of which this thread's first piece is at `from`.
        ///
        /// # Safety
        /// The step is one of the tile's; nobody reads or copies into the buffer; all threads of the block come.
        #[inline(always)]
        pub unsafe fn bring_taps(&self, from: u64, buffer: u32) {
            // SAFETY: the rows of a tap's panel; a buffer of taps is for as many.
            unsafe { Self::bring(Self::taps(buffer), Global::from_address(from), COLUMNS / ROWS_AT_ONCE) }
        }

        /// Starts copying this thread's pieces of `turns` times what all copy at once, 8 at most.
        ///
        /// # Safety
        /// They exist on both sides, at multiples of 16 bytes, and nobody reads or copies into them.
        #[inline(always)]
        unsafe fn bring(to: Shared<u32>, from: Global<u32>, turns: u32) {
            let to = to.offset(4 * opaque(thread_idx_x()));
            unroll!(i < 8, {
                if (i as u32) < turns {
                    let words = i as u32 * (AT_ONCE / 4);
                    // SAFETY: the caller's promise.
                    unsafe { copy_through_l2(to.offset(words), from.offset(words as u64)) };
                }
            });
        }
    }
}
