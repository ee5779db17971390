//! The sums of all lines of frequencies, on the lines of the coarse grid.
//!
//! ```text
//! H[g0, g1, m] = Σ_fr Σ_fo D_1(g1, fr)·D_0(g0, fo)·in[fr, fo, m]          fr ≤ N1/2, each counted half as often as it stands for
//! out[r, m] = (H[g0, g1, m] ± conj H[−g0, −g1, m])·2^(E_i − m_i + E_j − m_j)     r = (g0, g1): see [`gram_grid`](crate::gram_grid)
//! ```
//!
//! since G_{−f} = conj G_f entry by entry; of taps with gaps D is that of f times the gap. m are the components of
//! [`line_gram`](crate::line_gram): + for sums with cosines, − for sums with sines. Then all channels of a group get one scale, 2^m
//! ([`input_scales`](crate::input_scales)).
//!
//! **Folded.** Real and imaginary parts are numbers like any other, but that conj gives the imaginary ones a minus: let σ be the sign
//! of both together. D is the sum of a part E even in g, and so in f, and a part O odd in both. Of the products all that is left is
//!
//! ```text
//! p, q = in[fo] ± σ·in[−fo]                                      one alone where fo = −fo
//! S[h] = Σ_fr E_1[h, fr]·p        T[h] = Σ_fr O_1[h, fr]·q        h < K1
//! A = Σ_fo E_0[g0, fo]·S          B = Σ_fo O_0[g0, fo]·T          for σ = −: O_0·S, E_0·T;  g0 < K0
//! out at (g0, h): A + B, at (g0, −h): A − B
//! ```
//!
//! **Launches.** One takes any range of lines, in the order of (fr, fo): lines that it does not have are zeros, and what earlier
//! launches found is added. f32; the order follows from the shape and the ranges.
//!
//! **Data flow.** A warp owns 32 neighbouring numbers and a [tile](crate::grid_resample_factors) of points. It works in **steps** of one fr
//! and a group of four ±fo, whose numbers and factors come to its own ring in shared memory (`cp.async`), seven steps ahead: no warp waits
//! for another. Where numbers are few, two or four warps of a block share the steps (`grid_resample_shares`), and add up what they
//! found at the end.
//!
//! **Cost.** Reads each line once a tile of points, 8·(2·K2 − 1) bytes a channel pair. A step is 44 multiply-adds, for 8 numbers.
//!
//! **Launch.** One dimension, [`GridResample::items`] blocks or more.

use cuda_std::global::{Global, GlobalMut};
use cuda_std::launch::KernelSpec;

use crate::gram_grid::{BLOCK_WORDS, Grid};
use crate::grid_resample_factors::{PITCH, groups, width};
use crate::spectrum::{div, div_rem};

/// The parameters.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct GridResample {
    /// The lines of this launch, (line, m, block of this launch, 16, 16, [re, im]).
    pub input: Global<f32>,
    /// E_0 and O_0, (tile, pair of fo, 16): see [`factor`](crate::grid_resample_factors::factor).
    pub outer: Global<f32>,
    /// E_1 and O_1 times what fr counts, (tile, fr, 16).
    pub half: Global<f32>,
    /// E of each ci.
    pub channel_exponent: Global<i32>,
    /// The m of each group, behind a first number.
    pub scale_exponent: Global<i32>,
    /// Out: (r, m, block of this launch, 16, 16, [re, im]).
    pub output: GlobalMut<f32>,
    /// The grid.
    pub grid: Grid,
    /// Input channels of a group.
    pub group_channels: u32,
    /// N0, the lines of one fr.
    pub column: u32,
    /// N1/2 + 1, the fr of all launches.
    pub inputs: u32,
    /// The first line; lines before it were an earlier launch's.
    pub first_line: u32,
    /// How many.
    pub lines: u32,
    /// The first block of channel pairs.
    pub first_block: u32,
    /// How many.
    pub blocks: u32,
}

