"""LSE: how well mouth and speech agree, judged by a frozen SyncNet (Chung and Zisserman, 2016; Prajwal et al., 2020)."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

from talkingface.errors import CheckpointError, ConfigError, MissingWeightsError, ScoreError
from talkingface.face.detect import BACK_ENDS
from talkingface.face.finder import FaceFinder
from talkingface.face.shots import Shot, crop_face, crop_path, shots_of
from talkingface.media.audio import mfcc
from talkingface.media.files import content_hash
from talkingface.media.video import Video, jpeg_degraded
from talkingface.metric.base import Column, StreamedMetric, Watch
from talkingface.metric.cache import keep, recall
from talkingface.metric.embeddings import SAMPLE_RATE, ClipLips, Embeddings, LipReader, load_samples, speech_embeddings
from talkingface.metric.screening import Moment, Screening, Square, cut
from talkingface.model.syncnet.networks import FRAMES, SyncNet
from talkingface.nn.weights import load_weights, read_weights
from talkingface.registry import METRICS

FPS = 25.0
SAMPLES_PER_FRAME = 640
KEPT_SOUNDS = 32  # whose embeddings wait on disk for the next clips' controls
SHORTEST = FRAMES + 1  # frames: the authors use one window fewer than there are
EPSILON = 1e-6  # added to each component of a difference, as torch's pairwise_distance does


class SyncScore(NamedTuple):
    """How a clip's lips and speech agree.

    Attributes:
        offset: frames by which the sound is early (positive) or late (negative).
        confidence: LSE-C, median minus minimum of `means`; higher is better.
        distance: LSE-D, the minimum of `means`; lower is better.
        means: (2 vshift + 1,) mean distance at each shift.
        curve: (V,) confidence of each window at the best shift, smoothed over 9 windows.
    """

    offset: int
    confidence: float
    distance: float
    means: np.ndarray
    curve: np.ndarray


def distances(lips: np.ndarray, speech: np.ndarray, vshift: int = 15) -> np.ndarray:
    """Distance of every lip window to the speech around it.

    Args:
        lips: (V, E) embeddings.
        speech: (V + 2 vshift, E): `vshift` rows more at both ends, zeros beyond the clip.

    Returns:
        (V, 2 vshift + 1) float32: column k is the distance to the speech k - vshift frames later.
    """
    shifts = range(2 * vshift + 1)
    lips = lips + np.float32(EPSILON)
    return np.stack([np.linalg.norm(lips - speech[k : k + len(lips)], axis=1) for k in shifts], axis=1)


def sync_score(dists: np.ndarray) -> SyncScore:
    """The scores of (V, 2 vshift + 1) distances: taken at the best shift; the first of equal ones wins."""
    means = dists.mean(axis=0)
    best, middle = int(means.argmin()), float(np.median(means))
    curve = np.median(sliding_window_view(np.pad(middle - dists[:, best], 4), 9), axis=1)
    return SyncScore(dists.shape[1] // 2 - best, middle - float(means[best]), float(means[best]), means, curve)


@METRICS.register("LSE")
class LSE(StreamedMetric):
    """Lip-sync error: confidence (LSE-C), distance (LSE-D) and offset, by a frozen SyncNet, in one of two protocols.

    "file": the frame is the face crop; the whole frame is resized to the network's input (calculate_scores_LRS.py). "track":
    faces are found, followed within each scene and cut out (run_pipeline.py, calculate_scores_real_videos.py); a clip's
    numbers are plain means over its tracks. Values of the two never compare.

    Each column is taken at the best of all shifts up to `vshift` frames; windows shifted beyond the clip count as zeros.
    Published weights: data/syncnet_v2.model of joonson/syncnet_python.

    Args:
        weights: the judge's file; "" = <checkpoints_dir>/LSE/syncnet_v2.model.
        protocol: "file" or "track".
        decode: "lossless", or "jpeg" (file protocol): through JPEG files like those that published numbers were measured on.
        batch_size: windows at once; changes speed and memory only.
        vshift: largest shift, in frames.
        min_track: a track counts if its face was found in more than this many frames; the authors' 100 are four seconds.
        min_face: a track counts if the mean of its face's width or height is more than this, pixels.
        detector: what finds faces for tracks: "auto" = S3FD, as published, where <checkpoints_dir>/LSE/sfd_face.pth is, else
            the run's detector; or the name of one.
        device: "auto", "cpu" or "cuda".
    """

    columns: ClassVar[Mapping[str, Column]] = {
        "LSE-C": Column(True, 0.0, math.inf),
        "LSE-D": Column(False, 0.0, math.inf),
        "offset": Column(None, -math.inf, math.inf, "frames"),
    }
    needs_truth = False
    needs_audio = True
    variants: ClassVar[Sequence[str]] = ("file", "track")
    fps = FPS
    published: ClassVar[str] = "LSE/syncnet_v2.model"
    published_detector: ClassVar[str] = "LSE/sfd_face.pth"

    def __init__(
        self,
        weights: Path | str = "",
        protocol: str = "file",
        decode: str = "lossless",
        batch_size: int = 20,
        vshift: int = 15,
        min_track: int = 100,
        min_face: float = 100.0,
        detector: str = "auto",
        device: str = "auto",
    ):
        name = type(self).__name__
        for setting, value, known in (
            ("protocol", protocol, self.variants),
            ("decode", decode, ("lossless", "jpeg")),
            ("detector", detector, BACK_ENDS),
        ):
            if value not in known:
                raise ConfigError(f"{name}.{setting}: expected {' or '.join(known)}, got {value!r}.")
        for setting, number, least in (("batch_size", batch_size, 1), ("vshift", vshift, 1), ("min_track", min_track, 5)):
            if number < least:
                raise ConfigError(f"{name}.{setting}: expected {least} or more, got {number}.")
        self.weights, self.decode, self.batch_size, self.vshift = str(weights), decode, batch_size, vshift
        self.min_track, self.min_face, self.detector = min_track, min_face, detector
        cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
        self.device = torch.device("cuda" if cuda else "cpu")
        self._lips: dict[str, Lips] = {}
        self._speech: dict[str, Embeddings] = {}
        self._count = 0
        self.choose(protocol)

    def choose(self, variant: str) -> None:
        super().choose(variant)
        if variant == "track" and self.decode == "jpeg":
            raise ConfigError(f"{type(self).__name__}.decode: jpeg is of the file protocol; tracks are cut from lossless frames.")

    def watch(self, screening: Screening) -> Watch:
        """Begin to look at a video; equal files under an equal protocol are not measured twice.

        Raises:
            ScoreError: the video has no sound, or (track) shows no face for long enough.
            MissingWeightsError: the judge is not on this disk.
        """
        self.weights_file()
        video, sound = screening.video, screening.audio or screening.video.path
        if screening.audio is None and not video.has_audio:
            raise ScoreError(f"{video.path} has no sound, and lip-sync needs one.")
        part = [video.start, None if math.isinf(video.stop) else video.stop]
        files = {"video": video.content_hash(), "part": part, "audio": content_hash(sound), "late": screening.late}
        key = {**self.protocol(), **files}
        stored = recall(type(self).__name__, key)
        if stored is not None:
            return SyncWatch(self, screening, key, stored)
        watch = FileWatch if self.variant == "file" else TrackWatch
        return watch(self, screening, key)

    def lips(self, video: Video, what: str = "") -> Lips:
        """The lips of a clip: rows that are there already, or who embeds them from its frames."""
        name = f"{video.content_hash()}-{video.start}-{video.stop}{what}.lips"
        if name in self._lips and not self._lips[name].broken:
            return Shared(self._lips[name])
        self._lips[name] = Lips(self._reader.clip(self._new_rows()), str(video.path))
        return self._lips[name]

    def release(self) -> None:
        self._lips.clear()
        for name in list(self._speech)[:-KEPT_SOUNDS]:
            del self._speech[name]
        kept = {rows.path for rows in self._speech.values()}
        for path in Path(self._folder.name).iterdir() if "_folder" in vars(self) else ():
            if path not in kept:
                path.unlink()

    def speech(self, sound: Path, start: float = 0.0, stop: float = math.inf, late: int = 0) -> Embeddings:
        """The speech embeddings of a sound file or video, computed once.

        Args:
            start, stop: the part that is heard, seconds.
            late: frames of silence before it; of a negative number, frames that are left out.
        """
        name = f"{content_hash(sound)}-{start}-{stop}-{late}.speech"
        if name not in self._speech:
            rows = self._new_rows()
            samples = load_samples(sound)
            last = None if math.isinf(stop) else round(stop * SAMPLE_RATE)
            samples = samples[round(start * SAMPLE_RATE) : last]
            shift = late * SAMPLES_PER_FRAME
            samples = np.concatenate((np.zeros(shift, np.int16), samples[:-shift])) if shift > 0 else samples[-shift:]
            rows.units = len(samples)
            features = mfcc(samples).astype(np.float32) if len(samples) else np.empty((13, 0), np.float32)
            del samples
            for block in speech_embeddings(self.network, features, self.batch_size):
                rows.append(block)
            self._speech[name] = rows
        return self._speech[name]

    def agreement(self, lips: Embeddings, speech: Embeddings, what: str) -> SyncScore:
        """All that the judge says of lips and speech.

        Raises:
            ScoreError: there are fewer than 6 frames of one of them.
        """
        count = min(lips.units, speech.units // SAMPLES_PER_FRAME)
        if count < SHORTEST:
            seconds = speech.units / SAMPLE_RATE
            raise ScoreError(
                f"{what} is too short to be judged: {lips.units} frames at {FPS:g} fps, {seconds:.2f} s of sound; "
                f"{SHORTEST} frames ({SHORTEST / FPS:.2f} s) are needed."
            )
        return sync_score(self.distances(lips, speech, count - FRAMES))

    def distances(self, lips: Embeddings, speech: Embeddings, count: int, block: int = 500) -> np.ndarray:
        """(count, 2 vshift + 1) distances, a block at a time."""
        blocks = []
        for start in range(0, count, block):
            stop = min(start + block, count)
            around = speech.rows(start - self.vshift, stop + self.vshift, end=count)
            blocks.append(distances(lips.rows(start, stop, end=count), around, self.vshift))
        return np.concatenate(blocks)

    def tracks(self, screening: Screening) -> list[Shot]:
        """The faces of a video that count, each over consecutive frames of one scene.

        Raises:
            ScoreError: there is none.
        """
        video, finder = screening.at(screening.video, FPS), self.finder(screening.faces)
        found = finder.detections(video)
        shots = shots_of(found.faces, found.cuts, self.min_track, min_face=self.min_face)
        if not shots:
            raise ScoreError(
                f"{video.path}: no face of more than {self.min_face:g} pixels was found in more than {self.min_track} frames of "
                f"one scene, so the track protocol has nothing to score. LSE@file scores face crops of any length; "
                f"--LSE.min_track and --LSE.min_face change what counts, and the protocol with it."
            )
        return shots

    def face(self, frame: np.ndarray, half: float, x: float, y: float) -> np.ndarray:
        """What the judge is shown of a frame whose face, of a `CropPath`, has this half side and center, in pixels."""
        return crop_face(frame, half, x, y)

    def part_of(self, frame: np.ndarray) -> np.ndarray:
        """What the judge is shown of a frame in the file protocol."""
        return frame

    def finder(self, faces: FaceFinder) -> FaceFinder:
        """The detector of the track protocol."""
        name = self.detector
        if name == "auto":
            name = "sfd" if (self.checkpoints_dir / self.published_detector).is_file() else faces.detector
        return faces.with_detector(name).without_files()

    @cached_property
    def _folder(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory(prefix="talkingface-lse-")

    def _new_rows(self) -> Embeddings:
        self._count += 1
        return Embeddings(Path(self._folder.name) / str(self._count), self.network.embedding)

    @cached_property
    def _reader(self) -> LipReader:
        return LipReader(self.network, self.batch_size)

    @cached_property
    def network(self) -> SyncNet:
        """The frozen judge."""
        return self.load_network(self.weights_file()).to(self.device).eval().requires_grad_(False)

    def load_network(self, path: Path) -> SyncNet:
        """The judge of a weights file."""
        network = SyncNet()
        load_weights(network, read_weights(path).state, path)
        return network

    def weights_file(self) -> Path:
        """Where the judge's weights are.

        Raises:
            MissingWeightsError: they are not there.
        """
        path = Path(self.weights).expanduser() if self.weights else self.checkpoints_dir / self.published
        if not path.is_file():
            raise MissingWeightsError(self.missing(path))
        return path

    def missing(self, path: Path) -> str:
        """What to tell when the judge's weights are not at `path`."""
        return (
            f"{path} does not exist: the published SyncNet, data/syncnet_v2.model of github.com/joonson/syncnet_python "
            f"(54.5 MB). Put it there, or set --LSE.weights=FILE. See checkpoints/README.md."
        )

    def protocol(self) -> dict[str, Any]:
        try:
            judge: str | None = content_hash(self.weights_file())
        except MissingWeightsError:
            judge = None
        tracked = {
            "crop": "tracks, scale 0.4",
            "min_track": self.min_track,
            "min_face": self.min_face,
            "faces": self.finder(self.faces or FaceFinder()).back_end_fingerprint() if self.variant == "track" else "",
        }
        return {
            "version": 1,
            "name": self.variant,
            **(tracked if self.variant == "track" else {"crop": "whole frame"}),
            "decode": self.decode,
            "fps": FPS,
            "window_frames": FRAMES,
            "vshift": self.vshift,
            "weights_hash": judge,
        }


