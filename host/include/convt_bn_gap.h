// ConvTranspose3d, scale, BatchNorm3d and global average pooling as one fused operation.
// Made from host/src/capi by `cargo xtask header`.

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

// Bytes of workspace that a plan takes at most, unless the caller says otherwise: the spectra of KernelBench 77 at
// batch 128 fit twice over.
#define WORKSPACE_BUDGET (1 << 30)

// The version of ConvtBnGapOptions and ConvtBnGapTensors that this header describes.
#define CONVT_BN_GAP_OPTIONS_VERSION 1

// f32, for ConvtBnGapOptions.dtype.
#define CONVT_BN_GAP_F32 0

// f16: IEEE binary16, as uint16_t.
#define CONVT_BN_GAP_F16 1

// bf16: the upper half of an f32, as uint16_t.
#define CONVT_BN_GAP_BF16 2

// f64.
#define CONVT_BN_GAP_F64 3

// The output in the input's type, for ConvtBnGapOptions.output_dtype.
#define CONVT_BN_GAP_OUTPUT_AS_INPUT 0

// The output in f32.
#define CONVT_BN_GAP_OUTPUT_F32 1

// A CUDA device, for ConvtBnGapOptions.device; tensors are in its memory.
#define CONVT_BN_GAP_DEVICE_CUDA 0

// This machine's processor; tensors are in its memory.
#define CONVT_BN_GAP_DEVICE_CPU 1

// The definition in f64, on this machine's processor.
#define CONVT_BN_GAP_DEVICE_REFERENCE 2

// What the library takes for best, for ConvtBnGapOptions.algorithm.
#define CONVT_BN_GAP_ALGORITHM_AUTO 0

// Energies of spectra.
#define CONVT_BN_GAP_ALGORITHM_SPECTRAL 1

// Matrix products.
#define CONVT_BN_GAP_ALGORITHM_DIRECT 2

// The definition.
#define CONVT_BN_GAP_ALGORITHM_REFERENCE 3

// A problem made ready to run on a device. One thread at a time may use it.
typedef struct ConvtBnGapPlan ConvtBnGapPlan;

// Everything else. convt_bn_gap_options_init sets PyTorch's defaults; change what differs.
typedef struct ConvtBnGapOptions {
  // CONVT_BN_GAP_OPTIONS_VERSION of the header that the caller was compiled with.
  uint32_t version;
  // CONVT_BN_GAP_F32, _F16, _BF16 or _F64: input, kernel, conv_bias and output. bn_weight, bn_bias, running_mean and
  // running_var are f32, or f64 with _F64.
  uint32_t dtype;
  // CONVT_BN_GAP_OUTPUT_AS_INPUT or CONVT_BN_GAP_OUTPUT_F32.
  uint32_t output_dtype;
  // CONVT_BN_GAP_DEVICE_CUDA, _CPU or _REFERENCE.
  uint32_t device;
  // Which CUDA device; -1 for the one that is current on the calling thread.
  int32_t device_ordinal;
  // CONVT_BN_GAP_ALGORITHM_AUTO, _SPECTRAL, _DIRECT or _REFERENCE.
  uint32_t algorithm;
  // 0, or 1 for as accurate as the algorithm can be.
  uint32_t strict;
  // 0 for training, 1 for eval mode.
  uint32_t eval;
  // 1 where running_mean and running_var are given: normalised by in eval mode, moved in training.
  uint32_t running_statistics;
  // 1 for PyTorch's momentum=None: the average over all batches, by num_batches_tracked.
  uint32_t cumulative_momentum;
  // Along depth, height, width; as the three below.
  int64_t stride[3];
  // Cut off at either end.
  int64_t padding[3];
  // Added at the far end.
  int64_t output_padding[3];
  // Between taps.
  int64_t dilation[3];
  // Groups of channels.
  int64_t groups;
  // Multiplies the convolution's output.
  double scale_factor;
  // Added to the variance.
  double eps;
  // Weight of the batch in the running statistics.
  double momentum;
  // Bytes of workspace that the spectral algorithm and, on a GPU, the direct one on tensor cores may take; 0 for the library's own
  // bound.
  uint64_t workspace_budget;
} ConvtBnGapOptions;

// The sizes of a problem. kernel (in_channels, out_channels / groups, kernel_d, kernel_h, kernel_w). Flat cases have depths, and
// heights, of 1.
typedef struct ConvtBnGapShape {
  // B.
  size_t batch_size;
  // Cin.
  size_t in_channels;
  // Cout, of all groups.
  size_t out_channels;
  // D.
  size_t depth;
  // H.
  size_t height;
  // W.
  size_t width;
  // Kd.
  size_t kernel_d;
  // Kh.
  size_t kernel_h;
  // Kw.
  size_t kernel_w;
} ConvtBnGapShape;

