"""What a curation keeps, so that it can be stopped and go on: results of steps, by content and settings; one owner at a time.

<output>/.curate/raw.json                  which raw folder the training set is made from
<output>/.curate/hashes.json               hashes of the raw videos, with the sizes and times by which they are known again
<output>/.curate/steps/<step>/<hash>.json  what is known of a video after a step
<output>/.curate/sound/<hash>.wav          sounds of the raw videos
<output>/.curate/written/<clip>.json       by which plan a clip was written; a clip without such a note is not ours
<output>/.curate/partial/                  files in the making
<output>/.curate/running/                  names the process that is at work
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from talkingface.dataset.store import in_the_making, partial_name
from talkingface.errors import DatasetError, MediaError
from talkingface.media.files import atomic, content_hash

LEFT_OVER = re.compile(r"\.[0-9a-f]{32}(\..*)?")  # names of files in the making, as `atomic` gives them
FILES = (".mp4", ".landmarks.npz")


@dataclass(frozen=True)
class Store:
    """The folder of what is kept.

    Args:
        output: the training set.
    """

    output: Path

    @property
    def folder(self) -> Path:
        """<output>/.curate."""
        return self.output / ".curate"

    @contextmanager
    def owned(self, raw: Path) -> Iterator[None]:
        """Be the only one at work here, without what a killed process has left unfinished.

        Raises:
            DatasetError: another process is at work, or the training set was made from another raw folder.
        """
        running = self.folder / "running"
        running.mkdir(parents=True, exist_ok=True)
        mine = running / partial_name()
        mine.touch()
        try:
            for other in running.iterdir():
                if other != mine and in_the_making(other):
                    raise DatasetError(f"{self.output}: another process is at work there ({other.name}); wait for it, or end it.")
                if other != mine:
                    other.unlink(missing_ok=True)
            self.check_raw(raw)
            self.remove_leftovers()
            yield
        finally:
            mine.unlink(missing_ok=True)

    def check_raw(self, raw: Path) -> None:
        """Refuse to mix two raw folders in one training set."""
        place = self.folder / "raw.json"
        known = read_json(place).get("raw", str(raw))
        if known != str(raw):
            hint = f"give --output another folder. If the raw folder was moved, delete {place}."
            raise DatasetError(f"{self.output} was made from {known}, not from {raw}: {hint}")
        write_json(place, {"raw": str(raw)})

    def remove_leftovers(self) -> None:
        """Remove what was being written when a process was killed."""
        shutil.rmtree(self.folder / "partial", ignore_errors=True)
        (self.folder / "partial").mkdir(exist_ok=True)
        for path in (*self.folder.rglob(".*"), *self.output.glob(".*"), *(self.output / "filelist").glob(".*")):
            if LEFT_OVER.fullmatch(path.name) and path.is_file():
                path.unlink()

    # --- raw videos ---------------------------------------------------------------------------------------------------

    def hashes(self, raw: Path, names: Iterable[str]) -> Iterator[tuple[str, str]]:
        """(name, hash of its bytes) of raw videos, read only where size or time have changed; "" of what is empty or unreadable.

        The hashes are kept when all are there, and also when the loop is left early.
        """
        place = self.folder / "hashes.json"
        known, found = read_json(place), {}
        try:
            for name in names:
                try:
                    stat = (raw / name).stat()
                    state, old = [stat.st_size, stat.st_mtime_ns], known.get(name)
                    found[name] = old if old and old[:2] == state else [*state, content_hash(raw / name)]
                except (OSError, MediaError):
                    found[name] = [0, 0, ""]
                yield name, str(found[name][2])
        finally:
            write_json(place, {**known, **found})

    # --- results of steps ---------------------------------------------------------------------------------------------

    def result(self, step: str, link: str) -> Path:
        """Where what is known after a step is kept.

        Args:
            link: hash of all that it depends on.
        """
        return self.folder / "steps" / step / f"{link}.json"

    def note(self, clip: str) -> Path:
        """The file that says by which plan a clip was written. It is there before the clip is."""
        return self.folder / "written" / f"{clip}.json"

    def remove_others(self, clips: Collection[str]) -> int:
        """Remove the clips of earlier runs that are no longer part of the training set. Returns how many.

        Args:
            clips: names of those that are.
        """
        top = self.folder / "written"
        written = {note.relative_to(top).with_suffix("").as_posix(): note for note in top.rglob("*.json")}
        old = written.keys() - set(clips)
        for clip in old:
            for path in (*(self.output / f"{clip}{suffix}" for suffix in FILES), written[clip]):
                path.unlink(missing_ok=True)
                remove_empty(path.parent, self.output)
        return len(old)


def remove_empty(folder: Path, top: Path) -> None:
    """Remove a folder, and those above it, as far as they are empty."""
    while folder != top and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def link(before: str, *texts: str) -> str:
    """Hash of texts and of the hash before them: 32 hexadecimal digits."""
    return hashlib.blake2b(json.dumps([before, *texts]).encode(), digest_size=16).hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of ours; an empty one where it is absent or damaged, which means: make it again."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value), encoding="utf-8")
