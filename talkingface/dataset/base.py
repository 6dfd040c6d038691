"""Clip: who speaks, what is said, how the head moves. ClipDataset: where the clips of a data set are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from talkingface.errors import DatasetError
from talkingface.registry import DATASETS

SPLITS = ("train", "val", "test")
MAPPED = 256  # clips whose features stay mapped at once; each keeps files open

F = TypeVar("F")


@dataclass(frozen=True)
class Clip:
    """One clip: paths only, nothing is read until it is asked for.

    Args:
        name: unique within its data set; may contain "/", names its files in a run folder.
        face: the video or still that shows who speaks.
        audio: what is said: a sound file or a video with sound.
        pose: the video whose head motion is followed, for models that follow one.
        truth: the real video that a generated one is compared with.
        speaker: who speaks; splits never share a speaker.
        prepared: the folder of the features that a model's `prepare` made of this clip.
        word: what is said, where the whole clip is one word of a known list.
    """

    name: str
    face: Path
    audio: Path
    pose: Path | None = None
    truth: Path | None = None
    speaker: str | None = None
    prepared: Path | None = None
    word: str | None = None

    def with_prepared(self, folder: Path) -> Clip:
        """The same clip, knowing where its features are."""
        return replace(self, prepared=folder)


class Line(str):
    """One line of a list file, which knows where it stands.

    Attributes:
        where: for messages, such as "dataset/lrs2/filelist/val.txt, line 12".
    """

    where: str

    def __new__(cls, text: str, where: str) -> Line:
        line = super().__new__(cls, text)
        line.where = where
        return line


def read_list(path: Path) -> list[Line]:
    """The lines of a UTF-8 text file, stripped; blank lines and lines that start with '#' are left out.

    Raises:
        DatasetError: the file cannot be read, or is not text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        message = f"{path}: {error.strerror}; it should be a text file with one clip a line. See dataset/README.md."
        raise DatasetError(message) from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not UTF-8 text; it should name one clip a line. See dataset/README.md.") from error
    lines = [Line(line.strip(), f"{path}, line {number}") for number, line in enumerate(text.splitlines(), start=1)]
    return [line for line in lines if line and not line.startswith("#")]


class ClipDataset(ABC):
    """A named collection of clips, split into train, val and test.

    A data set of your own overrides `clip`; the file lists `<root>/filelist/{train,val,test}.txt` hold one clip a line.

    Args:
        root: the data set's folder.

    Attributes:
        line_format: what a line of a file list should look like, for messages; 'speaker/clip', say.
    """

    line_format: str = "one clip"

    def __init__(self, root: Path | str):
        self.root = Path(root).expanduser()

    @abstractmethod
    def clip(self, line: str) -> Clip:
        """The clip that one line of a file list names.

        Raises:
            ValueError: the line is not as `line_format` says; the message to the user names the file and the line.
        """

    def lines(self, split: str) -> Sequence[str]:
        """The lines of a split's file list: blank lines and lines that start with '#' are left out.

        Raises:
            DatasetError: there is no such list.
        """
        self.check_root()
        path = self.root / "filelist" / f"{split}.txt"
        if not path.is_file():
            raise DatasetError(f"{path} does not exist: it should name one {split} clip a line. See dataset/README.md.")
        return read_list(path)

    def clips(self, split: str) -> list[Clip]:
        """The clips of 'train', 'val' or 'test', in the order of their list.

        Raises:
            DatasetError: the data set is not there, a line is not as it should be, or none of the clips is on this disk.
        """
        return checked([self.parse(line, self.clip) for line in self.lines(split)])

    def parse(self, line: str, clip: Callable[[str], Clip]) -> Clip:
        """Apply `clip` to a line; what it cannot read becomes an error that names the file, the line and the format."""
        try:
            return clip(line)
        except ValueError as error:
            where = getattr(line, "where", type(self).__name__)
            raise DatasetError(f"{where}: expected '{self.line_format}', got {str(line)!r}.") from error

    def check_root(self) -> None:
        """Refuse a root that is not a folder.

        Raises:
            DatasetError: naming the folder, the setting that moves it, and where to read what belongs there.
        """
        if not self.root.is_dir():
            name = next((name for name, cls in DATASETS.items() if cls is type(self)), type(self).__name__)
            what = "is not a folder" if self.root.exists() else "does not exist"
            raise DatasetError(f"{self.root} {what}; put the clips there or set --{name}.root. See dataset/README.md.")

    def build(self) -> None:  # noqa: B027 - nothing to do is the rule
        """Make what can be made on the spot (the demo world); most data sets have nothing to do here."""


def checked(clips: list[Clip]) -> list[Clip]:
    """The clips as they are, if names are unique and at least one clip is on this disk.

    A single missing file is no error here: its clip is set aside, with a reason, when it is prepared or scored.

    Raises:
        DatasetError: a name occurs twice, or not one video is there.
    """
    counts = Counter(clip.name for clip in clips)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise DatasetError(f"the clip {twice[0]!r} is listed {counts[twice[0]]} times; each clip should be listed once.")
    if clips and not any(clip.face.exists() for clip in clips):
        raise DatasetError(f"none of the {len(clips)} clips is there, the first is {clips[0].face}. See dataset/README.md.")
    return clips


class Samples(ABC):
    """What a stage eats: training samples cut from prepared clips.

    All chance comes from the generator that `sample` is given, so a sample is a function of (seed, epoch, index) alone:
    this is what makes a resumed training continue bit for bit. Return uint8 where you can and convert on the device.
    """

    @abstractmethod
    def __len__(self) -> int:
        """Samples per epoch."""

    @abstractmethod
    def sample(self, index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """One sample: name -> array. Samples of one batch have equal shapes and are stacked on a new first axis."""


class ClipSamples(Samples, Generic[F]):
    """Samples that are cut from the features of prepared clips; those of some hundred clips stay mapped from the disk.

    As many per epoch as there are clips, times `per_clip`; at least two, for the norms.

    Args:
        folders: of the prepared clips' features.
        open_features: maps the features in a folder; a function that can be sent to a process.
        per_clip: samples of each clip per epoch.
    """

    def __init__(self, folders: Sequence[Path], open_features: Callable[[Path], F], per_clip: int = 1):
        self.folders, self.open_features, self.per_clip = list(folders), open_features, per_clip
        self._opened: dict[int, F] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": {}}  # what is sent to a process must not carry the mapped files

    def __len__(self) -> int:
        return max(2, len(self.folders) * self.per_clip) if self.folders else 0

    def features(self, index: int) -> F:
        """The features of the clip that a sample is cut from."""
        index %= len(self.folders)
        if index not in self._opened:
            if len(self._opened) >= MAPPED:
                self._opened.pop(next(iter(self._opened)))
            self._opened[index] = self.open_features(self.folders[index])
        return self._opened[index]


def prepared_folders(clips: Sequence[Clip]) -> list[Path]:
    """Where the features of prepared clips are."""
    return [clip.prepared for clip in clips if clip.prepared is not None]
