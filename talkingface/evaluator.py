"""Evaluator: videos and metrics -> Report (rows per clip, means, controls, text table, JSON)."""

from __future__ import annotations

import json
import logging
import math
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from texttable import Texttable
from tqdm import tqdm

from talkingface import __version__
from talkingface.errors import MissingWeightsError, ScoreError, TalkingFaceError
from talkingface.media.files import atomic, content_hash
from talkingface.media.video import Video
from talkingface.metric.base import ClipSource, Column, Metric, ModelMetric

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

    from talkingface.model.base import Model

log = logging.getLogger(__name__)

PACKAGES = ("torch", "numpy", "av", "opencv-python", "opencv-python-headless")
REAL, FROZEN, SHUFFLED = "real video", "frozen mouth", "shuffled audio"
NOT_GENERATED = "not generated"


@dataclass(frozen=True)
class Scored:
    """A video to score.

    Args:
        name: of its row in the report.
        truth: the real video it is compared with.
        audio: the sound it is judged with, instead of its own.
    """

    name: str
    video: Path
    truth: Path | None = None
    audio: Path | None = None


@dataclass
class Row:
    """The scores of one clip.

    Attributes:
        scores: column -> value, of the metrics that could score it.
        errors: metric -> why it could not.
        notes: metric -> what to know about its score.
    """

    name: str
    scores: dict[str, float] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)

    @property
    def error(self) -> str | None:
        """All reasons in one line; None where every metric has scored the clip."""
        metrics: dict[str, list[str]] = {}
        for metric, reason in self.errors.items():
            metrics.setdefault(reason, []).append(metric)
        return " ".join(f"{', '.join(names)}: {reason}" for reason, names in metrics.items()) or None


@dataclass
class Report:
    """What a set of videos scored, with all that is needed to read and to repeat it.

    Attributes:
        columns: column -> direction, range and unit.
        metrics: metric -> its columns.
        protocol: metric -> what has to be equal for two values to be comparable.
        of_set: column -> value, of the metrics that score all clips together.
        not_scored: metric -> why it has scored nothing at all (absent weights, no real videos).
        controls: "real video", "frozen mouth", "shuffled audio" -> means of the sync metrics.
        notes: what to know about the report as a whole.
    """

    model: str = ""
    dataset: str = ""
    clips: list[Row] = field(default_factory=list)
    of_set: dict[str, float] = field(default_factory=dict)
    columns: dict[str, Column] = field(default_factory=dict)
    metrics: dict[str, list[str]] = field(default_factory=dict)
    protocol: dict[str, dict[str, Any]] = field(default_factory=dict)
    not_scored: dict[str, str] = field(default_factory=dict)
    controls: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=lambda: environment())

    @property
    def means(self) -> dict[str, float]:
        """Column -> plain mean over the clips that have it; columns that no clip has are left out."""
        return column_means(self.columns, self.clips)

    @property
    def failures(self) -> int:
        """Clips that could not be generated, or that a metric could not score."""
        return sum(row.error is not None for row in self.clips)

    @property
    def counts(self) -> dict[str, dict[str, Any]]:
        """Metric -> how many clips it scored, how many not, and the reasons with their number."""
        counts = {}
        for metric, names in self.metrics.items():
            if any(name in self.of_set for name in names):
                continue
            reasons: dict[str, int] = {}
            for row in self.clips:
                reason = row.errors.get(metric, row.errors.get(NOT_GENERATED))
                if reason is not None:
                    reasons[reason] = reasons.get(reason, 0) + 1
            scored = sum(any(name in row.scores for name in names) for row in self.clips)
            counts[metric] = {"scored": scored, "failed": sum(reasons.values()), "reasons": reasons}
        return counts

    def to_json(self) -> dict[str, Any]:
        """The report as plain values: numbers rounded to 6 digits, None for what is not a finite number."""
        clips = [
            {"name": row.name, "scores": row.scores, "error": row.error, **({"notes": row.notes} if row.notes else {})}
            for row in self.clips
        ]
        return plain(
            {
                "model": self.model,
                "dataset": self.dataset,
                "means": self.means,
                "of_set": self.of_set,
                "clips": clips,
                "controls": self.controls,
                "counts": self.counts,
                "not_scored": self.not_scored,
                "columns": {name: column._asdict() for name, column in self.columns.items()},
                "protocol": self.protocol,
                "notes": self.notes,
                "environment": self.environment,
            }
        )

    def save(self, folder: Path) -> Path:
        """Write <folder>/report.json, whole or not at all. Returns its path."""
        path = folder / "report.json"
        with atomic(path) as temporary:
            temporary.write_text(json.dumps(self.to_json(), indent=1, ensure_ascii=False, allow_nan=False), encoding="utf-8")
        return path

    def table(self, rows: int = 20, width: int = 120) -> str:
        """The report as text: a row per clip (at most `rows`), means, counts and controls; what is of all clips together; and
        what was not scored, and why.
        """
        names = [name for name in self.columns if any(name in row.scores for row in self.clips) or name in self.means]
        lines = [[row.name, *cells(row.scores, names, missing="-")] for row in self.clips[:rows]]
        if len(self.clips) > rows:
            lines.append([f"... and {len(self.clips) - rows} more", *["" for _ in names]])
        lines.append(["mean", *cells(self.means, names)])
        lines.append(["clips scored", *(f"{sum(n in row.scores for row in self.clips)}/{len(self.clips)}" for n in names)])
        lines += [[control, *cells(means, names)] for control, means in self.controls.items()]
        header = ["clip", *(f"{name} {self.columns[name].arrow}".strip() for name in names)]
        return "\n".join([draw(header, lines, width), *self.set_lines(width), *self.remarks()])

    def set_lines(self, width: int) -> Iterator[str]:
        """The values of all clips together as a table of their own, where there are any."""
        if self.of_set:
            lines = [[f"{name} {self.columns[name].arrow}".strip(), *cells(self.of_set, [name])] for name in self.of_set]
            yield draw(["all clips together", "value"], lines, width)

    def remarks(self, most: int = 5) -> Iterator[str]:
        """One line for each metric that scored nothing, each kind of failure, and each note."""
        for metric, reason in self.not_scored.items():
            yield f"{metric} not scored: {reason}"
        for row in [row for row in self.clips if row.error][:most]:
            yield f"{row.name}: {row.error}"
        if self.failures > most:
            yield f"... and {self.failures - most} more clips with errors; all are in report.json."
        yield from self.notes


