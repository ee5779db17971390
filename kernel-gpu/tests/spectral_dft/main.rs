//! The transforms of x in the SIMT executor: clean and the same bits under every schedule, against the definition in f64.

mod case;
mod check;
mod launch;
mod reference;
#[path = "../tensors/mod.rs"]
mod tensors;

use case::Case;
use cuda_std::simt::Schedule;
use kernel_gpu::volume_fft_layout::VolumeFftLayout;
use kernel_gpu::volume_layout::VolumeLayout;
use kernel_gpu::volume_transform::{FORM_8, FORM_HELD_4, FORM_HELD_8};
use launch::{Launch, volume_transform, with};

/// Lengths N of every kind along every axis: 4 divides N, 2 does, odd, prime, 1; D even and odd, D = N.
fn lengths() -> Vec<Case> {
    let cases = [
        ([4, 6, 6], [1, 3, 3]),
        ([3, 5, 7], [2, 4, 2]),
        ([6, 3, 4], [3, 5, 3]),
        ([1, 7, 5], [1, 3, 3]),
        ([5, 1, 9], [3, 1, 4]),
        ([7, 6, 1], [5, 2, 1]),
        ([1, 1, 13], [1, 1, 1]),
        ([2, 2, 2], [1, 1, 1]),
        ([8, 9, 11], [1, 4, 3]),
        ([1, 1, 1], [1, 1, 1]),
        ([1, 1, 1], [3, 2, 5]),
    ];
    cases.map(|(input, kernel)| Case::new(input, kernel)).to_vec()
}

#[test]
fn every_kind_of_length() {
    for case in lengths() {
        check::check(&case, volume_transform(with(FORM_HELD_8)));
        check::check(&case, launch::axis_path(4));
        check::check(&case.clone().all_strict(), volume_transform(with(FORM_HELD_4)));
        check::check(&case, volume_transform(with(FORM_8)));
        check::check(&case.all_strict(), launch::axis_path(100));
    }
}

/// Axis by axis, x is read once for its sums, and by the first pass.
#[test]
fn sixteen_bits() {
    for element in tensors::NARROW {
        for case in lengths().into_iter().step_by(2) {
            let case = Case { element, ..case };
            check::check(&case, volume_transform(with(FORM_HELD_8)));
            check::check(&case, launch::axis_path(4));
        }
        // Quads at once, and element by element where x begins between their boundaries.
        let quads = Case { element, ..Case::new([4, 6, 8], [1, 3, 3]) };
        for skipped in [0, 1] {
            check::check(&quads, volume_transform(Launch { skipped, ..with(FORM_HELD_4) }));
            check::check(&quads, volume_transform(Launch { skipped, ..with(FORM_8) }));
        }
        let long = Case::new([3, 70, 5], [1, 4, 2]).single();
        check::check(&Case { element, ..long }, launch::axis_path(1));
        let large = Case::new([4, 6, 6], [1, 3, 3]).values(100.0, 60_000.0);
        check::check(&Case { element, ..large.clone() }, launch::axis_path(3));
        check::check(&Case { element, ..large }, volume_transform(with(FORM_HELD_4)));
    }
}

#[test]
fn zeros_small_and_large_values() {
    for (low, high) in [(0.0, 0.0), (1e-30, 1e-30), (-1e30, 1e30), (100.0, 100.001), (1e-42, 1e-41)] {
        let case = Case::new([4, 6, 6], [1, 3, 3]).values(low, high);
        check::check(&case, volume_transform(with(FORM_HELD_4)));
        check::check(&case, launch::axis_path(3));
    }
}

/// What varies is far below the mean: at frequencies where a box of ones has nothing, what is stored is right to a part of that.
#[test]
fn little_beside_a_large_mean() {
    let case = Case::new([16, 32, 32], [1, 1, 1]).values(256.5, 256.503).single();
    for form in [FORM_HELD_8, FORM_8] {
        check::energy(&case, &volume_transform(with(form))(&case, Schedule::InOrder));
    }
}

#[test]
fn a_value_that_is_not_finite_reaches_every_coefficient() {
    for value in [f32::NAN, f32::INFINITY] {
        let case = Case::new([3, 3, 4], [2, 2, 1]);
        let mut x = case.input();
        x[5] = value;
        let s = case.spectrum;
        for stored in [
            launch::volume_transform_of(with(FORM_HELD_4), &case, Schedule::InOrder, &x),
            launch::volume_fft_of(1, 0, &case, Schedule::InOrder, &x),
        ] {
            assert!(!stored.sum[0].is_finite() && stored.sum[1].is_finite());
            for line in 1..s.lines() as usize {
                let word = stored.high[line * (s.rows() * s.slots()) as usize];
                assert!(word & 0x7c00 == 0x7c00 || word & 0x7c00_0000 == 0x7c00_0000, "{word:#x}");
            }
        }
    }
}

