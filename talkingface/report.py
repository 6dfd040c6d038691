"""Report: what a set of videos scored, and all that is needed to read, repeat and compare it."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from texttable import Texttable

from talkingface import __version__
from talkingface.errors import ScoreError
from talkingface.media.files import atomic
from talkingface.metric.base import Column
from talkingface.statistics import Interval, difference, interval

log = logging.getLogger(__name__)

FORMAT = 2  # of report.json
PACKAGES = ("torch", "numpy", "av", "opencv-python", "opencv-python-headless")
NOT_GENERATED = "not generated"
REAL, FROZEN, SHUFFLED, REAL_SHUFFLED = "real video", "frozen mouth", "shuffled audio", "real, shuffled audio"
SHIFT = 5  # frames by which the sound of the control is moved
LATE, EARLY = f"real, sound {SHIFT} frames late", f"real, sound {SHIFT} frames early"


@dataclass
class Row:
    """The scores of one clip.

    Attributes:
        scores: column -> value, of the metrics that could score it.
        errors: metric -> why it could not.
        notes: metric -> what to know about its score.
        details: metric -> what stands behind its numbers: tracks, curves.
        files: "video", "truth", "audio" -> {"path", "hash"} of what was scored.
    """

    name: str
    scores: dict[str, float] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)
    details: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, dict[str, str]] = field(default_factory=dict)

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
        settings: metric -> its settings, with which it can be made again.
        of_set: column -> value, of the metrics that score all clips together.
        not_scored: metric -> why it has scored nothing at all (absent weights, no real videos).
        control_rows: control -> rows of the same clips, of the sync metrics; see `Evaluator`.
        notes: what to know about the report as a whole.
        config: setting -> {"value", "origin"} of the run.
    """

    model: str = ""
    dataset: str = ""
    clips: list[Row] = field(default_factory=list)
    of_set: dict[str, float] = field(default_factory=dict)
    columns: dict[str, Column] = field(default_factory=dict)
    metrics: dict[str, list[str]] = field(default_factory=dict)
    protocol: dict[str, dict[str, Any]] = field(default_factory=dict)
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    not_scored: dict[str, str] = field(default_factory=dict)
    control_rows: dict[str, list[Row]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    config: dict[str, dict[str, Any]] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=lambda: environment())

    @property
    def means(self) -> dict[str, float]:
        """Column -> plain mean over the clips that have it; columns that no clip has are left out."""
        return column_means(self.columns, self.clips)

    @property
    def intervals(self) -> dict[str, Interval]:
        """Column -> its mean with a 95 % interval over clips."""
        return {name: interval(self.values(name)) for name in self.means}

    def values(self, column: str) -> list[float]:
        """The values of a column, of the clips that have one."""
        return [row.scores[column] for row in self.clips if column in row.scores]

    @property
    def fingerprints(self) -> dict[str, str]:
        """Column -> fingerprint of the protocol that it was measured by: 8 hexadecimal digits. Others never compare."""
        return {name: fingerprint(self.protocol[metric]) for metric in self.protocol for name in self.metrics.get(metric, ())}

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

    @property
    def controls(self) -> dict[str, dict[str, float]]:
        """Control -> column -> mean; see `control_rows`."""
        means = {control: column_means(self.columns, rows) for control, rows in self.control_rows.items()}
        return {control: found for control, found in means.items() if found}

    @cached_property
    def verdicts(self) -> list[dict[str, Any]]:
        """Whether each sync metric can tell right from wrong on this data: one entry per column and pair of controls."""
        return list(judge(self))

    def to_json(self) -> dict[str, Any]:
        """The report as plain values: numbers rounded to 6 digits, None for what is not a finite number."""
        return plain(
            {
                "format": FORMAT,
                "model": self.model,
                "dataset": self.dataset,
                "means": self.means,
                "intervals": {name: [found.low, found.high] for name, found in self.intervals.items()},
                "of_set": self.of_set,
                "clips": [row_json(row) for row in self.clips],
                "controls": self.controls,
                "control_clips": {c: {row.name: row.scores for row in rows} for c, rows in self.control_rows.items()},
                "verdicts": self.verdicts,
                "counts": self.counts,
                "not_scored": self.not_scored,
                "columns": {name: column._asdict() for name, column in self.columns.items()},
                "metrics": self.metrics,
                "protocol": self.protocol,
                "fingerprints": self.fingerprints,
                "settings": self.settings,
                "notes": self.notes,
                "config": self.config,
                "environment": self.environment,
            }
        )

    @classmethod
    def from_json(cls, stored: Mapping[str, Any], source: str = "report.json") -> Report:
        """A report that was stored.

        Raises:
            ScoreError: this is no report, or one of another version.
        """
        if stored.get("format") != FORMAT:
            found = stored.get("format", "an older one")
            raise ScoreError(f"{source} is no report of format {FORMAT} (it has {found}); score the videos again.")
        try:
            columns = {name: stored_column(column) for name, column in stored["columns"].items()}
            fields = (
                "model",
                "dataset",
                "of_set",
                "metrics",
                "protocol",
                "settings",
                "not_scored",
                "notes",
                "config",
                "environment",
            )
            controls = {c: [Row(n, dict(s)) for n, s in rows.items()] for c, rows in stored["control_clips"].items()}
            clips = [stored_row(row) for row in stored["clips"]]
            return cls(clips=clips, columns=columns, control_rows=controls, **{name: stored[name] for name in fields})
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ScoreError(f"{source} is damaged ({type(error).__name__}: {error}); score the videos again.") from None

    @classmethod
    def load(cls, path: Path) -> Report:
        """The report of a file, or of the folder of a run.

        Raises:
            ScoreError: there is none that can be read.
        """
        path = path / "report.json" if path.is_dir() else path
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ScoreError(f"{path} cannot be read as a report ({error}).") from None
        if not isinstance(stored, dict):
            raise ScoreError(f"{path} is no report; `talkingface score FOLDER --output DIR` writes one.")
        return cls.from_json(stored, str(path))

    def save(self, folder: Path) -> Path:
        """Write <folder>/report.json, whole or not at all. Returns its path."""
        return write_json(folder / "report.json", self.to_json())

    # --- as text ------------------------------------------------------------------------------------------------------

    def table(self, rows: int = 20, width: int = 120) -> str:
        """The report as text: a row per clip (at most `rows`), means with intervals, counts and controls; what is of all
        clips together; whether the sync metrics can tell right from wrong; and what was not scored, and why.
        """
        names = [name for name in self.columns if any(name in row.scores for row in self.clips) or name in self.means]
        lines = [[row.name, *cells(row.scores, names, missing="-")] for row in self.clips[:rows]]
        if len(self.clips) > rows:
            lines.append([f"... and {len(self.clips) - rows} more", *["" for _ in names]])
        lines.append(["mean", *cells(self.means, names)])
        known = {name: found for name, found in self.intervals.items() if found.clips > 1}
        lines.append(["95 % from", *cells({name: found.low for name, found in known.items()}, names)])
        lines.append(["95 % to", *cells({name: found.high for name, found in known.items()}, names)])
        lines.append(["clips scored", *(f"{sum(n in row.scores for row in self.clips)}/{len(self.clips)}" for n in names)])
        lines += [[control, *cells(means, names)] for control, means in self.controls.items()]
        header = ["clip", *(titled(name, self.columns[name]) for name in names)]
        return "\n".join([draw(header, lines, width), *self.set_lines(width), *self.remarks()])

    def set_lines(self, width: int) -> Iterator[str]:
        """The values of all clips together as a table of their own, where there are any."""
        if self.of_set:
            lines = [[f"{name} {self.columns[name].arrow}".strip(), *cells(self.of_set, [name])] for name in self.of_set]
            yield draw(["all clips together", "value"], lines, width)

    def remarks(self, most: int = 5) -> Iterator[str]:
        """One line for each verdict, each metric that scored nothing, each kind of failure, and each note."""
        for verdict in self.verdicts:
            yield verdict["text"]
        for metric, reason in self.not_scored.items():
            yield f"{metric} not scored: {reason}"
        for row in [row for row in self.clips if row.error][:most]:
            yield f"{row.name}: {row.error}"
        if self.failures > most:
            yield f"... and {self.failures - most} more clips with errors; all are in report.json."
        yield from self.notes


