"""sync: by how many frames sound and picture are apart, and the correction of that."""

from __future__ import annotations

from typing import Any

from talkingface.curate.base import SAMPLES_PER_FRAME, Candidate, Footage, Limit, Step
from talkingface.curate.judge import check_judge, judged
from talkingface.errors import ConfigError
from talkingface.registry import STEPS


@STEPS.register("sync")
class Sync(Step):
    """Lip-sync: the offset is measured, and corrected by moving the sound; what is not in sync is left out.

    Where the moved sound begins later than the picture or ends earlier, the clip is shortened.

    Args:
        judge: name of the metric that measures: LSE (the published SyncNet), DemoLSE (for drawn heads), or "none".
        min_confidence: less is no lip-sync: somebody else speaks, or the film is dubbed.
        max_offset: frames (25 per second); sound that is farther away is not corrected.
    """

    def __init__(self, judge: str = "LSE", min_confidence: float = 3.0, max_offset: int = 12):
        if max_offset < 0:
            raise ConfigError(f"curate.sync.max_offset: expected 0 or more frames, got {max_offset}.")
        self.min_confidence, self.max_offset = min_confidence, max_offset

    def check(self) -> None:
        check_judge(self.kit)
        if self.kit.judge is not None and self.max_offset > self.kit.judge.vshift:
            name, found = type(self.kit.judge).__name__, self.kit.judge.vshift
            raise ConfigError(
                f"curate.sync.max_offset is {self.max_offset}, but {name}.vshift lets the judge find {found} at most."
            )

    def fingerprint(self) -> dict[str, Any]:
        return {"judge": self.kit.judge.protocol() if self.kit.judge else None}

    def limits(self) -> dict[str, Limit]:
        return {
            "confidence": Limit(self.min_confidence, None, ""),
            "offset": Limit(-self.max_offset, self.max_offset, "frames; positive: the sound is early"),
        }

    def run(self, footage: Footage) -> None:
        for candidate in footage.remaining if self.kit.judge is not None else []:
            found = judged(self.kit, footage, candidate)
            if found["confidence"] < self.min_confidence:
                text = f"its confidence is {found['confidence']:.2f}, of {self.min_confidence:g} that are needed."
                candidate.leave_out(self, "not in sync", text)
            elif abs(found["offset"]) > self.max_offset:
                text = f"its sound is {abs(found['offset']):.0f} frames off; up to {self.max_offset} are corrected."
                candidate.leave_out(self, "large offset", text)
            else:
                move(candidate, int(found["offset"]), footage.sound // SAMPLES_PER_FRAME)


def move(candidate: Candidate, shift: int, heard: int) -> None:
    """Move the sound of a candidate later by so many frames, and keep the frames for which there is some.

    Args:
        heard: frames for which the video has sound.
    """
    stop = min(candidate.first + candidate.count, heard + shift)
    candidate.first = max(candidate.first, shift)
    candidate.count, candidate.shift = stop - candidate.first, shift
