"""The shape of a drawn face: contour, relief, how skin gives way to jaw, brows and lips, and the 68 landmarks.

Units and axes as in look.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

from talkingface.dataset.demo.look import Look

CONTOUR = np.array([[1.0, 0.99, 0.945, 0.86, 0.725, 0.55, 0.355, 0.175], [0.0, 0.30, 0.57, 0.83, 1.07, 1.28, 1.44, 1.53]]).T
CHIN = 1.555
MOUTH_Y, MOUTH_HALF_WIDTH = 0.965, 0.385
EYE_X, BROW_Y, NOSE_Y = 0.44, -0.28, 0.58
JAW_DROP = 0.27  # how far a wide open mouth lowers the chin
APERTURE = 0.40  # and how far its lips are apart


def smoothstep(low: float, high: float, x: np.ndarray) -> np.ndarray:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3 - 2 * t)


def hump(x: np.ndarray, y: np.ndarray, at: tuple[float, float], size: tuple[float, float]) -> np.ndarray:
    """A Gaussian of height 1."""
    return np.exp(-0.5 * (((x - at[0]) / size[0]) ** 2 + ((y - at[1]) / size[1]) ** 2))


def contour(look: Look) -> np.ndarray:
    """iBUG points 0 to 16 of a face at rest: (17, 2)."""
    right = CONTOUR * (1.0, look.chin)
    right[:, 0] *= 1 + (look.jaw_width - 1) * smoothstep(0.2, 1.0, right[:, 1])
    left = right * (-1, 1)
    return np.concatenate([left, [(0.0, CHIN * look.chin)], right[::-1]])


def outline(look: Look) -> np.ndarray:
    """The face and skull as a closed polygon: (n, 2)."""
    points = contour(look)
    smooth = CubicSpline(np.arange(17), points)(np.linspace(0, 16, 97))
    angle = np.linspace(0, np.pi, 49)[1:-1]
    skull = np.stack([np.cos(angle), -1.22 * np.sin(angle)], axis=1)
    return np.concatenate([smooth, skull])


def half_width(look: Look, y: np.ndarray) -> np.ndarray:
    """Half the face's width at each height."""
    right = contour(look)[16:7:-1]
    below = np.interp(y, right[:, 1], right[:, 0], right=0.0)
    return np.where(y < 0, np.sqrt(np.clip(1 - (y / 1.22) ** 2, 0.0004, 1)), np.maximum(below, 0.24))


def depth(x: np.ndarray, y: np.ndarray, look: Look) -> np.ndarray:
    """How far each point of the head is in front of its axis: what turns make of the picture. Smooth on purpose."""
    profile = np.interp(y, [-1.9, -1.3, -0.9, -0.4, 0.2, 0.8, 1.2, 1.6, 2.3], [0.0, 0.15, 0.5, 0.8, 0.9, 0.9, 0.85, 0.72, 0.2])
    z = profile * np.clip(1.0 - (x / 1.08) ** 2, -0.25, 1.0)
    return z + 0.75 * nose_relief(x, y, look)


def nose_relief(x: np.ndarray, y: np.ndarray, look: Look) -> np.ndarray:
    """Bridge, tip and wings."""
    tip = (NOSE_Y - 0.08) * look.nose_length
    height = np.interp(y, [-0.3, -0.05, 0.2, tip - 0.04, tip + 0.05, tip + 0.13], [0.0, 0.05, 0.14, 0.27, 0.24, 0.0])
    width = np.interp(y, [-0.1, tip], [0.075, 0.108]) * look.nose_width
    wings = sum(hump(x, y, (side * 0.155 * look.nose_width, tip + 0.035), (0.062, 0.065)) for side in (-1, 1))
    return height * np.exp(-0.5 * (x / width) ** 2) + 0.10 * wings