class Lips:
    """The lips of a clip or a track while they are being embedded, and after.

    Attributes:
        sees: whether frames are needed.
        broken: whether some will never come.
    """

    def __init__(self, clip: ClipLips, source: str):
        self.clip, self.source, self.sees, self.broken = clip, source, True, False

    def see(self, frame: np.ndarray) -> None:
        """The next (H, W, 3) uint8 RGB frame."""
        self.clip.see(frame)

    def abandon(self) -> None:
        """No more frames will come."""
        self.broken = self.clip.closed = True

    def whole(self) -> Embeddings:
        """The rows, after the last frame.

        Raises:
            ScoreError: the video could not be read to its end.
        """
        if self.broken:
            raise ScoreError(f"{self.source} could not be read to its end.")
        return self.clip.close()


class Shared(Lips):
    """Lips that somebody else shows the frames to."""

    def __init__(self, lips: Lips):
        self.lips, self.sees, self.broken = lips, False, False

    def abandon(self) -> None:
        """They may get theirs all the same."""

    def see(self, frame: np.ndarray) -> None:
        """They have seen it."""

    def whole(self) -> Embeddings:
        return self.lips.whole()


class SyncWatch(Watch):
    """LSE's look at one video; of one whose numbers are known already it is no look at all."""

    def __init__(self, metric: LSE, screening: Screening, key: dict[str, Any], stored: Mapping[str, Any] | None = None):
        self.metric, self.screening, self.key, self.stored = metric, screening, key, stored
        self.start = 0.0 if screening.audio else screening.video.start
        self.sound = screening.audio or screening.video.path
        self.sees = False

    def see(self, moment: Moment) -> None:
        """Nothing to look at."""

    def abandon(self) -> None:
        for lips in self.shown():
            lips.abandon()

    def shown(self) -> Sequence[Lips]:
        """The lips that this watch shows frames to."""
        return ()

    def numbers(self) -> dict[str, float]:
        found = self.stored
        if found is None:
            found = self.measure()
            keep(type(self.metric).__name__, self.key, found)
        self.details = found["details"]
        return dict(zip(self.metric.columns, (float(value) for value in found["scores"]), strict=True))

    def measure(self) -> dict[str, Any]:
        """{"scores": confidence, distance and offset, "details": what stands behind them}, as plain values."""
        raise NotImplementedError

    def agreement(self, lips: Lips, start: float, stop: float, what: str) -> dict[str, Any]:
        """All that the judge says of lips and of the sound from second `start` to `stop`, as plain values."""
        speech = self.metric.speech(self.sound, start, stop, self.screening.late)
        score = self.metric.agreement(lips.whole(), speech, what)
        values = {"LSE-C": score.confidence, "LSE-D": score.distance, "offset": score.offset}
        return {**values, "means": rounded(score.means), "curve": rounded(score.curve)}


