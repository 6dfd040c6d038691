"""Pairs of a video and speech: lists, folders of equal names, and both protocols."""

import logging

import pytest

from talkingface.dataset.base import Clip
from talkingface.dataset.videoretalking import VideoReTalkingPairs
from talkingface.errors import ConfigError, DatasetError


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def test_a_list_names_who_says_what_and_there_is_no_truth(tmp_path):
    root = touch(tmp_path, "a.mp4", "b.png", "c.wav")
    (root / "pairs.txt").write_text("a.mp4 c.wav\n# a comment\nb.png a.mp4\n")
    one, two = VideoReTalkingPairs(root).clips("test")
    assert one == Clip("a+c", root / "a.mp4", root / "c.wav", speaker="a")
    assert (two.face, two.audio, two.truth) == (root / "b.png", root / "a.mp4", None)


def test_paired_clips_are_compared_with_their_video(tmp_path):
    root = touch(tmp_path, "a.mp4", "a.wav", "b.mp4", "c.png")
    (root / "mine.txt").write_text("a.mp4 a.wav\nb.mp4\nc.png a.wav\n")
    clips = VideoReTalkingPairs(root, pair_list=root / "mine.txt", protocol="paired").clips("test")
    assert [(clip.name, clip.audio.name, clip.truth and clip.truth.name) for clip in clips] == [
        ("a+a", "a.wav", "a.mp4"), ("b", "b.mp4", "b.mp4"), ("c+a", "a.wav", None)
    ]  # fmt: skip


def test_an_unpaired_line_needs_two_names(tmp_path):
    root = touch(tmp_path, "a.mp4")
    (root / "pairs.txt").write_text("a.mp4\n")
    with pytest.raises(DatasetError, match=r"pairs\.txt, line 1: expected .* got 'a\.mp4'"):
        VideoReTalkingPairs(root).clips("test")


def test_files_of_one_name_are_pairs_and_the_others_are_counted(tmp_path, caplog):
    root = touch(tmp_path, "face/1.mp4", "face/2.jpg", "face/3.mp4", "face/notes.txt", "audio/1.wav", "audio/2.mp3")
    with caplog.at_level(logging.WARNING):
        clips = VideoReTalkingPairs(root).clips("test")
    assert [(clip.face.name, clip.audio.name) for clip in clips] == [("1.mp4", "1.wav"), ("2.jpg", "2.mp3")]
    assert "1 of 3 faces" in caplog.text and "3.mp4" in caplog.text


def test_folders_without_a_pair_are_an_error(tmp_path):
    root = touch(tmp_path, "face/1.mp4", "audio/2.wav")
    with pytest.raises(DatasetError, match="no face in .* has a sound file of its name"):
        VideoReTalkingPairs(root).clips("test")


def test_videos_of_a_folder_say_what_another_says_or_their_own(tmp_path):
    root = touch(tmp_path, *(f"{speaker}/{clip}.mp4" for speaker in "abcdefgh" for clip in (0, 1)))
    unpaired, paired = (VideoReTalkingPairs(root, protocol=name, test_fraction=0.5) for name in ("unpaired", "paired"))
    assert all(clip.truth is None and clip.audio.parent != clip.face.parent for clip in unpaired.clips("test"))
    assert all(clip.truth == clip.audio == clip.face for clip in paired.clips("test"))
    assert [clip.face for clip in unpaired.clips("train")] == [clip.face for clip in paired.clips("train")]


def test_one_video_alone_has_nothing_to_say(tmp_path):
    root = touch(tmp_path, "a.mp4")
    with pytest.raises(DatasetError, match="nothing else for it to say"):
        VideoReTalkingPairs(root).clips("test")
    assert len(VideoReTalkingPairs(root, protocol="paired").clips("test")) == 1


def test_an_unknown_protocol_and_a_missing_folder_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"video_retalking\.protocol: expected one of unpaired, paired, got 'both'"):
        VideoReTalkingPairs(protocol="both")
    with pytest.raises(DatasetError, match="does not exist"):
        VideoReTalkingPairs(tmp_path / "no").clips("test")
