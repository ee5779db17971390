//! The one call on device pointers, in the other formats: as `convt_bn_gap_f32`.

use std::ffi::{c_int, c_void};

use super::{Call, guarded};
use crate::DType;

/// convt_bn_gap_f32 with input, kernel, conv_bias and output in f16 (IEEE binary16, as uint16_t); bn_weight and bn_bias f32.
///
/// # Safety
/// As convt_bn_gap_f32.
#[unsafe(no_mangle)]
#[allow(clippy::too_many_arguments)]
pub unsafe extern "C" fn convt_bn_gap_f16(
    input: *const u16,
    kernel: *const u16,
    conv_bias: *const u16,
    bn_weight: *const f32,
    bn_bias: *const f32,
    output: *mut u16,
    scale_factor: f64,
    batch_size: usize,
    in_channels: usize,
    out_channels: usize,
    depth: usize,
    height: usize,
    width: usize,
    kernel_d: usize,
    kernel_h: usize,
    kernel_w: usize,
) -> c_int {
    let sizes = [batch_size, in_channels, out_channels, depth, height, width, kernel_d, kernel_h, kernel_w];
    let inputs = [input.cast(), kernel.cast(), conv_bias.cast(), bn_weight.cast(), bn_bias.cast()];
    // SAFETY: the caller's promise, passed on.
    unsafe { on_default_stream(DType::F16, inputs, output.cast(), scale_factor, sizes) }
}

/// convt_bn_gap_f32 with input, kernel, conv_bias and output in bf16 (the upper half of an f32, as uint16_t); bn_weight and bn_bias f32.
///
/// # Safety
/// As convt_bn_gap_f32.
#[unsafe(no_mangle)]
#[allow(clippy::too_many_arguments)]
pub unsafe extern "C" fn convt_bn_gap_bf16(
    input: *const u16,
    kernel: *const u16,
    conv_bias: *const u16,
    bn_weight: *const f32,
    bn_bias: *const f32,
    output: *mut u16,
    scale_factor: f64,
    batch_size: usize,
    in_channels: usize,
    out_channels: usize,
    depth: usize,
    height: usize,
    width: usize,
    kernel_d: usize,
    kernel_h: usize,
    kernel_w: usize,
) -> c_int {
    let sizes = [batch_size, in_channels, out_channels, depth, height, width, kernel_d, kernel_h, kernel_w];
    let inputs = [input.cast(), kernel.cast(), conv_bias.cast(), bn_weight.cast(), bn_bias.cast()];
    // SAFETY: the caller's promise, passed on.
    unsafe { on_default_stream(DType::BF16, inputs, output.cast(), scale_factor, sizes) }
}

/// convt_bn_gap_f32 with input, kernel, conv_bias and output in f64.
///
/// # Safety
/// As convt_bn_gap_f32.
#[unsafe(no_mangle)]
#[allow(clippy::too_many_arguments)]
pub unsafe extern "C" fn convt_bn_gap_f64(
    input: *const f64,
    kernel: *const f64,
    conv_bias: *const f64,
    bn_weight: *const f64,
    bn_bias: *const f64,
    output: *mut f64,
    scale_factor: f64,
    batch_size: usize,
    in_channels: usize,
    out_channels: usize,
    depth: usize,
    height: usize,
    width: usize,
    kernel_d: usize,
    kernel_h: usize,
    kernel_w: usize,
) -> c_int {
    let sizes = [batch_size, in_channels, out_channels, depth, height, width, kernel_d, kernel_h, kernel_w];
    let inputs = [input.cast(), kernel.cast(), conv_bias.cast(), bn_weight.cast(), bn_bias.cast()];
    // SAFETY: the caller's promise, passed on.
    unsafe { on_default_stream(DType::F64, inputs, output.cast(), scale_factor, sizes) }
}

/// # Safety
/// As convt_bn_gap_f32, for tensors of `dtype`.
unsafe fn on_default_stream(
    dtype: DType,
    inputs: [*const c_void; 5],
    output: *mut c_void,
    scale_factor: f64,
    [batch, ci, co, d, h, w, kd, kh, kw]: [usize; 9],
) -> c_int {
    guarded(|| {
        let [input, kernel, conv_bias, bn_weight, bn_bias] = inputs.map(|pointer| pointer.expose_provenance() as u64);
        let call = Call {
            input,
            kernel,
            conv_bias,
            bn_weight,
            bn_bias,
            output: output.expose_provenance() as u64,
            stream: 0,
            dtype,
            scale_factor,
            input_extents: [batch, ci, d, h, w],
            kernel_extents: [ci, co, kd, kh, kw],
        };
        // SAFETY: the caller's promise.
        unsafe { call.run() }
    })
}
