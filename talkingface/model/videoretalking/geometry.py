"""Where the face is: the region that DNet redraws, the boxes that LNet and ENet repaint, and the coefficients that steer DNet."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from talkingface.face.quad import bounds, face_square
from talkingface.face.track import pad_boxes, smooth_boxes_forward

# --- the region of DNet ---------------------------------------------------------------------------------------------------

HUGE = 2048  # pixels: the side of a head's square from which on the authors reduce the frame first
SIDE = 256  # of DNet's pictures, pixels


class HeadCrop(NamedTuple):
    """The authors' cut around a head, in the two steps that they take.

    Attributes:
        part: left, top, right, bottom of the frame's part around the head's square, with a border.
        inner: the same of the upright box around the square, within that part, not yet whole pixels.
        size: width and height of the frame.
    """

    part: tuple[int, int, int, int]
    inner: tuple[float, float, float, float]
    size: tuple[int, int]

    @property
    def region(self) -> tuple[int, int, int, int]:
        """x1, y1, x2, y2 in the frame, whole pixels."""
        (left, top, _, _), (x1, y1, x2, y2) = self.part, map(int, self.inner)
        return left + x1, top + y1, min(left + x2, self.size[0]), min(top + y2, self.size[1])


def head_crop(landmarks: np.ndarray, size: tuple[int, int], faithful: bool = False) -> HeadCrop:
    """Where to cut a head out of its frame.

    Args:
        landmarks: (68, 2) in the frame.
        size: width and height of the frame.
        faithful: keep two slips of the authors: the bottom is limited by the frame's width, and a head of 2048 pixels or
            more gets the numbers of a reduced frame.
    """
    square, frame = face_square(landmarks), size
    quad, side = square.quad, square.side
    shrink = int(np.floor(2 * side / HUGE)) if faithful else 1
    if shrink > 1:
        quad, side = quad / shrink, side / shrink
        frame = (int(np.rint(size[0] / shrink)), int(np.rint(size[1] / shrink)))
    part = bounds(quad, frame, max(int(np.rint(side * 0.1)), 3))
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = quad - part[:2] + 0.5
    right, bottom = size[0], size[0] if faithful else size[1]
    return HeadCrop(part, (max(min(x0, x1), 0), max(min(y0, y3), 0), min(max(x2, x3), right), min(max(y1, y2), bottom)), size)


def to_region(points: np.ndarray, region: np.ndarray, side: int = SIDE) -> np.ndarray:
    """Points (..., 2) of a frame in its region (x1, y1, x2, y2) resized to `side` pixels."""
    return (points - region[:2] + 0.5) * side / (region[2:] - region[:2]) - 0.5


def from_region(points: np.ndarray, region: np.ndarray, side: int = SIDE) -> np.ndarray:
    """The way back of `to_region`."""
    return (points + 0.5) * (region[2:] - region[:2]) / side + region[:2] - 0.5


# --- the boxes of LNet and ENet -------------------------------------------------------------------------------------------

NO_BOX = -1  # in every place of a frame's box or region: there is no face


def padded_boxes(boxes: np.ndarray, pads: tuple[int, ...], size: tuple[int, int]) -> np.ndarray:
    """(T, 4) boxes, NaN where there is no face, as whole pixels: grown by pads and kept in the frame; NO_BOX for no face.

    Args:
        pads: pixels at the top, the bottom, the left and the right.
        size: width and height of the frames.
    """
    known = np.isfinite(boxes).all(axis=1)
    result = np.full(boxes.shape, NO_BOX, np.int64)
    result[known] = pad_boxes(np.maximum(boxes[known], 0).astype(np.int64), pads, size)
    result[(result[:, 2] <= result[:, 0]) | (result[:, 3] <= result[:, 1])] = NO_BOX
    return result


def smoothed_forward(boxes: np.ndarray) -> np.ndarray:
    """(T, 4) boxes of `padded_boxes`, averaged as the authors do; nothing is averaged across frames without a face."""
    result = boxes.copy()
    for start, stop in runs(boxes[:, 0] != NO_BOX):
        result[start:stop] = smooth_boxes_forward(boxes[start:stop])
    return result


def runs(known: np.ndarray) -> list[tuple[int, int]]:
    """(start, stop) of each run of True in (T,) bool."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], known, [False]))))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


# --- coefficients ---------------------------------------------------------------------------------------------------------

NUM_COEFFICIENTS = 262  # of a frame: 257 of the 3D face, then width, height, scale, x and y of its alignment
EXPRESSION, ANGLE, SHIFT, CROP = slice(80, 144), slice(224, 227), slice(254, 257), slice(259, 262)
NUM_EXPRESSION = 64
BEFORE, WINDOW = 13, 26  # frames that steer one frame: 13 before it, itself and 12 after it


def window_frames(frame: int, first: int, last: int) -> np.ndarray:
    """(26,) the frames whose coefficients steer a frame, none before `first` or after `last`."""
    return np.clip(np.arange(frame - BEFORE, frame - BEFORE + WINDOW), first, last)


def steering(rows: np.ndarray, expression: np.ndarray | None = None, scale_ratio: float = 1.0) -> np.ndarray:
    """What DNet is told about a frame.

    Args:
        rows: (26, 262) coefficients of its window.
        expression: (64,) that is worn instead of the window's own.
        scale_ratio: factor of the alignment's scale; see `crop_scale_ratio`.

    Returns:
        (73, 26) float32: expression, angle, shift, and the alignment's scale, x and y.
    """
    told = np.concatenate([rows[:, part] for part in (EXPRESSION, ANGLE, SHIFT, CROP)], axis=1).T.astype(np.float32)
    told[-3] *= np.float32(scale_ratio)
    if expression is not None:
        told[:NUM_EXPRESSION] = expression[:, None]
    return told


def crop_scale_ratio(source: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """How much larger a source picture's face was aligned than that of the frame most like it; 1 if it is one of the frames.

    Args:
        source: (262,) coefficients of the picture.
        rows: (T, 262) those of the frames.

    Returns:
        () float32.
    """
    far = [np.abs(rows[:, part] - source[part]).mean(axis=1) for part in (EXPRESSION, ANGLE)]
    return source[CROP.start] / rows[np.argmin(0.3 * far[0] + 0.7 * far[1]), CROP.start]