class FileWatch(SyncWatch):
    """The file protocol's: the whole frame."""

    def __init__(self, metric: LSE, screening: Screening, key: dict[str, Any]):
        super().__init__(metric, screening, key)
        self.lips = metric.lips(screening.video)
        self.sees = self.lips.sees and metric.decode == "lossless"

    def see(self, moment: Moment) -> None:
        if moment.frame is not None:
            self.lips.see(self.metric.part_of(moment.frame))

    def shown(self) -> Sequence[Lips]:
        return [self.lips]

    def measure(self) -> dict[str, Any]:
        if self.metric.decode == "jpeg" and self.lips.sees:
            for frame in jpeg_degraded(self.screening.at(self.screening.video, FPS)):
                self.lips.see(self.metric.part_of(frame))
        found = self.agreement(self.lips, self.start, math.inf, str(self.screening.video.path))
        return {"scores": [found[name] for name in LSE.columns], "details": {"tracks": [found]}}


class TrackWatch(SyncWatch):
    """The track protocol's: each face that is followed for long enough, cut out of its frames."""

    def __init__(self, metric: LSE, screening: Screening, key: dict[str, Any]):
        super().__init__(metric, screening, key)
        self.shots = metric.tracks(screening)
        self.paths = [crop_path(shot.boxes) for shot in self.shots]
        name = f"-track-{metric.min_track}-{metric.min_face}"
        self.lips = [metric.lips(screening.video, f"{name}-{number}") for number in range(len(self.shots))]
        self.sees = any(lips.sees for lips in self.lips)

    def see(self, moment: Moment) -> None:
        for shot, path, lips in zip(self.shots, self.paths, self.lips, strict=True):
            row = moment.index - int(shot.frames[0])
            if moment.frame is not None and 0 <= row < len(shot.frames):
                lips.see(self.metric.face(moment.frame, path.half[row], path.x[row], path.y[row]))

    def shown(self) -> Sequence[Lips]:
        return self.lips

    def measure(self) -> dict[str, Any]:
        tracks = []
        for shot, lips in zip(self.shots, self.lips, strict=True):
            first, last = int(shot.frames[0]), int(shot.frames[-1])
            what = f"{self.screening.video.path}, frames {first} to {last},"
            found = self.agreement(lips, self.start + first / FPS, self.start + (last + 1) / FPS, what)
            tracks.append({"frames": [first, last], "box": rounded(shot.boxes.mean(axis=0)), **found})
        scores = [math.fsum(track[name] for track in tracks) / len(tracks) for name in LSE.columns]
        return {"scores": scores, "details": {"tracks": tracks}}


