"""Scores from the 68 landmarks: mouth and face distance (LMD), head pose, blinks, jitter, and lips that move in silence."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import cv2
import numpy as np

from talkingface.errors import ScoreError
from talkingface.face.finder import FaceFinder
from talkingface.media.audio import load_audio
from talkingface.metric.base import Column, StreamedMetric, Watch
from talkingface.metric.screening import Moment, Screening
from talkingface.registry import METRICS

MOUTH, FACE = slice(48, 68), slice(0, 68)  # of the 68 landmarks
STEADY = [*range(27, 36), 36, 39, 42, 45]  # nose and corners of the eyes: what speech does not move
SIDE = 256.0  # pixels: side of the face that distances are told in
SAMPLE_RATE = 16_000
SILENCE_DB = -40.0  # below the loud parts of the clip
LEAST_SILENCE = 5  # frames


class LandmarkMetric(StreamedMetric):
    """A metric of the landmarks of a whole clip; of the scored video alone, or of it and the real one.

    The boxes found in the real video serve both videos where they have one shape, so that both are measured alike; a video
    of another shape is looked at itself. Landmarks in files count where both videos have their own; else both are looked at.
    Frames in which either shows no face are left out and noted.
    """

    def watch(self, screening: Screening) -> Watch:
        if self.needs_truth and screening.truth is None:
            raise ScoreError(f"{screening.video.path} has no real video, and {self.name} compares with it.")
        return LandmarkWatch(self, screening)

    @abstractmethod
    def measure(self, ours: np.ndarray, real: np.ndarray, screening: Screening, frames: np.ndarray) -> dict[str, float]:
        """The numbers of a clip, by the plain names of the columns.

        Args:
            ours: (T, 68, 2) landmarks of the scored video, in pixels of the real one.
            real: (T, 68, 2) of the real video; where `needs_truth` is false, the scored one's again.
            frames: (T,) numbers of these frames in the video.
        """

    def protocol(self) -> dict[str, Any]:
        finder = self.faces or FaceFinder()
        return {"version": 1, "unit": "1/256 of the face's side", "fps": "of the video", "faces": finder.fingerprint()}


class LandmarkWatch(Watch):
    """A LandmarkMetric's look at one video; landmarks are found once for all of them."""

    def __init__(self, metric: LandmarkMetric, screening: Screening):
        self.metric, self.screening, self.reading = metric, screening, screening.reading
        self.sees = self.reading.sees

    def see(self, moment: Moment) -> None:
        self.reading.see(moment)

    def numbers(self) -> dict[str, float]:
        ours, video = self.reading.landmarks(), self.screening.video
        with_real = self.metric.needs_truth
        real = self.screening.real_landmarks if with_real else ours
        count = min(len(real.landmarks), len(ours.landmarks))
        both = np.asarray(real.detected[:count], bool) & np.asarray(ours.detected[:count], bool)
        if not both.any():
            where = f"both here and in {self.screening.real.path}" if with_real else "here"
            raise ScoreError(f"{video.path}: no frame shows a face {where}.")
        if not both.all():
            self.metric.note(f"{count - both.sum()} of {count} frames left out: no face in them or in the real ones.")
        scale = np.array(self.screening.scale if with_real else (1, 1), np.float32)
        frames = np.flatnonzero(both)
        found = self.metric.measure(ours.landmarks[frames] * scale, real.landmarks[frames], self.screening, frames)
        return dict(zip(self.metric.columns, found.values(), strict=True))


