"""DNet: a head redrawn with other 3DMM coefficients. The architecture is PIRenderer's (Ren et al., ICCV 2021).

Pictures are (B, 3, S, S) RGB in [-1, 1]; S is a multiple of 32, at least 64; published is 256. `width` scales the inner
channel counts, 1 is published.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talkingface.model.videoretalking.networks.blocks import (
    LEAST,
    SLOPE,
    AdaptiveNorm,
    DownBlock,
    LastBlock,
    NormBlock,
    PictureNorm,
    UpBlock,
    make_constant,
)
from talkingface.nn.conv import scaled
from talkingface.nn.weights import register_network

STEERING = 73  # coefficients per frame: expression 64, angle 3, translation 3, crop 3
WINDOW = 26  # frames of coefficients


class Redrawn(NamedTuple):
    """What DNet makes of a head.

    Attributes:
        flow: (B, 2, S / 4, S / 4): for each place, how far right and below of it (in its pixels) it is taken from.
        warped: (B, 3, S, S) the picture moved along the flow.
        painted: (B, 3, S, S) in [-1, 1], the result; None where painting was not asked for.
    """

    flow: Tensor
    warped: Tensor
    painted: Tensor | None


class MappingNetwork(nn.Module):
    """Coefficients of a window of frames -> one code."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.first = nn.Sequential(nn.Conv1d(inputs, outputs, 7))
        for layer in range(3):
            block = nn.Sequential(nn.LeakyReLU(SLOPE), nn.Conv1d(outputs, outputs, 3, dilation=3))
            self.add_module(f"encoder{layer}", block)

    def forward(self, coefficients: Tensor) -> Tensor:
        """(B, 73, 26) -> (B, 256 width, 1); each layer costs six frames, of which the residual loses three on each side."""
        x = self.first(coefficients)
        for layer in range(3):
            x = getattr(self, f"encoder{layer}")(x) + x[:, :, 3:-3]
        return x.mean(dim=2, keepdim=True)


class SteeredDown(nn.Module):
    """Norm, leaky ReLU, convolution, twice; the first convolution halves the picture."""

    def __init__(self, inputs: int, outputs: int, code: int):
        super().__init__()
        self.norm_0, self.conv_0 = AdaptiveNorm(inputs, code), nn.Conv2d(inputs, outputs, 4, 2, 1)
        self.norm_1, self.conv_1 = AdaptiveNorm(outputs, code), nn.Conv2d(outputs, outputs, 3, padding=1)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        x = self.conv_0(F.leaky_relu(self.norm_0(x, code), SLOPE))
        return self.conv_1(F.leaky_relu(self.norm_1(x, code), SLOPE))


class SteeredUp(nn.Module):
    """The same upwards, with a shortcut; the picture is doubled by transposed convolutions."""

    def __init__(self, inputs: int, outputs: int, code: int):
        super().__init__()
        self.norm_0, self.conv_0 = AdaptiveNorm(inputs, code), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm_1, self.conv_1 = AdaptiveNorm(outputs, code), nn.ConvTranspose2d(outputs, outputs, 3, 2, 1, 1)
        self.norm_s, self.conv_s = AdaptiveNorm(inputs, code), nn.ConvTranspose2d(inputs, outputs, 3, 2, 1, 1)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        shortcut = self.conv_s(F.leaky_relu(self.norm_s(x, code), SLOPE))
        x = self.conv_0(F.leaky_relu(self.norm_0(x, code), SLOPE))
        return shortcut + self.conv_1(F.leaky_relu(self.norm_1(x, code), SLOPE))


class Hourglass(nn.Module):
    """Five times down to 1/32 of the size and three times up to 1/4; the code steers every norm."""

    def __init__(self, channels: tuple[int, ...], code: int):
        super().__init__()
        self.encoder: Any = nn.Module()
        self.decoder: Any = nn.Module()
        self.encoder.input_layer = nn.Conv2d(3, channels[0], 7, padding=3)
        for level in range(5):
            self.encoder.add_module(f"encoder{level}", SteeredDown(channels[level], channels[level + 1], code))
        inputs = channels[5]
        for level in (4, 3, 2):
            outputs = channels[level]
            self.decoder.add_module(f"decoder{level}", SteeredUp(inputs, outputs, code))
            inputs = outputs + channels[level]
        self.outputs = inputs

    def forward(self, pictures: Tensor, code: Tensor) -> Tensor:
        skips = [self.encoder.input_layer(pictures)]
        for level in range(5):
            skips.append(getattr(self.encoder, f"encoder{level}")(skips[-1], code))
        x = skips[5]
        for level in (4, 3, 2):
            x = torch.cat((getattr(self.decoder, f"decoder{level}")(x, code), skips[level]), dim=1)
        return x


