//! Products on the tensor cores, and the matrices that feed them.

use std::cell::Cell;

use cuda_std::convert::{Bf16, F16, Tf32};
use cuda_std::fragment::{self, Place};
use cuda_std::matrix::*;
use cuda_std::mma::*;
use cuda_std::shared::Shared;
use cuda_std::simt::FindingKind;
use cuda_std::thread::{lane_index, sync_threads, thread_idx_x};

use super::{Draw, caught, clean};

/// Row-major.
#[derive(Clone)]
struct Matrix {
    columns: u32,
    values: Vec<f32>,
}

impl Matrix {
    fn draw(rows: u32, columns: u32, value: impl FnMut() -> f32) -> Self {
        Self { columns, values: std::iter::repeat_with(value).take((rows * columns) as usize).collect() }
    }

    fn at(&self, (row, column): Place) -> f32 {
        self.values[(row * self.columns + column) as usize]
    }

    /// A·B + C in f64.
    fn product(a: &Matrix, b: &Matrix, c: &Matrix, (row, column): Place) -> f64 {
        let terms = (0..a.columns).map(|k| f64::from(a.at((row, k))) * f64::from(b.at((k, column))));
        terms.sum::<f64>() + f64::from(c.at((row, column)))
    }
}

fn pack<const N: usize>(matrix: &Matrix, place: fn(u32, u32) -> Place, bits: fn(f32) -> u16) -> [u32; N] {
    let half = |i: usize| u32::from(bits(matrix.at(place(lane_index(), i as u32))));
    std::array::from_fn(|register| half(2 * register) | half(2 * register + 1) << 16)
}

fn single<const N: usize>(matrix: &Matrix, place: fn(u32, u32) -> Place) -> [u32; N] {
    std::array::from_fn(|i| Tf32::from_f32(matrix.at(place(lane_index(), i as u32))).to_bits())
}

fn f16(value: f32) -> u16 {
    F16::from_f32(value).to_bits()
}

fn bf16(value: f32) -> u16 {
    Bf16::from_f32(value).to_bits()
}

/// Every product against its definition: exactly on small integers, within a few roundings on others.
fn check(k: u32, rounded: fn(f32) -> f32, product: impl Fn(&Matrix, &Matrix, [f32; 4]) -> [f32; 4]) {
    for seed in 0..4 {
        let mut draw = Draw(seed);
        let exact = seed % 2 == 0;
        let mut value = || if exact { draw.small() } else { rounded(draw.bits() as f32 / 2f32.powi(31) - 1.0) };
        let (a, b) = (Matrix::draw(16, k, &mut value), Matrix::draw(k, 8, &mut value));
        let c = Matrix::draw(16, 8, &mut value);
        clean(64, 0, || {
            let place = |i: usize| fragment::accumulator(lane_index(), i as u32);
            let d = product(&a, &b, std::array::from_fn(|i| c.at(place(i))));
            for (i, d) in d.into_iter().enumerate() {
                let expected = Matrix::product(&a, &b, &c, place(i));
                let error = (f64::from(d) - expected).abs();
                assert!(error <= if exact { 0.0 } else { 1e-5 }, "{d} is not {expected}");
            }
        });
    }
}

#[test]
fn products_are_those_of_the_matrices() {
    let halves = |bits: fn(f32) -> u16| {
        move |a: &Matrix, b: &Matrix| (pack::<4>(a, fragment::a16, bits), pack::<2>(b, fragment::b16, bits))
    };
    let quarter = |bits: fn(f32) -> u16| {
        move |a: &Matrix, b: &Matrix| (pack::<2>(a, fragment::a16, bits), pack::<1>(b, fragment::b16, bits))
    };
    let (to_f16, to_bf16) = (|v| F16::from_f32(v).to_f32(), |v| Bf16::from_f32(v).to_f32());
    let with = |(a, b), c, mma: fn([u32; 4], [u32; 2], [f32; 4]) -> [f32; 4]| mma(a, b, c);
    let with_half = |(a, b), c, mma: fn([u32; 2], [u32; 1], [f32; 4]) -> [f32; 4]| mma(a, b, c);
    check(16, to_f16, |a, b, c| with(halves(f16)(a, b), c, m16n8k16_f16));
    check(16, to_bf16, |a, b, c| with(halves(bf16)(a, b), c, m16n8k16_bf16));
    check(8, to_f16, |a, b, c| with_half(quarter(f16)(a, b), c, m16n8k8_f16));
    check(8, to_bf16, |a, b, c| with_half(quarter(bf16)(a, b), c, m16n8k8_bf16));
    let to_tf32 = |v| Tf32::from_f32(v).to_f32();
    check(8, to_tf32, |a, b, c| m16n8k8_tf32(single(a, fragment::a32), single(b, fragment::b32), c));
}