// The tensors of one run, C order, in the memory of the plan's device; of the types that ConvtBnGapOptions.dtype says.
typedef struct ConvtBnGapTensors {
  // CONVT_BN_GAP_OPTIONS_VERSION.
  uint32_t version;
  // (batch_size, in_channels, depth, height, width).
  const void *input;
  // (in_channels, out_channels / groups, kernel_d, kernel_h, kernel_w).
  const void *kernel;
  // (out_channels), or NULL for 0.
  const void *conv_bias;
  // (out_channels), or NULL for 1.
  const void *bn_weight;
  // (out_channels), or NULL for 0.
  const void *bn_bias;
  // (out_channels), with options.running_statistics, else NULL. In training a run that succeeds moves it once, one that fails
  // not at all.
  void *running_mean;
  // As running_mean. A variance below 0 is refused on a CPU; in a GPU's memory it is not looked at.
  void *running_var;
  // One number in the host's memory, or NULL: batches in training so far. A run that moves the running statistics counts it
  // up. With options.cumulative_momentum NULL counts as 0.
  uint64_t *num_batches_tracked;
  // Out: (batch_size, out_channels, 1, 1, 1).
  void *output;
  // Out: (out_channels), or NULL; written where the batch's statistics are used.
  double *batch_mean;
  // As batch_mean; biased.
  double *batch_var;
} ConvtBnGapTensors;

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

// convt_bn_gap_f32 with input, kernel, conv_bias and output in f16 (IEEE binary16, as uint16_t); bn_weight and bn_bias f32.
//
// # Safety
// As convt_bn_gap_f32.
int convt_bn_gap_f16(const uint16_t *input,
                     const uint16_t *kernel,
                     const uint16_t *conv_bias,
                     const float *bn_weight,
                     const float *bn_bias,
                     uint16_t *output,
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

// convt_bn_gap_f32 with input, kernel, conv_bias and output in bf16 (the upper half of an f32, as uint16_t); bn_weight and bn_bias f32.
//
// # Safety
// As convt_bn_gap_f32.
int convt_bn_gap_bf16(const uint16_t *input,
                      const uint16_t *kernel,
                      const uint16_t *conv_bias,
                      const float *bn_weight,
                      const float *bn_bias,
                      uint16_t *output,
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

// convt_bn_gap_f32 with input, kernel, conv_bias and output in f64.
//
// # Safety
// As convt_bn_gap_f32.
int convt_bn_gap_f64(const double *input,
                     const double *kernel,
                     const double *conv_bias,
                     const double *bn_weight,
                     const double *bn_bias,
                     double *output,
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

// Sets PyTorch's defaults: f32 on the current CUDA device, training, stride 1, scale 1, eps 1e-5, momentum 0.1.
//
// # Safety
// `options` points to a ConvtBnGapOptions, or is NULL, which is refused.
int convt_bn_gap_options_init(struct ConvtBnGapOptions *options);

// Makes a plan. It is the caller's until convt_bn_gap_plan_destroy; on failure `*plan` is NULL.
//
// # Safety
// `shape` and `options` point to such structs and `plan` to a pointer, or are NULL, which is refused.
int convt_bn_gap_plan_create(const struct ConvtBnGapShape *shape,
                             const struct ConvtBnGapOptions *options,
                             struct ConvtBnGapPlan **plan);

// Bytes that a run takes beside its tensors.
//
// # Safety
// `plan` is of convt_bn_gap_plan_create and not destroyed, `bytes` points to a number; or they are NULL, which is refused.
int convt_bn_gap_plan_workspace_bytes(const struct ConvtBnGapPlan *plan,
                                      uint64_t *bytes);

// Computes. On a GPU the work is put on `stream` (a CUstream or cudaStream_t, NULL for the legacy default stream) and this
// returns without waiting; all runs of a plan are on one stream, or ordered by the caller. On a CPU `stream` is not looked at.
// A run that a CUDA graph captures is counted in num_batches_tracked once, and replayed with the cumulative momentum of that count.
//
// # Safety
// `plan` is of convt_bn_gap_plan_create, not destroyed and used by no other thread; `tensors` points to such a struct. Each of its
// pointers is NULL where that is allowed, or holds the elements that the plan's shape says; the outputs overlap no other tensor.
// On a GPU they stay valid, and inputs unwritten, until the stream has passed this call.
int convt_bn_gap_plan_run(struct ConvtBnGapPlan *plan,
                          const struct ConvtBnGapTensors *tensors,
                          void *stream);

// Gives a plan and its memory back; NULL is nothing. Runs that are on their way on a GPU are waited for; CUDA graphs that captured
// a run must be destroyed before. The last error stays as it is.
//
// # Safety
// `plan` is of convt_bn_gap_plan_create and not destroyed before, or NULL.
void convt_bn_gap_plan_destroy(struct ConvtBnGapPlan *plan);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* CONVT_BN_GAP_H */
