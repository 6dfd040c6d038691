"""VoxCeleb2, in its official folders or as a flat folder of its clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from talkingface.dataset.base import Clip, checked
from talkingface.dataset.folder import Folder, numbered, pair_name, rows, walk
from talkingface.dataset.pose import checked_pose, with_poses
from talkingface.dataset.split import split_by_speaker
from talkingface.errors import DatasetError
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
        pose: whose head motion the test clips follow: see `with_poses`.
        pose_list: text or CSV file of `video pose` a line: the test clips, and the videos whose head motion they follow.
    """

    line_format = "dev/mp4/<speaker>/<video>/<clip>.mp4"

    def __init__(
        self,
        root: Path | str = "dataset/voxceleb2",
        val_fraction: float = 0.05,
        test_fraction: float = 0.05,
        cross: bool = False,
        pose: str = "",
        pose_list: Path | str = "",
    ):
        super().__init__(root, val_fraction=val_fraction, test_fraction=test_fraction, cross=cross)
        self.pose_rule = checked_pose("voxceleb2.pose", pose)
        self.pose_list = Path(pose_list).expanduser() if pose_list else None

    def clips(self, split: str) -> list[Clip]:
        if split == "test" and self.pose_list:
            return checked(numbered([self.driven(line) for line in rows(self.pose_list)]))
        clips = super().clips(split)
        return with_poses(clips, self.pose_rule) if split == "test" else clips

    def driven(self, line: str) -> Clip:
        """The clip of a line 'video pose' of the pose list.

        Raises:
            DatasetError: the line is not so.
        """
        names = self.columns(line)
        if len(names) != 2:
            raise DatasetError(f"{getattr(line, 'where', self.pose_list)}: expected 'video pose', got {str(line)!r}.")
        video, pose = (self.path(name, line) for name in names)
        clip = self.found(video)
        return replace(clip, name=pair_name(clip.name, self.name(pose)), pose=pose)

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
