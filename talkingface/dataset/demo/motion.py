"""Motion: phones -> mouth, and chance -> head, eyes and brows. Everything is a function of time in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from talkingface.dataset.demo.phones import PAUSE, PHONES, Segment

MOUTH = ("open", "spread", "closed", "tuck", "tongue")
LEAD = 0.015  # seconds by which lips and jaw go ahead of the sound they shape


def mouth_motion(segments: Sequence[Segment], times: np.ndarray) -> np.ndarray:
    """How the mouth stands at each time, blended from all phones near it (Cohen and Massaro, 1993).

    Returns:
        (T, 5) float64, columns as in MOUTH: open 0 to 1.1, spread -1 to 1, closed, tuck and tongue 0 to 1.
    """
    phones = [PHONES[s.phone] for s in segments]
    middle = np.array([(s.start + s.end) / 2 for s in segments])
    half = np.array([(s.end - s.start) / 2 for s in segments])
    away = np.maximum(np.abs(times[:, None] + LEAD - middle) - 0.55 * half, 0.0)  # seconds outside of the phone's core
    pull = np.array([p.firmness for p in phones]) * np.exp(-((away / 0.045) ** 2)) + 1e-9
    pull /= pull.sum(axis=1, keepdims=True)
    stress = np.array([s.stress for s in segments])
    is_open = pull @ (np.array([p.open for p in phones]) * stress)
    spread = pull @ np.array([p.spread for p in phones])
    tongue = pull @ np.array([p.tongue for p in phones])
    closed = bump(away, [p.closed for p in phones])
    tuck = bump(away, [p.tuck for p in phones])
    return np.stack([is_open * (1 - closed), spread, closed, tuck, tongue], axis=1)


def bump(away: np.ndarray, which: Sequence[bool]) -> np.ndarray:
    """1 within the cores of the chosen phones, falling to 0 within 60 ms: (T,)."""
    chosen = away[:, np.array(which, dtype=bool)]
    if chosen.shape[1] == 0:
        return np.zeros(len(away))
    return np.exp(-((np.maximum(chosen.min(axis=1) - 0.008, 0) / 0.03) ** 2))


def still_mouth(count: int) -> np.ndarray:
    """A mouth at rest: (count, 5)."""
    return mouth_motion([Segment(PAUSE, 0.0, count / 10)], np.zeros(1)).repeat(count, axis=0)


@dataclass(frozen=True)
class HeadMotion:
    """How the head moves, independent of what is said.

    Attributes:
        pose: (T, 3) yaw, pitch, roll in degrees; the head turns to the picture's right, down, and clockwise.
        shift: (T, 2) x, y in units of half a face's width.
        gaze: (T, 2) where the eyes look, -1 to 1.
        lids: (T,) 1 open, 0 shut.
        brows: (T,) -1 lowered to 1 raised.
    """

    pose: np.ndarray
    shift: np.ndarray
    gaze: np.ndarray
    lids: np.ndarray
    brows: np.ndarray


def head_motion(rng: np.random.Generator, times: np.ndarray) -> HeadMotion:
    """A calm speaker: slow turns and nods, glances, a blink every two to four seconds."""
    yaw, pitch, roll = (wander(rng, times, size) for size in (7.0, 4.0, 2.5))
    shift = np.stack([wander(rng, times, 0.05) + 0.006 * yaw, wander(rng, times, 0.035) + 0.006 * pitch], axis=1)
    return HeadMotion(
        pose=np.stack([yaw + rng.uniform(-4, 4), pitch + rng.uniform(-1.5, 1.5), roll + rng.uniform(-1.5, 1.5)], axis=1),
        shift=shift,
        gaze=np.stack([glances(rng, times), 0.4 * glances(rng, times)], axis=1),
        lids=blinks(rng, times),
        brows=np.clip(wander(rng, times, 0.6), -0.7, 1.0),
    )


def wander(rng: np.random.Generator, times: np.ndarray, size: float) -> np.ndarray:
    """A smooth walk around 0 that rarely leaves [-size, size]: four slow waves."""
    hertz = rng.uniform([0.08, 0.2, 0.45, 0.8], [0.2, 0.45, 0.8, 1.3])
    strength = size * np.array([0.6, 0.4, 0.18, 0.07])
    return np.sin(2 * np.pi * (times[:, None] * hertz + rng.random(4))) @ strength


def glances(rng: np.random.Generator, times: np.ndarray) -> np.ndarray:
    """Eyes rest, then jump: (T,) in [-1, 1]."""
    jumps = np.cumsum(rng.uniform(0.5, 1.6, size=64))
    targets = np.clip(rng.normal(0, 0.35, size=65), -1, 1)
    return targets[np.searchsorted(jumps, times)]


def blinks(rng: np.random.Generator, times: np.ndarray) -> np.ndarray:
    """Lids: (T,), 1 open; a blink closes in 80 ms and opens in 140 ms."""
    lids = np.ones_like(times)
    at = rng.uniform(0.3, 1.8)
    while at < times[-1] + 0.2:
        since = times - at
        lids = np.minimum(lids, np.where(since < 0, np.clip(-since / 0.08, 0, 1), np.clip((since - 0.03) / 0.14, 0, 1)))
        at += rng.uniform(1.8, 3.8)
    return lids * lids * (3 - 2 * lids)
