"""Random configurations of the whole operation, through the C ABI and the tool, with PyTorch as the judge.

    python3 differential.py target/release/libconvt_bn_gap.so target/release/convt-bn-gap
        [--valid 500] [--invalid 200] [--nonfinite 100] [--seed 1] [--device cpu|cuda|reference]
        [--algorithm auto|direct|spectral]

Valid ones draw shapes (1-D, 2-D and 3-D), every option of the convolution and of batch normalisation, types and modes; the
result of a plan is held against PyTorch in f64 on the same values, by the rule of tests/golden/README.md: 1e-5, for f64 1e-11;
and the same result made wrong must exceed it. For the spectral algorithm those are drawn that it takes. Some hold a NaN or an infinity, which must come out where PyTorch's does. Invalid
ones break one thing of a valid configuration; the tool must refuse (exit code 2, one sentence) what PyTorch refuses, and nothing
else, but for what DELIBERATE and ALLOWED list.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import torch
import torch.nn.functional as F

from capi import ALGORITHMS, Library
from safetensors_file import write

warnings.filterwarnings("ignore")

DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16, "f64": torch.float64}
ROUNDOFF = {"f32": 2.0**-24, "f16": 2.0**-11, "bf16": 2.0**-8, "f64": 2.0**-53}

# What this library refuses and PyTorch computes, with the reason.
DELIBERATE = {
    "momentum outside [0, 1]": "the running variance could become negative",
    "scale not finite": "every output would be NaN or infinite",
    "eps not finite": "every output would be NaN or β",
    "negative running_var": "the square root of a negative number would be NaN",
    "no samples": "an output of no elements, and statistics of NaN",
}

# What PyTorch refuses and this library computes.
ALLOWED = {
    "eps of 0": "well defined: a constant channel has factor 0, as PyTorch's kernels have it",
}


class Config:
    """One call: sizes, options, tensors in their own type (input, kernel, conv_bias) and in f32, or f64 with f64."""

    def __init__(self, rng):
        self.dims = rng.choice([1, 2, 3, 3])
        flat = 3 - self.dims
        triple = lambda values, neutral: [neutral] * flat + [rng.choice(values) for _ in range(self.dims)]
        self.dtype = rng.choice(list(DTYPES))
        self.output_f32 = rng.random() < 0.5
        self.groups = rng.choice([1, 1, 1, 2, 3])
        self.batch = rng.randint(1, 4)
        self.cin, self.cout = self.groups * rng.randint(1, 5), self.groups * rng.randint(1, 5)
        self.extents, self.kernel = triple(range(1, 8), 1), triple(range(1, 5), 1)
        self.stride, self.padding = triple([1, 1, 2, 3], 1), triple([0, 0, 1, 2], 0)
        self.dilation = triple([1, 1, 2, 3], 1)
        self.output_padding = [rng.randint(0, max(s, d) - 1) if i >= flat else 0
                               for i, (s, d) in enumerate(zip(self.stride, self.dilation))]
        self.eval, self.running, self.affine, self.bias = (rng.random() < p for p in (0.3, 0.7, 0.7, 0.7))
        self.cumulative, self.tracked = rng.random() < 0.3, rng.randint(0, 5)
        self.momentum, self.eps = rng.choice([0.0, 0.1, 0.7, 1.0]), rng.choice([1e-5, 1e-3, 1e-8])
        self.scale = rng.choice([1.0, 2.0, -1.5, 0.25])
        self.batch_norm_dtype = torch.float64 if self.dtype == "f64" else torch.float32
        self.mutation = None
        self.generator = torch.Generator().manual_seed(rng.getrandbits(60))
        self.draw()

    def draw(self):
        uniform = lambda *shape: torch.rand(*shape, generator=self.generator, dtype=torch.float64) * 2 - 1
        stored = DTYPES[self.dtype]
        self.tensors = {
            "input": uniform(self.batch, self.cin, *self.extents).to(stored),
            "kernel": uniform(self.cin, max(self.cout // max(self.groups, 1), 0), *self.kernel).to(stored),
        }
        if self.bias:
            self.tensors["conv_bias"] = uniform(self.cout).to(stored)
        of_batch_norm = []
        if self.affine:
            of_batch_norm += [("bn_weight", uniform(self.cout) + 1.5), ("bn_bias", uniform(self.cout))]
        if self.running:
            of_batch_norm += [("running_mean", uniform(self.cout)), ("running_var", uniform(self.cout) + 1.5)]
        self.tensors.update({name: values.to(self.batch_norm_dtype) for name, values in of_batch_norm})

    def pytorch(self, wide=True, judged=True):
        """What PyTorch computes, in f64 or in the tensors' own types: the output, and statistics where there are any."""
        t = {name: values.to(torch.float64 if wide else values.dtype, copy=True) for name, values in self.tensors.items()}
        z = F.conv_transpose3d(t["input"], t["kernel"], t.get("conv_bias"), self.stride, self.padding, self.output_padding,
                               self.groups, self.dilation) * self.scale
        by_batch = not self.eval or not self.running
        momentum = 1.0 / (self.tracked + 1) if self.cumulative else self.momentum
        mean, var = t.get("running_mean"), t.get("running_var")
        moved = mean is not None and not self.eval
        y = F.batch_norm(z, mean, var, t.get("bn_weight"), t.get("bn_bias"), by_batch, momentum if moved else 0.0, self.eps)
        found = {"output": F.adaptive_avg_pool3d(y, 1)}
        if wide and judged:
            found["output"] = self.centred(z, t, found["output"])
        if by_batch:
            found["batch_mean"] = z.mean((0, 2, 3, 4))
            found["batch_var"] = z.var((0, 2, 3, 4), unbiased=False)
        if mean is not None:
            found.update(running_mean=mean, running_var=var)
        return found

    def centred(self, z, t, output):
        """The output once more, with means taken off before anything is normalised: PyTorch's own batch_norm leaves 1e-12 of
        values where 1e-16 is judged. Both must agree to 1e-9."""
        axes = (0, 2, 3, 4)
        by_batch = not self.eval or not self.running
        mean, var = (z.mean(axes), z.var(axes, unbiased=False)) if by_batch else (t["running_mean"], t["running_var"])
        channels = lambda values: values.view(1, -1, 1, 1, 1)
        deviation = (z - channels(mean)).mean((2, 3, 4), keepdim=True)
        centred = deviation / channels(var + self.eps).sqrt()
        if self.affine:
            centred = centred * channels(t["bn_weight"]) + channels(t["bn_bias"])
        if (centred - output).abs().max() > 1e-9 * output.abs().max().clamp(min=1.0):
            raise AssertionError(f"PyTorch's modules give another output than their definition: {self}")
        return centred

    def __str__(self):
        options = {k: v for k, v in vars(self).items() if k not in ("tensors", "generator", "batch_norm_dtype")}
        return f"{options} {[(name, tuple(t.shape)) for name, t in self.tensors.items()]}"


