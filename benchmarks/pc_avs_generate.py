"""How much faster is generating with PC-AVS than a plain transcription of the authors' loop?

    python benchmarks/pc_avs_generate.py [--width 1.0] [--frames 24] [--threads 1]

Both make the same video of one picture, some speech and eight pose pictures, from files to a written video, with the same
made-up weights. The transcription does what the authors' inference.py does: batches of 16; weights of each sample's own in the
generator; identity and its pose anew in each batch; each frame twice, the second time with the identity's own pose, which is
thrown away; pose pictures anew whenever they come around; every frame written as JPEG, and read again to make the video. A
second speech for the same face and pose is timed as well. Times are the processor's, which a busy machine does not change much.
Fails where ours is not faster.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from talkingface.dataset.base import Clip
from talkingface.media.audio import load_audio, write_audio
from talkingface.media.image import read_image, write_image
from talkingface.media.video import Video, write_video
from talkingface.model.pc_avs import PC_AVS, speech
from talkingface.model.pc_avs.faces import to_pictures, to_unit, view
from talkingface.nn.stylegan2 import ModulatedConv
from talkingface.quick_start import generate

POSES, BATCH = 8, 16


# --- what is generated ------------------------------------------------------------------------------------------------


def make_clip(folder: Path, frames: int) -> Clip:
    """A picture, a folder of pose pictures, and speech for so many frames."""
    rng = np.random.default_rng(0)

    def blurred() -> np.ndarray:
        return cv2.GaussianBlur(rng.integers(0, 256, (224, 224, 3), np.uint8), (0, 0), 6)

    write_image(folder / "who" / "000000.jpg", blurred())
    for number in range(POSES):
        write_image(folder / "pose" / f"{number:06d}.jpg", blurred())
    for name in ("speech", "other"):
        write_audio(folder / f"{name}.wav", rng.uniform(-0.3, 0.3, 640 * (frames + 3)).astype(np.float32))
    return Clip("clip", folder / "who", folder / "speech.wav", pose=folder / "pose")


# --- the authors' loop ------------------------------------------------------------------------------------------------


def per_sample(conv: ModulatedConv, x: Tensor, style: Tensor) -> Tensor:
    """A modulated convolution with weights of each sample's own, as StyleGAN2's published code has it."""
    batch, channels, height, width = x.shape
    factors = conv.modulation(style)
    weight = conv.weight * conv.scale * factors[:, None, :, None, None]
    if conv.demodulate:
        weight = weight * torch.rsqrt(weight.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8)
    x, outputs = x.reshape(1, batch * channels, height, width), weight.shape[1]
    if conv.blur is None:
        y = F.conv2d(x, weight.flatten(0, 1), padding=conv.padding, groups=batch)
        return y.unflatten(1, (batch, outputs))[0]
    weight = weight.transpose(1, 2).reshape(batch * channels, outputs, *weight.shape[3:])
    y = F.conv_transpose2d(x, weight, stride=2, groups=batch)
    return conv.blur(y.unflatten(1, (batch, outputs))[0])


@torch.inference_mode()
def transcription(model: PC_AVS, clip: Clip, folder: Path) -> int:
    """The authors' loop, from files to a video. Returns the number of frames."""
    for name in ("Input_", "G_Pose_Driven_", "Pose_Source_"):
        (folder / name).mkdir(parents=True)
    rows = speech.spectrogram(load_audio(clip.audio))
    frames = speech.published_frames(len(rows))
    for first in range(0, len(frames), BATCH):
        here = frames[first : first + BATCH]
        poses = read([clip.pose / f"{int(index):06d}.jpg" for index in speech.pose_index(here, POSES)])
        who = read([clip.face / "000000.jpg"] * len(here))
        mels = torch.from_numpy(np.stack([speech.window(rows, int(frame)) for frame in here]))[:, None]
        pooled, start = model.identity.encode(who)
        mouth = model.content(mels)
        for name, pictures in (("Pose_Source_", poses), ("", who)):
            code = model.pose_mouth.pose_code(model.pose_mouth(pictures))
            made = model.generator(torch.cat((pooled, mouth, code), dim=1), start, ())
            if name:
                shown = {"G_Pose_Driven_": made, "Input_": who, name: pictures}
                for kind, tensors in shown.items():
                    for offset, picture in enumerate(to_pictures(tensors)):
                        write_image(folder / kind / f"{first + offset:06d}.jpg", picture)
    return write_video(folder / "made.mp4", (read_image(path) for path in sorted((folder / "G_Pose_Driven_").iterdir())), 25)


def read(paths: list[Path]) -> Tensor:
    """Pictures as the networks eat them."""
    return to_unit(np.stack([view(read_image(path)) for path in paths]))


class AsPublished:
    """While this lasts, modulated convolutions have weights of each sample's own."""

    def __enter__(self) -> None:
        self.before = ModulatedConv.forward
        ModulatedConv.forward = per_sample

    def __exit__(self, *_: object) -> None:
        ModulatedConv.forward = self.before


# --- both -------------------------------------------------------------------------------------------------------------


def timed(label: str, action: Callable[[], int]) -> float:
    """Seconds of the processor per frame of an action that returns its frames; printed."""
    start = time.process_time()
    count = action()
    seconds = time.process_time() - start
    print(f"{label:<44} {count:4d} frames, {seconds:7.2f} s, {seconds / count:6.3f} s per frame", flush=True)
    return seconds / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=float, default=1.0, help="of the networks")
    parser.add_argument("--frames", type=int, default=24, help="to generate")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model = PC_AVS(args.width, borders="cut", noise="none").eval()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = make_clip(folder, args.frames)
        other = Clip("other", clip.face, folder / "other.wav", pose=clip.pose)
        with AsPublished():
            theirs = timed("the authors' loop", lambda: transcription(model, clip, folder / "theirs"))
        ours = timed("talkingface", lambda: generate(model, clip, folder / "ours.mp4")["frames"])
        second = timed("talkingface, a second speech", lambda: generate(model, other, folder / "other.mp4")["frames"])
        pairs = zip(Video(folder / "theirs" / "made.mp4"), Video(folder / "ours.mp4"), strict=True)
        difference = np.mean([np.abs(one.astype(int) - two).mean() for one, two in pairs])
    print(f"{ours / theirs:.2f} x the authors' time, {second / theirs:.2f} x for a second speech")
    print(f"mean difference of the frames {difference:.2f} grey levels (JPEG and H.264)")
    sys.exit(theirs <= ours)


if __name__ == "__main__":
    main()
