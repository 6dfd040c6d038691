"""Evaluator: videos and metrics -> Report. Each video is decoded once for all metrics; controls are scored beside it."""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from talkingface.errors import MissingWeightsError, ScoreError, TalkingFaceError
from talkingface.media.files import content_hash
from talkingface.media.video import Video
from talkingface.metric.base import ClipSource, Metric, ModelMetric, SetFeatures, SetMetric, StreamedMetric, Watch
from talkingface.metric.screening import Screening
from talkingface.registry import LoadedFolders
from talkingface.report import (
    EARLY,
    FROZEN,
    LATE,
    NOT_GENERATED,
    REAL,
    REAL_SHUFFLED,
    SHIFT,
    SHUFFLED,
    Report,
    Row,
    plain,
)

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

    from talkingface.model.base import Model

log = logging.getLogger(__name__)

GROUP = 8  # clips whose windows share batches


@dataclass(frozen=True)
class Scored:
    """A video to score.

    Args:
        name: of its row in the report.
        truth: the real video it is compared with.
        audio: the sound it is judged with, instead of its own.
        driving: the video or still that it was made from, to be shown beside it.
    """

    name: str
    video: Path
    truth: Path | None = None
    audio: Path | None = None
    driving: Path | None = None


@dataclass
class Found:
    """What one process found of some videos.

    Attributes:
        rows: of the videos, in their order.
        controls: control -> rows of the clips that allow it.
        features: metric -> of each video, the files of its features.
        not_scored: metric -> why it cannot score any video.
    """

    rows: list[Row] = field(default_factory=list)
    controls: dict[str, list[Row]] = field(default_factory=dict)
    features: dict[str, list[dict[str, Path]]] = field(default_factory=dict)
    not_scored: dict[str, str] = field(default_factory=dict)

    def add(self, other: Found) -> None:
        """Take over what was found of further videos."""
        self.rows += other.rows
        for control, rows in other.controls.items():
            self.controls.setdefault(control, []).extend(rows)
        for metric, features in other.features.items():
            self.features.setdefault(metric, []).extend(features)
        self.not_scored.update(other.not_scored)