/// Many products a warp, several steps along each axis.
#[test]
fn larger_volumes() {
    let cases = [
        ([16, 32, 32], [5, 5, 5], FORM_HELD_8),
        ([16, 9, 35], [3, 3, 3], FORM_HELD_4),
        ([18, 9, 35], [3, 4, 2], FORM_8),
        ([35, 5, 62], [2, 3, 7], FORM_8),
    ];
    for (input, kernel, form) in cases {
        check::check(&Case::new(input, kernel).single(), volume_transform(with(form)));
    }
}

/// Held columns of every length, and a block that goes through three volumes.
#[test]
fn columns_of_every_length() {
    for length in 1..=16 {
        check::check(&Case::new([length, 2, 4], [3, 1, 1]), volume_transform(with(FORM_HELD_4)));
    }
    for skipped in [0, 3] {
        for form in [FORM_HELD_4, FORM_HELD_8, FORM_8] {
            check::check(&Case::new([5, 18, 20], [2, 3, 3]), volume_transform(Launch { skipped, ..with(form) }));
        }
    }
    assert!(FORM_HELD_4.takes([16, 16, 33]) && !FORM_HELD_8.takes([17, 1, 1]) && FORM_8.takes([17, 1, 1]));
}

/// Several blocks a volume, each with some of the frequencies along outer.
#[test]
fn shared_volumes() {
    for (input, groups) in [([12, 18, 20], 2), ([11, 18, 20], 3), ([1, 33, 20], 1)] {
        let case = Case::new(input, [5, 3, 3]);
        for form in [FORM_HELD_8, FORM_8] {
            let limit = (40..227).map(|kib| kib << 10).find(|&limit| {
                let layout = VolumeLayout::design(&case.spectrum, form.warps(), limit);
                layout.is_some_and(|layout| layout.groups == groups)
            });
            check::check(&case, volume_transform(Launch { limit: limit.expect("such a limit"), ..with(form) }));
        }
    }
}

/// Every length along every axis.
#[test]
fn short_lengths() {
    let lengths = kernel_gpu::short_dft::LENGTHS;
    let mut tested = std::collections::HashSet::new();
    for (i, &n) in lengths.iter().enumerate() {
        for axis in 0..3 {
            // The other two are short; kernels of 1 to 3, none longer than its axis.
            let mut n = [n, lengths[i % 5], lengths[(i + 2) % 5]];
            n.rotate_right(axis);
            let kernel = [1 + i as u32 % 2, 1 + i as u32 % 3, 1 + (i as u32 + 1) % 3];
            let case = Case::new([0, 1, 2].map(|axis| n[axis] + 1 - kernel[axis]), kernel).single();
            assert!(VolumeFftLayout::design(&case.spectrum, 227 << 10).is_some(), "{case:?}");
            check::against_definition(&case, &launch::volume_fft(1)(&case, Schedule::Random(3)));
            tested.insert((axis, n[axis]));
        }
    }
    assert_eq!(tested.len(), 3 * lengths.len());
}

/// Elements of every format, at any place, rows of whole pairs and others, several volumes a block, of which the last has fewer.
#[test]
fn volumes_of_short_lengths() {
    for (input, kernel) in [([4, 8, 10], [1, 1, 1]), ([7, 8, 6], [2, 3, 3]), ([5, 9, 17], [5, 2, 2])] {
        for element in [tensors::own::<f32>(), tensors::NARROW[0], tensors::NARROW[1]] {
            let case = Case { element, ..Case::new(input, kernel) };
            check::check(&case, launch::volume_fft(1));
            check::check(&case.clone().all_strict(), launch::volume_fft(4));
            check::check(&case, |case, schedule| launch::volume_fft_of(2, 1, case, schedule, &case.input()));
        }
    }
    check::check(&Case::new([16, 32, 32], [5, 5, 5]).single(), launch::volume_fft(1));
    // Kernels of nine taps.
    check::check(&Case::new([12, 10, 28], [9, 9, 9]).single(), launch::volume_fft(1));
    for (low, high) in [(0.0, 0.0), (1e-30, 1e-30), (-1e30, 1e30), (100.0, 100.001), (1e-42, 1e-41)] {
        check::check(&Case::new([4, 6, 6], [1, 3, 3]).values(low, high), launch::volume_fft(2));
    }
    let case = Case::new([16, 32, 32], [1, 1, 1]).values(256.5, 256.503).single();
    check::energy(&case, &launch::volume_fft(1)(&case, Schedule::InOrder));
}

/// Tiles with tails on every side, on either kind of axis.
#[test]
fn long_axes() {
    for (input, kernel) in [([2, 3, 200], [2, 2, 11]), ([3, 70, 5], [1, 4, 2]), ([67, 2, 17], [66, 2, 3])] {
        check::check(&Case::new(input, kernel).single(), launch::axis_path(1));
    }
}
