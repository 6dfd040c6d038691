"""Where clips are: each module registers one data set."""

from talkingface.dataset import davs, demo, folder, hdtf, lrs2, lrw, pc_avs, videoretalking, voxceleb2

__all__ = ["davs", "demo", "folder", "hdtf", "lrs2", "lrw", "pc_avs", "videoretalking", "voxceleb2"]