/// Writes `matrix` to shared memory as f16, transposed or not, by 32 lanes; a row of 16 bytes or 32.
fn stage(at: Shared<u16>, matrix: &Matrix, transposed: bool) {
    let rows = matrix.values.len() as u32 / matrix.columns;
    for i in (lane_index()..matrix.values.len() as u32).step_by(32) {
        let (row, column) = (i / matrix.columns, i % matrix.columns);
        let to = if transposed { column * rows + row } else { i };
        // SAFETY: inside the matrix; each element is one lane's.
        unsafe { at.store(to, f16(matrix.at((row, column)))) };
    }
}

/// 16 × 16 by 16 × 8 through shared memory, with B by columns and by rows, and D·1 back through `stmatrix`.
#[test]
fn loaded_matrices_multiply_as_they_should() {
    let mut draw = Draw(11);
    let (a, b) = (Matrix::draw(16, 16, || draw.small()), Matrix::draw(16, 8, || draw.small()));
    let zero = Matrix::draw(16, 8, || 0.0);
    for b_by_rows in [false, true] {
        for a_transposed in [false, true] {
            clean(32, 1024, || {
                let (at_a, at_b, lane) = (Shared::<u16>::dynamic(0), Shared::<u16>::dynamic(512), lane_index());
                stage(at_a, &a, a_transposed);
                stage(at_b, &b, !b_by_rows);
                sync_threads();
                // SAFETY: rows of 16 halves in A, of 8 or 16 in B; all inside.
                let (a_registers, b_registers) = unsafe {
                    (
                        if a_transposed {
                            // The quarters in A's order, each read by its columns.
                            ldmatrix_x4_trans(at_a.offset((lane % 8 + lane / 16 * 8) * 16 + lane / 8 % 2 * 8))
                        } else {
                            ldmatrix_x4(at_a.offset(lane % 16 * 16 + lane / 16 * 8))
                        },
                        if b_by_rows {
                            ldmatrix_x2_trans(at_b.offset(lane % 16 * 8))
                        } else {
                            ldmatrix_x2(at_b.offset(lane % 8 * 16 + lane / 8 % 2 * 8))
                        },
                    )
                };
                let d = m16n8k16_f16(a_registers, b_registers, [0.0; 4]);
                for (i, d) in d.into_iter().enumerate() {
                    let place = fragment::accumulator(lane, i as u32);
                    assert_eq!(f64::from(d), Matrix::product(&a, &b, &zero, place));
                }
            });
        }
    }
}

/// `stmatrix` undoes `ldmatrix`; transposing twice changes nothing, once transposes each 8 × 8.
#[test]
fn stores_undo_loads() {
    let element = |matrix: u32, row: u32, column: u32| (matrix * 100 + row * 8 + column) as u16;
    macro_rules! round_trip {
        ($count:literal, $ld:ident, $st:ident, $turned:literal) => {
            clean(32, 1024, || {
                let (from, to, lane) = (Shared::<u16>::dynamic(0), Shared::<u16>::dynamic(512), lane_index());
                // SAFETY: `count` matrices of 8 rows of 8 at both places; lane l names row l.
                unsafe {
                    for i in 0..8 {
                        from.store(lane * 8 + i, element(lane / 8, lane % 8, i));
                    }
                    sync_threads();
                    let registers = $ld(from.offset(lane * 8));
                    $st(to.offset(lane * 8), registers);
                    sync_threads();
                    if lane < 8 * $count {
                        for i in 0..8 {
                            let (row, column) = if $turned { (i, lane % 8) } else { (lane % 8, i) };
                            assert_eq!(to.load(lane * 8 + i), element(lane / 8, row, column));
                        }
                    }
                }
            });
        };
    }
    round_trip!(1, ldmatrix_x1, stmatrix_x1, false);
    round_trip!(2, ldmatrix_x2, stmatrix_x2, false);
    round_trip!(4, ldmatrix_x4, stmatrix_x4, false);
    round_trip!(1, ldmatrix_x1_trans, stmatrix_x1_trans, false);
    round_trip!(2, ldmatrix_x2_trans, stmatrix_x2, true);
    round_trip!(4, ldmatrix_x4, stmatrix_x4_trans, true);
    round_trip!(1, ldmatrix_x1_trans, stmatrix_x1, true);
    round_trip!(2, ldmatrix_x2, stmatrix_x2_trans, true);
    round_trip!(4, ldmatrix_x4_trans, stmatrix_x4_trans, false);
}

