//! 8 × 8 matrices of 16-bit elements between shared memory and the registers of a warp: `ldmatrix` and `stmatrix`.
//!
//! A warp moves 1, 2 or 4 matrices at once. Lanes 0–7 say where the eight rows of the first lie, lanes 8–15 those of the
//! second, and so on: each row is 16 bytes at a 16-byte boundary, anywhere in shared memory. The rows that other lanes name
//! are not looked at. Register j of lane l holds two elements of matrix j: those of
//! [`fragment::tile`](crate::fragment::tile)(l, 0) in its low half and (l, 1) in its high half; `_trans` moves the
//! transposed matrix. Four tiles are A's fragment of [`mma`](crate::mma), two are B's where B is stored by columns (`_trans`:
//! by rows). An 8 × 4 matrix of 32-bit elements moves as pairs of halves: that is tf32's layout.
//!
//! All lanes of the warp call them together. A load reads, and a store writes, for each row as the lane that names it: others
//! need a barrier as for any access of that lane. `ldmatrix` needs compute capability 7.5, `stmatrix` 9.0 (code that calls it
//! does not assemble for less).

#[cfg(not(target_arch = "nvptx64"))]
use std::panic::Location;

use crate::Word;
#[cfg(not(target_arch = "nvptx64"))]
use crate::fragment::{holder_tile, tile};
use crate::shared::Shared;
#[cfg(not(target_arch = "nvptx64"))]
use crate::simt::ops;

// PTX ISA, sections "ldmatrix" and "stmatrix".
macro_rules! matrices {
    ($($count:tt, $shape:literal, $ld:ident, $ld_trans:ident, $st:ident, $st_trans:ident, $list:literal, $address:literal, [$($i:literal),+];)*) => { $(
        matrices!(@load $count, $shape, $ld, ".shared.b16", false, $list, $address, [$($i),+], "");
        matrices!(@load $count, $shape, $ld_trans, ".trans.shared.b16", true, $list, $address, [$($i),+], ", each transposed");
        matrices!(@store $count, $shape, $st, ".shared.b16", false, [$($i),+], "");
        matrices!(@store $count, $shape, $st_trans, ".trans.shared.b16", true, [$($i),+], ", each transposed");
    )* };
    (@load $count:tt, $shape:literal, $name:ident, $qualifiers:literal, $trans:literal, $list:literal, $address:literal, [$($i:literal),+], $said:literal) => {
        #[doc = concat!("Loads ", $count, " of the 8 × 8 matrices", $said, ".")]
        ///
        /// # Safety
        /// The 16 bytes from `row` on of the lanes that name rows are as for [`Shared::load_16`].
        #[inline(always)]
        #[track_caller]
        pub unsafe fn $name<T: Word>(row: Shared<T>) -> [u32; $count] {
            #[cfg(target_arch = "nvptx64")]
            {
                let mut registers = [0u32; $count];
                // SAFETY: the caller's promise.
                unsafe {
                    core::arch::asm!(
                        concat!("ldmatrix.sync.aligned.m8n8.", $shape, $qualifiers, " ", $list, ", [", $address, "];"),
                        $(out(reg32) registers[$i],)+ in(reg32) row.address(), options(nostack));
                }
                registers
            }
            #[cfg(not(target_arch = "nvptx64"))]
            {
                let operation = concat!("ldmatrix.sync.aligned.m8n8.", $shape, $qualifiers);
                load(operation, row.address(), $trans, Location::caller())
            }
        }
    };
    (@store $count:tt, $shape:literal, $name:ident, $qualifiers:literal, $trans:literal, [$($i:literal),+], $said:literal) => {
        #[doc = concat!("Stores ", $count, " of the 8 × 8 matrices", $said, ".")]
        ///
        /// # Safety
        /// The 16 bytes from `row` on of the lanes that name rows lie in the launch's shared memory on a 16-byte boundary, and
        /// no other thread accesses them since the last barrier.
        #[inline(always)]
        #[track_caller]
        pub unsafe fn $name<T: Word>(row: Shared<T>, registers: [u32; $count]) {
            #[cfg(target_arch = "nvptx64")]
            // SAFETY: the caller's promise.
            unsafe {
                core::arch::asm!(
                    concat!("stmatrix.sync.aligned.m8n8.", $shape, $qualifiers, " [{0}], ", matrices!(@stored $count), ";"),
                    in(reg32) row.address(), $(in(reg32) registers[$i],)+ options(nostack));
            }
            #[cfg(not(target_arch = "nvptx64"))]
            {
                let operation = concat!("stmatrix.sync.aligned.m8n8.", $shape, $qualifiers);
                store(operation, row.address(), registers, $trans, Location::caller());
            }
        }
    };
    (@stored 1) => { "{{{1}}}" };
    (@stored 2) => { "{{{1}, {2}}}" };
    (@stored 4) => { "{{{1}, {2}, {3}, {4}}}" };
}
matrices! {
    1, "x1", ldmatrix_x1, ldmatrix_x1_trans, stmatrix_x1, stmatrix_x1_trans, "{{{0}}}", "{1}", [0];
    2, "x2", ldmatrix_x2, ldmatrix_x2_trans, stmatrix_x2, stmatrix_x2_trans, "{{{0}, {1}}}", "{2}", [0, 1];
    4, "x4", ldmatrix_x4, ldmatrix_x4_trans, stmatrix_x4, stmatrix_x4_trans, "{{{0}, {1}, {2}, {3}}}", "{4}", [0, 1, 2, 3];
}

/// Element `column` of a row of four registers.
#[cfg(not(target_arch = "nvptx64"))]
fn element(row: &[u32], column: u32) -> u32 {
    row[column as usize / 2] >> (column % 2 * 16) & 0xffff
}

/// Every lane that names a row reads it; all exchange them; each takes its elements.
#[cfg(not(target_arch = "nvptx64"))]
fn load<const COUNT: usize>(
    operation: &'static str,
    row: u32,
    trans: bool,
    at: &'static Location<'static>,
) -> [u32; COUNT] {
    let lane = ops::lane();
    let mut bytes = [0; 16];
    if lane < 8 * COUNT as u32 {
        ops::read_shared(row, &mut bytes, at);
    }
    let words = bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
    let rows = ops::collective(operation, u32::MAX, words, at);
    std::array::from_fn(|matrix| {
        let half = |i: u32| {
            let (row, column) = if trans { transposed(tile(lane, i)) } else { tile(lane, i) };
            element(&rows[8 * matrix + row as usize], column)
        };
        half(0) | half(1) << 16
    })
}

/// All exchange their registers; every lane that names a row writes it.
#[cfg(not(target_arch = "nvptx64"))]
fn store<const COUNT: usize>(
    operation: &'static str,
    row: u32,
    registers: [u32; COUNT],
    trans: bool,
    at: &'static Location<'static>,
) {
    let lane = ops::lane();
    let given = ops::collective(operation, u32::MAX, registers.to_vec(), at);
    if lane >= 8 * COUNT as u32 {
        return;
    }
    let mut bytes = [0; 16];
    for (column, bytes) in bytes.as_chunks_mut::<2>().0.iter_mut().enumerate() {
        let place = (lane % 8, column as u32);
        let place = if trans { transposed(place) } else { place };
        let (holder, i) = holder_tile(place.0, place.1);
        *bytes = ((given[holder as usize][lane as usize / 8] >> (i * 16)) as u16).to_le_bytes();
    }
    ops::write_shared(row, &bytes, at);
}

#[cfg(not(target_arch = "nvptx64"))]
fn transposed((row, column): (u32, u32)) -> (u32, u32) {
    (column, row)
}
