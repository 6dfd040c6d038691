"""Voice: phones -> sound, by a pulsing source (the vocal folds), hiss, and a filter that moves (the vocal tract).

Source-filter synthesis after D. Klatt, "Software for a cascade/parallel formant synthesizer" (1980): the glottal pulse
is his KLGLOTT88 shape; the filter is applied per short window in the frequency domain instead of sample by sample.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import resample_poly

from talkingface.dataset.demo.phones import PAUSE, PHONES, Segment

Response = Callable[[np.ndarray, np.ndarray], np.ndarray]
CONTROL_RATE = 250  # values per second of everything that moves
BANDWIDTHS = np.array([80.0, 110.0, 160.0, 250.0, 350.0])
UPPER_FORMANTS = (3500.0, 4500.0)  # the two that no phone changes


@dataclass(frozen=True)
class Voice:
    """Who is heard.

    Args:
        pitch: middle of the intonation, Hz.
        tract: factor on all resonances; 1 for a long (male) vocal tract, 1.35 for a child's.
        breath: share of air noise in voiced sounds, 0 to 1.
        melody: depth of the intonation, semitones.
        open_quotient: share of a period in which the vocal folds are open, 0.4 (pressed) to 0.7 (soft).
    """

    pitch: float = 120.0
    tract: float = 1.0
    breath: float = 0.1
    melody: float = 3.0
    open_quotient: float = 0.55


def synthesize(segments: Sequence[Segment], voice: Voice, rng: np.random.Generator, sample_rate: int = 16000) -> np.ndarray:
    """The sound of a sentence.

    Returns:
        (N,) float32 in [-1, 1], N = round(end of the last segment * sample_rate).
    """
    seconds = segments[-1].end
    times = np.arange(int(np.ceil(seconds * CONTROL_RATE)) + 1) / CONTROL_RATE
    tracks = control_tracks(segments, times)
    samples = round(seconds * sample_rate)
    pulses = glottal_pulses(pitch_track(segments, times, voice, rng), samples, voice, rng, sample_rate)
    at = np.arange(samples) / sample_rate
    voiced, noise, tilt = (np.interp(at, times, tracks[name]) for name in ("voiced", "noise", "nasal"))
    air = rng.standard_normal(samples)
    folds = voiced * (pulses * (1 - 0.4 * tilt) + voice.breath * 0.3 * air * (0.3 + np.maximum(-pulses, 0)))
    formants, nasal = tracks["formants"] * voice.tract, tracks["nasal"]
    wav = filtered(folds, times, lambda hz, i: tract_response(hz, formants[i], nasal[i]), sample_rate)
    wav = wav / (np.abs(wav).max() + 1e-9)
    hiss = filtered(noise * air, times, lambda hz, i: hiss_response(hz, tracks["hiss"][i] * voice.tract**0.5), sample_rate)
    wav = wav + 0.11 * hiss + 2e-4 * rng.standard_normal(samples)  # the last is the room's own murmur
    return (0.8 * wav / max(np.abs(wav).max(), 1e-9)).astype(np.float32)


def control_tracks(segments: Sequence[Segment], times: np.ndarray) -> dict[str, np.ndarray]:
    """What moves: loudness of folds and hiss (n,), nasality (n,), formants (n, 3) and hiss band (n, 2) at `times`."""
    index = np.clip(np.searchsorted([s.end for s in segments], times, side="right"), 0, len(segments) - 1)
    phones = [PHONES[s.phone] for s in segments]
    start, length = (np.array(v)[index] for v in ([s.start for s in segments], [s.end - s.start for s in segments]))
    place = (times - start) / np.maximum(length, 1e-6)
    stress = np.array([s.stress for s in segments])[index]
    burst = np.array([p.burst for p in phones])[index]
    voiced = np.array([p.voiced for p in phones])[index] * stress**1.5
    noise = np.array([p.noise for p in phones])[index]
    voiced = np.where(burst, voiced * np.where(place < 0.6, 0.15, 0.8), voiced)
    release = np.exp(-np.maximum(place - 0.6, 0) * length / 0.018)
    noise = np.where(burst, np.where(place < 0.6, 0.0, noise * release), noise)
    formants = formant_tracks(segments, times)
    hiss = np.array([p.hiss for p in phones])[index]
    smooth = 0.008 * CONTROL_RATE
    return {
        "voiced": gaussian_filter1d(voiced, smooth * 1.4),
        "noise": gaussian_filter1d(noise, smooth * 0.6),
        "nasal": gaussian_filter1d(np.array([float(p.nasal) for p in phones])[index], smooth),
        "formants": formants,
        "hiss": hiss,
    }


def formant_tracks(segments: Sequence[Segment], times: np.ndarray) -> np.ndarray:
    """Resonances that glide from phone to phone and, in long vowels, arrive: (n, 3) Hz."""
    spoken = [s for s in segments if s.phone != PAUSE] or list(segments)
    knots, values = [], []
    for s in spoken:
        hold = 0.5 * max(0.0, (s.end - s.start) - 0.07)
        middle = (s.start + s.end) / 2
        knots += [middle - hold, middle + hold + 1e-4]
        values += [PHONES[s.phone].formants] * 2
    table = np.array(values)
    tracks = np.stack([np.interp(times, knots, table[:, k]) for k in range(3)], axis=1)
    return gaussian_filter1d(tracks, 0.012 * CONTROL_RATE, axis=0)


def pitch_track(segments: Sequence[Segment], times: np.ndarray, voice: Voice, rng: np.random.Generator) -> np.ndarray:
    """Intonation, Hz: it falls over a phrase, rises on stressed syllables, and trembles a little."""
    semitones = np.zeros_like(times)
    edges = [s.start for s in segments if s.phone == PAUSE] + [segments[-1].end]
    for begin, end in zip(edges, edges[1:], strict=False):
        inside = (times >= begin) & (times <= end)
        semitones[inside] += voice.melody * (0.6 - 1.2 * (times[inside] - begin) / max(end - begin, 1e-6))
    for s in segments:
        if PHONES[s.phone].firmness >= 0.9 and s.stress > 0.95:
            semitones += voice.melody * 0.7 * np.exp(-0.5 * ((times - (s.start + s.end) / 2) / 0.09) ** 2)
    tremble = gaussian_filter1d(rng.standard_normal(len(times)), 0.02 * CONTROL_RATE)
    return voice.pitch * 2 ** ((gaussian_filter1d(semitones, 0.03 * CONTROL_RATE) + 0.6 * tremble) / 12)


def glottal_pulses(
    pitch: np.ndarray, samples: int, voice: Voice, rng: np.random.Generator, sample_rate: int, finer: int = 4
) -> np.ndarray:
    """Derivative of the air flow through the vocal folds, (samples,), its deepest dip near -1; made `finer` times finer."""
    at = np.arange(samples * finer) / (sample_rate * finer)
    cycles = np.cumsum(np.interp(at, np.arange(len(pitch)) / CONTROL_RATE, pitch)) / (sample_rate * finer)
    number = cycles.astype(int)
    shimmer = 1 + 0.05 * rng.standard_normal(number[-1] + 1)
    phase = (cycles - number) / voice.open_quotient
    pulse = np.where(phase < 1, 2 * phase - 3 * phase**2, 0.0) * shimmer[number]
    pulse = resample_poly(pulse, 1, finer)
    return pulse - np.mean(pulse)


def tract_response(hz: np.ndarray, formants: np.ndarray, nasal: np.ndarray) -> np.ndarray:
    """Five resonances in a row: (windows, bins) complex, with the nose's damping where nasal."""
    scale = formants[:, 2:].mean() / 2450 if len(formants) else 1.0
    upper = np.tile(np.array(UPPER_FORMANTS) * scale, (len(formants), 1))
    center = np.concatenate([formants, upper], axis=1)[:, :, None]
    width = BANDWIDTHS[None, :, None] * (1 + 1.2 * nasal[:, None, None])
    s = 1j * hz[None, None, :]
    pole = -width / 2 + 1j * center
    response = np.prod((np.abs(pole) ** 2) / ((s - pole) * (s - np.conj(pole))), axis=1)
    return response * (1 - 0.6 * nasal[:, None] * np.exp(-0.5 * ((hz[None] - 900) / 300) ** 2)) * (hz / (hz + 60.0))[None]