def errors(config, found, expected):
    """Each result's error over its bound, by the golden rule; above 1 is a failure."""
    bound = 1e-11 if config.dtype == "f64" else 1e-5
    stored = "f32" if config.output_f32 else config.dtype
    beta = config.tensors["bn_bias"].double().view(1, -1, 1, 1, 1) if config.affine else 0.0
    effect = (expected["output"] - beta).norm()
    excess = (found["output"].double() - expected["output"]).norm() - ROUNDOFF[stored] * expected["output"].norm()
    excess = max(excess.item(), 0.0)
    # The judge's own rounding, through 1/√eps, is some 1e-12 where the output is β.
    yield "output", excess / 1e-6 if effect < 1e-10 else excess / effect.item() / bound
    for name in ("batch_mean", "batch_var", "running_mean", "running_var"):
        if name in expected and name in found:
            difference = (found[name].double() - expected[name]).abs().max().item()
            # A statistic of rounding alone is judged beside the values that were summed.
            yield name, difference / max(expected[name].abs().max().item(), 1e-3) / bound


def wrong_results(config, found):
    """Results that are wrong in the ways results are wrong: which, the name of the tensor, its values."""
    if config.affine:
        beta = config.tensors["bn_bias"].view(1, -1, 1, 1, 1)
        yield "plain β", "output", beta.expand_as(found["output"]).to(found["output"].dtype)
    yield "samples in another order", "output", found["output"].roll(1, 0)
    if "batch_var" in found:
        yield "a standard deviation", "batch_var", found["batch_var"].sqrt()
    if "running_mean" in found:
        yield "a running mean that did not move", "running_mean", config.tensors["running_mean"]


def unseen(config, found, expected):
    """The wrong results that pass, though they differ from the right ones by a thousandth or more of what is to be seen."""
    beta = config.tensors["bn_bias"].double().view(1, -1, 1, 1, 1) if config.affine else 0.0
    for name, tensor, wrong in wrong_results(config, found):
        seen = (expected["output"] - beta).norm() if tensor == "output" else expected[tensor].abs().max().clamp(min=1e-3)
        hidden = ROUNDOFF["f32" if config.output_f32 else config.dtype] * expected["output"].norm()
        differs = (wrong.double() - expected[tensor]).abs().max() > 1e-3 * seen and seen > 1e-6
        if not differs or (tensor == "output" and hidden > 1e-4 * seen):
            continue
        if all(error <= 1.0 for _, error in errors(config, found | {tensor: wrong}, expected)):
            yield f"{name} passes: {config}"


