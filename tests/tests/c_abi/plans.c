/* Plans on the CPU: every format, options, buffers that move, and refusals. One line a result: name, code, sentence or numbers. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "convt_bn_gap.h"

/* 2 x 4 -> 6 channels in 2 groups, 2x3x4 input, 2x1x3 kernel. */
enum { B = 2, CI = 4, CO = 6, X = B * CI * 2 * 3 * 4, W = CI * (CO / 2) * 2 * 1 * 3 };

static float x[X], w[W], bias[CO], weight[CO], beta[CO], mean[CO], var[CO];
static double x64[X], w64[W], bias64[CO], weight64[CO], beta64[CO], mean64[CO], var64[CO];
static uint16_t x16[2][X], w16[2][W], bias16[2][CO], out16[B * CO];
static double out64[B * CO];
static double statistics[2][CO];

/* Of [f16, bf16]; the values are multiples of 1/8 below 1, which both hold. */
static uint16_t narrow(float value, int bf16) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    if (bf16 || value == 0) return (uint16_t)(bits >> 16);
    return (uint16_t)((bits >> 16 & 0x8000) | (((bits >> 23 & 0xff) - 112) << 10) | (bits >> 13 & 0x3ff));
}

/* Of [f16, bf16], zero or normal: the exponent of f16 is 112 behind that of f32. */
static double widen(uint16_t value, int bf16) {
    uint32_t magnitude = value & 0x7fff, sign = (uint32_t)(value & 0x8000) << 16;
    uint32_t bits = sign | (bf16 ? magnitude << 16 : magnitude ? (magnitude << 13) + (112u << 23) : 0);
    float wide;
    memcpy(&wide, &bits, 4);
    return wide;
}

static void draw(float *to, double *to64, uint16_t (*to16), uint16_t (*to_bf16), int count, int step) {
    for (int i = 0; i < count; i++) {
        to[i] = (float)((i * step + step) % 13 - 6) / 8;
        to64[i] = to[i];
        if (to16) to16[i] = narrow(to[i], 0), to_bf16[i] = narrow(to[i], 1);
    }
}

static void report(const char *name, int code) {
    printf("%s\t%d\t%s\n", name, code, convt_bn_gap_last_error());
}

/* `values` are of the format `dtype`. */
static void numbers(const char *name, const char *what, uint32_t dtype, const void *values, int count) {
    printf("%s %s\t0\t", name, what);
    for (int i = 0; i < count; i++) {
        double value = dtype == CONVT_BN_GAP_F64 ? ((const double *)values)[i]
            : dtype == CONVT_BN_GAP_F32 ? ((const float *)values)[i]
            : widen(((const uint16_t *)values)[i], dtype == CONVT_BN_GAP_BF16);
        printf("%.17g ", value);
    }
    printf("\n");
}

static ConvtBnGapShape shape(void) {
    ConvtBnGapShape shape = {B, CI, CO, 2, 3, 4, 2, 1, 3};
    return shape;
}

static ConvtBnGapOptions options(void) {
    ConvtBnGapOptions options;
    int64_t stride[3] = {2, 1, 3}, padding[3] = {1, 0, 1}, output_padding[3] = {1, 0, 2}, dilation[3] = {1, 2, 2};
    convt_bn_gap_options_init(&options);
    options.device = CONVT_BN_GAP_DEVICE_CPU;
    memcpy(options.stride, stride, sizeof stride);
    memcpy(options.padding, padding, sizeof padding);
    memcpy(options.output_padding, output_padding, sizeof output_padding);
    memcpy(options.dilation, dilation, sizeof dilation);
    options.groups = 2;
    options.scale_factor = -1.5;
    options.running_statistics = 1;
    options.output_dtype = CONVT_BN_GAP_OUTPUT_F32;
    return options;
}

static ConvtBnGapTensors tensors(void *output) {
    ConvtBnGapTensors tensors = {CONVT_BN_GAP_OPTIONS_VERSION, x, w, bias, weight, beta, mean, var, NULL, output,
                                 statistics[0], statistics[1]};
    return tensors;
}

/* In f32, on the CPU. */
static ConvtBnGapOptions cumulative(void) {
    ConvtBnGapOptions chosen = options();
    chosen.cumulative_momentum = 1;
    return chosen;
}

static ConvtBnGapOptions on_device(uint32_t device) {
    ConvtBnGapOptions chosen = options();
    chosen.device = device;
    return chosen;
}

/* On the CPU. */
static ConvtBnGapOptions in_format(uint32_t dtype, uint32_t output_dtype) {
    ConvtBnGapOptions chosen = options();
    chosen.dtype = dtype;
    chosen.output_dtype = output_dtype;
    return chosen;
}

