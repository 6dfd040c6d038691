"""Step 2: the coefficients of the 3D face in every frame: what the head does, without what it looks like.

From Deep3DFaceRecon's network as published; or, where its weights are not there, from the landmarks alone, for networks that
are trained with those.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from talkingface.face import deep3d
from talkingface.face.align import move_points, similarity
from talkingface.model.videoretalking.geometry import ANGLE, EXPRESSION, NUM_COEFFICIENTS

FROM_NETWORK = 257  # of a row: the network's; the rest is the alignment's
MOVING = (*range(36, 48), *range(48, 68))  # eyes and mouth: 32 points, 64 numbers
RIGID = (27, 28, 29, 30, 36, 39, 42, 45)  # bridge of the nose and corners of the eyes, which expressions hardly move
SPREAD = 10  # factor that brings what landmarks tell to about 1: networks learn it sooner
FRONT = np.array(
    [  # a relaxed face from the front, as the mean of many: rigid points, then eyes and mouth; eyes' corners 2 units apart
        (0.00, -0.08), (0.00, 0.22), (0.00, 0.50), (0.00, 0.80), (-1.00, 0.00), (-0.42, 0.02), (0.42, 0.02), (1.00, 0.00),
        (-1.00, 0.00), (-0.83, -0.12), (-0.61, -0.12), (-0.42, 0.02), (-0.62, 0.07), (-0.83, 0.07),
        (0.42, 0.02), (0.61, -0.12), (0.83, -0.12), (1.00, 0.00), (0.83, 0.07), (0.62, 0.07),
        (-0.57, 1.44), (-0.36, 1.34), (-0.14, 1.28), (0.00, 1.32), (0.14, 1.28), (0.36, 1.34), (0.57, 1.44),
        (0.37, 1.58), (0.16, 1.66), (0.00, 1.67), (-0.16, 1.66), (-0.37, 1.58),
        (-0.48, 1.44), (-0.15, 1.42), (0.00, 1.43), (0.15, 1.42), (0.48, 1.44), (0.15, 1.46), (0.00, 1.47), (-0.15, 1.46),
    ]
)  # fmt: skip


@torch.inference_mode()
def network_coefficients(network: nn.Module, pictures: Sequence[np.ndarray], landmarks: Sequence[np.ndarray]) -> np.ndarray:
    """The coefficients that a network sees in faces.

    Args:
        network: (n, 3, 224, 224) RGB in [0, 1] -> (n, 257).
        pictures: (H, W, 3) uint8 RGB.
        landmarks: (68, 2) in each picture; NaN where they are not known: the face is then taken to fill it.

    Returns:
        (n, 262) float32: identity 80, expression 64, texture 80, angle 3, gamma 27, translation 3; then the picture's width
        and height, and the scale, x and y of its alignment.
    """
    known = [points if np.isfinite(points).all() else None for points in landmarks]
    aligned = [deep3d.align(picture, points) for picture, points in zip(pictures, known, strict=True)]
    batch = torch.from_numpy(np.stack([alignment.picture for alignment in aligned])).permute(0, 3, 1, 2)
    seen = network(batch.to(next(network.parameters())) / 255).float().cpu().numpy()
    return np.concatenate((seen, np.stack([alignment.parameters for alignment in aligned])), axis=1)


def landmark_coefficients(landmarks: Sequence[np.ndarray], side: int) -> np.ndarray:
    """Coefficients of the same layout from landmarks alone: (n, 262) float32.

    The expression is where the points of eyes and mouth lie, against a relaxed face, once the head's place, size and turn are
    taken away; the angles, those of the standard face laid over five points; scale, x and y are against a face of usual size in
    the middle of the picture. All this is ten times as large as it is measured. Identity, texture and light stay 0.

    Args:
        landmarks: (68, 2) each, in a square picture; NaN where they are not known: all is 0 then, which is a relaxed face.
        side: of the picture, pixels.
    """
    rows = np.zeros((len(landmarks), NUM_COEFFICIENTS), np.float32)
    for row, points in zip(rows, landmarks, strict=True):
        known = np.isfinite(points).all()
        if known:
            upright = move_points(points, similarity(points[list(RIGID)], FRONT[: len(RIGID)]))
            row[EXPRESSION] = SPREAD * (upright[list(MOVING)] - FRONT[len(RIGID) :]).ravel()
        five = deep3d.five_points(points if known else None, side, side)
        fit = deep3d.fit(five)
        row[ANGLE] = SPREAD * np.asarray(deep3d.angles(five))
        x, y = fit.shift
        row[FROM_NETWORK:] = (side, side, *(SPREAD * np.array([deep3d.UNIT / fit.scale - 1, x / side - 0.5, y / side - 0.5])))
    return rows
