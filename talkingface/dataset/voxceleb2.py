"""VoxCeleb2, in its official folders or as a flat folder of its clips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from talkingface.dataset.base import Clip, checked
from talkingface.dataset.cut import Cut, LeftOut, Listed
from talkingface.dataset.folder import Folder, numbered, pair_name, rows, walk
from talkingface.dataset.pose import checked_pose, with_poses
from talkingface.dataset.split import split_beside_test
from talkingface.dataset.tracks import cut_of, track_files
from talkingface.errors import DatasetError
from talkingface.registry import DATASETS

PARTS = ("dev", "test")


@DATASETS.register("voxceleb2", aliases=["vox2"])
class VoxCeleb2(Folder, Listed):
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
    left_out = (".",)  # names of videos are YouTube's, which may begin with "_"
    sounds = ("aac", ".m4a")  # folder and suffix of what is heard, beside mp4
    lists_are = "the folder txt of <speaker>/<video>/<clip>.txt"
    size = 224

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
        return sorted(chain.from_iterable(walk(folder, left_out=self.left_out) for folder in folders or [self.root]))

    def split(self, clips: Sequence[Clip]) -> dict[str, list[Clip]]:
        """The official test part where it is there besides others; else speakers by their hash."""
        return split_beside_test(clips, self.is_test, self.shares)

    def is_test(self, clip: Clip) -> bool:
        """Whether a clip is in the official test part."""
        return clip.name.startswith("test/")

    def speaker(self, video: Path) -> str:
        """The first folder below `{dev,test}/mp4`; the clip's own name if there is none."""
        name = self.name(video)
        parts = name.split("/")
        while len(parts) > 1 and parts[0] in (*PARTS, "mp4"):
            del parts[0]
        return parts[0]

    def sound(self, video: Path) -> Path:
        """The file in the official folder of sounds where it is there, else the clip itself."""
        folder, suffix = self.sounds
        parts = list(video.parts)
        if "mp4" in parts[len(self.root.parts) :]:
            parts[parts.index("mp4", len(self.root.parts))] = folder
            if (sound := Path(*parts).with_suffix(suffix)).is_file():
                return sound
        return video

    @classmethod
    def cuts(cls, lists: Path) -> Iterator[Cut | LeftOut]:
        """The clips of `[{dev,test}/][txt/]<speaker>/<video>/<clip>.txt`."""
        for path in track_files(lists, cls.lists_are):
            *folders, speaker, video, _ = ("", "", *path.relative_to(lists).parts)
            part = "".join(f"{folder}/" for folder in folders if folder in PARTS)
            yield cut_of(path, f"{part}mp4/{speaker}/{video}/{path.stem}", video)
