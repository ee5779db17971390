//! Where things lie in the shared memory of [`dft_volume`](crate::dft_volume), in words, and what fits.
//!
//! ```text
//! 0: where the four tables lie   SUMS: Σ x, Σ |x| of the warps   VOLUME: (N0, N1, N2 | 1)   tables of the axes 0, 1, 2; 0 scaled
//! ```

use crate::dft_volume::SPEC;
use crate::row_transform::Folding;
use crate::spectrum::Spectrum;

/// Warps of a block.
pub const WARPS: u32 = SPEC.threads / 32;

/// The folding of an axis, with the number of terms that there is code for: enough, or 0.
#[inline(always)]
pub const fn folding(spectrum: &Spectrum, axis: usize) -> Folding {
    let folding = Folding::new(spectrum.shape.input[axis], spectrum.n()[axis]);
    folding.with_terms(match (folding.even, folding.terms) {
        (true, ..=6) => 6,
        (true, ..=10) => 10,
        (_, ..=18) => 18,
        _ => 0,
    })
}

/// Words from one row of the volume in shared memory to the next: odd, so that a thread a row meets each bank once.
#[inline(always)]
pub const fn stride(spectrum: &Spectrum) -> u32 {
    spectrum.n()[2] | 1
}

/// Σ x and Σ |x| of the warps, as f64.
pub const SUMS: u32 = 4;
/// The volume, (N0, N1, N2).
pub const VOLUME: u32 = SUMS + 4 * WARPS;

/// Where the tables of the axes 0, 1, 2 and that of axis 0 times 2^−e lie, and where the last ends.
#[inline(always)]
pub const fn tables(spectrum: &Spectrum) -> [u32; 5] {
    let outer = VOLUME + (spectrum.n()[0] * spectrum.n()[1] * stride(spectrum)).next_multiple_of(4);
    let half = outer + folding(spectrum, 0).table();
    let pair = half + folding(spectrum, 1).table();
    let scaled = pair + folding(spectrum, 2).table();
    [outer, half, pair, scaled, scaled + folding(spectrum, 0).table()]
}

/// Shared memory of a block, if the volume [`fits`].
pub const fn shared_bytes(spectrum: &Spectrum) -> u32 {
    4 * tables(spectrum)[4]
}

/// Whether the kernel takes the extents, in blocks of at most that much shared memory; the axis path takes any.
pub const fn fits(spectrum: &Spectrum, shared_limit: u32) -> bool {
    let n = spectrum.n();
    let mut axis = 0;
    while axis < 3 {
        if folding(spectrum, axis).terms == 0 || n[axis] >= 1 << 16 {
            return false;
        }
        axis += 1;
    }
    n[0] as u64 * n[1] as u64 * (stride(spectrum) as u64) < 1 << 20 && shared_bytes(spectrum) <= shared_limit
}
