// ConvTranspose3d, scale, BatchNorm3d and global average pooling as one fused operation on a CUDA device.
// Made from host/src/capi.rs by `cargo xtask header`.

#ifndef CONVT_BN_GAP_H
#define CONVT_BN_GAP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

// The call did what it says; the result is on its way on the call's stream.
#define CONVT_BN_GAP_OK 0

// An argument was refused; nothing was launched.
#define CONVT_BN_GAP_BAD_INPUT 2

// There is no usable device, or it failed.
#define CONVT_BN_GAP_DEVICE_FAILED 3

// A defect of this library; nothing can be said of the output.
#define CONVT_BN_GAP_INTERNAL 4

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Why the last call on this thread failed: one sentence, empty after a success. Valid until the thread's next call.
const char *convt_bn_gap_last_error(void);

// ConvTranspose3d, scale, BatchNorm3d in training mode (batch statistics, eps 1e-5), global average pooling; all f32.
//
// `output[b,c] = bn_weight[c] * s*(m[b,c] - mu[c]) / sqrt(s^2 * sigma2[c] + eps) + bn_bias[c]`
//
// input (batch_size, in_channels, depth, height, width); kernel (in_channels, out_channels, kernel_d, kernel_h,
// kernel_w); conv_bias, bn_weight, bn_bias (out_channels), each NULL for 0, 1, 0; output (batch_size, out_channels, 1, 1,
// 1). All C order, in memory that the device reaches. Returns 0, or an error code with convt_bn_gap_last_error().
//
// # Safety
// Every pointer holds the elements that its shape says, and stays valid and unwritten until the default stream has passed
// this call; `output` overlaps none of them.
int convt_bn_gap_f32(const float *input,
                     const float *kernel,
                     const float *conv_bias,
                     const float *bn_weight,
                     const float *bn_bias,
                     float *output,
                     double scale_factor,
                     size_t batch_size,
                     size_t in_channels,
                     size_t out_channels,
                     size_t depth,
                     size_t height,
                     size_t width,
                     size_t kernel_d,
                     size_t kernel_h,
                     size_t kernel_w);

// convt_bn_gap_f32 on a stream of the caller's: `stream` is a CUstream or cudaStream_t, NULL for the legacy default stream.
//
// Returns without waiting. The first call on a stream with new sizes allocates; later ones do not, and may be captured in a
// CUDA graph: call once on the stream, then capture on it. What a captured call works in is kept until the process ends, and
// is the same for other calls of those sizes on that stream: launch the graph there, or keep the two apart.
//
// # Safety
// As convt_bn_gap_f32, for that stream. It is a stream of the current device's primary context (which PyTorch and the CUDA
// runtime use), and its work is done before it is destroyed.
int convt_bn_gap_f32_on_stream(const float *input,
                               const float *kernel,
                               const float *conv_bias,
                               const float *bn_weight,
                               const float *bn_bias,
                               float *output,
                               double scale_factor,
                               size_t batch_size,
                               size_t in_channels,
                               size_t out_channels,
                               size_t depth,
                               size_t height,
                               size_t width,
                               size_t kernel_d,
                               size_t kernel_h,
                               size_t kernel_w,
                               void *stream);

// convt_bn_gap_f32 under the name that benchmark harnesses call.
//
// # Safety
// As convt_bn_gap_f32.
int solution(const float *input,
             const float *kernel,
             const float *conv_bias,
             const float *bn_weight,
             const float *bn_bias,
             float *output,
             double scale_factor,
             size_t batch_size,
             size_t in_channels,
             size_t out_channels,
             size_t depth,
             size_t height,
             size_t width,
             size_t kernel_d,
             size_t kernel_h,
             size_t kernel_w);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* CONVT_BN_GAP_H */
