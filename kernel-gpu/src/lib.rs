//! The GPU kernels of `convt-bn-gap`, and what host and device must agree on about them.
//!
//! ```text
//! direct    input, kernel ──conv_transpose_moments──▶ mean, M2 a (b, c) and slice of positions    z = s·convT(x, w), never stored
//!                         ──batch_norm_reduce───────▶ mean, M2 a (b, c)                           Chan's merge over the slices
//!                         ──pool_finish─────────────▶ output (B, Cout), batch and running statistics
//!
//! tensor    input ──segment_sums, box_sums──▶ Σx of the taps' boxes, scales      input ──channels_last──▶ factors
//! cores     kernel ──split_taps──▶ factors, scales        kernel, Σx ──conv_means──▶ means of z
//!           factors, means ──implicit_gemm──▶ mean, M2 a (b, c) and tile ──batch_norm_reduce, pool_finish──▶ as above
//!
//! spectral  input ──volume_fft──▶ X, Σx          X ──line_gram, grid_resample, pair_resample──▶ Ĝ    scales: input_scales
//!           kernel ──tap_moments──▶ Σw      kernel ──tap_spectrum──▶ W
//!           Ĝ, W ──gram_energy──▶ Σ|Z|² a c
//!           Σx, Σw, Σ|Z|² ──spectral_finish──▶ output (B, Cout), batch and running statistics
//! ```
//!
//! Volumes of other lengths than [`volume_fft`] takes go through [`volume_transform`], those too large for it through [`volume_sums`],
//! [`dft_axis`] and [`dft_store`]. What the spectral kernels hand
//! to each other is described in [`spectrum`] and [`gram_grid`], and why in `docs/spectral.md`.
//!
//! One file a kernel. Each holds, from top to bottom: the equation; the `#[repr(C)]` parameter block and the
//! [`KernelSpec`](cuda_std::launch::KernelSpec); and the device code, which is compiled for the GPU and, unchanged, for the
//! host's SIMT executor ([`entries`]). Tensors in f16 and bf16 are read as they are ([`element`]). The index maps the kernels share are files of their own ([`conv_shape`], [`tap_cursor`], [`tile`], [`work`],
//! [`moments`], [`factor_panels`], [`spectrum`], [`gram_grid`], [`volume_layout`]): plain functions, the same on host and device, tested on the host.
#![no_std]
#![cfg_attr(target_arch = "nvptx64", feature(abi_ptx, asm_experimental_arch))]

pub mod batch_norm_reduce;
pub mod box_sums;
pub mod channels_last;
pub mod conv_means;
pub mod conv_shape;
pub mod conv_transpose_gather;
pub mod conv_transpose_moments;
pub mod conv_transpose_tile;
pub mod dft_axis;
pub mod dft_store;
pub mod element;
#[cfg(not(target_arch = "nvptx64"))]
pub mod entries;
pub mod factor_panels;
pub mod factors;
pub mod gram_energy;
pub mod gram_energy_products;
pub mod gram_grid;
pub mod grid_resample;
pub mod grid_resample_factors;
pub(crate) mod grid_resample_ring;
pub(crate) mod grid_resample_shares;
pub(crate) mod grid_resample_sums;
pub mod implicit_gemm;
pub mod implicit_gemm_copies;
pub mod implicit_gemm_moments;
pub mod implicit_gemm_products;
pub mod implicit_gemm_schedule;
pub mod implicit_gemm_stage;
pub mod infinities;
pub mod input_boxes;
pub mod input_scales;
pub mod line_gram;
pub mod line_gram_products;
pub mod line_gram_stage;
pub mod line_gram_sums;
pub mod moments;
pub mod opaque;
pub mod pair_resample;
pub mod phase_taps;
pub mod phased_conv;
pub mod pool_finish;
pub mod segment_sums;
pub mod short_dft;
pub mod spectral_finish;
pub mod spectrum;
pub mod spectrum_store;
pub mod split_taps;
pub mod tap_cursor;
pub mod tap_moments;
pub mod tap_spectrum;
pub mod tap_spectrum_quads;
pub mod tile;
pub mod volume_fft;
pub mod volume_fft_columns;
pub mod volume_fft_layout;
pub mod volume_fft_store;
pub mod volume_layout;
pub mod volume_outer;
pub mod volume_products;
pub mod volume_quads;
pub mod volume_sums;
pub mod volume_tables;
pub mod volume_transform;
pub mod work;
