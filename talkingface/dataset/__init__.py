"""Where clips are: each module registers one data set."""

from talkingface.dataset import (
    celebv_hq,
    davs,
    demo,
    folder,
    grid,
    hdtf,
    lrs2,
    lrs3,
    lrw,
    makeittalk,
    mead,
    pc_avs,
    videoretalking,
    voxceleb1,
    voxceleb2,
)

__all__ = [
    "celebv_hq",
    "davs",
    "demo",
    "folder",
    "grid",
    "hdtf",
    "lrs2",
    "lrs3",
    "lrw",
    "makeittalk",
    "mead",
    "pc_avs",
    "videoretalking",
    "voxceleb1",
    "voxceleb2",
]
