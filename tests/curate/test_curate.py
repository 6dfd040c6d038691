"""From raw videos to a training set, as a user does it: what is known of the raw videos is what must come out."""

import csv
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from talkingface.cli import main
from talkingface.curate.cuts import Cuts
from talkingface.curate.manifest import read_manifest
from talkingface.dataset.folder import Folder
from talkingface.dataset.voxceleb2 import VoxCeleb2
from talkingface.face.finder import FaceFinder
from talkingface.media.audio import load_audio
from talkingface.media.video import Video
from talkingface.metric.sync import DemoLSE
from tests.curate.raw import RATE, film, moved, side_by_side, talk, timed_film, widened

ROOT = Path(__file__).resolve().parent.parent.parent
DEMO = [
    "--face.detector=dlib",
    "--curate.sync.judge=DemoLSE",
    "--curate.sync.min_confidence=6",
    "--curate.clips.min_seconds=1.2",
    "--curate.quality.min_face=50",
    "--curate.workers=1",
    "--quiet",
]


def curate(raw, output, *flags):
    return main(["curate", str(raw), f"--output={output}", *DEMO, *flags])


def rows_of(output):
    return {row.clip or row.source: row for row in read_manifest(output / "manifest.jsonl")}


def contents(output):
    """Name -> bytes of all files of a training set but those by which it goes on, and the page."""
    files = (path for path in output.rglob("*") if path.is_file() and ".curate" not in path.parts and path.suffix != ".html")
    return {str(path.relative_to(output)): path.read_bytes() for path in files}


