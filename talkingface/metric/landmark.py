"""LMD: how far the mouth's landmarks are from the real ones."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from talkingface.errors import ScoreError
from talkingface.face.finder import FaceFinder, FaceTrack
from talkingface.face.landmarks import find_landmarks
from talkingface.media.video import Video
from talkingface.metric.base import Column, Metric
from talkingface.registry import METRICS

MOUTH = slice(48, 68)  # of the 68 landmarks
FACE = 256.0  # pixels: side of the face that distances are told in
SAME_SHAPE = 0.02  # relative difference of aspects that padding to even sides may cause


@METRICS.register("LMD")
class LandmarkDistance(Metric):
    """Mean distance of the 20 mouth landmarks to the real ones, in pixels of a 256 x 256 face. 0 is perfect.

    The face is the square around the 68 real landmarks, its side a mean over the clip. Frames are paired by their number.
    The boxes found in the real video serve both videos where they have one shape, so that both are measured alike; a video
    of another size is measured at the real one's. Landmarks in files count where both videos have their own; else both are
    looked at. Frames in which either shows no face are left out and noted.
    """

    columns: ClassVar[Mapping[str, Column]] = {"LMD": Column(False, 0.0, float("inf"), "px of 256")}
    needs_truth = True

    def score(self, video: Video, truth: Video | None, audio: Path | None = None) -> dict[str, float]:
        if truth is None:
            raise ScoreError(f"{video.path}: LMD compares with the real video, and none was given.")
        finder = self.faces or FaceFinder()
        truth = truth if same_rate(video, truth) else Video(truth.path, video.fps)
        boxes = finder.boxes(truth)
        if not (find_landmarks(video.path) and find_landmarks(truth.path, finder.landmarks_dir)):
            finder = without_files(finder)
        scale = np.array([truth.width / video.width, truth.height / video.height], np.float32)
        real = finder.landmarks(truth, boxes)
        ours = finder.landmarks(video, boxes_for(video, boxes, scale))
        count = min(len(real.landmarks), len(ours.landmarks))
        both = np.asarray(real.detected[:count], bool) & np.asarray(ours.detected[:count], bool)
        if not both.any():
            raise ScoreError(f"{video.path}: no frame shows a face both here and in {truth.path}.")
        if not both.all():
            self.note(f"{count - both.sum()} of {count} frames left out: no face in them or in the real ones.")
        return {"LMD": mouth_distance(ours.landmarks[:count][both] * scale, real.landmarks[:count][both])}

    def protocol(self) -> dict[str, Any]:
        finder = self.faces or FaceFinder()
        return {"version": 1, "landmarks": "48-67 of 68", "unit": "1/256 of the real face's side", "faces": finder.fingerprint()}


def without_files(finder: FaceFinder) -> FaceFinder:
    """The same finder, looking at the pictures even where landmarks lie on disk: a true 0 needs one way of measuring."""
    looking = copy(finder)
    looking._stored_landmarks = lambda video: None  # type: ignore[method-assign]
    return looking


def mouth_distance(landmarks: np.ndarray, real: np.ndarray) -> float:
    """Mean distance of (T, 68, 2) mouth landmarks to the real ones, in 1/256 of the real face's side."""
    side = (real.max(axis=1) - real.min(axis=1)).max(axis=1).mean()
    return float(np.linalg.norm(landmarks[:, MOUTH] - real[:, MOUTH], axis=-1).mean() * FACE / side)


def boxes_for(video: Video, track: FaceTrack, scale: np.ndarray) -> FaceTrack | None:
    """The boxes of the real video for the generated one: at its size and length; None where its shape is another one.

    Args:
        scale: (2,) width and height of the real video in those of the generated one.
    """
    if abs(scale[0] / scale[1] - 1) > SAME_SHAPE:
        return None
    frames = np.minimum(np.arange(len(video)), len(track.boxes) - 1)
    return FaceTrack(track.boxes[frames] / np.tile(scale, 2), [track.notes[frame] for frame in frames])


def same_rate(video: Video, truth: Video) -> bool:
    """Whether frames of the same number are shown at the same time."""
    return abs(video.fps / truth.fps - 1) < 1e-3
