"""What PC-AVS sees: 224 x 224 faces, aligned by eyes and mouth or cropped already, and the part of them that it is shown.

Pictures are (H, W, 3) uint8 RGB.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from talkingface.errors import ConfigError, MediaError
from talkingface.face.align import crop, held, reduced_crop, similarity
from talkingface.face.finder import FaceFinder
from talkingface.media.image import resize
from talkingface.media.video import Video
from talkingface.model.pc_avs.speech import FPS

SIDE = 224  # of an aligned face, pixels
MARGIN = 16  # pixels that are cut off at the left and the right, and twice as many at the bottom
REFERENCE = np.array([(87.0, 59.0), (137.0, 59.0), (112.0, 120.0)])  # eyes and mouth in an aligned face
DECAY = 0.2  # share of the last frame's shift in the next one's
MODES = ("auto", "always", "never")

log = logging.getLogger(__name__)


# --- one picture ------------------------------------------------------------------------------------------------------


def view(face: np.ndarray, side: int = SIDE) -> np.ndarray:
    """What the networks are shown of a 224 x 224 face: the top 192 x 192 pixels, enlarged to `side`."""
    return resize(face[: SIDE - 2 * MARGIN, MARGIN : SIDE - MARGIN], (side, side))


def to_unit(pictures: np.ndarray) -> Tensor:
    """(n, H, W, 3) uint8 -> (n, 3, H, W) float in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float().div(255).mul(2).sub(1)


def to_pictures(generated: Tensor) -> np.ndarray:
    """(n, 3, H, W) in [-1, 1] -> (n, H, W, 3) uint8, cut to whole numbers as the authors do."""
    return ((generated.float() + 1) / 2 * 255).clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()


# --- alignment --------------------------------------------------------------------------------------------------------


def three_points(landmarks: np.ndarray) -> np.ndarray:
    """Centers of the eyes and of the inner lips: (..., 68, 2) -> (..., 3, 2); means in the landmarks' own precision."""
    return np.stack([landmarks[..., part, :].mean(axis=-2) for part in (slice(36, 42), slice(42, 48), slice(60, 68))], axis=-2)


def mean_map(points: np.ndarray) -> np.ndarray:
    """(2, 3): the similarity map of the mean of (T, 3, 2) points onto their places in an aligned face."""
    return similarity(points.mean(axis=0, dtype=np.float64), REFERENCE)


def frame_maps(points: np.ndarray, smooth: float = 0.0) -> np.ndarray:
    """A map for each frame (the authors' align_68.py): turn and scale are those of the whole video, the mouth stays in place.

    Args:
        points: (T, 3, 2) of `three_points`; NaN where there is no face: such a frame keeps the shift of the one before.
        smooth: 0: shifts follow the mouth with a decay of 0.2, as the authors do: the crop shakes as the lips open and close.
            Else they follow the middle of eyes and mouth, averaged over about so many seconds around each frame: the crop
            then moves with the head, and the mouth stays in place on average.

    Returns:
        (T, 2, 3) float64.
    """
    points = np.asarray(points, np.float64)
    known = np.isfinite(points).all(axis=(1, 2))
    matrix = mean_map(points[known])
    moves = REFERENCE - (points @ matrix[:, :2].T + matrix[:, 2])  # (T, 3, 2): what each point lacks
    moves = moves[held(known)]
    shifts = moving_with_head(moves, smooth * FPS) if smooth else following(moves[:, 2])
    maps = np.repeat(matrix[None], len(points), axis=0)
    maps[:, :, 2] += shifts
    return maps


def following(moves: np.ndarray) -> np.ndarray:
    """(T, 2) moves, each mixed with what the frame before became."""
    shifts = moves.copy()
    for t in range(1, len(shifts)):
        shifts[t] = DECAY * shifts[t - 1] + (1 - DECAY) * moves[t]
    return shifts


def moving_with_head(moves: np.ndarray, frames: float) -> np.ndarray:
    """(T, 2): the mean of (T, 3, 2) moves, averaged with Gaussian weights whose deviation is a number of frames.

    A constant is added to it, by which the mouth is on average where it should be.
    """
    from scipy.ndimage import gaussian_filter1d

    heads = moves.mean(axis=1)
    return gaussian_filter1d(heads, frames, axis=0, mode="nearest") + (moves[:, 2] - heads).mean(axis=0)


def cut(frame: np.ndarray, matrix: np.ndarray, reduce: bool = False) -> np.ndarray:
    """The aligned face (224, 224, 3) of a frame, black where the frame ends.

    Args:
        reduce: make large faces smaller first, so that no pixel is skipped; the authors do not.
    """
    return (reduced_crop if reduce else crop)(frame, matrix, (SIDE, SIDE))


