//! The narrow floating-point types: f16, bf16 and tf32, their conversions, and arithmetic on packed pairs.
//!
//! | type | significant bits | exponent as | rounds |
//! |---|---|---|---|
//! | [`F16`] | 11 | IEEE binary16 | to nearest, ties to even |
//! | [`Bf16`] | 8 | f32 | to nearest, ties to even |
//! | [`Tf32`] | 11 | f32 | to nearest, ties away from zero (there is no other before compute capability 9.0) |
//!
//! Subnormal numbers are numbers everywhere; what is too large becomes infinite. NaN stays NaN; which one is open, other than
//! that a conversion to 16 bits and an operation give 0x7fff. On `nvptx64` each is one
//! instruction of compute capability 8.0; on the host the exact value is rounded once.

#[cfg(not(target_arch = "nvptx64"))]
use crate::rounding::{self, Ties};

macro_rules! narrow {
    ($(#[$doc:meta])* $name:ident($bits:ident)) => {
        $(#[$doc])*
        #[repr(transparent)]
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $name($bits);

        impl $name {
            /// The value with these bits.
            #[inline(always)]
            pub const fn from_bits(bits: $bits) -> Self {
                Self(bits)
            }

            /// Its bits.
            #[inline(always)]
            pub const fn to_bits(self) -> $bits {
                self.0
            }
        }
    };
}
narrow!(
    /// An IEEE binary16 number.
    F16(u16)
);
narrow!(
    /// The upper half of an f32.
    Bf16(u16)
);
narrow!(
    /// An f32 of which the tensor cores read the upper 19 bits.
    Tf32(u32)
);
narrow!(
    /// Two [`F16`] in one register, the first in the low half.
    F16x2(u32)
);
narrow!(
    /// Two [`Bf16`] in one register, the first in the low half.
    Bf16x2(u32)
);

/// `a` (and what follows it) through one instruction on registers.
#[cfg(target_arch = "nvptx64")]
macro_rules! instruction {
    ($operation:literal, $out:ident, $class:ident: $($operand:expr),+) => {{
        let d;
        // SAFETY: arithmetic on registers.
        unsafe { instruction!(@asm $operation, $out, d, $class: $($operand),+) };
        d
    }};
    (@asm $operation:literal, $out:ident, $d:ident, $class:ident: $a:expr) => {
        core::arch::asm!(concat!($operation, " {0}, {1};"), out($out) $d, in($class) $a, options(pure, nomem, nostack))
    };
    (@asm $operation:literal, $out:ident, $d:ident, $class:ident: $a:expr, $b:expr) => {
        core::arch::asm!(concat!($operation, " {0}, {1}, {2};"), out($out) $d, in($class) $a, in($class) $b, options(pure, nomem, nostack))
    };
    (@asm $operation:literal, $out:ident, $d:ident, $class:ident: $a:expr, $b:expr, $c:expr) => {
        core::arch::asm!(concat!($operation, " {0}, {1}, {2}, {3};"), out($out) $d, in($class) $a, in($class) $b, in($class) $c, options(pure, nomem, nostack))
    };
}

// PTX ISA, section "cvt".
impl F16 {
    /// `value` rounded.
    #[inline(always)]
    pub fn from_f32(value: f32) -> Self {
        #[cfg(target_arch = "nvptx64")]
        return Self(instruction!("cvt.rn.f16.f32", reg16, reg32: value));
        #[cfg(not(target_arch = "nvptx64"))]
        Self(rounding::F16.encode(f64::from(value), Ties::Even) as u16)
    }

    /// The same value: exact.
    #[inline(always)]
    pub fn to_f32(self) -> f32 {
        #[cfg(target_arch = "nvptx64")]
        return instruction!("cvt.f32.f16", reg32, reg16: self.0);
        #[cfg(not(target_arch = "nvptx64"))]
        {
            rounding::F16.decode(u32::from(self.0)) as f32
        }
    }
}

impl Bf16 {
    /// `value` rounded.
    #[inline(always)]
    pub fn from_f32(value: f32) -> Self {
        #[cfg(target_arch = "nvptx64")]
        return Self(instruction!("cvt.rn.bf16.f32", reg16, reg32: value));
        #[cfg(not(target_arch = "nvptx64"))]
        Self(rounding::BF16.encode(f64::from(value), Ties::Even) as u16)
    }

    /// The same value: exact.
    #[inline(always)]
    pub fn to_f32(self) -> f32 {
        f32::from_bits((self.0 as u32) << 16)
    }
}

impl Tf32 {
    /// `value` rounded: the operand of a tf32 product.
    #[inline(always)]
    pub fn from_f32(value: f32) -> Self {
        #[cfg(target_arch = "nvptx64")]
        return Self(instruction!("cvt.rna.tf32.f32", reg32, reg32: value));
        #[cfg(not(target_arch = "nvptx64"))]
        Self(rounding::TF32.encode(f64::from(value), Ties::Away) << 13)
    }

    /// The value that a product sees: the low 13 bits do not count.
    #[inline(always)]
    pub fn to_f32(self) -> f32 {
        f32::from_bits(self.0 & !0x1fff)
    }
}

macro_rules! packed {
    ($name:ident, $half:ident, $format:ident, $cvt:literal, $fma:literal, $neg:literal, $add:expr, $mul:expr) => {
        impl $name {
            /// Both values, rounded.
            #[inline(always)]
            pub fn from_f32(low: f32, high: f32) -> Self {
                // The instruction's first operand becomes the upper half.
                #[cfg(target_arch = "nvptx64")]
                return Self(instruction!($cvt, reg32, reg32: high, low));
                #[cfg(not(target_arch = "nvptx64"))]
                Self::from_halves($half::from_f32(low), $half::from_f32(high))
            }

            /// Both values in one register.
            #[inline(always)]
            pub const fn from_halves(low: $half, high: $half) -> Self {
                Self(low.0 as u32 | (high.0 as u32) << 16)
            }

            /// The low half and the high half.
            #[inline(always)]
            pub const fn to_halves(self) -> ($half, $half) {
                ($half(self.0 as u16), $half((self.0 >> 16) as u16))
            }

            /// `self · factor + addend`, each half with one rounding.
            #[inline(always)]
            pub fn fma(self, factor: Self, addend: Self) -> Self {
                #[cfg(target_arch = "nvptx64")]
                return Self(instruction!($fma, reg32, reg32: self.0, factor.0, addend.0));
                #[cfg(not(target_arch = "nvptx64"))]
                {
                    let half = |shift: u32| {
                        let [a, b, c] = [self, factor, addend].map(|v| rounding::$format.decode(v.0 >> shift & 0xffff));
                        rounding::$format.encode(rounding::fma_to_odd(a, b, c), Ties::Even)
                    };
                    Self(half(0) | half(16) << 16)
                }
            }

            /// The sum, each half rounded once.
            #[inline(always)]
            #[allow(clippy::should_implement_trait)]
            pub fn add(self, other: Self) -> Self {
                $add(self, other)
            }

            /// The product, each half rounded once.
            #[inline(always)]
            #[allow(clippy::should_implement_trait)]
            pub fn mul(self, other: Self) -> Self {
                $mul(self, other)
            }

            /// Both signs flipped; NaN stays NaN.
            #[inline(always)]
            #[allow(clippy::should_implement_trait)]
            pub fn neg(self) -> Self {
                #[cfg(target_arch = "nvptx64")]
                return Self(instruction!($neg, reg32, reg32: self.0));
                #[cfg(not(target_arch = "nvptx64"))]
                {
                    let half = |shift: u32| rounding::$format.encode(-rounding::$format.decode(self.0 >> shift & 0xffff), Ties::Even);
                    Self(half(0) | half(16) << 16)
                }
            }
        }
    };
}
// add and mul of bf16x2 exist from compute capability 9.0 on only: a·1 + b and a·b + (−0) are the same, zeros' signs included,
// and one instruction as well.
packed!(
    F16x2,
    F16,
    F16,
    "cvt.rn.f16x2.f32",
    "fma.rn.f16x2",
    "neg.f16x2",
    |a: Self, b| a.fma(Self(0x3c00_3c00), b),
    |a: Self, b| a.fma(b, Self(0x8000_8000))
);
packed!(
    Bf16x2,
    Bf16,
    BF16,
    "cvt.rn.bf16x2.f32",
    "fma.rn.bf16x2",
    "neg.bf16x2",
    |a: Self, b| a.fma(Self(0x3f80_3f80), b),
    |a: Self, b| a.fma(b, Self(0x8000_8000))
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_narrow_value_survives_widening_and_a_nan_is_canonical() {
        for bits in 0..=u16::MAX {
            let (half, bfloat) = (F16::from_bits(bits), Bf16::from_bits(bits));
            for (wide, back) in [
                (half.to_f32(), F16::from_f32(half.to_f32()).to_bits()),
                (bfloat.to_f32(), Bf16::from_f32(bfloat.to_f32()).to_bits()),
            ] {
                assert_eq!(back, if wide.is_nan() { 0x7fff } else { bits });
            }
        }
        assert_eq!(Tf32::from_f32(f32::NAN).to_bits(), 0x7fff_e000);
    }

    #[test]
    fn ties_go_as_the_instruction_says() {
        assert_eq!(F16::from_f32(1.0 + f32::powi(2.0, -11)).to_bits(), 0x3c00);
        assert_eq!(F16::from_f32(1.0 + 3.0 * f32::powi(2.0, -11)).to_bits(), 0x3c02);
        assert_eq!(F16::from_f32(65520.0).to_bits(), 0x7c00);
        assert_eq!(F16::from_f32(65519.0).to_bits(), 0x7bff);
        assert_eq!(F16::from_f32(-f32::powi(2.0, -25)).to_bits(), 0x8000);
        assert_eq!(Bf16::from_f32(f32::MAX).to_bits(), 0x7f80);
        assert_eq!(Bf16::from_f32(f32::from_bits(1 << 16)).to_bits(), 1);
        assert_eq!(Tf32::from_f32(f32::from_bits(0x3f80_1000)).to_bits(), 0x3f80_2000, "away from zero");
        assert_eq!(Tf32::from_f32(f32::from_bits(0xbf80_1000)).to_bits(), 0xbf80_2000);
        assert_eq!(Tf32::from_f32(f32::from_bits(0x3f80_0fff)).to_bits(), 0x3f80_0000);
        assert_eq!(Tf32::from_f32(f32::MAX).to_bits(), 0x7f80_0000);
        assert_eq!(Tf32::from_bits(0x3f80_1fff).to_f32(), 1.0);
    }

    #[test]
    fn packed_arithmetic_works_on_each_half_alone() {
        let pair = F16x2::from_f32(1.5, -2.0);
        assert_eq!(pair.to_bits(), 0xc000_3e00);
        let halves = |v: F16x2| (v.to_halves().0.to_f32(), v.to_halves().1.to_f32());
        assert_eq!(halves(pair.add(F16x2::from_f32(0.25, 5.0))), (1.75, 3.0));
        assert_eq!(halves(pair.mul(F16x2::from_f32(2.0, 0.5))), (3.0, -1.0));
        assert_eq!(halves(pair.fma(pair, pair)), (3.75, 2.0));
        assert_eq!(pair.neg().to_bits(), 0x4000_be00);

        let pair = Bf16x2::from_f32(1.0, f32::INFINITY);
        assert_eq!(pair.add(Bf16x2::from_f32(2.0, f32::NEG_INFINITY)).to_bits(), 0x7fff_4040);
        // Halfway between two numbers but for an addend far below.
        let (tie, tail) = (1.5 * 1.5, f32::powi(2.0, -100));
        let fused =
            |tail| Bf16x2::from_f32(1.0078125, 1.5).fma(Bf16x2::from_f32(1.5, 1.5), Bf16x2::from_f32(tail, 0.0));
        assert_eq!(fused(tail).to_halves().0.to_bits(), 0x3fc2);
        assert_eq!(fused(-tail).to_halves().0.to_bits(), 0x3fc1);
        assert_eq!(fused(tail).to_halves().1.to_f32(), tie);

        let zeros = Bf16x2::from_f32(0.0, -0.0);
        assert_eq!(zeros.mul(Bf16x2::from_f32(-1.0, -1.0)).to_bits(), 0x0000_8000, "the signs of zeros");
        assert_eq!(zeros.add(zeros).to_bits(), 0x8000_0000);
    }
}
