//! Every kernel by the name of its entry, for the SIMT executor: what a driver's module is on the host.

use cuda_std::launch::KernelSpec;

use crate::conv_transpose_moments::device::*;
use crate::conv_transpose_moments::*;
use crate::implicit_gemm::device::*;
use crate::implicit_gemm::{self, ImplicitGemm};
use crate::pool_finish::device::*;
use crate::volume_fft::VolumeFft;
use crate::volume_transform::VolumeTransform;
use crate::{
    batch_norm_reduce, box_sums, channels_last, conv_means, dft_axis, dft_store, gram_energy, grid_resample,
    input_scales, line_gram, pair_resample, phase_taps, pool_finish, segment_sums, spectral_finish, split_taps,
    tap_moments, tap_spectrum, volume_fft, volume_sums, volume_transform,
};

/// A kernel that can be run from a pointer to its parameter block.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Its name and launch.
    pub spec: KernelSpec,
    /// Whether a launch may have fewer threads than that, in whole warps.
    pub fewer_threads: bool,
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
            fewer_threads: false,
            parameter_bytes: size_of::<$parameters>(),
            // SAFETY: the field's contract.
            run: |parameters| unsafe { $kernel(parameters.cast::<$parameters>().read_unaligned()) },
        }
    };
}

/// All kernels.
pub const ENTRIES: [Entry; 43] = [
    entry!(FORM_F32_WIDE.spec, conv_transpose_moments_f32_wide, ConvTransposeMoments<f32>),
    entry!(FORM_F32_NARROW.spec, conv_transpose_moments_f32_narrow, ConvTransposeMoments<f32>),
    entry!(FORM_F32_STRICT_WIDE.spec, conv_transpose_moments_f32_strict_wide, ConvTransposeMoments<f32>),
    entry!(FORM_F32_STRICT_NARROW.spec, conv_transpose_moments_f32_strict_narrow, ConvTransposeMoments<f32>),
    entry!(FORM_F64_WIDE.spec, conv_transpose_moments_f64_wide, ConvTransposeMoments<f64>),
    entry!(FORM_F64_NARROW.spec, conv_transpose_moments_f64_narrow, ConvTransposeMoments<f64>),
    entry!(FORMS[6].spec, conv_transpose_moments_options_f32_wide, ConvTransposeMoments<f32>),
    entry!(FORMS[7].spec, conv_transpose_moments_options_f32_narrow, ConvTransposeMoments<f32>),
    entry!(FORMS[8].spec, conv_transpose_moments_options_f32_strict_wide, ConvTransposeMoments<f32>),
    entry!(FORMS[9].spec, conv_transpose_moments_options_f32_strict_narrow, ConvTransposeMoments<f32>),
    entry!(FORMS[10].spec, conv_transpose_moments_options_f64_wide, ConvTransposeMoments<f64>),
    entry!(FORMS[11].spec, conv_transpose_moments_options_f64_narrow, ConvTransposeMoments<f64>),
    entry!(batch_norm_reduce::SPEC, batch_norm_reduce::device::batch_norm_reduce, batch_norm_reduce::BatchNormReduce),
    entry!(pool_finish::SPEC_F32, pool_finish_f32, pool_finish::PoolFinish<f32>),
    entry!(pool_finish::SPEC_F64, pool_finish_f64, pool_finish::PoolFinish<f64>),
    entry!(volume_transform::FORM_HELD_4.spec, volume_transform::device::volume_transform_held_4, VolumeTransform),
    entry!(volume_transform::FORM_HELD_8.spec, volume_transform::device::volume_transform_held_8, VolumeTransform),
    entry!(volume_transform::FORM_8.spec, volume_transform::device::volume_transform_8, VolumeTransform),
    Entry { fewer_threads: true, ..entry!(volume_fft::SPEC, volume_fft::device::volume_fft, VolumeFft) },
    entry!(phase_taps::SPEC, phase_taps::device::phase_taps, phase_taps::PhaseTaps),
    entry!(tap_moments::SPEC, tap_moments::device::tap_moments, tap_moments::TapMoments),
    entry!(tap_spectrum::SPEC, tap_spectrum::device::tap_spectrum, tap_spectrum::TapSpectrum),
    entry!(gram_energy::SPEC, gram_energy::device::gram_energy, gram_energy::GramEnergy),
    entry!(spectral_finish::SPEC, spectral_finish::device::spectral_finish, spectral_finish::SpectralFinish),
    entry!(input_scales::SPEC, input_scales::device::input_scales, input_scales::InputScales),
    entry!(line_gram::SPEC_2, line_gram::device::line_gram_2, line_gram::LineGram),
    entry!(line_gram::SPEC_4, line_gram::device::line_gram_4, line_gram::LineGram),
    entry!(grid_resample::SPEC, grid_resample::device::grid_resample, grid_resample::GridResample),
    entry!(pair_resample::SPEC, pair_resample::device::pair_resample, pair_resample::PairResample),
    entry!(volume_sums::SPEC, volume_sums::device::volume_sums, volume_sums::VolumeSums),
    entry!(dft_axis::SPEC, dft_axis::device::dft_axis, dft_axis::DftAxis),
    entry!(dft_store::SPEC, dft_store::device::dft_store, dft_store::DftStore),
    entry!(segment_sums::SPEC, segment_sums::device::segment_sums, segment_sums::SegmentSums),
    entry!(box_sums::SPEC, box_sums::device::box_sums, box_sums::BoxSums),
    entry!(channels_last::SPEC, channels_last::device::channels_last, channels_last::ChannelsLast),
    entry!(split_taps::SPEC, split_taps::device::split_taps, split_taps::SplitTaps),
    entry!(conv_means::SPEC, conv_means::device::conv_means, conv_means::ConvMeans),
    entry!(implicit_gemm::FORMS[0].spec, implicit_gemm_f32_wide, ImplicitGemm),
    entry!(implicit_gemm::FORMS[1].spec, implicit_gemm_f32_narrow, ImplicitGemm),
    entry!(implicit_gemm::FORMS[2].spec, implicit_gemm_f16_wide, ImplicitGemm),
    entry!(implicit_gemm::FORMS[3].spec, implicit_gemm_f16_narrow, ImplicitGemm),
    entry!(implicit_gemm::FORMS[4].spec, implicit_gemm_bf16_wide, ImplicitGemm),
    entry!(implicit_gemm::FORMS[5].spec, implicit_gemm_bf16_narrow, ImplicitGemm),
];

/// The kernel of that name.
pub fn find(name: &str) -> Option<&'static Entry> {
    const { &ENTRIES }.iter().find(|entry| entry.spec.name == name)
}
