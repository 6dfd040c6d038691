"""Clips of published lists: the times and crops that they name, cut from videos that the user has fetched.

A data set that is published as such a list derives from `Listed`. Each clip is written whole or not at all, so that a run that
was stopped goes on; what could not be cut stands with its reason in <output>/left_out.jsonl.
"""

from __future__ import annotations

import json
import os
import re
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from talkingface.dataset.base import read_list
from talkingface.dataset.folder import VIDEOS
from talkingface.dataset.workers import in_processes, num_cores
from talkingface.errors import DatasetError, MediaError
from talkingface.media.audio import audio_blocks, source_rate
from talkingface.media.files import REMEDIES, atomic, unwritable
from talkingface.media.image import resize
from talkingface.media.video import Video, write_video

LEFT_OUT = "left_out.jsonl"
SLACK = 0.5  # seconds by which a video may end before its clip
SMALLEST = 32  # pixels of a crop's shorter side
MOST_OF = 0.95  # of a crop's shorter side must be in the frame
UNFINISHED = re.compile(r"\.[0-9a-f]{32}\.mp4")  # what a killed process leaves
ABANDONED = 24 * 3600  # seconds after which it is removed


@dataclass(frozen=True)
class Cut:
    """A clip of a published list.

    Attributes:
        name: path of the clip below the output, without suffix.
        videos: names that its video may have, without suffix, the best first; with or without the folders that it lies in.
        start, stop: seconds of the video.
        box: the crop, (x1, y1, x2, y2), in the unit that `lines` says.
        lines: 0 = fractions of the frame; -1 = pixels of the video as it is; else pixels of that video with this height.
        margin: by which the box grows on each side, in parts of the frame.
        square: "" = the crop is the box; "inner" or "outer" = a square around its middle, as its shorter or longer side.
        fps: frames per second of the clip; 0 = as the video.
        address: where the video is published, for messages.
    """

    name: str
    videos: tuple[str, ...]
    start: float
    stop: float
    box: tuple[float, float, float, float]
    lines: int = 0
    margin: float = 0.0
    square: str = ""
    fps: float = 0.0
    address: str = ""

    def window(self, width: int, height: int) -> tuple[int, int, int, int]:
        """The crop in pixels of a video, (x1, y1, x2, y2), inside of its frame.

        Raises:
            DatasetError: too little of it is in the frame.
        """
        unit = np.array([width, height] * 2) if self.lines == 0 else 1.0 if self.lines < 0 else height / self.lines
        box = np.array(self.box) * unit + self.margin * np.array([-width, -height, width, height])
        (x1, x2), (y1, y2) = (np.clip(box[axis::2], 0, side) for axis, side in ((0, width), (1, height)))
        if self.square:
            side = (min if self.square == "inner" else max)(x2 - x1, y2 - y1)
            side = min(side, width, height)
            x1, y1 = (
                min(max((low + high - side) / 2, 0), most - side) for low, high, most in ((x1, x2, width), (y1, y2, height))
            )
            x2, y2 = x1 + side, y1 + side
        wanted = min(box[2] - box[0], box[3] - box[1])
        if min(x2 - x1, y2 - y1) < (SMALLEST if self.square else max(SMALLEST, MOST_OF * wanted)):
            seen = f"{x2 - x1:.0f} x {y2 - y1:.0f} of {box[2] - box[0]:.0f} x {box[3] - box[1]:.0f} pixels"
            raise DatasetError(f"a frame of {width} x {height} shows {seen} of its crop: is it another video?")
        left, top = round(x1), round(y1)
        right, bottom = (left + round(x2 - x1), top + round(y2 - y1)) if self.square else (round(x2), round(y2))
        return left, top, min(right, width), min(bottom, height)


class LeftOut(NamedTuple):
    """A clip of a list that was not cut, and why."""

    name: str
    reason: str
    address: str = ""


class Listed(ABC):
    """A data set that is published as a list of times and crops."""

    lists_are: str = "the published lists"
    size: int = 0  # pixels of the longer side of a clip; 0 = as it is cut

    @classmethod
    @abstractmethod
    def cuts(cls, lists: Path) -> Iterator[Cut | LeftOut]:
        """The clips that the lists name, and those whose entries cannot be used.

        Raises:
            DatasetError: there are no such lists.
        """


