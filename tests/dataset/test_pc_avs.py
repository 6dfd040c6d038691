"""PC-AVS's lists, and its protocol on folders of clips."""

import numpy as np
import pytest

from talkingface.dataset.base import Clip
from talkingface.dataset.pc_avs import STILL, DrivenClip, PCAVSDataset, is_still
from talkingface.errors import ConfigError, DatasetError
from talkingface.media.audio import write_audio
from talkingface.media.image import write_image

LINE = "misc/Input/person 1 misc/Pose_Source/head 3 misc/Audio_Source/speech.mp3 misc/Mouth_Source/person 4 dummy"


def pictures(folder, count):
    for number in range(count):
        write_image(folder / f"{number:06d}.jpg", np.full((8, 8, 3), number, np.uint8))


@pytest.fixture
def folder(tmp_path):
    """The authors' folders, with made-up content."""
    place = tmp_path / "any"
    for name, count in (("Input/person", 1), ("Pose_Source/head", 3), ("Mouth_Source/person", 4), ("Mouth_Source/other", 4)):
        pictures(place / name, count)
    write_audio(place / "speech.wav", np.zeros(10))
    (place / "Audio_Source").mkdir()
    (place / "speech.wav").rename(place / "Audio_Source" / "speech.mp3")
    np.save(place / "speech.npy", np.zeros((30, 80), np.float32))
    return place


def jobs(folder, *lines, **settings):
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    return PCAVSDataset(meta_path_vox=folder / "list.csv", **settings).clips("test")


def test_a_line_of_the_authors_names_all_that_a_clip_needs(folder):
    (clip,) = jobs(folder, LINE)
    assert clip == DrivenClip(
        name="id_person_pose_head_audio_speech",
        face=folder / "Input/person",
        audio=folder / "Audio_Source/speech.mp3",
        pose=folder / "Pose_Source/head",
        truth=folder / "Mouth_Source/person",
        speaker="person",
        mouth=folder / "Mouth_Source/person",
        pose_count=3,
    )


def test_paths_may_be_relative_to_the_list_the_root_or_the_place_of_the_run(folder, tmp_path, monkeypatch):
    line = LINE.replace("misc/", "")
    assert jobs(folder, line) == jobs(folder, LINE)
    lists = tmp_path / "lists"
    lists.mkdir()
    for text, root in ((line, folder), (line.replace("Input", "any/Input"), folder)):
        (lists / "a.csv").write_text(text)
        monkeypatch.chdir(tmp_path)
        (clip,) = PCAVSDataset(root, meta_path_vox=lists / "a.csv").clips("test")
        assert clip.face.resolve() == folder / "Input/person"


def test_pose_mouth_and_spectrogram_may_be_absent(folder):
    (clip,) = jobs(folder, "Input/person 1 None 0 Audio_Source/speech.mp3 None 0 speech.npy")
    assert is_still(clip.pose) and clip.mouth is None and clip.truth is None and clip.spectrogram == folder / "speech.npy"


def test_a_mouth_folder_is_the_truth_where_it_shows_the_same_person(folder):
    other = LINE.replace("Mouth_Source/person", "Mouth_Source/other")
    for truth, expected in (("self", [True, False]), ("mouth", [True, True]), ("none", [False, False])):
        clips = jobs(folder, LINE, other.replace("head 3", "head 2"), truth=truth)
        assert [clip.truth is not None for clip in clips] == expected
        assert all(clip.truth in (None, clip.mouth) and clip.truth != clip.pose for clip in clips)


def test_jobs_of_one_name_are_told_apart_and_comments_left_out(folder):
    names = [clip.name for clip in jobs(folder, "# a comment", LINE, "", LINE)]
    assert names == ["id_person_pose_head_audio_speech", "id_person_pose_head_audio_speech#2"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (LINE.rpartition(" ")[0], ["expected 8 fields", "got 7"]),
        (LINE + " more", ["expected 8 fields", "got 9"]),
        (LINE.replace("head 3", "head three"), ["number of pose frames", "'three'"]),
        (LINE.replace("person 1", "person -1"), ["number of input pictures", "'-1'"]),
        (LINE.replace("head 3", "head 4"), ["4 pose frames", "has 3 pictures"]),
        (LINE.replace("head 3", "head 0"), ["0 pose frames"]),
        (LINE.replace("Pose_Source/head", "Pose_Source/tail"), ["Pose_Source/tail does not exist"]),
        (LINE.replace("dummy", "speech2.npy"), ["speech2.npy does not exist"]),
    ],
)
def test_a_wrong_line_is_named(folder, line, words):
    with pytest.raises(DatasetError) as error:
        jobs(folder, LINE, line)
    assert all(word in str(error.value) for word in ["list.csv, line 2", *words])


def test_a_list_in_the_root_is_found(folder):
    (folder / "demo.csv").write_text(LINE)
    assert len(PCAVSDataset(folder).clips("test")) == 1


def test_the_authors_list_is_found_in_the_folder_of_the_run_where_there_is_no_root(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder.rename(tmp_path / "misc")
    (tmp_path / "misc" / "demo.csv").write_text(LINE)
    (clip,) = PCAVSDataset().clips("test")
    assert clip.face.resolve() == tmp_path / "misc" / "Input" / "person"
    (tmp_path / "clips").mkdir()
    assert PCAVSDataset(tmp_path / "clips").test_list is None


def test_other_splits_come_from_the_folder_of_clips(folder, tmp_path):
    root = tmp_path / "clips"
    for speaker in range(5):
        for number in range(2):
            (root / f"id{speaker}").mkdir(parents=True, exist_ok=True)
            (root / f"id{speaker}" / f"{number}.mp4").write_bytes(b"video")
    (folder / "list.csv").write_text(LINE)
    dataset = PCAVSDataset(root, folder / "list.csv", val_fraction=0.2, test_fraction=0.2)
    assert [clip.name for clip in dataset.clips("test")] == ["id_person_pose_head_audio_speech"]
    assert len(dataset.clips("train")) >= 4
    tests = {
        pose: PCAVSDataset(root, pose=pose, val_fraction=0.2, test_fraction=0.2).clips("test")
        for pose in ("own", "other", "still")
    }
    assert all(clip.pose == clip.face for clip in tests["own"]) and all(clip.pose == STILL for clip in tests["still"])
    assert all(clip.pose != clip.face and clip.pose.parent == clip.face.parent for clip in tests["other"])
    assert all(clip.truth == clip.face for clips in tests.values() for clip in clips)


def test_settings_out_of_range_are_refused():
    with pytest.raises(ConfigError, match="pose: expected one of own, other, still, got 'mine'"):
        PCAVSDataset(pose="mine")
    with pytest.raises(ConfigError, match="truth"):
        PCAVSDataset(truth="pose")


def test_any_clip_is_a_driven_one(tmp_path):
    clip = DrivenClip.of(Clip("a", tmp_path / "face.mp4", tmp_path / "speech.wav", truth=tmp_path / "real.mp4"))
    assert clip.mouth == clip.truth and clip.pose is None and clip.pose_count == 0
    assert DrivenClip.of(clip) is clip


def test_the_authors_demo_is_read(real_data):
    (clip,) = PCAVSDataset(meta_path_vox=real_data / "pc_avs_demo" / "demo.csv").clips("test")
    assert clip.name == "id_517600055_pose_517600078_audio_681600002" and clip.pose_count == 160 and clip.truth is None
    assert all(path.exists() for path in (clip.face, clip.pose, clip.audio, clip.mouth))
