//! Values that the compiler must not reason about: what follows from one is computed where it is needed, and not kept in
//! registers for all uses at once.

/// What [`opaque`] takes.
pub trait Opaque {
    /// See [`opaque`].
    fn opaque(self) -> Self;
}

macro_rules! opaque {
    ($type:ty, $class:ident, $move:literal) => {
        impl Opaque for $type {
            #[inline(always)]
            fn opaque(self) -> Self {
                #[cfg(target_arch = "nvptx64")]
                {
                    let same;
                    // SAFETY: moves a register. Not `pure`, so that it stays where it is.
                    unsafe {
                        core::arch::asm!(concat!($move, " {0}, {1};"), out($class) same, in($class) self,
                            options(nomem, nostack))
                    };
                    same
                }
                #[cfg(not(target_arch = "nvptx64"))]
                self
            }
        }
    };
}
opaque!(u32, reg32, "mov.u32");
opaque!(u64, reg64, "mov.u64");

/// The value, but as the compiler cannot know.
#[inline(always)]
pub fn opaque<T: Opaque>(value: T) -> T {
    value.opaque()
}
