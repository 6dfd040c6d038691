"""Files from the internet: resumed where they broke off, limited in size, and under their name only when they are checked.

requests carries it: pooch begins a broken download anew and waits for a silent server without end, gdown adds only the pages of
Google Drive, where no address of our table leads, and neither limits the size or the way of redirections.

<file>.part          what has arrived
<file>.part.origin   the address that it came from and the version of the file there (its ETag), one a line
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import urljoin, urlsplit

from tqdm import tqdm

from talkingface.errors import DownloadError
from talkingface.media.files import REMEDIES, unwritable

log = logging.getLogger(__name__)

BLOCK = 1 << 16  # bytes; less than this is lost when a connection breaks
MOST_REDIRECTS = 8
PASSING = {408, 425, 429, 500, 502, 503, 504}  # answers after which it is worth asking again
PAGES = ("text/html", "application/xhtml")


class Limits(NamedTuple):
    """How far a download may go.

    Attributes:
        megabytes: the largest file that is taken.
        seconds: how long a server may be silent.
        attempts: how often a broken connection is made again.
        pause: seconds before the second attempt; each further pause is twice as long.
    """

    megabytes: float = 4000.0
    seconds: float = 30.0
    attempts: int = 5
    pause: float = 1.0


class PassingError(Exception):
    """A connection that broke: the next attempt goes on where it did."""


def fetch(url: str, target: Path, check: Callable[[Path], None], limits: Limits | None = None) -> None:
    """Fetch a file to its place.

    What has arrived stays beside it as `<file>.part` when a connection breaks, and is gone on with the next time.

    Args:
        url: http or https; or a file on this disk, as a path or file:// address.
        check: is given the complete file before it gets its name; raises if it is not what it should be, and then it is removed.

    Raises:
        DownloadError: the server refuses, breaks off too often, answers with a web page or too much; or another process
            fetches the same file.
        MediaError: the folder cannot be written.
    """
    limits = limits or Limits()
    part = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with alone(part):
            if urlsplit(url).scheme in ("http", "https"):
                fetch_in_attempts(url, part, limits)
            else:
                copy_in(local_path(url), part, limits)
            try:
                check(part)
            except BaseException:
                discard(part)
                raise
            part.replace(target)
            discard(part)
    except OSError as error:
        if error.errno in REMEDIES:
            raise unwritable(target, error) from error
        raise


def local_path(url: str) -> Path:
    """The file on this disk that an address or path names.

    Raises:
        DownloadError: it is an address of another kind.
    """
    parts = urlsplit(url)
    if parts.scheme and parts.scheme != "file" and len(parts.scheme) > 1:
        raise DownloadError(f"{url}: files are fetched from http, https and file addresses only.")
    return Path(parts.path if parts.scheme == "file" else url).expanduser()


def copy_in(source: Path, part: Path, limits: Limits) -> None:
    """Copy a file of this disk."""
    if not source.is_file():
        raise DownloadError(f"{source} does not exist.")
    if source.stat().st_size > limits.megabytes * 1e6:
        raise too_large(str(source), source.stat().st_size, limits)
    shutil.copyfile(source, part)


def fetch_in_attempts(url: str, part: Path, limits: Limits) -> None:
    """Fetch until all has arrived, from where the last attempt ended."""
    pause = limits.pause
    for attempt in range(1, limits.attempts + 1):
        try:
            fetch_rest(url, part, limits)
            return
        except PassingError as error:
            arrived = part.stat().st_size if part.exists() else 0
            if attempt == limits.attempts:
                kept = f"{arrived / 1e6:.1f} MB have arrived and are kept: the same command goes on there." if arrived else ""
                raise DownloadError(f"{url} could not be fetched in {attempt} attempts: {error}. {kept}".rstrip()) from error
            log.info("%s: %s; going on after %.1f MB.", part.stem, error, arrived / 1e6)
            time.sleep(pause)
            pause *= 2


def fetch_rest(url: str, part: Path, limits: Limits) -> None:
    """Fetch what has not arrived yet.

    Raises:
        PassingError: the connection broke, or the server is busy.
        DownloadError: the server refuses, or gives something else.
    """
    version = version_of(url, part)
    begin = part.stat().st_size if version and part.exists() else 0
    headers = {"Accept-Encoding": "identity", "User-Agent": "talkingface"}
    if begin:
        headers |= {"Range": f"bytes={begin}-", "If-Range": version}
    with answer(url, headers, limits) as response:
        if response.status_code == 416:
            discard(part)
            raise PassingError("the server has less than has arrived")
        begin = begin if response.status_code == 206 and starts_at(response, begin) else 0
        total = expected_size(response, begin)
        if total is not None and total > limits.megabytes * 1e6:
            raise too_large(url, total, limits)
        origin_file(part).write_text(f"{url}\n{response.headers.get('ETag') or response.headers.get('Last-Modified') or ''}\n")
        try:
            with part.open("ab" if begin else "wb") as file:
                receive(response, file, begin, total, url, limits)
        except DownloadError:  # it is not what was asked for: nothing to go on with
            discard(part)
            raise


@contextmanager
def answer(url: str, headers: dict[str, str], limits: Limits) -> Iterator[Any]:
    """The answer of the server at which all redirections end; none leads from https to http, or to this disk."""
    import requests
    from urllib3.exceptions import HTTPError

    start = url
    try:
        for _ in range(MOST_REDIRECTS + 1):
            with requests.get(url, headers=headers, stream=True, timeout=limits.seconds, allow_redirects=False) as response:
                if not response.is_redirect:
                    yield checked_answer(response, start)
                    return
                following = urljoin(url, response.headers["Location"])
            schemes = (urlsplit(url).scheme, urlsplit(following).scheme)
            if schemes not in (("http", "http"), ("http", "https"), ("https", "https")):
                raise DownloadError(f"{start} was refused: it leads from {schemes[0]} to {schemes[1]} ({following}).")
            url = following
        raise DownloadError(f"{start} leads from address to address without end.")
    except (requests.ConnectionError, requests.Timeout, HTTPError) as error:
        raise PassingError(reason_of(error)) from error
    except requests.RequestException as error:
        raise DownloadError(f"{start} cannot be fetched: {error}.") from error


def reason_of(error: Exception) -> str:
    """Why a connection failed, in a few words."""
    text = str(error)
    if "timed out" in text:
        return "the server is silent"
    if "NameResolution" in text or "getaddrinfo" in text or "Name or service" in text:
        return "its server is not known here: is this machine online?"
    if "refused" in text or "Max retries" in text or "unreachable" in text:
        return "its server cannot be reached: is this machine online?"
    return "the connection broke"


def checked_answer(response: Any, url: str) -> Any:
    """An answer that brings a file.

    Raises:
        PassingError, DownloadError: it does not.
    """
    status = response.status_code
    if status in PASSING:
        raise PassingError(f"the server answers {status} ({response.reason})")
    if status not in (200, 206, 416):
        remedy = "It has moved: see its page, or name a mirror with --download.mirrors." if status in (404, 410) else ""
        raise DownloadError(f"{url}: the server answers {status} ({response.reason}). {remedy}".rstrip())
    if response.headers.get("Content-Type", "").startswith(PAGES):
        raise DownloadError(
            f"{url} answers with a web page instead of the file: open it in a browser, and fetch the file by hand."
        )
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise DownloadError(f"{url} answers with compressed content, which was not asked for.")
    return response


def starts_at(response: Any, begin: int) -> bool:
    """Whether a part of a file is the part that was asked for."""
    return response.headers.get("Content-Range", "").startswith(f"bytes {begin}-")


def expected_size(response: Any, begin: int) -> int | None:
    """The size of the whole file, where the server tells it."""
    length = response.headers.get("Content-Length", "")
    return begin + int(length) if length.isdecimal() else None


def receive(response: Any, file: IO[bytes], begin: int, total: int | None, url: str, limits: Limits) -> None:
    """Write what comes, and no more than the limit."""
    arrived = begin
    name = urlsplit(url).path.rpartition("/")[2]
    with tqdm(total=total, initial=begin, desc=name, unit="B", unit_scale=True, leave=False) as progress:
        while block := response.raw.read(BLOCK, decode_content=False):
            arrived += len(block)
            if arrived > limits.megabytes * 1e6:
                raise too_large(url, arrived, limits)
            file.write(block)
            progress.update(len(block))
    if total is not None and arrived < total:
        raise PassingError(f"the connection broke after {arrived} of {total} bytes")


def too_large(url: str, size: int, limits: Limits) -> DownloadError:
    return DownloadError(
        f"{url} was refused: it has {size / 1e6:.0f} MB or more, and at most {limits.megabytes:.0f} are expected."
    )


# --- what has arrived -------------------------------------------------------------------------------------------------


def origin_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.origin")


def version_of(url: str, part: Path) -> str:
    """The version of the file that has arrived in part from this address; "" where a new start is needed."""
    try:
        origin, version = origin_file(part).read_text(encoding="utf-8").splitlines()[:2]
    except (OSError, ValueError):
        return ""
    return version if origin == url and not version.startswith("W/") else ""


def discard(part: Path) -> None:
    """Forget what has arrived."""
    for path in (part, origin_file(part)):
        path.unlink(missing_ok=True)


@contextmanager
def alone(part: Path) -> Iterator[None]:
    """Keep other processes from fetching the same file at the same time, where the system can.

    Raises:
        DownloadError: one does.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    lock = part.with_name(f".{part.name}.lock")
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DownloadError(f"{part}: another process fetches it. Wait until it is done.") from None
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
