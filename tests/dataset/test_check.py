"""What is wrong with a copy of a data set: layouts made on the spot, each with one fault."""

import json
import shutil
import zipfile

import numpy as np
import pytest

from talkingface.cli import main
from talkingface.dataset.card import card, cards
from talkingface.dataset.check import check
from talkingface.media.video import write_video
from talkingface.registry import DATASETS

SPEAKERS = ("1001", "1002", "1003")


def make_clip(path, fps=25, size=160, sound=True, frames=25):
    path.parent.mkdir(parents=True, exist_ok=True)
    wav = np.random.default_rng(0).normal(0, 0.1, 16_000 * frames // fps).astype(np.float32) if sound else None
    write_video(path, (np.full((size, size, 3), 9 * n % 255, np.uint8) for n in range(frames)), fps, wav)
    return path


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """LRS2 as it is unpacked: three programmes of two clips, one for each split."""
    root = tmp_path_factory.mktemp("good") / "lrs2"
    clip = make_clip(root / "mvlrs_v1/main" / SPEAKERS[0] / "00001.mp4")
    for speaker in SPEAKERS:
        for number in ("00001", "00002"):
            target = root / "mvlrs_v1/main" / speaker / f"{number}.mp4"
            target.parent.mkdir(exist_ok=True)
            if target != clip:
                shutil.copy(clip, target)
    for split, speaker in zip(("train", "val", "test"), SPEAKERS, strict=True):
        (root / f"{split}.txt").write_text(f"{speaker}/00001\n{speaker}/00002\n")
    return root


@pytest.fixture
def root(good, tmp_path):
    """A copy of it, to damage."""
    return shutil.copytree(good, tmp_path / "lrs2")


def examine(root, name="lrs2", **settings):
    return check(DATASETS[name](root, **settings), name, card(name), sample=0)


def found(root, name="lrs2", state="trouble", **settings):
    """What is wrong: name of the finding -> its text and advice."""
    findings = examine(root, name, **settings).findings
    return {finding.what: f"{finding.detail} -> {finding.advice}" for finding in findings if finding.state == state}


def clip_of(root, speaker=SPEAKERS[0], number="00001"):
    return root / "mvlrs_v1/main" / speaker / f"{number}.mp4"


def test_a_good_copy_is_usable_and_counted_beside_the_official_one(good):
    examination = examine(good)
    texts = {finding.what: finding.detail for finding in examination.findings}
    assert examination.is_usable and not found(good) and "lrs2 can be used" in examination.text()
    assert texts["main"] == "6 clips of 48,164 (officially)" and texts["train"] == "2 clips of 45,839, 1 speaker"
    assert texts["decoded"] == "6 clips: 25 fps, 160 x 160" and "optional" in texts["pretrain"]


def test_no_copy_is_met_with_how_to_get_one(tmp_path):
    trouble = found(tmp_path / "gone")
    assert list(trouble) == ["root"] and "Sign the agreement" in trouble["root"] and "--lrs2.root=FOLDER" in trouble["root"]


@pytest.mark.parametrize("wrong, right, side", [("..", "lrs2", "high"), ("mvlrs_v1/main/1001", "lrs2", "deep")])
def test_another_level_is_named_with_the_right_one(root, wrong, right, side):
    trouble = found((root / wrong).resolve())
    assert list(trouble) == ["main"] and f"a level too {side}" in trouble["main"]
    assert trouble["main"].endswith(f"--lrs2.root={root}")


def test_lists_without_files_and_files_without_lists(root):
    clip_of(root).unlink()
    (root / "test.txt").write_text(f"{SPEAKERS[2]}/00001\n")
    assert "1 of 5 listed clips are not there" in found(root)["lists"]
    assert "1 file in no split" in found(root, state="note")["files"]


def test_a_list_that_is_missing_or_wrong_is_trouble(root):
    (root / "val.txt").unlink()
    (root / "test.txt").write_text("1001 00001\n")
    trouble = found(root)
    assert "no val list" in trouble["val"] and "fetch the official val list" in trouble["val"]
    assert "test.txt, line 1: expected" in trouble["test"]


def test_files_that_are_empty_cut_short_or_silent(root):
    clip_of(root, number="00001").write_bytes(b"")
    damaged = clip_of(root, number="00002")
    damaged.write_bytes(damaged.read_bytes()[:2000])
    make_clip(clip_of(root, SPEAKERS[1]), sound=False)
    trouble = found(root)
    assert "1 file with 0 bytes" in trouble["empty files"]
    assert "1 of 5 clips decoded" in trouble["damaged"] and "00002.mp4" in trouble["damaged"]
    assert "1 of 5 clips decoded" in trouble["sound"] and "no sound" in trouble["sound"]


def test_a_video_that_ends_before_its_head_says_is_truncated(tmp_path):
    whole = make_clip(tmp_path / "whole.mkv", frames=100)
    (tmp_path / "cut.mkv").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    trouble = found(tmp_path, "folder")
    assert "of 4.00 s: truncated" in trouble["damaged"] and "1 of 2 clips" in trouble["damaged"]


def test_another_frame_rate_or_size_is_noted(root):
    make_clip(clip_of(root), fps=30, size=224, frames=30)
    notes = found(root, state="note")
    assert "30 fps instead of 25" in notes["frame rate"] and "224 x 224 instead of 160 x 160" in notes["size"]
    assert examine(root).is_usable


def test_pieces_of_archives_that_are_missing_or_short(root):
    shutil.rmtree(root / "mvlrs_v1")
    for letter, size in (("a", 100), ("b", 60), ("d", 30)):
        (root / f"lrs2_v1_parta{letter}").write_bytes(b"x" * size)
    findings = [finding for finding in examine(root).findings if finding.what == "lrs2_v1_parta?"]
    assert [finding.state for finding in findings] == ["trouble", "trouble"]
    assert "lrs2_v1_partac, lrs2_v1_partae of 5 pieces: missing" in findings[0].detail
    assert "partab has 60 bytes" in findings[1].detail and "cat lrs2_v1_parta*" in findings[1].advice


def test_archives_that_are_not_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "lrs3_trainval.zip", "w") as archive:
        archive.writestr("trainval/talk/1.mp4", b"x")
    locked = bytearray((tmp_path / "lrs3_trainval.zip").read_bytes())
    locked[locked.index(b"PK\x01\x02") + 8] |= 1  # as if it asked for a password
    (tmp_path / "lrs3_test_v0.4.zip").write_bytes(b"<html>log in</html>")
    trouble = found(tmp_path, "lrs3")
    assert "not unpacked" in trouble["lrs3_trainval.zip"] and trouble["lrs3_trainval.zip"].endswith("unzip lrs3_trainval.zip")
    assert "no whole archive" in trouble["lrs3_test_v0.4.zip"] and "web page" in trouble["lrs3_test_v0.4.zip"]
    (tmp_path / "lrs3_trainval.zip").write_bytes(locked)
    assert "needs a password" in found(tmp_path, "lrs3")["lrs3_trainval.zip"]


