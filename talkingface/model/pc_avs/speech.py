"""What PC-AVS hears: spectrograms of 100 columns per second, four per video frame, and the windows of 0.2 s cut from them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from talkingface.errors import MediaError
from talkingface.media import lws
from talkingface.media.audio import SAMPLE_RATE, audio_blocks, mel_filters

FPS = 25  # video frames per second
ROWS = 4  # of the spectrogram, per video frame
WINDOW = 20  # rows that the speech network hears at once
MARGIN = 2  # frames by which a window begins before its frame, and frames that are missing at either end as published
BANDS = 80
LOUDNESS, QUIETEST = 0.1, 1e-4  # root mean square that speech is brought to, and below which it is not raised any more
SHORTEST = WINDOW - lws.BEFORE // lws.HOP  # rows' worth of sound for one window


# --- spectrogram ------------------------------------------------------------------------------------------------------


def normalized(wav: np.ndarray) -> np.ndarray:
    """Samples at a root mean square of 0.1; peaks above 1 are left alone, and silence is not raised."""
    return wav * np.float32(gain(float(np.square(wav, dtype=np.float64).sum()), len(wav)))


def gain(squares: float, samples: int) -> float:
    """The factor that brings speech to its loudness, from the sum of squares of its samples."""
    return LOUDNESS / max(QUIETEST, math.sqrt(squares / max(1, samples)))


def spectrogram(wav: np.ndarray) -> np.ndarray:
    """Speech as the networks hear it (the authors' AudioConfig).

    The STFT of lws; magnitude; 80 Slaney bands from 125 to 7600 Hz; 20 log10, at least -100 dB, minus 20 dB; then
    [-100, 0] dB are brought to [0, 1] and clipped.

    Args:
        wav: (N,) mono at 16 kHz, any loudness.

    Returns:
        (T, 80) float32 in [0, 1], T = 7 + ceil(N / 160), 100 rows per second.
    """
    return np.concatenate([*rows_of([normalized(wav)]), np.empty((0, BANDS), np.float32)])


def rows_of(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """`spectrogram` of normalized samples that come in blocks: (t, 80) at a time."""
    filters = mel_filters(lws.WINDOW, 125.0, 7600.0)
    for spectrum in lws.stft_blocks(blocks):
        decibels = 20 * np.log10(np.maximum(1e-5, np.abs(spectrum) @ filters.T)) - 20
        yield np.clip((decibels + 100) / 100, 0, 1).astype(np.float32)


class Speech:
    """The speech of a file: its length and loudness are known at once, its spectrogram comes in blocks.

    Args:
        audio: a sound file or a video.
        stored: an .npy file with its spectrogram (T, 80), as the authors' --convert_spectrogram writes it, instead.

    Raises:
        MediaError: there is no sound, or less than one window of it, or the .npy file holds something else.
    """

    def __init__(self, audio: Path | str, stored: Path | None = None):
        self.audio, self.stored = audio, None if stored is None else read_spectrogram(stored)
        if self.stored is None:
            squares, self.samples = 0.0, 0
            for block in mono_blocks(audio):
                squares, self.samples = squares + float(np.square(block, dtype=np.float64).sum()), self.samples + len(block)
            self.gain, self.rows = gain(squares, self.samples), lws.num_frames(self.samples)
        else:
            self.rows = len(self.stored)
            self.samples = (self.rows - lws.BEFORE // lws.HOP) * lws.HOP
        if self.rows // ROWS - 2 * MARGIN < 1:
            seconds, least = max(0, self.samples) / SAMPLE_RATE, SHORTEST * lws.HOP / SAMPLE_RATE
            raise MediaError(f"{stored or audio} is {seconds:.2f} s long; PC-AVS needs at least {least:.2f} s of speech.")

    def blocks(self) -> Iterator[np.ndarray]:
        """The spectrogram (t, 80) at a time, in constant memory."""
        if self.stored is not None:
            yield self.stored
            return
        yield from rows_of(block * np.float32(self.gain) for block in mono_blocks(self.audio))

    @property
    def frames(self) -> int:
        """Video frames that the sound lasts."""
        return max(1, round(self.samples * FPS / SAMPLE_RATE))

    def windows(self, first: int, count: int) -> Iterator[np.ndarray]:
        """The windows of frames first .. first + count - 1: (80, 20) each; what lies outside of the speech is silent."""
        silence = np.zeros((MARGIN * ROWS, BANDS), np.float32), np.zeros((WINDOW, BANDS), np.float32)
        kept, gone, frame = np.empty((0, BANDS), np.float32), 0, first  # gone: rows that are not kept any more
        for block in chain(silence[:1], self.blocks(), silence[1:]):
            kept = np.concatenate((kept, block))
            while frame < first + count and (start := ROWS * frame - gone) + WINDOW <= len(kept):
                yield kept[start : start + WINDOW].T
                frame += 1
            done = min(ROWS * frame - gone, len(kept))
            kept, gone = kept[done:], gone + done

    def part(self, start: int, rows: int) -> np.ndarray:
        """(rows, 80) of the spectrogram from row `start` on; silent where that is before the beginning or after the end."""
        found = np.zeros((rows, BANDS), np.float32)
        position = 0
        for block in self.blocks():
            here = np.arange(max(start, position), min(start + rows, position + len(block)))
            found[here - start] = block[here - position]
            position += len(block)
            if position >= start + rows:
                break
        return found


def mono_blocks(path: Path | str) -> Iterator[np.ndarray]:
    """The sound of a file at 16 kHz, its channels averaged, not clipped: (n,) float32 at a time."""
    return (block.mean(axis=0) for block in audio_blocks(path, SAMPLE_RATE))


def read_spectrogram(path: Path) -> np.ndarray:
    """A stored spectrogram (T, 80) float32.

    Raises:
        MediaError: the file cannot be read, or holds an array of another shape.
    """
    try:
        stored = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise MediaError(f"{path} is no .npy file with a spectrogram (T, {BANDS}): {error}.") from error
    if not isinstance(stored, np.ndarray) or stored.ndim != 2 or stored.shape[1] != BANDS or stored.dtype.kind != "f":
        raise MediaError(f"{path} holds {getattr(stored, 'shape', 'several arrays')}; a spectrogram is (T, {BANDS}), in [0, 1].")
    return np.asarray(stored, np.float32)


# --- frames -----------------------------------------------------------------------------------------------------------


def published_frames(rows: int) -> np.ndarray:
    """The video frames that the authors' code answers for a spectrogram of so many rows: 2 .. rows // 4 - 3."""
    return np.arange(MARGIN, rows // ROWS - MARGIN)


def first_row(frame: int | np.ndarray) -> int | np.ndarray:
    """First row of a frame's window: 4 (f - 2)."""
    return ROWS * (frame - MARGIN)


def window(rows: np.ndarray, frame: int) -> np.ndarray:
    """The window of a frame that has a whole one: (T, 80) -> (80, 20)."""
    start = ROWS * (frame - MARGIN)
    return rows[start : start + WINDOW].T


def pose_index(frame: int | np.ndarray, count: int, loop: bool = False) -> np.ndarray:
    """Which of `count` pose pictures moves the head in a frame.

    There and back again, both ends twice, as the authors do; with `loop` from the beginning each time.
    """
    cycle, rest = np.divmod(frame, count)
    return rest if loop else np.where(cycle % 2 == 0, rest, count - 1 - rest)
