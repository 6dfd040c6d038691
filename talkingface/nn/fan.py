"""The trunk of the face alignment network (Bulat and Tzimiropoulos, ICCV 2017) under its published names."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FanBlock(nn.Module):
    """Three 3x3 convolutions, each after its norm and ReLU; their outputs are a half and two quarters of the channels."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        half, quarter = outputs // 2, outputs // 4
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, half, 3, padding=1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(half), nn.Conv2d(half, quarter, 3, padding=1, bias=False)
        self.bn3, self.conv3 = nn.BatchNorm2d(quarter), nn.Conv2d(quarter, quarter, 3, padding=1, bias=False)
        self.downsample: nn.Sequential | None = None
        if inputs != outputs:
            self.downsample = nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(), nn.Conv2d(inputs, outputs, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        first = self.conv1(F.relu(self.bn1(x)))
        second = self.conv2(F.relu(self.bn2(first)))
        third = self.conv3(F.relu(self.bn3(second)))
        return torch.cat((first, second, third), dim=1) + (x if self.downsample is None else self.downsample(x))


class Hourglass(nn.Module):
    """Down and up again, with a shortcut on each level; dropout on the shortcuts, in training only, is not in the public FAN.

    Args:
        align_corners: of the bilinear way up; DAVS was trained with True, PC-AVS with False.
    """

    def __init__(self, depth: int, channels: int, align_corners: bool, dropout: float = 0.5):
        super().__init__()
        self.depth, self.align_corners, self.dropout = depth, align_corners, nn.Dropout(dropout)
        for level in range(depth, 0, -1):
            for branch in ("b1", "b2", "b3"):
                self.add_module(f"{branch}_{level}", FanBlock(channels, channels))
        self.b2_plus_1 = FanBlock(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.descend(x, self.depth)

    def descend(self, x: Tensor, level: int) -> Tensor:
        """The levels from `level` down to 1, and back."""
        upper = self.dropout(getattr(self, f"b1_{level}")(x))
        lower = getattr(self, f"b2_{level}")(F.max_pool2d(x, 2))
        lower = self.descend(lower, level - 1) if level > 1 else self.b2_plus_1(lower)
        lower = getattr(self, f"b3_{level}")(lower)
        return upper + F.interpolate(lower, upper.shape[-2:], mode="bilinear", align_corners=self.align_corners)


class FanTrunk(nn.Module):
    """Picture -> maps of the 68 points at a quarter of its size; one stack.

    Args:
        align_corners: of the hourglass.
        width: factor of the inner channels, 1 = published; networks below it leave out less, as they have less to spare.
    """

    def __init__(self, align_corners: bool, width: float = 1.0, points: int = 68):
        super().__init__()
        channels = [4 * max(4, round(c * width / 4)) for c in (64, 128, 256)]
        self.conv1, self.bn1 = nn.Conv2d(3, channels[0], 7, 2, 3), nn.BatchNorm2d(channels[0])
        self.conv2 = FanBlock(channels[0], channels[1])
        self.conv3 = FanBlock(channels[1], channels[1])
        self.conv4 = FanBlock(channels[1], channels[2])
        self.m0 = Hourglass(4, channels[2], align_corners, dropout=0.5 * min(1.0, width))
        self.top_m_0 = FanBlock(channels[2], channels[2])
        self.conv_last0, self.bn_end0 = nn.Conv2d(channels[2], channels[2], 1), nn.BatchNorm2d(channels[2])
        self.l0 = nn.Conv2d(channels[2], points, 1)

    def forward(self, faces: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, 68, S / 4, S / 4)."""
        x = F.relu(self.bn1(self.conv1(faces)))
        x = F.max_pool2d(self.conv2(x), 2)
        x = self.m0(self.conv4(self.conv3(x)))
        return self.l0(F.relu(self.bn_end0(self.conv_last0(self.top_m_0(x)))))


def start_squeeze(conv: nn.Conv2d, fc: nn.Linear) -> None:
    """Start what reads the maps of points (ReLU, convolution to one channel, ReLU, linear) so that it learns.

    What the convolution reads is positive, and other starts soon leave only zeros behind its ReLU; what all places of its map
    have in common says nothing.
    """
    with torch.no_grad():
        conv.weight.uniform_(0, 0.08)
        fc.weight -= fc.weight.mean(dim=1, keepdim=True)
