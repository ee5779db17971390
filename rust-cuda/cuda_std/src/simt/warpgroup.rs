//! Products of warpgroups in the executor: every lane reads its share of the factors, and each computes its elements of D.

use std::sync::atomic::{AtomicU64, Ordering};

use super::block::At;
use super::finding::AccessKind;
use super::ops::{self, with};
use crate::convert::{Bf16, F16};
use crate::fragment::accumulator;
use crate::thread::thread_idx_x;
use crate::wgmma::{ROW_BYTES, Rows};

/// Bytes of a piece of a row.
const PIECE: u32 = 16;
/// Words of the two pieces of a row that a product takes.
const WORDS: usize = 8;
/// Rows of 64 of A that a warp multiplies.
const OWN: u32 = 16;

/// Whether the running grid is of a device that has warpgroups.
pub(crate) fn is_available() -> bool {
    with(|block| block.warpgroups)
}

pub(crate) fn f16(bits: u16) -> f32 {
    F16::from_bits(bits).to_f32()
}

pub(crate) fn bf16(bits: u16) -> f32 {
    Bf16::from_bits(bits).to_f32()
}

/// What the two halves of D are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Halves {
    Rows,
    Columns,
}

/// Products that were started. They are made when they are waited for: what is stored meanwhile where the factors are makes them wrong.
pub(crate) struct Products<const TILES: usize> {
    operation: &'static str,
    halves: Halves,
    factors: Vec<[Rows; 2]>,
    value: fn(u16) -> f32,
    at: At,
    /// Greater than of all products started before.
    number: u64,
}

/// Products that were started so far, in all grids.
static STARTED: AtomicU64 = AtomicU64::new(0);

impl<const TILES: usize> Products<TILES> {
    pub(crate) fn start(
        operation: &'static str,
        halves: Halves,
        factors: &[[Rows; 2]],
        value: fn(u16) -> f32,
        at: At,
    ) -> Self {
        ops::collective(operation, u32::MAX, Vec::new(), at);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        Self { operation, halves, factors: factors.to_vec(), value, at, number }
    }

    /// Panics unless `next` was started behind these: waiting while it goes on would wait for it, and not for these.
    pub(crate) fn assert_before<const NEXT: usize>(&self, next: &Products<NEXT>) {
        assert!(self.number < next.number, "products are waited for while others go on that were started before them");
    }

    pub(crate) fn wait(self) -> [[[f32; 4]; TILES]; 2] {
        let (lane, warp) = (ops::lane(), thread_idx_x() / 32 % 4);
        let mut d = [[[0f32; 4]; TILES]; 2];
        // Halves of A's rows and of B's.
        let (of_a, of_b) = if self.halves == Halves::Rows { (2, 1) } else { (1, 2) };
        for [a, b] in &self.factors {
            // Row r of the warp's rows of A, then of B, is lane r mod 32's to read.
            let own = of_a * OWN;
            let rows = own + of_b * 8 * TILES as u32;
            let address = |row: u32| match row.checked_sub(own) {
                None => a.row(64 * (row / OWN) + OWN * warp + row % OWN),
                Some(row) => b.row(row),
            };
            let words = (lane..rows).step_by(32).flat_map(|row| read(address(row), self.at)).collect();
            let lanes = ops::collective(self.operation, u32::MAX, words, self.at);
            let values: Vec<f64> = (0..rows as usize * 2 * WORDS)
                .map(|i| {
                    let (row, k) = (i / (2 * WORDS), i % (2 * WORDS));
                    let word = lanes[row % 32][row / 32 * WORDS + k / 2];
                    f64::from((self.value)((word >> (k % 2 * 16)) as u16))
                })
                .collect();
            let elements = |row: u32| &values[row as usize * 2 * WORDS..][..2 * WORDS];
            for (tile, sums) in d.as_flattened_mut().iter_mut().enumerate() {
                for (i, sum) in sums.iter_mut().enumerate() {
                    let (row, column) = accumulator(lane, i as u32);
                    let half = (tile / TILES) as u32;
                    let (lower, right) = if self.halves == Halves::Rows { (half, 0) } else { (0, half) };
                    let row = elements(lower * OWN + row);
                    let column = elements(own + 8 * (right * TILES as u32 + (tile % TILES) as u32) + column);
                    for (a, b) in row.iter().zip(column) {
                        *sum = (f64::from(*sum) + a * b) as f32;
                    }
                }
            }
        }
        d
    }
}

/// The two pieces that begin at `start`, but for swizzling.
fn read(start: u32, at: At) -> [u32; WORDS] {
    let mut words = [0; WORDS];
    for (piece, words) in words.chunks_mut(4).enumerate() {
        let plain = start + PIECE * piece as u32;
        let address = plain ^ (plain / ROW_BYTES % 8 * PIECE);
        let mut bytes = [0; PIECE as usize];
        with(|block| {
            let access = block.access(AccessKind::Read, at);
            block.check_proxy(address, PIECE, access);
            block.read_shared(address, &mut bytes, at);
        });
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*bytes);
        }
    }
    words
}