def hiss_response(hz: np.ndarray, band: np.ndarray) -> np.ndarray:
    """A hump at the place where the air is squeezed: (windows, bins)."""
    return np.exp(-0.5 * ((hz[None] - band[:, :1]) / (0.5 * band[:, 1:])) ** 2) + 0.03


def filtered(source: np.ndarray, times: np.ndarray, response: Response, sample_rate: int, hop: int = 80) -> np.ndarray:
    """Filter a sound by a response that changes every `hop` samples: Hann windows, overlap-add.

    Args:
        response: (bins,) Hz and (windows,) indices into `times` -> (windows, bins).
    """
    window, size = 4 * hop, 1024
    padded = np.pad(source, (window, window))
    starts = np.arange(0, len(padded) - window, hop)
    pieces = padded[starts[:, None] + np.arange(window)] * np.hanning(window + 1)[:window] / 2
    seconds = (starts - window + window / 2) / sample_rate
    index = np.clip(np.round(seconds * CONTROL_RATE).astype(int), 0, len(times) - 1)
    hz = np.fft.rfftfreq(size, 1 / sample_rate)
    shaped = np.fft.irfft(np.fft.rfft(pieces, size) * response(hz, index), size)
    out = np.zeros(len(padded) + size)
    for start, piece in zip(starts, shaped, strict=True):
        out[start : start + size] += piece
    return out[window : window + len(source)]
