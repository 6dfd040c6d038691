"""Any folder of videos, or lists of them."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from talkingface.dataset.base import SPLITS, Clip, ClipDataset, Line, checked, read_list
from talkingface.dataset.split import fractions, split_by_speaker
from talkingface.errors import ConfigError, DatasetError
from talkingface.registry import DATASETS

VIDEOS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".flv", ".wmv", ".ogv", ".3gp")
SOUNDS = (".wav", ".m4a", ".aac", ".mp3", ".flac", ".ogg", ".opus", *VIDEOS)


@DATASETS.register("folder")
class Folder(ClipDataset):
    """Any folder of videos: the splits come from file lists where there are some, else from a hash of the speaker.

    Left out of a folder: what starts with "." or "_", and the sub-folder "prepared".

    Args:
        root: the folder; paths in lists are relative to it, or else to the list's own folder.
        recursive: also look into sub-folders.
        audio: "" = each video's own sound; a folder = the sound files of the same relative name; a sound file = what
            every test clip says instead of its own (there is no truth then).
        clip_list: text or CSV file of `video` or `video audio` a line, instead of all videos of the folder.
        pair_list: text or CSV file of `video audio` a line: the test clips, where the audio is of another clip.
        speakers: "folder" = the first sub-folder names the speaker, a video outside of one is its own; "clip" = every
            clip is its own.
        val_fraction: share of the speakers for validation.
        test_fraction: share of the speakers for test.
        cross: test clips say what the next test clip of another speaker says (there is no truth then).

    Raises:
        ConfigError: `speakers` or a fraction is out of range.
    """

    line_format = "video' or 'video audio"
    left_out: tuple[str, ...] = (".", "_")  # names that begin so are no clips

    def __init__(
        self,
        root: Path | str = "dataset/folder",
        recursive: bool = True,
        audio: Path | str = "",
        clip_list: Path | str = "",
        pair_list: Path | str = "",
        speakers: str = "folder",
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        cross: bool = False,
    ):
        super().__init__(root)
        if speakers not in ("folder", "clip"):
            raise ConfigError(f"speakers={speakers!r}: expected 'folder' or 'clip'.")
        self.recursive, self.speakers, self.cross = recursive, speakers, cross
        self.audio, self.clip_list, self.pair_list = (Path(p).expanduser() if p else None for p in (audio, clip_list, pair_list))
        self.shares = fractions(val_fraction, test_fraction)

    def clips(self, split: str) -> list[Clip]:
        """The clips of a split.

        Raises:
            DatasetError: no folder, no video in it, a list that is not as it should be, or a missing sound file.
        """
        if split == "test" and self.pair_list:
            return checked(numbered([self.parse(line, self.pair) for line in rows(self.pair_list)]))
        has_lists = any((self.root / "filelist" / f"{name}.txt").is_file() for name in SPLITS)
        clips = super().clips(split) if has_lists else self.splits[split]
        if split == "test" and self.audio and not self.audio.is_dir():
            return [replace(clip, audio=self.audio, truth=None) for clip in clips]
        return crossed(clips) if split == "test" and self.cross else clips

    def clip(self, line: str) -> Clip:
        """The clip of 'video' or 'video audio'; quote a path with blanks, or write CSV."""
        names = self.columns(line)
        if len(names) not in (1, 2):
            raise ValueError(line)
        clip = self.found(self.path(names[0], line))
        return replace(clip, audio=self.path(names[1], line)) if len(names) == 2 else clip

    def pair(self, line: str) -> Clip:
        """The clip of 'video audio', where the speech is not the video's: there is no truth."""
        video, audio = self.columns(line)
        clip, speech = self.found(self.path(video, line)), self.path(audio, line)
        return replace(clip, name=pair_name(clip.name, self.name(speech)), audio=speech, truth=None)

    @cached_property
    def splits(self) -> dict[str, list[Clip]]:
        """Split -> clips, by the speakers of all clips that are found."""
        if self.clip_list:
            clips = [self.parse(line, self.clip) for line in rows(self.clip_list)]
        else:
            self.check_root()
            clips = [self.found(video) for video in self.videos()]
            if not clips:
                raise DatasetError(f"{self.root} holds no video ({' '.join(VIDEOS)}). See dataset/README.md.")
        return self.split(checked(distinct(clips)))

    def split(self, clips: Sequence[Clip]) -> dict[str, list[Clip]]:
        """Split -> clips. A data set with official splits overrides this."""
        return split_by_speaker(clips, self.shares)

    def videos(self) -> list[Path]:
        """All videos of the folder, sorted by path."""
        return sorted(walk(self.root, self.recursive, self.left_out))

    def found(self, video: Path) -> Clip:
        """The clip of a video file that says what it says."""
        sound = self.sound(video)
        return Clip(name=self.name(video), face=video, audio=sound, truth=video, speaker=self.speaker(video))

    def name(self, file: Path) -> str:
        """The path relative to the root, without suffix; all of the path for a file from elsewhere."""
        file, root = (Path(os.path.normpath(path)) for path in (file, self.root))
        file = file.relative_to(root if file.is_relative_to(root) else file.anchor)
        return "/".join(part for part in file.with_suffix("").parts if part != "..")

    def speaker(self, video: Path) -> str:
        """Who speaks, as far as the path tells."""
        name = self.name(video)
        in_folder = self.speakers == "folder" and video.is_relative_to(self.root)
        return name.split("/")[0] if in_folder else name

    def sound(self, video: Path) -> Path:
        """The file with the sound of a video."""
        if self.audio is None or not self.audio.is_dir():
            if self.audio is not None and not self.audio.exists():
                raise DatasetError(f"{self.audio} does not exist; audio should be a sound file, a folder of them, or empty.")
            return video
        stem = self.audio / self.name(video)
        return next((file for suffix in SOUNDS if (file := add_suffix(stem, suffix)).is_file()), add_suffix(stem, ".wav"))

    def columns(self, line: str) -> list[str]:
        """The one or two paths of a line: CSV, tabs or blanks; a line that is one existing path is one column."""
        if any(self.exists(line, line)):
            return [line]
        delimiter = "\t" if "\t" in line else "," if "," in line else " "
        try:
            (names,) = csv.reader([line], delimiter=delimiter, skipinitialspace=True, strict=True)
        except csv.Error as error:
            raise ValueError(line) from error
        return [name.strip() for name in names if name.strip()]

    def path(self, name: str, line: str) -> Path:
        """The file that a list names: relative to the root, else to the list's folder; the suffix may be left out."""
        return next(self.exists(name, line), self.root / name)

    def exists(self, name: str, line: str) -> Iterator[Path]:
        """The existing files that a name in a list can mean."""
        folders = [self.root, Path(line.where.rpartition(", line ")[0]).parent] if isinstance(line, Line) else [self.root]
        for path in (folder / Path(name).expanduser() for folder in folders):
            yield from (file for file in (path, *(add_suffix(path, suffix) for suffix in VIDEOS)) if os.path.isfile(file))