class WarpingNetwork(nn.Module):
    """Says for every place of a picture from where it is to be taken."""

    def __init__(self, width: float, code: int):
        super().__init__()
        channels = tuple(scaled(c, width, LEAST) for c in (32, 64, 128, 256, 256, 256))
        self.hourglass = Hourglass(channels, code)
        inputs = self.hourglass.outputs
        self.flow_out = nn.Sequential(PictureNorm(inputs), nn.LeakyReLU(SLOPE), nn.Conv2d(inputs, 2, 7, padding=3))

    def forward(self, pictures: Tensor, code: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, S, S) -> flow (B, 2, S / 4, S / 4), and the pictures moved along it."""
        flow = self.flow_out(self.hourglass(pictures, code))
        return flow, warp(pictures, flow)


def warp(pictures: Tensor, flow: Tensor) -> Tensor:
    """Take every pixel from where the flow points to; black from outside.

    The grid's corners are the outer pixels' centers while the sampling reads them as the picture's corners. That mix of
    conventions is what the published network was trained with.
    """
    with torch.autocast(pictures.device.type, enabled=False):
        pictures, flow = pictures.float(), flow.float()
        height, width = flow.shape[2:]
        y, x = (torch.linspace(-1, 1, side, device=flow.device) for side in (height, width))
        places = torch.stack((x.expand(height, width), y[:, None].expand(height, width)))
        grid = places + flow * (2 / torch.tensor([width - 1, height - 1], device=flow.device))[:, None, None]
        if flow.shape[2:] != pictures.shape[2:]:
            grid = F.interpolate(grid, pictures.shape[2:], mode="bilinear", align_corners=False)
        return F.grid_sample(pictures, grid.permute(0, 2, 3, 1), mode="bilinear", padding_mode="zeros", align_corners=False)


class SteeredResidual(nn.Module):
    """x + norm2(conv2(x)).

    The authors' code computes conv1 and norm1 and throws the result away. They are kept, as constants, because the published
    files have them; they influence nothing, and nothing trains them.
    """

    def __init__(self, channels: int, code: int):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(channels, channels, 3, padding=1), AdaptiveNorm(channels, code)
        self.conv2, self.norm2 = nn.Conv2d(channels, channels, 3, padding=1), AdaptiveNorm(channels, code)
        for unused in (self.conv1, self.norm1):
            make_constant(unused)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        return x + self.norm2(self.conv2(x), code)


class EditingNetwork(nn.Module):
    """Repaints a moved picture, with a look at where it came from."""

    def __init__(self, width: float, code: int):
        super().__init__()
        channels = [scaled(c, width, LEAST) for c in (64, 128, 256, 256)]
        self.encoder: Any = nn.Module()
        self.decoder: Any = nn.Module()
        self.encoder.first = NormBlock(6, channels[0], 7)
        for level in range(3):
            self.encoder.add_module(f"down{level}", DownBlock(channels[level], channels[level + 1]))
            residuals = nn.ModuleDict({f"res{k}": SteeredResidual(channels[level + 1], code) for k in range(2)})
            self.decoder.add_module(f"res{level}", residuals)
            self.decoder.add_module(f"up{level}", UpBlock(channels[level + 1], channels[level]))
            self.decoder.add_module(f"jump{level}", NormBlock(channels[level], channels[level]))
        self.decoder.final = LastBlock(channels[0])

    def forward(self, pictures: Tensor, warped: Tensor, code: Tensor) -> Tensor:
        skips = [self.encoder.first(torch.cat((pictures, warped), dim=1))]
        for level in range(3):
            skips.append(getattr(self.encoder, f"down{level}")(skips[-1]))
        x = skips[3]
        for level in (2, 1, 0):
            for residual in getattr(self.decoder, f"res{level}").values():
                x = residual(x, code)
            x = getattr(self.decoder, f"up{level}")(x) + getattr(self.decoder, f"jump{level}")(skips[level])
        return torch.tanh(self.decoder.final(x))


class DNet(nn.Module):
    """A head with the expression, the pose and the place that coefficients ask for.

    Args:
        width: factor of the inner channel counts.
    """

    def __init__(self, width: float = 1.0):
        super().__init__()
        code = scaled(256, width, LEAST)
        self.mapping_net = MappingNetwork(STEERING, code)
        self.warpping_net = WarpingNetwork(width, code)
        self.editing_net = EditingNetwork(width, code)

    def forward(self, pictures: Tensor, coefficients: Tensor, paint: bool = True) -> Redrawn:
        """Redraw.

        Args:
            pictures: (B, 3, S, S).
            coefficients: (B, 73, 26): expression, angle, translation and crop (scale, x, y) of 26 frames, the 14th of
                which is meant.
            paint: False stops after the warp, as the first stage of training does.
        """
        code = self.mapping_net(coefficients)
        flow, warped = self.warpping_net(pictures, code)
        return Redrawn(flow, warped, self.editing_net(pictures, warped, code) if paint else None)


register_network("the expression network of VideoReTalking (DNet.pt)", DNet)
