import random

import pytest

from talkingface.dataset.base import Clip
from talkingface.dataset.split import fractions, position, split_by_speaker
from talkingface.errors import ConfigError


def clips_of(speakers, each=2):
    return [
        Clip(f"{speaker}/{i}", f"{speaker}/{i}.mp4", f"{speaker}/{i}.mp4", speaker=speaker)
        for speaker in speakers
        for i in range(each)
    ]


def split_of(splits):
    return {clip.speaker: split for split, clips in splits.items() for clip in clips}


def test_no_speaker_is_in_two_splits():
    splits = split_by_speaker(clips_of(f"speaker {i}" for i in range(100)), fractions(0.1, 0.2))
    speakers = [{clip.speaker for clip in clips} for clips in splits.values()]
    assert sum(map(len, speakers)) == 100 and sum(map(len, splits.values())) == 200


def test_shares_are_about_as_asked():
    splits = split_by_speaker(clips_of(map(str, range(3000)), each=1), fractions(0.1, 0.2))
    assert {split: round(len(clips) / 3000, 1) for split, clips in splits.items()} == {"train": 0.7, "val": 0.1, "test": 0.2}


def test_new_clips_and_speakers_never_move_old_ones():
    few, many = [str(i) for i in range(200)], [str(i) for i in range(300)]
    before, after = (split_of(split_by_speaker(clips_of(names), fractions(0.1, 0.1))) for names in (few, many))
    assert before.items() <= after.items()


def test_the_split_does_not_depend_on_the_order_of_clips():
    clips = clips_of(map(str, range(7)))
    shuffled = random.Random(0).sample(clips, len(clips))
    assert split_of(split_by_speaker(clips, fractions(0.1, 0.1))) == split_of(split_by_speaker(shuffled, fractions(0.1, 0.1)))


@pytest.mark.parametrize("count", range(3, 12))
def test_small_sets_have_clips_in_each_split(count):
    splits = split_by_speaker(clips_of(map(str, range(count)), each=1), fractions(0.01, 0.01))
    assert all(splits.values()) and len(splits["train"]) == count - 2


@pytest.mark.parametrize("speakers", [1, 2])
def test_with_fewer_speakers_than_splits_clips_are_dealt_out_and_a_warning_says_so(speakers, caplog):
    splits = split_by_speaker(clips_of(map(str, range(speakers)), each=10), fractions(0.1, 0.1))
    assert all(splits.values()) and sum(map(len, splits.values())) == 10 * speakers
    assert "share speakers" in caplog.text


def test_a_single_clip_is_in_each_split_and_a_warning_says_so(caplog):
    splits = split_by_speaker(clips_of(["only"], each=1), fractions(0.1, 0.1))
    assert [len(clips) for clips in splits.values()] == [1, 1, 1] and "not of unseen clips" in caplog.text


def test_a_split_without_a_share_is_empty():
    assert split_by_speaker(clips_of("ab"), fractions(0, 0.5))["val"] == []


def test_no_clips_make_empty_splits():
    assert split_by_speaker([], fractions(0.1, 0.1)) == {"train": [], "val": [], "test": []}


def test_both_unicode_forms_of_a_name_are_one():
    assert position("Zo\u00eb") == position("Zoe\u0308") != position("Zoe")


def test_the_hash_is_the_same_in_every_release():
    assert position("id00012") == 0.5224562205791269


@pytest.mark.parametrize("val, test", [(-0.1, 0.1), (0.5, 0.5)])
def test_shares_that_leave_nothing_for_training_are_refused(val, test):
    with pytest.raises(ConfigError, match=f"val_fraction={val}"):
        fractions(val, test)
