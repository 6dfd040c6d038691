"""Similarity maps (turn, scale, shift) between pictures: fitted to points, applied to pictures and points, and undone.

A map is a (2, 3) float64 matrix from the pixels of one picture to those of another. Whole numbers are pixel centers.
"""

from __future__ import annotations

import cv2
import numpy as np

BORDERS = {
    "black": cv2.BORDER_CONSTANT,
    "grey": cv2.BORDER_CONSTANT,
    "edge": cv2.BORDER_REPLICATE,
    "mirror": cv2.BORDER_REFLECT_101,
}
GREY = 127
LEAST_SCALE = 0.5  # below this a picture has to be reduced before it is warped


def five_points(landmarks: np.ndarray) -> np.ndarray:
    """Eyes, tip of the nose, corners of the mouth: (..., 68, 2) -> (..., 5, 2); what is left in the picture comes first."""
    eyes = [landmarks[..., eye, :].mean(axis=-2) for eye in (slice(36, 42), slice(42, 48))]
    return np.stack([*eyes, landmarks[..., 30, :], landmarks[..., 48, :], landmarks[..., 54, :]], axis=-2)


def similarity(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The similarity map that brings points nearest to their targets, without mirroring (Umeyama, 1991).

    Args:
        points: (N, 2), N >= 2, not all the same.
        target: (N, 2).

    Raises:
        ValueError: the points fall together.
    """
    points, target = np.asarray(points, np.float64), np.asarray(target, np.float64)
    center, target_center = points.mean(axis=0), target.mean(axis=0)
    spread = points - center
    variance = (spread**2).sum(axis=1).mean()
    if not variance > 0:
        raise ValueError(f"a similarity map needs at least two different points, not {points.tolist()}")
    u, strengths, vt = np.linalg.svd((target - target_center).T @ spread / len(points))
    signs = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt)) or 1.0])
    linear = u * signs @ vt * (strengths @ signs / variance)
    return np.column_stack((linear, target_center - linear @ center))


def inverse(matrix: np.ndarray) -> np.ndarray:
    """The map back."""
    linear = np.linalg.inv(np.asarray(matrix, np.float64)[:, :2])
    return np.column_stack((linear, -linear @ matrix[:, 2]))


def move_points(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Apply a map to points: (..., 2) -> (..., 2)."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def crop(frame: np.ndarray, matrix: np.ndarray, size: tuple[int, int], border: str = "black") -> np.ndarray:
    """What a map makes of a picture, sampled bilinearly in steps of 1/32 pixel.

    A map that shrinks to less than half skips pixels: reduce such a picture first.

    Args:
        frame: (H, W) or (H, W, C), uint8 or float32.
        matrix: from the frame to the crop.
        size: width and height of the crop.
        border: what lies outside the frame: "black", "grey" (127), "edge" (its last pixels) or "mirror".
    """
    matrix, value = np.asarray(matrix, np.float64), (GREY if border == "grey" else 0,) * 4
    return cv2.warpAffine(frame, matrix, size, flags=cv2.INTER_LINEAR, borderMode=BORDERS[border], borderValue=value)


def reduced_crop(frame: np.ndarray, matrix: np.ndarray, size: tuple[int, int], border: str = "black") -> np.ndarray:
    """`crop` of a picture that is reduced first where the map would skip pixels of it."""
    scale = float(np.hypot(*matrix[:, 0]))
    if scale < LEAST_SCALE:
        factor = scale / LEAST_SCALE
        frame = cv2.resize(frame, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        matrix = np.column_stack((matrix[:, :2] / factor, matrix[:, 2]))
    return crop(frame, matrix, size, border)


# --- maps over time ---------------------------------------------------------------------------------------------------


def held(known: np.ndarray) -> np.ndarray:
    """(T,) the frame that each frame takes after: itself, or the last known one before it, or the first known one."""
    last = np.maximum.accumulate(np.where(known, np.arange(len(known)), -1))
    return np.where(last < 0, np.flatnonzero(known)[0], last)


def smoothed(maps: np.ndarray, frames: float) -> np.ndarray:
    """Maps (T, 2, 3), averaged with Gaussian weights whose deviation is a number of frames; 0 = as they are.

    Means of similarity maps are similarity maps: a crop that shakes or breathes with each twitch of a landmark calms down.
    """
    if not frames:
        return maps
    from scipy.ndimage import gaussian_filter1d

    return gaussian_filter1d(maps, frames, axis=0, mode="nearest")
