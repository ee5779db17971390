//! Atomic operations on shared and global memory: read, change, write as one step.
//!
//! They are *relaxed*: they order nothing else. What a thread wrote before is seen by others only after a barrier, and the
//! executor reports a plain access that races with an atomic one. Global ones reach across the blocks of the device.
//!
//! The order in which threads come is open. On integers it does not show in the result (other than through `exch`, `cas`
//! and the values returned); on floating-point numbers each order rounds differently, so that results differ from run to
//! run: sums that must be reproducible do not use `atomic_add` on `f32` and `f64`.

use crate::Word;
use crate::global::GlobalMut;
use crate::shared::Shared;

/// What `atom.add` adds: `u32`, `u64`, `f32`, `f64`.
///
/// `f32` in global memory: subnormal operands and results count as zero of their sign (PTX ISA, "atom").
#[allow(missing_docs, clippy::missing_safety_doc)]
pub trait AtomicAdd: Word {
    #[track_caller]
    unsafe fn atom_global_add(address: u64, value: Self) -> Self;
    #[track_caller]
    unsafe fn atom_shared_add(address: u32, value: Self) -> Self;
}

/// The integers of the other atomic operations: `u32` and `u64`.
#[allow(missing_docs, clippy::missing_safety_doc)]
pub trait AtomicInteger: AtomicAdd {
    #[track_caller]
    unsafe fn atom_global_min(address: u64, value: Self) -> Self;
    #[track_caller]
    unsafe fn atom_shared_min(address: u32, value: Self) -> Self;
    #[track_caller]
    unsafe fn atom_global_max(address: u64, value: Self) -> Self;
    #[track_caller]
    unsafe fn atom_shared_max(address: u32, value: Self) -> Self;
    #[track_caller]
    unsafe fn atom_global_and(address: u64, value: Self) -> Self;
    #[track_caller]
    unsafe fn atom_shared_and(address: u32, value: Self) -> Self;
    #[track_caller]
    unsafe fn atom_global_or(address: u64, value: Self) -> Self;
    #[track_caller]
    unsafe fn atom_shared_or(address: u32, value: Self) -> Self;
    #[track_caller]
    unsafe fn atom_global_xor(address: u64, value: Self) -> Self;
    #[track_caller]
    unsafe fn atom_shared_xor(address: u32, value: Self) -> Self;
    #[track_caller]
    unsafe fn atom_global_exch(address: u64, value: Self) -> Self;
    #[track_caller]
    unsafe fn atom_shared_exch(address: u32, value: Self) -> Self;
    #[track_caller]
    unsafe fn atom_global_cas(address: u64, expected: Self, value: Self) -> Self;
    #[track_caller]
    unsafe fn atom_shared_cas(address: u32, expected: Self, value: Self) -> Self;
}

// PTX ISA, section "atom". Without qualifiers: `.relaxed.gpu`.
macro_rules! atom {
    ($t:ident, $class:ident, $global:ident, $shared:ident, $operation:expr, $host_global:expr, $host_shared:expr, $($operand:ident),+) => {
        atom!(@one $t, $class, $global, u64, reg64, "global", $operation, update_global, $host_global, $($operand),+);
        atom!(@one $t, $class, $shared, u32, reg32, "shared", $operation, update_shared, $host_shared, $($operand),+);
    };
    (@one $t:ident, $class:ident, $name:ident, $address:ty, $address_class:ident, $space:literal, $operation:expr, $update:ident, $host:expr, $($operand:ident),+) => {
        #[inline(always)]
        unsafe fn $name(address: $address, $($operand: Self),+) -> Self {
            #[cfg(target_arch = "nvptx64")]
            {
                let old: Self;
                // SAFETY: the caller's address is valid and aligned.
                unsafe {
                    core::arch::asm!(
                        concat!("atom.", $space, ".", $operation, " {0}, [{1}]" $(, ", {", stringify!($operand), "}")+, ";"),
                        out($class) old, in($address_class) address, $($operand = in($class) $operand,)+ options(nostack));
                }
                old
            }
            #[cfg(not(target_arch = "nvptx64"))]
            {
                let change = |old: u64| host::to_word(($host)(<$t as host::Bits>::from_word(old) $(, $operand)+));
                <$t as host::Bits>::from_word(crate::simt::ops::$update(address, <$t as crate::Scalar>::BYTES, change, std::panic::Location::caller()))
            }
        }
    };
}

macro_rules! atomic_add {
    ($($t:ident, $class:ident, $operation:expr, $host_global:expr, $host_shared:expr;)*) => { $(
        impl AtomicAdd for $t {
            atom!($t, $class, atom_global_add, atom_shared_add, $operation, $host_global, $host_shared, value);
        }
    )* };
}
atomic_add! {
    u32, reg32, "add.u32", u32::wrapping_add, u32::wrapping_add;
    u64, reg64, "add.u64", u64::wrapping_add, u64::wrapping_add;
    f32, reg32, "add.f32", host::add_flushed, |a: f32, b| a + b;
    f64, reg64, "add.f64", |a: f64, b| a + b, |a: f64, b| a + b;
}

