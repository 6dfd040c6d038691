"""LRS3, in its official folders, or cut from its lists."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from talkingface.dataset.base import Clip
from talkingface.dataset.cut import Cut, LeftOut, Listed
from talkingface.dataset.folder import Folder, walk
from talkingface.dataset.split import split_beside_test
from talkingface.dataset.tracks import cut_of, track_files
from talkingface.errors import DatasetError
from talkingface.registry import DATASETS

PARTS = ("pretrain", "trainval", "test")


@DATASETS.register("lrs3")
class LRS3(Folder, Listed):
    """LRS3: 150 000 sentences of TED and TEDx talks, faces of 224 x 224 at 25 fps (Afouras et al., 2018).

    `{pretrain,trainval,test}/<talk>/<clip>.mp4`. The talk stands for the speaker. The test split is the official one; validation
    takes its share of the talks of the other parts, so that no talk is in both.

    Args:
        root: the folder of pretrain, trainval and test.
        pretrain: train on that part too.
        val_fraction: share of the talks for validation.
        test_fraction: share of the talks for test, where the official test part is absent.
        cross: test clips say what the next test clip of another talk says (there is no truth then).
    """

    line_format = "trainval/<talk>/<clip>.mp4"
    left_out = (".",)  # names of talks are YouTube's, which may begin with "_"
    lists_are = "the folders pretrain, trainval and test of <talk>/<clip>.txt"
    size = 224

    def __init__(
        self,
        root: Path | str = "dataset/lrs3",
        pretrain: bool = False,
        val_fraction: float = 0.05,
        test_fraction: float = 0.05,
        cross: bool = False,
    ):
        super().__init__(root, val_fraction=val_fraction, test_fraction=test_fraction, cross=cross)
        self.parts = PARTS if pretrain else PARTS[1:]

    def videos(self) -> list[Path]:
        """The clips of the official folders.

        Raises:
            DatasetError: there are none.
        """
        folders = [folder for part in self.parts if (folder := self.root / part).is_dir()]
        if not folders:
            raise DatasetError(f"{self.root} holds no folder {' or '.join(self.parts)}. See dataset/README.md.")
        return sorted(chain.from_iterable(walk(folder, left_out=self.left_out) for folder in folders))

    def speaker(self, video: Path) -> str:
        """The talk."""
        parts = self.name(video).split("/")
        return parts[1] if parts[0] in PARTS and len(parts) > 2 else parts[0]

    def split(self, clips: Sequence[Clip]) -> dict[str, list[Clip]]:
        """The official test part where it is there besides others; else talks by their hash."""
        return split_beside_test(clips, lambda clip: clip.name.startswith("test/"), self.shares)

    @classmethod
    def cuts(cls, lists: Path) -> Iterator[Cut | LeftOut]:
        """The clips of `{pretrain,trainval,test}/<talk>/<clip>.txt`."""
        for path in track_files(lists, cls.lists_are):
            *folders, talk, _ = path.relative_to(lists).parts
            part = next((folder for folder in reversed(folders) if folder in PARTS), "trainval")
            yield cut_of(path, f"{part}/{talk}/{path.stem}", talk)
