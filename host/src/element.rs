//! Element types: which number formats a tensor may have, and the two the library computes in.
//!
//! [`DType`] names every format that files and options speak of; [`Element`] is implemented by the
//! formats a [`Plan`](crate::Plan) accepts (`f32`, `f64`). Sums are always accumulated in `f64`.

use std::fmt;
use std::str::FromStr;

use cuda_std::Scalar;

/// A number format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a binary32.
    BF16,
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary64.
    F64,
}

impl DType {
    /// Half the distance from 1 to the next larger value: the largest relative error of one rounding.
    pub const fn unit_roundoff(self) -> f64 {
        match self {
            DType::F16 => 1.0 / (1u64 << 11) as f64,
            DType::BF16 => 1.0 / (1u64 << 8) as f64,
            DType::F32 => 1.0 / (1u64 << 24) as f64,
            DType::F64 => 1.0 / (1u64 << 53) as f64,
        }
    }

    /// Bytes an element takes.
    pub const fn bytes(self) -> usize {
        match self {
            DType::F16 | DType::BF16 => 2,
            DType::F32 => 4,
            DType::F64 => 8,
        }
    }

    /// The name users write: `f16`, `bf16`, `f32` or `f64`.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::F32 => "f32",
            DType::F64 => "f64",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is no [`DType`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("dtype is `{found}`; it must be f16, bf16, f32 or f64")]
pub struct UnknownDType {
    /// What was given.
    pub found: String,
}

impl FromStr for DType {
    type Err = UnknownDType;

    fn from_str(name: &str) -> Result<DType, UnknownDType> {
        [DType::F16, DType::BF16, DType::F32, DType::F64]
            .into_iter()
            .find(|dtype| dtype.name() == name)
            .ok_or_else(|| UnknownDType { found: name.to_owned() })
    }
}

/// A format that plans compute on: `f32` or `f64`.
pub trait Element: Scalar + Default + fmt::Debug + fmt::Display + sealed::Sealed {
    /// The format's name and properties.
    const DTYPE: DType;
    /// The same value in `f64`; exact.
    fn to_f64(self) -> f64;
    /// The nearest value of this format.
    fn from_f64(value: f64) -> Self;
}

impl Element for f32 {
    const DTYPE: DType = DType::F32;

    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    fn from_f64(value: f64) -> f32 {
        value as f32
    }
}

impl Element for f64 {
    const DTYPE: DType = DType::F64;

    fn to_f64(self) -> f64 {
        self
    }

    fn from_f64(value: f64) -> f64 {
        value
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for dtype in [DType::F16, DType::BF16, DType::F32, DType::F64] {
            assert_eq!(dtype.to_string().parse(), Ok(dtype));
        }
        let refused = "float32".parse::<DType>().unwrap_err();
        assert!(refused.to_string().contains("`float32`"));
    }

    #[test]
    fn roundoffs_are_half_an_epsilon() {
        assert_eq!(f32::DTYPE.unit_roundoff(), f64::from(f32::EPSILON) / 2.0);
        assert_eq!(f64::DTYPE.unit_roundoff(), f64::EPSILON / 2.0);
        assert_eq!(DType::F16.unit_roundoff(), 2f64.powi(-11));
        assert_eq!(DType::BF16.unit_roundoff(), 2f64.powi(-8));
    }
}
