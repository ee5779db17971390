//! What the trial's kernels share with their host, in a crate of its own beside them.
#![no_std]
#![cfg_attr(target_arch = "nvptx64", feature(asm_experimental_arch))]

/// The parameters of `axpy`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Axpy {
    pub x: *const f32,
    pub y: *mut f32,
    pub n: u64,
    pub a: f32,
}

/// Weights in constant data, so that the module holds a variable.
pub static WEIGHTS: [f32; 8] = [1., 2., 3., 4., 5., 6., 7., 8.];

/// Not inlined, so that the module holds a function with a mangled name.
#[inline(never)]
pub fn weighted(x: f32, index: usize) -> f32 {
    x * 0.5 + core::hint::black_box(WEIGHTS[index])
}

#[cfg(target_arch = "nvptx64")]
core::arch::global_asm!(".shared .align 16 .b8 trial_tile[4096];");

/// The address of the tile in shared memory.
#[cfg(target_arch = "nvptx64")]
pub fn tile() -> *mut f32 {
    let tile: *mut f32;
    // SAFETY: takes the address of the variable declared above, and touches no memory.
    unsafe {
        core::arch::asm!(
            "{{ .reg .u64 t; mov.u64 t, trial_tile; cvta.shared.u64 {0}, t; }}",
            out(reg64) tile,
            options(pure, nomem, nostack)
        );
    }
    tile
}
