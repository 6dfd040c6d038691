"""Sound: wav files and tracks from and to arrays, and the features that networks hear: log-mel and MFCC."""

from __future__ import annotations

import logging
import math
import wave
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from talkingface.errors import MediaError
from talkingface.media.container import Packets, first_frame_time, open_media, unreadable
from talkingface.media.files import atomic, existing_file

SAMPLE_RATE = 16_000
MEL_RATE = 80  # columns per second
MEL_WINDOW = 16  # columns that a network hears at once: 0.2 s
WINDOW, HOP = 800, 200  # samples of a mel column, and from one to the next
SILENCE = (0.1, 600.0)  # seconds: gaps between these are filled; shorter ones are jitter, longer ones a broken clock
BLOCK = 4096  # columns computed at once
RATES = (1000, 1_000_000)  # samples per second that sound files may have

logger = logging.getLogger(__name__)


def load_audio(path: Path | str, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """Read the sound of a sound file or a video: (N,) float32 in [-1, 1], mono.

    Stereo is averaged. In a video, time 0 is its first frame: a track that begins later is preceded by silence, and what
    was heard before the first frame is cut, so sample n belongs to the frame at n / sample_rate seconds. In a sound file
    time 0 is the first sample. Gaps inside are filled with silence.

    Raises:
        MediaError: there is no such file, no sound in it, or none that can be decoded.
    """
    blocks = [block.mean(axis=0) for block in audio_blocks(path, sample_rate)]
    wav = np.concatenate(blocks) if blocks else np.empty(0, np.float32)
    if not wav.size:
        raise MediaError(f"{path}: its sound holds no samples. It is probably cut short: copy or convert it again.")
    return np.clip(wav, -1, 1)


def audio_blocks(path: Path | str, sample_rate: int | None = None) -> Iterator[np.ndarray]:
    """The sound of a file piece by piece, for files that are too long to hold: (1 or 2, n) float32 blocks.

    Args:
        sample_rate: of the blocks; by default that of the file.

    Raises:
        MediaError: as `load_audio`.
    """
    import av

    path = existing_file(path)
    zero = first_frame_time(path)
    with open_media(path) as container:
        stream = _sound_stream(path, container)
        rate = sample_rate or stream.rate
        packets = Packets(container, stream)
        try:
            yield from _from_zero(_resampled(packets, rate, stream.channels), zero, rate)
        except (av.FFmpegError, ValueError) as error:
            raise unreadable(path, error) from error
    if packets.damage:
        logger.warning("the sound of %s is damaged: %s.", path, packets.damage)


def _resampled(frames: Packets, rate: int, channels: int) -> Iterator[tuple[float | None, np.ndarray]]:
    """(seconds of the container's clock or None, (1 or 2, n) float32) for each piece that comes out of the resampler."""
    from av.audio.resampler import AudioResampler

    layout = "mono" if channels == 1 else "stereo"
    made_for, resampler = None, AudioResampler("fltp", layout, rate)
    for frame in frames:
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if kind != made_for:
            if made_for is not None:
                yield from ((None, piece.to_ndarray()) for piece in resampler.resample(None))
            made_for, resampler = kind, AudioResampler("fltp", layout, rate)
        time = frame.time
        frame.pts = None
        for piece in resampler.resample(frame):
            yield time, piece.to_ndarray()
            time = None
    if made_for is not None:
        yield from ((None, piece.to_ndarray()) for piece in resampler.resample(None))


def _from_zero(pieces: Iterator[tuple[float | None, np.ndarray]], zero: float, rate: int) -> Iterator[np.ndarray]:
    """Cut or pad so that the first sample is heard at `zero` (nan: at the first piece), and fill gaps with silence."""
    position: int | None = None  # where the next piece begins, in samples from zero
    for time, block in pieces:
        begin = position or 0
        if time is not None:
            zero = time if math.isnan(zero) else zero
            clock = round((time - zero) * rate)
            gap = (clock - begin) / rate
            if SILENCE[0] < gap < SILENCE[1] or (position is None and gap < SILENCE[1]):
                begin = clock
        silence = begin - max(position or 0, 0)
        if silence > 0:
            yield np.zeros((block.shape[0], silence), np.float32)
        position = begin + block.shape[1]
        block = block[:, max(0, -begin) :]
        if block.shape[1]:
            yield block


def source_rate(path: Path | str) -> int:
    """Samples per second of a file's sound.

    Raises:
        MediaError: there is no such file, or no sound in it.
    """
    with open_media(path) as container:
        return _sound_stream(path, container).rate


def _sound_stream(path: Path | str, container: Any) -> Any:
    """The first sound track that can be decoded."""
    for stream in container.streams.audio:
        if stream.codec_context is not None:
            if not RATES[0] <= stream.rate <= RATES[1]:
                raise MediaError(f"{path}: its sound claims {stream.rate} samples per second, which no sound has. Is it damaged?")
            return stream
    raise MediaError(f"{path} has no sound that can be decoded. Give a sound file, or a video with a sound track.")


def resample(wav: np.ndarray, rate: int, new_rate: int) -> Iterator[np.ndarray]:
    """Mono samples (N,) at another sample rate, as (1, n) float32 blocks."""
    from av.audio.frame import AudioFrame
    from av.audio.resampler import AudioResampler

    resampler = AudioResampler("fltp", "mono", new_rate)
    frame = AudioFrame.from_ndarray(to_float(wav)[None], format="fltp", layout="mono")
    frame.sample_rate = rate
    for piece in [*resampler.resample(frame), *resampler.resample(None)]:
        yield piece.to_ndarray()


def to_int16(wav: np.ndarray) -> np.ndarray:
    """Samples in [-1, 1] as int16: 1 is 32768, clipped; exact for what was read from a 16-bit file."""
    if wav.dtype == np.int16:
        return wav
    return np.clip(np.rint(wav * 32768.0), -32768, 32767).astype(np.int16)


def to_float(wav: np.ndarray) -> np.ndarray:
    """int16 samples as float32 in [-1, 1]; floats pass as float32."""
    return wav.astype(np.float32) / 32768 if wav.dtype == np.int16 else wav.astype(np.float32, copy=False)


def write_audio(path: Path | str, wav: np.ndarray, sample_rate: int = SAMPLE_RATE) -> None:
    """Write a mono wav file of 16 bits: (N,) floats in [-1, 1], clipped, or int16.

    Raises:
        MediaError: the suffix is not .wav, or the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".wav":
        raise MediaError(f"{path}: sound is written as .wav, not as {path.suffix!r}.")
    wav = np.asarray(wav)
    check_wav(wav, str(path))
    with atomic(path) as temporary, wave.open(str(temporary), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(to_int16(wav).astype("<i2").tobytes())


def check_wav(wav: np.ndarray, name: str) -> None:
    """Raises MediaError unless `wav` is (N,) with finite samples."""
    if wav.ndim != 1:
        raise MediaError(f"{name}: sound is one row of samples (N,), not {wav.shape}. Average the channels of stereo first.")
    if wav.dtype != np.int16 and not np.isfinite(wav).all():
        raise MediaError(f"{name}: the sound holds samples that are not numbers (NaN or infinity).")


def melspectrogram(wav: np.ndarray, reflect: bool = True) -> np.ndarray:
    """Log-mel energies as Wav2Lip hears them (its audio.py, with librosa 0.7).

    Pre-emphasis 0.97; STFT of 800 samples every 200, Hann, centred, reflected at both ends; amplitude; 80 Slaney bands
    from 55 to 7600 Hz; 20 log10, at least -100 dB, minus 20 dB; then [-100, 0] dB are stretched to [-4, 4] and clipped.

    Args:
        wav: (N,) mono in [-1, 1] at 16 kHz.
        reflect: continue the speech beyond its ends by its mirror image; else by silence, as librosa does since 0.9.

    Returns:
        (80, S) float32 in [-4, 4], 80 columns per second, S = 1 + N // 200.

    Raises:
        MediaError: fewer than 401 samples (25 ms), or samples that are not numbers.
    """
    check_wav(wav, "the speech")
    if len(wav) <= WINDOW // 2:
        raise MediaError(f"the speech is {len(wav) / SAMPLE_RATE:.3f} s long; a mel spectrogram needs more than 0.025 s.")
    wav = to_float(wav)
    columns = 1 + len(wav) // HOP
    mel = np.empty((80, columns), np.float32)
    for first in range(0, columns, BLOCK):
        last = min(first + BLOCK, columns)
        spectrum = np.fft.rfft(_emphasized_frames(wav, first, last, reflect) * _hann()).astype(np.complex64)
        mel[:, first:last] = mel_filters(WINDOW, 55.0, 7600.0) @ np.abs(spectrum).T
    decibels = 20 * np.log10(np.maximum(1e-5, mel)) - 20
    return np.clip(8 * (decibels + 100) / 100 - 4, -4, 4)


def _emphasized_frames(wav: np.ndarray, first: int, last: int, reflect: bool) -> np.ndarray:
    """(last - first, 800) float64: the frames of columns first .. last - 1 of the pre-emphasized speech."""
    places = np.arange(first * HOP, (last - 1) * HOP + WINDOW) - WINDOW // 2
    positions = np.abs(places)
    positions = np.where(positions < len(wav), positions, 2 * (len(wav) - 1) - positions)
    before = np.where(positions > 0, wav[positions - 1], 0.0)
    emphasized = wav[positions] - 0.97 * before.astype(np.float64)
    if not reflect:
        emphasized[(places < 0) | (places >= len(wav))] = 0
    return sliding_window_view(emphasized, WINDOW)[::HOP]


@lru_cache(maxsize=1)
def _hann() -> np.ndarray:
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)


@lru_cache(maxsize=8)
def mel_filters(window: int, low: float, high: float, bands: int = 80) -> np.ndarray:
    """Triangles on Slaney's scale, each of area 1, without librosa's slow import.

    Args:
        window: samples of a transform, at 16 kHz.
        low, high: hertz.

    Returns:
        (bands, 1 + window // 2) float32: librosa.filters.mel(sr=16000, n_fft=window, n_mels=bands, fmin=low, fmax=high).
    """
    lowest, highest = _hertz_to_slaney(np.array([low, high]))
    edges = _slaney_to_hertz(np.linspace(lowest, highest, bands + 2))
    ramps = edges[:, None] - np.fft.rfftfreq(window, 1 / SAMPLE_RATE)
    widths = np.diff(edges)[:, None]
    triangles = np.maximum(0, np.minimum(-ramps[:-2] / widths[:-1], ramps[2:] / widths[1:]))
    return (triangles * (2 / (edges[2:] - edges[:-2]))[:, None]).astype(np.float32)


def _hertz_to_slaney(hertz: np.ndarray) -> np.ndarray:
    """Slaney's scale: linear up to 1000 Hz (15 mel), then 27 mel per factor 6.4."""
    return np.where(hertz < 1000, 3 * hertz / 200, 15 + 27 * np.log(np.maximum(hertz, 1000) / 1000) / np.log(6.4))


def _slaney_to_hertz(mels: np.ndarray) -> np.ndarray:
    return np.where(mels < 15, 200 * mels / 3, 1000 * np.exp(np.log(6.4) / 27 * (mels - 15)))


def window_starts(fps: float, count: int) -> np.ndarray:
    """First mel column of frames 0 .. count - 1: floor(80 t / fps)."""
    return (MEL_RATE * (np.arange(count) / fps)).astype(np.int64)


def mel_windows(mel: np.ndarray, fps: float, count: int) -> np.ndarray:
    """Cut one window of speech per video frame.

    Args:
        mel: (80, S) as from `melspectrogram`.
        fps: frames per second of the video.
        count: frames in the video.

    Returns:
        (count, 80, 16): window t starts at column floor(80 t / fps) and lasts 0.2 s. Where the speech has run out, the
        last 16 columns are repeated.

    Raises:
        MediaError: the speech is shorter than one window.
    """
    return _windows(mel, window_starts(fps, count))


def mel_chunks(mel: np.ndarray, fps: float) -> np.ndarray:
    """The windows of Wav2Lip's inference.py, whose number decides how many frames are made: (count, 80, 16).

    Window i starts at column floor(i 80 / fps); the first that would reach beyond the speech is replaced by its last 16
    columns and ends the list.

    Raises:
        MediaError: the speech is shorter than one window.
    """
    return _windows(mel, chunk_starts(mel.shape[1], fps))


def chunk_starts(columns: int, fps: float) -> np.ndarray:
    """(count,) int64: the first column of each window of `mel_chunks`."""
    starts = (np.arange(math.ceil(columns * fps / MEL_RATE) + 1) * (MEL_RATE / fps)).astype(np.int64)
    return np.minimum(starts[: 1 + np.count_nonzero(starts + MEL_WINDOW <= columns)], columns - MEL_WINDOW)


class SpeechWindows(Sequence):
    """`mel_chunks`, each cut when it is asked for: (80, 16), a view.

    Args:
        mel: (80, S), as of `melspectrogram`.
        fps: frames per second of the video.

    Raises:
        MediaError: the speech is shorter than one window.
    """

    def __init__(self, mel: np.ndarray, fps: float):
        self._view, self._starts = _all_windows(mel), chunk_starts(mel.shape[1], fps)

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: Any) -> Any:
        return self._view[:, self._starts[index]]


def _windows(mel: np.ndarray, starts: np.ndarray) -> np.ndarray:
    windows = _all_windows(mel)
    return np.ascontiguousarray(windows[:, np.minimum(starts, windows.shape[1] - 1)].transpose(1, 0, 2))


def _all_windows(mel: np.ndarray) -> np.ndarray:
    """(80, S - 15, 16), a view."""
    if mel.shape[1] < MEL_WINDOW:
        raise MediaError(f"the speech is {mel.shape[1] / MEL_RATE:.2f} s long; at least {MEL_WINDOW / MEL_RATE} s are needed.")
    return sliding_window_view(mel, MEL_WINDOW, axis=1)


def mfcc(samples: np.ndarray) -> np.ndarray:
    """Cepstral coefficients as SyncNet hears them: python_speech_features.mfcc(samples, 16000) with its defaults.

    Args:
        samples: (N,) int16 at 16 kHz, not scaled (floats in [-1, 1] are scaled to int16).

    Returns:
        (13, S) float64, 100 columns per second, S = 1 + ceil((N - 400) / 160). Row 0 is the log energy.

    Raises:
        MediaError: there are no samples.
    """
    check_wav(samples, "the speech")
    if not len(samples):
        raise MediaError("the speech holds no samples; MFCC need at least one.")
    samples = to_int16(samples)
    columns = 1 + max(0, math.ceil((len(samples) - 400) / 160))
    blocks = [_cepstra(samples, first, min(first + BLOCK, columns)) for first in range(0, columns, BLOCK)]
    return np.concatenate(blocks, axis=1)


def _cepstra(samples: np.ndarray, first: int, last: int) -> np.ndarray:
    """(13, last - first): the MFCC of columns first .. last - 1."""
    from scipy.fft import dct

    begin, end = first * 160, (last - 1) * 160 + 400
    piece = samples[max(0, begin - 1) : end].astype(np.float64)
    emphasized = np.append(piece[:1] if begin == 0 else [], piece[1:] - 0.97 * piece[:-1])
    emphasized = np.pad(emphasized, (0, end - begin - len(emphasized)))
    power = np.abs(np.fft.rfft(sliding_window_view(emphasized, 400)[::160], 512)) ** 2 / 512
    tiny = np.finfo(np.float64).eps
    energy, bands = power.sum(axis=1), power @ _mfcc_filters().T
    cepstra = dct(np.log(np.where(bands == 0, tiny, bands)), type=2, axis=1, norm="ortho")[:, :13]
    cepstra *= 1 + 11 * np.sin(np.pi * np.arange(13) / 22)
    cepstra[:, 0] = np.log(np.where(energy == 0, tiny, energy))
    return cepstra.T


@lru_cache(maxsize=1)
def _mfcc_filters() -> np.ndarray:
    """(26, 257): triangles between 0 and 8000 Hz, evenly spaced in mel = 2595 log10(1 + f / 700)."""
    mels = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 28)
    edges = np.floor(513 * 700 * (10 ** (mels / 2595) - 1) / SAMPLE_RATE)
    left, middle, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    bins = np.arange(257)
    rising = (bins >= left) & (bins < middle)
    falling = (bins >= middle) & (bins < right)
    return np.where(rising, (bins - left) / (middle - left), np.where(falling, (right - bins) / (right - middle), 0.0))
