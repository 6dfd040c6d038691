"""Evaluator: what fails is recorded and the rest goes on; the report says what each number means."""

import json
import math
import zlib
from collections import Counter
from typing import ClassVar

import numpy as np
import pytest

from talkingface.errors import MissingWeightsError, ScoreError
from talkingface.evaluator import Evaluator, FrozenVideo, Scored
from talkingface.media.video import Video, write_video
from talkingface.metric.base import Column, Metric, StreamedMetric, Watch
from talkingface.metric.similarity import PSNR, SSIM
from talkingface.report import Report


class Brightness(Metric):
    """Mean grey level; black frames cannot be scored. A user's metric: it knows no `audio`."""

    columns = {"light": Column(True, 0, 255), "dark": Column(False, 0, math.inf, "levels")}
    needs_truth = False

    def score(self, video, truth):
        light = float(video.read().mean())
        if light < 5:
            raise ScoreError(f"{video.path} is black.")
        return {"light": light, "dark": 255 - light}


class Sync(Metric):
    """Says which picture and sound it was given: motion of the picture, and the sound file's number."""

    columns = {"sync": Column(True, -math.inf, math.inf)}
    needs_truth, needs_audio = False, True

    def score(self, video, truth, audio=None):
        return {"sync": float(np.ptp(video.read()[:, 0, 0, 0].astype(float))) + (1000 if audio else 0)}


class Absent(Metric):
    columns = {"absent": Column(True, 0, 1)}
    needs_truth, asked = False, 0

    def score(self, video, truth, audio=None):
        type(self).asked += 1
        raise MissingWeightsError("checkpoints/judge.pth does not exist.")


class NotFinite(Metric):
    columns = {"odd": Column(True, 0, 1)}
    needs_truth = False

    def score(self, video, truth, audio=None):
        return {"odd": math.nan}


@pytest.fixture
def video(tmp_path):
    """Writes a video of grey levels, one per frame."""

    def write(name, levels, size=(24, 32)):
        frames = [np.full((*size, 3), level, np.uint8) for level in levels]
        path = tmp_path / f"{name}.avi"
        sound = np.full(640 * len(levels), zlib.crc32(name.encode()) % 997 / 1000, np.float32)  # another one for each name
        write_video(path, frames, 25, audio=sound, lossless=True)
        return path

    return write


