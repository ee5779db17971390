"""The C ABI's plans from Python (host/include/convt_bn_gap.h), on tensors of PyTorch."""

import ctypes
from ctypes import POINTER, byref, c_char_p, c_double, c_int, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p

import torch

DTYPES = {"f32": 0, "f16": 1, "bf16": 2, "f64": 3}
DEVICES = {"cuda": 0, "cpu": 1, "reference": 2}
ALGORITHMS = {"auto": 0, "spectral": 1, "direct": 2}
VERSION = 1


class Shape(ctypes.Structure):
    _fields_ = [(name, c_size_t) for name in (
        "batch_size", "in_channels", "out_channels", "depth", "height", "width", "kernel_d", "kernel_h", "kernel_w")]


class Options(ctypes.Structure):
    _fields_ = [
        ("version", c_uint32), ("dtype", c_uint32), ("output_dtype", c_uint32), ("device", c_uint32),
        ("device_ordinal", c_int32), ("algorithm", c_uint32), ("strict", c_uint32), ("eval", c_uint32),
        ("running_statistics", c_uint32), ("cumulative_momentum", c_uint32),
        ("stride", c_int64 * 3), ("padding", c_int64 * 3), ("output_padding", c_int64 * 3), ("dilation", c_int64 * 3),
        ("groups", c_int64), ("scale_factor", c_double), ("eps", c_double), ("momentum", c_double),
        ("workspace_budget", c_uint64)]


class Tensors(ctypes.Structure):
    _fields_ = [
        ("version", c_uint32), ("input", c_void_p), ("kernel", c_void_p), ("conv_bias", c_void_p), ("bn_weight", c_void_p),
        ("bn_bias", c_void_p), ("running_mean", c_void_p), ("running_var", c_void_p),
        ("num_batches_tracked", POINTER(c_uint64)), ("output", c_void_p), ("batch_mean", c_void_p), ("batch_var", c_void_p)]


class Library:
    def __init__(self, path):
        self.library = ctypes.CDLL(path)
        self.library.convt_bn_gap_last_error.restype = c_char_p
        for name, arguments in [
            ("options_init", [POINTER(Options)]),
            ("plan_create", [POINTER(Shape), POINTER(Options), POINTER(c_void_p)]),
            ("plan_run", [c_void_p, POINTER(Tensors), c_void_p]),
            ("plan_destroy", [c_void_p]),
        ]:
            function = getattr(self.library, f"convt_bn_gap_{name}")
            function.argtypes, function.restype = arguments, None if name == "plan_destroy" else c_int

    def check(self, code):
        if code != 0:
            raise RuntimeError(self.library.convt_bn_gap_last_error().decode())

    def run(self, config, device, algorithm="auto"):
        """One run of a plan of its own: the results by name, and num_batches_tracked after it."""
        options, plan = Options(), c_void_p()
        self.check(self.library.convt_bn_gap_options_init(byref(options)))
        options.dtype, options.device = DTYPES[config.dtype], DEVICES[device]
        options.output_dtype, options.algorithm = int(config.output_f32), ALGORITHMS[algorithm]
        options.eval, options.running_statistics = int(config.eval), int(config.running)
        options.cumulative_momentum = int(config.cumulative)
        for name in ("stride", "padding", "output_padding", "dilation"):
            setattr(options, name, (c_int64 * 3)(*getattr(config, name)))
        options.groups, options.scale_factor = config.groups, config.scale
        options.eps, options.momentum = config.eps, config.momentum
        shape = Shape(config.batch, config.cin, config.cout, *config.extents, *config.kernel)
        self.check(self.library.convt_bn_gap_plan_create(byref(shape), byref(options), byref(plan)))
        try:
            return self.run_plan(plan, config, device)
        finally:
            self.library.convt_bn_gap_plan_destroy(plan)

    def run_plan(self, plan, config, device):
        where = "cuda" if device == "cuda" else "cpu"
        given = {name: values.clone().contiguous().to(where) for name, values in config.tensors.items()}
        output_dtype = torch.float32 if config.output_f32 else config.tensors["input"].dtype
        found = {"output": torch.empty(config.batch, config.cout, 1, 1, 1, dtype=output_dtype, device=where)}
        if not config.eval or not config.running:
            statistics = lambda: torch.empty(config.cout, dtype=torch.float64, device=where)
            found.update(batch_mean=statistics(), batch_var=statistics())
        found.update({name: given[name] for name in ("running_mean", "running_var") if name in given})
        tracked = c_uint64(config.tracked)
        pointers = {name: values.data_ptr() for name, values in (given | found).items()}
        tensors = Tensors(version=VERSION, num_batches_tracked=ctypes.pointer(tracked), **pointers)
        self.check(self.library.convt_bn_gap_plan_run(plan, byref(tensors), None))
        if where == "cuda":
            torch.cuda.synchronize()
        return {name: values.cpu() for name, values in found.items()}, tracked.value
