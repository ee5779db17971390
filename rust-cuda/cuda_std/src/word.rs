//! The machine words that loads, stores and shuffles move: one PTX instruction each.

/// A type that fits one register and for which every bit pattern is a value.
pub trait Scalar: Copy + Send + Sync + 'static + sealed::Sealed {
    /// Bytes of one value: 2, 4 or 8.
    const BYTES: u32;
}

/// A [`Scalar`] as loads, stores and shuffles move it: on `nvptx64` each method is one instruction, elsewhere the executor's
/// operation.
///
/// Kernels call them through [`Global`](crate::global::Global), [`GlobalMut`](crate::global::GlobalMut),
/// [`Shared`](crate::shared::Shared) and [`warp`](crate::warp).
#[allow(missing_docs, clippy::missing_safety_doc)]
pub trait Word: Scalar {
    #[track_caller]
    unsafe fn ld_global_nc(address: u64) -> Self;
    #[track_caller]
    unsafe fn ld_global(address: u64) -> Self;
    #[track_caller]
    unsafe fn st_global(address: u64, value: Self);
    #[track_caller]
    unsafe fn ld_shared(address: u32) -> Self;
    #[track_caller]
    unsafe fn st_shared(address: u32, value: Self);
    /// 16 bytes: 8 words of 16 bits, 4 of 32 or 2 of 64, into the head of `out`.
    #[track_caller]
    unsafe fn ld_shared_16(address: u32, out: &mut [Self]);
    /// 16 bytes from the head of `values`.
    #[track_caller]
    unsafe fn st_shared_16(address: u32, values: &[Self]);
    #[track_caller]
    unsafe fn ld_global_nc_16(address: u64, out: &mut [Self]);
    /// 16 bytes from the head of `values`.
    #[track_caller]
    unsafe fn st_global_16(address: u64, values: &[Self]);
    #[track_caller]
    fn shfl_bfly(self, lane_mask: u32, members: u32) -> Self;
    #[track_caller]
    fn shfl_up(self, delta: u32, members: u32) -> Self;
    #[track_caller]
    fn shfl_down(self, delta: u32, members: u32) -> Self;
    #[track_caller]
    fn shfl_idx(self, lane: u32, members: u32) -> Self;
}

pub(crate) mod sealed {
    pub trait Sealed {}
}

macro_rules! scalars {
    ($($t:ty),*) => { $(
        impl sealed::Sealed for $t {}
        impl Scalar for $t {
            const BYTES: u32 = core::mem::size_of::<$t>() as u32;
        }
    )* };
}
scalars!(u32, i32, f32, u64, i64, f64);

