//! The CUDA backend: the kernels of [`kernel_gpu`] on a GPU, through the driver bound at run time.
//!
//! cust stays inside this module, and with it the parts of it that safe code can misuse: nothing public here is a cust
//! type. Each kernel has one file, which holds its only launch. Every call of the driver happens while the device's
//! primary context is current on the thread, proven by a `Bound`; the caller's context is put back.

mod batch_norm_reduce;
mod branch;
mod conv_transpose_moments;
mod device;
mod dft_axis;
mod dft_store;
mod direct;
mod error;
mod factors;
mod gram;
mod gram_energy;
mod graph;
mod grid_resample;
mod implicit_gemm;
mod input_scales;
mod line_gram;
mod measure;
mod memory;
mod module;
mod pair_resample;
mod phase_taps;
mod plan;
mod pool_finish;
mod programmatic_launch;
mod spectral;
mod spectral_finish;
mod staging;
mod stream;
mod tables;
mod tap_moments;
mod tap_spectrum;
mod tensor;
mod transform;
mod volume_fft;
mod volume_sums;
mod volume_transform;

pub use crate::addresses::DeviceTensors;
pub use device::{CudaDevice, DeviceFacts, devices};
pub use error::CudaError;
pub use plan::CudaPlan;
pub use stream::RawStream;
