"""What MakeItTalk's authors ship and train on: portraits and characters that say recordings, and their dump files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from talkingface.dataset.base import SPLITS, Clip, ClipDataset, checked
from talkingface.dataset.folder import SOUNDS, Folder, numbered, pair_name
from talkingface.errors import DatasetError
from talkingface.media.files import content_hash
from talkingface.media.image import SUFFIXES
from talkingface.registry import DATASETS

PARTS = ("_bg", "_anno", "_hair", "_preview")  # ends of the names of pictures that belong to a character and are none
TRIANGLES = "_delauney_tri.txt"  # only characters have one
LEFT_OVER = "tmp.wav"  # the authors' scripts leave it beside the recordings

DUMP = "autovc_retrain_mel"
DUMPED = {"train": "train", "val": "test"}  # split -> the authors' name of it
MEL, LANDMARKS, EMBEDDING = "mel.npy", "landmarks.npy", "embedding.npy"


@DATASETS.register("portraits", aliases=["examples"])
class Portraits(ClipDataset):
    """Every portrait and character of a folder says every recording of it: test clips, without truth.

    Where there are file lists, they say instead who says what, in all splits.

    Args:
        root: the folder of pictures and characters, such as the authors' `examples`; sub-folders are not searched.
        audio: folder of recordings, or one recording; "" = those beside the pictures.
        pictures: pattern of the pictures' names, such as `*.jpg`.
    """

    line_format = "picture recording"

    def __init__(self, root: Path | str = "dataset/portraits", audio: Path | str = "", pictures: str = "*"):
        super().__init__(root)
        self.audio, self.pictures = Path(audio).expanduser() if audio else self.root, pictures

    def clips(self, split: str) -> list[Clip]:
        """The clips of a split.

        Raises:
            DatasetError: the folder is not there, or holds no picture or no recording.
        """
        self.check_root()
        if any((self.root / "filelist" / f"{name}.txt").is_file() for name in SPLITS):
            return super().clips(split)
        return checked(numbered(list(self.pairs()))) if split == "test" else []

    def clip(self, line: str) -> Clip:
        picture, recording = line.split()
        return said_by(self.root / picture, self.audio / recording if self.audio.is_dir() else self.root / recording)

    def pairs(self) -> Iterator[Clip]:
        """Every portrait with every recording.

        Raises:
            DatasetError: there are none of the one or of the other.
        """
        faces, recordings = portraits_in(self.root, self.pictures), recordings_in(self.audio)
        if not faces:
            raise DatasetError(f"{self.root} holds no picture {self.pictures!r} ({' '.join(SUFFIXES)}).")
        if not recordings:
            raise DatasetError(f"{self.audio} holds no recording ({' '.join(SOUNDS[:6])}); name one, or their folder: audio.")
        return (said_by(face, recording) for face in faces for recording in recordings)


@DATASETS.register("audio2landmark_content")
class Audio2LandmarkContent(Folder):
    """What the content branch of MakeItTalk learns from: the authors' dump files, or else any folder of videos.

    The dumps are four pickles, `autovc_retrain_mel_{train,test}_{au,fl}.pickle`; nothing in them is executed. They are taken
    apart once, a folder of arrays for each clip. Test clips are the portraits and recordings of `examples` where that folder
    is, else test videos, whose first frame speaks.

    Args:
        root: folder of videos, for training without dumps.
        dump_dir: folder of the dumps.
        examples: folder of portraits, characters and recordings.
        val_fraction: share of the videos' speakers for validation.
        test_fraction: share of the videos' speakers for test.
    """

    def __init__(
        self,
        root: Path | str = "dataset/audio2landmark_content",
        dump_dir: Path | str = "checkpoints/dump",
        examples: Path | str = "dataset/examples",
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
    ):
        super().__init__(root, val_fraction=val_fraction, test_fraction=test_fraction)
        self.dumps, self.examples = Path(dump_dir).expanduser(), Portraits(examples)

    @property
    def is_dumped(self) -> bool:
        """Whether all four dump files are there."""
        return all(self.dump(split, what).is_file() for split in DUMPED for what in ("au", "fl"))

    def dump(self, split: str, what: str) -> Path:
        """A dump file: "au" = speech, "fl" = landmarks."""
        return self.dumps / f"{DUMP}_{DUMPED[split]}_{what}.pickle"

    def build(self) -> None:
        """Take the dump files apart, where they are and have not been."""
        if self.is_dumped:
            for split in DUMPED:
                unpack(self.dump(split, "au"), self.dump(split, "fl"), self.unpacked(split))

    def unpacked(self, split: str) -> Path:
        """The folder of the arrays of a split."""
        return self.dumps / "unpacked" / split

    def clips(self, split: str) -> list[Clip]:
        """The clips of a split.

        Raises:
            DatasetError: there are neither dumps nor videos, or nothing to test with.
        """
        if split == "test" and self.examples.root.is_dir():
            return self.examples.clips(split)
        if not self.is_dumped:
            self.check_there()
            return super().clips(split)
        if split == "test":
            raise DatasetError(f"{self.examples.root} does not exist: it should hold the portraits and recordings of the test.")
        self.build()
        return [dumped_clip(folder, split) for folder in sorted(self.unpacked(split).iterdir()) if folder.is_dir()]

    def check_there(self) -> None:
        """Refuse a root that is not there, saying what else is looked for."""
        if not self.root.is_dir():
            raise DatasetError(
                f"{self.root} does not exist, and {self.dump('train', 'au')} neither: put videos in the one, or the authors' "
                "four dump files in the other. See dataset/README.md."
            )


# --- portraits --------------------------------------------------------------------------------------------------------


def portraits_in(folder: Path, pattern: str = "*") -> list[Path]:
    """The pictures of a folder, sorted, without those that are parts of a character."""
    pictures = sorted(path for path in folder.glob(pattern) if path.suffix.lower() in SUFFIXES and path.is_file())
    return [path for path in pictures if not is_part(path)]


def is_part(picture: Path) -> bool:
    """Whether a picture is the background, or another part, of a character beside it."""
    names = [picture.stem.removesuffix(part) for part in PARTS if picture.stem.endswith(part)]
    return any(picture.with_name(name + TRIANGLES).is_file() for name in names)


def recordings_in(place: Path) -> list[Path]:
    """The recordings of a folder, sorted; a file is itself.

    Raises:
        DatasetError: nothing is there.
    """
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise DatasetError(f"{place} does not exist: it should be a recording, or a folder of recordings.")
    return sorted(p for p in place.iterdir() if p.suffix.lower() in SOUNDS and p.is_file() and p.name != LEFT_OVER)


def said_by(face: Path, recording: Path) -> Clip:
    """The clip in which a picture says what a recording says."""
    return Clip(pair_name(face.stem, recording.stem), face, recording, speaker=face.stem)


# --- dumps ------------------------------------------------------------------------------------------------------------


def dumped_clip(folder: Path, split: str) -> Clip:
    """The clip of an unpacked folder: its face is `landmarks.npy`, its audio `mel.npy`."""
    name = f"{split}/{folder.name}"
    return Clip(name, folder / LANDMARKS, folder / MEL, truth=None, speaker=name)


def unpack(speech: Path, landmarks: Path, folder: Path) -> None:
    """Take two dump files apart, unless that has been done: a folder of each clip.

    In it lie mel.npy (n, 80) float32, converted and not normalised; landmarks.npy (n, 204) float32, 62.5 rows per second;
    embedding.npy (256,) float32 where the dump has one.

    Raises:
        DatasetError: the files hold something else, or do not belong together.
        CheckpointError: a file is damaged, or holds what is no array.
    """
    done = folder / "done.txt"
    mark = f"{content_hash(speech)} {content_hash(landmarks)}\n"
    if done.is_file() and done.read_text() == mark:
        return
    from talkingface.nn.pickled import read_pickle

    heard, seen = read_pickle(speech), read_pickle(landmarks)
    check_dump(heard, seen, speech, landmarks)
    shutil.rmtree(folder, ignore_errors=True)
    pairs = zip(heard, seen, strict=True)
    for index, ((mel, about), (rows, _)) in enumerate(tqdm(pairs, "unpack", len(heard), unit="clip", leave=False, disable=None)):
        clip = folder / f"{index:05d}-{Path(str(about[1])).stem}"
        clip.mkdir(parents=True)
        np.save(clip / MEL, np.asarray(mel, np.float32))
        np.save(clip / LANDMARKS, np.asarray(rows, np.float32))
        if len(about) > 2:
            np.save(clip / EMBEDDING, np.asarray(about[2], np.float32))
    done.write_text(mark)


def check_dump(heard: Any, seen: Any, speech: Path, landmarks: Path) -> None:
    """Refuse dump files that are not lists of (array, (index, name, ...)), or that do not belong together.

    Raises:
        DatasetError: naming the file and the clip.
    """
    for entries, path, columns in ((heard, speech, 80), (seen, landmarks, 204)):
        shapes = [shape_of(entry) for entry in entries] if isinstance(entries, Sequence) else [()]
        wrong = next((k for k, shape in enumerate(shapes) if len(shape) != 2 or shape[1] != columns), None)
        if wrong is not None or not shapes:
            found = f"entry {wrong} is {shapes[wrong] or 'none'}" if shapes and wrong is not None else "it is empty"
            raise DatasetError(f"{path}: expected a list of (array (n, {columns}), (index, name, ...)); {found}.")
    lengths = [[len(entry[0]) for entry in entries] for entries in (heard, seen)]
    if lengths[0] != lengths[1]:
        raise DatasetError(f"{speech} and {landmarks} do not belong together: their clips differ in number or length.")


def shape_of(entry: Any) -> tuple[int, ...]:
    """The shape of the array of a dump's entry; () if it is none."""
    is_entry = isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[1], tuple) and len(entry[1]) > 1
    return tuple(np.shape(entry[0])) if is_entry else ()
