//! Every kernel in the SIMT executor: clean under every schedule, the same bits under each, and right by the definition
//! in f64.

#[expect(
    clippy::undocumented_unsafe_blocks,
    reason = "the promises are broken on purpose, and every access is checked"
)]
mod broken;
mod case;
mod check;
mod implicit;
mod implicit_tests;
mod launch;
mod reference;
#[path = "../tensors/mod.rs"]
mod tensors;

use cuda_std::launch::KernelSpec;
use cuda_std::simt::{Grid, Memory};
use kernel_gpu::conv_transpose_moments::*;
use kernel_gpu::element::{ElementType, Value};
use kernel_gpu::entries::ENTRIES;
use kernel_gpu::{
    batch_norm_reduce, box_sums, channels_last, conv_means, dft_axis, dft_store, gram_energy, grid_resample,
    implicit_gemm, input_scales, line_gram, pair_resample, phase_taps, pool_finish, segment_sums, spectral_finish,
    split_taps, tap_moments, tap_spectrum, volume_fft, volume_sums, volume_transform,
};
use proptest::prelude::*;

use case::{Case, Normalize};
use tensors::NARROW;

#[test]
fn every_entry_is_tested_here() {
    let mut tested: Vec<_> = FORMS.iter().map(|form| form.spec).collect();
    tested.extend([batch_norm_reduce::SPEC, pool_finish::SPEC_F32, pool_finish::SPEC_F64]);
    tested.extend(implicit_gemm::FORMS.iter().map(|form| form.spec));
    tested.extend([segment_sums::SPEC, box_sums::SPEC, channels_last::SPEC, split_taps::SPEC, conv_means::SPEC]);
    // In the tests of their own names.
    tested.extend([volume_sums::SPEC, dft_axis::SPEC, dft_store::SPEC]);
    tested.extend(volume_transform::FORMS.map(|form| form.spec));
    tested.extend([spectral_finish::SPEC, volume_fft::SPEC]);
    tested.extend([phase_taps::SPEC, tap_moments::SPEC, tap_spectrum::SPEC, gram_energy::SPEC]);
    tested.extend([input_scales::SPEC, line_gram::SPEC_2, line_gram::SPEC_4, grid_resample::SPEC, pair_resample::SPEC]);
    let names = |specs: &[KernelSpec]| {
        let mut names: Vec<_> = specs.iter().map(|spec| spec.name).collect();
        names.sort_unstable();
        names
    };
    assert_eq!(names(&ENTRIES.map(|entry| entry.spec)), names(&tested));
}

/// One test a form, and so one a core.
macro_rules! forms {
    ($($name:ident: $form:ident;)*) => { $(
        mod $name {
            use super::*;

            #[test]
            fn the_golden_shapes() {
                case::golden().iter().for_each(|case| check::chain($form, case));
            }

            #[test]
            fn the_edges_of_the_tiles() {
                case::edges().iter().for_each(|case| check::chain($form, case));
            }

            #[test]
            fn options() {
                let twin = FORMS.iter().position(|form| form.spec.name == $form.spec.name).unwrap() + FORMS.len() / 2;
                assert!(FORMS[twin].options && FORMS[twin].tile.channels() == $form.tile.channels());
                case::options().iter().for_each(|case| check::chain(FORMS[twin], case));
            }
        }
    )* };
}
forms! {
    f32_wide: FORM_F32_WIDE;
    f32_narrow: FORM_F32_NARROW;
    f32_strict_wide: FORM_F32_STRICT_WIDE;
    f32_strict_narrow: FORM_F32_STRICT_NARROW;
    f64_wide: FORM_F64_WIDE;
    f64_narrow: FORM_F64_NARROW;
}

/// 0 · NaN is NaN: what padding cuts off wholly must not be multiplied.
#[test]
fn a_tap_that_is_cut_off_wholly_reaches_nothing() {
    let case = Case::new("one tap of three is left", [1, 1, 1], [1; 3], [1, 1, 3]);
    let case = case.with([1; 3], [0, 0, 1], [1; 3], [0, 0, 1], 1);
    for form in FORMS.into_iter().filter(|form| form.options && !form.spec.name.contains("_f64_")) {
        let finite = |w: [f32; 3]| {
            let schedule = cuda_std::simt::Schedule::InOrder;
            let (mean, m2) = launch::conv_transpose_moments(form, schedule, &case, &[1.5f32], &w);
            mean.iter().chain(&m2).all(|moment| moment.is_finite())
        };
        assert!(finite([f32::NAN, 1.0, f32::INFINITY]), "{}", form.spec.name);
        assert!(!finite([1.0, f32::NAN, 1.0]), "{}", form.spec.name);
    }
}