class Evaluator:
    """Scores videos with metrics. A clip that fails is recorded with its reason, and everything else goes on.

    Controls show what a sync metric can tell on this data. Only metrics with `needs_audio` are asked. "real video": the
    truth. "frozen mouth": the first generated frame, repeated. "shuffled audio": the generated video with the sound of the
    next clip that says something else; "real, shuffled audio": likewise the truth. "real, sound 5 frames late" and
    "early": the truth with its sound moved.

    Args:
        metrics: name -> Metric.
        controls: also score the controls.
        workers: processes; 1 = this one.
    """

    def __init__(self, metrics: Mapping[str, Metric], controls: bool = False, workers: int = 1):
        self.metrics, self.with_controls, self.workers = dict(metrics), controls, workers

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
        found = self.found(videos, self.cannot(videos), progress)
        report.clips, report.not_scored = found.rows, found.not_scored
        report.clips += [Row(name, errors={NOT_GENERATED: reason}) for name, reason in (failed or {}).items()]
        report.control_rows = {control: rows for control, rows in found.controls.items() if any(row.scores for row in rows)}
        self.score_sets(found, report)
        if self.with_controls and self.sync_metrics(report.not_scored):
            missing = [control for control in self.controls_wanted if control not in report.control_rows]
            report.notes += [f"control {control!r}: no clip allows it." for control in missing]
        report.protocol = {name: plain(metric.protocol()) for name, metric in self.metrics.items()}
        report.settings = {name: plain(metric.settings) for name, metric in self.metrics.items()}
        for name, reason in report.not_scored.items():
            if not self.metrics[name].needs_model:
                log.warning("%s not scored: %s", name, reason)
        return report

    controls_wanted = (REAL, REAL_SHUFFLED, LATE, EARLY, SHUFFLED, FROZEN)

    def cannot(self, videos: Sequence[Scored]) -> dict[str, str]:
        """Metric -> why it can score none of these videos, as far as is known before the first."""
        without_truth = videos and not any(scored.truth for scored in videos)
        reasons = {}
        for name, metric in self.metrics.items():
            if metric.needs_model:
                reasons[name] = "it scores a model, and only videos were given."
            elif metric.needs_truth and without_truth:
                reasons[name] = "it compares with real videos and none were given."
        return reasons

    def sync_metrics(self, not_scored: Mapping[str, str]) -> dict[str, Metric]:
        """The metrics that controls are for."""
        controlled = {name: metric for name, metric in self.metrics.items() if metric.needs_audio and metric.controlled}
        return {name: metric for name, metric in controlled.items() if name not in not_scored}

    # --- processes ----------------------------------------------------------------------------------------------------

    def found(self, videos: Sequence[Scored], not_scored: dict[str, str], progress: bool) -> Found:
        """What all metrics say of all videos, in order; groups of videos are spread over the processes."""
        sounds = other_sounds(videos) if self.with_controls else {}
        rounds = math.ceil(len(videos) / (GROUP * self.workers))  # in each of which all processes have a group
        size = math.ceil(len(videos) / max(1, rounds * self.workers)) or 1
        groups = [videos[start : start + size] for start in range(0, len(videos), size)]
        found = Found(not_scored=not_scored)
        with tqdm(total=len(videos), desc="score", unit="clip", leave=False, disable=None if progress else True) as bar:
            for part in self.parts(groups, sounds, found):
                found.add(part)
                bar.update(len(part.rows))
        return found

    def parts(self, groups: Sequence[Sequence[Scored]], sounds: Mapping[str, Path], found: Found) -> Iterator[Found]:
        """What was found of each group, in order."""
        if self.workers == 1 or len(groups) < 2:
            for group in groups:
                yield self.score_group(group, sounds, found.not_scored)
            return
        with self.executor(min(self.workers, len(groups))) as pool:
            for future in [pool.submit(score_elsewhere, group, sounds, found.not_scored) for group in groups]:
                yield future.result()

    def executor(self, workers: int) -> Executor:
        """Processes that each have these metrics, and their share of the cores."""
        threads = max(1, len(os.sched_getaffinity(0)) // workers) if hasattr(os, "sched_getaffinity") else 1
        context = multiprocessing.get_context("spawn")
        start = (LoadedFolders(), self.metrics, self.with_controls, threads)
        return ProcessPoolExecutor(workers, mp_context=context, initializer=start_worker, initargs=start)

    # --- one group ----------------------------------------------------------------------------------------------------

    def score_group(self, group: Sequence[Scored], sounds: Mapping[str, Path], not_scored: Mapping[str, str]) -> Found:
        """What all metrics say of a few videos, whose windows share batches."""
        found = Found(not_scored=dict(not_scored))
        looks = [look for scored in group for look in self.looks(scored, sounds, found)]
        for look in looks:
            look.finish(found)
        for metric in self.metrics.values():
            metric.release()
        for row in found.rows:
            if row.error:
                log.warning("%s could not be scored: %s", row.name, row.error)
        return found

    def looks(self, scored: Scored, sounds: Mapping[str, Path], found: Found) -> Iterator[Look]:
        """A video and its controls, after all frames have been seen; their numbers are not asked for yet."""
        row = Row(scored.name)
        found.rows.append(row)
        metrics = {name: metric for name, metric in self.metrics.items() if name not in found.not_scored}
        try:
            row.files = files_of(scored)
            video = Video(scored.video)
            video.fps  # noqa: B018 - reads the head of the file
        except TalkingFaceError as error:
            row.errors.update(dict.fromkeys(metrics, str(error)))
            return
        truth = None
        try:
            truth = Video(scored.truth) if scored.truth else None
            if truth is not None:
                truth.fps  # noqa: B018
        except TalkingFaceError as error:
            truth = None
            row.errors.update({name: str(error) for name, metric in metrics.items() if metric.needs_truth})
            metrics = {name: metric for name, metric in metrics.items() if not metric.needs_truth}
        main = Look(row, Screening(video, truth, scored.audio, self.faces), "")
        main.begin(metrics, found)
        controls = [] if not self.with_controls else list(self.controls(scored, video, truth, sounds))
        sync = self.sync_metrics(found.not_scored)
        for control in controls:
            control.begin(sync, found)
        main.show([control for control in controls if control.screening.video is truth])
        for control in controls:
            control.show()
        yield from (main, *controls)

    def controls(self, scored: Scored, video: Video, truth: Video | None, sounds: Mapping[str, Path]) -> Iterator[Look]:
        """The controls that this clip allows. Lips that one of them has in common with another are embedded once."""
        other = sounds.get(scored.name)
        if truth is not None:
            yield self.control(scored, REAL, Screening(truth))
            if other is not None:
                yield self.control(scored, REAL_SHUFFLED, Screening(truth, audio=other))
            yield self.control(scored, LATE, Screening(truth, late=SHIFT))
            yield self.control(scored, EARLY, Screening(truth, late=-SHIFT))
        if other is not None:
            yield self.control(scored, SHUFFLED, Screening(video, audio=other))
        yield self.control(scored, FROZEN, Screening(FrozenVideo(scored.video), audio=scored.audio))

    def control(self, scored: Scored, name: str, screening: Screening) -> Look:
        """A look at one control."""
        screening.faces = self.faces or screening.faces
        return Look(Row(scored.name), screening, name)

    @property
    def faces(self) -> Any:
        """How faces are found, as the metrics were told."""
        return next((metric.faces for metric in self.metrics.values() if metric.faces is not None), None)

    # --- sets and models ----------------------------------------------------------------------------------------------

    def score_sets(self, found: Found, report: Report) -> None:
        """Score all videos together with the metrics that do, into `report.of_set`."""
        for name, metric in self.metrics.items():
            if not isinstance(metric, SetMetric) or name in report.not_scored:
                continue
            try:
                report.of_set.update(checked(metric, metric.score_set(found.features.get(name, [])), "the set"))
            except TalkingFaceError as error:
                report.not_scored[name] = str(error)
            report.notes += [f"{name}: {note}" for note in metric.take_notes()]

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


class Look:
    """One video, or one control of it, on its way past the metrics.

    Args:
        row: where the numbers go.
        control: its name; "" = the video itself.
    """

    def __init__(self, row: Row, screening: Screening, control: str = ""):
        self.row, self.screening, self.control = row, screening, control
        self.metrics: dict[str, Metric] = {}
        self.watches: dict[str, Watch] = {}

    def begin(self, metrics: Mapping[str, Metric], found: Found) -> None:
        """Ask each metric what it wants to see; one whose weights are absent goes to `found.not_scored`."""
        for name, metric in metrics.items():
            if name in found.not_scored or (self.screening.late and not isinstance(metric, StreamedMetric)):
                continue
            try:
                if metric.needs_truth and self.screening.truth is None:
                    raise ScoreError(f"{self.screening.video.path} has no real video to be compared with.")
                if isinstance(metric, StreamedMetric):
                    self.watches[name] = metric.watch(self.screening)
                self.metrics[name] = metric
            except MissingWeightsError as error:
                found.not_scored[name] = str(error)
            except TalkingFaceError as error:
                self.row.errors[name] = str(error)

    def rate(self, name: str) -> float:
        """Frames per second at which a metric looks."""
        metric = self.metrics[name]
        return (metric.fps if isinstance(metric, StreamedMetric) else None) or self.screening.video.fps

    def show(self, riders: Sequence[Look] = ()) -> None:
        """Let all watches see their frames, each rate decoded once.

        Args:
            riders: looks at the real video of this one; those of the same rate see the frames that this one decodes.
        """
        for rate in dict.fromkeys(self.rate(name) for name, watch in self.watches.items() if watch.sees):
            watches = {name: watch for name, watch in self.watches.items() if watch.sees and self.rate(name) == rate}
            riding = [
                (look, name) for look in riders for name, watch in look.watches.items() if watch.sees and look.rate(name) == rate
            ]
            on_real = [(look.screening, look.watches[name]) for look, name in riding]
            try:
                failed = self.screening.show(list(watches.values()), rate, on_real)
            except TalkingFaceError as error:
                failed = dict.fromkeys([*watches.values(), *(watch for _, watch in on_real)], error)
            for look, name in [*((self, name) for name in watches), *riding]:
                if (watch := look.watches[name]) in failed:
                    look.fail(name, failed[watch])
                watch.sees = False

    def fail(self, name: str, error: TalkingFaceError) -> None:
        """A metric cannot score this video."""
        self.row.errors[name] = str(error)
        self.watches.pop(name).abandon()
        del self.metrics[name]

    def finish(self, found: Found) -> None:
        """Take the numbers, into the row."""
        for name, metric in self.metrics.items():
            if name in found.not_scored:
                continue
            try:
                self.row.scores.update(self.numbers(name, metric))
                watch = self.watches.get(name)
                if isinstance(watch, SetFeatures):
                    found.features.setdefault(name, []).append(watch.files())
                if watch is not None and watch.details:
                    self.row.details[name] = dict(watch.details)
            except MissingWeightsError as error:
                found.not_scored[name] = str(error)
            except TalkingFaceError as error:
                self.row.errors[name] = str(error)
            if notes := metric.take_notes():
                self.row.notes[name] = notes
        if self.control:
            found.controls.setdefault(self.control, []).append(self.row)

    def numbers(self, name: str, metric: Metric) -> dict[str, float]:
        """The numbers of one metric.

        Raises:
            ScoreError: the video cannot be scored, or the metric returned something that is no finite number of its columns.
        """
        video = self.screening.video
        if (watch := self.watches.get(name)) is not None:
            return checked(metric, watch.numbers(), str(video.path))
        sound = [self.screening.audio] if self.screening.audio is not None and metric.needs_audio else []
        return checked(metric, metric.score(video, self.screening.truth, *sound), str(video.path))


class FrozenVideo(Video):
    """A video whose face does not move: its first frame, for as long as the video lasts."""

    def __iter__(self) -> Iterator[np.ndarray]:
        """(H, W, 3) uint8 RGB, each time the same array."""
        first: np.ndarray | None = None
        for frame in self.decoded():
            first = self._to_rgb(frame) if first is None else first
            yield first

    def decoded(self) -> Iterator[VideoFrame]:
        first = None
        for frame in super().decoded():
            first = first or frame
            yield first

    def content_hash(self) -> str:
        """Of the video's bytes, marked: its scores are not those of the moving video."""
        return f"frozen-{super().content_hash()}"


WORKER: Evaluator | None = None
"""What a process of `Evaluator.executor` scores with."""


def start_worker(_: LoadedFolders, metrics: Mapping[str, Metric], controls: bool, threads: int) -> None:
    """Make a process ready to score."""
    import torch

    global WORKER
    torch.set_num_threads(threads)
    WORKER = Evaluator(metrics, controls)


def score_elsewhere(group: Sequence[Scored], sounds: Mapping[str, Path], not_scored: Mapping[str, str]) -> Found:
    """`Evaluator.score_group` in a process of its own."""
    assert WORKER is not None
    return WORKER.score_group(group, sounds, not_scored)


def files_of(scored: Scored) -> dict[str, dict[str, str]]:
    """What was scored, by path and by content."""
    paths = {"video": scored.video, "truth": scored.truth, "audio": scored.audio, "driving": scored.driving}
    return {kind: {"path": str(path), "hash": Video(path).content_hash() if path.is_dir() else content_hash(path)}
            for kind, path in paths.items() if path is not None}  # fmt: skip


def other_sounds(videos: Sequence[Scored]) -> dict[str, Path]:
    """Clip -> the sound of the next clip with another one; clips without any are left out."""
    files = []
    for scored in videos:
        sound = scored.audio or scored.video
        try:
            if sound.is_file() and (scored.audio is not None or Video(sound).has_audio):
                files.append((scored.name, sound, content_hash(sound)))
        except TalkingFaceError as error:
            log.debug("%s lends its sound to no other clip: %s", scored.name, error)
    found = {}
    for index, (name, _, own) in enumerate(files):
        others = files[index + 1 :] + files[:index]
        if (other := next((sound for _, sound, digest in others if digest != own), None)) is not None:
            found[name] = other
    return found


def checked(metric: Metric, scores: Mapping[str, float], scored: str) -> dict[str, float]:
    """Scores of a video or a model as plain floats.

    Raises:
        ScoreError: one is not a finite number in one of the metric's columns.
    """
    values = {name: float(value) for name, value in scores.items()}
    for name, value in values.items():
        if name not in metric.columns:
            raise ScoreError(f"{metric.name} returned {name!r}, which is none of its columns {metric.names()}.")
        if not math.isfinite(value):
            raise ScoreError(f"{name} of {scored} is {value}.")
    return values
