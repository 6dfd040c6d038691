"""Who speaks: the speaker embedding of a recording, as Resemblyzer makes it, or from the spectrum alone."""

from __future__ import annotations

import difflib
import importlib.util
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

from talkingface.errors import CheckpointError, ConfigError, MissingWeightsError
from talkingface.media.audio import SAMPLE_RATE, mel_filters
from talkingface.model.makeittalk.networks.voice import SIZE, VoiceEncoder
from talkingface.model.makeittalk.speech import Embed
from talkingface.nn.pickled import read_pickle
from talkingface.nn.weights import load_weights, read_weights

HOP, TRANSFORM = 160, 400  # samples from one mel row to the next, and of one
PART, PART_STEP = 160, 50  # mel rows that are embedded at once, and from one part to the next
MINUTE = 60 * SAMPLE_RATE
LOUDNESS = -30.0  # dB below full scale, to which quiet speech is raised
VAD_WINDOW = 480  # samples that are voiced or not: 30 ms
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
    """Resemblyzer's embedding of (N,) float32 samples at 16 kHz: (256,) float32, not negative, about 1 long.

    Speech of more than a minute is embedded minute by minute, and a remainder is not heard, as in the authors' script.

    Raises:
        MissingWeightsError: Resemblyzer's weights are not on this disk.
    """
    encoder = voice_encoder(weights)
    wav = preprocessed(wav)
    minutes = [wav[k * MINUTE : (k + 1) * MINUTE] for k in range(max(1, len(wav) // MINUTE))]
    with torch.inference_mode():
        embeddings = [encoder.whole(torch.from_numpy(parts_of(minute))) for minute in minutes]
    return torch.stack(embeddings).mean(dim=0).numpy()


def spectral_embedding(wav: np.ndarray) -> np.ndarray:
    """An embedding that needs no weights: (256,) float32 of length 1, from the log spectrum of (N,) samples at 16 kHz.

    In 128 bands: the mean, without the slope and the level that a microphone changes, and the deviation. Not published: for
    networks that are trained with it. Silence is zeros.
    """
    rows = np.log(1e-6 + mel_power(trimmed_by_level(wav), bands=SIZE // 2))
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
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


def preprocessed(wav: np.ndarray) -> np.ndarray:
    """Quiet speech raised to -30 dB, and without its pauses; where nothing is speech, all of it."""
    raised = raised_volume(wav)
    mask = speech_mask(raised)
    heard = raised[: len(mask)][mask]
    return heard if len(heard) else raised


def raised_volume(wav: np.ndarray) -> np.ndarray:
    """(N,) float32, at least as loud as -30 dB; silence stays silence."""
    level = np.sqrt(np.mean((wav * 32767) ** 2)) / 32767
    change = LOUDNESS - 20 * np.log10(level) if level > 0 else 0.0
    return wav if change <= 0 else (wav * 10 ** (change / 20)).astype(np.float32)


def speech_mask(wav: np.ndarray) -> np.ndarray:
    """(M,) bool: which samples belong to speech, by WebRTC's detector; M is N less a remainder of a window."""
    from scipy.ndimage import binary_dilation
    from webrtcvad import Vad

    count = len(wav) // VAD_WINDOW
    samples = np.round(wav[: count * VAD_WINDOW] * 32767).astype(np.int32).astype("<i2")
    detector = Vad(VAD_STRICT)
    voiced = np.array([detector.is_speech(window.tobytes(), SAMPLE_RATE) for window in samples.reshape(count, VAD_WINDOW)], float)
    padded = np.concatenate((np.zeros((SMOOTHED - 1) // 2), voiced, np.zeros(SMOOTHED // 2)))
    means = sliding_window_view(padded, SMOOTHED).mean(axis=1)[:count]
    return np.repeat(binary_dilation(np.round(means).astype(bool), np.ones(WIDENED)), VAD_WINDOW)


def trimmed_by_level(wav: np.ndarray) -> np.ndarray:
    """(N,) without the windows of 30 ms that are 30 dB below the loudest or more; all of it where that leaves nothing."""
    count = len(wav) // VAD_WINDOW
    windows = wav[: count * VAD_WINDOW].reshape(count, VAD_WINDOW)
    power = (windows**2).mean(axis=1)
    heard = windows[power > 1e-3 * power.max(initial=0)].ravel()
    return heard if len(heard) else wav


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
