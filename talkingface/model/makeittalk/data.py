"""From clips to what MakeItTalk is trained on: speech, landmarks in time with it, and pictures; or the authors' dump files.

What `prepare` writes of a video, all to be mapped:

    mel.npy      (T, 80) float32 as heard        still.npy     (n, 68, 3) float32, the features move
    pitch.npy    (T,) int64 classes of F0        moving.npy    (n, 68, 3) float32, the head moves too
    source.npy   (256,) float32 who speaks,      seen.npy      (n,) bool, rows that show a face
                 for the voice conversion        pictures.npy  (P, S, S, 3) uint8 RGB
    voice.npy    (256,) the same, for the        points.npy    (P, 68, 74 or 98, 2) float32 in them, pixels
                 speaker branch                  sounds.npy    (P, S, S) float32, where the image translation hears

and of a clip of the dumps: converted.npy (T, 80), still.npy, seen.npy and, where there is one, voice.npy.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from talkingface.dataset.base import Clip, ClipSamples, prepared_folders
from talkingface.dataset.makeittalk import EMBEDDING
from talkingface.errors import DatasetError, MediaError, MissingWeightsError
from talkingface.face.align import move_points
from talkingface.face.finder import FaceFinder
from talkingface.face.landmarks import LandmarkTrack
from talkingface.media.audio import load_audio
from talkingface.media.image import resize
from talkingface.media.video import Video
from talkingface.model.makeittalk.draw import SIDE, draw_landmarks
from talkingface.model.makeittalk.networks.awing import AwingFan
from talkingface.model.makeittalk.networks.content import WINDOW
from talkingface.model.makeittalk.networks.conversion import STEP
from talkingface.model.makeittalk.portrait import crop_reduced, cut_portrait, fan3d, on_channels
from talkingface.model.makeittalk.registration import face_at_rest
from talkingface.model.makeittalk.rows import rows_of
from talkingface.model.makeittalk.spectrogram import Sound
from talkingface.model.makeittalk.speech import LEAST_ROWS, Speech, normalised_mel
from talkingface.nn.weights import load_weights, read_weights

FPS = 25.0  # at which landmarks are looked for
BATCH = 16  # frames in memory
EVERY = 10  # of the rows, so manieth is looked at for the face at rest

MEL, PITCH, SOURCE, VOICE = "mel.npy", "pitch.npy", "source.npy", "voice.npy"
VOICE_FILES = (MEL, PITCH, SOURCE)  # that the voice conversion reads
CONVERTED, STILL, MOVING, SEEN = "converted.npy", "still.npy", "moving.npy", "seen.npy"
PICTURES, POINTS, SOUNDS = "pictures.npy", "points.npy", "sounds.npy"

BROWS_AND_JAW, REST_OF_98 = slice(0, 27), slice(51, 98)  # of iBUG's points and of WFLW's, which are drawn together
SCHEMES = (68, 74, 98)


@dataclass(frozen=True)
class PictureSettings:
    """The pictures that the image translation learns from.

    Attributes:
        count: of each clip, evenly spread; 0 = all frames at 25 per second.
        side: pixels.
        points: 68 = as drawn at generation; 98 = the Adaptive-Wing points; 74 = its points inside of the face with jaw and
            brows of the 68, as for the published network.
        awing_file: weights of the Adaptive-Wing network, for 74 and 98.
        hears: also a spectrogram around each picture.
    """

    count: int = 32
    side: int = SIDE
    points: int = 68
    awing_file: str = ""
    hears: bool = False


# --- features ---------------------------------------------------------------------------------------------------------


def prepare_video(
    clip: Clip, folder: Path, finder: FaceFinder, hear: Callable[[Path], Speech], settings: PictureSettings
) -> None:
    """Write the features of a talking video.

    Args:
        hear: what the model hears in a recording.

    Raises:
        MediaError: picture or sound cannot be read, the clip is a still, or too little of it has face and speech.
    """
    video = Video(clip.face, fps=FPS)
    if video.is_still:
        raise MediaError(f"{clip.face} is a still; MakeItTalk is trained on videos.")
    track, speech = video_landmarks(video, finder), hear(clip.audio)
    if not track.detected.any():
        raise MediaError(f"{clip.face}: no frame of it shows a face.")
    rows = rows_of(track.landmarks, track.detected, FPS)
    count = min(len(rows.seen), len(speech.mel))
    check_rows(rows.seen[:count], clip)
    write(folder, {MEL: speech.mel, PITCH: speech.pitch, SOURCE: speech.source, VOICE: speech.embedding})
    write(folder, {STILL: rows.still[:count], MOVING: rows.moving[:count], SEEN: rows.seen[:count]})
    write_pictures(folder, video, track, settings, clip.audio)


def check_rows(seen: np.ndarray, clip: Clip) -> None:
    """Refuse a clip without ten windows of speech whose rows show a face.

    Raises:
        MediaError: with how many there are.
    """
    usable = int(seen[: max(0, len(seen) - WINDOW)].sum())
    if usable < LEAST_ROWS:
        raise MediaError(f"{clip.face}: {usable} of {len(seen)} rows have face and speech; training needs {LEAST_ROWS}.")


def write(folder: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays, each as a file."""
    for name, array in arrays.items():
        np.save(folder / name, np.ascontiguousarray(array))


