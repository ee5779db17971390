//! Tensors in files: what a `.safetensors` or `.npy` file holds, before anything is known about the operation.
//!
//! Reading trusts nothing: a file's own sizes are compared with the file's length before memory is reserved for
//! them, memory is reserved fallibly, and what cannot be read is refused with the name of the file and the tensor.

mod file;
mod npy;
mod safetensors;

pub use file::PendingFile;
pub use npy::read as read_npy;
pub use safetensors::{read as read_safetensors, serialize};

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use convt_bn_gap::{DType, Storage, bf16, f16, memory};

/// A file's tensors and its metadata.
#[derive(Default)]
pub struct Archive {
    /// The tensors that this tool knows, by name.
    pub tensors: BTreeMap<String, Tensor>,
    /// The names of the others, which were not read.
    pub ignored: Vec<String>,
    /// safetensors' `__metadata__`: strings.
    pub metadata: BTreeMap<String, String>,
}

/// The operation's operands, by the names they have in a file.
pub const OPERANDS: [&str; 7] = ["input", "kernel", "conv_bias", "bn_weight", "bn_bias", "running_mean", "running_var"];

/// What a file may say the operation gives.
pub const EXPECTED: [&str; 5] =
    ["expected.output", "expected.batch_mean", "expected.batch_var", "expected.running_mean", "expected.running_var"];

/// One tensor in C order.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Extents, outermost first.
    pub shape: Vec<usize>,
    /// The product of `shape` many values.
    pub values: Values,
}

/// A tensor's values in the type the file stores.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// IEEE half precision.
    F16(Vec<f16>),
    /// bfloat16.
    BF16(Vec<bf16>),
    /// Single precision.
    F32(Vec<f32>),
    /// Double precision.
    F64(Vec<f64>),
}

impl Values {
    /// The stored type.
    pub fn dtype(&self) -> DType {
        match self {
            Self::F16(_) => DType::F16,
            Self::BF16(_) => DType::BF16,
            Self::F32(_) => DType::F32,
            Self::F64(_) => DType::F64,
        }
    }

    /// Values rounded to `dtype`.
    pub fn rounded(dtype: DType, values: impl Iterator<Item = f64>) -> Self {
        match dtype {
            DType::F16 => Self::F16(values.map(f16::from_f64).collect()),
            DType::BF16 => Self::BF16(values.map(bf16::from_f64).collect()),
            DType::F32 => Self::F32(values.map(|v| v as f32).collect()),
            _ => Self::F64(values.collect()),
        }
    }
}

/// An element type that the values of a file may be widened to, exactly.
pub trait FromValues: Storage {
    /// The values as this type; refuses a wider type, which would have to be rounded. `what` names the tensor.
    fn from_values(what: &'static str, values: Values) -> Result<Vec<Self>>;
}

impl FromValues for f16 {
    fn from_values(what: &'static str, values: Values) -> Result<Vec<f16>> {
        match values {
            Values::F16(v) => Ok(v),
            other => bail!("{what} is {} beside an f16 input; it must be f16", other.dtype()),
        }
    }
}

impl FromValues for bf16 {
    fn from_values(what: &'static str, values: Values) -> Result<Vec<bf16>> {
        match values {
            Values::BF16(v) => Ok(v),
            other => bail!("{what} is {} beside a bf16 input; it must be bf16", other.dtype()),
        }
    }
}

impl FromValues for f32 {
    fn from_values(what: &'static str, values: Values) -> Result<Vec<f32>> {
        match values {
            Values::F16(v) => convert(what, &v, f16::to_f32),
            Values::BF16(v) => convert(what, &v, bf16::to_f32),
            Values::F32(v) => Ok(v),
            Values::F64(_) => bail!("{what} is f64, and the input is not; it must be f32 or narrower"),
        }
    }
}

impl FromValues for f64 {
    fn from_values(what: &'static str, values: Values) -> Result<Vec<f64>> {
        match values {
            Values::F16(v) => convert(what, &v, f16::to_f64),
            Values::BF16(v) => convert(what, &v, bf16::to_f64),
            Values::F32(v) => convert(what, &v, f64::from),
            Values::F64(v) => Ok(v),
        }
    }
}

fn convert<S: Copy, T>(what: &'static str, from: &[S], convert: impl Fn(S) -> T) -> Result<Vec<T>> {
    let mut to = memory::try_with_capacity(what, from.len())?;
    to.extend(from.iter().map(|&v| convert(v)));
    Ok(to)
}
