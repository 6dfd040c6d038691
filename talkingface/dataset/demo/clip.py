"""A clip of the demo world: one speaker says one sentence. Sound, pictures and everything that is known about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from talkingface.dataset.demo.head import Head
from talkingface.dataset.demo.look import Look, Speaker
from talkingface.dataset.demo.motion import head_motion, mouth_motion, still_mouth
from talkingface.dataset.demo.phones import WORDS, Segment, babble, one_word
from talkingface.dataset.demo.voice import synthesize


@dataclass(frozen=True)
class RenderedClip:
    """What `render_clip` makes.

    Attributes:
        frames: (T, size, size, 3) uint8 RGB.
        wav: (N,) float32 in [-1, 1], as long as the frames.
        landmarks: (T, 68, 2) float32, iBUG order, pixels; (0, 0) is the middle of the top left pixel.
        pose: (T, 3) yaw, pitch, roll in degrees.
        mouth: (T, 5) columns as in motion.MOUTH.
        phones: what is heard, when; without a planted offset it is also what is seen.
        fps: frames per second.
        sample_rate: samples per second.
        offset: frames by which the sound is late.
    """

    frames: np.ndarray
    wav: np.ndarray
    landmarks: np.ndarray
    pose: np.ndarray
    mouth: np.ndarray
    phones: tuple[Segment, ...]
    fps: float
    sample_rate: int
    offset: int


def babbled(speaker: Speaker, take: int, seconds: float, other: bool = False) -> list[Segment]:
    """The sentence of a speaker's take; with `other` the one that nobody hears, for a face that says something else."""
    return babble(chance(speaker, take, "other words" if other else "words"), seconds)


def word_of(take: int, words: int, other: bool = False) -> str:
    """What a take says in a world of so many words: all in turn; with `other` what a face says instead."""
    return list(WORDS)[(take + other) % words]


def pronounced(speaker: Speaker, take: int, seconds: float, words: int, other: bool = False) -> list[Segment]:
    """The one word of a speaker's take; with `other` the one that nobody hears."""
    return one_word(chance(speaker, take, "other words" if other else "words"), word_of(take, words, other), seconds)


def render_clip(
    speaker: Speaker,
    sentence: Sequence[Segment] | None = None,
    *,
    seen: Sequence[Segment] | None = None,
    take: int = 0,
    seconds: float = 3.0,
    fps: float = 25.0,
    size: int = 128,
    sample_rate: int = 16_000,
    offset_frames: int = 0,
    frozen: bool = False,
) -> RenderedClip:
    """Record a speaker. A function of its arguments alone.

    Frame t shows the mouth at the middle of its time, (t + 0.5) / fps: sound and picture are exactly in time.

    Args:
        sentence: what is heard; a babbled one of `seconds` if None.
        seen: what the lips say, if not that.
        take: number of the recording: head motion, blinks and the voice's chance depend on it and not on the words.
        seconds: length, where no sentence is given.
        fps: frames per second.
        size: side of the pictures, pixels.
        sample_rate: of the sound, samples per second.
        offset_frames: show the mouth so many frames early: the sound is that late (negative: the picture is).
        frozen: keep the mouth at rest, as a control that no lip-sync score may like.
    """
    sentence = tuple(sentence if sentence is not None else babbled(speaker, take, seconds))
    count = max(1, round(sentence[-1].end * fps))
    times = (np.arange(count) + 0.5) / fps
    mouth = still_mouth(count) if frozen else mouth_motion(seen or sentence, times + offset_frames / fps)
    moves = head_motion(chance(speaker, take, "motion"), times)
    head = head_of(speaker.look, size)
    frames = np.empty((count, size, size, 3), np.uint8)
    landmarks = np.empty((count, 68, 2), np.float32)
    for t in range(count):
        frames[t], landmarks[t] = head.draw(moves.pose[t], moves.shift[t], mouth[t], moves.gaze[t], moves.lids[t], moves.brows[t])
    wav = synthesize(sentence, speaker.voice, chance(speaker, take, "voice"), sample_rate)
    length = round(count / fps * sample_rate)
    wav = np.pad(wav[:length], (0, max(0, length - len(wav))))
    return RenderedClip(frames, wav, landmarks, moves.pose, mouth, sentence, fps, sample_rate, offset_frames)


def chance(speaker: Speaker, take: int, purpose: str) -> np.random.Generator:
    """All chance of one purpose in one take of one speaker."""
    return np.random.default_rng([speaker.seed, *speaker.name.encode(), take, *purpose.encode()])


@lru_cache(maxsize=2)
def head_of(look: Look, size: int) -> Head:
    """A painted head; painting takes as long as drawing some 60 frames."""
    return Head(look, size)
