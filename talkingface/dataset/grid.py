"""GRID: sentences of six words, each said by one of 34 people."""

from __future__ import annotations

import re
from pathlib import Path

from talkingface.dataset.folder import Folder
from talkingface.registry import DATASETS

SPEAKER = re.compile(r"s\d{1,2}")
SOUND_FOLDERS = ("audio", "audio_25k", "wav", "")


@DATASETS.register("grid")
class GRID(Folder):
    """GRID: 33 people who are seen to say 1000 sentences each, 3 s at 25 fps (Cooke et al., 2006).

    `<speaker>/<sentence>.mpg`, as the archives unpack, with any folders between. Better sound may lie as
    `<speaker>/<sentence>.wav` below `audio` or `audio_25k`, or beside the video. There is no official split; speakers are dealt
    out by their hash.

    Args:
        root: the folder of s1, s2, ... s34 (of s21 there is no video).
        val_fraction: share of the speakers for validation.
        test_fraction: share of the speakers for test.
        cross: test clips say what the next test clip of another speaker says (there is no truth then).
    """

    line_format = "<speaker>/<sentence>.mpg"

    def __init__(
        self, root: Path | str = "dataset/grid", val_fraction: float = 0.1, test_fraction: float = 0.1, cross: bool = False
    ):
        super().__init__(root, val_fraction=val_fraction, test_fraction=test_fraction, cross=cross)

    def speaker(self, video: Path) -> str:
        """The folder s1, s2, ... that a video lies in; the first folder where there is no such one."""
        folders = self.name(video).split("/")[:-1]
        return next((name for name in folders if SPEAKER.fullmatch(name)), super().speaker(video))

    def sound(self, video: Path) -> Path:
        """The wav file of a sentence where there is one, else the video."""
        speaker = self.speaker(video)
        places = [self.root.joinpath(*pair) for names in SOUND_FOLDERS for pair in ((names, speaker), (speaker, names))]
        files = (folder / f"{video.stem}.wav" for folder in places)
        return next((file for file in files if file.is_file()), video)