def prepare_dump(clip: Clip, folder: Path) -> None:
    """Write the features of a clip of the authors' dumps: `clip.audio` is its converted mel, `clip.face` its landmarks.

    Raises:
        MediaError: too little of it.
    """
    mel, rows = (np.load(path, allow_pickle=False).astype(np.float32) for path in (clip.audio, clip.face))
    seen = np.ones(len(rows), bool)
    check_rows(seen, clip)
    write(folder, {CONVERTED: mel, STILL: rows.reshape(-1, 68, 3), SEEN: seen})
    if (voice := clip.face.with_name(EMBEDDING)).is_file():
        write(folder, {VOICE: np.load(voice, allow_pickle=False).astype(np.float32)})


def video_landmarks(video: Video, finder: FaceFinder) -> LandmarkTrack:
    """The 68 points of each frame: from a file, 3DFAN's where its weights are, else those of the finder's own detector."""
    track = finder.landmarks(video)
    stored = finder.stored_landmarks(video) is not None
    network = None if stored or finder.back_end != "face_alignment" else fan3d()
    if network is None:
        return track
    boxes, landmarks, first = finder.boxes(video).boxes, track.landmarks.copy(), 0
    for batch in batches(islice(video, len(landmarks))):
        known = np.flatnonzero(~np.isnan(boxes[first : first + len(batch)]).any(axis=1))
        if len(known):
            landmarks[first + known] = network.predict([batch[k] for k in known], boxes[first + known])
        first += len(batch)
    return LandmarkTrack(landmarks, track.detected & ~np.isnan(landmarks).any(axis=(1, 2)))


