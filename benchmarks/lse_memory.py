"""Does scoring a 10-minute clip need more memory than scoring a 10-second one?

    python benchmarks/lse_memory.py [--metrics LSE,SSIM,PSNR]

Each clip is scored in a process of its own, whose peak is read at its end. The judge is a narrow one, to be quick; the
frames, sound and embeddings are of full size. Fails above 1.1.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from talkingface.media.video import write_video

LIMIT, SHORT, LONG, SIZE = 1.1, 10, 600, 224


def make_clip(path: Path, length: int) -> None:
    """A clip of moving noise."""
    rng = np.random.default_rng(0)
    base = rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    frames = (np.roll(base, index, axis=1) for index in range(25 * length))
    write_video(path, frames, 25, audio=rng.uniform(-0.5, 0.5, 16_000 * length).astype(np.float32), crf=40)


def make_judge(path: Path) -> None:
    """A SyncNet of a sixteenth of the width, with embeddings of full length."""
    import torch

    from talkingface.model.syncnet.networks import SyncNet
    from talkingface.nn.weights import save_weights

    sizes = {"width": 0.0625, "image_size": 224, "embedding": 1024}
    torch.manual_seed(0)
    save_weights(path, SyncNet(**sizes).state_dict(), sizes)


def score(metric: str, clip: Path, judge: Path) -> None:
    """Score a clip; print the peak of this process in MiB and the wall time in seconds."""
    from talkingface.media.video import Video
    from talkingface.registry import METRICS

    settings = {"weights": judge} if metric == "LSE" else {}
    scorer = METRICS["DemoLSE" if metric == "LSE" else metric](**settings)
    start = time.perf_counter()
    scorer.score(Video(clip), Video(clip))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"peak": peak, "seconds": time.perf_counter() - start}))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--metrics", default="LSE,SSIM,PSNR")
    parser.add_argument("--score", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.score:
        score(options.score[0], Path(options.score[1]), Path(options.score[2]))
        return 0
    worst = 0.0
    with tempfile.TemporaryDirectory() as name:
        clips = {length: Path(name) / f"{length}.mp4" for length in (SHORT, LONG)}
        for length, path in clips.items():
            make_clip(path, length)
        make_judge(Path(name) / "judge.safetensors")
        for metric in options.metrics.split(","):
            found = {}
            for length, path in clips.items():
                command = [sys.executable, __file__, "--score", metric, str(path), str(Path(name) / "judge.safetensors")]
                environment = {**os.environ, "TALKINGFACE_CACHE": f"{name}/cache"}
                found[length] = json.loads(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)
            ratio = found[LONG]["peak"] / found[SHORT]["peak"]
            worst = max(worst, ratio)
            texts = [f"{length:4d} s: {f['peak']:7.1f} MiB in {f['seconds']:6.1f} s" for length, f in found.items()]
            print(f"{metric:5s} {'   '.join(texts)}   {ratio:.3f} x (limit {LIMIT})")
    return int(worst > LIMIT)


if __name__ == "__main__":
    raise SystemExit(main())
