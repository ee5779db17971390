use cuda_std_macros::kernel;

#[kernel(max_threads = 0)]
pub unsafe fn no_threads() {}

#[kernel(max_threads = 1025)]
pub unsafe fn too_many_threads() {}

#[kernel(max_threads = 256, min_blocks = 0)]
pub unsafe fn no_blocks() {}

#[kernel(max_threads = 32, min_blocks = 33)]
pub unsafe fn too_many_blocks() {}

#[kernel(min_blocks = 2)]
pub unsafe fn blocks_of_what() {}

#[kernel(max_thread = 256)]
pub unsafe fn misspelt() {}

#[kernel(max_threads = 256, max_threads = 256)]
pub unsafe fn twice() {}

#[kernel(max_threads = "256")]
pub unsafe fn quoted() {}

#[kernel(max_threads = 256 min_blocks = 2)]
pub unsafe fn no_comma() {}

fn main() {}
