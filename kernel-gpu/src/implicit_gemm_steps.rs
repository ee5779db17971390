//! The steps of a block of [`implicit_gemm`](crate::implicit_gemm), one after the other, what comes asked for ahead.
//!
//! ```text
//! step s, first of line n     its copies are there ─ barrier ─ [products started] ─ asks for the window of line n + 1, taps of s + 1 or s + 2
//! ```
//!
//! Each buffer is asked for again behind the barrier that its last readers have come to: where products are made at once, those of step s − 1;
//! by warpgroups those of step s − 2, for step s − 1 may be in flight. What is asked for in a step is one group of copies.

use cuda_std::async_copy::{commit_group, wait_all, wait_group};
use cuda_std::bulk_copy::fence_proxy_async;
use cuda_std::shared::Shared;
use cuda_std::thread::sync_threads;

use crate::factor_panels::Panels;
use crate::implicit_gemm::ImplicitGemm;
use crate::implicit_gemm_copies::Buffers;
use crate::implicit_gemm_copies::device::Copies;
use crate::implicit_gemm_stage::device::Tile;
use crate::implicit_gemm_stage::{Lines, Step};

/// What is multiplied in a step.
#[derive(Clone, Copy)]
pub struct Ready {
    /// The window, and how much further on the tile's rows are in it.
    pub window: Shared<u32>,
    /// See there.
    pub shift: u32,
    /// The taps.
    pub taps: Shared<u32>,
    /// Chunks that are not zeros alone.
    pub chunks: u32,
}

/// A block's way through its steps.
pub struct Steps<'a, const COLUMNS: u32, const GROUP: bool> {
    p: &'a ImplicitGemm,
    copies: Copies<'a, COLUMNS, GROUP>,
    lines: Lines,
    /// Steps to come, this one among them.
    left: u32,
    /// This step, its window's buffer, its taps', and where in the window its line's first row is.
    now: Step,
    window: u32,
    taps: u32,
    first: u32,
    /// The step whose taps are asked for next, and this thread's first piece of them.
    next: Step,
    next_taps: u64,
}

impl<'a, const COLUMNS: u32, const GROUP: bool> Steps<'a, COLUMNS, GROUP> {
    const BUFFERS: Buffers = Buffers::new(COLUMNS, GROUP);
    /// Steps that taps are asked for ahead: as far as the buffers reach that nobody reads.
    const AHEAD: u32 = Self::BUFFERS.taps - if GROUP { 2 } else { 1 };

    /// Of a tile, with `panels` of the factors; asks for the first.
    ///
    /// # Safety
    /// `p` is as the kernel's; all threads of the block come together, once.
    #[inline(always)]
    pub unsafe fn new(p: &'a ImplicitGemm, tile: &Tile, panels: Panels) -> Self {
        const { assert!(Self::AHEAD == 1 || Self::AHEAD == 2) };
        let lines = tile.lines(&p.conv, panels);
        let copies = Copies::new(p, tile, panels);
        let now = Step { line: lines.first(), tap: 0 };
        let (left, first, next_taps) = (lines.steps(), copies.place_of(&now.line), copies.taps_of(&now.line));
        let mut steps = Self { p, copies, lines, left, now, window: 0, taps: 0, first, next: now, next_taps };
        // SAFETY: the line exists, and nobody uses the buffers yet.
        unsafe {
            if steps.left > 0 {
                steps.copies.bring_window(&now.line, 0);
                for buffer in 0..Self::AHEAD {
                    steps.ask_taps(buffer);
                }
            }
        }
        steps
    }

    /// Whether there is a step.
    #[inline(always)]
    pub fn any(&self) -> bool {
        self.left > 0
    }

    /// Asks for the next taps, if there are some, and ends a group of copies.
    ///
    /// # Safety
    /// Nobody reads that buffer, nor copies into it.
    #[inline(always)]
    unsafe fn ask_taps(&mut self, buffer: u32) {
        if self.lines.has(&self.next.line) {
            // SAFETY: the caller's promise; the step exists.
            unsafe { self.copies.bring_taps(self.next_taps, buffer) };
            self.next.tap += 1;
            self.next_taps += self.copies.taps_apart();
            if self.next.tap == self.next.line.taps {
                self.next = Step { line: self.lines.next(&self.next.line), tap: 0 };
                self.next_taps = self.copies.taps_of(&self.next.line);
            }
        }
        commit_group();
    }

    /// Waits for this step; behind it, nobody reads what [`ask`](Self::ask) replaces.
    ///
    /// # Safety
    /// The step exists. All threads of the block come together, each having waited for the products before: all, or by warpgroups all but the last.
    #[inline(always)]
    pub unsafe fn arrive(&self) -> Ready {
        // Of the groups asked for before the last are for steps to come; but the window of a line that begins may be of the last.
        if Self::AHEAD == 1 || self.now.tap == 0 {
            wait_all();
        } else {
            wait_group::<1>();
        }
        if GROUP {
            fence_proxy_async();
        }
        sync_threads();
        let (now, conv) = (&self.now, &self.p.conv);
        Ready {
            window: Copies::<COLUMNS, GROUP>::window(self.window),
            shift: self.first + (now.line.taps - 1 - now.tap) * conv.lag[2] * conv.images,
            taps: Copies::<COLUMNS, GROUP>::taps(self.taps),
            chunks: self.lines.chunks_of(&now.line),
        }
    }

    /// Asks for what is to come.
    ///
    /// # Safety
    /// Behind [`arrive`](Self::arrive) of this step, once.
    #[inline(always)]
    pub unsafe fn ask(&mut self) {
        // SAFETY: see `arrive`.
        unsafe {
            if self.now.tap == 0 && self.left > self.now.line.taps {
                self.copies
                    .bring_window(&self.lines.next(&self.now.line), after(self.window, 1, Self::BUFFERS.windows));
            }
            self.ask_taps(after(self.taps, Self::AHEAD, Self::BUFFERS.taps));
        }
    }

    /// Goes on to the next step, if there is one.
    #[inline(always)]
    pub fn advance(&mut self) {
        self.left -= 1;
        self.taps = after(self.taps, 1, Self::BUFFERS.taps);
        self.now.tap += 1;
        if self.now.tap == self.now.line.taps {
            self.now = Step { line: self.lines.next(&self.now.line), tap: 0 };
            self.window = after(self.window, 1, Self::BUFFERS.windows);
            self.first = self.copies.place_of(&self.now.line);
        }
    }
}

/// The buffer of a ring so many further on, fewer than there are.
#[inline(always)]
fn after(buffer: u32, by: u32, buffers: u32) -> u32 {
    let buffer = buffer + by;
    if buffer < buffers { buffer } else { buffer - buffers }
}
