"""LRS2, with its official file lists, and Wav2Lip's evaluation pairs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from talkingface.dataset.base import Clip, ClipDataset, checked, read_list
from talkingface.dataset.folder import numbered, pair_name
from talkingface.errors import DatasetError
from talkingface.registry import DATASETS


@DATASETS.register("lrs2")
class LRS2(ClipDataset):
    """LRS2: 48 000 sentences of BBC television, 160 x 160 at 25 fps (Afouras et al., 2018).

    `mvlrs_v1/main/<programme>/<clip>.mp4`; a line of a list is `<programme>/<clip>`, and what follows a blank is ignored.
    LRS2 does not say who speaks: the programme stands for the speaker, and the official splits are used as they are.

    Args:
        root: the folder that holds `mvlrs_v1`, or `mvlrs_v1` itself, or its `main`.
        filelists: folder of train.txt, val.txt and test.txt; "" = the first of `filelist`, `filelists` or nothing below the
            root, or beside `main`, that holds the list.
        pair_list: list of `<audio clip> <video clip>` a line, such as Wav2Lip's test_filelists/lrs2.txt: the test clips, where
            the speech of one clip drives the face of another, without truth; "" = the official test list.
    """

    line_format = "<programme>/<clip>"

    def __init__(self, root: Path | str = "dataset/lrs2", filelists: Path | str = "", pair_list: Path | str = ""):
        super().__init__(root)
        self.filelists, self.pair_list = (Path(p).expanduser() if p else None for p in (filelists, pair_list))

    @cached_property
    def main(self) -> Path:
        """The folder of programmes.

        Raises:
            DatasetError: there is no root.
        """
        self.check_root()
        candidates = (self.root / "mvlrs_v1" / "main", self.root / "main")
        return next((folder for folder in candidates if folder.is_dir()), self.root)

    def lines(self, split: str) -> Sequence[str]:
        """The lines of a split's official list.

        Raises:
            DatasetError: the list is not there; the message names all places where it may be.
        """
        folders = [self.filelists] if self.filelists else self.list_folders()
        files = [folder / f"{split}.txt" for folder in folders]
        for file in files:
            if file.is_file():
                return read_list(file)
        places = ", ".join(str(file) for file in files)
        raise DatasetError(f"no {split} list: expected lines '{self.line_format}' in one of {places}. See dataset/README.md.")

    def list_folders(self) -> list[Path]:
        """Where lists may be, in the order in which they are looked for."""
        homes = dict.fromkeys((self.root, self.main.parent, self.main))
        return [home / folder for home in homes for folder in ("filelist", "filelists", "")]

    def clips(self, split: str) -> list[Clip]:
        """The clips of an official split; the pairs as the test split, if there is a list of pairs."""
        if split == "test" and self.pair_list:
            return checked(numbered([self.pair_of(line) for line in read_list(self.pair_list)]))
        return super().clips(split)

    def clip(self, line: str) -> Clip:
        """The clip of '<programme>/<clip>', anything after a blank ignored."""
        programme, name = line.split()[0].split("/")
        name = name.removesuffix(".mp4")
        if not programme or not name:
            raise ValueError(line)
        video = self.main / programme / f"{name}.mp4"
        return Clip(name=f"{programme}/{name}", face=video, audio=video, truth=video, speaker=programme)

    def pair_of(self, line: str) -> Clip:
        """The clip of '<audio clip> <video clip>': the face of the second says what the first says."""
        fields = line.split()
        if len(fields) != 2 or any(field.count("/") != 1 for field in fields):
            where = getattr(line, "where", self.pair_list)
            raise DatasetError(f"{where}: expected '<audio clip> <video clip>', each '{self.line_format}', got {str(line)!r}.")
        speech, face = (self.clip(field) for field in fields)
        return Clip(name=pair_name(face.name, speech.name), face=face.face, audio=speech.audio, speaker=face.speaker)
