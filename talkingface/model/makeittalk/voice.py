"""Who speaks: the speaker embedding of a recording, as Resemblyzer makes it, or from the spectrum alone."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

from talkingface.errors import CheckpointError, ConfigError, MissingWeightsError
from talkingface.media.audio import SAMPLE_RATE, mel_filters, to_float
from talkingface.model.makeittalk.networks.voice import SIZE, VoiceEncoder
from talkingface.model.makeittalk.speech import Embed
from talkingface.nn.pickled import read_pickle
from talkingface.nn.weights import load_weights, read_weights

HOP, TRANSFORM = 160, 400  # samples from one mel row to the next, and of one
PART, PART_STEP = 160, 50  # mel rows that are embedded at once, and from one part to the next
LOUDNESS = -30.0  # dB below full scale, to which quiet speech is raised
VAD_WINDOW = 480  # samples that are voiced or not: 30 ms
MINUTE = 60 * SAMPLE_RATE // VAD_WINDOW  # such windows: what is embedded, and in memory as floats, at once
VAD_STRICT = 3  # WebRTC's mode in which the least passes for speech
SMOOTHED, WIDENED = 8, 7  # windows over which that is averaged, and by which speech is widened
WEIGHTS = "pretrained.pt"


def embedder(kind: str = "resemblyzer", weights: str = "") -> Embed:
    """The function that tells who speaks.

    Args:
        kind: "resemblyzer": what the published networks were trained with; "spectrum": needs no weights, for networks of
            one's own.
        weights: Resemblyzer's file; "" = the one in its package.

    Raises:
        ConfigError: there is no such kind.
    """
    if kind not in ("resemblyzer", "spectrum"):
        raise ConfigError(f"MakeItTalk.speaker_embedding: expected 'resemblyzer' or 'spectrum', got {kind!r}.")
    return spectral_embedding if kind == "spectrum" else partial(speaker_embedding, weights=weights)


def speaker_embedding(wav: np.ndarray, weights: str = "") -> np.ndarray:
    """Resemblyzer's embedding of (N,) samples at 16 kHz, int16 or float32: (256,) float32, not negative, about 1 long.

    Speech of more than a minute is embedded minute by minute, and a remainder is not heard, as in the authors' script.

    Raises:
        MissingWeightsError: Resemblyzer's weights are not on this disk.
    """
    encoder = voice_encoder(weights)
    with torch.inference_mode():
        embeddings = [encoder.whole(torch.from_numpy(parts_of(minute))) for minute in spoken_minutes(wav)]
    return torch.stack(embeddings).mean(dim=0).numpy()


def spectral_embedding(wav: np.ndarray) -> np.ndarray:
    """An embedding that needs no weights: (256,) float32 of length 1, from the log spectrum of (N,) samples at 16 kHz.

    In 128 bands: the mean, without the slope and the level that a microphone changes, and the deviation. Not published: for
    networks that are trained with it. Silence is zeros.
    """
    count, total, squares = 0, np.zeros(SIZE // 2), np.zeros(SIZE // 2)
    for minute in loud_minutes(wav):
        rows = np.log(1e-6 + mel_power(minute, bands=SIZE // 2).astype(np.float64))
        count, total, squares = count + len(rows), total + rows.sum(axis=0), squares + (rows**2).sum(axis=0)
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
    bands = np.linspace(-1, 1, len(mean))
    mean = mean - mean.mean()
    statistics = np.concatenate((mean - bands * (mean @ bands) / (bands @ bands), deviation - deviation.mean()))
    return (statistics / max(float(np.linalg.norm(statistics)), 1e-3)).astype(np.float32)


def known_embedding(path: Path, name: str) -> np.ndarray:
    """The embedding (256,) float32 of one of the speakers that the published speaker branch was trained with.

    Args:
        path: the authors' emb.pickle.
        name: a YouTube id of 11 characters.

    Raises:
        MissingWeightsError: the file is not there.
        ConfigError: nobody of that name is in it.
        CheckpointError: it is not such a file.
    """
    if not path.is_file():
        raise MissingWeightsError(f"{path} does not exist, and reuse_train_emb_list needs it. See checkpoints/README.md.")
    known = read_pickle(path)
    if not isinstance(known, dict) or not all(np.shape(embedding) == (SIZE,) for embedding in known.values()):
        raise CheckpointError(f"{path} does not hold speakers and their embeddings of {SIZE} numbers.")
    if name not in known:
        close = difflib.get_close_matches(name, map(str, known), n=1)
        hint = f"; did you mean {close[0]!r}?" if close else f"; it has {', '.join(sorted(map(str, known))[:5])}, ..."
        raise ConfigError(f"MakeItTalk.reuse_train_emb_list: {path} has no speaker {name!r}{hint}")
    return np.asarray(known[name], np.float32)


# --- the network ------------------------------------------------------------------------------------------------------


def published_weights() -> Path | None:
    """Resemblyzer's file of weights in its installed package, which is not imported."""
    package = importlib.util.find_spec("resemblyzer")
    folders = package.submodule_search_locations if package is not None else None
    return next((file for folder in folders or () if (file := Path(folder) / WEIGHTS).is_file()), None)


