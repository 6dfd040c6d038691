"""SSIM and PSNR: how much each frame looks like the real one."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np

from talkingface.errors import ScoreError
from talkingface.media.prefetch import prefetch
from talkingface.media.video import Video
from talkingface.metric.base import Column, Metric
from talkingface.registry import METRICS

WINDOW, SIGMA = 11, 1.5
K1, K2, LEVELS = 0.01, 0.03, 255.0
CAP = 100.0  # dB: the PSNR of frames that are equal, and the most that any frame counts


class FrameMetric(Metric):
    """A metric that is the mean of a comparison of each frame with the real frame of the same number.

    The real video is read at the video's own frame rate. Frames are compared at the real video's size; generated ones are
    resized to it, by area where they shrink, else bilinearly. Where one video is longer, the rest of it is left out.
    """

    needs_truth = True

    def score(self, video: Video, truth: Video | None, audio: Path | None = None) -> dict[str, float]:
        if truth is None:
            raise ScoreError(f"{video.path}: {type(self).__name__} compares with the real video, and none was given.")
        values = [self.compare(frame, real) for frame, real in prefetch(self.frame_pairs(video, truth))]
        return {name: math.fsum(values) / len(values) for name in self.columns}

    @abstractmethod
    def compare(self, frame: np.ndarray, real: np.ndarray) -> float:
        """The value of one (H, W, 3) uint8 frame."""

    def frame_pairs(self, video: Video, truth: Video) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(frame, real frame) of equal size, over the shorter video; lengths that differ by two or more frames are noted."""
        truth = Video(truth.path, video.fps, truth.start, None if math.isinf(truth.stop) else truth.stop)
        frames, reals = 0, 0
        for frame, real in zip_longest(video, truth):
            frames, reals = frames + (frame is not None), reals + (real is not None)
            if frame is not None and real is not None:
                yield fitted(frame, real), real
        if abs(frames - reals) > 1:
            self.note(f"{frames} frames, the real video has {reals}; the first {min(frames, reals)} are compared.")

    def protocol(self) -> dict[str, Any]:
        return {"version": 1, "region": "whole frame", "color": "RGB", "size": "of the real video", "fps": "of the video"}


@METRICS.register("SSIM")
class SSIM(FrameMetric):
    """Structural similarity (Wang et al., 2004): Gaussian window of 11 pixels, sigma 1.5, mean of R, G and B. 1 is equal."""

    columns: ClassVar[Mapping[str, Column]] = {"SSIM": Column(True, -1.0, 1.0)}

    def compare(self, frame: np.ndarray, real: np.ndarray) -> float:
        return ssim(frame, real)

    def protocol(self) -> dict[str, Any]:
        return {**super().protocol(), "window": WINDOW, "sigma": SIGMA, "k1": K1, "k2": K2, "border": "left out"}


@METRICS.register("PSNR")
class PSNR(FrameMetric):
    """Peak signal-to-noise ratio of 8-bit RGB, mean over frames; a frame counts at most 100 dB, and so does an equal one."""

    columns: ClassVar[Mapping[str, Column]] = {"PSNR": Column(True, 0.0, CAP, "dB")}

    def compare(self, frame: np.ndarray, real: np.ndarray) -> float:
        return psnr(frame, real)

    def protocol(self) -> dict[str, Any]:
        return {**super().protocol(), "cap_db": CAP, "mean": "of the frames' values"}


def ssim(frame: np.ndarray, real: np.ndarray) -> float:
    """SSIM of two (H, W, C) uint8 pictures; pixels nearer than half a window to the border are left out.

    Raises:
        ScoreError: a side is shorter than the window.
    """
    if min(frame.shape[:2]) < WINDOW:
        raise ScoreError(f"frames are {frame.shape[1]} x {frame.shape[0]} pixels; SSIM needs {WINDOW} x {WINDOW}.")
    middle = np.float32(LEVELS / 2)  # values around 0 keep variances exact to 1e-7 in single precision
    x, y = frame.astype(np.float32) - middle, real.astype(np.float32) - middle
    mean_x, mean_y = smooth(x), smooth(y)
    product, squares = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
    covariance, variances = smooth(x * y) - product, smooth(x * x + y * y) - squares
    c1, c2 = (K1 * LEVELS) ** 2, (K2 * LEVELS) ** 2
    shift = middle * (mean_x + mean_y)
    luminance = (2 * (product + shift + middle**2) + c1) / (squares + 2 * (shift + middle**2) + c1)
    values = luminance * (2 * covariance + c2) / (variances + c2)
    return min(1.0, float(values.mean(dtype=np.float64)))  # rounding goes a little beyond 1


def smooth(picture: np.ndarray) -> np.ndarray:
    """Gaussian means, without the border where the window leaves the picture."""
    border = WINDOW // 2
    return cv2.GaussianBlur(picture, (WINDOW, WINDOW), SIGMA)[border:-border, border:-border]


def psnr(frame: np.ndarray, real: np.ndarray) -> float:
    """PSNR of two uint8 pictures in dB, at most `CAP`."""
    squares = cv2.norm(frame, real, cv2.NORM_L2SQR)
    return min(CAP, 10 * math.log10(LEVELS**2 * frame.size / squares)) if squares else CAP


def fitted(frame: np.ndarray, real: np.ndarray) -> np.ndarray:
    """A frame at the size of the real one."""
    if frame.shape == real.shape:
        return frame
    size = (real.shape[1], real.shape[0])
    shrinks = frame.shape[0] * frame.shape[1] > size[0] * size[1]
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
