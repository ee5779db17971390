use cuda_std_macros::kernel;

#[kernel]
pub unsafe fn receiver(self) {}

#[kernel]
pub unsafe fn variadic(x: u32, _: ...) {}

#[kernel]
pub unsafe fn destructured((x, y): Pair) {}

#[kernel]
pub unsafe fn unnamed(_: u32) {}

#[kernel]
pub unsafe fn by_ref(ref x: u32) {}

fn main() {}
