//! On the host a kernel is an ordinary function.
use cuda_std_macros::kernel;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Params {
    pub x: *mut f32,
    pub n: usize,
}

/// Writes `a`.
///
/// # Safety
/// `p.x` is valid for `p.n` writes.
#[kernel(max_threads = 256, min_blocks = 2)]
pub unsafe fn fill(mut p: Params, a: f32) {
    while p.n > 0 {
        p.n -= 1;
        unsafe { *p.x.add(p.n) = a };
    }
}

#[kernel]
pub unsafe fn nothing() {}

#[kernel(max_threads = 1024)]
pub unsafe fn arrays(_stride: [u64; 3], _table: *const [f32; 4]) {}

fn main() {
    let mut x = [0.0; 4];
    unsafe { fill(Params { x: x.as_mut_ptr(), n: 3 }, 2.0) };
    assert_eq!(x, [2.0, 2.0, 2.0, 0.0]);
    unsafe { nothing() };
    unsafe { arrays([0; 3], core::ptr::null()) };
}