def relief(x: np.ndarray, y: np.ndarray, look: Look) -> np.ndarray:
    """The height that light sees: a round head with brows, sockets, cheeks, folds, nose, lips and chin."""
    s = np.clip(np.abs(x) / half_width(look, y), 0, 1)
    profile = np.interp(y, [-1.3, -0.9, -0.4, 0.2, 0.8, 1.2, 1.45, 1.62], [0.1, 0.55, 0.84, 0.92, 0.92, 0.88, 0.78, 0.45])
    z = profile * (1 - s**2.4) ** 0.62
    ax, chin = np.abs(x), look.chin
    z = z + 0.045 * hump(ax, y, (0.42, -0.24), (0.24, 0.09)) - 0.075 * hump(ax, y, (0.42, -0.02), (0.23, 0.13))
    z = z + 0.045 * hump(ax, y, (EYE_X, 0.0), (0.15, 0.09)) + 0.07 * hump(ax, y, (0.56, 0.42), (0.24, 0.2))
    along = np.clip((y - 0.56) / 0.4, 0, 1)
    fold = np.exp(-0.5 * ((ax - (0.25 + 0.22 * along)) / 0.035) ** 2) * smoothstep(0.5, 0.62, y) * (1 - smoothstep(0.85, 1.02, y))
    z = z - 0.016 * fold - 0.018 * hump(x, y, (0, 0.76), (0.03, 0.07))
    z = z + 0.06 * hump(x, y, (0, MOUTH_Y), (0.3, 0.13)) - 0.05 * hump(x, y, (0, 1.2), (0.2, 0.05))
    return z + 0.08 * hump(x, y, (0, 1.38 * chin), (0.17, 0.11)) + nose_relief(x, y, look)


