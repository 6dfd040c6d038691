"""MFCC as DAVS hears speech: the authors' MATLAB code in numpy, its windows about video frames, and their `.bin` files.

Another band, other filters and another spectrum than `talkingface.media.audio.mfcc`: neither stands in for the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from talkingface.errors import MediaError
from talkingface.media.audio import SAMPLE_RATE, audio_blocks, check_wav, to_float
from talkingface.media.files import atomic, existing_file

FPS = 25  # video frames per second
FRAME, HOP, TRANSFORM = 400, 160, 512  # samples of an MFCC frame, from one to the next, and of its Fourier transform
EMPHASIS = 0.97
FILTERS, LOW, HIGH = 13, 300.0, 3700.0  # triangles, and the band that they cover, hertz
LIFTER = 22
FLOOR = 1.0  # magnitude of a filter that hears nothing at all, in units of 16 bits
ROWS, COEFFICIENTS = 20, 12  # of a window
PER_FRAME = 4  # MFCC frames in a video frame
FIRST = 2  # the first video frame whose window begins in the speech
LAST = 4  # video frames at the end whose windows would reach beyond it
SAMPLES = SAMPLE_RATE // FPS  # in a video frame
BIN = 8 * ROWS * COEFFICIENTS  # bytes of a .bin file
BLOCK = 60 * SAMPLE_RATE  # samples whose MFCC are computed at once


# --- features ---------------------------------------------------------------------------------------------------------


def filter_magnitudes(wav: np.ndarray, before: float | None = None) -> np.ndarray:
    """What the 13 filters hear in each frame of 25 ms, every 10 ms; no frame reaches beyond the sound.

    Args:
        wav: (N,) mono at 16 kHz, int16, or floats in [-1, 1].
        before: the sample before the first one, in the units of `wav`, where this is a piece of a longer sound.

    Returns:
        (T, 13) float64 in units of 16 bits, T = (N - 400) // 160 + 1.
    """
    check_wav(wav, "the speech")
    samples = np.asarray(to_float(wav), np.float64) * 32768
    earlier = 0.0 if before is None else float(to_float(np.asarray([before], wav.dtype))[0]) * 32768
    emphasized = samples - EMPHASIS * np.concatenate(([earlier], samples[:-1]))
    if len(emphasized) < FRAME:
        return np.empty((0, FILTERS))
    frames = sliding_window_view(emphasized, FRAME)[::HOP]
    return np.abs(np.fft.rfft(frames * _hamming(), TRANSFORM)) @ _filters().T


def cepstra(wav: np.ndarray, before: float | None = None) -> np.ndarray:
    """Cepstral coefficients of the authors' `mfcc.m`: (T, 13) float64, 100 rows per second; column 0 is not used.

    Where a filter hears nothing at all, which only digital silence does, the original takes the logarithm of 0 and paints
    white pictures; here it hears 1/32768 of full scale, so that silence is all 0.

    Args:
        wav, before: as of `filter_magnitudes`.
    """
    heard = filter_magnitudes(wav, before)
    return np.log(np.where(heard > 0, heard, FLOOR)) @ _cosines().T


@lru_cache(maxsize=1)
def _hamming() -> np.ndarray:
    return 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(FRAME) / (FRAME - 1))


@lru_cache(maxsize=1)
def _filters() -> np.ndarray:
    """(13, 257): triangles of height 1, evenly spaced in mel = 1127 ln(1 + f / 700)."""
    mels = np.linspace(1127 * np.log(1 + LOW / 700), 1127 * np.log(1 + HIGH / 700), FILTERS + 2)
    edges = 700 * np.exp(mels / 1127) - 700
    left, middle, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    bins = np.linspace(0, SAMPLE_RATE / 2, TRANSFORM // 2 + 1)
    return np.maximum(0, np.minimum((bins - left) / (middle - left), (right - bins) / (right - middle)))


@lru_cache(maxsize=1)
def _cosines() -> np.ndarray:
    """(13, 13): from logarithms of filters to coefficients, with the lifter."""
    k, m = np.arange(FILTERS)[:, None], np.arange(1, FILTERS + 1)
    lifter = 1 + LIFTER / 2 * np.sin(np.pi * k / LIFTER)
    return lifter * np.sqrt(2 / FILTERS) * np.cos(np.pi * k * (m - 0.5) / FILTERS)


# --- windows ----------------------------------------------------------------------------------------------------------


def frame_numbers(samples: int) -> range:
    """The video frames of which the authors write windows, for so many samples: 2 to floor(25 N / 16000) - 4."""
    return range(FIRST, samples // SAMPLES - LAST + 1)


def windows(coefficients: np.ndarray, numbers: Iterable[int], gone: int = 0) -> np.ndarray:
    """The speech about video frames, from two frames before to two after; beyond both ends the last row is repeated.

    Args:
        coefficients: (T, 12): columns 1 to 12 of `cepstra`.
        numbers: of video frames, counted from 0 at 25 per second.
        gone: rows before `coefficients` that are not there any more, and not needed.

    Returns:
        (n, 20, 12).
    """
    starts = PER_FRAME * (np.fromiter(numbers, np.int64) - FIRST) - gone
    rows = np.clip(starts[:, None] + np.arange(ROWS), 0, len(coefficients) - 1)
    return coefficients[rows]


def speech_of(path: Path | str) -> np.ndarray:
    """The sound of a file as the authors hear it: (N,) float32 at 16 kHz, of stereo the first channel.

    Raises:
        MediaError: there is no such file, or no sound in it.
    """
    blocks = list(first_channel(path))
    return np.concatenate(blocks) if blocks else np.empty(0, np.float32)


def first_channel(path: Path | str) -> Iterator[np.ndarray]:
    """The pieces of `speech_of`, one by one."""
    for block in audio_blocks(path, SAMPLE_RATE):
        yield np.clip(block[0], -1, 1)


def coefficient_blocks(path: Path | str) -> Iterator[tuple[int, np.ndarray]]:
    """Columns 1 to 12 of `cepstra` of a file's sound, in constant memory: (samples heard so far, (t, 12)) again and again.

    Raises:
        MediaError: there is no sound, or less than 25 ms of it.
    """
    rest, before, heard, waiting = np.empty(0, np.float32), None, 0, 0
    parts: list[np.ndarray] = []
    for part in first_channel(path):
        parts.append(part)
        heard, waiting = heard + len(part), waiting + len(part)
        if waiting >= BLOCK:
            rest, parts, waiting = np.concatenate((rest, *parts)), [], 0
            rows = (len(rest) - FRAME) // HOP + 1
            yield heard, cepstra(rest, before)[:, 1:]
            before, rest = float(rest[rows * HOP - 1]), rest[rows * HOP :]
    if heard < FRAME:
        raise MediaError(f"{path} is {heard / SAMPLE_RATE:.3f} s long; a frame of MFCC needs {FRAME / SAMPLE_RATE} s.")
    yield heard, cepstra(np.concatenate((rest, *parts)), before)[:, 1:]


class SpeechWindows:
    """The windows of a file's sound, one per video frame at 25 per second: (20, 12) each, read as they are asked for.

    Args:
        pad: from frame 0 to the end of the sound, the ends repeated where a window reaches beyond it; else only the frames of
            which the authors write windows, from number 2 to four before the end.

    Attributes:
        first: number of the first frame.
    """

    def __init__(self, path: Path | str, pad: bool = True):
        self.path, self.pad = Path(path), pad
        self.first = 0 if pad else FIRST

    def __iter__(self) -> Iterator[np.ndarray]:
        rows, gone, number, heard = np.empty((0, COEFFICIENTS)), 0, self.first, 0
        for heard, block in coefficient_blocks(self.path):
            rows = np.concatenate((rows, block))
            whole = range(number, frame_numbers(heard).stop)
            yield from windows(rows, whole, gone)
            number = max(number, whole.stop)
            done = max(0, PER_FRAME * (number - FIRST) - gone)
            rows, gone = rows[done:], gone + done
        if self.pad:
            yield from windows(rows, range(number, max(1, heard // SAMPLES)), gone)
        elif number == self.first:
            shortest = (FIRST + LAST) / FPS
            raise MediaError(f"{self.path} is {heard / SAMPLE_RATE:.2f} s long; the authors' windows need {shortest} s.")


# --- files ------------------------------------------------------------------------------------------------------------


def write_bin(path: Path | str, window: np.ndarray) -> None:
    """Write a window (20, 12) as the authors do: 240 little-endian float64, time by time, no header.

    Raises:
        MediaError: the window has another shape, or the file cannot be written.
    """
    if window.shape != (ROWS, COEFFICIENTS):
        raise MediaError(f"{path}: a window of speech is ({ROWS}, {COEFFICIENTS}), not {window.shape}.")
    with atomic(path) as temporary:
        temporary.write_bytes(np.ascontiguousarray(window, "<f8").tobytes())


def read_bin(path: Path | str) -> np.ndarray:
    """Read a window: (20, 12) float64.

    Raises:
        MediaError: there is no such file, it has another length, or it holds values that are no numbers.
    """
    data = existing_file(path).read_bytes()
    if len(data) != BIN:
        raise MediaError(
            f"{path} has {len(data)} bytes; a window of speech has {BIN} ({ROWS} x {COEFFICIENTS} float64). Make it again."
        )
    window = np.frombuffer(data, "<f8").reshape(ROWS, COEFFICIENTS).astype(np.float64)
    if not np.isfinite(window).all():
        raise MediaError(f"{path} holds values that are no numbers, as digital silence makes in MATLAB. Make it again.")
    return window