def rows(path: Path) -> list[Line]:
    """The lines of a text or CSV list; a CSV may begin with the header `video` or `video,audio`."""
    lines = read_list(path)
    header = bool(lines) and lines[0].replace(" ", "").lower() in ("video", "video,audio")
    return lines[1:] if header else lines


def walk(folder: Path, recursive: bool = True, left_out: tuple[str, ...] = Folder.left_out, top: bool = True) -> Iterator[Path]:
    """The videos below a folder, but for names that start with one of `left_out` and the folder "prepared" at the top."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(left_out):
                continue
            if entry.is_dir():
                if recursive and not (top and entry.name == "prepared"):
                    yield from walk(folder / entry.name, left_out=left_out, top=False)
            elif entry.name.lower().endswith(VIDEOS):
                yield folder / entry.name


def add_suffix(path: Path, suffix: str) -> Path:
    """The path with a suffix after its name, dots in the name left alone."""
    return path.with_name(path.name + suffix)


def pair_name(video: str, audio: str) -> str:
    """The name of the clip in which the face of one video says what another says."""
    return f"{video}+{audio.replace('/', '_')}"


def distinct(clips: Sequence[Clip]) -> list[Clip]:
    """The clips; those that differ only in their suffix (a.avi, a.mp4) carry it in their names."""
    counts = Counter(clip.name for clip in clips)
    return [replace(clip, name=clip.name + clip.face.suffix) if counts[clip.name] > 1 else clip for clip in clips]


def numbered(clips: Sequence[Clip]) -> list[Clip]:
    """The clips; a pair that is listed again (random pairs are) gets "#2", "#3", ... behind its name."""
    seen: Counter[str] = Counter()
    result = []
    for clip in clips:
        seen[clip.name] += 1
        result.append(clip if seen[clip.name] == 1 else replace(clip, name=f"{clip.name}#{seen[clip.name]}"))
    return result


def crossed(clips: Sequence[Clip]) -> list[Clip]:
    """Each clip with the speech of the next one of another speaker (of the next clip, if there is but one), without truth.

    Raises:
        DatasetError: there is only one clip.
    """
    if len(clips) == 1:
        raise DatasetError(f"cross needs at least two test clips; there is one, {clips[0].name!r}.")
    result = []
    for i, clip in enumerate(clips):
        others = (clips[(i + k) % len(clips)] for k in range(1, len(clips)))
        other = next((other for other in others if other.speaker != clip.speaker), clips[(i + 1) % len(clips)])
        result.append(replace(clip, name=pair_name(clip.name, other.name), audio=other.audio, truth=None))
    return result
