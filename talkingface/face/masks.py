"""A soft mask of a face, from its 68 landmarks."""

from __future__ import annotations

import cv2
import numpy as np

from talkingface.face.landmarks import BROWS, FOREHEAD, NOSE_BASE

JAW = slice(0, 17)
CHIN = 0.06  # of the face's height: how much further down a chin may go than it is now
EDGE = 0.03  # of the face's height: sigma of the mask's edge


def face_mask(landmarks: np.ndarray, height: int, width: int) -> np.ndarray:
    """Where the face is, from ear to ear and from half of its forehead to a little below its chin.

    Args:
        landmarks: (68, 2) in pixels of the picture that the mask is for.

    Returns:
        (height, width) float32 in [0, 1], falling softly at the face's edge.
    """
    points = np.asarray(landmarks, np.float64)
    up = points[BROWS].mean(axis=0) - points[NOSE_BASE]
    tall = float(np.linalg.norm(points[BROWS].mean(axis=0) - points[8]))
    outline = np.concatenate(
        (points[JAW], points[JAW] - CHIN * up / np.linalg.norm(up) * tall, points[BROWS] + FOREHEAD / 2 * up)
    )
    mask = np.zeros((height, width), np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(np.rint(outline).astype(np.int32)), 255)
    return cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), max(1.0, EDGE * tall))
