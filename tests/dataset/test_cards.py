"""Cards of data sets: each published one has a card, each card a page, and what pages say is what the program takes."""

import shlex
from pathlib import Path

import pytest

from talkingface.cli import parse_arguments
from talkingface.config import Config
from talkingface.dataset.base import SPLITS
from talkingface.dataset.card import SECTIONS, cards, markdown, read_card
from talkingface.dataset.celebv_hq import CelebVHQ
from talkingface.dataset.cut import Listed
from talkingface.dataset.grid import GRID
from talkingface.dataset.lrs3 import LRS3
from talkingface.dataset.mead import MEAD
from talkingface.dataset.voxceleb1 import VoxCeleb1
from talkingface.dataset.voxceleb2 import VoxCeleb2
from talkingface.errors import ConfigError, DatasetError
from talkingface.registry import DATASETS

ROOT = Path(__file__).resolve().parent.parent.parent
PUBLISHED = {"voxceleb1", "voxceleb2", "lrs2", "lrs3", "lrw", "hdtf", "mead", "grid", "celebv_hq"}
every_card = pytest.mark.parametrize("name", cards())


@pytest.fixture
def fill(tmp_path):
    """Make files (nothing reads their content) below the root of a data set."""

    def make(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"video")
        return tmp_path

    return make


def speakers(dataset):
    return {split: {clip.speaker for clip in dataset.clips(split)} for split in SPLITS}


def test_every_published_data_set_has_a_card_and_is_registered():
    assert set(cards()) == PUBLISHED and set(DATASETS) >= PUBLISHED


@every_card
def test_a_page_is_what_its_card_says_with_all_sections(name):
    page = (ROOT / "docs" / "datasets" / f"{name}.md").read_text(encoding="utf-8")
    rewrite = "write it anew: from talkingface.dataset.card import write_pages; write_pages(Path('docs/datasets'))"
    assert page == markdown(read_card(cards()[name])), rewrite
    assert [line[3:] for line in page.splitlines() if line.startswith("## ")] == list(SECTIONS)
    assert f"](../docs/datasets/{name}.md)" in (ROOT / "dataset" / "README.md").read_text(encoding="utf-8")


@every_card
def test_its_commands_are_commands_and_its_parts_are_known(name):
    card = read_card(cards()[name])
    for command in filter(None, (card.prepare, card.cut, card.check)):
        arguments = parse_arguments(shlex.split(command)[1:])
        arguments.take("lists", "videos")
        config = Config.load(flags=arguments.flags)
        assert config["dataset"] == name and not arguments.words
    assert bool(card.cut) <= issubclass(DATASETS[name], Listed)
    assert {part for archive in card.archives for part in archive.makes} <= set(card.parts)
    assert set(card.official) <= set(SPLITS) and any(part.clips for part in card.parts.values())
    assert card.page.startswith("https://") and len(card.access) >= 2


def test_a_file_that_is_no_card_says_so(tmp_path):
    (tmp_path / "a.yaml").write_text("title: A\nparts: {x: {colour: red}}\n")
    with pytest.raises(ConfigError, match=r"a.yaml is no card of a data set: Part has no colour"):
        read_card(tmp_path / "a.yaml")


def test_names_of_youtube_may_begin_with_an_underscore(fill):
    root = fill(*(f"dev/mp4/id0000{n}/_video/00001.mp4" for n in range(4)), "dev/mp4/id00000/.hidden/1.mp4")
    assert sum(len(VoxCeleb2(root).clips(split)) for split in SPLITS) == 4


def test_voxceleb1_tests_on_its_official_speakers_wherever_they_lie(fill):
    root = fill(
        *(f"mp4/id{n}/video/00001.mp4" for n in (10_001, 10_002, 10_269, 10_270, 10_309, 10_310)), "wav/id10270/video/00001.wav"
    )
    dataset = VoxCeleb1(root)
    assert speakers(dataset)["test"] == {"id10270", "id10309"}
    assert sorted(clip.audio.suffix for clip in dataset.clips("test")) == [".mp4", ".wav"]


def test_lrs3_keeps_a_talk_in_one_split_and_pretrains_when_asked(fill):
    talks = [f"talk{n}" for n in range(12)]
    root = fill(
        *(f"trainval/{talk}/50001.mp4" for talk in talks), *(f"pretrain/{talk}/00001.mp4" for talk in talks), "test/last/1.mp4"
    )
    small, large = LRS3(root), LRS3(root, pretrain=True, val_fraction=0.3)
    assert sum(len(small.clips(split)) for split in SPLITS) == 13 and speakers(small)["test"] == {"last"}
    split = speakers(large)
    assert not split["train"] & split["val"] and split["val"] and len(large.clips("val")) == 2 * len(split["val"])
    with pytest.raises(DatasetError, match="holds no folder trainval or test"):
        LRS3(fill("a.mp4") / "trainval" / "talk0").clips("train")


def test_mead_chooses_views_emotions_and_levels(fill):
    places = [
        f"{actor}/video/{view}/{emotion}/{level}/001.mp4"
        for actor in ("M001", "M002", "W003")
        for view in ("front", "left_30")
        for emotion in ("happy", "sad")
        for level in ("level_1", "level_3")
    ]
    root = fill(*places, "M001/audio/happy/level_1/001.m4a")
    clips = {clip.name: clip for split in SPLITS for clip in MEAD(root).clips(split)}
    assert len(clips) == 12 and all("/front/" in name for name in clips)
    assert clips["M001/video/front/happy/level_1/001"].audio == root / "M001/audio/happy/level_1/001.m4a"
    chosen = MEAD(root, views=[], emotions=["sad"], levels=["level_3"])
    assert sum(len(chosen.clips(split)) for split in SPLITS) == 6
    with pytest.raises(ConfigError, match="mead.views: no 'back' in MEAD"):
        MEAD(root, views=["back"])
    with pytest.raises(DatasetError, match="of view top"):
        MEAD(root, views=["top"]).clips("train")


def test_grid_knows_speakers_in_every_layout_and_takes_better_sound(fill):
    root = fill("s1/bbaf2n.mpg", "s2/video/mpg_6000/bbaf3n.mpg", "s34/pwij3p.mpg", "audio_25k/s1/bbaf2n.wav")
    clips = {clip.name: clip for split in SPLITS for clip in GRID(root).clips(split)}
    assert {clip.speaker for clip in clips.values()} == {"s1", "s2", "s34"}
    assert clips["s1/bbaf2n"].audio == root / "audio_25k/s1/bbaf2n.wav"
    assert clips["s34/pwij3p"].audio == root / "s34/pwij3p.mpg"


def test_celebv_hq_keeps_the_clips_of_a_video_together(fill):
    root = fill(*(f"_vid-{n}_{clip}.mp4" for n in range(9) for clip in range(3)))
    split = speakers(CelebVHQ(root, val_fraction=0.3, test_fraction=0.3))
    assert sum(map(len, split.values())) == 9 == len(set().union(*split.values())) and all(split.values())
