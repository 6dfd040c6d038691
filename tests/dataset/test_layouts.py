import inspect
from pathlib import Path

import pytest
import yaml

import talkingface
from talkingface.dataset.hdtf import HDTF
from talkingface.dataset.lrs2 import LRS2
from talkingface.dataset.voxceleb2 import VoxCeleb2
from talkingface.errors import DatasetError
from talkingface.registry import DATASETS, normalize

SPLITS = ("train", "val", "test")
PROPERTIES = Path(talkingface.__path__[0]) / "properties" / "dataset"


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


def names(dataset, split):
    return [clip.name for clip in dataset.clips(split)]


@pytest.mark.parametrize("name", ["folder", "lrs2", "voxceleb2", "hdtf"])
def test_settings_are_the_constructor_arguments_with_their_defaults(name):
    text = (PROPERTIES / f"{name}.yaml").read_text(encoding="utf-8")
    settings = yaml.safe_load(text)
    defaults = {key: p.default for key, p in inspect.signature(DATASETS[name]).parameters.items()}
    assert text.startswith("# ") and settings[name] == defaults
    assert all(DATASETS.aliases[normalize(alias)] == name for alias in settings.get("aliases", []))
    assert all("#" in line for line in text.splitlines() if line.startswith("  "))


def test_lrs2_reads_its_official_lists(fill):
    root = fill(
        "mvlrs_v1/main/6331/00001.mp4", "mvlrs_v1/main/6331/00002.mp4", "mvlrs_v1/main/7002/00001.mp4", "train.txt", "test.txt"
    )
    (root / "train.txt").write_text("6331/00001\n6331/00002 NF MV\n")
    (root / "test.txt").write_text("7002/00001.mp4 3\n")
    for dataset in (LRS2(root), LRS2(root / "mvlrs_v1", filelists=root), LRS2(root / "mvlrs_v1/main", filelists=root)):
        assert names(dataset, "train") == ["6331/00001", "6331/00002"]
        (clip,) = dataset.clips("test")
        video = root / "mvlrs_v1/main/7002/00001.mp4"
        assert (clip.name, clip.face, clip.audio, clip.truth, clip.speaker) == ("7002/00001", video, video, video, "7002")


def test_lrs2_prefers_lists_of_ours_to_the_official_ones(fill):
    root = fill("mvlrs_v1/main/a/1.mp4", "mvlrs_v1/main/a/2.mp4", "val.txt", "filelist/val.txt")
    (root / "val.txt").write_text("a/1\n")
    (root / "filelist/val.txt").write_text("a/2\n")
    assert names(LRS2(root), "val") == ["a/2"]


def test_lrs2_evaluates_wav2lips_pairs(fill, tmp_path):
    root = fill("mvlrs_v1/main/a/1.mp4", "mvlrs_v1/main/b/2.mp4")
    (tmp_path / "lrs2.txt").write_text("a/1 b/2\na/1 b/2\n")
    first, second = LRS2(root, pair_list=tmp_path / "lrs2.txt").clips("test")
    assert (first.audio, first.face) == (root / "mvlrs_v1/main/a/1.mp4", root / "mvlrs_v1/main/b/2.mp4")
    assert first.truth is None and first.speaker == "b" and (first.name, second.name) == ("b/2+a_1", "b/2+a_1#2")


@pytest.mark.parametrize("line", ["a1", "a/b/1", "/ 1"])
def test_lrs2_names_the_line_that_is_wrong(fill, line):
    root = fill("mvlrs_v1/main/a/1.mp4", "filelists/val.txt")
    (root / "filelists/val.txt").write_text(f"a/1\n\n{line}\n")
    with pytest.raises(DatasetError, match=r"filelists/val.txt, line 3: expected '<programme>/<clip>', got"):
        LRS2(root).clips("val")


def test_lrs2_names_the_pair_that_is_wrong(fill, tmp_path):
    (tmp_path / "lrs2.txt").write_text("a/1\n")
    with pytest.raises(DatasetError, match=r"lrs2.txt, line 1: expected '<audio clip> <video clip>'"):
        LRS2(fill("mvlrs_v1/main/a/1.mp4"), pair_list=tmp_path / "lrs2.txt").clips("test")


def test_lrs2_without_lists_names_all_places_for_them(fill):
    with pytest.raises(
        DatasetError, match=r"no train list: .*root/filelist/train.txt, .*root/filelists/train.txt.* See dataset/README.md"
    ):
        LRS2(fill("mvlrs_v1/main/a/1.mp4")).clips("train")


