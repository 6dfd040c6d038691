"""GANimation's generator (Pumarola et al., ECCV 2018): a face with other facial action units."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from talkingface.nn.weights import register_network

NUM_UNITS = 17  # facial action units that it was trained with: AU01, 02, 04, 05, 06, 07, 09, 10, 12, ...


class Edited(NamedTuple):
    """What GANimation makes of faces.

    Attributes:
        faces: (B, 3, H, W) in [-1, 1]: the given ones where the mask is 1, the colors where it is 0.
        colors: (B, 3, H, W) in [-1, 1].
        mask: (B, 1, H, W) in [0, 1].
        features: (B, 64, H, W) from which colors and mask were made.
    """

    faces: Tensor
    colors: Tensor
    mask: Tensor
    features: Tensor


class ResidualBlock(nn.Module):
    """x + two convolutions with instance norms, a ReLU between them."""

    def __init__(self, channels: int):
        super().__init__()
        first, second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        norms = [nn.InstanceNorm2d(channels) for _ in range(2)]
        self.conv_block = nn.Sequential(first, norms[0], nn.ReLU(), second, norms[1])

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


class ExpressionEditor(nn.Module):
    """Edits the expression of faces; the published network (30_net_gen.pth) was trained with 128 x 128 pixels.

    Args:
        channels: of the first layer.
        num_blocks: residual blocks.
    """

    def __init__(self, channels: int = 64, num_blocks: int = 6):
        super().__init__()
        layers: list[nn.Module] = [*_normed(nn.Conv2d(3 + NUM_UNITS, channels, 7, padding=3))]
        for width in (channels, 2 * channels):
            layers += _normed(nn.Conv2d(width, 2 * width, 4, 2, 1))
        layers += [ResidualBlock(4 * channels) for _ in range(num_blocks)]
        for width in (4 * channels, 2 * channels):
            layers += _normed(nn.ConvTranspose2d(width, width // 2, 4, 2, 1))
        self.model = nn.Sequential(*layers)
        self.color_top = nn.Sequential(nn.Conv2d(channels, 3, 7, padding=3, bias=False), nn.Tanh())
        self.au_top = nn.Sequential(nn.Conv2d(channels, 1, 7, padding=3, bias=False), nn.Sigmoid())

    def forward(self, faces: Tensor, units: Tensor) -> Edited:
        """Edit.

        Args:
            faces: (B, 3, H, W) in [-1, 1], H and W multiples of 4; VideoReTalking's are BGR.
            units: (B, 17) strengths of the action units.
        """
        planes = units[:, :, None, None].expand(-1, -1, *faces.shape[2:])
        features = self.model(torch.cat((faces, planes), dim=1))
        colors, mask = self.color_top(features), self.au_top(features)
        return Edited(mask * faces + (1 - mask) * colors, colors, mask, features)


def _normed(convolution: nn.Conv2d | nn.ConvTranspose2d) -> list[nn.Module]:
    return [convolution, nn.InstanceNorm2d(convolution.out_channels), nn.ReLU()]


register_network("the expression editing network GANimation (30_net_gen.pth)", ExpressionEditor)
