"""The metrics of the package; importing it registers them."""

from talkingface.metric import distribution, identity, landmark, perceptual, quality, retrieval, similarity, spaces, sync

__all__ = ["distribution", "identity", "landmark", "perceptual", "quality", "retrieval", "similarity", "spaces", "sync"]
