//! Matrix products of a warpgroup, four warps, on Hopper's tensor cores: `wgmma` (PTX ISA, "Asynchronous warpgroup level matrix
//! instructions"). Target: `sm_90a` alone.
//!
//! ```text
//! D = Σ_i A_i · B_iᵀ       A_i: M rows, B_i: N rows, of 16 elements each, both in shared memory; D: M × N, f32, in registers
//! ```
//!
//! Both factors lie as [`Rows`] says. D is 64 × 128, or 128 × 32, in two halves: columns, or rows. Of each half element (r, c) is number c mod 2 + 2·(r / 8 mod 2) of tile c / 8 of lane
//! 4·(r mod 8) + c / 2 mod 4 of warp r / 16: the accumulators of [`mma`](crate::mma), a warp's 16 rows by 8 columns a tile.
//!
//! Products are [started](m64n128k16_f16) and [waited for](Products::wait), some perhaps [while the next go on](Products::wait_while); what a
//! block does meanwhile is free. They read in the async proxy: each thread
//! that stored factors, or waited for its `cp.async`, executes [`fence_proxy_async`](crate::bulk_copy::fence_proxy_async) before the barrier
//! that orders them. What is only read needs no fence before it is stored again.
//!
//! Products are exact; their sum is f32, cut off where [`mma`](crate::mma)'s is.

#[cfg(not(target_arch = "nvptx64"))]
use crate::simt::warpgroup as host;

use crate::shared::Shared;

/// Bytes of a row of factors.
pub const ROW_BYTES: u32 = 128;

/// Whether the code is for a device that has these products. In the executor it is for one that has, where the grid says so
/// ([`Grid::warpgroups`](crate::simt::Grid::warpgroups)).
#[inline(always)]
pub fn is_available() -> bool {
    #[cfg(target_arch = "nvptx64")]
    {
        cfg!(target_feature = "sm_90a")
    }
    #[cfg(not(target_arch = "nvptx64"))]
    host::is_available()
}

/// Sixteen columns of rows in shared memory.
///
/// Rows are 128 bytes, one after another. Their 16-byte pieces are swizzled: piece p of row r lies at the place of p XOR r mod 8, where row 0
/// begins at a multiple of 1024 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// PTX ISA, "Matrix descriptor": where the first piece would lie without swizzling, over 16; eight rows further are 1024 bytes; 128-byte
    /// swizzle.
    descriptor: u64,
}

impl Rows {
    /// Of rows that begin at `matrix`: those from `row` on, and of each the pieces `piece`, which is even, and `piece` + 1.
    #[inline(always)]
    pub fn new(matrix: Shared<u32>, row: u32, piece: u32) -> Self {
        const FIXED: u64 = 1 << 16 | (8 * ROW_BYTES as u64 / 16) << 32 | 1 << 62;
        // A sum, so that what all pieces have in common is computed once.
        Self { descriptor: FIXED + (matrix.address() / 16 + ROW_BYTES / 16 * row) as u64 + piece as u64 }
    }

    /// Where row `row` of these begins, but for swizzling.
    #[cfg(not(target_arch = "nvptx64"))]
    pub(crate) fn row(self, row: u32) -> u32 {
        16 * (self.descriptor as u32 & 0x3fff) + ROW_BYTES * row
    }
}

/// Products on their way: D in two halves of `TILES` tiles.
#[must_use = "nothing may be stored where the factors are until they are waited for"]
pub struct Products<const TILES: usize> {
    #[cfg(target_arch = "nvptx64")]
    d: [[[f32; 4]; TILES]; 2],
    #[cfg(not(target_arch = "nvptx64"))]
    host: host::Products<TILES>,
}

