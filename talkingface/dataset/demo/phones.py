"""Phones: the sounds of the demo world's babble, how each is heard and how each is seen, and sentences made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


@dataclass(frozen=True)
class Phone:
    """One sound.

    Args:
        formants: first three resonances of an adult male vocal tract, Hz.
        voiced: loudness of the vocal folds, 0 to 1.
        noise: loudness of hiss made in the mouth, 0 to 1.
        hiss: center and width of that hiss, Hz.
        burst: a closure that is released with a pop: the first 60 % of the phone is silent (or hums, where voiced).
        nasal: the sound leaves through the nose.
        duration: shortest and longest, seconds.
        open: how far the lips are apart, 0 to 1.
        spread: -1 (round, as in "oo") to 1 (wide, as in "ee").
        closed: the lips are pressed together.
        tuck: the lower lip touches the upper teeth.
        tongue: how high the tongue's tip is, 0 to 1.
        firmness: how strongly the phone's mouth shape resists its neighbors', 0 to 1.
    """

    formants: tuple[float, float, float]
    voiced: float
    noise: float = 0.0
    hiss: tuple[float, float] = (3000.0, 2000.0)
    burst: bool = False
    nasal: bool = False
    duration: tuple[float, float] = (0.07, 0.10)
    open: float = 0.3
    spread: float = 0.0
    closed: bool = False
    tuck: bool = False
    tongue: float = 0.2
    firmness: float = 0.5


LONG = (0.13, 0.24)

VOWELS = {
    "aa": Phone((730, 1150, 2450), 1.0, duration=LONG, open=1.0, spread=0.0, tongue=0.05, firmness=1.0),
    "ae": Phone((660, 1700, 2450), 0.95, duration=LONG, open=0.78, spread=0.55, tongue=0.15, firmness=1.0),
    "eh": Phone((520, 1850, 2500), 0.85, duration=LONG, open=0.52, spread=0.5, tongue=0.3, firmness=0.9),
    "iy": Phone((290, 2250, 3000), 1.0, duration=LONG, open=0.24, spread=1.0, tongue=0.6, firmness=1.0),
    "ao": Phone((560, 860, 2420), 0.9, duration=LONG, open=0.7, spread=-0.65, tongue=0.05, firmness=1.0),
    "uw": Phone((310, 850, 2250), 0.85, duration=LONG, open=0.22, spread=-1.0, tongue=0.1, firmness=1.0),
}

CONSONANTS = {
    "m": Phone((260, 1000, 2200), 0.5, nasal=True, duration=(0.08, 0.12), open=0.0, closed=True, firmness=0.3),
    "b": Phone((250, 900, 2200), 0.75, hiss=(700, 900), burst=True, duration=(0.08, 0.11), open=0.0, closed=True, firmness=0.3),
    "p": Phone((280, 900, 2200), 0.0, 0.5, (900, 1200), burst=True, duration=(0.09, 0.12), open=0.0, closed=True, firmness=0.3),
    "n": Phone((270, 1550, 2500), 0.5, nasal=True, open=0.2, tongue=0.9, firmness=0.35),
    "d": Phone((260, 1700, 2600), 0.7, 0.2, (3600, 1800), burst=True, open=0.2, tongue=0.9, firmness=0.35),
    "t": Phone((300, 1750, 2650), 0.0, 0.5, (4200, 2200), burst=True, open=0.2, tongue=0.9, firmness=0.35),
    "k": Phone((300, 1900, 2400), 0.0, 0.5, (1900, 1000), burst=True, open=0.28, tongue=0.2, firmness=0.25),
    "f": Phone((320, 1250, 2250), 0.0, 0.22, (5200, 4500), duration=(0.09, 0.13), open=0.1, tuck=True, firmness=0.6),
    "v": Phone((300, 1200, 2250), 0.4, 0.1, (5000, 4500), duration=(0.08, 0.11), open=0.1, tuck=True, firmness=0.6),
    "s": Phone(
        (320, 1650, 2600), 0.0, 0.5, (6200, 1900), duration=(0.09, 0.14), open=0.13, spread=0.45, tongue=0.6, firmness=0.7
    ),
    "sh": Phone(
        (320, 1700, 2400), 0.0, 0.5, (3300, 1500), duration=(0.10, 0.14), open=0.24, spread=-0.6, tongue=0.4, firmness=0.8
    ),
    "l": Phone((350, 1150, 2700), 0.6, open=0.32, tongue=1.0, firmness=0.35),
    "w": Phone((300, 700, 2200), 0.55, duration=(0.07, 0.11), open=0.14, spread=-1.0, firmness=0.9),
}

PAUSE = "_"
PHONES = {PAUSE: Phone((500, 1500, 2500), 0.0, duration=(0.14, 0.32), open=0.0, firmness=0.7), **VOWELS, **CONSONANTS}
CODAS = ("m", "n", "s", "l", "f", "p", "sh")

WORDS = {
    "banana": "b ae n aa n aa",
    "fossil": "f ao s eh l",
    "kiwi": "k iy w iy",
    "mama": "m aa m aa",
    "movie": "m uw v iy",
    "pesto": "p eh s t ao",
    "sushi": "s uw sh iy",
    "tattoo": "t ae t uw",
    "lemon": "l eh m ao n",
    "limo": "l iy m ao",
    "papa": "p aa p aa",
    "potato": "p ao t eh t ao",
    "puma": "p uw m aa",
    "salami": "s aa l aa m iy",
    "sofa": "s ao f aa",
    "taxi": "t ae k s iy",
    "tofu": "t ao f uw",
    "vanilla": "v ae n iy l aa",
    "volley": "v ao l iy",
    "wallaby": "w ao l aa b iy",
}
"""Words that this world can say, for clips of one word; worlds of few words have the first ones, which differ most."""


class Segment(NamedTuple):
    """A phone of a sentence.

    Attributes:
        phone: its name in PHONES.
        start: seconds.
        end: seconds; where the next segment starts.
        stress: loudness and size of the mouth's movement, about 0.75 to 1.1.
    """

    phone: str
    start: float
    end: float
    stress: float = 1.0


def babble(rng: np.random.Generator, seconds: float) -> list[Segment]:
    """A sentence without meaning: words of one to three syllables, with pauses, that lasts exactly so long.

    It starts and ends with a pause, in which the mouth is at rest.
    """
    tail = min(0.16, 0.2 * seconds)
    segments = [Segment(PAUSE, 0.0, min(float(rng.uniform(0.06, 0.2)), 0.2 * seconds))]
    words_left = int(rng.integers(3, 6))
    while True:
        for syllable in range(int(rng.integers(1, 4))):
            stress = float(rng.uniform(0.95, 1.1) if syllable == 0 else rng.uniform(0.78, 0.98))
            phones = syllable_phones(rng, segments[-1].phone)
            lengths = np.array([rng.uniform(*PHONES[phone].duration) for phone in phones])
            room = seconds - tail - segments[-1].end
            if lengths.sum() > room and len(segments) > 1:
                return [*segments, Segment(PAUSE, segments[-1].end, seconds)]
            segments = said(segments, phones, lengths * min(1.0, room / lengths.sum()), stress)
        words_left -= 1
        if words_left == 0:
            segments = said(
                segments, [PAUSE], [min(float(rng.uniform(*PHONES[PAUSE].duration)), seconds - tail - segments[-1].end)]
            )
            words_left = int(rng.integers(3, 6))


def one_word(rng: np.random.Generator, word: str, seconds: float) -> list[Segment]:
    """A word of WORDS about the middle of a clip of so many seconds, said a little differently each time.

    Raises:
        KeyError: the word is not in WORDS.
    """
    phones = WORDS[word].split()
    lengths = np.array([rng.uniform(*PHONES[phone].duration) for phone in phones])
    lengths *= min(1.0, 0.8 * seconds / lengths.sum())
    before = (seconds - lengths.sum()) * rng.uniform(0.4, 0.6)
    segments = said([Segment(PAUSE, 0.0, before)], phones, lengths, float(rng.uniform(0.9, 1.1)))
    return [*segments, Segment(PAUSE, segments[-1].end, seconds)]


def said(
    segments: Sequence[Segment], phones: Sequence[str], lengths: Sequence[float] | np.ndarray, stress: float = 1.0
) -> list[Segment]:
    """The segments and, after them, phones of some lengths in seconds; what would last less than a millisecond is left out."""
    longer = list(segments)
    for phone, length in zip(phones, lengths, strict=True):
        if length > 1e-3:
            start = longer[-1].end if longer else 0.0
            longer.append(Segment(phone, start, start + float(length), stress))
    return longer


def syllable_phones(rng: np.random.Generator, before: str) -> list[str]:
    """One or two consonants around a vowel; neighbors differ."""
    onset = str(rng.choice([name for name in CONSONANTS if name != before]))
    vowel = str(rng.choice(list(VOWELS)))
    if rng.random() < 0.25:
        return [onset, vowel, str(rng.choice([coda for coda in CODAS if coda != onset]))]
    return [onset, vowel]


def sentence(text: str | Sequence[str], stress: float = 1.0, pause: float = 0.15) -> list[Segment]:
    """A sentence of given phones, such as "m aa m aa", each of its middle duration, with a pause before and after.

    Raises:
        KeyError: a phone is not in PHONES.
    """
    names = text.split() if isinstance(text, str) else list(text)
    segments = said([Segment(PAUSE, 0.0, pause)], names, [sum(PHONES[name].duration) / 2 for name in names], stress)
    return said(segments, [PAUSE], [pause])
