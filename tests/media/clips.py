"""Synthetic clips for the tests of the media layer: frames whose colour is their number, clicks at known times."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

LEVELS = 16  # digits of a frame's number, written as red, green and blue


def numbered_frame(number: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """(H, W, 3) of one color: red + 16 green + 256 blue is the number, digit d being the level 20 + 14 d."""
    digits = [number // LEVELS**place % LEVELS for place in range(3)]
    return np.full((*size, 3), [20 + 14 * digit for digit in digits], np.uint8)


def numbered_frames(count: int, size: tuple[int, int] = (48, 64)):
    return (numbered_frame(number, size) for number in range(count))


def number_of(frame: np.ndarray) -> int:
    """The number that a decoded frame shows."""
    levels = frame[4:-4, 4:-4].reshape(-1, 3).mean(axis=0)
    return sum(round((level - 20) / 14) * LEVELS**place for place, level in enumerate(levels))


def clicks(times, seconds: float, sample_rate: int = 16_000) -> np.ndarray:
    """(N,) float32: silence with a click of 2 ms at each of these seconds."""
    wav = np.zeros(round(seconds * sample_rate), np.float32)
    for time in times:
        begin = round(time * sample_rate)
        wav[begin : begin + sample_rate // 500] = 0.8
    return wav


def click_times(wav: np.ndarray, sample_rate: int = 16_000) -> list[float]:
    """Seconds at which clicks begin."""
    loud = np.flatnonzero(np.abs(wav) > 0.3)
    starts = loud[np.diff(loud, prepend=-sample_rate) > sample_rate // 50]
    return [float(start) / sample_rate for start in starts]


def raw_clip(path: Path, times, rotate: int = 0, wav: np.ndarray | None = None, wav_start: float = 0.0) -> Path:
    """A clip whose frame i is shown at times[i] seconds (to the millisecond); sound, if any, begins at `wav_start`."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.time_base = video.time_base = Fraction(1, 1000)
        if rotate:
            video.set_display_rotation(rotate)
        sound = None if wav is None else container.add_stream("aac", rate=16_000, layout="mono")
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number), format="rgb24")
            frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if sound is not None:
            frame = av.AudioFrame.from_ndarray(wav[None], format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 16_000, round(wav_start * 16_000), Fraction(1, 16_000)
            container.mux(sound.encode(frame))
            container.mux(sound.encode(None))
    return path
