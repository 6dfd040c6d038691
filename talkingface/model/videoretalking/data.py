"""From raw videos to what VideoReTalking is trained on: heads and faces as the networks are shown them, coefficients, speech.

Pictures are kept losslessly compressed and no larger than they are in the video; they are enlarged when they are read, which
gives what resizing them at once would give.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from torch import nn

from talkingface.dataset.base import Clip, ClipSamples, prepared_folders
from talkingface.dataset.windows import FPS, FRAMES, first_column, other_than, spoken_starts, valid_starts, whole_starts
from talkingface.errors import MediaError
from talkingface.face.finder import FaceFinder
from talkingface.face.quad import face_square
from talkingface.media.audio import MEL_WINDOW, load_audio, melspectrogram
from talkingface.media.edited import EditedVideo
from talkingface.media.image import resize
from talkingface.model.videoretalking.coefficients import landmark_coefficients, network_coefficients
from talkingface.model.videoretalking.geometry import NO_BOX, NUM_COEFFICIENTS, SIDE, steering, to_region, window_frames
from talkingface.model.videoretalking.locate import Faces, followed_faces
from talkingface.model.videoretalking.store import NO_PICTURE, decoded, encoded

SHORTEST = 3 * FRAMES + 1  # frames of a clip that can be trained on
AT_ONCE = 16  # frames that are held, and whose coefficients are seen, at once


# --- preparation --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Preparation:
    """Writes the features of clips. It holds no more than that takes, so that it is quickly sent to worker processes.

    Attributes:
        finder: finds faces and landmarks.
        head_side, face_side: of the networks' pictures, pixels.
        pads: pixels by which the faces' boxes grow: top, bottom, left, right.
        coefficients: Deep3DFaceRecon's network, in worker processes on the CPU; None takes coefficients from landmarks.
    """

    finder: FaceFinder
    head_side: int
    face_side: int
    pads: tuple[int, ...]
    coefficients: nn.Module | None = None

    def __getstate__(self) -> dict[str, Any]:
        network = self.coefficients
        return self.__dict__ | {"coefficients": None if network is None else deepcopy(network).cpu()}

    def __call__(self, clip: Clip, folder: Path) -> None:
        """Write what `Features` opens, at 25 frames per second, into an empty folder.

        Raises:
            MediaError: picture or sound cannot be read, the clip is a still, it has too few frames, or nowhere five in a row
                with face and speech.
        """
        video = EditedVideo(clip.face, fps=FPS)
        if video.is_still:
            raise MediaError(f"{clip.face} is a still; VideoReTalking is trained on videos.")
        mel = melspectrogram(load_audio(clip.audio), reflect=False)
        faces = followed_faces(video, self.finder, self.pads)
        check_length(clip, faces.painted, mel.shape[1])
        rows = np.full((len(faces.notes), NUM_COEFFICIENTS), np.nan, np.float32)
        frames = enumerate(islice(video, len(rows)))
        with PictureWriter(folder / "heads") as heads, PictureWriter(folder / "faces") as crops:
            while part := list(islice(frames, AT_ONCE)):
                known = [(t, frame) for t, frame in part if faces.painted[t]]
                if known:
                    rows[[t for t, _ in known]] = self.rows(known, faces)
                for t, frame in part:
                    heads.write(cut(frame, faces.regions[t], self.head_side))
                    crops.write(cut(frame, faces.boxes[t], self.face_side))
        write_track(folder, faces, rows, mel)

    def rows(self, frames: Sequence[tuple[int, np.ndarray]], faces: Faces) -> np.ndarray:
        """(n, 262) coefficients of the heads in numbered frames."""
        landmarks = [faces.landmarks[t] for t, _ in frames]
        if self.coefficients is None:
            return landmark_coefficients(landmarks, SIDE)
        return network_coefficients(self.coefficients, [faces.crop(t, frame) for t, frame in frames], landmarks)


def check_length(clip: Clip, valid: np.ndarray, columns: int) -> None:
    """Refuse a clip that nothing can be learnt from.

    Args:
        valid: (T,) bool, the frames with a face.
        columns: of the mel.

    Raises:
        MediaError: saying how much there is and how much is needed.
    """
    if len(valid) < SHORTEST:
        raise MediaError(f"{clip.face} has {len(valid)} frames at {FPS} fps; training needs {SHORTEST}.")
    if not len(whole_starts(valid, columns)) or len(valid_starts(valid)) < 2:
        raise MediaError(f"{clip.face}: {valid.sum()} of {len(valid)} frames have a face, and nowhere five in a row with speech.")


def cut(frame: np.ndarray, box: np.ndarray, side: int) -> np.ndarray:
    """What a box (x1, y1, x2, y2) shows of a frame, not larger than needed for (side, side); nothing without a face."""
    if box[0] == NO_BOX:
        return NO_PICTURE
    x1, y1, x2, y2 = box
    part = frame[y1:y2, x1:x2]
    return resize(part, (side, side)) if min(part.shape[:2]) > side else np.ascontiguousarray(part)


def write_track(folder: Path, faces: Faces, rows: np.ndarray, mel: np.ndarray) -> None:
    """Write all that is no picture."""
    where = {name: getattr(faces, name) for name in ("regions", "landmarks", "boxes", "segments")}
    np.savez(folder / "track.npz", **where, coefficients=rows, mel=np.ascontiguousarray(mel.T, np.float32))


class PictureWriter:
    """Writes pictures behind each other: `<path>.bin` holds their bytes, `<path>.npy` where each ends."""

    def __init__(self, path: Path):
        self.path, self.ends = path, [0]
        self.file: BinaryIO = path.with_suffix(".bin").open("wb")

    def __enter__(self) -> PictureWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        np.save(self.path.with_suffix(".npy"), np.array(self.ends, np.int64))

    def write(self, picture: np.ndarray) -> None:
        """Append a picture (h, w, 3) uint8; an empty one stays empty."""
        data = encoded(picture)
        self.file.write(data.tobytes())
        self.ends.append(self.ends[-1] + len(data))


class PictureFile:
    """The pictures of a `PictureWriter`, mapped.

    Args:
        side: to which they are brought, pixels.
    """

    def __init__(self, path: Path, side: int):
        self.ends, self.side = np.load(path.with_suffix(".npy")), side
        self.data = np.memmap(path.with_suffix(".bin"), np.uint8, "r")

    def __getitem__(self, frame: int) -> np.ndarray:
        """(side, side, 3) uint8 RGB."""
        picture = decoded(np.asarray(self.data[self.ends[frame] : self.ends[frame + 1]]))
        return picture if picture.shape[:2] == (self.side, self.side) else resize(picture, (self.side, self.side))


class Sizes(NamedTuple):
    """Sides of pictures, pixels: DNet's heads, ENet's faces."""

    head: int
    face: int


class Features(NamedTuple):
    """What a `Preparation` has written.

    Attributes:
        heads, faces: pictures of the frames.
        track: where they are in their frames.
        valid: (T,) bool, the frames with a face.
        coefficients: (T, 262).
        mel: (S, 80).
    """

    heads: PictureFile
    faces: PictureFile
    track: Faces
    valid: np.ndarray
    coefficients: np.ndarray
    mel: np.ndarray

    @classmethod
    def open(cls, folder: Path, sizes: Sizes) -> Features:
        """Open the features of a clip."""
        with np.load(folder / "track.npz", allow_pickle=False) as stored:
            parts = dict(stored)
        track = Faces(parts["regions"], parts["landmarks"], parts["boxes"], parts["segments"], notes=[])
        heads, faces = (PictureFile(folder / name, side) for name, side in zip(("heads", "faces"), sizes, strict=True))
        return cls(heads, faces, track, track.painted, parts["coefficients"], parts["mel"])

    def steering(self, frame: int) -> np.ndarray:
        """(73, 26): what DNet is told to draw this frame's head as it is."""
        return steering(self.coefficients[window_frames(frame, *self.track.span(frame))])

    def window(self, frame: int) -> np.ndarray:
        """(80, 16): the speech of a frame."""
        start = first_column(frame)
        return self.mel[start : start + MEL_WINDOW].T

    def landmarks(self, frame: int) -> np.ndarray:
        """(68, 2) float32 in the picture of the face."""
        points = to_region(self.track.frame_landmarks(frame), self.track.boxes[frame], self.faces.side)
        return points.astype(np.float32)

    def place(self, frame: int) -> np.ndarray:
        """(10,) float32: where a face lies in its head's picture, whose sides are 1.

        The left, top, right and bottom of the face's box; then center, half side to the right, and half side down of the
        turned square around the face, x before y: what of the redrawn head generation puts into the frame.
        """
        region, box = self.track.regions[frame].astype(np.float64), self.track.boxes[frame]
        sides = np.tile(region[2:] - region[:2], 2)
        square = face_square(self.track.landmarks[frame])
        center, x, y = (square.center + 0.5) / SIDE, square.x / SIDE, square.y / SIDE
        return np.concatenate(((box - np.tile(region[:2], 2)) / sides, center, x, y)).astype(np.float32)