@dataclass
class Cutting:
    """What became of the clips of a list.

    Attributes:
        cut: how many were cut now.
        here: how many were there already.
        left_out: the others.
        folder: where the clips are.
    """

    folder: Path
    cut: int = 0
    here: int = 0
    left_out: list[LeftOut] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        entries = [entry._asdict() for entry in self.left_out]
        return {"folder": str(self.folder), "cut": self.cut, "here": self.here, "left_out": entries}

    def text(self) -> str:
        """For people: the numbers, and the reasons by how often they occur."""
        lines = [f"{self.folder}: {self.cut} clips cut, {self.here} there already, {len(self.left_out)} left out"]
        kinds = Counter(kind_of(entry.reason) for entry in self.left_out)
        lines += [f"  {count}: {kind}" for kind, count in kinds.most_common(8)]
        if self.left_out:
            lines.append(f"  each of them, with its reason and where its video is published: {self.folder / LEFT_OUT}")
        return "\n".join(lines)


def kind_of(reason: str) -> str:
    """A reason without what differs from clip to clip."""
    return re.sub(r"[-\w./]*\d[-\w./]*", "..", reason)


def cut_clips(
    entries: Iterable[Cut | LeftOut], videos: Path, output: Path, workers: int = 0, size: int = 0, limit: int = 0
) -> Cutting:
    """Cut the clips of a list that are not there yet.

    Args:
        videos: the folder of the fetched videos, at any depth.
        output: where clips go, as mp4.
        workers: processes; 0 = one per core.
        size: pixels of a clip's longer side; 0 = as it is cut.
        limit: at most so many clips of the list; 0 = all.

    Raises:
        DatasetError: the folder of videos does not exist.
        MediaError: the output cannot be written.
    """
    found = index(videos)
    made = Cutting(output)
    try:
        output.mkdir(parents=True, exist_ok=True)
        remove_unfinished(output)
        todo = []
        for place, entry in enumerate(entries):
            if limit and place >= limit:
                break
            if isinstance(entry, LeftOut):
                made.left_out.append(entry)
            elif target_of(entry, output).is_file():
                made.here += 1
            elif (video := next((found[name] for name in entry.videos if name in found), None)) is None:
                made.left_out.append(LeftOut(entry.name, f"no video {entry.videos[0]} in {videos}", entry.address))
            else:
                todo.append((entry, video))
        try:
            with (
                tqdm(total=len(todo), desc="cut", unit="clip", disable=None, leave=False) as progress,
                closing(reasons(todo, output, size, workers)) as results,
            ):
                for entry, reason in results:
                    progress.update()
                    if reason:
                        made.left_out.append(LeftOut(entry.name, reason, entry.address))
                    else:
                        made.cut += 1
        finally:
            write_left_out(made)
    except OSError as error:
        if error.errno in REMEDIES:
            raise unwritable(output, error) from error
        raise
    return made


def reasons(todo: Sequence[tuple[Cut, Path]], output: Path, size: int, workers: int) -> Generator[tuple[Cut, str]]:
    """Cut clips here or in processes: each with the reason why it could not be, or ""."""
    work, count = partial(attempt, output=output, size=size), min(workers or num_cores(), len(todo))
    if count <= 1:
        for item in todo:
            yield item[0], work(item)
        return
    with closing(in_processes(work, todo, count)) as results:
        for (entry, video), reason in results:
            died = f"the process that cut {video} died: a damaged file, or too little memory"
            yield entry, died if reason is None else reason


def attempt(item: tuple[Cut, Path], output: Path, size: int) -> str:
    """Cut one clip. Returns the reason why it cannot be cut, or "".

    Raises:
        MediaError: the disk refuses; no clip is to blame.
    """
    entry, video = item
    try:
        cut_one(entry, video, target_of(entry, output), size)
    except (MediaError, DatasetError) as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in REMEDIES:
            raise
        return str(error)
    return ""


