"""From clips to what PC-AVS is trained on: faces as the networks are shown them, and the speech of each frame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from talkingface.dataset.base import Clip, ClipSamples, prepared_folders
from talkingface.errors import DatasetError, MediaError
from talkingface.face.finder import FaceFinder
from talkingface.model.pc_avs.augment import augment
from talkingface.model.pc_avs.faces import SIDE, Alignment, FaceVideo, view
from talkingface.model.pc_avs.speech import FPS, Speech, published_frames, window

SHORTEST = FPS  # frames with face and speech that a clip needs: one second


# --- features ---------------------------------------------------------------------------------------------------------


def prepare(clip: Clip, folder: Path, finder: FaceFinder, alignment: Alignment, side: int = SIDE) -> None:
    """Write the faces of a clip at 25 frames per second, and its speech: see `write_features`.

    Args:
        finder: finds the landmarks of what has to be aligned.
        alignment: how.
        side: of the pictures, pixels.

    Raises:
        MediaError: picture or sound cannot be read, the clip is a still, or less than a second of it has face and speech.
    """
    faces = FaceVideo(clip.face, finder, alignment)
    if faces.video.is_still:
        raise MediaError(f"{clip.face} is a still; PC-AVS is trained on videos.")
    rows = np.concatenate(list(Speech(clip.audio).blocks()))
    count = len(faces)
    usable = np.zeros(count, bool)
    usable[list(faces.with_face())] = True
    spoken = published_frames(len(rows))
    if (known := int(usable[spoken[spoken < count]].sum())) < SHORTEST:
        raise MediaError(f"{clip.face}: {known} of {count} frames at {FPS} fps have face and speech; training needs {SHORTEST}.")
    write_features(folder, (view(face, side) for face in faces), usable, rows)


def write_features(folder: Path, pictures: Iterable[np.ndarray], usable: np.ndarray, rows: np.ndarray) -> None:
    """Write faces.npy (T, S, S, 3) uint8 RGB, usable.npy (T,) bool and speech.npy (R, 80) float32: raw, to be mapped.

    Args:
        pictures: (S, S, 3) uint8 RGB each.
        usable: which of them show a face.
        rows: (R, 80) spectrogram.
    """
    faces = None
    for t, picture in enumerate(pictures):
        if faces is None:
            faces = np.lib.format.open_memmap(folder / "faces.npy", "w+", np.uint8, (len(usable), *picture.shape))
        if t < len(usable):
            faces[t] = picture
    if faces is not None:
        faces.flush()
    np.save(folder / "usable.npy", usable)
    np.save(folder / "speech.npy", np.ascontiguousarray(rows, np.float32))


class Features(NamedTuple):
    """What `write_features` wrote, mapped.

    Attributes:
        folder: where it lies.
        faces: (T, S, S, 3) uint8 RGB.
        speech: (R, 80) float32.
        shown: (n,) frames that show a face.
        spoken: (T,) whether a frame shows a face and has a whole window of speech.
    """

    folder: Path
    faces: np.ndarray
    speech: np.ndarray
    shown: np.ndarray
    spoken: np.ndarray

    @classmethod
    def open(cls, folder: Path) -> Features:
        """Map the features of a clip."""
        faces, speech = (np.asarray(np.load(folder / name, mmap_mode="r")) for name in ("faces.npy", "speech.npy"))
        usable = np.load(folder / "usable.npy")
        frames = published_frames(len(speech))
        whole = np.zeros(len(usable), bool)
        whole[frames[frames < len(usable)]] = True
        return cls(folder, faces, speech, np.flatnonzero(usable), usable & whole)

    def starts(self, count: int, interval: int) -> np.ndarray:
        """Frames f where f, f + interval, ... are `count` spoken frames."""
        reach = (count - 1) * interval
        whole = np.ones(max(0, len(self.spoken) - reach), bool)
        for k in range(count):
            whole &= self.spoken[k * interval : k * interval + len(whole)]
        return np.flatnonzero(whole)

    def draw(self, count: int, interval: int, rng: np.random.Generator) -> np.ndarray:
        """(count,) spoken frames from a random one on; nearer to each other where the clip is too short for the interval.

        Raises:
            DatasetError: the clip has nowhere so many spoken frames in a row.
        """
        for step in range(interval, 0, -1):
            if len(starts := self.starts(count, step)):
                return int(rng.choice(starts)) + step * np.arange(count)
        raise DatasetError(f"{self.folder} has nowhere {count} frames in a row with face and speech: set a smaller clip_len.")

    def windows(self, frames: np.ndarray) -> np.ndarray:
        """(n, 80, 20): the speech of frames."""
        return np.stack([window(self.speech, int(frame)) for frame in frames])


# --- samples ----------------------------------------------------------------------------------------------------------


class Labeled(ClipSamples[Features]):
    """Samples of prepared clips whose speakers are numbered.

    Args:
        labels: the number of each clip's speaker, -1 where it is unknown.
    """

    def __init__(self, clips: Sequence[Clip], labels: Sequence[int], per_clip: int = 1):
        super().__init__(prepared_folders(clips), Features.open, per_clip)
        self.labels = list(labels)

    def speaker(self, index: int) -> np.ndarray:
        """The number of the speaker of a sample: () int64."""
        return np.array(self.labels[index % len(self.labels)], np.int64)


class Portraits(Labeled):
    """Single faces, to tell who it is."""

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """picture: (S, S, 3) uint8 RGB; speaker: () int64."""
        features = self.features(index)
        return {"picture": features.faces[int(rng.choice(features.shown))], "speaker": self.speaker(index)}


class SpeechClips(Labeled):
    """Changed faces and their speech, to tell what is said.

    Args:
        length: frames of a clip.
        interval: frames from one to the next.
        times: clips of one video in a sample.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        labels: Sequence[int],
        length: int,
        interval: int = 1,
        per_clip: int = 1,
        times: int = 1,
    ):
        super().__init__(clips, labels, per_clip)
        self.length, self.interval, self.times = length, interval, times

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """augmented: (K, L, S, S, 3) uint8 RGB; mels: (K, L, 80, 20) float32; speaker: () int64."""
        features = self.features(index)
        frames = [features.draw(self.length, self.interval, rng) for _ in range(self.times)]
        return {
            "augmented": np.stack([augment(features.faces[some], rng) for some in frames]),
            "mels": np.stack([features.windows(some) for some in frames]),
            "speaker": self.speaker(index),
        }


class TalkingClips(Labeled):
    """An identity, the frames to generate, and the changed frames and speech that say how.

    The identity is a picture of the same clip, any frame of it.

    Args:
        length: frames of a clip.
        interval: frames from one to the next.
        every: of a clip's frames, every so manieth is generated.
        references: identity pictures.
        change: change the frames that pose and lips are read from; else they are the real ones.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        labels: Sequence[int],
        length: int,
        interval: int = 1,
        per_clip: int = 1,
        every: int = 1,
        references: int = 1,
        change: bool = True,
    ):
        super().__init__(clips, labels, per_clip)
        self.length, self.interval, self.every = length, interval, every
        self.references, self.change = references, change

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """identity: (N, S, S, 3), frames: (m, S, S, 3), augmented: (L, S, S, 3) uint8 RGB; mels: (L, 80, 20); speaker: ()."""
        features = self.features(index)
        identity = rng.choice(features.shown, self.references)
        frames = features.draw(self.length, self.interval, rng)
        faces = features.faces[frames]
        return {
            "identity": features.faces[identity],
            "frames": faces[:: self.every],
            "augmented": augment(faces, rng) if self.change else faces,
            "mels": features.windows(frames),
            "speaker": self.speaker(index),
        }
