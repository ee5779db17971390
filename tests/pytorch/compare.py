"""Times this library beside PyTorch on the same GPU, in one process, on PyTorch's own tensors, through the C ABI.

    python3 compare.py libconvt_bn_gap.so [--preset kernelbench-77] [--json FILE]

For each way: the error first (against PyTorch in f64, by the rule of tests/golden/README.md), then the median, minimum and
maximum of RUNS runs between CUDA events, the L2 cache flushed before each. Ways: PyTorch as it comes (TF32), PyTorch in
strict f32, and this library. Controls that must not pass the check: plain bn_bias, and taps that are not flipped.
"""

import argparse
import ctypes
import json
import statistics
import sys

import torch
import torch.nn.functional as F

PRESETS = {
    # B, Cin, Cout, (D, H, W), (Kd, Kh, Kw)
    "kernelbench-77": (16, 64, 128, (16, 32, 32), (5, 5, 5)),
    "kernelbench-77-v0": (16, 64, 32, (16, 32, 32), (3, 3, 3)),
    "odd": (3, 7, 13, (5, 7, 11), (3, 2, 4)),
}
SCALE, EPS, RUNS = 2.0, 1e-5, 20


def pytorch(x, w, conv_bias, weight, bias):
    z = F.conv_transpose3d(x, w, conv_bias) * SCALE
    z = F.batch_norm(z, None, None, weight, bias, training=True, eps=EPS)
    return F.adaptive_avg_pool3d(z, 1)


def ours(library):
    function = library.convt_bn_gap_f32
    function.argtypes = [ctypes.c_void_p] * 6 + [ctypes.c_double] + [ctypes.c_size_t] * 9
    library.convt_bn_gap_last_error.restype = ctypes.c_char_p

    def run(x, w, conv_bias, weight, bias):
        output = torch.empty(x.shape[0], w.shape[1], 1, 1, 1, device=x.device)
        pointers = [t.data_ptr() for t in (x, w, conv_bias, weight, bias, output)]
        sizes = [x.shape[0], w.shape[0], w.shape[1], *x.shape[2:], *w.shape[2:]]
        if function(*pointers, SCALE, *sizes) != 0:
            sys.exit(library.convt_bn_gap_last_error().decode())
        return output

    return run


def error(output, expected, bias):
    shift = bias.double().reshape(1, -1, 1, 1, 1)
    difference = (output.double() - expected).norm().item()
    rounding = 2.0**-24 * expected.norm().item()
    return max(0.0, difference - rounding) / (expected - shift).norm().item()


def times(run, tensors):
    flush = torch.empty(64 << 20, dtype=torch.int32, device="cuda")
    milliseconds = []
    for i in range(RUNS + 3):
        flush.zero_()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run(*tensors)
        end.record()
        torch.cuda.synchronize()
        if i >= 3:
            milliseconds.append(start.elapsed_time(end))
    return {"median_ms": statistics.median(milliseconds), "min_ms": min(milliseconds), "max_ms": max(milliseconds)}


def tensors_of(preset):
    batch, cin, cout, extents, kernel = PRESETS[preset]
    taps = kernel[0] * kernel[1] * kernel[2]
    generator = torch.Generator("cuda").manual_seed(77)

    def uniform(lo, hi, *shape):
        return torch.rand(*shape, device="cuda", generator=generator) * (hi - lo) + lo

    bound = (cout * taps) ** -0.5
    return (
        uniform(0, 1, batch, cin, *extents),
        uniform(-bound, bound, cin, cout, *kernel),
        uniform(-bound, bound, cout),
        uniform(0.5, 1.5, cout),
        uniform(-0.5, 0.5, cout),
    )


def tf32(allowed):
    torch.backends.cudnn.allow_tf32 = allowed
    torch.backends.cuda.matmul.allow_tf32 = allowed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("library")
    parser.add_argument("--preset", choices=PRESETS, default="kernelbench-77")
    parser.add_argument("--json")
    parser.add_argument("--bound", type=float, default=1e-5)
    options = parser.parse_args()
    run_ours = ours(ctypes.CDLL(options.library))
    tensors = tensors_of(options.preset)
    tf32(False)
    expected = pytorch(*(t.double() for t in tensors))
    report = {"device": torch.cuda.get_device_name(), "pytorch": torch.__version__, "preset": options.preset}

    flipped = run_ours(tensors[0], tensors[1].flip(2, 3, 4).contiguous(), *tensors[2:])
    controls = {
        "bn_bias alone": tensors[4].reshape(1, -1, 1, 1, 1).expand_as(expected),
        "taps not flipped": flipped,
    }
    for name, output in controls.items():
        value = error(output, expected, tensors[4])
        print(f"control: {name}: error {value:.1e}")
        if value <= options.bound:
            sys.exit(f"the check passes {name}: it checks nothing")

    ways = [("pytorch tf32", pytorch, True), ("pytorch strict f32", pytorch, False), ("convt-bn-gap", run_ours, False)]
    failed = False
    for name, run, allowed in ways:
        tf32(allowed)
        value = error(run(*tensors), expected, tensors[4])
        report[name] = {"error": value, **times(run, tensors)}
        print(f"{name:20} error {value:.1e}  " + "  ".join(f"{k} {v:.4f}" for k, v in report[name].items() if k != "error"))
        failed |= name == "convt-bn-gap" and not value <= options.bound
    for name in ("pytorch tf32", "pytorch strict f32"):
        ratio = report[name]["median_ms"] / report["convt-bn-gap"]["median_ms"]
        print(f"{name} / convt-bn-gap: {ratio:.2f}")
    if options.json:
        with open(options.json, "w") as file:
            json.dump(report, file, indent=1)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
