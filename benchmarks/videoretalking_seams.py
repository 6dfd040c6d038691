"""What does VideoReTalking's own way through the steps cost a picture, when the networks change nothing?

    python benchmarks/videoretalking_seams.py VIDEO ... [--frames 25] [--picture seams.png]

LNet and ENet are replaced by the identity: they give back the face that they are given, so what remains in the output is the
pipeline's own error: crops, resizing, masks, blending, whole numbers. It is measured as PSNR against the input, in the face,
around its edge and outside of it, for our way of pasting and for the authors' (the whole frame squeezed to 512 x 512). The
picture shows input, output and 16 times their difference, ours above theirs. Fails below 38 dB at the edge or outside.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from talkingface.dataset.base import Clip
from talkingface.face.masks import face_mask
from talkingface.media.audio import write_audio
from talkingface.media.image import write_image
from talkingface.media.video import Video, write_video
from talkingface.model.videoretalking import steps
from talkingface.model.videoretalking.model import VideoReTalking
from talkingface.model.videoretalking.paste import as_authors
from talkingface.model.videoretalking.reference import known_face
from talkingface.model.videoretalking.restoration import ovals
from talkingface.model.videoretalking.steps import Retalking

LIMIT = 38.0
AREAS = ("inside", "edge", "outside")
SMALL = {"width": 0.1, "num_blocks": 1, "head_size": 64, "coefficients": "landmarks", "restoration": "off"}


def identity(lnet, enet, mels, pairs, *_):
    """In place of `speak`: the faces as they are."""
    return np.stack([pair.original for pair in pairs])


class KnownFaces:
    """The authors' detectors' answers, from the landmarks that were found anyway."""

    def __init__(self, landmarks: np.ndarray):
        self.landmarks = landmarks

    def faces(self, picture):
        return known_face(self.landmarks)

    faces_to_restore = faces


def areas(job: Retalking, frame: int, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """(H, W) bool of each area: the face, a band of a twentieth of its box on both sides of its edge and the box's, the rest."""
    mask = face_mask(job.faces.frame_landmarks(frame), *shape[:2]) > 0.5
    x1, y1, x2, y2 = job.faces.boxes[frame]
    box = np.zeros(shape[:2], bool)
    box[y1:y2, x1:x2] = True
    reach = max(3, (x2 - x1) // 20)
    kernel = np.ones((2 * reach + 1,) * 2, np.uint8)
    bands = [cv2.dilate(m.astype(np.uint8), kernel) - cv2.erode(m.astype(np.uint8), kernel) > 0 for m in (mask, box)]
    edge = bands[0] | bands[1]
    return {"inside": mask & ~edge, "edge": edge, "outside": ~mask & ~edge}


def psnr(squared: float, count: int) -> float:
    """Of a sum of squared differences of 8-bit levels; infinite where nothing differs."""
    return float("inf") if squared == 0 else float(10 * np.log10(255**2 * count / squared))


def results(job: Retalking, clip: Clip) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
    """(frame, input, our output, the authors') for each frame with a face."""
    for frame, (real, ours) in enumerate(zip(Video(clip.face), job.frames(), strict=False)):
        if ours.note:
            continue
        box, landmarks = job.faces.boxes[frame], job.faces.frame_landmarks(frame)
        x1, y1, x2, y2 = box
        face = cv2.resize(real[y1:y2, x1:x2], (job.options.face_size,) * 2)
        theirs = as_authors(real, face, box, KnownFaces(landmarks), list, ovals)  # type: ignore[arg-type]
        yield frame, real, ours.image, theirs


def measure(video: Path, frames: int, folder: Path) -> tuple[dict[str, dict[str, float]], np.ndarray]:
    """PSNR in each area, of our output and of theirs; and the picture of the middle frame."""
    clip = Clip(video.stem, folder / f"{video.stem}.mkv", folder / f"{video.stem}.wav")
    source = Video(video)
    count = write_video(clip.face, islice(source, frames), source.fps, lossless=True)
    write_audio(clip.audio, np.zeros(int((count / source.fps + 0.3) * 16_000), np.float32))
    job = VideoReTalking(**SMALL).eval().retalking(clip)  # type: ignore[arg-type]
    sums = {way: {area: [0.0, 0] for area in AREAS} for way in ("ours", "authors")}
    picture = None
    for frame, real, *outputs in results(job, clip):
        masks = areas(job, frame, real.shape)
        for way, output in zip(sums, outputs, strict=True):
            difference = (output.astype(np.float64) - real) ** 2
            for area, mask in masks.items():
                sums[way][area][0] += difference[mask].sum()
                sums[way][area][1] += 3 * int(mask.sum())
        if frame <= count // 2:
            picture = np.vstack([side_by_side(real, output) for output in outputs])
    assert picture is not None
    return {way: {area: psnr(*values) for area, values in of.items()} for way, of in sums.items()}, picture


def side_by_side(real: np.ndarray, output: np.ndarray) -> np.ndarray:
    """Input, output, and 16 times their difference, 360 rows high."""
    difference = np.clip(16 * np.abs(output.astype(int) - real), 0, 255).astype(np.uint8)
    width = round(360 * real.shape[1] / real.shape[0])
    return np.hstack([cv2.resize(picture, (width, 360), interpolation=cv2.INTER_AREA) for picture in (real, output, difference)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--frames", type=int, default=25, help="of each video")
    parser.add_argument("--picture", type=Path, default=Path("seams.png"))
    args = parser.parse_args()
    steps.speak = identity  # type: ignore[assignment]
    pictures, worst = [], float("inf")
    with tempfile.TemporaryDirectory() as folder:
        for video in args.videos:
            found, picture = measure(video, args.frames, Path(folder))
            pictures.append(picture)
            for way, of in found.items():
                print(
                    f"{video.name:24} {way:8} " + "  ".join(f"{area} {value:5.1f} dB" for area, value in of.items()), flush=True
                )
            worst = min(worst, found["ours"]["edge"], found["ours"]["outside"])
    width = max(picture.shape[1] for picture in pictures)
    padded = [np.pad(picture, ((0, 0), (0, width - picture.shape[1]), (0, 0))) for picture in pictures]
    write_image(args.picture, np.vstack(padded))
    print(f"worst of ours at the edge or outside: {worst:.1f} dB (at least {LIMIT}); {args.picture}")
    sys.exit(worst < LIMIT)


if __name__ == "__main__":
    main()