def make_raw(folder):
    """ann/show: two faces, the left one speaks; then the right one alone; then the left one, and silence. bob: a telephone's
    video that lacks every seventh frame, its sound 4 frames late. copy: the same file. Two that cannot be read."""
    left, right = talk(14, seconds=1.7), talk(3, seconds=1.7)
    both = side_by_side(left.frames, right.frames)
    silence = np.zeros_like(left.wav)
    film(folder / "ann" / "show.mp4", [both, widened(right.frames), widened(left.frames)], [left.wav, right.wav, silence])
    kept = [t for t in range(len(left.frames)) if t % 7 != 3]
    timed_film(folder / "bob.mkv", left.frames[kept], [t / 25 for t in kept], moved(left.wav, 4))
    shutil.copy(folder / "bob.mkv", folder / "copy.mkv")
    (folder / "damaged.mp4").write_bytes(b"no video" * 100)
    (folder / "empty.mp4").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with raw videos and the training set made of them."""
    folder = tmp_path_factory.mktemp("curate")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TALKINGFACE_CACHE", str(folder / "cache"))
        make_raw(folder / "raw")
        assert curate(folder / "raw", folder / "set") == 5  # two videos cannot be read
        yield folder


@pytest.fixture
def made(place, monkeypatch):
    monkeypatch.setenv("TALKINGFACE_CACHE", str(place / "cache"))
    return place


def test_clips_are_kept_and_left_out_for_the_right_reasons(made):
    rows = rows_of(made / "set")
    assert {name: row.reason for name, row in rows.items()} == {
        "ann/show/00000": "",
        "ann/show/00001": "not speaking",
        "ann/show/00002": "",
        "ann/show/00003": "not in sync",
        "bob/00000": "",
        "copy.mkv": "duplicate",
        "damaged.mp4": "damaged",
        "empty.mp4": "damaged",
    }
    count = len(talk(14, seconds=1.7).frames)  # of each scene; a frame is cut off at both ends
    spans = [(round(row.start * 25), round(row.stop * 25)) for row in list(rows.values())[:4]]
    assert spans == [(scene * count + 1, (scene + 1) * count - 1) for scene in (0, 0, 1, 2)]
    left, right = rows["ann/show/00000"], rows["ann/show/00001"]
    assert left.box[2] < 128 < right.box[0] and left.crop == [0, 0, 128, 128]
    assert "00000" in right.text and left.figures["confidence"] > right.figures["confidence"] + 3
    assert {row.speaker for row in rows.values() if row.kept} == {"ann", "bob"}


def test_a_planted_offset_is_found_and_corrected_exactly(made):
    row = rows_of(made / "set")["bob/00000"]
    assert row.figures["offset"] == -4 and row.shift == -4
    clip = Video(made / "set" / "bob" / "00000.mp4")
    assert DemoLSE().score(clip)["offset (demo judge)"] == 0
    assert clip.source_fps == 25 and len(clip) == row.frames
    wav, planted = load_audio(clip.path), talk(14, seconds=1.7).wav
    expected = planted[round(row.start * RATE) :][: len(wav)]  # the clip says what was said before the sound was moved
    assert np.corrcoef(wav[: len(expected)], expected)[0, 1] > 0.98


def test_the_manifest_tells_all_and_its_hashes_are_those_of_the_files(made):
    rows = rows_of(made / "set")
    for row in rows.values():
        for suffix, known in ((".mp4", row.sha256), (".landmarks.npz", row.landmarks_sha256)):
            path = made / "set" / f"{row.clip}{suffix}"
            assert (hashlib.sha256(path.read_bytes()).hexdigest() if row.kept else "") == known
        assert row.kept or (row.step and row.reason and row.text.endswith("."))
        assert not row.kept or {"face", "sharpness", "yaw", "loudness", "snr", "offset"} <= row.figures.keys()
    table = list(csv.DictReader((made / "set" / "manifest.csv").open(encoding="utf-8")))
    assert [line["clip"] for line in table] == [row.clip for row in rows.values()]
    assert float(table[0]["confidence"]) == rows["ann/show/00000"].figures["confidence"]
    assert rows["bob/00000"].fps == 25 and rows["bob/00000"].source_fps == 30  # what the file claims


def test_data_sets_find_the_clips_with_their_landmarks_and_splits(made):
    rows = rows_of(made / "set")
    for data in (Folder(made / "set"), VoxCeleb2(made / "set")):
        found = {split: [clip.name for clip in data.clips(split)] for split in ("train", "val", "test")}
        assert sorted(name for names in found.values() for name in names) == sorted(n for n, row in rows.items() if row.kept)
        assert all(rows[name].split == split for split, names in found.items() for name in names)
    for clip in Folder(made / "set").clips("train"):
        track = FaceFinder("files").landmarks(Video(clip.face))
        assert len(track.landmarks) == rows[clip.name].frames and track.detected.all()
        nose = track.landmarks[:, 30].mean(axis=0)
        assert np.abs(nose - 64).max() < 16  # drawn heads look at us from the middle


def test_a_second_run_does_nothing_and_a_setting_redoes_only_what_follows(made, monkeypatch):
    before = contents(made / "set")
    times = {path: path.stat().st_mtime_ns for path in (made / "set").rglob("*.mp4")}

    def must_not_run(self, footage):
        raise AssertionError("the cuts are known")

    monkeypatch.setattr(Cuts, "run", must_not_run)
    assert curate(made / "raw", made / "set") == 5
    assert contents(made / "set") == before and times == {path: path.stat().st_mtime_ns for path in times}
    assert curate(made / "raw", made / "set", "--curate.sync.max_offset=3") == 5
    rows = rows_of(made / "set")
    assert rows["bob/00000"].reason == "large offset" and not (made / "set" / "bob").exists()
    assert rows["ann/show/00000"].kept and "bob" not in "".join(p.read_text() for p in (made / "set" / "filelist").iterdir())
    (made / "set" / "ann" / "show" / "00002.mp4").unlink()
    assert curate(made / "raw", made / "set") == 5
    assert contents(made / "set") == before


def test_some_steps_alone(made, tmp_path, capsys):
    assert curate(made / "raw", tmp_path / "set", "--steps=clips", "--json") == 5
    found = json.loads(capsys.readouterr().out)
    assert found["clips"] == 5 and not list((tmp_path / "set").rglob("*.mp4"))
    assert all(row.step in ("", "cuts", "raw") for row in rows_of(tmp_path / "set").values())


def test_the_page_holds_pictures_and_asks_for_nothing(made):
    text = (made / "set" / "curation.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
    without_data = re.sub(r'id="data">.*?</script>', "", text, flags=re.DOTALL)
    assert "default-src 'none'" in text and not re.search(r"(src|href|url)\s*[=(]\s*[\"']?(https?:)?//", without_data)
    assert text.count("<script") == text.count("</script>") == 3 and text.count("</style>") == 1
    reasons = {reason["reason"]: reason for reason in data["reasons"]}
    assert reasons["not speaking"]["count"] == 1
    assert all(sample["picture"].startswith("data:image/jpeg") for sample in reasons["not speaking"]["samples"])
    assert len(data["kept"]) == 3 and all(clip["film"]["video"].startswith("data:video/mp4") for clip in data["kept"])
    sharpness = next(figure for figure in data["figures"] if figure["name"] == "sharpness")
    assert sum(sharpness["kept"]) == 3 and sharpness["limits"] == [0.05]


def error_of(capsys, *words):
    code = main(["curate", *map(str, words), "--quiet"])
    return code, capsys.readouterr().err


def test_what_cannot_be_done_is_said_at_once(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    raw = tmp_path / "raw"
    raw.mkdir()
    out = f"--output={tmp_path / 'set'}"
    assert "holds no video" in error_of(capsys, raw, out, "--curate.sync.judge=none")[1]
    assert "does not exist" in error_of(capsys, tmp_path / "none", out, "--curate.sync.judge=none")[1]
    assert "RAW_FOLDER --output FOLDER" in error_of(capsys, raw)[1]
    (raw / "a.mp4").write_bytes(b"x")
    code, text = error_of(capsys, raw, out)
    assert code == 4 and "syncnet_v2.model" in text and "--curate.sync.judge=none" in text
    assert "one lies in the other" in error_of(capsys, raw, f"--output={raw / 'set'}", "--curate.sync.judge=none")[1]
    assert "one lies in the other" in error_of(capsys, raw, f"--output={tmp_path}", "--curate.sync.judge=none")[1]
    assert "measures no offset" in error_of(capsys, raw, out, "--curate.sync.judge=SSIM")[1]
    assert "did you mean" in error_of(capsys, raw, out, "--steps=cutz", "--curate.sync.judge=none")[1]
    assert "did you mean --curate.sync.max_offset" in error_of(capsys, raw, out, "--curate.sync.maxoffset=3")[1]
    assert "name another detector" in error_of(capsys, raw, out, "--face.detector=files", "--curate.sync.judge=none")[1]
    (raw / "a.mkv").write_bytes(b"y")
    assert "same names" in error_of(capsys, raw, out, "--curate.sync.judge=none")[1]
    assert not (tmp_path / "set").exists()


def test_nothing_kept_is_an_error_and_another_raw_folder_too(tmp_path, capsys):
    for name in ("raw", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.mp4").write_bytes(b"no video" * 9)
    flags = [f"--output={tmp_path / 'set'}", "--curate.sync.judge=none", "--face.detector=dlib", "--curate.workers=1"]
    code, text = error_of(capsys, tmp_path / "raw", *flags)
    assert code == 3 and "no clip was kept (1 cuts: damaged)" in text
    assert rows_of(tmp_path / "set")["a.mp4"].text.startswith("a.mp4 cannot be read")
    assert "was made from" in error_of(capsys, tmp_path / "other", *flags)[1]


def test_odd_names_find_their_way_into_the_lists(tmp_path):
    from talkingface.curate.manifest import write_lists
    from talkingface.curate.rows import Row

    names = ["#1/a b/00000", "_x/00000", "prepared/ü,1/00000"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / f"{name}.mp4").write_bytes(b"x")
    write_lists(tmp_path, [Row("", "", name.split("/")[0], clip=name, kept=True, split="train") for name in names])
    assert [clip.name for clip in Folder(tmp_path).clips("train")] == names
    assert [clip.speaker for clip in Folder(tmp_path).clips("train")] == ["#1", "_x", "prepared"]


# --- slow -------------------------------------------------------------------------------------------------------------


def command(raw, output, *flags):
    return [sys.executable, "-m", "talkingface", "curate", str(raw), f"--output={output}", *DEMO, *flags]


def run_until(process, folder, files, delay):
    """Let a process work until so many files are in a folder, and a little longer, and kill it. Its exit code if it ended."""
    while process.poll() is None:
        if sum(1 for _ in folder.rglob("*")) >= files:
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
            process.wait()
            return None
        time.sleep(0.02)
    return process.returncode


@pytest.mark.slow
def test_killed_anywhere_it_goes_on_to_the_same_bytes(made, tmp_path, monkeypatch):
    rng = np.random.default_rng(8)
    monkeypatch.setenv("TALKINGFACE_CACHE", str(tmp_path / "cache"))
    output, kills, code = tmp_path / "set", 0, None
    while code is None:
        files = sum(1 for _ in output.rglob("*")) + int(rng.integers(2, 14))
        process = subprocess.Popen(command(made / "raw", output), cwd=ROOT, env=dict(os.environ))
        code = run_until(process, output, files, float(rng.uniform(0, 0.3)))
        kills += code is None
    assert code == 5 and kills >= 3
    assert contents(output) == contents(made / "set")


@pytest.mark.slow
def test_several_workers_give_the_same_bytes(made, tmp_path, monkeypatch):
    monkeypatch.setenv("TALKINGFACE_CACHE", str(tmp_path / "cache"))
    assert curate(made / "raw", tmp_path / "set", "--curate.workers=3") == 5
    assert contents(tmp_path / "set") == contents(made / "set")


@pytest.mark.slow
def test_models_are_trained_on_it_at_once(made, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(made / "set", tmp_path / "set")
    flags = ["--model=SyncNet,Wav2Lip", "--prepare.workers=1", "--Wav2Lip.image_size=48", "--Wav2Lip.width=0.1"]
    assert curate(made / "raw", tmp_path / "set", *flags) == 5
    out = capsys.readouterr().out
    assert "--model=Wav2Lip --dataset=folder" in out
    prepared = tmp_path / "dataset" / "prepared" / "folder"
    made_of = [path for path in prepared.rglob("*.clip") if path.is_dir()]
    assert {path.relative_to(prepared).parts[0] for path in made_of} == {"SyncNet", "Wav2Lip"} and len(made_of) == 6
    before = {path: path.stat().st_mtime_ns for path in made_of}
    line = next(line for line in out.splitlines() if "--model=Wav2Lip" in line)
    words = [*line.split()[2:], *flags[1:], "--smoke", "--metrics=SSIM", "--quiet", "--face.detector=dlib"]
    assert main(words) == 0
    assert before == {path: path.stat().st_mtime_ns for path in before}


@pytest.mark.slow
def test_real_clips_pass(real_data, tmp_path):
    raw = tmp_path / "raw"
    for name in ("wild/vrt_1", "wild/vrt_3"):
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(real_data / f"{name}.mp4", raw / f"{Path(name).name}.mp4")
    began = time.monotonic()
    assert (
        main(["curate", str(raw), f"--output={tmp_path / 'set'}", "--face.detector=dlib", "--curate.sync.judge=none", "--quiet"])
        == 0
    )
    rows = rows_of(tmp_path / "set")
    assert all(row.kept and row.figures["found"] == 1 and row.figures["face"] > 200 for row in rows.values()), rows
    assert len(rows) == 2 and time.monotonic() - began < 600
    odd = Video(tmp_path / "set" / "vrt_1" / "00000.mp4")
    assert odd.source_fps == 25 and abs(len(odd) / 25 - Video(raw / "vrt_1.mp4").duration) < 0.2