class Evaluator:
    """Scores videos with metrics. A clip that fails is recorded with its reason, and everything else goes on.

    Args:
        metrics: name -> Metric.
    """

    def __init__(self, metrics: Mapping[str, Metric]):
        self.metrics = dict(metrics)

    def evaluate(
        self,
        videos: Sequence[Scored],
        model: str = "",
        dataset: str = "",
        failed: Mapping[str, str] | None = None,
        progress: bool = True,
    ) -> Report:
        """Score every video with every metric.

        Args:
            model, dataset: written into the report.
            failed: clip -> why there is no video of it; they are counted in the report.
        """
        report = Report(
            model,
            dataset,
            columns={name: column for metric in self.metrics.values() for name, column in metric.columns.items()},
            metrics={name: list(metric.columns) for name, metric in self.metrics.items()},
        )
        without_truth = not any(scored.truth for scored in videos)
        for name, metric in self.metrics.items():
            if metric.needs_model:
                report.not_scored[name] = "it scores a model, and only videos were given."
            elif metric.needs_truth and without_truth and videos:
                report.not_scored[name] = "it compares with real videos and none were given."
        for scored in tqdm(videos, desc="score", unit="clip", leave=False, disable=None if progress else True):
            report.clips.append(self.row(scored, report.not_scored))
        report.clips += [Row(name, errors={NOT_GENERATED: reason}) for name, reason in (failed or {}).items()]
        report.protocol = {name: metric.protocol() for name, metric in self.metrics.items()}
        for name, reason in report.not_scored.items():
            if not self.metrics[name].needs_model:
                log.warning("%s not scored: %s", name, reason)
        return report

    def evaluate_model(self, model: Model, clips: ClipSource, report: Report) -> dict[str, float]:
        """Score a model itself with the metrics that can, into `report.of_set`.

        Returns:
            column -> value. A metric that cannot score this model goes to `report.not_scored` with its reason.
        """
        model.eval()
        for name, metric in self.metrics.items():
            if not isinstance(metric, ModelMetric):
                continue
            try:
                report.of_set.update(checked(metric, metric.score_model(model, clips), type(model).__name__))
                report.not_scored.pop(name, None)
                report.notes += [f"{name}: {note}" for note in metric.take_notes()]
            except TalkingFaceError as error:
                report.not_scored[name] = str(error)
                log.warning("%s not scored: %s", name, error)
        return report.of_set

    def row(self, scored: Scored, not_scored: dict[str, str]) -> Row:
        """Score one video; a metric whose weights are absent goes to `not_scored` and is not asked again."""
        row = Row(scored.name)
        for name, metric in self.metrics.items():
            if name in not_scored:
                continue
            try:
                row.scores.update(numbers(metric, *self.opened(scored, metric)))
            except MissingWeightsError as error:
                not_scored[name] = str(error)
            except TalkingFaceError as error:
                row.errors[name] = str(error)
            if notes := metric.take_notes():
                row.notes[name] = notes
        if row.error:
            log.warning("%s could not be scored: %s", scored.name, row.error)
        return row

    def opened(self, scored: Scored, metric: Metric) -> tuple[Video, Video | None, Path | None]:
        """The arguments of `Metric.score`.

        Raises:
            ScoreError: the metric compares with the real video, and this clip has none.
        """
        video = Video(scored.video)
        if scored.truth is None and metric.needs_truth:
            raise ScoreError(f"{scored.video} has no real video to be compared with.")
        return video, Video(scored.truth) if scored.truth else None, scored.audio

    def controls(self, videos: Sequence[Scored], report: Report, progress: bool = True) -> dict[str, dict[str, float]]:
        """Score what a sync metric must tell from the generated videos, into `report.controls`.

        "real video": the truth. "frozen mouth": the first generated frame, repeated. "shuffled audio": the generated video
        with the sound of the next clip that says something else. Only metrics with `needs_audio` are asked.

        Returns:
            control -> column -> mean. A control that no clip allows is left out and noted in the report.
        """
        metrics = {n: m for n, m in self.metrics.items() if m.needs_audio and n not in report.not_scored}
        sounds = other_sounds(videos)
        calls: dict[str, Callable[[Scored, Metric], dict[str, float] | None]] = {
            REAL: lambda s, m: numbers(m, Video(s.truth), None, None) if s.truth else None,
            FROZEN: lambda s, m: numbers(m, FrozenVideo(s.video), None, s.audio),
            SHUFFLED: lambda s, m: numbers(m, Video(s.video), None, sounds[s.name]) if s.name in sounds else None,
        }
        rows: dict[str, list[Row]] = {control: [] for control in calls}
        for scored in tqdm(videos, desc="controls", unit="clip", leave=False, disable=None if progress else True):
            for control, call in calls.items():
                row = Row(scored.name)
                for name, metric in metrics.items():
                    try:
                        row.scores.update(call(scored, metric) or {})
                    except TalkingFaceError as error:
                        log.warning("%s, %s: %s could not be scored: %s", scored.name, control, name, error)
                    metric.take_notes()
                rows[control].append(row)
        for control, scored_rows in rows.items() if metrics else ():
            means = column_means(report.columns, scored_rows)
            if means:
                report.controls[control] = means
            else:
                report.notes.append(f"control {control!r}: no clip allows it.")
        return report.controls


