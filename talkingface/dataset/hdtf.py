"""HDTF, as its authors' lists cut and name the clips."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from talkingface.dataset.base import read_list
from talkingface.dataset.folder import Folder
from talkingface.errors import DatasetError
from talkingface.registry import DATASETS

log = logging.getLogger(__name__)

NAME = re.compile(r"(?P<part>RD|WDA|WRA)_(?P<video>.+)_(?P<number>\d+)")


@DATASETS.register("hdtf")
class HDTF(Folder):
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
        listed = listed_videos(self.video_lists)
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


def listed_videos(folder: Path) -> set[str]:
    """'<part>_<video>' of each line '<video> <url>' of the authors' three lists.

    Raises:
        DatasetError: none of the lists is in the folder, or a line is not as it should be.
    """
    videos = set()
    files = [(part, file) for part in ("RD", "WDA", "WRA") if (file := folder / f"{part}_video_url.txt").is_file()]
    if not files:
        raise DatasetError(f"{folder} holds no RD_video_url.txt, WDA_video_url.txt or WRA_video_url.txt. See dataset/README.md.")
    for part, file in files:
        for line in read_list(file):
            name, _, url = line.partition(" ")
            if not url:
                raise DatasetError(f"{line.where}: expected '<video> <url>', got {str(line)!r}.")
            videos.add(f"{part}_{name}")
    return videos
