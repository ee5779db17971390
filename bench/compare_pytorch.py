"""Times this library beside PyTorch on the same GPU, in one process, on PyTorch's own tensors, through the C ABI.

    python3 compare_pytorch.py libconvt_bn_gap.so [--preset NAME …] [--sweep] [--options] [--all] [--seconds N] [--json FILE]

For each case the error of every way comes first (against PyTorch in f64, by the rule of tests/golden/README.md), then the
median, minimum and maximum of RUNS runs between CUDA events on the current stream. Before each run the L2 cache is flushed
and the GPU is kept busy for a moment, so that all launches are queued before the first event passes: the times are the
device's, from first kernel to last, for every way alike. Where f64 for all channels would take long, it is made for a few.

Ways: PyTorch as it comes (TF32), in strict f32, with channels_last_3d (TF32), in bf16 (the better of both layouts), compiled
(TF32); this library as a plain call and as the replay of a CUDA graph. The sweeps leave bf16 and the compiler out. Controls
that must not pass the check: plain bn_bias, taps that are not flipped, output channels off by one. Exits 1 where this library
or a control fails. results_table.py makes tables of the JSON.
"""

import argparse
import ctypes
import json
import statistics
import sys
import time

import torch
import torch.nn.functional as F

from capi import Library, VERSION, Options, Shape, Tensors
from cases import OPTIONS, PRESETS, SWEEP
from results_table import BF16, CHANNELS_LAST, COMPILED, GRAPH, PLAIN, STRICT, TF32, tables

SCALE, EPS = 2.0, 1e-5
RUNS, WARM = 20, 3
# Runs where one takes longer than SLOW ms.
FEW_RUNS, SLOW = 7, 50.0
# A reference of more operations than this is made for CHECKED channels only.
REFERENCE_FLOPS, CHECKED = 1e12, 4
# About a millisecond: longer than any way needs to queue its launches.
BUSY_CYCLES = 2_000_000


def pytorch(case):
    def run(x, w, conv_bias, weight, bias):
        z = F.conv_transpose3d(x, w, conv_bias, case.stride, case.padding, 0, case.groups, case.dilation) * SCALE
        z = F.batch_norm(z, None, None, weight, bias, training=True, eps=EPS)
        return F.adaptive_avg_pool3d(z, 1)

    return run


def ours(path):
    library = ctypes.CDLL(path)
    function = library.convt_bn_gap_f32_on_stream
    function.argtypes = [ctypes.c_void_p] * 6 + [ctypes.c_double] + [ctypes.c_size_t] * 9 + [ctypes.c_void_p]
    function.restype = ctypes.c_int
    library.convt_bn_gap_last_error.restype = ctypes.c_char_p

    def run(x, w, conv_bias, weight, bias):
        output = torch.empty(x.shape[0], w.shape[1], 1, 1, 1, device=x.device)
        pointers = [t.data_ptr() for t in (x, w, conv_bias, weight, bias, output)]
        sizes = [x.shape[0], w.shape[0], w.shape[1], *x.shape[2:], *w.shape[2:]]
        if function(*pointers, SCALE, *sizes, torch.cuda.current_stream().cuda_stream) != 0:
            raise RuntimeError(library.convt_bn_gap_last_error().decode())
        return output

    return run


class Planned:
    """A plan of the C ABI for a case with options, as a call."""

    def __init__(self, path, case):
        self.abi, self.plan, self.case = Library(path), ctypes.c_void_p(), case
        options = Options()
        self.abi.check(self.abi.library.convt_bn_gap_options_init(ctypes.byref(options)))
        for name in ("stride", "padding", "dilation"):
            setattr(options, name, (ctypes.c_int64 * 3)(*getattr(case, name)))
        options.groups, options.scale_factor, options.eps, options.running_statistics = case.groups, SCALE, EPS, 0
        shape = Shape(case.batch, case.cin, case.cout, *case.extents, *case.kernel)
        create = self.abi.library.convt_bn_gap_plan_create
        self.abi.check(create(ctypes.byref(shape), ctypes.byref(options), ctypes.byref(self.plan)))

    def __call__(self, x, w, conv_bias, weight, bias):
        output = torch.empty(self.case.batch, self.case.cout, 1, 1, 1, device=x.device)
        pointers = {"input": x, "kernel": w, "conv_bias": conv_bias, "bn_weight": weight, "bn_bias": bias, "output": output}
        tensors = Tensors(version=VERSION, **{name: tensor.data_ptr() for name, tensor in pointers.items()})
        stream = torch.cuda.current_stream().cuda_stream
        self.abi.check(self.abi.library.convt_bn_gap_plan_run(self.plan, ctypes.byref(tensors), stream))
        return output

    def __enter__(self):
        return self

    def __exit__(self, *_):
        torch.cuda.synchronize()
        self.abi.library.convt_bn_gap_plan_destroy(self.plan)


