"""cuts: where a new scene begins."""

from __future__ import annotations

from talkingface.curate.base import Footage, Step
from talkingface.errors import ConfigError
from talkingface.face.shots import content_changes, scene_cuts
from talkingface.registry import STEPS


@STEPS.register("cuts")
class Cuts(Step):
    """Scene cuts, as SyncNet's pipeline finds them: by the change of hue, saturation and value from frame to frame.

    Args:
        threshold: mean change, in levels of 0 to 255, that is a cut.
        min_scene: frames (25 per second) between two cuts.
    """

    needs = ()

    def __init__(self, threshold: float = 30.0, min_scene: int = 5):
        if threshold <= 0 or min_scene < 1:
            raise ConfigError(f"curate.cuts: threshold must be above 0 and min_scene 1 or more, not {threshold} and {min_scene}.")
        self.threshold, self.min_scene = threshold, min_scene

    def run(self, footage: Footage) -> None:
        video = footage.video()
        footage.size, footage.fps = (video.width, video.height), video.source_fps
        footage.cuts = scene_cuts(content_changes(video), self.threshold, self.min_scene)
