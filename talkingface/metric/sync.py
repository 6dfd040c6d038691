"""LSE: how well mouth and speech agree, judged by a frozen SyncNet (Chung and Zisserman, 2016; Prajwal et al., 2020)."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

from talkingface.errors import CheckpointError, ConfigError, MissingWeightsError, ScoreError
from talkingface.media.audio import audio_blocks, mfcc, to_int16
from talkingface.media.files import content_hash
from talkingface.media.prefetch import prefetch
from talkingface.media.video import Video, jpeg_degraded
from talkingface.metric.base import Column, Metric
from talkingface.metric.cache import remember
from talkingface.model.syncnet.networks import COLUMNS, COLUMNS_PER_FRAME, FRAMES, SyncNet
from talkingface.nn.weights import load_weights, read_weights
from talkingface.registry import METRICS

FPS = 25.0
SAMPLE_RATE = 16_000
SAMPLES_PER_FRAME = 640
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


def lip_embeddings(network: SyncNet, frames: Iterable[np.ndarray], batch_size: int = 20) -> Iterator[np.ndarray]:
    """Embed the lips of a clip, in constant memory; frames are made ready in a thread while the network works.

    Args:
        frames: (H, W, 3) uint8 RGB, of which the network takes its `picture`.
        batch_size: windows at once.

    Yields:
        (n, E) float32: windows of five frames, one window per frame.
    """
    device = next(network.parameters()).device
    blocks = frame_blocks(map(network.picture, frames), 5 * batch_size)
    for block in prefetch(blocks, size=1):
        planes = torch.from_numpy(block).permute(3, 0, 1, 2)[None].to(device)
        yield network.lip_sequence(planes, batch_size).cpu().numpy()


def frame_blocks(pictures: Iterable[np.ndarray], windows: int) -> Iterator[np.ndarray]:
    """Blocks of (up to windows + 4, S, S, 3) uint8 BGR; each begins with the last 4 frames of the one before."""
    block: list[np.ndarray] = []
    fresh = 0
    for picture in pictures:
        block.append(picture)
        fresh += 1
        if len(block) == windows + FRAMES - 1:
            yield np.stack(block)
            block, fresh = block[1 - FRAMES :], 0
    if fresh and len(block) >= FRAMES:
        yield np.stack(block)


def speech_embeddings(network: SyncNet, features: np.ndarray, batch_size: int = 20) -> Iterator[np.ndarray]:
    """Embed the speech of a clip.

    Args:
        features: (13, S) MFCC, 100 columns per second.

    Yields:
        (n, E) float32: windows of 20 columns, one per video frame.
    """
    device = next(network.parameters()).device
    count = 1 + (features.shape[1] - COLUMNS) // COLUMNS_PER_FRAME
    for start in range(0, count, 50 * batch_size):
        stop = min(start + 50 * batch_size, count)
        part = features[:, COLUMNS_PER_FRAME * start : COLUMNS_PER_FRAME * (stop - 1) + COLUMNS]
        yield network.audio_sequence(torch.from_numpy(part.astype(np.float32)).to(device), batch_size).cpu().numpy()


def load_samples(path: Path) -> np.ndarray:
    """The sound of a file as the authors' 16-bit samples: (N,) int16, mono, 16 kHz."""
    blocks = [to_int16(block.mean(axis=0)) for block in audio_blocks(path, SAMPLE_RATE)]
    return np.concatenate(blocks) if blocks else np.empty(0, np.int16)


class Embeddings:
    """Rows of embeddings in a file, so that a long clip needs no more memory than a short one.

    Attributes:
        units: of what was embedded: frames of the video, samples of the sound.
    """

    def __init__(self, path: Path, width: int):
        self.path, self.width, self.units = path, width, 0

    def write(self, blocks: Iterable[np.ndarray]) -> None:
        """Write all rows."""
        with self.path.open("wb") as file:
            for block in blocks:
                block.astype(np.float32, copy=False).tofile(file)

    def __len__(self) -> int:
        return self.path.stat().st_size // (4 * self.width)

    def rows(self, start: int, stop: int, end: int) -> np.ndarray:
        """Rows start to stop; zeros before row 0 and from row `end` on."""
        found = np.zeros((stop - start, self.width), np.float32)
        first, last = max(start, 0), min(stop, end)
        if first < last:
            flat = np.fromfile(self.path, np.float32, (last - first) * self.width, offset=4 * self.width * first)
            found[first - start : last - start] = flat.reshape(-1, self.width)
        return found


