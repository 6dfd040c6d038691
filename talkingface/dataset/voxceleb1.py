"""VoxCeleb1: sound as it is distributed, and faces that are cut from its videos by its lists."""

from __future__ import annotations

import re

from talkingface.dataset.base import Clip
from talkingface.dataset.voxceleb2 import VoxCeleb2
from talkingface.registry import DATASETS

TEST_SPEAKERS = range(10_270, 10_310)


@DATASETS.register("voxceleb1", aliases=["vox1"])
class VoxCeleb1(VoxCeleb2):
    """VoxCeleb1: interviews of 1251 celebrities (Nagrani et al., 2017).

    Its sound is distributed as `wav/<speaker>/<video>/<clip>.wav`; what `talkingface cut` makes of its face tracks and of the
    videos lies beside it, as `mp4/<speaker>/<video>/<clip>.mp4`. Both may lie below `dev` and `test`. The test split is the
    official one, speakers id10270 to id10309, wherever they lie; validation takes its share of the other speakers.

    Args:
        root: the folder of mp4 and wav, or of dev and test with those, or of clips.
        val_fraction: share of the speakers for validation.
        test_fraction: share of the speakers for test, where no official test speaker is there.
        cross: test clips say what the next test clip of another speaker says (there is no truth then).
        pose: whose head motion the test clips follow: see `with_poses`.
        pose_list: text or CSV file of `video pose` a line: the test clips, and the videos whose head motion they follow.
    """

    line_format = "mp4/<speaker>/<video>/<clip>.mp4"
    sounds = ("wav", ".wav")

    def is_test(self, clip: Clip) -> bool:
        """Whether an official test speaker says it."""
        number = re.fullmatch(r"id(\d{5})", clip.speaker or "")
        return clip.name.startswith("test/") or (number is not None and int(number[1]) in TEST_SPEAKERS)
