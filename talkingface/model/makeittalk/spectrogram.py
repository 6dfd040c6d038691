"""What the image translation with seven channels hears: a spectrogram around each frame, as a picture (--add_audio_in)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from talkingface.media.audio import SAMPLE_RATE

WINDOW, HOP = 640, 80  # samples: 321 rows, 200 columns per second
COLUMNS = 40  # that are seen on either side of a frame: 0.2 s
LEAST_POWER = 1e-10
BLOCK = 2000  # columns that are computed at once


class Sound:
    """The log power of speech around an instant, divided by the largest of the whole recording.

    The authors transform 16-bit samples with a Hann window that sums to one; the window is inferred.

    Args:
        wav: (N,) mono, 16 kHz, float in [-1, 1].
    """

    def __init__(self, wav: np.ndarray):
        self.count = 1 + len(wav) // HOP
        self.samples = np.pad(wav.astype(np.float32) * 32768, WINDOW // 2 + COLUMNS * HOP)
        blocks = (self.log_power(first, min(BLOCK, self.count - first)).max() for first in range(0, self.count, BLOCK))
        self.largest = float(max(blocks))

    def log_power(self, first: int, count: int) -> np.ndarray:
        """(321, count) log power of some columns; what lies outside of the recording is silence."""
        start = (first + COLUMNS) * HOP
        part = self.samples[start : start + (count - 1) * HOP + WINDOW]
        part = np.pad(part, (0, (count - 1) * HOP + WINDOW - len(part)))
        frames = np.lib.stride_tricks.sliding_window_view(part, WINDOW)[::HOP]
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
        return np.log(np.abs(np.fft.rfft(frames * (hann / hann.sum()))) ** 2 + LEAST_POWER).T

    def picture(self, seconds: float, side: int) -> np.ndarray:
        """(side, side) float32 of 0.2 s on either side of an instant."""
        first = min(round(seconds * SAMPLE_RATE / HOP), self.count) - COLUMNS
        around = self.log_power(first, 2 * COLUMNS) / self.largest
        return cv2.resize(around.astype(np.float32), (side, side), interpolation=cv2.INTER_LINEAR)

    def pictures(self, times: Iterable[float], side: int) -> Iterator[np.ndarray]:
        """`picture` of each instant."""
        return (self.picture(time, side) for time in times)