/* Two steps on one plan: the second sees what the first left. */
static void two_steps(const char *name, ConvtBnGapOptions chosen, ConvtBnGapTensors of) {
    ConvtBnGapShape sizes = shape();
    ConvtBnGapPlan *plan = NULL;
    uint64_t bytes = 0, tracked = 0;
    uint32_t output = chosen.output_dtype == CONVT_BN_GAP_OUTPUT_F32 ? CONVT_BN_GAP_F32 : chosen.dtype;
    uint32_t running = chosen.dtype == CONVT_BN_GAP_F64 ? CONVT_BN_GAP_F64 : CONVT_BN_GAP_F32;
    of.num_batches_tracked = &tracked;
    report(name, convt_bn_gap_plan_create(&sizes, &chosen, &plan));
    report(name, convt_bn_gap_plan_workspace_bytes(plan, &bytes));
    for (int step = 0; step < 2; step++) report(name, convt_bn_gap_plan_run(plan, &of, NULL));
    numbers(name, "output", output, of.output, B * CO);
    numbers(name, "batch_mean", CONVT_BN_GAP_F64, statistics[0], CO);
    numbers(name, "batch_var", CONVT_BN_GAP_F64, statistics[1], CO);
    numbers(name, "running_mean", running, of.running_mean, CO);
    numbers(name, "running_var", running, of.running_var, CO);
    /* A run that fails moves nothing. */
    of.output = NULL;
    report(name, convt_bn_gap_plan_run(plan, &of, NULL));
    printf("%s tracked\t0\t%d %d\n", name, (int)tracked, bytes > 0);
    convt_bn_gap_plan_destroy(plan);
}

static void begin(void) {
    draw(mean, mean64, NULL, NULL, CO, 2);
    for (int i = 0; i < CO; i++) var64[i] = var[i] = 0.5f + (float)i / 8;
}

#define REFUSED(name, change) \
    do { \
        ConvtBnGapShape sizes = shape(); \
        ConvtBnGapOptions chosen = options(); \
        ConvtBnGapPlan *plan = (ConvtBnGapPlan *)&sizes; \
        change; \
        report(name, convt_bn_gap_plan_create(&sizes, &chosen, &plan)); \
        if (plan) printf("a plan is left\t9\t\n"); \
    } while (0)

#define RUN_REFUSED(name, change) \
    do { \
        ConvtBnGapTensors of = tensors(out); \
        change; \
        report(name, convt_bn_gap_plan_run(plan, &of, NULL)); \
    } while (0)

