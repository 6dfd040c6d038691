"""Metric: a number per video, or of a model on a set of clips, and what it means."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from talkingface.dataset.base import Clip
from talkingface.errors import ScoreError
from talkingface.face.finder import FaceFinder
from talkingface.media.video import Video

if TYPE_CHECKING:
    from talkingface.model.base import Model


class Column(NamedTuple):
    """One number of a metric.

    Attributes:
        higher_is_better: None where neither is (an offset).
        low, high: the range that values can take; inf where there is no bound.
        unit: of the value, "" for none.
    """

    higher_is_better: bool | None
    low: float
    high: float
    unit: str = ""

    @property
    def arrow(self) -> str:
        """↑, ↓ or "": which way is better."""
        return {True: "↑", False: "↓", None: ""}[self.higher_is_better]


class Metric(ABC):
    """Scores one video, alone or against the real one.

    Attributes:
        columns: name of each number that `score` returns -> what it means.
        needs_truth: `score` compares with the real video.
        needs_audio: the score is of picture and sound together; such metrics are shown to work by their controls.
        needs_model: the score is of a model itself; see ModelMetric.
        faces: how faces are found; the run puts its own configured finder here.
        checkpoints_dir: where published weights are; the run puts its own folder here.
    """

    columns: ClassVar[Mapping[str, Column]]
    needs_truth: ClassVar[bool] = True
    needs_audio: ClassVar[bool] = False
    needs_model: ClassVar[bool] = False
    faces: FaceFinder | None = None
    checkpoints_dir: Path = Path("checkpoints")
    notes: Sequence[str] = ()

    @abstractmethod
    def score(self, video: Video, truth: Video | None, audio: Path | None = None) -> dict[str, float]:
        """The numbers of one video.

        Args:
            truth: the real video; None only where `needs_truth` is false.
            audio: the sound to judge the video with, instead of its own.

        Raises:
            ScoreError: this video cannot be scored, and why.
            MissingWeightsError: the metric cannot score any video on this disk.
        """

    def protocol(self) -> dict[str, Any]:
        """What has to be equal for two values of this metric to be comparable: plain values, stored with the scores."""
        return {"version": 1}

    def note(self, text: str) -> None:
        """Say something about the video that is being scored; the report shows it beside the scores."""
        self.notes = [*self.notes, text]

    def take_notes(self) -> list[str]:
        """The notes since the last call."""
        notes, self.notes = list(self.notes), ()
        return notes

    @classmethod
    def names(cls) -> Sequence[str]:
        """The columns' names."""
        return list(cls.columns)


class ClipSource(ABC):
    """The clips that a model can be scored on: listed at no cost, their features made when they are asked for.

    Attributes:
        memory: what the metrics of one evaluation share, such as embeddings: key -> value.
    """

    def __init__(self) -> None:
        self.memory: dict[Any, Any] = {}

    @abstractmethod
    def listed(self, split: str) -> list[Clip]:
        """The clips of 'train', 'val' or 'test' whose real video is known, each with it as its face."""

    @abstractmethod
    def prepared(self, clips: Sequence[Clip]) -> list[Clip]:
        """These clips with the model's features; those that cannot be used are left out."""


class ModelMetric(Metric):
    """Scores a model on sets of clips, not one video: what its embeddings find, say. Its numbers have no rows per clip."""

    needs_truth = False
    needs_model = True

    def score(self, video: Video, truth: Video | None = None, audio: Path | None = None) -> dict[str, float]:
        raise ScoreError(f"{type(self).__name__} scores a model on clips, and {video.path} is one video.")

    @abstractmethod
    def score_model(self, model: Model, clips: ClipSource) -> dict[str, float]:
        """The numbers of a model, in evaluation mode.

        Raises:
            ScoreError: this model, or these clips, cannot be scored, and why.
        """
