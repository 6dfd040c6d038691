"""What drives a face: speech or other lips, one item per video frame, from files of any kind or prepared as the authors do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from talkingface.errors import MediaError
from talkingface.face.finder import FaceFinder
from talkingface.media.image import SUFFIXES as PICTURES
from talkingface.media.image import is_image
from talkingface.media.mfcc import SpeechWindows, read_bin
from talkingface.media.video import Video
from talkingface.model.davs.data import FACES, SPEECH
from talkingface.model.davs.faces import Alignment, FaceVideo, shown

NUMBER = re.compile("[0-9]+$")  # of a frame, at the end of a file's name


class Items(Protocol):
    """Gone through again and again, read as they are asked for."""

    def __iter__(self) -> Iterator[np.ndarray]: ...


class Driving(NamedTuple):
    """A driving stream.

    Attributes:
        items: windows of speech (20, 12), or faces (S, S, 3) float32 in [0, 1].
        first: the number of the first item's video frame, counted from 0 at 25 per second.
        sound: the file that is heard, its time 0 that of frame 0; None where there is none.
    """

    items: Items
    first: int = 0
    sound: Path | None = None


# --- speech -----------------------------------------------------------------------------------------------------------


class WindowFiles:
    """The windows in a folder as the authors make it: 2.bin, 3.bin, ..."""

    def __init__(self, folder: Path):
        self.files, self.first = numbered(folder, (".bin",))

    def __iter__(self) -> Iterator[np.ndarray]:
        return map(read_bin, self.files)


def by_speech(path: Path, pad: bool) -> Driving:
    """The windows of a sound file, a video's sound, or a folder of .bin files.

    Args:
        pad: see `SpeechWindows`.

    Raises:
        MediaError: there is neither; it is too short; or a folder lacks a file.
    """
    path = part_of(path, SPEECH)
    if not path.is_dir():
        windows = SpeechWindows(path, pad)
        return Driving(windows, windows.first, path)
    files = WindowFiles(path)
    return Driving(files, files.first, sound_beside(path))


# --- lips -------------------------------------------------------------------------------------------------------------


class Lips:
    """The faces of a video as the lip encoder sees them.

    Args:
        side: of what is seen, pixels.
    """

    def __init__(self, faces: FaceVideo, side: int):
        self.faces, self.side = faces, side

    def __iter__(self) -> Iterator[np.ndarray]:
        for face in self.faces:
            yield shown(face, self.side)


def by_lips(path: Path, finder: FaceFinder, how: Alignment, side: int) -> Driving:
    """The faces of a talking video, or of a folder of pictures: aligned as the authors make them (2.jpg, 3.jpg, ...), or any.

    Raises:
        MediaError: it is a sound file or a still, there is no face in it, or a folder lacks a picture.
    """
    path = part_of(path, FACES)
    if path.is_dir():
        first = first_number(path)
        return Driving(Lips(FaceVideo(path, finder, how), side), first, sound_beside(path))
    video = Video(path)
    if video.is_still:
        raise MediaError(
            f"{path} is a still; lips that move are needed for --DAVS.test_type=video. Speech needs test_type=audio."
        )
    return Driving(Lips(FaceVideo(path, finder, how), side), 0, path if video.has_audio else None)


def with_black_end(items: Sequence[np.ndarray], length: int) -> list[np.ndarray]:
    """The authors' slip: the first length - 2 driving faces, and two black ones."""
    return [*items[: length - 2], *[np.zeros_like(items[0])] * 2]


# --- folders ----------------------------------------------------------------------------------------------------------


def numbered(folder: Path, suffixes: Sequence[str]) -> tuple[list[Path], int]:
    """The files of a folder whose names end in numbers of video frames, in their order; and the first number.

    Raises:
        MediaError: there are none, or one is missing in between.
    """
    named = {path: NUMBER.search(path.stem) for path in folder.iterdir() if path.suffix.lower() in suffixes}
    files = {int(number[0]): path for path, number in named.items() if number and not path.name.startswith(".")}
    if not files:
        kinds = "/".join(suffix.removeprefix(".") for suffix in suffixes[:2])
        example = f"2{suffixes[0]}, 3{suffixes[0]} ({kinds}, by frame number)"
        raise MediaError(f"{folder} holds no files such as {example}.{other_kind(folder)}")
    first, last = min(files), max(files)
    if missing := [number for number in range(first, last + 1) if number not in files]:
        gaps = (
            f"{missing[0]}{suffixes[0]} and {len(missing) - 1} more are" if len(missing) > 1 else f"{missing[0]}{suffixes[0]} is"
        )
        raise MediaError(
            f"{folder}: {gaps} missing between {first} and {last}. Make the folder again, or drive with the video itself."
        )
    return [files[number] for number in range(first, last + 1)], first


def part_of(path: Path, name: str) -> Path:
    """The folder of this name in a prepared clip, where the clip's folder or its other part is named; else the path itself."""
    folder = path.parent if path.name in (FACES, SPEECH) else path
    return folder / name if path.name != name and (folder / name).is_dir() else path


def first_number(path: Path) -> int:
    """The number of the first frame of a video: 0, or what the first picture of a folder is called."""
    return numbered(path, PICTURES)[1] if path.is_dir() else 0


def other_kind(folder: Path) -> str:
    """A hint where a folder holds the other kind of driving stream, or folders of either."""
    if any(folder.glob("*.bin")):
        return " It holds speech: set --DAVS.test_type=audio."
    if any(path.is_file() and path.stat().st_size and is_image(path) for path in folder.iterdir()):
        return " It holds pictures: set --DAVS.test_type=video."
    inside = [path.name for path in sorted(folder.iterdir()) if path.is_dir()]
    return f" Name one of the folders in it: {', '.join(inside)}." if inside else ""


def sound_beside(folder: Path) -> Path | None:
    """The sound of a folder of windows or pictures: <name>.wav beside it, or that of the folder above in there, as in LRW's."""
    folder = folder.absolute()
    above = folder.parent
    return next((path for path in (folder.with_name(f"{folder.name}.wav"), above / f"{above.name}.wav") if path.is_file()), None)
