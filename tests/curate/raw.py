"""Raw videos made of the demo world, of which everything is known: scenes, faces side by side, who speaks, moved sound."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import numpy as np

from talkingface.dataset.demo.clip import RenderedClip, render_clip
from talkingface.dataset.demo.look import make_speaker
from talkingface.media.video import write_video

RATE = 16_000


@lru_cache(maxsize=16)
def talk(speaker: int, seconds: float = 2.4, take: int = 1, fps: float = 25.0) -> RenderedClip:
    """A demo speaker who babbles."""
    return render_clip(make_speaker(speaker), seconds=seconds, take=take, fps=fps)


def side_by_side(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Two clips of one length, (T, H, W, 3) each, in one picture."""
    return np.concatenate([left, right], axis=2)


def widened(frames: np.ndarray) -> np.ndarray:
    """A clip in the middle of a picture that is twice as wide."""
    edge = frames.shape[2] // 2
    return np.pad(frames, ((0, 0), (0, 0), (edge, edge), (0, 0)), mode="edge")


def moved(wav: np.ndarray, frames: int) -> np.ndarray:
    """Sound so many frames (25 per second) later, or earlier where negative."""
    return np.roll(wav, frames * RATE // 25)


def film(path: Path, scenes: Sequence[np.ndarray], sounds: Iterable[np.ndarray], fps: float = 25.0) -> Path:
    """Write scenes one after another, as a raw video with sound."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, (frame for scene in scenes for frame in scene), fps, np.concatenate(list(sounds)))
    return path


def timed_film(path: Path, frames: Sequence[np.ndarray], times: Sequence[float], wav: np.ndarray, crf: int = 18) -> Path:
    """Write frames at these seconds, to the millisecond: a variable rate, as telephones record."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=30, options={"crf": str(crf)})
        video.height, video.width, video.pix_fmt = frames[0].shape[0], frames[0].shape[1], "yuv420p"
        video.codec_context.time_base = video.time_base = Fraction(1, 1000)
        sound = container.add_stream("aac", rate=RATE, layout="mono")
        for image, time in zip(frames, times, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        block = av.AudioFrame.from_ndarray(wav[None].astype(np.float32), format="fltp", layout="mono")
        block.sample_rate, block.pts, block.time_base = RATE, 0, Fraction(1, RATE)
        container.mux(sound.encode(block))
        container.mux(sound.encode(None))
    return path
