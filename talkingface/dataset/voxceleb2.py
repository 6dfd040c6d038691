"""VoxCeleb2, in its official folders or as a flat folder of its clips."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from talkingface.dataset.base import Clip
from talkingface.dataset.folder import Folder, walk
from talkingface.dataset.split import split_by_speaker
from talkingface.registry import DATASETS

PARTS = ("dev", "test")


@DATASETS.register("voxceleb2", aliases=["vox2"])
class VoxCeleb2(Folder):
    """VoxCeleb2: interviews of 6112 celebrities, cropped to 224 x 224 faces at 25 fps (Chung et al., 2018).

    Officially `{dev,test}/mp4/<speaker>/<video>/<clip>.mp4`, with sound in the clip or in `{dev,test}/aac/.../<clip>.m4a`.
    Where both parts are there, the test split is the official one, and validation takes its share of dev's speakers.
    Any other folder is searched: the first folder below it names the speaker, a clip outside of one is its own speaker.

    Args:
        root: the folder of dev and test, or of clips.
        val_fraction: share of the speakers for validation.
        test_fraction: share of the speakers for test, where the official test part is absent.
        cross: test clips say what the next test clip of another speaker says (there is no truth then).
    """

    line_format = "dev/mp4/<speaker>/<video>/<clip>.mp4"

    def __init__(
        self, root: Path | str = "dataset/voxceleb2", val_fraction: float = 0.05, test_fraction: float = 0.05, cross: bool = False
    ):
        super().__init__(root, val_fraction=val_fraction, test_fraction=test_fraction, cross=cross)

    def videos(self) -> list[Path]:
        """The clips of the official folders, or all videos below the root where there are none."""
        folders = [folder for folder in (*(self.root / part / "mp4" for part in PARTS), self.root / "mp4") if folder.is_dir()]
        return sorted(chain.from_iterable(walk(folder) for folder in folders or [self.root]))

    def split(self, clips: Sequence[Clip]) -> dict[str, list[Clip]]:
        """The official test part where it is there besides dev; else speakers by their hash."""
        dev, test = ([clip for clip in clips if clip.name.startswith(f"{part}/")] for part in PARTS)
        if not dev or not test:
            return super().split(clips)
        val = self.shares["val"]
        return {**split_by_speaker(dev, {"train": 1 - val, "val": val}), "test": test}

    def speaker(self, video: Path) -> str:
        """The first folder below `{dev,test}/mp4`; the clip's own name if there is none."""
        name = self.name(video)
        parts = name.split("/")
        while len(parts) > 1 and parts[0] in (*PARTS, "mp4"):
            del parts[0]
        return parts[0]

    def sound(self, video: Path) -> Path:
        """The m4a file of the official aac folder where it is there, else the clip itself."""
        parts = list(video.parts)
        if "mp4" in parts[len(self.root.parts) :]:
            parts[parts.index("mp4", len(self.root.parts))] = "aac"
            if (sound := Path(*parts).with_suffix(".m4a")).is_file():
                return sound
        return video
