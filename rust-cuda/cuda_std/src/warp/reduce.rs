//! One value of all members of a warp: `redux.sync`, in one instruction (compute capability 8.0).

#[cfg(not(target_arch = "nvptx64"))]
use std::panic::Location;

use super::FULL;
use crate::Word;

/// The integers that `redux.sync` reduces: `u32` and `i32`.
#[allow(missing_docs)]
pub trait Redux: Word {
    #[track_caller]
    fn redux_add(self, members: u32) -> Self;
    #[track_caller]
    fn redux_min(self, members: u32) -> Self;
    #[track_caller]
    fn redux_max(self, members: u32) -> Self;
    #[track_caller]
    fn redux_and(self, members: u32) -> Self;
    #[track_caller]
    fn redux_or(self, members: u32) -> Self;
    #[track_caller]
    fn redux_xor(self, members: u32) -> Self;
}

// PTX ISA, section "redux.sync".
macro_rules! redux {
    ($t:ty, $($name:ident = $operation:literal, $combine:expr;)*) => {
        impl Redux for $t { $(
            #[inline(always)]
            fn $name(self, members: u32) -> Self {
                #[cfg(target_arch = "nvptx64")]
                {
                    let v: Self;
                    // SAFETY: exchanges registers between lanes; touches no memory. Not `pure`: every member must execute it here.
                    unsafe { core::arch::asm!(concat!("redux.sync.", $operation, " {0}, {1}, {2};"), out(reg32) v, in(reg32) self, in(reg32) members, options(nomem, nostack)) };
                    v
                }
                #[cfg(not(target_arch = "nvptx64"))]
                {
                    let operation = concat!("redux.sync.", $operation);
                    let values = crate::simt::ops::collective(operation, members, vec![self as u32], Location::caller());
                    let values = values.iter().filter_map(|value| value.first()).map(|&value| value as $t);
                    values.reduce($combine).unwrap_or(self)
                }
            }
        )* }
    };
}
redux! {
    u32,
    redux_add = "add.u32", u32::wrapping_add;
    redux_min = "min.u32", u32::min;
    redux_max = "max.u32", u32::max;
    redux_and = "and.b32", |a, b| a & b;
    redux_or = "or.b32", |a, b| a | b;
    redux_xor = "xor.b32", |a, b| a ^ b;
}
redux! {
    i32,
    redux_add = "add.s32", i32::wrapping_add;
    redux_min = "min.s32", i32::min;
    redux_max = "max.s32", i32::max;
    redux_and = "and.b32", |a, b| a & b;
    redux_or = "or.b32", |a, b| a | b;
    redux_xor = "xor.b32", |a, b| a ^ b;
}

macro_rules! reductions {
    ($($(#[$doc:meta])* $name:ident, $(#[$doc_members:meta])* $name_members:ident = $method:ident;)*) => { $(
        $(#[$doc])*
        #[inline(always)]
        #[track_caller]
        pub fn $name<T: Redux>(value: T) -> T {
            value.$method(FULL)
        }
        $(#[$doc_members])*
        #[inline(always)]
        #[track_caller]
        pub fn $name_members<T: Redux>(value: T, members: u32) -> T {
            value.$method(members)
        }
    )* };
}
reductions! {
    /// The sum of all lanes' values, modulo 2³² (`__reduce_add_sync`).
    reduce_add,
    /// [`reduce_add`] over `members`.
    reduce_add_members = redux_add;
    /// The least of all lanes' values (`__reduce_min_sync`).
    reduce_min,
    /// [`reduce_min`] over `members`.
    reduce_min_members = redux_min;
    /// The largest of all lanes' values (`__reduce_max_sync`).
    reduce_max,
    /// [`reduce_max`] over `members`.
    reduce_max_members = redux_max;
    /// The bits that all lanes' values have (`__reduce_and_sync`).
    reduce_and,
    /// [`reduce_and`] over `members`.
    reduce_and_members = redux_and;
    /// The bits that some lane's value has (`__reduce_or_sync`).
    reduce_or,
    /// [`reduce_or`] over `members`.
    reduce_or_members = redux_or;
    /// The bits that an odd number of lanes' values have (`__reduce_xor_sync`).
    reduce_xor,
    /// [`reduce_xor`] over `members`.
    reduce_xor_members = redux_xor;
}
