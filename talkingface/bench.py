"""Bench: several models over one test list, and the leaderboard."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from talkingface.compare import Comparison
from talkingface.config import Config
from talkingface.errors import ConfigError, TalkingFaceError
from talkingface.quick_start import run
from talkingface.report import Report, plain

log = logging.getLogger(__name__)


class Entry(NamedTuple):
    """One model of the leaderboard: its name, and the weights it is run with ("" = the published ones)."""

    model: str
    weights: str = ""

    @property
    def label(self) -> str:
        """The name, with the weights where they are not the published ones."""
        return f"{self.model} ({self.weights})" if self.weights else self.model


@dataclass
class Board:
    """What a bench found.

    Attributes:
        reports: label -> report.
        failed: label -> why a model has none.
        folders: label -> its run folder.
    """

    reports: dict[str, Report] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    folders: dict[str, Path] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        found: dict[str, Any] = {"failed": self.failed, "folders": self.folders}
        if len(self.reports) > 1:
            return plain({**Comparison(self.reports).to_json(), **found})
        return plain({"runs": {label: report.to_json() for label, report in self.reports.items()}, **found})

    def text(self) -> str:
        """The leaderboard, then what failed."""
        if len(self.reports) > 1:
            lines = [Comparison(self.reports).table()]
        else:
            lines = [report.table() for report in self.reports.values()]
        return "\n".join([*lines, *(f"{label}: {reason}" for label, reason in self.failed.items())])


def entries(text: str) -> list[Entry]:
    """The models of a flag: names with commas between, each with =WEIGHTS where they are not the published ones.

    Raises:
        ConfigError: there is none, or one twice.
    """
    found = [
        Entry(name.strip(), weights.strip()) for name, _, weights in (part.partition("=") for part in text.split(",")) if name
    ]
    if not found or len(set(found)) < len(found):
        raise ConfigError(f"--models={text}: expected names with commas between, each once, such as Wav2Lip,PC_AVS=FILE.")
    return found


def bench(config_of: Any, models: Sequence[Entry], name: str) -> Board:
    """Generate and score the test list with each model. One that cannot run takes its place in `failed`.

    Args:
        config_of: (model, weights, run name) -> Config.
        name: of the folder below saved/ that the runs are put into.
    """
    board = Board()
    for number, entry in enumerate(tqdm(models, desc="bench", unit="model")):
        try:
            config: Config = config_of(entry.model, entry.weights, f"{name}/{number:02}-{entry.model}")
            outcome = run(config)
            if outcome.report is None:
                raise ConfigError(f"{entry.model} generates no videos.")
        except TalkingFaceError as error:
            log.warning("%s is not on the board: %s", entry.label, error)
            board.failed[entry.label] = str(error)
            continue
        board.reports[entry.label], board.folders[entry.label] = outcome.report, outcome.folder
    return board
