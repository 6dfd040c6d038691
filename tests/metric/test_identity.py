"""CSIM: one person is nearer to himself than to another."""

import numpy as np
import pytest

from talkingface.errors import ConfigError, ScoreError
from talkingface.face.finder import FaceFinder
from talkingface.media.video import Video, write_video
from talkingface.metric.identity import IdentitySimilarity


def scored(metric, ours, real):
    metric.faces = FaceFinder(detector="dlib")
    return metric.score(ours, real)["CSIM"]


def test_one_person_is_nearer_to_himself_than_to_another(real_data, tmp_path):
    faces = [Video(real_data / "voxceleb2" / name, stop=0.4) for name in ("00015.mp4", "00086.mp4")]
    same = scored(IdentitySimilarity(), faces[0], faces[0])
    frames = list(faces[0])
    write_video(tmp_path / "later.avi", [frames[-1]] * len(frames), 25, lossless=True)
    later = scored(IdentitySimilarity(), Video(tmp_path / "later.avi"), faces[0])
    other = scored(IdentitySimilarity(), faces[1], faces[0])
    assert same == pytest.approx(1) and same > later > other and later > 0.9


def test_what_cannot_be_compared_is_said(tmp_path):
    write_video(tmp_path / "a.avi", np.zeros((3, 64, 64, 3), np.uint8), 25, lossless=True)
    with pytest.raises(ScoreError, match="a.avi has no real video"):
        IdentitySimilarity().score(Video(tmp_path / "a.avi"))
    with pytest.raises(ConfigError, match="CSIM.every"):
        IdentitySimilarity(every=0)
