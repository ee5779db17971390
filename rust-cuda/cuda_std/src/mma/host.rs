//! The products in the executor: every lane gives its fragments, and each computes its four elements of D.

use std::panic::Location;

use crate::convert::{Bf16, F16, Tf32};
use crate::fragment::{Holder, accumulator, holder_a16, holder_a32, holder_b16, holder_b32};
use crate::simt::ops;

type At = &'static Location<'static>;

pub(super) fn f16(operation: &'static str, a: &[u32], b: &[u32], c: [f32; 4], at: At) -> [f32; 4] {
    let value = |registers: &[u32], i: u32| F16::from_bits(half(registers, i)).to_f32();
    product(operation, [a, b], c, 4 * a.len() as u32, [holder_a16, holder_b16], value, at)
}

pub(super) fn bf16(operation: &'static str, a: &[u32], b: &[u32], c: [f32; 4], at: At) -> [f32; 4] {
    let value = |registers: &[u32], i: u32| Bf16::from_bits(half(registers, i)).to_f32();
    product(operation, [a, b], c, 4 * a.len() as u32, [holder_a16, holder_b16], value, at)
}

pub(super) fn tf32(operation: &'static str, a: &[u32], b: &[u32], c: [f32; 4], at: At) -> [f32; 4] {
    let value = |registers: &[u32], i: u32| Tf32::from_bits(registers[i as usize]).to_f32();
    product(operation, [a, b], c, 2 * a.len() as u32, [holder_a32, holder_b32], value, at)
}

fn half(registers: &[u32], i: u32) -> u16 {
    (registers[i as usize / 2] >> (i % 2 * 16)) as u16
}

/// This lane's elements of A·B + C, where A is 16 × `k`; `value` reads an element of a fragment.
fn product(
    operation: &'static str,
    factors: [&[u32]; 2],
    c: [f32; 4],
    k: u32,
    holders: [fn(u32, u32) -> Holder; 2],
    value: impl Fn(&[u32], u32) -> f32,
    at: At,
) -> [f32; 4] {
    let (lane, first_of_b) = (ops::lane(), factors[0].len());
    let lanes = ops::collective(operation, u32::MAX, factors.concat(), at);
    let element = |(holder, i): Holder, skip: usize| f64::from(value(&lanes[holder as usize][skip..], i));
    let mut d = c;
    for (i, sum) in d.iter_mut().enumerate() {
        let (row, column) = accumulator(lane, i as u32);
        for k in 0..k {
            let product = element(holders[0](row, k), 0) * element(holders[1](k, column), first_of_b);
            *sum = (f64::from(*sum) + product) as f32;
        }
    }
    d
}
