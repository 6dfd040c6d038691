"""The turned square around a face by which FFHQ was cut (Karras et al., 2019): found from landmarks, cut out, and put back.

A quad is (4, 2): its corners upper left, lower left, lower right, upper right, x before y, in pixels. Pillow does the sampling,
as in the code that models of this family were trained with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

LEFT_EYE, RIGHT_EYE, MOUTH_CORNERS = slice(36, 42), slice(42, 48), (48, 54)
EYES_TO_SIDE, MOUTH_TO_SIDE, DOWN = 2.0, 1.8, 0.1  # half a side in eye distances and eye-mouth distances; center below the eyes


class Square(NamedTuple):
    """A turned square: its center, and the halves of its sides to the right (x) and down (y), each (2,)."""

    center: np.ndarray
    x: np.ndarray
    y: np.ndarray

    @property
    def quad(self) -> np.ndarray:
        """(4, 2) its corners."""
        c, x, y = self
        return np.stack([c - x - y, c - x + y, c + x + y, c + x - y])

    @property
    def side(self) -> float:
        """In pixels."""
        return float(np.hypot(*self.x)) * 2


def face_square(landmarks: np.ndarray) -> Square:
    """The square of FFHQ around a face's (68, 2) landmarks: as turned as the face, with some room above and below it."""
    eyes = [landmarks[eye].mean(axis=0) for eye in (LEFT_EYE, RIGHT_EYE)]
    middle, across = (eyes[0] + eyes[1]) / 2, eyes[1] - eyes[0]
    down = landmarks[list(MOUTH_CORNERS)].mean(axis=0) - middle
    x = across - np.array([-down[1], down[0]])
    x = x / np.hypot(*x) * max(np.hypot(*across) * EYES_TO_SIDE, np.hypot(*down) * MOUTH_TO_SIDE)
    return Square(middle + DOWN * down, x, np.array([-x[1], x[0]]))


def bounds(quad: np.ndarray, size: tuple[int, int], border: int) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of whole pixels around a quad with a border, within a picture of this width and height."""
    (left, top), (right, bottom) = np.floor(quad.min(axis=0)).astype(int), np.ceil(quad.max(axis=0)).astype(int)
    edges = (max(left - border, 0), max(top - border, 0), min(right + border, size[0]), min(bottom + border, size[1]))
    return tuple(int(edge) for edge in edges)  # type: ignore[return-value]


def cut_quad(picture: np.ndarray, quad: np.ndarray, side: int) -> np.ndarray:
    """What a quad shows of a picture, upright: (side, side, 3) uint8, black where it reaches beyond the picture.

    A quad of several times `side` is taken from a reduced picture, so that no pixels are skipped.

    Args:
        picture: (H, W, 3) uint8.
    """
    image, quad = Image.fromarray(picture), np.array(quad, np.float64)
    length = float(np.hypot(*((quad[3] - quad[1]) / 2))) * 2
    shrink = int(np.floor(length / side * 0.5))
    if shrink > 1:
        image = image.resize((round(image.width / shrink), round(image.height / shrink)), Image.Resampling.LANCZOS)
        quad, length = quad / shrink, length / shrink
    crop = bounds(quad, image.size, max(int(np.rint(length * 0.1)), 3))
    if crop[2] - crop[0] < image.width or crop[3] - crop[1] < image.height:
        image, quad = image.crop(crop), quad - crop[:2]
    corners = tuple((quad + 0.5).ravel())
    return np.asarray(image.transform((side, side), Image.Transform.QUAD, corners, Image.Resampling.BILINEAR))


def perspective_map(quad: np.ndarray, side: int) -> np.ndarray:
    """(8,) Pillow's numbers a .. h, x' = (a x + b y + c) / (g x + h y + 1) and so on, from a picture to `cut_quad` of it."""
    corners = np.array([(0, 0), (0, side), (side, side), (side, 0)], np.float64)
    points = np.asarray(quad, np.float64) + 0.5
    rows = []
    for (x, y), (u, v) in zip(points, corners, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
    a, b = np.array(rows), corners.ravel()
    return np.linalg.solve(a.T @ a, a.T @ b)


def paste_quad(picture: np.ndarray, face: np.ndarray, coefficients: Sequence[float] | np.ndarray) -> np.ndarray:
    """Put what `cut_quad` cut back into a copy of a picture.

    Args:
        picture: (H, W, 3) uint8.
        face: (side, side, 3) uint8.
        coefficients: of `perspective_map`.

    Returns:
        (H, W, 4) uint8, the last channel opaque.
    """
    result = Image.fromarray(picture).convert("RGBA")
    back = Image.fromarray(face).convert("RGBA")
    back = back.transform(result.size, Image.Transform.PERSPECTIVE, tuple(coefficients), Image.Resampling.BILINEAR)
    result.paste(back, (0, 0), mask=back)
    return np.asarray(result)
