"""Portraits that say recordings, and the authors' dump files."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

from talkingface.dataset.makeittalk import Audio2LandmarkContent, Portraits
from talkingface.errors import CheckpointError, DatasetError


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


@pytest.fixture
def examples(tmp_path):
    names = ("a.jpg", "b.png", "b_bg.jpg", "b_delauney_tri.txt", "c_bg.jpg", "one.wav", "two.mp3", "tmp.wav", "notes.txt")
    for name in names:
        touch(tmp_path / "examples" / name)
    return tmp_path / "examples"


def test_its_data_sets_are_known_before_any_model():
    look = "from talkingface.registry import DATASETS; [DATASETS.resolve(n) for n in ('portraits', 'audio2landmark_content')]"
    subprocess.run([sys.executable, "-c", look], check=True)


def test_every_portrait_says_every_recording(examples):
    clips = Portraits(examples).clips("test")
    assert [clip.name for clip in clips] == [f"{face}+{sound}" for face in ("a", "b", "c_bg") for sound in ("one", "two")]
    assert clips[0].face == examples / "a.jpg" and clips[1].audio == examples / "two.mp3" and clips[0].speaker == "a"
    assert Portraits(examples).clips("train") == []


def test_pictures_and_recordings_are_chosen(examples, tmp_path):
    other = touch(tmp_path / "speech" / "x.wav")
    assert [clip.name for clip in Portraits(examples, other.parent, "*.png").clips("test")] == ["b+x"]
    assert [clip.name for clip in Portraits(examples, other, "a*").clips("test")] == ["a+x"]
    with pytest.raises(DatasetError, match=r"no picture '\*\.gif'"):
        Portraits(examples, pictures="*.gif").clips("test")
    with pytest.raises(DatasetError, match="no recording"):
        Portraits(examples, touch(tmp_path / "silent" / "a.txt").parent).clips("test")
    with pytest.raises(DatasetError, match="nowhere"):
        Portraits(examples, tmp_path / "nowhere").clips("test")


def test_a_list_says_who_says_what(examples):
    (examples / "filelist").mkdir()
    (examples / "filelist" / "test.txt").write_text("b.png one.wav\n")
    assert [clip.name for clip in Portraits(examples).clips("test")] == ["b+one"]
    (examples / "filelist" / "test.txt").write_text("b.png\n")
    with pytest.raises(DatasetError, match=r"line 1: expected 'picture recording'"):
        Portraits(examples).clips("test")


# --- dumps ------------------------------------------------------------------------------------------------------------


def clip_of_dump(index, count, rng, dtype=np.float32):
    name = f"clip{index}.mp4"
    mel, rows = rng.random((count, 80)).astype(dtype), rng.random((count, 204)).astype(dtype)
    return (mel, (index, name, rng.random(256).astype(np.float32))), (rows, (index, name))


@pytest.fixture
def dumps(tmp_path):
    def write(lengths=((30, 40), (25,)), protocol=4, dtype=np.float32, folder=tmp_path / "dump"):
        rng, contents = np.random.default_rng(0), {}
        folder.mkdir(exist_ok=True)
        for split, counts in zip(("train", "test"), lengths, strict=True):
            pairs = [clip_of_dump(index, count, rng, dtype) for index, count in enumerate(counts)]
            for what, entries in zip(("au", "fl"), zip(*pairs, strict=True), strict=True):
                contents[split, what] = list(entries)
                (folder / f"autovc_retrain_mel_{split}_{what}.pickle").write_bytes(pickle.dumps(list(entries), protocol))
        return folder, contents

    return write


@pytest.mark.parametrize(("protocol", "dtype"), [(2, np.float32), (3, np.float64), (4, np.float32), (5, np.float64)])
def test_dumps_are_taken_apart_without_running_them(dumps, examples, tmp_path, protocol, dtype):
    folder, contents = dumps(protocol=protocol, dtype=dtype)
    data = Audio2LandmarkContent(tmp_path / "none", folder, examples)
    data.build()
    train, val = data.clips("train"), data.clips("val")
    assert [clip.name for clip in train] == ["train/00000-clip0", "train/00001-clip1"] and len(val) == 1
    assert len(data.clips("test")) == 6
    for clip, (mel, about), (rows, _) in zip(train, contents["train", "au"], contents["train", "fl"], strict=True):
        assert np.allclose(np.load(clip.audio), mel) and np.allclose(np.load(clip.face), rows)
        assert np.array_equal(np.load(clip.face.with_name("embedding.npy")), about[2])


def test_dumps_are_taken_apart_once_and_again_when_they_change(dumps, examples, tmp_path):
    folder, _ = dumps()
    data = Audio2LandmarkContent(tmp_path, folder, examples)
    (first, *_) = data.clips("train")
    before = first.face.stat().st_mtime_ns
    assert data.clips("train")[0].face.stat().st_mtime_ns == before
    dumps(lengths=((30,), (25,)))
    assert len(Audio2LandmarkContent(tmp_path, folder, examples).clips("train")) == 1


def test_dumps_that_do_not_fit_are_named(dumps, examples, tmp_path):
    folder, contents = dumps()
    file = folder / "autovc_retrain_mel_train_fl.pickle"
    data = Audio2LandmarkContent(tmp_path, folder, examples)
    file.write_bytes(pickle.dumps(contents["train", "fl"][:1]))
    with pytest.raises(DatasetError, match="do not belong together"):
        data.clips("train")
    file.write_bytes(pickle.dumps(contents["train", "au"]))
    with pytest.raises(DatasetError, match=r"204.*entry 0 is \(30, 80\)"):
        data.clips("train")
    file.write_bytes(b"\x80\x04\x95")
    with pytest.raises(CheckpointError, match="damaged"):
        data.clips("train")


class Evil:
    """What a pickle can do when it is loaded."""

    def __reduce__(self):
        return open, ("hacked.txt", "w")


def test_a_dump_that_would_run_code_is_refused(dumps, examples, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder, _ = dumps()
    (folder / "autovc_retrain_mel_train_au.pickle").write_bytes(pickle.dumps([Evil()]))
    with pytest.raises(CheckpointError, match="open"):
        Audio2LandmarkContent(tmp_path, folder, examples).clips("train")
    assert not (tmp_path / "hacked.txt").exists()


def test_without_dumps_videos_are_split_by_speaker(tmp_path):
    for speaker in "abcdef":
        touch(tmp_path / "clips" / speaker / "1.mp4")
    data = Audio2LandmarkContent(tmp_path / "clips", tmp_path / "none", tmp_path / "none")
    assert {len(data.clips(split)) for split in ("train", "val", "test")} >= {1}
    with pytest.raises(DatasetError, match=r"nowhere does not exist, and .*train_au\.pickle neither"):
        Audio2LandmarkContent(tmp_path / "nowhere", tmp_path / "none", tmp_path / "none").clips("train")
