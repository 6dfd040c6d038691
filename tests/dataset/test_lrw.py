"""LRW, as distributed and as DAVS's authors prepare it; DAVS's sample folders; and one made from the other."""

import logging

import pytest

from talkingface.cli import main
from talkingface.dataset.classes import words_of
from talkingface.dataset.davs import DAVSDataset
from talkingface.dataset.demo.world import Demo
from talkingface.dataset.lrw import LRW
from talkingface.errors import DatasetError
from talkingface.model.davs.data import FACES, SPEECH, Features


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def prepared(root, *names):
    for name in names:
        touch(root, f"{name}/{FACES}/2.jpg", f"{name}/{SPEECH}/2.bin")
    return root


@pytest.mark.parametrize("top", ["", "lipread_mp4/"])
def test_lrw_is_read_as_it_is_distributed(tmp_path, top):
    root = touch(tmp_path, *(f"{top}{word}/train/{word}_0000{i}.mp4" for word in ("ABOUT", "YOUNG") for i in (1, 2)))
    touch(root, f"{top}ABOUT/train/ABOUT_00001.txt", f"{top}ABOUT/val/ABOUT_00001.mp4")
    clips = LRW(root).clips("train")
    assert [clip.name for clip in clips] == [f"train/{w}/{w}_0000{i}" for w in ("ABOUT", "YOUNG") for i in (1, 2)]
    assert [clip.word for clip in clips] == ["ABOUT", "ABOUT", "YOUNG", "YOUNG"]
    assert all(clip.face == clip.audio == clip.truth and clip.speaker is None for clip in clips)
    assert [clip.name for clip in LRW(root).clips("val")] == ["val/ABOUT/ABOUT_00001"]


def test_lrw_is_read_as_davs_prepares_it_and_numbers_stay_numbers(tmp_path):
    root = prepared(tmp_path, "train/2/0", "train/2/1", "train/10/0", "train/10/1")
    clips = LRW(root).clips("train")
    assert [clip.name for clip in clips] == ["train/2/0", "train/2/1", "train/10/0", "train/10/1"]
    assert (clips[0].face, clips[0].audio) == (root / "train/2/0" / FACES, root / "train/2/0" / SPEECH)
    assert words_of(clips) == {"2": 2, "10": 10}


def test_lists_name_clips_of_both_kinds(tmp_path):
    root = touch(prepared(tmp_path, "train/2/0"), "train/3/spoken.mp4")
    touch(root, "filelist/train.txt")
    (root / "filelist" / "train.txt").write_text("train/2/0\ntrain/3/spoken\n")
    assert [clip.word for clip in LRW(root).clips("train")] == ["2", "3"]


def test_a_word_with_one_video_is_named(tmp_path, caplog):
    root = prepared(tmp_path, "train/0/0", "train/1/0", "train/1/1")
    with caplog.at_level(logging.WARNING):
        assert len(LRW(root).clips("train")) == 3
    assert "1 of the words have but one video to learn from: 0." in caplog.text


def test_a_class_folder_that_is_a_clip_itself_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="a class is a folder of videos, such as"):
        LRW(touch(tmp_path, f"train/0/{FACES}/2.jpg")).clips("train")


def test_a_split_or_all_clips_that_are_missing_are_named(tmp_path):
    root = prepared(tmp_path, "train/0/0")
    with pytest.raises(DatasetError, match="should hold a folder of each class"):
        LRW(root).clips("test")
    with pytest.raises(DatasetError, match="holds no train clip of any word"):
        (tmp_path / "empty" / "train" / "0").mkdir(parents=True)
        LRW(tmp_path / "empty").clips("train")


def test_each_picture_is_driven_by_the_sample(tmp_path):
    touch(tmp_path, "demo_images/test_sample2.jpg", "demo_images/test_sample10.jpg", "demo_images/other.jpg", "audio/2.bin")
    data = DAVSDataset(test_root=tmp_path / "audio", test_A_path=tmp_path / "demo_images")
    assert [(clip.name, clip.audio) for clip in data.clips("test")] == [
        ("test_sample2", tmp_path / "audio"),
        ("test_sample10", tmp_path / "audio"),
    ]
    one = DAVSDataset(test_root=tmp_path / "audio", test_A_path=tmp_path / "demo_images" / "other.jpg")
    assert [clip.name for clip in one.clips("test")] == ["other"]


def test_missing_samples_and_pictures_are_named(tmp_path):
    with pytest.raises(DatasetError, match="test_root: .* does not exist"):
        DAVSDataset(test_root=tmp_path / "none").clips("test")
    with pytest.raises(DatasetError, match="holds no pictures"):
        DAVSDataset(test_root=tmp_path, test_A_path=tmp_path).clips("test")


@pytest.mark.slow
def test_raw_videos_of_words_become_the_authors_layout_which_is_a_data_set_again(tmp_path, monkeypatch):
    monkeypatch.setenv("TALKINGFACE_CACHE", str(tmp_path / "cache"))
    one = dict.fromkeys(("train", "val", "test"), 1)
    world = Demo(tmp_path / "world", one, {**one, "train": 2}, words=2, seconds=1.2, workers=1)
    world.build()
    for split in ("train", "val", "test"):
        for clip in world.clips(split):
            for path in clip.truth.parent.glob(f"{clip.truth.stem}.*"):
                target = tmp_path / "raw" / str(clip.word) / split / path.name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
    flags = [
        f"--lrw.root={tmp_path / 'raw'}",
        f"--prepare.dir={tmp_path / 'made'}",
        "--prepare.workers=1",
        "--DAVS.image_size=64",
    ]
    assert main(["prepare", "--model=DAVS", "--dataset=lrw", "--quiet", *flags]) == 0
    (made,) = (path.parent for path in (tmp_path / "made").rglob("train") if path.is_dir())
    clips = LRW(made).clips("train")
    assert {clip.word for clip in clips} == {clip.word for clip in world.clips("train")}
    assert len(Features.open(clips[0].face.parent).starts) >= 1