class FrozenVideo(Video):
    """A video whose face does not move: its first frame, for as long as the video lasts."""

    def decoded(self) -> Iterator[VideoFrame]:
        first = None
        for frame in super().decoded():
            first = first or frame
            yield first

    def content_hash(self) -> str:
        """Of the video's bytes, marked: its scores are not those of the moving video."""
        return f"frozen-{super().content_hash()}"


def other_sounds(videos: Sequence[Scored]) -> dict[str, Path]:
    """Clip -> the sound of the next clip with another one; clips without any are left out."""
    heard = [(scored.name, scored.audio or scored.video) for scored in videos]
    files = [(name, sound, content_hash(sound)) for name, sound in heard if sound.is_file()]
    found = {}
    for index, (name, _, own) in enumerate(files):
        others = files[index + 1 :] + files[:index]
        if (other := next((sound for _, sound, digest in others if digest != own), None)) is not None:
            found[name] = other
    return found


def numbers(metric: Metric, video: Video, truth: Video | None, audio: Path | None) -> dict[str, float]:
    """The numbers of one video by one metric, as plain floats.

    Raises:
        ScoreError: the metric returned something that is not a finite number in one of its columns.
    """
    sound = [audio] if audio is not None and metric.needs_audio else []
    return checked(metric, metric.score(video, truth, *sound), str(video.path))


def checked(metric: Metric, scores: Mapping[str, float], scored: str) -> dict[str, float]:
    """Scores of a video or a model as plain floats.

    Raises:
        ScoreError: one is not a finite number in one of the metric's columns.
    """
    values = {name: float(value) for name, value in scores.items()}
    for name, value in values.items():
        if name not in metric.columns:
            raise ScoreError(f"{type(metric).__name__} returned {name!r}, which is none of its columns {metric.names()}.")
        if not math.isfinite(value):
            raise ScoreError(f"{name} of {scored} is {value}.")
    return values


def column_means(columns: Mapping[str, Column], rows: Sequence[Row]) -> dict[str, float]:
    """Column -> mean over the rows that have it."""
    values = {name: [row.scores[name] for row in rows if name in row.scores] for name in columns}
    return {name: math.fsum(found) / len(found) for name, found in values.items() if found}


def plain(value: Any) -> Any:
    """Values that JSON has: floats rounded to 6 digits; None for NaN and for a bound at infinity."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def cells(scores: Mapping[str, float], names: Sequence[str], missing: str = "") -> list[str]:
    """Values as text for a table: four significant digits."""
    return [f"{scores[name]:.4g}" if name in scores else missing for name in names]


def draw(header: Sequence[str], lines: Sequence[Sequence[str]], width: int) -> str:
    """A text table: first column left, numbers right."""
    table = Texttable(max_width=width)
    table.set_deco(Texttable.HEADER)
    table.set_cols_dtype(["t"] * len(header))
    table.set_cols_align(["l", *["r"] * (len(header) - 1)])
    table.header(header)
    table.add_rows(lines, header=False)
    return str(table.draw())


def environment() -> dict[str, str]:
    """The versions that scores may depend on."""
    system = f"{platform.system()} {platform.machine()}"
    found = {"talkingface": __version__, "python": platform.python_version(), "system": system}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            log.debug("%s is not installed", package)
    return found
