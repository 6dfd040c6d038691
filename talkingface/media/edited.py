"""EditedVideo: a video seen smaller, turned or cut."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from talkingface.errors import MediaError
from talkingface.media.image import resize
from talkingface.media.video import Video


class EditedVideo(Video):
    """A video that is made smaller, then turned, then cut, as its frames come.

    Args:
        resize_factor: both sides are divided by it.
        rotate: turn by 90 degrees clockwise.
        crop: rows and columns that are kept: top, bottom, left, right; -1 = to the border.
    """

    def __init__(
        self,
        path: Path | str,
        fps: float | None = None,
        stop: float = math.inf,
        resize_factor: int = 1,
        rotate: bool = False,
        crop: Sequence[int] = (0, -1, 0, -1),
    ):
        super().__init__(path, fps, stop=None if math.isinf(stop) else stop)
        self.edits = (int(resize_factor), bool(rotate), tuple(int(side) for side in crop))

    @property
    def is_edited(self) -> bool:
        """Whether this differs from the file."""
        return self.edits != (1, False, (0, -1, 0, -1))

    def __iter__(self) -> Iterator[np.ndarray]:
        for frame in Video(self.path, self._fps, self.start, None if math.isinf(self.stop) else self.stop):
            yield self.edit(frame)

    def edit(self, frame: np.ndarray) -> np.ndarray:
        """A frame of the file as this shows it.

        Raises:
            MediaError: nothing of the frame is left.
        """
        factor, rotate, (top, bottom, left, right) = self.edits
        height, width = frame.shape[:2]
        if factor > 1:
            frame = resize(frame, (max(1, width // factor), max(1, height // factor)))
        if rotate:
            frame = np.rot90(frame, -1)
        height, width = frame.shape[:2]
        frame = frame[top : height if bottom == -1 else bottom, left : width if right == -1 else right]
        if not frame.size:
            sides = [top, bottom, left, right]
            raise MediaError(f"{self.path}: nothing is left of its {width} x {height} pixels by crop {sides}.")
        return np.ascontiguousarray(frame)

    def edit_points(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) in the file's frames as points in what this shows, perhaps beyond its borders."""
        factor, rotate, (top, _, left, _) = self.edits
        x, y = (points[..., 0] + 0.5) / factor - 0.5, (points[..., 1] + 0.5) / factor - 0.5
        if rotate:
            x, y = super().height // factor - 1 - y, x
        return np.stack((x - left, y - top), axis=-1)

    def edit_boxes(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes (T, 4) in the file's frames as boxes in what this shows; NaN where nothing of a box is left."""
        factor, rotate, (top, _, left, _) = self.edits
        x1, y1, x2, y2 = boxes.T / factor
        if rotate:
            height = super().height // factor
            x1, y1, x2, y2 = height - y2, x1, height - y1, x2
        sides = np.stack((x1 - left, y1 - top, x2 - left, y2 - top), axis=1)
        sides = np.clip(sides, 0, (self.width, self.height) * 2)
        sides[(sides[:, 2] <= sides[:, 0]) | (sides[:, 3] <= sides[:, 1])] = np.nan
        return sides

    @property
    def width(self) -> int:
        return self._edited_size[0]

    @property
    def height(self) -> int:
        return self._edited_size[1]

    @property
    def _edited_size(self) -> tuple[int, int]:
        blank = np.broadcast_to(np.zeros((), np.uint8), (super().height, super().width, 3))
        height, width = self.edit(blank).shape[:2] if self.is_edited else blank.shape[:2]
        return width, height

    def content_hash(self) -> str:
        """Fingerprint of what is seen: that of the file, unless this is edited."""
        original = super().content_hash()
        return hashlib.blake2b(f"{original} {self.edits}".encode(), digest_size=16).hexdigest() if self.is_edited else original