/// Threads of a block.
const THREADS: u32 = 128;
pub(crate) const WARPS: u32 = THREADS / 32;
/// Pairs ±fo of a group.
pub(crate) const PAIRS: u32 = 4;
/// Words of a step: eight lines' 32 numbers, a row of factors of fr, and four of ±fo.
pub(crate) const SLOT: u32 = 2 * PAIRS * 32 + PITCH + PAIRS * PITCH;
/// Steps that a warp holds.
pub(crate) const SLOTS: u32 = 8;
/// Words of what a warp's points hold from earlier launches: of up to 5 × 5 points and their mirror images 32 numbers.
const BEFORE: u32 = 2 * 25 * 32;
/// Words of a warp.
pub(crate) const OWN: u32 = SLOTS * SLOT + BEFORE;

/// The launch.
pub const SPEC: KernelSpec =
    KernelSpec { name: "grid_resample", threads: THREADS, min_blocks: 3, shared_bytes: 4 * WARPS * OWN };

impl GridResample {
    /// Numbers of a line.
    #[inline(always)]
    pub(crate) const fn inner(&self) -> u64 {
        self.grid.m()[2] as u64 * self.blocks as u64 * BLOCK_WORDS as u64
    }

    /// The first fr that the launch has lines of, and how many.
    #[inline(always)]
    pub(crate) const fn frequencies(&self) -> (u32, u32) {
        let first = div(self.first_line, self.column);
        (first, (self.first_line + self.lines).div_ceil(self.column) - first)
    }
}

pub mod device {
    //! The device code.
    use cuda_std::async_copy::{commit_group, copy, wait_group};
    use cuda_std::float::Float;
    use cuda_std::shared::Shared;
    use cuda_std::thread::{lane_index, warp_index};
    use cuda_std::warp::sync_warp;
    use cuda_std::{kernel, unroll};

    use super::*;
    use crate::grid_resample_ring::device::Ahead;
    use crate::grid_resample_shares::device::Share;
    use crate::grid_resample_sums::device::{Group, Sums, gather};
    use crate::opaque::opaque;
    use crate::spectrum::{EMPTY, TILE, div, rem};

    /// See the module.
    ///
    /// # Safety
    /// Each pointer holds what its field says; nobody else accesses `output`; the launch is as [`SPEC`] says.
    #[kernel(max_threads = 128, min_blocks = 3)]
    pub unsafe fn grid_resample(p: GridResample) {
        let [k0, k1, _] = p.grid.kernel;
        // SAFETY: the caller's promise; the widths are the tiles'.
        unsafe {
            match (width(k0), width(k1)) {
                (2, 2) => run::<3, 3>(&p),
                (2, _) => run::<3, 5>(&p),
                (_, 2) => run::<5, 3>(&p),
                _ => run::<5, 5>(&p),
            }
        }
    }

    /// # Safety
    /// As the kernel, for tiles of `U` g0 and `V` h, both with 0.
    #[inline(always)]
    unsafe fn run<const U: usize, const V: usize>(p: &GridResample) {
        let (ways, share) = (p.ways(), Share::mine(p));
        // Words: component, block, channel pair, part.
        let (line_block, word) = ((share.place / BLOCK_WORDS as u64) as u32, (share.place % BLOCK_WORDS as u64) as u32);
        let (component, block) = div_rem(line_block, p.blocks);
        let cosine = component == 0 || component % 2 == 1;
        let sign = if cosine == word.is_multiple_of(2) { 1.0 } else { -1.0 };
        let ring = Shared::<f32>::dynamic(4 * OWN * warp_index());
        // SAFETY: the share is the warp's, the ring too; the block's channels, and m.
        unsafe {
            if p.first_line > 0 && share.exists && share.way == 0 {
                ask_for_earlier::<U, V>(p, &share, ring.offset(SLOTS * SLOT));
            }
            let mut sums = steps::<U, V>(p, &share, ring, sign);
            if ways > 1 {
                gather(&mut sums, ways, share.way, ring);
            }
            if share.exists && share.way == 0 {
                let scale = scale(p, p.first_block + block, word / 2);
                store(p, &share, sums, ring, scale);
            }
        }
    }

