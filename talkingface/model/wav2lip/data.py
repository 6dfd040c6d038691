"""From clips to what Wav2Lip eats: faces and mel windows, for training (`prepare`, samples) and for generation (boxes, chunks).

Faces are BGR, as the authors' networks see them, wherever they are crops of 96 x 96 (or 48 x 48) pixels; whole frames are RGB.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from talkingface.dataset.base import Clip, ClipSamples, prepared_folders
from talkingface.dataset.windows import FPS, FRAMES, first_column, other_than, real_starts, spoken_starts, valid_starts
from talkingface.errors import MediaError
from talkingface.face.finder import FaceFinder
from talkingface.face.track import pad_boxes, smooth_boxes_forward
from talkingface.media.audio import HOP, MEL_RATE, MEL_WINDOW, SAMPLE_RATE, audio_blocks, melspectrogram
from talkingface.media.image import resize
from talkingface.media.video import Video

SIDE = 96  # of a face crop as published, pixels
SHORTEST = 3 * FRAMES + 1  # frames of a clip that can be trained on
NO_BOX = -1  # in every place of a frame's box: there is no face
SHORTEST_SPEECH = (MEL_WINDOW - 1) * HOP  # samples: one mel window
BLOCK = 4 * SAMPLE_RATE  # samples whose mel is computed at once
CONTEXT = 3  # mel columns at each cut between blocks that the cut has spoilt


# --- speech -----------------------------------------------------------------------------------------------------------


def mel_blocks(path: Path | str) -> Iterator[np.ndarray]:
    """The log-mel of a file, (80, s) at a time: together what `melspectrogram` makes of all of it, in constant memory.

    Raises:
        MediaError: there is no sound, or less than one window (0.2 s) of it.
    """
    rest, heard, first = np.empty(0, np.float32), 0, 0  # first: columns at the start of `rest` that are known already
    for block in blocks_of(path, BLOCK):
        heard += len(block)
        rest = np.concatenate((rest, block))
        ready = (len(rest) - 2 * HOP) // HOP + 1  # later columns reach beyond what was read
        if len(block) == BLOCK and ready > first:
            yield melspectrogram(rest)[:, first:ready]
            rest, first = rest[(ready - CONTEXT) * HOP :], CONTEXT
    if heard < SHORTEST_SPEECH:
        raise MediaError(f"{path} is {heard / SAMPLE_RATE:.2f} s long; Wav2Lip needs at least {MEL_WINDOW / MEL_RATE} s.")
    yield melspectrogram(rest)[:, first:]


def blocks_of(path: Path | str, size: int) -> Iterator[np.ndarray]:
    """The sound of a file in [-1, 1] at 16 kHz, in blocks of `size` samples; the last one is shorter, perhaps empty."""
    parts: list[np.ndarray] = []
    count = 0
    for part in audio_blocks(path, SAMPLE_RATE):
        parts.append(np.clip(part.mean(axis=0), -1, 1))
        count += parts[-1].size
        while count >= size:
            whole = np.concatenate(parts)
            yield whole[:size]
            parts, count = [whole[size:]], count - size
    yield np.concatenate([np.empty(0, np.float32), *parts])


def speech_chunks(path: Path | str, fps: float) -> Iterator[np.ndarray]:
    """One mel window per frame to generate, as the authors' inference.py cuts them: (80, 16) each, in constant memory.

    Window i starts at column floor(i 80 / fps). The first that would reach beyond the speech is replaced by the last 16
    columns, and ends the clip.

    Raises:
        MediaError: there is no sound, or less than one window (0.2 s) of it.
    """
    return chunks_of(mel_blocks(path), fps)


def chunks_of(blocks: Iterator[np.ndarray], fps: float) -> Iterator[np.ndarray]:
    """`speech_chunks` of a mel that comes in blocks (80, s)."""
    mel, gone, index = np.empty((80, 0), np.float32), 0, 0  # gone: columns that are not kept any more
    for block in blocks:
        mel = np.concatenate((mel, block), axis=1)
        while (start := int(index * (MEL_RATE / fps)) - gone) + MEL_WINDOW <= mel.shape[1]:
            yield mel[:, start : start + MEL_WINDOW]
            index += 1
        done = max(0, min(start, mel.shape[1] - MEL_WINDOW))
        mel, gone = mel[:, done:], gone + done
    yield mel[:, -MEL_WINDOW:]


# --- faces ------------------------------------------------------------------------------------------------------------


def face_boxes(boxes: np.ndarray, pads: Sequence[int], size: tuple[int, int], smooth: bool = True) -> np.ndarray:
    """The authors' boxes: cut to whole pixels, padded, kept in the frame and smoothed forward over 5 frames.

    Args:
        boxes: (T, 4) x1, y1, x2, y2 in pixels, NaN where there is no face. Nothing is averaged across such a gap.
        pads: pixels at the top, the bottom, the left and the right.
        size: width and height of the frames.

    Returns:
        (T, 4) int64; -1 in all places where there is no face.
    """
    known = np.isfinite(boxes).all(axis=1)
    found = np.full(boxes.shape, NO_BOX, np.int64)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], known, [False]))))
    for start, stop in edges.reshape(-1, 2):
        padded = pad_boxes(np.maximum(boxes[start:stop], 0).astype(np.int64), pads, size)
        found[start:stop] = smooth_boxes_forward(padded) if smooth else padded
    found[(found[:, 2] <= found[:, 0]) | (found[:, 3] <= found[:, 1])] = NO_BOX
    return found


def cut_face(frame: np.ndarray, box: Sequence[int] | np.ndarray, side: int = SIDE) -> np.ndarray:
    """The face in a box of an RGB frame: (side, side, 3) uint8 BGR."""
    x1, y1, x2, y2 = (int(edge) for edge in box)
    return np.ascontiguousarray(resize(frame[y1:y2, x1:x2], (side, side))[..., ::-1])


# --- training ---------------------------------------------------------------------------------------------------------


def prepare(clip: Clip, folder: Path, faces: FaceFinder, side: int = SIDE) -> None:
    """Write the faces and the mel of a clip, at 25 frames per second by timestamps: see `write_features`.

    Boxes have no pads and no forward smoothing, as in the authors' preprocess.py.

    Raises:
        MediaError: picture or sound cannot be read, the clip has too few frames, or no five frames with a face and speech.
    """
    video = Video(clip.face, fps=FPS)
    if video.is_still:
        raise MediaError(f"{clip.face} is a still; Wav2Lip is trained on videos.")
    mel = np.concatenate(list(mel_blocks(clip.audio)), axis=1)
    boxes = face_boxes(faces.boxes(video).boxes, (0, 0, 0, 0), (video.width, video.height), smooth=False)
    valid = boxes[:, 0] != NO_BOX
    if len(boxes) < SHORTEST:
        raise MediaError(f"{clip.face} has {len(boxes)} frames at {FPS} fps; training needs {SHORTEST}.")
    if not len(real_starts(valid, mel.shape[1])) or valid_starts(valid).size < 2:
        raise MediaError(f"{clip.face}: {valid.sum()} of {len(valid)} frames have a face, and nowhere five in a row with speech.")
    write_features(folder, video, boxes, mel, side)


def write_features(folder: Path, frames: Iterable[np.ndarray], boxes: np.ndarray, mel: np.ndarray, side: int = SIDE) -> None:
    """Write faces.npy (T, side, side, 3) uint8 BGR, valid.npy (T,) bool, and mel.npy (S, 80) float32: raw, to be mapped.

    Args:
        frames: T frames (H, W, 3) uint8 RGB.
        boxes: (T, 4) of `face_boxes`.
        mel: (80, S).
    """
    crops = np.lib.format.open_memmap(folder / "faces.npy", "w+", np.uint8, (len(boxes), side, side, 3))
    for t, (frame, box) in enumerate(zip(frames, boxes, strict=False)):
        if box[0] != NO_BOX:
            crops[t] = cut_face(frame, box, side)
    crops.flush()
    np.save(folder / "valid.npy", boxes[:, 0] != NO_BOX)
    np.save(folder / "mel.npy", np.ascontiguousarray(mel.T, np.float32))


class Features(NamedTuple):
    """What `write_features` wrote, mapped; and the frames where windows may start."""

    faces: np.ndarray
    mel: np.ndarray
    windows: np.ndarray
    real: np.ndarray
    spoken: np.ndarray

    @classmethod
    def open(cls, folder: Path) -> Features:
        """Map the features of a clip."""
        faces, mel = (np.asarray(np.load(folder / name, mmap_mode="r")) for name in ("faces.npy", "mel.npy"))
        valid = np.load(folder / "valid.npy")
        return cls(faces, mel, valid_starts(valid), real_starts(valid, len(mel)), spoken_starts(valid, len(mel)))

    def window(self, frame: int) -> np.ndarray:
        """(80, 16): the speech of a frame."""
        start = first_column(frame)
        return self.mel[start : start + MEL_WINDOW].T


class Windows(ClipSamples[Features]):
    """Random windows of prepared clips.

    The authors draw again and again until a window fits; drawing among those that fit gives the same distribution.
    """

    def __init__(self, clips: Sequence[Clip], per_clip: int = 1):
        super().__init__(prepared_folders(clips), Features.open, per_clip)


class MouthWindows(Windows):
    """Five faces, five other ones of the same clip as reference, and the speech: what the generator is trained on."""

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        features = self.features(index)
        real = int(rng.choice(features.real))
        return self.cut(features, real, other_than(real, features.windows, rng))

    @staticmethod
    def cut(features: Features, real: int, wrong: int) -> dict[str, np.ndarray]:
        """The sample of two windows.

        Returns:
            frames, wrong: (5, side, side, 3) uint8 BGR. mels: (5, 80, 16), the speech of each frame and, as in the authors'
            loader, one frame early; mel: (80, 16), that of the first frame.
        """
        return {
            "frames": features.faces[real : real + FRAMES],
            "wrong": features.faces[wrong : wrong + FRAMES],
            "mels": np.stack([features.window(frame) for frame in range(real - 1, real + FRAMES - 1)]),
            "mel": features.window(real),
        }


class SyncWindows(Windows):
    """Speech, and five mouths that speak it or, half of the time, others of the same clip: what the expert is trained on."""

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        features = self.features(index)
        real = int(rng.choice(features.spoken))
        in_sync = bool(rng.integers(2))
        return self.cut(features, real, real if in_sync else other_than(real, features.windows, rng), in_sync)

    @staticmethod
    def cut(features: Features, real: int, shown: int, in_sync: bool) -> dict[str, np.ndarray]:
        """The sample of a window of speech and one of faces.

        Returns:
            mouths: (5, side / 2, side, 3) uint8 BGR, lower halves; mel: (80, 16); in_sync: () float32, 1 or 0.
        """
        mouths = features.faces[shown : shown + FRAMES, features.faces.shape[1] // 2 :]
        return {"mouths": mouths, "mel": features.window(real), "in_sync": np.array(in_sync, np.float32)}
