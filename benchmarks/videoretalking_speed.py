"""How long does each step of VideoReTalking take per frame, ours against a plain transcription of the authors' loop?

    python benchmarks/videoretalking_speed.py VIDEO [--frames 2]

Full-size networks with made-up weights, GPEN, GFPGAN and ParseNet among them, on one thread; seconds of processor time, so that
other work on the machine counts little. The transcription calls every network as often as the authors' program does, one frame at
a time: S3FD and FAN twice on heads and S3FD once more on frames, RetinaFace three times, ParseNet three times, whole frames
blended at 512 x 512, heads written to disk and read again. The detectors run and their answers are thrown away (their weights are
made up): where the face is, both are told by landmarks beside the video (see `FaceFinder`).
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from talkingface.dataset.base import Clip
from talkingface.face.finder import FaceFinder
from talkingface.face.s3fd import FaceAlignmentS3FD
from talkingface.media.audio import write_audio
from talkingface.media.files import CACHE
from talkingface.media.image import resize
from talkingface.media.video import Video, write_video
from talkingface.model.videoretalking.coefficients import network_coefficients
from talkingface.model.videoretalking.detectors import fan_view
from talkingface.model.videoretalking.enhance import enhance
from talkingface.model.videoretalking.geometry import SIDE, steering, window_frames
from talkingface.model.videoretalking.model import VideoReTalking
from talkingface.model.videoretalking.networks import Gfpgan, Gpen, ParseNet, RetinaFace
from talkingface.model.videoretalking.paste import as_authors
from talkingface.model.videoretalking.reference import known_face, with_head
from talkingface.model.videoretalking.retinaface import RetinaFaceDetector
from talkingface.model.videoretalking.speak import face_pair, speak
from talkingface.model.videoretalking.stabilise import redrawn
from talkingface.model.videoretalking.steps import Retalking

STEPS = ("1 faces", "2 coefficients", "3 heads", "4 references", "5 speech", "6 frames")
FAST_SIDE = 640  # pixels to which our finder reduces frames for S3FD


class Clock:
    """Processor seconds of each step."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STEPS, 0.0)

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        start = time.process_time()
        yield
        self.seconds[step] += time.process_time() - start


class Detectors:
    """The authors' detectors with made-up weights: they run, and answer what is known."""

    def __init__(self) -> None:
        from face_alignment.models import FAN

        self.s3fd, self.fan = FaceAlignmentS3FD().eval(), FAN(4).eval()
        self.gpen = RetinaFaceDetector(RetinaFace().eval(), threshold=2)
        self.gfpgan = RetinaFaceDetector(RetinaFace().eval(), threshold=2, reduce=False)
        self.marks = np.zeros((68, 2))

    @torch.inference_mode()
    def find(self, picture: np.ndarray) -> None:
        """S3FD."""
        self.s3fd(torch.from_numpy(picture[..., ::-1].copy()).permute(2, 0, 1)[None].float())

    @torch.inference_mode()
    def mark(self, picture: np.ndarray) -> None:
        """FAN."""
        view = fan_view(picture, np.array([60.0, 40, 200, 220]))
        self.fan(torch.from_numpy(view.picture).permute(2, 0, 1)[None].float() / 255)

    def faces(self, picture: np.ndarray):
        self.gpen.detect(picture)
        return known_face(self.marks)

    def faces_to_restore(self, picture: np.ndarray):
        self.gfpgan.detect(picture)
        return known_face(self.marks)


