"""S3FD, the single-shot scale-invariant face detector (Zhang et al., 2017), in the two variants that models were made with.

`FaceAlignmentS3FD` (s3fd.pth, of face_alignment and Wav2Lip) and `SyncNetS3FD` (sfd_face.pth, of syncnet_python) are one
network under different names; they differ in the sixth convolution, one pool's rounding, the means, and what is kept.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talkingface.nn.weights import register_network

FIRST_STRIDE = 4  # pixels between neighboring cells of level 0; each level doubles it
CELL_TO_FACE = 4  # side of the face that a cell stands for, in strides
CENTER_VARIANCE, SIZE_VARIANCE = 0.1, 0.2
PIXELS_AT_ONCE = 1280 * 720  # pictures per batch are limited so that memory is
SMALLEST = 32  # pixels of a side; less vanishes in the pools, so smaller pictures are padded right and below
NORM_SCALES = (10.0, 8.0, 5.0)
# (inputs, outputs, kernel, stride) of each convolution; a 2 x 2 pool lies before blocks 1 to 5
BLOCKS = (
    ((3, 64, 3, 1), (64, 64, 3, 1)),
    ((64, 128, 3, 1), (128, 128, 3, 1)),
    ((128, 256, 3, 1), (256, 256, 3, 1), (256, 256, 3, 1)),
    ((256, 512, 3, 1), (512, 512, 3, 1), (512, 512, 3, 1)),
    ((512, 512, 3, 1), (512, 512, 3, 1), (512, 512, 3, 1)),
    ((512, 1024, 3, 1), (1024, 1024, 1, 1)),
    ((1024, 256, 1, 1), (256, 512, 3, 2)),
    ((512, 128, 1, 1), (128, 256, 3, 2)),
)
POOLS_BEFORE = range(1, 6)
FIRST_LEVEL = 2  # the block whose output is level 0
CHANNELS = (256, 512, 512, 1024, 512, 256)  # of the levels


class Level(NamedTuple):
    """What the network says about the cells of one level.

    Attributes:
        logits: (B, 2, h, w) of background and face.
        offsets: (B, 4, h, w) of the face from the cell's own: center x, y, log width, log height, over the variances.
    """

    logits: Tensor
    offsets: Tensor


class ChannelNorm(nn.Module):
    """Unit length over the channels of each cell, times a weight per channel."""

    def __init__(self, channels: int, scale: float):
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), scale))

    def forward(self, x: Tensor) -> Tensor:
        return x / (x.pow(2).sum(dim=1, keepdim=True).sqrt() + 1e-10) * self.weight[:, None, None]


class S3FD(nn.Module, ABC):
    """The network and the way from pictures to faces. A variant gives the parts their names.

    Attributes:
        means: subtracted from R, G, B.
        pixel_boxes: corners are pixels that belong to the box: a side is x2 - x1 + 1.
        ceil_pool: the block before which the pool rounds up.
        sixth_padding, sixth_dilation: of the first convolution of block 5.
    """

    means: ClassVar[tuple[float, float, float]]
    pixel_boxes: ClassVar[bool]
    ceil_pool: ClassVar[int | None]
    sixth_padding: ClassVar[int]
    sixth_dilation: ClassVar[int]

    @abstractmethod
    def convolutions(self) -> Sequence[Sequence[nn.Module]]:
        """The convolutions of each block."""

    @abstractmethod
    def heads(self) -> tuple[Sequence[nn.Module], Sequence[nn.Module], Sequence[nn.Module]]:
        """(norms of the first three levels, heads for logits, heads for offsets)."""

    def forward(self, pictures: Tensor) -> list[Level]:
        """(B, 3, H, W) RGB in [0, 255] less the means -> six levels, from small faces to large ones."""
        norms, to_logits, to_offsets = self.heads()
        levels: list[Level] = []
        x = pictures
        for number, block in enumerate(self.convolutions()):
            if number in POOLS_BEFORE:
                x = F.max_pool2d(x, 2, ceil_mode=number == self.ceil_pool)
            for convolution in block:
                x = F.relu_(convolution(x))
            if number >= FIRST_LEVEL:
                k = len(levels)
                features = norms[k](x) if k < len(norms) else x
                levels.append(Level(_two_logits(to_logits[k](features)), to_offsets[k](features)))
        return levels

    @torch.no_grad()
    def candidates(self, pictures: Tensor, min_score: float) -> list[np.ndarray]:
        """Every cell of every picture that sees a face.

        Args:
            pictures: (B, 3, H, W) RGB in [0, 255], not yet less the means.

        Returns:
            Per picture (N, 5) float32: x1, y1, x2, y2 in its pixels, score above `min_score`; best first.
        """
        x = pictures - pictures.new_tensor(self.means)[:, None, None]
        levels = self(F.pad(x, (0, max(0, SMALLEST - x.shape[3]), 0, max(0, SMALLEST - x.shape[2]))))
        found = [_decode(level, FIRST_STRIDE * 2**k, min_score) for k, level in enumerate(levels)]
        return [_best_first(np.concatenate([rows[i] for rows in found])) for i in range(len(pictures))]

    def _batches(self, images: Sequence[np.ndarray], scale: float = 1.0) -> Iterator[Tensor]:
        """(b, 3, H, W) of neighbors of the same size, b so small that memory stays bounded."""
        weight = next(self.parameters())
        start = 0
        while start < len(images):
            height, width = images[start].shape[:2]
            most = max(1, int(PIXELS_AT_ONCE / (height * width * scale**2)))
            stop = start + 1
            while stop < min(start + most, len(images)) and images[stop].shape == images[start].shape:
                stop += 1
            batch = np.stack([_rescaled(image, scale) for image in images[start:stop]])
            yield torch.from_numpy(batch).permute(0, 3, 1, 2).to(weight)
            start = stop


class FaceAlignmentS3FD(S3FD):
    """The detector of face_alignment and Wav2Lip, weights s3fd.pth. Its means are those of B, G, R, as it was trained."""

    means, pixel_boxes = (104.0, 117.0, 123.0), True
    ceil_pool, sixth_padding, sixth_dilation = None, 3, 1
    names = (
        *[[f"conv{block}_{k}" for k in range(1, count + 1)] for block, count in ((1, 2), (2, 2), (3, 3), (4, 3), (5, 3))],
        ["fc6", "fc7"],
        ["conv6_1", "conv6_2"],
        ["conv7_1", "conv7_2"],
    )
    sources = ("conv3_3_norm", "conv4_3_norm", "conv5_3_norm", "fc7", "conv6_2", "conv7_2")

    def __init__(self) -> None:
        super().__init__()
        for names, convolutions in zip(self.names, _make_convolutions(self), strict=True):
            for name, convolution in zip(names, convolutions, strict=True):
                self.add_module(name, convolution)
        for source, norm in zip(self.sources, _make_norms(), strict=False):
            self.add_module(source, norm)
        logits, offsets = _make_heads()
        for source, to_logits, to_offsets in zip(self.sources, logits, offsets, strict=True):
            self.add_module(f"{source}_mbox_conf", to_logits)
            self.add_module(f"{source}_mbox_loc", to_offsets)

    def convolutions(self):
        return [[getattr(self, name) for name in names] for names in self.names]

    def heads(self):
        norms = [getattr(self, source) for source in self.sources[:3]]
        return norms, *([getattr(self, f"{source}_mbox_{kind}") for source in self.sources] for kind in ("conf", "loc"))

    def detect(self, images: Sequence[np.ndarray], threshold: float = 0.5) -> list[np.ndarray]:
        """Find faces.

        Args:
            images: each (H, W, 3) uint8 RGB; an array (B, H, W, 3) will do.

        Returns:
            Per image (N, 5) float32: x1, y1, x2, y2, score above `threshold`; best first, not clipped to the image.
        """
        # What scores less never suppresses what scores more: the authors' lower first threshold changes nothing.
        found = (rows for batch in self._batches(images) for rows in self.candidates(batch, threshold))
        return [rows[suppress(rows, 0.3, self.pixel_boxes)] for rows in found]


class SyncNetS3FD(S3FD):
    """The detector of syncnet_python, weights sfd_face.pth."""

    means, pixel_boxes = (123.0, 117.0, 104.0), False
    ceil_pool, sixth_padding, sixth_dilation = 3, 6, 6
    positions = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28), (31, 33))  # in the authors' VGG list
    at_most, considered = 750, 5000  # faces that their first suppression keeps, and looks at

    def __init__(self) -> None:
        super().__init__()
        *vgg, block6, block7 = _make_convolutions(self)
        numbered = zip(self.positions, vgg, strict=True)
        self.vgg = nn.ModuleDict({str(k): conv for ks, block in numbered for k, conv in zip(ks, block, strict=True)})
        self.L2Norm3_3, self.L2Norm4_3, self.L2Norm5_3 = _make_norms()
        self.extras = nn.ModuleList((*block6, *block7))
        self.conf, self.loc = map(nn.ModuleList, _make_heads())

    def convolutions(self):
        vgg = [[self.vgg[str(k)] for k in ks] for ks in self.positions]
        return [*vgg, list(self.extras[:2]), list(self.extras[2:])]

    def heads(self):
        return [self.L2Norm3_3, self.L2Norm4_3, self.L2Norm5_3], self.conf, self.loc

    def first_faces(self, pictures: Tensor, min_score: float = 0.05) -> list[np.ndarray]:
        """Per picture of a batch (B, 3, H, W) RGB in [0, 255]: faces after the first, weak suppression, as `detect` returns."""
        found = (rows[: self.considered] for rows in self.candidates(pictures, min_score))
        return [rows[suppress(rows, 0.3, self.pixel_boxes)][: self.at_most] for rows in found]

    def detect(self, images: Sequence[np.ndarray], threshold: float = 0.9, scale: float = 0.25) -> list[np.ndarray]:
        """Find faces.

        Args:
            images: each (H, W, 3) uint8 RGB; an array (B, H, W, 3) will do.
            scale: the image is resized by this before it is searched; small is fast and misses small faces.

        Returns:
            Per image (N, 5) float32: x1, y1, x2, y2 in its own pixels, score above `threshold`; best first, not clipped.
        """
        found: list[np.ndarray] = []
        for batch in self._batches(images, scale):
            for rows in self.first_faces(batch, threshold):
                height, width = images[len(found)].shape[:2]
                factor = (width / batch.shape[3], height / batch.shape[2])
                rows[:, :4] *= np.array([*factor, *factor], np.float32)
                found.append(rows[suppress(rows, 0.1, self.pixel_boxes)])
        return found


def best_box(faces: np.ndarray) -> tuple[int, int, int, int] | None:
    """The best of one image's (N, 5) faces as Wav2Lip takes it: negatives to 0, then cut to integers; None without faces."""
    if len(faces) == 0:
        return None
    x1, y1, x2, y2 = (int(side) for side in np.maximum(faces[0, :4], 0))
    return x1, y1, x2, y2