def is_for(config, algorithm, device):
    """Whether an algorithm takes a configuration."""
    return algorithm != "spectral" or config.padding == [0] * 3 and not (config.dtype == "f64" and device == "cuda")


def valid(library, rng, count, device, algorithm):
    over, refused, worst = [], [], Counter()
    done = 0
    while done < count:
        config = Config(rng)
        try:
            expected = config.pytorch()
        except (RuntimeError, ValueError):
            continue  # an output without an extent, or one value a channel: `invalid` asks about those
        if not is_for(config, algorithm, device):
            continue
        done += 1
        try:
            found, tracked = library.run(config, device, algorithm)
        except RuntimeError as error:
            refused.append(f"{error}: {config}")
            continue
        counts = config.running and not config.eval
        if tracked != config.tracked + counts:
            over.append(f"num_batches_tracked is {tracked}: {config}")
        for name, error in errors(config, found, expected):
            worst[name] = max(worst[name], error)
            if not error <= 1.0:
                over.append(f"{name} {error:.2e} times its bound: {config}")
        over += unseen(config, found, expected)
    print(f"valid: {done} configurations, {len(refused)} refused, {len(over)} over a bound")
    print("worst error over its bound: " + ", ".join(f"{name} {error:.1e}" for name, error in worst.items()))
    return over + refused


def nonfinite(library, rng, count, device, algorithm):
    """One NaN or infinity in an input, a kernel or a bias: it must come out where PyTorch's does, as what PyTorch's does."""
    differing, done = [], 0
    while done < count:
        config = Config(rng)
        try:
            config.pytorch()
        except (RuntimeError, ValueError):
            continue
        if not is_for(config, algorithm, device):
            continue
        name = rng.choice(["input", "kernel"] + ["conv_bias"] * config.bias)
        values = config.tensors[name].view(-1)
        values[rng.randrange(len(values))] = rng.choice([float("nan"), float("inf"), float("-inf")])
        done += 1
        expected = config.pytorch(judged=False)
        found, _ = library.run(config, device, algorithm)
        for tensor, values in found.items():
            values = values.double()
            if not (torch.equal(values.isnan(), expected[tensor].isnan())
                    and torch.equal(values[values.isinf()], expected[tensor][values.isinf()])
                    and torch.equal(values.isinf(), expected[tensor].isinf())):
                differing.append(f"{tensor} with a value in {name} that is not finite: {config}")
    print(f"not finite: {done} configurations, {len(differing)} tensors that differ in where or what")
    return differing


def break_one_thing(config, rng):
    """Changes one thing, or a pair that belongs together; its name is the kind of the mutation."""
    axis = rng.randint(3 - config.dims, 2)
    t = config.tensors

    def option(name, value):
        return lambda: getattr(config, name).__setitem__(axis, value)

    def attribute(name, value):
        return lambda: setattr(config, name, value)

    def shape(name, change):
        def apply():
            setattr(config, name, change(getattr(config, name)))
            config.draw()
        return apply

    def with_zero(name):
        return shape(name, lambda extents: extents[:axis] + [0] + extents[axis + 1:])

    def vector(name, dtype):
        def apply():
            length = config.cout + rng.choice([-1, 1, 2])
            t[name] = torch.rand(max(length, 0), generator=config.generator, dtype=torch.float64).to(dtype)
            for other in {"running_mean": ["running_var"], "running_var": ["running_mean"]}.get(name, []):
                t.setdefault(other, torch.ones(config.cout, dtype=dtype))
            config.running |= name.startswith("running")
        return apply

    def one_value():
        config.running = config.eval = False
        config.batch, config.extents, config.kernel = 1, [1] * 3, [1] * 3
        config.stride, config.padding, config.output_padding = [1] * 3, [0] * 3, [0] * 3
        config.draw()

    def negative_variance():
        config.running = True
        config.draw()
        config.tensors["running_var"][rng.randrange(config.cout)] = -0.5

    def another_type():
        others = [dtype for name, dtype in DTYPES.items() if name != config.dtype]
        t["kernel"] = t["kernel"].to(rng.choice(others))

    def fewer_axes():
        name = rng.choice(["input", "kernel"])
        t[name] = t[name].reshape(*t[name].shape[:3], -1)

    def training():
        config.eval, config.running, config.cumulative = False, True, False
        config.draw()
        config.momentum = rng.choice([-0.1, 1.5])

    stored, norm = DTYPES[config.dtype], config.batch_norm_dtype
    kinds = {
        "stride below 1": option("stride", rng.choice([0, -1])),
        "dilation below 1": option("dilation", rng.choice([0, -2])),
        "negative padding": option("padding", -1),
        "negative output_padding": option("output_padding", -1),
        "output_padding too large": option("output_padding", max(config.stride[axis], config.dilation[axis])),
        "padding too large": option("padding", 50),
        "groups below 1": attribute("groups", rng.choice([0, -1])),
        "groups that do not divide": attribute("groups", config.cin + 1),
        "other input channels": lambda: t.__setitem__("input", torch.cat([t["input"], t["input"][:, :1]], 1)),
        "no samples": shape("batch", lambda _: 0),
        "empty input": with_zero("extents"),
        "empty kernel": with_zero("kernel"),
        "conv_bias of another length": vector("conv_bias", stored),
        "bn_weight of another length": vector("bn_weight", norm),
        "bn_bias of another length": vector("bn_bias", norm),
        "running_mean of another length": vector("running_mean", norm),
        "running_var of another length": vector("running_var", norm),
        "kernel of another type": another_type,
        "fewer axes": fewer_axes,
        "one value a channel": one_value,
        "negative running_var": negative_variance,
        "momentum outside [0, 1]": training,
        "negative eps": attribute("eps", -1e-3),
        "eps of 0": attribute("eps", 0.0),
        "eps not finite": attribute("eps", rng.choice([float("inf"), float("nan")])),
        "scale not finite": attribute("scale", rng.choice([float("inf"), float("-inf"), float("nan")])),
    }
    config.mutation = rng.choice(list(kinds))
    kinds[config.mutation]()