@lru_cache(maxsize=2)
def voice_encoder(weights: str = "") -> VoiceEncoder:
    """Resemblyzer's network with its weights, on the CPU.

    Raises:
        MissingWeightsError: they are not on this disk.
    """
    path = Path(weights).expanduser() if weights else published_weights()
    if path is None or not path.is_file():
        where = f"{path} does not exist" if path else "Resemblyzer's weights are not installed"
        raise MissingWeightsError(
            f"{where}, and MakeItTalk needs them to tell who speaks. Run `pip install --no-deps resemblyzer`, or name its "
            f"{WEIGHTS} with --MakeItTalk.speaker_weights. Networks of your own also learn with "
            "--MakeItTalk.speaker_embedding=spectrum."
        )
    network = VoiceEncoder()
    state = {name: tensor for name, tensor in read_weights(path).state.items() if not name.startswith("similarity_")}
    load_weights(network, state, path)
    return network.eval()


# --- the sound --------------------------------------------------------------------------------------------------------


def spoken_minutes(wav: np.ndarray) -> Iterator[np.ndarray]:
    """Quiet speech raised to -30 dB and without its pauses, minute by minute: (up to 960 000,) float32.

    Where nothing is speech it is all of it. What remains after whole minutes is left out.
    """
    windows, factor = windows_of(wav), raising_factor(wav)
    heard = np.flatnonzero(is_spoken(windows, factor))
    heard = heard if len(heard) else np.arange(len(windows))
    for first in range(0, max(1, len(heard) // MINUTE * MINUTE), MINUTE):
        yield to_float(windows[heard[first : first + MINUTE]]).ravel() * factor


def loud_minutes(wav: np.ndarray) -> Iterator[np.ndarray]:
    """A recording without its windows of 30 ms that are 30 dB below the loudest or more, minute by minute: float32."""
    windows = windows_of(wav)
    power = np.concatenate([np.square(to_float(part)).mean(axis=1) for part in in_minutes(windows)])
    heard = np.flatnonzero(power > 1e-3 * power.max())
    heard = heard if len(heard) else np.arange(len(windows))
    for first in range(0, len(heard), MINUTE):
        yield to_float(windows[heard[first : first + MINUTE]]).ravel()


def windows_of(wav: np.ndarray) -> np.ndarray:
    """(N,) samples as windows of 30 ms (W, 480), without a remainder; what is shorter than one is continued by silence."""
    wav = wav if len(wav) >= VAD_WINDOW else np.pad(wav, (0, VAD_WINDOW - len(wav)))
    count = len(wav) // VAD_WINDOW
    return wav[: count * VAD_WINDOW].reshape(count, VAD_WINDOW)


def in_minutes(windows: np.ndarray) -> list[np.ndarray]:
    """Windows (W, 480), a minute at a time."""
    return [windows[first : first + MINUTE] for first in range(0, len(windows), MINUTE)]


def raising_factor(wav: np.ndarray) -> np.float32:
    """What makes (N,) samples at least as loud as -30 dB; 1 where they are, and for silence."""
    size = MINUTE * VAD_WINDOW
    energy = sum(
        float(np.square(to_float(wav[first : first + size]), dtype=np.float64).sum()) for first in range(0, len(wav), size)
    )
    change = LOUDNESS - 10 * np.log10(energy / len(wav)) if energy > 0 else 0.0
    return np.float32(10 ** (max(change, 0.0) / 20))


def is_spoken(windows: np.ndarray, factor: np.float32) -> np.ndarray:
    """(W,) bool: which windows of 30 ms belong to speech, by WebRTC's detector, after they are made louder."""
    from scipy.ndimage import binary_dilation
    from webrtcvad import Vad

    detector, voiced = Vad(VAD_STRICT), []
    for part in in_minutes(windows):
        samples = np.round(to_float(part) * factor * 32767).astype(np.int32).astype("<i2")
        voiced += [float(detector.is_speech(window.tobytes(), SAMPLE_RATE)) for window in samples]
    padded = np.concatenate((np.zeros((SMOOTHED - 1) // 2), voiced, np.zeros(SMOOTHED // 2)))
    means = sliding_window_view(padded, SMOOTHED).mean(axis=1)[: len(windows)]
    return binary_dilation(np.round(means).astype(bool), np.ones(WIDENED))


def mel_power(wav: np.ndarray, bands: int = 40, reflect: bool = False) -> np.ndarray:
    """(N,) -> (1 + N // 160, bands) float32 power in mel bands, 100 rows per second, not logarithmic.

    Args:
        reflect: continue the sound beyond its ends by its mirror image, as librosa did before 0.10; else by silence.
    """
    margin = TRANSFORM // 2
    padded = np.pad(wav, margin, "reflect" if reflect else "constant")
    hann = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(TRANSFORM) / TRANSFORM)).astype(np.float32)
    frames = sliding_window_view(padded, TRANSFORM)[::HOP]
    return (np.abs(np.fft.rfft(frames * hann)) ** 2 @ mel_filters(TRANSFORM, 0.0, 8000.0, bands).T).astype(np.float32)


def part_starts(samples: int) -> list[int]:
    """First mel rows of the parts of a recording: every half second, the last dropped when less than 3/4 of it is sound."""
    rows = -(-(samples + 1) // HOP)
    starts = list(range(0, max(1, rows - PART + PART_STEP + 1), PART_STEP))
    if len(starts) > 1 and (samples - starts[-1] * HOP) / (PART * HOP) < 0.75:
        starts.pop()
    return starts


def parts_of(wav: np.ndarray, reflect: bool = False) -> np.ndarray:
    """(P, 160, 40) float32 mel parts of (N,) samples, which are continued by silence where the last part needs it."""
    starts = part_starts(len(wav))
    wav = np.pad(wav, (0, max(0, (starts[-1] + PART) * HOP - len(wav))))
    mel = mel_power(wav, reflect=reflect)
    return np.stack([mel[start : start + PART] for start in starts])
