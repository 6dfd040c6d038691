"""Where Deep3DFaceRecon's network (Deng et al., 2019) wants a face: scaled and shifted until five landmarks fit a standard one.

The standard face is that of the Basel Face Model; five points of it are all that is needed, so the model's own files, which
need a registration, are not.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

SIDE = 224  # of the network's picture, pixels
UNIT = 102.0  # pixels in it that the standard face's unit of length takes
STANDARD_POINTS = np.array(
    [  # eye, eye, tip of the nose, corner of the mouth, corner of the mouth; x to the right, y up, z to the viewer
        (-0.31148657, 0.29036078, 0.13377953),
        (0.30979887, 0.28972036, 0.13179526),
        (0.0032534988, -0.046179324, 0.55244243),
        (-0.25216928, -0.38133916, 0.22405732),
        (0.2484662, -0.38128236, 0.22235769),
    ],
    np.float32,
)
EYES, OTHERS = ((36, 39), (42, 45)), (30, 48, 54)


class Fit(NamedTuple):
    """How the standard face lies in a picture.

    Attributes:
        shift: (2,) of its origin in pixels, y up.
        scale: pixels per unit.
    """

    shift: np.ndarray
    scale: float


class Alignment(NamedTuple):
    """A picture as the network wants it.

    Attributes:
        picture: (224, 224, 3) uint8, black beyond the picture.
        parameters: (5,) float32: width and height of the picture, the factor by which it was resized, and the face's shift.
    """

    picture: np.ndarray
    parameters: np.ndarray

    def move(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) of the given picture in the network's, y up in both."""
        width, height, factor, *shift = self.parameters.astype(np.float64)
        size = np.array([int(width * factor), int(height * factor)])
        return (points - shift + np.array([width, height]) / 2) * factor - (size - SIDE) / 2


def five_of(landmarks: np.ndarray) -> np.ndarray:
    """Eyes (their corners' middles), tip of the nose and corners of the mouth: (68, 2) -> (5, 2)."""
    return np.stack([*(landmarks[list(eye)].mean(axis=0) for eye in EYES), *landmarks[list(OTHERS)]])


def five_points(landmarks: np.ndarray | None, width: int, height: int, standard: np.ndarray = STANDARD_POINTS) -> np.ndarray:
    """(5, 2) the points to fit, y up: of (68, 2) landmarks in a picture, or those of the standard face filling it if None."""
    if landmarks is None:
        return (standard[:, :2] + 1) / 2 * np.array([width, height], np.float32)  # float32: sizes are cut to whole pixels of it
    return five_of(flipped(landmarks, height))


def fit(points: np.ndarray, standard: np.ndarray = STANDARD_POINTS) -> Fit:
    """Lay the standard face over five points by least squares, as if seen from far away.

    Args:
        points: (5, 2) in pixels, y up.
        standard: (5, 3).
    """
    rows = axes(points, standard)
    return Fit(rows[:, 3], float(np.linalg.norm(rows[:, :3], axis=1).mean()))


def axes(points: np.ndarray, standard: np.ndarray = STANDARD_POINTS) -> np.ndarray:
    """(2, 4) for x and y: how many pixels each unit of the standard face moves a point, and its origin."""
    known = np.column_stack((standard, np.ones(len(standard)))).astype(np.float64)
    return np.linalg.lstsq(known, np.asarray(points, np.float64), rcond=None)[0].T


def angles(points: np.ndarray) -> np.ndarray:
    """(3,) radians by which a head is turned about x (nodding), y (shaking) and z (tilting), from five points, y up."""
    across, up = (row / np.linalg.norm(row) for row in axes(points)[:, :3])
    toward = np.cross(across, up)
    return np.array([np.arctan2(-toward[1], toward[2]), np.arcsin(np.clip(-across[2], -1, 1)), np.arctan2(-across[1], across[0])])


def flipped(landmarks: np.ndarray, height: int) -> np.ndarray:
    """Landmarks with y up, in a picture of this height."""
    landmarks = np.asarray(landmarks, np.float64)
    return np.stack((landmarks[:, 0], height - 1 - landmarks[:, 1]), axis=1)


def align(picture: np.ndarray, landmarks: np.ndarray | None, standard: np.ndarray = STANDARD_POINTS) -> Alignment:
    """Cut the network's picture out of one.

    Args:
        picture: (H, W, 3) uint8 RGB.
        landmarks: (68, 2) in its pixels; None where no face is known: the standard face then fills it.
        standard: (5, 3) points to fit.
    """
    height, width = picture.shape[:2]
    shift, scale = fit(five_points(landmarks, width, height, standard), standard)
    factor = UNIT / scale
    size = (int(width * factor), int(height * factor))
    left = int(size[0] / 2 - SIDE / 2 + (shift[0] - width / 2) * factor)
    top = int(size[1] / 2 - SIDE / 2 + (height / 2 - shift[1]) * factor)
    resized = Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC)
    cut = np.asarray(resized.crop((left, top, left + SIDE, top + SIDE)))
    return Alignment(cut, np.array([width, height, factor, *shift], np.float32))
