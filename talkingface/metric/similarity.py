"""SSIM, MS-SSIM and PSNR: how much each frame looks like the real one, whole or around the face."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import cv2
import numpy as np

from talkingface.errors import ConfigError, ScoreError
from talkingface.metric.base import Column, StreamedMetric, Watch
from talkingface.metric.screening import FACE_MARGIN, FACE_SIDE, MOUTH_MARGIN, MOUTH_SIDE, REGIONS, Moment, Screening
from talkingface.registry import METRICS

WINDOW, SIGMA = 11, 1.5
K1, K2, LEVELS = 0.01, 0.03, 255.0
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # exponents of MS-SSIM, finest first (Wang et al., 2003)
CAP = 100.0  # dB: the PSNR of frames that are equal, and the most that any frame counts


class FrameMetric(StreamedMetric):
    """A metric that is the mean of a comparison of each frame with the real frame of the same number.

    The real video is read at the video's own frame rate. Frames are compared at the real video's size; generated ones are
    resized to it, by area where they shrink, else bilinearly. Where one video is longer, the rest of it is left out. Of
    the face or the mouth the same square is cut from both, where it is in the real one; frames without a face are left out.
    """

    needs_truth = True
    variants = REGIONS
    variant = REGIONS[0]

    def watch(self, screening: Screening) -> Watch:
        if screening.truth is None:
            raise ScoreError(f"{screening.video.path} has no real video, and {type(self).__name__} compares with it.")
        return Comparison(self, screening)

    @abstractmethod
    def compare(self, frame: np.ndarray, real: np.ndarray) -> float:
        """The value of one (H, W, 3) uint8 frame."""

    def protocol(self) -> dict[str, Any]:
        shared = {"version": 1, "region": self.variant, "color": "RGB", "fps": "of the video"}
        if self.variant == "frame":
            return {**shared, "region": "whole frame", "size": "of the real video"}
        side, margin = (FACE_SIDE, FACE_MARGIN) if self.variant == "face" else (MOUTH_SIDE, MOUTH_MARGIN)
        return {**shared, "size": side, "margin": margin, "faces": (self.faces.fingerprint() if self.faces else "auto")}


class Comparison(Watch):
    """A FrameMetric's look at one video; lengths that differ by two or more frames are noted."""

    sees_real = True

    def __init__(self, metric: FrameMetric, screening: Screening):
        self.metric, self.screening = metric, screening
        self.values: list[float] = []
        self.frames = self.reals = self.faceless = 0

    def see(self, moment: Moment) -> None:
        self.frames += moment.frame is not None
        self.reals += moment.real is not None
        if moment.both:
            pair = moment.pair(self.metric.variant)
            if pair is None:
                self.faceless += 1
            else:
                self.values.append(self.metric.compare(*pair))

    def numbers(self) -> dict[str, float]:
        if abs(self.frames - self.reals) > 1:
            first = min(self.frames, self.reals)
            self.metric.note(f"{self.frames} frames, the real video has {self.reals}; the first {first} are compared.")
        if not self.values:
            raise ScoreError(f"{self.screening.video.path}: no frame of {self.screening.real.path} shows a face.")
        if self.faceless:
            count = self.faceless + len(self.values)
            self.metric.note(f"{self.faceless} of {count} frames left out: no face in the real ones.")
        return {name: math.fsum(self.values) / len(self.values) for name in self.metric.columns}


@METRICS.register("SSIM")
class SSIM(FrameMetric):
    """Structural similarity (Wang et al., 2004): Gaussian window of 11 pixels, sigma 1.5, mean of R, G and B. 1 is equal."""

    columns: ClassVar[Mapping[str, Column]] = {"SSIM": Column(True, -1.0, 1.0)}

    def compare(self, frame: np.ndarray, real: np.ndarray) -> float:
        return ssim(frame, real)

    def protocol(self) -> dict[str, Any]:
        return {**super().protocol(), "window": WINDOW, "sigma": SIGMA, "k1": K1, "k2": K2, "border": "left out"}