@METRICS.register("LMD")
class LandmarkDistance(LandmarkMetric):
    """Mean distance of the mouth's 20 landmarks (or, as LMD@face, of all 68) to the real ones, in pixels of a 256 x 256 face.

    The face is the square around the 68 real landmarks, its side a mean over the clip. Frames are paired by their number.
    0 is perfect.
    """

    columns: ClassVar[Mapping[str, Column]] = {"LMD": Column(False, 0.0, float("inf"), "px of 256")}
    variants = ("mouth", "face")
    variant = variants[0]

    def measure(self, ours: np.ndarray, real: np.ndarray, screening: Screening, frames: np.ndarray) -> dict[str, float]:
        points = MOUTH if self.variant == "mouth" else FACE
        distance = np.linalg.norm(ours[:, points] - real[:, points], axis=-1).mean()
        return {"LMD": float(distance * SIDE / face_side(real))}

    def protocol(self) -> dict[str, Any]:
        return {**super().protocol(), "landmarks": "48-67 of 68" if self.variant == "mouth" else "all 68"}


@METRICS.register("Pose")
class PoseDistance(LandmarkMetric):
    """Mean absolute difference of yaw, pitch and roll to the real head's, in degrees. 0 is perfect.

    Angles are of six landmarks (nose tip, chin, corners of eyes and mouth) and a generic head, by perspective-n-point.
    """

    columns: ClassVar[Mapping[str, Column]] = {"pose": Column(False, 0.0, 180.0, "degrees")}

    def measure(self, ours: np.ndarray, real: np.ndarray, screening: Screening, frames: np.ndarray) -> dict[str, float]:
        size = (screening.real.width, screening.real.height)
        turns = head_angles(ours, size) - head_angles(real, size)
        return {"pose": float(np.abs((turns + 180) % 360 - 180).mean())}


@METRICS.register("Blink")
class BlinkDistance(LandmarkMetric):
    """Mean absolute difference of the eye aspect ratio (Soukupova and Cech, 2016) to the real eyes', over both eyes.

    The ratio of an eye's height to its width is about 0.3 when it is open, and near 0 when it is closed. 0 is perfect.
    """

    columns: ClassVar[Mapping[str, Column]] = {"blink": Column(False, 0.0, float("inf"), "eye aspect ratio")}

    def measure(self, ours: np.ndarray, real: np.ndarray, screening: Screening, frames: np.ndarray) -> dict[str, float]:
        return {"blink": float(np.abs(eye_aspect_ratios(ours) - eye_aspect_ratios(real)).mean())}


@METRICS.register("Jitter")
class Jitter(LandmarkMetric):
    """How much the face trembles: mean second difference over frames of nose and eye corners, in pixels of a 256 x 256 face.

    A face that rests or moves evenly has 0. Compare with the value of the real videos: real heads tremble a little, too.
    """

    columns: ClassVar[Mapping[str, Column]] = {"jitter": Column(False, 0.0, float("inf"), "px of 256")}
    needs_truth = False

    def measure(self, ours: np.ndarray, real: np.ndarray, screening: Screening, frames: np.ndarray) -> dict[str, float]:
        neighbors = (np.diff(frames[:-1]) == 1) & (np.diff(frames[1:]) == 1)
        if not neighbors.any():
            raise ScoreError(f"{screening.video.path}: no three frames in a row show a face.")
        points = ours[:, STEADY]
        seconds = (points[2:] - 2 * points[1:-1] + points[:-2])[neighbors]
        return {"jitter": float(np.linalg.norm(seconds, axis=-1).mean() * SIDE / face_side(ours))}