def batches(pictures: Iterable[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """Pictures, sixteen at a time."""
    pictures = iter(pictures)
    while batch := list(islice(pictures, BATCH)):
        yield batch


# --- pictures ---------------------------------------------------------------------------------------------------------


def write_pictures(folder: Path, video: Video, track: LandmarkTrack, settings: PictureSettings, audio: Path) -> None:
    """Write some frames of a video, cut as portraits are, and what is drawn in them."""
    shown = np.flatnonzero(track.detected)
    if settings.count and len(shown) > settings.count:
        shown = shown[np.linspace(0, len(shown) - 1, settings.count).round().astype(int)]
    middle = np.median(track.landmarks[shown], axis=0)
    pictures, points = [], []
    for t, frame in chosen(video, shown):
        matrix = cut_portrait(frame, middle, settings.side).matrix
        pictures.append(crop_reduced(frame, matrix, settings.side))
        points.append(move_points(track.landmarks[t], matrix))
    drawn = drawn_points(np.stack(pictures), np.stack(points), settings)
    write(folder, {PICTURES: np.stack(pictures), POINTS: drawn.astype(np.float32)})
    if settings.hears:
        times = shown[: len(pictures)] / FPS
        write(folder, {SOUNDS: np.stack(list(Sound(load_audio(audio)).pictures(times.tolist(), settings.side)))})


def chosen(video: Video, frames: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Some frames of a video, in their order, with their numbers."""
    wanted = set(frames.tolist())
    return ((t, frame) for t, frame in enumerate(islice(video, int(frames[-1]) + 1)) if t in wanted)


def drawn_points(pictures: np.ndarray, points: np.ndarray, settings: PictureSettings) -> np.ndarray:
    """The points that are drawn in pictures (P, S, S, 3) with the 68 points (P, 68, 2): (P, 68, 74 or 98, 2)."""
    if settings.points == 68:
        return points
    network, found = awing(settings.awing_file), []
    for batch in batches(pictures):
        faces = on_channels([resize(picture, (SIDE, SIDE)) for picture in batch])
        found.append(network.landmarks(faces).numpy() * settings.side / SIDE)
    inside = np.concatenate(found)
    return inside if settings.points == 98 else np.concatenate((points[:, BROWS_AND_JAW], inside[:, REST_OF_98]), axis=1)


@lru_cache(maxsize=1)
def awing(file: str) -> AwingFan:
    """The Adaptive-Wing network with its published weights.

    Raises:
        MissingWeightsError: they are not on this disk.
    """
    path = Path(file).expanduser()
    if not path.is_file():
        raise MissingWeightsError(
            f"{path} does not exist, and MakeItTalk.drawn_points needs it unless it is 68. See checkpoints/README.md."
        )
    network = AwingFan()
    load_weights(network, read_weights(path).state, path)
    return network.eval()


# --- samples ----------------------------------------------------------------------------------------------------------


def published_order(count: int) -> list[int]:
    """The order in which the authors go through `count` clips: Python's shuffle with seed 0."""
    order = list(range(count))
    random.Random(0).shuffle(order)
    return order


def mapped(folder: Path, name: str, stage: str) -> np.ndarray:
    """One array of a prepared clip, mapped.

    Raises:
        DatasetError: the clip is from the authors' dumps, which do not have it.
    """
    if not (folder / name).is_file():
        raise DatasetError(f"{folder} is a clip of the dump files, without what stage {stage!r} learns from: train it on videos.")
    return np.asarray(np.load(folder / name, mmap_mode="r"))


def read_speech(folder: Path) -> Speech:
    """What was heard in a prepared clip.

    Raises:
        DatasetError: the clip is from the authors' dumps.
    """
    return Speech(*(mapped(folder, name, "converter") for name in (MEL, PITCH, VOICE, SOURCE)))


class Recordings(ClipSamples[Speech]):
    """Parts of recordings, for the voice converter.

    Args:
        crop: mel rows of a part, a multiple of 16.
    """

    def __init__(self, clips: Sequence[Clip], crop: int = 128, per_clip: int = 1):
        super().__init__(prepared_folders(clips), read_speech, per_clip)
        self.crop = crop

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """mel: (crop, 80) float32, padded with zeros; pitch: (crop,) int64, -1 in the padding; voice: (256,) float32."""
        speech = self.features(index)
        first = int(rng.integers(max(1, len(speech.mel) - self.crop + 1)))
        mel, pitch = speech.mel[first : first + self.crop], speech.pitch[first : first + self.crop]
        missing = self.crop - len(mel)
        return {
            "mel": np.pad(mel, ((0, missing), (0, 0))),
            "pitch": np.pad(pitch, (0, missing), constant_values=-1),
            "voice": np.asarray(speech.source),
        }


class Talk(NamedTuple):
    """Speech and the rows that go with it.

    Attributes:
        mel: (T, 80) float32, converted and normalised.
        rows: (n, 204) float32.
        face: (204,) float32, at rest.
        usable: (count,) bool, windows of speech whose first row shows a face.
        voice: (256,) float32; zeros where it is not known.
    """

    mel: np.ndarray
    rows: np.ndarray
    face: np.ndarray
    usable: np.ndarray
    voice: np.ndarray

    @classmethod
    def open(cls, folder: Path, hear: Callable[[Path], np.ndarray], moving: bool = False) -> Talk:
        """Map the features of a clip.

        Args:
            hear: prepared folder -> its converted mel, (T, 80).
            moving: rows in which the head moves too.
        """
        mel = normalised_mel(hear(folder))
        still, seen = mapped(folder, STILL, "content"), mapped(folder, SEEN, "content")
        rows = mapped(folder, MOVING, "speaker") if moving else still
        count = num_windows(folder)
        face = face_at_rest(still[:count:EVERY]).reshape(-1).astype(np.float32)
        voice = np.load(folder / VOICE) if (folder / VOICE).is_file() else np.zeros(256, np.float32)
        return cls(mel, rows.reshape(len(rows), -1), face, seen[:count], voice)

    def windows(self) -> np.ndarray:
        """(count, 18, 80), all of them: window i is the speech of row i."""
        return np.lib.stride_tricks.sliding_window_view(self.mel, WINDOW, axis=0)[: len(self.usable)].swapaxes(1, 2)


def num_windows(folder: Path) -> int:
    """How many windows of the speech of a prepared clip have a row."""
    mel = folder / (MEL if (folder / MEL).is_file() else CONVERTED)
    return max(0, min(len(np.load(file, mmap_mode="r")) for file in (mel, folder / STILL)) - WINDOW)


class Talks(ClipSamples[Talk]):
    """Stretches of speech with the rows that go with them, for both branches; as many of each clip as it takes to cover it.

    Args:
        hear: prepared folder -> its converted mel, (T, 80).
        segment: rows of a stretch; what a shorter clip lacks is marked as not to be used.
        moving: rows in which the head moves too.
        shift: begin an epoch's stretches at a random row of the first fifth of a clip, as the authors do for training.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        hear: Callable[[Path], np.ndarray],
        segment: int = 512,
        moving: bool = False,
        shift: bool = True,
    ):
        folders = prepared_folders(clips)
        folders = [folders[k] for k in published_order(len(folders))]
        super().__init__(folders, partial(Talk.open, hear=hear, moving=moving))
        self.segment, self.shift = segment, shift
        self.counts = [num_windows(folder) for folder in folders]
        self.parts = [(clip, part) for clip, count in enumerate(self.counts) for part in range(-(-count // segment))]

    def __len__(self) -> int:
        return max(2, len(self.parts)) if self.parts else 0

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """mel: (L + 17, 80), rows: (L, 204), face: (204,), voice: (256,) float32; usable: (L,) bool."""
        clip, part = self.parts[index % len(self.parts)]
        talk, count = self.features(clip), self.counts[clip]
        start = int(rng.integers(max(1, count // 5))) if self.shift else 0
        first = min(start + part * self.segment, max(0, count - self.segment))
        last = min(first + self.segment, count)
        missing = self.segment - (last - first)
        return {
            "mel": np.pad(talk.mel[first : last + WINDOW - 1], ((0, missing), (0, 0))),
            "rows": np.pad(talk.rows[first:last], ((0, missing), (0, 0))),
            "face": talk.face,
            "voice": talk.voice,
            "usable": np.pad(talk.usable[first:last], (0, missing)),
        }


class Pictures(NamedTuple):
    """Pictures of one clip and what is drawn of them.

    Attributes:
        pictures: (P, S, S, 3) uint8 RGB.
        points: (P, K, 2) float32, pixels.
        sounds: (P, S, S) float32, or none.
    """

    pictures: np.ndarray
    points: np.ndarray
    sounds: np.ndarray | None

    @classmethod
    def open(cls, folder: Path) -> Pictures:
        """Map the features of a clip."""
        sounds = mapped(folder, SOUNDS, "translator") if (folder / SOUNDS).is_file() else None
        return cls(mapped(folder, PICTURES, "translator"), mapped(folder, POINTS, "translator"), sounds)


class PicturePairs(ClipSamples[Pictures]):
    """Two pictures of a clip: the earlier one is to be painted from its drawing and the later one, as the authors do."""

    def __init__(self, clips: Sequence[Clip], per_clip: int = 1):
        super().__init__(prepared_folders(clips), Pictures.open, per_clip)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """drawn: BGR; portrait, picture: RGB, (S, S, 3) uint8 each; sound: (S, S) float32, where it is heard."""
        seen = self.features(index)
        count, side = len(seen.pictures), seen.pictures.shape[1]
        now, later = sorted(rng.choice(count, 2, replace=count < 2))
        drawn = draw_landmarks(seen.points[now], side, max(1, round(2 * side / SIDE)))
        sound = {} if seen.sounds is None else {"sound": seen.sounds[now]}
        return {"drawn": drawn, "portrait": seen.pictures[later], "picture": seen.pictures[now], **sound}


def check_crop(crop: int) -> bool:
    """Whether the voice converter can take so many mel rows."""
    return crop > 0 and crop % STEP == 0


def as_batch(pictures: np.ndarray | torch.Tensor) -> torch.Tensor:
    """(B, S, S, 3) uint8 -> (B, 3, S, S) float32 in [0, 1], in the order of colors that it has."""
    return torch.as_tensor(pictures).movedim(-1, 1).to(torch.float32, memory_format=torch.contiguous_format).div_(255)
