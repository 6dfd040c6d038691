"""Landmarks as colored lines: the pictures that tell the image translation how the face is to look (paper section 3.4)."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

JAW, BROWS, NOSE, EYES, LIPS = (255, 144, 25), (50, 205, 50), (208, 224, 63), (71, 99, 255), (238, 130, 238)  # B, G, R
SIDE = 256  # of the published network's pictures
FARTHEST = 2**15  # pixels from the picture that a line is drawn to at most: OpenCV counts no further


class Curve(NamedTuple):
    """Points first to last (inclusive), joined by lines; a closed curve ends where it began."""

    first: int
    last: int
    color: tuple[int, int, int]
    closed: bool = False


SCHEMES = {
    68: (  # iBUG, what is drawn to generate
        Curve(0, 16, JAW),
        Curve(17, 21, BROWS), Curve(22, 26, BROWS),
        Curve(27, 35, NOSE),
        Curve(36, 41, EYES, True), Curve(42, 47, EYES, True),
        Curve(48, 59, LIPS, True), Curve(60, 67, LIPS, True),
    ),
    74: (  # iBUG's jaw and brows, WFLW's nose, eyes and lips: what the published network was trained on
        Curve(0, 16, JAW),
        Curve(17, 21, BROWS), Curve(22, 26, BROWS),
        Curve(27, 35, NOSE),
        Curve(36, 43, EYES, True), Curve(44, 51, EYES, True),
        Curve(52, 63, LIPS, True), Curve(64, 71, LIPS, True),
    ),
    98: (  # WFLW
        Curve(0, 32, JAW),
        Curve(33, 41, BROWS, True), Curve(42, 50, BROWS, True),
        Curve(51, 59, NOSE),
        Curve(60, 67, EYES, True), Curve(68, 75, EYES, True),
        Curve(76, 87, LIPS, True), Curve(88, 95, LIPS, True),
    ),
}  # fmt: skip
"""Number of points -> curves, in drawing order: later ones cover earlier ones."""


def draw_landmarks(landmarks: np.ndarray, side: int = SIDE, thickness: int = 2) -> np.ndarray:
    """Draw a face on white.

    Args:
        landmarks: (68, 74 or 98, 2 or more): x and y in pixels of the picture, cut to whole numbers; may lie outside.
        side: of the picture, pixels.
        thickness: of the lines, pixels.

    Returns:
        (side, side, 3) uint8 BGR.

    Raises:
        ValueError: there is no scheme for this number of points.
    """
    if len(landmarks) not in SCHEMES:
        raise ValueError(f"faces of {', '.join(map(str, SCHEMES))} points can be drawn, not of {len(landmarks)}")
    points = np.clip(np.asarray(landmarks)[:, :2], -FARTHEST, FARTHEST).astype(int).tolist()
    picture = np.full((side, side, 3), 255, np.uint8)
    for first, last, color, closed in SCHEMES[len(points)]:
        curve = points[first : last + 1] + ([points[first]] if closed else [])
        for start, end in zip(curve, curve[1:], strict=False):
            cv2.line(picture, start, end, color, thickness)
    return picture
