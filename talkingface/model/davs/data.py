"""From clips to what DAVS learns from: aligned faces and MFCC windows in the authors' layout, and samples cut from them.

A prepared clip is a folder as the authors have it: `align_face256/<frame>.jpg`, aligned faces with a small border, and
`mfcc20/<frame>.bin`, the window of speech about that frame. Frames count from 0 at 25 per second.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from talkingface.dataset.base import Clip, ClipSamples, prepared_folders
from talkingface.errors import ConfigError, MediaError
from talkingface.face.finder import FaceFinder
from talkingface.media.image import read_image, resize, write_image
from talkingface.media.mfcc import FIRST, SpeechWindows, read_bin, write_bin
from talkingface.model.davs.faces import SHOWN, SIDE, Alignment, FaceVideo

FPS = 25
FRAMES = 25  # of a sample: numbers 2 to 26 of a clip of 29
FACES, SPEECH = "align_face256", "mfcc20"
ELSEWHERE = "source.json"  # in a prepared folder: where a clip is that its authors had prepared


class Lengths(NamedTuple):
    """How many frames each part of a sample has.

    Attributes:
        spoken: consecutive frames that the word classifier of the person space sees.
        heard: every second frame, each with its speech: what the word classifier of the word space sees.
        painted: consecutive ones of these that are generated.
    """

    spoken: int = 20
    heard: int = 12
    painted: int = 6

    def check(self) -> Lengths:
        """The same, if it fits.

        Raises:
            ConfigError: there are more frames in a part than a sample has.
        """
        for name, value, most in (
            ("disfc_length", self.spoken, FRAMES),
            ("pred_length", self.heard, (FRAMES + 1) // 2),
            ("sequence_length", self.painted, self.heard),
        ):
            if not 1 <= value <= most:
                raise ConfigError(f"DAVS.{name}: expected 1 to {most} frames, got {value}.")
        return self


class Choices(NamedTuple):
    """What chance decides of a sample; the authors draw once for a whole batch, here each sample has its own.

    Attributes:
        reference: the frame that says who it is.
        spoken: first of the consecutive frames.
        heard: first of every second frame.
        painted: first of those that are generated, counted in them.
    """

    reference: int
    spoken: int
    heard: int
    painted: int

    @classmethod
    def draw(cls, rng: np.random.Generator, lengths: Lengths) -> Choices:
        """One of all that fit into a sample's frames."""
        spoken, heard, painted = lengths
        ends = (FRAMES, max(1, FRAMES - spoken), max(1, FRAMES + 1 - 2 * heard), heard - painted + 1)
        return cls(*(int(rng.integers(end)) for end in ends))


PARTS = ("reference", "spoken", "heard", "mfcc")
MIDDLE = (0.5, 0.5)  # of a border
JITTER = SIDE - SHOWN  # by how much the authors move pictures, pixels


def cut(
    faces: Mapping[int, np.ndarray],
    mfcc: Mapping[int, np.ndarray],
    choices: Choices,
    lengths: Lengths,
    parts: Sequence[str] = PARTS,
) -> dict[str, np.ndarray]:
    """The parts of a sample.

    Args:
        faces: number in the sample -> (S, S, 3).
        mfcc: number in the sample -> (20, 12).
        parts: which of them; what no part needs is not asked for.

    Returns:
        reference (S, S, 3), spoken (20, S, S, 3), heard (12, S, S, 3) and mfcc (12, 20, 12) float32; painted (): see Choices.
    """
    spoken = [choices.spoken + t for t in range(lengths.spoken)]
    heard = [choices.heard + 2 * t for t in range(lengths.heard)]
    make = {
        "reference": lambda: faces[choices.reference],
        "spoken": lambda: np.stack([faces[t] for t in spoken]),
        "heard": lambda: np.stack([faces[t] for t in heard]),
        "mfcc": lambda: np.stack([mfcc[t] for t in heard]).astype(np.float32),
    }
    return {**{part: make[part]() for part in parts}, "painted": np.array(choices.painted, np.int64)}


class Read(dict[int, np.ndarray]):
    """Number -> array, read when it is asked for, once."""

    def __init__(self, read: Callable[[int], np.ndarray]):
        super().__init__()
        self.read = read

    def __missing__(self, number: int) -> np.ndarray:
        self[number] = self.read(number)
        return self[number]


@dataclass(frozen=True)
class Features:
    """Where the frames and the speech of a clip are.

    Attributes:
        starts: frames that begin a run of 25 which all have both.
    """

    faces: Path
    speech: Path
    starts: tuple[int, ...]

    @classmethod
    def open(cls, folder: Path) -> Features:
        """The features in a prepared folder, or where it says that they are.

        Raises:
            MediaError: no 25 frames in a row have a face and speech.
        """
        faces, speech = folder / FACES, folder / SPEECH
        if (elsewhere := folder / ELSEWHERE).is_file():
            faces, speech = (Path(path) for path in json.loads(elsewhere.read_text(encoding="utf-8")))
        known = numbers(faces, ".jpg") & numbers(speech, ".bin")
        starts = [number for number in sorted(known) if all(number + t in known for t in range(FRAMES))]
        if not starts:
            what = f"{len(numbers(faces, '.jpg'))} faces and {len(numbers(speech, '.bin'))} windows of speech"
            raise MediaError(f"{faces.parent} has {what}; DAVS needs {FRAMES} frames in a row that have both.")
        return cls(faces, speech, tuple(starts))

    def face(self, number: int) -> np.ndarray:
        """A frame with its border: (S, S, 3) uint8 RGB."""
        return read_image(self.faces / f"{number}.jpg")

    def window(self, number: int) -> np.ndarray:
        """The speech about a frame: (20, 12) float64."""
        return read_bin(self.speech / f"{number}.bin")


