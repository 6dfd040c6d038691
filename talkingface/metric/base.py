"""Metric: a number per video, and what it means."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from talkingface.face.finder import FaceFinder
from talkingface.media.video import Video


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


class Metric(ABC):
    """Scores one video, alone or against the real one.

    Attributes:
        columns: name of each number that `score` returns -> what it means.
        needs_truth: `score` compares with the real video.
        faces: how faces are found; the run puts its own configured finder here.
    """

    columns: ClassVar[Mapping[str, Column]]
    needs_truth: ClassVar[bool] = True
    faces: FaceFinder | None = None

    @abstractmethod
    def score(self, video: Video, truth: Video | None) -> dict[str, float]:
        """The numbers of one video.

        Raises:
            ScoreError: this video cannot be scored, and why.
            MissingWeightsError: the metric cannot score any video on this disk.
        """

    def protocol(self) -> dict[str, Any]:
        """What has to be equal for two values of this metric to be comparable: plain values, stored with the scores."""
        return {"version": 1}

    @classmethod
    def names(cls) -> Sequence[str]:
        """The columns' names."""
        return list(cls.columns)