def suppress(faces: np.ndarray, overlap: float, pixel_boxes: bool) -> np.ndarray:
    """Drop faces that overlap a better one.

    Args:
        faces: (N, 5) x1, y1, x2, y2, score, best first.
        overlap: largest allowed intersection over union.
        pixel_boxes: the corners are pixels that belong to the box, so that a side is x2 - x1 + 1.

    Returns:
        Indices of the kept ones, best first.
    """
    one = np.float32(pixel_boxes)
    x1, y1, x2, y2 = faces[:, :4].T
    areas = (x2 - x1 + one) * (y2 - y1 + one)
    left = np.arange(len(faces))
    kept = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        width = np.minimum(x2[best], x2[left]) - np.maximum(x1[best], x1[left]) + one
        height = np.minimum(y2[best], y2[left]) - np.maximum(y1[best], y1[left]) + one
        common = np.maximum(width, 0) * np.maximum(height, 0)
        left = left[common <= overlap * (areas[best] + areas[left] - common)]
    return np.array(kept, int)


def priors(height: int, width: int, stride: int) -> np.ndarray:
    """(h, w, 4) float32: center x, y, width and height in pixels of the face that each cell of a level stands for."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    size = np.full_like(x, CELL_TO_FACE * stride)
    return np.stack(((x + 0.5) * stride, (y + 0.5) * stride, size, size), axis=-1)


def _decode(level: Level, stride: int, min_score: float) -> list[np.ndarray]:
    """Per picture the faces (N, 5) of the cells that score above `min_score`, in pixels."""
    scores = level.logits.softmax(dim=1)[:, 1].float().cpu().numpy()
    offsets = level.offsets.permute(0, 2, 3, 1).float().cpu().numpy()
    cells = priors(scores.shape[1], scores.shape[2], stride)
    found = []
    for score, offset in zip(scores, offsets, strict=True):
        seen = score > min_score
        cell, shift = cells[seen], offset[seen]
        size = cell[:, 2:] * np.exp(SIZE_VARIANCE * shift[:, 2:])
        low = cell[:, :2] + CENTER_VARIANCE * shift[:, :2] * cell[:, 2:] - size / 2
        found.append(np.concatenate((low, low + size, score[seen, None]), axis=1))
    return found


def _best_first(faces: np.ndarray) -> np.ndarray:
    return faces[np.argsort(-faces[:, 4], kind="stable")]


def _two_logits(logits: Tensor) -> Tensor:
    """Level 0 has three logits for the background, of which the largest counts."""
    if logits.shape[1] == 2:
        return logits
    return torch.cat((logits[:, :-1].amax(dim=1, keepdim=True), logits[:, -1:]), dim=1)


def _rescaled(image: np.ndarray, scale: float) -> np.ndarray:
    if scale == 1:
        return image
    import cv2

    height, width = image.shape[:2]
    return cv2.resize(image, (0, 0), fx=max(scale, 1 / width), fy=max(scale, 1 / height), interpolation=cv2.INTER_LINEAR)


def _make_convolutions(variant: S3FD) -> list[list[nn.Conv2d]]:
    blocks = [[nn.Conv2d(i, o, kernel, stride, kernel // 2) for i, o, kernel, stride in block] for block in BLOCKS]
    blocks[5][0] = nn.Conv2d(512, 1024, 3, padding=variant.sixth_padding, dilation=variant.sixth_dilation)
    return blocks


def _make_norms() -> list[ChannelNorm]:
    return [ChannelNorm(channels, scale) for channels, scale in zip(CHANNELS, NORM_SCALES, strict=False)]


def _make_heads() -> tuple[list[nn.Conv2d], list[nn.Conv2d]]:
    logits = [nn.Conv2d(channels, 4 if level == 0 else 2, 3, padding=1) for level, channels in enumerate(CHANNELS)]
    return logits, [nn.Conv2d(channels, 4, 3, padding=1) for channels in CHANNELS]


register_network("the face detector of face_alignment and Wav2Lip (s3fd.pth, s3fd-619a316812.pth)", FaceAlignmentS3FD)
register_network("the face detector of syncnet_python (sfd_face.pth)", SyncNetS3FD)
