//! Tensors of any number format in the executor's memory, shared by the tests.
#![allow(dead_code, reason = "not every test uses all of it")]

use cuda_std::convert::{Bf16, F16};
use cuda_std::float::Float;
use cuda_std::simt::{Buffer, Memory};
use kernel_gpu::element::{ElementType, Tensor, TensorMut, Value};

/// The formats of 16 bits.
pub const NARROW: [ElementType; 2] = [ElementType::F16, ElementType::Bf16];

/// The format of values `T`, as they are computed in.
pub fn own<T: Float>() -> ElementType {
    if T::BYTES == 4 { ElementType::F32 } else { ElementType::F64 }
}

/// `value`, rounded to that format.
pub fn rounded<T: Float>(value: f64, element: ElementType) -> T {
    match element {
        ElementType::F16 | ElementType::Bf16 => T::from_f64(widened(narrowed(value, element), element)),
        _ => T::from_f64(value),
    }
}

fn narrowed(value: f64, element: ElementType) -> u16 {
    match element {
        ElementType::F16 => F16::from_f32(value as f32).to_bits(),
        _ => Bf16::from_f32(value as f32).to_bits(),
    }
}

fn widened(bits: u16, element: ElementType) -> f64 {
    match element {
        ElementType::F16 => F16::from_bits(bits).to_f32().to_f64(),
        _ => Bf16::from_bits(bits).to_f32().to_f64(),
    }
}

/// Whether no number of that format of 16 bits is nearer to `value` than `found`, which is one.
pub fn is_nearest(found: f64, value: f64, element: ElementType) -> bool {
    let bits = narrowed(found, element);
    [bits.wrapping_add(1), bits.wrapping_sub(1)].into_iter().all(|neighbour| {
        let neighbour = widened(neighbour, element);
        neighbour.is_nan() || (found - value).abs() <= (neighbour - value).abs()
    })
}

/// A tensor of `values`, all of that format.
pub fn tensor<T: Value>(memory: &mut Memory, name: &str, values: &[T], element: ElementType) -> Tensor<T> {
    if !T::is_narrow(element) {
        return memory.buffer(name, values).global().into();
    }
    let bits: Vec<u16> = values.iter().map(|value| narrowed(value.to_f64(), element)).collect();
    Tensor::new(memory.buffer(name, &bits).address(), element)
}

/// An output of some format.
pub enum Output {
    Narrow(Buffer<u16>),
    Single(Buffer<f32>),
    Double(Buffer<f64>),
}

impl Output {
    /// `count` NaNs.
    pub fn new(memory: &mut Memory, count: usize, element: ElementType) -> (Self, TensorMut) {
        let output = match element {
            ElementType::F16 | ElementType::Bf16 => Self::Narrow(memory.buffer("output", &vec![0x7fff; count])),
            ElementType::F32 => Self::Single(memory.buffer("output", &vec![f32::NAN; count])),
            ElementType::F64 => Self::Double(memory.buffer("output", &vec![f64::NAN; count])),
        };
        let address = match &output {
            Self::Narrow(buffer) => buffer.address(),
            Self::Single(buffer) => buffer.address(),
            Self::Double(buffer) => buffer.address(),
        };
        (output, TensorMut::new(address, element))
    }

    /// What it holds now.
    pub fn read(&self, memory: &Memory, element: ElementType) -> Vec<f64> {
        match self {
            Self::Narrow(buffer) => memory.read(buffer).into_iter().map(|bits| widened(bits, element)).collect(),
            Self::Single(buffer) => memory.read(buffer).into_iter().map(f64::from).collect(),
            Self::Double(buffer) => memory.read(buffer),
        }
    }
}
