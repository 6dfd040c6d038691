"""The manifest, as lines of JSON and as a table; and the file lists by which data sets find the clips."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from talkingface.curate.rows import Row
from talkingface.dataset.base import SPLITS
from talkingface.media.files import atomic


def write_manifest(output: Path, rows: Sequence[Row]) -> None:
    """Write manifest.jsonl, a line for each clip and each unusable video, and manifest.csv, the same with a column per figure."""
    write_text(output / "manifest.jsonl", "".join(f"{json.dumps(row.to_json(), ensure_ascii=False)}\n" for row in rows))
    figures = list(dict.fromkeys(name for row in rows for name in row.figures))
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(header(figures))
    table.writerows([flat(row, figures) for row in rows])
    write_text(output / "manifest.csv", text.getvalue())


def header(figures: Sequence[str]) -> list[str]:
    """The names of the table's columns."""
    names = [name for name in Row("", "", "").to_json() if name != "figures"]
    return [*names, *figures]


def flat(row: Row, figures: Sequence[str]) -> list[Any]:
    """A row of the table: lists with blanks between, nothing where nothing is known."""
    values = {**row.to_json(), **row.figures}
    cells = [values.get(name) for name in header(figures)]
    return [" ".join(map(str, cell)) if isinstance(cell, list) else "" if cell is None else cell for cell in cells]


def write_lists(output: Path, rows: Sequence[Row]) -> None:
    """Write filelist/{train,val,test}.txt, a clip a line."""
    for split in SPLITS:
        lines = [line_of(row) for row in rows if split in row.split.split()]
        write_text(output / "filelist" / f"{split}.txt", "".join(f"{line}\n" for line in lines))


def line_of(row: Row) -> str:
    """The line that names a clip; "./" before a name that would be read as a comment."""
    return f"{'./' if row.clip.startswith('#') else ''}{row.clip}.mp4"


def read_manifest(path: Path) -> Iterator[Row]:
    """The rows of a manifest.jsonl."""
    for line in path.read_text(encoding="utf-8").splitlines():
        yield Row(**json.loads(line))


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")
