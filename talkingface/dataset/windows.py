"""Windows of five frames and the speech of each: where in a clip they may start.

A frame's speech is a window of 16 mel columns of the 80 in a second, from the frame's own time on. `valid` is (T,) bool: the
frames that show a face.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from talkingface.media.audio import MEL_WINDOW

FPS = 25  # frames per second in training
FRAMES = 5  # in a training window


def first_column(frame: int | np.ndarray) -> int | np.ndarray:
    """First mel column of a frame's window at 25 frames per second: floor(80 f / 25)."""
    return 16 * frame // 5


def valid_starts(valid: np.ndarray) -> np.ndarray:
    """Frames f where f .. f + 4 all have a face."""
    if len(valid) < FRAMES:
        return np.empty(0, np.int64)
    return np.flatnonzero(sliding_window_view(valid, FRAMES).all(axis=1))


def real_starts(valid: np.ndarray, columns: int) -> np.ndarray:
    """Those of `valid_starts` whose speech is whole: the windows of frames f - 1 .. f + 3 lie in the mel."""
    starts = valid_starts(valid)
    return starts[(starts >= 1) & (first_column(starts + FRAMES - 2) + MEL_WINDOW <= columns)]


def spoken_starts(valid: np.ndarray, columns: int) -> np.ndarray:
    """Those of `valid_starts` whose own window of speech is whole: what the expert needs."""
    starts = valid_starts(valid)
    return starts[first_column(starts) + MEL_WINDOW <= columns]


def whole_starts(valid: np.ndarray, columns: int, frames: int = FRAMES) -> np.ndarray:
    """Frames f where f .. f + frames - 1 all have a face, and each its own whole window of speech."""
    if len(valid) < frames:
        return np.empty(0, np.int64)
    starts = np.flatnonzero(sliding_window_view(valid, frames).all(axis=1))
    return starts[first_column(starts + frames - 1) + MEL_WINDOW <= columns]


def other_than(start: int, starts: np.ndarray, rng: np.random.Generator) -> int:
    """One of `starts`, which are sorted and hold `start`, but not `start` itself."""
    place = int(rng.integers(len(starts) - 1))
    return int(starts[place + (starts[place] >= start)])
