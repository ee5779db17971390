//! `tap_moments` and `tap_spectrum`.

use kernel_gpu::element::ElementType;
use kernel_gpu::tap_spectrum::point_words;

use crate::Case;
use crate::launch::{self, Moments};
use crate::reference::{close, points, spectrum_place, transform};
use crate::tensors::NARROW;

fn check_moments(case: &Case) -> Moments {
    let moments = launch::tap_moments(case);
    let grid = &case.grid;
    let mut norms = vec![0.0; grid.out_channels as usize];
    for (row, taps) in case.taps.chunks(grid.taps() as usize).enumerate() {
        let sum: f64 = taps.iter().map(|&tap| f64::from(tap)).sum();
        let norm: f64 = taps.iter().map(|&tap| f64::from(tap.abs())).sum();
        close(|| format!("the sum of row {row}, {grid:?}"), moments.sum[row], sum, 1e-14 * norm);
        norms[row % grid.out_channels as usize] += norm;
    }
    for (&g, &norm) in moments.exponent.iter().zip(&norms) {
        let expected = if norm == 0.0 { 0 } else { (norm.log2().ceil() as i32).clamp(-126, 126) };
        assert_eq!(g, expected, "of {norm:e}, {grid:?}");
    }
    moments
}

/// The whole, and the same in two pieces.
fn check(case: &Case) {
    let (exponent, spectrum) = check_whole(case);
    let (grid, lines) = (&case.grid, case.grid.grid_lines());
    for cut in [1, lines / 2] {
        if cut > 0 && cut < lines {
            let (head, tail) = (0..cut, cut..lines);
            let pieces = [head, tail].map(|lines| launch::tap_spectrum(case, &exponent, lines));
            assert!(pieces.concat() == spectrum, "cut at {cut}, {grid:?}");
        }
    }
}

fn check_whole(case: &Case) -> (Vec<i32>, Vec<f32>) {
    let exponent = check_moments(case).exponent;
    let spectrum = launch::tap_spectrum(case, &exponent, 0..case.grid.grid_lines());
    check_spectrum(case, &exponent, &spectrum, true).unwrap();
    (exponent, spectrum)
}

/// Whether every W lies where it should, taps counted from the middle, or (it should not) from the first.
fn check_spectrum(case: &Case, exponent: &[i32], spectrum: &[f32], centered: bool) -> Result<(), String> {
    let grid = &case.grid;
    for (point, g) in points(grid).enumerate() {
        let at = &spectrum[point * point_words(grid) as usize..];
        for (c, i) in (0..16 * grid.out_tiles()).flat_map(|c| (0..16 * grid.in_tiles()).map(move |i| (c, i))) {
            let place = spectrum_place(grid, i, c);
            let found = [at[place], at[place + 128]].map(f64::from);
            let (mut expected, mut bound) = ([0.0; 2], 0.0);
            if c < grid.out_channels && i < grid.in_channels {
                let w = transform(case, (i, c), g, centered);
                let scale = f64::powi(2.0, -exponent[c as usize]);
                expected = [w.re * scale, w.im * scale];
                bound = 4e-7 * scale * case.row(i, c).iter().map(|&tap| f64::from(tap.abs())).sum::<f64>() + 1e-44;
            }
            for (found, expected) in found.into_iter().zip(expected) {
                let within = (found - expected).abs() <= bound;
                if !within {
                    let what = format!("W of ({i}, {c}) at {g:?}, {grid:?}");
                    return Err(format!("{what}: {found:e} instead of {expected:e}, within {bound:e}"));
                }
            }
        }
    }
    Ok(())
}

#[test]
fn kernels_along_each_axis() {
    for k in [1, 2, 4, 5, 9] {
        for axis in 0..3 {
            let mut kernel = [2, 1, 3];
            kernel[axis] = k;
            check(&Case::new(2, 3, kernel));
        }
    }
    check(&Case::new(1, 2, [3, 4, 5]));
    check(&Case::new(2, 1, [1, 1, 1]));
}

#[test]
fn taps_that_are_not_held_at_once() {
    check(&Case::new(2, 1, [1, 11, 2]));
    for kernel in [[2, 10, 8], [1, 1, 65], [33, 1, 1], [1, 40, 1]] {
        check_whole(&Case::new(1, 2, kernel));
    }
}