// PTX ISA, sections "ld", "ld.global.nc", "st" and "shfl.sync". None of these is `pure`: LLVM keeps their order among
// themselves and around barriers, and ptxas schedules them within what the memory model allows.
#[cfg(target_arch = "nvptx64")]
macro_rules! words {
    ($($t:ty, $class:ident, $b:literal;)*) => { $(
        impl Word for $t {
            #[inline(always)]
            unsafe fn ld_global_nc(address: u64) -> Self {
                let v: Self;
                // SAFETY: the caller's address is valid, aligned, global, and not written during the launch.
                unsafe { core::arch::asm!(concat!("ld.global.nc.", $b, " {0}, [{1}];"), out($class) v, in(reg64) address, options(pure, readonly, nostack)) };
                v
            }
            #[inline(always)]
            unsafe fn ld_global(address: u64) -> Self {
                let v: Self;
                // SAFETY: the caller's address is valid, aligned and global.
                unsafe { core::arch::asm!(concat!("ld.global.", $b, " {0}, [{1}];"), out($class) v, in(reg64) address, options(nostack)) };
                v
            }
            #[inline(always)]
            unsafe fn st_global(address: u64, value: Self) {
                // SAFETY: the caller's address is valid, aligned, global and writable.
                unsafe { core::arch::asm!(concat!("st.global.", $b, " [{0}], {1};"), in(reg64) address, in($class) value, options(nostack)) };
            }
            #[inline(always)]
            unsafe fn ld_shared(address: u32) -> Self {
                let v: Self;
                // SAFETY: the caller's address lies in this block's shared memory and is aligned.
                unsafe { core::arch::asm!(concat!("ld.shared.", $b, " {0}, [{1}];"), out($class) v, in(reg32) address, options(nostack)) };
                v
            }
            #[inline(always)]
            unsafe fn st_shared(address: u32, value: Self) {
                // SAFETY: the caller's address lies in this block's shared memory and is aligned.
                unsafe { core::arch::asm!(concat!("st.shared.", $b, " [{0}], {1};"), in(reg32) address, in($class) value, options(nostack)) };
            }
            words!(@sixteen $class, $b);
            words!(@shuffle $class);
        }
    )* };
    (@sixteen reg32, $b:literal) => {
        #[inline(always)]
        unsafe fn ld_shared_16(address: u32, out: &mut [Self]) {
            let (x, y, z, w): (Self, Self, Self, Self);
            // SAFETY: the caller's 16 bytes lie in this block's shared memory and are 16-byte aligned.
            unsafe { core::arch::asm!(concat!("ld.shared.v4.", $b, " {{{0}, {1}, {2}, {3}}}, [{4}];"), out(reg32) x, out(reg32) y, out(reg32) z, out(reg32) w, in(reg32) address, options(nostack)) };
            out[0] = x; out[1] = y; out[2] = z; out[3] = w;
        }
        #[inline(always)]
        unsafe fn st_shared_16(address: u32, values: &[Self]) {
            // SAFETY: the caller's 16 bytes lie in this block's shared memory and are 16-byte aligned.
            unsafe { core::arch::asm!(concat!("st.shared.v4.", $b, " [{0}], {{{1}, {2}, {3}, {4}}};"), in(reg32) address, in(reg32) values[0], in(reg32) values[1], in(reg32) values[2], in(reg32) values[3], options(nostack)) };
        }
        #[inline(always)]
        unsafe fn ld_global_nc_16(address: u64, out: &mut [Self]) {
            let (x, y, z, w): (Self, Self, Self, Self);
            // SAFETY: the caller's 16 bytes are global, 16-byte aligned and not written during the launch.
            unsafe { core::arch::asm!(concat!("ld.global.nc.v4.", $b, " {{{0}, {1}, {2}, {3}}}, [{4}];"), out(reg32) x, out(reg32) y, out(reg32) z, out(reg32) w, in(reg64) address, options(pure, readonly, nostack)) };
            out[0] = x; out[1] = y; out[2] = z; out[3] = w;
        }
        #[inline(always)]
        unsafe fn st_global_16(address: u64, values: &[Self]) {
            // SAFETY: the caller's 16 bytes are global, 16-byte aligned and writable.
            unsafe { core::arch::asm!(concat!("st.global.v4.", $b, " [{0}], {{{1}, {2}, {3}, {4}}};"), in(reg64) address, in(reg32) values[0], in(reg32) values[1], in(reg32) values[2], in(reg32) values[3], options(nostack)) };
        }
    };
    (@sixteen reg64, $b:literal) => {
        #[inline(always)]
        unsafe fn ld_shared_16(address: u32, out: &mut [Self]) {
            let (x, y): (Self, Self);
            // SAFETY: the caller's 16 bytes lie in this block's shared memory and are 16-byte aligned.
            unsafe { core::arch::asm!(concat!("ld.shared.v2.", $b, " {{{0}, {1}}}, [{2}];"), out(reg64) x, out(reg64) y, in(reg32) address, options(nostack)) };
            out[0] = x; out[1] = y;
        }
        #[inline(always)]
        unsafe fn st_shared_16(address: u32, values: &[Self]) {
            // SAFETY: the caller's 16 bytes lie in this block's shared memory and are 16-byte aligned.
            unsafe { core::arch::asm!(concat!("st.shared.v2.", $b, " [{0}], {{{1}, {2}}};"), in(reg32) address, in(reg64) values[0], in(reg64) values[1], options(nostack)) };
        }
        #[inline(always)]
        unsafe fn ld_global_nc_16(address: u64, out: &mut [Self]) {
            let (x, y): (Self, Self);
            // SAFETY: the caller's 16 bytes are global, 16-byte aligned and not written during the launch.
            unsafe { core::arch::asm!(concat!("ld.global.nc.v2.", $b, " {{{0}, {1}}}, [{2}];"), out(reg64) x, out(reg64) y, in(reg64) address, options(pure, readonly, nostack)) };
            out[0] = x; out[1] = y;
        }
        #[inline(always)]
        unsafe fn st_global_16(address: u64, values: &[Self]) {
            // SAFETY: the caller's 16 bytes are global, 16-byte aligned and writable.
            unsafe { core::arch::asm!(concat!("st.global.v2.", $b, " [{0}], {{{1}, {2}}};"), in(reg64) address, in(reg64) values[0], in(reg64) values[1], options(nostack)) };
        }
    };
    (@shuffle reg32) => {
        words!(@shuffle32 shfl_bfly, "bfly", "0x1f");
        words!(@shuffle32 shfl_up, "up", "0x0");
        words!(@shuffle32 shfl_down, "down", "0x1f");
        words!(@shuffle32 shfl_idx, "idx", "0x1f");
    };
    (@shuffle reg64) => {
        words!(@shuffle64 shfl_bfly, "bfly", "0x1f");
        words!(@shuffle64 shfl_up, "up", "0x0");
        words!(@shuffle64 shfl_down, "down", "0x1f");
        words!(@shuffle64 shfl_idx, "idx", "0x1f");
    };
    (@shuffle32 $name:ident, $mode:literal, $clamp:literal) => {
        #[inline(always)]
        fn $name(self, operand: u32, members: u32) -> Self {
            let v: Self;
            // SAFETY: moves registers between lanes; touches no memory. Not `pure`: every member must execute it here.
            unsafe { core::arch::asm!(concat!("shfl.sync.", $mode, ".b32 {0}, {1}, {2}, ", $clamp, ", {3};"), out(reg32) v, in(reg32) self, in(reg32) operand, in(reg32) members, options(nomem, nostack)) };
            v
        }
    };
    (@shuffle64 $name:ident, $mode:literal, $clamp:literal) => {
        #[inline(always)]
        fn $name(self, operand: u32, members: u32) -> Self {
            let v: Self;
            // SAFETY: moves registers between lanes, as two halves; touches no memory. Not `pure`: every member must execute it here.
            unsafe {
                core::arch::asm!(
                    "{{ .reg .b32 lo, hi;",
                    "mov.b64 {{lo, hi}}, {1};",
                    concat!("shfl.sync.", $mode, ".b32 lo, lo, {2}, ", $clamp, ", {3};"),
                    concat!("shfl.sync.", $mode, ".b32 hi, hi, {2}, ", $clamp, ", {3};"),
                    "mov.b64 {0}, {{lo, hi}}; }}",
                    out(reg64) v, in(reg64) self, in(reg32) operand, in(reg32) members, options(nomem, nostack));
            }
            v
        }
    };
}
#[cfg(target_arch = "nvptx64")]
words! {
    u32, reg32, "b32";
    i32, reg32, "b32";
    f32, reg32, "b32";
    u64, reg64, "b64";
    i64, reg64, "b64";
    f64, reg64, "b64";
}

