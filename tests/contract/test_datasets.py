"""What every registered data set promises."""

from pathlib import Path

import pytest

from talkingface.config import Config
from talkingface.dataset.base import SPLITS
from talkingface.errors import DatasetError
from talkingface.quick_start import construct
from talkingface.registry import DATASETS, normalize
from tests.contract.toys import arguments, explained, settings_file

every_dataset = pytest.mark.parametrize("name", DATASETS)
SPEAKERS, CLIPS = 6, 2


def touch(path: Path) -> str:
    """Make a file; nobody reads it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"video")
    return str(path)


def in_folders(root: Path) -> None:
    """<speaker>/<clip>.mp4, what most data sets can be laid out as."""
    for speaker in range(SPEAKERS):
        for clip in range(CLIPS):
            touch(root / f"person {speaker}" / f"{clip}.mp4")


def lrs2(root: Path) -> None:
    """Official folders and lists, a programme in one split."""
    for number, split in enumerate(SPLITS):
        lines = [f"{speaker}/{clip:05d}" for speaker in (10 + number, 20 + number) for clip in range(CLIPS)]
        for line in lines:
            touch(root / "mvlrs_v1" / "main" / f"{line}.mp4")
        (root / f"{split}.txt").write_text("\n".join(lines))


def voxceleb2(root: Path) -> None:
    """Both official parts."""
    for speaker in range(SPEAKERS):
        part = "test" if speaker == 0 else "dev"
        for clip in range(CLIPS):
            touch(root / part / "mp4" / f"id{speaker:05d}" / "video" / f"{clip:05d}.mp4")


def hdtf(root: Path) -> None:
    """Two addresses of each of six people."""
    for speaker in range(SPEAKERS):
        for clip in range(CLIPS):
            touch(root / f"WDA_Person{'ABCDEF'[speaker]}{clip}_000.mp4")


def lrs3(root: Path) -> None:
    """Talks in both parts of the official split, one of them in two parts."""
    for talk in range(SPEAKERS):
        for clip in range(CLIPS):
            touch(root / ("test" if talk == 0 else "trainval") / f"_talk{talk}" / f"5000{clip}.mp4")
    touch(root / "pretrain" / "_talk1" / "00001.mp4")


def mead(root: Path) -> None:
    """Two sentences of each actor, seen from two sides, with their sound."""
    for actor in range(SPEAKERS):
        for clip in range(CLIPS):
            touch(root / f"M{actor:03d}" / "audio" / "happy" / "level_1" / f"{clip:03d}.m4a")
            for view in ("front", "left_30"):
                touch(root / f"M{actor:03d}" / "video" / view / "happy" / "level_1" / f"{clip:03d}.mp4")


def grid(root: Path) -> None:
    """Two sentences of each speaker."""
    for speaker in range(1, SPEAKERS + 1):
        for clip in range(CLIPS):
            touch(root / f"s{speaker}" / f"bbaf{clip}n.mpg")


def celebv_hq(root: Path) -> None:
    """Two clips of each video."""
    for video in range(SPEAKERS):
        for clip in range(CLIPS):
            touch(root / f"_video-{video}_{clip}.mp4")


def lrw(root: Path) -> None:
    """Three words in each split."""
    for split in SPLITS:
        for word in ("ABOUT", "ABSOLUTELY", "ABUSE"):
            for clip in range(CLIPS):
                touch(root / word / split / f"{word}_{clip:05d}.mp4")


def portraits(root: Path) -> None:
    """Two pictures and two recordings."""
    for name in ("ann.jpg", "bob.png", "hello.wav", "goodbye.mp3"):
        touch(root / name)


LAYOUTS = {
    "lrw": lrw, "DAVSDataset": lrw, "folder": in_folders, "lrs2": lrs2, "voxceleb1": voxceleb2, "voxceleb2": voxceleb2,
    "hdtf": hdtf, "lrs3": lrs3, "mead": mead, "grid": grid, "celebv_hq": celebv_hq, "portraits": portraits,
}  # fmt: skip
TEST_ONLY = {"portraits"}  # nothing can be learnt from them


@pytest.fixture
def build(tmp_path, world):
    """A data set as a run builds it: the demo world, or one with made-up files in its layout."""

    def make(name, root=tmp_path / "root"):
        if name == "demo":
            return construct(DATASETS[name], world.config().section(name), name)
        if not root.exists() and root.parent == tmp_path:
            LAYOUTS.get(name, in_folders)(root)
        config = Config.load(dataset=name, overrides={f"{name}.root": str(root)})
        return construct(DATASETS[name], config.section(name), name)

    return make


@every_dataset
def test_the_settings_are_the_constructors_arguments_each_with_a_comment(name):
    text, settings = settings_file("dataset", name)
    assert text.startswith("# ") and len(text.partition("\n")[0]) > 20
    assert set(settings.get(name, {})) == explained(text, name) == arguments(DATASETS[name])
    assert all(DATASETS.aliases[normalize(alias)] == name for alias in settings.get("aliases", []))
    assert (DATASETS[name].__doc__ or "").strip()


@every_dataset
def test_clips_have_names_of_their_own_and_files(name, build):
    clips = [clip for split in SPLITS for clip in build(name).clips(split)]
    names = [clip.name for clip in clips]
    assert names and len(set(names)) == len(names)
    assert all(not Path(clip).is_absolute() and ".." not in Path(clip).parts and clip.strip() == clip for clip in names)
    assert all(path.is_file() for clip in clips for path in (clip.face, clip.audio, clip.truth, clip.pose) if path)


@every_dataset
def test_no_speaker_is_in_two_splits_and_every_split_has_clips(name, build):
    dataset = build(name)
    speakers = {split: {clip.speaker for clip in dataset.clips(split)} for split in SPLITS}
    if set().union(*speakers.values()) == {None}:
        pytest.skip(f"{name} does not say who speaks; its splits are the official ones")
    assert None not in set().union(*speakers.values())
    assert all(speakers[split] for split in (("test",) if name in TEST_ONLY else SPLITS))
    assert sum(map(len, speakers.values())) == len(set().union(*speakers.values()))


@every_dataset
def test_the_clips_are_the_same_each_time(name, build):
    one, two = build(name), build(name)
    assert [one.clips(split) for split in SPLITS] == [two.clips(split) for split in reversed(SPLITS)][::-1]


@every_dataset
def test_a_folder_that_is_not_there_is_named(name, tmp_path):
    config = Config.load(dataset=name, overrides={f"{name}.root": str(tmp_path / "nowhere")})
    with pytest.raises(DatasetError, match="nowhere"):
        construct(DATASETS[name], config.section(name), name).clips("train")
    assert not (tmp_path / "nowhere").exists()
