"""Who is to say what: pairs of a talking video and speech, as VideoReTalking is run and scored."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from talkingface.dataset.base import Clip, checked
from talkingface.dataset.folder import SOUNDS, VIDEOS, Folder, add_suffix, numbered, pair_name
from talkingface.errors import ConfigError, DatasetError
from talkingface.media.image import SUFFIXES as PICTURES
from talkingface.registry import DATASETS

log = logging.getLogger(__name__)

PROTOCOLS = ("unpaired", "paired")
LIST = "pairs.txt"  # in the root


@DATASETS.register("video_retalking")
class VideoReTalkingPairs(Folder):
    """Pairs of a talking video (or a still) and speech: the test clips. Training clips are the videos of the folder.

    The pairs are the first of these that is there: the lines `video audio` of a list; the files of the same name in
    <root>/face and <root>/audio, as in the authors' examples; the test videos of the folder with their own speech (paired)
    or that of the next one of another speaker (unpaired).

    Args:
        root: the folder; paths in lists are relative to it, or else to the list's own folder.
        pair_list: text or CSV file of `video audio` a line; "" = <root>/pairs.txt, where there is one.
        protocol: "unpaired" = the speech is another clip's, as in the paper, and there is no truth; "paired" = it is the
            video's own (a line may leave it out), and the video is the truth.
        val_fraction: share of the speakers for validation.
        test_fraction: share of the speakers for test.

    Raises:
        ConfigError: `protocol` or a fraction is out of range.
    """

    def __init__(
        self,
        root: Path | str = "dataset/video_retalking",
        pair_list: Path | str = "",
        protocol: str = "unpaired",
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
    ):
        if protocol not in PROTOCOLS:
            raise ConfigError(f"video_retalking.protocol: expected one of {', '.join(PROTOCOLS)}, got {protocol!r}.")
        self.is_paired = protocol == "paired"
        super().__init__(
            root, pair_list=pair_list, val_fraction=val_fraction, test_fraction=test_fraction, cross=not self.is_paired
        )
        if self.pair_list is None and (self.root / LIST).is_file():
            self.pair_list = self.root / LIST

    def clips(self, split: str) -> list[Clip]:
        """The clips of a split.

        Raises:
            DatasetError: no folder, no video in it, a list that is not as it should be, or nothing that could be said.
        """
        if split != "test" or self.pair_list:
            return super().clips(split)
        self.check_root()
        if (self.root / "face").is_dir() and (self.root / "audio").is_dir():
            return checked(numbered(self.of_one_name()))
        if self.cross and len(self.splits["test"]) == 1:
            only = self.splits["test"][0].name
            others = f"give speech in {self.root / LIST}, or compare it with itself: --video_retalking.protocol=paired"
            raise DatasetError(f"{self.root} has one test video, {only!r}, and nothing else for it to say: {others}.")
        return super().clips(split)

    def pair(self, line: str) -> Clip:
        """The clip of 'video audio'; in the paired protocol, of 'video' too."""
        names = self.columns(line)
        if len(names) not in ((1, 2) if self.is_paired else (2,)):
            raise ValueError(line)
        video = self.path(names[0], line)
        return self.said(video, self.path(names[1], line) if len(names) == 2 else video)

    def of_one_name(self) -> list[Clip]:
        """A clip of each face that has a sound file of its name; the others are counted in a warning."""
        faces = sorted(path for path in (self.root / "face").iterdir() if path.suffix.lower() in (*VIDEOS, *PICTURES))
        stems = {face: self.root / "audio" / face.stem for face in faces}
        sounds = {face: next((s for end in SOUNDS if (s := add_suffix(stems[face], end)).is_file()), None) for face in faces}
        if not any(sounds.values()):
            raise DatasetError(f"no face in {self.root / 'face'} has a sound file of its name in {self.root / 'audio'}.")
        if mute := [face.name for face in faces if sounds[face] is None]:
            where = self.root / "audio"
            log.warning("left out: %d of %d faces have no sound of their name in %s: %s", len(mute), len(faces), where, mute[0])
        return [self.said(face, sound) for face, sound in sounds.items() if sound is not None]

    def said(self, face: Path, speech: Path) -> Clip:
        """A face and what it says."""
        clip = self.found(face)
        name = clip.name if speech == face else pair_name(clip.name, self.name(speech))
        return replace(
            clip, name=name, audio=speech, truth=face if self.is_paired and face.suffix.lower() not in PICTURES else None
        )
