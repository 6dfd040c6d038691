"""Retrieval: whether the sound of a clip finds its own video among others by their embeddings, and the video its sound."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from talkingface.dataset.base import Clip
from talkingface.errors import ScoreError
from talkingface.metric.base import ClipSource, Column, ModelMetric
from talkingface.registry import METRICS

if TYPE_CHECKING:
    from talkingface.model.base import Model

log = logging.getLogger(__name__)

REACHES = (1, 5, 10, 50)
DIRECTIONS = {"audio to video": ("audio", "video"), "video to audio": ("video", "audio")}
PERCENT = Column(True, 0, 100, "%")
RANK = Column(False, 1, float("inf"))


@METRICS.register("Retrieval")
class Retrieval(ModelMetric):
    """Audio-visual retrieval by Euclidean distance of normalised embeddings (Zhou et al., AAAI 2019, table 1).

    Among all clips of a split, each clip's sound looks for its own video, and the other way round. R@k is the share of
    queries whose own one is among the k nearest; ranks count from 1. Others at the same distance count as nearer.

    Args:
        split: whose clips are looked for: val or test.
    """

    columns: ClassVar[Mapping[str, Column]] = {
        f"{name} ({direction})": column
        for direction in DIRECTIONS
        for name, column in {**{f"R@{k}": PERCENT for k in REACHES}, "median rank": RANK, "mean rank": RANK}.items()
    }

    def __init__(self, split: str = "test"):
        self.split = split

    def score_model(self, model: Model, clips: ClipSource) -> dict[str, float]:
        spoken, found = spaces_of(model, clips, clips.listed(self.split), ("audio", "video"))
        if len(spoken) < 2:
            raise ScoreError(f"{len(spoken)} clip can be looked for; retrieval needs at least two.")
        self.note(f"{len(spoken)} clips to choose from")
        scores = {}
        for direction, (query, target) in DIRECTIONS.items():
            for name, value in retrieval(found[query], found[target]).items():
                scores[f"{name} ({direction})"] = value
        return scores

    def protocol(self) -> dict[str, Any]:
        return {"version": 1, "split": self.split, "distance": "Euclidean, normalised", "ties": "lost"}


def retrieval(queries: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """How well each query (N, D) finds the target (N, D) in its own row among all targets.

    Returns:
        "R@1", "R@5", "R@10" and "R@50" in percent, "median rank" (the lower of two middle ones) and "mean rank".
    """
    distances = euclidean(normalised(queries), normalised(targets))
    own = np.diag(distances)[:, None]
    ranks = (distances <= own).sum(axis=1)
    reached = {f"R@{k}": 100 * float((ranks <= k).mean()) for k in REACHES}
    return {**reached, "median rank": float(np.floor(np.median(ranks))), "mean rank": float(ranks.mean())}


def normalised(rows: np.ndarray) -> np.ndarray:
    """Rows (N, D) of length 1, float64."""
    rows = np.asarray(rows, np.float64)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def euclidean(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Distances of all rows (N, D) to all others (M, D): (N, M)."""
    squares = (rows**2).sum(axis=1)[:, None] + (others**2).sum(axis=1) - 2 * rows @ others.T
    return np.sqrt(np.maximum(squares, 0))


def spaces_of(
    model: Model, clips: ClipSource, wanted: Sequence[Clip], names: Sequence[str]
) -> tuple[list[Clip], dict[str, np.ndarray]]:
    """What a model's method `spaces` makes of clips: name -> one row per clip. Metrics of one evaluation share it.

    A model that can be scored has `spaces(clips) -> {name: (N, D)}` for prepared clips: "audio" and "video", embeddings of
    what is said; "person", an embedding of who is seen; "audio words", "video words" and "persons", scores of classes.

    Returns:
        The clips that could be used, and the arrays.

    Raises:
        ScoreError: the model has no such method, or it does not return all of `names`; or there are no clips.
    """
    key = tuple(clip.name for clip in wanted)
    if key not in clips.memory:
        if (spaces := getattr(model, "spaces", None)) is None:
            raise ScoreError(f"{model.name} has no spaces of words and persons that could be scored.")
        if not wanted:
            raise ScoreError("there are no clips to score it on.")
        usable = clips.prepared(wanted)
        clips.memory[key] = usable, spaces(usable)
    usable, found = clips.memory[key]
    if missing := [name for name in names if name not in found]:
        raise ScoreError(f"{model.name} as it is set gives no {missing[0]!r} for its clips.")
    return usable, found
