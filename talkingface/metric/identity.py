"""CSIM: whether the generated face is still the same person."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Any, ClassVar

import numpy as np

from talkingface.errors import ConfigError, ScoreError
from talkingface.face.landmarks import dlib_file
from talkingface.metric.base import Column, StreamedMetric, Watch
from talkingface.metric.screening import FACE_MARGIN, FACE_SIDE, Moment, Screening
from talkingface.registry import METRICS


@METRICS.register("CSIM")
class IdentitySimilarity(StreamedMetric):
    """Cosine similarity of a face recognizer's descriptors of each frame and of the real frame of the same number. 1 is equal.

    The recognizer is dlib's (a ResNet of 128 numbers; its weights come with the package face_recognition_models). Papers
    mostly use ArcFace, whose values are others. The same square is cut from both frames, where the face is in the real one;
    within it, each face is aligned by its own landmarks.

    Args:
        every: compare each n-th frame.
    """

    columns: ClassVar[Mapping[str, Column]] = {"CSIM": Column(True, -1.0, 1.0)}

    def __init__(self, every: int = 5):
        if every < 1:
            raise ConfigError(f"CSIM.every: expected 1 or more, got {every}.")
        self.every = every

    def watch(self, screening: Screening) -> Watch:
        if screening.truth is None:
            raise ScoreError(f"{screening.video.path} has no real video, and CSIM compares with it.")
        return IdentityWatch(self, screening)

    def protocol(self) -> dict[str, Any]:
        faces = self.faces.fingerprint() if self.faces else "auto"
        crop = {"region": "face", "size": FACE_SIDE, "margin": FACE_MARGIN, "faces": faces}
        return {"version": 1, "recognizer": "dlib_face_recognition_resnet_model_v1", **crop, "every": self.every}


class IdentityWatch(Watch):
    """CSIM's look at one video."""

    sees_real = True

    def __init__(self, metric: IdentitySimilarity, screening: Screening):
        self.metric, self.screening = metric, screening
        self.values: list[float] = []

    @cached_property
    def middle(self) -> np.ndarray:
        """The face's box in a crop: x1, y1, x2, y2."""
        border = FACE_SIDE * (1 - 1 / FACE_MARGIN) / 2
        return np.array([border, border, FACE_SIDE - border, FACE_SIDE - border])

    def see(self, moment: Moment) -> None:
        if moment.index % self.metric.every or not moment.both:
            return
        pair = moment.pair("face")
        if pair is not None:
            ours, real = (descriptor(picture, self.middle) for picture in pair)
            self.values.append(float(ours @ real / (np.linalg.norm(ours) * np.linalg.norm(real))))

    def numbers(self) -> dict[str, float]:
        if not self.values:
            raise ScoreError(f"{self.screening.video.path}: no frame of {self.screening.real.path} shows a face.")
        return {"CSIM": min(1.0, math.fsum(self.values) / len(self.values))}


@lru_cache(maxsize=1)
def recognizer() -> tuple[Any, Any]:
    """dlib's landmark predictor of five points, and its recognizer.

    Raises:
        FaceError: the package that has their weights is not installed.
    """
    points = dlib_file("shape_predictor_5_face_landmarks.dat")
    network = dlib_file("dlib_face_recognition_resnet_model_v1.dat")
    import dlib

    return dlib.shape_predictor(str(points)), dlib.face_recognition_model_v1(str(network))


def descriptor(picture: np.ndarray, box: np.ndarray) -> np.ndarray:
    """(128,) numbers that tell whose face lies in a box x1, y1, x2, y2 of an (H, W, 3) uint8 RGB picture."""
    import dlib

    predictor, network = recognizer()
    picture = np.ascontiguousarray(picture)
    shape = predictor(picture, dlib.rectangle(*(round(float(edge)) for edge in box)))
    return np.array(network.compute_face_descriptor(picture, shape), np.float64)
