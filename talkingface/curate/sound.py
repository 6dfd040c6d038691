"""The sound of a raw video, once on disk as a plain wav file, of which parts are read however long it is."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np

from talkingface.media.audio import SAMPLE_RATE, audio_blocks, to_int16
from talkingface.media.files import atomic


def extracted(video: Path, path: Path) -> Path:
    """The sound of a video as a wav file of 16 kHz, mono, 16 bits, made unless it is there; one block is in memory at a time.

    Sample n is heard n / 16000 seconds after the first frame, by the timestamps of the file; gaps are silence.

    Raises:
        MediaError: the video has no sound, or there is no room for it.
    """
    if not path.is_file():
        with atomic(path) as temporary, wave.open(str(temporary), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(SAMPLE_RATE)
            for block in audio_blocks(video, SAMPLE_RATE):
                file.writeframes(to_int16(np.clip(block.mean(axis=0), -1, 1)).astype("<i2").tobytes())
    return path


def samples_in(path: Path) -> int:
    """How many samples a wav file has."""
    with wave.open(str(path), "rb") as file:
        return file.getnframes()


def part(path: Path, first: int, count: int) -> np.ndarray:
    """(count,) int16: samples from `first` on; silence before the beginning and after the end of the file."""
    found = np.zeros(count, np.int16)
    with wave.open(str(path), "rb") as file:
        begin, end = max(first, 0), min(first + count, file.getnframes())
        if begin < end:
            file.setpos(begin)
            found[begin - first : end - first] = np.frombuffer(file.readframes(end - begin), "<i2")
    return found