#[test]
fn taps_of_sixteen_bits() {
    for element in NARROW {
        for kernel in [[1, 1, 1], [3, 4, 5], [2, 1, 9], [1, 11, 2], [5, 3, 3]] {
            check(&Case::new(3, 5, kernel).stored(element));
        }
        check(&Case { blocks: 2, ..Case::new(9, 34, [2, 2, 1]).stored(element) });
        check_moments(&Case::new(67, 5, [1, 1, 300]).stored(element));
        check(&Case::new(5, 6, [2, 2, 3]).change(|_, _, tap| tap * 6e4).stored(element));
    }
}

/// The comparison can fail: taps of three bits less.
#[test]
#[should_panic(expected = "instead of")]
fn taps_rounded_to_another_format_are_found_out() {
    check_moments(&Case { element: ElementType::Bf16, ..Case::new(2, 3, [2, 3, 3]).stored(ElementType::F16) });
}

#[test]
fn channels_about_a_tile() {
    for (in_channels, out_channels, kernel) in
        [(17, 3, [1, 2, 2]), (3, 17, [2, 1, 1]), (9, 33, [1, 1, 2]), (70, 1, [1, 1, 1])]
    {
        check(&Case::new(in_channels, out_channels, kernel));
    }
}

#[test]
fn taps_of_few_and_of_many_lanes() {
    for kernel in [[1, 1, 1], [1, 1, 2], [1, 1, 3], [1, 3, 3], [2, 2, 4], [1, 1, 17], [3, 3, 3], [5, 5, 6], [1, 1, 300]]
    {
        check_moments(&Case::new(67, 5, kernel));
    }
    check_moments(&Case::new(2, 70, [1, 1, 1]));
}

#[test]
fn fewer_blocks_than_work() {
    check(&Case { blocks: 2, ..Case::new(9, 34, [2, 2, 1]) });
    check_moments(&Case { blocks: 3, ..Case::new(5, 50, [1, 5, 5]) });
}

#[test]
fn scales() {
    let case = || Case::new(5, 6, [2, 2, 3]);
    check(&case().change(|_, c, tap| if c == 1 { tap * 1e20 } else { tap }));
    check(&case().change(|i, c, tap| if i == 3 || c == 4 { 0.0 } else { tap }));
    check(&case().change(|_, _, tap| tap * 1e-36));
    check(&case().change(|_, _, tap| tap * 1e-42));
    check(&case().change(|_, _, tap| tap * 3e38));
    check(&case().change(|_, _, _| 1.0));
}

#[test]
fn a_number_that_is_none_stays_in_its_channel() {
    for bad in [f32::NAN, f32::INFINITY] {
        let case = Case::new(3, 5, [2, 3, 3]);
        let wrong = case.clone().change(|i, c, tap| if (i, c) == (1, 2) { bad } else { tap });
        let moments = [&case, &wrong].map(launch::tap_moments);
        assert_eq!(moments[1].exponent[2], 0);
        let lines = 0..case.grid.grid_lines();
        let [right, found] =
            [(&case, 0), (&wrong, 1)].map(|(case, n)| launch::tap_spectrum(case, &moments[n].exponent, lines.clone()));
        for point in 0..case.grid.points() as usize {
            for (i, c) in (0..3).flat_map(|i| (0..5).map(move |c| (i, c))) {
                let place = point * point_words(&case.grid) as usize + spectrum_place(&case.grid, i, c);
                if (i, c) == (1, 2) {
                    assert!(!found[place].is_finite() || !found[place + 128].is_finite());
                } else if c != 2 {
                    assert_eq!([found[place], found[place + 128]], [right[place], right[place + 128]]);
                }
            }
        }
    }
}

/// The comparison can fail.
#[test]
fn another_phase_or_exponent_is_found_out() {
    let case = Case::new(2, 3, [2, 3, 3]);
    let moments = launch::tap_moments(&case);
    let spectrum = launch::tap_spectrum(&case, &moments.exponent, 0..case.grid.grid_lines());
    check_spectrum(&case, &moments.exponent, &spectrum, true).unwrap();
    assert!(check_spectrum(&case, &moments.exponent, &spectrum, false).is_err());
    let other: Vec<_> = moments.exponent.iter().map(|g| g + 1).collect();
    assert!(check_spectrum(&case, &other, &spectrum, true).is_err());
}
