//! The transforms of x in the SIMT executor: clean and the same bits under every schedule, against the definition in f64.

mod case;
mod check;
mod launch;
mod reference;
#[path = "../tensors/mod.rs"]
mod tensors;

use case::Case;
use launch::{Form, LARGE, SMALL, volume_transform};

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
        check::check(&case, volume_transform(LARGE));
        check::check(&case, launch::axis_path(4));
        check::check(&case.clone().all_strict(), volume_transform(SMALL));
        check::check(&case.all_strict(), launch::axis_path(100));
    }
}

/// Axis by axis, x is read once for its sums, and by the first pass.
#[test]
fn sixteen_bits() {
    for element in tensors::NARROW {
        for case in lengths().into_iter().step_by(2) {
            let case = Case { element, ..case };
            check::check(&case, volume_transform(LARGE));
            check::check(&case, launch::axis_path(4));
        }
        // With and without a copy in shared memory.
        let copied = Case { element, ..Case::new([4, 6, 8], [1, 3, 3]) };
        assert!(launch::layout(SMALL, &copied).input > 0);
        check::check(&copied, volume_transform(SMALL));
        check::check(&copied, volume_transform(Form { copies: false, ..SMALL }));
        let long = Case::new([3, 70, 5], [1, 4, 2]).single();
        check::check(&Case { element, ..long }, launch::axis_path(1));
        let large = Case::new([4, 6, 6], [1, 3, 3]).values(100.0, 60_000.0);
        check::check(&Case { element, ..large.clone() }, launch::axis_path(3));
        check::check(&Case { element, ..large }, volume_transform(SMALL));
    }
}

#[test]
fn zeros_small_and_large_values() {
    for (low, high) in [(0.0, 0.0), (1e-30, 1e-30), (-1e30, 1e30), (100.0, 100.001), (1e-42, 1e-41)] {
        let case = Case::new([4, 6, 6], [1, 3, 3]).values(low, high);
        check::check(&case, volume_transform(SMALL));
        check::check(&case, launch::axis_path(3));
    }
}

#[test]
fn a_value_that_is_not_finite_reaches_every_coefficient() {
    for value in [f32::NAN, f32::INFINITY] {
        let case = Case::new([2, 3, 4], [3, 2, 1]);
        let mut x = case.input();
        x[5] = value;
        let stored = launch::volume_transform_of(SMALL, &case, cuda_std::simt::Schedule::InOrder, &x);
        let s = case.spectrum;
        assert!(!stored.sum[0].is_finite() && stored.sum[1].is_finite());
        for line in 1..s.lines() as usize {
            let word = stored.high[line * (s.rows() * s.slots()) as usize];
            assert!(word & 0x7c00 == 0x7c00 || word & 0x7c00_0000 == 0x7c00_0000, "{word:#x}");
        }
    }
}

/// Many products a warp, several steps along each axis, and a block that goes through three volumes.
#[test]
fn larger_volumes() {
    for (input, kernel) in
        [([16, 32, 32], [5, 5, 5]), ([8, 16, 18], [3, 3, 3]), ([18, 9, 35], [3, 4, 2]), ([35, 5, 62], [2, 3, 7])]
    {
        check::check(&Case::new(input, kernel).single(), volume_transform(LARGE));
    }
    for form in [LARGE, SMALL, Form { copies: false, ..LARGE }] {
        let case = Case::new([5, 18, 20], [2, 3, 3]);
        assert_eq!(launch::layout(form, &case).input > 0, form.copies);
        check::check(&case, volume_transform(form));
    }
}

/// Several blocks a volume, each with some of the frequencies along outer.
#[test]
fn shared_volumes() {
    for (input, groups) in [([12, 18, 20], 2), ([11, 18, 20], 3), ([1, 33, 20], 1)] {
        let case = Case::new(input, [5, 3, 3]);
        let form = (40..227)
            .map(|kib| Form { limit: kib << 10, ..SMALL })
            .find(|&form| {
                let layout = kernel_gpu::volume_layout::VolumeLayout::design(&case.spectrum, 4, 4, form.limit);
                layout.is_some_and(|layout| layout.groups == groups)
            })
            .expect("such a limit");
        check::check(&case, volume_transform(form));
    }
}

/// Tiles with tails on every side, on either kind of axis.
#[test]
fn long_axes() {
    for (input, kernel) in [([2, 3, 200], [2, 2, 11]), ([3, 70, 5], [1, 4, 2]), ([67, 2, 17], [66, 2, 3])] {
        check::check(&Case::new(input, kernel).single(), launch::axis_path(1));
    }
}