def test_a_broken_clip_costs_only_itself(video, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    videos = [
        Scored("bright", video("bright", [200, 200])),
        Scored("black", video("black", [0, 0])),
        Scored("broken", tmp_path / "broken.mp4"),
        Scored("gone", tmp_path / "gone.mp4"),
        Scored("grey", video("grey", [100, 100])),
    ]
    report = Evaluator({"Brightness": Brightness()}).evaluate(videos, failed={"never": "no face."}, progress=False)
    assert [row.name for row in report.clips if row.error is None] == ["bright", "grey"]
    assert report.means["light"] == pytest.approx(150, abs=2)
    assert report.failures == 4
    counts = report.counts["Brightness"]
    assert (counts["scored"], counts["failed"]) == (2, 4) and sum(counts["reasons"].values()) == 4
    assert "is black" in report.clips[1].error and "no face." in report.clips[-1].error


def test_one_reason_is_said_once_for_all_metrics(tmp_path):
    videos = [Scored("gone", tmp_path / "gone.mp4", truth=tmp_path / "real.mp4")]
    report = Evaluator({"Brightness": Brightness(), "SSIM": SSIM()}).evaluate(videos, progress=False)
    assert report.clips[0].error.startswith("Brightness, SSIM: ") and report.clips[0].error.count("gone.mp4") == 1
    assert report.failures == 1


def test_absent_weights_are_asked_for_once_and_the_rest_is_scored(video):
    Absent.asked = 0
    videos = [Scored(name, video(name, [200, 200])) for name in "ab"]
    report = Evaluator({"Absent": Absent(), "Brightness": Brightness()}).evaluate(videos, progress=False)
    assert Absent.asked == 1
    assert report.not_scored == {"Absent": "checkpoints/judge.pth does not exist."}
    assert report.failures == 0 and set(report.means) == {"light", "dark"}
    assert "Absent not scored: checkpoints/judge.pth" in report.table()


def test_without_any_real_video_a_comparison_is_not_scored(video):
    report = Evaluator({"SSIM": SSIM()}).evaluate([Scored("a", video("a", [9, 9]))], progress=False)
    assert "real videos" in report.not_scored["SSIM"] and report.failures == 0


def test_without_its_real_video_a_clip_fails_alone(video):
    a, b = video("a", [9, 9]), video("b", [200, 9])
    report = Evaluator({"SSIM": SSIM()}).evaluate([Scored("a", a, truth=a), Scored("b", b)], progress=False)
    assert report.means["SSIM"] == pytest.approx(1)
    assert "no real video" in report.clips[1].error


def test_nan_is_a_failure_and_never_a_mean(video):
    report = Evaluator({"NotFinite": NotFinite()}).evaluate([Scored("a", video("a", [9, 9]))], progress=False)
    assert report.means == {} and "nan" in report.clips[0].error


def test_notes_stand_beside_their_clip(video):
    long, short = video("long", [9] * 8), video("short", [9] * 4)
    report = Evaluator({"SSIM": SSIM()}).evaluate([Scored("a", long, truth=short)], progress=False)
    (clip,) = report.to_json()["clips"]
    assert clip["error"] is None and "8 frames" in clip["notes"]["SSIM"][0]


@pytest.fixture
def report(video):
    levels = {"é 'x'": 100, "b": 50}
    videos = [Scored(name, video(name, [level] * 2), truth=video("t" + name, [level])) for name, level in levels.items()]
    metrics = {"Brightness": Brightness(), "SSIM": SSIM(), "Absent": Absent()}
    return Evaluator(metrics).evaluate(videos, model="Mumble", dataset="grid", progress=False)


def test_the_file_holds_the_report(report, tmp_path):
    path = report.save(tmp_path / "new" / "run")
    stored = json.loads(path.read_text(encoding="utf-8"))
    assert path == tmp_path / "new" / "run" / "report.json" and stored == report.to_json()
    assert stored["model"] == "Mumble" and stored["dataset"] == "grid"
    assert set(stored["means"]) == {"light", "dark", "SSIM"}
    assert stored["clips"][0]["name"] == "é 'x'" and stored["clips"][0]["error"] is None
    assert stored["columns"]["dark"] == {"higher_is_better": False, "low": 0, "high": None, "unit": "levels"}
    assert stored["protocol"]["SSIM"]["window"] == 11
    assert stored["environment"]["numpy"] == np.__version__
    assert [p.name for p in path.parent.iterdir()] == ["report.json"]


def test_the_table_shows_direction_means_and_counts(report):
    lines = report.table().splitlines()
    assert "light ↑" in lines[0] and "dark ↓" in lines[0] and "absent" not in lines[0]
    mean = next(line for line in lines if line.startswith("mean"))
    assert f"{report.means['light']:.4g}" in mean.split()
    assert next(line for line in lines if line.startswith("clips scored")).split()[-3:] == ["2/2"] * 3


def test_a_long_table_is_cut(report):
    report.clips *= 20
    text = report.table(rows=5)
    assert "... and 35 more" in text and "clips scored" in text


def test_an_empty_report_can_be_shown():
    report = Report()
    assert report.means == {} and report.table() and json.dumps(report.to_json())


def test_a_frozen_video_repeats_its_first_frame(video):
    moving = video("moving", [10, 60, 110, 160])
    frozen = FrozenVideo(moving)
    frames = frozen.read()
    assert len(frames) == len(frozen) == 4 and (frames == Video(moving).read()[0]).all()
    assert frozen.content_hash() != Video(moving).content_hash()


def test_controls_stand_beside_the_generated_videos(video, tmp_path):
    videos = [Scored(name, video(name, [10, 60]), truth=video("t" + name, [10, 210])) for name in ("a", "b", "c")]
    evaluator = Evaluator({"Sync": Sync(), "Brightness": Brightness()}, controls=True)
    report = evaluator.evaluate([*videos, Scored("gone", tmp_path / "gone.mp4")], progress=False)
    own = report.means["sync"]
    assert report.controls["real video"] == {"sync": pytest.approx(4 * own, abs=8)}
    assert report.controls["real, shuffled audio"] == {"sync": pytest.approx(1000 + 4 * own, abs=8)}
    assert report.controls["frozen mouth"] == {"sync": 0}
    assert report.controls["shuffled audio"] == {"sync": 1000 + own}
    assert report.to_json()["controls"]["frozen mouth"] == {"sync": 0}
    assert any(line.startswith("frozen mouth") for line in report.table().splitlines())
    assert "too few clips" in report.table()  # nothing is claimed of three


def test_a_metric_that_prefers_other_speech_is_not_to_be_trusted(video):
    videos = [Scored(f"{n}", video(f"v{n}", [10, 60]), truth=video(f"t{n}", [10, 200 + n])) for n in range(6)]
    report = Evaluator({"Sync": Sync()}, controls=True).evaluate(videos, progress=False)
    real, own = (v for v in report.verdicts if v["column"] == "sync")
    assert not real["separates"] and real["wins"] == 0 and "does NOT tell the real videos" in real["text"]
    assert "do not trust it" in report.table() and own["high"] < 0


def test_one_clip_has_no_other_sound_and_no_real_video(video):
    report = Evaluator({"Sync": Sync()}, controls=True).evaluate([Scored("a", video("a", [10, 60]))], progress=False)
    assert set(report.controls) == {"frozen mouth"}
    assert any("'shuffled audio'" in note for note in report.notes) and any("'real video'" in note for note in report.notes)


class Counting(Video):
    """Videos whose decoded frames are counted."""

    decoded_frames: ClassVar = Counter()

    def decoded(self):
        for frame in super().decoded():
            self.decoded_frames[self.path.name] += 1
            yield frame


class Light(StreamedMetric):
    """Mean level of the video and of the real one, as they pass."""

    columns: ClassVar = {"mean level": Column(None, 0, 255)}
    needs_truth = False

    def watch(self, screening):
        return LightWatch()


class LightWatch(Watch):
    def __init__(self):
        self.levels = []

    def see(self, moment):
        self.levels.append(moment.frame.mean())

    def numbers(self):
        return {"mean level": np.mean(self.levels)}


def test_each_video_is_decoded_once_for_all_metrics(video, monkeypatch):
    monkeypatch.setattr("talkingface.evaluator.Video", Counting)
    Counting.decoded_frames.clear()
    videos = [Scored("a", video("a", [9, 80] * 5), truth=video("t", [9, 90] * 5))]
    report = Evaluator({"SSIM": SSIM(), "PSNR": PSNR(), "Light": Light()}).evaluate(videos, progress=False)
    assert set(report.means) == {"SSIM", "PSNR", "mean level"}
    assert Counting.decoded_frames == {"a.avi": 10, "t.avi": 10}


def test_what_one_metric_cannot_see_stops_no_other(video):
    class Picky(Light):
        def watch(self, screening):
            return PickyWatch()

    class PickyWatch(LightWatch):
        def see(self, moment):
            if moment.index == 3:
                raise ScoreError("frame 3 is not to my taste.")

    videos = [Scored("a", video("a", [9, 80] * 5))]
    report = Evaluator({"Picky": Picky(), "Light": Light()}).evaluate(videos, progress=False)
    assert report.clips[0].errors == {"Picky": "frame 3 is not to my taste."}
    assert report.means["mean level"] == pytest.approx(44.5, abs=2)


def test_two_processes_give_the_same_report(video):
    videos = [Scored(f"{n:02}", video(f"v{n}", [10, 60 + n]), truth=video(f"t{n}", [10, 60])) for n in range(10)]
    metrics = {"SSIM": SSIM(), "PSNR": PSNR()}
    alone = Evaluator(metrics).evaluate(videos, progress=False)
    spread = Evaluator(metrics, workers=2).evaluate(videos, progress=False)
    assert alone.to_json() == spread.to_json() and len(alone.clips) == 10


def test_a_stored_report_is_read_again(report, tmp_path):
    again = Report.load(report.save(tmp_path))
    assert again.to_json() == report.to_json() and again.fingerprints == report.fingerprints


@pytest.mark.parametrize("text", ["", "[]", '{"format": 1}', '{"format": 2}', '{"format": 2, "columns": {"a": 3}}'])
def test_what_is_no_report_is_said(tmp_path, text):
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(ScoreError, match="report"):
        Report.load(tmp_path)


def test_another_protocol_has_another_fingerprint(video):
    videos = [Scored("a", video("a", [9, 9], (32, 32)), truth=video("t", [9, 9], (32, 32)))]
    reports = [Evaluator({"SSIM": metric}).evaluate(videos, progress=False) for metric in (SSIM(), SSIM())]
    assert reports[0].fingerprints == reports[1].fingerprints
    reports[1].protocol["SSIM"]["window"] = 7
    assert reports[0].fingerprints["SSIM"] != reports[1].fingerprints["SSIM"]