def test_sound_that_its_video_lacks(tmp_path):
    for actor in ("M001", "M002", "W003"):
        make_clip(tmp_path / actor / "video/front/happy/level_1/001.mp4", sound=False)
        (tmp_path / actor / "audio/happy/level_1").mkdir(parents=True)
        (tmp_path / actor / "audio/happy/level_1/001.m4a").write_bytes(b"sound")
    assert not found(tmp_path, "mead")
    (tmp_path / "M001/audio/happy/level_1/001.m4a").unlink()
    assert "1 of 3 clips decoded" in found(tmp_path, "mead")["sound"]


def test_clips_in_folders_that_are_not_the_official_ones_are_noted(good, tmp_path):
    for speaker in SPEAKERS:
        (tmp_path / speaker).mkdir()
        shutil.copy(clip_of(good), tmp_path / speaker / "a.mp4")
    assert not found(tmp_path, "voxceleb2")
    assert "the official layout; a run takes the 3 clips that it finds" in found(tmp_path, "voxceleb2", state="note")["dev"]


@pytest.mark.parametrize("name", cards())
def test_an_empty_folder_is_trouble_with_advice_for_every_card(name, tmp_path):
    examination = examine(tmp_path, name)
    assert not examination.is_usable
    assert all(finding.advice for finding in examination.findings if finding.state == "trouble")


def test_the_command_says_it_in_text_and_json(root, capsys):
    command = ["check", "--dataset=lrs2", f"--lrs2.root={root}", "--sample=2", "--quiet"]
    assert main(command) == 0 and "2 clips: 25 fps" in capsys.readouterr().out
    clip_of(root).unlink()
    assert main([*command, "--json"]) == 3
    said = json.loads(capsys.readouterr().out)
    assert said["dataset"] == "lrs2" and not said["ok"]
    assert [finding["what"] for finding in said["findings"] if finding["state"] == "trouble"] == ["lists"]
    assert main(["check"]) == 2 and main(["check", "--dataset=lrs9"]) == 2 and main([*command, "--sample=few"]) == 2
