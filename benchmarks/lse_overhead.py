"""How much longer does it take to score a clip with LSE than the judge's own forward pass, and how long a second time?

    python benchmarks/lse_overhead.py [--seconds 6] [--size 256] [--rounds 3]

Made-up weights of full size. Each round runs both side by side; the best of each is compared. Fails above 1.15.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from talkingface.media.audio import mfcc
from talkingface.media.video import Video, write_video
from talkingface.metric.sync import LSE, load_samples
from talkingface.model.syncnet.networks import SyncNet

LIMIT = 1.15


def seconds(call: Callable[[], object]) -> float:
    """Wall time of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def make_clip(path: Path, length: float, size: int) -> None:
    """A clip of moving blobs with noise as its sound."""
    rng = np.random.default_rng(0)
    base = np.kron(rng.integers(0, 256, (size // 8, size // 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    frames = (np.roll(base, 3 * index, axis=1) for index in range(round(25 * length)))
    write_video(path, frames, 25, audio=rng.uniform(-0.5, 0.5, round(16_000 * length)).astype(np.float32))


def forward_pass(network: SyncNet, clip: Path) -> Callable[[], object]:
    """The judge's own work on a clip that is in memory already, as tensors of the right size."""
    frames = Video(clip, 25).read()
    faces = torch.nn.functional.interpolate(torch.from_numpy(frames).permute(0, 3, 1, 2).float(), (224, 224))
    faces, features = faces.permute(1, 0, 2, 3)[None], torch.from_numpy(mfcc(load_samples(clip))).float()

    def forward() -> None:
        network.lip_sequence(faces, 20)
        network.audio_sequence(features, 20)

    return forward


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["TALKINGFACE_CACHE"] = str(folder / "cache")
        torch.manual_seed(0)
        network = SyncNet().eval()
        torch.save(network.state_dict(), folder / "judge.pth")
        make_clip(folder / "clip.mp4", options.seconds, options.size)
        forward = forward_pass(network, folder / "clip.mp4")
        own, scoring, second = [], [], []
        for index in range(options.rounds):
            os.environ["TALKINGFACE_CACHE"] = str(folder / f"cache{index}")
            metric, again = (LSE(weights=folder / "judge.pth", device="cpu") for _ in range(2))
            assert metric.network is not None  # loaded once for a whole set, not for each clip
            own.append(seconds(forward))
            scoring.append(seconds(lambda metric=metric: metric.score(Video(folder / "clip.mp4"))))
            second.append(seconds(lambda again=again: again.score(Video(folder / "clip.mp4"))))
    ratio = min(scoring) / min(own)
    print(f"clip: {options.seconds:g} s of {options.size} x {options.size}, {torch.get_num_threads()} threads")
    print(f"network's own forward  {min(own):7.3f} s")
    print(f"LSE.score(file)        {min(scoring):7.3f} s   {ratio:.3f} x (limit {LIMIT})")
    print(f"the same file again    {min(second):7.3f} s   {min(second) / min(scoring):.4f} x")
    return int(ratio > LIMIT)


if __name__ == "__main__":
    raise SystemExit(main())
