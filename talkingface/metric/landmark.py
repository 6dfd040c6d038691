"""LMD: how far the mouth's landmarks are from the real ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from talkingface.errors import ScoreError
from talkingface.face.finder import FaceFinder
from talkingface.media.video import Video
from talkingface.metric.base import Column, Metric
from talkingface.registry import METRICS

MOUTH = slice(48, 68)  # of the 68 landmarks
FACE = 256.0  # pixels: side of the face that distances are told in


@METRICS.register("LMD")
class LandmarkDistance(Metric):
    """Mean distance of the 20 mouth landmarks to the real ones, in pixels of a 256 x 256 face. 0 is perfect.

    The face is the square around the 68 real landmarks, its side a mean over the clip. Frames are paired by their number.
    The boxes found in the real video serve both videos where their sizes are equal, so that both are measured alike.
    Frames in which either video shows no face are left out and noted.
    """

    columns: ClassVar[Mapping[str, Column]] = {"LMD": Column(False, 0.0, float("inf"), "px of 256")}
    needs_truth = True

    def score(self, video: Video, truth: Video | None, audio: Path | None = None) -> dict[str, float]:
        if truth is None:
            raise ScoreError(f"{video.path}: LMD compares with the real video, and none was given.")
        finder = self.faces or FaceFinder()
        truth = truth if same_rate(video, truth) else Video(truth.path, video.fps)
        boxes = finder.boxes(truth)
        real = finder.landmarks(truth, boxes)
        same_frame = (video.width, video.height) == (truth.width, truth.height)
        ours = finder.landmarks(video, boxes if same_frame and len(video) == len(truth) else None)
        count = min(len(real.landmarks), len(ours.landmarks))
        both = np.asarray(real.detected[:count], bool) & np.asarray(ours.detected[:count], bool)
        if not both.any():
            raise ScoreError(f"{video.path}: no frame shows a face both here and in {truth.path}.")
        if not both.all():
            self.note(f"{count - both.sum()} of {count} frames left out: no face in them or in the real ones.")
        scale = np.array([truth.width / video.width, truth.height / video.height], np.float32)
        return {"LMD": mouth_distance(ours.landmarks[:count][both] * scale, real.landmarks[:count][both])}

    def protocol(self) -> dict[str, Any]:
        finder = self.faces or FaceFinder()
        return {"version": 1, "landmarks": "48-67 of 68", "unit": "1/256 of the real face's side", "faces": finder.fingerprint()}


def mouth_distance(landmarks: np.ndarray, real: np.ndarray) -> float:
    """Mean distance of (T, 68, 2) mouth landmarks to the real ones, in 1/256 of the real face's side."""
    side = (real.max(axis=1) - real.min(axis=1)).max(axis=1).mean()
    return float(np.linalg.norm(landmarks[:, MOUTH] - real[:, MOUTH], axis=-1).mean() * FACE / side)


def same_rate(video: Video, truth: Video) -> bool:
    """Whether frames of the same number are shown at the same time."""
    return abs(video.fps / truth.fps - 1) < 1e-3