    /// A and B of the warp's steps.
    ///
    /// # Safety
    /// The ring is the warp's, all of which calls this.
    #[inline(always)]
    unsafe fn steps<const U: usize, const V: usize>(
        p: &GridResample,
        share: &Share,
        ring: Shared<f32>,
        sign: f32,
    ) -> Sums<U, V> {
        let (ways, (_, columns)) = (p.ways(), p.frequencies());
        let all = groups(p.column) * columns;
        let (start, end) = (all * share.way / ways, all * (share.way + 1) / ways);
        let end = if share.exists { end } else { start };
        let stop = if end > start { end + SLOTS - 1 } else { start };
        let (mut ahead, mut asked, mut fr) = (Ahead::new(p, share, (start, end)), start, rem(start, columns));
        let mut sums = Sums { even: [[0f32; V]; U], odd: [[0f32; V]; U] };
        let mut now = Group::ZERO;
        while asked < stop {
            wait_group::<{ SLOTS - 2 }>();
            sync_warp(); // the step, SLOTS - 1 before the one to ask for, is complete, and the one before it no longer read
            // SAFETY: the slot to ask for is that of the step before; this one's numbers and factors are there.
            unsafe {
                if asked < end {
                    ahead.bring(ring.offset(asked % SLOTS * SLOT));
                }
                commit_group();
                if asked >= start + SLOTS - 1 {
                    let slot = ring.offset((asked + 1) % SLOTS * SLOT);
                    now.add(slot, sign);
                    fr += 1;
                    if fr == columns || asked + 1 == stop {
                        sums.add(&now, slot, sign);
                        (now, fr) = (Group::ZERO, 0);
                    }
                }
            }
            asked += 1;
        }
        sums
    }

    /// The grid's line of point (u, v) of a tile, or of its mirror image (g0, −h) where that is another one; none for points that the
    /// tile does not have. Point 0 is the first tile's.
    #[inline(always)]
    fn grid_line<const U: usize, const V: usize>(
        p: &GridResample,
        share: &Share,
        [u, v, mirror]: [u32; 3],
    ) -> Option<u32> {
        let ([k0, k1, _], [_, m1, _]) = (p.grid.kernel, p.grid.m());
        let [first_0, first_1] = [share.tiles[0] * (U - 1) as u32, share.tiles[1] * (V - 1) as u32];
        let [g0, h] = [if u == 0 { 0 } else { first_0 + u }, if v == 0 { 0 } else { first_1 + v }];
        if g0 >= k0 || h >= k1 || (u == 0 && first_0 != 0) || (v == 0 && first_1 != 0) {
            return None;
        }
        // Of g0 = 0 the half of the lines has h alone.
        let row = if u == 0 { 0 } else { k1 + (g0 - 1) * m1 };
        if mirror == 0 {
            Some(row + h)
        } else if u != 0 && v != 0 {
            Some(row + m1 - h)
        } else {
            None
        }
    }

    /// Starts copying what earlier launches found, `[point][it, its mirror image][32]`.
    ///
    /// # Safety
    /// The share exists and its outputs are this warp's; the words behind the ring are its own.
    #[inline(always)]
    unsafe fn ask_for_earlier<const U: usize, const V: usize>(p: &GridResample, share: &Share, to: Shared<f32>) {
        let (lane, width) = (lane_index(), 2 * V as u32);
        let from =
            Global::<f32>::from_address(p.output.address()).offset(share.place - lane as u64 + 4 * (lane % 8) as u64);
        // Eight lanes a line.
        let mut n = lane / 8;
        while n < U as u32 * width {
            let point = [n / width, n % width / 2, n % 2];
            if let Some(line) = grid_line::<U, V>(p, share, point) {
                // SAFETY: a line of the grid, which earlier launches wrote.
                unsafe { copy::<16, _>(to.offset(32 * n + 4 * (lane % 8)), from.offset(line as u64 * p.inner())) };
            }
            n += 4;
        }
        commit_group();
    }

