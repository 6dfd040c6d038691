"""The metrics of the package; importing it registers them."""

from talkingface.metric import landmark, similarity, sync

__all__ = ["landmark", "similarity", "sync"]
