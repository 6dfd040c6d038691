"""Classes: which number a word or a speaker has among those that are known."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from talkingface.dataset.base import Clip
from talkingface.errors import DatasetError


def class_numbers(names: Iterable[str]) -> dict[str, int]:
    """Name -> number, counted from 0 in natural order ("word 2" before "word 10").

    Names that are all numbers keep them: the folders 0 to 499 of a published word list are what they are, also where some are
    missing.
    """
    known = sorted(set(names), key=natural)
    if known and all(name.isdecimal() for name in known):
        return {name: int(name) for name in known}
    return {name: number for number, name in enumerate(known)}


def natural(name: str) -> list[tuple[int, str]]:
    """A sort key by which numbers in names count as numbers."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split("([0-9]+)", name)]


def words_of(clips: Sequence[Clip]) -> dict[str, int]:
    """The class numbers of the words that are said.

    Raises:
        DatasetError: of some clip it is not known which word it is.
    """
    if unknown := next((clip for clip in clips if clip.word is None), None):
        raise DatasetError(f"{unknown.name}: it is not known which word it says; clips of one known word each are needed.")
    return class_numbers(clip.word for clip in clips if clip.word is not None)


def speakers_of(clips: Sequence[Clip]) -> dict[str, int]:
    """The class numbers of the speakers.

    Raises:
        DatasetError: of some clip it is not known who speaks.
    """
    if unknown := next((clip for clip in clips if clip.speaker is None), None):
        raise DatasetError(f"{unknown.name}: it is not known who speaks; clips of known speakers are needed.")
    return class_numbers(clip.speaker for clip in clips if clip.speaker is not None)
