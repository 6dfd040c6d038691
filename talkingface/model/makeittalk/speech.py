"""What MakeItTalk hears: loudness, mel, pitch and speaker of a recording, and the same said in the one voice it was trained with.

There are 62.5 rows per second: 16 kHz, a row every 256 samples. All sound is mono; stereo is averaged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from talkingface.errors import MediaError
from talkingface.media.audio import SAMPLE_RATE, audio_blocks, mel_filters, to_int16
from talkingface.media.f0 import rapt
from talkingface.model.makeittalk.networks.content import WINDOW
from talkingface.model.makeittalk.networks.conversion import PITCHES, VoiceConverter
from talkingface.model.makeittalk.tables import MEL_DEVIATION, MEL_MEAN

HOP, TRANSFORM = 256, 1024  # samples from one mel row to the next, and of one
ROWS_PER_SECOND = SAMPLE_RATE / HOP  # 62.5
LEAST_ROWS = 10  # of landmarks, that are worth making
LOUDNESS = -20.0  # dB below full scale, to which speech is brought
CONVERTED = 4096  # rows that are converted together
BLOCK = 512  # rows that are worked on at once: a long recording is in memory as samples, its spectra and other doubles are not
PULSE = 18  # samples by which a recording is continued at both ends when it is filtered
FEMALE, MALE = (100.0, 600.0), (50.0, 250.0)  # hertz between which a pitch is looked for; the first for everybody

Embed = Callable[[np.ndarray], np.ndarray]
"""(N,) samples at 16 kHz, int16 or float32 -> (256,) float32: who speaks."""


class Speech(NamedTuple):
    """A recording, as the networks hear it.

    Attributes:
        mel: (T, 80) float32, about 0 to 1.
        pitch: (T,) int64 classes of F0: 0 = unvoiced, 1 to 256 = from two deviations below the speaker's mean to two above.
        embedding: (256,) float32, who speaks, heard in the recording as it is: drives the speaker branch.
        source: (256,) float32, the same at a loudness of -20 dB: drives the voice conversion.
    """

    mel: np.ndarray
    pitch: np.ndarray
    embedding: np.ndarray
    source: np.ndarray


def speech_features(path: Path | str, embed: Embed, pitch_range: tuple[float, float] = FEMALE) -> Speech:
    """Listen to a sound file or a video; nothing is written.

    Args:
        pitch_range: hertz. The authors' scripts look for the pitch of a woman in every recording, but in their training data.

    Raises:
        MediaError: there is no sound, or less than 0.44 s of it.
    """
    return features(recorded(path), embed, pitch_range)


def recorded(path: Path | str) -> np.ndarray:
    """The sound of a file, (N,) int16 at 16 kHz: `load_audio` in half of the memory.

    Raises:
        MediaError: there is no sound, or less than 0.44 s of it.
    """
    blocks = (to_int16(np.clip(block.mean(axis=0), -1, 1)) for block in audio_blocks(path, SAMPLE_RATE))
    samples = np.concatenate([np.empty(0, np.int16), *blocks])
    check_length(len(samples) // HOP + 1, str(path))
    return samples


def features(samples: np.ndarray, embed: Embed, pitch_range: tuple[float, float] = FEMALE) -> Speech:
    """Listen to (N,) int16 samples at 16 kHz."""
    embedding, loud = embed(samples), normalised_loudness(samples)
    del samples  # which nobody else may hold: an hour of them is 115 MB
    source, wav = embed(loud), highpassed(loud)
    del loud
    dithered(wav, out=wav)
    return Speech(mel_rows(wav), pitch_classes(rapt(wav, *pitch_range, hop=HOP)), embedding, source)


def check_length(rows: int, name: str = "the speech") -> None:
    """Raises MediaError unless mel rows suffice for ten rows of landmarks."""
    least = WINDOW + LEAST_ROWS
    if rows < least:
        seconds, needed = max(0, rows - 1) / ROWS_PER_SECOND, math.ceil(100 * (least - 1) / ROWS_PER_SECOND) / 100
        raise MediaError(f"{name} is {seconds:.2f} s long; MakeItTalk needs at least {needed:.2f} s.")


# --- loudness and mel -------------------------------------------------------------------------------------------------


def normalised_loudness(samples: np.ndarray) -> np.ndarray:
    """(N,) int16 at -20 dB, with the whole numbers of pydub: its root mean square is rounded down, and so are the samples.

    Silence stays silence.
    """
    energy = sum(int(np.square(samples[part], dtype=np.int64).sum()) for part in parts(len(samples)))
    level = math.isqrt(energy // max(1, len(samples)))
    if level == 0:
        return samples
    gain = 10 ** ((LOUDNESS - 20 * math.log10(level / 32768)) / 20)
    loud = np.empty_like(samples)
    for part in parts(len(samples)):
        scaled = samples[part] * gain
        loud[part] = np.floor(np.where(scaled < -32767, -32768, np.minimum(scaled, 32767))).astype(np.int16)
    return loud


def parts(count: int) -> Iterator[slice]:
    """All samples of a recording, block by block."""
    return (slice(first, first + BLOCK * HOP) for first in range(0, count, BLOCK * HOP))


def highpassed(samples: np.ndarray) -> np.ndarray:
    """(N,) int16 without what lies below 30 Hz: float32. A whole number of hops gets one sample more, so that rows agree.

    It is filtered forward and backward (scipy's `filtfilt`), block by block.
    """
    from scipy.signal import butter, lfilter, lfilter_zi

    wav = np.full(len(samples) + (len(samples) % HOP == 0), 1e-6, np.float32)
    np.divide(samples, np.float32(32768), out=wav[: len(samples)])
    filtered = partial(lfilter, *butter(5, 30, "highpass", fs=SAMPLE_RATE))
    state = lfilter_zi(*butter(5, 30, "highpass", fs=SAMPLE_RATE))
    before, after = 2.0 * wav[0] - wav[PULSE:0:-1], 2.0 * wav[-1] - wav[-2 : -PULSE - 2 : -1]
    rest = filtered(before, zi=state * before[0])[1]
    for part in parts(len(wav)):
        wav[part], rest = filtered(wav[part], zi=rest)
    after = filtered(after, zi=rest)[0][::-1]
    rest = filtered(after, zi=state * after[0])[1]
    backward = wav[::-1]
    for part in parts(len(wav)):
        backward[part], rest = filtered(backward[part], zi=rest)
    return wav


def dithered(wav: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """A little softer, and with a little noise that is always the same: (N,) float32.

    Args:
        out: where the result goes, perhaps `wav` itself; by default a new array.
    """
    out, chance = np.empty(len(wav), np.float32) if out is None else out, np.random.RandomState(0)
    for part in parts(len(wav)):
        out[part] = 0.95 * wav[part] + (chance.rand(len(wav[part])) - 0.5) * 1e-6
    return out


def mel_rows(wav: np.ndarray) -> np.ndarray:
    """(N,) samples -> (1 + N // 256, 80) float32 log-mel rows, about 0 to 1; silence is -0.16."""
    filters = mel_filters(TRANSFORM, 90.0, 7600.0).T
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(TRANSFORM) / TRANSFORM)
    rows = np.empty((1 + len(wav) // HOP, 80), np.float32)
    for first in range(0, len(rows), BLOCK):
        centres = HOP * np.arange(first, min(first + BLOCK, len(rows)))
        places = np.abs(centres[:, None] + np.arange(-TRANSFORM // 2, TRANSFORM // 2))  # before and after it is mirrored
        frames = wav[np.where(places < len(wav), places, 2 * (len(wav) - 1) - places)].astype(np.float64)
        mel = np.abs(np.fft.rfft(frames * hann)) @ filters
        rows[first : first + BLOCK] = (20 * np.log10(np.maximum(1e-5, mel)) - 16 + 100) / 100
    return rows


def normalised_mel(mel: np.ndarray) -> np.ndarray:
    """Converted mel (T, 80) with mean 0 and deviation 1 in each band, over the authors' recordings: float32."""
    return ((mel - MEL_MEAN) / MEL_DEVIATION).astype(np.float32)


# --- pitch ------------------------------------------------------------------------------------------------------------


def pitch_classes(hertz: np.ndarray) -> np.ndarray:
    """(T,) hertz, 0 where unvoiced -> (T,) int64 classes, relative to the speaker: see `Speech.pitch`."""
    voiced = hertz > 0
    classes = np.zeros(len(hertz), np.int64)
    classes[voiced] = np.round(255 * relative_pitch(hertz[voiced])).astype(np.int64) + 1
    return classes


def relative_pitch(hertz: np.ndarray) -> np.ndarray:
    """(V,) hertz -> (V,) float64 in [0, 1]: 1/2 is the speaker's mean of log F0; 0 and 1 are four deviations from it."""
    logs = np.log(hertz.astype(np.float64)).astype(np.float32).astype(np.float64)
    if not len(logs):
        return logs
    deviation = logs.std() or 1.0
    return (np.clip((logs - logs.mean()) / deviation / 4, -1, 1) + 1) / 2


@lru_cache(maxsize=1)
def _classes() -> torch.Tensor:
    return torch.eye(PITCHES)


def one_hot(classes: np.ndarray) -> torch.Tensor:
    """(T,) classes as (T, 257) float32."""
    return _classes()[torch.from_numpy(np.array(classes))]


# --- voice ------------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def convert(converter: VoiceConverter, speech: Speech) -> np.ndarray:
    """Say it in another voice: the one that the branches know, `converter.target_voice`.

    Returns:
        (T, 80) float32 mel.
    """
    target = converter.target_voice[None]
    device = target.device
    source = torch.from_numpy(np.array(speech.source, np.float32))[None].to(device)
    said = np.empty_like(speech.mel)
    for first in range(0, len(speech.mel), CONVERTED):
        mel = torch.from_numpy(np.array(speech.mel[first : first + CONVERTED]))
        padding = (0, 0, 0, -len(mel) % 32)
        rows, pitch = (
            torch.nn.functional.pad(x, padding)[None].to(device) for x in (mel, one_hot(speech.pitch[first : first + CONVERTED]))
        )
        said[first : first + CONVERTED] = converter(rows, source, pitch, target)[1][0, : len(mel)].float().cpu().numpy()
    return said
