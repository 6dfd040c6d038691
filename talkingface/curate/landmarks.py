"""landmarks: the 68 points of each frame, for models that need them."""

from __future__ import annotations

from typing import Any

from talkingface.curate.base import Footage, Step
from talkingface.registry import STEPS


@STEPS.register("landmarks")
class Landmarks(Step):
    """Landmarks: 68 points in each frame, written beside each clip as <clip>.landmarks.npz, where data sets look for them.

    The keys are `landmarks` (T, 68, 2) float32, pixels of the clip, and `detected` (T,), false where the face was bridged.
    """

    def fingerprint(self) -> dict[str, Any]:
        return self.kit.faces.back_end_fingerprint()

    def run(self, footage: Footage) -> None:
        for candidate in footage.remaining:
            self.kit.landmarks(footage, candidate)  # kept on disk, under the content of the video
            candidate.landmarks = True
