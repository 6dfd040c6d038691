"""Warping a picture by triangles: what the authors' facewarp.exe draws with OpenGL, on any system.

Each triangle of the picture is drawn where its corners have moved to, later ones over earlier ones, over a background. The
two triangles of an edge compute where it crosses a row of pixels by the same numbers, so that they meet without a gap.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from talkingface.media.image import resize

BEYOND = {"repeat": cv2.BORDER_WRAP, "edge": cv2.BORDER_REPLICATE}
LINE = 1e-9  # a triangle of less than this, in square pixels, is a line and is not drawn


class Spans(NamedTuple):
    """Runs of pixels, each in one row and in one triangle, in drawing order.

    Attributes:
        owner: (R,) which triangle.
        row, start, stop: (R,) the pixels (start, row) to (stop - 1, row).
    """

    owner: np.ndarray
    row: np.ndarray
    start: np.ndarray
    stop: np.ndarray


class TriangleWarp:
    """A picture that is bent by moving the corners of its triangles.

    As in the original, a point x of the picture shows texel x W / (W - 1) - 1 / 2; the warp is affine within a triangle and
    bilinear between texels.

    Args:
        picture: (H, W, 3 or 4) uint8 RGB; a fourth channel says how opaque a pixel is. Frames have this size.
        triangles: (N, 3) indices of points, in drawing order.
        reference: (P, 2) x, y of the points in the picture, pixels.
        background: (h, w, 3) uint8 RGB, stretched over the frame; white by default.
        beyond: what lies beyond the picture's border: "repeat": the picture again, as in the original; "edge": its last pixels.
    """

    def __init__(
        self,
        picture: np.ndarray,
        triangles: np.ndarray,
        reference: np.ndarray,
        background: np.ndarray | None = None,
        beyond: str = "repeat",
    ):
        self.beyond = beyond
        self.height, self.width = picture.shape[:2]
        alpha = picture[..., 3:] if picture.shape[2] == 4 else np.full((self.height, self.width, 1), 255, np.uint8)
        color = (picture[..., :3].astype(np.uint16) * alpha // 255).astype(np.uint8)
        self.texture = np.ascontiguousarray(np.concatenate((color, alpha), axis=2))
        self.background = np.full((self.height, self.width, 3), 255, np.uint8)
        if background is not None:
            self.background = resize(background[..., :3], (self.width, self.height))
        self.triangles = np.asarray(triangles, np.int64)
        size = np.array([self.width, self.height], np.float64)
        self.texels = (np.asarray(reference, np.float64) * size / np.maximum(size - 1, 1) - 0.5)[self.triangles]

    def frame(self, points: np.ndarray) -> np.ndarray:
        """The picture with its points (P, 2) moved to these pixels: (H, W, 3) uint8 RGB."""
        corners = np.asarray(points, np.float64)[self.triangles]
        pixels, texels = self.texels_of(spans(corners, self.width, self.height), affine_maps(corners, self.texels))
        frame = self.background.reshape(-1, 3).copy()
        for chosen in layers(pixels, self.height * self.width):
            frame[pixels[chosen]] = blend(self.sample(texels[:, chosen]), frame[pixels[chosen]])
        return frame.reshape(self.height, self.width, 3)

    def texels_of(self, runs: Spans, maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels of the frame, (M,) row by row, and what each shows: (2, M) float32 x, y in texels, in drawing order."""
        lengths = runs.stop - runs.start
        ends = np.cumsum(lengths)
        steps = np.arange(ends[-1] if len(ends) else 0, dtype=np.int32) - np.repeat((ends - lengths).astype(np.int32), lengths)
        pixels = np.repeat(runs.row * self.width + runs.start, lengths) + steps
        per_x, per_y, rest = np.moveaxis(maps[runs.owner], 2, 0)  # each (R, 2)
        first = per_x * (runs.start + 0.5)[:, None] + per_y * (runs.row + 0.5)[:, None] + rest
        start, step = (np.repeat(numbers.T.astype(np.float32), lengths, axis=1) for numbers in (first, per_x))
        return pixels, start + step * steps

    def sample(self, texels: np.ndarray) -> np.ndarray:
        """The texture at (2, M) x, y: (M, 4) uint8, its colors already multiplied by its opacity."""
        count = texels.shape[1]
        columns = min(count, 4096)  # OpenCV's pictures have sides below 2**15
        padded = np.zeros((2, -(-count // max(columns, 1)) * columns), np.float32)
        padded[:, :count] = texels
        x, y = padded.reshape(2, -1, columns)
        if self.beyond == "repeat":
            x, y = x % self.width, y % self.height
        return cv2.remap(self.texture, x, y, cv2.INTER_LINEAR, borderMode=BEYOND[self.beyond]).reshape(-1, 4)[:count]


def spans(corners: np.ndarray, width: int, height: int) -> Spans:
    """The pixels of a frame whose centers lie in triangles (N, 3, 2); a center on an edge belongs to one side of it alone."""
    ends = np.stack((corners, np.roll(corners, -1, axis=1)), axis=2)  # (N, 3 edges, 2 ends, x and y)
    upside_down = (ends[..., 0, 1] > ends[..., 1, 1]) | (
        (ends[..., 0, 1] == ends[..., 1, 1]) & (ends[..., 0, 0] > ends[..., 1, 0])
    )
    ends = np.where(upside_down[..., None, None], ends[..., ::-1, :], ends).reshape(-1, 2, 2)
    top, bottom = (np.clip(np.ceil(ends[:, k, 1] - 0.5), 0, height).astype(np.int64) for k in (0, 1))
    counts = bottom - top
    edge = np.repeat(np.arange(len(ends)), counts)
    row = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(top, counts)
    (x0, y0), (x1, y1) = ends[:, 0].T, ends[:, 1].T
    slope = (x1 - x0) / np.where(y1 > y0, y1 - y0, 1)
    crossing = x0[edge] + (row + 0.5 - y0[edge]) * slope[edge]
    in_order = np.lexsort((crossing, row, edge // 3))  # each row of a triangle is crossed by two of its edges
    column = np.clip(np.ceil(crossing[in_order] - 0.5), 0, width).astype(np.int64).reshape(-1, 2)
    owner, row = (edge // 3)[in_order[::2]], row[in_order[::2]]
    wide = column[:, 1] > column[:, 0]
    return Spans(owner[wide], row[wide], column[wide, 0], column[wide, 1])


def affine_maps(corners: np.ndarray, texels: np.ndarray) -> np.ndarray:
    """(N, 2, 3) maps A from triangles (N, 3, 2) to those of the texture: A (x, y, 1); 0 for a triangle that is a line."""
    (a, b), (c, d) = (corners[:, 1] - corners[:, 0]).T, (corners[:, 2] - corners[:, 0]).T
    area = a * d - b * c
    flat = np.abs(area) < LINE
    area = np.where(flat, 1, area)[:, None]
    first, second = texels[:, 1] - texels[:, 0], texels[:, 2] - texels[:, 0]
    per_x = (first * d[:, None] - second * b[:, None]) / area
    per_y = (second * a[:, None] - first * c[:, None]) / area
    rest = texels[:, 0] - per_x * corners[:, 0, :1] - per_y * corners[:, 0, 1:]
    return np.where(flat[:, None, None], 0, np.stack((per_x, per_y, rest), axis=2))


def layers(pixels: np.ndarray, count: int) -> list[np.ndarray]:
    """Split a list of pixels, in drawing order, so that no part holds a pixel twice: indices, what is drawn first comes first.

    Where no triangle folds over another there is one part.

    Args:
        count: of the frame's pixels.
    """
    parts, left = [], np.arange(len(pixels))
    while len(left):
        last = np.empty(count, np.int64)
        last[pixels[left]] = left  # of several the last one stays
        is_last = last[pixels[left]] == left
        parts.append(left[is_last])
        left = left[~is_last]
    return parts[::-1]


def blend(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Colors (M, 4), already multiplied by their opacity, over opaque ones (M, 3)."""
    through = 255 - above[:, 3:].astype(np.uint16)
    return np.minimum(above[:, :3] + (below * through + 127) // 255, 255).astype(np.uint8)