@METRICS.register("SilentLips")
class SilentLips(LandmarkMetric):
    """How much the lips move while nobody speaks: their mean motion from frame to frame, in pixels of a 256 x 256 face.

    The motion is measured against nose and eye corners. A frame is silent where its sound is 40 dB below the clip's loud
    parts (the 95th percentile of the frames' power); before and after it there is silence as well. 0 is perfect.
    """

    columns: ClassVar[Mapping[str, Column]] = {"silent lips": Column(False, 0.0, float("inf"), "px of 256")}
    needs_truth = False
    needs_audio = True
    controlled = False

    def watch(self, screening: Screening) -> Watch:
        if screening.audio is None and not screening.video.has_audio:
            raise ScoreError(f"{screening.video.path} has no sound, and silence cannot be heard in it.")
        return super().watch(screening)

    def measure(self, ours: np.ndarray, real: np.ndarray, screening: Screening, frames: np.ndarray) -> dict[str, float]:
        wav = load_audio(screening.audio or screening.video.path, SAMPLE_RATE)
        start = 0.0 if screening.audio else screening.video.start
        late = screening.late / 25
        silent = silent_frames(wav, screening.video.fps, int(frames[-1]) + 1, start - late)
        steps = (np.diff(frames) == 1) & silent[frames[1:]] & silent[frames[:-1]]
        if steps.sum() < LEAST_SILENCE:
            raise ScoreError(f"{screening.video.path}: its sound is silent in fewer than {LEAST_SILENCE} frames.")
        lips = ours[:, MOUTH] - ours[:, STEADY].mean(axis=1, keepdims=True)
        motion = np.linalg.norm(np.diff(lips, axis=0)[steps], axis=-1)
        return {"silent lips": float(motion.mean() * SIDE / face_side(ours))}

    def protocol(self) -> dict[str, Any]:
        return {**super().protocol(), "silence_db": SILENCE_DB}


def face_side(landmarks: np.ndarray) -> float:
    """Side of the square around (T, 68, 2) landmarks: a mean over frames."""
    return float((landmarks.max(axis=1) - landmarks.min(axis=1)).max(axis=1).mean())


HEAD = np.array(
    [(0, 0, 0), (0, -330, -65), (-225, 170, -135), (225, 170, -135), (-150, -150, -125), (150, -150, -125)], np.float64
)  # nose tip, chin, outer corners of the eyes (that on the left of the picture first), corners of the mouth
HEAD_POINTS = [30, 8, 36, 45, 48, 54]


def head_angles(landmarks: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(T, 3) yaw, pitch and roll in degrees of heads with (T, 68, 2) landmarks; focal length = the picture's longer side."""
    focal = float(max(size))
    camera = np.array([(focal, 0, size[0] / 2), (0, focal, size[1] / 2), (0, 0, 1)])
    angles = []
    for points in landmarks[:, HEAD_POINTS].astype(np.float64):
        _, turn, _ = cv2.solvePnP(HEAD * (1, -1, -1), np.ascontiguousarray(points), camera, None, flags=cv2.SOLVEPNP_SQPNP)
        matrix, _ = cv2.Rodrigues(turn)
        pitch, yaw, roll = cv2.RQDecomp3x3(matrix)[0]
        angles.append((yaw, pitch, roll))
    return np.array(angles)


def eye_aspect_ratios(landmarks: np.ndarray) -> np.ndarray:
    """(T, 68, 2) -> (T, 2): height by width of both eyes."""
    ratios = []
    for first in (36, 42):
        p = [landmarks[:, first + k] for k in range(6)]
        heights = np.linalg.norm(p[1] - p[5], axis=-1) + np.linalg.norm(p[2] - p[4], axis=-1)
        ratios.append(heights / (2 * np.linalg.norm(p[0] - p[3], axis=-1)))
    return np.stack(ratios, axis=1)


def silent_frames(wav: np.ndarray, fps: float, count: int, start: float = 0.0) -> np.ndarray:
    """(count,) bool: frames whose sound, and that of their neighbors, is 40 dB below the loud parts.

    Args:
        wav: (N,) at 16 kHz.
        start: second of the sound at the first frame.
    """
    edges = np.round((start + np.arange(-1, count + 2) / fps) * SAMPLE_RATE).astype(int)
    parts = [wav[max(a, 0) : max(b, 0)] for a, b in zip(edges[:-1], edges[1:], strict=True)]
    power = np.array([np.square(part, dtype=np.float64).mean() if len(part) else 0.0 for part in parts])
    quiet = power <= np.quantile(power, 0.95) * 10 ** (SILENCE_DB / 10)
    return quiet[:-2] & quiet[1:-1] & quiet[2:] if not math.isclose(power.max(), 0) else np.ones(count, bool)