static void refusals(void) {
    static float out[B * CO];
    ConvtBnGapPlan *plan = NULL;
    ConvtBnGapShape sizes = shape();
    ConvtBnGapOptions chosen = options();
    REFUSED("version", chosen.version = 2);
    REFUSED("dtype", chosen.dtype = 4);
    REFUSED("output_dtype", chosen.output_dtype = 2);
    REFUSED("device", chosen.device = 3);
    REFUSED("algorithm", chosen.algorithm = 4);
    REFUSED("device_ordinal", (chosen.device = CONVT_BN_GAP_DEVICE_CUDA, chosen.device_ordinal = -2));
    REFUSED("spectral", chosen.algorithm = CONVT_BN_GAP_ALGORITHM_SPECTRAL);
    REFUSED("little workspace", (memset(chosen.padding, 0, sizeof chosen.padding), chosen.workspace_budget = 100,
            chosen.algorithm = CONVT_BN_GAP_ALGORITHM_SPECTRAL));
    REFUSED("direct", (chosen.device = CONVT_BN_GAP_DEVICE_REFERENCE, chosen.algorithm = CONVT_BN_GAP_ALGORITHM_DIRECT));
    REFUSED("strict", chosen.strict = 2);
    REFUSED("eval", chosen.eval = 2);
    REFUSED("running_statistics", chosen.running_statistics = 2);
    REFUSED("cumulative_momentum", chosen.cumulative_momentum = 2);
    REFUSED("no batch", sizes.batch_size = 0);
    REFUSED("no width", sizes.width = 0);
    REFUSED("no taps", sizes.kernel_d = 0);
    REFUSED("no channels", sizes.out_channels = 0);
    REFUSED("stride", chosen.stride[1] = 0);
    REFUSED("dilation", chosen.dilation[2] = -1);
    REFUSED("padding", chosen.padding[0] = -2);
    REFUSED("output_padding", chosen.output_padding[1] = -3);
    REFUSED("large output_padding", chosen.output_padding[0] = 2);
    REFUSED("groups", chosen.groups = 0);
    REFUSED("input groups", chosen.groups = 3);
    REFUSED("output groups", (chosen.groups = 4, sizes.out_channels = 6));
    REFUSED("empty output", chosen.padding[1] = 2);
    REFUSED("eps", chosen.eps = -1e-5);
    REFUSED("infinite eps", chosen.eps = INFINITY);
    REFUSED("momentum", chosen.momentum = 1.5);
    REFUSED("scale", chosen.scale_factor = NAN);
    REFUSED("too large", sizes.batch_size = (size_t)-1 / 64);
    REFUSED("no memory", sizes.batch_size = (size_t)1 << 50);
    for (uint32_t eval = 0; eval < 2; eval++) {
        REFUSED(eval ? "one value in eval" : "one value", (convt_bn_gap_options_init(&chosen), chosen.device = 1, chosen.eval = eval,
                sizes.batch_size = sizes.depth = sizes.height = sizes.width = sizes.kernel_d = sizes.kernel_w = 1));
    }
    report("null shape", convt_bn_gap_plan_create(NULL, &chosen, &plan));
    report("null options", convt_bn_gap_plan_create(&sizes, NULL, &plan));
    report("null plan", convt_bn_gap_plan_create(&sizes, &chosen, NULL));
    report("init null", convt_bn_gap_options_init(NULL));
    report("run null", convt_bn_gap_plan_run(NULL, NULL, NULL));
    convt_bn_gap_plan_destroy(NULL);
    convt_bn_gap_plan_create(&sizes, &chosen, &plan);
    RUN_REFUSED("no input", of.input = NULL);
    RUN_REFUSED("no kernel", of.kernel = NULL);
    report("no bytes", convt_bn_gap_plan_workspace_bytes(plan, NULL));
    RUN_REFUSED("no running_var", of.running_var = NULL);
    RUN_REFUSED("tensors' version", of.version = 0);
    RUN_REFUSED("misaligned", of.input = (const char *)x + 1);
    RUN_REFUSED("negative", var[3] = -0.25f);
    convt_bn_gap_plan_destroy(plan);
    chosen.running_statistics = 0;
    convt_bn_gap_plan_create(&sizes, &chosen, &plan);
    RUN_REFUSED("unexpected", var[3] = 0.25f);
    RUN_REFUSED("unpaired", of.running_mean = NULL);
    convt_bn_gap_plan_destroy(plan);
    report("f16, no batch", convt_bn_gap_f16(x16[0], w16[0], NULL, NULL, NULL, out16, 1.0, 0, 3, 4, 2, 2, 2, 1, 1, 1));
    report("bf16, no batch", convt_bn_gap_bf16(x16[1], w16[1], NULL, NULL, NULL, out16, 1.0, 0, 3, 4, 2, 2, 2, 1, 1, 1));
    report("f64, no batch", convt_bn_gap_f64(x64, w64, NULL, NULL, NULL, mean64, 1.0, 0, 3, 4, 2, 2, 2, 1, 1, 1));
}

int main(void) {
    static float out[B * CO];
    ConvtBnGapTensors of;
    draw(x, x64, x16[0], x16[1], X, 5);
    draw(w, w64, w16[0], w16[1], W, 3);
    draw(bias, bias64, bias16[0], bias16[1], CO, 7);
    draw(weight, weight64, NULL, NULL, CO, 4);
    draw(beta, beta64, NULL, NULL, CO, 11);
    begin(), two_steps("f32", options(), tensors(out));
    begin(), two_steps("reference", on_device(CONVT_BN_GAP_DEVICE_REFERENCE), tensors(out));
    begin(), two_steps("cumulative", cumulative(), tensors(out));
    for (int i = 0; i < 2; i++) {
        uint32_t dtype = i ? CONVT_BN_GAP_BF16 : CONVT_BN_GAP_F16;
        of = tensors(out);
        of.input = x16[i], of.kernel = w16[i], of.conv_bias = bias16[i];
        begin(), two_steps(i ? "bf16" : "f16", in_format(dtype, CONVT_BN_GAP_OUTPUT_F32), of);
        of.output = out16;
        begin(), two_steps(i ? "bf16 as input" : "f16 as input", in_format(dtype, CONVT_BN_GAP_OUTPUT_AS_INPUT), of);
    }
    of = tensors(out);
    of.input = x64, of.kernel = w64, of.conv_bias = bias64, of.bn_weight = weight64, of.bn_bias = beta64;
    of.running_mean = mean64, of.running_var = var64;
    begin(), two_steps("f64", in_format(CONVT_BN_GAP_F64, CONVT_BN_GAP_OUTPUT_F32), of);
    of.output = out64;
    begin(), two_steps("f64 as input", in_format(CONVT_BN_GAP_F64, CONVT_BN_GAP_OUTPUT_AS_INPUT), of);
    refusals();
    return 0;
}
