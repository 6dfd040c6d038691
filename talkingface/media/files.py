"""Files that are written whole or not at all, fingerprints of their content, and the folder of what is cached."""

from __future__ import annotations

import errno
import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from talkingface.errors import MediaError

REMEDIES = {
    errno.ENOSPC: "Free some space, or write to another disk.",
    errno.EDQUOT: "Your quota is used up: free some space, or write to another disk.",
    errno.EFBIG: "The file is larger than this disk or session allows: write to another disk.",
    errno.EACCES: "You may not write there: choose another folder, or change its permissions.",
    errno.EPERM: "You may not write there: choose another folder, or change its permissions.",
    errno.EROFS: "That disk is read-only: choose another folder.",
    errno.EISDIR: "A folder of that name is in the way: choose another name.",
    errno.ENOTDIR: "A part of that path is a file, not a folder: choose another path.",
    errno.EEXIST: "A part of that path is a file, not a folder: choose another path.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
}

CACHE = "TALKINGFACE_CACHE"  # environment variable: the folder of what is computed once


@contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """Write to the path this yields, a hidden sibling with the same suffix: it replaces `path` when the block ends well.

    Missing folders are made. When the block raises, the sibling is removed and what was at `path` before is untouched.

    Raises:
        MediaError: the disk is full, the folder is read-only, or `path` is a folder. Errors of the block that are not
            about writing pass through as they are.
    """
    path = Path(path)
    temporary = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.errno in REMEDIES and _is_about(error, path, temporary):
            raise unwritable(path, error) from error
        raise
    finally:
        if temporary.exists():
            temporary.unlink()


def _is_about(error: OSError, path: Path, temporary: Path) -> bool:
    """Whether writing failed, not something else that the block opened: that names its own file."""
    if error.filename is None:
        return True
    name = str(error.filename).removeprefix("file:")
    return Path(name) in (path, temporary, *path.parents)


def unwritable(path: Path, error: OSError) -> MediaError:
    """What to tell when `path` cannot be written."""
    remedy = REMEDIES.get(error.errno or 0, "Choose another folder.")
    return MediaError(f"{path} cannot be written: {error.strerror or error}. {remedy}")


def cache_dir() -> Path:
    """Where features are kept between runs: $TALKINGFACE_CACHE, or ~/.cache/talkingface."""
    folder = os.environ.get(CACHE)
    return Path(folder).expanduser() if folder else Path.home() / ".cache" / "talkingface"


def existing_file(path: Path | str) -> Path:
    """`path`, when a file that is not empty lies there.

    Raises:
        MediaError: nothing is there, or a folder, or an empty file.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        raise MediaError(f"{path} is a folder; name a file in it.")
    if not path.exists():
        raise MediaError(f"{path} does not exist; check its name and folder.")
    if path.stat().st_size == 0:
        raise MediaError(f"{path} is empty (0 bytes): it was probably not written to its end. Make or copy it again.")
    return path


def content_hash(path: Path | str) -> str:
    """Fingerprint of a file's bytes: 32 hexadecimal digits, computed anew when its size or time of change differs."""
    path = existing_file(path)
    stat = path.stat()
    return _content_hash(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=4096)
def _content_hash(path: Path, size: int, changed: int) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
