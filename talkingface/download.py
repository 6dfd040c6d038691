"""Published weights, fetched: from mirrors or their authors' pages, checked, and remembered by their hash.

The first download of a file writes its SHA-256 into <checkpoints_dir>/lock.json, and from then on the file must have it, here or
wherever the lock file is copied to. The licence of a page is shown before the first file that comes from there.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from talkingface.errors import CheckpointError, ConfigError, DownloadError
from talkingface.media.fetch import Limits, fetch, sha256
from talkingface.media.files import atomic
from talkingface.media.unpack import is_archive, unpack
from talkingface.zoo import Published, Zoo, hash_text, zoo

log = logging.getLogger(__name__)

LOCK = "lock.json"
NO_WEIGHTS = (".mat", ".pickle")  # files of numbers that are read in other ways


class Row(NamedTuple):
    """What became of one file.

    Attributes:
        path: its place.
        state: "here", "fetched", "absent" (nobody has asked for it yet), "by hand" or "failed".
        detail: what it is, or what to do.
    """

    path: str
    state: str
    detail: str
    needed: bool = True


@dataclass
class Lock:
    """What is known of files from the first time that they were seen.

    Attributes:
        files: place in the table -> {"sha256", "bytes", "source", "seen"}.
        licences: keys of the licences that were shown.
    """

    path: Path
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    licences: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, checkpoints_dir: Path) -> Lock:
        """The lock file of a folder of weights, or an empty one.

        Raises:
            CheckpointError: it is damaged.
        """
        path = Path(checkpoints_dir) / LOCK
        if not path.is_file():
            return cls(path)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            files, licences = content["files"], content["licences"]
            whole = all(isinstance(entry["sha256"], str) for entry in files.values()) and isinstance(licences, list)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise damaged(path) from error
        if not whole:
            raise damaged(path)
        return cls(path, files, licences)

    def save(self) -> None:
        content = json.dumps({"files": dict(sorted(self.files.items())), "licences": sorted(self.licences)}, indent=1)
        with atomic(self.path) as temporary:
            temporary.write_text(content + "\n", encoding="utf-8")

    def check(self, file: Published, path: Path) -> str:
        """The SHA-256 of a file, when it is that of the authors and that of the first time.

        Raises:
            DownloadError: it is another one.
        """
        digest = sha256(path)
        if not digest.startswith(file.sha256):
            raise DownloadError(f"{path} is not the published file: its SHA-256 is {digest}, published is {file.sha256}.")
        known = self.files.get(file.path, {}).get("sha256", digest)
        if digest != known:
            raise DownloadError(
                f"{path} is not the file that was first seen: its SHA-256 is {digest}, and {self.path} says {known}. "
                f"If you trust it, remove the entry of {file.path} there."
            )
        return digest

    def remember(self, file: Published, path: Path, source: str) -> None:
        """Check a file, and write down what it has when it is new."""
        digest = self.check(file, path)
        if file.path not in self.files:
            self.files[file.path] = {
                "sha256": digest,
                "bytes": path.stat().st_size,
                "source": source,
                "seen": date.today().isoformat(),
            }
            self.save()


def damaged(path: Path) -> CheckpointError:
    return CheckpointError(f"{path} is damaged: it should hold the hashes of downloaded files. Repair it, or remove it.")


@dataclass
class Downloader:
    """Brings published files to their places.

    Args:
        checkpoints_dir: the folder of published weights.
        mirrors: addresses or folders that are asked first.
        offline: fetch nothing.
        limits: how long servers may be silent, how often they are asked.
        table: the files that there are.
    """

    checkpoints_dir: Path
    mirrors: Sequence[str] = ()
    offline: bool = False
    limits: Limits = field(default_factory=Limits)
    table: Zoo = field(default_factory=zoo)

    def __post_init__(self) -> None:
        if self.limits.seconds <= 0 or self.limits.attempts < 1:
            raise ConfigError("download: timeout should be above 0, and attempts 1 or more.")
        self.lock = Lock.of(self.checkpoints_dir)

    def look(self, name: str = "all") -> list[Row]:
        """What is here of a model's files, of a metric's, or of "all"; nothing is fetched."""
        return [self.here(file) or self.row(file, "absent", file.what) for file in self.table.of(name)]

    def download(self, name: str) -> list[Row]:
        """Fetch what is not here."""
        return [self.here(file) or self.bring(file) for file in self.table.of(name)]

    def take(self, name: str, source: Path) -> list[Row]:
        """Take files that somebody fetched by hand, from a folder or archive, or one file.

        Raises:
            DownloadError: the source is not there, or holds none of them.
        """
        files = self.table.of(name)
        with offered(source, files) as places:
            if not places:
                raise DownloadError(f"{source} holds none of the files of {name}: {', '.join(file.name for file in files)}.")
            rows = {
                file.path: self.attempt(file, [str(places[file.name])]) for file in files if file.name in places
            }  # what is here already is replaced by what was asked for
        return [rows.get(file.path) or self.here(file) or self.row(file, "absent", file.what) for file in files]

    # --- one file -----------------------------------------------------------------------------------------------------

    def here(self, file: Published) -> Row | None:
        """A file that lies where models look for it; None where it does not."""
        path = file.found(self.checkpoints_dir)
        if path is None:
            return None
        try:
            self.lock.remember(file, path, "found on this disk")
        except DownloadError as error:
            return self.row(file, "failed", str(error))
        return Row(str(path), "here", file.what, not file.optional)

    def bring(self, file: Published) -> Row:
        """A file that is not here: from a mirror, or from where its authors publish it."""
        sources = [f"{mirror.rstrip('/')}/{file.path}" for mirror in self.mirrors]
        sources += [file.url] if file.url else []
        if self.offline:
            sources = [source for source in sources if "://" not in source]
        if not sources:
            return self.row(file, "by hand", self.by_hand(file))
        return self.attempt(file, sources)

    def attempt(self, file: Published, sources: Sequence[str]) -> Row:
        """Fetch a file from the first source that has it."""
        self.show_licence(file)
        target, reasons = file.place(self.checkpoints_dir), []
        largest = max(1.5 * file.megabytes, 4e-6 * 3 * file.values, 1.0) + 50 if file.megabytes else 4000.0
        for source in sources:
            try:
                fetch(source, target, self.checker(file), self.limits._replace(megabytes=largest))
            except DownloadError as error:
                reasons.append(str(error))
                continue
            self.lock.remember(file, target, source)
            return self.row(file, "fetched", f"{file.what}, from {source}")
        return self.row(file, "failed", " ".join([*reasons, self.by_hand(file)]))

    def checker(self, file: Published) -> Callable[[Path], None]:
        """What a file must pass before it gets its name."""

        def check(path: Path) -> None:
            self.lock.check(file, path)
            if not path.name.removesuffix(".part").endswith(NO_WEIGHTS):
                check_content(file, path)

        return check

    def by_hand(self, file: Published) -> str:
        """What to put where."""
        facts = ", ".join(fact for fact in (file.size and f"about {file.size}", hash_text(file)) if fact)
        inside = f"{file.name}, which lies in {file.archive}," if file.archive else file.name
        take = f"; or, after fetching it, `talkingface download {file.model} --from FILE_OR_FOLDER`"
        return f"Put {inside}{f' ({facts})' if facts else ''} from {file.page} at {file.place(self.checkpoints_dir)}{take}."

    def show_licence(self, file: Published) -> None:
        """Say under which terms the authors publish, once."""
        if file.licence not in self.lock.licences:
            log.warning("%s: licence of %s: %s.", file.model, file.page, self.table.licences[file.licence])
            self.lock.licences.append(file.licence)
            self.lock.save()

    def row(self, file: Published, state: str, detail: str) -> Row:
        return Row(str(file.place(self.checkpoints_dir)), state, detail, not file.optional)


def check_content(file: Published, path: Path) -> None:
    """Refuse what is no file of weights, or holds another network than it should.

    Raises:
        DownloadError: it is not what it should be.
    """
    from talkingface.passport import passport

    found = passport(path, name=file.name, digest=False)
    if found.problem:
        raise DownloadError(f"{file.name} has arrived, but {found.problem}")
    others = [network.label for network in found.networks if network.label and not is_same(file, network.label)]
    if others and len(others) == len(found.networks):
        raise DownloadError(f"{file.name} has arrived, but it is {others[0]}.")


def is_same(file: Published, label: str) -> bool:
    """Whether a recognized network is one that a file should hold."""
    known = zoo().labelled(label)
    return file.name in label or (known is not None and (known.model, known.network) == (file.model, file.network))


@contextmanager
def offered(source: Path, files: Sequence[Published]) -> Iterator[dict[str, Path]]:
    """File name -> where it lies: in a folder, in archives there, or the one file itself. Archives are unpacked meanwhile."""
    source = Path(source).expanduser()
    if not source.exists():
        raise DownloadError(f"--from: {source} does not exist.")
    names = {file.name for file in files}
    candidates = sorted(source.iterdir()) if source.is_dir() else [source]
    found = {path.name: path for path in candidates if path.name in names and path.is_file()}
    wrapped = {file.archive for file in files if file.archive}
    archives = [path for path in candidates if path not in found.values() and (path.name in wrapped or path == source)]
    with tempfile.TemporaryDirectory() as folder:
        for archive in archives:
            if is_archive(archive):
                wanted = {name: Path(folder) / name for name in names - found.keys()}
                found |= unpack(archive, wanted)
        yield found
