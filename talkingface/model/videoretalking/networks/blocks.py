"""Blocks that DNet and LNet share: norms that are steered by a code, and convolutions with a norm over all of a picture."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import spectral_norm

SLOPE = 0.1  # of DNet's and LNet's leaky ReLU
HIDDEN = 128  # numbers between a code and the factors it gives
LEAST = 16  # channels of a narrow network: fewer could not carry a picture


class AdaptiveNorm(nn.Module):
    """Instance norm whose scale and shift are made from a code (the authors' ADAIN).

    Args:
        channels: of the features.
        code: numbers of the code.
    """

    def __init__(self, channels: int, code: int):
        super().__init__()
        self.mlp_shared = nn.Sequential(nn.Linear(code, HIDDEN), nn.ReLU())
        self.mlp_gamma, self.mlp_beta = nn.Linear(HIDDEN, channels), nn.Linear(HIDDEN, channels)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """(B, channels, H, W) and a code of (B, code) and any further axes of length 1."""
        hidden = self.mlp_shared(code.flatten(1))
        scale, shift = 1 + self.mlp_gamma(hidden), self.mlp_beta(hidden)
        return F.instance_norm(x) * scale[:, :, None, None] + shift[:, :, None, None]


class PictureNorm(nn.Module):
    """Layer norm over channels, rows and columns, with a weight and a bias per channel."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels, 1, 1)), nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[1:]) * self.weight + self.bias


class NormBlock(nn.Module):
    """Convolution, norm over the picture, leaky ReLU.

    Args:
        spectral: divide the convolution's weights by their spectral norm: torch's hook of old, with entries `weight_orig`,
            `weight_u` and `weight_v`; each forward pass in training mode is one power iteration.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, spectral: bool = False):
        super().__init__()
        self.model = nn.Sequential(convolution(inputs, outputs, kernel, spectral), PictureNorm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.model(x), SLOPE)


class DownBlock(NormBlock):
    """... and the mean of each 2 x 2 pixels."""

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(super().forward(x), 2)


class UpBlock(NormBlock):
    """Each pixel repeated 2 x 2, and ..."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.interpolate(x, scale_factor=2))


class LastBlock(nn.Module):
    """Convolution to the three colors."""

    def __init__(self, inputs: int, spectral: bool = False):
        super().__init__()
        self.model = nn.Sequential(convolution(inputs, 3, 7, spectral))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


def convolution(inputs: int, outputs: int, kernel: int, spectral: bool) -> nn.Module:
    """A convolution that keeps the size."""
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    return spectral_norm(conv) if spectral else conv


def make_constant(network: nn.Module) -> None:
    """Make all parameters buffers of the same names: they stay in files, and nothing trains them."""
    for module in network.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            delattr(module, name)
            module.register_buffer(name, parameter.detach())
