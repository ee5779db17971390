//! A case through the kernels, one after the other, each held against the definition applied to what it was given.

use cuda_std::float::Float;
use cuda_std::simt::Schedule;
use kernel_gpu::conv_transpose_moments::{FORMS, Form};
use kernel_gpu::element::{ElementType, Value};
use kernel_gpu::tile::POSITIONS;
use kernel_gpu::work::Work;

use crate::case::Case;
use crate::launch::{self, Channels, Finished, Moments};
use crate::reference;
use crate::tensors;

/// Rounding of f64, with room for the sums here.
const F64: f64 = 1e-12;
/// Rounding of z in f32, relative to Σ|w·x|.
const F32: f64 = 1e-6;

/// Steps of the product past which a form runs under one schedule, each form under another than its neighbours.
const MANY_PRODUCTS: u64 = 1_000_000;

/// The orders that every kernel runs in, with the same bits.
fn schedules(case: &Case) -> Vec<Schedule> {
    vec![Schedule::InOrder, Schedule::Reversed, Schedule::Random(case.seed)]
}

/// The orders that a form of the convolution runs in.
fn schedules_of(form: Form, case: &Case) -> Vec<Schedule> {
    let all = schedules(case);
    let shape = &case.shape;
    match u64::from(shape.batch) * case.options.positions() * shape.depth() > MANY_PRODUCTS {
        true => {
            let number = FORMS.iter().position(|known| known.spec == form.spec).unwrap_or(0);
            vec![all[number % all.len()]]
        }
        false => all,
    }
}

/// The case through a form of the convolution and the two kernels after it.
pub fn chain(form: Form, case: &Case) {
    match form.spec.name.contains("_f64_") {
        true => chain_of::<f64>(form, case),
        false => chain_of::<f32>(form, case),
    }
}

fn chain_of<T: Value>(form: Form, case: &Case) {
    let (x, w) = (case.input::<T>(), case.kernel::<T>());
    let work = case.work(form.tile.channels());
    let convolve = |schedule| launch::conv_transpose_moments(form, schedule, case, &x, &w);
    let slices = same(case, schedules_of(form, case), convolve, moments_bits);
    let accumulation = if form.tile.bytes == 4 { F32 } else { F64 };
    check_slices(form.spec.name, accumulation, case, work, (&x, &w), &slices);
    let rows = reduce(work, case, &slices);
    finish::<T>(case, &rows);
}

/// A form over tensors of the case's format that are said to be of `said`, judged as if they were not.
pub fn misread(form: Form, case: &Case, said: ElementType) {
    let (x, w) = (case.input::<f32>(), case.kernel::<f32>());
    let work = case.work(form.tile.channels());
    let slices = launch::conv_transpose_moments_said(form, Schedule::InOrder, case, (&x, &w), said);
    check_slices(form.spec.name, F32, case, work, (&x, &w), &slices);
}

/// An output of 16 bits is the one of f64, rounded.
pub fn rounds_once(case: &Case, rows: &Moments) {
    let (channels, element) = (Channels::<f32>::of(case), case.element::<f32>());
    let output = |stored| launch::pool_finish(Schedule::InOrder, case, rows, &channels, stored).output;
    for (narrow, wide) in output(element).into_iter().zip(output(ElementType::F64)) {
        assert!(tensors::is_nearest(narrow, wide, element), "{narrow} of {wide:e}, {element:?}");
    }
}

/// The moments of the slices through `batch_norm_reduce`.
pub fn reduce(work: Work, case: &Case, slices: &Moments) -> Moments {
    let rows =
        same(case, schedules(case), |schedule| launch::batch_norm_reduce(work, schedule, case, slices), moments_bits);
    let count = work.slices as usize;
    for row in 0..case.rows() {
        let part = |i: usize| {
            let positions = work.positions_of(i as u64, case.options.positions(), u64::from(POSITIONS)) as f64;
            (positions, slices.0[row * count + i], slices.1[row * count + i])
        };
        let parts: Vec<_> = (0..count).map(part).collect();
        let (positions, mean, m2) = reference::merge(&parts);
        let size = parts.iter().fold(0.0, |size: f64, part| size.max(part.1.abs()));
        let what = |what| format!("{what} of row {row} by batch_norm_reduce, {case:?}");
        close(&what("mean"), rows.0[row], mean, F64 * size);
        close(&what("M2"), rows.1[row], m2, F64 * m2 + deviation(m2, positions, F64 * size));
    }
    rows
}

