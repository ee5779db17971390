//! 16-bit words, and the types that are a word with a meaning: how loads, stores and shuffles move them.

#[cfg(not(target_arch = "nvptx64"))]
use std::panic::Location;

use crate::convert::{Bf16, Bf16x2, F16, F16x2, Tf32};
#[cfg(not(target_arch = "nvptx64"))]
use crate::simt::ops;
use crate::word::{Scalar, Word, sealed};

impl sealed::Sealed for u16 {}
impl Scalar for u16 {
    const BYTES: u32 = 2;
}

/// One access of 16 bits: the instruction, or the executor's operation.
macro_rules! load {
    ($name:ident, $address:ty, $class:ident, $ptx:literal, $read:ident) => {
        #[inline(always)]
        #[track_caller]
        unsafe fn $name(address: $address) -> Self {
            #[cfg(target_arch = "nvptx64")]
            {
                let v: Self;
                // SAFETY: the caller's address is valid and aligned in this space.
                unsafe { core::arch::asm!(concat!($ptx, " {0}, [{1}];"), out(reg16) v, in($class) address, options(nostack)) };
                v
            }
            #[cfg(not(target_arch = "nvptx64"))]
            {
                let mut bytes = [0; 2];
                ops::$read(address, &mut bytes, Location::caller());
                Self::from_le_bytes(bytes)
            }
        }
    };
}
macro_rules! store {
    ($name:ident, $address:ty, $class:ident, $ptx:literal, $write:ident) => {
        #[inline(always)]
        #[track_caller]
        unsafe fn $name(address: $address, value: Self) {
            #[cfg(target_arch = "nvptx64")]
            // SAFETY: the caller's address is valid, aligned and writable in this space.
            unsafe {
                core::arch::asm!(concat!($ptx, " [{0}], {1};"), in($class) address, in(reg16) value, options(nostack))
            };
            #[cfg(not(target_arch = "nvptx64"))]
            ops::$write(address, &value.to_le_bytes(), Location::caller());
        }
    };
}
/// A shuffle moves 32 bits: the word in the low half of a register.
macro_rules! shuffles {
    ($($name:ident),*) => { $(
        #[inline(always)]
        #[track_caller]
        fn $name(self, operand: u32, members: u32) -> Self {
            u32::from(self).$name(operand, members) as u16
        }
    )* };
}

// PTX ISA, sections "ld", "ld.global.nc" and "st".
impl Word for u16 {
    load!(ld_global_nc, u64, reg64, "ld.global.nc.b16", read_global);
    load!(ld_global, u64, reg64, "ld.global.b16", read_global);
    store!(st_global, u64, reg64, "st.global.b16", write_global);
    load!(ld_shared, u32, reg32, "ld.shared.b16", read_shared);
    store!(st_shared, u32, reg32, "st.shared.b16", write_shared);

    #[inline(always)]
    #[track_caller]
    unsafe fn ld_shared_16(address: u32, out: &mut [Self]) {
        let mut words = [0u32; 4];
        // SAFETY: the caller's promise.
        unsafe { u32::ld_shared_16(address, &mut words) };
        halves(words, out);
    }

    #[inline(always)]
    #[track_caller]
    unsafe fn st_shared_16(address: u32, values: &[Self]) {
        let word = |i: usize| u32::from(values[2 * i]) | u32::from(values[2 * i + 1]) << 16;
        // SAFETY: the caller's promise.
        unsafe { u32::st_shared_16(address, &[word(0), word(1), word(2), word(3)]) };
    }

    #[inline(always)]
    #[track_caller]
    unsafe fn ld_global_nc_16(address: u64, out: &mut [Self]) {
        let mut words = [0u32; 4];
        // SAFETY: the caller's promise.
        unsafe { u32::ld_global_nc_16(address, &mut words) };
        halves(words, out);
    }

