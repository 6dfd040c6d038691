"""How long does scoring a folder take: beside the network's own work, beside the reference procedure, and with two processes?

    python benchmarks/scoring.py [--clips 8] [--many 64] [--seconds 3] [--metrics LSE,SSIM,PSNR]

Made-up weights of full size, one thread for each process. All are run side by side:
  own work    the judge's forward passes on frames and features that are in memory already
  ours        Evaluator on the files: every video decoded once for all metrics, windows of several clips in one batch
  two         many clips with two processes, which need some seconds to start, beside the same with one
  reference   the procedure of the published scripts: each video is decoded once for each metric; for LSE its frames are written
              as JPEG files and read back, windows of five frames are copied and go through the network 20 at a time
Fails above 1.1 x own work (LSE alone), and with less than 1.8 x from two processes where there are two cores to be had.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import cv2
import numpy as np
import torch

from talkingface.evaluator import Evaluator, Scored
from talkingface.media.audio import mfcc
from talkingface.media.video import Video, write_video
from talkingface.metric.base import Metric
from talkingface.metric.embeddings import load_samples
from talkingface.metric.similarity import PSNR, SSIM
from talkingface.metric.sync import LSE, distances, sync_score
from talkingface.model.syncnet.networks import SyncNet

SIZE, LIMIT, GAIN = 224, 1.1, 1.8


def seconds(call: Callable[[], object]) -> float:
    """Wall time of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def make_clips(folder: Path, count: int, length: float) -> list[Scored]:
    """Clips of moving blobs with noise as their sound, and real ones that differ a little."""
    clips = []
    for number in range(count):
        rng = np.random.default_rng(number)
        base = np.kron(rng.integers(0, 256, (SIZE // 8, SIZE // 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        sound = rng.uniform(-0.5, 0.5, round(16_000 * length)).astype(np.float32)
        for kind, step in (("ours", 3), ("real", 2)):
            frames = (np.roll(base, step * index, axis=1) for index in range(round(25 * length)))
            write_video(folder / f"{kind}{number}.mp4", frames, 25, audio=sound)
        clips.append(Scored(f"{number}", folder / f"ours{number}.mp4", folder / f"real{number}.mp4"))
    return clips


def own_work(network: SyncNet, clips: list[Scored]) -> Callable[[], object]:
    """The judge's forward passes alone."""
    ready = []
    for clip in clips:
        frames = np.stack([network.picture(frame) for frame in Video(clip.video)])
        planes = torch.from_numpy(frames).permute(3, 0, 1, 2)[None]
        ready.append((planes, torch.from_numpy(mfcc(load_samples(clip.video)).astype(np.float32))))

    def forward() -> None:
        for planes, features in ready:
            network.lip_sequence(planes, 20)
            network.audio_sequence(features, 20)

    return forward


@torch.no_grad()
def reference(network: SyncNet, clips: list[Scored], folder: Path, names: list[str]) -> None:
    """The published procedure."""
    for clip in clips:
        if "LSE" in names:
            for index, frame in enumerate(Video(clip.video)):
                cv2.imwrite(str(folder / f"{index:06d}.jpg"), frame[..., ::-1])
            files = sorted(folder.glob("*.jpg"))
            frames = np.stack([cv2.resize(cv2.imread(str(file)), (224, 224)) for file in files]).astype(np.float64)
            planes, features = (
                torch.from_numpy(frames.transpose(3, 0, 1, 2)).float(),
                torch.from_numpy(mfcc(load_samples(clip.video))),
            )
            count = len(files) - 5
            lips, speech = [], []
            for start in range(0, count, 20):
                stop = min(start + 20, count)
                lips.append(network.lip(torch.stack([planes[:, v : v + 5] for v in range(start, stop)])))
                windows = [features[None, :, 4 * v : 4 * v + 20].float() for v in range(start, stop)]
                speech.append(network.audio(torch.stack(windows)))
            padded = np.pad(torch.cat(speech).numpy(), ((15, 15), (0, 0)))
            sync_score(distances(torch.cat(lips).numpy(), padded))
            for file in files:
                file.unlink()
        for metric in [metric for name, metric in (("SSIM", SSIM()), ("PSNR", PSNR())) if name in names]:
            pairs = zip(Video(clip.video), Video(clip.truth or clip.video), strict=True)
            np.mean([metric.compare(ours, real) for ours, real in pairs])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--many", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--metrics", default="LSE,SSIM,PSNR")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    names = options.metrics.split(",")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.manual_seed(0)
        network = SyncNet().eval()
        torch.save(network.state_dict(), folder / "judge.pth")
        many = make_clips(folder, max(options.clips, options.many), options.seconds)
        clips = many[: options.clips]
        rounds = 0

        def ours(asked: list[str], clips: list[Scored] = clips, workers: int = 1) -> Callable[[], object]:
            nonlocal rounds
            rounds += 1
            os.environ["TALKINGFACE_CACHE"] = str(folder / f"cache{rounds}")
            made: dict[str, Metric] = {"LSE": LSE(weights=folder / "judge.pth", device="cpu"), "SSIM": SSIM(), "PSNR": PSNR()}
            return lambda: Evaluator({n: made[n] for n in asked}, workers=workers).evaluate(clips, progress=False)

        own = min(seconds(own_work(network, clips)) for _ in range(2))
        alone = min(seconds(ours(["LSE"])) for _ in range(2))
        own = min(own, seconds(own_work(network, clips)))
        all_metrics = seconds(ours(names))
        one, two = seconds(ours(names, many)), seconds(ours(names, many, workers=2))
        published = seconds(lambda: reference(network, clips, folder, names))
    print(f"{options.clips} clips of {options.seconds:g} s, {SIZE} x {SIZE}; one thread for each process")
    print(f"own work of the judge          {own:7.2f} s")
    print(f"ours, LSE                      {alone:7.2f} s   {alone / own:.3f} x own work (limit {LIMIT})")
    print(f"ours, {options.metrics:<24} {all_metrics:7.2f} s")
    print(f"reference procedure            {published:7.2f} s   {published / all_metrics:.2f} x ours")
    print(f"ours, {len(many):2d} clips, one process     {one:7.2f} s")
    print(f"the same with two processes    {two:7.2f} s   {one / two:.2f} x as fast")
    enough_cores = len(os.sched_getaffinity(0)) > 1
    return int(alone / own > LIMIT or (enough_cores and one / two < GAIN))


if __name__ == "__main__":
    raise SystemExit(main())
