"""Face tracks, as VoxCeleb and LRS3 publish them: a text file for each clip, with a box for each of its frames at 25 fps.

Identity  : 	id10001
Reference : 	1zcIwhmdeo4
...
FRAME 	X 	Y 	W 	H
000123	0.447	0.299	0.115	0.204
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from talkingface.dataset.cut import Cut, LeftOut, on_youtube
from talkingface.errors import DatasetError

FPS = 25.0  # of the frame numbers, as the authors say
MARGIN = 0.02  # by which a crop is larger than the boxes, in parts of the frame
FIELD = re.compile(r"\s*(\w+)\s*:\s*(\S+)")
MOST_LINES = 100_000  # of a text file


class Track(NamedTuple):
    """A face of a video.

    Attributes:
        fields: what stands above the boxes, such as "Identity" and "Reference" -> its first word.
        frames: (T,) numbers of its frames at 25 fps.
        boxes: (T, 4) x, y, width and height.
    """

    fields: dict[str, str]
    frames: np.ndarray
    boxes: np.ndarray

    @property
    def lines(self) -> int:
        """Height in pixels of the video that the boxes are measured in; 0 where they are fractions of it.

        The authors do not say it of boxes in pixels; 360 is what programs of others take.
        """
        return 0 if self.boxes.max() <= 2 else 360

    @property
    def outline(self) -> tuple[float, float, float, float]:
        """The box that holds all boxes, (x1, y1, x2, y2)."""
        low, high = self.boxes[:, :2].min(axis=0), (self.boxes[:, :2] + self.boxes[:, 2:]).max(axis=0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def read_track(path: Path) -> Track:
    """Read the text file of a clip; what follows the boxes (the words of LRS3) is passed over.

    Raises:
        DatasetError: it holds no boxes, or cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[:MOST_LINES]
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}.") from error
    heads = [place for place, line in enumerate(lines) if line.split()[:1] == ["FRAME"]]
    if not heads:
        raise DatasetError(f"{path} has no line 'FRAME X Y W H' with boxes below it.")
    fields = {match[1]: match[2] for line in lines[: heads[0]] if (match := FIELD.match(line))}
    rows = []
    for line in lines[heads[0] + 1 :]:
        row = numbers(line)
        if row is None:
            break
        rows.append(row)
    values = np.array(rows, float).reshape(-1, 5)
    if not len(values) or not np.isfinite(values).all() or (values[:, 3:] <= 0).any() or (values[:, 0] < 0).any():
        raise DatasetError(f"{path} has no boxes of frames, or some that are none.")
    return Track(fields, values[:, 0], values[:, 1:])


def numbers(line: str) -> list[float] | None:
    """The five numbers of a line; None where it has others."""
    try:
        row = [float(word) for word in line.split()]
    except ValueError:
        return None
    return row if len(row) == 5 else None


def track_files(lists: Path, what: str) -> Iterator[Path]:
    """The text files of tracks below a folder, sorted.

    Raises:
        DatasetError: there are none.
    """
    files = sorted(lists.rglob("*.txt")) if lists.is_dir() else []
    if not files:
        raise DatasetError(f"--lists: {lists} holds no text files; expected {what}.")
    yield from files


def cut_of(path: Path, name: str, video: str) -> Cut | LeftOut:
    """The clip of a text file: a still square that holds the face in all of its frames.

    Args:
        name: of the clip.
        video: what its video is called where the file does not say it.
    """
    try:
        track = read_track(path)
    except DatasetError as error:
        return LeftOut(name, str(error))
    video = track.fields.get("Reference") or track.fields.get("Ref") or video
    start, stop = float(track.frames.min()) / FPS, (float(track.frames.max()) + 1) / FPS
    box, lines = track.outline, track.lines
    return Cut(name, (video,), start, stop, box, lines, MARGIN, square="outer", fps=FPS, address=on_youtube(video))
