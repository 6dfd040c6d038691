"""split: which speakers are for training, validation and test."""

from __future__ import annotations

from pathlib import Path

from talkingface.curate.base import SetStep
from talkingface.curate.rows import Row
from talkingface.dataset.base import SPLITS, Clip
from talkingface.dataset.split import fractions, split_by_speaker
from talkingface.registry import STEPS


@STEPS.register("split")
class Split(SetStep):
    """Splits by speaker: a hash of the speaker's name decides, as in all data sets; new videos never move the old ones.

    Args:
        val: share of the speakers for validation.
        test: share of the speakers for test.
    """

    def __init__(self, val: float = 0.1, test: float = 0.1):
        self.shares = fractions(val, test)

    def run(self, rows: list[Row]) -> None:
        clips = [Clip(row.clip, Path(row.clip), Path(row.clip), speaker=row.speaker) for row in rows if row.kept]
        splits = {split: {clip.name for clip in found} for split, found in split_by_speaker(clips, self.shares).items()}
        for row in rows:
            row.split = " ".join(split for split in SPLITS if row.clip in splits[split]) if row.kept else ""
