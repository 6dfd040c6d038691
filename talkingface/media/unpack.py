"""Archives, unpacked safely: no member leaves the folder, links to elsewhere, or grows beyond what the archive may hold."""

from __future__ import annotations

import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from talkingface.errors import DownloadError
from talkingface.media.files import atomic

MOST_MEMBERS = 100_000
LARGEST_RATIO = 200  # of unpacked to packed size
BLOCK = 1 << 20  # bytes


class Member(NamedTuple):
    """A file in an archive.

    Attributes:
        name: its path in there, with slashes.
        size: in bytes, as the archive claims.
        open: a stream of its content.
    """

    name: str
    size: int
    open: Callable[[], IO[bytes]]


def is_archive(path: Path) -> bool:
    """Whether a file is a zip or (not compressed) tar archive, by its content."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return zipfile.is_zipfile(path) or file.read(512)[257:262] == b"ustar"


def unpack(archive: Path, wanted: Mapping[str, Path], megabytes: float = 8000.0) -> dict[str, Path]:
    """Unpack some files of an archive, each to its own place, whole or not at all.

    Args:
        wanted: file name (without folders) -> where it goes.
        megabytes: the most that may be unpacked.

    Returns:
        Those of `wanted` that were in the archive.

    Raises:
        DownloadError: it is damaged, holds two files of one wanted name, or is made to do harm: names that lead out of the
            folder, links, devices, or far more content than it has bytes.
        MediaError: a place cannot be written.
    """
    found: dict[str, Path] = {}
    try:
        for member in members(archive, megabytes):
            name = PurePosixPath(member.name).name
            if name not in wanted:
                continue
            if name in found:
                raise DownloadError(f"{archive} holds {name} twice: unpack the one that is meant by hand.")
            with member.open() as source, atomic(wanted[name]) as temporary, temporary.open("wb") as file:
                copy(source, file, member.size, archive)
            found[name] = wanted[name]
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, NotImplementedError, RuntimeError, ValueError, UnicodeError) as error:
        raise DownloadError(f"{archive} is damaged, or no archive ({error}). Fetch it again.") from error
    except OSError as error:
        if error.errno is None:  # of a compressed stream that is no such
            raise DownloadError(f"{archive} is damaged ({error}). Fetch it again.") from error
        raise
    return found


def members(archive: Path, megabytes: float) -> Iterator[Member]:
    """The files of an archive, when nothing in it is made to do harm."""
    if zipfile.is_zipfile(archive):
        yield from zip_members(archive, megabytes)
    else:
        yield from tar_members(archive, megabytes)


def zip_members(archive: Path, megabytes: float) -> Iterator[Member]:
    """The files of a zip archive."""
    with zipfile.ZipFile(archive) as opened:
        parts = opened.infolist()
        check_sizes(archive, [part.file_size for part in parts], megabytes)
        for part in parts:
            check_name(archive, part.filename)
            kind = stat.S_IFMT(part.external_attr >> 16)
            if kind and not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
                raise refused(archive, part.filename, "is no plain file")
        for part in parts:
            if not part.is_dir():
                yield Member(part.filename, part.file_size, partial(opened.open, part))


def tar_members(archive: Path, megabytes: float) -> Iterator[Member]:
    """The files of a tar archive that is not compressed: one that is could hide any size behind a name."""
    with tarfile.open(archive, "r:") as opened:
        parts, total = [], 0
        for part in opened:
            parts.append(part)
            total += part.size
            check_sizes(archive, [total], megabytes, len(parts))
            check_name(archive, part.name)
            if not (part.isreg() or part.isdir()):
                raise refused(archive, part.name, "is no plain file")
        for part in parts:
            if part.isreg():
                yield Member(part.name, part.size, partial(content_of, opened, part))


def content_of(opened: tarfile.TarFile, part: tarfile.TarInfo) -> IO[bytes]:
    """A stream of a plain file in a tar archive."""
    content = opened.extractfile(part)
    assert content is not None
    return content


def check_name(archive: Path, name: str) -> None:
    """Refuse a name that leads out of the folder in which an archive is unpacked."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name or "\0" in name:
        raise refused(archive, name, "leads out of the folder")


def check_sizes(archive: Path, sizes: list[int], megabytes: float, count: int = 0) -> None:
    """Refuse an archive that claims more than it may hold, before anything is unpacked."""
    most = min(megabytes * 1e6, max(archive.stat().st_size, 1) * LARGEST_RATIO)
    if sum(sizes) > most or max(count, len(sizes)) > MOST_MEMBERS:
        raise DownloadError(
            f"{archive} was refused: it would unpack to {sum(sizes) / 1e6:.0f} MB in {max(count, len(sizes))} files from "
            f"{archive.stat().st_size / 1e6:.1f} MB."
        )


def copy(source: IO[bytes], file: IO[bytes], size: int, archive: Path) -> None:
    """Copy as much as was claimed, and refuse a member that has more or less."""
    left = size + 1
    while left and (block := source.read(min(BLOCK, left))):
        file.write(block)
        left -= len(block)
    if left != 1:
        raise DownloadError(f"{archive} was refused: a file in it has another size than the archive says.")


def refused(archive: Path, name: str, why: str) -> DownloadError:
    return DownloadError(f"{archive} was refused: {name[:80]!r} in it {why}, and nothing of it was unpacked.")
