"""Does generating a 10-minute clip need more memory than generating a 10-second one?

    python benchmarks/generate_memory.py [--model Wav2Lip] [--width 0.1] [--faces] [--seconds 600]

Each clip is generated in a process of its own, from video and sound to the written file; its peak is read at the end. The
networks are narrow ones, to be quick; frames, sound and batches are of full size. Models: Wav2Lip, PC_AVS, MakeItTalk,
VideoReTalking. With --faces boxes come from a file of landmarks beside the video (always with VideoReTalking), else the box
is fixed (Wav2Lip). With PC_AVS the video shows face and pose; with MakeItTalk a character speaks. Fails above 1.1.
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
from typing import TYPE_CHECKING

import numpy as np

from talkingface.media.audio import write_audio
from talkingface.media.video import write_video

if TYPE_CHECKING:
    from talkingface.model.base import TalkingFace

LIMIT, SHORT, LONG, SIZE, FPS = 1.1, 10, 600, 224, 25


def make_clip(stem: Path, length: int, landmarks: bool) -> None:
    """A video of moving noise, its sound, and perhaps a file of landmarks."""
    rng = np.random.default_rng(0)
    base = rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    write_video(stem.with_suffix(".mp4"), (np.roll(base, t, axis=1) for t in range(FPS * length)), FPS, crf=40)
    write_audio(stem.with_suffix(".wav"), rng.uniform(-0.5, 0.5, 16_000 * length).astype(np.float32))
    if landmarks:
        from talkingface.model.makeittalk.puppet import standard_points

        points = standard_points(SIZE, SIZE)[:, :2].astype(np.float32)
        track = np.broadcast_to(points, (FPS * length, 68, 2))
        np.savez(stem.with_suffix(".landmarks.npz"), landmarks=track, detected=np.ones(len(track), bool))


def make_character(stem: Path) -> None:
    """A picture of noise with a face in its middle, and a character's files beside it."""
    from talkingface.media.image import write_image
    from talkingface.model.makeittalk.puppet import make_puppet, standard_points

    picture = stem.with_suffix(".png")
    write_image(picture, np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8))
    make_puppet(picture, standard_points(SIZE, SIZE))


def build(name: str, width: float, landmarks: bool) -> TalkingFace:
    """A narrow model."""
    if name == "PC_AVS":
        from talkingface.model.pc_avs import PC_AVS

        return PC_AVS(width, image_size=64)
    if name == "MakeItTalk":
        from talkingface.model.makeittalk import MakeItTalk

        return MakeItTalk(width, speaker_embedding="spectrum")
    if name == "VideoReTalking":
        from talkingface.model.videoretalking import VideoReTalking

        return VideoReTalking(width, 1, head_size=64, img_size=96, coefficients="landmarks", restoration="off")
    from talkingface.model.wav2lip import Wav2Lip

    return Wav2Lip(width, box=(-1, -1, -1, -1) if landmarks else (50, 180, 60, 170))


def generate(stem: Path, name: str, width: float, landmarks: bool) -> None:
    """Generate a clip; print the frames, the peak of this process in MiB and the wall time in seconds."""
    import torch

    from talkingface.dataset.base import Clip

    torch.set_num_threads(1)
    model = build(name, width, landmarks).eval()
    clip = Clip("clip", stem.with_suffix(".png" if name == "MakeItTalk" else ".mp4"), stem.with_suffix(".wav"))
    start = time.perf_counter()
    frames = (frame.image for frame in model.generate(clip))
    count = write_video(stem.with_name("out.mp4"), frames, model.frame_rate(clip), audio=clip.audio, crf=40)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"frames": count, "peak": peak, "seconds": time.perf_counter() - start}))


def measure(length: int, args: argparse.Namespace) -> dict[str, float]:
    """Generate a clip of so many seconds in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        stem = Path(folder) / "clip"
        make_clip(stem, length, args.faces or args.model == "VideoReTalking")
        if args.model == "MakeItTalk":
            make_character(stem)
        command = [sys.executable, __file__, "--clip", str(stem), "--model", args.model, "--width", str(args.width)]
        command += ["--faces"] * args.faces
        environment = {**os.environ, "TALKINGFACE_CACHE": folder}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("Wav2Lip", "PC_AVS", "MakeItTalk", "VideoReTalking"), default="Wav2Lip")
    parser.add_argument("--seconds", type=int, default=LONG, help="of the long clip")
    parser.add_argument("--width", type=float, default=0.1, help="of the networks")
    parser.add_argument("--faces", action="store_true", help="boxes from landmarks instead of a fixed one")
    parser.add_argument("--clip", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.clip:
        generate(args.clip, args.model, args.width, args.faces)
        return
    peaks = []
    for length in (SHORT, args.seconds):
        result = measure(length, args)
        peaks.append(result["peak"])
        print(f"{length:4d} s: {result['frames']:6d} frames, peak {result['peak']:7.1f} MiB, {result['seconds']:6.1f} s")
    ratio = peaks[1] / peaks[0]
    print(f"ratio {ratio:.3f} (at most {LIMIT})")
    sys.exit(ratio > LIMIT)


if __name__ == "__main__":
    main()
