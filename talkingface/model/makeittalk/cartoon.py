"""Cartoons that speak: a character's points as they move, and its frames (the original's facewarp, on any system)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from talkingface.model.makeittalk.landmarks import resample, smooth, to_pixels
from talkingface.model.makeittalk.puppet import Puppet
from talkingface.model.makeittalk.speech import ROWS_PER_SECOND
from talkingface.model.makeittalk.warp import TriangleWarp

FACE_WINDOW, MOUTH_WINDOW = 17, 11  # rows over which a cartoon's landmarks are smoothed


def moving_points(rows: np.ndarray, scale: float, shift: np.ndarray, kept: Sequence[int], border: np.ndarray) -> np.ndarray:
    """Where a character's points go, as the authors write them to warped_points.txt.

    Args:
        rows: (N, 68, 3) normalised landmarks.
        scale, shift: of the character.
        kept: which landmarks its triangles join.
        border: (B, 2) the points behind them, which stay.

    Returns:
        (N, len(kept) + B, 2) pixels, with two decimals.
    """
    points = np.empty((len(rows), len(kept) + len(border), 2), rows.dtype)
    landmarks = points[:, : len(kept)]
    for place, point in enumerate(kept):
        landmarks[:, place] = rows[:, point, :2]
    to_pixels(landmarks, scale, shift, out=landmarks)
    smooth(landmarks, FACE_WINDOW, MOUTH_WINDOW, kept, out=landmarks)
    points[:, len(kept) :] = border
    return np.round(points, 2, out=points)


def puppet_points(puppet: Puppet, rows: np.ndarray) -> np.ndarray:
    """`moving_points` of a character: (N, P, 2)."""
    return moving_points(rows, puppet.scale, puppet.shift, puppet.layout.kept, puppet.border)


def cartoon_frames(puppet: Puppet, points: np.ndarray, beyond: str = "edge") -> Iterator[np.ndarray]:
    """A character whose points move: a frame (H, W, 3) uint8 RGB for each of (N, P, 2). One like the last is not drawn again."""
    warp = TriangleWarp(puppet.picture, puppet.triangles, puppet.reference, puppet.background, beyond)
    frame, before = np.empty(0, np.uint8), np.empty(0)
    for now in points:
        if not np.array_equal(now, before):
            frame, before = warp.frame(now), now
        yield frame


# --- a look at a character before any network has been trained --------------------------------------------------------


def preview_rows(puppet: Puppet, count: int) -> np.ndarray:
    """A character that opens and closes its mouth three times and sways its head: (count, 68, 3), normalised."""
    opened = puppet.closed.copy()
    opened[:, :2] = -(puppet.open_mouth + puppet.shift) * puppet.scale
    phase = 2 * np.pi * np.arange(count)[:, None, None] / count
    mouth = (1 - np.cos(3 * phase)) / 2
    sway = np.concatenate((0.06 * np.sin(phase), 0.03 * np.sin(2 * phase), np.zeros_like(phase)), axis=2)
    return (1 - mouth) * puppet.closed + mouth * opened + sway


def preview_frames(puppet: Puppet, fps: float, seconds: float = 2.0) -> Iterator[np.ndarray]:
    """The frames of `preview_rows`."""
    rows = preview_rows(puppet, round(seconds * ROWS_PER_SECOND))
    return cartoon_frames(puppet, resample(puppet_points(puppet, rows), ROWS_PER_SECOND, fps))