    /// Stores A + B and A − B, on top of what earlier launches stored. A row of points at a time, by way of the ring: a kernel as short
    /// as this one has to wait for each instruction that it has not met before.
    ///
    /// # Safety
    /// The share exists; its outputs are this warp's, and so is the ring; all of the warp calls this.
    #[inline(always)]
    unsafe fn store<const U: usize, const V: usize>(
        p: &GridResample,
        share: &Share,
        mut sums: Sums<U, V>,
        ring: Shared<f32>,
        scale: f32,
    ) {
        let lane = ring.offset(lane_index());
        wait_group::<0>();
        sync_warp(); // the last step is no longer read, and what earlier launches found is there
        // SAFETY: the lane's own places.
        sums.each(|place, sum| unsafe { lane.store(32 * place, *sum) });
        let (mut own, mut earlier, mut u) = (lane, lane.offset(SLOTS * SLOT), 0);
        while u < opaque(U as u32) {
            // From point to point a line further, and from mirror image to mirror image one back; point 0 may be elsewhere.
            let mut at = [p.output; 2];
            unroll!(v < 5, {
                if v < V {
                    let lines = [0, 1].map(|mirror| grid_line::<U, V>(p, share, [u, v as u32, mirror]));
                    if v < 2 {
                        at = lines.map(|line| p.output.offset(line.unwrap_or(0) as u64 * p.inner() + share.place));
                    } else {
                        let before = at[1].address().wrapping_sub(4 * p.inner());
                        at = [at[0].offset(p.inner()), GlobalMut::from_address(before)];
                    }
                    // SAFETY: the lane's own places.
                    let (even, odd) = unsafe {
                        (own.load(32 * v as u32), if v == 0 { 0.0 } else { own.load(32 * (U * V + v) as u32) })
                    };
                    let found = [even + odd, even - odd];
                    unroll!(mirror < 2, {
                        if lines[mirror].is_some() {
                            // SAFETY: copied by lanes of this warp; a line of the grid, a number a lane.
                            unsafe {
                                let before =
                                    if p.first_line > 0 { earlier.load(32 * (2 * v + mirror) as u32) } else { 0.0 };
                                at[mirror].store(0, scale.fma(found[mirror], before));
                            }
                        }
                    });
                }
            });
            (own, earlier) = (own.offset(32 * V as u32), earlier.offset(64 * V as u32));
            u += 1;
        }
    }

    /// 2^(E_i − m) · 2^(E_j − m) of a channel pair of a block, each m that of the channel's group.
    ///
    /// # Safety
    /// The block is one of the grid's.
    #[inline(always)]
    unsafe fn scale(p: &GridResample, block: u32, pair: u32) -> f32 {
        let (i, j) = p.grid.block(block);
        let (channels, mut scale) = ([i * TILE + pair / TILE, j * TILE + pair % TILE], 1.0);
        unroll!(n < 2, {
            let exponent = if channels[n] < p.grid.in_channels {
                let group = div(channels[n], p.group_channels);
                // SAFETY: ci < Cin; a number for each group behind the first.
                unsafe { p.channel_exponent.load(channels[n] as u64) - p.scale_exponent.load(1 + group as u64) }
            } else {
                EMPTY
            };
            // Never above 0; what is 2^120 below the largest is nothing beside it, and channels may be empty.
            scale *= if exponent < -120 { 0.0 } else { f32::from_bits(((127 + exponent) as u32) << 23) };
        });
        scale
    }
}
