"""DAVS: a talking face from one picture, by speech or by other lips."""

from talkingface.model.davs.model import DAVS

__all__ = ["DAVS"]
