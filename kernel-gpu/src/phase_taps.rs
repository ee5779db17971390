//! The taps of each phase of a strided convolution, and of the groups of a bundle, side by side: as the output channels of a convolution of stride 1.
//!
//! ```text
//! w'[ci, c·Φ + φ, j] = w[ci, c, k],   k_a = φ_a + j_a·step_a   (0 where k_a ≥ K_a)          φ = (φ_0·Φ_1 + φ_1)·Φ_2 + φ_2,  Φ = Φ_0·Φ_1·Φ_2
//! ```
//!
//! c counts the output channels of the bundle's groups, one group after the other; where ci is of another group than c, w' is 0.
//!
//! With a stride, taps that are `step` apart meet the same output positions and no others, those of a **phase**: each is a convolution by
//! itself, of the same input (see [`spectral_finish`](crate::spectral_finish) for what their sums make of the whole).
//!
//! **Cost.** Reads w and writes as many f32 for each group of a bundle, with the zeros of phases that have a tap less: a thread an element, any
//! number of blocks.

use cuda_std::global::GlobalMut;
use cuda_std::launch::KernelSpec;

use crate::conv_shape::div_rem;
use crate::element::Tensor;
use crate::phased_conv::split;

/// The parameters.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PhaseTaps {
    /// w (Cin·Cout/groups, K0, K1, K2).
    pub kernel: Tensor<f32>,
    /// Out: w' (Cin, bundle·Cout/groups, Φ, J0, J1, J2).
    pub taps: GlobalMut<f32>,
    /// Cin.
    pub in_channels: u32,
    /// Cin/groups and Cout/groups.
    pub group: [u32; 2],
    /// Groups of a bundle.
    pub bundle: u32,
    /// K.
    pub whole: [u32; 3],
    /// Φ_a.
    pub phases: [u32; 3],
    /// From one tap of a phase to the next.
    pub step: [u32; 3],
    /// J: taps of the longest phase.
    pub part: [u32; 3],
}

/// The launch.
pub const SPEC: KernelSpec = KernelSpec { name: "phase_taps", threads: 256, min_blocks: 4, shared_bytes: 0 };

impl PhaseTaps {
    /// Elements of a row of w'.
    #[inline(always)]
    const fn row(&self) -> u32 {
        let ([a, b, c], [d, e, f]) = (self.phases, self.part);
        a * b * c * d * e * f
    }

    /// Rows of w'.
    #[inline(always)]
    const fn rows(&self) -> u64 {
        (self.in_channels as u64).saturating_mul(self.bundle as u64).saturating_mul(self.group[1] as u64)
    }

    /// Blocks that have work.
    pub const fn blocks(&self) -> u64 {
        self.rows().saturating_mul(self.row() as u64).div_ceil(SPEC.threads as u64)
    }

    /// The row of w that is that row of w', if there is one.
    #[inline(always)]
    pub const fn row_of(&self, row: u64) -> Option<u64> {
        let [ins, outs] = self.group;
        let (rest, c) = div_rem(row, outs as u64);
        let (ci, group) = div_rem(rest, self.bundle as u64);
        if split(split(ci as u32, ins).0, self.bundle).1 as u64 == group { Some(ci * outs as u64 + c) } else { None }
    }

    /// The tap of w that is element `at` of a row of w', if there is one.
    #[inline(always)]
    pub const fn tap(&self, at: u32) -> Option<u32> {
        let (rest, j2) = split(at, self.part[2]);
        let (rest, j1) = split(rest, self.part[1]);
        let (rest, j0) = split(rest, self.part[0]);
        let (rest, phase2) = split(rest, self.phases[2]);
        let (phase0, phase1) = split(rest, self.phases[1]);
        let k0 = phase0 + j0 * self.step[0];
        let k1 = phase1 + j1 * self.step[1];
        let k2 = phase2 + j2 * self.step[2];
        if k0 < self.whole[0] && k1 < self.whole[1] && k2 < self.whole[2] {
            Some((k0 * self.whole[1] + k1) * self.whole[2] + k2)
        } else {
            None
        }
    }
}

pub mod device {
    //! The device code.
    use cuda_std::kernel;
    use cuda_std::thread::{block_idx_x, grid_dim_x, thread_idx_x};

    use super::*;

    /// See the module.
    ///
    /// # Safety
    /// The arrays hold what the fields say, of fewer than 2^32 taps a row, and nobody else accesses the output; the launch is as [`SPEC`] says.
    #[kernel(max_threads = 256, min_blocks = 4)]
    pub unsafe fn phase_taps(p: PhaseTaps) {
        let whole = (p.whole[0] * p.whole[1] * p.whole[2]) as u64;
        let elements = p.rows() * p.row() as u64;
        let mut at = block_idx_x() as u64 * SPEC.threads as u64 + thread_idx_x() as u64;
        while at < elements {
            let (row, place) = div_rem(at, p.row() as u64);
            let value = match (p.row_of(row), p.tap(place as u32)) {
                // SAFETY: a row and a tap that exist.
                (Some(row), Some(tap)) => unsafe { p.kernel.load(row * whole + tap as u64) },
                _ => 0.0,
            };
            // SAFETY: at < rows·row; one thread an element.
            unsafe { p.taps.store(at, value) };
            at += grid_dim_x() as u64 * SPEC.threads as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use cuda_std::global::GlobalMut;
    use std::vec;

    use super::*;
    use crate::element::{ElementType, Tensor};

    /// Each tap is in one phase; what is left over are zeros.
    #[test]
    fn every_tap_has_one_place() {
        for (whole, step) in
            [([5, 1, 4], [2, 3, 1]), ([3, 3, 3], [2, 2, 2]), ([4, 2, 7], [5, 2, 3]), ([1, 1, 1], [9, 1, 1])]
        {
            let phases = [0, 1, 2].map(|a: usize| Ord::min(whole[a], step[a]));
            let part = [0, 1, 2].map(|a: usize| u32::div_ceil(whole[a], step[a]));
            let kernel = Tensor::new(0, ElementType::F32);
            let (taps, group) = (GlobalMut::null(), [1, 1]);
            let p = PhaseTaps { kernel, taps, in_channels: 1, group, bundle: 1, whole, phases, step, part };
            let mut seen = vec![0; (whole[0] * whole[1] * whole[2]) as usize];
            let mut zeros = 0;
            for at in 0..p.row() {
                match p.tap(at) {
                    Some(tap) => seen[tap as usize] += 1,
                    None => zeros += 1,
                }
            }
            assert!(seen.iter().all(|&times| times == 1), "{whole:?} {step:?}: {seen:?}");
            assert_eq!(zeros + seen.len() as u32, p.row());
        }
    }

    /// Six groups of two and three channels, three a bundle: each row of w has one place, where both channels are of its group.
    #[test]
    fn groups_of_a_bundle_lie_side_by_side() {
        let (kernel, taps, extents) = (Tensor::new(0, ElementType::F32), GlobalMut::null(), [1; 3]);
        let p = PhaseTaps {
            kernel,
            taps,
            in_channels: 12,
            group: [2, 3],
            bundle: 3,
            whole: extents,
            phases: extents,
            step: extents,
            part: extents,
        };
        let mut seen = [0; 12 * 3];
        for row in 0..p.rows() {
            let (ci, c) = (row / 9, row % 9);
            let own = ci / 2 % 3 == c / 3;
            assert_eq!(p.row_of(row), own.then_some(ci * 3 + c % 3));
            p.row_of(row).into_iter().for_each(|row| seen[row as usize] += 1);
        }
        assert!(seen.iter().all(|&times| times == 1));
    }
}
