//! The transforms of x in the SIMT executor: clean and the same bits under every schedule, against the definition in f64.

mod case;
mod check;
mod launch;
mod reference;
#[path = "../tensors/mod.rs"]
mod tensors;

use case::Case;

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
        check::check(&case, launch::dft_volume);
        check::check(&case, launch::axis_path(4));
        check::check(&case.clone().all_strict(), launch::dft_volume);
        check::check(&case.all_strict(), launch::axis_path(100));
    }
}

/// Axis by axis: x is read once for its sums, and by the first pass.
#[test]
fn sixteen_bits() {
    for element in tensors::NARROW {
        for case in lengths().into_iter().step_by(2) {
            check::check(&Case { element, ..case }, launch::axis_path(4));
        }
        let long = Case::new([3, 70, 5], [1, 4, 2]).single();
        check::check(&Case { element, ..long }, launch::axis_path(1));
        let large = Case::new([4, 6, 6], [1, 3, 3]).values(100.0, 60_000.0);
        check::check(&Case { element, ..large }, launch::axis_path(3));
    }
}

#[test]
fn zeros_small_and_large_values() {
    for (low, high) in [(0.0, 0.0), (1e-30, 1e-30), (-1e30, 1e30), (100.0, 100.001), (1e-42, 1e-41)] {
        let case = Case::new([4, 6, 6], [1, 3, 3]).values(low, high);
        check::check(&case, launch::dft_volume);
        check::check(&case, launch::axis_path(3));
    }
}

#[test]
fn a_value_that_is_not_finite_reaches_every_coefficient() {
    for value in [f32::NAN, f32::INFINITY] {
        let case = Case::new([2, 3, 4], [3, 2, 1]);
        let mut x = case.input();
        x[5] = value;
        let stored = launch::dft_volume_of(&case, cuda_std::simt::Schedule::InOrder, &x);
        let s = case.spectrum;
        assert!(!stored.sum[0].is_finite() && stored.sum[1].is_finite());
        for line in 1..s.lines() as usize {
            let word = stored.high[line * (s.rows() * s.slots()) as usize];
            assert!(word & 0x7c00 == 0x7c00 || word & 0x7c00_0000 == 0x7c00_0000, "{word:#x}");
        }
    }
}

/// Many rows a warp, and the longer sums: the two sizes of each fold.
#[test]
fn larger_volumes() {
    for (input, kernel) in
        [([16, 32, 32], [5, 5, 5]), ([8, 16, 18], [3, 3, 3]), ([18, 9, 35], [3, 4, 2]), ([35, 5, 62], [2, 3, 7])]
    {
        check::check(&Case::new(input, kernel).single(), launch::dft_volume);
    }
}

/// Tiles with tails on every side, on either kind of axis.
#[test]
fn long_axes() {
    for (input, kernel) in [([2, 3, 200], [2, 2, 11]), ([3, 70, 5], [1, 4, 2]), ([67, 2, 17], [66, 2, 3])] {
        check::check(&Case::new(input, kernel).single(), launch::axis_path(1));
    }
}