def give(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How far skin follows the jaw (down), the brows (up) and the corners of the mouth (outward, signed)."""
    ax = np.abs(x)
    jaw = smoothstep(0.72, 1.34, y) * (1 - smoothstep(0.72, 1.12, ax)) * (1 - smoothstep(1.75, 2.1, y))
    brow = hump(ax, y, (0.42, BROW_Y), (0.4, 0.15))
    corner = np.sign(x) * smoothstep(0.0, 0.3, ax) * hump(ax, y, (0.5, 0.92), (0.22, 0.26))
    return jaw, brow, corner


@dataclass(frozen=True)
class Mouth:
    """The lips of one moment as curves from the left corner to the right one, each (n, 2).

    Attributes:
        upper: outer edge of the upper lip.
        inner_upper: its inner edge.
        inner_lower: inner edge of the lower lip.
        lower: its outer edge.
        landmarks: iBUG points 48 to 67: (20, 2).
        jaw: how far the jaw is down, in units.
    """

    upper: np.ndarray
    inner_upper: np.ndarray
    inner_lower: np.ndarray
    lower: np.ndarray
    landmarks: np.ndarray
    jaw: float


SIDE = np.linspace(-1, 1, 41)
UPPER_AT = np.array([-0.62, -0.24, 0.0, 0.24, 0.62])  # where along the lips landmarks lie
LOWER_AT = np.array([0.62, 0.3, 0.0, -0.3, -0.62])
INNER_AT = np.array([-0.5, 0.0, 0.5])


def mouth(look: Look, state: np.ndarray) -> Mouth:
    """The lips for one row of `mouth_motion`: open, spread, closed, tuck, tongue."""
    opening, spread, closed, tuck = (float(v) for v in state[:4])
    wide, round_ = max(spread, 0.0), max(-spread, 0.0)
    half = MOUTH_HALF_WIDTH * look.mouth_width * (1 + 0.17 * wide - 0.36 * round_ - 0.05 * opening * (1 - wide) - 0.03 * closed)
    gap = APERTURE * opening * (1 - 0.12 * wide)
    lift = 0.24 * gap + 0.012 * wide + 0.015 * tuck
    drop = 0.76 * gap - 0.035 * tuck
    full = look.lip_fullness * (1 + 0.3 * round_ - 0.14 * wide) * (1 - 0.38 * closed)
    jaw = JAW_DROP * (0.9 * opening + 0.06 * tuck)
    corner = MOUTH_Y - 0.046 - 0.015 * wide + 0.22 * drop

    def line(x: np.ndarray, edge: str) -> np.ndarray:
        inner = np.clip(np.abs(x) / 0.90, 0, 1)
        arch = np.sqrt(1 - inner**2) ** (1.1 - 0.3 * wide)
        bow = 0.012 * (np.exp(-((x / 0.16) ** 2)) - 0.5 * np.exp(-(((np.abs(x) - 0.38) / 0.16) ** 2)))
        seam = (MOUTH_Y - corner) * arch + bow * (1 - min(1.0, 2 * opening))
        taper = (1 - np.abs(x) ** 2.3) ** 0.85
        if edge == "upper":
            y = seam - lift * arch - 0.105 * full * taper * (1 - 0.22 * np.exp(-((x / 0.11) ** 2)))
        elif edge == "inner_upper":
            y = seam - lift * arch
        elif edge == "inner_lower":
            y = seam + drop * arch
        else:
            y = seam + drop * arch + (0.14 * full * (1 - 0.45 * tuck)) * (1 - np.abs(x) ** 2.6) ** 0.8
        return np.stack([x * half, corner + y], axis=1)

    inner = np.concatenate(
        [
            line(np.array([-0.82]), "inner_upper"),
            line(INNER_AT, "inner_upper"),
            line(np.array([0.82]), "inner_upper"),
            line(INNER_AT[::-1], "inner_lower"),
        ]
    )
    outer = [line(np.array([-1.0, *UPPER_AT, 1.0]), "upper"), line(LOWER_AT, "lower")]
    upper, inner_upper, inner_lower, lower = (line(SIDE, edge) for edge in ("upper", "inner_upper", "inner_lower", "lower"))
    return Mouth(upper, inner_upper, inner_lower, lower, np.concatenate([*outer, inner]), jaw)


def eye(look: Look, side: int, lid: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One eye: upper lid (n, 2) and lower lid (n, 2) from the picture's left to its right, and its center (2,).

    Args:
        side: -1 the eye on the picture's left, 1 on its right.
        lid: 1 open, 0 shut.
    """
    center = np.array([side * EYE_X * look.eye_apart, 0.0])
    half = 0.185 * look.eye_size**0.7
    x = np.linspace(-1, 1, 25)
    tilt = -0.018 * side * x
    inward = -side * x  # 1 at the inner corner
    upper = -0.098 * look.eye_size * (1 - np.abs(x) ** 2.1) ** 0.75 * (1 + 0.10 * inward)
    lower = 0.062 * look.eye_size * (1 - np.abs(x) ** 2.0) ** 0.85 * (1 - 0.10 * inward)
    upper = lower * 0.75 + (upper - lower * 0.75) * lid
    across = center[0] + half * x
    return np.stack([across, upper + tilt], axis=1), np.stack([across, lower + tilt], axis=1), center


def brow(look: Look, side: int) -> np.ndarray:
    """Five points of a brow from the picture's left to its right: (5, 2)."""
    x = np.array([0.17, 0.33, 0.50, 0.66, 0.80])
    y = (BROW_Y - 0.02) * look.brow_height + np.array([0.02, -0.035, -0.065, -0.055, 0.02])
    points = np.stack([x * side, y], axis=1)
    return points if side > 0 else points[::-1]


def still_landmarks(look: Look) -> np.ndarray:
    """iBUG points 0 to 35 (contour, brows, nose) of a face at rest: (36, 2)."""
    end = NOSE_Y * look.nose_length
    bridge = np.stack([np.zeros(4), np.linspace(0.02, end - 0.10, 4)], axis=1)
    x = np.array([-0.19, -0.10, 0.0, 0.10, 0.19]) * look.nose_width
    base = np.stack([x, end + np.array([0.0, 0.045, 0.065, 0.045, 0.0])], axis=1)
    return np.concatenate([contour(look), brow(look, -1), brow(look, 1), bridge, base])
