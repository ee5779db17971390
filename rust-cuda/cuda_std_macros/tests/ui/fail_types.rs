use cuda_std_macros::kernel;

#[kernel]
pub unsafe fn reference(x: &f32) {}

#[kernel]
pub unsafe fn mutable_slice(x: &mut [f32]) {}

#[kernel]
pub unsafe fn string_slice(x: &str) {}

#[kernel]
pub unsafe fn bare_str(x: str) {}

#[kernel]
pub unsafe fn bare_slice(x: [f32]) {}

#[kernel]
pub unsafe fn fat_pointer(x: *const [f32]) {}

#[kernel]
pub unsafe fn trait_object(x: *const dyn Fn()) {}

#[kernel]
pub unsafe fn string(x: String) {}

#[kernel]
pub unsafe fn vector(x: std::vec::Vec<f32>) {}

#[kernel]
pub unsafe fn boxed(x: Box<f32>) {}

#[kernel]
pub unsafe fn references_in_an_array(x: [&f32; 2]) {}

#[kernel]
pub unsafe fn tuple(x: (u32, f64)) {}

fn main() {}
