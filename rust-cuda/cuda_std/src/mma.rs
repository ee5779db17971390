//! Small matrix products of a warp on the tensor cores: D = A·B + C, all f32 but the factors.
//!
//! | function | A | B | factors | compute capability |
//! |---|---|---|---|---|
//! | [`m16n8k16_f16`], [`m16n8k16_bf16`] | 16 × 16 | 16 × 8 | f16, bf16 | 8.0 |
//! | [`m16n8k8_f16`], [`m16n8k8_bf16`] | 16 × 8 | 8 × 8 | f16, bf16 | 7.5, 8.0 |
//! | [`m16n8k8_tf32`] | 16 × 8 | 8 × 8 | tf32 | 8.0 |
//!
//! All lanes of the warp call it together; each gives and takes its [fragments](crate::fragment). 16-bit factors come two in a
//! register, tf32 ones as [`Tf32`](crate::convert::Tf32)'s bits (the low 13 do not count).
//!
//! Products are exact. Their sum is f32, in an order and with a rounding that the PTX ISA leaves open ("mma": at least single
//! precision; the H100 truncates and aligns). The executor adds to C by ascending k, each sum rounded to nearest: it agrees
//! with a GPU within a few roundings of the largest partial sum, not bit by bit.

#[cfg(not(target_arch = "nvptx64"))]
mod host;

// PTX ISA, section "mma" for 16-bit and tf32 factors.
macro_rules! mma {
    ($($(#[$doc:meta])* $name:ident = $operation:literal, $a:tt, $b:tt, $ptx:literal, $compute:ident;)*) => { $(
        $(#[$doc])*
        #[inline(always)]
        #[track_caller]
        pub fn $name(a: [u32; $a], b: [u32; $b], c: [f32; 4]) -> [f32; 4] {
            #[cfg(target_arch = "nvptx64")]
            {
                let [mut d0, mut d1, mut d2, mut d3] = c;
                // SAFETY: arithmetic on registers. Not `pure`: all lanes must execute it here.
                unsafe { mma!(@asm $a, concat!($operation, $ptx), d0, d1, d2, d3, a, b) };
                [d0, d1, d2, d3]
            }
            #[cfg(not(target_arch = "nvptx64"))]
            host::$compute($operation, &a, &b, c, core::panic::Location::caller())
        }
    )* };
    (@asm 4, $ptx:expr, $d0:ident, $d1:ident, $d2:ident, $d3:ident, $a:ident, $b:ident) => {
        core::arch::asm!($ptx, inout(reg32) $d0, inout(reg32) $d1, inout(reg32) $d2, inout(reg32) $d3,
            in(reg32) $a[0], in(reg32) $a[1], in(reg32) $a[2], in(reg32) $a[3], in(reg32) $b[0], in(reg32) $b[1],
            options(nomem, nostack))
    };
    (@asm 2, $ptx:expr, $d0:ident, $d1:ident, $d2:ident, $d3:ident, $a:ident, $b:ident) => {
        core::arch::asm!($ptx, inout(reg32) $d0, inout(reg32) $d1, inout(reg32) $d2, inout(reg32) $d3,
            in(reg32) $a[0], in(reg32) $a[1], in(reg32) $b[0], options(nomem, nostack))
    };
}
mma! {
    /// D = A·B + C, A 16 × 16 and B 16 × 8 of f16.
    m16n8k16_f16 = "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32", 4, 2,
        " {{{0}, {1}, {2}, {3}}}, {{{4}, {5}, {6}, {7}}}, {{{8}, {9}}}, {{{0}, {1}, {2}, {3}}};", f16;
    /// D = A·B + C, A 16 × 16 and B 16 × 8 of bf16.
    m16n8k16_bf16 = "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", 4, 2,
        " {{{0}, {1}, {2}, {3}}}, {{{4}, {5}, {6}, {7}}}, {{{8}, {9}}}, {{{0}, {1}, {2}, {3}}};", bf16;
    /// D = A·B + C, A 16 × 8 and B 8 × 8 of f16.
    m16n8k8_f16 = "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32", 2, 1,
        " {{{0}, {1}, {2}, {3}}}, {{{4}, {5}}}, {{{6}}}, {{{0}, {1}, {2}, {3}}};", f16;
    /// D = A·B + C, A 16 × 8 and B 8 × 8 of bf16.
    m16n8k8_bf16 = "mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32", 2, 1,
        " {{{0}, {1}, {2}, {3}}}, {{{4}, {5}}}, {{{6}}}, {{{0}, {1}, {2}, {3}}};", bf16;
    /// D = A·B + C, A 16 × 8 and B 8 × 8 of tf32.
    m16n8k8_tf32 = "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", 4, 2,
        " {{{0}, {1}, {2}, {3}}}, {{{4}, {5}, {6}, {7}}}, {{{8}, {9}}}, {{{0}, {1}, {2}, {3}}};", tf32;
}
