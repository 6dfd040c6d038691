from pathlib import Path

import pytest

from talkingface.dataset.folder import Folder
from talkingface.errors import ConfigError, DatasetError

SPLITS = ("train", "val", "test")


@pytest.fixture
def fill(tmp_path):
    """Make files (nothing reads their content) below the root of a data set."""

    def make(*names):
        for name in names:
            path = tmp_path / "root" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"video")
        return tmp_path / "root"

    return make


def all_clips(dataset):
    return {clip.name: clip for split in SPLITS for clip in dataset.clips(split)}


def test_videos_are_found_at_any_depth_and_other_files_are_not(fill):
    root = fill("a.mp4", "b/c.MOV", "b/d/e.webm", "b/notes.txt", ".hidden.mp4", "._a.mp4", "_raw/f.mp4", "prepared/x/g.mp4")
    assert sorted(all_clips(Folder(root))) == ["a", "b/c", "b/d/e"]


def test_sub_folders_can_be_left_alone(fill):
    root = fill("a.mp4", "b.mp4", "c.mp4", "d/e.mp4")
    assert sorted(all_clips(Folder(root, recursive=False))) == ["a", "b", "c"]


def test_a_clip_says_what_it_says_and_is_its_own_truth(fill):
    clip = all_clips(Folder(fill("ann/a.mp4")))["ann/a"]
    assert clip.face == clip.audio == clip.truth and clip.speaker == "ann"


def test_the_first_sub_folder_is_the_speaker_and_no_speaker_is_split(fill):
    dataset = Folder(
        fill(*(f"speaker{i}/day{j}/{k}.mp4" for i in range(5) for j in range(2) for k in range(2))), test_fraction=0.4
    )
    speakers = [{clip.speaker for clip in dataset.clips(split)} for split in SPLITS]
    assert set.union(*speakers) == {f"speaker{i}" for i in range(5)} and sum(map(len, speakers)) == 5 and all(speakers)


def test_speakers_can_be_taken_by_clip(fill):
    clips = all_clips(Folder(fill("dump/a.mp4", "dump/b.mp4", "dump/c.mp4"), speakers="clip"))
    assert {clip.speaker for clip in clips.values()} == {"dump/a", "dump/b", "dump/c"}


@pytest.mark.parametrize("name", ["with blanks.mp4", 'it\'s "quoted".mp4', "Ünïcödé 話す.mp4", "v1.2, final.mp4", "%2E-$(x).mp4"])
def test_odd_names_work_in_folders_and_in_lists(fill, tmp_path, name):
    root = fill(name, "b.mp4", "c.mp4")
    assert Path(name).stem in all_clips(Folder(root))
    (tmp_path / "list.txt").write_text(f"# the clips\n\n{name}\n", encoding="utf-8")
    clip = all_clips(Folder(root, clip_list=tmp_path / "list.txt"))[Path(name).stem]
    assert clip.face == clip.audio == root / name


def test_clips_that_differ_in_their_suffix_keep_it(fill):
    clips = all_clips(Folder(fill("a.avi", "a.mp4", "b.mp4")))
    assert sorted(clips) == ["a.avi", "a.mp4", "b"] and clips["a.avi"].speaker == clips["a.mp4"].speaker


def test_sound_comes_from_a_folder_of_the_same_names(fill, tmp_path):
    root = fill("ann/a.mp4", "b.mp4")
    (tmp_path / "sound" / "ann").mkdir(parents=True)
    (tmp_path / "sound" / "ann" / "a.flac").touch()
    clips = all_clips(Folder(root, audio=tmp_path / "sound"))
    assert clips["ann/a"].audio == tmp_path / "sound/ann/a.flac" and clips["b"].audio == tmp_path / "sound/b.wav"


def test_one_sound_file_drives_the_test_clips_only(fill, tmp_path):
    (tmp_path / "speech.wav").touch()
    dataset = Folder(fill("a.mp4", "b.mp4", "c.mp4"), audio=tmp_path / "speech.wav")
    assert [(clip.audio, clip.truth) for clip in dataset.clips("test")] == [(tmp_path / "speech.wav", None)]
    assert all(clip.audio == clip.face == clip.truth for clip in dataset.clips("train"))


def test_a_sound_setting_that_names_nothing_is_refused(fill):
    with pytest.raises(DatasetError, match="speach.wav does not exist; audio should be"):
        Folder(fill("a.mp4"), audio="speach.wav").clips("train")


