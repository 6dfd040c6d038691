"""Training samples per second of Wav2Lip: our loader beside a straightforward one, in one process each, side by side.

The straightforward loader does for each sample what the authors' does: it lists the clip's folder, reads ten JPEG files of
face crops, resizes and stacks them, reads the wav and computes the mel of all of it. Target: ours is 20 times as fast.

    python benchmarks/loader.py [--seconds 6] [--clips 8] [--batch_size 16]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from talkingface.dataset.base import Clip
from talkingface.dataset.windows import FPS, FRAMES, first_column
from talkingface.media.audio import load_audio, melspectrogram, write_audio
from talkingface.model.wav2lip.data import MEL_WINDOW, MouthWindows, write_features
from talkingface.model.wav2lip.stages import GeneratorStage
from talkingface.trainer.loader import Order, load

TARGET = 20  # times as fast
CROP = 180  # side of the face crops on disk, pixels: what a face in a 480 x 270 video has


def face(rng: np.random.Generator, number: int) -> np.ndarray:
    """A picture (H, W, 3) that is about as hard to compress as a face."""
    soft = cv2.resize(rng.integers(0, 256, (12, 12, 3), np.uint8), (CROP, CROP), interpolation=cv2.INTER_CUBIC)
    return cv2.add(soft, rng.integers(0, 12, soft.shape, np.uint8))


def make_clip(folder: Path, number: int, seconds: float) -> Clip:
    """One clip in both forms: numbered JPEG files and audio.wav; and our features."""
    rng, count = np.random.default_rng(number), int(seconds * FPS)
    frames = [face(rng, t) for t in range(count)]
    home = folder / f"clip_{number}"
    home.mkdir()
    for t, frame in enumerate(frames):
        cv2.imwrite(str(home / f"{t}.jpg"), frame)
    write_audio(home / "audio.wav", rng.uniform(-0.3, 0.3, int(16_000 * seconds)))
    write_features(home, frames, np.tile([0, 0, CROP, CROP], (count, 1)), melspectrogram(load_audio(home / "audio.wav")))
    return Clip(str(number), home, home / "audio.wav", prepared=home)


class Straightforward(Dataset):
    """What the authors' loader does for one sample."""

    def __init__(self, clips: list[Clip]):
        self.clips = clips

    def __len__(self) -> int:
        return 10**9

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        rng = np.random.default_rng(index)
        folder = self.clips[rng.integers(len(self.clips))].face
        while True:
            names = [int(path.stem) for path in folder.glob("*.jpg")]
            real, wrong = (int(start) for start in rng.choice(names, 2, replace=False))
            windows = [[folder / f"{t}.jpg" for t in range(start, start + FRAMES)] for start in (real, wrong)]
            if real < 1 or not all(path.is_file() for window in windows for path in window):
                continue
            pictures = [[cv2.resize(cv2.imread(str(path)), (96, 96)) for path in window] for window in windows]
            mel = melspectrogram(load_audio(folder / "audio.wav"))
            mels = [mel[:, (c := first_column(f)) : c + MEL_WINDOW] for f in (*range(real - 1, real + FRAMES - 1), real)]
            if any(window.shape[1] != MEL_WINDOW for window in mels):
                continue
            truth, reference = ((np.asarray(p) / 255.0).transpose(3, 0, 1, 2) for p in pictures)
            masked = truth.copy()
            masked[:, :, 48:] = 0
            x = np.concatenate((masked, reference))
            return x.astype(np.float32), np.stack(mels[:-1])[:, None], mels[-1][None], truth.astype(np.float32)


def ours(clips: list[Clip], batch_size: int) -> Iterator[int]:
    """Batches through the trainer's loader, up to what the networks eat."""
    samples = MouthWindows(clips, per_clip=1000)
    order = Order(len(samples), batch_size)
    for share in load(samples, order.parts(0, 0), seed=0):
        yield len(GeneratorStage.inputs(share.batch)[0])


def theirs(clips: list[Clip], batch_size: int) -> Iterator[int]:
    """Batches of the straightforward loader."""
    for batch in DataLoader(Straightforward(clips), batch_size):
        yield len(batch[0])


def samples_per_second(batches: Callable[[], Iterator[int]], count: int) -> float:
    """Throughput over `count` batches, after a first one."""
    running = batches()
    next(running)
    start = time.process_time()
    total = sum(islice(running, count))
    return total / (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=6.0, help="length of a clip")
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--batch_size", type=int, default=16)
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        clips = [make_clip(Path(folder), number, args.seconds) for number in range(args.clips)]
        fast = samples_per_second(lambda: ours(clips, args.batch_size), 100)
        slow = samples_per_second(lambda: theirs(clips, args.batch_size), 10)
    for name, speed in {"straightforward": slow, "ours": fast}.items():
        print(f"{name:<16}{speed:9.1f} samples/s per core")
    print(f"ratio {fast / slow:19.1f}")
    sys.exit(fast / slow < TARGET)


if __name__ == "__main__":
    main()