def rounded(values: np.ndarray) -> list[float]:
    """An array as plain numbers of four decimals."""
    return [round(float(value), 4) for value in values]


@METRICS.register("DemoLSE")
class DemoLSE(LSE):
    """Lip-sync by the small judge that is shipped for the demo world. Its numbers say nothing beside those of LSE.

    Args:
        weights: a safetensors file whose metadata say "width", "image_size" and "embedding"; "" = the shipped judge.
        part: what of a frame the judge is shown, where a face is framed otherwise than in the demo world: left, top and side of
            a square, as shares of the frame's width. It may lie beyond the frame, whose last pixels are repeated.
        decode, batch_size, vshift, device: as of LSE.
    """

    variants = ("file",)
    columns: ClassVar[Mapping[str, Column]] = {f"{name} (demo judge)": column for name, column in LSE.columns.items()}
    shipped: ClassVar[Path] = Path(__file__).with_name("demo_judge.safetensors")
    framing: ClassVar[tuple[float, float]] = (
        2.9,
        0.13,
    )  # side of a demo frame, and how far its middle is below the face, in halves

    def __init__(
        self,
        weights: Path | str = "",
        part: Sequence[float] = (0.0, 0.0, 1.0),
        decode: str = "lossless",
        batch_size: int = 20,
        vshift: int = 15,
        device: str = "auto",
    ):
        super().__init__(weights, "file", decode, batch_size, vshift, device=device)
        if len(part) != 3 or part[2] <= 0:
            raise ConfigError(f"DemoLSE.part: expected left, top and a side of more than 0, got {list(part)}.")
        self.part = tuple(float(share) for share in part)

    def weights_file(self) -> Path:
        path = Path(self.weights).expanduser() if self.weights else self.shipped
        if not path.is_file():
            raise MissingWeightsError(self.missing(path))
        return path

    def missing(self, path: Path) -> str:
        return f"{path} does not exist: the demo world's judge. Install the package again, or set --DemoLSE.weights=FILE."

    def part_of(self, frame: np.ndarray) -> np.ndarray:
        if self.part == (0.0, 0.0, 1.0):
            return frame
        left, top, side = (share * frame.shape[1] for share in self.part)
        return cut(frame, Square(left + side / 2, top + side / 2, side), round(side))

    def face(self, frame: np.ndarray, half: float, x: float, y: float) -> np.ndarray:
        side, below = self.framing
        return cut(frame, Square(x, y + below * half, side * half), 128)

    def load_network(self, path: Path) -> SyncNet:
        weights = read_weights(path)
        try:
            width, image_size, embedding = (float(weights.extra[name]) for name in ("width", "image_size", "embedding"))
            crop = [float(edge) for edge in weights.extra.get("crop", (0, 1, 0, 1))]
        except (KeyError, ValueError, TypeError) as error:
            wanted = "its metadata should say width, image_size and embedding"
            raise CheckpointError(f"{path} is no demo judge: {wanted} ({error!r}).") from None
        network = SyncNet(width, int(image_size), int(embedding), crop)
        load_weights(network, weights.state, path)
        return network

    def protocol(self) -> dict[str, Any]:
        crop = "part of the frame, by the judge"
        shown = {} if self.part == (0.0, 0.0, 1.0) else {"shown": list(self.part)}
        return {**super().protocol(), "judge": "demo", "crop": crop, **shown}
