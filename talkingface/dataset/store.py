"""Where the features of clips are kept, and what they were made of.

<folder>/<settings>/settings.json               what the features depend on; <settings> ends in a hash of it
<folder>/<settings>/<clip name>.clip/           the features of one clip; complete, for it appears by a rename
<folder>/<settings>/<clip name>.clip/clip.json  the files that they were made of, with their hashes
<folder>/<settings>/.partial/                   features in the making; left-overs of dead processes are removed
<folder>/set_aside.jsonl                        clips that cannot be used, one a line, with the reason
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from talkingface.dataset.base import Clip
from talkingface.errors import DatasetError, MediaError
from talkingface.media.files import content_hash

Prepare = Callable[[Clip, Path], None]
Sources = dict[str, dict[str, Any] | None]
Record = dict[str, Any]

ABANDONED = 2 * 24 * 3600
"""Seconds after which unfinished features of another machine are taken for left-overs."""


@dataclass
class Store:
    """The features that one set of settings makes.

    Args:
        folder: holds the features of all settings.
        fingerprint: the settings.
    """

    folder: Path
    fingerprint: dict[str, Any]
    settings: str = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.blake2b(self.canonical().encode(), digest_size=5).hexdigest()
        model = self.fingerprint.get("model")
        self.settings = f"{model}-{digest}" if isinstance(model, str) and model.replace("_", "").isalnum() else digest

    def canonical(self) -> str:
        """The fingerprint as text: the same for the same values in any order."""
        return json.dumps(self.fingerprint, sort_keys=True, default=str, indent=2)

    @cached_property
    def home(self) -> Path:
        """The folder of these settings."""
        return self.folder / self.settings

    @cached_property
    def partial(self) -> Path:
        """The folder of features in the making: on the same disk, so that a rename completes them."""
        return self.home / ".partial"

    @cached_property
    def asides(self) -> Path:
        """The list of clips that cannot be used."""
        return self.folder / "set_aside.jsonl"

    def open(self) -> None:
        """Make the folders.

        Raises:
            DatasetError: they cannot be written.
        """
        try:
            self.partial.mkdir(parents=True, exist_ok=True)
            self.remove_leftovers()
            self.write(self.home / "settings.json", self.canonical() + "\n")
        except OSError as error:
            raise self.unwritable(error) from error

    def unwritable(self, error: OSError) -> DatasetError:
        """What to tell when nothing can be written."""
        remedy = "Make room there, or set --prepare.dir to a folder that can be written."
        return DatasetError(f"{self.folder} cannot be written: {error.strerror}. {remedy}")

    def write(self, path: Path, text: str) -> None:
        """Replace a text file, whole or not at all; what a killed process leaves is among the partial ones."""
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            return
        temporary = self.partial / partial_name()
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)

    def clip_folder(self, clip: Clip) -> Path:
        """Where a clip's features are: a folder that no other clip's name leads to, or into."""
        *parents, leaf = (part.replace("%", "%25") for part in clip.name.split("/"))
        if len(os.fsencode(leaf)) > 200:
            leaf = f"{leaf[:40]}%{hashlib.blake2b(os.fsencode(leaf), digest_size=8).hexdigest()}"
        parents = [part.removesuffix(".clip") + "%2Eclip" if part.endswith(".clip") else part for part in parents]
        parts = (*parents, f"{leaf}.clip")
        return self.home.joinpath(*("%2E" + part[1:] if part.startswith(".") else part or "%" for part in parts))

    def sources(self, clip: Clip) -> Sources | None:
        """What the features of a clip were made of, None if there are none."""
        try:
            return json.loads((self.clip_folder(clip) / "clip.json").read_text(encoding="utf-8"))["sources"]
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def is_complete(self, clip: Clip) -> bool:
        """Whether a clip has features that were made of its files, going by their sizes and times."""
        sources = self.sources(clip)
        return sources is not None and same_times(sources, times(clip))

    def make(self, clip: Clip, prepare: Prepare) -> bool:
        """Make the features of a clip unless it has them, and say whether they had to be made.

        Raises:
            MediaError: a file of the clip is missing, empty or unreadable, or what `prepare` raises.
        """
        if self.is_complete(clip):
            return False
        sources = described(clip)
        manifest = json.dumps({"clip": clip.name, "sources": sources}, sort_keys=True, indent=1)
        if same_hashes(self.sources(clip), sources):
            self.write(self.clip_folder(clip) / "clip.json", manifest)  # new times, so that the next look is quick
            return False
        with self.temporary() as folder:
            prepare(clip, folder)
            (folder / "clip.json").write_text(manifest, encoding="utf-8")
            self.publish(folder, clip)
        return True

    @contextmanager
    def temporary(self) -> Iterator[Path]:
        """An empty folder among the partial ones, removed at the end unless it has been renamed."""
        folder = self.partial / partial_name()
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(self, folder: Path, clip: Clip) -> None:
        """Rename finished features to their place. Older ones make room; those of a faster process stay."""
        target = self.clip_folder(clip)
        target.parent.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                folder.rename(target)
                return
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
            if self.is_complete(clip):
                return
            with self.temporary() as old, suppress(FileNotFoundError):
                target.rename(old)

    def remove_leftovers(self) -> None:
        """Remove what processes that are no more left unfinished."""
        for path in self.partial.glob("*"):
            if not in_the_making(path):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)

    def set_aside(self, clip: Clip, reason: str) -> None:
        """Note at once why a clip cannot be used; one write a line, so that the lines of two processes do not mix."""
        with open(self.asides, "ab", buffering=0) as file:
            file.write(as_line(self.record(clip, reason)).encode())

    def record(self, clip: Clip, reason: str) -> Record:
        """What is known of a clip that cannot be used."""
        return {"clip": clip.name, "reason": reason, "settings": self.settings, "sources": times(clip)}

    def known_reasons(self) -> dict[str, Record]:
        """Clip name -> record of each clip that was set aside under these settings."""
        return {record["clip"]: record for record in read_records(self.asides) if record["settings"] == self.settings}

    def tidy(self, outcomes: Mapping[Clip, str]) -> None:
        """Rewrite the list of set-aside clips: one line each, sorted, without those that can be used by now.

        Args:
            outcomes: clip -> reason why it cannot be used, or "".
        """
        records = {(record["clip"], record["settings"]): record for record in read_records(self.asides)}
        for clip, reason in outcomes.items():
            records.pop((clip.name, self.settings), None)
            if reason:
                records[clip.name, self.settings] = self.record(clip, reason)
        if records or self.asides.exists():
            self.write(self.asides, "".join(as_line(records[key]) for key in sorted(records)))


def as_line(record: Record) -> str:
    """A record as one line of ASCII."""
    return json.dumps(record, sort_keys=True) + "\n"


def read_records(path: Path) -> list[Record]:
    """The records of a list of set-aside clips; a line that a killed process left unfinished is none."""
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with suppress(ValueError):
            record = json.loads(line)
            if isinstance(record, dict) and {"clip", "reason", "settings", "sources"} <= record.keys():
                records.append(record)
    return records


def files_of(clip: Clip) -> dict[str, Path]:
    """Role -> what features may be made of: the clip's files, and landmarks that lie beside the face's video."""
    roles = {"face": clip.face, "audio": clip.audio, "pose": clip.pose, "truth": clip.truth}
    beside = clip.face.with_name(f"{clip.face.stem}.landmarks.npz")
    return {role: path for role, path in {**roles, "landmarks": beside if beside.exists() else None}.items() if path is not None}


def times(clip: Clip) -> Sources:
    """Role -> size in bytes and time of change in ns, None for a missing file. A folder of frames counts as one file."""
    return {role: size_and_time(path) for role, path in files_of(clip).items()}


def size_and_time(path: Path) -> dict[str, Any] | None:
    """Size and time of change of a file, or of the files of a folder together."""
    try:
        stats = [file.stat() for file in files_in(path)]
    except OSError:
        return None
    return {"size": sum(stat.st_size for stat in stats), "time": max((stat.st_mtime_ns for stat in stats), default=0)}


def described(clip: Clip) -> Sources:
    """Role -> size, time and content hash.

    Raises:
        MediaError: a file is missing, empty or unreadable.
    """
    sources: Sources = {}
    for role, path in files_of(clip).items():
        try:
            hashes = [content_hash(file) for file in files_in(path)]
        except OSError as error:
            raise MediaError(f"{path} cannot be read: {error.strerror}.") from error
        together = hashes[0] if len(hashes) == 1 else hashlib.blake2b("".join(hashes).encode(), digest_size=16).hexdigest()
        sources[role] = {**(size_and_time(path) or {}), "hash": together}
    return sources


def files_in(path: Path) -> list[Path]:
    """The file itself, or the files of a folder, sorted."""
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def same_times(one: Sources, other: Sources) -> bool:
    """Whether sizes and times agree, role by role."""
    keys = ("size", "time")
    return all_equal(one, other, lambda entry: entry and [entry.get(key) for key in keys])


def same_hashes(one: Sources | None, other: Sources) -> bool:
    """Whether contents agree, role by role."""
    return one is not None and all_equal(one, other, lambda entry: entry and entry.get("hash"))


def all_equal(one: Sources, other: Sources, of: Callable[[dict[str, Any] | None], Any]) -> bool:
    """Whether two descriptions have the same roles, and the same of each."""
    return {role: of(entry) for role, entry in one.items()} == {role: of(entry) for role, entry in other.items()}


def here() -> str:
    """Names the machine, or the container, in which process numbers have a meaning."""
    namespace = ""
    with suppress(OSError):
        namespace = os.readlink("/proc/self/ns/pid")
    return hashlib.blake2b(f"{socket.gethostname()} {namespace}".encode(), digest_size=4).hexdigest()


def partial_name() -> str:
    """A new name that tells which process it belongs to."""
    return f"{here()}-{os.getpid()}-{uuid.uuid4().hex[:12]}"


def in_the_making(path: Path) -> bool:
    """Whether a partial folder or file may belong to a process that is alive."""
    machine, pid, *_ = (*path.name.split("-"), "")
    if machine == here() and pid.isdigit():
        return is_alive(int(pid))
    try:
        return time.time() - path.stat().st_mtime < ABANDONED
    except FileNotFoundError:
        return True


def is_alive(pid: int) -> bool:
    """Whether there is a process of this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
