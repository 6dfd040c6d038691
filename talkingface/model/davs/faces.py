"""What DAVS sees: faces aligned by eyes and mouth, 260 x 260 with a border of two pixels, and the part of them that it is shown.

Pictures are (H, W, 3) uint8 RGB; the alignment itself does not mind the order of colors.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from talkingface.errors import ConfigError, FaceError, MediaError
from talkingface.face.align import crop, five_points, held, move_points, reduced_crop, smoothed
from talkingface.face.finder import FaceFinder
from talkingface.media.image import resize
from talkingface.media.mfcc import FPS
from talkingface.media.video import Video

SIDE, BORDER = 260, 2  # of an aligned face, pixels; the networks are shown what is inside the border
SHOWN = SIDE - 2 * BORDER
CANVAS = (356, 436)  # width and height on which faces are aligned
TEMPLATE = 2.0 * np.array([(70, 112), (110, 112), (90, 150)])  # left eye, right eye, middle of the mouth
TOP, LEFT, CUT = 104, 44, 268  # first row and column, and side, of what is kept of the canvas
LRW = (0, 1, 0, 1, 2)  # which points count for LRW: eyes twice
MODES = ("auto", "always", "never")
NUMBERS = 10  # of a row of a .mat file: x and y of left eye, right eye, nose, left and right corner of the mouth

log = logging.getLogger(__name__)


# --- one picture ------------------------------------------------------------------------------------------------------


def three_points(points: np.ndarray) -> np.ndarray:
    """Left eye, right eye, middle of the mouth, of eyes, nose and corners of the mouth: (..., 5, 2) -> (..., 3, 2) float64."""
    points = np.asarray(points, np.float64)
    return np.stack((points[..., 0, :], points[..., 1, :], points[..., 3:5, :].mean(axis=-2)), axis=-2)


def alignment(points: np.ndarray, lrw: bool = False) -> np.ndarray:
    """The similarity map of a face onto the canvas (preprocess/face_align.py).

    Args:
        points: (3, 2) of `three_points`.
        lrw: each eye counts twice, as in preprocess/process256_224.py.

    Returns:
        (2, 3) float64.
    """
    chosen = list(LRW if lrw else range(len(TEMPLATE)))
    points, target = np.asarray(points, np.float64)[chosen], TEMPLATE[chosen]
    center, target_center = points.mean(axis=0), target.mean(axis=0)
    spread, target_spread = (points - center).std(), (target - target_center).std()
    u, _, vt = np.linalg.svd(((points - center) / spread).T @ ((target - target_center) / target_spread))
    linear = target_spread / spread * (u @ vt).T
    return np.column_stack((linear, target_center - linear @ center))


def cut(frame: np.ndarray, matrix: np.ndarray, shift: Sequence[int] = (0, 0), reduce: bool = False) -> np.ndarray:
    """The aligned face (260, 260, 3) of a frame, grey where the frame ends.

    Args:
        matrix: of `alignment`.
        shift: pixels of the canvas by which the cut is moved, right and down; the authors draw -3 to 3 for training.
        reduce: make large faces smaller first, so that no pixel is skipped; the authors do not.
    """
    canvas = (reduced_crop if reduce else crop)(frame, matrix, CANVAS, "grey")
    left, top = LEFT + shift[0], TOP + shift[1]
    return resize(canvas[top : top + CUT, left : left + CUT], (SIDE, SIDE))


def cut_points(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points (..., 2) of a frame as points of its aligned face."""
    return (move_points(np.asarray(points, np.float64), matrix) - (LEFT, TOP)) * (SIDE / CUT)


def shown(face: np.ndarray, side: int = SHOWN) -> np.ndarray:
    """What the networks are shown of an aligned face: (side, side, 3) float32 in [0, 1].

    Of a face of 260 x 260 the border is left out. Of one of 256 x 256, such as the authors' demo pictures, the first two rows
    and columns are left out and the rest is enlarged, as the authors do.
    """
    inside = face[BORDER : BORDER + SHOWN, BORDER : BORDER + SHOWN].astype(np.float64) / 255
    return resize(inside, (side, side)).astype(np.float32)


# --- points -----------------------------------------------------------------------------------------------------------


