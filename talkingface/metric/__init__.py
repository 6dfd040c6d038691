"""The metrics of the package; importing it registers them."""

from talkingface.metric import landmark, retrieval, similarity, spaces, sync

__all__ = ["landmark", "retrieval", "similarity", "spaces", "sync"]
