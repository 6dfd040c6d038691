"""Clips of published lists: the times, crops and names that they say, and the reasons of those that cannot be cut."""

import json

import numpy as np
import pytest

from talkingface.cli import main
from talkingface.dataset import cut
from talkingface.dataset.celebv_hq import CelebVHQ
from talkingface.dataset.cut import Cut, LeftOut, cut_clips, index, seconds, youtube_id
from talkingface.dataset.hdtf import HDTF
from talkingface.dataset.lrs3 import LRS3
from talkingface.dataset.tracks import read_track
from talkingface.dataset.voxceleb1 import VoxCeleb1
from talkingface.dataset.voxceleb2 import VoxCeleb2
from talkingface.errors import DatasetError, MediaError
from talkingface.media.audio import load_audio
from talkingface.media.video import Video, write_video
from tests.media.clips import click_times, clicks

WIDTH, HEIGHT, FPS = 128, 96, 25


def frame(number):
    """A picture that tells its number (red) and where each pixel is (green: across, blue: down)."""
    across, down = np.meshgrid(np.arange(WIDTH) * 2, np.arange(HEIGHT) * 2)
    return np.stack([np.full_like(across, 3 * number), across, down], axis=-1).astype(np.uint8)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """A folder with a video of three seconds with a click each half second, under several names."""
    folder = tmp_path_factory.mktemp("videos")
    first = folder / "abcdefghijk.mp4"
    sound = clicks([0.5, 1.0, 1.5, 2.0, 2.5], 3.0)
    write_video(first, (frame(number) for number in range(3 * FPS)), FPS, sound, crf=1)
    for name in ("RD_Radio1.mp4", "WDA/_talk-x.mp4"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(first.read_bytes())
    write_video(folder / "silent.mp4", (frame(number) for number in range(FPS)), FPS)
    return folder


def test_a_clip_is_what_its_list_says(videos, tmp_path):
    entry = Cut("RD_Radio1_000", ("gone", "RD_Radio1"), 1.0, 2.0, (20, 10, 84, 74), lines=-1)
    made = cut_clips([entry], videos, tmp_path, workers=1)
    path = tmp_path / "RD_Radio1_000.mp4"
    assert (made.cut, made.here, made.left_out) == (1, 0, []) and [p.name for p in tmp_path.iterdir()] == [path.name]
    assert len(Video(path)) == FPS and (Video(path).width, Video(path).height) == (64, 64)
    source, clip = Video(videos / "RD_Radio1.mp4").read()[25:50, 10:74, 20:84], Video(path).read()
    shift = (source.mean(axis=(1, 2)) - clip.mean(axis=(1, 2))).mean(axis=0)
    assert np.abs(shift).max() < 1.5  # red: the next frame differs by 3; green, blue: the next column or row differs by 2
    assert np.allclose(click_times(load_audio(path)), [0.0, 0.5], atol=0.01)


@pytest.mark.parametrize(
    "entry, window",
    [
        (Cut("a", (), 0, 1, (10, 20, 34, 44), lines=48), (20, 40, 68, 88)),  # the video is twice as high as the list's
        (Cut("a", (), 0, 1, (0.25, 0.25, 0.75, 0.75)), (32, 24, 96, 72)),
        (Cut("a", (), 0, 1, (0.25, 0.25, 0.75, 0.75), square="inner"), (40, 24, 88, 72)),
        (Cut("a", (), 0, 1, (0.25, 0.25, 0.75, 0.75), square="outer"), (32, 16, 96, 80)),
        (Cut("a", (), 0, 1, (0.0, 0.0, 0.5, 1.2), margin=0.25, square="outer"), (0, 0, 96, 96)),
    ],
)
def test_a_crop_becomes_pixels_inside_of_the_frame(entry, window):
    assert entry.window(WIDTH, HEIGHT) == window


def test_a_crop_beside_the_frame_is_refused():
    with pytest.raises(DatasetError, match="a frame of 128 x 96 shows 8 x 60 of 80 x 60 pixels of its crop: is it another video"):
        Cut("a", (), 0, 1, (120, 20, 200, 80), lines=-1).window(WIDTH, HEIGHT)


def test_what_is_left_out_has_a_reason_and_the_rest_goes_on(videos, tmp_path):
    box = (0.0, 0.0, 1.0, 1.0)
    entries = [
        Cut("gone", ("nothing",), 0, 1, box, address="https://example.org/v"),
        Cut("late", ("RD_Radio1",), 2, 9, box),
        Cut("quiet", ("silent",), 0, 1, box),
        LeftOut("odd", "its entry is damaged"),
        Cut("good", ("RD_Radio1",), 0, 0.4, box),
    ]
    made = cut_clips(entries, videos, tmp_path, workers=1)
    lines = [json.loads(line) for line in (tmp_path / "left_out.jsonl").read_text().splitlines()]
    reasons = {line["clip"]: line["reason"] for line in lines}
    assert made.cut == 1 and lines[0]["video"] == "https://example.org/v" and len(lines) == len(made.left_out) == 4
    assert "no video nothing" in reasons["gone"] and "lasts 3.0 s, and the clip ends at 9.0 s" in reasons["late"]
    assert "has no sound" in reasons["quiet"] and "4 left out" in made.text()


def test_it_goes_on_where_it_was_stopped(videos, tmp_path, monkeypatch):
    entries = [Cut(f"clip{n}", ("RD_Radio1",), n * 0.4, n * 0.4 + 0.4, (0, 0, 1, 1)) for n in range(3)]
    write, calls = cut.write_video, []

    def stopped(path, *arguments):
        calls.append(path.name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return write(path, *arguments)

    monkeypatch.setattr(cut, "write_video", stopped)
    with pytest.raises(KeyboardInterrupt):
        cut_clips(entries, videos, tmp_path, workers=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip0.mp4"]
    made = cut_clips(entries, videos, tmp_path, workers=1)
    assert (made.cut, made.here) == (2, 1) and calls.count("clip0.mp4") == 1


@pytest.mark.slow
def test_several_workers_cut_the_same(videos, tmp_path):
    entries = [Cut(f"clip{n}", ("RD_Radio1",), n * 0.4, n * 0.4 + 0.4, (0, 0, 1, 1)) for n in range(3)]
    for workers in (1, 2):
        assert cut_clips(entries, videos, tmp_path / str(workers), workers).cut == 3
    one, two = ([path.read_bytes() for path in sorted((tmp_path / n).glob("*.mp4"))] for n in "12")
    assert one == two


def test_a_disk_that_refuses_is_no_fault_of_a_clip(videos, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MediaError, match="cannot be written"):
        cut_clips([Cut("a", ("RD_Radio1",), 0, 0.2, (0, 0, 1, 1))], videos, tmp_path / "file" / "out", workers=1)


def test_videos_are_found_by_name_with_and_without_folders(videos, tmp_path):
    assert {"RD_Radio1", "_talk-x", "WDA/_talk-x", "abcdefghijk"} <= index(videos).keys()
    for folder, reason in ((tmp_path / "gone", "is not a folder"), (tmp_path, "holds no video")):
        with pytest.raises(DatasetError, match=reason):
            index(folder)


# --- the lists ----------------------------------------------------------------------------------------------------------


def hdtf_lists(folder):
    """The authors' lists of one radio video of three clips, and of one without times."""
    texts = {
        "video_url": "Radio1 https://www.youtube.com/watch?v=abcdefghijk&t=3\nRadio2 https://youtu.be/zzzzzzzzzzz\n",
        "annotion_time": "Radio1.mp4 0:00-0:01 00:01.5-00:02.5 0:02-0:01 0:00-0:02\n",
        "crop_wh": "Radio1_0.mp4 10 24 20 24\nRadio1_1.mp4 10 20 24 24\nRadio1_2.mp4 0 40 0 40\n",
        "resolution": "Radio1.mp4 48\n",
    }
    for kind, text in texts.items():
        (folder / f"RD_{kind}.txt").write_text(text)
    return folder


def test_hdtf_is_cut_from_its_four_lists(tmp_path):
    first, second, turned, without, none = HDTF.cuts(hdtf_lists(tmp_path))
    assert first.name == "RD_Radio1_000" and first.videos == ("RD_Radio1", "RD/Radio1", "Radio1", "abcdefghijk")
    assert (first.start, first.stop, first.box, first.lines) == (0, 1, (10, 20, 34, 44), 48)
    assert (second.start, second.stop, second.box) == (1.5, 2.5, (10, 20, 34, 44))  # written as x, y, width, height
    assert turned.name == "RD_Radio1_002" and "0:02-0:01" in turned.reason
    assert without.name == "RD_Radio1_003" and "crop ''" in without.reason
    assert "has no times of Radio2.mp4" in none.reason and none.address == "https://youtu.be/zzzzzzzzzzz"


def test_hdtf_takes_ratios_where_there_are_no_pixels(tmp_path):
    (hdtf_lists(tmp_path) / "RD_crop_wh.txt").unlink()
    (tmp_path / "RD_crop_ratio.txt").write_text("Radio1_0.mp4 0.1 0.5 0.2 0.6\n")
    first = next(HDTF.cuts(tmp_path))
    assert first.box == pytest.approx((0.1, 0.2, 0.6, 0.8)) and first.lines == 0


def test_the_command_cuts_hdtf_and_says_what_it_left_out(videos, tmp_path, capsys):
    (tmp_path / "lists").mkdir()
    command = [
        "cut",
        "--dataset=hdtf",
        f"--lists={hdtf_lists(tmp_path / 'lists')}",
        f"--videos={videos}",
        "--workers=1",
        "--json",
    ]
    assert main([*command, f"--hdtf.root={tmp_path / 'clips'}", "--size=32"]) == 5
    said = json.loads(capsys.readouterr().out)
    assert (said["cut"], said["here"], len(said["left_out"])) == (2, 0, 3)
    clip = Video(tmp_path / "clips" / "RD_Radio1_000.mp4")
    assert (clip.width, clip.height, len(clip)) == (32, 32, 25)
    clips = {clip.name for split in ("train", "val", "test") for clip in HDTF(tmp_path / "clips").clips(split)}
    assert clips == {"RD_Radio1_000", "RD_Radio1_001"}


@pytest.mark.parametrize(
    "flags, message",
    [
        (
            ["--dataset=lrs2"],
            "lrs2 is not published as a list of times and crops; celebv_hq, hdtf, lrs3, voxceleb1, voxceleb2 are",
        ),
        (["--dataset=hdtf"], "holds no RD_video_url.txt"),
        (["--dataset=celebv_hq"], "expected celebvhq_info.json or its folder"),
        (["--dataset=lrs3"], "holds no text files; expected the folders pretrain, trainval and test"),
        (["--dataset=hdtf", "--size=big"], "--size=big: expected a whole number"),
    ],
)
def test_mistakes_are_named(flags, message, videos, tmp_path, capsys):
    assert main(["cut", *flags, f"--lists={tmp_path}", f"--videos={videos}"]) in (2, 3)
    assert message in capsys.readouterr().err


def test_celebv_hq_is_cut_as_its_authors_cut_it(videos, tmp_path):
    good = {"ytb_id": "_talk-x", "duration": {"start_sec": 0.4, "end_sec": 1.2}}
    box = {"left": 0.25, "right": 0.75, "top": 0.0, "bottom": 0.5}
    clips = {"_talk-x_0": {**good, "bbox": box}, "_talk-x_1": good, "../out_0": {**good, "bbox": box}}
    (tmp_path / "celebvhq_info.json").write_text(json.dumps({"meta_info": {}, "clips": clips}))
    first, without, outside = CelebVHQ.cuts(tmp_path)
    x1, y1, x2, y2 = first.window(640, 360)
    assert (x2 - x1, y2 - y1) == (187, 187) and abs((x1 + x2) / 2 - 320) <= 1 and y1 == 0  # 0.52 of 360 lines, 2 % more
    assert "has no ytb_id, duration" in without.reason and "makes sense" in outside.reason
    made = cut_clips(CelebVHQ.cuts(tmp_path), videos, tmp_path / "clips", workers=1, size=48)
    assert made.cut == 1 and len(Video(tmp_path / "clips" / "_talk-x_0.mp4")) == 20
    assert [clip.speaker for clip in CelebVHQ(tmp_path / "clips").clips("test")] == ["_talk-x"]


TRACK = """Identity  : \tid10001
Reference : \tabcdefghijk
Offset    : \t-1
FV Conf   : \t16.647\t(1)

FRAME \tX \tY \tW \tH
{rows}
"""


def track(folder, name, rows):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(TRACK.format(rows="\n".join("\t".join(map(str, row)) for row in rows)))
    return path


def test_a_track_is_a_still_square_around_all_of_its_boxes(tmp_path):
    track(tmp_path, "vox1_dev_txt/txt/id10001/abcdefghijk/00001.txt", [(25 + n, 100 + n, 50, 40, 60) for n in range(11)])
    (entry,) = VoxCeleb1.cuts(tmp_path)
    assert (entry.name, entry.videos, entry.fps) == ("mp4/id10001/abcdefghijk/00001", ("abcdefghijk",), 25)
    assert (entry.start, entry.stop) == (1.0, 1.44) and entry.box == (100, 50, 150, 110) and entry.lines == 360
    x1, y1, x2, y2 = entry.window(1280, 720)
    assert abs((x2 - x1) - (y2 - y1)) <= 1 and x1 < 200 and x2 > 300 and y1 < 100 and y2 > 220


def test_tracks_of_all_three_data_sets_come_to_their_folders(tmp_path):
    rows = [(n, 0.4, 0.3, 0.2, 0.3) for n in range(5)]
    track(tmp_path / "vox", "test/txt/id00017/abcdefghijk/00001.txt", rows)
    track(tmp_path / "lrs3", "lrs3_v0.4/trainval/_talk/50001.txt", rows)
    words = track(tmp_path / "lrs3", "lrs3_v0.4/pretrain/_talk/00001.txt", rows)
    words.write_text(words.read_text() + "\nWORD START END ASDSCORE\nHELLO 0.1 0.4 6.1\n")
    track(tmp_path / "lrs3", "test/bad/1.txt", [(0, "x", 1, 1, 1)])
    (vox,) = VoxCeleb2.cuts(tmp_path / "vox")
    assert vox.name == "test/mp4/id00017/abcdefghijk/00001" and vox.lines == 0
    found = {entry.name: entry for entry in LRS3.cuts(tmp_path / "lrs3")}
    assert found.keys() == {"trainval/_talk/50001", "pretrain/_talk/00001", "test/bad/1"}
    assert len(read_track(words).frames) == 5 and "no boxes" in found["test/bad/1"].reason


@pytest.mark.parametrize("text", ["", "FRAME X Y W H\n", "FRAME X Y W H\n1 2 3 -4 5\n", "FRAME X Y W H\n1 nan 3 4 5\n"])
def test_a_track_without_boxes_says_so(text, tmp_path):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(DatasetError, match=r"a.txt has no (line|boxes)"):
        read_track(tmp_path / "a.txt")


def test_times_and_addresses_are_read_as_they_are_written():
    assert [seconds(text) for text in ("83.5", "1:23.5", "0:01:23")] == [83.5, 83.5, 83]
    with pytest.raises(ValueError):
        seconds("1:2:3:4")
    addresses = ("https://www.youtube.com/watch?v=-_abc123XYZ&t=1", "https://youtu.be/-_abc123XYZ", "https://example.org/film")
    assert [youtube_id(address) for address in addresses] == ["-_abc123XYZ", "-_abc123XYZ", ""]