# --- can the metric tell? ---------------------------------------------------------------------------------------------


def judge(report: Report) -> Iterator[dict[str, Any]]:
    """Verdicts on each sync column: does it prefer real speech to another clip's, does its offset follow a moved sound?"""
    own = {row.name: row.scores for row in report.clips}
    of = {control: {row.name: row.scores for row in rows} for control, rows in report.control_rows.items()}
    for name, column in report.columns.items():
        if column.higher_is_better is None:
            for control, late in ((LATE, SHIFT), (EARLY, -SHIFT)):
                yield from followed(name, control, late, of.get(REAL, {}), of.get(control, {}))
            continue
        yield from separated(name, column, "the real videos", of.get(REAL, {}), REAL_SHUFFLED, of.get(REAL_SHUFFLED, {}))
        yield from separated(name, column, "the generated videos", own, SHUFFLED, of.get(SHUFFLED, {}))


def separated(
    name: str, column: Column, what: str, right: Mapping[str, Any], control: str, wrong: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Whether a column prefers clips with their own speech to the same clips with another's."""
    clips = [clip for clip in right if name in right[clip] and name in wrong.get(clip, {})]
    if not clips:
        return
    sign = 1 if column.higher_is_better else -1
    found = difference([sign * right[clip][name] for clip in clips], [sign * wrong[clip][name] for clip in clips])
    apart = f"{found.wins} of {len(clips)} clips, by {found.interval}"
    if found.sign > 0:
        text = f"{name} tells {what} from the same with other speech ({apart})."
    elif found.interval.clips < 5:
        text = f"{name}: too few clips to say whether it tells {what} from the same with other speech ({apart})."
    else:
        text = f"{name} does NOT tell {what} from the same with other speech ({apart}): do not trust it on this data."
    edges = found.interval
    yield {
        "column": name, "of": what, "control": control, "clips": len(clips), "wins": found.wins, "difference": edges.mean,
        "low": edges.low, "high": edges.high, "p": found.p, "separates": found.sign > 0, "text": text,
    }  # fmt: skip


def followed(name: str, control: str, late: int, real: Mapping[str, Any], moved: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Whether an offset moves by as much as the sound was moved."""
    clips = [clip for clip in real if name in real[clip] and name in moved.get(clip, {})]
    if not clips:
        return
    wins = sum(moved[clip][name] - real[clip][name] == -late for clip in clips)
    text = f"{name} follows a sound moved by {late:+d} frames exactly in {wins} of {len(clips)} real videos."
    yield {
        "column": name, "of": "the real videos", "control": control, "clips": len(clips), "wins": wins,
        "separates": wins > len(clips) / 2, "text": text,
    }  # fmt: skip


def write_json(path: Path, value: Any) -> Path:
    """Write plain values, whole or not at all. Returns the path."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False), encoding="utf-8")
    return path


# --- plain values -----------------------------------------------------------------------------------------------------


def fingerprint(protocol: Mapping[str, Any]) -> str:
    """8 hexadecimal digits of a protocol."""
    text = json.dumps(plain(protocol), sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def row_json(row: Row) -> dict[str, Any]:
    """A row as plain values; what is empty is left out."""
    more = {"errors": row.errors, "notes": row.notes, "details": row.details, "files": row.files}
    return {"name": row.name, "scores": row.scores, "error": row.error, **{k: v for k, v in more.items() if v}}


def stored_row(stored: Mapping[str, Any]) -> Row:
    """The row of `row_json`."""
    return Row(
        stored["name"], dict(stored["scores"]), *(dict(stored.get(k, {})) for k in ("errors", "notes", "details", "files"))
    )


def stored_column(stored: Mapping[str, Any]) -> Column:
    """A column of a stored report; bounds at infinity are stored as None."""
    low = -math.inf if stored["low"] is None else float(stored["low"])
    high = math.inf if stored["high"] is None else float(stored["high"])
    return Column(stored["higher_is_better"], low, high, str(stored["unit"]))


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


def titled(name: str, column: Column) -> str:
    """A column's name and direction; what stands in brackets goes below."""
    plain_name, bracket, rest = name.partition(" (")
    return f"{plain_name} {column.arrow}".strip() + (f"\n({rest}" if bracket else "")


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
