"""The image translation network: drawn landmarks and a portrait -> a frame (paper section 3.4; ResUnetGenerator)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talkingface.nn.conv import scaled
from talkingface.nn.weights import register_network

LEVELS = 6
DRAWN, PORTRAIT, SPECTROGRAM = 3, 3, 1  # channels of the input, in this order
SIDE_STEP = 2**LEVELS  # a picture's side is a multiple of this
LARGE = 16  # pixels from which on a doubled picture is convolved without being made


class Residual(nn.Module):
    """Two convolutions around the identity."""

    def __init__(self, channels: int):
        super().__init__()
        self.block = nn.Sequential(
            conv(channels, channels),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            conv(channels, channels),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.block(x) + x)


class ConvOfDoubled(nn.Conv2d):
    """The 3 x 3 convolution of a picture that is doubled in size by repeating every pixel.

    Each pixel of the result depends on 2 x 2 pixels of the small picture alone: four 2 x 2 convolutions of that, one for each
    corner of a doubled pixel, are the same with less than half of the products.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, S, S) -> (B, D, 2 S, 2 S)."""
        if (
            self.training or x.shape[-1] < LARGE
        ):  # training in the authors' order of sums: batch norms of few pixels magnify its rounding
            return super().forward(F.interpolate(x, scale_factor=2.0))
        top, middle, bottom = self.weight.unbind(2)
        upper_and_lower = torch.stack((torch.stack((top, middle + bottom), 2), torch.stack((top + middle, bottom), 2)))
        left, middle, right = upper_and_lower.unbind(4)
        kernels = torch.stack((torch.stack((left, middle + right), 4), torch.stack((left + middle, right), 4)), dim=1)
        corners = F.conv2d(x, kernels.flatten(0, 2), padding=1).unflatten(1, (2, 2, -1))
        height, width = x.shape[2:]
        doubled = corners.new_empty(len(x), self.out_channels, 2 * height, 2 * width)
        for row in (0, 1):
            for column in (0, 1):
                part = corners[:, row, column, :, row : row + height, column : column + width]
                doubled[:, :, row::2, column::2] = part
        return doubled


class Level(nn.Module):
    """One level of the U: half the size, two residual blocks, the level below, the size again, two residual blocks.

    Every level but the outermost returns its input beside its output.

    Args:
        outside: channels of the level's output, and of its input unless `given` says otherwise.
        inside: channels at half the size.
        below: the next level; None at the bottom.
        given: channels of the input of the outermost level.
    """

    def __init__(self, outside: int, inside: int, below: Level | None = None, given: int = 0):
        super().__init__()
        self.outermost = given > 0
        down: list[nn.Module] = [conv(given or outside, inside, stride=2)]
        if below is not None and not self.outermost:
            down.append(nn.BatchNorm2d(inside))
        down += [nn.ReLU(inplace=True), Residual(inside), Residual(inside)]
        deep = inside if below is None else 2 * inside
        up: list[nn.Module] = [nn.Identity(), ConvOfDoubled(deep, outside, 3, padding=1, bias=False)]  # the authors double first
        if not self.outermost:
            up += [nn.BatchNorm2d(outside), nn.ReLU(inplace=True), Residual(outside), Residual(outside)]
        self.model = nn.Sequential(*down, *([] if below is None else [below]), *up)

    def forward(self, x: Tensor) -> Tensor:
        painted = self.model(x)
        return painted if self.outermost else torch.cat((x, painted), dim=1)


class ResUnetGenerator(nn.Module):
    """A residual U-net of six levels; `model.model...` are the authors' parameter names.

    Colors are BGR in [0, 1]. The output is raw: a frame is its tanh, negative values cut to 0.

    Args:
        in_channels: 6; 7 with a spectrogram as the last channel.
        width: factor of the channel counts; 1.0 is the published network.
    """

    def __init__(self, in_channels: int = DRAWN + PORTRAIT, width: float = 1.0):
        super().__init__()
        counts = [scaled(count, width, 16) for count in (64, 128, 256, 512, 512, 512)]
        level = Level(counts[-2], counts[-1])
        for outside, inside in zip(counts[-3::-1], counts[-2:0:-1], strict=True):
            level = Level(outside, inside, level)
        self.model = Level(3, counts[0], level, given=in_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Translate (B, 6 or 7, S, S): drawn landmarks, portrait, spectrogram. Returns (B, 3, S, S)."""
        return self.model(x)

    def portrait_part(self, portrait: Tensor) -> Tensor:
        """What a portrait (1, 3, S, S) adds to the first convolution, which is linear; the same for all of its frames."""
        first = self.first
        return F.conv2d(portrait, first.weight[:, DRAWN : DRAWN + PORTRAIT], stride=2, padding=1)

    def with_portrait(self, drawn: Tensor, portrait_part: Tensor, spectrogram: Tensor | None = None) -> Tensor:
        """`forward`, for a portrait whose part is known.

        Args:
            drawn: (B, 3, S, S).
            spectrogram: (B, 1, S, S) for a network with 7 channels.
        """
        weight, given = self.first.weight[:, :DRAWN], drawn
        if spectrogram is not None:
            weight = torch.cat((weight, self.first.weight[:, DRAWN + PORTRAIT :]), dim=1)
            given = torch.cat((drawn, spectrogram), dim=1)
        x = F.conv2d(given, weight, stride=2, padding=1) + portrait_part
        return self.model.model[1:](x)

    @property
    def hears(self) -> bool:
        """Whether the input has a spectrogram."""
        return self.first.in_channels > DRAWN + PORTRAIT

    @property
    def first(self) -> nn.Conv2d:
        """The first convolution."""
        first = self.model.model[0]
        assert isinstance(first, nn.Conv2d)
        return first


def conv(given: int, made: int, stride: int = 1) -> nn.Conv2d:
    """A 3 x 3 convolution without bias."""
    return nn.Conv2d(given, made, 3, stride, 1, bias=False)


register_network("the image translation of MakeItTalk (ckpt_116_i2i_comb.pth)", ResUnetGenerator)
