"""Hostile files: nothing in them runs, nothing crashes, memory stays bounded, and each is one clear error."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile import generator

ROOT = Path(__file__).resolve().parents[2]
KINDS = {
    "weights": generator.WEIGHTS,
    "settings": generator.SETTINGS,
    "videos": generator.VIDEOS,
    "sounds": generator.SOUNDS,
    "pictures": generator.PICTURES,
}
HARMLESS = {  # they claim what is absurd, and what they really hold can be used, or is nothing
    "safetensors-with-code-in-their-metadata",
    "a-sound-of-four-gigabytes",
    "a-sound-of-one-sample-a-second",
    "a-sound-of-a-thousand-million-samples-a-second",
    "a-video-with-two-thousand-million-samples",
    "a-video-whose-size-is-another-than-its-frames",
}
LIMIT = 1500  # MB that reading hostile files may take


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Kind -> name -> what came of reading the file, in a process whose memory is limited."""
    found = {}
    for kind, files in KINDS.items():
        folder = tmp_path_factory.mktemp(kind)
        generator.write_all(files, folder)
        command = [sys.executable, "-m", "tests.hostile.reader", kind, str(folder), str(LIMIT)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        found[kind] = {line["name"]: line for line in lines}
        found[kind]["ran"] = sorted(str(path) for path in folder.rglob(generator.SENTINEL))
        found[kind]["end"] = (done.returncode, done.stderr[-2000:])
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_runs_and_nothing_crashes(outcomes, kind):
    assert outcomes[kind]["ran"] == []
    assert outcomes[kind]["end"][0] == 0, outcomes[kind]["end"][1]
    assert outcomes[kind].keys() - {"ran", "end"} == KINDS[kind].keys()


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, files in KINDS.items() for name in files])
def test_a_hostile_file_is_one_clear_error(outcomes, kind, name):
    outcome = outcomes[kind][name]
    if name in HARMLESS and not outcome["error"]:
        return
    assert outcome["error"] == "TalkingFaceError", outcome
    assert "file." in outcome["outcome"] and 20 < len(outcome["outcome"]) < 700 and "Traceback" not in outcome["outcome"]


@pytest.mark.parametrize("kind", KINDS)
def test_memory_and_time_stay_bounded(outcomes, kind):
    rows = [row for name, row in outcomes[kind].items() if name not in ("ran", "end")]
    assert max(row["MB"] for row in rows) < 700, max(rows, key=lambda row: row["MB"])
    assert max(row["s"] for row in rows) < 15, max(rows, key=lambda row: row["s"])


def test_there_are_many_kinds_of_harm():
    assert len(generator.WEIGHTS) >= 60 and sum(map(len, KINDS.values())) >= 85


def test_the_traps_are_traps(tmp_path):
    """What is said to run code does, where a file is read carelessly."""
    import torch

    for number, name in enumerate(("code-in-the-options-zip", "code-by-stack-global", "code-in-a-tar-file")):
        path = tmp_path / str(number) / "file.pth"
        path.parent.mkdir()
        generator.WEIGHTS[name](path)
        torch.load(path, weights_only=False)  # allowed: shows that the file is dangerous
        assert (path.parent / generator.SENTINEL).is_dir()
