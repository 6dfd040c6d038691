"""The short-time Fourier transform of the package lws 1.2.8, `lws.lws(1280, 160).stft`, in closed form.

It is not the usual centred one: frame m covers the samples 160 m - 1120 .. 160 m + 159, with zeros before the beginning and
after the end; the window is half of a square-root Hann window, sampled at half steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

WINDOW, HOP = 1280, 160  # samples of a frame, and from one to the next
BEFORE = WINDOW - HOP  # zeros before the first sample
FRAMES = 1024  # transformed at once


def num_frames(samples: int) -> int:
    """Frames of so many samples: 7 + ceil(samples / 160)."""
    return BEFORE // HOP + -(-samples // HOP)


def window() -> np.ndarray:
    """(1280,) float64: 0.5 sin(pi (k + 0.5) / 1280)."""
    return 0.5 * np.sin(np.pi * (np.arange(WINDOW) + 0.5) / WINDOW)


def stft(wav: np.ndarray) -> np.ndarray:
    """The transform of samples (N,), computed in float64: (T, 641) complex128, T = 7 + ceil(N / 160)."""
    return np.concatenate([*stft_blocks([wav]), np.empty((0, WINDOW // 2 + 1), np.complex128)])


def stft_blocks(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """`stft` of a sound that comes in blocks (n,): (t, 641) complex128 at a time, at most 1024 frames; in constant memory."""
    kept, heard = np.zeros(BEFORE), 0
    for block in blocks:
        heard += len(block)
        kept = np.concatenate((kept, np.asarray(block, np.float64)))
        yield from _transformed(kept)
        kept = kept[max(0, (len(kept) - WINDOW) // HOP + 1) * HOP :]
    gone = heard + BEFORE - len(kept)
    yield from _transformed(np.pad(kept, (0, num_frames(heard) * HOP + BEFORE - gone - len(kept))))


def _transformed(samples: np.ndarray) -> Iterator[np.ndarray]:
    """The frames that lie wholly in the samples."""
    if len(samples) < WINDOW:
        return
    frames = sliding_window_view(samples, WINDOW)[::HOP]
    for first in range(0, len(frames), FRAMES):
        yield np.fft.rfft(frames[first : first + FRAMES] * window())
