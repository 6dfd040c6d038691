"""From clips to what SyncNet is trained on: whole frames, BGR as the network sees them, and the MFCC of their sound."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from talkingface.dataset.base import Clip, ClipSamples, prepared_folders
from talkingface.errors import MediaError
from talkingface.media.audio import load_audio, mfcc, to_int16
from talkingface.media.video import Video
from talkingface.model.syncnet.networks import COLUMNS, COLUMNS_PER_FRAME, FRAMES, SyncNet

log = logging.getLogger(__name__)

FPS = 25
SHORTEST = 2 * FRAMES  # frames of a clip that can be trained on


def prepare(clip: Clip, folder: Path, network: SyncNet) -> None:
    """Write frames.npy (T, S, S, 3) uint8 BGR, 25 per second by timestamps, and mfcc.npy (columns, 13) float32.

    The network looks at the same part of a frame as in the file protocol of LSE: clips should be face crops.

    Raises:
        MediaError: picture or sound cannot be read, or they are too short.
    """
    video = Video(clip.face, fps=FPS)
    cepstra = mfcc(to_int16(load_audio(clip.audio))).T
    windows = num_windows(len(video), len(cepstra))
    if windows + FRAMES - 1 < SHORTEST:
        sound = f"{len(cepstra) / 100:.2f} s of sound"
        raise MediaError(f"{clip.face}: {len(video)} frames and {sound}; {SHORTEST} frames of both are needed.")
    shape = (len(video), network.image_size, network.image_size, 3)
    frames = np.lib.format.open_memmap(folder / "frames.npy", "w+", np.uint8, shape)
    for t, frame in enumerate(video):
        frames[t] = network.picture(frame)
    frames.flush()
    np.save(folder / "mfcc.npy", np.ascontiguousarray(cepstra, np.float32))


def num_windows(frames: int, columns: int) -> int:
    """Frames at which five frames and their 20 columns of speech begin."""
    return max(0, min(frames - FRAMES, (columns - COLUMNS) // COLUMNS_PER_FRAME) + 1)


class Features(NamedTuple):
    """What `prepare` wrote."""

    frames: np.ndarray
    mfcc: np.ndarray

    @classmethod
    def open(cls, folder: Path) -> Features:
        """Map the frames, read the rest."""
        return cls(np.asarray(np.load(folder / "frames.npy", mmap_mode="r")), np.load(folder / "mfcc.npy"))


class Stretches(ClipSamples[Features]):
    """Stretches of clips: the speech of all places in a stretch, and the lips of some of them.

    Args:
        shifts: places in a stretch, frames. Clips that are shorter are left out, and counted in a warning; if all are, the
            stretch is as long as the shortest clip allows.
        windows: places whose lips are looked at.
        per_clip: stretches of each clip per epoch.
        augment: share of the windows whose pictures are changed: colors, brightness, place, size, side and sharpness.
    """

    def __init__(self, clips: Sequence[Clip], shifts: int = 31, windows: int = 4, per_clip: int = 1, augment: float = 0.0):
        folders = prepared_folders(clips)
        lengths = {folder: num_windows(*(len(part) for part in Features.open(folder))) for folder in folders}
        self.shifts = min(shifts, max(lengths.values(), default=shifts))
        super().__init__([folder for folder in folders if lengths[folder] >= self.shifts], Features.open, per_clip)
        if len(self.folders) < len(folders):
            seconds, short = (self.shifts + FRAMES - 1) / FPS, len(folders) - len(self.folders)
            log.warning("%d of %d clips are shorter than %.2f s and are left out.", short, len(folders), seconds)
        self.windows, self.augment = min(windows, self.shifts), augment

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """A random stretch.

        Returns:
            frames: (windows, 5, S, S, 3) uint8 BGR; mfcc: (columns, 13), the speech of the whole stretch; places: (windows,)
            int64, where in the stretch the frames belong.
        """
        features = self.features(index)
        begin = int(rng.integers(num_windows(len(features.frames), len(features.mfcc)) - self.shifts + 1))
        places = rng.choice(self.shifts, self.windows, replace=False)
        windows = [features.frames[begin + place : begin + place + FRAMES] for place in places]
        frames = np.stack([augmented(window, rng) if rng.random() < self.augment else window for window in windows])
        columns = slice(COLUMNS_PER_FRAME * begin, COLUMNS_PER_FRAME * (begin + self.shifts - 1) + COLUMNS)
        return {"frames": frames, "mfcc": features.mfcc[columns], "places": places.astype(np.int64)}


def augmented(window: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Five frames (5, S, S, 3) uint8 as another camera might show them; all five are changed alike."""
    side = window.shape[1]
    gain, lift = rng.uniform(0.8, 1.2) * rng.uniform(0.95, 1.05, 3), rng.uniform(-12, 12)
    zoom, shift = rng.uniform(0.95, 1.05), rng.uniform(-0.03, 0.03, 2) * side
    scale, middle = np.array([zoom if rng.random() < 0.5 else -zoom, zoom]), (side - 1) / 2
    matrix = np.column_stack((np.diag(scale), middle * (1 - scale) + shift))
    factor = rng.uniform(1, 2.5) if rng.random() < 0.5 else 1.0
    top = int(rng.uniform(0.4, 0.6) * side) if rng.random() < 0.5 else 0  # what is blurred: all, or the lower part alone
    table = np.clip(np.arange(256)[:, None] * gain + lift, 0, 255).astype(np.uint8)[:, None]
    changed = np.empty_like(window)
    for frame, out in zip(window, changed, strict=True):
        moved = cv2.warpAffine(frame, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        out[:] = cv2.LUT(moved, np.ascontiguousarray(table.reshape(256, 1, 3)))
        if factor > 1:
            small = cv2.resize(out, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
            out[top:] = cv2.resize(small, (side, side), interpolation=cv2.INTER_LINEAR)[top:]
    return changed
