use cuda_std_macros::kernel;

#[kernel]
pub fn not_unsafe() {}

#[kernel]
unsafe fn not_pub() {}

#[kernel]
pub(crate) unsafe fn not_all_pub() {}

#[kernel]
pub async unsafe fn is_async() {}

#[kernel]
pub const unsafe fn is_const() {}

#[kernel]
pub unsafe extern "C" fn has_an_abi() {}

#[kernel]
pub unsafe fn returns(x: u32) -> u32 {
    x
}

#[kernel]
pub struct NotAFunction;

fn main() {}
