//! The spectrum's words from the components that the three passes of [`dft_axis`](crate::dft_axis) left in global memory.
//!
//! ```text
//! high, low = X·2^−e rounded,    X_{±fo,fr,±fp} of eight real components: see [`spectrum_store`](crate::spectrum_store)
//! ```
//!
//! One thread a (volume, fo ≤ N0/2, fr, unit), units fastest: both lines ±fo of its unit. Reads and writes everything once.
//!
//! **Launch.** One dimension, any number of blocks; volumes of a cut.

use cuda_std::global::{Global, GlobalMut};
use cuda_std::launch::KernelSpec;

use crate::spectrum::Spectrum;

/// The parameters.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DftStore {
    /// The components (volume, N0, N1, N2) of this cut of the volumes.
    pub components: Global<f32>,
    /// e of each row, (ci, b): all rows'.
    pub exponent: Global<i32>,
    /// Out: as [`VolumeTransform::high`](crate::volume_transform::VolumeTransform::high).
    pub high: GlobalMut<u32>,
    /// Out: as [`VolumeTransform::low`](crate::volume_transform::VolumeTransform::low).
    pub low: GlobalMut<u32>,
    /// The extents; all volumes.
    pub spectrum: Spectrum,
    /// The cut's first volume, b·Cin + ci.
    pub first_volume: u32,
    /// Volumes of the cut.
    pub volumes: u32,
}

/// The launch.
pub const SPEC: KernelSpec = KernelSpec { name: "dft_store", threads: 256, min_blocks: 4, shared_bytes: 0 };

pub mod device {
    //! The device code.
    use cuda_std::thread::{grid_dim_x, index_1d};
    use cuda_std::{kernel, unroll};

    use super::*;
    use crate::conv_shape::div_rem;
    use crate::spectrum::{div, rem};
    use crate::spectrum_store::device::{Store, UnitStore};
    use crate::spectrum_store::{Unit, scale};

    /// See the module.
    ///
    /// # Safety
    /// The arrays hold what the fields say and nobody else accesses the outputs; the launch is as [`SPEC`] says.
    #[kernel(max_threads = 256, min_blocks = 4)]
    pub unsafe fn dft_store(p: DftStore) {
        let (s, n) = (&p.spectrum, p.spectrum.n());
        let (units, lines) = (Unit::count(s), (n[0] / 2 + 1) as u64 * s.half() as u64);
        let items = p.volumes as u64 * lines * units as u64;
        let mut item = index_1d();
        while item < items {
            let (line, unit) = div_rem(item, units as u64);
            let (volume, line) = div_rem(line, lines);
            let (fo, fr) = div_rem(line, s.half() as u64);
            let (fo, fr, unit) = (fo as u32, fr as u32, Unit::new(unit as u32, s));
            let fp = unit.frequency.unwrap_or(0);
            let sines = [fo > 0 && 2 * fo != n[0], fr > 0 && 2 * fr != n[1], unit.is_pair()];
            let mut components = [[0f32; 2]; 4];
            unroll!(i < 8, {
                let (o, r, q) = (i % 2 == 1, i / 2 % 2 == 1, i / 4 == 1);
                if (!o || sines[0]) && (!r || sines[1]) && (!q || sines[2]) {
                    let at = |sine: bool, f: u32, n: u32| if sine { n - f } else { f } as u64;
                    let row = (volume * n[0] as u64 + at(o, fo, n[0])) * n[1] as u64 + at(r, fr, n[1]);
                    // SAFETY: a component of a volume of the cut.
                    components[i / 2][i % 2] = unsafe { p.components.load(row * n[2] as u64 + at(q, fp, n[2])) };
                }
            });
            let volume = p.first_volume + volume as u32;
            let row = rem(volume, s.shape.in_channels) * s.shape.batch + div(volume, s.shape.in_channels);
            // SAFETY: a row.
            let scale = scale(unsafe { p.exponent.load(row as u64) });
            unroll!(i < 8, {
                components[i / 2][i % 2] *= scale;
            });
            let store = UnitStore::new(s, Store { high: p.high, low: p.low, row }, (fo, fr), unit);
            // SAFETY: each (volume, ±fo, fr, unit) has one thread.
            unsafe { store.both(&components) };
            item += grid_dim_x() as u64 * SPEC.threads as u64;
        }
    }
}
