//! The cases of [`implicit`](crate::implicit).

use cuda_std::simt::Schedule;
use kernel_gpu::element::ElementType;

use crate::case::{self, Case};
use crate::implicit::{Factors, Setting, check, formats, judge, run};

fn case(extents: [u32; 3], input: [u32; 3], kernel: [u32; 3]) -> Case {
    Case::new("implicit", extents, input, kernel)
}

#[test]
fn every_format() {
    formats(&Setting::new(case([3, 5, 7], [3, 4, 5], [3, 2, 3]), 1, 32));
    formats(&Setting::new(case([2, 20, 40], [1, 5, 6], [1, 3, 2]), 2, 64));
}

#[test]
fn options() {
    for (number, case) in case::options().into_iter().enumerate() {
        let images = 1 << (number % 4);
        check(&Setting::new(case, images, 32));
    }
}

#[test]
fn options_in_sixteen_bits() {
    for (number, case) in case::options().into_iter().enumerate().step_by(2) {
        let element = if number % 4 == 0 { ElementType::F16 } else { ElementType::Bf16 };
        check(&Setting::new(Case { element: Some(element), ..case }, 1, 32));
    }
}

/// Groups of few channels in ones of more, with options, in every format.
#[test]
fn groups_in_bundles() {
    for (groups, [ins, outs], bundle, columns) in
        [(20, [1, 1], 20, 32), (20, [1, 1], 10, 32), (6, [3, 2], 2, 32), (36, [1, 2], 36, 64), (4, [9, 5], 2, 32)]
    {
        let case = case([2, ins * groups, outs * groups], [2, 3, 4], [1, 2, 3]);
        let setting = |case| Setting { bundle, ..Setting::new(case, 2, columns) };
        check(&setting(case.with([1, 2, 1], [0, 1, 1], [1, 1, 2], [0; 3], groups)));
    }
    let case = case([2, 8, 12], [2, 3, 4], [2, 2, 2]).with([1; 3], [1, 0, 1], [1; 3], [0; 3], 4);
    formats(&Setting { bundle: 4, ..Setting::new(case, 1, 32) });
}

/// An element that is not finite reaches its own group alone.
#[test]
fn what_is_not_finite_stays_in_its_group() {
    let case = case([2, 8, 12], [2, 3, 4], [2, 2, 2]).with([1; 3], [1, 0, 1], [1; 3], [0; 3], 4);
    for setting in (Setting { bundle: 4, ..Setting::new(case, 1, 32) }).devices() {
        let (mut x, w) = (setting.case.input::<f32>(), setting.case.kernel::<f32>());
        let of = |x: &[f32]| run(&setting, Schedule::InOrder, (x, &w), Factors::Kept);
        let right = of(&x);
        for value in [f32::NAN, f32::INFINITY] {
            // In the middle of channel 3 of the first image, of group 1: output channels 3 to 5.
            x[3 * 24 + 7] = value;
            let found = of(&x);
            for row in 0..24 {
                let (found, right) = ((found.0[row], found.1[row]), (right.0[row], right.1[row]));
                assert!(if (3..6).contains(&row) {
                    !found.0.is_finite() && !found.1.is_finite()
                } else {
                    found == right
                });
            }
        }
    }
}

/// Channels about a chunk's, a step's and a tile's.
#[test]
fn the_edges_of_channels() {
    for channels in [1, 15, 16, 17, 31, 32, 33, 49] {
        check(&Setting::new(case([1, channels, 3], [1, 2, 5], [1, 2, 2]), 1, 32));
    }
    for channels in [16, 33, 63, 64, 65, 100] {
        let case = case([1, channels, 3], [1, 2, 5], [1, 2, 2]);
        check(&Setting::new(Case { element: Some(ElementType::F16), ..case }, 1, 32));
    }
    for (channels, columns) in [(1, 32), (31, 32), (32, 32), (33, 32), (33, 64), (63, 64), (64, 64), (65, 64)] {
        check(&Setting::new(case([1, 3, channels], [1, 2, 3], [1, 2, 2]), 1, columns));
    }
}

/// Positions about a tile's, lines longer than a window holds, and images that do not fill a tile.
#[test]
fn the_edges_of_tiles() {
    for positions in [2, 127, 128, 129, 257] {
        check(&Setting::new(case([2, 3, 4], [1, 1, positions - 1], [1, 1, 2]), 1, 32));
    }
    for (batch, images) in [(1, 2), (3, 2), (3, 4), (9, 8), (5, 8)] {
        check(&Setting::new(case([batch, 3, 4], [2, 3, 5], [2, 2, 3]), images, 32));
    }
    check(&Setting::new(case([2, 3, 4], [1, 1, 40], [1, 1, 19]), 1, 32));
    check(&Setting::new(case([3, 3, 4], [1, 3, 9], [1, 2, 5]), 8, 64));
    let far = case([2, 3, 4], [1, 3, 9], [1, 2, 4]);
    check(&Setting::new(far.with([1; 3], [0; 3], [1, 1, 17], [0; 3], 1), 2, 32));
    check(&Setting::new(case([2, 2, 3], [2, 3, 2], [5, 4, 6]), 1, 32));
    check(&Setting::new(case([2, 1, 1], [1; 3], [1; 3]), 1, 32));
    check(&Setting::new(case([2, 40, 5], [3, 4, 5], [1; 3]), 4, 64));
}