def tool_refuses(tool, folder, config):
    """Whether `run` ends with code 2 and one sentence; anything else but success is an error of its own."""
    path = Path(folder) / "call.safetensors"
    triple = lambda values: ",".join(map(str, values))
    metadata = {
        "mode": "eval" if config.eval else "train", "scale_factor": repr(config.scale), "eps": repr(config.eps),
        "momentum": "none" if config.cumulative else repr(config.momentum), "num_batches_tracked": str(config.tracked),
        "stride": triple(config.stride), "padding": triple(config.padding), "dilation": triple(config.dilation),
        "output_padding": triple(config.output_padding), "groups": str(config.groups),
    }
    write(path, config.tensors, metadata)
    ended = subprocess.run([tool, "run", path, "--device", "cpu"], capture_output=True, text=True)
    if ended.returncode not in (0, 2) or (ended.returncode == 2 and len(ended.stderr.strip().splitlines()) != 1):
        raise RuntimeError(f"the tool ended with {ended.returncode}: {ended.stderr}")
    return ended.returncode == 2, ended.stderr.strip()


def invalid(tool, rng, count):
    disagreements, kinds, deliberate = [], Counter(), Counter()
    with tempfile.TemporaryDirectory() as folder:
        done = 0
        while done < count:
            config = Config(rng)
            try:
                config.pytorch()
            except (RuntimeError, ValueError):
                continue
            break_one_thing(config, rng)
            done += 1
            try:
                config.pytorch(wide=False)
                theirs = None
            except (RuntimeError, ValueError, IndexError, TypeError, ZeroDivisionError) as error:
                theirs = str(error).splitlines()[0]
            ours, sentence = tool_refuses(tool, folder, config)
            if ours == (theirs is not None):
                kinds["refused by both" if ours else "accepted by both"] += 1
            elif config.mutation in (DELIBERATE if ours else ALLOWED):
                deliberate[config.mutation] += 1
            else:
                disagreements.append(f"{config.mutation}: PyTorch says {theirs!r}, the tool {sentence!r}: {config}")
    print(f"invalid: {done} configurations, {dict(kinds)}, {len(disagreements)} disagreements")
    for kind, times in sorted(deliberate.items()):
        who = "refused" if kind in DELIBERATE else "accepted"
        print(f"  {who} here alone, deliberately: {kind} ({times}): {(DELIBERATE | ALLOWED)[kind]}")
    return disagreements


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("library")
    arguments.add_argument("tool")
    arguments.add_argument("--valid", type=int, default=500)
    arguments.add_argument("--invalid", type=int, default=200)
    arguments.add_argument("--nonfinite", type=int, default=100)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--device", choices=["cpu", "cuda", "reference"], default="cpu")
    arguments.add_argument("--algorithm", choices=list(ALGORITHMS), default="auto")
    given = arguments.parse_args()
    print(f"PyTorch {torch.__version__}, seed {given.seed}, device {given.device}, algorithm {given.algorithm}")
    library, way = Library(given.library), (given.device, given.algorithm)
    failures = valid(library, random.Random(given.seed), given.valid, *way)
    failures += nonfinite(library, random.Random(given.seed + 2), given.nonfinite, *way)
    failures += invalid(given.tool, random.Random(given.seed + 1), given.invalid)
    for failure in failures[:20]:
        print(failure, file=sys.stderr)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
