"""Whose head motion the clips of a test follow, for models whose pose comes from a video of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from talkingface.dataset.base import Clip
from talkingface.errors import ConfigError, DatasetError

POSES = ("", "own", "same_speaker", "other")


def checked_pose(setting: str, rule: str) -> str:
    """The rule, if it is one.

    Raises:
        ConfigError: naming the setting and the rules.
    """
    if rule not in POSES:
        raise ConfigError(f"{setting}: expected one of {', '.join(POSES[1:])}, or nothing, got {rule!r}.")
    return rule


def with_poses(clips: Sequence[Clip], rule: str) -> list[Clip]:
    """The clips, each with the video whose head motion it follows.

    Args:
        rule: "" leaves that to the model; "own" = the clip's face; "same_speaker" = the face of the next clip of the same
            speaker; "other" = that of the next clip of another speaker. After the last clip comes the first.

    Raises:
        DatasetError: a clip has no such other clip.
    """
    return [replace(clip, pose=source(clips, place, rule).face) for place, clip in enumerate(clips)] if rule else list(clips)


def source(clips: Sequence[Clip], place: int, rule: str) -> Clip:
    """The clip whose head motion the clip at a place follows."""
    clip = clips[place]
    if rule == "own":
        return clip
    others = [*clips[place + 1 :], *clips[:place]]
    wanted = rule == "same_speaker"
    found = next((other for other in others if (other.speaker == clip.speaker) == wanted and other.face != clip.face), None)
    if found is None:
        who = "its speaker" if wanted else "another speaker"
        raise DatasetError(f"pose={rule}: {clip.name} needs another test clip of {who}, and there is none. Set pose=own.")
    return found