# --- samples ------------------------------------------------------------------------------------------------------------


class Windows(ClipSamples[Features]):
    """Samples of prepared clips.

    Args:
        sizes: of the pictures.
    """

    def __init__(self, clips: Sequence[Clip], sizes: Sizes, per_clip: int = 1):
        super().__init__(prepared_folders(clips), partial(Features.open, sizes=sizes), per_clip)


class HeadPairs(Windows):
    """Two heads of one clip, each with what DNet must be told to draw it: what DNet is trained on.

    As in PIRenderer: each speaker equally often, one of his clips, two frames of it, which may be the same.
    """

    def __init__(self, clips: Sequence[Clip], sizes: Sizes, per_clip: int = 1):
        super().__init__(clips, sizes, per_clip)
        takes = defaultdict(list)
        for number, clip in enumerate(clips):
            takes[clip.speaker or clip.name].append(number)
        self.takes = [takes[speaker] for speaker in sorted(takes)]

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """heads: (2, S, S, 3) uint8 RGB; steering: (2, 73, 26) float32."""
        features = self.features(int(rng.choice(self.takes[index % len(self.takes)])))
        frames = rng.choice(np.flatnonzero(features.valid), 2)
        return {
            "heads": np.stack([features.heads[frame] for frame in frames]),
            "steering": np.stack([features.steering(frame) for frame in frames]),
        }