// PTX ISA, "wgmma.mma_async": both factors in shared memory, K-major; the first product replaces D, others add to it. Of 128 rows there are two D, of
// A's first 64 and of its next, whose descriptor is 512 more.
macro_rules! products {
    ($($name:ident = $operation:literal, $shape:literal, $tiles:literal, $halves:ident, [$($d:literal)+], [$($i:literal),+], $value:ident;)*) => { $(
        #[doc = concat!("Starts the sum of four or six products of ", $shape, ".")]
        ///
        /// # Safety
        /// All 128 threads of a warpgroup call it together, with the same factors. These lie in the launch's shared memory; each was written before a
        /// proxy fence of who wrote it and a barrier behind that, and nobody writes it before all have waited and met at a barrier. Of
        /// the products before, but for the last, all were waited for.
        #[inline(always)]
        #[track_caller]
        pub unsafe fn $name<const P: usize>(factors: [[Rows; 2]; P]) -> Products<$tiles> {
            const { assert!(P == 4 || P == 6) };
            #[cfg(target_arch = "nvptx64")]
            {
                let mut d = [0f32; 8 * $tiles];
                let [x, y, z, u, v, w] = [0, 1, 2, 3, 4, 5].map(|i| factors[i % P].map(|rows| rows.descriptor));
                // SAFETY: the caller's promise. Nothing but the wait's block of instructions takes D's registers.
                unsafe {
                    match P {
                        4 => products!(@asm $operation, [$($d)+], d, [$($i),+], (a b x 0) (e f y 1) (g h z 1) (j k u 1)),
                        _ => products!(@asm $operation, [$($d)+], d, [$($i),+],
                            (a b x 0) (e f y 1) (g h z 1) (j k u 1) (l m v 1) (n o w 1)),
                    }
                }
                let mut tiles = [[[0f32; 4]; $tiles]; 2];
                crate::unroll!(half < 2, {
                    crate::unroll!(i < 4 * $tiles, at most 40, {
                        tiles[half][i / 4][i % 4] = d[4 * $tiles * half + i];
                    });
                });
                Products { d: tiles }
            }
            #[cfg(not(target_arch = "nvptx64"))]
            {
                let halves = host::Halves::$halves;
                Products { host: host::Products::start($operation, halves, &factors, host::$value, core::panic::Location::caller()) }
            }
        }
    )* };
    (@asm $operation:literal, [$d:literal], $to:ident, [$($i:literal),+], $(($a:ident $b:ident $from:ident $add:literal))+) => {
        core::arch::asm!(
            "wgmma.fence.sync.aligned;",
            $(concat!($operation, $d, ", {", stringify!($a), "}, {", stringify!($b), "}, ", $add, ", 1, 1, 0, 0;"),)+
            "wgmma.commit_group.sync.aligned;",
            $(out(reg32) $to[$i],)+
            $($a = in(reg64) $from[0], $b = in(reg64) $from[1],)+
            options(nostack))
    };
    (@asm $operation:literal, [$first:literal $second:literal], $to:ident, [$($i:literal),+], $(($a:ident $b:ident $from:ident $add:literal))+) => {
        core::arch::asm!(
            "{{ .reg .b64 next;",
            "wgmma.fence.sync.aligned;",
            $(concat!($operation, $first, ", {", stringify!($a), "}, {", stringify!($b), "}, ", $add, ", 1, 1, 0, 0;"),)+
            $(concat!("add.s64 next, {", stringify!($a), "}, 512; ", $operation, $second, ", next, {", stringify!($b), "}, ", $add,
                ", 1, 1, 0, 0;"),)+
            "wgmma.commit_group.sync.aligned; }}",
            $(out(reg32) $to[$i],)+
            $($a = in(reg64) $from[0], $b = in(reg64) $from[1],)+
            options(nostack))
    };
}
products! {
    m64n128k16_f16 = "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16", "64 rows by 128", 8, Columns, [" {{{0}, {1}, {2}, {3}, {4}, {5}, {6}, {7}, {8}, {9}, {10}, {11}, {12}, {13}, {14}, {15}, {16}, {17}, {18}, {19}, {20}, {21}, {22}, {23}, {24}, {25}, {26}, {27}, {28}, {29}, {30}, {31}, {32}, {33}, {34}, {35}, {36}, {37}, {38}, {39}, {40}, {41}, {42}, {43}, {44}, {45}, {46}, {47}, {48}, {49}, {50}, {51}, {52}, {53}, {54}, {55}, {56}, {57}, {58}, {59}, {60}, {61}, {62}, {63}}}"],
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63], f16;
    m64n128k16_bf16 = "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16", "64 rows by 128", 8, Columns, [" {{{0}, {1}, {2}, {3}, {4}, {5}, {6}, {7}, {8}, {9}, {10}, {11}, {12}, {13}, {14}, {15}, {16}, {17}, {18}, {19}, {20}, {21}, {22}, {23}, {24}, {25}, {26}, {27}, {28}, {29}, {30}, {31}, {32}, {33}, {34}, {35}, {36}, {37}, {38}, {39}, {40}, {41}, {42}, {43}, {44}, {45}, {46}, {47}, {48}, {49}, {50}, {51}, {52}, {53}, {54}, {55}, {56}, {57}, {58}, {59}, {60}, {61}, {62}, {63}}}"],
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63], bf16;
    m128n32k16_f16 = "wgmma.mma_async.sync.aligned.m64n32k16.f32.f16.f16", "128 rows by 32", 4, Rows, [" {{{0}, {1}, {2}, {3}, {4}, {5}, {6}, {7}, {8}, {9}, {10}, {11}, {12}, {13}, {14}, {15}}}" " {{{16}, {17}, {18}, {19}, {20}, {21}, {22}, {23}, {24}, {25}, {26}, {27}, {28}, {29}, {30}, {31}}}"],
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31], f16;
    m128n32k16_bf16 = "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16", "128 rows by 32", 4, Rows, [" {{{0}, {1}, {2}, {3}, {4}, {5}, {6}, {7}, {8}, {9}, {10}, {11}, {12}, {13}, {14}, {15}}}" " {{{16}, {17}, {18}, {19}, {20}, {21}, {22}, {23}, {24}, {25}, {26}, {27}, {28}, {29}, {30}, {31}}}"],
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31], bf16;
}

