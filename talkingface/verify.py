"""Verify a stored report: score the same files again with the same settings, and say what differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from talkingface.config import Config
from talkingface.errors import TalkingFaceError
from talkingface.evaluator import Evaluator, Scored
from talkingface.media.files import content_hash
from talkingface.media.video import Video
from talkingface.quick_start import build_metrics, set_up
from talkingface.report import Report, Row, plain

TOLERANCE = 1e-4  # relative; of numbers that another number of threads or batch size may round differently


@dataclass
class Verification:
    """What a second scoring says of a report.

    Attributes:
        checked: how many values were compared.
        differences: one line for each value, file or protocol that is not as it was.
    """

    checked: int = 0
    differences: list[str] = field(default_factory=list)

    def text(self) -> str:
        """In lines."""
        if self.differences:
            return "\n".join([*self.differences, f"{len(self.differences)} differences; {self.checked} values compared."])
        return f"all {self.checked} values are as stored (within {TOLERANCE:g})."


def verify(config: Config, path: Path) -> Verification:
    """Score the files of a stored report again, with its metrics and their settings.

    Args:
        config: says where weights and faces are; the report's metrics and their settings replace its own.
        path: of report.json, or of its folder.

    Raises:
        ScoreError: this is no report.
    """
    stored = Report.load(path)
    set_up(config)
    folder = path if path.is_dir() else path.parent
    found = Verification()
    videos = [scored for row in stored.clips if row.files for scored in same_files(row, folder, found)]
    asked = [name for name in stored.metrics if name not in stored.not_scored]
    kept = {name.partition("@")[0]: stored.settings.get(name, {}) for name in asked}
    settings = {f"{name}.{key}": value for name, values in kept.items() for key, value in values.items()}
    metrics = build_metrics(config.replace({"evaluation.metrics": asked, **settings}, str(path)))
    report = Evaluator(metrics, bool(stored.control_rows), config["evaluation.workers"]).evaluate(videos)
    found.differences += list(other_protocols(stored, report))
    fresh = {row.name: row for row in report.clips}
    for row in stored.clips:
        if row.name in fresh:
            found.checked += len(row.scores)
            found.differences += list(other_scores(row.name, row, fresh[row.name]))
    for control, rows in stored.control_rows.items():
        fresh = {row.name: row for row in report.control_rows.get(control, [])}
        for row in rows:
            if row.name in fresh:
                found.checked += len(row.scores)
                found.differences += list(other_scores(f"{row.name}, {control}", row, fresh[row.name]))
    found.checked += len(stored.of_set)
    found.differences += list(other_scores("all clips", Row("", stored.of_set), Row("", report.of_set)))
    return found


def same_files(row: Row, folder: Path, found: Verification) -> Iterator[Scored]:
    """The files of a row where they are now, if they are what they were; else a difference."""
    paths = {kind: moved(Path(file["path"]), folder) for kind, file in row.files.items()}
    for kind, path in paths.items():
        try:
            now = Video(path).content_hash() if path.is_dir() else content_hash(path)
        except (TalkingFaceError, OSError):
            found.differences.append(f"{row.name}: its {kind}, {row.files[kind]['path']}, is not there any more.")
            return
        if now != row.files[kind]["hash"]:
            found.differences.append(f"{row.name}: its {kind}, {path}, is not the file that was scored.")
    yield Scored(row.name, paths["video"], paths.get("truth"), paths.get("audio"))


def moved(path: Path, folder: Path) -> Path:
    """A file of a report: where it was, or at the same place below the report's folder, which may have been moved."""
    places = [path, *(folder.joinpath(*path.parts[first:]) for first in range(len(path.parts)))]
    return next((place for place in places if place.exists()), path)


def other_protocols(stored: Report, report: Report) -> Iterator[str]:
    """One line for each key of a protocol that is not as it was."""
    for metric, protocol in stored.protocol.items():
        now: Mapping[str, Any] = plain(report.protocol.get(metric, {}))
        for key in dict.fromkeys((*protocol, *now)) if metric in report.protocol else ():
            if protocol.get(key) != now.get(key):
                yield f"{metric}: {key} of the protocol was {protocol.get(key)!r} and is {now.get(key)!r}."


def other_scores(name: str, row: Row, now: Row) -> Iterator[str]:
    """One line for each value that is not as it was."""
    for column, value in row.scores.items():
        if column not in now.scores:
            yield f"{name}: {column} was {value:.6g} and cannot be scored: {now.error or 'no reason was told'}"
        elif abs(now.scores[column] - value) > TOLERANCE * max(1.0, abs(value)):
            yield f"{name}: {column} was {value:.6g} and is {now.scores[column]:.6g}."
