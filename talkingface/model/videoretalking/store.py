"""What a step has made of a video, kept on disk in pieces: each is written whole, so a killed run goes on where it stopped.

A step's folder is <cache>/videoretalking/<step>-<key>, and its key is a digest of everything that the result depends on: the
content of the video, the settings, the networks' weights, and the key of the step before.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from torch import nn
from tqdm import tqdm

from talkingface.errors import MediaError
from talkingface.media.files import atomic, cache_dir, unwritable

log = logging.getLogger(__name__)

VERSION = 1  # of what is kept; another one is made again
PIECE = 16  # frames of a piece, about

T = TypeVar("T")
Arrays = dict[str, np.ndarray]


def digest(*parts: Any) -> str:
    """32 hexadecimal digits of plain values (arrays and bytes too) and their order."""
    result = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = np.ascontiguousarray(part).tobytes() if isinstance(part, np.ndarray) else part
        data = data if isinstance(data, bytes) else json.dumps(data, sort_keys=True).encode()
        result.update(len(data).to_bytes(8, "little") + data)
    return result.hexdigest()


def fingerprint(network: nn.Module | None) -> str:
    """Digest of a network's weights; "" where there is no network."""
    if network is None:
        return ""
    result = hashlib.blake2b(digest_size=16)
    for name, tensor in network.state_dict().items():
        result.update(name.encode())
        result.update(np.ascontiguousarray(tensor.detach().float().cpu().numpy()).reshape(-1).data)
    return result.hexdigest()


class Pieces:
    """The results of one step for the frames 0 .. count - 1, in pieces of `size` frames.

    Args:
        step: the step's name, for the folder and for progress.
        key: digest of what the result depends on.
        count: frames.
        size: frames of a piece.
        fresh: forget what an earlier run has made.
    """

    def __init__(self, step: str, key: str, count: int, size: int = PIECE, fresh: bool = False):
        self.step, self.key, self.count, self.size = step, key, count, size
        self.folder = cache_dir() / "videoretalking" / f"{step}-{digest(VERSION, key, count, size)}"
        self._last: tuple[int, Arrays] = (-1, {})
        if fresh:
            self.remove()

    @property
    def starts(self) -> range:
        """The first frame of each piece."""
        return range(0, self.count, self.size)

    def span(self, start: int) -> range:
        """The frames of the piece that begins at `start`."""
        return range(start, min(start + self.size, self.count))

    def path(self, start: int) -> Path:
        """Where a piece lies."""
        return self.folder / f"{start:08d}.npz"

    def made_from(
        self, items: Iterable[T], name: str, take: Callable[[int, T], Any] | None = None, upto: int | None = None
    ) -> Iterator[tuple[int, list]]:
        """(first frame, items of its frames) for each piece that is missing, with a bar that shows how far all frames are.

        Args:
            items: one for each frame, from frame 0 on, in a stream.
            name: of the bar.
            take: (frame, item) -> what is kept of an item until its piece is whole; the item itself by default.
            upto: frames that are needed; all by default.
        """
        needed = [start for start in self.starts if upto is None or start < upto]
        missing = {start for start in needed if not self.path(start).is_file()}
        if not missing:
            return
        total, left = (sum(len(self.span(start)) for start in starts) for starts in (needed, missing))
        log.info("%s: %d of %d frames to do", name, left, total)
        with tqdm(desc=name, total=total, initial=total - left, unit="frame", leave=False, disable=None) as bar:
            held: list = []
            for frame, item in enumerate(islice(items, self.span(max(missing)).stop)):
                start = frame - frame % self.size
                if start in missing:
                    held.append(item if take is None else take(frame, item))
                    bar.update()
                    if frame + 1 == self.span(start).stop:
                        yield start, held
                        held = []

    def grouped(self, items: Iterable[T]) -> Iterator[tuple[int, list[T]]]:
        """(first frame, items of its frames) for each piece."""
        stream = iter(items)
        return ((start, list(islice(stream, len(self.span(start))))) for start in self.starts)

    def write(self, start: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep a piece.

        Raises:
            MediaError: the disk is full, or the cache cannot be written.
        """
        with atomic(self.path(start)) as temporary:
            np.savez(temporary, **arrays)  # type: ignore[arg-type]

    def piece(self, start: int) -> Arrays:
        """A piece; the last one asked for stays in memory.

        Raises:
            MediaError: it cannot be read any more; it is removed, so that the next run makes it again.
        """
        if self._last[0] != start:
            path = self.path(start)
            try:
                with np.load(path, allow_pickle=False) as stored:
                    self._last = (start, dict(stored))
            except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
                path.unlink(missing_ok=True)
                raise MediaError(f"{path} was damaged and has been removed ({error}): start again, it is made anew.") from error
        return self._last[1]

    def at(self, frame: int, name: str) -> np.ndarray:
        """One frame's row of an array."""
        start = frame - frame % self.size
        return self.piece(start)[name][frame - start]

    def picture(self, frame: int, name: str = "pictures") -> np.ndarray:
        """One frame's picture, kept by `packed`: (h, w, 3) uint8."""
        start = frame - frame % self.size
        return unpacked(self.piece(start), name, frame - start)

    def all(self, name: str) -> np.ndarray:
        """An array of all frames, for what is small."""
        return np.concatenate([self.piece(start)[name] for start in self.starts])

    def pictures(self, name: str = "pictures") -> Iterator[np.ndarray]:
        """The pictures of all frames, one by one."""
        return (self.picture(frame, name) for frame in range(self.count))

    def remove(self) -> None:
        """Forget everything."""
        try:
            shutil.rmtree(self.folder)
        except FileNotFoundError:
            log.debug("%s was not there", self.folder)
        except OSError as error:
            raise unwritable(self.folder, error) from error


# --- pictures of any size in one array ------------------------------------------------------------------------------------


def packed(pictures: Iterable[np.ndarray], name: str = "pictures") -> Arrays:
    """Pictures (h, w, 3) uint8, losslessly compressed, as two arrays that a piece can hold; an empty one stays empty."""
    files = [encoded(picture) for picture in pictures]
    return {name: np.concatenate([NOTHING, *files]), f"{name}_ends": np.cumsum([len(file) for file in files], dtype=np.int64)}


def unpacked(arrays: Mapping[str, np.ndarray], name: str, index: int) -> np.ndarray:
    """Picture number `index` of `packed` arrays."""
    ends = arrays[f"{name}_ends"]
    return decoded(arrays[name][ends[index - 1] if index else 0 : ends[index]])


def encoded(picture: np.ndarray) -> np.ndarray:
    """The bytes of a picture (h, w, 3) uint8, losslessly compressed; none for an empty one."""
    return cv2.imencode(".png", picture, FAST)[1].ravel() if picture.size else NOTHING


def decoded(data: np.ndarray) -> np.ndarray:
    """The picture that `encoded` made into bytes."""
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR)) if len(data) else NO_PICTURE


FAST = [cv2.IMWRITE_PNG_COMPRESSION, 1]
NOTHING = np.empty(0, np.uint8)
NO_PICTURE = np.empty((0, 0, 3), np.uint8)


def batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The items, `size` at a time."""
    return (items[start : start + size] for start in range(0, len(items), size))
