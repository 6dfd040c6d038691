"""HDTF, as its authors' lists cut and name the clips."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from talkingface.dataset.base import read_list
from talkingface.dataset.cut import Cut, LeftOut, Listed, seconds, table, youtube_id
from talkingface.dataset.folder import Folder
from talkingface.errors import DatasetError
from talkingface.registry import DATASETS

log = logging.getLogger(__name__)

PARTS = ("RD", "WDA", "WRA")
NAME = re.compile(r"(?P<part>RD|WDA|WRA)_(?P<video>.+)_(?P<number>\d+)")


@DATASETS.register("hdtf")
class HDTF(Folder, Listed):
    """HDTF: 16 h of radio interviews and weekly addresses, faces of 512 x 512 (Zhang et al., 2021).

    Clips are called `<part>_<video>_<number>.mp4`, with part RD, WDA or WRA, in any folder below the root. The speaker is
    the video's name: without a number at its end for addresses (BobCasey0 and BobCasey1 are one person), with it for radio
    (Radio1 and Radio2 are two).

    Args:
        root: the folder of clips.
        video_lists: folder of the authors' RD_video_url.txt, WDA_video_url.txt and WRA_video_url.txt: only clips of the
            videos in them are used, and videos without a clip are counted; "" = all clips.
        val_fraction: share of the speakers for validation.
        test_fraction: share of the speakers for test.
        cross: test clips say what the next test clip of another speaker says (there is no truth then).
    """

    line_format = "<RD|WDA|WRA>_<video>_<number>.mp4"
    lists_are = "RD_video_url.txt, RD_annotion_time.txt, RD_crop_wh.txt and so on"
    size = 512

    def __init__(
        self,
        root: Path | str = "dataset/hdtf",
        video_lists: Path | str = "",
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        cross: bool = False,
    ):
        super().__init__(root, val_fraction=val_fraction, test_fraction=test_fraction, cross=cross)
        self.video_lists = Path(video_lists).expanduser() if video_lists else None

    def videos(self) -> list[Path]:
        """All clips of the folder; with lists, those of listed videos."""
        videos = super().videos()
        if self.video_lists is None:
            return videos
        listed = {f"{part}_{name}" for part, names in url_lists(self.video_lists).items() for name in names}
        of = {video: "_".join(self.parts(video)) for video in videos}
        if absent := sorted(listed - set(of.values())):
            counts = f"{len(absent)} of the {len(listed)} listed videos"
            log.warning("%s have no clip in %s; the first is %s.", counts, self.root, absent[0])
        return [video for video in videos if of[video] in listed]

    def speaker(self, video: Path) -> str:
        """The person that the file name names."""
        part, name = self.parts(video)
        return f"{part}_{name}" if part == "RD" else name.rstrip("0123456789") or name

    def parts(self, video: Path) -> tuple[str, str]:
        """Part and video name of a clip.

        Raises:
            DatasetError: the file is not named as HDTF names its clips.
        """
        if not (match := NAME.fullmatch(video.stem)):
            raise DatasetError(f"{video}: expected a name like '{self.line_format}'; --dataset=folder takes any name.")
        return match["part"], match["video"]

    @classmethod
    def cuts(cls, lists: Path) -> Iterator[Cut | LeftOut]:
        """The clips of the authors' lists, those of each part in turn."""
        for part, addresses in url_lists(lists, "--lists").items():
            times, crops, ratios, heights = (
                table(path) if (path := lists / f"{part}_{kind}.txt").is_file() else {}
                for kind in ("annotion_time", "crop_wh", "crop_ratio", "resolution")
            )
            for name, address in addresses.items():
                yield from cuts_of(part, name, address, times, crops or ratios, heights)


def url_lists(folder: Path, setting: str = "") -> dict[str, dict[str, str]]:
    """Part -> {video: address}, of the lines '<video> <url>' of the authors' three lists.

    Raises:
        DatasetError: none of the lists is in the folder, or a line is not as it should be.
    """
    files = {part: file for part in PARTS if (file := folder / f"{part}_video_url.txt").is_file()}
    if not files:
        named = f"{setting}: {folder}" if setting else str(folder)
        raise DatasetError(f"{named} holds no RD_video_url.txt, WDA_video_url.txt or WRA_video_url.txt. See dataset/README.md.")
    found: dict[str, dict[str, str]] = {}
    for part, file in files.items():
        for line in read_list(file):
            name, _, address = line.partition(" ")
            if not address:
                raise DatasetError(f"{line.where}: expected '<video> <url>', got {str(line)!r}.")
            found.setdefault(part, {})[name.removesuffix(".mp4")] = address.strip()
    return found


Table = Mapping[str, Sequence[str]]


def cuts_of(part: str, name: str, address: str, times: Table, crops: Table, heights: Table) -> Iterator[Cut | LeftOut]:
    """The clips of one video.

    Args:
        times: video -> 'start-stop' of each clip.
        crops: clip -> x, width, y and height: pixels of a video of the listed height, or fractions of it.
        heights: video -> the height that crops are measured in, in pixels.
    """
    spans = times.get(f"{name}.mp4") or times.get(name) or ()
    if not spans:
        yield LeftOut(f"{part}_{name}", f"{part}_annotion_time.txt has no times of {name}.mp4", address)
    height = next(iter(heights.get(f"{name}.mp4") or heights.get(name) or ()), "")
    for number, span in enumerate(spans):
        clip = f"{part}_{name}_{number:03d}"
        crop = crops.get(f"{name}_{number}.mp4") or crops.get(f"{name}_{number}") or ()
        try:
            start, stop = (seconds(time) for time in span.split("-"))
            x, width, y, high = in_order([float(value) for value in crop])
            lines = 0 if max(x + width, y + high) <= 1.01 else int(height) if height else -1
            if not (start < stop and min(x, y) >= 0 and min(width, high) > 0):
                raise ValueError(crop)
        except ValueError:
            yield LeftOut(clip, f"its lists say time {span!r}, crop {' '.join(crop)!r} and height {height!r}", address)
            continue
        videos = tuple(filter(None, (f"{part}_{name}", f"{part}/{name}", name, youtube_id(address))))
        yield Cut(clip, videos, start, stop, (x, y, x + width, y + high), lines, address=address)


def in_order(crop: list[float]) -> tuple[float, float, float, float]:
    """The four numbers of a crop as x, width, y, height: the lists' order, unless it is plainly x, y, width, height.

    Raises:
        ValueError: there are not four.
    """
    first, second, third, fourth = crop
    if third == fourth != second:  # the crops of HDTF are squares
        return first, third, second, fourth
    return first, second, third, fourth
