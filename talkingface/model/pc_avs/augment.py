"""What PC-AVS does to the frames that its encoders see in training: other colors, another shape, another sharpness.

The pose code must not say who somebody is, so pose and lips are read from frames in which that has been changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import cv2
import numpy as np

SIDE = 224  # pixels, for which the authors chose the distances below
SHARPEN = np.array([[-1, -1, -1], [-1, 9, -1], [-1, -1, -1]], np.float32)


@dataclass(frozen=True)
class Draw:
    """What happens to one clip; distances are in pixels of a 224 x 224 picture and scale with the picture.

    Attributes:
        gain: factor of the chosen channels, 0.3 to 1.6.
        first, last: the channels first .. last - 1 are changed.
        tall: stretch along the height, else along the width.
        stretch: pixels that each side wins there and loses on the other axis, 15 to 24.
        margin: pixels beyond each border that the perspective shows, 0 to half of `stretch`.
        reach: how far outside of the picture the corners of the perspective lie (negative: inside), +-20 to 39.
        shear: how far two of these corners move, +-20 to 29.
        blurs: side of the median filter of each frame, of 3, 5, 7, 9; empty = sharpen instead.
    """

    gain: float
    first: int
    last: int
    tall: bool
    stretch: int
    margin: int
    reach: int
    shear: int
    blurs: Sequence[int] = ()

    @classmethod
    def random(cls, rng: np.random.Generator, count: int) -> Draw:
        """A draw for a clip of `count` frames."""
        first, stretch = int(rng.integers(2)), int(rng.integers(15, 25))
        reach, shear = (int(rng.integers(20, high)) * int(rng.choice((-1, 1))) for high in (40, 30))
        return cls(
            gain=float(rng.uniform(0.3, 1.6)),
            first=first,
            last=first + int(rng.integers(1, 4)),
            tall=bool(rng.integers(2)),
            stretch=stretch,
            margin=int(rng.integers(stretch // 2)),
            reach=reach,
            shear=shear,
            blurs=tuple(int(side) for side in rng.choice((3, 5, 7, 9), count)) if rng.integers(2) else (),
        )

    def scaled(self, side: int) -> Draw:
        """The same for pictures of another side: distances are rounded, filters stay odd."""
        if side == SIDE:
            return self
        factor = side / SIDE
        distances = {name: round(getattr(self, name) * factor) for name in ("stretch", "margin", "reach", "shear")}
        blurs = tuple(2 * round((blur - 1) / 2 * factor) + 1 for blur in self.blurs)
        same = {field.name: getattr(self, field.name) for field in fields(self)}
        return Draw(**{**same, **distances, "blurs": blurs})


def augment(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change a clip (T, S, S, 3) uint8 RGB: all frames alike, but for the strength of the blur."""
    return apply(frames, Draw.random(rng, len(frames)))


def apply(frames: np.ndarray, draw: Draw) -> np.ndarray:
    """Change a clip (T, S, S, 3) uint8 RGB as drawn."""
    draw = draw.scaled(frames.shape[1])
    colored = recolored(frames, draw)
    return np.stack([refocused(reshaped(frame, draw), draw, t) for t, frame in enumerate(colored)])


def recolored(frames: np.ndarray, draw: Draw) -> np.ndarray:
    """Other colors: some channels brighter or darker; cut to whole numbers."""
    colors = frames.copy()
    part = slice(draw.first, draw.last)
    levels = np.clip(np.arange(256) * draw.gain, 0, 255).astype(np.uint8)
    colors[..., part] = levels[frames[..., part]]
    return colors


def reshaped(frame: np.ndarray, draw: Draw) -> np.ndarray:
    """Another shape: stretched along one axis, then seen in perspective."""
    return in_perspective(stretched(frame, draw), draw, frame.shape[0])


def stretched(frame: np.ndarray, draw: Draw) -> np.ndarray:
    """(S, S, 3) -> (S + 2 margin, S + 2 margin, 3): longer along one axis, mirrored where nothing is left on the other."""
    side, gained, margin = frame.shape[0], draw.stretch, draw.margin
    short, long, pad, kept = side - 2 * gained, side + 2 * gained, gained + margin, slice(gained - margin, side + gained + margin)
    if draw.tall:
        longer = cv2.resize(frame, (short, long))[kept]
        return cv2.copyMakeBorder(longer, 0, 0, pad, pad, cv2.BORDER_REFLECT)
    longer = cv2.resize(frame, (long, short))[:, kept]
    return cv2.copyMakeBorder(longer, pad, pad, 0, 0, cv2.BORDER_REFLECT)


def in_perspective(frame: np.ndarray, draw: Draw, side: int) -> np.ndarray:
    """A square picture seen from elsewhere: (side, side, 3)."""
    height, width = frame.shape[:2]
    low, right, bottom = -draw.reach, width + draw.reach, height + draw.reach
    corners = np.array([(low, low), (low, right), (bottom, low), (bottom, right)], np.float32)
    moved = corners + np.array([(0, 0), (draw.shear, 0), (0, 0), (-draw.shear, 0)], np.float32)
    matrix = cv2.getPerspectiveTransform(corners, moved)
    return cv2.warpPerspective(frame, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def refocused(frame: np.ndarray, draw: Draw, index: int) -> np.ndarray:
    """Another sharpness of frame `index`: a median filter, or sharpening."""
    if draw.blurs:
        return cv2.medianBlur(frame, draw.blurs[index % len(draw.blurs)])
    return cv2.filter2D(frame, -1, SHARPEN)