/// The means' threads: several input channels each, several taps each; several groups; and of more boxes than one several runs of images.
#[test]
fn many_taps_and_channels() {
    check(&Setting::new(case([9, 40, 6], [1, 2, 2], [3; 3]), 8, 32));
    check(&Setting::new(case([1, 2, 3], [1, 1, 3], [1, 1, 520]), 1, 32));
    // More steps than a table holds.
    check(&Setting::new(case([1, 2, 3], [1, 1, 3], [1, 1, 520]), 1, 64));
    // Taps summed first: of more channels than are held or copied at once, and by blocks with several items; and too many taps for that.
    check(&Setting::new(case([1, 60, 3], [1, 2, 2], [3; 3]), 1, 32));
    check(&Setting::new(case([1, 400, 2], [1, 1, 2], [1, 1, 2]), 1, 32));
    check(&Setting::new(case([1, 130, 2], [1, 1, 2], [1, 8, 16]), 1, 32));
    check(&Setting::new(Case { blocks: 1, ..case([2, 90, 2], [1, 1, 2], [1, 8, 16]) }, 1, 32));
    check(&Setting::new(case([2, 21, 3], [1, 1, 3], [1, 1, 520]), 1, 32));
    check(&Setting::new(case([2, 6, 10], [1, 2, 2], [1, 2, 2]).with([1; 3], [0, 1, 0], [1; 3], [0; 3], 2), 1, 32));
    let boxes = case([9, 4, 3], [2, 3, 4], [2, 2, 3]).with([1; 3], [1, 1, 1], [1; 3], [0; 3], 1);
    check(&Setting::new(boxes.clone(), 1, 32));
    check(&Setting::new(Case { blocks: 2, ..boxes }, 8, 32));
    check(&Setting::new(case([9, 2, 2], [1, 1, 50], [1, 1, 520]).with([1; 3], [0, 0, 9], [1; 3], [0; 3], 1), 1, 32));
}

/// Lines of more than a segment.
#[test]
fn long_lines() {
    let long = case([1, 2, 2], [1, 1, 4100], [1, 1, 2]);
    check(&Setting::new(long.with([1; 3], [0, 0, 1], [1; 3], [0, 0, 1], 1), 1, 32));
}

/// Lines of one and of several turns of loads, whole quads and others, in every format.
#[test]
fn lines_of_every_length() {
    for width in [16, 257, 300] {
        let line = case([1, 2, 2], [1, 2, width], [1, 1, 3]);
        formats(&Setting::new(line.with([1; 3], [0, 0, 1], [1; 3], [0, 0, 1], 1), 1, 32));
    }
}

/// Boxes of a warp: some whose lanes are no power of two, more than a warp has, and of lines cut along both other axes.
#[test]
fn many_ranges() {
    for (input, kernel, padding) in [
        ([1, 1, 12], [1, 1, 5], [0, 0, 2]),
        ([3, 5, 12], [2, 2, 5], [1, 1, 2]),
        ([2, 3, 12], [2, 2, 7], [1, 1, 3]),
        ([1, 40, 9], [1, 2, 9], [0, 1, 4]),
        ([1, 1, 50], [1, 1, 34], [0, 0, 9]),
        ([2, 3, 4100], [1, 2, 2], [0, 1, 1]),
    ] {
        check(&Setting::new(case([1, 2, 2], input, kernel).with([1; 3], padding, [1; 3], [0; 3], 1), 1, 32));
    }
}

/// What padding cuts off of a line is not seen, nor does it hide what is large.
#[test]
fn an_infinity_cut_off_beside_a_large_element() {
    for width in [5, 16, 300] {
        let cut = case([1, 1, 1], [1, 1, width], [1; 3]).with([1; 3], [0, 0, 1], [1; 3], [0; 3], 1);
        let setting = Setting::new(cut, 1, 32);
        let mut x = vec![1.0; width as usize];
        x[1] = 1000.0;
        let w = [1.5];
        let found = |first| {
            let x = [&[first], &x[1..]].concat();
            run(&setting, Schedule::InOrder, (&x, &w), Factors::Kept)
        };
        judge(&setting, (&x, &w), &found(1.0));
        assert_eq!(found(f32::INFINITY), found(1.0), "{width}");
    }
}

#[test]
fn several_tiles_of_several_phases() {
    let many = case([3, 3, 40], [1, 9, 40], [1, 2, 3]);
    check(&Setting::new(many.clone(), 1, 32));
    check(&Setting::new(Case { blocks: 2, ..many.with([1, 2, 3], [0, 1, 1], [1; 3], [0, -1, 0], 1) }, 2, 64));
}

#[test]
fn a_large_mean_and_tiny_values() {
    for values in [(99.0, 101.0), (-1e-4, 1e-4), (1e-12, 2e-12), (-1e12, 1e12)] {
        let setting = Setting::new(Case { values, ..case([2, 4, 6], [3, 4, 4], [3; 3]) }, 1, 32);
        check(&setting);
        check(&Setting { case: Case { element: Some(ElementType::Bf16), ..setting.case.clone() }, ..setting });
    }
}

