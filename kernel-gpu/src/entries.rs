//! Every kernel by the name of its entry, for the SIMT executor: what a driver's module is on the host.

use cuda_std::launch::KernelSpec;

use crate::conv_transpose_moments::device::*;
use crate::conv_transpose_moments::*;
use crate::pool_finish::device::*;
use crate::{batch_norm_reduce, pool_finish};

/// A kernel that can be run from a pointer to its parameter block.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Its name and launch.
    pub spec: KernelSpec,
    /// Bytes of its parameter block.
    pub parameter_bytes: usize,
    /// Runs one thread of it, inside a running grid.
    ///
    /// # Safety
    /// The pointer is to a parameter block of the kernel's type, for which the kernel's own contract holds.
    pub run: unsafe fn(*const u8),
}

macro_rules! entry {
    ($spec:expr, $kernel:path, $parameters:ty) => {
        Entry {
            spec: $spec,
            parameter_bytes: size_of::<$parameters>(),
            // SAFETY: the field's contract.
            run: |parameters| unsafe { $kernel(parameters.cast::<$parameters>().read_unaligned()) },
        }
    };
}

/// All kernels.
pub const ENTRIES: [Entry; 9] = [
    entry!(FORM_F32_WIDE.spec, conv_transpose_moments_f32_wide, ConvTransposeMoments<f32>),
    entry!(FORM_F32_NARROW.spec, conv_transpose_moments_f32_narrow, ConvTransposeMoments<f32>),
    entry!(FORM_F32_STRICT_WIDE.spec, conv_transpose_moments_f32_strict_wide, ConvTransposeMoments<f32>),
    entry!(FORM_F32_STRICT_NARROW.spec, conv_transpose_moments_f32_strict_narrow, ConvTransposeMoments<f32>),
    entry!(FORM_F64_WIDE.spec, conv_transpose_moments_f64_wide, ConvTransposeMoments<f64>),
    entry!(FORM_F64_NARROW.spec, conv_transpose_moments_f64_narrow, ConvTransposeMoments<f64>),
    entry!(batch_norm_reduce::SPEC, batch_norm_reduce::device::batch_norm_reduce, batch_norm_reduce::BatchNormReduce),
    entry!(pool_finish::SPEC_F32, pool_finish_f32, pool_finish::PoolFinish<f32>),
    entry!(pool_finish::SPEC_F64, pool_finish_f64, pool_finish::PoolFinish<f64>),
];

/// The kernel of that name.
pub fn find(name: &str) -> Option<&'static Entry> {
    const { &ENTRIES }.iter().find(|entry| entry.spec.name == name)
}
