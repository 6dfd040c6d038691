"""Where clips are: each module registers one data set."""

from talkingface.dataset import demo, folder, hdtf, lrs2, voxceleb2

__all__ = ["demo", "folder", "hdtf", "lrs2", "voxceleb2"]
