"""MakeItTalk: photos, paintings and cartoons that talk."""

from talkingface.model.makeittalk.model import MakeItTalk

__all__ = ["MakeItTalk"]
