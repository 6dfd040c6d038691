"""Reports side by side: other protocols never share a column, tests are of common clips; verification finds what changed."""

import json

import numpy as np
import pytest

from talkingface.compare import Comparison
from talkingface.errors import ConfigError, ScoreError
from talkingface.metric.base import Column
from talkingface.report import Report, Row


def report(values, window=11, truth="t", column="SSIM", higher=True):
    rows = [Row(name, {column: value}, files={"truth": {"path": "x", "hash": truth + name}}) for name, value in values.items()]
    return Report(
        clips=rows, columns={column: Column(higher, 0, 1)}, metrics={column: [column]}, protocol={column: {"window": window}}
    )


OURS = {f"{n}": 0.5 + 0.01 * n for n in range(8)}
THEIRS = {name: value - 0.1 - 0.005 * int(name) for name, value in OURS.items()}


def test_the_better_run_comes_first_with_a_test():
    found = Comparison({"theirs": report(THEIRS), "ours": report(OURS)})
    assert found.order == ["ours", "theirs"]
    (test,) = found.tests
    assert test["wins"] == 8 and test["p"] == pytest.approx(2 / 2**8) and "ours is better" in test["text"]
    assert found.table().splitlines()[2].startswith("ours")
    assert json.loads(json.dumps(found.to_json()))["runs"]["ours"]["values"]["SSIM ↑"] == pytest.approx(0.535)


def test_where_less_is_better_the_smaller_run_comes_first():
    found = Comparison({"a": report(OURS, column="LMD", higher=False), "b": report(THEIRS, column="LMD", higher=False)})
    assert found.order == ["b", "a"] and found.tests[0]["wins"] == 8 and "b is better" in found.tests[0]["text"]


def test_other_protocols_get_columns_of_their_own_and_no_test():
    found = Comparison({"ours": report(OURS), "theirs": report(THEIRS, window=7)})
    titles = [measure.title for measure in found.measures]
    assert len(titles) == 2 and all("[" in title for title in titles) and found.tests == []
    assert [found.value("ours", measure) is None for measure in found.measures] == [False, True]
    assert found.warnings == ["SSIM was measured in 2 ways that do not compare: they differ in window."]
    assert found.order == ["ours", "theirs"]  # as given: nothing decides


def test_clips_of_other_real_videos_are_not_paired():
    found = Comparison({"ours": report(OURS), "theirs": report(THEIRS, truth="other")})
    assert found.tests == []


def test_clips_that_only_one_has_are_named():
    found = Comparison({"ours": report(OURS), "theirs": report({name: THEIRS[name] for name in "0123456"})})
    assert found.tests[0]["clips"] == 7
    assert "(ours 8, theirs 7; 7 in common)" in found.warnings[0]


def test_one_report_is_no_comparison():
    with pytest.raises(ScoreError, match="two reports"):
        Comparison({"ours": report(OURS)})


@pytest.fixture
def scored(tmp_path, monkeypatch):
    """A folder of videos, scored on the command line; returns how to call it."""
    from talkingface.cli import main
    from talkingface.media.video import write_video

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TALKINGFACE_CACHE", str(tmp_path / "cache"))
    for kind in ("ours", "real"):
        (tmp_path / kind).mkdir()
        for number in range(2):
            frames = np.random.default_rng(number).integers(0, 256, (6, 32, 32, 3), np.uint8)
            noise = np.random.default_rng(9).integers(0, 20, frames.shape, np.uint8) if kind == "ours" else 0
            write_video(tmp_path / kind / f"{number}.avi", np.minimum(frames, 200) + noise, 25, lossless=True)
    assert main(["score", "ours", "--truth=real", "--metrics=SSIM,PSNR", "--output=out", "--quiet"]) == 0
    return main


def test_a_report_verifies_where_nothing_changed(scored, capsys):
    capsys.readouterr()
    assert scored(["score", "--verify=out/report.json", "--quiet"]) == 0
    assert "all 4 values are as stored" in capsys.readouterr().out


def test_a_report_verifies_in_another_folder(scored, tmp_path, monkeypatch, capsys):
    (tmp_path / "moved").mkdir()
    for name in ("ours", "real", "out"):
        (tmp_path / name).rename(tmp_path / "moved" / name)
    stored = tmp_path / "moved" / "out" / "report.json"
    stored.rename(tmp_path / "moved" / "report.json")
    monkeypatch.chdir(tmp_path / "cache" if (tmp_path / "cache").is_dir() else tmp_path / "moved" / "out")
    assert scored(["score", f"--verify={tmp_path / 'moved' / 'report.json'}", "--quiet"]) == 0


def test_what_changed_is_named(scored, tmp_path, capsys):
    path = tmp_path / "out" / "report.json"
    stored = json.loads(path.read_text())
    stored["clips"][0]["scores"]["SSIM"] += 0.01
    stored["protocol"]["PSNR"]["cap_db"] = 80
    path.write_text(json.dumps(stored))
    (tmp_path / "ours" / "1.avi").write_bytes((tmp_path / "real" / "1.avi").read_bytes())
    capsys.readouterr()
    assert scored(["score", "--verify=out", "--quiet", "--json"]) == 1
    differences = json.loads(capsys.readouterr().out)["differences"]
    for part in ("0: SSIM was", "cap_db of the protocol was 80", "is not the file that was scored", "1: PSNR was"):
        assert sum(part in line for line in differences) == 1, differences


def test_a_file_that_is_gone_is_named(scored, tmp_path, capsys):
    (tmp_path / "ours" / "0.avi").unlink()
    capsys.readouterr()
    assert scored(["score", "--verify=out", "--quiet"]) == 1
    assert "0: its video, ours/0.avi, is not there any more" in capsys.readouterr().out


def test_reports_are_compared_on_the_command_line(scored, tmp_path, capsys):
    assert scored(["score", "real", "--truth=real", "--metrics=SSIM,PSNR", "--output=perfect", "--quiet"]) == 0
    capsys.readouterr()
    assert scored(["compare", "out", "perfect", "--output=both", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["order"] == ["perfect", "out"]
    assert {path.name for path in (tmp_path / "both").iterdir()} == {"comparison.json", "comparison.html"}


def test_the_json_that_is_printed_is_that_of_the_file(scored, tmp_path, capsys):
    capsys.readouterr()
    assert scored(["score", "ours", "--truth=real", "--metrics=SSIM", "--output=again", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "again" / "report.json").read_text())


def test_models_of_a_bench_are_named_once():
    from talkingface.bench import Entry, entries

    assert entries("Wav2Lip, PC_AVS=a/b.pth") == [Entry("Wav2Lip"), Entry("PC_AVS", "a/b.pth")]
    assert entries("A=x,A=y")[1].label == "A (y)"
    for text in ("", "A,A"):
        with pytest.raises(ConfigError, match="models"):
            entries(text)
