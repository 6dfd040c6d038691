"""PC-AVS's networks under the authors' names: generator (netG), identity (netV), pose and mouth (netE), speech (netA_sync, netA).

Pictures are (B, 3, S, S) RGB in [-1, 1]. `width` scales the inner channel counts; 1 is published. S is a multiple of 32.
The generator's mapping network `style.1..8` and the 1000 ImageNet classes `model.fc` of netV, which the published files hold
and nothing uses, are not built.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talkingface.nn.fan import FanTrunk, start_squeeze
from talkingface.nn.stylegan2 import Activation, ConstantStart, ModulatedConv, Noise, ToRGB

DOUBLINGS = 5  # of the generator's start map
FAINT = 0.2  # deviation of the weights that make colors, at the start; with 1 the sum of six such layers saturates the tanh


class Widths(NamedTuple):
    """Channel counts of networks `width` times as wide as the published ones.

    Attributes:
        identity: numbers of an identity; 2048.
        feature: numbers of speech content, of the non-identity space and of the code of mouth and pose; 512.
        levels: the generator's channels at each size, from the start map on.
    """

    identity: int
    feature: int
    levels: tuple[int, ...]

    @classmethod
    def of(cls, width: float) -> Widths:
        """The counts of a width; very narrow generators still need 16 channels at full size."""
        levels = tuple(max(16, round(channels * width)) for channels in (512, 512, 512, 512, 256, 128))
        return cls(32 * stem(width), max(32, 8 * round(64 * width)), levels)

    @property
    def style(self) -> int:
        """Numbers that style the generator: identity, mouth and pose; 2560."""
        return self.identity + self.feature


def stem(width: float) -> int:
    """Channels of the identity network's first layer; a multiple of 8; 64."""
    return 8 * max(1, round(8 * width))


# --- generator --------------------------------------------------------------------------------------------------------


class StyledConv(nn.Module):
    """Modulated 3x3 convolution, noise, activation."""

    def __init__(self, inputs: int, outputs: int, style: int, up: bool = False):
        super().__init__()
        self.conv, self.noise = ModulatedConv(inputs, outputs, 3, style, up="blur" if up else ""), Noise()
        self.activate = Activation(outputs, flat=False)

    def forward(self, x: Tensor, style: Tensor, noise: Tensor | None) -> Tensor:
        return self.activate(self.noise(self.conv(x, style), noise))


class Generator(nn.Module):
    """netG: a StyleGAN2 generator (Karras et al., 2020) that starts from the spatial identity and doubles it five times.

    Args:
        width: factor of the channel counts.
        image_size: side of the pictures; 32 k for a start map of side k.
        constant: train the constant start map (it is used where no spatial identity is given).
    """

    def __init__(self, width: float = 1.0, image_size: int = 224, constant: bool = False):
        super().__init__()
        widths = Widths.of(width)
        style, levels, self.side = widths.style, widths.levels, start_side(image_size)
        self.input = ConstantStart(levels[0], self.side, learned=constant)
        self.conv1, self.to_rgb1 = StyledConv(levels[0], levels[0], style), ToRGB(levels[0], style, up=False)
        self.convs, self.to_rgbs = nn.ModuleList(), nn.ModuleList()
        for before, channels in zip(levels, levels[1:], strict=False):
            self.convs.append(StyledConv(before, channels, style, up=True))
            self.convs.append(StyledConv(channels, channels, style))
            self.to_rgbs.append(ToRGB(channels, style))
        for to_rgb in (self.to_rgb1, *self.to_rgbs):
            nn.init.normal_(to_rgb.conv.weight, std=FAINT)
        self.noises = nn.Module()
        for index, side in enumerate(self.noise_sides()):
            self.noises.register_buffer(f"noise_{index}", torch.randn(1, 1, side, side))

    def noise_sides(self) -> list[int]:
        """Sides of the noise maps, one per styled convolution."""
        return [self.side, *(self.side << level for level in range(1, DOUBLINGS + 1) for _ in range(2))]

    def stored_noise(self) -> list[Tensor]:
        """The noise maps (1, 1, s, s) that are stored with the weights."""
        return list(self.noises.buffers())

    def fresh_noise(self, count: int, chance: torch.Generator | None = None) -> list[Tensor]:
        """New noise maps (count, 1, s, s), drawn on the CPU with `chance`, or by torch's own on the generator's device."""
        device = self.conv1.noise.weight.device
        drawn_on = device if chance is None else torch.device("cpu")
        maps = [torch.randn(count, 1, side, side, generator=chance, device=drawn_on) for side in self.noise_sides()]
        return [drawn.to(device, non_blocking=True) for drawn in maps]

    def forward(self, style: Tensor, start: Tensor | None = None, noise: Sequence[Tensor] | None = None) -> Tensor:
        """Make pictures.

        Args:
            style: (B, 2560): identity, mouth code, pose code.
            start: (B, 512, s, s) spatial identity; the constant map without it.
            noise: one map per styled convolution, of batch size 1 or B; () for none, None for fresh ones, as the authors do.

        Returns:
            (B, 3, 32 s, 32 s) in [-1, 1].
        """
        if noise is None:
            noise = self.fresh_noise(len(style))
        maps: list[Tensor | None] = list(noise) or [None] * (2 * DOUBLINGS + 1)
        x = self.input(len(style)) if start is None else start
        x = self.conv1(x, style, maps[0])
        picture = self.to_rgb1(x, style)
        for level, to_rgb in enumerate(self.to_rgbs):
            x = self.convs[2 * level](x, style, maps[2 * level + 1])
            x = self.convs[2 * level + 1](x, style, maps[2 * level + 2])
            picture = to_rgb(x, style, picture)
        return torch.tanh(picture)

    def color_factors(self, style: Tensor) -> list[Tensor]:
        """(B, C) each: by what the six layers that make colors scale their channels (the authors' style features)."""
        return [to_rgb.conv.modulation(style) for to_rgb in (self.to_rgb1, *self.to_rgbs)]