@pytest.mark.parametrize(
    "text",
    [
        "a.mp4 b.wav",
        "a b",
        "a.mp4\tb.wav",
        "a.mp4,b.wav",
        "video,audio\na.mp4,b.wav",
        '"a.mp4" "b.wav"',
        "\ufeffa.mp4   b.wav\r\n",
    ],
)
def test_pairs_are_read_as_text_and_as_csv(fill, tmp_path, text):
    root = fill("a.mp4", "b.wav", "b.mp4")
    (tmp_path / "pairs").write_text(text, encoding="utf-8")
    (clip,) = Folder(root, pair_list=tmp_path / "pairs").clips("test")
    speech = root / ("b.mp4" if text == "a b" else "b.wav")
    assert (clip.name, clip.face, clip.audio, clip.truth) == ("a+b", root / "a.mp4", speech, None)


def test_a_pair_that_is_listed_twice_has_two_names(fill, tmp_path):
    (tmp_path / "pairs").write_text("a b\na b\n")
    assert [clip.name for clip in Folder(fill("a.mp4", "b.mp4"), pair_list=tmp_path / "pairs").clips("test")] == ["a+b", "a+b#2"]


def test_a_list_may_lie_beside_the_videos_it_names(fill, tmp_path):
    root = fill("a.mp4", "list.txt")
    (root / "list.txt").write_text("a.mp4\n")
    (clip,) = Folder(tmp_path / "nowhere", clip_list=root / "list.txt").clips("test")
    assert clip.face == root / "a.mp4"


def test_names_never_lead_out_of_a_folder(fill, tmp_path):
    root = fill("../elsewhere/a.mp4", "b.mp4")
    (tmp_path / "list.txt").write_text("../elsewhere/a.mp4\n")
    (clip,) = Folder(root, clip_list=tmp_path / "list.txt").clips("test")
    assert ".." not in clip.name.split("/") and not clip.name.startswith("/")


def test_file_lists_decide_the_splits_where_they_are(fill):
    root = fill("ann/a.mp4", "b.mp4", "filelist/train.txt", "filelist/test.txt")
    (root / "filelist/train.txt").write_text("b\n")
    (root / "filelist/test.txt").write_text("ann/a.mp4\n")
    dataset = Folder(root)
    assert [[clip.name for clip in dataset.clips(split)] for split in ("train", "test")] == [["b"], ["ann/a"]]
    with pytest.raises(DatasetError, match=r"filelist/val.txt does not exist: it should name one val clip a line"):
        dataset.clips("val")


@pytest.mark.parametrize("line", ["a b c", 'a.mp4 "b'])
def test_a_wrong_line_is_named_with_its_file_and_number(fill, tmp_path, line):
    (tmp_path / "pairs.txt").write_text(f"# video audio\na.mp4 a.mp4\n{line}\n")
    with pytest.raises(DatasetError, match=r"pairs.txt, line 3: expected 'video' or 'video audio', got"):
        Folder(fill("a.mp4"), pair_list=tmp_path / "pairs.txt").clips("test")


def test_a_list_that_is_no_text_or_is_not_there_is_named(fill, tmp_path):
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00")
    for name, message in (("list.txt", "list.txt is not UTF-8 text"), ("gone.txt", "gone.txt: No such file")):
        with pytest.raises(DatasetError, match=message):
            Folder(fill("a.mp4"), clip_list=tmp_path / name).clips("train")


def test_a_missing_root_is_named_with_its_setting_and_where_to_read():
    with pytest.raises(
        DatasetError, match=r"nowhere does not exist; put the clips there or set --folder.root. See dataset/README.md"
    ):
        Folder("nowhere").clips("train")


def test_a_folder_without_videos_is_refused(fill):
    with pytest.raises(DatasetError, match=r"root holds no video \(.mp4"):
        Folder(fill("notes.txt")).clips("train")


def test_a_list_of_which_nothing_is_there_is_refused(fill, tmp_path):
    (tmp_path / "list.txt").write_text("x.mp4\ny.mp4\n")
    with pytest.raises(DatasetError, match="none of the 2 clips is there, the first is .*x.mp4"):
        Folder(fill("a.mp4"), clip_list=tmp_path / "list.txt").clips("train")


def test_crossed_test_clips_say_what_another_speaker_says(fill):
    dataset = Folder(fill(*(f"{speaker}/{i}.mp4" for speaker in "abcdefgh" for i in range(2))), test_fraction=0.7, cross=True)
    clips = dataset.clips("test")
    assert len(clips) > 2 and all(clip.audio.parent != clip.face.parent and clip.truth is None for clip in clips)
    assert all(clip.audio == clip.face for clip in dataset.clips("train"))


def test_a_wrong_choice_is_refused():
    with pytest.raises(ConfigError, match="speakers='name': expected 'folder' or 'clip'"):
        Folder("root", speakers="name")