def test_voxceleb2_keeps_its_official_test_part(fill):
    root = fill(
        *(f"dev/mp4/id{i}/video/0000{j}.mp4" for i in range(6) for j in range(2)),
        "test/mp4/id9/video/00001.mp4", "dev/aac/id0/video/00000.m4a", "dev/extra/id7/00001.mp4",
    )  # fmt: skip
    dataset = VoxCeleb2(root)
    assert names(dataset, "test") == ["test/mp4/id9/video/00001"]
    speakers = [{clip.speaker for clip in dataset.clips(split)} for split in SPLITS]
    assert [len(s) for s in speakers] == [5, 1, 1] and set.union(*speakers) == {*(f"id{i}" for i in range(6)), "id9"}
    sounds = {clip.name: clip.audio for split in SPLITS for clip in dataset.clips(split)}
    assert sounds["dev/mp4/id0/video/00000"] == root / "dev/aac/id0/video/00000.m4a"
    assert sounds["dev/mp4/id0/video/00001"] == root / "dev/mp4/id0/video/00001.mp4"


@pytest.mark.parametrize(
    "layout", ["mp4/id{}/video/1.mp4", "dev/mp4/id{}/video/1.mp4", "id{}/video/1.mp4", "id{}/1.mp4", "id{}.mp4"]
)
def test_voxceleb2_knows_speakers_in_every_layout(fill, layout):
    dataset = VoxCeleb2(fill(*(layout.format(i) for i in range(10))))
    speakers = [sorted(clip.speaker for clip in dataset.clips(split)) for split in SPLITS]
    assert sorted(sum(speakers, [])) == [f"id{i}" for i in range(10)] and all(speakers)


def test_voxceleb2_file_lists_win(fill):
    root = fill("a.mp4", "b.mp4", *(f"filelist/{split}.txt" for split in SPLITS))
    for split, name in zip(SPLITS, ("a", "a.mp4", "b"), strict=True):
        (root / "filelist" / f"{split}.txt").write_text(name + "\n")
    assert [names(VoxCeleb2(root), split) for split in SPLITS] == [["a"], ["a"], ["b"]]


def test_voxceleb2_crosses_test_clips(fill):
    clips = VoxCeleb2(
        fill(*(f"dev/mp4/id{i}/v/1.mp4" for i in range(3)), "test/mp4/x/v/1.mp4", "test/mp4/y/v/1.mp4"), cross=True
    ).clips("test")
    assert [(clip.face.parts[-3], clip.audio.parts[-3], clip.truth) for clip in clips] == [("x", "y", None), ("y", "x", None)]


def test_the_real_clips_are_split(real_data):
    dataset = VoxCeleb2(real_data / "voxceleb2")
    clips = [dataset.clips(split) for split in SPLITS]
    assert [len(c) for c in clips] == [8, 1, 1] and clips[2][0].face.is_file()
    assert names(HDTF(real_data / "hdtf"), "test") == ["WDA_KatieHill_000"]


def test_hdtf_knows_its_speakers_by_name(fill):
    root = fill(
        "RD_Radio1_000.mp4",
        "RD_Radio2_000.mp4",
        "clips/WRA_BobCasey0_000.mp4",
        "clips/WDA_BobCasey1_010.mp4",
        "WDA_Kim_Schrier_001.mp4",
    )
    clips = {clip.name: clip.speaker for split in SPLITS for clip in HDTF(root).clips(split)}
    assert list(dict(sorted(clips.items())).values()) == ["RD_Radio1", "RD_Radio2", "Kim_Schrier", "BobCasey", "BobCasey"]


def test_hdtf_refuses_other_names(fill):
    with pytest.raises(DatasetError, match=r"holiday.mp4: expected a name like '<RD\|WDA\|WRA>_<video>_<number>.mp4'"):
        HDTF(fill("RD_Radio1_000.mp4", "holiday.mp4")).clips("train")


def test_hdtf_lists_choose_videos_and_count_those_that_are_absent(fill, tmp_path, caplog):
    root = fill("RD_Radio1_000.mp4", "RD_Radio1_001.mp4", "WDA_A_000.mp4")
    (tmp_path / "RD_video_url.txt").write_text("Radio1 https://example.org/1\nRadio2 https://example.org/2\n")
    dataset = HDTF(root, video_lists=tmp_path)
    assert {clip.name for split in SPLITS for clip in dataset.clips(split)} == {"RD_Radio1_000", "RD_Radio1_001"}
    assert "1 of the 2 listed videos have no clip" in caplog.text and "RD_Radio2" in caplog.text


def test_hdtf_lists_that_are_wrong_are_named(fill, tmp_path):
    with pytest.raises(DatasetError, match="holds no RD_video_url.txt"):
        HDTF(fill("RD_Radio1_000.mp4"), video_lists=tmp_path).clips("train")
    (tmp_path / "RD_video_url.txt").write_text("Radio1\n")
    with pytest.raises(DatasetError, match=r"RD_video_url.txt, line 1: expected '<video> <url>', got 'Radio1'"):
        HDTF(fill("RD_Radio1_000.mp4"), video_lists=tmp_path).clips("train")


@pytest.mark.parametrize("cls, name", [(VoxCeleb2, "voxceleb2"), (HDTF, "hdtf"), (LRS2, "lrs2")])
def test_a_missing_root_is_named_with_its_setting(cls, name):
    with pytest.raises(
        DatasetError, match=rf"gone does not exist; put the clips there or set --{name}.root. See dataset/README.md"
    ):
        cls("gone").clips("train")