def transcription(job: Retalking, detectors: Detectors, clock: Clock, folder: Path) -> None:
    """The authors' loop, step by step, each over all frames one at a time; what is known of faces is the job's."""
    faces, tools, frames = job.faces, job.tools, list(job.video)
    assert tools.coefficients and tools.generate and tools.restore and tools.parse
    heads = []
    with clock("1 faces"):
        for t, frame in enumerate(frames):
            heads.append(faces.crop(t, frame))
            detectors.find(heads[-1])
            detectors.mark(heads[-1])
    with clock("2 coefficients"):
        rows = np.concatenate([network_coefficients(tools.coefficients, [h], [faces.landmarks[t]]) for t, h in enumerate(heads)])
    with clock("3 heads"):
        told = [steering(rows[window_frames(t, 0, len(rows) - 1)], tools.expression) for t in range(len(rows))]
        drawn = np.concatenate([redrawn(tools.dnet, [head], told[t][None], cut=True) for t, head in enumerate(heads)])
        np.save(folder / "stabilised.npy", drawn)
    sharp = []
    with clock("4 references"):
        for t, head in enumerate(np.load(folder / "stabilised.npy")):
            detectors.marks = faces.landmarks[t]
            sharp += enhance([head], [detectors.faces(head)], tools.generate, tools.parse)
            detectors.find(sharp[-1])
            detectors.mark(sharp[-1])
    with clock("1 faces"):
        for frame in frames:
            detectors.find(frame)
    with clock("5 speech"):
        pairs = [
            face_pair(frame, with_head(frame, faces.regions[t], sharp[t], faces.landmarks[t]), faces.boxes[t], 384)
            for t, frame in enumerate(frames)
        ]
        painted = speak(
            tools.lnet, tools.enet, [job.mels[t] for t in range(len(pairs))], pairs, list(range(len(pairs))), faithful=True
        )
    with clock("6 frames"):
        for t, frame in enumerate(frames):
            detectors.marks = faces.frame_landmarks(t)
            done = as_authors(frame, painted[t], faces.boxes[t], detectors, tools.restore, tools.parse)  # type: ignore[arg-type]
            cv2.imwrite(str(folder / "frame.png"), done)


def ours(job: Retalking, detectors: Detectors, clock: Clock) -> None:
    """The six steps as they are."""
    with clock("1 faces"):
        for t, frame in enumerate(job.video):
            scale = min(1.0, FAST_SIDE / max(frame.shape[:2]))
            detectors.find(resize(frame, (round(frame.shape[1] * scale), round(frame.shape[0] * scale))))
            detectors.mark(job.faces.crop(t, frame, SIDE))
    for step, work in (
        ("2 coefficients", lambda: job.coefficients),
        ("3 heads", job.heads),
        ("4 references", job.references),
        ("5 speech", lambda: job.speech),
        ("6 frames", lambda: [*job.frames()]),
    ):
        with clock(step):
            work()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--landmarks", type=Path, default="", help="folder of its landmarks, if they do not lie beside it")
    parser.add_argument("--frames", type=int, default=2, help="2 or more")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = VideoReTalking().eval()
    model.faces = FaceFinder("files", landmarks_dir=args.landmarks)
    networks: dict[str, Any] = {"gpen": Gpen(), "gfpgan": Gfpgan(), "parser": ParseNet()}
    model.toolbox.networks |= {name: network.eval() for name, network in networks.items()}
    detectors = Detectors()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ[CACHE] = str(folder / "cache")
        clip = shortened(args.video, model.faces, args.frames, folder)
        model.faces = FaceFinder("files")
        clocks = {"authors": Clock(), "ours": Clock(), "ours, another speech": Clock()}
        ours(model.retalking(clip), detectors, clocks["ours"])
        write_audio(clip.audio, noise(args.frames, Video(clip.face).fps, seed=1))
        second = model.retalking(clip)
        with clocks["ours, another speech"]("5 speech"):
            second.speech  # noqa: B018 - computed when asked for
        with clocks["ours, another speech"]("6 frames"):
            list(second.frames())
        transcription(model.retalking(clip), detectors, clocks["authors"], folder)
    print(f"{'seconds per frame':24}" + "".join(f"{name:>24}" for name in clocks))
    for step in (*STEPS, "sum"):
        values = [sum(c.seconds.values()) if step == "sum" else c.seconds[step] for c in clocks.values()]
        print(f"{step:24}" + "".join(f"{value / args.frames:24.2f}" for value in values))
    sums = [sum(clock.seconds.values()) for clock in clocks.values()]
    print(f"ours needs {sums[1] / sums[0]:.2f} of the authors' time; for another speech {sums[2] / sums[0]:.2f}")


def shortened(video: Path, finder: FaceFinder, count: int, folder: Path) -> Clip:
    """The first frames of a video with their landmarks beside them, and noise to say."""
    clip, source = Clip("clip", folder / "clip.mkv", folder / "speech.wav"), Video(video)
    write_video(clip.face, islice(source, count), source.fps, lossless=True)
    np.savez(folder / "clip.landmarks.npz", landmarks=finder.landmarks(source).landmarks[:count])
    write_audio(clip.audio, noise(count, source.fps))
    return clip


def noise(count: int, fps: float, seed: int = 0) -> np.ndarray:
    """Sound for so many frames, two or more: (n,) float32."""
    samples = 200 * (int((count - 1) * 80 / fps) + 14)
    return np.random.default_rng(seed).uniform(-0.3, 0.3, samples).astype(np.float32)


if __name__ == "__main__":
    main()
