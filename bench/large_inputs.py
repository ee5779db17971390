"""Inputs of more than 2^31 elements in f16 on a GPU, held against the CPU on sampled output channels.

    python3 large_inputs.py target/release/libconvt_bn_gap.so [--dtype f16|bf16] [--channels 3]

Two problems: many images, which go the spectral way in cuts of the batch, and two large volumes, whose positions are more than
2^31 too and which go the direct way. Needs some 12 GB of the GPU's memory and 40 GB of the machine's. An output channel sees no
other, so the CPU computes a few of them from all of x. Exits 1 if an error is over its bound (1e-5, by the rule of
tests/golden/README.md), or if a control within it is not: the last image left out.
"""

import argparse
import sys
import time

import torch

from capi import Library
from differential import DTYPES, errors

PROBLEMS = {
    # KernelBench 77, 2056 images of it.
    "many images": dict(batch=2056, cin=64, cout=128, extents=[16, 32, 32], kernel=[5, 5, 5]),
    "large volumes": dict(batch=2, cin=1, cout=40, extents=[1040, 1040, 1040], kernel=[3, 3, 3]),
}


class Problem:
    """One call, as `Library.run` takes it."""

    stride = dilation = [1, 1, 1]
    padding = output_padding = [0, 0, 0]
    groups, scale, eps, momentum, tracked = 1, 2.0, 1e-5, 0.1, 0
    output_f32, eval, running, affine, cumulative = True, False, False, True, False

    def __init__(self, dtype, batch, cin, cout, extents, kernel):
        self.dtype, self.batch, self.cin, self.cout, self.extents, self.kernel = dtype, batch, cin, cout, extents, kernel
        generator = torch.Generator().manual_seed(5)
        uniform = lambda *shape: torch.rand(*shape, generator=generator) - 0.4
        x = torch.empty(batch, cin, *extents, dtype=DTYPES[dtype], device="cuda").uniform_(-0.5, 0.6)
        # Samples of equal means would leave nothing of the outputs but β.
        x *= torch.linspace(0.3, 1.0, batch, device="cuda", dtype=x.dtype).view(-1, 1, 1, 1, 1)
        self.tensors = {
            "input": x.cpu(),
            "kernel": uniform(cin, cout, *kernel).to(DTYPES[dtype]),
            "conv_bias": uniform(cout).to(DTYPES[dtype]),
            "bn_weight": uniform(cout) + 1.0,
            "bn_bias": uniform(cout),
        }

    def sampled(self, channels, images=None):
        """The same problem with these output channels alone, of the first images."""
        part = object.__new__(Problem)
        part.__dict__.update(self.__dict__)
        part.cout, part.batch = len(channels), images or self.batch
        part.tensors = {name: values[channels] for name, values in self.tensors.items() if values.dim() == 1}
        part.tensors["input"] = self.tensors["input"][: part.batch]
        part.tensors["kernel"] = self.tensors["kernel"][:, channels].contiguous()
        return part


def timed(run):
    start = time.perf_counter()
    found, _ = run()
    return found, time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library")
    parser.add_argument("--dtype", choices=["f16", "bf16"], default="f16")
    parser.add_argument("--channels", type=int, default=3)
    arguments = parser.parse_args()
    library, failed = Library(arguments.library), False
    for name, sizes in PROBLEMS.items():
        problem = Problem(arguments.dtype, **sizes)
        elements = problem.tensors["input"].numel()
        channels = torch.linspace(0, problem.cout - 1, arguments.channels).long().tolist()
        part = problem.sampled(channels)
        on_gpu, gpu_seconds = timed(lambda: library.run(problem, "cuda"))
        on_cpu, cpu_seconds = timed(lambda: library.run(part, "cpu"))
        of_channels = lambda found, names=channels: {
            key: values[:, names] if key == "output" else values[names] for key, values in found.items()}
        expected = {key: values.double() for key, values in on_cpu.items()}
        worst = dict(errors(part, of_channels(on_gpu), expected))
        # Without the last image: that it is missing must be seen.
        fewer, _ = library.run(problem.sampled(channels, problem.batch - 1), "cuda")
        control = dict(errors(part, {key: values for key, values in fewer.items() if key != "output"}
                              | {"output": on_cpu["output"]}, expected))
        ok = all(error <= 1.0 for error in worst.values()) and control["batch_mean"] > 1.0
        failed |= not ok
        print(f"{name}: {elements} elements of {arguments.dtype}, {elements / 2**31:.3f} · 2^31; with copies "
              f"{gpu_seconds:.1f} s, {len(channels)} channels on the CPU {cpu_seconds:.1f} s; errors over their bound: "
              + ", ".join(f"{key} {error:.1e}" for key, error in worst.items())
              + f"; without the last image {control['batch_mean']:.1e}" + ("" if ok else "  FAILED"))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
