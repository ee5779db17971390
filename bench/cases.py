"""The problems that compare_pytorch.py measures, and their tensors.

A case is B, Cin, Cout, (D, H, W), (Kd, Kh, Kw), and options of the convolution. Tensors are drawn on the device: x in [0, 1), taps and conv_bias as PyTorch's
modules draw them, bn_weight in [0.5, 1.5), bn_bias in [-0.5, 0.5); or, in tensara, all of them in [0, 1).
"""

from dataclasses import dataclass
from math import prod

import torch


@dataclass(frozen=True)
class Case:
    name: str
    batch: int
    cin: int
    cout: int
    extents: tuple
    kernel: tuple
    unit: bool = False
    stride: tuple = (1, 1, 1)
    padding: tuple = (0, 0, 0)
    dilation: tuple = (1, 1, 1)
    groups: int = 1

    @property
    def flops(self):
        """Of the convolution by its definition."""
        return 2 * self.batch * self.cin * self.cout // self.groups * prod(self.extents) * prod(self.kernel)

    def shape(self):
        """As words: batch × input → output channels, extents, kernel."""
        across = "×".join(map(str, self.extents))
        words = f"{self.batch} × {self.cin} → {self.cout}, {across}, kernel {'×'.join(map(str, self.kernel))}"
        for option, otherwise in (("stride", 1), ("padding", 0), ("dilation", 1)):
            values = getattr(self, option)
            words += f", {option} {'×'.join(map(str, values))}" if values != (otherwise,) * 3 else ""
        return words + (f", groups {self.groups}" if self.groups > 1 else "")

    def tensors(self, device="cuda"):
        """input, kernel, conv_bias, bn_weight, bn_bias: the same for every run."""
        generator = torch.Generator(device).manual_seed(77)

        def uniform(lo, hi, *shape):
            lo, hi = (0.0, 1.0) if self.unit else (lo, hi)
            return torch.rand(*shape, device=device, generator=generator) * (hi - lo) + lo

        outs = self.cout // self.groups
        bound = (outs * prod(self.kernel)) ** -0.5
        return (
            uniform(0.0, 1.0, self.batch, self.cin, *self.extents),
            uniform(-bound, bound, self.cin, outs, *self.kernel),
            uniform(-bound, bound, self.cout),
            uniform(0.5, 1.5, self.cout),
            uniform(-0.5, 0.5, self.cout),
        )


PRESETS = [
    Case("kernelbench-77", 16, 64, 128, (16, 32, 32), (5, 5, 5)),
    Case("kernelbench-77-v0", 16, 64, 32, (16, 32, 32), (3, 3, 3)),
    Case("kernelbench-77-b64", 64, 64, 128, (16, 32, 32), (5, 5, 5)),
    Case("kernelbench-77-b128", 128, 64, 128, (16, 32, 32), (5, 5, 5)),
    Case("tensara", 16, 64, 128, (16, 32, 32), (5, 5, 5), unit=True),
    Case("odd", 3, 7, 13, (5, 7, 11), (3, 2, 4)),
]

SWEEP = [
    Case("line", 32, 64, 64, (1, 1, 1000), (1, 1, 9)),
    Case("images", 16, 64, 64, (1, 64, 64), (1, 5, 5)),
    Case("small cubes", 64, 64, 64, (8, 8, 8), (3, 3, 3)),
    Case("large volumes", 2, 8, 16, (64, 64, 64), (5, 5, 5)),
    Case("many channels", 8, 512, 512, (4, 8, 8), (3, 3, 3)),
    Case("kernel 1", 16, 64, 128, (16, 32, 32), (1, 1, 1)),
    Case("kernel 7", 8, 32, 64, (16, 32, 32), (7, 7, 7)),
    Case("flat depth", 16, 32, 64, (2, 56, 56), (2, 5, 5)),
    Case("one sample", 1, 64, 128, (16, 32, 32), (5, 5, 5)),
    Case("8 out channels", 16, 64, 8, (16, 32, 32), (3, 3, 3)),
    Case("3 in channels", 16, 3, 64, (16, 64, 64), (5, 5, 5)),
    Case("long axis", 4, 32, 32, (2, 4, 4096), (2, 3, 9)),
]

OPTIONS = [
    Case("stride 2", 16, 64, 32, (8, 16, 16), (4, 4, 4), stride=(2, 2, 2)),
    Case("stride 2, padded", 16, 64, 32, (8, 16, 16), (4, 4, 4), stride=(2, 2, 2), padding=(1, 1, 1)),
    Case("patches", 16, 128, 64, (8, 16, 16), (2, 2, 2), stride=(2, 2, 2)),
    Case("dilated", 16, 64, 64, (8, 32, 32), (3, 3, 3), dilation=(2, 2, 2)),
    Case("groups", 16, 64, 128, (16, 32, 32), (5, 5, 5), groups=4),
    Case("depthwise", 16, 64, 64, (16, 32, 32), (3, 3, 3), groups=64),
    Case("depthwise, padded", 16, 64, 64, (16, 32, 32), (3, 3, 3), padding=(1, 1, 1), groups=64),
    Case("depthwise, stride 2", 16, 64, 64, (8, 16, 16), (4, 4, 4), stride=(2, 2, 2), padding=(1, 1, 1), groups=64),
]
