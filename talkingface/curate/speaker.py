"""speaker: which of several faces is the one that speaks."""

from __future__ import annotations

from typing import Any

from talkingface.curate.base import Candidate, Footage, Step
from talkingface.curate.judge import check_judge, judged
from talkingface.errors import ConfigError
from talkingface.registry import STEPS


@STEPS.register("speaker")
class ActiveSpeaker(Step):
    """Active speaker: of faces that are shown at the same time, the one whose lips agree best with the sound is taken.

    The judge of `sync` gives each of them its confidence. The best is taken if it is confident enough and leads; what is shown
    together with it is left out. Without a judge nobody knows who speaks, and all of them are left out.

    Args:
        min_confidence: of the face that is taken.
        min_lead: by how much its confidence exceeds that of every other face.
        min_overlap: share of the shorter clip for which two faces are shown together, from which on they compete.
    """

    def __init__(self, min_confidence: float = 1.5, min_lead: float = 0.5, min_overlap: float = 0.2):
        if min_lead < 0 or not 0 < min_overlap <= 1:
            raise ConfigError(
                f"curate.speaker: min_lead is 0 or more, min_overlap above 0 to 1; got {min_lead} and {min_overlap}."
            )
        self.min_confidence, self.min_lead, self.min_overlap = min_confidence, min_lead, min_overlap

    def check(self) -> None:
        check_judge(self.kit)

    def fingerprint(self) -> dict[str, Any]:
        return {"judge": self.kit.judge.protocol() if self.kit.judge else None}

    def run(self, footage: Footage) -> None:
        remaining = footage.remaining
        rivals = {one.number: [other for other in remaining if self.compete(one, other)] for one in remaining}
        contested = [one for one in remaining if rivals[one.number]]
        if self.kit.judge is None:
            for one in contested:
                text = f"{1 + len(rivals[one.number])} faces are shown, and without a judge nobody knows who speaks."
                one.leave_out(self, "several faces", text)
            return
        for one in contested:
            judged(self.kit, footage, one)
        for one in sorted(contested, key=lambda one: (-one.figures["confidence"], one.number)):
            if one.left_out is None:
                self.decide(one, rivals[one.number])

    def compete(self, one: Candidate, other: Candidate) -> bool:
        """Whether two candidates are different faces that are shown together."""
        return one.track != other.track and one.overlap(other) >= self.min_overlap * min(one.count, other.count)

    def decide(self, best: Candidate, rivals: list[Candidate]) -> None:
        """Take the most confident candidate that is left, and leave its rivals out; or leave out all of them."""
        mine = best.figures["confidence"]
        second = max(rival.figures["confidence"] for rival in rivals)
        if mine < self.min_confidence:
            text = (
                f"the best of {1 + len(rivals)} faces has the confidence {mine:.2f}, of {self.min_confidence:g} that are needed."
            )
            best.leave_out(self, "nobody speaks", text)
        elif mine - second < self.min_lead:
            text = f"confidences of {mine:.2f} and {second:.2f} differ by less than {self.min_lead:g}."
            for one in (best, *rivals):
                one.leave_out(self, "unclear who speaks", text)
        else:
            for rival in rivals:
                its = rival.figures["confidence"]
                text = f"its confidence is {its:.2f}; that of {best.number:05d}, which is shown with it, is {mine:.2f}."
                rival.leave_out(self, "not speaking", text)