fn any_case() -> impl Strategy<Value = Case> {
    let channels = prop_oneof![1u32..20, 30u32..36, 62u32..68, 126u32..131];
    let extents = (1u32..4, 1u32..7, channels).prop_map(|(b, cin, cout)| [b, cin, cout]);
    // Small boxes, and lines about the length of one tile of positions or two.
    let boxes = (prop::array::uniform3(1u32..6), prop::array::uniform3(1u32..4));
    let lines = (prop_oneof![124u32..131, 252u32..259], 1u32..4).prop_map(|(w, k)| ([1, 1, w], [1, 1, k]));
    let launch = (1u64..9, prop_oneof![1u32..4, Just(u32::MAX)]);
    let normalize = prop_oneof![
        Just(Normalize::Train),
        Just(Normalize::NoAffine),
        Just(Normalize::NoRunning),
        Just(Normalize::Eval)
    ];
    let element = prop_oneof![Just(None), prop::sample::select(NARROW.to_vec()).prop_map(Some)];
    let options = (normalize, prop_oneof![Just(2.0), Just(-0.3), Just(1.0)], 0u64..1 << 40, element);
    (extents, prop_oneof![boxes, lines], launch, options).prop_map(|(extents, (input, kernel), launch, options)| {
        let ((max_items, blocks), (normalize, scale, seed, element)) = (launch, options);
        let one_value = extents[0] == 1 && input == [1; 3] && kernel == [1; 3];
        // The variance of one value, which training would keep, is refused by the host.
        let normalize = if one_value { Normalize::NoRunning } else { normalize };
        Case { max_items, blocks, normalize, scale, seed, element, ..Case::new("drawn", extents, input, kernel) }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn drawn_shapes(case in any_case(), form in prop::sample::select(FORMS.to_vec())) {
        // What is computed in f64 is stored in f64.
        let element = if form.spec.name.contains("_f64_") { None } else { case.element };
        check::chain(form, &Case { element, ..case });
    }
}

/// The forms that compute in f32, or strictly, from 16 bits.
#[test]
fn sixteen_bits() {
    for (form, twin) in
        FORMS.iter().zip(&FORMS[FORMS.len() / 2..]).filter(|(form, _)| !form.spec.name.contains("_f64_"))
    {
        for element in NARROW {
            case::narrow(element).iter().for_each(|case| check::chain(*form, case));
            case::narrow_options(element).iter().for_each(|case| check::chain(*twin, case));
        }
    }
}

/// The check can fail: the bits of one format, read as the other.
#[test]
#[should_panic(expected = "instead of")]
fn bits_of_another_format_are_found_out() {
    let case = Case { element: Some(ElementType::F16), ..Case::new("control", [1, 2, 3], [3; 3], [2; 3]) };
    check::misread(FORM_F32_NARROW, &case, ElementType::Bf16);
}

/// A case of `batch` images and moments as if they were a convolution's.
fn drawn_rows(batch: u32, normalize: Normalize) -> (Case, launch::Moments) {
    let case = Case { normalize, ..Case::new("drawn rows", [batch, 1, 3], [1, 1, 40], [1; 3]) };
    let rows = (case.draw(7, case.rows(), (-3.0, 5.0)), case.draw(8, case.rows(), (0.0, 9.0)));
    (case, rows)
}

fn finishes<T: Value>() {
    use Normalize::*;
    // A lane merges images 32 apart.
    for batch in [1, 2, 31, 32, 33, 65] {
        for normalize in [Train, NoAffine, NoRunning, Eval] {
            let (case, rows) = drawn_rows(batch, normalize);
            check::finish::<T>(&case, &rows);
            check::finish::<T>(&Case { blocks: 2, ..case }, &rows);
        }
    }
}

#[test]
fn pool_finish_f32_of_any_batch() {
    finishes::<f32>();
}

#[test]
fn pool_finish_rounds_to_sixteen_bits_once() {
    for element in NARROW {
        for batch in [1, 33] {
            let (case, rows) = drawn_rows(batch, Normalize::Train);
            let case = Case { element: Some(element), ..case };
            check::finish::<f32>(&case, &rows);
            check::rounds_once(&case, &rows);
        }
    }
}

/// Just above and below a tie between two numbers of 16 bits, which is what an f32 makes of both.
#[test]
fn tensors_are_written_rounded_once() {
    for (element, step) in [(ElementType::F16, f64::powi(2.0, -10)), (ElementType::Bf16, f64::powi(2.0, -7))] {
        let (tie, little) = (1.0 + step / 2.0, f64::powi(2.0, -40));
        for (value, expected) in [(tie - little, 1.0), (tie + little, 1.0 + step), (-tie - little, -1.0 - step)] {
            let mut memory = Memory::new();
            let (output, tensor) = tensors::Output::new(&mut memory, 1, element);
            // SAFETY: the tensor has one element, and the one thread writes it.
            Grid::new("store", 1, 1).run(&memory, || unsafe { tensor.store(0, value) }).expect_clean();
            assert_eq!(output.read(&memory, element), [expected], "{value:e} as {element:?}");
        }
    }
}

#[test]
fn pool_finish_f64_of_any_batch() {
    finishes::<f64>();
}

#[test]
fn pool_finish_takes_one_over_the_root_of_nothing_as_nothing() {
    let (case, rows) = drawn_rows(1, Normalize::NoRunning);
    let rows = (rows.0, vec![0.0; rows.1.len()]);
    check::finish::<f64>(&Case { eps: 0.0, ..case }, &rows);
}

#[test]
fn batch_norm_reduce_of_any_number_of_slices() {
    // A lane merges slices 32 apart; the last slice is a partial tile.
    for slices in [1, 2, 31, 32, 33, 64, 70] {
        for (channels, blocks) in [(1, 1), (3, 1), (4, u32::MAX), (5, u32::MAX), (9, 2)] {
            let shape = Case::new("drawn slices", [1, 1, channels], [1, 1, slices * 128 - 100], [1; 3]);
            let case = Case { blocks, ..shape };
            let work = case.work(16);
            let count = case.rows() * work.slices as usize;
            assert_eq!(work.slices, u64::from(slices));
            let moments = (case.draw(7, count, (-3.0, 5.0)), case.draw(8, count, (0.0, 9.0)));
            check::reduce(work, &case, &moments);
        }
    }
}