class SpokenMouths(Windows):
    """Speech, and five mouths that speak it or, half of the time, others of the same clip: what the expert is trained on.

    Args:
        side: of the faces that the expert sees.
    """

    def __init__(self, clips: Sequence[Clip], sizes: Sizes, side: int, per_clip: int = 1):
        super().__init__(clips, sizes, per_clip)
        self.side = side

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """mouths: (5, side / 2, side, 3) uint8 BGR, lower halves; mel: (80, 16); in_sync: () float32, 1 or 0."""
        features = self.features(index)
        real = int(rng.choice(spoken_starts(features.valid, len(features.mel))))
        in_sync = bool(rng.integers(2))
        shown = real if in_sync else other_than(real, valid_starts(features.valid), rng)
        faces = [resize(features.faces[shown + k], (self.side, self.side)) for k in range(FRAMES)]
        mouths = np.ascontiguousarray(np.stack(faces)[:, self.side // 2 :, :, ::-1])
        return {"mouths": mouths, "mel": features.window(real), "in_sync": np.array(in_sync, np.float32)}


class TalkingFaces(Windows):
    """Faces in a row with the speech of each, and what their references are made of: what LNet and ENet are trained on.

    A frame's speech begins with the frame, as in generation; Wav2Lip's loader takes it a frame earlier.

    Args:
        frames: in a row.
        others: also as many faces in a row from elsewhere in the clip.
    """

    def __init__(self, clips: Sequence[Clip], sizes: Sizes, per_clip: int = 1, frames: int = FRAMES, others: bool = False):
        super().__init__(clips, sizes, per_clip)
        self.frames, self.others = frames, others

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """faces: (T, F, F, 3), heads: (T, S, S, 3) uint8 RGB; steering: (T, 73, 26), places: (T, 10), landmarks: (T,
        68, 2), mels: (T, 80, 16) float32; and others: (T, F, F, 3) where they are asked for."""
        features = self.features(index)
        start = int(rng.choice(whole_starts(features.valid, len(features.mel), self.frames)))
        frames = range(start, start + self.frames)
        sample = {
            "faces": np.stack([features.faces[frame] for frame in frames]),
            "heads": np.stack([features.heads[frame] for frame in frames]),
            "steering": np.stack([features.steering(frame) for frame in frames]),
            "places": np.stack([features.place(frame) for frame in frames]),
            "landmarks": np.stack([features.landmarks(frame) for frame in frames]),
            "mels": np.stack([features.window(frame) for frame in frames]),
        }
        if self.others:
            first = other_than(start, valid_starts(features.valid), rng)
            sample["others"] = np.stack([features.faces[first + k] for k in range(self.frames)])
        return sample
