"""LRW, Lip Reading in the Wild: clips of one word each, as they are distributed or as DAVS's authors prepare them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from talkingface.dataset.base import SPLITS, Clip, ClipDataset, checked
from talkingface.dataset.classes import natural
from talkingface.dataset.folder import VIDEOS
from talkingface.errors import DatasetError
from talkingface.registry import DATASETS

SPEECH = "mfcc20"  # the folder of speech windows in a prepared clip
DISTRIBUTED = "lipread_mp4"  # the folder in LRW's archives

log = logging.getLogger(__name__)


@DATASETS.register("lrw")
class LRW(ClipDataset):
    """LRW: 500 words of BBC television, up to 1000 clips of 29 frames each (Chung and Zisserman, 2016).

    As distributed, `<WORD>/{train,val,test}/<WORD>_<number>.mp4`, perhaps below `lipread_mp4`. As DAVS's authors prepare it,
    `{train,val,test}/<class>/<video>/{align_face256/<frame>.jpg, mfcc20/<frame>.bin}`; a video may also lie there as a file.
    The class says which word it is; who speaks is not known.

    Args:
        root: the folder of the words, or of train, val and test.
        image_block_name: folder of the aligned faces in a prepared clip.
    """

    line_format = "<WORD>/train/<WORD>_00001"

    def __init__(self, root: Path | str = "dataset/lrw", image_block_name: str = "align_face256"):
        super().__init__(root)
        self.faces = image_block_name

    def clips(self, split: str) -> list[Clip]:
        """The clips of a split: those of `filelist/<split>.txt` where there is one, else all, by class and by name.

        Raises:
            DatasetError: the data set or this split of it is not there, a class folder is a clip itself, or no clip is there.
        """
        self.check_root()
        if (self.root / "filelist" / f"{split}.txt").is_file():
            return super().clips(split)
        clips = [clip for folder, word in self.words(split) for clip in self.of_word(folder, word)]
        if not clips:
            raise DatasetError(f"{self.root} holds no {split} clip of any word. See dataset/README.md.")
        single = sorted(word for word, count in Counter(clip.word or "" for clip in clips).items() if count == 1)
        if split == "train" and single:
            named = ", ".join(single[:3]) + (", ..." if len(single) > 3 else "")
            log.warning("%s: %d of the words have but one video to learn from: %s.", self.root, len(single), named)
        return checked(clips)

    def clip(self, line: str) -> Clip:
        """The clip of '<WORD>/train/<WORD>_00001' or 'train/<class>/<video>'; the suffix may be left out."""
        first, second, name = line.split("/")
        if (first in SPLITS) == (second in SPLITS):
            raise ValueError(line)
        path = self.top / line
        files = (path, *(path.with_name(name + suffix) for suffix in VIDEOS))
        return self.found(next((file for file in files if file.exists()), path.with_name(f"{name}.mp4")))

    @property
    def top(self) -> Path:
        """The folder of the words, or of train, val and test."""
        return self.root / DISTRIBUTED if (self.root / DISTRIBUTED).is_dir() else self.root

    def words(self, split: str) -> Iterator[tuple[Path, str]]:
        """The folders with clips of one word, and the word, in the order of the words.

        Raises:
            DatasetError: there is no such split.
        """
        if any((self.top / name).is_dir() for name in SPLITS):
            if not (self.top / split).is_dir():
                raise DatasetError(
                    f"{self.top / split} does not exist: it should hold a folder of each class. See dataset/README.md."
                )
            yield from ((folder, folder.name) for folder in folders(self.top / split))
            return
        yield from ((folder / split, folder.name) for folder in folders(self.top) if (folder / split).is_dir())

    def of_word(self, folder: Path, word: str) -> Iterator[Clip]:
        """The clips in a folder, prepared or not."""
        if any((folder / name).is_dir() for name in (self.faces, SPEECH)):
            example = folder / "0" / self.faces
            raise DatasetError(
                f"{folder} holds {self.faces} or {SPEECH} itself: a class is a folder of videos, such as {example}."
            )
        for video in sorted(folder.iterdir(), key=lambda path: natural(path.name)):
            is_clip = video.is_dir() or video.suffix.lower() in VIDEOS
            if is_clip and not video.name.startswith((".", "_")):
                yield self.found(video)

    def found(self, video: Path) -> Clip:
        """The clip of a video file, or of a prepared folder."""
        one, other = video.relative_to(self.top).parts[:2]
        split, word = (one, other) if one in SPLITS else (other, one)
        if video.suffix.lower() in VIDEOS:
            return Clip(f"{split}/{word}/{video.stem}", video, video, truth=video, word=word)
        faces = video / self.faces
        return Clip(f"{split}/{word}/{video.name}", faces, video / SPEECH, truth=faces, word=word)


def folders(folder: Path) -> list[Path]:
    """The folders in a folder, in natural order of their names; what starts with "." or "_" is left out."""
    found = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "_"))]
    return sorted(found, key=lambda path: natural(path.name))
