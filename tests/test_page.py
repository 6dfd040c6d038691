"""report.html: one file that asks for nothing, shows what the report says, and is not fooled by what a clip is called."""

import json
import re
import shutil
import subprocess

import cv2
import numpy as np
import pytest

from talkingface.evaluator import Evaluator, Scored
from talkingface.media.video import Video, write_video
from talkingface.metric.similarity import PSNR, SSIM
from talkingface.page import write_page
from talkingface.report import REAL, Report, Row

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture
def report(tmp_path):
    clips = []
    for number in range(6):
        frames = np.random.default_rng(number).integers(0, 256, (8, 48, 64, 3), np.uint8)
        noisy = np.clip(frames.astype(int) + 3 * number * np.random.default_rng(9).normal(size=frames.shape), 0, 255)
        for kind, pictures in (("v", noisy.astype(np.uint8)), ("t", frames)):
            write_video(tmp_path / f"{kind}{number}.mp4", pictures, 25, audio=np.zeros(5120, np.float32), crf=1)
        clips.append(Scored(f"clip {number}", tmp_path / f"v{number}.mp4", tmp_path / f"t{number}.mp4"))
    clips[2] = Scored(HOSTILE, clips[2].video, clips[2].truth)
    found = Evaluator({"SSIM": SSIM(), "PSNR": PSNR()}).evaluate(
        clips, "Mumble", "grid", {"gone": "no face & <b>"}, progress=False
    )
    found.clips[0].details = {"LSE": {"tracks": [{"curve": [1.0, 2.0, 1.5], "means": [3.0, 2.0, 3.5], "offset": 0}]}}
    return found


def data_of(path):
    text = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1]), text


def test_the_page_holds_all_and_asks_for_nothing(report, tmp_path):
    data, text = data_of(write_page(tmp_path / "new" / "report.html", {"run": report}))
    without_data = re.sub(r'id="data">.*?</script>', "", text, flags=re.DOTALL)
    assert "default-src 'none'" in text and not re.search(r"(src|href|url)\s*[=(]\s*[\"']?(https?:)?//", without_data)
    assert data["title"] == "Mumble on grid" and len(data["clips"]) == 7
    assert [score["title"] for score in data["scores"]] == ["SSIM ↑", "PSNR ↑"]
    first = data["scores"][0]
    assert first["low"] < first["mean"] < first["high"] and first["worst"]["name"] == "clip 5"
    assert data["failures"] == ["gone: not generated: no face & <b>"]


def test_the_worst_clips_come_first_and_those_without_a_value_before_them(report, tmp_path):
    data, _ = data_of(write_page(tmp_path / "report.html", {"run": report}, clips=3))
    assert [clip["name"] for clip in data["clips"]] == ["gone", "clip 5", "clip 4"]
    assert data["shown"] == "3 of 7 clips" and data["orders"][0] == "worst SSIM first"


def test_previews_are_small_videos_that_play(report, tmp_path):
    import base64

    data, _ = data_of(write_page(tmp_path / "report.html", {"run": report}, clips=2, seconds=0.2))
    films = data["clips"][1]["films"]
    assert [film["label"] for film in films] == ["generated", "real"]
    for film in films:
        (tmp_path / "film.mp4").write_bytes(base64.b64decode(film["video"].partition(",")[2]))
        assert len(Video(tmp_path / "film.mp4")) == 5
        poster = cv2.imdecode(np.frombuffer(base64.b64decode(film["poster"].partition(",")[2]), np.uint8), cv2.IMREAD_COLOR)
        assert poster.shape == (48, 64, 3)
    assert Video(tmp_path / "film.mp4").has_audio is False  # the real one is mute: it plays beside the generated one


def test_a_file_that_is_gone_is_said_and_stops_nothing(report, tmp_path):
    (tmp_path / "v5.mp4").unlink()
    data, _ = data_of(write_page(tmp_path / "report.html", {"run": report}, clips=2))
    assert data["clips"][1]["films"][0] == {"label": "generated: cannot be shown", "poster": None, "video": None}


def test_two_runs_are_compared_on_one_page(report, tmp_path):
    other = Report.from_json(report.to_json())
    for row in other.clips:
        row.scores = {name: value * 0.9 for name, value in row.scores.items()}
    data, _ = data_of(write_page(tmp_path / "report.html", {"ours": report, "theirs": other}, clips=2))
    assert data["comparison"]["header"] == ["run", "SSIM ↑", "PSNR ↑"] and data["comparison"]["rows"][0][0] == "ours"
    assert any("ours is better" in text for text in data["comparison"]["texts"])
    assert [film["label"] for film in data["clips"][1]["films"]] == ["ours", "theirs", "real"]


def test_controls_stand_beside_the_scores(report, tmp_path):
    report.control_rows = {REAL: [Row("clip 0", {"SSIM": 1.0})]}
    data, _ = data_of(write_page(tmp_path / "report.html", {"run": report}, clips=1))
    assert data["scores"][0]["real"] == 1 and data["controls"]["rows"][1] == [REAL, 1]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs the program chromium")
@pytest.mark.parametrize("width", [1440, 390])
def test_a_browser_shows_it_without_an_error(report, tmp_path, width):
    write_page(tmp_path / "report.html", {"run": report})
    page = tmp_path / "report.html"
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000", "--enable-logging=stderr"]
    shown = subprocess.run(
        [*command, f"--window-size={width},900", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    body = shown.stdout.partition("<body>")[2]
    assert body.count('class="clip"') == 7 and "alert(1)" not in re.sub(
        r'id="data">.*?</script>', "", body, flags=re.DOTALL
    ).replace("&lt;script&gt;alert(1)", "")
    assert "CONSOLE" not in shown.stderr or "Uncaught" not in shown.stderr