@METRICS.register("LSE")
class LSE(Metric):
    """Lip-sync error of a whole-frame face clip: confidence (LSE-C), distance (LSE-D) and offset, by SyncNet's file protocol.

    Each column is taken at the best of all shifts up to `vshift` frames; windows shifted beyond the clip count as zeros.
    Published weights: data/syncnet_v2.model of joonson/syncnet_python.

    Args:
        weights: the judge's file; "" = <checkpoints_dir>/LSE/syncnet_v2.model.
        protocol: "file": the frame is the face crop. The clip's whole frame is resized to the network's input.
        decode: "lossless", or "jpeg": through JPEG files like those that the published numbers were measured on.
        batch_size: windows at once; changes speed and memory only.
        vshift: largest shift, in frames.
        device: "auto", "cpu" or "cuda".
    """

    columns: ClassVar[Mapping[str, Column]] = {
        "LSE-C": Column(True, 0.0, math.inf),
        "LSE-D": Column(False, 0.0, math.inf),
        "offset": Column(None, -math.inf, math.inf, "frames"),
    }
    needs_truth = False
    needs_audio = True
    published: ClassVar[str] = "LSE/syncnet_v2.model"

    def __init__(
        self,
        weights: Path | str = "",
        protocol: str = "file",
        decode: str = "lossless",
        batch_size: int = 20,
        vshift: int = 15,
        device: str = "auto",
    ):
        for name, value, known in (("protocol", protocol, ("file",)), ("decode", decode, ("lossless", "jpeg"))):
            if value not in known:
                raise ConfigError(f"{type(self).__name__}.{name}: expected {' or '.join(known)}, got {value!r}.")
        for name, number, least in (("batch_size", batch_size, 1), ("vshift", vshift, 1)):
            if number < least:
                raise ConfigError(f"{type(self).__name__}.{name}: expected {least} or more, got {number}.")
        self.weights, self.decode, self.batch_size, self.vshift = str(weights), decode, batch_size, vshift
        cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
        self.device = torch.device("cuda" if cuda else "cpu")
        self._kept: dict[str, Embeddings] = {}

    def score(self, video: Video, truth: Video | None = None, audio: Path | None = None) -> dict[str, float]:
        """The three columns; equal files under an equal protocol are not measured twice.

        Raises:
            ScoreError: the video has no sound, or fewer than 6 frames at 25 fps.
            MissingWeightsError: the judge is not on this disk.
        """
        self.weights_file()
        if audio is None and not video.has_audio:
            raise ScoreError(f"{video.path} has no sound, and lip-sync needs one.")
        sound = audio or video.path
        part = [video.start, None if math.isinf(video.stop) else video.stop]
        key = {**self.protocol(), "video": video.content_hash(), "part": part, "audio": content_hash(sound)}

        def compute() -> dict[str, float]:
            result = self.measure(video, sound, 0.0 if audio else video.start)
            return dict(zip(self.columns, (result.confidence, result.distance, float(result.offset)), strict=True))

        return remember(type(self).__name__, key, compute)

    def measure(self, video: Video, sound: Path, start: float = 0.0) -> SyncScore:
        """All that the judge says of a video and of a sound from second `start` on."""
        lips, speech = self.lips(video), self.speech(sound, start)
        count = min(lips.units, speech.units // SAMPLES_PER_FRAME)
        if count < SHORTEST:
            seconds = speech.units / SAMPLE_RATE
            raise ScoreError(
                f"{video.path} is too short to be judged: {lips.units} frames at {FPS:g} fps, {seconds:.2f} s of sound; "
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

    def lips(self, video: Video) -> Embeddings:
        """The lip embeddings of a video, computed once; read at 25 fps by timestamps."""
        stop = None if math.isinf(video.stop) else video.stop
        video = type(video)(video.path, FPS, video.start, stop)
        name = f"{video.content_hash()}-{video.start}-{video.stop}.lips"
        frames = jpeg_degraded(video) if self.decode == "jpeg" else video

        def write(rows: Embeddings) -> None:
            rows.write(lip_embeddings(self.network, counted(frames, rows), self.batch_size))

        return self.embeddings(name, write)

    def speech(self, sound: Path, start: float = 0.0) -> Embeddings:
        """The speech embeddings of a sound file or video from second `start` on, computed once."""

        def write(rows: Embeddings) -> None:
            samples = load_samples(sound)[round(start * SAMPLE_RATE) :]
            rows.units = len(samples)
            features = mfcc(samples).astype(np.float32) if len(samples) else np.empty((13, 0), np.float32)
            del samples
            rows.write(speech_embeddings(self.network, features, self.batch_size))

        return self.embeddings(f"{content_hash(sound)}-{start}.speech", write)

    def embeddings(self, name: str, write: Callable[[Embeddings], None]) -> Embeddings:
        """Embeddings by name: written at the first call, kept on disk for as long as this metric lives."""
        if name not in self._kept:
            rows = Embeddings(Path(self._folder.name) / name, self.network.embedding)
            write(rows)
            self._kept[name] = rows
        return self._kept[name]

    @cached_property
    def _folder(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory(prefix="talkingface-lse-")

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
        return {
            "version": 1,
            "name": "file",
            "crop": "whole frame",
            "decode": self.decode,
            "fps": FPS,
            "window_frames": FRAMES,
            "vshift": self.vshift,
            "weights_hash": judge,
        }


@METRICS.register("DemoLSE")
class DemoLSE(LSE):
    """Lip-sync by the small judge that is shipped for the demo world. Its numbers say nothing beside those of LSE.

    Args:
        weights: a safetensors file whose metadata say "width", "image_size" and "embedding"; "" = the shipped judge.
    """

    columns: ClassVar[Mapping[str, Column]] = {f"{name} (demo judge)": column for name, column in LSE.columns.items()}
    shipped: ClassVar[Path] = Path(__file__).with_name("demo_judge.safetensors")

    def weights_file(self) -> Path:
        path = Path(self.weights).expanduser() if self.weights else self.shipped
        if not path.is_file():
            raise MissingWeightsError(self.missing(path))
        return path

    def missing(self, path: Path) -> str:
        return f"{path} does not exist: the demo world's judge. Install the package again, or set --DemoLSE.weights=FILE."

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
        return {**super().protocol(), "judge": "demo", "crop": "part of the frame, by the judge"}


def counted(frames: Iterable[np.ndarray], rows: Embeddings) -> Iterator[np.ndarray]:
    """The same frames, their number kept in `rows.units`."""
    for frame in frames:
        rows.units += 1
        yield frame
