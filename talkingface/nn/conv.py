"""Convolution blocks under the names that Wav2Lip's family of checkpoints gives them, and batch-norm folding."""

from __future__ import annotations

from copy import deepcopy

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval


def scaled(channels: int, width: float, least: int = 4) -> int:
    """Inner channels of a network made `width` times as wide as the published one; not below `least`, or the published."""
    return max(min(least, channels), round(channels * width))


class ConvBlock(nn.Module):
    """Convolution, batch norm, ReLU. A residual block adds its input after the norm and before the ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel=3, stride=1, padding=1, residual: bool = False):
        super().__init__()
        self.conv_block = nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, padding), nn.BatchNorm2d(outputs))
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv_block(x)
        return F.relu(y + x if self.residual else y)


class UpBlock(nn.Module):
    """Transposed convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel=3, stride=2, padding=1, output_padding=1):
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ConvTranspose2d(inputs, outputs, kernel, stride, padding, output_padding), nn.BatchNorm2d(outputs)
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv_block(x))


class LeakyBlock(nn.Module):
    """Convolution and LeakyReLU(0.01), without a norm."""

    def __init__(self, inputs: int, outputs: int, kernel=3, stride=1, padding=1):
        super().__init__()
        self.conv_block = nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, padding))

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.conv_block(x), 0.01)


def residuals(channels: int, count: int) -> list[ConvBlock]:
    """`count` residual 3x3 blocks that keep the channels."""
    return [ConvBlock(channels, channels, residual=True) for _ in range(count)]


def fold_batch_norm(layers: nn.Sequential) -> nn.Sequential:
    """The same function in evaluation mode with each norm folded into the convolution or linear layer before it.

    Returns:
        A new Sequential with its own folded weights; layers without a norm are shared with the old one.
    """
    folded: list[nn.Module] = []
    for layer in layers:
        before = folded[-1] if folded else None
        if isinstance(layer, nn.BatchNorm1d) and isinstance(before, nn.Linear):
            folded[-1] = fuse_linear_bn_eval(deepcopy(before).eval(), deepcopy(layer).eval())
        elif isinstance(layer, nn.BatchNorm2d) and isinstance(before, (nn.Conv2d, nn.Conv3d)):
            folded[-1] = fuse_conv_bn_eval(deepcopy(before).eval(), deepcopy(layer).eval())
        else:
            folded.append(layer)
    return nn.Sequential(*folded)