def read_mat(path: Path) -> np.ndarray:
    """The points in a MATLAB file: (T, 5, 2) float64, eyes, nose and corners of the mouth of each picture, in pixels.

    The file holds one table of 10 columns, or one of (T, 5, 2), of whatever name.

    Raises:
        FaceError: it is no MATLAB file of version 7 or older, or does not hold one such table.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        content = loadmat(str(path), mat_dtype=True)
    except NotImplementedError as error:
        raise FaceError(f"{path} is of MATLAB's version 7.3; save it again with `save(..., '-v7')`.") from error
    except (MatReadError, OSError, ValueError, TypeError, IndexError, KeyError) as error:
        raise FaceError(f"{path} is not a MATLAB file that can be read, or is damaged: {error}.") from error
    arrays = {name: value for name, value in content.items() if isinstance(value, np.ndarray) and value.dtype.kind in "iuf"}
    tables = {name: value for name, value in arrays.items() if value.shape[1:] in ((NUMBERS,), (NUMBERS // 2, 2))}
    if len(tables) != 1:
        found = ", ".join(f"{name} {value.shape}" for name, value in arrays.items()) or "no numbers"
        raise FaceError(
            f"{path} holds {found}; expected one table with {NUMBERS} numbers a picture: x, y of eyes, nose, mouth corners."
        )
    (table,) = tables.values()
    return table.reshape(-1, NUMBERS // 2, 2).astype(np.float64)


def mat_beside(path: Path) -> Path | None:
    """The MATLAB file with the points of a video, a picture or a folder of pictures: <name>.mat beside it, if there is one."""
    beside = path.with_name(f"{path.name if path.is_dir() else path.stem}.mat")
    return beside if beside.is_file() else None


def points_of(video: Video, finder: FaceFinder) -> tuple[np.ndarray, np.ndarray]:
    """The five points of the face in every frame: from <name>.mat beside the video, else of the finder's 68 landmarks.

    Returns:
        (T, 5, 2) float64, NaN where there is no face; and (T,) bool, where the face was really found.

    Raises:
        FaceError: no frame has a face, or the file has points of fewer pictures than there are.
    """
    path = mat_beside(video.path)
    if path is None:
        track = finder.landmarks(video)
        return five_points(track.landmarks).astype(np.float64), track.detected
    points, rows = read_mat(path), np.arange(len(video))
    if not video.has_pictures:
        rows = np.floor((video.start + rows / video.fps) * video.source_fps + 1e-3).astype(int)
    if rows[-1] >= len(points) + (0 if video.has_pictures else 2):  # what containers say about their ends is a little vague
        pictures = "pictures" if video.has_pictures else "frames"
        raise FaceError(f"{path} has points of {len(points)} {pictures}, and {video.path} has {rows[-1] + 1}; make it again.")
    points = points[np.minimum(rows, len(points) - 1)]
    return points, np.isfinite(points).all(axis=(1, 2))


# --- a video ----------------------------------------------------------------------------------------------------------


class Alignment(NamedTuple):
    """How faces are cut out of videos.

    Attributes:
        mode: "auto" aligns all but what is 260 x 260 pixels, and pictures of 256 x 256, as the authors' are (videos of 256 x 256,
            as LRW's are, show more than a face); "always"; "never" takes all to be aligned faces.
        smooth: seconds over which maps are averaged around each frame, so that the crop does not jitter; 0 = none.
        reduce: see `cut`.
        lrw: see `alignment`.
    """

    mode: str = "auto"
    smooth: float = 0.0
    reduce: bool = True
    lrw: bool = False

    def checked(self) -> Alignment:
        """The same, if it makes sense.

        Raises:
            ConfigError: the mode is unknown, or the time is negative.
        """
        if self.mode not in MODES:
            raise ConfigError(f"DAVS.align: expected one of {', '.join(MODES)}, got {self.mode!r}.")
        if self.smooth < 0:
            raise ConfigError(f"DAVS.align_smooth: expected 0 or more seconds, got {self.smooth}.")
        return self


AUTO = Alignment()


class FaceVideo:
    """The aligned faces of a video, a folder of pictures or a still, at 25 frames per second, read in a stream.

    Args:
        path: the file or folder.
        finder: finds the landmarks of what has to be aligned, when the first face is asked for.
        how: the alignment.

    Attributes:
        is_aligned: nothing is aligned; the pictures are faces already.
    """

    def __init__(self, path: Path, finder: FaceFinder, how: Alignment = AUTO):
        self.video, self.finder, self.how = Video(path, fps=FPS), finder, how
        size = (self.video.width, self.video.height)
        sides = (SIDE, SHOWN) if self.video.has_pictures else (SIDE,)
        self.is_aligned = how.mode == "never" or (how.mode == "auto" and size in [(side, side) for side in sides])
        if self.is_aligned and size[0] != size[1]:
            raise MediaError(
                f"{path} is {size[0]} x {size[1]}: no aligned face of {SIDE} x {SIDE} pixels. Use --DAVS.align=auto to have "
                "the face found and aligned, or crop it to a square."
            )

    def key(self) -> tuple[Any, ...]:
        """What decides the faces: equal for two files of equal content that are cut in the same way."""
        if self.is_aligned:
            return (self.video.content_hash(), True)
        beside = mat_beside(self.video.path)
        points = repr(self.finder.fingerprint()) if beside is None else str(beside.stat().st_mtime_ns)
        return (self.video.content_hash(), *self.how, points)

    def __len__(self) -> int:
        return len(self.video)

    def __iter__(self) -> Iterator[np.ndarray]:
        """(260, 260, 3), or (256, 256, 3) where the file has such faces."""
        if self.is_aligned:
            side = SHOWN if self.video.width == SHOWN else SIDE
            yield from (resize(frame, (side, side)) for frame in self.video)
            return
        maps, _ = self.track
        for t, frame in enumerate(self.video):
            yield cut(frame, maps[min(t, len(maps) - 1)], reduce=self.how.reduce)

    @cached_property
    def track(self) -> tuple[np.ndarray, np.ndarray]:
        """Where the face is, of what has to be aligned.

        Returns:
            (T, 2, 3): a map for each frame; and (T,) bool: the face was found there. Frames without one keep the place that it
            had before.

        Raises:
            FaceError: no frame has a face.
        """
        found, seen = points_of(self.video, self.finder)
        points = three_points(found)
        known = np.isfinite(points).all(axis=(1, 2))
        if not known.any():
            raise FaceError(f"{self.video.path}: no frame has a face. Give another video, or try another --face.detector.")
        if not known.all():
            log.warning(
                "%s: %d of %d frames have no face; the crop stays where it was.", self.video.path, (~known).sum(), len(known)
            )
        maps = np.stack([alignment(points[t], self.how.lrw) for t in held(known)])
        return smoothed(maps, self.how.smooth * FPS), known & seen

    def first(self) -> np.ndarray:
        """The first frame in which the face was found: what says who it is."""
        wanted = 0
        if not self.is_aligned:
            _, seen = self.track
            wanted = int(np.flatnonzero(seen)[0]) if seen.any() else 0
        return next(face for t, face in enumerate(self) if t >= wanted)
