"""Screening: one video on its way past all metrics, decoded once; what several of them need is made once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from talkingface.errors import ScoreError, TalkingFaceError
from talkingface.face.finder import FaceFinder, FaceTrack, Reading
from talkingface.face.landmarks import LandmarkTrack, find_landmarks
from talkingface.media.prefetch import prefetch
from talkingface.media.video import Video
from talkingface.metric.base import Watch

AHEAD = 64 * 2**20  # bytes of frames that may wait to be looked at
FACE_SIDE, MOUTH_SIDE = 256, 128  # pixels of a crop of the face or the mouth
FACE_MARGIN, MOUTH_MARGIN = 1.2, 2.0  # side of the square, in sides of the landmarks' bounding box
MOUTH = slice(48, 68)  # of the 68 landmarks
SAME_SHAPE = 0.02  # relative difference of aspects that padding to even sides may cause
REGIONS = ("frame", "face", "mouth")


class Square(NamedTuple):
    """A square of the real video: center and side, pixels."""

    x: float
    y: float
    side: float


class Screening:
    """A video that is being scored.

    Args:
        video: the one that is scored.
        truth: the real one, if it is known.
        audio: the sound to judge the video with, instead of its own.
        faces: how faces are found.
        late: frames (at 25 per second) by which the sound is moved; negative is earlier.
    """

    def __init__(
        self,
        video: Video,
        truth: Video | None = None,
        audio: Path | None = None,
        faces: FaceFinder | None = None,
        late: int = 0,
    ):
        self.video, self.truth, self.audio, self.faces, self.late = video, truth, audio, faces or FaceFinder(), late

    def show(
        self, watches: Sequence[Watch], fps: float | None = None, on_real: Sequence[tuple[Screening, Watch]] = ()
    ) -> dict[Watch, TalkingFaceError]:
        """Let all watches see the video at `fps` (None = its own rate), decoded once, the real one beside it if one wants it.

        Args:
            on_real: further watches that look at the real video as theirs, and the screenings they belong to.

        Returns:
            Watches that failed, where there are several; they saw no more frames. A watch alone raises its error.
        """
        failed: dict[Watch, TalkingFaceError] = {}
        looking: dict[Watch, Screening] = {watch: self for watch in watches if watch.sees}
        looking |= {watch: screening for screening, watch in on_real}
        if not looking:
            return failed
        with_real = bool(on_real) or any(watch.sees_real for watch in looking)
        for moment in self.moments(fps, with_real):
            for watch, screening in list(looking.items()):
                try:
                    watch.see(moment if screening is self else Moment(screening, moment.index, moment.real, None))
                except TalkingFaceError as error:
                    if len(watches) == 1 and not on_real:
                        raise
                    failed[watch] = error
                    del looking[watch]
            if not looking:
                break
        return failed

    def moments(self, fps: float | None, with_real: bool) -> Iterator[Moment]:
        """The frames of the video, paired by their number with those of the real one at the same rate; until both end."""
        video = self.video if fps is None else self.at(self.video, fps)
        truth = self.at(self.truth, video.fps) if with_real and self.truth is not None else None
        pairs = zip_longest(video, truth) if truth is not None else ((frame, None) for frame in video)
        size = max(video.width * video.height * 3, 1)
        for index, (frame, real) in enumerate(prefetch(pairs, size=max(2, min(128, AHEAD // size)))):
            yield Moment(self, index, frame, real)

    @staticmethod
    def at(video: Video, fps: float) -> Video:
        """The same part of a video, at another rate."""
        if abs(video.fps / fps - 1) < 1e-9:
            return video
        return type(video)(video.path, fps, video.start, None if math.isinf(video.stop) else video.stop)

    @property
    def real(self) -> Video:
        """The real video at the rate of the scored one.

        Raises:
            ScoreError: there is none.
        """
        if self.truth is None:
            raise ScoreError(f"{self.video.path} has no real video to be compared with.")
        return self.at(self.truth, self.video.fps)

    # --- where the face is --------------------------------------------------------------------------------------------

    @cached_property
    def finder(self) -> FaceFinder:
        """How faces are found in both videos: landmarks in files count only where both have them, so that both are measured
        alike.
        """
        paths = [self.video.path, *([self.truth.path] if self.truth is not None else [])]
        stored = all(find_landmarks(path, self.faces.landmarks_dir) for path in paths)
        return self.faces if stored else self.faces.without_files()

    @cached_property
    def boxes(self) -> FaceTrack:
        """The face in each frame of the real video; of the scored one where there is no real one."""
        return self.faces.boxes(self.video if self.truth is None else self.real)

    @cached_property
    def own_boxes(self) -> FaceTrack:
        """The face in each frame of the scored video: where it is in the real one, if both have one shape."""
        if self.truth is None:
            return self.boxes
        x, y = self.scale
        if abs(x / y - 1) > SAME_SHAPE:
            return self.finder.boxes(self.video)
        return self.boxes._replace(boxes=self.boxes.boxes / np.array([x, y, x, y], np.float32))

    @property
    def scale(self) -> tuple[float, float]:
        """Width and height of the real video in those of the scored one."""
        return self.real.width / self.video.width, self.real.height / self.video.height

    @cached_property
    def reading(self) -> SharedReading:
        """The 68 landmarks of the scored video, in its own pixels, for all metrics that use them."""
        stored = self.finder.stored_landmarks(self.video)
        return SharedReading(stored if stored is not None else self.finder.reading(self.video, self.own_boxes))

    @cached_property
    def real_landmarks(self) -> LandmarkTrack:
        """The 68 landmarks of the real video, in its own pixels and at the scored one's rate."""
        return self.finder.landmarks(self.real, self.boxes)

    @cached_property
    def squares(self) -> dict[str, list[Square | None]]:
        """Region -> its square in each frame of the real video; None where there is no face."""
        boxes = self.boxes.boxes
        return {"face": [square_around(box, FACE_MARGIN) for box in boxes], "mouth": self.mouth_squares()}

    def mouth_squares(self) -> list[Square | None]:
        """Around the mouth; its side is that of the clip's median mouth, so that the crop does not breathe with the lips."""
        track = self.finder.landmarks(self.video if self.truth is None else self.real, self.boxes)
        corners = [points[MOUTH] for points in track.landmarks]
        boxes = [np.concatenate((points.min(axis=0), points.max(axis=0))) for points in corners]
        squares = [square_around(box, MOUTH_MARGIN) if seen else None for box, seen in zip(boxes, track.detected, strict=True)]
        sides = [square.side for square in squares if square is not None]
        return [square and square._replace(side=float(np.median(sides))) for square in squares]


