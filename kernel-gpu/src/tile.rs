//! The tiles of the direct convolution as a matrix product, and who computes what in them.
//!
//! ```text
//! Z (channels × positions) = W (channels × k) · X (k × positions),   k = (ci, kd, kh, kw)
//! ```
//!
//! A block owns `CHANNELS × 128` of Z, in steps of 8 k. A thread owns `CHANNEL_MICRO × 8` of it in registers; a warp is
//! 8 threads along the positions by 4 along the channels, so that its 16-byte reads of X span 128 contiguous bytes and
//! those of W are shared. Along each side a thread's elements come in 16-byte vectors spread evenly over the tile
//! ([`Side::index`]): neighbours read neighbouring vectors, and no bank twice.

/// Positions of a tile.
pub const POSITIONS: u32 = 128;
/// Products k of one step.
pub const STEP: u32 = 8;
/// Positions of a thread.
pub const POSITION_MICRO: u32 = 8;
/// Threads along the positions.
pub const POSITION_THREADS: u32 = POSITIONS / POSITION_MICRO;

/// One side of a tile, held by `threads` threads of `micro` elements each, `vector` of them contiguous (16 bytes).
#[derive(Clone, Copy, Debug)]
pub struct Side {
    /// Threads along this side.
    pub threads: u32,
    /// Elements of a thread.
    pub micro: u32,
    /// Elements in 16 bytes.
    pub vector: u32,
}

impl Side {
    /// Elements of the side.
    pub const fn extent(&self) -> u32 {
        self.threads * self.micro
    }

    /// Where element `e` of `thread` lies along the side.
    #[inline(always)]
    pub const fn index(&self, thread: u32, e: u32) -> u32 {
        (e / self.vector) * (self.threads * self.vector) + thread * self.vector + e % self.vector
    }
}

/// A block's tile: `CHANNEL_MICRO` channels a thread by `CHANNEL_THREADS` threads, elements of `bytes` bytes.
#[derive(Clone, Copy, Debug)]
pub struct Tile {
    /// Channels of a thread.
    pub channel_micro: u32,
    /// Threads along the channels: a multiple of 4.
    pub channel_threads: u32,
    /// Bytes of an accumulator: 4 or 8.
    pub bytes: u32,
}

impl Tile {
    /// Elements in 16 bytes.
    pub const fn vector(&self) -> u32 {
        16 / self.bytes
    }
    /// Channels of the tile.
    pub const fn channels(&self) -> u32 {
        self.channel_micro * self.channel_threads
    }
    /// Threads of the block.
    pub const fn threads(&self) -> u32 {
        self.channel_threads * POSITION_THREADS
    }
    /// Warps of the block.
    pub const fn warps(&self) -> u32 {
        self.threads() / 32
    }
    /// The side of channels.
    pub const fn channel_side(&self) -> Side {
        Side { threads: self.channel_threads, micro: self.channel_micro, vector: self.vector() }
    }
    /// The side of positions.
    pub const fn position_side(&self) -> Side {
        Side { threads: POSITION_THREADS, micro: POSITION_MICRO, vector: self.vector() }
    }
    /// A thread's place: (along the channels, along the positions).
    #[inline(always)]
    pub const fn place(&self, warp: u32, lane: u32) -> (u32, u32) {
        (warp / 2 * 4 + lane / 8, warp % 2 * 8 + lane % 8)
    }
    /// Elements from one row of W (one k) to the next in shared memory: 16 bytes more than the channels, so that the
    /// transposing stores of a warp (8 k by 4 channels) fall into different banks.
    pub const fn channel_row(&self) -> u32 {
        self.channels() + self.vector()
    }
    /// Elements of one stage (X then W) in shared memory.
    pub const fn stage_elements(&self) -> u32 {
        STEP * (POSITIONS + self.channel_row())
    }
    /// Shared memory of a block in bytes: two stages. The epilogue reuses it.
    pub const fn shared_bytes(&self) -> u32 {
        2 * self.stage_elements() * self.bytes
    }
    /// Values of X that a thread brings in for a step.
    pub const fn position_loads(&self) -> u32 {
        STEP * POSITIONS / self.threads()
    }
    /// Rows of X (values of k) that the block brings in at once.
    pub const fn rows_at_once(&self) -> u32 {
        self.threads() / POSITIONS
    }
    /// Values of W that a thread brings in for a step.
    pub const fn channel_loads(&self) -> u32 {
        STEP * self.channels() / self.threads()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::conv_transpose_moments::TILES;
    use std::vec;

    #[test]
    fn each_element_of_a_tile_has_one_owner() {
        for tile in TILES {
            let (channels, positions) = (tile.channel_side(), tile.position_side());
            assert_eq!(positions.extent(), POSITIONS);
            let mut owners = vec![0; (channels.extent() * positions.extent()) as usize];
            for thread in 0..tile.threads() {
                let (c, p) = tile.place(thread / 32, thread % 32);
                for i in 0..channels.micro {
                    for j in 0..positions.micro {
                        owners[(channels.index(c, i) * POSITIONS + positions.index(p, j)) as usize] += 1;
                    }
                }
            }
            assert!(owners.iter().all(|&n| n == 1), "{tile:?}");
        }
    }

    #[test]
    fn loads_cover_a_stage_once_and_divide_evenly() {
        for tile in TILES {
            assert_eq!(tile.threads() % POSITIONS, 0);
            assert_eq!(tile.position_loads() * tile.rows_at_once(), STEP);
            assert_eq!(tile.channel_loads() * tile.threads(), STEP * tile.channels());
            assert_eq!(tile.warps() % 2, 0);
            assert!(tile.channels() <= tile.threads());
            assert!(tile.channel_loads() <= 4 && tile.position_loads() <= 8);
        }
    }

    #[test]
    fn vectors_are_16_byte_aligned() {
        for tile in TILES {
            for side in [tile.channel_side(), tile.position_side()] {
                assert_eq!(side.micro % side.vector, 0);
                for thread in 0..side.threads {
                    for e in (0..side.micro).step_by(side.vector as usize) {
                        assert_eq!(side.index(thread, e) * tile.bytes % 16, 0);
                        assert_eq!(side.index(thread, e) + side.vector - 1, side.index(thread, e + side.vector - 1));
                    }
                }
            }
            assert_eq!(tile.channel_row() * tile.bytes % 16, 0);
        }
    }

    /// A warp's reads of one vector, and its transposing stores of W, touch each bank once a phase of 128 bytes.
    #[test]
    fn shared_memory_accesses_of_a_warp_do_not_conflict() {
        for tile in TILES {
            let words = tile.bytes / 4;
            let lanes_a_phase = 32 / words;
            for first in (0..32).step_by(lanes_a_phase as usize) {
                let mut banks = [0; 32];
                for lane in first..first + lanes_a_phase {
                    let element = (lane % STEP) * tile.channel_row() + lane / STEP;
                    for word in 0..words {
                        banks[((element * words + word) % 32) as usize] += 1;
                    }
                }
                assert!(banks.iter().all(|&n| n == 1), "{tile:?}: {banks:?}");
            }
            let side = tile.position_side();
            let span = side.index(7, side.vector - 1) - side.index(0, 0) + 1;
            assert_eq!(span * tile.bytes, 128, "8 lanes read 128 contiguous bytes of X");
        }
    }
}