def numbers(folder: Path, suffix: str) -> set[int]:
    """The numbers that name files of a folder; none where there is no such folder."""
    return {int(path.stem) for path in folder.glob(f"*{suffix}") if path.stem.isdecimal()}


class SpokenWords(ClipSamples[Features]):
    """Samples of prepared clips: frames and speech of 25 numbers in a row, with the classes of what is said and of who says it.

    In training the picture is cut out of its border at a random place and mirrored at random, the same for all frames of a
    sample; else it is its middle.

    Args:
        words, speakers: class numbers; without them a sample does not say that class.
        side: of the pictures, pixels.
        lengths: how many frames each part has.
        parts: which parts a sample has, of PARTS.
        augment: whether pictures are moved and mirrored.
        jitter: by how much they are moved at most, in pixels of a picture of 256, 0 to 4.
        per_clip: samples of each clip per epoch.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        words: Mapping[str, int] | None,
        speakers: Mapping[str, int] | None,
        side: int,
        lengths: Lengths,
        parts: Sequence[str] = PARTS,
        augment: bool = False,
        per_clip: int = 1,
        jitter: float = JITTER,
    ):
        super().__init__(prepared_folders(clips), Features.open, per_clip)
        known = {"word": words, "person": speakers}
        names = {"word": [clip.word for clip in clips], "person": [clip.speaker for clip in clips]}
        self.labels = {of: [numbers[str(name)] for name in names[of]] for of, numbers in known.items() if numbers is not None}
        self.side, self.lengths, self.parts = side, lengths, tuple(parts)
        self.augment, self.jitter = augment, jitter

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        features = self.features(index)
        start = features.starts[int(rng.integers(len(features.starts)))]
        corner, mirrored = self.place(rng) if self.augment else (MIDDLE, False)
        faces = Read(lambda number: placed(features.face(start + number), self.side, corner, mirrored))
        speech = Read(lambda number: features.window(start + number))
        labels = {of: np.array(numbers[index % len(self.folders)], np.int64) for of, numbers in self.labels.items()}
        return {**cut(faces, speech, Choices.draw(rng, self.lengths), self.lengths, self.parts), **labels}

    def place(self, rng: np.random.Generator) -> tuple[tuple[float, float], bool]:
        """Where in its border the picture of a training sample begins, and whether it is mirrored."""
        x, y = (0.5 + (rng.random() - 0.5) * self.jitter / JITTER for _ in range(2))
        return (x, y), bool(rng.random() < 0.5)


def placed(face: np.ndarray, side: int, corner: tuple[float, float] = MIDDLE, mirrored: bool = False) -> np.ndarray:
    """A picture (side, side, 3) out of an aligned face with its border (published: 256 out of 260).

    Args:
        corner: where in the border it begins, x and y from 0 to below 1.
    """
    bordered = with_border(side)
    face = resize(face, (bordered, bordered))
    x, y = (int(share * (bordered - side + 1)) for share in corner)
    face = face[y : y + side, x : x + side]
    return np.ascontiguousarray(face[:, ::-1] if mirrored else face)


def with_border(side: int) -> int:
    """The side of an aligned face with its border: 260 for pictures of 256."""
    return round(side * SIDE / SHOWN)


def prepare(clip: Clip, folder: Path, finder: FaceFinder, how: Alignment, side: int) -> None:
    """Write the aligned faces and the windows of speech of a clip, or where its authors' own are.

    Args:
        how: the alignment of faces.
        side: of the pictures that training shows, pixels; faces are written with their border.

    Raises:
        MediaError: a file cannot be read, no frame has a face, or there are no 25 frames in a row with a face and speech.
    """
    if clip.face.is_dir() and clip.audio.is_dir():
        places = json.dumps([str(clip.face.absolute()), str(clip.audio.absolute())])
        (folder / ELSEWHERE).write_text(places, encoding="utf-8")
        check(Features.open(folder))
        return
    bordered = (with_border(side), with_border(side))
    (folder / FACES).mkdir()
    (folder / SPEECH).mkdir()
    frames = 0
    for frames, face in enumerate(FaceVideo(clip.face, finder, how), start=1):
        write_image(folder / FACES / f"{frames - 1}.jpg", resize(face, bordered))
    heard = islice(SpeechWindows(clip.audio), FIRST, max(FIRST, frames - FIRST))  # of LRW's 29 frames 2 to 26, as the authors'
    for number, window in enumerate(heard, start=FIRST):
        write_bin(folder / SPEECH / f"{number}.bin", window)
    Features.open(folder)


def check(features: Features) -> None:
    """Read all that an authors' folder holds, once.

    Raises:
        MediaError: a file is damaged, or has numbers that are none.
    """
    for number in numbers(features.faces, ".jpg"):
        features.face(number)
    for number in numbers(features.speech, ".bin"):
        features.window(number)


def unit(frames: Tensor) -> Tensor:
    """Pictures (..., H, W, 3) uint8 as networks see them: (..., 3, H, W) in [0, 1]."""
    return frames.movedim(-1, -3).float() / 255
