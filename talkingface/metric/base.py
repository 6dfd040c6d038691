"""Metric: a number per video, of a set of videos, or of a model on a set of clips; and what it means."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from talkingface.dataset.base import Clip
from talkingface.errors import ConfigError, ScoreError
from talkingface.face.finder import FaceFinder
from talkingface.media.video import Video
from talkingface.registry import METRICS

if TYPE_CHECKING:
    from talkingface.metric.screening import Moment, Screening
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
        needs_audio: the score is of picture and sound together.
        controlled: controls show whether it can tell right from wrong; by default where it needs audio.
        needs_model: the score is of a model itself; see ModelMetric.
        variants: what the metric can be measured as, the usual one first, such as "frame" and "face"; SSIM@face in
            `evaluation.metrics` asks for one. Each has columns of its own, because values of two never compare.
        variant: the one that this metric measures; "" where there is one only.
        faces: how faces are found; the run puts its own configured finder here.
        checkpoints_dir: where published weights are; the run puts its own folder here.
        settings: what the metric was made with; the run puts it here, and reports keep it.
    """

    columns: ClassVar[Mapping[str, Column]]
    needs_truth: ClassVar[bool] = True
    needs_audio: ClassVar[bool] = False
    controlled: ClassVar[bool] = True
    needs_model: ClassVar[bool] = False
    variants: ClassVar[Sequence[str]] = ()
    variant: str = ""
    faces: FaceFinder | None = None
    checkpoints_dir: Path = Path("checkpoints")
    settings: Mapping[str, Any] = MappingProxyType({})
    notes: Sequence[str] = ()

    @property
    def name(self) -> str:
        """The name under which the metric is registered."""
        return next((name for name, cls in METRICS.items() if cls is type(self)), type(self).__name__)

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

    def choose(self, variant: str) -> None:
        """Measure this variant; the columns' names say it where it is not the usual one.

        Raises:
            ConfigError: there is none of this name.
        """
        if variant not in self.variants:
            known = ", ".join(f"{self.name}@{known}" for known in self.variants) or f"plain {self.name}"
            raise ConfigError(f"there is no {self.name}@{variant}; it can be {known}.")
        self.variant = variant
        self.columns = type(self).columns  # type: ignore[misc]
        if variant != self.variants[0]:
            self.columns = {f"{column} ({variant})": meaning for column, meaning in self.columns.items()}  # type: ignore[misc]

    def release(self) -> None:  # noqa: B027
        """Let go of what is kept of the videos that were scored so far."""

    def note(self, text: str) -> None:
        """Say something about the video whose numbers are being told; the report shows it beside the scores."""
        self.notes = [*self.notes, text]

    def take_notes(self) -> list[str]:
        """The notes since the last call."""
        notes, self.notes = list(self.notes), ()
        return notes

    def names(self) -> Sequence[str]:
        """The columns' names."""
        return list(self.columns)


class Watch(ABC):
    """One metric's look at one video, frame by frame.

    Attributes:
        sees: whether it still wants frames; false from the start where all is known already.
        sees_real: whether it wants the real frames too.
        details: what stands behind the numbers, as plain values: curves, tracks. Known after `numbers`.
    """

    sees: bool = True
    sees_real: bool = False
    details: Mapping[str, Any] = MappingProxyType({})

    @abstractmethod
    def see(self, moment: Moment) -> None:
        """Look at one frame; called for each in order.

        Raises:
            ScoreError: this video cannot be scored, and why.
        """

    def abandon(self) -> None:  # noqa: B027
        """No more frames will come: the video could not be read to its end."""

    @abstractmethod
    def numbers(self) -> dict[str, float]:
        """The numbers of the video; called once, after the last frame, maybe after other videos have been begun.

        Raises:
            ScoreError: this video cannot be scored, and why.
        """


class StreamedMetric(Metric):
    """A metric that looks at frames as they pass, so that many metrics share one decoding of a video.

    Attributes:
        fps: frames per second that it looks at; None = the video's own.
    """

    fps: ClassVar[float | None] = None

    @abstractmethod
    def watch(self, screening: Screening) -> Watch:
        """Begin to look at a video.

        Raises:
            ScoreError, MissingWeightsError: as `score`.
        """

    def score(self, video: Video, truth: Video | None = None, audio: Path | None = None) -> dict[str, float]:
        from talkingface.metric.screening import Screening

        screening = Screening(video, truth, audio, self.faces)
        watch = self.watch(screening)
        screening.show([watch], self.fps)
        return watch.numbers()


class SetMetric(StreamedMetric):
    """Scores all videos of a set together. Its watches keep features of each video and have no numbers of their own."""

    @abstractmethod
    def features(self, screening: Screening) -> SetFeatures:
        """What this metric keeps of a video, as the watch that gathers it."""

    def watch(self, screening: Screening) -> Watch:
        return self.features(screening)

    def score(self, video: Video, truth: Video | None = None, audio: Path | None = None) -> dict[str, float]:
        """The numbers of a set of one video."""
        from talkingface.metric.screening import Screening

        screening = Screening(video, truth, audio, self.faces)
        gathering = self.features(screening)
        screening.show([gathering], self.fps)
        return self.score_set([gathering.files()])

    @abstractmethod
    def score_set(self, gathered: Sequence[Mapping[str, Path]]) -> dict[str, float]:
        """The numbers of a set.

        Args:
            gathered: of each video, what its `SetFeatures.files` told.

        Raises:
            ScoreError: too few videos or frames.
        """


class SetFeatures(Watch):
    """The features of one video, in files."""

    @abstractmethod
    def files(self) -> dict[str, Path]:
        """Where the features are, after the last frame."""

    def numbers(self) -> dict[str, float]:
        return {}


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
