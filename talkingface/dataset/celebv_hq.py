"""CelebV-HQ, as its list of times and crops names the clips."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from talkingface.dataset.cut import Cut, LeftOut, Listed, on_youtube
from talkingface.dataset.folder import Folder
from talkingface.errors import DatasetError
from talkingface.registry import DATASETS

INFO = "celebvhq_info.json"
MARGIN = 0.02  # by which the authors' script makes boxes larger, in parts of the frame


@DATASETS.register("celebv_hq", aliases=["celebvhq"])
class CelebVHQ(Folder, Listed):
    """CelebV-HQ: 35 666 clips of 3 to 20 s from videos of celebrities, faces of 512 x 512 or more (Zhu et al., 2022).

    `<video>_<number>.mp4`, in any folder below the root. The list does not say who speaks: the YouTube video stands for the
    speaker, and videos are dealt out by their hash. One person may be in several videos.

    Args:
        root: the folder of clips.
        val_fraction: share of the videos for validation.
        test_fraction: share of the videos for test.
        cross: test clips say what the next test clip of another video says (there is no truth then).
    """

    line_format = "<video>_<number>.mp4"
    left_out = (".",)  # names of videos are YouTube's, which may begin with "_"
    lists_are = INFO
    size = 512

    def __init__(
        self, root: Path | str = "dataset/celebv_hq", val_fraction: float = 0.05, test_fraction: float = 0.05, cross: bool = False
    ):
        super().__init__(root, val_fraction=val_fraction, test_fraction=test_fraction, cross=cross)

    def speaker(self, video: Path) -> str:
        """The YouTube video that a clip is of."""
        match = re.fullmatch(r"(.+)_\d+", video.stem)
        return match[1] if match else super().speaker(video)

    @classmethod
    def cuts(cls, lists: Path) -> Iterator[Cut | LeftOut]:
        """The clips of celebvhq_info.json, given as the file or its folder."""
        path = lists / INFO if lists.is_dir() else lists
        try:
            clips = json.loads(path.read_text(encoding="utf-8"))["clips"].items()
        except OSError as error:
            raise DatasetError(f"--lists: {path}: {error.strerror}; expected {INFO} or its folder.") from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DatasetError(f"--lists: {path} is damaged: it should hold the clips under 'clips'.") from error
        for name, entry in clips:
            yield cut_of(str(name), entry)


def cut_of(name: str, entry: Any) -> Cut | LeftOut:
    """The clip of one entry of the list: a square, as the authors' script cuts it."""
    try:
        video, times, box = str(entry["ytb_id"]), entry["duration"], entry["bbox"]
        start, stop = float(times["start_sec"]), float(times["end_sec"])
        x1, y1, x2, y2 = (float(box[side]) for side in ("left", "top", "right", "bottom"))
    except (KeyError, TypeError, ValueError):
        return LeftOut(name, "its entry has no ytb_id, duration (start_sec, end_sec) and bbox (left, top, right, bottom)")
    if not (0 <= start < stop and x1 < x2 and y1 < y2 and re.fullmatch(r"[-\w]+", name)):
        return LeftOut(name, "its entry has no name, time or crop that makes sense", on_youtube(video))
    return Cut(name, (video,), start, stop, (x1, y1, x2, y2), margin=MARGIN, square="inner", address=on_youtube(video))
