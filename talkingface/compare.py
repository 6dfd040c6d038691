"""Comparison: several reports side by side. Values that were measured in different ways never share a column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

from talkingface.errors import ScoreError
from talkingface.metric.base import Column
from talkingface.report import Report, draw, plain
from talkingface.statistics import Difference, difference


@dataclass(frozen=True)
class Measure:
    """One number, measured in one way: what may stand in one column.

    Attributes:
        name: the column's name in the reports.
        fingerprint: of its protocol.
        shared: whether all reports that have this number measured it in this way; else the title says the fingerprint.
    """

    name: str
    fingerprint: str
    column: Column
    shared: bool

    @property
    def title(self) -> str:
        """The name, the direction, and where it is needed the fingerprint."""
        return " ".join(part for part in (self.name, self.column.arrow, "" if self.shared else f"[{self.fingerprint}]") if part)


class Comparison:
    """Reports side by side.

    Args:
        reports: label -> report.

    Raises:
        ScoreError: fewer than two reports.
    """

    def __init__(self, reports: Mapping[str, Report]):
        if len(reports) < 2:
            raise ScoreError("a comparison needs two reports or more: report.json files, or the folders of runs.")
        self.reports = dict(reports)

    @cached_property
    def measures(self) -> list[Measure]:
        """Every number that a report has, once for each way in which it was measured."""
        ways: dict[str, dict[str, Column]] = {}
        for report in self.reports.values():
            for name in [*report.means, *report.of_set]:
                ways.setdefault(name, {})[report.fingerprints[name]] = report.columns[name]
        return [Measure(name, way, column, len(found) == 1) for name, found in ways.items() for way, column in found.items()]

    def value(self, label: str, measure: Measure) -> float | None:
        """The mean of a report, if it measured it in this way."""
        report = self.reports[label]
        if report.fingerprints.get(measure.name) != measure.fingerprint:
            return None
        return report.means.get(measure.name, report.of_set.get(measure.name))

    @cached_property
    def order(self) -> list[str]:
        """The labels, best first by the first measure that has a direction and that all reports share; else as given."""
        for measure in self.measures:
            values = {label: self.value(label, measure) for label in self.reports}
            if measure.column.higher_is_better is not None and None not in values.values():
                sign = -1 if measure.column.higher_is_better else 1
                return sorted(values, key=lambda label: sign * (values[label] or 0.0))
        return list(self.reports)

    def paired(self, first: str, second: str, measure: Measure) -> Difference | None:
        """Two reports on the clips that both have, which must be of the same real video where they are known; None = none."""
        ours, theirs = (self.by_clip(label, measure) for label in (first, second))
        clips = [name for name in ours if name in theirs and same_clip(ours[name][1], theirs[name][1])]
        if not clips:
            return None
        return difference([ours[name][0] for name in clips], [theirs[name][0] for name in clips])

    def by_clip(self, label: str, measure: Measure) -> dict[str, tuple[float, Mapping[str, Any]]]:
        """Clip -> its value and the files it is of."""
        if self.value(label, measure) is None:
            return {}
        rows = self.reports[label].clips
        return {row.name: (row.scores[measure.name], row.files) for row in rows if measure.name in row.scores}

    @cached_property
    def tests(self) -> list[dict[str, Any]]:
        """Each pair of neighbors in `order`, tested on each measure over the clips that both have."""
        found = []
        for first, second in pairwise(self.order):
            for measure in self.measures:
                test = self.paired(first, second, measure)
                if test is not None and measure.column.higher_is_better is not None:
                    found.append(described(first, second, measure, test))
        return found

    @cached_property
    def warnings(self) -> list[str]:
        """What keeps values apart: columns measured in several ways, and how the ways differ; counts that differ."""
        return [*self.split_columns(), *self.other_counts()]

    def split_columns(self) -> Iterator[str]:
        """One line for each number that was measured in several ways."""
        for name in dict.fromkeys(measure.name for measure in self.measures if not measure.shared):
            protocols = {}
            for report in self.reports.values():
                metric = next((m for m, columns in report.metrics.items() if name in columns), "")
                if name in report.fingerprints:
                    protocols[report.fingerprints[name]] = report.protocol[metric]
            keys = sorted({key for protocol in protocols.values() for key in protocol})
            differ = [key for key in keys if len({str(plain(protocol.get(key))) for protocol in protocols.values()}) > 1]
            yield f"{name} was measured in {len(protocols)} ways that do not compare: they differ in {', '.join(differ)}."

    def other_counts(self) -> Iterator[str]:
        """One line where the reports are of different clips, or leave out different ones."""
        clips = {label: {row.name for row in report.clips} for label, report in self.reports.items()}
        common = set.intersection(*clips.values())
        if any(names != common for names in clips.values()):
            counts = ", ".join(f"{label} {len(names)}" for label, names in clips.items())
            counts += f"; {len(common)} in common"
            yield f"the reports are of different clips ({counts}): means are of all, tests of common ones."
        dropped = {label: report.failures for label, report in self.reports.items() if report.failures}
        if dropped:
            counts = ", ".join(f"{label} {count} of {len(clips[label])}" for label, count in dropped.items())
            yield f"clips that were not scored drop out of the means: {counts}."

    def to_json(self) -> dict[str, Any]:
        """The comparison as plain values."""
        runs = {
            label: {
                "model": self.reports[label].model,
                "dataset": self.reports[label].dataset,
                "clips": len(self.reports[label].clips),
                "failed": self.reports[label].failures,
                "values": {measure.title: self.value(label, measure) for measure in self.measures},
            }
            for label in self.order
        }
        return plain({"order": self.order, "runs": runs, "tests": self.tests, "warnings": self.warnings})

    def table(self, width: int = 140) -> str:
        """The leaderboard as text, with the tests of neighbors and the warnings below it."""
        lines = []
        for label in self.order:
            values = [self.value(label, measure) for measure in self.measures]
            lines.append([label, *("-" if value is None else f"{value:.4g}" for value in values)])
        header = ["run", *(measure.title for measure in self.measures)]
        return "\n".join([draw(header, lines, width), *(test["text"] for test in self.tests), *self.warnings])


def same_clip(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    """Whether two rows of one name are of the same real video, as far as that is known."""
    truths = [files.get("truth", {}).get("hash") for files in (ours, theirs)]
    return None in truths or truths[0] == truths[1]


def described(first: str, second: str, measure: Measure, test: Difference) -> dict[str, Any]:
    """A paired test as plain values and as a sentence."""
    better = measure.column.higher_is_better
    wins = test.wins if better else test.interval.clips - test.wins - test.ties
    if test.interval.clips < 5:
        verdict = "too few common clips to say more"
    elif not test.sign:
        verdict = "no difference that could not be chance"
    else:
        verdict = f"{first if (test.sign > 0) == better else second} is better"
    text = (
        f"{measure.title}: {first} - {second} = {test.interval} on {test.interval.clips} common clips, better on {wins}, "
        f"p = {test.p:.3g}: {verdict}."
    )
    return {
        "first": first, "second": second, "column": measure.name, "fingerprint": measure.fingerprint,
        "clips": test.interval.clips, "difference": test.interval.mean, "low": test.interval.low, "high": test.interval.high,
        "p": test.p, "wins": wins, "ties": test.ties, "text": text,
    }  # fmt: skip