def cut_one(entry: Cut, video: Path, target: Path, size: int) -> None:
    """Write one clip with its sound.

    Raises:
        DatasetError: the video is shorter than its list says, is silent, or shows less than its crop.
        MediaError: it cannot be read, or the clip cannot be written.
    """
    whole = Video(video)
    if entry.stop > whole.duration + SLACK:
        raise DatasetError(f"{video} lasts {whole.duration:.1f} s, and the clip ends at {entry.stop:.1f} s: is it cut short?")
    if not whole.has_audio:
        raise DatasetError(f"{video} has no sound; fetch it with its sound")
    x1, y1, x2, y2 = entry.window(whole.width, whole.height)
    scale = size / max(x2 - x1, y2 - y1) if size else 1.0
    shape = (round((x2 - x1) * scale), round((y2 - y1) * scale))
    part = Video(video, entry.fps or None, entry.start, entry.stop)
    frames = (resize(frame[y1:y2, x1:x2], shape) for frame in part)
    wav, rate = sound_between(video, entry.start, entry.stop)
    write_video(target, frames, part.fps, wav, rate)


def sound_between(path: Path, start: float, stop: float) -> tuple[np.ndarray, int]:
    """The sound of a video from one second to another, (N,) float32 mono, and its samples per second.

    Raises:
        MediaError: it has none there.
    """
    rate = source_rate(path)
    first, last, here = round(start * rate), round(stop * rate), 0
    parts = []
    for block in audio_blocks(path, rate):
        parts.append(block[:, max(0, first - here) : max(0, last - here)].mean(axis=0))
        here += block.shape[1]
        if here >= last:
            break
    wav = np.concatenate(parts) if parts else np.empty(0, np.float32)
    if not wav.size:
        raise MediaError(f"{path}: its sound ends at {here / rate:.1f} s, before {start:.1f} s.")
    return np.clip(wav, -1, 1), rate


# --- folders ----------------------------------------------------------------------------------------------------------


def target_of(entry: Cut, output: Path) -> Path:
    """Where a clip goes."""
    return output / f"{entry.name}.mp4"


def index(videos: Path) -> dict[str, Path]:
    """Name -> video, for the names of the videos of a folder, with and without their folders, without suffixes.

    Raises:
        DatasetError: there is no such folder, or no video in it.
    """
    if not videos.is_dir():
        raise DatasetError(f"--videos: {videos} is not a folder; it should hold the videos that you fetched.")
    found: dict[str, Path] = {}
    for folder, _, names in os.walk(videos):
        for name in sorted(names):
            if name.lower().endswith(VIDEOS) and not UNFINISHED.fullmatch(name):
                path = Path(folder) / name
                for key in (path.stem, path.relative_to(videos).with_suffix("").as_posix()):
                    found.setdefault(key, path)
    if not found:
        raise DatasetError(f"--videos: {videos} holds no video ({' '.join(VIDEOS)}).")
    return found


def remove_unfinished(output: Path) -> None:
    """Remove what killed processes left a day ago or earlier."""
    for path in output.rglob(".*.mp4"):
        if UNFINISHED.fullmatch(path.name) and time.time() - path.stat().st_mtime > ABANDONED:
            path.unlink(missing_ok=True)


def write_left_out(made: Cutting) -> None:
    """Write the clips that were left out, one a line; no file where there are none."""
    path = made.folder / LEFT_OUT
    if not made.left_out:
        path.unlink(missing_ok=True)
        return
    lines = [json.dumps({"clip": clip, "reason": reason, "video": address}) for clip, reason, address in sorted(made.left_out)]
    with atomic(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


# --- lists ------------------------------------------------------------------------------------------------------------


def on_youtube(video: str) -> str:
    """The address of a YouTube video."""
    return f"https://www.youtube.com/watch?v={video}"


def youtube_id(address: str) -> str:
    """The name of the video that an address of YouTube leads to; "" for other addresses."""
    match = re.search(r"(?:[?&]v=|youtu\.be/|/embed/|/shorts/)([-\w]{6,})", address)
    return match[1] if match else ""


def seconds(text: str) -> float:
    """A time as lists write it: "83.5", "1:23.5" or "0:01:23".

    Raises:
        ValueError: it is none.
    """
    parts = [float(part) for part in text.split(":")]
    if not 1 <= len(parts) <= 3 or any(part < 0 for part in parts):
        raise ValueError(text)
    return sum(part * 60**power for power, part in enumerate(reversed(parts)))


def table(path: Path) -> dict[str, list[str]]:
    """First word of each line -> its further words.

    Raises:
        DatasetError: it cannot be read.
    """
    return {words[0]: words[1:] for words in (line.split() for line in read_list(path))}
