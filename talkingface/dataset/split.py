"""Splits by speaker: decided by a hash of the speaker's name, so that a new clip never moves an old one."""

from __future__ import annotations

import hashlib
import logging
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence

from talkingface.dataset.base import SPLITS, Clip
from talkingface.errors import ConfigError

log = logging.getLogger(__name__)


def position(name: str) -> float:
    """Where a name stands in [0, 1): the first 8 bytes of its BLAKE2b hash, as a fraction. Unicode forms are one."""
    digest = hashlib.blake2b(unicodedata.normalize("NFC", name).encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def fractions(val: float, test: float) -> dict[str, float]:
    """Split -> its share of the speakers; what validation and test leave is for training.

    Raises:
        ConfigError: a share is negative, or nothing is left for training.
    """
    if val < 0 or test < 0 or val + test >= 1:
        raise ConfigError(f"val_fraction={val} and test_fraction={test}: both must be 0 or more, and their sum below 1.")
    return {"train": 1 - val - test, "val": val, "test": test}


def split_by_speaker(clips: Sequence[Clip], shares: Mapping[str, float]) -> dict[str, list[Clip]]:
    """Deal clips out to the splits, a speaker's clips together; the order within a split is that of `clips`.

    1. A speaker belongs to the split in whose share its `position` falls, whatever other speakers there are.
    2. A split that has a share and got nobody is given the speaker with the highest position of the split that has
       the most: small sets have test clips too. That speaker returns as soon as rule 1 finds another.
    3. With fewer speakers than splits, each clip counts as a speaker; with fewer clips than splits, each split has
       all of them. Both are logged as warnings, since scores are then not of unseen speakers.

    Args:
        shares: 'train', 'val' and 'test' -> fraction of the speakers, with a sum of 1; a split without a share stays empty.
    """
    wanted = [split for split in SPLITS if shares.get(split, 0) > 0]
    speakers = [clip.speaker or clip.name for clip in clips]
    if clips and len(set(speakers)) < len(wanted):
        speakers = [clip.name for clip in clips]
        if len(clips) < len(wanted):
            log.warning("only %d clip(s): %s share them, so scores are not of unseen clips.", len(clips), ", ".join(wanted))
            return {split: list(clips) if split in wanted else [] for split in SPLITS}
        log.warning("fewer speakers than splits: the splits share speakers, so scores are not of unseen speakers.")
    split_of = assign(set(speakers), {split: shares[split] for split in wanted})
    splits: dict[str, list[Clip]] = {split: [] for split in SPLITS}
    for clip, speaker in zip(clips, speakers, strict=True):
        splits[split_of[speaker]].append(clip)
    return splits


def split_beside_test(
    clips: Sequence[Clip], is_test: Callable[[Clip], bool], shares: Mapping[str, float]
) -> dict[str, list[Clip]]:
    """The official test clips as they are; the others dealt out to training and validation, by speaker.

    Where only official test clips are there, or none of them, all are dealt out.
    """
    test, others = ([clip for clip in clips if is_test(clip) == wanted] for wanted in (True, False))
    if not test or not others:
        return split_by_speaker(clips, shares)
    return {**split_by_speaker(others, {"train": 1 - shares["val"], "val": shares["val"]}), "test": test}


def assign(speakers: set[str], shares: Mapping[str, float]) -> dict[str, str]:
    """Speaker -> split, by rules 1 and 2 of `split_by_speaker`."""
    members: dict[str, list[str]] = defaultdict(list)
    for speaker in sorted(speakers, key=lambda name: (position(name), name)):
        members[at(position(speaker), shares)].append(speaker)
    if speakers:
        for split in reversed(list(shares)):
            if not members[split]:
                fullest = max(shares, key=lambda name: len(members[name]))
                members[split].append(members[fullest].pop())
    return {speaker: split for split, names in members.items() for speaker in names}


def at(point: float, shares: Mapping[str, float]) -> str:
    """The split in whose share a point of [0, 1) falls."""
    end = 0.0
    for split, share in shares.items():
        end += share
        if point < end:
            return split
    return split


def held_back(clips: Sequence[Clip], every: int = 8) -> tuple[list[Clip], list[Clip]]:
    """Clips to train on, and clips of the same speakers that are kept back to see whether they are known again.

    One of `every` clips of each speaker is kept back, another one for each speaker, so that where all say the same things in
    the same order, all things stay in both parts. Of a speaker with fewer than `every` clips, one; with one clip, none.

    Returns:
        (training, kept back), each in the order of `clips`.
    """
    places: dict[str, int] = {}
    counts = Counter(clip.speaker or clip.name for clip in clips)
    turns = {speaker: turn for turn, speaker in enumerate(sorted(counts))}
    kept: list[Clip] = []
    back: list[Clip] = []
    for clip in clips:
        speaker = clip.speaker or clip.name
        place = places[speaker] = places.get(speaker, -1) + 1
        cycle = min(every, counts[speaker])
        away = cycle > 1 and place % cycle == turns[speaker] % cycle
        (back if away else kept).append(clip)
    return kept, back