def spans(frames: np.ndarray, most: int = 8) -> str:
    """Frames (n,) in order, in words: "0, 5-6, 8"; after so many stretches, how many frames more there are."""
    parts = np.split(frames, np.flatnonzero(np.diff(frames) > 1) + 1)
    words = [str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts[:most]]
    more = sum(map(len, parts[most:]))
    return ", ".join(words) + (f" and {more} more" if more else "")


# --- a video ----------------------------------------------------------------------------------------------------------


class Alignment(NamedTuple):
    """How faces are cut out of videos.

    Attributes:
        mode: "auto" aligns what is not 224 x 224 pixels; "always"; "never" takes all frames to be aligned faces.
        smooth: see `frame_maps`.
        reduce: see `cut`.
    """

    mode: str = "auto"
    smooth: float = 0.0
    reduce: bool = True

    def checked(self) -> Alignment:
        """The same, if it makes sense.

        Raises:
            ConfigError: the mode is unknown, or the time is negative.
        """
        if self.mode not in MODES:
            raise ConfigError(f"PC_AVS.align: expected one of {', '.join(MODES)}, got {self.mode!r}.")
        if self.smooth < 0:
            raise ConfigError(f"PC_AVS.align_smooth: expected 0 or more seconds, got {self.smooth}.")
        return self


AUTO = Alignment()


class FaceVideo:
    """The 224 x 224 faces of a video, of a folder of pictures, or of a still, at 25 frames per second.

    Landmarks are searched when the first face is asked for; frames are read in a stream.

    Args:
        path: the file or folder.
        finder: finds the landmarks of what has to be aligned.
        alignment: how.
        count: use only so many of the frames; 0 = all.

    Raises:
        MediaError: there is no such file, or its frames are no faces and may not be aligned.
    """

    def __init__(self, path: Path, finder: FaceFinder, alignment: Alignment = AUTO, count: int = 0):
        self.video = Video(path, fps=FPS)
        self.video = self.video if not count or self.video.is_still else Video(path, fps=FPS, stop=(count - 0.5) / FPS)
        self.finder, self.alignment = finder, alignment
        size = (self.video.width, self.video.height)
        self.is_aligned = alignment.mode == "never" or (alignment.mode == "auto" and size == (SIDE, SIDE))
        if self.is_aligned and size[0] != size[1]:
            raise MediaError(
                f"{path} is {size[0]} x {size[1]}: no aligned face of {SIDE} x {SIDE} pixels. Use --PC_AVS.align=auto to have "
                "the face found and aligned, or crop it to a square."
            )

    @property
    def path(self) -> Path:
        """The file or folder."""
        return self.video.path

    def key(self) -> tuple[Any, ...]:
        """What decides the faces: equal for two videos of equal content that are cut in the same way."""
        found = () if self.is_aligned else (*self.alignment, repr(self.finder.fingerprint()))
        return (self.video.content_hash(), self.video.stop, self.is_aligned, *found)

    def __iter__(self) -> Iterator[np.ndarray]:
        if self.is_aligned:
            yield from (resize(frame, (SIDE, SIDE)) for frame in self.video)
            return
        maps, _ = self.track
        for t, frame in enumerate(self.video):
            yield cut(frame, maps[min(t, len(maps) - 1)], self.alignment.reduce)

    def __len__(self) -> int:
        return len(self.video)

    @cached_property
    def track(self) -> tuple[np.ndarray, np.ndarray]:
        """Where the face is, of a video that has to be aligned.

        Returns:
            (T, 2, 3): a map for each frame; and (T,) bool: the face was found there. Frames without one keep the place that it
            had before.

        Raises:
            FaceError: no frame has a face.
        """
        found = self.finder.landmarks(self.video)
        points = three_points(found.landmarks)
        known = np.isfinite(points).all(axis=(1, 2))
        seen = known & found.detected
        if not seen.all():
            lost, bridged = int((~known).sum()), int((known & ~seen).sum())
            ways = f"{bridged} bridged between their neighbors, {lost} held where the last face was"
            where = spans(np.flatnonzero(~seen))
            log.warning("%s: no face was found in %d of %d frames (%s): %s.", self.path, bridged + lost, len(known), where, ways)
        return frame_maps(points, self.alignment.smooth), seen

    def with_face(self) -> Sequence[int]:
        """The frames in which there is a face."""
        return range(len(self)) if self.is_aligned else np.flatnonzero(self.track[1]).tolist() or [0]

    def pick(self, frames: Sequence[int]) -> np.ndarray:
        """(n, 224, 224, 3): the faces of these frames, in order of time."""
        wanted, found = set(frames), []
        for t, face in enumerate(self):
            if t in wanted:
                found.append(face)
            if t >= max(wanted):
                break
        return np.stack(found)