@METRICS.register("MS-SSIM")
class MultiScaleSSIM(FrameMetric):
    """Structural similarity over five scales, each half the one before (Wang, Simoncelli and Bovik, 2003). 1 is equal.

    Args:
        scales: how many; fewer than the published five let smaller frames be compared, and give other numbers.
    """

    columns: ClassVar[Mapping[str, Column]] = {"MS-SSIM": Column(True, 0.0, 1.0)}

    def __init__(self, scales: int = len(SCALES)):
        if not 1 <= scales <= len(SCALES):
            raise ConfigError(f"MS-SSIM.scales: expected 1 to {len(SCALES)}, got {scales}.")
        self.exponents = SCALES[:scales]

    def compare(self, frame: np.ndarray, real: np.ndarray) -> float:
        return ms_ssim(frame, real, self.exponents)

    def protocol(self) -> dict[str, Any]:
        exponents = list(self.exponents)
        scales = {"window": WINDOW, "sigma": SIGMA, "k1": K1, "k2": K2, "exponents": exponents, "halved by": "means of 2 x 2"}
        return {**super().protocol(), **scales, "border": "left out"}


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
    luminance, contrast = similarities(frame.astype(np.float32), real.astype(np.float32))
    return min(1.0, float((luminance * contrast).mean(dtype=np.float64)))  # rounding goes a little beyond 1


def ms_ssim(frame: np.ndarray, real: np.ndarray, exponents: Sequence[float] = SCALES) -> float:
    """MS-SSIM of two (H, W, C) uint8 pictures: the mean over channels; a channel's negative similarities count as 0.

    Args:
        exponents: of the scales, finest first; as they are, without regard to their sum.

    Raises:
        ScoreError: a side is too short for so many scales.
    """
    least = (WINDOW - 1) * 2 ** (len(exponents) - 1) + 1
    if min(frame.shape[:2]) < least:
        size = f"frames are {frame.shape[1]} x {frame.shape[0]} pixels"
        raise ScoreError(
            f"{size}; MS-SSIM of {len(exponents)} scales needs {least} x {least}: try MS-SSIM@face, or fewer scales."
        )
    x, y = frame.astype(np.float32), real.astype(np.float32)
    product = np.ones(frame.shape[2])
    for level, exponent in enumerate(exponents):
        if level:
            x, y = halved(x), halved(y)
        luminance, contrast = similarities(x, y)
        values = contrast if level < len(exponents) - 1 else luminance * contrast
        product *= np.maximum(values.mean(axis=(0, 1), dtype=np.float64), 0) ** exponent
    return min(1.0, float(product.mean()))


def similarities(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of two (H, W, C) float32 pictures in 0 to 255: similarity of luminance, and of contrast and structure, per pixel."""
    middle = np.float32(LEVELS / 2)  # values around 0 keep variances exact to 1e-7 in single precision
    x, y = x - middle, y - middle
    mean_x, mean_y = smooth(x), smooth(y)
    product, squares = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
    covariance, variances = smooth(x * y) - product, smooth(x * x + y * y) - squares
    c1, c2 = (K1 * LEVELS) ** 2, (K2 * LEVELS) ** 2
    shift = middle * (mean_x + mean_y)
    luminance = (2 * (product + shift + middle**2) + c1) / (squares + 2 * (shift + middle**2) + c1)
    return luminance, (2 * covariance + c2) / (variances + c2)


def halved(picture: np.ndarray) -> np.ndarray:
    """Half the size, by means of 2 x 2 pixels; an odd last row or column is left out."""
    height, width = picture.shape[0] // 2, picture.shape[1] // 2
    return picture[: 2 * height, : 2 * width].reshape(height, 2, width, 2, -1).mean(axis=(1, 3))


def smooth(picture: np.ndarray) -> np.ndarray:
    """Gaussian means, without the border where the window leaves the picture."""
    border = WINDOW // 2
    return cv2.GaussianBlur(picture, (WINDOW, WINDOW), SIGMA)[border:-border, border:-border]


def psnr(frame: np.ndarray, real: np.ndarray) -> float:
    """PSNR of two uint8 pictures in dB, at most `CAP`."""
    squares = cv2.norm(frame, real, cv2.NORM_L2SQR)
    return min(CAP, 10 * math.log10(LEVELS**2 * frame.size / squares)) if squares else CAP
