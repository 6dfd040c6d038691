"""Faces brought to one place, for training: rigid registration on the points that speech hardly moves."""

from __future__ import annotations

import numpy as np

from talkingface.model.makeittalk.tables import ANCHOR, STANDARD_FACE

STILL = [27, 28, 29, 30, 33, 36, 39, 42, 45]  # bridge and base of the nose, corners of the eyes


def rigid_fit(points: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The turn and the shift that bring points nearest to others (Kabsch); no scale.

    Args:
        points, target: (N, P, 3) or (P, 3) in the same order; `target` may be one for all.

    Returns:
        (N, 3, 3) and (N, 3), or without N: turned points are points @ turn.T + shift.
    """
    centre, goal = points.mean(axis=-2, keepdims=True), target.mean(axis=-2, keepdims=True)
    u, _, vt = np.linalg.svd(np.swapaxes(points - centre, -1, -2) @ (target - goal))
    mirrored = np.linalg.det(np.swapaxes(vt, -1, -2) @ np.swapaxes(u, -1, -2)) < 0
    vt[mirrored, -1] *= -1
    turn = np.swapaxes(vt, -1, -2) @ np.swapaxes(u, -1, -2)
    return turn, (goal - centre @ np.swapaxes(turn, -1, -2))[..., 0, :]


def closed_row(rows: np.ndarray) -> int:
    """The first row of (N, 68, 3) whose lips are closest: the face at rest."""
    return int(lip_areas(rows).argmin())


def lip_areas(rows: np.ndarray) -> np.ndarray:
    """(N,) area between the inner lips, as the sum of the triangles from point 60, whichever way they turn."""
    spokes = rows[:, 61:68, :2].astype(np.float64) - rows[:, 60:61, :2]
    first, second = spokes[:, :-1], spokes[:, 1:]
    return np.abs(first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]).sum(axis=1) / 2


def face_at_rest(rows: np.ndarray) -> np.ndarray:
    """The row of (N, 68, 3) with the closest lips, registered to the standard face: (68, 3) float64."""
    return registered(rows[closed_row(rows)])


def registered(face: np.ndarray) -> np.ndarray:
    """A face (68, 3) turned and shifted to the standard face: (68, 3) float64."""
    turn, shift = rigid_fit(face[STILL].astype(np.float64), STANDARD_FACE[STILL])
    return face @ turn.T + shift


def anchor() -> np.ndarray:
    """(9, 3): where the still points of a frontal face are, with the eyes one apart and their middle at the origin."""
    scaled = ANCHOR / abs(ANCHOR[5, 0] - ANCHOR[8, 0])
    return scaled - scaled[[4, 5, 8]].mean(axis=0)


def anchored(rows: np.ndarray, target: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each row of (N, 68, 3) without its head's turn and shift: what the speaker branch's authors call T-shape.

    Args:
        target: (9, 3) for the still points; by default `anchor()`.

    Returns:
        The rows (N, 68, 3), the turns and shifts that were needed (N, 3, 4), and the turns as quaternions (N, 4) x y z w.
    """
    from scipy.spatial.transform import Rotation

    rows = rows.astype(np.float64)
    turn, shift = rigid_fit(rows[:, STILL], anchor() if target is None else target)
    moved = rows @ np.swapaxes(turn, -1, -2) + shift[:, None]
    return moved, np.concatenate((turn, shift[..., None]), axis=-1), Rotation.from_matrix(turn).as_quat()