class SharedReading:
    """Landmarks that several metrics read from the same frames."""

    def __init__(self, source: LandmarkTrack | Reading):
        self._known = source if isinstance(source, LandmarkTrack) else None
        self._reading = None if isinstance(source, LandmarkTrack) else source
        self._seen = -1

    @property
    def sees(self) -> bool:
        """Whether frames are needed."""
        return self._reading is not None and self._reading.sees

    def see(self, moment: Moment) -> None:
        """Look at a frame, if no other metric has shown it."""
        if self._reading is not None and moment.frame is not None and moment.index > self._seen:
            self._reading.see(moment.frame)
            self._seen = moment.index

    def landmarks(self) -> LandmarkTrack:
        """Of all frames."""
        if self._known is None:
            assert self._reading is not None
            self._known = self._reading.landmarks()
        return self._known


@dataclass(eq=False)
class Moment:
    """One instant at which metrics look; what two of them need is made once.

    Attributes:
        index: number of the frame, from 0.
        frame: (H, W, 3) uint8 RGB; None where the video has ended and the real one has not.
        real: likewise of the real video; None also where no metric asked for it.
    """

    screening: Screening
    index: int
    frame: np.ndarray | None
    real: np.ndarray | None

    @property
    def both(self) -> bool:
        """Whether there is a frame of each."""
        return self.frame is not None and self.real is not None

    @cached_property
    def fitted(self) -> np.ndarray:
        """The frame at the size of the real one: by area where it shrinks, else bilinearly."""
        assert self.frame is not None and self.real is not None
        return fitted(self.frame, self.real)

    @cached_property
    def crops(self) -> dict[str, tuple[np.ndarray, np.ndarray] | None]:
        """Region -> (of the frame, of the real frame) once it was asked for."""
        return {}

    def pair(self, region: str) -> tuple[np.ndarray, np.ndarray] | None:
        """The frame and the real one, or the same crop of both; None where there is no face in the real one."""
        if region == "frame":
            assert self.real is not None
            return self.fitted, self.real
        if region not in self.crops:
            squares = self.screening.squares[region]
            square = squares[self.index] if self.index < len(squares) else None
            side = FACE_SIDE if region == "face" else MOUTH_SIDE
            assert self.real is not None
            self.crops[region] = square and (cut(self.fitted, square, side), cut(self.real, square, side))
        return self.crops[region]


def square_around(box: np.ndarray, margin: float) -> Square | None:
    """The square around the middle of a box x1, y1, x2, y2; None where the box is unknown (NaN)."""
    if not np.isfinite(box).all():
        return None
    side = margin * max(box[2] - box[0], box[3] - box[1])
    return Square(float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2, float(side))


def cut(picture: np.ndarray, square: Square, side: int) -> np.ndarray:
    """Cut a square out of a picture, at (side, side, 3); beyond the border its last pixels are repeated."""
    half = square.side / 2
    left, top = math.floor(square.x - half), math.floor(square.y - half)
    right, bottom = max(left + 1, math.ceil(square.x + half)), max(top + 1, math.ceil(square.y + half))
    height, width = picture.shape[:2]
    rows, columns = np.clip(np.arange(top, bottom), 0, height - 1), np.clip(np.arange(left, right), 0, width - 1)
    inside = left >= 0 and top >= 0 and right <= width and bottom <= height
    part = picture[top:bottom, left:right] if inside else picture[rows[:, None], columns]
    shrinks = part.shape[0] > side
    return cv2.resize(part, (side, side), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def fitted(frame: np.ndarray, real: np.ndarray) -> np.ndarray:
    """A frame at the size of the real one."""
    if frame.shape == real.shape:
        return frame
    size = (real.shape[1], real.shape[0])
    shrinks = frame.shape[0] * frame.shape[1] > size[0] * size[1]
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
