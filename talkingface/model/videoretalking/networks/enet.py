"""ENet: LNet's picture at four times the size, drawn by two levels of StyleGAN2 whose style is the reference's.

Pictures are BGR in [0, 1]. The layers are those of GFPGAN's "clean" StyleGAN2, with bilinear enlarging. `width` scales the
inner channel counts, 1 is published.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talkingface.errors import ConfigError
from talkingface.model.videoretalking.networks.lnet import LNet
from talkingface.nn.conv import scaled
from talkingface.nn.speech import LEAST, batch_to_time, time_to_batch, windows_to_batch
from talkingface.nn.stylegan2 import GAIN, SLOPE, ModulatedConv, double
from talkingface.nn.weights import register_network

ENLARGED = 4  # ENet's sides over LNet's
BORDER = 2  # pixels around LNet's picture that mirror it, and are cut off at the end
SMALLEST = 4  # side of the reference's last features


class ResBlock(nn.Module):
    """Two 3x3 convolutions, the picture halved between them, and a shortcut."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(inputs, inputs, 3, padding=1), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = halve(F.leaky_relu(self.conv1(x), SLOPE))
        return F.leaky_relu(self.conv2(y), SLOPE) + self.skip(halve(x))


class StyleConv(nn.Module):
    """Modulated 3x3 convolution, noise, bias, leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, style: int, up: bool = False):
        super().__init__()
        self.modulated_conv = ModulatedConv(inputs, outputs, 3, style, up="bilinear" if up else "", equalized=False)
        self.weight, self.bias = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1, outputs, 1, 1))

    def forward(self, x: Tensor, style: Tensor, noise: Tensor | None = None) -> Tensor:
        """(B, inputs, H, W), styles (B, style) and noise (B or 1, 1, H, W) of the output's size."""
        x = self.modulated_conv(x, style) * GAIN + self.bias
        return F.leaky_relu(x if noise is None else x + self.weight * noise, SLOPE)


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to three colors, added to the picture before, which is enlarged."""

    def __init__(self, inputs: int, style: int):
        super().__init__()
        self.modulated_conv = ModulatedConv(inputs, 3, 1, style, demodulate=False, equalized=False)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))

    def forward(self, x: Tensor, style: Tensor, before: Tensor) -> Tensor:
        return self.modulated_conv(x, style) + self.bias + double(before)


class ENet(nn.Module):
    """Sharp faces from LNet's.

    The published ENet.pth holds a copy of LNet (`low_res.*`), which the authors' program drops for LNet.pth's; here LNet is
    no part of it: see `paint`.

    Args:
        width: factor of the inner channel counts.
        image_size: side of the result, a multiple of 32; LNet's picture has a quarter of it.
        reference_size: side that the reference is brought to, a power of 2.

    Raises:
        ConfigError: a size is none of these.
    """

    def __init__(self, width: float = 1.0, image_size: int = 384, reference_size: int = 256):
        super().__init__()
        if image_size < 32 or image_size % 32:
            raise ConfigError(f"ENet's image_size: expected a multiple of 32, such as 384 (published), got {image_size}.")
        levels = reference_size.bit_length() - SMALLEST.bit_length()
        if levels < 1 or reference_size != SMALLEST << levels:
            raise ConfigError(f"ENet's reference_size: expected a power of 2, such as 256 (published), got {reference_size}.")
        self.image_size, self.reference_size, self.low_size = image_size, reference_size, image_size // ENLARGED
        c128, c256, c512 = (scaled(c, width, LEAST) for c in (128, 256, 512))
        channels = [c256, c256, *([c512] * (levels - 1))]
        self.conv_body_first = nn.Conv2d(3, c256, 1)
        self.conv_body_down = nn.ModuleList(ResBlock(*pair) for pair in zip(channels, channels[1:], strict=False))
        self.final_conv = nn.Conv2d(channels[-1], c512, 3, padding=1)
        self.final_linear = nn.Linear(c512 * SMALLEST**2, c512)
        layers = ((3, c256, True), (c256, c256, False), (c256, c128, True), (c128, c128, False))
        self.style_convs = nn.ModuleList(StyleConv(inputs, outputs, c512, up) for inputs, outputs, up in layers)
        self.to_rgbs = nn.ModuleList(ToRGB(inputs, c512) for inputs in (c256, c128))

    def style(self, reference: Tensor) -> Tensor:
        """What a face (B, 3, H, W) of any size looks like: (B, 512 width)."""
        x = F.leaky_relu(self.conv_body_first(resized(reference, self.reference_size)), SLOPE)
        for down in self.conv_body_down:
            x = down(x)
        return self.final_linear(F.leaky_relu(self.final_conv(x), SLOPE).flatten(1))

    def forward(self, low: Tensor, reference: Tensor, noise: Sequence[Tensor] | None = None) -> Tensor:
        """Enhance.

        Args:
            low: (B, 3, 96, 96) from LNet.
            reference: (B, 3, H, W) the face's sharp picture.
            noise: one map for each styled convolution, as from `fresh_noise`; () for none; None for fresh ones, as the
                authors do.

        Returns:
            (B, 3, 384, 384), not clipped.
        """
        maps = self.fresh_noise(len(low)) if noise is None else noise
        drawn: list[Tensor | None] = list(maps) or [None] * len(self.style_convs)
        style = self.style(reference)
        picture = x = F.pad(low, (BORDER,) * 4, mode="reflect")
        for level, to_rgb in enumerate(self.to_rgbs):
            x = self.style_convs[2 * level](x, style, drawn[2 * level])
            x = self.style_convs[2 * level + 1](x, style, drawn[2 * level + 1])
            picture = to_rgb(x, style, picture)
        cut = slice(BORDER * ENLARGED, -BORDER * ENLARGED)
        return picture[:, :, cut, cut]

    def fresh_noise(self, count: int, chance: torch.Generator | None = None) -> list[Tensor]:
        """New noise maps (count, 1, s, s), drawn on the CPU with `chance`, or by torch's own on the network's device."""
        device = self.final_linear.weight.device
        drawn_on = device if chance is None else torch.device("cpu")
        side = self.low_size + 2 * BORDER
        sides = (2 * side, 2 * side, 4 * side, 4 * side)
        return [torch.randn(count, 1, s, s, generator=chance, device=drawn_on).to(device) for s in sides]


def paint(
    lnet: LNet, enet: ENet, mel: Tensor, faces: Tensor, reference: Tensor, noise: Sequence[Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """LNet and then ENet, as one: the sharp face that says what is heard.

    Args:
        mel: (B, 1, 80, 16), or (B, T, 1, 80, 16).
        faces: (B, 6, H, W), or (B, 6, T, H, W), of any size: the masked picture, and the one that gives ENet the style.
        reference: (B, 3, H, W), or (B, 3, T, H, W), of the same size: LNet's reference; generation gives the same picture
            to both, training may give another.
        noise: of ENet's `forward`.

    Returns:
        (B, 3, 384, 384) not clipped, and LNet's picture (B, 3, 96, 96); with T after the channels where the inputs have it.
    """
    if faces.dim() == 5:
        frames = faces.shape[2]
        both = paint(lnet, enet, windows_to_batch(mel), time_to_batch(faces), time_to_batch(reference), noise)
        return batch_to_time(both[0], frames), batch_to_time(both[1], frames)
    low = lnet(mel, resized(torch.cat((faces[:, :3], reference), dim=1), enet.low_size))
    return enet(low, faces[:, 3:], noise), low


def resized(pictures: Tensor, side: int) -> Tensor:
    """Square pictures of a side, bilinear, without smoothing."""
    return F.interpolate(pictures, (side, side), mode="bilinear", align_corners=False)


def halve(x: Tensor) -> Tensor:
    """Half the size, bilinear."""
    return F.interpolate(x, scale_factor=0.5, mode="bilinear", align_corners=False)


register_network("the enhancement network of VideoReTalking (ENet.pth)", ENet)