def graphed(run, tensors):
    """A call that replays `run` on `tensors`; its plan is made by a call on the stream that is captured."""
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    with torch.cuda.stream(stream):
        run(*tensors)
    torch.cuda.synchronize()
    with torch.cuda.graph(graph, stream=stream):
        output = run(*tensors)

    def replay(*_):
        graph.replay()
        return output

    return replay


def tf32(allowed):
    torch.backends.cudnn.allow_tf32 = allowed
    torch.backends.cuda.matmul.allow_tf32 = allowed


class Reference:
    """What f64 gives, for all channels or a few."""

    def __init__(self, case, tensors):
        # Of several groups, all.
        few = case.flops > REFERENCE_FLOPS and case.cout > CHECKED and case.groups == 1
        last = case.cout - 1
        self.channels = [i * last // (CHECKED - 1) for i in range(CHECKED)] if few else list(range(case.cout))
        self.tensors, self.pytorch = tensors, pytorch(case)
        self.expected = self.of(tensors)
        # One sample, or identical ones: the output is bn_bias, and the bound is absolute.
        self.absolute = (self.expected - self.shift(tensors[4])).norm().item() < 1e-12

    def of(self, tensors):
        x, w, *vectors = tensors
        chosen = [w[:, self.channels] if len(self.channels) < w.shape[1] else w] + [v[self.channels] for v in vectors]
        return self.pytorch(x.double(), *(t.double() for t in chosen))

    def shift(self, bias):
        return bias[self.channels].double().reshape(1, -1, 1, 1, 1)

    def error(self, output, expected=None, bias=None):
        """Relative to |expected - bias|, less the rounding of the output's own type."""
        expected = self.expected if expected is None else expected
        bias = self.tensors[4] if bias is None else bias
        difference = (output[:, self.channels].double() - expected).norm().item()
        if self.absolute:
            return difference
        rounding = torch.finfo(output.dtype).eps / 2 * expected.norm().item()
        return max(0.0, difference - rounding) / (expected - self.shift(bias)).norm().item()


class Timer:
    def __init__(self, flush):
        self.buffer = torch.zeros(64 << 20, dtype=torch.int32, device="cuda")
        # Written, the cache is left full of lines that the measured run has to write back; read, of clean ones.
        self.flush = self.buffer.zero_ if flush == "write" else self.buffer.sum

    def times(self, run, tensors):
        milliseconds, wanted = [], RUNS
        while len(milliseconds) < WARM + wanted:
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            self.flush()
            torch.cuda._sleep(BUSY_CYCLES)
            start.record()
            run(*tensors)
            end.record()
            torch.cuda.synchronize()
            milliseconds.append(start.elapsed_time(end))
            wanted = FEW_RUNS if milliseconds[-1] > SLOW else wanted
        kept = milliseconds[WARM:]
        return {"median_ms": statistics.median(kept), "min_ms": min(kept), "max_ms": max(kept), "runs": len(kept)}


def pytorch_way(name, reference, timer):
    """Error and times of PyTorch in one of its settings."""
    tensors, pytorch = reference.tensors, reference.pytorch
    tf32(name != STRICT)
    last = torch.channels_last_3d

    def layout(given):
        return [t.to(memory_format=last) if t.dim() == 5 else t for t in given]

    if name == CHANNELS_LAST:
        tensors = layout(tensors)
    elif name == BF16:
        # Beside a bias the output in bf16 holds too little of the rest to tell an error: without one it does.
        zero = torch.zeros_like(tensors[4])
        expected = reference.of([*tensors[:4], zero])
        plain = [t.bfloat16() for t in tensors]
        value = reference.error(pytorch(*plain[:4], zero.bfloat16()), expected, zero)
        measured = [timer.times(pytorch, given) for given in (plain, layout(plain))]
        return {"error": value, **min(measured, key=lambda m: m["median_ms"])}
    run = pytorch
    if name == COMPILED:
        torch._dynamo.reset()
        run = torch.compile(pytorch)
    return {"error": reference.error(run(*tensors)), **timer.times(run, tensors)}


def our_way(name, run, reference, timer, bound):
    """Error and times of this library; without times where the error is past the bound."""
    tensors = reference.tensors
    call = graphed(run, tensors) if name == GRAPH else run
    first = call(*tensors).clone()
    result = {"error": reference.error(first)}
    if not result["error"] <= bound:
        return {**result, "failed": f"the error is past its bound, {bound:.0e}"}
    result.update(timer.times(call, tensors))
    repeats = 100 if result["median_ms"] < 5 else 5
    result["same_bits"] = all(torch.equal(first, call(*tensors)) for _ in range(repeats))
    if not result["same_bits"]:
        result["failed"] = f"not the same bits on {repeats} runs"
    return result


def controls(case, run, reference):
    """Outputs that are wrong, and their errors."""
    x, w, conv_bias, weight, bias = tensors = reference.tensors
    plain = bias.reshape(1, -1, 1, 1, 1).expand(case.batch, -1, 1, 1, 1)
    wrong = {"bn_bias alone": plain, "channels off by one": run(*tensors).roll(1, 1)}
    # Between taps and data that are all positive, the order of the taps tells too little.
    if not case.unit:
        wrong["taps not flipped"] = run(x, w.flip(2, 3, 4).contiguous(), conv_bias, weight, bias)
    return {name: reference.error(output) for name, output in wrong.items()}


def attempt(way):
    """What `way` gives, or why it could not be had."""
    try:
        return way()
    except Exception as failure:  # a setting that PyTorch lacks here, memory, a refusal of ours: all are results
        torch.cuda.synchronize()
        return {"failed": str(failure).strip().splitlines()[0] if str(failure).strip() else repr(failure)}


def show(name, result):
    if "failed" in result:
        print(f"  {name:30} FAILED: {result['failed']}", flush=True)
    if "median_ms" in result:
        spread = f"{result['median_ms']:.4f} ms ({result['min_ms']:.4f}–{result['max_ms']:.4f})"
        print(f"  {name:30} error {result['error']:.1e}  {spread}", flush=True)


def measure(case, kind, run, timer, bound, ways=None):
    """One case: controls where they can tell, then every way, or only `ways`."""
    print(f"{case.name}: {case.shape()}", flush=True)
    tf32(False)
    reference = Reference(case, case.tensors())
    bound = 1e-6 if reference.absolute else bound
    report = {"name": case.name, "kind": kind, "shape": case.shape(), "flops": case.flops, "bound": bound, "ways": {}}
    report["checked_channels"] = len(reference.channels)
    if ways is None:
        report["absolute"] = reference.absolute
        if kind == "preset":
            found = attempt(lambda: controls(case, run, reference))
            report["controls"] = found
            for name, value in found.items():
                print(f"  control: {name}: {value if name == 'failed' else format(value, '.1e')}", flush=True)
        ways = [PLAIN, GRAPH, TF32, STRICT, CHANNELS_LAST] + ([BF16] if kind == "preset" else [])
    for name in ways:
        if name in (PLAIN, GRAPH):
            result = attempt(lambda: our_way(name, run, reference, timer, bound))
        else:
            result = attempt(lambda: pytorch_way(name, reference, timer))
        report["ways"][name] = result
        show(name, result)
    return report


def passed(case):
    fine = all("failed" not in case["ways"][name] for name in (PLAIN, GRAPH))
    caught = all(name != "failed" and value > case["bound"] for name, value in case.get("controls", {}).items())
    return fine and caught


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("library")
    parser.add_argument("--preset", action="append", choices=[case.name for case in PRESETS], help="can be repeated")
    parser.add_argument("--sweep", action="store_true", help="twelve varied shapes")
    parser.add_argument("--options", action="store_true", help="strides, dilations and groups")
    parser.add_argument("--all", action="store_true", help="every preset and both sweeps")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no case after this long")
    parser.add_argument("--flush", choices=["write", "read"], default="write", help="how the L2 cache is flushed")
    parser.add_argument("--bound", type=float, default=1e-5, help="what this library's error may be")
    parser.add_argument("--json", help="write the results here, after every case")
    options = parser.parse_args()
    began = time.monotonic()
    run, timer = ours(options.library), Timer(options.flush)

    names = options.preset or ([] if options.sweep or options.options else ["kernelbench-77"])
    presets = [case for case in PRESETS if options.all or case.name in names]
    sweep = SWEEP if options.all or options.sweep else []
    report = {
        "device": torch.cuda.get_device_name(),
        "pytorch": torch.__version__,
        "cuda": torch.version.cuda,
        "flush": options.flush,
        "cases": [],
        "left_out": [],
    }

    def save():
        if options.json:
            with open(options.json, "w") as file:
                json.dump(report, file, indent=1)

    def each(cases, measured):
        for case in cases:
            if time.monotonic() - began > options.seconds:
                report["left_out"].append(case.name)
                continue
            measured(case)
            torch.cuda.empty_cache()
            save()

    each(presets, lambda case: report["cases"].append(measure(case, "preset", run, timer, options.bound)))
    each(sweep, lambda case: report["cases"].append(measure(case, "sweep", run, timer, options.bound)))
    for case in OPTIONS if options.all or options.options else []:
        with Planned(options.library, case) as planned:
            each([case], lambda case: report["cases"].append(measure(case, "options", planned, timer, options.bound)))
    # Last, because compiling takes longest.
    by_name = {case["name"]: case for case in report["cases"]}

    def compiled(case):
        found = measure(case, "preset", run, timer, options.bound, [COMPILED])
        by_name[case.name]["ways"].update(found["ways"])

    if not options.no_compile:
        each([case for case in presets if case.name in by_name], compiled)

    print("\n" + tables(report))
    if report["left_out"]:
        print(f"\nleft out after {options.seconds:.0f} s: {', '.join(report['left_out'])}")
    failed = [case["name"] for case in report["cases"] if not passed(case)]
    if failed:
        print(f"\nFAILED: {', '.join(failed)}")
    save()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