def start_side(image_size: int) -> int:
    """Side of the start map and of the spatial identity.

    Raises:
        ValueError: the size is no multiple of 32, or below 64.
    """
    if image_size % 32 or image_size < 64:
        raise ValueError(f"the side of the pictures is a multiple of 32 from 64 on, not {image_size}")
    return image_size // 32


# --- identity ---------------------------------------------------------------------------------------------------------


class ResNeXtBlock(nn.Module):
    """Bottleneck with a grouped 3x3 convolution of four channels per group at the first stage (Xie et al., 2017)."""

    def __init__(self, inputs: int, inner: int, outputs: int, groups: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, inner, 1, bias=False), nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3, self.bn3 = nn.Conv2d(inner, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(y)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNeXt(nn.Module):
    """ResNeXt-50 32x4d up to its last map, under torchvision's names."""

    def __init__(self, width: float = 1.0):
        super().__init__()
        base = stem(width)
        self.conv1, self.bn1 = nn.Conv2d(3, base, 7, 2, 3, bias=False), nn.BatchNorm2d(base)
        inputs = base
        for stage, blocks in enumerate((3, 4, 6, 3)):
            inner, outputs = 2 * base << stage, 4 * base << stage
            layers = [ResNeXtBlock(inputs, inner, outputs, base // 2, 1 if stage == 0 else 2)]
            layers += [ResNeXtBlock(outputs, inner, outputs, base // 2, 1) for _ in range(blocks - 1)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
            inputs = outputs

    def forward(self, pictures: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, 2048, S / 32, S / 32)."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(pictures))), 3, 2, 1)
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
        return x


class IdentityEncoder(nn.Module):
    """netV: who it is, as numbers and as the generator's start map; both are averaged over the reference pictures.

    Args:
        num_classes: speakers that the identity head tells apart; only training uses it.
    """

    def __init__(self, num_classes: int = 5830, width: float = 1.0, image_size: int = 224):
        super().__init__()
        widths, self.side = Widths.of(width), start_side(image_size)
        self.model = ResNeXt(width)
        self.conv1x1 = nn.Conv2d(widths.identity, widths.levels[0], 1)
        self.fc = nn.Linear(widths.identity, num_classes)

    def encode(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, 3, S, S), or (B, 3, S, S) for one picture each -> pooled (B, 2048) and spatial (B, 512, s, s) identity."""
        count = pictures.shape[1] if pictures.dim() == 5 else 1
        maps = self.model(pictures.flatten(0, 1) if pictures.dim() == 5 else pictures)
        pooled = maps.mean(dim=(2, 3)).unflatten(0, (-1, count)).mean(dim=1)
        spatial = F.adaptive_avg_pool2d(self.conv1x1(maps), self.side)
        return pooled, spatial.unflatten(0, (-1, count)).mean(dim=1)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`encode`, and the scores (B, num_classes) of the speakers."""
        pooled, spatial = self.encode(pictures)
        return pooled, spatial, self.fc(pooled)


# --- pose and mouth ---------------------------------------------------------------------------------------------------


class FanEncoder(FanTrunk):
    """A face alignment network whose point maps are squeezed into 512 numbers: all of a picture but who it is."""

    def __init__(self, outputs: int = 512, width: float = 1.0, image_size: int = 224, points: int = 68):
        super().__init__(align_corners=False, width=width, points=points)
        self.bn5, self.conv6 = nn.BatchNorm2d(points), nn.Conv2d(points, 1, 3, 2, 1)
        self.fc = nn.Linear((image_size // 8) ** 2, outputs)
        start_squeeze(self.conv6, self.fc)

    def forward(self, faces: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, 512)."""
        squeezed = self.conv6(F.relu(self.bn5(super().forward(faces))))
        return self.fc(F.relu(squeezed.flatten(1)))


def two_layers(inputs: int, outputs: int) -> nn.Sequential:
    """Linear, ReLU, linear; the inner size is that of the input."""
    return nn.Sequential(nn.Linear(inputs, inputs), nn.ReLU(), nn.Linear(inputs, outputs))


def head(inputs: int, outputs: int) -> nn.Sequential:
    """ReLU, linear."""
    return nn.Sequential(nn.ReLU(), nn.Linear(inputs, outputs))


class PoseMouthEncoder(nn.Module):
    """netE: a picture's non-identity space, and what is read from it: mouth content (in training) and head pose.

    Args:
        pose_dim: numbers of a pose code; the mouth code has the rest of 512.
        num_classes, clip_len: sizes of the three classifying heads, which only training uses; clip_len is frames per clip.
    """

    def __init__(
        self,
        pose_dim: int = 12,
        num_classes: int = 5830,
        clip_len: int = 1,
        width: float = 1.0,
        image_size: int = 224,
    ):
        super().__init__()
        size = Widths.of(width).feature
        self.model = FanEncoder(size, width, image_size)
        self.to_mouth, self.mouth_embed = two_layers(size, size), head(size, size - pose_dim)
        self.to_headpose, self.headpose_embed = two_layers(size, size), head(size, pose_dim)
        self.classifier = two_layers(size, num_classes)
        self.mouth_fc, self.headpose_fc = head(size * clip_len, num_classes), head(pose_dim * clip_len, num_classes)

    def forward(self, pictures: Tensor) -> Tensor:
        """The non-identity space of pictures: (B, 3, S, S) -> (B, 512)."""
        return self.model(pictures)

    def pose_code(self, features: Tensor) -> Tensor:
        """Where the head is: (B, 512) -> (B, 12)."""
        return self.headpose_embed(self.to_headpose(features))

    def mouth_code(self, content: Tensor) -> Tensor:
        """The generator's half of what is said: (B, 512) of `to_mouth` or of the speech -> (B, 500)."""
        return self.mouth_embed(content)


# --- speech -----------------------------------------------------------------------------------------------------------


class SqueezeExcitation(nn.Module):
    """Scales channels by what their means say (Hu et al., 2018)."""

    def __init__(self, channels: int):
        super().__init__()
        inner = max(4, channels // 8)
        self.fc = nn.Sequential(nn.Linear(channels, inner), nn.ReLU(), nn.Linear(inner, channels), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc(x.mean(dim=(2, 3)))[:, :, None, None]


class SpeechBlock(nn.Module):
    """Residual block with squeeze and excitation; its first norm comes after the ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.se = SqueezeExcitation(outputs)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(F.relu(self.conv1(x)))
        y = self.se(self.bn2(self.conv2(y)))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class SpeechResNet(nn.Module):
    """ResNetSE-34 of half width with attentive pooling over the last axis (Chung et al., Interspeech 2020).

    Args:
        rows: height of the spectrogram, whose columns may be any number.
        outputs: numbers it is summed up in.
    """

    def __init__(self, rows: int, outputs: int, width: float = 1.0):
        super().__init__()
        base = 8 * max(1, round(4 * width))
        self.conv1, self.bn1 = nn.Conv2d(1, base, 3, 1, 1), nn.BatchNorm2d(base)
        inputs = base
        for stage, blocks in enumerate((3, 4, 6, 3)):
            channels = base << stage
            layers = [SpeechBlock(inputs, channels, 1 if stage == 0 else 2)]
            layers += [SpeechBlock(channels, channels, 1) for _ in range(blocks - 1)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
            inputs = channels
        size, inner = inputs * math.ceil(rows / 8), 4 * base
        self.attention = nn.Sequential(
            nn.Conv1d(size, inner, 1), nn.ReLU(), nn.BatchNorm1d(inner), nn.Conv1d(inner, size, 1), nn.Softmax(dim=2)
        )
        self.fc = nn.Linear(size, outputs)

    def forward(self, spectrograms: Tensor) -> Tensor:
        """(n, 1, rows, columns) -> (n, outputs)."""
        x = self.bn1(F.relu(self.conv1(spectrograms)))
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
        x = x.flatten(1, 2)
        return self.fc((x * self.attention(x)).sum(dim=2))


class SpeechEncoder(nn.Module):
    """netA_sync: what is said in 0.2 s around a frame."""

    def __init__(self, num_classes: int = 5830, width: float = 1.0):
        super().__init__()
        size = Widths.of(width).feature
        self.model = SpeechResNet(80, size, width)
        self.fc = nn.Linear(size, num_classes)

    def forward(self, spectrograms: Tensor) -> Tensor:
        """(n, 1, 80 mel, 20 time) -> (n, 512); clips (B, L, 1, 80, 20) are flattened, clip by clip. Any time goes."""
        return self.model(spectrograms.flatten(0, 1) if spectrograms.dim() == 5 else spectrograms)


class VoiceIdentityEncoder(nn.Module):
    """netA: who speaks, from 3.2 s of speech; time is the height of its input, and attention pools over the mel axis.

    Args:
        rows: of the spectrogram, 100 per second.
    """

    def __init__(self, num_classes: int = 5830, width: float = 1.0, rows: int = 320):
        super().__init__()
        size, self.rows = Widths.of(width).identity, rows
        self.model = SpeechResNet(rows, size, width)
        self.fc = nn.Linear(size, num_classes)

    def forward(self, spectrograms: Tensor) -> Tensor:
        """(n, 1, 320 time, 80 mel) -> (n, 2048)."""
        return self.model(spectrograms)
