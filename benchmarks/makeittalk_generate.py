"""How much faster is a portrait painted than by a plain transcription of the authors' loop?

    python benchmarks/makeittalk_generate.py [--width 1.0] [--seconds 1.0] [--threads 1] [--clock cpu|wall]

Both make a portrait say the same speech, from files to a written video, with the same made-up weights. The transcription does
what the authors' main_end2end.py does: the wave is written again at -20 dB; all windows of 18 mel rows are copied, and each row
is looked at 18 times; landmarks go through a text file; then 62.5 times per second one drawing and the portrait go through the
image translation, which convolves doubled pictures; the three panels are written as MJPG, read again and encoded. Ours runs
once with as many frames, then at its 25 per second, held to the end of the speech, and once more with another speech. Loading
the networks, which the authors do for each wave, is not counted. Fails where ours is not faster per frame.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talkingface.dataset.base import Clip
from talkingface.face.finder import FaceFinder
from talkingface.face.points import read_points, write_points
from talkingface.media.audio import load_audio, to_int16, write_audio
from talkingface.media.image import read_image, write_image
from talkingface.media.video import write_video
from talkingface.model.makeittalk import MakeItTalk, speech
from talkingface.model.makeittalk import landmarks as lm
from talkingface.model.makeittalk.draw import draw_landmarks
from talkingface.model.makeittalk.networks.content import ContentBranch, sliding
from talkingface.model.makeittalk.networks.speaker import SpeakerBranch
from talkingface.model.makeittalk.networks.translation import ConvOfDoubled
from talkingface.model.makeittalk.tables import STANDARD_FACE
from talkingface.quick_start import generate

SIDE, RATE = 256, 62.5
CLOCKS = {"cpu": time.process_time, "wall": time.perf_counter}


# --- what is generated ------------------------------------------------------------------------------------------------


def make_clip(folder: Path, seconds: float) -> Clip:
    """A portrait with its landmarks, and two speeches."""
    rng = np.random.default_rng(0)
    write_image(folder / "face.png", cv2.GaussianBlur(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8), (0, 0), 6))
    write_points(folder / "face.pts", STANDARD_FACE[:, :2] * 90 + [128, 120])
    time_axis = np.arange(round(16_000 * seconds)) / 16_000
    for name, hertz in (("speech", 150), ("other", 210)):
        voice = sum(np.sin(2 * np.pi * k * hertz * time_axis) / k for k in range(1, 10))
        noise = 0.01 * rng.standard_normal(len(time_axis))
        write_audio(folder / f"{name}.wav", (0.1 * voice * np.sin(6 * np.pi * time_axis) ** 2 + noise).astype(np.float32))
    return Clip("clip", folder / "face.png", folder / "speech.wav")


# --- the authors' loop ------------------------------------------------------------------------------------------------


@torch.inference_mode()
def transcription(model: MakeItTalk, clip: Clip, folder: Path) -> int:
    """The authors' loop, from files to a video. Returns the number of frames."""
    folder.mkdir()
    samples = to_int16(load_audio(clip.audio))
    write_audio(folder / "tmp.wav", speech.normalised_loudness(samples) / np.float32(32768))
    said = speech.features(to_int16(load_audio(folder / "tmp.wav")), model.embed)
    said = said._replace(embedding=model.embed(samples))
    face = lm.normalise(lm.prepare_face(read_points(clip.face.with_suffix(".pts")), model.motion))
    rows = whole_windows(model, face.points, speech.convert(model.converter, said), said.embedding)
    write_points(folder / "pred_fls.txt", lm.finish(rows).reshape(len(rows), -1), 6)
    rows = lm.to_pixels(np.loadtxt(folder / "pred_fls.txt").reshape(-1, 68, 3), face.scale, face.shift)
    rows = lm.smooth(lm.blink(rows, lm.blink_times(len(rows))))
    paint(model.translator, read_image(clip.face)[..., ::-1], rows, folder / "out.avi")
    return write_video(folder / "made.mp4", panels(folder / "out.avi"), RATE, audio=clip.audio)


