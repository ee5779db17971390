//! Arithmetic that Rust's operators do not express: fused multiply-add, roots, and the conversions between the two widths.
//!
//! Rust never contracts `a * b + c`: where a kernel means one rounding it says `Float::fma`.

use crate::Word;

/// The floating-point types that kernels compute in.
///
/// On `nvptx64` each method is one IEEE-rounded instruction (`.rn`), except `Float::rsqrt_approx`.
pub trait Float:
    Word
    + Default
    + PartialOrd
    + core::ops::Add<Output = Self>
    + core::ops::Sub<Output = Self>
    + core::ops::Mul<Output = Self>
    + core::ops::Div<Output = Self>
    + core::ops::AddAssign
{
    /// This value as f64: exact.
    fn to_f64(self) -> f64;
    /// `value` rounded to this type, to nearest, ties to even.
    fn from_f64(value: f64) -> Self;
    /// `self · factor + addend` with one rounding.
    fn fma(self, factor: Self, addend: Self) -> Self;
    /// The square root.
    fn sqrt(self) -> Self;
    /// 1/√self: f32 within 2 ulp; f64 to about 20 bits, a starting value for Newton steps (PTX ISA, "rsqrt").
    fn rsqrt_approx(self) -> Self;
}

macro_rules! float {
    ($t:ty, $class:ident, $f:literal, $rsqrt:literal) => {
        impl Float for $t {
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }
            #[inline(always)]
            fn from_f64(value: f64) -> Self {
                value as $t
            }
            #[inline(always)]
            fn fma(self, factor: Self, addend: Self) -> Self {
                #[cfg(target_arch = "nvptx64")]
                {
                    let v: Self;
                    // SAFETY: arithmetic on registers.
                    unsafe { core::arch::asm!(concat!("fma.rn.", $f, " {0}, {1}, {2}, {3};"), out($class) v, in($class) self, in($class) factor, in($class) addend, options(pure, nomem, nostack)) };
                    v
                }
                #[cfg(not(target_arch = "nvptx64"))]
                {
                    self.mul_add(factor, addend)
                }
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                #[cfg(target_arch = "nvptx64")]
                {
                    let v: Self;
                    // SAFETY: arithmetic on registers.
                    unsafe { core::arch::asm!(concat!("sqrt.rn.", $f, " {0}, {1};"), out($class) v, in($class) self, options(pure, nomem, nostack)) };
                    v
                }
                #[cfg(not(target_arch = "nvptx64"))]
                {
                    <$t>::sqrt(self)
                }
            }
            #[inline(always)]
            fn rsqrt_approx(self) -> Self {
                #[cfg(target_arch = "nvptx64")]
                {
                    let v: Self;
                    // SAFETY: arithmetic on registers.
                    unsafe { core::arch::asm!(concat!($rsqrt, " {0}, {1};"), out($class) v, in($class) self, options(pure, nomem, nostack)) };
                    v
                }
                #[cfg(not(target_arch = "nvptx64"))]
                {
                    1.0 / <$t>::sqrt(self)
                }
            }
        }
    };
}
float!(f32, reg32, "f32", "rsqrt.approx.f32");
float!(f64, reg64, "f64", "rsqrt.approx.f64");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrowing_rounds_to_nearest_even() {
        let halfway = 1.0 + f64::powi(2.0, -24);
        assert_eq!(<f32 as Float>::from_f64(halfway), 1.0);
        assert_eq!(<f32 as Float>::from_f64(1.0 + 3.0 * f64::powi(2.0, -24)), 1.0 + 2.0 * f32::EPSILON);
        assert_eq!(1.5f32.to_f64(), 1.5);
    }
}