/// The moments of the rows through `pool_finish` for `T`.
pub fn finish<T: Value>(case: &Case, rows: &Moments) {
    let (channels, element) = (Channels::<T>::of(case), case.element::<T>());
    let run = |schedule| launch::pool_finish(schedule, case, rows, &channels, element);
    let found = same(case, schedules(case), run, finished_bits);
    let expected = reference::finish(case, &rows.0, &rows.1, &channels.wide());
    // What is stored as T is rounded once more.
    let stored = if T::BYTES == 4 { f64::powi(2.0, -24) } else { 0.0 };
    // The output in its own format: half of a unit, or of the least number.
    let (unit, least) = match element {
        ElementType::F16 => (f64::powi(2.0, -11), f64::powi(2.0, -25)),
        ElementType::Bf16 => (f64::powi(2.0, -8), 0.0),
        _ => (stored, 0.0),
    };
    let what = |what, i: usize| format!("{what}[{i}] by pool_finish, {} bytes, {case:?}", T::BYTES);
    for (i, (&found, &(expected, size))) in found.output.iter().zip(&expected.output).enumerate() {
        close(&what("output", i), found, expected, F64 * size + unit * expected.abs() + least);
    }
    let vectors = [
        ("batch_mean", &found.batch_mean, &expected.batch_mean, 0.0),
        ("batch_var", &found.batch_var, &expected.batch_var, 0.0),
        ("running_mean", &found.running_mean, &expected.running_mean, stored),
        ("running_var", &found.running_var, &expected.running_var, stored),
    ];
    for (name, found, expected, stored) in vectors {
        let size = expected.iter().chain(&rows.0).fold(1.0, |size: f64, value| size.max(value.abs()));
        for (i, (&found, &expected)) in found.iter().zip(expected.iter()).enumerate() {
            close(&what(name, i), found, expected, F64 * size + stored * expected.abs());
        }
    }
}

fn check_slices<T: Float>(
    name: &str,
    accumulation: f64,
    case: &Case,
    work: Work,
    (x, w): (&[T], &[T]),
    found: &Moments,
) {
    let wide = |values: &[T]| values.iter().map(|value| value.to_f64()).collect::<Vec<_>>();
    let expected = reference::convolve(case, &wide(x), &wide(w));
    let positions = case.options.positions() as usize;
    for (row, z) in expected.z.chunks(positions).enumerate() {
        let slices = z.chunks(work.tiles_per_slice as usize * POSITIONS as usize);
        assert_eq!(slices.len(), work.slices as usize, "{case:?}");
        for (i, z) in slices.enumerate() {
            let (mean, m2) = reference::moments(z);
            let (at, size) = (row * work.slices as usize + i, expected.size[row]);
            let what = |what| format!("{what} of row {row}, slice {i}, by {name}, {case:?}");
            // The mean is summed in f64 in every form.
            close(&what("mean"), found.0[at], mean, F64 * size);
            let bound = accumulation * m2 + deviation(m2, z.len() as f64, accumulation * size);
            close(&what("M2"), found.1[at], m2, bound);
        }
    }
}

/// How far M2 of `count` values moves if each moves by `error`.
pub fn deviation(m2: f64, count: f64, error: f64) -> f64 {
    2.0 * (m2 * count).sqrt() * error + count * error * error
}

#[track_caller]
pub fn close(what: &str, found: f64, expected: f64, bound: f64) {
    // Not `>`: a NaN fails.
    assert!((found - expected).abs() <= bound, "{what}: {found:e} instead of {expected:e}, within {bound:e}");
}

/// The result of `run`, which has the same bits under each of `schedules`.
fn same<R>(case: &Case, schedules: Vec<Schedule>, run: impl Fn(Schedule) -> R, bits: impl Fn(&R) -> Vec<u64>) -> R {
    let first = schedules[0];
    let result = run(first);
    for &schedule in &schedules[1..] {
        assert_eq!(bits(&run(schedule)), bits(&result), "{schedule:?} differs from {first:?}, {case:?}");
    }
    result
}

pub fn moments_bits((mean, m2): &Moments) -> Vec<u64> {
    mean.iter().chain(m2).map(|value| value.to_bits()).collect()
}

fn finished_bits(finished: &Finished) -> Vec<u64> {
    let Finished { output, batch_mean, batch_var, running_mean, running_var } = finished;
    let vectors = [output, batch_mean, batch_var, running_mean, running_var];
    vectors.into_iter().flatten().map(|value| value.to_bits()).collect()
}
