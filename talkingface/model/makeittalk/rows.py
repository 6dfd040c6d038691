"""From the landmarks of a video to rows that the branches learn: in depth, 62.5 per second, at one place.

Made as far as the authors say how (paper section 4 and their answers), else inferred: gaps of up to five frames are bridged,
landmarks are smoothed, faces are scaled to eyes that are one apart and brought to the standard face.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from talkingface.model.makeittalk.landmarks import resample, savitzky_golay
from talkingface.model.makeittalk.registration import STILL, rigid_fit
from talkingface.model.makeittalk.speech import ROWS_PER_SECOND
from talkingface.model.makeittalk.tables import STANDARD_FACE

LONGEST_GAP = 5  # frames without a face that are bridged
SMOOTHED = 7  # frames
CALM = 31  # rows over which the size of the face is smoothed
FIRM = [0, 1, 2, 14, 15, 16, *range(27, 37), 39, 42, 45]  # points that speech moves little, by which a pose is found
EYES = [36, 45]  # outer corners


class Rows(NamedTuple):
    """The face of a video, 62.5 rows per second, in the units of the networks.

    Attributes:
        still: (n, 68, 3) float32, each row turned and shifted to the standard face: only the features move.
        moving: (n, 68, 3) float32, all rows turned, shifted and scaled alike: the head moves around the standard face.
        seen: (n,) bool, rows that show a face.
    """

    still: np.ndarray
    moving: np.ndarray
    seen: np.ndarray


def rows_of(landmarks: np.ndarray, detected: np.ndarray, fps: float) -> Rows:
    """The rows of a video with a face in at least one frame.

    Args:
        landmarks: (T, 68, 2 or 3) in pixels; two dimensions are lifted to three.
        detected: (T,) bool, frames in which a face was found.
        fps: frames per second.
    """
    points, seen = bridged(landmarks.astype(np.float64), detected)
    points = savitzky_golay(lifted(points) if points.shape[-1] == 2 else points, SMOOTHED)
    points = resample(points, fps, ROWS_PER_SECOND)
    frames = np.minimum((np.arange(len(points)) * fps / ROWS_PER_SECOND).astype(int), len(seen) - 1)
    known = seen[frames] & seen[np.minimum(frames + 1, len(seen) - 1)]
    return Rows(features_only(points).astype(np.float32), head_and_features(points, known).astype(np.float32), known)


def bridged(landmarks: np.ndarray, detected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks (T, 68, K) with straight lines through the frames without a face, and where that is short enough: (T,) bool."""
    known = np.flatnonzero(detected)
    flat = landmarks.reshape(len(landmarks), -1)
    filled = np.stack([np.interp(np.arange(len(flat)), known, column[known]) for column in flat.T], axis=1)
    before = np.searchsorted(known, np.arange(len(flat)), side="right") - 1
    after = np.minimum(before + 1, len(known) - 1)
    inside = (before >= 0) & (before < len(known) - 1)
    gap = known[after] - known[np.maximum(before, 0)] - 1
    return filled.reshape(landmarks.shape), detected | (inside & (gap <= LONGEST_GAP))


def lifted(landmarks: np.ndarray) -> np.ndarray:
    """Landmarks (T, 68, 2) with the depth that the standard face has in the same pose: (T, 68, 3).

    The pose is a scaled orthographic projection, fitted to the points that speech moves little.
    """
    model = STANDARD_FACE - STANDARD_FACE[FIRM].mean(axis=0)
    seen = landmarks - landmarks[:, FIRM].mean(axis=1, keepdims=True)
    maps = np.einsum("pk,tpc->tck", np.linalg.pinv(model[FIRM]).T, seen[:, FIRM])  # (T, 2, 3)
    u, sizes, vt = np.linalg.svd(maps, full_matrices=False)
    turns = u @ vt
    depth = sizes.mean(axis=1)[:, None] * (np.cross(turns[:, 0], turns[:, 1]) @ model.T)
    return np.concatenate((landmarks, depth[..., None]), axis=-1)


def eye_distance(points: np.ndarray) -> np.ndarray:
    """(N,) distance of the outer corners of the eyes of (N, 68, 3)."""
    return np.linalg.norm(points[:, EYES[0]] - points[:, EYES[1]], axis=1)


def features_only(points: np.ndarray) -> np.ndarray:
    """Each row of (N, 68, 3) with eyes one apart, turned and shifted to the standard face."""
    points = points / savitzky_golay(eye_distance(points), CALM)[:, None, None]
    turn, shift = rigid_fit(points[:, STILL], STANDARD_FACE[STILL])
    return points @ np.swapaxes(turn, -1, -2) + shift[:, None]


def head_and_features(points: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """All rows of (N, 68, 3) scaled, turned and shifted alike, so that their mean is nearest to the standard face."""
    used = points[seen] if seen.any() else points
    points = points / np.median(eye_distance(used))
    mean = points[seen].mean(axis=0) if seen.any() else points.mean(axis=0)
    turn, shift = rigid_fit(mean[STILL], STANDARD_FACE[STILL])
    return points @ turn.T + shift
