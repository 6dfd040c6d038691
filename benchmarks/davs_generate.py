"""How much faster is generating with DAVS than a plain transcription of the authors' loop?

    python benchmarks/davs_generate.py [--type audio] [--frames 24] [--width 1.0] [--threads 1]

Both make the same pictures of one face, driven by a folder of windows of speech (or, with --type video, of aligned faces), with
the same made-up weights, from files to files. The transcription does what the authors' test_all.py does: five steps of
fine-tuning on the picture, each with a new Adam over all parameters; then one driving item at a time, the identity encoded
anew for each, and pictures written one by one. Their program also reads data and checkpoint again for each face, which is left
out here. A second speech for the same face is timed as well. Times are the processor's, which a busy machine does not change
much. Fails where ours is not faster.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from talkingface.dataset.base import Clip
from talkingface.media.image import read_image, write_image
from talkingface.media.mfcc import read_bin, write_bin
from talkingface.model.davs import DAVS

SIDE, FIRST, BORDER = 260, 2, 2
ROWS, COLUMNS = slice(170, 234), slice(64, 192)  # of the mouth
STEPS = 5


# --- what is generated ------------------------------------------------------------------------------------------------


def make_clip(folder: Path, kind: str, frames: int) -> Clip:
    """A picture, and a folder of so many windows of speech or aligned faces."""
    rng = np.random.default_rng(0)

    def blurred() -> np.ndarray:
        return cv2.GaussianBlur(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8), (0, 0), 6)

    write_image(folder / "who.png", blurred())
    for name in ("sample", "other"):
        for number in range(FIRST, FIRST + frames):
            if kind == "audio":
                write_bin(folder / name / f"{number}.bin", rng.standard_normal((20, 12)))
            else:
                write_image(folder / name / f"{number}.png", blurred())
    return Clip("clip", folder / "who.png", folder / "sample")


# --- the authors' loop ------------------------------------------------------------------------------------------------


def transcription(model: DAVS, clip: Clip, kind: str, folder: Path) -> int:
    """The authors' loop, from files to pictures. Returns the number of frames."""
    identity, decoder = deepcopy(model.identity), deepcopy(model.decoder)
    picture = to_network(read_image(clip.face))
    files = sorted(clip.audio.iterdir(), key=lambda path: int(path.stem))
    for path in files[:STEPS]:
        words = embedding(model, kind, path) if kind == "audio" else model.lips(picture[:, None])[:, 0]
        loss = 4 * masked_difference(decoder(identity(picture), words.detach()), picture)
        optimizer = torch.optim.Adam([*identity.parameters(), *decoder.parameters()], lr=2e-4)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        for number, path in enumerate(files):
            words = embedding(model, kind, path)
            made = decoder(identity(picture), words * (1.5 if kind == "audio" else 0.8))
            write_image(folder / f"who_real_A_{number}.png", to_picture(picture))
            write_image(folder / f"who_fake_B_{number}.png", to_picture(made))
    return len(files)


@torch.no_grad()
def embedding(model: DAVS, kind: str, path: Path) -> Tensor:
    """What one file says."""
    if kind == "audio":
        window = torch.from_numpy(read_bin(path).astype(np.float32))
        return model.speech(window[None, None, None])[:, 0]
    return model.lips(to_network(read_image(path))[:, None])[:, 0]


def to_network(picture: np.ndarray) -> Tensor:
    """A face with its border as the networks see it."""
    inside = picture[BORDER : BORDER + 256, BORDER : BORDER + 256].astype(np.float64) / 255
    return torch.from_numpy(inside.astype(np.float32)).permute(2, 0, 1)[None]


def to_picture(made: Tensor) -> np.ndarray:
    """What the networks make as a picture."""
    return (made[0] * 255).byte().permute(1, 2, 0).numpy()


def masked_difference(made: Tensor, picture: Tensor) -> Tensor:
    """Mean absolute difference, the mouth all but left out."""
    mask = torch.ones_like(picture)
    mask[:, :, ROWS, COLUMNS] = 0.001
    return (made * mask - picture * mask).abs().mean()


# --- both -------------------------------------------------------------------------------------------------------------


def timed(label: str, action: Callable[[], int]) -> float:
    """Seconds of the processor per frame of an action that returns its frames; printed."""
    start = time.process_time()
    count = action()
    seconds = time.process_time() - start
    print(f"{label:<44} {count:4d} frames, {seconds:7.2f} s, {seconds / count:6.3f} s per frame", flush=True)
    return seconds / count


def pictures(folder: Path, name: str) -> Iterator[np.ndarray]:
    """The pictures of a folder whose names begin so, by their number."""
    files = folder.rglob(f"{name}_*.png")
    return (read_image(path) for path in sorted(files, key=lambda path: int(path.stem.rpartition("_")[2])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--type", choices=("audio", "video"), default="audio", help="what drives")
    parser.add_argument("--frames", type=int, default=24, help="to generate")
    parser.add_argument("--width", type=float, default=1.0, help="of the networks")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = DAVS(args.width, test_type=args.type, borders="cut", results_dir=str(folder / "ours"), align="never").eval()
        clip = make_clip(folder, args.type, args.frames)
        other = Clip("other", clip.face, folder / "other")
        theirs = timed("the authors' loop", lambda: transcription(model, clip, args.type, folder / "theirs"))
        ours = timed("talkingface", lambda: sum(1 for _ in model.generate(clip)))
        kind = "audio" if args.type == "audio" else "image"
        pairs = zip(pictures(folder / "theirs", "who_fake"), pictures(folder / "ours", f"who_fake_{kind}"), strict=True)
        difference = np.mean([np.abs(one.astype(int) - two).mean() for one, two in pairs])
        model.results_dir = ""
        second = timed("talkingface, a second stream", lambda: sum(1 for _ in model.generate(other)))
    print(f"{ours / theirs:.2f} x the authors' time, {second / theirs:.2f} x for a second stream")
    print(f"mean difference of the frames {difference:.2f} grey levels")
    sys.exit(theirs <= ours)


if __name__ == "__main__":
    main()
