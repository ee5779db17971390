//! The GPU kernels of `convt-bn-gap`, and what host and device must agree on about them.
//!
//! ```text
//! input, kernel ──conv_transpose_moments──▶ mean, M2 a (b, c) and slice of positions       z = s·convT(x, w), never stored
//!               ──batch_norm_reduce───────▶ mean, M2 a (b, c)                              Chan's merge over the slices
//!               ──pool_finish─────────────▶ output (B, Cout), batch and running statistics
//! ```
//!
//! One file a kernel. Each holds, from top to bottom: the equation; the `#[repr(C)]` parameter block and the
//! [`KernelSpec`](cuda_std::launch::KernelSpec); and the device code, which is compiled for the GPU and, unchanged, for the
//! host's SIMT executor ([`entries`]). The index maps the kernels share are files of their own ([`conv_shape`], [`tap_cursor`], [`tile`], [`work`],
//! [`moments`]): plain functions, the same on host and device, tested on the host.
#![no_std]
#![cfg_attr(target_arch = "nvptx64", feature(abi_ptx, asm_experimental_arch))]

pub mod batch_norm_reduce;
pub mod conv_shape;
pub mod conv_transpose_moments;
pub mod dft_axis;
pub mod dft_store;
pub mod dft_volume;
#[cfg(not(target_arch = "nvptx64"))]
pub mod entries;
pub mod moments;
pub mod pool_finish;
pub mod row_transform;
pub mod spectral_energy;
pub mod spectral_finish;
pub mod spectral_products;
pub mod spectral_stage;
pub mod spectrum;
pub mod spectrum_store;
pub mod tap_cursor;
pub mod tap_fold;
pub mod tap_sums;
pub mod tile;
pub mod volume_layout;
pub mod volume_sums;
pub mod work;