macro_rules! atomic_integer {
    ($($t:ident, $class:ident, $bits:literal;)*) => { $(
        impl AtomicInteger for $t {
            atom!($t, $class, atom_global_min, atom_shared_min, concat!("min.u", $bits), $t::min, $t::min, value);
            atom!($t, $class, atom_global_max, atom_shared_max, concat!("max.u", $bits), $t::max, $t::max, value);
            atom!($t, $class, atom_global_and, atom_shared_and, concat!("and.b", $bits), |a, b| a & b, |a, b| a & b, value);
            atom!($t, $class, atom_global_or, atom_shared_or, concat!("or.b", $bits), |a, b| a | b, |a, b| a | b, value);
            atom!($t, $class, atom_global_xor, atom_shared_xor, concat!("xor.b", $bits), |a, b| a ^ b, |a, b| a ^ b, value);
            atom!($t, $class, atom_global_exch, atom_shared_exch, concat!("exch.b", $bits), |_, b| b, |_, b| b, value);
            atom!($t, $class, atom_global_cas, atom_shared_cas, concat!("cas.b", $bits), host::swap_if, host::swap_if, expected, value);
        }
    )* };
}
atomic_integer! {
    u32, reg32, "32";
    u64, reg64, "64";
}

macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident: $bound:ident = $global:ident, $shared:ident ($($operand:ident),+);)*) => { $(
        impl<T: $bound> GlobalMut<T> {
            $(#[$doc])*
            ///
            /// # Safety
            /// The element exists, and no other thread accesses it unordered with this but atomically.
            #[inline(always)]
            #[track_caller]
            pub unsafe fn $name(self, index: u64, $($operand: T),+) -> T {
                // SAFETY: the caller's promise.
                unsafe { T::$global(self.at(index), $($operand),+) }
            }
        }
        impl<T: $bound> Shared<T> {
            $(#[$doc])*
            ///
            /// # Safety
            /// The element lies in the launch's shared memory, was written, and no other thread accesses it since the last
            /// barrier but atomically.
            #[inline(always)]
            #[track_caller]
            pub unsafe fn $name(self, index: u32, $($operand: T),+) -> T {
                // SAFETY: the caller's promise.
                unsafe { T::$shared(self.offset(index).address(), $($operand),+) }
            }
        }
    )* };
}
methods! {
    /// Adds `value` to element `index`; what was there. Integers wrap.
    atomic_add: AtomicAdd = atom_global_add, atom_shared_add (value);
    /// Lowers element `index` to `value` if that is less; what was there.
    atomic_min: AtomicInteger = atom_global_min, atom_shared_min (value);
    /// Raises element `index` to `value` if that is more; what was there.
    atomic_max: AtomicInteger = atom_global_max, atom_shared_max (value);
    /// Clears the bits of element `index` that `value` lacks; what was there.
    atomic_and: AtomicInteger = atom_global_and, atom_shared_and (value);
    /// Sets the bits of `value` in element `index`; what was there.
    atomic_or: AtomicInteger = atom_global_or, atom_shared_or (value);
    /// Flips the bits of `value` in element `index`; what was there.
    atomic_xor: AtomicInteger = atom_global_xor, atom_shared_xor (value);
    /// Puts `value` into element `index`; what was there.
    atomic_exch: AtomicInteger = atom_global_exch, atom_shared_exch (value);
    /// Puts `value` into element `index` if `expected` is there; what was there.
    atomic_cas: AtomicInteger = atom_global_cas, atom_shared_cas (expected, value);
}

#[cfg(not(target_arch = "nvptx64"))]
mod host {
    //! The same on the host's words.

    /// A value as the low bits of a word.
    pub(super) trait Bits: Sized {
        fn from_word(word: u64) -> Self;
        fn into_word(self) -> u64;
    }

    macro_rules! bits {
        ($($t:ident, $from:expr, $into:expr;)*) => { $(
            impl Bits for $t {
                fn from_word(word: u64) -> Self {
                    ($from)(word)
                }
                fn into_word(self) -> u64 {
                    ($into)(self)
                }
            }
        )* };
    }
    bits! {
        u32, |w| w as u32, u64::from;
        u64, |w| w, |v| v;
        f32, |w| f32::from_bits(w as u32), |v: f32| u64::from(v.to_bits());
        f64, f64::from_bits, f64::to_bits;
    }

    pub(super) fn to_word<T: Bits>(value: T) -> u64 {
        value.into_word()
    }

    /// What a compare-and-swap leaves.
    pub(super) fn swap_if<T: PartialEq>(old: T, expected: T, value: T) -> T {
        if old == expected { value } else { old }
    }

    /// The sum with subnormal numbers as zeros.
    pub(super) fn add_flushed(a: f32, b: f32) -> f32 {
        let flush = |v: f32| if v.is_subnormal() { 0f32.copysign(v) } else { v };
        flush(flush(a) + flush(b))
    }
}
