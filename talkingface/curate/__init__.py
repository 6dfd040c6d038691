"""From raw videos to a training set, step by step. Importing this registers the package's own steps."""

from talkingface.curate import clips, cuts, landmarks, quality, speaker, split, sync, tracks, write

__all__ = ["clips", "cuts", "landmarks", "quality", "speaker", "split", "sync", "tracks", "write"]