#[cfg(not(target_arch = "nvptx64"))]
mod host {
    //! The same words in the executor.

    use std::panic::Location;

    use super::Word;
    use crate::simt::ops;

    macro_rules! words {
        ($($t:ty),*) => { $(
            impl Word for $t {
                #[track_caller]
                unsafe fn ld_global_nc(address: u64) -> Self {
                    let mut bytes = [0; size_of::<$t>()];
                    ops::read_global(address, &mut bytes, Location::caller());
                    <$t>::from_le_bytes(bytes)
                }
                #[track_caller]
                unsafe fn ld_global(address: u64) -> Self {
                    let mut bytes = [0; size_of::<$t>()];
                    ops::read_global(address, &mut bytes, Location::caller());
                    <$t>::from_le_bytes(bytes)
                }
                #[track_caller]
                unsafe fn st_global(address: u64, value: Self) {
                    ops::write_global(address, &value.to_le_bytes(), Location::caller());
                }
                #[track_caller]
                unsafe fn ld_shared(address: u32) -> Self {
                    let mut bytes = [0; size_of::<$t>()];
                    ops::read_shared(address, &mut bytes, Location::caller());
                    <$t>::from_le_bytes(bytes)
                }
                #[track_caller]
                unsafe fn st_shared(address: u32, value: Self) {
                    ops::write_shared(address, &value.to_le_bytes(), Location::caller());
                }
                #[track_caller]
                unsafe fn ld_shared_16(address: u32, out: &mut [Self]) {
                    let mut bytes = [0; 16];
                    ops::read_shared(address, &mut bytes, Location::caller());
                    spread(&bytes, out, <$t>::from_le_bytes);
                }
                #[track_caller]
                unsafe fn st_shared_16(address: u32, values: &[Self]) {
                    let bytes: Vec<u8> = values[..16 / size_of::<$t>()].iter().flat_map(|value| value.to_le_bytes()).collect();
                    ops::write_shared(address, &bytes, Location::caller());
                }
                #[track_caller]
                unsafe fn ld_global_nc_16(address: u64, out: &mut [Self]) {
                    let mut bytes = [0; 16];
                    ops::read_global(address, &mut bytes, Location::caller());
                    spread(&bytes, out, <$t>::from_le_bytes);
                }
                #[track_caller]
                unsafe fn st_global_16(address: u64, values: &[Self]) {
                    let bytes: Vec<u8> = values[..16 / size_of::<$t>()].iter().flat_map(|value| value.to_le_bytes()).collect();
                    ops::write_global(address, &bytes, Location::caller());
                }
                #[track_caller]
                fn shfl_bfly(self, lane_mask: u32, members: u32) -> Self {
                    let from = |lane: u32| lane ^ (lane_mask % 32);
                    <$t>::from_le_bytes(shuffle("shfl.sync.bfly", self.to_le_bytes(), members, from, Location::caller()))
                }
                #[track_caller]
                fn shfl_up(self, delta: u32, members: u32) -> Self {
                    let from = |lane: u32| lane.checked_sub(delta % 32).unwrap_or(lane);
                    <$t>::from_le_bytes(shuffle("shfl.sync.up", self.to_le_bytes(), members, from, Location::caller()))
                }
                #[track_caller]
                fn shfl_down(self, delta: u32, members: u32) -> Self {
                    let from = |lane: u32| Some(lane + delta % 32).filter(|&lane| lane < 32).unwrap_or(lane);
                    <$t>::from_le_bytes(shuffle("shfl.sync.down", self.to_le_bytes(), members, from, Location::caller()))
                }
                #[track_caller]
                fn shfl_idx(self, lane: u32, members: u32) -> Self {
                    <$t>::from_le_bytes(shuffle("shfl.sync.idx", self.to_le_bytes(), members, |_| lane % 32, Location::caller()))
                }
            }
        )* };
    }
    words!(u32, i32, f32, u64, i64, f64);

    /// 16 bytes as values.
    fn spread<T, const N: usize>(bytes: &[u8; 16], out: &mut [T], value: impl Fn([u8; N]) -> T) {
        for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<N>().0) {
            *out = value(*bytes);
        }
    }

    /// The value of the lane that `from` names. (A shuffle takes the low five bits of its operand.)
    fn shuffle<const N: usize>(
        operation: &'static str,
        value: [u8; N],
        members: u32,
        from: impl Fn(u32) -> u32,
        at: &'static Location<'static>,
    ) -> [u8; N] {
        let words = value.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
        let lanes = ops::collective(operation, members, words, at);
        let (lane, from) = (ops::lane(), from(ops::lane()));
        // Of a caller that is no member itself, this was found already.
        if members >> lane & !(members >> from) & 1 == 1 {
            ops::no_member(operation, members, from, at);
        }
        let mut out = value;
        for (out, word) in out.as_chunks_mut::<4>().0.iter_mut().zip(&lanes[from as usize]) {
            *out = word.to_le_bytes();
        }
        out
    }
}
