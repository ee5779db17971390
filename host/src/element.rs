//! Number formats: which a tensor may have, and the two that the library computes in.
//!
//! | `input`, `kernel`, `conv_bias`, `output` ([`Storage`]) | batch normalisation's tensors, and what is computed in ([`Element`]) |
//! |---|---|
//! | `f16`, `bf16` | `f32` |
//! | `f32` | `f32` |
//! | `f64` | `f64` |
//!
//! [`DType`] names them. 16-bit tensors are widened as they come in, which is exact: on a CPU before all else, on a GPU by the
//! kernels that read them. Last sums are always in `f64`, and an output is rounded once.

use std::fmt;
use std::str::FromStr;

use cuda_std::Scalar;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use kernel_gpu::element::{ElementType, round_to_odd};
use ndarray::{ArrayView, CowArray, Dimension};
use rayon::prelude::*;

use crate::Error;
use crate::memory;

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

/// As kernels know it.
impl From<DType> for ElementType {
    fn from(dtype: DType) -> ElementType {
        match dtype {
            DType::F16 => ElementType::F16,
            DType::BF16 => ElementType::Bf16,
            DType::F32 => ElementType::F32,
            DType::F64 => ElementType::F64,
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

/// A format that `input`, `kernel`, `conv_bias` and `output` may have: `f16`, `bf16`, `f32` or `f64`.
pub trait Storage:
    Copy + PartialEq + Default + fmt::Debug + fmt::Display + Send + Sync + 'static + sealed::Sealed
{
    /// The format's name and properties.
    const DTYPE: DType;
    /// What it is computed in, and what the tensors of batch normalisation have: `f64` for `f64`, else `f32`.
    type Wide: Element;
    /// The same value in `f64`; exact.
    fn to_f64(self) -> f64;
    /// The nearest value of this format.
    fn from_f64(value: f64) -> Self;
    /// The same values in the format they are computed in: borrowed where that is this one.
    ///
    /// # Errors
    /// [`Error::Memory`], which names `what`, where a copy does not fit.
    fn widened<'a, D: Dimension>(
        what: &'static str,
        values: ArrayView<'a, Self, D>,
    ) -> Result<CowArray<'a, Self::Wide, D>, Error>;
}

/// A format that is computed in: `f32` or `f64`.
pub trait Element: Storage<Wide = Self> + Scalar {}

macro_rules! computed_in {
    ($format:ty, $dtype:expr) => {
        impl Storage for $format {
            const DTYPE: DType = $dtype;
            type Wide = $format;

            fn to_f64(self) -> f64 {
                self.into()
            }

            fn from_f64(value: f64) -> $format {
                value as $format
            }

            fn widened<'a, D: Dimension>(
                _: &'static str,
                values: ArrayView<'a, $format, D>,
            ) -> Result<CowArray<'a, $format, D>, Error> {
                Ok(values.into())
            }
        }

        impl Element for $format {}
    };
}

computed_in!(f32, DType::F32);
computed_in!(f64, DType::F64);

macro_rules! stored_in_16_bits {
    ($format:ident, $dtype:expr) => {
        impl Storage for $format {
            const DTYPE: DType = $dtype;
            type Wide = f32;

            fn to_f64(self) -> f64 {
                self.into()
            }

            fn from_f64(value: f64) -> $format {
                $format::from_f32(round_to_odd(value))
            }

            fn widened<'a, D: Dimension>(
                what: &'static str,
                values: ArrayView<'a, $format, D>,
            ) -> Result<CowArray<'a, f32, D>, Error> {
                let mut wide = memory::try_with_capacity(what, values.len())?;
                match values.to_slice() {
                    Some(slice) => {
                        wide.resize(slice.len(), 0.0);
                        slice
                            .par_chunks(AT_ONCE)
                            .zip(wide.par_chunks_mut(AT_ONCE))
                            .for_each(|(from, to)| from.convert_to_f32_slice(to));
                    }
                    None => wide.extend(values.iter().map(|value| value.to_f32())),
                }
                Ok(memory::in_shape(values.raw_dim(), wide).into())
            }
        }
    };
}

stored_in_16_bits!(f16, DType::F16);
stored_in_16_bits!(bf16, DType::BF16);

/// Values that a thread widens at once.
const AT_ONCE: usize = 1 << 14;

mod sealed {
    pub trait Sealed {}
    impl Sealed for half::f16 {}
    impl Sealed for half::bf16 {}
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
    fn sixteen_bits_are_the_nearest_even_beside_a_tie() {
        let (tie, little) = (1.0 + 2f64.powi(-11), 2f64.powi(-40));
        let of = <f16 as Storage>::from_f64;
        assert_eq!([tie - little, tie, tie + little].map(|x| of(x).to_f64()), [1.0, 1.0, 1.0 + 2f64.powi(-10)]);
        let (tie, of) = (1.0 + 2f64.powi(-8), <bf16 as Storage>::from_f64);
        assert_eq!([-tie + little, -tie, -tie - little].map(|x| of(x).to_f64()), [-1.0, -1.0, -1.0 - 2f64.powi(-7)]);
        assert_eq!(<f16 as Storage>::from_f64(65519.999).to_f64(), 65504.0);
        for value in [0.0, -0.0, 1e-60, -1e-60, 65520.0, 1e300, f64::INFINITY] {
            assert_eq!(
                <f16 as Storage>::from_f64(value).to_bits(),
                half::f16::from_f32(value as f32).to_bits(),
                "{value}"
            );
        }
        assert!(<f16 as Storage>::from_f64(f64::NAN).is_nan());
        // Twice of 2^-25, the tie between nothing and the least f16.
        assert_eq!(<f16 as Storage>::from_f64(2f64.powi(-25)).to_bits(), 0);
        assert_eq!(<f16 as Storage>::from_f64(2f64.powi(-25) * (1.0 + 1e-12)).to_bits(), 1);
    }

    #[test]
    fn roundoffs_are_half_an_epsilon() {
        assert_eq!(f32::DTYPE.unit_roundoff(), f64::from(f32::EPSILON) / 2.0);
        assert_eq!(f64::DTYPE.unit_roundoff(), f64::EPSILON / 2.0);
        assert_eq!(DType::F16.unit_roundoff(), 2f64.powi(-11));
        assert_eq!(DType::BF16.unit_roundoff(), 2f64.powi(-8));
    }

    /// Every finite and infinite value of both formats, contiguous and not, against `f64`.
    #[test]
    fn widening_is_exact() {
        fn check<T: Storage<Wide = f32>>(of_bits: fn(u16) -> T) {
            let values: Vec<T> = (0..=u16::MAX).map(of_bits).collect();
            let values = ndarray::Array2::from_shape_vec((256, 256), values).unwrap();
            for view in [values.view(), values.t()] {
                let wide = T::widened("test", view).unwrap();
                for (wide, value) in wide.iter().zip(view) {
                    let (wide, value) = (f64::from(*wide), value.to_f64());
                    assert!(wide == value || (wide.is_nan() && value.is_nan()), "{wide} {value}");
                    assert!(value.is_nan() || T::from_f64(value).to_f64() == value);
                }
            }
        }
        check(f16::from_bits);
        check(bf16::from_bits);
        let one = ndarray::array![1.5f32];
        assert!(f32::widened("test", one.view()).unwrap().is_view());
    }
}
