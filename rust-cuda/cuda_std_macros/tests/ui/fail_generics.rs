use cuda_std_macros::kernel;

#[kernel]
pub unsafe fn over_a_type<T: Copy>(x: *mut T) {}

#[kernel]
pub unsafe fn over_a_constant<const N: usize>(x: *mut f32) {}

#[kernel]
pub unsafe fn over_a_lifetime<'a>(x: *mut f32) {}

#[kernel]
pub unsafe fn with_a_clause(x: *mut f32)
where
    f32: Copy,
{
}

#[kernel]
pub unsafe fn in_disguise(x: impl Copy) {}

fn main() {}