def whole_windows(model: MakeItTalk, face: np.ndarray, mel: np.ndarray, embedding: np.ndarray) -> np.ndarray:
    """Landmarks (N, 68, 3) of copied windows, chunk by chunk."""
    windows = sliding(torch.from_numpy(speech.normalised_mel(mel)))[:-1].contiguous()
    identity, voice = torch.from_numpy(face.reshape(1, -1)).float(), 3.0 * torch.from_numpy(embedding)
    made = []
    for chunk in windows.split(512):
        head = model.speaker(chunk, voice.expand(len(chunk), -1))[0]
        lips = model.content(chunk, identity.expand(len(chunk), -1))
        made.append(lm.repair_lips(lm.combine(lm.as_rows(head), lm.as_rows(lips), model.motion) + face))
    return np.concatenate(made)


def paint(network: nn.Module, portrait: np.ndarray, rows: np.ndarray, path: Path) -> None:
    """One frame at a time, three panels each, as MJPG."""
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), RATE, (3 * SIDE, SIDE))
    for row in rows:
        drawn = draw_landmarks(row)
        given = np.concatenate((drawn, portrait), axis=2).astype(np.float32).transpose(2, 0, 1)[None] / 255
        painted = network(torch.from_numpy(given)).tanh()[0].numpy().transpose(1, 2, 0)
        video.write((np.concatenate((portrait / 255, np.maximum(painted, 0), drawn / 255), axis=1) * 255).astype(np.uint8))
    video.release()


def panels(path: Path) -> list[np.ndarray]:
    """The frames of an MJPG file."""
    video, frames = cv2.VideoCapture(str(path)), []
    while (read := video.read())[0]:
        frames.append(read[1][..., ::-1].copy())
    return frames


def doubled_first(conv: ConvOfDoubled, x: Tensor) -> Tensor:
    """The convolution of a picture that is doubled first, as in the authors' network."""
    return F.conv2d(F.interpolate(x, scale_factor=2.0), conv.weight, padding=1)


class AsPublished:
    """While this lasts, pictures are doubled before they are convolved."""

    def __enter__(self) -> None:
        self.before = ConvOfDoubled.forward
        ConvOfDoubled.forward = doubled_first

    def __exit__(self, *_: object) -> None:
        ConvOfDoubled.forward = self.before


# --- both -------------------------------------------------------------------------------------------------------------


def lively(network: ContentBranch | SpeakerBranch, factor: float) -> None:
    """Made-up weights with which a face moves, but not out of the picture: an unmoved face would be painted once."""
    last = network.fc[-1] if isinstance(network, ContentBranch) else network.out[-1]
    last.weight.data *= factor


def timed(label: str, seconds: float, clock: Callable[[], float], action: Callable[[], int]) -> float:
    """Seconds per frame of an action that returns its frames; printed, with seconds per second of speech."""
    start = clock()
    count = action()
    taken = clock() - start
    print(f"{label:<34} {count:4d} frames, {taken / count:6.3f} s per frame, {taken / seconds:7.2f} s per second", flush=True)
    return taken / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=float, default=1.0, help="of the networks")
    parser.add_argument("--seconds", type=float, default=1.0, help="of speech")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--clock", choices=CLOCKS, default="cpu", help="cpu does not count what else the machine does")
    args = parser.parse_args()
    clock = CLOCKS[args.clock]
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    ours = MakeItTalk(args.width, speaker_embedding="spectrum").eval()
    as_many = MakeItTalk(args.width, speaker_embedding="spectrum", fps=RATE, to_the_end=False).eval()
    as_many.load_state_dict(ours.state_dict())
    for model in (ours, as_many):
        model.faces = FaceFinder(detector="files")
        lively(model.content, 3.0)
        lively(model.speaker, 3.0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = make_clip(folder, args.seconds)
        other = replace(clip, audio=folder / "other.wav")
        with AsPublished():
            theirs = timed("the authors' loop", args.seconds, clock, lambda: transcription(as_many, clip, folder / "theirs"))
        same = timed("ours, as many frames", args.seconds, clock, lambda: generate(as_many, clip, folder / "b.mp4")["frames"])
        timed("ours, 25 frames per second", args.seconds, clock, lambda: generate(ours, clip, folder / "a.mp4")["frames"])
        timed("ours, another speech", args.seconds, clock, lambda: generate(ours, other, folder / "c.mp4")["frames"])
    print(f"ratio per frame {same / theirs:.2f} (below 1); 25 frames per second are {RATE / 25:.1f} times fewer")
    sys.exit(same >= theirs)


if __name__ == "__main__":
    main()