#[expect(clippy::if_same_then_else, reason = "two places in the source")]
fn one_of_two_products(group: u32) {
    if (thread_idx_x() / group).is_multiple_of(2) {
        m16n8k8_f16([0; 2], [0; 1], [0.0; 4]);
    } else {
        m16n8k8_f16([0; 2], [0; 1], [0.0; 4]);
    }
}

#[test]
fn all_lanes_multiply_at_one_place() {
    let collective = |kind: &FindingKind| matches!(kind, FindingKind::Collective { operation, .. } if operation.starts_with("mma.sync"));
    let product = || {
        m16n8k8_f16([0; 2], [0; 1], [0.0; 4]);
    };
    clean(64, 0, product);
    caught(32, 0, collective, || {
        if lane_index() != 31 {
            product()
        }
    });
    caught(16, 0, collective, product);
    // The same product twice in the source is two instructions.
    clean(64, 0, || one_of_two_products(32));
    caught(64, 0, collective, || one_of_two_products(1));
}

/// Loads one matrix whose row r is at byte 16·r·`stride` + `shift`, after each lane has stored `written` bytes of 32.
fn load_rows(written: u32, stride: u32, shift: u32, separated: bool) {
    let (place, lane) = (Shared::<u32>::dynamic(0), lane_index());
    // SAFETY: none: some are wrong.
    unsafe {
        if lane < written / 4 {
            place.store(lane, lane);
        }
        if separated {
            sync_threads();
        }
        ldmatrix_x1(Shared::<u16>::dynamic(16 * (lane % 8) * stride + shift));
    }
}

#[test]
fn rows_are_checked_as_accesses_of_the_lane_that_names_them() {
    let count = Cell::new(0);
    clean(32, 128, || load_rows(128, 1, 0, true));
    caught(32, 128, |kind| matches!(kind, FindingKind::Race { .. }), || load_rows(128, 1, 0, false));
    caught(32, 128, |kind| matches!(kind, FindingKind::NeverWritten), || load_rows(124, 1, 0, true));
    caught(32, 128, |kind| matches!(kind, FindingKind::Misaligned { .. }), || load_rows(128, 1, 8, true));
    caught(32, 128, |kind| matches!(kind, FindingKind::OutOfBounds { limit: 128, .. }), || load_rows(128, 2, 0, true));
    // Lanes past those that name rows may hold any address.
    clean(32, 128, || {
        count.set(count.get() + 1);
        let lane = lane_index();
        let row = Shared::<u16>::dynamic(if lane < 8 { 16 * lane } else { 1_000_003 });
        // SAFETY: the rows of lanes 0–7 are inside.
        unsafe {
            stmatrix_x1(row, [lane]);
            assert_eq!(ldmatrix_x1(row), [lane]);
        }
    });
    assert_eq!(count.get(), 32 * super::SCHEDULES.len());
    // Two lanes name the same row: two writes of it.
    caught(
        32,
        128,
        |kind| matches!(kind, FindingKind::Race { .. }),
        || {
            // SAFETY: none: it is wrong.
            unsafe { stmatrix_x1(Shared::<u16>::dynamic(16 * (lane_index() % 4)), [lane_index()]) };
        },
    );
    caught(
        32,
        120,
        |kind| matches!(kind, FindingKind::OutOfBounds { .. }),
        || {
            // SAFETY: none: it is wrong.
            unsafe { stmatrix_x1(Shared::<u16>::dynamic(16 * (lane_index() % 8)), [lane_index()]) };
        },
    );
}
