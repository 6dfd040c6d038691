"""GPEN (Yang et al., CVPR 2021): a blurred face drawn anew by StyleGAN2, with an encoder's features in place of the noise."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from talkingface.nn.stylegan2 import (
    Activation,
    ConstantStart,
    EqualConv,
    EqualLinear,
    ModulatedConv,
    Noise,
    PixelNorm,
    Resample,
    ToRGB,
)
from talkingface.nn.weights import register_network

CHANNELS = {4: 512, 8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128, 512: 64, 1024: 32}  # at each side
FIRST_SIDE = 4


class StyledConv(nn.Module):
    """Modulated 3x3 convolution; an encoder's feature of the same size beside its outputs; activation."""

    def __init__(self, inputs: int, outputs: int, style: int, up: bool = False):
        super().__init__()
        self.conv = ModulatedConv(inputs, outputs, 3, style, up="blur" if up else "")
        self.noise, self.activate = Noise(append=True), Activation(2 * outputs)

    def forward(self, x: Tensor, style: Tensor, feature: Tensor) -> Tensor:
        return self.activate(self.noise(self.conv(x, style), feature))


class Generator(nn.Module):
    """StyleGAN2 with features beside each convolution's outputs, so with twice the channels between them.

    Args:
        sides: of its levels, from 4.
        channels: of its levels.
    """

    def __init__(self, channels: Sequence[int], style: int, num_layers: int):
        super().__init__()
        layers = [EqualLinear(style, style, rate=0.01, activate=True) for _ in range(num_layers)]
        self.style = nn.Sequential(PixelNorm(), *layers)
        self.input = ConstantStart(channels[0])
        self.conv1 = StyledConv(channels[0], channels[0], style)
        self.to_rgb1 = ToRGB(2 * channels[0], style, up=False)
        self.convs, self.to_rgbs = nn.ModuleList(), nn.ModuleList()
        for before, count in zip(channels, channels[1:], strict=False):
            self.convs.append(StyledConv(2 * before, count, style, up=True))
            self.convs.append(StyledConv(2 * count, count, style))
            self.to_rgbs.append(ToRGB(2 * count, style))

    def forward(self, code: Tensor, features: Sequence[Tensor]) -> Tensor:
        """Draw.

        Args:
            code: (B, style).
            features: (B, C, s, s) of the encoder, one for each level, the smallest first.

        Returns:
            (B, 3, S, S) about [-1, 1].
        """
        style = self.style(code)
        x = self.conv1(self.input(len(code)), style, features[0])
        picture = self.to_rgb1(x, style)
        for level, (feature, to_rgb) in enumerate(zip(features[1:], self.to_rgbs, strict=True)):
            x = self.convs[2 * level](x, style, feature)
            x = self.convs[2 * level + 1](x, style, feature)
            picture = to_rgb(x, style, picture)
        return picture


class Gpen(nn.Module):
    """Face restoration; the published file GPEN-BFR-512.pth has the default sizes.

    Args:
        image_size: side of the pictures, a power of 2.
        style: numbers of a style.
        num_layers: of the mapping from code to style.
        narrow: factor of the channel counts.
    """

    def __init__(self, image_size: int = 512, style: int = 512, num_layers: int = 8, narrow: float = 1.0):
        super().__init__()
        self.levels = image_size.bit_length() - FIRST_SIDE.bit_length()  # halvings down to 4 x 4
        channels = [int(CHANNELS[image_size >> level] * narrow) for level in range(self.levels + 1)]
        self.generator = Generator(channels[::-1], style, num_layers)
        self.ecd0 = nn.Sequential(nn.Sequential(EqualConv(3, channels[0], 1), Activation(channels[0])))
        for level, (before, count) in enumerate(zip(channels, channels[1:], strict=False), start=1):
            halve = nn.Sequential(Resample((2, 2), gain=1.0), EqualConv(before, count, 3, stride=2), Activation(count))
            self.add_module(f"ecd{level}", nn.Sequential(halve))
        self.final_linear = nn.Sequential(EqualLinear(channels[-1] * FIRST_SIDE**2, style, activate=True))

    def forward(self, faces: Tensor) -> Tensor:
        """(B, 3, S, S) RGB in [-1, 1], aligned as FFHQ's -> the same, restored, about [-1, 1]."""
        features = []
        x = faces
        for level in range(self.levels + 1):
            x = getattr(self, f"ecd{level}")(x)
            features.append(x)
        return self.generator(self.final_linear(torch.flatten(x, 1)), features[::-1])


register_network("the face restoration network GPEN (GPEN-BFR-512.pth)", Gpen)
