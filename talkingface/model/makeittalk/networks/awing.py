"""Adaptive-Wing face alignment (Wang et al., ICCV 2019): 98 landmarks of a face, for the training of the image translation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talkingface.nn.fan import FanBlock, Hourglass
from talkingface.nn.weights import register_network

STACKS, POINTS, CHANNELS = 4, 98, 256
EDGE = 0.05  # of the boundary map, from which on a place belongs to the boundary
CELL = 4  # pixels of the picture per cell of a map


def coordinates(like: Tensor) -> Tensor:
    """(B, 3, H, W): row and column in [-1, 1], and the distance from the middle as a share of the largest."""
    height, width = like.shape[-2:]
    rows = torch.linspace(-1, 1, height, device=like.device, dtype=like.dtype)[:, None].expand(-1, width)
    columns = torch.linspace(-1, 1, width, device=like.device, dtype=like.dtype)[None].expand(height, -1)
    radius = torch.hypot(rows, columns)
    return torch.stack((rows, columns, radius / radius.max())).expand(len(like), -1, -1, -1)


def boundary(maps: Tensor) -> Tensor:
    """(B, 2, h, w): row and column where the last map of a stack says that there is a boundary, else 0."""
    return coordinates(maps)[:, :2] * (maps[:, -1:].clamp(0, 1) > EDGE)


class CoordConv(nn.Module):
    """A convolution that also sees where it is."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, padding: int = 0):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding)

    def forward(self, x: Tensor, further: Tensor | None = None) -> Tensor:
        parts = (x, coordinates(x)) if further is None else (x, coordinates(x), further)
        return self.conv(torch.cat(parts, dim=1))


class CoordHourglass(Hourglass):
    """An hourglass that also sees where it is, and where the last one saw the face's boundary.

    Args:
        first: there was no last one.
    """

    def __init__(self, first: bool):
        super().__init__(4, CHANNELS, align_corners=False, dropout=0.0)
        self.coordconv = CoordConv(CHANNELS + (3 if first else 5), CHANNELS)

    def forward(self, x: Tensor, last: Tensor | None = None) -> Tensor:
        return self.descend(self.coordconv(x, None if last is None else boundary(last)), self.depth)

    def descend(self, x: Tensor, level: int) -> Tensor:
        upper = getattr(self, f"b1_{level}")(x)
        lower = getattr(self, f"b2_{level}")(F.avg_pool2d(x, 2))
        lower = self.descend(lower, level - 1) if level > 1 else self.b2_plus_1(lower)
        return upper + F.interpolate(getattr(self, f"b3_{level}")(lower), scale_factor=2)


class AwingFan(nn.Module):
    """Four hourglasses, each of which mends what the one before it saw. (FAN(4, False, False, 98))"""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = CoordConv(6, 64, 7, 2, 3), nn.BatchNorm2d(64)
        self.conv2, self.conv3, self.conv4 = FanBlock(64, 128), FanBlock(128, 128), FanBlock(128, CHANNELS)
        for i in range(STACKS):
            self.add_module(f"m{i}", CoordHourglass(first=i == 0))
            self.add_module(f"top_m_{i}", FanBlock(CHANNELS, CHANNELS))
            self.add_module(f"conv_last{i}", nn.Conv2d(CHANNELS, CHANNELS, 1))
            self.add_module(f"bn_end{i}", nn.BatchNorm2d(CHANNELS))
            self.add_module(f"l{i}", nn.Conv2d(CHANNELS, POINTS + 1, 1))
            if i < STACKS - 1:
                self.add_module(f"bl{i}", nn.Conv2d(CHANNELS, CHANNELS, 1))
                self.add_module(f"al{i}", nn.Conv2d(POINTS + 1, CHANNELS, 1))

    def forward(self, faces: Tensor) -> list[Tensor]:
        """(B, 3, 256, 256) -> of each stack (B, 99, 64, 64): maps of the points, and last of the face's boundary."""
        x = F.relu(self.bn1(self.conv1(faces)))
        x = F.avg_pool2d(self.conv2(x), 2)
        x = self.conv4(self.conv3(x))
        maps: list[Tensor] = []
        for i in range(STACKS):
            seen = getattr(self, f"top_m_{i}")(getattr(self, f"m{i}")(x, maps[-1] if maps else None))
            seen = F.relu(getattr(self, f"bn_end{i}")(getattr(self, f"conv_last{i}")(seen)))
            maps.append(getattr(self, f"l{i}")(seen))
            if i < STACKS - 1:
                x = x + getattr(self, f"bl{i}")(seen) + getattr(self, f"al{i}")(maps[-1])
        return maps

    @torch.inference_mode()
    def landmarks(self, faces: Tensor) -> Tensor:
        """(B, 3, 256, 256) -> (B, 98, 2), x before y, in pixels."""
        return places(self(faces)[-1][:, :POINTS])


def places(maps: Tensor) -> Tensor:
    """The highest cell of (B, P, h, w) maps, a quarter of a cell toward its higher neighbors: (B, P, 2) in pixels."""
    width = maps.shape[-1]
    cells = maps.flatten(2).argmax(dim=2)
    x, y = cells % width, cells // width
    padded = F.pad(maps, (1, 1, 1, 1), mode="replicate").flatten(2)
    middle = (y + 1) * (width + 2) + x + 1

    def slope(step: int) -> Tensor:
        after, before = (padded.gather(2, (middle + sign * step)[..., None])[..., 0] for sign in (1, -1))
        return (after - before).sign()

    inside = (x > 0) & (x < width - 1) & (y > 0) & (y < maps.shape[-2] - 1)
    shift = torch.stack((slope(1), slope(width + 2)), dim=-1) * inside[..., None]
    return CELL * (torch.stack((x, y), dim=-1) + 0.5 + 0.25 * shift)


register_network("the Adaptive-Wing face alignment (WFLW_4HG.pth)", AwingFan)