/// Channels of 1e-20 to 1e20, and an output channel that sees only the smaller ones.
#[test]
fn channels_of_any_scale() {
    let setting = Setting::new(case([2, 5, 4], [2, 4, 4], [2; 3]), 1, 32);
    let (mut x, mut w) = (setting.case.input::<f32>(), setting.case.kernel::<f32>());
    let volume = setting.case.shape.volume() as usize;
    for (i, values) in x.chunks_mut(volume).enumerate() {
        let scale = [1e-20, 1e20, 1.0, 1e-10, 1e10][i % 5];
        values.iter_mut().for_each(|value| *value *= scale);
    }
    // Of output channel 1 those of the large input channels; of 2 all but the smallest.
    let taps = 8;
    for (row, values) in w.chunks_mut(taps).enumerate() {
        let (ci, c) = (row / 4, row % 4);
        if (c == 1 && (ci == 1 || ci == 4)) || (c == 2 && ci != 0) {
            values.fill(0.0);
        }
        if c == 3 {
            values.iter_mut().for_each(|value| *value *= 1e-15);
        }
    }
    judge(&setting, (&x, &w), &run(&setting, Schedule::InOrder, (&x, &w), Factors::Kept));
}

/// What is not finite reaches the channels and images that the definition says, and no others.
#[test]
fn what_is_not_finite() {
    let whole = case([2, 3, 4], [1, 2, 4], [1, 2, 2]);
    let settings = Setting::new(whole, 2, 32).devices();
    for (bad, setting) in [f32::NAN, f32::INFINITY].into_iter().flat_map(|bad| settings.each_ref().map(|s| (bad, s))) {
        let (mut x, w) = (setting.case.input::<f32>(), setting.case.kernel::<f32>());
        x[5] = bad;
        let (mean, m2) = run(setting, Schedule::InOrder, (&x, &w), Factors::Kept);
        assert!(mean[..4].iter().all(|mean| !mean.is_finite()) && m2[..4].iter().all(|m2| m2.is_nan()), "{bad}");
        assert!(mean[4..].iter().chain(&m2[4..]).all(|moment| moment.is_finite()), "{bad}");
        let (x, mut w) = (setting.case.input::<f32>(), w);
        w[4] = bad; // (ci 0, c 1)
        let (mean, m2) = run(setting, Schedule::InOrder, (&x, &w), Factors::Kept);
        for row in 0..8 {
            assert_eq!((mean[row].is_finite(), m2[row].is_nan()), (row % 4 != 1, row % 4 == 1), "{bad} {row}");
        }
    }
    // Element 0 and tap 0 of a line of two elements and three taps are cut off by padding where they meet all but each other.
    let cut = case([1, 1, 1], [1; 3], [1, 1, 3]).with([1; 3], [0, 0, 1], [1; 3], [0, 0, 1], 1);
    let setting = Setting::new(cut, 1, 32);
    let finite = |x: &[f32], w: &[f32]| {
        let (mean, m2) = run(&setting, Schedule::InOrder, (x, w), Factors::Kept);
        mean[0].is_finite() && m2[0].is_finite()
    };
    assert!(finite(&[1.5], &[f32::NAN, 1.0, f32::INFINITY]));
    assert!(!finite(&[1.5], &[1.0, f32::NAN, 1.0]));
    let cut = case([1, 1, 1], [1, 1, 3], [1; 3]).with([1, 1, 2], [0, 0, 1], [1; 3], [0, 0, 1], 1);
    let setting = Setting::new(cut, 1, 32);
    let (x, w) = ([f32::NAN, 2.0, f32::INFINITY], [3.0]);
    let found = run(&setting, Schedule::InOrder, (&x, &w), Factors::Kept);
    judge(&setting, (&[0.0, 2.0, 0.0], &w), &found);
}

/// The check can fail: high words alone are 11 bits.
#[test]
#[should_panic(expected = "instead of")]
fn lost_low_words_are_found_out() {
    let setting = Setting::new(case([2, 5, 4], [3, 4, 4], [2; 3]), 1, 32);
    let (x, w) = (setting.case.input::<f32>(), setting.case.kernel::<f32>());
    judge(&setting, (&x, &w), &run(&setting, Schedule::InOrder, (&x, &w), Factors::WithoutLow));
}

/// The check can fail: taps in another order have the same mean, and another variance.
#[test]
#[should_panic(expected = "M2 of row")]
fn taps_in_another_order_are_found_out() {
    let setting = Setting::new(case([2, 5, 4], [3, 4, 4], [2; 3]), 1, 32);
    let (x, w) = (setting.case.input::<f32>(), setting.case.kernel::<f32>());
    let found = run(&setting, Schedule::InOrder, (&x, &w), Factors::Kept);
    let mut turned = w.clone();
    turned.chunks_mut(8).for_each(|taps| taps.swap(0, 1));
    judge(&setting, (&x, &turned), &found);
}
