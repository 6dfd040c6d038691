"""Whose head motion the clips of a test follow."""

from pathlib import Path

import pytest

from talkingface.config import Config
from talkingface.dataset.base import Clip
from talkingface.dataset.demo import Demo
from talkingface.dataset.pose import with_poses
from talkingface.dataset.voxceleb2 import VoxCeleb2
from talkingface.errors import ConfigError, DatasetError

PROTOCOL = Path(__file__).parents[2] / "talkingface" / "properties" / "protocol" / "pc_avs_paper.yaml"


def clips(*names):
    return [Clip(name, Path(f"{name}.mp4"), Path(f"{name}.wav"), speaker=name[0]) for name in names]


@pytest.mark.parametrize(
    ("rule", "poses"),
    [
        ("", [None, None, None, None]),
        ("own", ["a1.mp4", "b1.mp4", "a2.mp4", "b2.mp4"]),
        ("same_speaker", ["a2.mp4", "b2.mp4", "a1.mp4", "b1.mp4"]),
        ("other", ["b1.mp4", "a2.mp4", "b2.mp4", "a1.mp4"]),
    ],
)
def test_each_clip_follows_the_head_that_the_rule_says(rule, poses):
    found = with_poses(clips("a1", "b1", "a2", "b2"), rule)
    assert [clip.pose and str(clip.pose) for clip in found] == poses
    assert [clip.name for clip in found] == ["a1", "b1", "a2", "b2"]


def test_a_clip_without_another_of_its_kind_is_named():
    with pytest.raises(DatasetError, match="b1 needs another test clip of its speaker"):
        with_poses(clips("a1", "a2", "b1"), "same_speaker")
    with pytest.raises(DatasetError, match="a1 needs another test clip of another speaker"):
        with_poses(clips("a1", "a2"), "other")


def test_a_rule_that_is_none_is_named(tmp_path):
    for make, name in ((VoxCeleb2, "voxceleb2"), (Demo, "demo")):
        with pytest.raises(ConfigError, match=rf"{name}\.pose: expected one of own, same_speaker, other"):
            make(tmp_path, pose="mine")


@pytest.fixture
def vox(tmp_path):
    """Two test clips of each of two speakers, and one to train on."""
    for name in ("dev/mp4/id3/v/1", "test/mp4/id1/v/1", "test/mp4/id1/v/2", "test/mp4/id2/v/1", "test/mp4/id2/v/2"):
        path = tmp_path / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"video")
    return tmp_path


def test_only_test_clips_follow_a_pose(vox):
    dataset = VoxCeleb2(vox, val_fraction=0.0, pose="same_speaker")
    assert [clip.pose for clip in dataset.clips("train")] == [None]
    (first, second, *_) = dataset.clips("test")
    assert (first.pose, second.pose) == (second.face, first.face) and first.truth == first.face


def test_a_list_names_test_clips_and_their_poses(vox, tmp_path):
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("test/mp4/id1/v/1,test/mp4/id2/v/2\ntest/mp4/id1/v/1,test/mp4/id2/v/1\n")
    one, two = VoxCeleb2(vox, pose_list=pairs).clips("test")
    assert one.face == two.face == one.truth == vox / "test/mp4/id1/v/1.mp4" and one.name != two.name
    assert (one.pose, two.pose) == (vox / "test/mp4/id2/v/2.mp4", vox / "test/mp4/id2/v/1.mp4")
    pairs.write_text("test/mp4/id1/v/1\n")
    with pytest.raises(DatasetError, match=r"pairs\.csv, line 1: expected 'video pose'"):
        VoxCeleb2(vox, pose_list=pairs).clips("test")


def test_the_papers_protocol_is_a_config_file():
    config = Config.load("PC_AVS", "voxceleb2", [PROTOCOL], {})
    assert config["voxceleb2.pose"] == "same_speaker" and config["PC_AVS.identity_frame"] == "first"
    assert config["evaluation.metrics"] == ["SSIM", "LMD", "LSE"]