    #[inline(always)]
    #[track_caller]
    unsafe fn st_global_16(address: u64, values: &[Self]) {
        let word = |i: usize| u32::from(values[2 * i]) | u32::from(values[2 * i + 1]) << 16;
        // SAFETY: the caller's promise.
        unsafe { u32::st_global_16(address, &[word(0), word(1), word(2), word(3)]) };
    }

    shuffles!(shfl_bfly, shfl_up, shfl_down, shfl_idx);
}

/// Four registers as eight halves, the low half of each first.
#[inline(always)]
fn halves(words: [u32; 4], out: &mut [u16]) {
    let [a, b, c, d] = words;
    let high = |word: u32| (word >> 16) as u16;
    out[..8].copy_from_slice(&[a as u16, high(a), b as u16, high(b), c as u16, high(c), d as u16, high(d)]);
}

/// A type that is a word moves as the word.
macro_rules! moves_as {
    ($($t:ident, $word:ty, $sixteen:literal;)*) => { $(
        impl sealed::Sealed for $t {}
        impl Scalar for $t {
            const BYTES: u32 = <$word as Scalar>::BYTES;
        }
        impl Word for $t {
            moves_as!(@load $t, $word, ld_global_nc, u64);
            moves_as!(@load $t, $word, ld_global, u64);
            moves_as!(@store $word, st_global, u64);
            moves_as!(@load $t, $word, ld_shared, u32);
            moves_as!(@store $word, st_shared, u32);
            moves_as!(@sixteen $t, $word, $sixteen, ld_shared_16, u32);
            moves_as!(@sixteen $t, $word, $sixteen, ld_global_nc_16, u64);
            moves_as!(@store_sixteen $word, $sixteen, st_global_16, u64);
            moves_as!(@store_sixteen $word, $sixteen, st_shared_16, u32);
            moves_as!(@shuffle $t, shfl_bfly);
            moves_as!(@shuffle $t, shfl_up);
            moves_as!(@shuffle $t, shfl_down);
            moves_as!(@shuffle $t, shfl_idx);
        }
    )* };
    (@load $t:ident, $word:ty, $name:ident, $address:ty) => {
        #[inline(always)]
        #[track_caller]
        unsafe fn $name(address: $address) -> Self {
            // SAFETY: the caller's promise.
            $t::from_bits(unsafe { <$word>::$name(address) })
        }
    };
    (@store $word:ty, $name:ident, $address:ty) => {
        #[inline(always)]
        #[track_caller]
        unsafe fn $name(address: $address, value: Self) {
            // SAFETY: the caller's promise.
            unsafe { <$word>::$name(address, value.to_bits()) }
        }
    };
    (@sixteen $t:ident, $word:ty, $sixteen:literal, $name:ident, $address:ty) => {
        #[inline(always)]
        #[track_caller]
        unsafe fn $name(address: $address, out: &mut [Self]) {
            let mut words: [$word; $sixteen] = [0; $sixteen];
            // SAFETY: the caller's promise.
            unsafe { <$word>::$name(address, &mut words) };
            out[..$sixteen].copy_from_slice(&words.map($t::from_bits));
        }
    };
    (@store_sixteen $word:ty, $sixteen:literal, $name:ident, $address:ty) => {
        #[inline(always)]
        #[track_caller]
        unsafe fn $name(address: $address, values: &[Self]) {
            let mut words: [$word; $sixteen] = [0; $sixteen];
            $crate::unroll!(i < $sixteen, { words[i] = values[i].to_bits(); });
            // SAFETY: the caller's promise.
            unsafe { <$word>::$name(address, &words) };
        }
    };
    (@shuffle $t:ident, $name:ident) => {
        #[inline(always)]
        #[track_caller]
        fn $name(self, operand: u32, members: u32) -> Self {
            $t::from_bits(self.to_bits().$name(operand, members))
        }
    };
}
moves_as! {
    F16, u16, 8;
    Bf16, u16, 8;
    Tf32, u32, 4;
    F16x2, u32, 4;
    Bf16x2, u32, 4;
}