impl<const TILES: usize> Products<TILES> {
    /// D, complete, and all that was started before.
    #[inline(always)]
    #[track_caller]
    pub fn wait(self) -> [[[f32; 4]; TILES]; 2] {
        #[cfg(target_arch = "nvptx64")]
        {
            // SAFETY: waits. What comes behind takes D from the second block of instructions, and volatile ones keep their order.
            unsafe {
                core::arch::asm!("wgmma.wait_group.sync.aligned 0;", options(nostack));
            }
            self.complete()
        }
        #[cfg(not(target_arch = "nvptx64"))]
        self.host.wait()
    }

    /// D, complete, while the products that were started last, `next`, go on.
    #[inline(always)]
    #[track_caller]
    pub fn wait_while<const NEXT: usize>(self, next: &Products<NEXT>) -> [[[f32; 4]; TILES]; 2] {
        #[cfg(target_arch = "nvptx64")]
        {
            let _ = next;
            // SAFETY: as in `wait`; of all groups the last one, `next`, may be incomplete.
            unsafe {
                core::arch::asm!("wgmma.wait_group.sync.aligned 1;", options(nostack));
            }
            self.complete()
        }
        #[cfg(not(target_arch = "nvptx64"))]
        {
            self.host.assert_before(&next.host);
            self.host.wait()
        }
    }

    /// D, behind a wait.
    #[cfg(target_arch = "nvptx64")]
    #[inline(always)]
    fn complete(self) -> [[[f32; 4]; TILES]; 2] {
        let mut d = self.d;
        crate::unroll!(half < 2, {
            crate::unroll!(tile < TILES, at most 8, {
                let [a, b, c, e] = &mut d[half][tile];
                // SAFETY: no instruction.
                unsafe {
                    core::arch::asm!("// {0} {1} {2} {3}", inout(reg32) *a, inout(reg32) *b, inout(reg32) *c, inout(reg32) *e,
                        options(nomem, nostack));
                }
            });
        });
        d
    }
}
